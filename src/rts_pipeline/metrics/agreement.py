"""How far two people agree, beyond chance and with intervals, from the table of what one said against the other.

No coefficient alone will do. Where nearly all candidates are slumps, or nearly none is, kappa can be near 0 while two people
hardly ever differ (Feinstein & Cicchetti 1990, doi:10.1016/0895-4356(90)90158-L), so AC1, which doesn't have that flaw, the
agreement on the rare class and the table itself stand beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from rts_pipeline.metrics import bootstrap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Each takes tables of counts, float64 (..., k, k), rows the first person's category and columns the second's, and returns
# values (...): nan where undefined.


def percent(table: Floats) -> Floats:
    """Return the share on which both said the same, 0 to 1."""
    return _observed(table, np.eye(table.shape[-1]))


def cohen_kappa(table: Floats) -> Floats:
    """Return Cohen's kappa (Cohen 1960, doi:10.1177/001316446002000104); undefined where both said one category always."""
    return _beyond_chance(table, np.eye(table.shape[-1]))


def quadratic_kappa(table: Floats) -> Floats:
    """Return Cohen's kappa for ordered categories, weighted by 1 - (i - j)^2 / (k - 1)^2 (Cohen 1968, doi:10.1037/h0026256)."""
    k = table.shape[-1]
    apart = np.subtract.outer(np.arange(k), np.arange(k))
    return _beyond_chance(table, 1 - apart**2 / (k - 1) ** 2)


def gwet_ac1(table: Floats) -> Floats:
    """Return Gwet's AC1 (Gwet 2008, doi:10.1348/000711006X126600): chance is sum(p (1 - p)) / (k - 1) of the mean shares p."""
    share = (table.sum(axis=-1) + table.sum(axis=-2)) / (2 * table.sum(axis=(-2, -1)))[..., None]
    chance = (share * (1 - share)).sum(axis=-1) / (table.shape[-1] - 1)
    return beyond_chance(percent(table), chance)


def positive_agreement(table: Floats) -> Floats:
    """Return the agreement on the first category (Cicchetti & Feinstein 1990, doi:10.1016/0895-4356(90)90159-M).

    Of all times that either of both said it, the share in which the other did too: the F1 of one against the other.
    """
    return 2 * table[..., 0, 0] / (table[..., 0, :].sum(axis=-1) + table[..., :, 0].sum(axis=-1))


def _observed(table: Floats, weights: Floats) -> Floats:
    return (table * weights).sum(axis=(-2, -1)) / table.sum(axis=(-2, -1))


def _beyond_chance(table: Floats, weights: Floats) -> Floats:
    expected = table.sum(axis=-1)[..., :, None] * table.sum(axis=-2)[..., None, :]
    return beyond_chance(_observed(table, weights), _observed(expected, weights))


def beyond_chance(observed: Floats, chance: Floats) -> Floats:
    """Return what of the agreement that chance leaves open was reached; nan where it leaves none, but for rounding."""
    return np.where(1 - chance > 1e-12, (observed - chance) / (1 - chance), np.nan)


def tables(first: NDArray[Any], second: NDArray[Any], k: int, groups: NDArray[Any]) -> NDArray[np.int64]:
    """Return a table of counts for each group, shape (groups, k, k).

    Args:
        first: what the first person said, int 0..k-1, shape (n,).
        second: what the second said of the same things.
        k: number of categories.
        groups: the group of each thing (a grid cell), of any sortable kind, shape (n,).
    """
    names, group = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), k, k), dtype=np.int64)
    np.add.at(counts, (group, first, second), 1)
    return counts


def figure(counts: NDArray[np.int64], coefficient: Callable[[Floats], Floats]) -> dict[str, float | None]:
    """Return a coefficient of all groups together and its 95 % interval over the groups: value, low, high, or None.

    Args:
        counts: a table a group, shape (groups, k, k).
        coefficient: one of the functions above.
    """
    k = counts.shape[-1]
    share = coefficient in {percent, positive_agreement}
    return bootstrap.figure(counts.reshape(len(counts), k * k), lambda sums: coefficient(sums.reshape(-1, k, k)), share=share)
