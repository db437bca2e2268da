"""How many slumps there are, from two searches of the same ground: what both found tells how much each of them finds."""

from __future__ import annotations

from collections.abc import Iterable
from math import exp, sqrt

from rts_pipeline.metrics.estimate import ALPHA, Estimate

ASSUMPTIONS = (
    "The same slumps were there to be found in both searches.",
    "What one search found doesn't change what the other finds. Searches that find the same easy slumps and miss the same hard"
    " ones find too much in common: the estimate is then too low, and the interval too narrow.",
    "Within a size class all slumps are as easy to find for at least one of the searches.",
    "Whether two outlines show the same slump is known without error.",
)
"""What the estimate takes for granted (Seber 1982, "The Estimation of Animal Abundance", section 3.1)."""


def chapman(first: int, second: int, both: int) -> Estimate:
    """Estimate the number of slumps from two independent searches (Chapman 1951; Seber 1982, equation 3.3).

    N = (first + 1) (second + 1) / (both + 1) - 1. The interval is the transformed logit interval of Sadinle 2009
    (doi:10.1080/03610910903168595), which keeps its level for small numbers and for chances of being found near 0 and 1, where
    Wald's and log-normal intervals don't; it never reaches below what was found.

    Args:
        first: number of slumps that the first search found.
        second: number that the second found.
        both: number that both found.

    Raises:
        ValueError: more in common than one of them found.
    """
    if not 0 <= both <= min(first, second):
        raise ValueError(f"{both} slumps in common of {first} and {second}")
    found = first + second - both
    if both == 0:
        return Estimate(None, float(found), None, "the searches found no slump in common")
    one, two, common = first - both + 0.5, second - both + 0.5, both + 0.5
    sigma = sqrt(1 / common + 1 / one + 1 / two + common / (one * two))
    limits = [found - 0.5 + one * two / common * exp(sign * _z() * sigma) for sign in (-1, 1)]
    return Estimate((first + 1) * (second + 1) / (both + 1) - 1, max(float(found), limits[0]), limits[1])


def chapman_total(captures: Iterable[tuple[int, int, int]]) -> Estimate:
    """Estimate the number of slumps from two searches that find some kinds of slumps better than others.

    A sum over classes within which all are as easy to find (Sekar & Deming 1949, doi:10.1080/01621459.1949.10483294). The limits of
    the classes are united by the method of variance estimates recovery (Zou, Huo & Taleban 2009, doi:10.1002/env.919).
    Classes in which neither search found anything add nothing.

    Args:
        captures: for each class what the first, the second and both searches found.

    Returns:
        The estimate; without value and upper limit when a class has slumps, but none in common.
    """
    captures = [row for row in captures if row[0] or row[1]]
    found = float(sum(first + second - both for first, second, both in captures))
    parts = [chapman(*row) for row in captures]
    if not parts:
        return Estimate(None, 0.0, None, "the searches found nothing")
    values, lows, highs = ([getattr(part, name) for part in parts] for name in ("value", "low", "high"))
    if None in values:
        return Estimate(None, found, None, "in a size class the searches found no slump in common")
    total = sum(values)
    down, up = (sqrt(sum((a - b) ** 2 for a, b in zip(values, limits, strict=True))) for limits in (lows, highs))
    return Estimate(total, max(found, total - down), total + up)


def _z() -> float:
    from scipy.stats import norm

    return float(norm.ppf(1 - ALPHA / 2))
