"""Overlaps: displacement and radiometry of pairs, on arrays; the rows of a block."""

from __future__ import annotations

import json
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
from scipy import ndimage

from adjust_case import CRS, PLACE, adjust_options, adjusted, in_other_zone, item, measure, name, seen, told, write_raster
from rts_pipeline.config import BANDS, GridSection, Mosaic, Time
from rts_pipeline.errors import InputError
from rts_pipeline.mosaic import build_mosaic
from rts_pipeline.options import MosaicOptions, OverlapsOptions
from rts_pipeline.scenes.adjust import adjust_items
from rts_pipeline.scenes.overlaps import PARTNERS, View, measure_overlaps, pairs
from rts_pipeline.scenes.radiometry import SAMPLE_PX, moments, samples, unchanged
from rts_pipeline.scenes.registration import LEAST_CORRELATION, displacement, moved, texture
from rts_pipeline.scenes.sample import LEAST_PX, STEP_PX

WINDOW = np.s_[..., 100:356, 300:556]
ALL = np.ones((256, 256), bool)
GAIN, OFFSET = (1.08, 0.95, 1.0, 0.9), (30, -20, 10, 0)


def shifted(a, b, usable_a=ALL, usable_b=ALL):
    return displacement(texture(a, usable_a), texture(b, usable_b), usable_a, usable_b, LEAST_PX)


def errors(found, east, north):
    return abs(found.columns - east / 3), abs(-found.rows - north / 3)


# --- displacement ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [(0, 0), (1, -0.5), (4.4, 2.3), (-7.5, 13.5), (36, -36)])
def test_the_sign_and_size_of_a_displacement(shift):
    a, b = seen(shift, GAIN, OFFSET, seed=1)[WINDOW], seen(seed=2)[WINDOW]
    found = shifted(a, b)
    assert max(errors(found, *shift)) < 0.1
    assert found.correlation > 0.8


def test_the_same_holes_in_both_images_do_not_hold_them_together():
    rng = np.random.default_rng(3)
    blobs = ndimage.gaussian_filter(rng.normal(size=(256, 256)), 5)
    usable = (blobs < np.quantile(blobs, 0.7)) & (np.add.outer(np.arange(256), 2 * np.arange(256)) > 250)
    a, b = (seen(shift, seed=n)[WINDOW] * usable for n, shift in enumerate([(4.5, -7.5), (0, 0)]))
    found = shifted(a, b, usable, usable)
    assert max(errors(found, 4.5, -7.5)) < 0.15
    bright = [np.where(usable, image, 9000) for image in (a, b)]  # what lies below the mask has no part in it
    assert shifted(*bright, usable, usable) == found


def test_changed_ground_and_unmasked_cloud_do_not_bias():
    a, b = seen((3.6, 1.8), seed=1)[WINDOW].copy(), seen(seed=2)[WINDOW].copy()
    a[:, 30:110, 40:120] = 5200 + seen(seed=3)[:, 30:110, 40:120] // 4
    b[:, 150:230, 20:100] = 500
    assert max(errors(shifted(a, b), 3.6, 1.8)) < 0.1


def test_no_displacement_from_nothing():
    a, b = seen()[WINDOW], seen()[..., 100:356, 700:956]
    left, right = ALL.copy(), ALL.copy()
    left[:, 140:], right[:, :130] = False, False
    assert shifted(a, a, left, right) is None
    assert shifted(np.full_like(a, 1000), np.full_like(a, 1000)) is None
    assert shifted(a, b).correlation < LEAST_CORRELATION  # other ground


@pytest.mark.parametrize("by", [(0, 0), (1, -2), (-3, 0), (0, 5), (9, 0), (-9, 9)])
def test_moved(by):
    values = np.arange(1, 1 + 6 * 5).reshape(1, 6, 5)
    expected = ndimage.shift(values, (0, *by), order=0, mode="constant")
    assert np.array_equal(moved(values, by), expected)


# --- radiometry --------------------------------------------------------------------------------------------------------


def test_samples_are_means_of_wholly_usable_squares():
    a, b = seen(seed=1)[WINDOW], seen(seed=2)[WINDOW]
    common = ALL.copy()
    common[3, 20] = common[255, 255] = False
    x, y = samples(a, b, common)
    assert x.shape == y.shape == (4, (256 // SAMPLE_PX) ** 2 - 2)
    assert np.allclose(x[:, 0], a[:, :8, :8].mean(axis=(1, 2)))
    assert np.allclose(y[:, 2], b[:, :8, 24:32].mean(axis=(1, 2)))  # the third square is out


def test_changed_ground_is_left_out():
    truth = seen()[WINDOW].astype(float)
    a, b = truth.copy(), truth * np.array(GAIN)[:, None, None] + np.array(OFFSET)[:, None, None]
    changed = np.zeros_like(ALL)
    changed[:80, :128], changed[200:, 100:220] = True, True  # a quarter of the window
    b[:, changed] = b[:, changed] * 0.7 + 1500
    x, y = samples(a.round().astype(np.uint16), b.round().astype(np.uint16), ALL)
    kept = unchanged(x, y)
    assert not kept.reshape(32, 32)[changed[4::8, 4::8]].any()
    assert kept.reshape(32, 32)[~changed[4::8, 4::8]].mean() > 0.95
    slope, level = np.polyfit(x[0, kept], y[0, kept], 1)
    assert (slope, level) == (pytest.approx(1.08, abs=0.01), pytest.approx(30, abs=10))


def test_moments_of_parts_add_up():
    x, y = samples(seen(seed=1)[WINDOW], seen(seed=2)[WINDOW], ALL)
    parts = [moments(x[:, part], y[:, part]) for part in (slice(0, 300), slice(300, None))]
    assert np.allclose(sum(parts), moments(x, y))


# --- pairs -------------------------------------------------------------------------------------------------------------


def view(number, columns):
    usable = np.zeros((256, 256), bool)
    usable[:, columns] = True
    return View("reference" if number is None else name(number), np.zeros((4, 256, 256), np.uint16), usable)


def test_an_item_is_compared_with_three_before_and_after_it():
    n = 9
    found = pairs([view(number, slice(0, 200)) for number in range(n)])
    assert found == [(a, b) for a in range(n) for b in range(a + 1, min(a + 1 + PARTNERS, n))]


def test_partners_are_those_that_share_ground_and_none_is_left_alone():
    left, right, wide = slice(0, 120), slice(130, 256), slice(0, 256)
    found = pairs([view(0, wide), *(view(number, left) for number in range(1, 5)), view(5, right)])
    assert found == [(0, 1), (0, 2), (0, 3), (0, 5), (1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)]
    assert pairs([view(0, left), view(1, slice(105, 256))]) == []  # 15 columns are too few
    assert pairs([]) == []


def test_the_reference_is_compared_with_all():
    found = pairs([*(view(number, slice(0, 200)) for number in range(6)), view(None, slice(0, 256))])
    assert [a for a, b in found if b == 6] == list(range(6))


# --- a block -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    folder = tmp_path_factory.mktemp("three")
    cloud = np.zeros(PLACE.shape, bool)
    cloud[40:140, 530:640] = True
    items = [
        item(folder, 1, seen(seed=1), columns=slice(0, 740)),
        item(folder, 2, seen((4.2, -2.7), GAIN, OFFSET, seed=2), columns=slice(100, 1024), masked=cloud),
        item(folder, 3, seen((-3, 0), seed=3), columns=slice(600, 1024)),
    ]
    return folder, items


def test_a_row_for_each_window_and_pair(three):
    folder, items = three
    table = gpd.read_parquet(measure(folder, items))
    assert [tuple(row) for row in table[["window_column", "a", "b"]].to_numpy()] == [
        (PLACE.column, name(1), name(2)),
        (PLACE.column + STEP_PX, name(1), name(2)),
        (PLACE.column + STEP_PX, name(1), name(3)),
        (PLACE.column + STEP_PX, name(2), name(3)),
    ]
    expected = np.array([(-4.2, 2.7), (-4.2, 2.7), (3, 0), (7.2, -2.7)])
    assert np.abs(table[["shift_east_m", "shift_north_m"]].to_numpy() - expected).max() < 0.3
    assert table.crs == CRS
    assert table.geometry.iloc[1].bounds == replace(PLACE, column=PLACE.column + 512, width=256, height=256).bounds
    # columns 100 (104 in whole squares) to 256, less what moved out by one row and column: one square less each way
    assert 0.9 * 18 * 31 < table["samples"].iloc[0] <= 18 * 31
    mean = table[["green_x", "green_y"]].div(table["samples"], axis=0)
    assert np.allclose(mean["green_y"].iloc[:2], mean["green_x"].iloc[:2] * 0.95 - 20, atol=3)


def test_rows_do_not_depend_on_how_blocks_are_cut_nor_on_the_order_of_items(three):
    folder, items = three
    whole = measure(folder, items)
    again = measure(folder / "again", items[::-1])
    assert whole.read_bytes() == again.read_bytes()
    cuts = [(0, 1), (1, 512), (513, 511)]  # the second window begins in the second part's last column but one
    parts = [replace(PLACE, id=f"part{n}", column=PLACE.column + start, width=width) for n, (start, width) in enumerate(cuts)]
    tables = [gpd.read_parquet(measure(folder, items, part)) for part in parts]
    assert [len(table) for table in tables] == [1, 3, 0]
    together = gpd.pd.concat(tables[:2], ignore_index=True)
    assert together.equals(gpd.read_parquet(whole))


def test_changed_ground_has_no_part_in_the_sums(tmp_path):
    snow = seen(gain=GAIN, offset=OFFSET, seed=2)
    snow[:, 20:130, 40:160] = snow[:, 20:130, 552:672] = 6000  # a fifth of both windows
    table = gpd.read_parquet(measure(tmp_path, [item(tmp_path, 1, seen(seed=1)), item(tmp_path, 2, snow)]))
    assert len(table) == 2
    for band, gain, offset in zip(("blue", "green", "red", "nir"), GAIN, OFFSET, strict=True):
        x, y = (table[f"{band}_{of}"] / table["samples"] for of in "xy")
        assert np.allclose(y, x * gain + offset, atol=4)
    assert table["samples"].between(0.7 * 1024, 0.85 * 1024).all()


def test_rejected_items_have_no_part(three, tmp_path):
    _, items = three
    rejected = tmp_path / "scenes" / name(2) / "item.json"
    rejected.parent.mkdir(parents=True)
    document = json.loads(items[1].read_text())
    document["properties"]["rts:status"] = "rejected"
    rejected.write_text(json.dumps(document))
    table = gpd.read_parquet(measure(tmp_path, [items[0], rejected, items[2]]))
    assert {*table["a"], *table["b"]} == {name(1), name(3)}


def test_only_what_is_wanted_is_measured(three):
    folder, items = three
    table = gpd.read_parquet(measure(folder / "no_shifts", items, shifts="none"))
    assert table["correlation"].isna().all()
    assert (table["samples"] > 0).all()
    table = gpd.read_parquet(measure(folder / "no_radiometry", items, radiometry="none"))
    assert table["correlation"].notna().all()
    assert (table["samples"] == 0).all()


def test_items_in_two_zones(tmp_path):
    far, transform = in_other_zone(seen((5.1, -3.9), GAIN, OFFSET, seed=2), "EPSG:32645")
    items = [
        item(tmp_path, 1, seen(seed=1)),
        item(tmp_path, 2, far, crs="EPSG:32645", transform=transform),
        item(tmp_path, 3, seen(seed=3)),
    ]
    first, second, third = adjusted(tmp_path, items)
    assert np.abs(np.array(second["rts:shift_m"]) - (5.1, -3.9)).max() < 0.3
    assert np.abs([first["rts:shift_m"], third["rts:shift_m"]]).max() < 0.3
    assert second["rts:gain"]["nir"] / first["rts:gain"]["nir"] == pytest.approx(1 / 0.9, rel=0.01)


def test_a_damaged_item_is_named_in_one_line(three, tmp_path):
    _, items = three
    broken = item(tmp_path, 4, seen(seed=4))
    raster = next((tmp_path / "orders").rglob("*_SR.tif"))
    raster.write_bytes(raster.read_bytes()[: raster.stat().st_size // 5])
    with pytest.raises(InputError) as error:
        measure(tmp_path, [*items, broken])
    assert name(4) in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "overlaps" / "place.parquet").exists()


# --- other years -------------------------------------------------------------------------------------------------------


def test_items_of_other_years_are_held_against_the_mosaics(tmp_path):
    grid = GridSection(crs=CRS, cell_px=STEP_PX)
    target = item(tmp_path, 0, seen())
    displaced = item(tmp_path, 1, seen(shift=(4.5, -2.4), gain=GAIN, offset=OFFSET, seed=1))
    far = item(tmp_path, 2, seen(shift=(60, 0), seed=2))
    mosaics = [tmp_path / "mosaic" / f"{cell}.tif" for cell in ("e0312_n2512", "e0313_n2512")]
    options = MosaicOptions(time=Time(), grid=grid, mosaic=Mosaic())
    for path in mosaics:
        build_mosaic(grid.grid().cell(path.stem), [target], path, path.with_suffix(".source"), options)
    out = tmp_path / "years.parquet"
    compared = OverlapsOptions(grid=grid, adjust=adjust_options().adjust)
    measure_overlaps(PLACE, [far, displaced], out, compared, mosaics)
    table = gpd.read_parquet(out)
    assert set(zip(table.a, table.b, strict=True)) == {(name(1), "mosaic"), (name(2), "mosaic")}
    adjust_items([out], [displaced, far], tmp_path / "record.json", adjust_options())
    properties = told(displaced)
    assert properties["rts:shift_m"] == pytest.approx([4.5, -2.4], abs=0.3)
    assert properties["rts:shift_corrected"]
    for band, factor, constant in zip(BANDS, GAIN, OFFSET, strict=True):
        level = (1500 * factor + constant) * properties["rts:gain"][band] + properties["rts:offset"][band]
        assert level == pytest.approx(1500, abs=8), "the mosaic's level, not one between"
        assert properties["rts:gain"][band] == pytest.approx(1 / factor, rel=0.02)
    assert told(far)["rts:status"] == "rejected"
    measure_overlaps(PLACE, [], out, compared, mosaics)
    assert len(gpd.read_parquet(out)) == 0


# --- the reference -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crs", [CRS, "EPSG:4326"])
def test_the_reference_says_what_the_right_place_is(tmp_path, crs):
    right, transform = (seen(seed=9), PLACE.transform) if crs == CRS else in_other_zone(seen(seed=9), crs)
    reference = write_raster(tmp_path / "reference.tif", (right * 0.5).astype(np.float32), crs, transform)
    shifts = [(6, 3), (6.6, 3.6), (7.5, 2.4)]
    items = [item(tmp_path, n, seen(shift, seed=n)) for n, shift in enumerate(shifts)]
    found = adjusted(tmp_path, items, reference=str(reference))
    assert np.abs(np.array([told["rts:shift_m"] for told in found]) - shifts).max() < (0.3 if crs == CRS else 0.6)
    # its radiometry, twice as dark, is not taken over
    assert [told["rts:gain"]["red"] for told in found] == pytest.approx([1, 1, 1], abs=0.01)


@pytest.mark.parametrize("problem", ["missing", "bands", "crs", "text"])
def test_a_reference_that_cannot_be_one(tmp_path, problem):
    path, values = tmp_path / "reference.tif", seen()[:3] if problem == "bands" else seen()
    if problem == "text":
        path.write_text("no raster")
    elif problem != "missing":
        write_raster(path, values, None if problem == "crs" else CRS, PLACE.transform)
    says = {"missing": "no such file", "bands": "has 3 bands", "crs": "declares no CRS", "text": "can't be read"}
    with pytest.raises(InputError, match=f"reference.tif: {says[problem]}"):
        measure(tmp_path, [], reference=str(path))
