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


def with_years(prob_mean: Floats, lasting: Floats) -> Floats:
    """Return the chance of a slump when the years are taken into account, shape (n,).

    Bayes' rule: the odds by the network, times how much more often a slump than a false outline passes (or fails) the temporal
    rule. Huang et al. 2021 (doi 10.1016/j.jag.2021.102399), three years: recall 0.87 before the rule and 0.74 after it, false
    outlines 391, 242 and 230 before it, 22, 43 and 44 after it.

    Args:
        prob_mean: mean probability, shape (n,).
        lasting: 1: there in two years that follow each other and never shrinking; 0: not so; nan: not known, shape (n,).
    """
    slump, other = 0.74 / 0.87, (22 + 43 + 44) / (391 + 242 + 230)
    ratio = np.select([lasting == 1, lasting == 0], [slump / other, (1 - slump) / (1 - other)], 1.0)
    chance: Floats = prob_mean * ratio / (prob_mean * ratio + 1 - prob_mean)
    return chance


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
