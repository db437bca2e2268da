"""Potential solar radiation inside outlines, with the horizon of the ground around them."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rasterio.features import geometry_mask
from scipy.ndimage import map_coordinates

from rts_pipeline.inventory.dem import Dem, Patch, Surroundings, horn, inside, opened, true_azimuth_of_grid_north
from rts_pipeline.inventory.dictionary import HORIZON_M
from rts_pipeline.inventory.sun import DIRECTIONS, directions, potential_radiation, sun_of_year
from rts_pipeline.progress import track

MOST_PX = 64
"""Pixels across an outline; in larger outlines they are means of the DEM's, so that a slump's cost is bounded."""
RING_PX = 16
"""The horizon is looked for up to twice as far in pixels of the DEM, then in ever larger ones from here to twice as far."""
TILE_M = 5_000.0
"""Edge of the tiles whose outlines share what is read of the DEM."""
CHUNK = 512
"""Pixels whose horizon is looked for at a time: it bounds the memory."""
EARTH_RADIUS_M = 6_371_000.0
NO_GROUND_M = -1e5


def solar_radiation(outlines: gpd.GeoSeries, dem: Path) -> NDArray[np.float64]:
    """Return the mean potential solar radiation of a year (kWh m-2) in each outline; nan where the DEM says nothing.

    The DEM is read around the outlines of a tile together, the farther away the coarser, up to HORIZON_M. Where the DEM ends,
    nothing hides the sun.

    Args:
        outlines: polygons in a projected CRS in metres.
        dem: elevation in metres, band 1 of any raster with a CRS.

    Raises:
        InputError: the DEM is missing, unreadable or without CRS.
    """
    result = np.full(len(outlines), np.nan)
    if len(outlines) == 0:
        return result
    latitude = outlines.representative_point().to_crs("EPSG:4326").y.to_numpy()
    north = true_azimuth_of_grid_north(outlines)
    with opened(dem, outlines) as source:
        if source is None:
            return result
        bounds = outlines.bounds.to_numpy()
        tile = pd.DataFrame(np.floor((bounds[:, :2] + bounds[:, 2:]) / 2 / TILE_M)).groupby([0, 1]).ngroup().to_numpy()
        around, last = None, -1
        for index in track(np.argsort(tile, kind="stable"), len(outlines), "solar radiation", "slumps"):
            if around is None or tile[index] != last:
                last, of_tile = tile[index], bounds[tile == tile[index]]
                around = Surroundings(source, (*of_tile[:, :2].min(axis=0), *of_tile[:, 2:].max(axis=0)))
            result[index] = _of_outline(around, outlines.iloc[[index]], latitude[index], north[index])
    return result


def _of_outline(dem: Surroundings, outline: gpd.GeoSeries, latitude_deg: float, north_deg: float) -> float:
    west, south, east, north = bounds = outline.total_bounds
    across = max(east - west, north - south) / dem.pixel_m
    factor = 2 ** max(0, ceil(log2(max(across, 1) / MOST_PX)))
    levels = read_levels(dem, bounds, factor)
    here = levels[0]
    gradient = np.full((2, *here.elevation.shape), np.nan)
    gradient[:, 1:-1, 1:-1] = horn(here.elevation.astype(float), 1.0)
    gradient[0] /= here.transform.a
    gradient[1] /= -here.transform.e
    touched = geometry_mask(outline, here.elevation.shape, here.transform, all_touched=True, invert=True)
    touched &= np.isfinite(gradient).all(axis=0)
    if not touched.any():
        return float("nan")
    rows, columns = np.nonzero(touched)
    x = here.transform.c + here.transform.a * (columns + 0.5)
    y = here.transform.f + here.transform.e * (rows + 0.5)
    elevation = here.elevation[touched].astype(float)
    skyline = horizon(levels, x, y, elevation)
    radiation = np.full(touched.shape, np.nan)
    sun = sun_of_year(latitude_deg, north_deg)
    radiation[touched] = potential_radiation(sun, float(elevation.mean()), gradient[:, touched], skyline)
    return float(inside(radiation, here, outline, "mean")["mean"].iloc[0])


def read_levels(dem: Dem | Surroundings, bounds: Sequence[float], factor: int = 1) -> list[Patch]:
    """Read the DEM around a rectangle: first in pixels of `factor` times its own, then in ever coarser ones."""
    margin = 2 * RING_PX + 2
    levels: list[Patch] = []
    while not levels or factor * dem.pixel_m * (RING_PX + 1) <= HORIZON_M:
        levels.append(dem.read(bounds, margin, factor))
        factor *= 2
    return levels


def horizon(
    levels: Sequence[Patch], x: NDArray[np.floating[Any]], y: NDArray[np.floating[Any]], elevation: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the tangent of the height of the horizon, (DIRECTIONS, n), at least 0; the ground falls away with the Earth.

    What lies farther than HORIZON_M hides nothing.

    Args:
        levels: the ground around, from fine to coarse as `read_levels` returns it.
        x: (n,) in the patches' CRS.
        y: (n,).
        elevation: (n,) of these places, metres.
    """
    result = np.zeros((DIRECTIONS, len(x)))
    for start in range(0, len(x), CHUNK):
        part = slice(start, start + CHUNK)
        for number, level in enumerate(levels):
            farthest = min(2 * RING_PX, int(HORIZON_M / _pixel_m(level)))
            steps = np.arange(1 if number == 0 else RING_PX + 1, farthest + 1)
            found = _horizon_of_level(level, steps, x[part], y[part], elevation[part])
            np.maximum(result[:, part], found, out=result[:, part])
    return result


def _horizon_of_level(
    level: Patch,
    steps: NDArray[np.int64],
    x: NDArray[np.floating[Any]],
    y: NDArray[np.floating[Any]],
    elevation: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the tangent of the horizon's height, (DIRECTIONS, n), at least 0, among the ground so many pixels away."""
    ground = np.nan_to_num(level.elevation, nan=NO_GROUND_M)
    distance = (steps * _pixel_m(level))[:, None]
    fall = distance**2 / (2 * EARTH_RADIUS_M)
    east, north = (side[:, None, None] for side in directions())
    column, row = ~level.transform @ (x + distance * east, y + distance * north)
    height = map_coordinates(ground, [row - 0.5, column - 0.5], order=1, cval=NO_GROUND_M)
    return np.asarray(((height - fall - elevation) / distance).max(axis=1, initial=0.0))


def _pixel_m(level: Patch) -> float:
    return float(max(abs(level.transform.a), abs(level.transform.e)))
