import json
import sys

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.ndimage import label

from rts_pipeline import cli
from rts_pipeline import polygonize as stage
from rts_pipeline.components import find, merge
from rts_pipeline.errors import InputError
from rts_pipeline.grid import GeoBox, Grid
from rts_pipeline.inventory.shape import geodesic_area_perimeter
from rts_pipeline.options import PolygonizeOptions, parse_options

CRS = "EPSG:32646"
GRID = Grid(CRS, pixel_m=3.0, cell_px=64, block_cells=1)
BLOCK = GRID.block("b_e0003_n0005")
LEVELS = st.sampled_from([0, 100, 130, 250, 255])
rasters = arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=LEVELS)


def options(**values):
    return parse_options(
        PolygonizeOptions, json.dumps({"grid": {"crs": CRS, "cell_px": 64, "block_cells": 1}, "polygonize": values})
    )


def run(tmp_path, values, **chosen):
    raster, choice, out = tmp_path / "p.tif", tmp_path / "validation.json", tmp_path / "out.parquet"
    choice.write_text(json.dumps({"threshold": 0.5, "seed_threshold": 0.0, "min_area_m2": 90.0, "hole_m2": 0.0}))
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": 255}
    with rasterio.open(raster, "w", **profile, **BLOCK.profile) as dataset:
        dataset.write(values, 1)
    stage.polygonize(BLOCK, raster, choice, out, options(**chosen))
    return gpd.read_parquet(out)


def n_px(frame):
    return [counts.sum() for counts in frame["counts"]]


def empty():
    return np.zeros(BLOCK.shape, dtype=np.uint8)


@settings(deadline=None, max_examples=200)
@given(rasters, st.integers(-50, 50), st.integers(-50, 50))
def test_components_are_those_of_the_raster(values, column, row):
    pieces = merge([find(GeoBox("x", CRS, 3.0, column, row, *values.shape[::-1]), values, 125)])
    inside = (values >= 125) & (values != 255)
    labels, count = label(inside, np.ones((3, 3)))
    assert len(pieces.n_px) == count
    assert shapely.is_valid(pieces.geometry).all()
    assert (shapely.area(pieces.geometry) == pieces.n_px).all()
    assert pieces.n_px.tolist() == np.bincount(labels[inside], minlength=count + 1)[1:].tolist()
    rows, columns = np.nonzero(inside)
    centres = shapely.points(columns + column + 0.5, rows + row + 0.5)
    assert all(shapely.contains(pieces.geometry[name - 1], at) for name, at in zip(labels[inside], centres, strict=True))
    for geometry in pieces.geometry:
        ring = shapely.get_coordinates(shapely.get_exterior_ring(shapely.get_parts(geometry)[0]))
        steps = np.diff(np.vstack([ring, ring[1]]), axis=0)
        assert (steps[:-1] * steps[1:] == 0).all(axis=1).all(), "a vertex on a straight edge"


def test_statistics_and_place(tmp_path):
    values = empty()
    values[10:14, 20:25] = 200
    values[12, 22] = 250
    frame = run(tmp_path, values)
    west, _, _, north = BLOCK.bounds
    assert frame.columns.tolist() == stage.COLUMNS
    row = frame.iloc[0]
    assert (len(frame), row["block"], row["edge_runs"]) == (1, BLOCK.id, "[]")
    assert (row["levels"].tolist(), row["counts"].tolist()) == ([200, 250], [19, 1])
    assert row.geometry.equals(shapely.box(west + 60, north - 42, west + 75, north - 30))
    assert frame.crs == CRS


def test_corners_make_one_row_and_the_unobserved_is_outside(tmp_path):
    values = empty()
    values[10:20, 10:20] = 250
    values[20:30, 20:30] = 250
    values[12:14, 12:14] = 255
    frame = run(tmp_path, values)
    assert (len(frame), n_px(frame), frame.geom_type[0]) == (1, [196], "MultiPolygon")
    assert frame.is_valid.all()


def test_threshold_is_inclusive_and_the_option_wins(tmp_path):
    values = empty()
    values[5:15, 5:15] = 124
    values[30:40, 30:40] = 125
    assert n_px(run(tmp_path, values)) == [100]
    assert n_px(run(tmp_path, values, threshold=0.496)) == [100, 100]


def test_small_ones_are_dropped_inside_and_kept_at_the_edge(tmp_path):
    values = empty()
    values[5, 5] = values[0, 9] = values[63, 63] = 250
    frame = run(tmp_path, values)
    runs = [json.loads(text) for text in frame["edge_runs"]]
    row, column = BLOCK.row, BLOCK.column
    assert n_px(frame) == [1, 1]
    assert runs[0] == [[row, column + 9, row + 1, column + 10]]
    assert {tuple(box) for box in runs[1]} == {(row + 63, column + 63, row + 64, column + 64)}


def test_an_outline_needs_a_seed_but_at_the_edge_it_may_lie_beyond(tmp_path):
    values = empty()
    values[5:15, 5:15] = 130
    values[30:40, 5:15] = 130
    values[35, 10] = 200
    values[50:64, 20:30] = 130
    assert n_px(run(tmp_path, values)) == [100, 100, 140]
    assert n_px(run(tmp_path, values, seed_threshold=0.8)) == [100, 140]
    assert n_px(run(tmp_path, values, seed_threshold=0.804)) == [140]


def test_strips_change_nothing(tmp_path, monkeypatch):
    values = np.where(np.random.default_rng(0).random(BLOCK.shape) < 0.4, 250, 0).astype(np.uint8)
    whole = run(tmp_path, values)
    sums = json.loads((tmp_path / "out.json").read_text())
    monkeypatch.setattr(stage, "STRIP_PX", 7)
    strips = run(tmp_path, values)

    def rows(frame):
        edges = [len(text) > 2 for text in frame["edge_runs"]]
        pixels = [(levels.tolist(), counts.tolist()) for levels, counts in zip(frame.levels, frame.counts, strict=True)]
        return sorted(zip(frame.geometry.to_wkt(), pixels, edges, strict=True))

    assert rows(whole) == rows(strips)
    assert json.loads((tmp_path / "out.json").read_text()) == sums


def test_sums_are_those_of_the_observed_pixels(tmp_path):
    values = empty()
    values[:32] = 255
    values[40:50, 3:13] = 125
    run(tmp_path, values)
    sums = json.loads((tmp_path / "out.json").read_text())
    pixel_m2 = geodesic_area_perimeter(gpd.GeoSeries([BLOCK.polygon], crs=CRS))[0][0] / 64**2
    assert sums["observed_m2"] == pytest.approx(32 * 64 * pixel_m2, rel=1e-6)
    assert sums["expected_area_m2"] == pytest.approx(50 * pixel_m2, rel=1e-6)


def test_what_is_dropped_is_counted_by_reason(tmp_path, capsys):
    """Each once, and what goes on in another block not yet."""
    values = empty()
    values[5:15, 5:15] = 130
    values[30:40, 5:15] = 200
    values[50, 50] = values[50:52, 40] = 200
    values[55, 55] = values[63, 20] = 130
    assert n_px(run(tmp_path, values, seed_threshold=0.8)) == [100, 1]
    sums = json.loads((tmp_path / "out.json").read_text())
    pixel_m2 = sums["observed_m2"] / 64**2
    expected = {"no_seed": (2, 101), "too_small": (2, 3), "in_filled_hole": (0, 0), "outside_aoi": (0, 0)}
    for reason, (number, pixels) in expected.items():
        assert sums["left_out"][reason] == {"outlines": number, "m2": pytest.approx(pixels * pixel_m2, abs=0.01)}
    assert capsys.readouterr().err == (
        f"polygonize {BLOCK.id}: 2 outlines; left out: 2 without a seed ({101 * pixel_m2:.0f} m2), 2 too small (27 m2)\n"
    )
    values[50, 50] = values[50:52, 40] = values[55, 55] = values[5:15, 5:15] = 0
    run(tmp_path, values, seed_threshold=0.8)
    assert capsys.readouterr().err == ""


def test_nothing_found_is_an_empty_table(tmp_path):
    frame = run(tmp_path, empty())
    assert (len(frame), frame.columns.tolist(), frame.crs) == (0, stage.COLUMNS, CRS)


def test_wrong_raster_and_choice_are_named(tmp_path):
    run(tmp_path, empty())
    other = GRID.block("b_e0004_n0005")
    with pytest.raises(InputError, match=r"p\.tif.*the pixels of block b_e0004_n0005"):
        stage.polygonize(other, tmp_path / "p.tif", tmp_path / "validation.json", tmp_path / "o.parquet", options())
    (tmp_path / "validation.json").write_text("{}")
    with pytest.raises(InputError, match=r"validation\.json: 'threshold' is None"):
        stage.polygonize(BLOCK, tmp_path / "p.tif", tmp_path / "validation.json", tmp_path / "o.parquet", options())


# --- what can be wrong: one line each, and no file that looks done ---


def complaint(monkeypatch, capfd, tmp_path, block=BLOCK.id):
    """Run the command on the raster of `run`; return its exit code and the one line that it says."""
    out, raster, choice = tmp_path / "made" / "out.parquet", tmp_path / "p.tif", tmp_path / "validation.json"
    text = options().model_dump_json()
    command = ["polygonize", block, "--probability", str(raster), "--choice", str(choice), "--out", str(out), "--options", text]
    monkeypatch.setattr(sys, "argv", ["rts-pipeline", *command])
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not list(tmp_path.glob("made/*"))
    (line,) = capfd.readouterr().err.splitlines()
    return ended.value.code, line.removeprefix(f"rts-pipeline: {tmp_path}/")


def test_a_damaged_raster_is_named(monkeypatch, capfd, tmp_path):
    run(tmp_path, np.random.default_rng(0).integers(0, 250, BLOCK.shape, np.uint8))
    path = tmp_path / "p.tif"
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"no image", None):
        path.unlink()
        if damaged is not None:
            path.write_bytes(damaged)
        code, line = complaint(monkeypatch, capfd, tmp_path)
        assert (code, line.startswith("p.tif: can't be read (")) == (3, True)
        assert line.endswith("; remove it and predict again")


def test_a_raster_of_another_block_or_of_other_numbers_is_named(monkeypatch, capfd, tmp_path):
    run(tmp_path, empty())
    code, line = complaint(monkeypatch, capfd, tmp_path, block="b_e0004_n0005")
    assert (code, line.partition("; ")[2]) == (3, "expected the pixels of block b_e0004_n0005; remove it and predict again")
    with rasterio.open(tmp_path / "p.tif", "w", driver="GTiff", count=1, dtype="float32", **BLOCK.profile) as dataset:
        dataset.write(np.full(BLOCK.shape, np.nan, np.float32), 1)
    expected = "p.tif: holds float32; expected one band, uint8: probability x 250; remove it and predict again"
    assert complaint(monkeypatch, capfd, tmp_path) == (3, expected)


def test_a_choice_that_says_too_little_is_named(monkeypatch, capfd, tmp_path):
    run(tmp_path, empty())
    (tmp_path / "validation.json").write_text("{}")
    code, line = complaint(monkeypatch, capfd, tmp_path)
    assert (code, line) == (
        3, "validation.json: 'threshold' is None; expected a number; validate again, or set polygonize.threshold"
    )  # fmt: skip


def test_a_block_that_nobody_saw_has_no_outline(tmp_path):
    frame = run(tmp_path, np.full(BLOCK.shape, 255, np.uint8))
    sums = json.loads((tmp_path / "out.json").read_text())
    assert (len(frame), sums["observed_m2"], sums["expected_area_m2"]) == (0, 0, 0)
