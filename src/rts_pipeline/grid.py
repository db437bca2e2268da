"""The grid: one projected CRS, pixels anchored at its origin, cells and blocks named by place.

A cell or block knows its CRS, transform, shape and id, and is the only thing passed around: no function takes a bare
transform beside a bare shape. A changed area renames nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import floor
from typing import TYPE_CHECKING, Literal

from affine import Affine

from rts_pipeline.errors import UsageError

if TYPE_CHECKING:
    from rasterio.crs import CRS
    from rasterio.windows import Window
    from shapely.geometry import Polygon
    from shapely.geometry.base import BaseGeometry

Defect = Literal["", "unknown", "unit"]
NAME = re.compile(r"^(?P<b>b_)?(?P<ew>[ew])(?P<column>\d{4,})_(?P<ns>[ns])(?P<row>\d{4,})$")


@dataclass(frozen=True)
class GeoBox:
    """A rectangle of pixels of the grid.

    `column` and `row` are the grid's pixel indices of the upper left pixel: x of its left edge is column * pixel_m, y of
    its upper edge is -row * pixel_m (rows grow to the south, as in an image).
    """

    id: str
    crs: str
    pixel_m: float
    column: int
    row: int
    width: int
    height: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.height, self.width

    @property
    def transform(self) -> Affine:
        """Affine transform from pixel (column, row) to CRS coordinates (x, y), in metres."""
        return Affine(self.pixel_m, 0, self.column * self.pixel_m, 0, -self.pixel_m, -self.row * self.pixel_m)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north in metres."""
        west, north = self.column * self.pixel_m, -self.row * self.pixel_m
        return west, north - self.height * self.pixel_m, west + self.width * self.pixel_m, north

    @property
    def polygon(self) -> Polygon:
        """The outline in the grid's CRS."""
        from shapely import box

        return box(*self.bounds)

    @property
    def profile(self) -> dict[str, object]:
        """The part of a rasterio profile that places a raster here."""
        return {"crs": self.crs, "transform": self.transform, "width": self.width, "height": self.height}

    def intersection(self, other: GeoBox) -> GeoBox | None:
        """Return the pixels common to both, or None."""
        left, top = max(self.column, other.column), max(self.row, other.row)
        right = min(self.column + self.width, other.column + other.width)
        bottom = min(self.row + self.height, other.row + other.height)
        if right <= left or bottom <= top:
            return None
        return GeoBox(self.id, self.crs, self.pixel_m, left, top, right - left, bottom - top)

    def part(self, top: int, left: int, height: int, width: int) -> GeoBox:
        """Return the rectangle of that size whose upper left pixel is row `top`, column `left` of this one."""
        return GeoBox(self.id, self.crs, self.pixel_m, self.column + left, self.row + top, width, height)

    def grown(self, halo_px: int) -> GeoBox:
        """Return this rectangle with a halo of pixels on each side."""
        return self.part(-halo_px, -halo_px, self.height + 2 * halo_px, self.width + 2 * halo_px)

    def window_of(self, part: GeoBox) -> Window:
        """Return the rasterio window of `part` within this box (it may reach outside)."""
        from rasterio.windows import Window

        return Window(part.column - self.column, part.row - self.row, part.width, part.height)

    def slices_of(self, part: GeoBox) -> tuple[slice, slice]:
        """Return the (rows, columns) slices of `part` within an array of this box's shape."""
        top, left = part.row - self.row, part.column - self.column
        return slice(top, top + part.height), slice(left, left + part.width)

    def windows(self, edge_px: int) -> Iterator[GeoBox]:
        """Yield the parts of at most that edge that make up this box, row by row."""
        for top in range(0, self.height, edge_px):
            for left in range(0, self.width, edge_px):
                width, height = min(edge_px, self.width - left), min(edge_px, self.height - top)
                yield self.part(top, left, height, width)


@dataclass(frozen=True)
class Grid:
    """The grid of a project.

    Attributes:
        crs: projected CRS in metres, as an authority code or WKT.
        pixel_m: pixel size in metres.
        cell_px: edge of a cell in pixels (mosaics are made by cell).
        block_cells: edge of a block in cells (predictions are made by block).
    """

    crs: str
    pixel_m: float = 3.0
    cell_px: int = 2048
    block_cells: int = 5

    @cached_property
    def rasterio_crs(self) -> CRS:
        """The CRS as rasterio's object."""
        from rasterio.crs import CRS

        return CRS.from_user_input(self.crs)

    def cell(self, name: str) -> GeoBox:
        """Return the cell of that name."""
        column, row = _parse(name, "cell")
        return self._box(name, column, row, self.cell_px)

    def block(self, name: str) -> GeoBox:
        """Return the block of that name."""
        column, row = _parse(name, "block")
        return self._box(name, column, row, self.cell_px * self.block_cells)

    def block_of(self, cell: str) -> str:
        """Return the name of the block that a cell lies in."""
        column, row = _parse(cell, "cell")
        return "b_" + _name(floor(column / self.block_cells), floor(row / self.block_cells))

    def cell_at(self, x: float, y: float) -> str:
        """Return the name of the cell that a point (in the grid's CRS) lies in; west and south edges belong to the cell."""
        size = self.cell_px * self.pixel_m
        return _name(floor(x / size), floor(y / size))

    def cells_in(self, box: GeoBox) -> list[str]:
        """Return the sorted names of the cells that share pixels with a rectangle of this grid."""
        columns = range(box.column // self.cell_px, -(-(box.column + box.width) // self.cell_px))
        # rows of cells count to the north, those of pixels to the south
        rows = range((-box.row - box.height) // self.cell_px, -(box.row // self.cell_px))
        return sorted(_name(column, row) for column in columns for row in rows)

    def cells_touching(self, geometry: BaseGeometry | Iterable[BaseGeometry]) -> list[str]:
        """Return the sorted names of the cells that share area with the geometry (in the grid's CRS)."""
        return sorted({name for _, name in self.cell_pairs(geometry)})

    def cell_pairs(self, geometry: BaseGeometry | Iterable[BaseGeometry]) -> list[tuple[int, str]]:
        """Return (index of the geometry, cell name) for all that share area, in order."""
        import numpy as np
        import shapely

        geometries = np.atleast_1d(np.asarray(geometry, dtype=object))
        size = self.cell_px * self.pixel_m
        pairs = []
        for index, (west, south, east, north) in enumerate(shapely.bounds(geometries)):
            if not np.isfinite(west):
                continue
            columns = range(floor(west / size), floor(east / size) + 1)
            rows = range(floor(south / size), floor(north / size) + 1)
            corners = [(c, r) for c in columns for r in rows]
            boxes = shapely.box(*np.array([(c * size, r * size, (c + 1) * size, (r + 1) * size) for c, r in corners]).T)
            shared = shapely.intersects(boxes, geometries[index]) & ~shapely.touches(boxes, geometries[index])
            pairs += [(index, _name(*corner)) for corner, hit in zip(corners, shared, strict=True) if hit]
        return pairs

    def neighbours(self, block: str, halo_px: int) -> GeoBox:
        """Return the block grown by a halo of pixels on each side."""
        return self.block(block).grown(halo_px)

    def _box(self, name: str, column: int, row: int, size_px: int) -> GeoBox:
        # `row` counts to the north from the CRS origin (the lower edge); GeoBox counts pixel rows to the south.
        return GeoBox(name, self.crs, self.pixel_m, column * size_px, -(row + 1) * size_px, size_px, size_px)


def crs_defect(crs: str) -> Defect:
    """Return why pixels can't be counted in a CRS: PROJ knows no way from it to others, or it is no projection in metres."""
    from pyproj import Transformer
    from pyproj.exceptions import ProjError
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    try:
        Transformer.from_crs(crs, "EPSG:4326")
        known = CRS.from_user_input(crs)
    except (ProjError, CRSError):  # a local system, a projection that PROJ doesn't know, another planet; a number alone
        return "unknown"
    return "" if known.is_projected and known.linear_units_factor[1] == 1 else "unit"


def _name(column: int, row: int) -> str:
    return f"{'e' if column >= 0 else 'w'}{abs(column):04d}_{'n' if row >= 0 else 's'}{abs(row):04d}"


def _parse(name: str, kind: str) -> tuple[int, int]:
    match = NAME.match(name)
    if not match or bool(match["b"]) != (kind == "block"):
        raise UsageError(name, f"not the name of a {kind}", expected="e0079_n0628, or b_e0015_n0125 for a block")
    column = int(match["column"]) * (1 if match["ew"] == "e" else -1)
    row = int(match["row"]) * (1 if match["ns"] == "n" else -1)
    return column, row
