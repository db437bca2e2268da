"""Mosaics: the order of items, values on the same and on other grids, the source map, memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tracemalloc
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from rio_cogeo.cogeo import cog_validate

from items import write_item
from mosaic_case import (
    CELL,
    CRS,
    NORTH,
    OPTIONS,
    SIZE,
    SOUTH,
    WEST,
    adjusted,
    at,
    flat,
    half,
    item,
    mosaic,
    with_choice,
)
from rts_pipeline.config import GridSection, Mosaic, Time
from rts_pipeline.errors import InputError
from rts_pipeline.grid import Grid
from rts_pipeline.mosaic import build_mosaic
from rts_pipeline.options import MosaicOptions
from rts_pipeline.scenes.delivered import read
from rts_pipeline.scenes.reader import MeasuredItem

quick = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


# --- order -------------------------------------------------------------------------------------------------------------


def test_the_clearest_item_comes_first_then_the_nearest_date_then_the_id(tmp_path):
    items = [
        item(tmp_path, 1, flat(1000), masked=half(np.s_[64:]), day="2019-08-01"),
        item(tmp_path, 2, flat(2000), masked=half(np.s_[:20]), day="2019-07-05"),
        item(tmp_path, 3, flat(3000), masked=half(np.s_[:20]), day="2019-08-20"),
        item(tmp_path, 4, flat(4000), masked=half(np.s_[:21]), day="2019-08-10"),  # as clear, to 0.01
        item(tmp_path, 5, flat(5000), masked=half(np.s_[:20]), day="2019-08-10"),
    ]
    values, source, listed = mosaic(tmp_path, items)
    assert [entry["id"][-1] for entry in listed] == ["4", "5", "3", "2", "1"]
    assert listed[0]["acquired"] == "2019-08-10T04:10:00.000000Z"
    expected = np.repeat([5, 2, 1], [20, 1, SIZE - 21])
    assert np.array_equal(source, np.broadcast_to(expected[:, None], source.shape))
    for index, value in ((5, 1000), (2, 5000), (1, 4000)):
        assert np.array_equal(values[:, source == index][:, 0], value + np.arange(4))


def test_a_leap_day_as_target_date(tmp_path):
    options = MosaicOptions(time=Time(target_date="02-29"), mosaic=Mosaic(), grid=OPTIONS.grid)
    items = [item(tmp_path, 1, flat(1000), day="2019-02-27"), item(tmp_path, 2, flat(2000), day="2019-03-01")]
    assert mosaic(tmp_path, items, options=options)[2][0]["id"][-1] == "2"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Items on the grid, beside it, shifted by a part of a pixel, and of the next zone."""
    folder = tmp_path_factory.mktemp("mixed")
    random = np.random.default_rng(1)
    holes = [random.random((SIZE, SIZE)) < share for share in (0.3, 0.1, 0.1, 0.5)]
    x, y = Transformer.from_crs(32646, 32645, always_xy=True).transform(WEST - 60, NORTH + 60)
    places = [(at(), CRS), (at(-40, 30), CRS), (at(10.4, -20.3), CRS), (Affine(3, 0, x, 0, -3, y), "EPSG:32645")]
    return [
        item(folder, n, random.integers(2, 9000, (4, SIZE, SIZE)).astype(np.uint16), masked=mask, transform=place, crs=crs)
        for n, (mask, (place, crs)) in enumerate(zip(holes, places, strict=True))
    ]


@quick
@given(st.randoms(use_true_random=False), st.booleans())
def test_bytes_do_not_depend_on_the_order_of_items(tmp_path, mixed, random, twice):
    def made(items):
        mosaic(tmp_path, items)
        return [(tmp_path / name).read_bytes() for name in ("cell.tif", "cell_source.tif")]

    shuffled = random.sample(mixed, len(mixed)) + (mixed[:2] if twice else [])
    assert made(shuffled) == made(mixed)


def test_rejected_and_distant_items_are_left_out(tmp_path):
    items = [
        item(tmp_path, 1, flat(1000), masked=half(np.s_[:])),
        item(tmp_path, 2, flat(2000), transform=at(5 * SIZE, 0)),
        item(tmp_path, 3, flat(3000), transform=at(0, 100)),
    ]
    values, source, listed = mosaic(tmp_path, items)
    assert [entry["id"][-1] for entry in listed] == ["3"]
    assert not source[:100].any()
    assert np.array_equal(values[:, 100:], flat(3000)[:, 100:])
    for none in ([], items[:2]):
        values, source, listed = mosaic(tmp_path, none)
        assert listed == []
        assert not values.any()


# --- values ------------------------------------------------------------------------------------------------------------


@quick
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 4))
def test_on_the_same_grid_values_are_taken_as_they_are(tmp_path, seed, count):
    shutil.rmtree(tmp_path)
    random = np.random.default_rng(seed)
    expected, from_item = np.zeros((4, SIZE, SIZE), np.uint16), np.zeros((SIZE, SIZE), int)
    drawn = []
    for number in range(count):
        shape = tuple(random.integers(40, 160, 2))
        values = random.integers(0, 60000, (4, *shape)).astype(np.uint16) * (random.random(shape) < 0.8)
        masked = random.random(shape) < random.random() * 0.8
        column, row = random.integers(-60, 100, 2)
        path = item(tmp_path, number, values, masked=masked, transform=at(column, row))
        drawn.append((MeasuredItem.load(path), path, values, (values > 1).all(axis=0) & ~masked, column, row))
    order = sorted(drawn, key=lambda entry: (-round(entry[0].usable_fraction, 2), entry[0].id))
    for entry in order:
        if entry[0].status == "used":
            values, good, column, row = entry[2:]
            rows, columns = np.nonzero(good)
            inside = (rows + row >= 0) & (rows + row < SIZE) & (columns + column >= 0) & (columns + column < SIZE)
            rows, columns = rows[inside], columns[inside]
            free = from_item[rows + row, columns + column] == 0
            rows, columns = rows[free], columns[free]
            expected[:, rows + row, columns + column] = values[:, rows, columns]
            from_item[rows + row, columns + column] = int(entry[0].id[-1]) + 1
    values, source, listed = mosaic(tmp_path, [entry[1] for entry in drawn])
    assert np.array_equal(values, expected)
    numbers = np.array([0, *(int(entry["id"][-1]) + 1 for entry in listed)])
    assert np.array_equal(numbers[source], from_item)


@quick
@given(column=st.floats(-30, 30), row=st.floats(-30, 30), seed=st.integers(0, 99), zone=st.sampled_from([32645, 32646]))
def test_nothing_bleeds_over_the_edges_of_what_is_usable(tmp_path, column, row, seed, zone):
    shutil.rmtree(tmp_path)
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    values = flat(1000)
    swath = columns + 0.4 * rows > 45
    values[:, ~swath] = 0
    values[:3, swath & (columns + 0.4 * rows < 48)] = 1  # the floor along the edge
    cloud = np.hypot(columns - 90, rows - 60) < 12
    values[:, cloud] = 9000
    values[:, random.random((SIZE, SIZE)) < 0.02] = 0
    x, y = Transformer.from_crs(32646, zone, always_xy=True).transform(*(at(column, row) @ (0, 0)))
    path = item(tmp_path, 0, values, masked=cloud, transform=Affine(3, 0, x, 0, -3, y), crs=f"EPSG:{zone}")
    got, source, _ = mosaic(tmp_path, [path])
    assert set(np.unique(got[0])) <= {0, 1000}
    assert set(np.unique(got[3])) <= {0, 1003}
    if zone == 32646:  # a usable pixel of the item lies within half a pixel of each one taken, and each such one is taken
        good = (values > 1).all(axis=0) & ~cloud
        r, c = np.round(rows - row).astype(int), np.round(columns - column).astype(int)
        within = (r >= 0) & (r < SIZE) & (c >= 0) & (c < SIZE)
        expected = within & good[np.clip(r, 0, SIZE - 1), np.clip(c, 0, SIZE - 1)]
        tie = (np.abs((rows - row) % 1 - 0.5) < 0.02) | (np.abs((columns - column) % 1 - 0.5) < 0.02)
        assert np.array_equal((source > 0)[~tie], expected[~tie])


@pytest.mark.parametrize(("zone", "column"), [(32646, 0.5), (32646, -3.25), (32645, 0), (32647, 0)])
def test_resampled_values_lie_where_they_belong(tmp_path, zone, column):
    """A smooth surface of the ground comes out as itself, to a small part of its slope a pixel."""

    def ground(x, y):
        return 3000 + 1500 * np.sin((x - WEST) / 60) * np.cos((y - SOUTH) / 80)  # at most 75 a pixel

    x, y = Transformer.from_crs(32646, zone, always_xy=True).transform(WEST - 90 + 3 * column, NORTH + 90)
    place = Affine(3, 0, x, 0, -3, y)
    rows, columns = np.mgrid[:260, :260] + 0.5
    there = Transformer.from_crs(zone, 32646, always_xy=True).transform(*(place @ (columns, rows)))
    values = np.repeat(ground(*there)[None], 4, axis=0).round().astype(np.uint16)
    path = item(tmp_path, 0, values, transform=place, crs=f"EPSG:{zone}")
    got, source, _ = mosaic(tmp_path, [path])
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    off = np.abs(got[0] - ground(*(CELL.transform @ (columns, rows))))[source > 0]
    assert (source > 0).mean() > 0.9
    assert off.max() < 75 * 0.15  # the warper's own tolerance is an eighth of a pixel
    assert off.mean() < 75 * 0.05


def test_undershoot_beside_something_bright_is_not_nodata(tmp_path):
    values = flat(3)
    values[:, :, 60:] = 64000
    got, source, _ = mosaic(tmp_path, [item(tmp_path, 0, values, transform=at(0.5, 0))])
    assert source[5:-5, 5:-5].all()
    assert got[:, 5:-5, 5:-5].min() >= 3
    assert got.max() == 65535  # overshoot is cut off, not wrapped


def test_a_hair_between_grids_is_no_reason_to_resample(tmp_path):
    random = np.random.default_rng(0).integers(2, 5000, (4, SIZE, SIZE)).astype(np.uint16)
    got, _, _ = mosaic(tmp_path, [item(tmp_path, 0, random, transform=at(0.005, -0.005))])
    assert np.array_equal(got, random)


def test_a_cell_of_several_windows_has_no_seams(tmp_path):
    cell = Grid(CRS, cell_px=640).cell("e0250_n2010")
    rows, columns = np.mgrid[:700, :700]
    values = np.repeat((1000 + 3 * columns + 2 * rows)[None], 4, axis=0).astype(np.uint16)
    place = cell.transform @ Affine.translation(-20.5, -20.5)
    options = MosaicOptions(time=Time(), mosaic=Mosaic(), grid=GridSection(crs=CRS, cell_px=640))
    got, source, _ = mosaic(tmp_path, [item(tmp_path, 0, values, transform=place)], cell, options)
    assert source.all()
    assert np.array_equal(np.unique(np.diff(got[0].astype(int), axis=1)), [3])
    assert np.array_equal(np.unique(np.diff(got[0].astype(int), axis=0)), [2])


@pytest.mark.parametrize("zone", [32601, 32660])
def test_a_cell_over_the_antimeridian_is_filled(tmp_path, zone):
    x, y = Transformer.from_crs(4326, zone, always_xy=True).transform(180, 70)
    grid = Grid(f"EPSG:{zone}", cell_px=SIZE)
    cell = grid.cell(grid.cell_at(x, y))
    options = MosaicOptions(time=Time(), mosaic=Mosaic(), grid=GridSection(crs=grid.crs, cell_px=SIZE))
    places = [cell.transform @ Affine.translation(column, -200) for column in (-340, 50)]
    items = [item(tmp_path, n, flat(1000, (400, 400)), transform=place, crs=grid.crs) for n, place in enumerate(places)]
    _, source, _ = mosaic(tmp_path, items, cell, options)
    assert set(np.unique(source)) == {1, 2}
    assert max(MeasuredItem.load(path).footprint.area for path in items) < 0.01  # in degrees: not around the world


# --- any order, any number of workers, no more read than needed ----------------------------------------------------------


@pytest.mark.parametrize("choice", ["clearest", "nearest", "greenest", "medoid"])
def test_items_added_one_by_one_in_any_order_give_the_same_bytes(tmp_path, mixed, choice):
    def made(items):
        mosaic(tmp_path, items, options=with_choice(choice))
        return [(tmp_path / name).read_bytes() for name in ("cell.tif", "cell_source.tif")]

    whole = made(mixed)
    for count in range(1, len(mixed) + 1):
        grown = made(mixed[::-1][:count])
    assert grown == whole


def test_bytes_do_not_depend_on_the_number_of_workers(tmp_path, mixed):
    cells = [Grid(CRS, cell_px=SIZE).cell(name) for name in ("e1250_n10052", "e1251_n10052", "e1250_n10053", "e1249_n10051")]

    def made(folder, workers):
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            paths = [(folder / f"{cell.id}.tif", folder / f"{cell.id}_source.tif") for cell in cells]
            jobs = [pool.submit(build_mosaic, cell, mixed, *out, OPTIONS) for cell, out in zip(cells, paths, strict=True)]
            assert [job.result() for job in jobs] == [None] * len(cells)
        return [path.read_bytes() for out in paths for path in out]

    assert made(tmp_path / "one", 1) == made(tmp_path / "three", 3)


def test_no_more_is_read_of_an_item_than_its_part_of_the_cell(tmp_path, monkeypatch):
    """Also of one that is added to many, whichever way the choice is made."""
    big = [item(tmp_path, n, flat(1000 + n, (400, 400)), transform=at(-137 + n, -91 - n)) for n in range(6)]
    pixels = Counter()

    def counted(path, dataset, indexes, window):
        pixels[path] += window.width * window.height
        return read(path, dataset, indexes, window)

    monkeypatch.setattr("rts_pipeline.scenes.reader.read", counted)
    for choice in ("clearest", "medoid"):
        pixels.clear()
        mosaic(tmp_path, big, options=with_choice(choice))
        assert max(pixels.values()) <= SIZE * SIZE
        assert len(pixels) == (2 if choice == "clearest" else 12), "reflectance and usable pixels of the items needed"


# --- what a mosaic says of itself --------------------------------------------------------------------------------------


def test_a_mosaic_is_a_valid_cog_that_says_how_it_was_made(tmp_path, mixed):
    cell = Grid(CRS, cell_px=1024).cell("e0156_n1256")
    options = MosaicOptions(time=Time(), mosaic=Mosaic(), grid=GridSection(crs=CRS, cell_px=1024))
    mosaic(tmp_path, mixed, cell, options)
    policy = MeasuredItem.load(mixed[0]).policy
    for name in ("cell.tif", "cell_source.tif"):
        valid, errors, warnings = cog_validate(tmp_path / name)
        assert (valid, errors, warnings) == (True, [], [])
        with rasterio.open(tmp_path / name) as dataset:
            tags = dataset.tags()
        assert (tags["POLICY"], tags["CHOICE"], tags["TARGET_DATE"]) == (policy, "clearest", "2019-08-01")
        assert "cubic" in tags["RESAMPLING"]
    with rasterio.open(tmp_path / "cell.tif") as dataset:
        assert dataset.scales == (0.0001,) * 4


def test_the_source_map_counts_the_pixels_of_each_item(tmp_path, mixed):
    _, source, listed = mosaic(tmp_path, mixed)
    assert [entry["pixels"] for entry in listed] == np.bincount(source.ravel(), minlength=len(listed) + 1)[1:].tolist()


def test_items_of_different_policies_are_not_mixed(tmp_path):
    items = [item(tmp_path, 1, flat(1000)), item(tmp_path, 2, flat(2000))]
    adjusted(items[1], **{"rts:policy": {"version": "1-other"}})
    with pytest.raises(InputError, match="measured by usability policy"):
        mosaic(tmp_path, items)


# --- what goes wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["truncated", "gone", "no usable", "half usable", "resized", "foreign"])
def test_damage_is_told_in_one_line_and_nothing_is_left(tmp_path, damage):
    values = np.random.default_rng(0).integers(2, 5000, (4, SIZE, SIZE)).astype(np.uint16)
    path = item(tmp_path, 0, values)
    raster = MeasuredItem.load(path).reflectance
    named = raster
    if damage == "truncated":
        raster.write_bytes(raster.read_bytes()[:9000])
    elif damage == "gone":
        raster.unlink()
    elif damage == "no usable":
        named = path.with_name("usable.tif")
        named.unlink()
    elif damage == "half usable":
        named = path.with_name("usable.tif")
        named.write_bytes(named.read_bytes()[:-60])
    elif damage == "resized":
        write_item(raster.parent.parent, raster.parent.name, flat(1000, (20, 20)), crs=CRS, transform=at())
        named = path.with_name("usable.tif")
    else:
        path.write_text('{"id": "x"}')
        named = path
    with pytest.raises(InputError) as error:
        build_mosaic(CELL, [path], tmp_path / "out" / "a.tif", tmp_path / "out" / "b.tif", OPTIONS)
    assert str(error.value).startswith(str(named))
    if named.name == "usable.tif" and damage != "resized":
        assert str(error.value).endswith("have its item measured again: remove the record of its batch (scenes/batches)")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


# --- memory ------------------------------------------------------------------------------------------------------------


def test_the_memory_of_a_mosaic_is_that_of_its_windows(tmp_path):
    cell = Grid(CRS, cell_px=2048).cell("e0078_n0628")
    path = item(tmp_path, 0, flat(1000, (2100, 2100)), transform=cell.transform @ Affine.translation(-9, -9))
    options = MosaicOptions(time=Time(), mosaic=Mosaic(), grid=GridSection(crs=CRS))
    tracemalloc.start()
    build_mosaic(cell, [path], tmp_path / "a.tif", tmp_path / "b.tif", options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 25e6  # the cell's pixels are 42 MB


def huge(folder: Path) -> Path:
    """An item of 8000 x 12000 px (770 MB) that lies over a cell, with few pixels that are seen."""
    path = folder / "20190801_041000_1003_3B_AnalyticMS_SR.tif"
    transform = BIG_CELL.transform @ Affine.translation(-4000, -3000)
    profile = {"count": 4, "dtype": "uint16", "nodata": 0, "height": 8000, "width": 12000, "crs": CRS, "transform": transform}
    random = np.random.default_rng(0)
    with rasterio.open(path, "w", driver="GTiff", tiled=True, sparse_ok=True, compress="deflate", **profile) as dataset:
        for top in range(3000, 5048, 512):
            values = random.integers(2, 5000, (4, 512, 2048)).astype(np.uint16)
            dataset.write(values, window=rasterio.windows.Window(4000, top, 2048, 512))
    return path


BIG_CELL = Grid(CRS).cell("e0078_n0628")
PEAK = "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
IMPORTS = (
    "import sys; from pathlib import Path; from rts_pipeline.config import *; from rts_pipeline.options import *;"
    "from rts_pipeline.grid import Grid; from rts_pipeline.mosaic import build_mosaic;"
    "from rts_pipeline.scenes.measure import measure; paths = [Path(name) for name in sys.argv[1:]];"
)


def peak_mb(work: str, *paths: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-c", f"{IMPORTS} {work} {PEAK}", *paths], capture_output=True, text=True, check=True
    )
    return int(done.stdout) / 1024


def test_the_memory_of_a_stage_does_not_grow_with_the_item(tmp_path):
    path, item_json, usable = huge(tmp_path), tmp_path / "item.json", tmp_path / "usable.tif"
    options = "ScenesOptions(scenes=Usability(edge_erosion_m=60))"
    work = f"measure('{path.name[:20]}', paths[0], None, 'none', None, None, *paths[1:], {options});"
    assert peak_mb(work, path, item_json, usable) < 400
    told = json.loads(item_json.read_text())["properties"]
    assert told["rts:classes"]["usable"] > 1900**2
    options = f"MosaicOptions(time=Time(), mosaic=Mosaic(), grid=GridSection(crs='{CRS}'))"
    work = f"build_mosaic(Grid('{CRS}').cell('{BIG_CELL.id}'), paths[:1], *paths[1:], {options});"
    assert peak_mb(work, item_json, tmp_path / "cell.tif", tmp_path / "cell_source.tif") < 600
    with rasterio.open(tmp_path / "cell_source.tif") as dataset:
        assert (dataset.read(1) > 0).mean() > 0.85
