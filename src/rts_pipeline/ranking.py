"""The order in which reviewers are asked, by what their time buys, and where the queue is cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rts_pipeline.config import Candidates

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NEAR_M = 1000.0
"""Distance below which an outline is as good as beside a known slump."""
FAR_GAIN = 0.25
"""What ten times the distance adds, as a share: 10 km from all known slumps count a quarter more, 100 km half more."""


def known_distance(frame: gpd.GeoDataFrame, slumps: gpd.GeoDataFrame) -> Floats:
    """Return the distance (m) from the centre of each outline to the nearest known slump, shape (n,); nan if none is known."""
    distance = np.full(len(frame), np.nan)
    if len(slumps) and len(frame):
        (own, _), metres = slumps.sindex.nearest(frame.centroid, return_all=False, return_distance=True)
        distance[own] = metres
    return distance


def score(prob_mean: Floats, known_m: Floats) -> Floats:
    """Return what a verdict on each outline is worth: the chance of a slump, times what is new about one there.

    prob_mean x (1 + FAR_GAIN x log10(1 + known_m / NEAR_M)). The mean probability is calibrated on the validation blocks. Far
    from all known slumps a verdict tells most: the network saw nothing of that country, and no neighbour leads there. The
    logarithm keeps distance from outweighing probability. A decision, not a fit.

    Args:
        prob_mean: mean probability, shape (n,).
        known_m: distance to the nearest known slump in metres, shape (n,); nan where none is known.
    """
    return prob_mean * (1 + FAR_GAIN * np.log10(1 + np.nan_to_num(known_m) / NEAR_M))


def left_for_later(ranked: gpd.GeoDataFrame, options: Candidates) -> NDArray[np.bool_]:
    """Return which of the ranked outlines aren't asked about in this round, shape (n,).

    Args:
        ranked: outlines with prob_mean, the most worthwhile first.
        options: `min_precision`: those of a smaller mean probability wait; `max_count`: of the others all after so many.
    """
    waiting = ranked["prob_mean"].to_numpy() < (options.min_precision or 0.0)
    if options.max_count is not None:
        waiting |= np.cumsum(~waiting) > options.max_count
    return np.asarray(waiting, dtype=bool)
