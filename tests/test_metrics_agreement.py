"""Agreement of two people against published values, and where it is undefined.

Every kappa and AC1 of the examples was also computed with scikit-learn 1.9.1, statsmodels 0.15.0 (kappa) and irrCAC 0.4.4.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rts_pipeline.metrics.agreement import (
    cohen_kappa,
    figure,
    gwet_ac1,
    percent,
    positive_agreement,
    quadratic_kappa,
    tables,
)

# Feinstein & Cicchetti (1990, doi:10.1016/0895-4356(90)90158-L), the two paradoxes: table, agreement, kappa.
PARADOXES = [
    ([[40, 9], [6, 45]], 0.85, 0.70),
    ([[80, 10], [5, 5]], 0.85, 0.32),
    ([[45, 15], [25, 15]], 0.60, 0.13),
    ([[25, 35], [5, 35]], 0.60, 0.26),
]
# cont3x3abstractors of the R package irrCAC (K. L. Gwet): agreement, kappa and AC1 as its documentation prints them.
ABSTRACTORS = np.array([[13.0, 0, 0], [0, 20, 7], [0, 4, 56]])
# A class that hardly occurs among 125: scikit-learn gives kappa -.0234, irrCAC AC1 .9408.
RARE = np.array([[118.0, 5], [2, 0]])


@pytest.mark.parametrize(("table", "agreement", "kappa"), PARADOXES)
def test_the_paradoxes_of_kappa(table, agreement, kappa):
    table = np.array(table, dtype=float)
    assert percent(table) == pytest.approx(agreement)
    assert cohen_kappa(table) == pytest.approx(kappa, abs=0.005)


def test_values_of_gwet():
    assert percent(ABSTRACTORS) == pytest.approx(0.89)
    assert cohen_kappa(ABSTRACTORS) == pytest.approx(0.7964094, abs=5e-8)
    assert gwet_ac1(ABSTRACTORS) == pytest.approx(0.8493305, abs=5e-8)


def test_a_rare_class_by_hand():
    """Shares of the first category 123 and 120 of 125; chance by kappa .944192 + .000640, by AC1 2 x .972 x .028."""
    assert percent(RARE) == pytest.approx(118 / 125)
    chance = (123 * 120 + 2 * 5) / 125**2
    assert cohen_kappa(RARE) == pytest.approx((0.944 - chance) / (1 - chance))
    assert cohen_kappa(RARE) == pytest.approx(-0.0234, abs=5e-5)
    assert gwet_ac1(RARE) == pytest.approx((0.944 - 2 * 0.972 * 0.028) / (1 - 2 * 0.972 * 0.028))
    assert gwet_ac1(RARE) == pytest.approx(0.9408, abs=5e-5)
    assert positive_agreement(RARE) == pytest.approx(2 * 118 / (123 + 120))


def test_quadratic_weights_by_hand():
    """1 - sum(d^2 observed) / sum(d^2 expected): rows 4 and 6, columns 5, 3 and 2 of 10 in categories 0, 1, 2."""
    table = np.array([[3.0, 1, 0], [2, 2, 2], [0, 0, 0]])
    observed = 1 * 1 + 2 * 1 + 2 * 1
    expected = (4 * (3 * 1 + 2 * 4) + 6 * (5 * 1 + 2 * 1)) / 10
    assert quadratic_kappa(table) == pytest.approx(1 - observed / expected)


def test_quadratic_kappa_is_the_intraclass_correlation():
    """Fleiss & Cohen (1973, doi:10.1177/001316447303300309): it is 2 cov / (var + var + difference of means squared)."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, 5, 400)
    second = np.clip(first + rng.integers(-1, 2, 400), 0, 4)
    (table,) = tables(first, second, 5, np.zeros(400))
    spread = first.var() + second.var() + (first.mean() - second.mean()) ** 2
    expected = 2 * np.cov(first, second, bias=True)[0, 1] / spread
    assert quadratic_kappa(table.astype(float)) == pytest.approx(expected)


counts = arrays(np.int64, (3, 3), elements=st.integers(0, 30)).map(lambda t: t.astype(float)).filter(lambda t: t.sum() > 0)


@settings(max_examples=100, deadline=None)
@given(counts)
def test_bounds_and_symmetry(table):
    with np.errstate(all="ignore"):
        for coefficient in (percent, cohen_kappa, gwet_ac1, quadratic_kappa, positive_agreement):
            value, swapped = coefficient(table), coefficient(table.T)
            assert np.isnan(value) == np.isnan(swapped)
            assert np.isnan(value) or (value == pytest.approx(swapped) and -1 - 1e-9 <= value <= 1 + 1e-9)
            perfect = coefficient(np.diag(table.sum(axis=1)))
            assert np.isnan(perfect) or perfect == pytest.approx(1)


def test_what_is_undefined_is_none_not_one():
    always = np.array([[[7, 0], [0, 0]]])
    assert figure(always, cohen_kappa)["value"] is None
    assert figure(always, percent)["value"] == figure(always, gwet_ac1)["value"] == 1.0
    assert figure(always[:, ::-1, ::-1], positive_agreement)["value"] is None
    nothing = tables(np.zeros(0, int), np.zeros(0, int), 2, np.zeros(0))
    for coefficient in (percent, cohen_kappa, gwet_ac1, quadratic_kappa, positive_agreement):
        assert figure(nothing, coefficient) == {"value": None, "low": None, "high": None}


def test_tables_of_groups():
    found = tables(np.array([0, 1, 1, 0]), np.array([0, 0, 1, 0]), 2, np.array(["b", "a", "a", "b"]))
    assert found.tolist() == [[[0, 0], [1, 1]], [[2, 0], [0, 0]]]


def test_the_interval_covers_the_true_value_and_needs_cells():
    """Two people who say the same in 80 of 100 cases, whatever the cell: 95 % intervals hold .8 in about 95 % of draws."""
    rng, inside = np.random.default_rng(1), 0
    for _ in range(100):
        first = rng.integers(0, 2, 400)
        second = np.where(rng.random(400) < 0.8, first, 1 - first)
        found = figure(tables(first, second, 2, np.arange(400) // 10), percent)
        inside += found["low"] <= 0.8 <= found["high"]
    assert 88 <= inside <= 100
    one_cell = figure(tables(first, second, 2, np.zeros(400)), percent)
    assert one_cell["value"] is not None and one_cell["low"] is None


def test_readings_of_one_cell_that_go_together_widen_the_interval():
    """Ten copies of each reading in one cell say no more than one."""
    rng = np.random.default_rng(2)
    first, second = rng.integers(0, 2, 60), rng.integers(0, 2, 60)
    once = figure(tables(first, second, 2, np.arange(60)), cohen_kappa)
    copied = figure(tables(first.repeat(10), second.repeat(10), 2, np.arange(60).repeat(10)), cohen_kappa)
    assert copied == pytest.approx(once)
