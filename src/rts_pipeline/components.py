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

from rts_pipeline.grid import GeoBox
from rts_pipeline.simplify import plain, straightened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Integers = NDArray[np.int64]
    Geometries = NDArray[np.object_]

UNOBSERVED = 255
EIGHT_CONNECTED = np.ones((3, 3), dtype=int)


@dataclass(frozen=True)
class Pieces:
    """Connected sets of pixels, each perhaps a part of a larger one.

    Attributes:
        n_px: number of pixels, shape (n,).
        value_sum: sum of the raster values (probability x 250), shape (n,).
        value_max: largest raster value, shape (n,).
        geometry: (multi)polygons in global pixel indices, x = column, y = row, shape (n,).
        runs: boxes (row0, column0, row1, column1; half-open) of the pixels along seams, shape (m, 4).
        owner: position of the piece that each run belongs to, shape (m,).
    """

    n_px: Integers
    value_sum: Integers
    value_max: Integers
    geometry: Geometries
    runs: Integers
    owner: Integers


def find(box: GeoBox, values: NDArray[np.uint8], limit: int) -> Pieces:
    """Return the 8-connected sets of observed pixels with a value of at least `limit`, with runs along all four edges.

    Args:
        box: the pixels.
        values: uint8, shape of `box`, 0-250 and 255 = not observed.
        limit: smallest value inside.
    """
    from scipy.ndimage import label

    labels, count = label((values >= limit) & (values != UNOBSERVED), EIGHT_CONNECTED)
    inside = labels > 0
    names, found = labels[inside], values[inside]
    value_max = np.zeros(count + 1, dtype=np.int64)
    np.maximum.at(value_max, names, found)
    runs, owner = _edge_runs(labels, box)
    return Pieces(
        n_px=np.bincount(names, minlength=count + 1)[1:],
        value_sum=np.bincount(names, weights=found, minlength=count + 1)[1:].astype(np.int64),
        value_max=value_max[1:],
        geometry=_trace(labels, count, box),
        runs=runs,
        owner=owner,
    )


def merge(parts: Sequence[Pieces]) -> Pieces:
    """Unite pieces whose runs share an edge or touch at a corner; outlines get their simplest form (no vertex on a line)."""
    pieces = _concatenate(parts)
    count = len(pieces.n_px)
    groups = _groups(pieces)
    total = int(groups.max()) + 1 if count else 0
    value_max = np.zeros(total, dtype=np.int64)
    np.maximum.at(value_max, groups, pieces.value_max)
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], np.arange(total + 1))
    geometry = pieces.geometry[order[starts[:-1]]]
    for group in np.flatnonzero(np.diff(starts) > 1):
        geometry[group] = shapely.union_all(pieces.geometry[order[starts[group] : starts[group + 1]]])
    return Pieces(
        n_px=np.bincount(groups, weights=pieces.n_px, minlength=total).astype(np.int64),
        value_sum=np.bincount(groups, weights=pieces.value_sum, minlength=total).astype(np.int64),
        value_max=value_max,
        geometry=straightened(geometry),
        runs=pieces.runs,
        owner=groups[pieces.owner],
    )


def fill_holes(geometry: Geometries, hole_px: float) -> tuple[Geometries, NDArray[np.intp]]:
    """Fill holes smaller than `hole_px` (pixels); return the geometries and the positions of those in a filled hole."""
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
    return filled, np.unique(inside[inside != hole_owner[hole]])


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


def _trace(labels: NDArray[Any], count: int, box: GeoBox) -> Geometries:
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
    offsets = np.cumsum([0, *(len(part.n_px) for part in parts)])
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("n_px", "value_sum", "value_max", "geometry", "runs")
    }
    owner = np.concatenate([part.owner + offset for part, offset in zip(parts, offsets[:-1], strict=True)])
    return Pieces(**joined, owner=owner)


def _groups(pieces: Pieces) -> Integers:
    """Return for each piece the number of the connected set it belongs to."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(pieces.n_px)
    boxes = shapely.box(*pieces.runs[:, [1, 0, 3, 2]].T.astype(float))
    one, other = shapely.STRtree(boxes).query(boxes, predicate="intersects")
    pairs = (pieces.owner[one], pieces.owner[other])
    graph = coo_array((np.ones(len(one), dtype=np.int8), pairs), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)
