"""Read a measured item onto any rectangle of the grid."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import ceil, floor
from os.path import normpath
from pathlib import Path
from typing import Any, Self

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.io import DatasetReader
from rasterio.warp import Resampling, reproject, transform_bounds
from rasterio.windows import Window
from shapely import box as rectangle
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from rts_pipeline import io
from rts_pipeline.config import BANDS
from rts_pipeline.errors import InputError
from rts_pipeline.grid import GeoBox
from rts_pipeline.scenes.delivered import opened, read
from rts_pipeline.scenes.usable import USABLE

ALIGNED_PX = 0.01
"""Grids whose pixels lie less than this apart are the same: their values are taken as they are."""

KERNEL_PX = 3
"""Source pixels read around a window: cubic convolution needs two, and the bent edge of a window a little more."""


@dataclass(frozen=True)
class MeasuredItem:
    """What item.json says, as far as readers need it."""

    id: str
    acquired: str
    status: str
    usable_fraction: float
    reflectance: Path
    usable: Path
    bands: dict[str, int]
    """Band number in the reflectance raster of each of ours."""
    footprint: BaseGeometry | None
    """Of the valid pixels, WGS84."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read an item.json of ours.

        Raises:
            InputError: missing, not JSON, or not written by `scenes`.
        """
        item = io.read_json(path)
        try:
            told, assets = item["properties"], item["assets"]
            return cls(
                id=item["id"],
                acquired=told["datetime"],
                status=told["rts:status"],
                usable_fraction=told["rts:usable_fraction"],
                # relative to the item, as STAC has it, so that a project can be moved as a whole
                reflectance=Path(normpath(path.parent / assets["surface_reflectance"]["href"])),
                usable=path.parent / assets["usable"]["href"],
                bands={band: told["rts:bands"][band] for band in BANDS},
                footprint=shape(item["geometry"]) if item["geometry"] else None,
            )
        except (KeyError, TypeError) as error:
            raise InputError(path, f"lacks {error}", expected="an item.json of the stage scenes", do="run it again") from None


def touching(items: Iterable[MeasuredItem], part: GeoBox) -> list[MeasuredItem]:
    """Return the items whose footprint touches a rectangle of the grid, in their order."""
    west, south, east, north = transform_bounds(part.crs, "EPSG:4326", *part.bounds)
    # Over the antimeridian west is the greater: then the items' own rasters decide.
    reach = rectangle(west, south, east, north) if west <= east else rectangle(-180, south, 180, north)
    return [item for item in items if item.footprint is not None and item.footprint.intersects(reach)]


class ItemReader:
    """An item's reflectance and usable pixels on the grid. Close it, or use it in a `with`.

    Where the item's pixels are the grid's, values are taken as they are. Elsewhere reflectance is resampled by cubic
    convolution from usable pixels only, and a pixel is usable where the nearest one of the item is.
    """

    def __init__(self, item: MeasuredItem) -> None:
        """Open the item's rasters.

        Raises:
            InputError: one is missing or damaged, or they don't fit together.
        """
        self.item = item
        self._stack = ExitStack()
        try:
            self._reflectance = self._stack.enter_context(opened(item.reflectance))
            self._usable = self._stack.enter_context(opened(item.usable))
            if self._usable.shape != self._reflectance.shape:
                raise InputError(item.usable, f"has another size than {item.reflectance.name}", do="measure the item again")
        except BaseException:
            self._stack.close()
            raise

    def close(self) -> None:
        """Close the rasters."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, box: GeoBox, wanted: NDArray[np.bool_] | None = None) -> tuple[NDArray[np.uint16], NDArray[np.bool_]] | None:
        """Read a rectangle of the grid.

        Args:
            box: the rectangle.
            wanted: (h, w): pixels that are needed; when none of them is usable no reflectance is read.

        Returns:
            Reflectance x 10,000 (4, h, w), 1-65535 where usable and 0 elsewhere, and usable (h, w); None where no wanted
            pixel is usable.

        Raises:
            InputError: a read fails half way.
        """
        usable = self._usable_on(box)
        if usable is not None and wanted is not None:
            usable &= wanted
        if usable is None or not usable.any():
            return None
        values = np.zeros((len(self.item.bands), *box.shape), np.uint16)
        # Resampling is what costs: only the rectangle that is needed, often a few pixels in a gap of better items.
        rows, columns = _extent(usable)
        inner = replace(
            box,
            column=box.column + columns.start,
            row=box.row + rows.start,
            width=columns.stop - columns.start,
            height=rows.stop - rows.start,
        )
        placed = self._reflectance_on(inner, usable[rows, columns])
        usable[rows, columns] &= (placed > 0).all(axis=0)
        np.copyto(values[:, rows, columns], placed, where=usable[rows, columns])
        return values, usable

    def _part(self, box: GeoBox) -> _SourcePart | None:
        return _SourcePart.of(self._usable.crs, self._usable.transform, self._usable.shape, box)

    def _good(self, window: Window) -> NDArray[np.bool_]:
        good: NDArray[np.bool_] = read(self.item.usable, self._usable, 1, window) == USABLE
        return good

    def _usable_on(self, box: GeoBox) -> NDArray[np.bool_] | None:
        return _usable_on(self.item, self._usable, box)

    def _reflectance_on(self, box: GeoBox, needed: NDArray[np.bool_]) -> NDArray[np.uint16]:
        part = self._part(box)
        if part is None:  # nothing usable, by the half pixel at an edge
            return np.zeros((len(self.item.bands), *box.shape), np.uint16)
        good = self._good(part.window)
        values = read(self.item.reflectance, self._reflectance, list(self.item.bands.values()), part.window)
        # Nodata, clouds and floor values must not bleed into the pixels beside them. Without any the warper is 3 x faster.
        values *= good
        placed = part.place(values, Resampling.cubic, nodata=None if good.all() else 0)
        if not placed[:, needed].all():  # below zero beside something much brighter
            np.copyto(placed, part.place(values, Resampling.nearest, nodata=0), where=placed == 0)
        return placed


def usable_on(item: MeasuredItem, box: GeoBox) -> NDArray[np.bool_] | None:
    """Return (h, w) where an item is usable on a rectangle of the grid, or None beside it; reads its usable.tif alone.

    Raises:
        InputError: usable.tif is missing or damaged.
    """
    with opened(item.usable) as dataset:
        return _usable_on(item, dataset, box)


def _usable_on(item: MeasuredItem, dataset: DatasetReader, box: GeoBox) -> NDArray[np.bool_] | None:
    part = _SourcePart.of(dataset.crs, dataset.transform, dataset.shape, box)
    if part is None:
        return None
    good = read(item.usable, dataset, 1, part.window) == USABLE
    return part.place(good.astype(np.uint8), Resampling.nearest, nodata=None).astype(bool)


@dataclass(frozen=True)
class _SourcePart:
    """The part of an item's raster that a rectangle of the grid is made from, and how."""

    box: GeoBox
    window: Window
    crs: CRS
    transform: Affine
    offset: tuple[int, int] | None
    """Row and column of the window's first pixel in the box, where the grids are the same."""

    @classmethod
    def of(cls, crs: CRS, transform: Affine, size: tuple[int, int], box: GeoBox) -> Self | None:
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


def _extent(pixels: NDArray[np.bool_]) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(pixels.any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _crs(box: GeoBox) -> CRS:
    return CRS.from_user_input(box.crs)
