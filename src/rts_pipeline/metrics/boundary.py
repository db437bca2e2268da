"""How far the boundaries of matched outlines lie apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

from rts_pipeline.metrics.outlines import valid_polygons

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Geometries = NDArray[np.object_]

BATCH = 1024
"""Pairs that are measured together: a national inventory's points don't fit in memory at once."""


def boundary_distance_m(predicted: Geometries, truth: Geometries, step_m: float) -> Floats:
    """Return the symmetric mean distance between the boundaries of matched outlines.

    Mean of the two directed means, each over one boundary to the nearest point of the other one. It is the average
    symmetric surface distance of Heimann et al. (2009), doi:10.1109/TMI.2009.2013851, except that both boundaries weigh
    the same, however much longer the more ragged one is.

    Args:
        predicted: polygons of one CRS in metres, shape (n,), each beside its partner. Holes have boundaries as well.
        truth: their partners, shape (n,).
        step_m: largest distance in metres between neighbouring points of a boundary at which the distance is measured.

    Returns:
        Metres, float64, shape (n,). NaN where an outline is missing or empty.

    Raises:
        ValueError: the lengths differ, or the step isn't above 0.
    """
    if len(predicted) != len(truth):
        raise ValueError(f"{len(predicted)} outlines and {len(truth)} partners")
    if not step_m > 0:
        raise ValueError(f"step of {step_m} m, expected above 0")
    one, other = (shapely.boundary(valid_polygons(side)) for side in (predicted, truth))
    distance = np.full(len(one), np.nan)
    for start in range(0, len(one), BATCH):
        here = slice(start, start + BATCH)
        there_and_back = _directed(one[here], other[here], step_m), _directed(other[here], one[here], step_m)
        distance[here] = np.mean(there_and_back, axis=0)
    return distance


def offsets_m(outlines: Geometries, references: Geometries, step_m: float) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Return how far along their boundaries outlines lie from those of their references.

    Args:
        outlines: polygons of one CRS in metres, shape (n,). Holes have boundaries as well.
        references: a polygon for each, shape (n,).
        step_m: largest length of a piece in metres.

    Returns:
        Distance in metres from the middle of each piece of a boundary to the nearest point of the reference's boundary,
        positive outside the reference, negative inside, float64; the piece's length; the outline that it belongs to. Each of
        shape (pieces,).
    """
    points, length, owner = _points(shapely.boundary(outlines), step_m)
    distance = shapely.distance(points, shapely.boundary(references)[owner])
    shapely.prepare(references)
    inside = shapely.contains_properly(references[owner], points)
    return np.where(inside, -distance, distance), length, owner


def _directed(lines: Geometries, others: Geometries, step_m: float) -> Floats:
    """Return the mean distance along each line to its partner, shape (n,)."""
    points, length, pair = _points(lines, step_m)
    # A boundary with more corners has more points there: weights make the mean one over its length.
    total = np.bincount(pair, length * shapely.distance(points, others[pair]), minlength=len(lines))
    whole = np.bincount(pair, length, minlength=len(lines))
    return np.divide(total, whole, out=np.full(len(lines), np.nan), where=whole > 0)


def _points(lines: Geometries, step_m: float) -> tuple[Geometries, Floats, NDArray[np.intp]]:
    """Return middles of pieces of at most `step_m` of all lines, the pieces' lengths, and the line each belongs to."""
    parts, line = shapely.get_parts(shapely.segmentize(lines, step_m), return_index=True)
    corners, part = shapely.get_coordinates(parts, return_index=True)
    along = part[1:] == part[:-1]
    start, end = corners[:-1][along], corners[1:][along]
    return shapely.points((start + end) / 2), np.hypot(*(end - start).T), line[part[1:][along]]
