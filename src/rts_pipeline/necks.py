"""Outlines that a narrow neck joins, cut there: by whole pixels, so that every figure of the parts follows from their pixels.

A neck is where an outline is no wider than `neck_px` between two places that are each more than twice as wide. So little
bulges, and slumps that are narrow all along, are left whole. The cut is a line of pixels across the neck, which belong to
neither part any more: the parts are as far apart as any two outlines.

An outline is cut when all of it is known, by itself: how the raster was cut into blocks changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from math import floor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
import shapely

from rts_pipeline.components import EIGHT_CONNECTED, Pieces, count_levels, trace
from rts_pipeline.errors import UsageError
from rts_pipeline.grid import GeoBox, Grid
from rts_pipeline.metrics.pixels import NODATA
from rts_pipeline.polygonize import check_raster, reading
from rts_pipeline.simplify import straightened

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rasterio.io import DatasetReader
    from scipy.sparse import csr_array

    Bytes = NDArray[np.uint8]
    Mask = NDArray[np.bool_]
    Positions = NDArray[np.intp]
    Geometries = NDArray[np.object_]

Read = Callable[[GeoBox], "Bytes"]
"""Gives the probabilities of a rectangle, uint8, as they were when its pixels were outlined."""


def cut_necks(pieces: Pieces, filled: Geometries, neck_px: float, place: Grid | GeoBox, read: Read) -> tuple[Pieces, Positions]:
    """Cut the outlines whose necks are no wider than `neck_px`.

    Args:
        pieces: whole outlines, of the pixels above the threshold.
        filled: the same with small holes filled, shape (n,), in global pixel indices: their width is what counts.
        neck_px: width of the widest neck in pixels, at least 2; 0 cuts nothing.
        place: the grid, or a rectangle of it.
        read: gives the values of the pixels.

    Returns:
        The outlines with their holes filled; position of the outline that each is of, ascending.

    Raises:
        UsageError: `read` doesn't know a pixel of an outline.
    """
    wholes = replace(pieces, geometry=filled)
    if not neck_px or not len(filled):
        return wholes, np.arange(len(filled))
    cores, owner = _cores(filled, neck_px)
    several = np.bincount(owner, minlength=len(filled)) > 1
    kept = wholes.where(~several)
    parts, origins = [kept], [np.flatnonzero(~several)]
    for index in np.flatnonzero(several):
        levels, geometry = _parts(pieces.geometry[index], filled[index], cores[owner == index], neck_px, place, read)
        parts.append(Pieces(levels, geometry, np.empty((0, 4), np.int64), np.empty(0, np.int64)))
        origins.append(np.full(len(geometry), index))
    return _in_order(parts, np.concatenate(origins))


def _cores(outlines: Geometries, neck_px: float) -> tuple[Geometries, Positions]:
    """Return what is left of outlines that lose half a neck's width all around, as far as it is itself wider than a neck."""
    left, owner = shapely.get_parts(shapely.buffer(shapely.normalize(outlines), -neck_px / 2), return_index=True)
    wide = ~shapely.is_empty(shapely.buffer(left, -neck_px / 2))
    return left[wide], owner[wide]


def _parts(
    outline: shapely.Geometry, filled: shapely.Geometry, cores: Geometries, neck_px: float, place: Grid | GeoBox, read: Read
) -> tuple[csr_array, Geometries]:
    """Return the levels and outlines of the parts of an outline."""
    from scipy.ndimage import label

    left, top, right, bottom = (int(bound) for bound in shapely.bounds(filled))
    here = GeoBox("outline", place.crs, place.pixel_m, left, top, right - left, bottom - top)
    inside = _mask(filled, here)
    labels, count = label(inside & ~_line(inside, _markers(cores, neck_px, here)), EIGHT_CONNECTED)
    counted = _mask(outline, here) & (labels > 0)
    values = read(here)[counted]
    if (values == NODATA).any():
        raise UsageError("--probability", "doesn't give every block's raster", expected="those that the outlines were made of")
    levels = count_levels(labels[counted] - 1, values, count)
    # What consists of filled holes alone was never outlined.
    some = np.diff(levels.indptr) > 0
    return levels[np.flatnonzero(some)], straightened(trace(labels, count, here)[some])


def _mask(outline: shapely.Geometry, box: GeoBox) -> Mask:
    """Return the pixels of an outline in pixel indices."""
    from affine import Affine
    from rasterio.features import rasterize

    place = Affine.translation(box.column, box.row)
    return np.asarray(rasterize([outline], box.shape, transform=place, dtype="uint8") > 0)


def _markers(cores: Geometries, neck_px: float, box: GeoBox) -> NDArray[np.int64]:
    """Return the number (1..) of the core in whose middle a pixel lies, 0 elsewhere; no two cores' pixels touch.

    A point of the middle is farther than 3/4 of a neck's width from the outline's edge, and half-way between two such points
    of different cores it is not even half of it. So they are more than a pixel's diagonal apart where a neck may be 2 px wide.
    """
    markers = np.zeros(box.shape, np.int64)
    deepest = shapely.point_on_surface(shapely.buffer(cores, -neck_px / 2))
    for number, (core, point) in enumerate(zip(cores, deepest, strict=True), 1):
        markers[_mask(shapely.buffer(core, -neck_px / 4), box)] = number
        # The middle may be too small to hold a pixel's centre.
        markers[floor(point.y) - box.row, floor(point.x) - box.column] = number
    return markers


def _line(inside: Mask, markers: NDArray[np.int64]) -> Mask:
    """Return the pixels where floods from the markers meet, that spread from wide ground to narrow."""
    from scipy.ndimage import distance_transform_edt, maximum_filter, minimum_filter
    from skimage.segmentation import watershed

    depth = distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    flooded = watershed(-depth, markers, connectivity=EIGHT_CONNECTED, mask=inside, watershed_line=True)
    most = maximum_filter(flooded, footprint=EIGHT_CONNECTED, mode="constant")
    # No flood gets to a pocket behind the line; it isn't of the line, which has floods on both sides.
    least = minimum_filter(np.where(flooded > 0, flooded, np.iinfo(flooded.dtype).max), footprint=EIGHT_CONNECTED)
    return np.asarray(inside & (flooded == 0) & (least < most))


def _in_order(parts: Sequence[Pieces], origin: Positions) -> tuple[Pieces, Positions]:
    """Unite parts; those of the first outline first."""
    from scipy.sparse import vstack

    order = np.argsort(origin, kind="stable")
    levels = vstack([part.levels for part in parts], format="csr")[order]
    geometry = np.concatenate([part.geometry for part in parts])[order]
    return Pieces(levels, geometry, np.empty((0, 4), np.int64), np.empty(0, np.int64)), origin[order]


class Probabilities:
    """Reads rectangles of the grid from the probability rasters of blocks (`<block>.tif`).

    Use as a context manager. Files are opened when first needed.
    """

    def __init__(self, paths: Sequence[Path], grid: Grid) -> None:
        """Take the rasters of all blocks on `grid`."""
        self._blocks = {path: grid.block(path.stem) for path in sorted(paths)}
        self._open: dict[Path, DatasetReader] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def __call__(self, box: GeoBox) -> Bytes:
        """Return the values of a box: probability x 250, 255 = not observed or in no block.

        Raises:
            InputError: a raster can't be read, or has other pixels than its block.
        """
        values = np.full(box.shape, NODATA, np.uint8)
        for path, block in self._blocks.items():
            part = block.intersection(box)
            if part is not None:
                with reading(path):
                    values[box.slices_of(part)] = self._dataset(path, block).read(1, window=block.window_of(part))
        return values

    def _dataset(self, path: Path, block: GeoBox) -> DatasetReader:
        import rasterio

        if path not in self._open:
            dataset = self._stack.enter_context(rasterio.open(path))
            check_raster(dataset, block, path)
            self._open[path] = dataset
        return self._open[path]
