import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from PIL import Image
from shapely import box

from rts_pipeline.errors import InputError
from rts_pipeline.evidence import MAX_EDGE_PX, build_evidence, ground
from rts_pipeline.grid import Grid
from rts_pipeline.imagery import GREY, compose, stretch
from rts_pipeline.options import EvidenceOptions, parse_options

CRS = "EPSG:32646"
GRID = Grid(CRS)
WEST, NORTH, SIZE = 498_000.0, 3_780_000.0, 120
SLUMP = box(WEST + 150, NORTH - 210, WEST + 210, NORTH - 150)
FOUR = {"blue": 1, "green": 2, "red": 3, "nir": 4}


def write_item(folder, name, acquired, values, classes=None, bands=FOUR, status="used", offset=(0.0, 0.0), gain=1.0):
    """A measured item: reflectance (bands, h, w), usable classes, item.json. Returns its row of the catalogue."""
    here = folder / name
    here.mkdir(parents=True)
    classes = np.ones(values.shape[1:], np.uint8) if classes is None else classes
    place = {"crs": CRS, "transform": Affine(3, 0, WEST + offset[0], 0, -3, NORTH + offset[1])}
    for file, array in (("sr.tif", values.astype(np.uint16)), ("usable.tif", classes[None])):
        shape = {"count": len(array), "height": array.shape[1], "width": array.shape[2], "dtype": array.dtype}
        with rasterio.open(here / file, "w", driver="GTiff", nodata=0, **shape, **place) as dataset:
            dataset.write(array)
    assets = {"reflectance": {"href": str(here / "sr.tif")}, "usable": {"href": "./usable.tif"}}
    told = {"datetime": acquired, "rts:bands": bands, "rts:status": status, "rts:usable_fraction": 1.0}
    told |= {"rts:reflectance": "surface", "rts:gain": dict.fromkeys(bands, gain), "rts:policy": {"version": "2-x"}}
    item = {"id": name, "properties": told, "assets": assets, "geometry": None}
    (here / "item.json").write_text(json.dumps(item))
    west, north = place["transform"].c, place["transform"].f
    footprint = box(west, north - 3 * values.shape[1], west + 3 * values.shape[2], north)
    row = {"item_id": name, "acquired": acquired, "status": status, "item_json": str(here / "item.json")}
    return {**row, "geometry": footprint}


def scene(level, bands=4):
    ramp = np.arange(SIZE * SIZE).reshape(SIZE, SIZE) % 97
    return np.stack([ramp * 5 + level + 200 * band for band in range(bands)])


def build(tmp_path, items, outlines=(SLUMP,), years=(2018, 2019), known=None, **evidence):
    catalog, candidates = tmp_path / "catalog.parquet", tmp_path / "candidates.parquet"
    gpd.GeoDataFrame(items, geometry="geometry", crs=CRS).to_crs("EPSG:4326").to_parquet(catalog)
    names = pd.Series([f"r01-{number:04d}" for number in range(1, len(outlines) + 1)], dtype="str")
    before = gpd.GeoSeries([known] * len(outlines), crs=CRS)
    status = "candidate" if known is None else "changed"
    columns = {"candidate_id": names, "status": status, "known": before}
    gpd.GeoDataFrame(columns, geometry=list(outlines), crs=CRS).to_parquet(candidates)
    values = {"years": list(years), "margin_m": 30.0, "min_size_px": 32, "scale": 2, **evidence}
    options = parse_options(EvidenceOptions, json.dumps({"time": {}, "grid": {"crs": CRS}, "evidence": values}))
    build_evidence(candidates, catalog, tmp_path / "evidence", options)
    table = pd.read_parquet(tmp_path / "evidence/evidence.parquet")
    return table.set_index(["candidate_id", "year"])


def image(tmp_path, row, colour="true"):
    return np.asarray(Image.open(tmp_path / "evidence" / row[f"{colour}_colour"])).astype(int)


def test_a_slump_that_changed_is_shown_with_both_outlines(tmp_path):
    items = [write_item(tmp_path, name, f"{name}-08-01T04:00:00Z", np.full((4, SIZE, SIZE), 2000)) for name in ("2018", "2019")]
    known = box(WEST + 165, NORTH - 195, WEST + 195, NORTH - 165)
    assert build(tmp_path, items).outlined.isna().all()
    table = build(tmp_path, items, known=known, scale=3)
    for _, row in table.iterrows():
        plain, outlined = (
            np.asarray(Image.open(tmp_path / "evidence" / row[c])).astype(int) for c in ("true_colour", "outlined")
        )
        assert plain.shape == outlined.shape
        drawn = np.argwhere(np.abs(outlined - plain).sum(axis=2) > 60)
        # the candidate's 60 m, three screen pixels to the grid's pixel of 3 m, and the lines' width
        assert np.ptp(drawn, axis=0) == pytest.approx([60, 60], abs=4)
        inner = drawn[(np.abs(drawn - drawn.mean(axis=0)) < 20).all(axis=1)]
        assert np.ptp(inner, axis=0) == pytest.approx([30, 30], abs=4)


def test_same_ground_and_one_stretch_for_all_years(tmp_path):
    items = [
        write_item(tmp_path, "a", "2018-08-01T04:00:00Z", scene(1000)),
        write_item(tmp_path, "b", "2019-08-01T04:00:00Z", scene(2000)),
    ]
    table = build(tmp_path, items)
    before, target = (table.loc[("r01-0001", year)] for year in (2018, 2019))
    assert (before["item_id"], target["item_id"], target["acquired"]) == ("a", "b", "2019-08-01T04:00:00Z")
    assert (target["usable_fraction"], target["reason"]) == (1.0, "")
    for colour in ("true", "false"):
        assert image(tmp_path, target, colour).shape == image(tmp_path, before, colour).shape == (82, 82, 3)
        assert image(tmp_path, target, colour).std() > 50
        assert image(tmp_path, before, colour).max() < 10, "darker than anything of the target year"


def test_pixels_are_at_their_place(tmp_path):
    values = scene(1000) * 0 + 1000
    values[:, 50:70, 50:70] = 3000  # exactly the slump
    table = build(tmp_path, [write_item(tmp_path, "a", "2019-08-01T04:00:00Z", values)], scale=1)
    shown = image(tmp_path, table.loc[("r01-0001", 2019)])[..., 1]
    bright = np.argwhere(shown > 128)
    view = ground(SLUMP.bounds, GRID, 30.0, 32)
    column, row = round(WEST / 3) - view.column + 50, round(-NORTH / 3) - view.row + 50
    assert bright.min(axis=0).tolist() == [row, column]
    assert bright.max(axis=0).tolist() == [row + 19, column + 19]


def test_best_item_of_a_year_is_chosen(tmp_path):
    half = np.ones((SIZE, SIZE), np.uint8)
    half[:, :60] = 2
    items = [
        write_item(tmp_path, "a", "2019-08-01T04:00:00Z", scene(1000), half),
        write_item(tmp_path, "b", "2019-08-20T04:00:00Z", scene(1000)),
        write_item(tmp_path, "c", "2019-07-20T04:00:00Z", scene(1000)),
        write_item(tmp_path, "d", "2019-07-20T04:00:00Z", scene(1000)),
        write_item(tmp_path, "e", "2019-08-01T04:00:00Z", scene(1000), status="rejected"),
        write_item(tmp_path, "f", "2019-10-01T04:00:00Z", scene(1000)),
    ]
    assert build(tmp_path, items).loc[("r01-0001", 2019), "item_id"] == "c"
    half_only = build(tmp_path, items[:1]).loc[("r01-0001", 2019)]
    assert 0.4 < half_only["usable_fraction"] < 0.6


def test_missing_years_have_a_reason_and_the_nearest_year_stretches(tmp_path):
    cloudy = np.full((SIZE, SIZE), 2, np.uint8)
    items = [
        write_item(tmp_path, "a", "2017-08-01T04:00:00Z", scene(1000)),
        write_item(tmp_path, "b", "2019-08-01T04:00:00Z", scene(1000), cloudy),
    ]
    table = build(tmp_path, items, years=(2017, 2018, 2019))
    assert table["reason"].tolist() == [
        "",
        "no image in the season of 2018",
        "no usable pixel in 1 image(s) of the season of 2019",
    ]
    assert table["item_id"].isna().tolist() == table["true_colour"].isna().tolist() == [False, True, True]
    assert np.isnan(table["usable_fraction"].iloc[1]) and table["usable_fraction"].iloc[2] == 0
    assert image(tmp_path, table.iloc[0]).std() > 50
    assert len(list((tmp_path / "evidence").glob("*.webp"))) == 2


def test_unobserved_is_grey_and_clouds_are_shown(tmp_path):
    values, classes = scene(1000), np.ones((SIZE, SIZE), np.uint8)
    values[:, :, :60], classes[:, :60] = 0, 0
    values[:, 64:, 60:], classes[64:, 60:] = 9000, 2
    items = [write_item(tmp_path, "a", "2019-08-01T04:00:00Z", values, classes)]
    shown = image(tmp_path, build(tmp_path, items, scale=1).loc[("r01-0001", 2019)])
    half = len(shown) // 2
    assert np.abs(shown[:, : half - 2] - GREY).max() <= 3
    assert shown[half + 8 :, half + 2 :].min() > 250


def test_other_grid_and_other_order_of_bands(tmp_path):
    bands = {"red": 1, "green": 2, "blue": 3, "nir": 4}
    items = [write_item(tmp_path, "a", "2019-08-01T04:00:00Z", scene(1000), bands=bands, offset=(1.2, -0.7))]
    row = build(tmp_path, items).loc[("r01-0001", 2019)]
    assert row["reason"] == ""
    assert image(tmp_path, row).std() > 30


def test_many_candidates_over_batches_and_nothing_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("rts_pipeline.evidence.BATCH", 2)
    outlines = [box(WEST + x, NORTH - 200, WEST + x + 30, NORTH - 170) for x in (150, 60, 240, 90, 200)]
    items = [write_item(tmp_path, "a", "2019-08-01T04:00:00Z", scene(1000))]
    table = build(tmp_path, items, outlines, years=(2019,))
    first = {path.name: path.read_bytes() for path in (tmp_path / "evidence").iterdir()}
    assert table.index.get_level_values(0).tolist() == [f"r01-{n:04d}" for n in range(1, 6)]
    assert len(first) == 11
    build(tmp_path, items, outlines, years=(2019,))
    assert {path.name: path.read_bytes() for path in (tmp_path / "evidence").iterdir()} == first
    assert not list(tmp_path.glob(".*"))


def test_no_candidates(tmp_path):
    table = build(tmp_path, [write_item(tmp_path, "a", "2019-08-01T04:00:00Z", scene(1000))], outlines=())
    assert (len(table), list(table.columns[:2])) == (0, ["item_id", "acquired"])


def test_broken_item_is_named_and_the_old_folder_stays(tmp_path):
    items = [write_item(tmp_path, "a", "2019-08-01T04:00:00Z", scene(1000))]
    build(tmp_path, items)
    path = tmp_path / "a/sr.tif"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match=r"a/sr\.tif: can't be read"):
        build(tmp_path, items)
    assert len(list((tmp_path / "evidence").iterdir())) == 3
    (tmp_path / "a/item.json").write_text("{}")
    with pytest.raises(InputError, match=r"item\.json: lacks 'properties'"):
        build(tmp_path, items)


def test_ground_is_square_snapped_and_bounded():
    small = ground((100.0, 200.0, 130.0, 230.0), GRID, 30.0, 96)
    assert (small.width, small.height, small.pixel_m) == (96, 96, 3.0)
    wide = ground((0.0, 0.0, 900.0, 30.0), GRID, 150.0, 96)
    west, south, east, north = wide.bounds
    assert wide.width == wide.height == 401
    assert west <= -147 and east >= 1047 and south < -150 and north > 150
    huge = ground((0.0, 0.0, 30_000.0, 10.0), GRID, 150.0, 96)
    assert huge.width <= MAX_EDGE_PX
    assert huge.bounds[0] <= -140 and huge.bounds[2] >= 30_140


def test_stretch_and_composition():
    values = {name: np.array([[0, 100], [200, 300]], np.uint16) for name in "abc"}
    limits = stretch(values, np.array([[False, True], [True, True]]))
    assert limits["a"] == (104.0, 296.0)
    shown = compose(values, ("a", "b", "c"), dict.fromkeys("abc", (100.0, 300.0)), np.ones((2, 2), bool))
    assert shown[..., 0].tolist() == [[GREY, 0], [128, 255]]
    flat = stretch({"a": np.full((2, 2), 7, np.uint16)}, np.ones((2, 2), bool))
    assert flat["a"] == (7.0, 8.0)


def test_ground_beyond_the_image_and_another_utm_zone(tmp_path):
    items = [write_item(tmp_path, "a", "2019-08-01T04:00:00Z", scene(1000))]
    beyond = box(WEST + 400, NORTH - 200, WEST + 460, NORTH - 140)  # the image ends at 360
    items[0]["geometry"] = items[0]["geometry"].buffer(500)
    table = build(tmp_path, items, [beyond, SLUMP], years=(2019,))
    assert table["reason"].tolist() == ["no usable pixel in 1 image(s) of the season of 2019", ""]
    zone = gpd.GeoSeries([SLUMP], crs=CRS).to_crs("EPSG:32647")[0].envelope
    catalog, candidates = tmp_path / "catalog.parquet", tmp_path / "candidates.parquet"
    columns = {"candidate_id": ["r01-0001"], "status": ["candidate"], "known": [None]}
    gpd.GeoDataFrame(columns, geometry=[zone], crs="EPSG:32647").to_parquet(candidates)
    values = {"years": [2019], "margin_m": 30.0, "min_size_px": 32, "scale": 1}
    options = json.dumps({"time": {}, "grid": {"crs": "EPSG:32647"}, "evidence": values})
    build_evidence(candidates, catalog, tmp_path / "evidence", parse_options(EvidenceOptions, options))
    row = pd.read_parquet(tmp_path / "evidence/evidence.parquet").iloc[0]
    assert row["usable_fraction"] == 1.0
    assert image(tmp_path, row).std() > 30
