"""Connected components of rasters that are cut into strips and blocks.

Pieces are united by their pixels along the seams and never by geometry: two pixels that touch at a corner across a seam
belong together although their outlines share no edge. All of it happens in global pixel indices, which are whole numbers,
so that any way to cut a raster gives exactly the same outlines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from rts_pipeline.graph import components
from rts_pipeline.grid import GeoBox
from rts_pipeline.metrics.pixels import LEVELS, NODATA
from rts_pipeline.simplify import plain, straightened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Geometries = NDArray[np.object_]

EIGHT_CONNECTED = np.ones((3, 3), dtype=int)


@dataclass(frozen=True)
class Pieces:
    """Connected sets of pixels, each perhaps a part of a larger one.

    Attributes:
        levels: number of pixels with each raster value (probability x 250), int64, shape (n, LEVELS), values ascending in
            each row; from it follows every statistic of the pixels, however many pieces they come in.
        geometry: (multi)polygons in global pixel indices, x = column, y = row, shape (n,).
        runs: boxes (row0, column0, row1, column1; half-open) of the pixels along seams, shape (m, 4).
        owner: position of the piece that each run belongs to, shape (m,).
    """

    levels: csr_array
    geometry: Geometries
    runs: Integers
    owner: Integers

    @property
    def n_px(self) -> Integers:
        """Number of pixels, shape (n,)."""
        return np.asarray(self.levels.sum(axis=1), dtype=np.int64)

    @property
    def value_sum(self) -> Integers:
        """Sum of the raster values, shape (n,)."""
        return np.asarray(self.levels @ np.arange(LEVELS), dtype=np.int64)

    @property
    def value_max(self) -> Integers:
        """Largest raster value, shape (n,)."""
        return np.asarray(self.levels.indices[self.levels.indptr[1:] - 1], dtype=np.int64)

    @property
    def value_median(self) -> Floats:
        """Median raster value, shape (n,); the mean of both where two are in the middle."""
        upto = np.cumsum(self.levels.data)
        n_px = self.n_px
        before = np.cumsum(n_px) - n_px
        low, high = (np.searchsorted(upto, before + rank, side="right") for rank in ((n_px - 1) // 2, n_px // 2))
        return np.asarray((self.levels.indices[low] + self.levels.indices[high]) / 2, dtype=float)

    def count_from(self, level: int) -> Integers:
        """Return the number of pixels with a raster value of at least `level`, shape (n,)."""
        return np.asarray(self.levels @ (np.arange(LEVELS) >= level).astype(np.int64), dtype=np.int64)

    def where(self, kept: NDArray[np.bool_]) -> Pieces:
        """Return the pieces of which `kept`, shape (n,), is true."""
        runs = kept[self.owner]
        return Pieces(
            self.levels[np.flatnonzero(kept)], self.geometry[kept], self.runs[runs], (np.cumsum(kept) - 1)[self.owner[runs]]
        )


def find(box: GeoBox, values: NDArray[np.uint8], limit: int) -> Pieces:
    """Return the 8-connected sets of observed pixels with a value of at least `limit`, with runs along all four edges.

    Args:
        box: the pixels.
        values: uint8, shape of `box`, 0-250 and 255 = not observed.
        limit: smallest value inside.
    """
    from scipy.ndimage import label

    labels, count = label((values >= limit) & (values != NODATA), EIGHT_CONNECTED)
    inside = labels > 0
    runs, owner = _edge_runs(labels, box)
    return Pieces(count_levels(labels[inside] - 1, values[inside], count), trace(labels, count, box), runs, owner)


def merge(parts: Sequence[Pieces]) -> Pieces:
    """Unite pieces whose runs share an edge or touch at a corner; outlines get their simplest form (no vertex on a line)."""
    from scipy.sparse import csr_array

    pieces = _concatenate(parts)
    count = len(pieces.geometry)
    groups = _groups(pieces)
    total = int(groups.max()) + 1 if count else 0
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], np.arange(total + 1))
    geometry = pieces.geometry[order[starts[:-1]]]
    for group in np.flatnonzero(np.diff(starts) > 1):
        geometry[group] = shapely.union_all(pieces.geometry[order[starts[group] : starts[group + 1]]])
    member = csr_array((np.ones(count, dtype=np.int64), (groups, np.arange(count))), shape=(total, count))
    levels = member @ pieces.levels
    levels.sort_indices()
    return Pieces(levels, straightened(geometry), pieces.runs, groups[pieces.owner])


def fill_holes(geometry: Geometries, hole_px: float) -> tuple[Geometries, NDArray[np.intp], NDArray[np.intp]]:
    """Fill holes smaller than `hole_px` (pixels).

    Returns:
        The geometries; positions of those that lie in a filled hole of another, and of that other, a pair of each.
    """
    parts, owner = shapely.get_parts(geometry, return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    outer = np.diff(part, prepend=-1) > 0
    holes = np.asarray(shapely.polygons(rings[~outer]))
    small = shapely.area(holes) < hole_px
    filled = geometry.copy()
    # An island in the hole may belong to the outline itself, touching it at a corner: the union takes it in.
    holes, hole_owner = holes[small], owner[part[~outer]][small]
    for group in np.split(np.arange(len(holes)), np.flatnonzero(np.diff(hole_owner)) + 1):
        filled[hole_owner[group[:1]]] = shapely.union_all([*geometry[hole_owner[group[:1]]], *holes[group]])
    hole, inside = shapely.STRtree(geometry).query(holes, predicate="covers")
    other = inside != hole_owner[hole]
    return filled, inside[other], hole_owner[hole[other]]


def count_levels(owner: NDArray[Any], values: NDArray[np.uint8], count: int) -> csr_array:
    """Return how many pixels of each piece have each value."""
    from scipy.sparse import coo_array

    levels = coo_array((np.ones(len(values), dtype=np.int64), (owner, values)), shape=(count, LEVELS)).tocsr()
    levels.sort_indices()
    return levels


def _edge_runs(labels: NDArray[Any], box: GeoBox) -> tuple[Integers, Integers]:
    """Return the boxes of equal labels along the four edges, and the position of the piece of each."""
    height, width = labels.shape
    boxes, owners = [], []
    for row in {0, height - 1}:
        start, stop, names = _run_lengths(labels[row])
        boxes.append(np.column_stack([np.full_like(start, row), start, np.full_like(start, row + 1), stop]))
        owners.append(names - 1)
    for column in {0, width - 1}:
        start, stop, names = _run_lengths(labels[:, column])
        boxes.append(np.column_stack([start, np.full_like(start, column), stop, np.full_like(start, column + 1)]))
        owners.append(names - 1)
    return np.concatenate(boxes) + np.array([box.row, box.column] * 2), np.concatenate(owners)


def _run_lengths(line: NDArray[Any]) -> tuple[Integers, Integers, Integers]:
    change = np.flatnonzero(np.diff(line)) + 1
    start, stop = np.concatenate([[0], change]), np.concatenate([change, [len(line)]])
    inside = line[start] > 0
    return start[inside], stop[inside], line[start[inside]].astype(np.int64)


def trace(labels: NDArray[Any], count: int, box: GeoBox) -> Geometries:
    """Return a (multi)polygon for each label 1..count, in global pixel indices.

    Tracing by edges (4-connected) gives valid rings; what touches only at corners becomes the parts of one multipolygon.
    """
    from affine import Affine
    from rasterio.features import shapes

    if not count:
        return np.empty(0, dtype=object)
    traced = list(shapes(labels, mask=labels > 0, connectivity=4, transform=Affine.translation(box.column, box.row)))
    polygons = np.array([shapely.Polygon(shape["coordinates"][0], shape["coordinates"][1:]) for shape, _ in traced])
    owner = np.array([int(value) - 1 for _, value in traced])
    order = np.argsort(owner, kind="stable")
    parts = shapely.multipolygons(polygons[order], indices=owner[order])
    return plain(np.asarray(parts))


def _concatenate(parts: Sequence[Pieces]) -> Pieces:
    from scipy.sparse import vstack

    offsets = np.cumsum([0, *(len(part.geometry) for part in parts)])
    owner = np.concatenate([part.owner + offset for part, offset in zip(parts, offsets[:-1], strict=True)])
    geometry, runs = (np.concatenate([getattr(part, name) for part in parts]) for name in ("geometry", "runs"))
    return Pieces(vstack([part.levels for part in parts], format="csr"), geometry, runs, owner)


def _groups(pieces: Pieces) -> Integers:
    """Return for each piece the number of the connected set it belongs to."""
    boxes = shapely.box(*pieces.runs[:, [1, 0, 3, 2]].T.astype(float))
    one, other = shapely.STRtree(boxes).query(boxes, predicate="intersects")
    return components(len(pieces.geometry), pieces.owner[one], pieces.owner[other])
