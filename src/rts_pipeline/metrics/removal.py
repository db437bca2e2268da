"""Where the curve of new slumps a round leads to: the number that rounds without end would find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rts_pipeline.metrics.estimate import ALPHA, Estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

ASSUMPTIONS = (
    "Every round finds the same share of the slumps that are still to be found.",
    "All of them are as easy to find. A slump that no network of this kind can see is never found, so that the curve ends below"
    " the number of all slumps: what it says is what more rounds would bring.",
    "Every round asked about all that it outlined.",
)
"""What the estimate takes for granted (Zippin 1956; Seber 1982, "The Estimation of Animal Abundance", section 7.2)."""
LIMIT = 1e9
"""A population above this is none."""


@dataclass(frozen=True)
class Removal:
    """A fitted curve.

    Attributes:
        total: number of slumps that rounds without end would find.
        p: share of the slumps still to be found that a round finds, or None.
    """

    total: Estimate
    p: float | None

    def expected(self, rounds: int) -> list[float]:
        """Return the fitted number of slumps found up to each round: total x (1 - (1 - p)^i)."""
        if self.total.value is None or self.p is None:
            return []
        return [self.total.value * (1 - (1 - self.p) ** i) for i in range(1, rounds + 1)]


def removal(new: Sequence[int]) -> Removal:
    """Estimate by maximum likelihood (Moran 1951; Zippin 1956, doi:10.2307/3001646) how many slumps there were to be found.

    Of N slumps round i finds u_i of the N - u_1 - ... - u_(i-1) left, each with the same chance p. For every N the best p is
    T / (k N - X), with T = sum u_i and X = sum (k - i) u_i; the limits are the N at which twice the profile log-likelihood lies
    3.84 below its best (Cormack 1992, doi:10.2307/2532313): never below what was found, and none above
    where the numbers hardly fall.

    Args:
        new: slumps that each round found first, in order.

    Returns:
        Total and p. `total.value` is None when the numbers don't fall, so that no end is in sight; `total.high` is None when
        they may as well not fall.

    Raises:
        ValueError: a negative number.
    """
    from scipy.optimize import brentq, minimize_scalar
    from scipy.stats import chi2

    u = np.asarray(new, dtype=np.int64)
    if (u < 0).any():
        raise ValueError(f"negative numbers of new slumps: {list(new)}")
    found, k = int(u.sum()), len(u)
    if found == 0 or k < 2:
        reason = "fewer than two rounds" if k < 2 else "no round found a slump"
        return Removal(Estimate(None, float(found), None, reason), None)
    later = int(((k - 1 - np.arange(k)) * u).sum())

    def profile(total: float) -> float:
        return _profile(total, found, k, later)

    # as N grows without end the rounds become alike: numbers of Poisson's with one mean
    endless = float(found * np.log(found / k) - found)
    best = minimize_scalar(lambda x: -profile(found + np.expm1(x)), bounds=(0, np.log(LIMIT)), method="bounded")
    total = max([float(found), found + float(np.expm1(best.x))], key=profile)
    top = max(profile(total), endless)
    if not ((k + 1 - 2 * np.arange(1, k + 1)) * u).sum() > 0 or total > LIMIT / 10:
        return Removal(Estimate(None, float(found), None, "the numbers of new slumps don't fall from round to round"), None)
    cut = top - chi2.ppf(1 - ALPHA, 1) / 2
    low = float(found) if profile(found) >= cut else float(brentq(lambda x: profile(x) - cut, found, total))
    p = float(found / (k * total - later))
    if endless >= cut:
        reason = "the numbers of new slumps hardly fall: nothing bounds what further rounds would bring"
        return Removal(Estimate(total, low, None, reason), p)
    high = float(brentq(lambda x: profile(x) - cut, total, LIMIT))
    return Removal(Estimate(total, low, high), p)


def _profile(total: float, found: int, k: int, later: int) -> float:
    """Return the log-likelihood of a population at its best p, up to what doesn't depend on either."""
    from scipy.special import gammaln, xlogy

    trials = k * total - later
    p = found / trials
    return float(gammaln(total + 1) - gammaln(total - found + 1) + xlogy(found, p) + xlogy(trials - found, 1 - p))
