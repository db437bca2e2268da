import io as text_io
import re

import geopandas as gpd
import pandas as pd
import pytest
from rich.console import Console
from shapely import box

from rts_pipeline.errors import InputError, RefusedError
from rts_pipeline.grid import Grid
from rts_pipeline.io import sha256_file
from rts_pipeline.review.rounds import Signoff
from rts_pipeline.score import score, table

CRS = "EPSG:32646"
GRID = Grid(CRS, pixel_m=1.0)


def square(x, width=10):
    return box(x, 0, x + width, 10)


def frame(geometries, **columns):
    return gpd.GeoDataFrame(columns, geometry=list(geometries), crs=CRS)


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    data.to_parquet(path)


def write_round(tmp_path, name, outlines, rows, n_new):
    """The outlines of a round and its signed-off review: rows of (decision, geometry)."""
    write(tmp_path / f"results/rounds/{name}/outlines.parquet", frame(outlines))
    folder = tmp_path / f"reviews/round_{name}"
    reviewed = frame([g for _, g in rows], decision=pd.Series([decision for decision, _ in rows], dtype="str"))
    reviewed.insert(0, "candidate_id", [f"r{name}-{number:04d}" for number in range(len(rows))])
    write(folder / "reviewed.parquet", reviewed)
    before = folder.parent / f"round_{int(name) - 1:02d}/signoff.json"
    Signoff(
        round=name,
        after=sha256_file(before) if before.exists() else None,
        rows_sha256=sha256_file(folder / "reviewed.parquet"),
        candidates_sha256="ab" * 32,
        n_candidates=len(rows),
        n_new=n_new,
        cells=(),
        at="2026-01-01T00:00:00Z",
        reviewers=("r",),
    ).write(folder / "signoff.json")


@pytest.fixture
def project(tmp_path):
    """One seed at 0; slumps at 100, 200, 300; another year's at 900. The network finds 100 and 200, one a round."""
    truth = frame(
        [square(0), square(100), square(200), square(300), square(900)],
        truth_id=range(5),
        seed=[True, False, False, False, False],
        year=[2019, 2019, 2019, 2019, 2018],
    )
    truth.to_crs("EPSG:4326").to_file(tmp_path / "truth.gpkg")
    rows = [("accept", square(100, 8)), ("reject", square(500)), ("unsure", square(600)), ("accept", square(2))]
    write_round(tmp_path, "01", [square(2), square(100, 8), square(500), square(600)], rows, 2)
    write_round(tmp_path, "02", [square(100, 8), square(200), square(700)], [("edit", square(200)), ("unseen", square(700))], 1)
    write(tmp_path / "results/inventory/outlines.parquet", frame([square(2), square(100, 8), square(200)]))
    return tmp_path


def run(project, truth="truth.gpkg", **options):
    values = {"target_year": 2019, "grid": GRID, **options}
    return score(project / "results", project / "reviews", project / truth, **values)


def test_scores_of_the_inventory(project):
    scores = run(project, seconds=12.5)
    assert (scores["rounds"], scores["seconds"]) == (2, 12.5)
    assert (scores["precision"], scores["recall"], scores["f1"]) == (1.0, pytest.approx(2 / 3), pytest.approx(0.8))
    assert (scores["tp"], scores["fp"], scores["fn"]) == (2, 0, 1)
    assert scores["iou"] == pytest.approx(0.9, abs=1e-6)
    assert scores["pixel_iou"] == pytest.approx(180 / 300, abs=0.02)


def test_rounds_with_and_without_the_reviewers(project):
    first, second = run(project)["per_round"]
    counts = ("n_candidates", "n_accepted", "n_rejected", "n_unsure", "n_new")
    assert [first[key] for key in ("round", *counts)] == ["01", 4, 2, 1, 1, 2]
    assert [second[key] for key in ("n_accepted", "n_rejected", "n_unsure")] == [1, 0, 1]
    assert (first["model"]["tp"], first["model"]["fp"], first["model"]["fn"]) == (1, 2, 2)
    assert (first["inventory"]["tp"], first["inventory"]["fp"], first["inventory"]["fn"]) == (1, 0, 2)
    assert (second["inventory"]["tp"], second["inventory"]["fp"], second["inventory"]["fn"]) == (2, 0, 1)


def test_nothing_found_is_null_and_no_round_is_none(project):
    for path in (project / "reviews").glob("*/*"):
        path.unlink()
    write(project / "results/inventory/outlines.parquet", frame([]))
    scores = run(project)
    assert (scores["rounds"], scores["per_round"], scores["precision"], scores["recall"]) == (0, [], None, 0.0)
    assert (scores["iou"], scores["pixel_iou"], scores["seconds"]) == (None, 0.0, None)


def test_truth_without_years_or_with_invalid_outlines(project):
    crossed = gpd.GeoSeries.from_wkt(["POLYGON((300 0, 310 10, 310 0, 300 10, 300 0))"])[0]
    frame([square(0), square(100), crossed], seed=[True, False, False]).to_file(project / "truth.gpkg")
    scores = run(project, target_year=1999)
    assert (scores["tp"], scores["fp"], scores["fn"]) == (1, 1, 1)


@pytest.mark.parametrize("kind", [int, float, object])
def test_seeds_may_be_told_as_numbers(project, kind):
    seeds = pd.Series([1, 0, 0, 0]).astype(kind)
    frame([square(0), square(100), square(200), square(300)], seed=seeds).to_parquet(project / "truth.parquet")
    scores = run(project, truth="truth.parquet")
    assert (scores["tp"], scores["fp"], scores["fn"]) == (2, 0, 1)


@pytest.mark.parametrize(
    ("seeds", "told"),
    [
        (["true", "false"], "'true' in a row (2 of 2 are"),
        (pd.array([True, None], dtype="boolean"), "nothing in a row (1 of 2 are"),
        ([1.0, float("nan")], "nothing in a row (1 of 2 are"),
        ([0, 2], "2 in a row (1 of 2 are"),
    ],
)
def test_what_is_no_yes_and_no_no_is_no_seed(project, seeds, told):
    frame([square(0), square(100)], seed=seeds).to_file(project / "truth.geojson")
    with pytest.raises(InputError, match=re.escape(f"truth.geojson: column 'seed' holds {told} neither true nor false)")):
        run(project, truth="truth.geojson")


def test_bad_truth_and_changed_reviews_are_named(project):
    with pytest.raises(InputError, match=r"truth\.gpkg: has no outline of 2001; .* among \[2018, 2019\]"):
        run(project, target_year=2001)
    frame([square(0)], seed=[True], year=["2018"]).to_file(project / "truth.gpkg")
    with pytest.raises(InputError, match="column 'year' holds texts"):
        run(project)
    frame([square(0)]).to_file(project / "truth.gpkg")
    with pytest.raises(InputError, match="has no column 'seed'"):
        run(project)
    gpd.GeoDataFrame({"seed": [False]}, geometry=[box(35, 93, 35.01, 93.01)], crs=4326).to_file(project / "truth.gpkg")
    with pytest.raises(InputError, match=r"feature 1 \(1 of 1\) has no place on Earth in WGS 84"):
        run(project)
    write(project / "reviews/round_01/reviewed.parquet", frame([square(100)], decision=["accept"]))
    frame([square(0)], seed=[False]).to_file(project / "truth.gpkg")
    with pytest.raises(RefusedError, match="changed after the sign-off"):
        run(project)


def test_table_shows_every_round(project):
    out = text_io.StringIO()
    Console(file=out, width=160).print(table(run(project)))
    shown = out.getvalue()
    assert shown.count("network alone") == 2
    assert shown.count(" accepted ") == 2
    assert "0.667" in shown
