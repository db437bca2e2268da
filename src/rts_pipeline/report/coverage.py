"""What was seen: which part of the area of interest was observed in each year, sampled from the coverage rasters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.features import geometry_mask
from rasterio.transform import from_bounds

from rts_pipeline.coverage import NODATA
from rts_pipeline.errors import InputError
from rts_pipeline.grid import GeoBox, Grid
from rts_pipeline.inventory.shape import geodesic_area_perimeter
from rts_pipeline.io.files import was_read
from rts_pipeline.io.rasters import GDAL_OPTIONS

SAMPLES = 256
"""Samples along a cell's edge: one every 24 m in a cell of 2048 pixels of 3 m."""
MAP_SAMPLES = 1500
"""Samples along the longer edge of the map."""


@dataclass(frozen=True)
class Coverage:
    """How much of the area was observed.

    Attributes:
        area_km2: the area of interest, on the ellipsoid.
        target_year: the year that the inventory describes.
        shares: the observed share of the area (0-1) by year.
        ever: the share observed in any of the years.
        tiles: for each cell its bounds (west, south, east, north) and samples: observed in the target year and inside the
            area.
    """

    area_km2: float
    target_year: int
    shares: dict[int, float]
    ever: float
    tiles: list[tuple[tuple[float, float, float, float], NDArray[np.bool_]]]

    @property
    def share(self) -> float:
        """The share observed in the target year."""
        return self.shares[self.target_year]

    @property
    def observed_km2(self) -> float:
        """The part of the area observed in the target year."""
        return self.area_km2 * self.share


def coverage(rasters: Path, area: gpd.GeoSeries, grid: Grid, target_year: int) -> Coverage:
    """Sample the coverage rasters in all cells that the area touches.

    Args:
        rasters: folder of <block>.tif of the stage coverage.
        area: polygons in the grid's CRS.
        grid: the project's grid.
        target_year: the year that the inventory describes; one of the rasters' years.

    Raises:
        InputError: a raster is missing or can't be read.
    """
    whole = shapely.union_all(area.to_numpy())
    shapely.prepare(whole)
    cells = [grid.cell(name) for name in grid.cells_touching(whole)]
    west, south, east, north = whole.bounds
    across = max(east - west, north - south) / (grid.cell_px * grid.pixel_m)
    n_samples = min(SAMPLES, grid.cell_px)
    thin = max(1, ceil(across * n_samples / MAP_SAMPLES))
    inside = ever = 0
    seen = {target_year: 0}
    tiles = []
    for cell in cells:
        within = _inside(cell, whole, n_samples)
        observed = {year: (counts > 0) & within for year, counts in read_counts(rasters, cell, grid, n_samples).items()}
        inside += int(within.sum())
        ever += int(np.logical_or.reduce(list(observed.values())).sum())
        seen = {year: seen.get(year, 0) + int(pixels.sum()) for year, pixels in observed.items()}
        tiles.append((cell.bounds, observed[target_year][::thin, ::thin]))
    area_m2 = geodesic_area_perimeter(gpd.GeoSeries([whole], crs=area.crs))[0][0]
    shares = {year: number / max(inside, 1) for year, number in seen.items()}
    return Coverage(area_m2 / 1e6, target_year, shares, ever / max(inside, 1), tiles)


def read_counts(rasters: Path, cell: GeoBox, grid: Grid, edge_px: int) -> Mapping[int, NDArray[np.uint8]]:
    """Return the number of observations (edge_px, edge_px) of a cell by year, sampled from the raster's overviews.

    Raises:
        InputError: the raster of the cell's block is missing, can't be read, or doesn't hold the cell.
    """
    block = grid.block(grid.block_of(cell.id))
    path = rasters / f"{block.id}.tif"
    if not path.exists():
        raise InputError(path, "no such file", do="run the stage coverage")
    was_read(path)
    try:
        with rasterio.Env(**GDAL_OPTIONS), rasterio.open(path) as dataset:
            years = [int(year) for year in dataset.descriptions]
            counts = dataset.read(window=block.window_of(cell), out_shape=(len(years), edge_px, edge_px))
    except (rasterio.errors.RasterioError, TypeError, ValueError) as error:
        raise InputError(path, f"can't be read ({error})", do="remove it and run again") from None
    if (counts == NODATA).any():
        raise InputError(path, f"doesn't hold cell {cell.id}", do="run the stage coverage again")
    return dict(zip(years, counts, strict=True))


def by_year(seen: Coverage, observed: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a row a year: year, share (of the area), unseen (cells that no image saw), cells, first and last (days, or None).

    Args:
        seen: what was observed of the area.
        observed: `observed.parquet`.
    """
    rows = []
    for year, share in sorted(seen.shares.items()):
        table = observed[observed["year"] == year]
        first, last = table["first_acquired"].dropna().min(), table["last_acquired"].dropna().max()
        days = {name: day[:10] if isinstance(day, str) else None for name, day in (("first", first), ("last", last))}
        unseen = int((table["observed_pixels"] == 0).sum())
        rows.append({"year": year, "share": share, "unseen": unseen, "cells": len(table), **days})
    return rows


def _inside(cell: GeoBox, area: shapely.Geometry, n_samples: int) -> NDArray[np.bool_]:
    if shapely.contains(area, cell.polygon):
        return np.ones((n_samples, n_samples), dtype=bool)
    transform = from_bounds(*cell.bounds, n_samples, n_samples)
    return geometry_mask([area], (n_samples, n_samples), transform, invert=True)
