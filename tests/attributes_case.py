"""Slumps, mosaics and DEMs whose attributes are known, for the tests of stage attributes."""

import json

import geopandas as gpd
import numpy as np
import rasterio
from affine import Affine

from rts_pipeline.config import GridSection, Measures, Place, Time
from rts_pipeline.inventory.attributes import build_attributes
from rts_pipeline.inventory.build import build_inventory
from rts_pipeline.io import new_cog
from rts_pipeline.lineage import JOINT
from rts_pipeline.options import AttributesOptions, InventoryOptions
from rts_pipeline.seeds import seed_ids

CRS = "EPSG:32646"
GRID = GridSection(crs=CRS, cell_px=64, block_cells=2)
CELL_M = 192.0
EAST, NORTH = 2604 * CELL_M, 20156 * CELL_M


def attributes(tmp_path, outlines, sources=(), dem=None, roads=None, railway=None, crs=CRS, measures=None):
    """Return the attributes of outlines (given in the grid's CRS), in the order given."""
    grid = GRID.model_copy(update={"crs": crs})
    seeds, inventory, out = tmp_path / "seeds.parquet", tmp_path / "inventory.parquet", tmp_path / "attributes.parquet"
    gpd.GeoDataFrame(geometry=list(outlines), crs=crs).to_parquet(seeds)
    build_inventory(seeds, [], inventory, InventoryOptions(area=Place(), time=Time(), grid=grid))
    options = AttributesOptions(grid=grid, attributes=measures or Measures())
    build_attributes(inventory, list(sources), dem, roads, railway, out, options)
    given = {name: number for number, name in enumerate(seed_ids(np.array(outlines, dtype=object)))}
    found = gpd.read_parquet(out)
    order = [min(given[name] for name in names.split(JOINT)) for names in found["delineation_id"]]
    return found.iloc[np.argsort(order)].reset_index(drop=True)


def source_map(tmp_path, name, index, items):
    cell = GRID.grid().cell(name)
    profile = {"count": 1, "dtype": "uint16", "nodata": 0, **cell.profile}
    with new_cog(tmp_path / f"{name}_source.tif", overview_resampling="nearest", **profile) as dataset:
        dataset.write(index.astype("uint16"), 1)
        table = [{"index": n, "id": item, "acquired": acquired} for n, (item, acquired) in enumerate(items, 1)]
        dataset.update_tags(ITEMS=json.dumps(table))
    return tmp_path / f"{name}_source.tif"


def write_dem(path, function, crs=CRS, pixel=30.0, shape=(80, 80), origin=(EAST - 600, NORTH + 1200), nodata=-32768):
    """Write elevations function(x, y) at the pixels' centres."""
    transform = Affine(pixel, 0, origin[0], 0, -pixel, origin[1])
    columns_, rows = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    x, y = transform @ (columns_, rows)
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "height": shape[0], "width": shape[1], "nodata": nodata}
    with rasterio.open(path, "w", crs=crs, transform=transform, **profile) as dataset:
        dataset.write(function(x, y).astype("float32"), 1)
    return path
