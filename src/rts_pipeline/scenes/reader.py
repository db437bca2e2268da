"""Read a measured item onto any rectangle of the grid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import ceil, hypot
from os.path import normpath
from pathlib import Path
from typing import Any, Self

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.io import DatasetReader
from rasterio.warp import Resampling, transform_bounds
from rasterio.warp import transform as transform_points
from rasterio.windows import Window
from shapely import box as rectangle
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from rts_pipeline.config import BANDS
from rts_pipeline.errors import InputError
from rts_pipeline.grid import GeoBox
from rts_pipeline.scenes.delivered import georeferenced, read
from rts_pipeline.scenes.failures import read_measured
from rts_pipeline.scenes.source_part import SourcePart
from rts_pipeline.scenes.usable import USABLE

OPEN_ITEMS = 128
"""Items kept open at once: a window may have hundreds, and a process only so many open files."""


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
    surface: bool
    """Surface reflectance; else top-of-atmosphere reflectance made from radiance."""
    gain: tuple[float, ...]
    offset: tuple[float, ...]
    """Of each of our bands: reflectance x 10,000 is the raster's value x gain + offset."""
    shift_m: tuple[float, float]
    """Displacement of the content to the east and to the north in the grid's CRS, to be taken back; 0 where none is."""
    policy: str
    """Version of the usability policy."""
    footprint: BaseGeometry | None
    """Of the valid pixels, WGS84."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read an item.json of ours.

        Raises:
            InputError: the item could not be measured, or the file is missing, not JSON, or not written by `scenes`.
        """
        item = read_measured(path)
        try:
            told, assets = item["properties"], item["assets"]
            return cls(
                id=item["id"],
                acquired=told["datetime"],
                status=told["rts:status"],
                usable_fraction=told["rts:usable_fraction"],
                # relative to the item, as STAC has it, so that a project can be moved as a whole
                reflectance=Path(normpath(path.parent / assets["reflectance"]["href"])),
                usable=path.parent / assets["usable"]["href"],
                bands={band: told["rts:bands"][band] for band in BANDS},
                surface=told["rts:reflectance"] == "surface",
                gain=tuple(float(told["rts:gain"][band]) for band in BANDS),
                offset=tuple(float(told.get("rts:offset", {}).get(band, 0)) for band in BANDS),
                shift_m=_shift(told),
                policy=told["rts:policy"]["version"],
                footprint=shape(item["geometry"]) if item["geometry"] else None,
            )
        except (KeyError, TypeError) as error:
            raise InputError(path, f"lacks {error}", expected="an item.json of the stage scenes", do="run it again") from None


def touching(items: Sequence[MeasuredItem], part: GeoBox) -> list[MeasuredItem]:
    """Return the items whose footprint touches a rectangle of the grid, once they are moved to their place, in their order."""
    moved_m = max((hypot(*item.shift_m) for item in items), default=0.0)
    bounds = part.grown(ceil(moved_m / part.pixel_m)).bounds
    west, south, east, north = transform_bounds(part.crs, "EPSG:4326", *bounds)
    # Over the antimeridian west is the greater: then the items' own rasters decide.
    reach = rectangle(west, south, east, north) if west <= east else rectangle(-180, south, 180, north)
    return [item for item in items if item.footprint is not None and item.footprint.intersects(reach)]


def one_policy(items: Iterable[MeasuredItem]) -> str:
    """Return the version of the usability policy by which all items were measured; "" for no items.

    Raises:
        InputError: they were measured by different policies.
    """
    first: MeasuredItem | None = None
    for item in items:
        first = first or item
        if item.policy != first.policy:
            raise InputError(
                f"item {item.id}",
                f"measured by usability policy {item.policy}",
                expected=f"policy {first.policy} as {first.id}",
                do="measure all items with one configuration",
            )
    return first.policy if first else ""


def _shift(told: dict[str, Any]) -> tuple[float, float]:
    if not told.get("rts:shift_corrected"):
        return 0.0, 0.0
    east, north = told["rts:shift_m"]
    return float(east), float(north)


class ItemReader:
    """An item's reflectance and usable pixels on the grid. Close it, or use it in a `with`.

    A displaced item is moved to its place, and its values are brought to the level of the others by its gain and offset.
    Where the item's pixels are the grid's, they are taken without resampling. Elsewhere reflectance is resampled once, by
    cubic convolution from usable pixels only, and a pixel is usable where the nearest one of the item is.
    """

    def __init__(self, item: MeasuredItem) -> None:
        """Open the item's rasters.

        Raises:
            InputError: one is missing or damaged, or they don't fit together.
        """
        self.item = item
        self._places: dict[str, Affine] = {}
        self._stack = ExitStack()
        try:
            self._reflectance = self._stack.enter_context(georeferenced(item.reflectance))
            self._usable = self._stack.enter_context(georeferenced(item.usable))
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
        usable = self.usable_on(box)
        if usable is not None and wanted is not None:
            usable &= wanted
        if usable is None or not usable.any():
            return None
        values = np.zeros((len(self.item.bands), *box.shape), np.uint16)
        # Resampling is what costs: only the rectangle that is needed, often a few pixels in a gap of better items.
        rows, columns = _extent(usable)
        inner = box.part(rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)
        placed = self._reflectance_on(inner, usable[rows, columns])
        usable[rows, columns] &= (placed > 0).all(axis=0)
        np.copyto(values[:, rows, columns], placed, where=usable[rows, columns])
        return values, usable

    def usable_on(self, box: GeoBox) -> NDArray[np.bool_] | None:
        """Read which pixels of a rectangle of the grid are usable: (h, w), or None where the item doesn't reach."""
        part = self._part(box)
        return None if part is None else _usable(self.item, self._usable, part)

    def _part(self, box: GeoBox) -> SourcePart | None:
        if box.crs not in self._places:
            self._places[box.crs] = _place(self.item, self._usable, box.crs)
        return SourcePart.of(self._usable.crs, self._places[box.crs], self._usable.shape, box)

    def _good(self, window: Window) -> NDArray[np.bool_]:
        good: NDArray[np.bool_] = read(self.item.usable, self._usable, 1, window) == USABLE
        return good

    def _reflectance_on(self, box: GeoBox, needed: NDArray[np.bool_]) -> NDArray[np.uint16]:
        part = self._part(box)
        if part is None:  # nothing usable, by the half pixel at an edge
            return np.zeros((len(self.item.bands), *box.shape), np.uint16)
        values = read(self.item.reflectance, self._reflectance, list(self.item.bands.values()), part.window)
        values = levelled(values, self.item.gain, self.item.offset)
        if part.offset is not None:
            return part.place(values, Resampling.nearest, nodata=None)
        # Nodata, clouds and floor values must not bleed into the pixels beside them. Without any the warper is 3 x faster.
        good = self._good(part.window)
        values *= good
        placed = part.place(values, Resampling.cubic, nodata=None if good.all() else 0)
        if not placed[:, needed].all():  # below zero beside something much brighter
            np.copyto(placed, part.place(values, Resampling.nearest, nodata=0), where=placed == 0)
        return placed


class Readers:
    """Open items, the ones used last: the next window mostly needs the same. Use it in a `with`."""

    def __init__(self) -> None:
        """Begin with none open."""
        self._open: dict[tuple[str, tuple[float, float]], ItemReader] = {}

    def of(self, item: MeasuredItem) -> ItemReader:
        """Return the reader of an item, moved as it says."""
        key = item.id, item.shift_m
        reader = self._open.pop(key, None)
        if reader is None:
            reader = ItemReader(item)
            if len(self._open) >= OPEN_ITEMS:
                self._open.pop(next(iter(self._open))).close()
        self._open[key] = reader
        return reader

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._open.values():
            reader.close()


def levelled(values: NDArray[np.uint16], gain: Sequence[float], offset: Sequence[float]) -> NDArray[np.uint16]:
    """Return (bands, h, w) values x gain + offset, rounded and kept within 1-65535; 0 stays 0."""
    if all(factor == 1 for factor in gain) and not any(offset):
        return values
    result = np.empty_like(values)
    for band, (factor, constant) in enumerate(zip(gain, offset, strict=True)):
        moved = values[band] * np.float32(factor)
        moved += np.float32(constant)
        result[band] = np.clip(np.rint(moved, out=moved), 1, 65535, out=moved)
    result[values == 0] = 0
    return result


def usable_on(item: MeasuredItem, box: GeoBox) -> NDArray[np.bool_] | None:
    """Return (h, w) where an item is usable on a rectangle of the grid, or None beside it; reads its usable.tif alone.

    Raises:
        InputError: usable.tif is missing or damaged.
    """
    with georeferenced(item.usable) as dataset:
        part = SourcePart.of(dataset.crs, _place(item, dataset, box.crs), dataset.shape, box)
        return None if part is None else _usable(item, dataset, part)


def _usable(item: MeasuredItem, dataset: DatasetReader, part: SourcePart) -> NDArray[np.bool_]:
    good = read(item.usable, dataset, 1, part.window) == USABLE
    return part.place(good.astype(np.uint8), Resampling.nearest, nodata=None).astype(bool)


def _place(item: MeasuredItem, dataset: DatasetReader, grid_crs: str) -> Affine:
    """Return a raster's transform after the item's displacement, which is told in the grid's CRS, is taken back."""
    (east, north), place = item.shift_m, dataset.transform
    if east or north:
        # One vector for the whole item: the north of two zones turns by less than 0.01 over it, centimetres of a shift.
        grid, bounds = CRS.from_user_input(grid_crs), dataset.bounds
        middle = (bounds.left + bounds.right) / 2, (bounds.bottom + bounds.top) / 2
        xs, ys = transform_points(dataset.crs, grid, *([value] for value in middle))
        xs, ys = transform_points(grid, dataset.crs, [xs[0], xs[0] + east], [ys[0], ys[0] + north])
        place = Affine.translation(xs[0] - xs[1], ys[0] - ys[1]) @ place
    placed: Affine = place
    return placed


def _extent(pixels: NDArray[np.bool_]) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(pixels.any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
