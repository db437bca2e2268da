"""The outline that most of those who drew a slump agree on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from rts_pipeline.graph import components
from rts_pipeline.inventory.shape import only_polygons
from rts_pipeline.lineage import MIN_SHARED_M2
from rts_pipeline.progress import track
from rts_pipeline.review.consensus.drawings import GRID_M
from rts_pipeline.review.consensus.matching import COVERED, Pieces, gather
from rts_pipeline.review.outlines import overlaps

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Geometries = NDArray[np.object_]


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


def covered_by(outlines: Iterable[Any]) -> list[Any]:
    """Return the regions that at least 1, 2, ..., n of n polygons cover, exact to GRID_M.

    Args:
        outlines: valid polygons of one CRS in metres, with vertices on a grid of GRID_M.
    """
    regions: list[Any] = []
    for number, outline in enumerate(outlines):
        regions.append(shapely.Polygon())
        for level in range(number, 0, -1):
            both = _area(shapely.intersection(regions[level - 1], outline, grid_size=GRID_M))
            regions[level] = _area(shapely.union(regions[level], both, grid_size=GRID_M))
        regions[0] = _area(shapely.union(regions[0], outline, grid_size=GRID_M))
    return regions


def _area(geometry: Any) -> Any:
    # What collapsed on the grid becomes a line, and neither that nor an empty collection can be overlaid there.
    area = only_polygons(np.array([geometry], dtype=object))[0]
    return shapely.Polygon() if shapely.is_empty(area) else area


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
        by_slump = np.split(pieces.geometry, np.flatnonzero(np.diff(pieces.slump)) + 1)
        levels = [covered_by(shapes) for shapes in track(by_slump, len(by_slump), "consensus outlines", "slumps")]
        # Where no ground is common to so many (small outlines side by side in a large one), the most that there is.
        n_agree = np.array([min(len(level) // 2 + 1, sum(not part.is_empty for part in level)) for level in levels])
        outline = np.array([level[number - 1] for level, number in zip(levels, n_agree, strict=True)], dtype=object)
        n_drew = np.bincount(pieces.slump)
        strength = np.lexsort((-shapely.area(outline), -n_drew)).argsort()
        strong, weak, shared_m2 = _overlapping(outline, strength)
        merged = (shared_m2 > COVERED * shapely.area(outline)[weak]) | ~_drawn_apart(pieces, strong, weak)
        if not merged.any():
            for place in np.argsort(strength):
                others = shapely.union_all(outline[strong[weak == place]])
                outline[place] = _area(shapely.difference(outline[place], others, grid_size=GRID_M))
            gone = shapely.is_empty(outline)
            if not gone.any():
                break
            # Little by little the others took all of it.
            merged = gone[weak]
        place = components(len(outline), strong[merged], weak[merged])
        pieces = gather(place[pieces.slump], pieces.person, pieces.geometry, pieces.shared, pieces.members)
    inner, outer = (np.array([level[end] for level in levels], dtype=object) for end in (-1, 0))
    return Agreed(pieces, np.array([_parts(shape, min_area_m2) for shape in outline], dtype=object), n_agree, inner, outer)


def _overlapping(outline: Geometries, strength: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Return the pairs that overlap, the stronger first, and the shared area."""
    strong, weak, _, shared_m2 = overlaps(outline, outline)
    once = (strength[strong] < strength[weak]) & (shared_m2 > MIN_SHARED_M2)
    return strong[once], weak[once], shared_m2[once]


def _drawn_apart(pieces: Pieces, first: NDArray[np.intp], second: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return for each pair of slumps whether anybody drew both, with different outlines."""
    own = np.zeros((int(pieces.slump.max()) + 1, int(pieces.person.max()) + 1), dtype=bool)
    own[pieces.slump[~pieces.shared], pieces.person[~pieces.shared]] = True
    return np.any(own[first] & own[second], axis=1)


def _parts(outline: shapely.Geometry, min_area_m2: float) -> shapely.Geometry:
    parts = shapely.get_parts(outline)
    areas = shapely.area(parts)
    return shapely.union_all(parts[(areas >= min_area_m2) | (areas == areas.max())])
