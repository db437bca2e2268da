"""Which part of a raster a rectangle of the grid is made from, and how it is laid onto it."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import Any, Self

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.warp import Resampling, reproject, transform_bounds
from rasterio.windows import Window

from rts_pipeline.grid import GeoBox

ALIGNED_PX = 0.01
"""Grids whose pixels lie less than this apart are the same: their values are taken as they are."""

KERNEL_PX = 3
"""Source pixels read around a window: cubic convolution needs two, and the bent edge of a window a little more."""


@dataclass(frozen=True)
class SourcePart:
    """The part of an item's raster that a rectangle of the grid is made from, and how."""

    box: GeoBox
    window: Window
    crs: CRS
    transform: Affine
    offset: tuple[int, int] | None
    """Row and column of the window's first pixel in the box, where the grids are the same."""

    @classmethod
    def of(cls, crs: CRS, transform: Affine, size: tuple[int, int], box: GeoBox) -> Self | None:
        """Return the part of a raster of `size` rows and columns that `box` is made from, or None where it doesn't reach."""
        offset = aligned_offset(crs, transform, box)
        if offset is not None:
            top, left = (-offset[0], -offset[1])
            window = _clipped(top, left, top + box.height, left + box.width, size)
            first = window and (int(window.row_off) - top, int(window.col_off) - left)
        else:
            window, first = _warp_window(crs, transform, size, box), None
        if window is None:
            return None
        return cls(box, window, crs, transform @ Affine.translation(window.col_off, window.row_off), first)

    def place(self, values: NDArray[Any], resampling: Resampling, *, nodata: int | None) -> NDArray[Any]:
        """Put values (..., h, w) of the window onto the box, with 0 around them; `nodata` has no part in resampling."""
        placed = np.zeros((*values.shape[:-2], *self.box.shape), values.dtype)
        if self.offset is not None:
            top, left = self.offset
            placed[..., top : top + values.shape[-2], left : left + values.shape[-1]] = values
            return placed
        reproject(
            values,
            placed,
            src_crs=self.crs,
            src_transform=self.transform,
            src_nodata=nodata,
            dst_crs=_crs(self.box),
            dst_transform=self.box.transform,
            dst_nodata=nodata,
            resampling=resampling,
        )
        return placed


def aligned_offset(crs: CRS, transform: Affine, box: GeoBox) -> tuple[int, int] | None:
    """Return row and column in the box of a raster's first pixel, or None where their pixels don't coincide."""
    if crs != _crs(box) or transform.b or transform.d:
        return None
    # A pixel size that differs by a tenth of the tolerance over the whole box is the same size.
    limit = ALIGNED_PX * box.pixel_m
    if abs(transform.a - box.pixel_m) * box.width > limit or abs(transform.e + box.pixel_m) * box.height > limit:
        return None
    column, row = ~box.transform @ (transform.c, transform.f)
    if abs(column - round(column)) > ALIGNED_PX or abs(row - round(row)) > ALIGNED_PX:
        return None
    return round(row), round(column)


def _warp_window(crs: CRS, transform: Affine, size: tuple[int, int], box: GeoBox) -> Window | None:
    west, south, east, north = transform_bounds(_crs(box), crs, *box.bounds)
    (left, top), (right, bottom) = ~transform @ (west, north), ~transform @ (east, south)
    margin = ceil(KERNEL_PX * max(1.0, box.pixel_m / transform.a))
    return _clipped(floor(top) - margin, floor(left) - margin, ceil(bottom) + margin, ceil(right) + margin, size)


def _clipped(top: int, left: int, bottom: int, right: int, size: tuple[int, int]) -> Window | None:
    top, left, bottom, right = max(0, top), max(0, left), min(size[0], bottom), min(size[1], right)
    return Window(left, top, right - left, bottom - top) if bottom > top and right > left else None


def _crs(box: GeoBox) -> CRS:
    return CRS.from_user_input(box.crs)
