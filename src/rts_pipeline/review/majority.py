"""The outline that most people agree on, and how far from it they drew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import shapely

from rts_pipeline.graph import components
from rts_pipeline.inventory.shape import only_polygons
from rts_pipeline.lineage import MIN_SHARED_M2
from rts_pipeline.metrics.boundary import boundary_points
from rts_pipeline.review.drawings import GRID_M
from rts_pipeline.review.matching import COVERED, Pieces, gather
from rts_pipeline.review.outlines import overlaps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Geometries = NDArray[np.object_]

STEP_M = 1.0
"""Distance between the points of a boundary at which its distance is measured: a third of a PlanetScope pixel."""
QUANTILES = (0.025, 0.16, 0.5, 0.84, 0.975)
"""Median, and the ends of the middle 68 % and 95 %: one and two standard deviations, were distances normal."""


@dataclass(frozen=True)
class Agreed:
    """The slumps of several people.

    Attributes:
        pieces: what each person drew of each slump.
        outline: what more than half of those who drew a slump drew, shape (slumps,); no two of them overlap.
        n_agree: how many people's outlines that takes, shape (slumps,).
        inner: what all who drew it drew, shape (slumps,); may be empty.
        outer: what any of them drew, shape (slumps,).
    """

    pieces: Pieces
    outline: Geometries
    n_agree: NDArray[np.intp]
    inner: Geometries
    outer: Geometries


def covered_by(outlines: Sequence[shapely.Geometry]) -> list[shapely.Geometry]:
    """Return the regions that at least 1, 2, ..., n of n polygons cover, exact to GRID_M.

    Args:
        outlines: valid polygons of one CRS in metres, with vertices on a grid of GRID_M.
    """
    regions: list[shapely.Geometry] = [shapely.Polygon() for _ in outlines]
    for number, outline in enumerate(outlines):
        for level in range(number, 0, -1):
            both = shapely.intersection(regions[level - 1], outline, grid_size=GRID_M)
            regions[level] = shapely.union(regions[level], _area(both), grid_size=GRID_M)
        regions[0] = shapely.union(regions[0], outline, grid_size=GRID_M)
    return [_area(region) for region in regions]


def _area(geometry: shapely.Geometry) -> shapely.Geometry:
    return only_polygons(np.array([geometry], dtype=object))[0]


def agree(pieces: Pieces, min_area_m2: float) -> Agreed:
    """Return the majority's outlines.

    Where the outlines of two slumps overlap, they are one slump when nobody drew them apart or when more than half of the one
    that fewer drew lies in the other; else the ground belongs to the one that more drew. Parts below the smallest area are
    left out, as outlines are, except the largest.

    Args:
        pieces: what each person drew of each slump, vertices on a grid of GRID_M.
        min_area_m2: smallest area of a part.
    """
    while True:
        levels = [covered_by(group) for group in _by_slump(pieces)]
        # Where no ground is common to so many (small outlines side by side in a large one), the most that there is.
        n_agree = np.array([min(len(level) // 2 + 1, sum(not part.is_empty for part in level)) for level in levels])
        outline = np.array([level[number - 1] for level, number in zip(levels, n_agree, strict=True)], dtype=object)
        n_drew = np.bincount(pieces.slump)
        strength = np.lexsort((-shapely.area(outline), -n_drew)).argsort()
        strong, weak, shared_m2 = _overlapping(outline, strength)
        merged = (shared_m2 > COVERED * shapely.area(outline)[weak]) | ~_drawn_apart(pieces, strong, weak)
        if not merged.any():
            for place in np.argsort(strength):
                outline[place] = _area(shapely.difference(outline[place], shapely.union_all(outline[strong[weak == place]])))
            gone = shapely.is_empty(outline)
            if not gone.any():
                break
            # Little by little the others took all of it.
            merged = gone[weak]
        place = components(len(outline), strong[merged], weak[merged])
        pieces = gather(place[pieces.slump], pieces.person, pieces.geometry, pieces.shared, pieces.members)
    inner, outer = (np.array([level[end] for level in levels], dtype=object) for end in (-1, 0))
    return Agreed(pieces, np.array([_parts(shape, min_area_m2) for shape in outline], dtype=object), n_agree, inner, outer)


def _by_slump(pieces: Pieces) -> list[Geometries]:
    return np.split(pieces.geometry, np.flatnonzero(np.diff(pieces.slump)) + 1)


def _overlapping(outline: Geometries, strength: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Return the pairs that overlap, the stronger first, and the shared area."""
    strong, weak, _, shared_m2 = overlaps(outline, outline)
    once = (strength[strong] < strength[weak]) & (shared_m2 > MIN_SHARED_M2)
    return strong[once], weak[once], shared_m2[once]


def _drawn_apart(pieces: Pieces, first: NDArray[np.intp], second: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return for each pair of slumps whether anybody drew both, with different outlines."""
    own = np.zeros((int(pieces.slump.max()) + 1, int(pieces.person.max()) + 1), dtype=bool)
    own[pieces.slump[~pieces.shared], pieces.person[~pieces.shared]] = True
    return (own[first] & own[second]).any(axis=1)


def _parts(outline: shapely.Geometry, min_area_m2: float) -> shapely.Geometry:
    parts = shapely.get_parts(outline)
    areas = shapely.area(parts)
    return shapely.union_all(parts[(areas >= min_area_m2) | (areas == areas.max())])


def offsets_m(outlines: Geometries, references: Geometries) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Return how far along their boundaries outlines lie from those of their references.

    Args:
        outlines: polygons of one CRS in metres, shape (n,). Holes have boundaries as well.
        references: a polygon for each, shape (n,).

    Returns:
        Distance in metres to the nearest point of the reference's boundary at points STEP_M apart, positive outside the
        reference, negative inside, float64, shape (points,); the length of boundary that each point stands for; the outline
        that it lies on.
    """
    points, length, owner = boundary_points(shapely.boundary(outlines), STEP_M)
    distance = shapely.distance(points, shapely.boundary(references)[owner])
    shapely.prepare(references)
    inside = shapely.contains_properly(references[owner], points)
    return np.where(inside, -distance, distance), length, owner


def weighted_quantiles(values: Floats, weights: Floats, quantiles: Sequence[float]) -> Floats:
    """Return quantiles of values that each stand for as much as their weight, between the middles of the weights."""
    order = np.argsort(values, kind="stable")
    heights = np.cumsum(weights[order]) - weights[order] / 2
    return np.interp(quantiles, heights / weights.sum(), values[order])
