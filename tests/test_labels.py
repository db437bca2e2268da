import re

import geopandas as gpd
import numpy as np
import pytest
import shapely

from learning_case import CRS, review_row, write_review
from rts_pipeline.config import GridSection
from rts_pipeline.errors import InputError
from rts_pipeline.grid import GeoBox
from rts_pipeline.labels import COLUMNS, LabelRaster, build_labels
from rts_pipeline.options import LabelsOptions
from rts_pipeline.review.events import REJECT_REASONS

OPTIONS = LabelsOptions(grid=GridSection(crs=CRS))
SQUARE = shapely.box(400000, 3800000, 400100, 3800100)


@pytest.fixture
def seeds(tmp_path):
    path = tmp_path / "seeds.gpkg"
    gpd.GeoDataFrame(geometry=[SQUARE], crs=CRS).to_crs(4326).to_file(path)
    return path


def build(tmp_path, seeds, *reviews):
    out = tmp_path / "labels.parquet"
    build_labels(seeds, reviews, out, OPTIONS)
    return gpd.read_parquet(out)


def test_seeds_are_positive_and_reprojected(tmp_path, seeds):
    labels = build(tmp_path, seeds)
    assert list(labels.columns) == COLUMNS
    assert labels.crs == CRS
    assert labels[["kind", "source"]].to_numpy().tolist() == [["positive", "seed"]]
    assert re.fullmatch("seed-[0-9a-f]{12}", labels["label_id"][0])
    assert labels.geometry[0].symmetric_difference(SQUARE).area < 1


def test_decisions_become_kinds(tmp_path, seeds):
    decisions = ["accept", "edit", "missed", "reject", "unsure", "unseen"]
    rows = [review_row(f"r01-{i:04d}", decision, SQUARE.buffer(i)) for i, decision in enumerate(decisions)]
    labels = build(tmp_path, seeds, write_review(tmp_path / "reviewed.parquet", rows)).set_index("candidate_id")
    kinds = labels.kind.loc[[row["candidate_id"] for row in rows]].tolist()
    assert kinds == ["positive", "positive", "positive", "negative", "ignore", "ignore"]
    rejected = labels.loc["r01-0003"]
    assert rejected[["source", "reviewers", "reason", "decided_at"]].tolist() == [
        "round 01",
        "ann,bo",
        "bare ground",
        "2024-01-01T00:00:00Z",
    ]


@pytest.mark.parametrize("known_ids", ["", "seed-00001"])
@pytest.mark.parametrize("reason", [None, *REJECT_REASONS])
def test_what_the_image_did_not_show_is_not_judged(tmp_path, seeds, reason, known_ids):
    outline = SQUARE.buffer(30)
    row = review_row("r01-0001", "reject", outline) | {"reject_reason": reason, "known_ids": known_ids, "judged_m2": 100.0}
    label = build(tmp_path, seeds, write_review(tmp_path / "reviewed.parquet", [row])).set_index("label_id").loc["r01-0001"]
    seen = reason not in {"snow or cloud", "no-data edge"}
    assert (label["kind"], label["reason"]) == ("negative" if seen else "ignore", reason or "")
    assert np.isnan(label["judged_m2"]) == (not seen)


def test_all_rounds_count(tmp_path, seeds):
    first = write_review(tmp_path / "one.parquet", [review_row("r01-0001", "unsure", SQUARE)])
    second = write_review(tmp_path / "two.parquet", [review_row("r02-0001", "accept", SQUARE, round=2)])
    assert build(tmp_path, seeds, first, second).source.tolist() == ["seed", "round 01", "round 02"]


def test_an_empty_review_adds_nothing(tmp_path, seeds):
    empty = gpd.GeoDataFrame([review_row("r01-0001", "accept", SQUARE)], geometry="geometry", crs=CRS).iloc[:0]
    path = tmp_path / "reviewed.parquet"
    empty.to_parquet(path)
    assert len(build(tmp_path, seeds, path)) == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (review_row("r01-0001", "maybe", SQUARE), "unknown decision 'maybe'"),
        ({key: value for key, value in review_row("r01-0001", "accept", SQUARE).items() if key != "round"}, "column round"),
    ],
)
def test_a_wrong_review_is_named(tmp_path, seeds, row, message):
    path = write_review(tmp_path / "reviewed.parquet", [row])
    with pytest.raises(InputError, match=message) as error:
        build(tmp_path, seeds, path)
    assert str(path) in str(error.value)


def test_a_candidate_is_decided_once(tmp_path, seeds):
    path = write_review(tmp_path / "reviewed.parquet", [review_row("r01-0001", "accept", SQUARE)] * 2)
    with pytest.raises(InputError, match="r01-0001 comes twice"):
        build(tmp_path, seeds, path)


BOX = GeoBox("window", CRS, 3.0, 134000, -1267000, 40, 40)


def square(west, north, edge, kind):
    """A label whose outline follows the pixels of BOX: from column `west` and row `north`, `edge` pixels wide."""
    shape = shapely.box(*BOX.part(north, west, edge, edge).bounds)
    return {"label_id": f"{kind}-{west}", "kind": kind, "geometry": shape}


def raster(tmp_path, *rows, boundary_m=0.0):
    gpd.GeoDataFrame(list(rows), crs=CRS).to_parquet(tmp_path / "labels.parquet")
    return LabelRaster(tmp_path / "labels.parquet", CRS, boundary_m)


def test_a_label_is_the_pixels_whose_centres_it_holds(tmp_path):
    labels = raster(tmp_path, square(4, 6, 10, "positive"), square(20, 20, 5, "negative"), square(30, 5, 4, "ignore"))
    expected = np.zeros((40, 40), np.uint8)
    expected[6:16, 4:14] = 1
    expected[5:9, 30:34] = 255
    mask = labels.mask(BOX)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, expected)
    assert np.array_equal(labels.mask(BOX.part(10, -3, 8, 50)), np.pad(expected, ((0, 0), (3, 7)))[10:18])


def test_positive_beats_negative_beats_ignore(tmp_path):
    rows = [square(4, 4, 8, "positive"), square(8, 8, 8, "negative"), square(12, 12, 8, "ignore")]
    mask = raster(tmp_path, *rows).mask(BOX)
    assert (mask[4:12, 4:12] == 1).all()
    assert (mask[12:16, 12:16] == 0).all()
    assert (mask[16:20, 16:20] == 255).all()
    assert (mask == 1).sum() == 64
    assert (mask == 255).sum() == 48


@pytest.mark.parametrize("boundary_px", [1, 2])
def test_the_ring_around_a_slump_is_ignored_on_both_sides(tmp_path, boundary_px):
    rows = [square(10, 10, 12, "positive"), square(20, 20, 10, "negative")]
    mask = raster(tmp_path, *rows, boundary_m=3.0 * boundary_px).mask(BOX)
    assert (mask == 1).sum() == (12 - 2 * boundary_px) ** 2
    assert (mask[15, 10 - boundary_px : 10 + boundary_px] == 255).all()
    assert mask[15, 9 - boundary_px] == 0
    assert (mask[21, 22 : 22 + boundary_px] == 255).all()


def test_labels_that_can_not_be_drawn_are_named(tmp_path):
    with pytest.raises(InputError, match=r"labels\.parquet: unknown kind 'maybe'.*expected ignore, negative, positive"):
        raster(tmp_path, square(4, 4, 8, "maybe"))
    for geometry in (None, shapely.Polygon()):
        with pytest.raises(InputError, match=r"label lost has no place in EPSG:32646 \(1 of 2 labels\)"):
            raster(tmp_path, square(4, 4, 8, "positive"), {"label_id": "lost", "kind": "positive", "geometry": geometry})
