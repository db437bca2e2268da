import geopandas as gpd
import pytest
import shapely

from learning_case import CRS, review_row, write_review
from rts_pipeline.config import GridSection
from rts_pipeline.errors import InputError
from rts_pipeline.labels import COLUMNS, build_labels
from rts_pipeline.options import LabelsOptions

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
    assert labels[["label_id", "kind", "source"]].to_numpy().tolist() == [["seed-00001", "positive", "seed"]]
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
