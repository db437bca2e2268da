"""Items over one cell of the grid, measured, and the mosaic made of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from items import clear_udm2, write_item
from rts_pipeline.config import GridSection, Mosaic, Scenes, Time, Usability
from rts_pipeline.grid import Grid
from rts_pipeline.mosaic import build_mosaic
from rts_pipeline.options import MosaicOptions, ScenesOptions
from rts_pipeline.scenes.discover import discover
from rts_pipeline.scenes.measure import measure

CRS = "EPSG:32646"
SIZE = 128
CELL = Grid(CRS, cell_px=SIZE).cell("e1250_n10052")
OPTIONS = MosaicOptions(time=Time(), mosaic=Mosaic(), grid=GridSection(crs=CRS, cell_px=SIZE))
WEST, SOUTH, EAST, NORTH = CELL.bounds


def at(column: float = 0, row: float = 0) -> Affine:
    """The transform of a raster whose upper left pixel is that one of the cell."""
    return CELL.transform @ Affine.translation(column, row)


def flat(value: int, shape=(SIZE, SIZE)) -> np.ndarray:
    return np.full((4, *shape), value, np.uint16) + np.arange(4, dtype=np.uint16)[:, None, None]


def item(folder: Path, number: int, reflectance, *, transform=None, crs=CRS, masked=None, day="2019-08-01", **more) -> Path:
    """Write and measure an item; return its item.json."""
    item_id = f"{day.replace('-', '')}_0410{number:02d}_10{number:02d}"
    shape = reflectance.shape[1:]
    udm2 = clear_udm2(shape, (reflectance > 0).any(axis=0))
    if masked is not None:
        udm2[0, masked], udm2[5, masked] = 0, 1
    place = folder / "in" / item_id
    write_item(
        place, item_id, reflectance, crs=crs, transform=transform or at(), udm2=udm2, acquired=f"{day}T04:10:00Z", **more
    )
    return measured(folder, place)


def measured(folder: Path, place: Path) -> Path:
    found = discover([place], Scenes(folders=["x"])).items[0]
    out = folder / "scenes" / found.id
    files = (found.reflectance, found.mask, found.mask_kind, found.metadata, found.xml)
    measure(found.id, *files, out / "item.json", out / "usable.tif", ScenesOptions(scenes=Usability()))
    return out / "item.json"


def mosaic(folder: Path, items: Sequence[Path], cell=CELL, options=OPTIONS) -> tuple[np.ndarray, np.ndarray, list[dict]]:
    out, out_source = folder / "cell.tif", folder / "cell_source.tif"
    build_mosaic(cell, items, out, out_source, options)
    with rasterio.open(out) as dataset:
        assert dataset.descriptions == ("blue", "green", "red", "nir")
        assert (dataset.dtypes[0], dataset.nodata, dataset.shape) == ("uint16", 0, cell.shape)
        assert dataset.transform == cell.transform
        assert dataset.crs == cell.crs
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        values = dataset.read()
    with rasterio.open(out_source) as dataset:
        assert (dataset.dtypes[0], dataset.nodata, dataset.transform) == ("uint16", 0, cell.transform)
        listed, source = json.loads(dataset.tags()["ITEMS"]), dataset.read(1)
    assert [entry["index"] for entry in listed] == list(range(1, len(listed) + 1))
    assert source.max() <= len(listed)
    assert np.array_equal((values == 0).all(axis=0), source == 0)
    assert ((values > 0).all(axis=0) | (source == 0)).all()
    return values, source, listed


def half(rows) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[rows] = True
    return mask


def with_choice(choice, feather_m=0.0):
    return MosaicOptions(time=Time(), mosaic=Mosaic(choice=choice, feather_m=feather_m), grid=OPTIONS.grid)


def random_items(folder, count=5, seed=3):
    """Items on the grid with holes; their pixels as (n, 4, h, w), 0 where not usable, in the order of their ids."""
    random = np.random.default_rng(seed)
    stack = random.integers(2, 9000, (count, 4, SIZE, SIZE)).astype(np.uint16)
    holes = random.random((count, SIZE, SIZE)) < 0.4
    paths = [item(folder, n, values, masked=hole) for n, (values, hole) in enumerate(zip(stack, holes, strict=True))]
    return paths, np.where(holes[:, None], 0, stack)


def adjusted(path, **properties):
    told = json.loads(path.read_text())
    told["properties"] |= properties
    path.write_text(json.dumps(told))
    return path
