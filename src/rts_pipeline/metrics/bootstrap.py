"""How sure a score is: its interval when other blocks of the same country had been looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MIN_BLOCKS = 4
"""With fewer blocks the resamples are so few and so alike that an interval would only look like one."""

ALIKE = 1e-9
"""Resamples whose scores differ by no more agree, but for rounding: they say nothing of how sure the score is."""


def interval(
    counts: NDArray[Any], statistic: Callable[[Floats], Floats], *, n: int = 2000, seed: int = 0, level: float = 0.95
) -> tuple[float, float] | None:
    """Return the percentile bootstrap interval of a score (Efron & Tibshirani 1993, chapter 13) over spatial blocks.

    Whole blocks are drawn with replacement, as the parts of one block aren't independent: neighbouring windows and pixels
    show the same slump under the same sky, and to draw them one by one would make the interval far too narrow (Lahiri
    2003, "Resampling methods for dependent data"; Roberts et al. 2017, doi:10.1111/ecog.02881).

    Args:
        counts: int or float, shape (blocks, k): what each block adds to the sums that the score is computed from. Blocks
            without any count say nothing of the score and aren't drawn.
        statistic: the score, from sums float64 (n, k) to values (n,), NaN where it is undefined; those resamples are left
            out.
        n: number of resamples.
        seed: of the random numbers; the same seed gives the same interval.
        level: share of the resamples that lie within.

    Returns:
        Lower and upper limit, or None when fewer than MIN_BLOCKS blocks have any count, no resample has a score, or all have
        the same: all blocks are alike, and what others would have shown can't be drawn from them.

    Raises:
        ValueError: the counts aren't a table of finite numbers.
    """
    table = np.asarray(counts, dtype=np.float64)
    if table.ndim != 2 or not np.isfinite(table).all():
        raise ValueError(f"expected finite counts of shape (blocks, k), found shape {table.shape}")
    table = table[(table != 0).any(axis=1)]
    if len(table) < MIN_BLOCKS:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.asarray(statistic(_sums(table, n, seed)), dtype=np.float64)
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    lower, upper = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return (float(lower), float(upper)) if upper - lower > ALIKE else None


def interval_of_equals(share: float, blocks: int, *, level: float = 0.95) -> tuple[float, float] | None:
    """Return the interval of a share that is the same in every block, where all resamples agree: of "all were found", say.

    That of Clopper & Pearson (1934, doi:10.1093/biomet/26.4.404) with as many observations as there are blocks, not objects:
    the exact interval with an effective sample size, as Korn & Graubard (1998, Survey Methodology 24, 193-201) use it for
    clustered samples, at the smallest size that clusters can leave. Where all was found it reaches from ((1 - level) / 2) **
    (1 / blocks) to 1, the two-sided form of the rule of three (Hanley & Lippman-Hand 1983,
    doi:10.1001/jama.1983.03330370053031). That holds however alike the objects of a block are: blocks with a mean share p show
    all of theirs at most with probability p each.

    Args:
        share: part of the whole, 0 to 1.
        blocks: number of blocks that have any of the whole.
        level: share of the cases in which the interval holds the truth, at least.

    Returns:
        Lower and upper limit, or None with fewer than MIN_BLOCKS blocks.
    """
    from scipy.special import betaincinv

    if blocks < MIN_BLOCKS:
        return None
    found, tail = share * blocks, (1 - level) / 2
    lower = betaincinv(found, blocks - found + 1, tail) if share > 0 else 0.0
    upper = betaincinv(found + 1, blocks - found, 1 - tail) if share < 1 else 1.0
    return float(lower), float(upper)


def figure(counts: NDArray[Any], statistic: Callable[[Floats], Floats], *, share: bool = False) -> dict[str, float | None]:
    """Return the score of all blocks together and its interval: value, low, high; None where undefined.

    Args:
        counts: as for `interval`.
        statistic: as for `interval`.
        share: the score is a part of a whole that each block has some of: where it is the same in all of them, as when every
            object was found, the interval is that of `interval_of_equals`. Any other score has none there.
    """
    table = np.asarray(counts, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(table.sum(axis=0, keepdims=True))[0])
        of_blocks = statistic(table) if share else np.empty(0)
    if np.isnan(value):
        return {"value": None, "low": None, "high": None}
    low, high = interval(table, statistic) or interval_of_equals(value, int((~np.isnan(of_blocks)).sum())) or (None, None)
    return {"value": value, "low": low, "high": high}


def _sums(table: Floats, n: int, seed: int) -> Floats:
    """Return the sums of `n` draws of as many blocks as there are, shape (n, k)."""
    blocks = len(table)
    times = np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / blocks), size=n)
    return times @ table
