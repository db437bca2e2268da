"""How many slumps there are, from two searches of the same ground: what both found tells how much each of them finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rts_pipeline.metrics.estimate import ALPHA, Estimate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

ASSUMPTIONS = (
    "The same slumps were there to be found in both searches.",
    "What one search finds doesn't depend on what the other finds. Searches that find the same easy slumps and miss the same"
    " hard ones find too much in common: the estimate is then too low, and its interval doesn't know.",
    "Within a size class all slumps are as easy to find for at least one of the searches.",
    "Whether two outlines show the same slump is known without error.",
)
"""What the estimate takes for granted (Seber 1982, "The Estimation of Animal Abundance", section 3.1)."""
LEAST_IN_COMMON = 3
"""Classes with fewer slumps that both found are united with the next: one that has none in common tells nothing of what neither
found, and its distribution would be that of the sum (docs/completeness.md says what this does)."""
MOST_UNSEEN = 2**17
"""An upper limit of so many unseen slumps is none."""


def chapman(captures: Iterable[tuple[int, int, int]]) -> Estimate:
    """Estimate the number of slumps from two independent searches, with a 95 % interval.

    N = (first + 1) (second + 1) / (both + 1) - 1 (Chapman 1951; Seber 1982, equation 3.3), summed over classes within which all
    slumps are as easy to find (Sekar & Deming 1949, doi:10.1080/01621459.1949.10483294): pooled, a search that finds large ones
    more easily than small ones would make the sum too low. A class with less than `LEAST_IN_COMMON` is united with its
    neighbour.

    The number that neither found has in each class a generalized Waring distribution given what was found (Rivest & Yauck 2023,
    arXiv:2307.11705), P(x) ~ (a)_x (b)_x / ((a + b + r)_x x!), here with a, b and r half above what only the first, only the
    second, and both found. The interval is that of the sum over the classes, the quantiles of the distributions' convolution.
    It never reaches below what was found, and is short where both found the same, unlike the transformed logit
    interval (Sadinle 2009, doi:10.1080/03610910903168595), which has no sum over classes and is endless there; its coverage
    is in results/bench/completeness.json.

    Args:
        captures: for each class the number of slumps that the first search, that the second, and that both found; classes
            that are like each other stand side by side.

    Returns:
        The estimate; without value and upper limit when the searches have nothing in common.

    Raises:
        ValueError: more in common than one of them found.
    """
    table = np.array(list(captures), dtype=np.int64).reshape(-1, 3)
    if (table[:, 2] < 0).any() or (table[:, 2] > table[:, :2].min(axis=1)).any():
        raise ValueError(f"more slumps in common than found: {table.tolist()}")
    first, second, both = _united(table).T
    found = float((first + second - both).sum())
    if not both.sum():
        return Estimate(None, found, None, "the searches found no slump in common" if found else "the searches found nothing")
    value = float(((first + 1) * (second + 1) / (both + 1) - 1).sum())
    size = 2**9
    while True:
        chance = _unseen(first - both, second - both, both, size)
        low, high = np.searchsorted(chance, [ALPHA / 2, 1 - ALPHA / 2]).tolist()
        if high < size or size == MOST_UNSEEN:
            break
        size *= 4
    if high == MOST_UNSEEN:
        return Estimate(value, found + low, None, "the searches found too little in common to say how many neither found")
    return Estimate(value, found + low, found + high)


def _united(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the classes (n, 3), each with those after it until `LEAST_IN_COMMON` are in common; the last takes the rest."""
    starts, common = [0], 0
    for row, both in enumerate(table[:, 2]):
        if common >= LEAST_IN_COMMON:
            starts, common = [*starts, row], 0
        common += both
    if common < LEAST_IN_COMMON and len(starts) > 1:
        starts.pop()
    united: NDArray[np.int64] = np.add.reduceat(table, starts) if len(table) else table
    return united


def _unseen(first: NDArray[np.int64], second: NDArray[np.int64], both: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """Return the distribution function of the number of slumps that neither search found, at 0 to size - 1.

    Args:
        first: what only the first search found, shape (classes,).
        second: what only the second found.
        both: what both found.
        size: how far to go.
    """
    from scipy.signal import fftconvolve
    from scipy.special import gammaln

    x, total = np.arange(size), np.ones(1)
    for a, b, r in np.column_stack([first, second, both]) + 0.5:
        start = gammaln(a + r) + gammaln(b + r) - gammaln(r) - gammaln(a) - gammaln(b)
        log = start + gammaln(a + x) + gammaln(b + x) - gammaln(a + b + r + x) - gammaln(x + 1)
        total = fftconvolve(total, np.exp(log))[:size]
    return np.cumsum(total)
