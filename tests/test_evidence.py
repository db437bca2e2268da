import shutil

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
from PIL import Image
from scipy import ndimage
from shapely import box

from evidence_case import CRS, NORTH, SIZE, SLUMP, WEST, build, change, image, meadow, rectangle, scene, write_dem, write_item
from rts_pipeline.errors import InputError
from rts_pipeline.evidence.chips import MAX_EDGE_PX, ground
from rts_pipeline.grid import Grid
from rts_pipeline.imagery import GREY, compose, stretch

GRID = Grid(CRS)


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


def test_years_are_moved_to_their_place_and_brought_to_one_level(tmp_path):
    """Images that lie 15 m too far east and 9 m too far north: one at half the level, as adjusted.json says of it."""
    values = scene(1000) * 0 + 1000
    values[:, 50:70, 50:70] = 3000
    east, north = 15.0, 9.0
    told = {"rts:shift_m": [east, north], "rts:shift_confidence": 1.0, "rts:shift_corrected": True}
    items = [
        write_item(tmp_path, "a", "2019-08-01T04:00:00Z", values),
        write_item(tmp_path, "b", "2018-08-01T04:00:00Z", values / 2, offset=(east, north), gain=2.0, said=told),
        write_item(tmp_path, "c", "2017-08-01T04:00:00Z", values, offset=(east, north)),
    ]
    table = build(tmp_path, items, years=(2017, 2018, 2019), scale=1)
    left, moved, target = (image(tmp_path, table.loc[("r01-0001", year)])[..., 1] > 128 for year in (2017, 2018, 2019))
    assert target.sum() == 400
    assert (moved == target).all()
    # what nobody corrected, and has no texture to measure it by, lies where its file says
    assert (np.argwhere(left).min(axis=0) - np.argwhere(target).min(axis=0)).tolist() == [-3, 5]


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


def test_a_leap_day_as_target_date(tmp_path):
    days = ("2019-02-26", "2019-03-02", "2020-02-28", "2020-03-02")
    items = [write_item(tmp_path, day, f"{day}T04:00:00Z", scene(1000)) for day in days]
    time = {"season": ["02-01", "03-31"], "target_date": "02-29"}
    assert build(tmp_path, items, years=(2019, 2020), time=time)["item_id"].tolist() == ["2019-03-02", "2020-02-28"]


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
    monkeypatch.setattr("rts_pipeline.evidence.build.BATCH", 2)
    outlines = [box(WEST + x, NORTH - 200, WEST + x + 30, NORTH - 170) for x in (150, 60, 240, 90, 200)]
    items = [write_item(tmp_path, "a", "2019-08-01T04:00:00Z", scene(1000))]
    table = build(tmp_path, items, outlines, years=(2019,))
    first = {path.name: path.read_bytes() for path in (tmp_path / "evidence").iterdir()}
    assert table.index.get_level_values(0).tolist() == [f"r01-{n:04d}" for n in range(1, 6)]
    assert len(first) == 12
    shutil.rmtree(tmp_path / "cache")
    monkeypatch.setattr("rts_pipeline.machine.threads", lambda: 1)
    monkeypatch.setattr("rts_pipeline.evidence.build.BATCH", 5)
    build(tmp_path, items, outlines, years=(2019,))
    assert {path.name: path.read_bytes() for path in (tmp_path / "evidence").iterdir()} == first, "however it is divided"
    assert not list(tmp_path.glob(".*"))


def test_no_item_that_can_be_used(tmp_path):
    items = [write_item(tmp_path, "a", "2019-08-01T04:00:00Z", scene(1000), status="rejected")]
    table = build(tmp_path, items, dem=write_dem(tmp_path / "dem.tif"))
    assert table["reason"].tolist() == [f"no image in the season of {year}" for year in (2018, 2019)]
    assert table["hillshade"].notna().all() and table["seen"].isna().all()
    told = change(tmp_path).iloc[0]
    assert (told["n_images"], told["n_seen"], told["rank"]) == (0, 0, 1)
    assert np.isnan(told["growth_m2_yr"]) and told["two_years"] is not False


def test_no_candidates(tmp_path):
    table = build(tmp_path, [write_item(tmp_path, "a", "2019-08-01T04:00:00Z", scene(1000))], outlines=())
    assert (len(table), list(table.columns[:2])) == (0, ["west", "south"])
    assert (len(change(tmp_path)), table.crs) == (0, CRS)
    some = build(tmp_path, [write_item(tmp_path, "a", "2019-08-01T04:00:00Z", scene(1000))])
    assert some.dtypes.equals(table.dtypes)


def test_windows_of_an_audit_are_shown_and_not_measured(tmp_path):
    items = [write_item(tmp_path, "a", "2019-08-01T04:00:00Z", scene(1000))]
    plain = build(tmp_path, items)
    squares = [rectangle(40, 40, 80, 80), rectangle(0, 0, 40, 40), rectangle(80, 40, 120, 80)]
    known = gpd.GeoSeries([rectangle(50, 50, 60, 60), None, None], crs=CRS)
    columns = {"window_id": ["a01-0002", "", "a01-0001"], "sampled": [True, False, True], "known": known}
    gpd.GeoDataFrame(columns, geometry=squares, crs=CRS).to_parquet(tmp_path / "audit.parquet")
    table = build(tmp_path, items, audit=tmp_path / "audit.parquet", out="audited")
    assert list(table.index.levels[0]) == ["a01-0001", "a01-0002", "r01-0001"]
    pd.testing.assert_frame_equal(table.loc[["r01-0001"]], plain)
    assert list(change(tmp_path, "audited").index) == ["r01-0001"]
    seen = table.loc[("a01-0002", 2019)]
    assert (tmp_path / "audited" / seen["true_colour"]).exists()
    drawn = np.asarray(Image.open(tmp_path / "audited" / seen["outlined"])).astype(int)
    plain_picture = np.asarray(Image.open(tmp_path / "audited" / seen["true_colour"])).astype(int)
    changed = np.abs(drawn - plain_picture).max(axis=2) > 60
    middle = changed.shape[0] // 2
    assert changed[middle, : middle // 2].any() and changed[middle // 2 : middle, middle // 2 : middle].any()
    windows = table.loc[["a01-0001", "a01-0002"]]
    assert windows[["area_m2", "prob_mean", "observed_fraction", "seen"]].isna().all(axis=None)
    assert set(windows["numbers_reason"]) == {"a window of the audit: nothing is measured"}
    assert windows.xs(2018, level="year")["reason"].tolist() == ["no image in the season of 2018"] * 2
    none = build(tmp_path, items, outlines=(), audit=tmp_path / "audit.parquet", out="windows_alone")
    assert (len(none), len(change(tmp_path, "windows_alone"))) == (4, 0)


def test_known_slumps_that_no_round_measured_are_shown_and_measured(tmp_path):
    outlines = [rectangle(50, 50, 70, 70), rectangle(20, 20, 40, 40)]
    items = [write_item(tmp_path, "a", "2019-08-01T04:00:00Z", meadow((50, 50, 70, 70), (20, 20, 40, 40)))]
    plain = build(tmp_path, items)
    # what a candidate became was measured as a candidate
    rows = [("seed-00001", "positive", "seed", np.nan), ("r01-0001", "positive", "round 01", 3600.0)]
    rows += [("r01-m0001", "positive", "round 01", np.nan), ("r01-0002", "negative", "round 01", np.nan)]
    columns = pd.DataFrame(rows, columns=["label_id", "kind", "source", "judged_m2"])
    labels = gpd.GeoDataFrame(columns, geometry=[outlines[0], SLUMP, outlines[1], SLUMP], crs=CRS)
    for now, name, outline in (("01", "seed-00001", outlines[0]), ("02", "r01-m0001", outlines[1])):
        path = tmp_path / f"labels_{now}.parquet"
        (labels if now == "02" else labels.iloc[:1]).to_parquet(path)
        table = build(tmp_path, items, labels=path, out=now)
        assert list(table.index.levels[0]) == sorted(["r01-0001", name])
        pd.testing.assert_frame_equal(table.loc[["r01-0001"]], plain)
        seen = table.loc[(name, 2019)]
        assert (tmp_path / now / seen["true_colour"]).exists()
        assert box(*seen[["west", "south", "east", "north"]]).contains(outline)
        assert seen["seen"] and seen["area_m2"] == pytest.approx(outline.area, rel=0.1)
        told = change(tmp_path, now)
        assert list(told.index) == ["r01-0001", name], "the candidates first"
        assert (told.loc[name, "first_year_visible"], told.loc["r01-0001", "rank"]) == (2019, 1)
        assert told.loc[name, ["score", "rank"]].isna().all()


def test_broken_item_is_named_and_the_old_folder_stays(tmp_path):
    items = [write_item(tmp_path, "a", "2019-08-01T04:00:00Z", scene(1000))]
    build(tmp_path, items)
    path = tmp_path / "a/sr.tif"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match=r"a/sr\.tif: can't be read"):
        build(tmp_path, items)
    assert len(list((tmp_path / "evidence").iterdir())) == 4
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
    row = build(tmp_path, items, [zone], years=(2019,), crs="EPSG:32647", scale=1).iloc[0]
    assert row["usable_fraction"] == 1.0
    assert image(tmp_path, row).std() > 30


def picture(tmp_path, name):
    return np.asarray(Image.open(tmp_path / "evidence" / name)).astype(int)


def test_terrain_is_shown_on_the_ground_of_the_chips(tmp_path):
    items = [write_item(tmp_path, str(year), f"{year}-08-01T04:00:00Z", scene(1000)) for year in (2018, 2019)]
    lit = build(tmp_path, items, dem=write_dem(tmp_path / "dem.tif", rise=(0.1, -0.1)))
    assert lit["hillshade"].nunique() == lit["slope"].nunique() == 1 and (lit["terrain_reason"] == "").all()
    towards = picture(tmp_path, lit["hillshade"].iloc[0])
    assert towards.shape == image(tmp_path, lit.iloc[0]).shape
    steep = picture(tmp_path, lit["slope"].iloc[0])
    away = build(tmp_path, items, dem=write_dem(tmp_path / "dem.tif", rise=(-0.1, 0.1)))
    assert towards.mean() > picture(tmp_path, away["hillshade"].iloc[0]).mean() + 50, "the light comes from the north-west"
    flat = build(tmp_path, items, dem=write_dem(tmp_path / "dem.tif", rise=(0.0, 0.0)))
    # the colour of 8.05 degrees, and the lightest one
    assert steep.mean(axis=(0, 1)) == pytest.approx([254, 206, 114], abs=4)
    assert picture(tmp_path, flat["slope"].iloc[0]).mean(axis=(0, 1)) == pytest.approx([255, 255, 229], abs=3)


def test_without_a_dem_or_beside_it_a_reason_is_given(tmp_path):
    items = [write_item(tmp_path, "a", "2019-08-01T04:00:00Z", scene(1000))]
    row = build(tmp_path, items, years=(2019,)).iloc[0]
    assert row[["hillshade", "slope"]].isna().all()
    assert row["terrain_reason"] == "no DEM is configured (attributes.dem)"
    beside = write_dem(tmp_path / "dem.tif", size=2)
    row = build(tmp_path, items, years=(2019,), dem=beside).iloc[0]
    assert row[["hillshade", "slope"]].isna().all()
    assert row["terrain_reason"] == "the DEM does not cover the ground"
    assert np.isnan(row["ndvi_ring"]) and not np.isnan(row["ndvi"])


def test_zeros_that_the_dem_does_not_declare_are_no_cliff(tmp_path):
    items = [write_item(tmp_path, "a", "2019-08-01T04:00:00Z", scene(1000))]
    whole = build(tmp_path, items, years=(2019,), dem=write_dem(tmp_path / "dem.tif", rise=(0.1, -0.1))).iloc[0]
    expected = picture(tmp_path, whole["slope"])
    with rasterio.open(tmp_path / "dem.tif", "r+") as dataset:
        values = dataset.read(1)
        values[14:18, 22:26] = 0
        dataset.write(values, 1)
    row = build(tmp_path, items, years=(2019,), dem=tmp_path / "dem.tif").iloc[0]
    shown = picture(tmp_path, row["slope"])
    grey = np.abs(shown - GREY).max(axis=2) < 12
    assert 0.1 < grey.mean() < 0.9, "what they and the spline touch isn't shown"
    inner = ~ndimage.binary_dilation(grey, iterations=12)
    assert np.abs(shown - expected)[inner].max() < 16, "and what is shown is the ground"
    with rasterio.open(tmp_path / "dem.tif", "r+") as dataset:
        values[:] = np.where(np.arange(40) < 30, 0, values)
        dataset.write(values, 1)
    row = build(tmp_path, items, years=(2019,), dem=tmp_path / "dem.tif").iloc[0]
    assert row["terrain_reason"] == "the DEM does not cover the ground"


def test_a_dem_that_is_none_is_named(tmp_path):
    items = [write_item(tmp_path, "a", "2019-08-01T04:00:00Z", scene(1000))]
    with pytest.raises(InputError, match=r"dem\.tif: can't be read"):
        build(tmp_path, items, dem=tmp_path / "dem.tif")
    with pytest.raises(InputError, match=r"dem\.tif: declares no CRS"):
        build(tmp_path, items, dem=write_dem(tmp_path / "dem.tif", crs=None))
    with pytest.raises(InputError, match="elevations of -500 to 9000 m"):
        build(tmp_path, items, dem=write_dem(tmp_path / "dem.tif", rise=(100.0, 0.0)))
