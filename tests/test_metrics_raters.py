"""Agreement of several raters, against published data and other people's programs.

All values of the examples were computed with irrCAC 0.4.4 (the Python port of K. L. Gwet's R package), alpha also with
krippendorff 0.9.0 and Fleiss' kappa with statsmodels 0.15.0; those named as printed agree with the publication too.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rts_pipeline.metrics.raters import coefficients, fleiss_kappa, gwet_ac1, krippendorff_alpha, percent_agreement

# Fleiss (1971, doi:10.1037/h0031619): 30 patients, 6 psychiatrists each, five diagnoses; "diagnoses" of the R package irr.
FLEISS = """00060 03003 01401 00006 03030 20400 00402 20310 20040 00006 10050 11040 03300 10050 02031 00501 30012 51000 02040
10203 00006 01050 02013 20040 10041 05010 40002 02040 10500 00006"""
# Krippendorff (2011, "Computing Krippendorff's alpha-reliability"), example C: twelve units, four observers, five values, "."
# where one has not looked. The same counts as cac.raw4raters of irrCAC.
KRIPPENDORFF = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]


def table(rows):
    return np.array([[int(digit) for digit in row] for row in rows.split()])


def counted(ratings, categories):
    columns = np.array([list(row) for row in ratings]).T
    return np.array([[np.count_nonzero(unit == category) for category in categories] for unit in columns])


def test_the_example_of_fleiss():
    data = table(FLEISS)
    assert fleiss_kappa(data) == pytest.approx(0.430, abs=5e-4)  # as printed
    assert fleiss_kappa(data) == pytest.approx(0.4302445, abs=5e-8)
    assert gwet_ac1(data) == pytest.approx(0.4478845, abs=5e-8)
    assert krippendorff_alpha(data) == pytest.approx(0.4334098, abs=5e-8)


def test_the_examples_of_krippendorff_and_gwet_with_missing_ratings():
    data = counted(KRIPPENDORFF, "12345")
    assert krippendorff_alpha(data) == pytest.approx(0.743, abs=5e-4)  # as printed
    assert krippendorff_alpha(data) == pytest.approx(0.7434211, abs=5e-8)
    assert percent_agreement(data) == pytest.approx(0.8181818, abs=5e-8)
    assert fleiss_kappa(data) == pytest.approx(0.76117, abs=5e-6)
    assert gwet_ac1(data) == pytest.approx(0.77544, abs=5e-6)


def test_the_first_half_of_fleiss():
    """The example distrib.6raters of irrCAC."""
    data = table(FLEISS)[:15]
    assert fleiss_kappa(data) == pytest.approx(0.4139265, abs=5e-8)
    assert gwet_ac1(data) == pytest.approx(0.4448007, abs=5e-8)
    assert krippendorff_alpha(data) == pytest.approx(0.4204384, abs=5e-8)


def test_what_cannot_be_computed_is_none():
    one_rater, one_category = np.array([[1, 0], [0, 1]]), np.array([[3, 0], [3, 0]])
    assert [f(one_rater) for f in (percent_agreement, fleiss_kappa, gwet_ac1, krippendorff_alpha)] == [None] * 4
    assert [f(one_category) for f in (percent_agreement, fleiss_kappa, gwet_ac1, krippendorff_alpha)] == [1, None, 1, None]
    assert percent_agreement(np.zeros((0, 2))) is None


def test_few_slumps_among_much_ground_lower_kappa_but_not_ac1():
    few = np.array([[6, 0]] * 95 + [[3, 3]] * 3 + [[0, 6]] * 2)
    assert percent_agreement(few) > 0.98
    assert fleiss_kappa(few) < 0.8 < 0.97 < gwet_ac1(few)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.lists(st.integers(0, 5), min_size=3, max_size=3), min_size=1, max_size=12), st.randoms())
def test_neither_the_order_of_units_nor_that_of_categories_matters(rows, random):
    data = np.array(rows)
    units, categories = list(range(len(data))), [0, 1, 2]
    random.shuffle(units)
    random.shuffle(categories)
    for coefficient in (percent_agreement, fleiss_kappa, gwet_ac1, krippendorff_alpha):
        value, other = coefficient(data), coefficient(data[units][:, categories])
        assert (value is None) == (other is None)
        if value is not None:
            assert value == pytest.approx(other, abs=1e-9)
            assert value <= 1 + 1e-9


def test_a_row_of_weight_w_is_w_units():
    data, weight = np.array([[1, 3], [4, 0], [2, 2], [0, 4], [3, 1]]), np.array([1.0, 5, 2, 3, 1])
    repeated = np.repeat(data, weight.astype(int), axis=0)
    figures = coefficients(data, np.arange(5), weight)
    for coefficient in (percent_agreement, fleiss_kappa, gwet_ac1, krippendorff_alpha):
        assert figures[coefficient.__name__]["value"] == pytest.approx(coefficient(repeated))
    fixed = coefficients(data[:4], np.arange(4), weight[:4], (data[4].astype(float), 1.0))
    assert fixed["fleiss_kappa"]["value"] == pytest.approx(fleiss_kappa(repeated))


def test_intervals_hold_the_value_and_need_blocks():
    rng = np.random.default_rng(1)
    yes = rng.binomial(6, 0.7, 40)
    data = np.column_stack([6 - yes, yes])
    for figure in coefficients(data, np.arange(40)).values():
        assert figure["low"] < figure["value"] < figure["high"]
    assert coefficients(data, np.arange(40) % 3)["fleiss_kappa"]["low"] is None
