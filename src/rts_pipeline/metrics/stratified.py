"""How many slumps lie in all windows, from a stratified random sample of them: an estimate that needs no model of slumps.

Every window had a known chance to be drawn, and that alone makes the estimate unbiased (Horvitz & Thompson 1952,
doi:10.1080/01621459.1952.10483446; Cochran 1977, "Sampling Techniques", chapter 5). Events are few, so that an interval of
plus and minus two standard errors would reach below zero and miss the truth too often.
"""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING

import numpy as np

from rts_pipeline.metrics.estimate import ALPHA, Estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Integers = NDArray[np.integer]
    Floats = NDArray[np.float64]


def stratified_total(sizes: Integers, stratum: Integers, counts: Integers, names: Sequence[str] | None = None) -> Estimate:
    """Estimate the sum of a count over all windows of a frame, with a 95 % interval.

    In stratum h all N_h windows had the chance n_h / N_h, so each of the n_h stands for w_h = N_h / n_h of them:
    total = sum_h w_h x (count of the stratum's sample). What was counted is certain; the interval is that of the rest, which
    lies in windows that nobody looked at. Its mean is sum_h (w_h - 1) y_h, and the variance of its error
    v = sum_h w_h (w_h - 1) n_h s_h^2 (Cochran 1977, equation 5.6, with w_h (w_h - 1) n_h = N_h^2 (1 - f_h) / n_h): zero where a
    stratum was looked at as a whole.

    Limits are quantiles of the mid-p gamma interval for weighted sums of counts (Fay & Kim 2017,
    doi:10.1002/bimj.201600111): of an even mixture of two gamma distributions, one with this mean and variance, the other
    with one event more, of the weight that counts most (Fay & Feuer 1997,
    doi:10.1002/(SICI)1097-0258(19970415)16:7<791::AID-SIM500>3.0.CO;2-#). They hold when nothing was counted: the upper
    limit of a single stratum is then 3.0 w, the rule of three. The variance s_h^2 is that of the sample, so that slumps that
    come in groups widen the interval. Numbers are whole, so that the lower limit is rounded to one.

    Args:
        sizes: number of windows N_h in each stratum, shape (h,).
        stratum: index into `sizes` of each window that was looked at, shape (n,).
        counts: slumps counted in each of them, shape (n,).
        names: names of the strata, for the reason.

    Returns:
        The estimate; without value and upper limit, but with what was counted as its lower one, when a stratum has no window
        that was looked at.

    Raises:
        ValueError: more windows were looked at than a stratum has, or a negative count.
    """
    sizes, counts = np.asarray(sizes, dtype=np.int64), np.asarray(counts, dtype=np.int64)
    n = np.bincount(stratum, minlength=len(sizes))
    if (n > sizes).any() or (counts < 0).any():
        raise ValueError("expected counts of at least 0, from at most as many windows as each stratum has")
    counted = float(counts.sum())
    if (blank := np.flatnonzero((sizes > 0) & (n == 0))).size:
        which = ", ".join(names[int(i)] for i in blank) if names else ", ".join(map(str, blank))
        return Estimate(None, counted, None, f"no window was looked at in {len(blank)} of {len(sizes)} strata: {which}")
    y, squares = (np.bincount(stratum, values, len(sizes)) for values in (counts, counts**2))
    weight = np.divide(sizes, n, out=np.ones(len(sizes)), where=n > 0)
    spread = np.where(n > 1, (squares - y**2 / np.maximum(n, 1)) * n / np.maximum(n - 1, 1), squares)
    rest = float(((weight - 1) * y).sum())
    variance = float((weight * (weight - 1) * spread).sum())
    most = float(weight.max(initial=1.0))
    low, high = midp_gamma(rest, variance, most - 1, most * (most - 1))
    return Estimate(counted + rest, counted + floor(low + 0.5), counted + high)


def midp_gamma(mean: float, variance: float, more: float, more_variance: float) -> tuple[float, float]:
    """Return the quantiles of the mixture of the gamma distributions of what was seen and of one event more.

    Args:
        mean: of the sum; 0 when nothing was counted.
        variance: of the sum.
        more: what one event more would add to the mean; 0 when nothing is left to be seen.
        more_variance: what it would add to the variance.
    """
    from scipy.optimize import brentq
    from scipy.special import gammainc, gammaincinv

    if more == 0:
        return 0.0, 0.0
    moments = [(mean + more, variance + more_variance)] + ([(mean, variance)] if mean and variance else [])
    gammas = [(first**2 / second, second / first) for first, second in moments]

    def below(x: float) -> float:
        # without an event, or where every window counted the same, the distribution of what was seen is a point
        shares = [float(gammainc(shape, x / scale)) for shape, scale in gammas] + [float(x >= mean)]
        return (shares[0] + shares[1]) / 2

    def quantile(p: float) -> float:
        ends = [float(gammaincinv(shape, q) * scale) for shape, scale in gammas for q in (p / 4, (1 + p) / 2)]
        if len(gammas) == 1:
            if below(mean) >= p >= below(mean) - 0.5:
                return mean
            ends.append(mean)
        return float(brentq(lambda x: below(x) - p, min(ends), max(ends)))

    return quantile(ALPHA / 2), quantile(1 - ALPHA / 2)
