"""The area that probabilities expect to be slump: each pixel's probability times its area on the ellipsoid, summed up.

Unlike the area of outlines it needs no threshold: where the network is calibrated it is unbiased, whatever is outlined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pyproj import Proj, Transformer

from rts_pipeline.grid import GeoBox
from rts_pipeline.metrics.pixels import BINS, NODATA

if TYPE_CHECKING:
    from numpy.typing import NDArray

TILE_PX = 64
"""Edge of the tiles whose pixels count as equally large; every cell is a whole number of them. Across 200 m the scale of a
projection changes by some millionths."""


class Sums:
    """Sums over the observed pixels of a block, gathered strip by strip: integers, so that the strips change nothing."""

    def __init__(self, block: GeoBox) -> None:
        """Begin with a block, whose sides are whole numbers of tiles."""
        self._block = block
        self._tiles = np.zeros((2, block.height // TILE_PX, block.width // TILE_PX), dtype=np.int64)

    def add(self, strip: GeoBox, values: NDArray[np.uint8]) -> None:
        """Add rows of the block.

        Args:
            strip: the pixels, as wide as the block.
            values: uint8, shape of `strip`: 0-250 = probability x 250, 255 = not observed.
        """
        observed = values != NODATA
        tile = (strip.row - self._block.row + np.arange(strip.height)) // TILE_PX
        for sums, counted in zip(self._tiles, (np.where(observed, values, 0), observed), strict=True):
            np.add.at(sums, tile, counted.reshape(strip.height, -1, TILE_PX).sum(axis=2, dtype=np.int64))

    def total(self) -> dict[str, float]:
        """Return `observed_m2`, the area of the observed pixels, and `expected_area_m2`, both on the ellipsoid."""
        level, count = (self._tiles * _tile_pixels(self._block)).sum(axis=(1, 2)).tolist()
        return {"observed_m2": count, "expected_area_m2": level / BINS}


def pixel_areas(crs: str, pixel_m: float, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area (m2) of a pixel on the ellipsoid at places of the grid's CRS, shape of `x` and `y`.

    From the scale of the projection there: the area of so small a polygon would be a difference of large numbers.
    """
    if not np.size(x):
        return np.empty(np.shape(x))  # pyproj has no answer
    longitude, latitude = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    return np.asarray(pixel_m**2 / Proj(crs).get_factors(longitude, latitude).areal_scale, dtype=float)


def _tile_pixels(block: GeoBox) -> NDArray[np.float64]:
    """Return the area (m2) of a pixel on the ellipsoid in the middle of each tile, shape (rows, columns) of tiles."""
    x = (block.column + np.arange(block.width // TILE_PX) * TILE_PX + TILE_PX / 2) * block.pixel_m
    y = -(block.row + np.arange(block.height // TILE_PX) * TILE_PX + TILE_PX / 2) * block.pixel_m
    return pixel_areas(block.crs, block.pixel_m, *np.meshgrid(x, y))
