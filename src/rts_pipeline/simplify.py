"""Outlines of pixels without their staircases, nowhere farther from the pixels' edges than a tolerance.

Every pixel edge along an outline gives its middle, and each middle moves towards its two neighbours by the binomial filter
(1, 2, 1) / 4, though by no more than `MAX_SHIFT_PX`. Joining the middles of two edges that meet at a corner cuts that corner at
a distance of sqrt(2) / 4 px, so that with the shift no point moves by more than half a pixel. What follows from that, for any
tolerance: rings never meet, since the middles' chains are sqrt(1/2) px apart wherever they aren't neighbours; outlines that
were apart stay apart; no part or hole is lost; and each pixel's centre stays on its side, so that drawing the outline on the
grid gives back exactly its pixels. A point's place depends on the edges around it alone: however the raster was cut, and
wherever a ring begins, the outline is the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Geometries = NDArray[np.object_]

MAX_PX = 0.5
"""Largest tolerance."""
MAX_SHIFT_PX = MAX_PX - np.sqrt(2) / 4
STRAIGHT = 1e-6
"""Twice the area (px2) of the triangle of a vertex and its neighbours, below which they lie on a line."""


def simplify(geometry: Geometries, tolerance_px: float) -> Geometries:
    """Return outlines of pixels without their staircases.

    Args:
        geometry: (multi)polygons along pixel edges, in pixels, shape (n,); no ring meets itself but at corners.
        tolerance_px: largest distance (Hausdorff) between an outline and its simplified one, 0 to 0.5; 0 changes nothing.
    """
    if not tolerance_px or not len(geometry):
        return geometry
    kind, xy, (rings, *parts) = shapely.to_ragged_array(geometry)
    points, sizes = _halves(xy, rings)
    middles = points[1::2]
    before, after = _neighbours(middles, sizes // 2)
    pull = (before - 2 * middles + after) / 4
    length = np.maximum(np.hypot(*pull.T), MAX_SHIFT_PX)
    moved = middles + pull * (MAX_SHIFT_PX / length)[:, None]
    target = np.empty_like(points)
    target[::2], target[1::2] = (_neighbours(moved, sizes // 2)[0] + moved) / 2, moved
    return straightened(_polygons(kind, points + tolerance_px / MAX_PX * (target - points), sizes, parts))


def straightened(geometry: Geometries) -> Geometries:
    """Remove the vertices that lie on a line between their neighbours; a multipolygon of one part becomes a polygon."""
    if not len(geometry):
        return geometry
    kind, xy, (rings, *parts) = shapely.to_ragged_array(geometry)
    sizes = np.diff(rings) - 1
    xy = np.delete(xy, rings[1:] - 1, axis=0)
    before, after = _neighbours(xy, sizes)
    (x0, y0), (x1, y1) = (xy - before).T, (after - xy).T
    corner = np.abs(x0 * y1 - y0 * x1) > STRAIGHT
    kept = np.add.reduceat(corner, np.cumsum(sizes) - sizes)
    return _polygons(kind, xy[corner], kept, parts)


def _halves(xy: Floats, rings: NDArray[Any]) -> tuple[Floats, NDArray[np.int64]]:
    """Return ends and middles of all pixel edges by turns, ring after ring, and the number of points of each ring."""
    start, step = np.delete(xy, rings[1:] - 1, axis=0), np.delete(np.diff(xy, axis=0), rings[1:-1] - 1, axis=0)
    edges = 2 * np.abs(step).sum(axis=1).round().astype(np.int64)
    along = np.arange(edges.sum()) - np.repeat(np.cumsum(edges) - edges, edges)
    points = np.repeat(start, edges, axis=0) + np.repeat(np.sign(step), edges, axis=0) * along[:, None] / 2
    first = rings[:-1] - np.arange(len(rings) - 1)
    return points, np.add.reduceat(edges, first)


def _neighbours(points: Floats, sizes: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return the point before and the point after each in its ring."""
    last = np.cumsum(sizes) - 1
    first = last - sizes + 1
    before, after = np.roll(points, 1, axis=0), np.roll(points, -1, axis=0)
    before[first], after[last] = points[last], points[first]
    return before, after


def _polygons(kind: Any, xy: Floats, sizes: NDArray[np.int64], parts: list[NDArray[Any]]) -> Geometries:
    """Return the (multi)polygons with these vertices, without repeating a ring's first one."""
    ends = np.cumsum(sizes)
    closed = np.insert(xy, ends, xy[ends - sizes], axis=0)
    polygons = shapely.from_ragged_array(kind, closed, (np.concatenate([[0], np.cumsum(sizes + 1)]), *parts))
    return plain(polygons) if kind == shapely.GeometryType.MULTIPOLYGON else polygons


def plain(parts: Geometries) -> Geometries:
    """Return multipolygons of one part as polygons."""
    single = shapely.get_num_geometries(parts) == 1
    polygons = parts.copy()
    polygons[single] = shapely.get_geometry(parts[single], 0)
    return polygons
