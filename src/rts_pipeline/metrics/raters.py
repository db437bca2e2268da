"""Agreement of any number of raters on nominal categories, from the table that says how many gave each unit which category.

The table (Fleiss 1971) has shape (units, categories). Its rows need not have equal sums: a rater may have left out units.
Every coefficient is a function of sums over the units, which is what the bootstrap needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from rts_pipeline.metrics.agreement import beyond_chance
from rts_pipeline.metrics.bootstrap import figure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def percent_agreement(table: NDArray[Any]) -> float | None:
    """Return the mean share of agreeing pairs of raters, over the units that two or more rated.

    Args:
        table: ratings by unit and category, int or float, shape (units, categories).

    Returns:
        0 to 1, None where no unit has two ratings.
    """
    return _value(table, _percent)


def fleiss_kappa(table: NDArray[Any]) -> float | None:
    """Return Fleiss' kappa (1971, doi:10.1037/h0031619); with missing ratings as K. L. Gwet's package irrCAC computes it.

    With two raters it is Scott's pi. Arguments as for `percent_agreement`; at most 1, None also where all ratings are of
    one category.
    """
    return _value(table, _fleiss)


def gwet_ac1(table: NDArray[Any]) -> float | None:
    """Return Gwet's AC1 (2008, doi:10.1348/000711006X126600), which stays high where nearly all ratings are of one category.

    Arguments as for `percent_agreement`; at most 1.
    """
    return _value(table, _ac1)


def krippendorff_alpha(table: NDArray[Any]) -> float | None:
    """Return Krippendorff's alpha of nominal data (Krippendorff 2011, "Computing Krippendorff's alpha-reliability").

    Arguments as for `percent_agreement`; at most 1, None also where all ratings are of one category.
    """
    return _value(table, _alpha)


def coefficients(
    table: NDArray[Any],
    block: NDArray[np.integer],
    weight: Floats | None = None,
    fixed: tuple[Floats, float] | None = None,
) -> dict[str, dict[str, float | None]]:
    """Return all four coefficients, each with the 95 % interval of a bootstrap over blocks of units.

    Args:
        table: ratings by unit and category, int or float, shape (units, categories).
        block: what each unit belongs to, 0.., shape (units,): units of one block aren't independent.
        weight: how many units each row stands for (such as square metres), shape (units,); default: 1 each.
        fixed: a row and its weight that is part of every resample: ground that nobody can draw more or less of.

    Returns:
        {value, low, high} of percent_agreement, fleiss_kappa, gwet_ac1, krippendorff_alpha; None where undefined, low and
        high also where there are too few blocks.
    """
    terms = _terms(table) * (np.ones(len(table)) if weight is None else weight)[:, None]
    always = _terms(fixed[0][None])[0] * fixed[1] if fixed else np.zeros(terms.shape[1])
    sums = np.zeros((int(block.max(initial=-1)) + 1, terms.shape[1]))
    np.add.at(sums, block, terms)

    def score(statistic: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
        return lambda drawn: statistic(drawn + always)

    return {name: figure(sums, score(statistic)) for name, statistic in COEFFICIENTS.items()}


def _value(table: NDArray[Any], statistic: Callable[[Floats], Floats]) -> float | None:
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(_terms(table).sum(axis=0)))
    return None if np.isnan(value) else value


def _terms(table: NDArray[Any]) -> Floats:
    """Return what each unit adds to the sums: pairable, agreement, rated, disagreement, shares (q), pairable ratings (q)."""
    counts = np.asarray(table, dtype=np.float64)
    ratings = counts.sum(axis=1)
    pairable = ratings >= 2
    of_pairs = np.where(pairable, ratings * (ratings - 1), 1)
    agreement = np.where(pairable, (counts * (counts - 1)).sum(axis=1) / of_pairs, 0)
    disagreement = np.where(pairable, (ratings**2 - (counts**2).sum(axis=1)) / np.maximum(ratings - 1, 1), 0)
    shares = counts / np.maximum(ratings, 1)[:, None]
    return np.column_stack([pairable, agreement, ratings >= 1, disagreement, shares, counts * pairable[:, None]])


def _percent(sums: Floats) -> Floats:
    return sums[..., 1] / sums[..., 0]


def _shares(sums: Floats) -> Floats:
    categories = (sums.shape[-1] - 4) // 2
    return sums[..., 4 : 4 + categories] / sums[..., 2:3]


def _fleiss(sums: Floats) -> Floats:
    return beyond_chance(_percent(sums), (_shares(sums) ** 2).sum(axis=-1))


def _ac1(sums: Floats) -> Floats:
    shares = _shares(sums)
    return beyond_chance(_percent(sums), (shares * (1 - shares)).sum(axis=-1) / (shares.shape[-1] - 1))


def _alpha(sums: Floats) -> Floats:
    categories = (sums.shape[-1] - 4) // 2
    ratings = sums[..., 4 + categories :]
    total = ratings.sum(axis=-1)
    expected = (total**2 - (ratings**2).sum(axis=-1)) / (total - 1)
    return np.where(expected > 1e-12 * total, 1 - sums[..., 3] / expected, np.nan)


COEFFICIENTS: dict[str, Callable[[Floats], Floats]] = {
    "percent_agreement": _percent,
    "fleiss_kappa": _fleiss,
    "gwet_ac1": _ac1,
    "krippendorff_alpha": _alpha,
}
