"""What is left out on the way from probabilities to candidates, counted by reason."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from math import fsum
from typing import TYPE_CHECKING

import numpy as np
import shapely

from rts_pipeline.components import Pieces
from rts_pipeline.expected import pixel_areas

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

REASONS = {
    "no_seed": "without a seed",
    "too_small": "too small",
    "in_filled_hole": "in a filled hole of another",
    "outside_aoi": "outside the area of interest",
}
"""Names in results, and what they say. The first that fits an outline counts."""
Counts = dict[str, dict[str, float]]
"""For each of `REASONS` the number of `outlines`, and `m2`, the area of their pixels on the ellipsoid (no filled holes)."""


class Omitted:
    """Counts the outlines that are left out."""

    def __init__(self, crs: str, pixel_m: float) -> None:
        """Begin with none, on a grid of that CRS and pixel."""
        self._crs, self._pixel_m = crs, pixel_m
        self._areas: dict[str, list[float]] = {reason: [] for reason in REASONS}

    def pieces_without(self, pieces: Pieces, reasons: Mapping[str, Mask]) -> Pieces:
        """Return the pieces but for those with a reason, which are counted.

        Args:
            pieces: n pieces, in global pixel indices.
            reasons: for some of `REASONS` which of the pieces it fits, shape (n,); at most one fits a piece.
        """
        for reason, which in reasons.items():
            places = shapely.get_coordinates(shapely.centroid(pieces.geometry[which])) * [self._pixel_m, -self._pixel_m]
            self._count(reason, places, pieces.n_px[which])
        return pieces.where(~np.logical_or.reduce(list(reasons.values())))

    def rows_without(self, frame: gpd.GeoDataFrame, reason: str, which: Mask) -> gpd.GeoDataFrame:
        """Return the outlines of a table (`n_px`, geometry in the grid's CRS) but for `which`, shape (n,): they are counted."""
        left = frame[which]
        self._count(reason, shapely.get_coordinates(shapely.centroid(left.geometry.to_numpy())), left["n_px"].to_numpy())
        return frame[~which]

    def total(self, others: Sequence[Counts] = ()) -> Counts:
        """Return the counts, with those of `others` added."""
        return {
            reason: {
                "outlines": sum((int(counts[reason]["outlines"]) for counts in others), len(areas)),
                # the sum is exact, but centroids differ in their last digit by how outlines were put together
                "m2": round(fsum([*areas, *(counts[reason]["m2"] for counts in others)]), 3),
            }
            for reason, areas in self._areas.items()
        }

    def _count(self, reason: str, places: NDArray[np.float64], n_px: NDArray[np.int64]) -> None:
        self._areas[reason] += (n_px * pixel_areas(self._crs, self._pixel_m, *places.T)).tolist()


def tell(what: str, kept: int, counts: Counts) -> None:
    """Say in one line what was left out, if anything was.

    Args:
        what: the stage, and its block.
        kept: the number of outlines that there are.
        counts: what was left out.
    """
    some = {REASONS[name]: found for name, found in counts.items() if found["outlines"]}
    parts = [f"{found['outlines']} {reason} ({found['m2']:,.0f} m2)" for reason, found in some.items()]
    if parts:
        print(f"{what}: {kept} outlines; left out: {', '.join(parts)}", file=sys.stderr)
