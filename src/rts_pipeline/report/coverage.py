"""What was seen: which part of the area of interest the mosaics observed, sampled from their source maps."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.features import geometry_mask
from rasterio.transform import from_bounds
from rasterio.windows import Window

from rts_pipeline.errors import InputError
from rts_pipeline.grid import GeoBox, Grid
from rts_pipeline.inventory.shape import geodesic_area_perimeter
from rts_pipeline.io import GDAL_OPTIONS

SAMPLES = 256
"""Samples along a cell's edge: one every 24 m in a cell of 2048 pixels of 3 m."""
MAP_SAMPLES = 1500
"""Samples along the longer edge of the map."""


@dataclass(frozen=True)
class Coverage:
    """How much of the area was observed.

    Attributes:
        area_km2: the area of interest, on the ellipsoid.
        share: the observed share of it, 0-1.
        tiles: for each cell its bounds (west, south, east, north) and samples: observed and inside the area.
    """

    area_km2: float
    share: float
    tiles: list[tuple[tuple[float, float, float, float], NDArray[np.bool_]]]

    @property
    def observed_km2(self) -> float:
        """The observed part of the area."""
        return self.area_km2 * self.share


def coverage(mosaics: Path, area: gpd.GeoSeries, grid: Grid) -> Coverage:
    """Sample the source maps of all cells that the area touches; a cell without a source map was not observed.

    Args:
        mosaics: folder of <cell>_source.tif.
        area: polygons in the grid's CRS.
        grid: the project's grid.

    Raises:
        InputError: a source map can't be read.
    """
    whole = shapely.union_all(area.to_numpy())
    shapely.prepare(whole)
    cells = [grid.cell(name) for name in grid.cells_touching(whole)]
    west, south, east, north = whole.bounds
    across = max(east - west, north - south) / (grid.cell_px * grid.pixel_m)
    n_samples = min(SAMPLES, grid.cell_px)
    thin = max(1, ceil(across * n_samples / MAP_SAMPLES))
    inside = seen = 0
    tiles = []
    for cell in cells:
        within = _inside(cell, whole, n_samples)
        inside += int(within.sum())
        path = mosaics / f"{cell.id}_source.tif"
        if path.exists():
            observed = _observed(path, n_samples) & within
            seen += int(observed.sum())
            tiles.append((cell.bounds, observed[::thin, ::thin]))
    area_m2 = geodesic_area_perimeter(gpd.GeoSeries([whole], crs=area.crs))[0][0]
    return Coverage(area_m2 / 1e6, seen / max(inside, 1), tiles)


def _inside(cell: GeoBox, area: shapely.Geometry, n_samples: int) -> NDArray[np.bool_]:
    if shapely.contains(area, cell.polygon):
        return np.ones((n_samples, n_samples), dtype=bool)
    transform = from_bounds(*cell.bounds, n_samples, n_samples)
    return geometry_mask([area], (n_samples, n_samples), transform, invert=True)


def _observed(path: Path, n_samples: int) -> NDArray[np.bool_]:
    try:
        with rasterio.Env(**GDAL_OPTIONS), rasterio.open(path) as dataset:
            whole = Window(0, 0, dataset.width, dataset.height)
            return dataset.read(1, window=whole, out_shape=(n_samples, n_samples)) > 0
    except rasterio.errors.RasterioError as error:
        raise InputError(path, f"can't be read ({error})", do="remove it and run again") from None
