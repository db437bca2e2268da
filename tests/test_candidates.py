import json
import sys
from itertools import pairwise

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import rasterio
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pyproj import Geod
from scipy import ndimage
from shapely import box

from rts_pipeline import cli
from rts_pipeline.candidates import CANDIDATE_COLUMNS, OUTLINE_COLUMNS, build_candidates, merge_outlines, outline_sha256
from rts_pipeline.components import find, merge
from rts_pipeline.errors import InputError
from rts_pipeline.grid import GeoBox, Grid
from rts_pipeline.inventory.dictionary import AREA_THRESHOLDS
from rts_pipeline.inventory.shape import geodesic_area_perimeter
from rts_pipeline.omitted import Omitted
from rts_pipeline.options import CandidatesOptions, PolygonizeOptions, parse_options
from rts_pipeline.polygonize import polygonize, sums_path, to_frame
from rts_pipeline.ranking import score

CRS = "EPSG:32646"
GRID = Grid(CRS, pixel_m=3.0, cell_px=64, block_cells=1)
ORIGIN = (166_000, -1_260_000)  # column and row near 33 N, 93 E
SIDE = 24
OUTS = ("outlines.parquet", "candidates.parquet", "candidates.gpkg", "candidates.json")
UNCUT = {"min_area_m2": 0.0, "neck_m": 0.0, "read": None}
CHOSEN = {"threshold": 0.5, "seed_threshold": 0.0, "min_area_m2": 100.0, "hole_m2": 900.0}
masks = arrays.arrays(bool, st.tuples(st.integers(1, SIDE), st.integers(1, SIDE)))


def pieces_of(values, rows, columns):
    """The blocks that the raster is cut into at `rows` and `columns`."""
    height, width = values.shape
    rows, columns = sorted({0, height, *(r % height for r in rows)}), sorted({0, width, *(c % width for c in columns)})
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            part = GeoBox("b", CRS, 3.0, ORIGIN[0] + left, ORIGIN[1] + top, right - left, bottom - top)
            yield part, find(part, values[top:bottom, left:right], 125)


def write_blocks(folder, values, rows=(), columns=()):
    paths = []
    for number, (part, pieces) in enumerate(pieces_of(values, rows, columns)):
        paths.append(folder / f"{number}.parquet")
        to_frame(merge([pieces]), part).to_parquet(paths[-1])
        left_out = Omitted(CRS, 3.0).total()
        sums_path(paths[-1]).write_text(json.dumps({"observed_m2": 1000.0, "expected_area_m2": 10.0, "left_out": left_out}))
    return paths


def raster(*patches):
    values = np.zeros((60, 60), dtype=np.uint8)
    for (top, left, bottom, right), value in patches:
        values[top:bottom, left:right] = value
    return values


def place(top, left, bottom, right):
    """Pixels of `raster` as a box in the CRS."""
    x, y = ORIGIN[0] * 3.0, -ORIGIN[1] * 3.0
    return box(x + 3 * left, y - 3 * bottom, x + 3 * right, y - 3 * top)


def build(
    tmp_path, values, *, labels=(), aoi=(0, 0, 60, 60), rows=(30,), columns=(30,), asked=None, probabilities=(), **chosen
):
    choice, label_file, aoi_file = tmp_path / "validation.json", tmp_path / "labels.parquet", tmp_path / "aoi.gpkg"
    choice.write_text(json.dumps({**CHOSEN, "weights_sha256": "ab" * 32}))
    decided = pd.DataFrame({"kind": pd.Series([kind for kind, _ in labels], dtype="str"), "known_ids": "", "judged_m2": np.nan})
    decided["reviewers"] = "ann"
    decided["label_id"] = [f"seed-{number:05d}" for number in range(1, len(labels) + 1)]
    gpd.GeoDataFrame(decided, geometry=[place(*at) for _, at in labels], crs=CRS).to_parquet(label_file)
    gpd.GeoSeries([place(*aoi)], crs=CRS).to_crs("EPSG:4326").to_file(aoi_file)
    text = json.dumps(
        {
            "grid": {"crs": CRS, "cell_px": 64, "block_cells": 1},
            "polygonize": {"simplify_px": 0.0, **chosen},
            "candidates": asked or {},
        }
    )
    outs = [tmp_path / name for name in OUTS]
    blocks = write_blocks(tmp_path, values, rows, columns)
    build_candidates("01", blocks, label_file, aoi_file, choice, *outs, parse_options(CandidatesOptions, text), probabilities)
    return gpd.read_parquet(outs[0]), gpd.read_parquet(outs[1]), gpd.read_file(outs[2], layer="candidates")


@settings(deadline=None, max_examples=150)
@given(masks, st.lists(st.integers(1, SIDE), max_size=5), st.lists(st.integers(1, SIDE), max_size=5), st.integers(0, 9))
def test_any_blocking_gives_the_same_outlines(mask, rows, columns, seed):
    values = np.where(mask, np.random.default_rng(seed).integers(125, 251, mask.shape), 0).astype(np.uint8)

    def outlines(*cuts):
        pieces = merge([piece for _, piece in pieces_of(values, *cuts)])
        shapes = shapely.to_wkb(shapely.normalize(pieces.geometry))
        return sorted(zip(shapes, pieces.levels.toarray().tolist(), strict=True))

    assert outlines(rows, columns) == outlines((), ())


def test_any_blocking_gives_the_same_files(tmp_path):
    random = np.random.default_rng(3)
    values = np.where(random.random((60, 60)) < 0.45, random.integers(125, 251, (60, 60)), 0).astype(np.uint8)
    kept, left_out = [], []
    for name, cuts in (("whole", ((), ())), ("cut", ((7, 30, 31), (5, 20, 55)))):
        (tmp_path / name).mkdir()
        omitted, blocks = Omitted(CRS, 3.0), write_blocks(tmp_path / name, values, *cuts)
        frame = merge_outlines(blocks, GRID, omitted, seed_threshold=0.7, hole_m2=90.0, **UNCUT, simplify_px=0.5)
        kept.append(pd.DataFrame(frame.drop(columns="geometry")).assign(wkb=frame.geometry.to_wkb()).reset_index(drop=True))
        left_out.append(omitted.total())
    assert len(kept[0]) > 5
    assert left_out[0] == left_out[1]
    assert left_out[0]["no_seed"]["outlines"] > 5
    pd.testing.assert_frame_equal(*kept)


REGION = GeoBox("region", CRS, 3.0, *[64 * (n // 64) for n in ORIGIN], 128, 128)


@pytest.fixture(scope="module")
def pixel_m2():
    """The area of each of the region's pixels on the ellipsoid, one by one."""
    rows, columns = np.mgrid[:128, :128]
    x, y = (REGION.column + columns.ravel()) * 3.0, -(REGION.row + rows.ravel()) * 3.0
    pixels = gpd.GeoSeries(shapely.box(x, y - 3, x + 3, y), crs=CRS)
    return geodesic_area_perimeter(pixels)[0].reshape(128, 128)


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000), st.sampled_from([0.9, 1.6]), st.sampled_from([0.3, 0.6]))
def test_statistics_are_those_of_the_whole_raster(tmp_path, pixel_m2, seed, smooth, threshold):
    random = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(random.normal(0, 1, (128, 128)), 3 * smooth) * 8 * smooth
    values = np.rint(250 / (1 + np.exp(-3 * field))).astype(np.uint8)
    values[random.random((128, 128)) < 0.02] = 255
    options = {"grid": {"crs": CRS, "cell_px": 64, "block_cells": 1}, "polygonize": {"threshold": threshold}, "candidates": {}}
    build(tmp_path, raster())
    (tmp_path / "validation.json").write_text(json.dumps({**CHOSEN, "min_area_m2": 0.0, "hole_m2": 0.0, "weights_sha256": ""}))
    gpd.GeoSeries([REGION.polygon], crs=CRS).to_file(tmp_path / "aoi.gpkg")
    blocks = []
    for cell in GRID.cells_touching(REGION.polygon.buffer(-1)):
        block = GRID.block(f"b_{cell}")
        blocks.append(tmp_path / f"{block.id}.parquet")
        profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": 255}
        with rasterio.open(tmp_path / "p.tif", "w", **profile, **block.profile) as dataset:
            dataset.write(values[REGION.slices_of(block)], 1)
        polygonize_options = parse_options(PolygonizeOptions, json.dumps({n: options[n] for n in ("grid", "polygonize")}))
        polygonize(block, tmp_path / "p.tif", tmp_path / "validation.json", blocks[-1], polygonize_options)
    files = [tmp_path / name for name in ("labels.parquet", "aoi.gpkg", "validation.json", *OUTS)]
    build_candidates("01", blocks, *files, parse_options(CandidatesOptions, json.dumps(options)))
    frame, summary = gpd.read_parquet(tmp_path / OUTS[0]), json.loads((tmp_path / OUTS[-1]).read_text())

    seen = values != 255
    probability = np.where(seen, values, 0) / 250
    labels, count = ndimage.label(seen & (probability >= threshold), np.ones((3, 3)))
    expected = []
    for name in range(1, count + 1):
        inside = probability[labels == name]
        area = (probability * pixel_m2)[labels == name].sum()
        expected.append((inside.size, inside.max(), np.median(inside), inside.mean(), area))
    found = frame[["n_px", "prob_max", "prob_median", "prob_mean", "expected_area_m2"]].to_numpy()
    assert len(blocks) == 4 and len(found) == count > 0
    found, expected = np.array(sorted(found.tolist())), np.array(sorted(expected))
    np.testing.assert_allclose(found[:, :4], expected[:, :4], rtol=1e-12)
    np.testing.assert_allclose(found[:, 4], expected[:, 4], rtol=3e-6)
    for name, value in AREA_THRESHOLDS.items():
        above = sorted((pixel_m2 * (probability >= value - 1e-9))[labels == label].sum() for label in range(1, count + 1))
        if value < threshold:
            assert frame[name].isna().all(), "pixels below the threshold of the outlines weren't counted"
        else:
            np.testing.assert_allclose(np.sort(frame[name]), above, rtol=3e-6, atol=1e-6)
    assert summary["observed_m2"] == pytest.approx(pixel_m2[seen].sum(), rel=1e-6)
    assert summary["expected_area_m2"]["observed"] == pytest.approx((probability * pixel_m2).sum(), rel=1e-6)
    assert summary["expected_area_m2"]["outlines"] == pytest.approx((probability * pixel_m2)[labels > 0].sum(), rel=1e-6)
    assert summary["outlines"] == {"candidate": count, "changed": 0, "cut": 0, "known": 0, "rejected": 0}


def test_corner_over_block_corner_is_one_outline(tmp_path):
    outlines, _, _ = build(tmp_path, raster(((20, 20, 30, 30), 200), ((30, 30, 40, 40), 250)))
    assert (len(outlines), outlines.n_px[0], outlines.geom_type[0]) == (1, 200, "MultiPolygon")
    assert (outlines.prob_mean[0], outlines.prob_max[0]) == (0.9, 1.0)


def test_rank_and_identity(tmp_path):
    values = raster(((2, 2, 12, 12), 150), ((20, 20, 35, 35), 240), ((45, 45, 55, 55), 200), ((45, 2, 46, 3), 250))
    outlines, candidates, layer = build(tmp_path, values)
    assert outlines.columns.tolist() == OUTLINE_COLUMNS
    assert candidates.columns.tolist() == CANDIDATE_COLUMNS
    assert layer.columns.tolist() == [name for name in CANDIDATE_COLUMNS if name != "known"]
    assert candidates.candidate_id.tolist() == ["r01-0001", "r01-0002", "r01-0003"]
    assert candidates["rank"].tolist() == [1, 2, 3]
    assert candidates.n_px.tolist() == [225, 100, 100]
    first = candidates.iloc[0]
    assert first.geometry.equals(place(20, 20, 35, 35))
    lonlat = candidates.to_crs("EPSG:4326").geometry
    assert first["area_m2"] == pytest.approx(abs(Geod(ellps="WGS84").geometry_area_perimeter(lonlat[0])[0]), rel=1e-6)
    assert lonlat[0].contains(shapely.Point(first["longitude"], first["latitude"]))
    assert first["cell_id"] in GRID.cells_touching(first.geometry)
    assert (first["base_sha256"], first["model_sha256"]) == (sha256(place(20, 20, 35, 35)), "ab" * 32)
    assert layer.geometry.geom_equals(candidates.geometry).all()
    assert pyogrio.list_layers(tmp_path / "candidates.gpkg")[:, 0].tolist() == ["candidates", "known"]


def sha256(outline):
    (checksum,) = outline_sha256(np.array([outline]))
    return checksum


def test_checksum_ignores_what_does_not_change_the_outline():
    square = box(100.004, 200, 110, 210)
    assert sha256(square) == sha256(shapely.reverse(shapely.force_3d(box(100.001, 200, 110, 210))))
    assert sha256(square) != sha256(box(100.02, 200, 110, 210))


def test_status_follows_the_labels(tmp_path):
    values = raster(((2, 2, 12, 12), 250), ((2, 20, 12, 30), 250), ((2, 40, 12, 50), 250), ((30, 2, 40, 12), 250))
    labels = [
        ("positive", (8, 8, 22, 19)),
        ("negative", (4, 4, 6, 6)),
        ("negative", (5, 16, 12, 35)),
        ("ignore", (4, 42, 6, 44)),
        ("positive", (40, 12, 50, 19)),  # touches at a corner
        ("negative", (30, 12, 40, 20)),  # along an edge
    ]
    outlines, candidates, _ = build(tmp_path, values, labels=labels)
    assert outlines.status.tolist() == ["known", "rejected", "candidate", "candidate"]
    summary = json.loads((tmp_path / "candidates.json").read_text())
    assert summary["outlines"] == {"candidate": 2, "changed": 0, "cut": 0, "known": 1, "rejected": 1}
    assert (summary["round"], summary["observed_m2"]) == ("01", 4000.0), "the sums of four blocks"
    assert len(candidates) == 2


def test_the_summary_tells_what_the_outlines_were_made_with(tmp_path):
    values = raster(((2, 2, 12, 12), 250))
    for configured in ({}, {"threshold": 0.6, "seed_threshold": 0.8}):
        build(tmp_path, values, **configured)
        assert json.loads((tmp_path / "candidates.json").read_text())["applied"] == CHOSEN | configured


def test_a_known_slump_that_grew_is_asked_with_its_old_outline(tmp_path):
    values = raster(((2, 2, 12, 12), 250), ((2, 20, 12, 30), 250), ((40, 2, 50, 12), 200))
    labels = [("positive", (4, 2, 12, 12)), ("positive", (6, 20, 12, 30)), ("negative", (2, 20, 4, 30))]
    outlines, candidates, layer = build(tmp_path, values, labels=labels)
    assert outlines.status.tolist() == ["known", "changed", "candidate"]
    assert outlines.known_ids.tolist() == ["seed-00001", "seed-00002", ""]
    assert candidates[["status", "known_ids"]].to_numpy().tolist() == [["changed", "seed-00002"], ["candidate", ""]]
    assert candidates.known.geom_equals(gpd.GeoSeries([place(6, 20, 12, 30), None], crs=CRS)).tolist() == [True, False]
    known = gpd.read_file(tmp_path / "candidates.gpkg", layer="known")
    assert known[["candidate_id", "known_ids"]].to_numpy().tolist() == [["r01-0001", "seed-00002"]]
    assert known.geometry[0].equals(place(6, 20, 12, 30))
    assert build(tmp_path, values, labels=labels, asked={"growth": 0.7})[0].status.tolist()[1] == "known"
    assert build(tmp_path, values, labels=labels, asked={"growth": 0.2})[0].status.tolist()[0] == "changed"
    assert len(layer) == 2


def test_the_queue_is_ranked_by_chance_and_distance(tmp_path):
    values = raster(((2, 2, 12, 12), 200), ((2, 30, 12, 40), 200), ((40, 2, 50, 12), 250), ((40, 30, 50, 40), 150))
    _, candidates, _ = build(tmp_path, values, labels=[("positive", (2, 50, 12, 60))])
    assert candidates.n_px.tolist() == [100] * 4
    assert candidates.prob_mean.tolist() == [1.0, 0.8, 0.8, 0.6]
    assert candidates.known_m.round().tolist() == [163, 129, 45, 109]
    assert candidates.score.tolist() == pytest.approx(score(candidates.prob_mean, candidates.known_m).tolist())
    assert candidates.score.is_monotonic_decreasing
    assert build(tmp_path, values)[1].known_m.isna().all()


def test_scores_grow_with_chance_and_with_distance():
    chance, metres = np.array([0.5, 0.5, 0.5, 0.5, 1.0]), np.array([np.nan, 0, 9_000, 99_000, 9_000])
    assert score(chance, metres).tolist() == pytest.approx([0.5, 0.5, 0.625, 0.75, 1.25])


def test_what_is_cut_waits_and_is_counted(tmp_path, capsys):
    values = raster(((2, 2, 12, 12), 200), ((2, 30, 12, 40), 230), ((40, 2, 50, 12), 250), ((40, 30, 50, 40), 150))
    outlines, candidates, _ = build(tmp_path, values, asked={"max_count": 2})
    assert candidates.prob_mean.tolist() == [1.0, 0.92]
    assert candidates.candidate_id.tolist() == ["r01-0001", "r01-0002"]
    assert outlines.status.tolist() == ["cut", "candidate", "candidate", "cut"]
    summary = json.loads((tmp_path / "candidates.json").read_text())
    assert (summary["outlines"]["candidate"], summary["outlines"]["cut"]) == (2, 2)
    assert summary["expected_precision"] == pytest.approx(0.96)
    assert "candidates: 2 of 4 outlines wait for a later round" in capsys.readouterr().err
    assert build(tmp_path, values, asked={"min_precision": 0.8})[1].prob_mean.tolist() == [1.0, 0.92, 0.8]
    assert build(tmp_path, values, asked={"min_precision": 0.85, "max_count": 1})[1].prob_mean.tolist() == [1.0]
    capsys.readouterr()
    assert len(build(tmp_path, values)[1]) == 4
    assert capsys.readouterr().err == ""


def test_what_was_asked_in_vain_keeps_nothing_new_from_being_asked(tmp_path):
    values = raster(((2, 2, 12, 12), 250), ((2, 30, 12, 40), 230), ((40, 2, 50, 12), 200), ((40, 30, 50, 40), 150))
    labels = [("ignore", (2, 2, 12, 12)), ("ignore", (2, 30, 12, 38)), ("ignore", (40, 2, 44, 12))]
    _, candidates, _ = build(tmp_path, values, labels=labels)
    assert candidates.prob_mean.tolist() == [0.8, 0.6, 1.0, 0.92], "most of the last two was looked at before"
    outlines, candidates, _ = build(tmp_path, values, labels=labels, asked={"max_count": 2})
    assert outlines.status.tolist() == ["cut", "cut", "candidate", "candidate"]
    changed = [("positive", (2, 30, 6, 40)), ("ignore", (6, 30, 12, 40))]
    assert build(tmp_path, values, labels=changed)[1].prob_mean.tolist() == [1.0, 0.8, 0.6, 0.92]


def test_a_cut_change_is_asked_when_its_turn_comes(tmp_path):
    values, labels = raster(((2, 2, 12, 12), 250), ((2, 30, 12, 40), 200)), [("positive", (2, 30, 6, 40))]
    assert build(tmp_path, values, labels=labels, asked={"max_count": 1})[0].status.tolist() == ["candidate", "cut"]
    labels.append(("positive", (2, 2, 12, 12)))
    assert build(tmp_path, values, labels=labels, asked={"max_count": 1})[0].status.tolist() == ["known", "changed"]


def test_outlines_are_simplified_and_measured_as_they_are(tmp_path):
    rows, columns = np.mgrid[:60, :60] + 0.5
    values = np.where(np.hypot(rows - 30, columns - 30) < 20, 200, 0).astype(np.uint8)
    steps, smooth = build(tmp_path, values)[0], build(tmp_path, values, simplify_px=0.5)
    outlines, candidates, _ = smooth
    assert outlines.length[0] < 0.82 * steps.length[0]
    assert outlines.area_m2[0] == pytest.approx(geodesic_area_perimeter(outlines.geometry)[0][0])
    assert outlines.area_m2[0] != steps.area_m2[0]
    assert outlines.n_px[0] == steps.n_px[0]
    assert candidates.base_sha256[0] == sha256(outlines.geometry[0])


def test_minimum_area_and_area_of_interest(tmp_path):
    values = raster(((2, 2, 12, 12), 250), ((30, 2, 36, 8), 250), ((2, 40, 12, 50), 250))
    assert len(build(tmp_path, values)[0]) == 3
    assert len(build(tmp_path, values, min_area_m2=500.0)[0]) == 2
    inside = build(tmp_path, values, aoi=(0, 0, 60, 10))[1]
    assert sorted(inside.n_px) == [36, 100], "an outline that reaches into the area is kept whole"


def test_what_is_left_out_is_counted_by_reason(tmp_path, capsys, pixel_m2):
    """At block edges too, where it is left out only here."""
    faint, small, outside = ((2, 2, 12, 12), 130), ((28, 28, 32, 31), 250), ((50, 50, 60, 60), 250)
    ring, hole, island = ((15, 15, 27, 27), 250), ((17, 17, 25, 25), 0), ((19, 19, 23, 23), 250)
    values = raster(faint, small, outside, ring, hole, island)
    chosen = {"seed_threshold": 0.7, "min_area_m2": 120.0, "hole_m2": 900.0}
    outlines, _, _ = build(tmp_path, values, aoi=(0, 0, 40, 40), **chosen)
    assert outlines.n_px.tolist() == [80]
    left_out = json.loads((tmp_path / "candidates.json").read_text())["left_out"]
    assert {reason: found["outlines"] for reason, found in left_out.items()} == {
        "no_seed": 1, "too_small": 1, "in_filled_hole": 1, "outside_aoi": 1
    }  # fmt: skip
    areas = [left_out[reason]["m2"] / pixel_m2[0, 0] for reason in ("no_seed", "too_small", "in_filled_hole", "outside_aoi")]
    assert areas == pytest.approx([100, 12, 16, 100], rel=1e-3)
    pixel = pixel_m2[0, 0]
    assert capsys.readouterr().err == (
        f"candidates: 1 outlines; left out: 1 without a seed ({100 * pixel:.0f} m2), 1 too small ({12 * pixel:.0f} m2),"
        f" 1 in a filled hole of another ({16 * pixel:.0f} m2), 1 outside the area of interest ({100 * pixel:.0f} m2)\n"
    )


def test_small_holes_are_filled_and_what_lies_in_them_left_out(tmp_path):
    frame_with_holes = raster(((5, 5, 55, 55), 250), ((10, 10, 40, 40), 0), ((45, 45, 50, 50), 0), ((47, 47, 48, 48), 250))
    outlines, _, _ = build(tmp_path, frame_with_holes, hole_m2=300.0, min_area_m2=0.0)
    assert [len(geometry.interiors) for geometry in outlines.geometry] == [1]
    assert outlines.geometry[0].area == pytest.approx((2500 - 900) * 9)
    assert outlines.n_px[0] == 2500 - 900 - 25


def test_a_seed_counts_for_the_whole_outline_over_a_block_edge(tmp_path):
    values = raster(((20, 20, 40, 30), 130), ((39, 25, 40, 26), 250), ((2, 2, 12, 12), 130))
    assert build(tmp_path, values, seed_threshold=0.9)[0].n_px.tolist() == [200]
    assert build(tmp_path, values, seed_threshold=0.5)[0].n_px.tolist() == [100, 200]


def test_a_ring_without_seed_takes_nothing_with_it(tmp_path):
    values = raster(((5, 5, 25, 25), 130), ((9, 9, 21, 21), 0), ((12, 12, 18, 18), 250))
    assert build(tmp_path, values, hole_m2=2700.0)[0].area.tolist() == [3600.0]
    assert build(tmp_path, values, hole_m2=2700.0, seed_threshold=0.9)[0].area.tolist() == [324.0]


def test_an_island_that_touches_its_own_hole_joins_it(tmp_path):
    values = raster(
        ((5, 5, 15, 15), 250), ((7, 7, 11, 11), 0), ((7, 7, 8, 8), 0), ((10, 10, 11, 11), 250), ((9, 9, 10, 10), 250)
    )
    outlines, _, _ = build(tmp_path, values, rows=(), columns=())
    assert outlines.is_valid.all()
    assert (len(outlines), outlines.geom_type[0], outlines.area[0]) == (1, "Polygon", 900.0)


def test_holes_are_filled_up_to_the_chosen_size(tmp_path):
    values = raster(((5, 5, 45, 45), 250), ((8, 8, 17, 17), 0), ((20, 20, 32, 32), 0))
    assert [len(geometry.interiors) for geometry in build(tmp_path, values)[0].geometry] == [1]
    assert [len(geometry.interiors) for geometry in build(tmp_path, values, hole_m2=0.0)[0].geometry] == [2]


def test_no_candidates_make_valid_empty_files(tmp_path):
    outlines, candidates, layer = build(tmp_path, raster())
    full = build(tmp_path, raster(((2, 2, 12, 12), 250)))
    assert (len(outlines), len(candidates), len(layer)) == (0, 0, 0)
    assert layer.columns.tolist() == [name for name in CANDIDATE_COLUMNS if name != "known"]
    assert outlines.dtypes.to_dict() == full[0].dtypes.to_dict()
    assert candidates.dtypes.to_dict() == full[1].dtypes.to_dict()
    assert candidates.crs == layer.crs == CRS


def test_a_choice_without_checksum_is_named(tmp_path):
    build(tmp_path, raster())
    (tmp_path / "validation.json").write_text(json.dumps(CHOSEN))
    text = json.dumps({"grid": {"crs": CRS}, "polygonize": {}, "candidates": {}})
    paths = [
        tmp_path / name
        for name in ("labels.parquet", "aoi.gpkg", "validation.json", "o.parquet", "c.parquet", "c.gpkg", "c.json")
    ]
    with pytest.raises(InputError, match=r"validation\.json: names no weights_sha256"):
        build_candidates("01", sorted(tmp_path.glob("?.parquet"))[:1], *paths, parse_options(CandidatesOptions, text))


def test_what_is_damaged_is_named(monkeypatch, capfd, tmp_path):
    """One line, and no file that looks done."""
    build(tmp_path, raster(((2, 2, 12, 12), 250)), rows=(), columns=())
    made = tmp_path / "made"
    text = json.dumps({"grid": {"crs": CRS, "cell_px": 64, "block_cells": 1}, "polygonize": {}, "candidates": {}})
    command = ["candidates", "01", str(tmp_path / "0.parquet"), "--options", text]
    for name, file in (("labels", "labels.parquet"), ("aoi", "aoi.gpkg"), ("choice", "validation.json")):
        command += [f"--{name}", str(tmp_path / file)]
    for name, file in zip(("out-outlines", "out", "out-gpkg", "out-summary"), OUTS, strict=True):
        command += [f"--{name}", str(made / file)]
    monkeypatch.setattr(sys, "argv", ["rts-pipeline", *command])
    capfd.readouterr()

    def complaint():
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not list(made.glob("*"))
        (line,) = capfd.readouterr().err.splitlines()
        return ended.value.code, line.removeprefix(f"rts-pipeline: {tmp_path}/")

    for name in ("0.parquet", "0.json", "labels.parquet", "aoi.gpkg", "validation.json"):
        path, kept = tmp_path / name, tmp_path / "kept"
        path.rename(kept)
        for damage in ("missing", "cut"):
            if damage == "cut":
                path.write_bytes(kept.read_bytes()[: kept.stat().st_size // 2])
            code, line = complaint()
            assert (code, line.startswith(f"{name}: ")) == (3, True), line
        kept.replace(path)
    sums = json.loads((tmp_path / "0.json").read_text())
    (tmp_path / "0.json").write_text(json.dumps({name: sums[name] for name in ("observed_m2", "expected_area_m2")}))
    assert complaint() == (3, "0.json: doesn't say left_out; polygonize the block again")
