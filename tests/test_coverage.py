"""Stages coverage and observed: how often each pixel was seen in each year, and what was never looked at."""

from __future__ import annotations

import itertools
import shutil
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from pyproj import Transformer
from rio_cogeo.cogeo import cog_validate

from items import clear_udm2, write_item
from rts_pipeline import io
from rts_pipeline.config import GridSection, Mosaic, Scenes, Season, Time, Usability, Years
from rts_pipeline.coverage import MOST, NODATA, TYPES, count_observations, unite_observed
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.grid import Grid
from rts_pipeline.mosaic import build_mosaic
from rts_pipeline.options import CoverageOptions, MosaicOptions, ScenesOptions
from rts_pipeline.scenes.discover import discover
from rts_pipeline.scenes.measure import measure
from rts_pipeline.scenes.reader import MeasuredItem

CRS = "EPSG:32646"
SIZE = 64
GRID = Grid(CRS, cell_px=SIZE, block_cells=2)
BLOCK = GRID.block("b_e1250_n10052")
CELLS = ["e2500_n20104", "e2501_n20104", "e2501_n20105"]
"""Three of the block's four cells: lower left, lower right, upper right."""
OPTIONS = CoverageOptions(
    time=Season(), grid=GridSection(crs=CRS, cell_px=SIZE, block_cells=2), evidence=Years(years=[2018, 2019])
)
numbers = itertools.count(1)


def item(folder, transform, shape=(SIZE, SIZE), *, day="2019-08-01", masked=None, crs=CRS):
    """Write and measure an item; return its item.json."""
    number = next(numbers)
    item_id = f"{day.replace('-', '')}_04{number:04d}_1001"
    udm2 = clear_udm2(shape)
    if masked is not None:
        udm2[0][masked], udm2[5][masked] = 0, 1
    values = np.full((4, *shape), 1000, np.uint16)
    place = folder / "in" / item_id
    write_item(place, item_id, values, crs=crs, transform=transform, udm2=udm2, acquired=f"{day}T04:10:00Z")
    found = discover([place], Scenes(folders=["x"])).items[0]
    out = folder / "scenes" / item_id
    files = (found.reflectance, found.mask, found.mask_kind, found.metadata, found.xml)
    measure(item_id, *files, out / "item.json", out / "usable.tif", ScenesOptions(scenes=Usability()))
    return out / "item.json"


def at(cell, columns=0.0, rows=0.0):
    """The transform of a raster whose upper left pixel is that one of the cell."""
    return GRID.cell(cell).transform @ Affine.translation(columns, rows)


def counted(folder, items, cells=CELLS, options=OPTIONS, block=BLOCK):
    """Return the counts by year, and the table."""
    out, table = folder / "coverage.tif", folder / "coverage.parquet"
    count_observations(block, cells, items, out, table, options)
    with rasterio.open(out) as dataset:
        assert (dataset.dtypes[0], dataset.nodata, dataset.shape) == ("uint8", NODATA, block.shape)
        assert dataset.transform == block.transform
        assert dataset.crs == block.crs
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        counts = dict(zip(map(int, dataset.descriptions), dataset.read(), strict=True))
    rows = pd.read_parquet(table)
    assert rows.columns.tolist() == list(TYPES)
    return counts, rows.set_index(["cell", "year"])


def of(cell):
    return BLOCK.slices_of(GRID.cell(cell))


def test_each_usable_observation_of_a_year_counts(tmp_path):
    left, right, upper = CELLS
    cloud = np.s_[:16, :]
    items = [
        item(tmp_path, at(left)),
        item(tmp_path, at(left, SIZE / 2), day="2019-07-10", masked=cloud),  # half in each of the lower cells
        item(tmp_path, at(left), day="2018-08-20"),
        item(tmp_path, at(left), day="2019-06-30"),  # out of season
        item(tmp_path, at(left), day="2017-08-01"),  # a year that nobody wants
    ]
    counts, rows = counted(tmp_path, items)
    expected = np.full(BLOCK.shape, NODATA, np.uint8)
    for cell in CELLS:
        expected[of(cell)] = 0
    before = expected.copy()
    expected[of(left)] = 1
    expected[SIZE + 16 :, SIZE // 2 : SIZE + SIZE // 2] += 1
    before[of(left)] = 1
    assert list(counts) == [2018, 2019]
    assert np.array_equal(counts[2019], expected)
    assert np.array_equal(counts[2018], before)
    assert rows.pixels.unique().tolist() == [SIZE * SIZE]
    assert rows.observed_pixels.to_dict() == {
        **{(left, 2018): SIZE * SIZE, (left, 2019): SIZE * SIZE, (right, 2018): 0, (right, 2019): 48 * SIZE // 2},
        **{(upper, 2018): 0, (upper, 2019): 0},
    }
    assert rows.observed_share[right, 2019] == pytest.approx(48 / 128)
    assert rows.n_items[left].tolist() == [1, 2]
    assert rows.loc[(left, 2019), ["first_acquired", "last_acquired"]].tolist() == [
        "2019-07-10T04:10:00.000000Z",
        "2019-08-01T04:10:00.000000Z",
    ]
    assert rows.loc[(upper, 2019), ["first_acquired", "last_acquired"]].isna().all()


def test_the_counts_are_a_valid_cog_that_names_the_policy(tmp_path):
    grid = Grid(CRS, cell_px=1024, block_cells=1)
    cell = grid.cell("e0156_n1256")
    options = CoverageOptions(
        time=Season(), grid=GridSection(crs=CRS, cell_px=1024, block_cells=1), evidence=Years(years=[2019])
    )
    items = [item(tmp_path, cell.transform)]
    out, table = tmp_path / "block.tif", tmp_path / "block.parquet"
    count_observations(grid.block(f"b_{cell.id}"), [cell.id], items, out, table, options)
    assert cog_validate(out) == (True, [], [])
    policy = MeasuredItem.load(items[0]).policy
    with rasterio.open(out) as dataset:
        assert dataset.tags()["POLICY"] == policy
    assert pd.read_parquet(table).policy.tolist() == [policy]


def test_a_block_without_any_item_says_not_observed(tmp_path):
    counts, rows = counted(tmp_path, [])
    assert {int(value) for value in np.unique(counts[2019])} == {0, NODATA}
    assert (counts[2019] == 0).sum() == 3 * SIZE * SIZE
    assert rows.index.tolist() == [(cell, year) for cell in CELLS for year in (2018, 2019)]
    assert rows.observed_pixels.tolist() == rows.n_items.tolist() == [0] * 6


def test_rejected_items_do_not_count(tmp_path):
    path = item(tmp_path, at(CELLS[0]), masked=np.s_[1:, :])
    values = io.read_json(path)
    values["properties"]["rts:status"] = "rejected"
    io.write_json(path, values)
    counts, rows = counted(tmp_path, [path])
    assert not (counts[2019][of(CELLS[0])] > 0).any()
    assert rows.n_items.sum() == 0


def test_counts_stop_at_254_and_never_become_nodata(tmp_path):
    path = item(tmp_path, at(CELLS[0]))
    many = [path.parent.with_name(f"copy{n:03d}") / "item.json" for n in range(300)]
    for copy in many:
        shutil.copytree(path.parent, copy.parent)
        io.write_json(copy, io.read_json(copy) | {"id": copy.parent.name})
    counts, rows = counted(tmp_path, many)
    assert (counts[2019][of(CELLS[0])] == MOST).all()
    assert rows.n_items[CELLS[0], 2019] == 300


def test_what_a_mosaic_shows_was_observed(tmp_path):
    """Also where the item's pixels aren't the grid's: of another zone, and half a pixel off."""
    cell = GRID.cell(CELLS[0])
    x, y = Transformer.from_crs(CRS, "EPSG:32647", always_xy=True).transform(cell.bounds[0], cell.bounds[3])
    masked = np.zeros((90, 90), bool)
    masked[20:40, 10:70] = True
    items = [
        item(tmp_path, Affine(3, 0, x + 31, 0, -3, y - 17), (90, 90), masked=masked, crs="EPSG:32647"),
        item(tmp_path, at(CELLS[0], 40.5, -20.5), (50, 50)),
    ]
    counts, rows = counted(tmp_path, items)
    options = MosaicOptions(time=Time(), grid=OPTIONS.grid, mosaic=Mosaic())
    build_mosaic(cell, items, tmp_path / "m.tif", tmp_path / "s.tif", options)
    with rasterio.open(tmp_path / "s.tif") as dataset:
        source = dataset.read(1)
    assert 0.3 < (source > 0).mean() < 0.99
    assert np.array_equal(source > 0, counts[2019][of(CELLS[0])] > 0)
    assert rows.observed_pixels[CELLS[0], 2019] == (source > 0).sum()


def test_only_the_masks_are_read(tmp_path):
    path = item(tmp_path, at(CELLS[0]))
    shutil.rmtree(tmp_path / "in")
    counts, _ = counted(tmp_path, [path])
    assert (counts[2019][of(CELLS[0])] == 1).all()


def test_memory_does_not_grow_with_the_block(tmp_path, monkeypatch):
    monkeypatch.setattr("rts_pipeline.coverage.WINDOW_PX", 256)

    def peak(block_cells):
        section = GridSection(crs=CRS, cell_px=512, block_cells=block_cells)
        grid, options = section.grid(), OPTIONS.model_copy(update={"grid": section})
        first = "e0400_n2513"
        block = grid.block(grid.block_of(first))
        cells = grid.cells_touching(block.polygon)
        edge = block.width
        folder = tmp_path / str(block_cells)
        items = [item(folder, block.transform, (edge, edge)), item(folder, block.transform, (edge, edge))]
        tracemalloc.start()
        count_observations(block, cells, items, folder / "c.tif", folder / "c.parquet", options)
        high = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return high

    peak(1)  # what is imported and remembered once
    small, large = peak(1), peak(4)
    assert large < 1.5 * small


def test_a_cell_of_another_block_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"e2502_n20104: does not lie in block b_e1250_n10052"):
        count_observations(BLOCK, ["e2502_n20104"], [], tmp_path / "c.tif", tmp_path / "c.parquet", OPTIONS)
    assert not (tmp_path / "c.tif").exists()


def test_observed_unites_the_blocks_by_cell_and_year(tmp_path):
    tables = []
    for name, cells in (("b", ["e2502_n20104"]), ("a", CELLS)):
        block = GRID.block(GRID.block_of(cells[0]))
        items = [item(tmp_path, at(cells[0]))] if name == "a" else []
        count_observations(block, cells, items, tmp_path / f"{name}.tif", tmp_path / f"{name}.parquet", OPTIONS)
        tables.append(tmp_path / f"{name}.parquet")
    unite_observed(tables, tmp_path / "observed.parquet")
    rows = pd.read_parquet(tmp_path / "observed.parquet")
    assert list(zip(rows.cell, rows.year, strict=True)) == sorted(
        (c, y) for c in (*CELLS, "e2502_n20104") for y in (2018, 2019)
    )
    assert rows.observed_pixels.tolist() == [0, SIZE * SIZE, *[0] * 6]
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"a\.parquet: not a Parquet file"):
        unite_observed(tables, tmp_path / "observed.parquet")
