"""The ground of a spatial block that the network is judged on, and the slumps that are known there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from rasterio.features import shapes

from rts_pipeline.chips import block_grid
from rts_pipeline.errors import InputError
from rts_pipeline.grid import GeoBox, Grid
from rts_pipeline.inventory.shape import geodesic_area_perimeter
from rts_pipeline.inventory.unite import overlap_groups
from rts_pipeline.io.tables import read_geoparquet
from rts_pipeline.labels import IGNORE, LabelRaster
from rts_pipeline.metrics.pixels import NODATA

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rts_pipeline.options import ValidateOptions

    Bytes = NDArray[np.uint8]
    Floats = NDArray[np.float64]
    Geometries = NDArray[np.object_]

TILE_PX = 128
JUDGED = ("validation", "test")
"""Splits that networks are judged on; what is chosen is chosen on the first one."""


@dataclass(frozen=True)
class Block:
    """A spatial block that is judged: its pixels, its split, and its windows."""

    box: GeoBox
    split: str
    windows: tuple[GeoBox, ...]


@dataclass(frozen=True)
class Ground:
    """What is known of a block.

    Attributes:
        box: pixels of the block.
        classes: uint8 (rows, columns): 1 slump, 0 none, 255 not judged (no window, not observed, or labelled as unsure).
        slumps: outlines of the judged slumps, each as far as it lies in judged ground, shape (n,).
        slump_areas_m2: geodesic area of each of those slumps as a whole, shape (n,).
        ignored: polygons of what is not judged; the ground of slumps that lie there for more than half belongs to it.
        m2_per_unit: geodesic area of a square metre of the projection here.
    """

    box: GeoBox
    classes: Bytes
    slumps: Geometries
    slump_areas_m2: Floats
    ignored: Geometries
    m2_per_unit: float


def blocks_of(chips: Path, options: ValidateOptions) -> list[Block]:
    """Return the blocks that hold windows of a judged split, validation first, then by name.

    Raises:
        InputError: no validation window.
    """
    grid, table = options.grid.grid(), read_geoparquet(chips)
    coarse = block_grid(grid, options.chips)
    blocks = []
    for split in JUDGED:
        for name, rows in table[table["split"] == split].groupby("block", sort=True):
            places = rows[["column", "row", "size_px", "size_px"]].to_numpy().tolist()
            windows = (GeoBox(str(name), grid.crs, grid.pixel_m, *place) for place in places)
            blocks.append(Block(coarse.cell(str(name).removeprefix("s_")), split, tuple(windows)))
    if not blocks or blocks[0].split != JUDGED[0]:
        raise InputError(chips, "holds no validation window", expected="windows of train and validation", do="make it again")
    return blocks


class Known:
    """The labels of a round, as classes of pixels and as outlines; outlines that overlap are one slump, as in the inventory.

    No ring at the slumps' boundaries is left out: the boundary is the hard part, and without it scores would flatter.
    """

    def __init__(self, labels: Path, grid: Grid) -> None:
        """Read the labels.

        Raises:
            InputError: the file is missing or damaged.
        """
        self._grid = grid
        self._raster = LabelRaster(labels, grid.crs)
        frame = read_geoparquet(labels).to_crs(grid.crs)
        self.slumps = _united(frame.geometry[frame["kind"] == "positive"].to_numpy())
        self._tree = shapely.STRtree(self.slumps)

    def near(self, box: GeoBox) -> Geometries:
        """Return the whole outlines of the slumps that touch a box, in the order of the labels."""
        return self.slumps[np.sort(self._tree.query(box.polygon, predicate="intersects"))]

    def ground(self, block: Block, probability: Bytes) -> Ground:
        """Return what is known of a block.

        Args:
            block: the block.
            probability: uint8 (rows, columns) of the block; 255 = not observed.
        """
        box = block.box
        covered = np.zeros(box.shape, bool)
        for window in block.windows:
            covered[box.slices_of(window)] = True
        classes = np.where(covered & (probability != NODATA), self._raster.mask(box), IGNORE).astype(np.uint8)
        ignored = _polygons(classes == IGNORE, box)
        whole = self.near(box)
        here = _areas(shapely.intersection(whole, box.polygon))
        left, _ = without(here, ignored)
        judged = 2 * shapely.area(left) >= shapely.area(whole)
        # What the network draws there can be neither right nor wrong.
        ignored = np.concatenate([ignored, here[~judged]])
        scale = _m2_per_unit(box)
        return Ground(box, classes, left[judged], shapely.area(whole[judged]) * scale, ignored, scale)


def without(geometries: Geometries, ignored: Geometries) -> tuple[Geometries, NDArray[np.bool_]]:
    """Return the geometries without the ignored ground, and whether at least half of each is left."""
    left = geometries.copy()
    owner, part = shapely.STRtree(ignored).query(geometries, predicate="intersects")
    part = part[np.argsort(owner, kind="stable")]
    ends = np.cumsum(np.bincount(owner, minlength=len(geometries)))
    for index in np.unique(owner):
        parts = ignored[part[ends[index - 1] if index else 0 : ends[index]]]
        left[index] = shapely.difference(geometries[index], shapely.union_all(parts))
    return left, 2 * shapely.area(left) >= shapely.area(geometries)


def _areas(geometries: Geometries) -> Geometries:
    """Drop the lines and points that an intersection leaves where outlines touch the other from outside."""
    areas = geometries.copy()
    for index in np.flatnonzero(shapely.get_type_id(geometries) == shapely.GeometryType.GEOMETRYCOLLECTION):
        parts = shapely.get_parts(geometries[index])
        areas[index] = shapely.union_all(parts[shapely.get_dimensions(parts) == 2])
    return areas


def _united(outlines: Geometries) -> Geometries:
    if not len(outlines):
        return outlines
    groups = overlap_groups(outlines)
    _, first, number = np.unique(groups, return_index=True, return_counts=True)
    united = outlines[first]
    for group in np.flatnonzero(number > 1):
        united[group] = shapely.union_all(outlines[groups == group])
    return united


def _polygons(mask: NDArray[np.bool_], box: GeoBox) -> Geometries:
    """Return a mask as polygons in the grid's CRS, cut into tiles: to look at a small one is cheap."""
    traced: list[Any] = []
    for tile in box.windows(TILE_PX):
        part = mask[box.slices_of(tile)]
        # In whole pixels first: multiplied afterwards, equal corners are equal numbers, as they are for outlines.
        place = Affine.translation(tile.column, tile.row)
        traced += [shape["coordinates"] for shape, _ in shapes(part.astype(np.uint8), mask=part, transform=place)]
    polygons = np.array([shapely.Polygon(rings[0], rings[1:]) for rings in traced], dtype=object)
    return shapely.transform(polygons, lambda xy: xy * [box.pixel_m, -box.pixel_m])


def _m2_per_unit(box: GeoBox) -> float:
    polygon = gpd.GeoSeries([box.polygon], crs=box.crs)
    return float(geodesic_area_perimeter(polygon)[0][0] / polygon.area.iloc[0])
