"""Totals from a stratified sample of windows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson

from rts_pipeline.metrics.estimate import Estimate, recall
from rts_pipeline.metrics.stratified import midp_gamma, stratified_total


def total(sizes, counts):
    """The estimate from the counts in the windows of each stratum that were looked at."""
    stratum = np.repeat(np.arange(len(sizes)), [len(part) for part in counts])
    return stratified_total(np.array(sizes), stratum, np.concatenate([np.array(part, int) for part in counts]))


def test_midp_gamma_of_a_published_example():
    # Fay & Feuer 1997, table II (births with Down's syndrome, Stark & Mantel 1966): the limits that R's asht 1.0 prints
    cases = np.array([0, 8, 63, 112, 262, 295])
    births = np.array([327, 30666, 123419, 149919, 104088, 34392])
    standard = np.array([319933, 931318, 786511, 488235, 237863, 61313])
    weight = 1e5 * standard / (births * standard.sum())
    low, high = midp_gamma((weight * cases).sum(), (weight**2 * cases).sum(), weight.max(), weight.max() ** 2)
    assert (weight * cases).sum() == pytest.approx(75.52901, abs=5e-6)
    assert (low, high) == pytest.approx((59.71632, 173.08170), abs=5e-4)


def test_nothing_counted_is_the_rule_of_three():
    estimate = total([10_000], [[0] * 100])
    assert (estimate.value, estimate.low) == (0, 0)
    assert estimate.high == pytest.approx(100 * 2.9957, rel=0.02)


def test_a_single_stratum_is_the_poisson_midp_interval():
    estimate = total([1_000_000], [[1] * 10 + [0] * 990])
    mean = estimate.high / 1000
    assert (poisson.cdf(10, mean) + poisson.cdf(9, mean)) / 2 == pytest.approx(0.025, rel=0.02)


def test_looked_at_as_a_whole_nothing_is_uncertain():
    assert total([5, 3], [[1, 0, 2, 0, 0], [1, 1, 0]]) == Estimate(5, 5, 5)


def test_weights_are_those_of_the_strata():
    assert total([100, 10], [[1, 0], [2, 2, 0, 0, 0]]).value == 50 + 8


def test_slumps_in_groups_widen_the_interval():
    alone, grouped = total([1000], [[1] * 6 + [0] * 94]), total([1000], [[6] + [0] * 99])
    assert alone.value == grouped.value
    assert grouped.high - grouped.low > 1.5 * (alone.high - alone.low)


def test_a_stratum_that_nobody_looked_at_is_said():
    estimate = stratified_total(np.array([5, 7]), np.array([0, 0]), np.array([1, 0]), ["near", "far"])
    assert (estimate.value, estimate.low, estimate.high) == (None, 1, None)
    assert estimate.reason.endswith("1 of 2 strata: far")


@pytest.mark.parametrize(("sizes", "counts"), [([1], [[0, 0]]), ([5], [[-1]])])
def test_impossible_counts_are_refused(sizes, counts):
    with pytest.raises(ValueError, match="counts of at least 0"):
        total(sizes, counts)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 300), st.lists(st.integers(0, 3), min_size=1, max_size=12)), min_size=1, max_size=5))
def test_the_interval_holds_the_estimate_and_what_was_counted(strata):
    counts = [part for _, part in strata]
    sizes = [len(part) + more for more, part in strata]
    estimate = total(sizes, counts)
    counted = sum(map(sum, counts))
    assert counted <= estimate.low <= estimate.high
    assert estimate.value >= counted
    assert estimate.low <= estimate.value + 0.5
    assert estimate.value <= estimate.high


def test_the_estimate_is_unbiased():
    rng = np.random.default_rng(3)
    frame = [rng.poisson(rate, size) for rate, size in ((0.02, 300), (0.5, 40))]
    drawn = [total([300, 40], [rng.choice(frame[0], 30, False), rng.choice(frame[1], 20, False)]).value for _ in range(2000)]
    truth = sum(part.sum() for part in frame)
    assert np.mean(drawn) == pytest.approx(truth, abs=4 * np.std(drawn) / np.sqrt(len(drawn)))


def test_recall_turns_the_limits_round():
    assert recall(80, Estimate(20, 10, 80)) == Estimate(0.8, 0.5, 80 / 90)
    assert recall(80, Estimate(None, 5, None, "why")) == Estimate(None, None, None, "why")
    assert recall(0, Estimate(0, 0, 9)).value is None
    assert recall(5, Estimate(5, 0, None, "why")) == Estimate(0.5, 0, 1, "why")
