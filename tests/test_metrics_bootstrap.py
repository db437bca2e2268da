import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rts_pipeline.metrics.bootstrap import MIN_BLOCKS, figure, interval, interval_of_equals


def rate(sums):
    return sums[:, 0] / sums[:, 1]


def blocks(random, n, *, rate=0.7, alike=10.0, windows=8, objects=5):
    """Found and all objects of each window, shape (n, windows, 2); the windows of a block share its own rate."""
    rates = random.beta(rate * alike, (1 - rate) * alike, n)
    found = random.binomial(objects, np.repeat(rates[:, None], windows, axis=1))
    return np.stack([found, np.full_like(found, objects)], axis=-1)


def coverage(make, truth, runs=200):
    limits = [interval(make(np.random.default_rng(run)), rate, n=500, seed=run) for run in range(runs)]
    return sum(lower <= truth <= upper for lower, upper in limits) / runs


def test_the_interval_holds_the_truth_as_often_as_it_says():
    assert 0.90 <= coverage(lambda random: blocks(random, 30).sum(axis=1), 0.7) <= 0.99


def test_windows_in_place_of_blocks_would_promise_too_much():
    assert coverage(lambda random: blocks(random, 30).reshape(-1, 2), 0.7) < 0.85


@settings(deadline=None, max_examples=40)
@given(st.integers(10, 40), st.integers(0, 10_000))
def test_the_score_itself_lies_within(n, seed):
    counts = blocks(np.random.default_rng(seed), n).sum(axis=1)
    lower, upper = interval(counts, rate, n=500, seed=seed)
    assert 0 <= lower <= counts[:, 0].sum() / counts[:, 1].sum() <= upper <= 1


def test_more_blocks_make_it_narrower():
    counts = blocks(np.random.default_rng(1), 400).sum(axis=1)
    widths = [np.ptp(interval(counts[:n], rate)) for n in (10, 40, 400)]
    assert widths[0] > widths[1] > widths[2]
    # The width falls with the root of the number of blocks.
    assert widths[1] / widths[2] == pytest.approx(np.sqrt(10), rel=0.3)


def test_a_higher_level_makes_it_wider():
    counts = blocks(np.random.default_rng(1), 20).sum(axis=1)
    narrow, wide = (interval(counts, rate, level=level) for level in (0.5, 0.95))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_mean_of_blocks_has_the_known_standard_error():
    values = np.random.default_rng(3).normal(10, 2, 200)
    lower, upper = interval(np.column_stack([values, np.ones(200)]), rate, n=20_000)
    assert upper - lower == pytest.approx(2 * 1.96 * values.std() / np.sqrt(200), rel=0.03)


def test_too_few_blocks_have_no_interval():
    counts = blocks(np.random.default_rng(0), MIN_BLOCKS).sum(axis=1)
    assert interval(counts, rate) is not None
    assert interval(counts[1:], rate) is None
    assert interval(np.vstack([counts[1:], np.zeros((50, 2))]), rate) is None
    assert interval(np.zeros((0, 2)), rate) is None


def test_blocks_without_counts_change_nothing():
    counts = blocks(np.random.default_rng(0), 12).sum(axis=1)
    assert interval(np.vstack([counts, np.zeros((30, 2), int)]), rate) == interval(counts, rate)


def test_the_same_seed_gives_the_same_interval():
    counts = blocks(np.random.default_rng(0), 12).sum(axis=1)
    assert interval(counts, rate, seed=4) == interval(counts, rate, seed=4)
    assert interval(counts, rate, seed=4) != interval(counts, rate, seed=5)


def test_resamples_without_a_score_are_left_out():
    # Only two blocks hold a true object: some of the resamples have none, and no recall.
    counts = np.array([[3, 4], [1, 4], [0, 0], [0, 0], [0, 0]])
    counts = np.column_stack([counts, np.ones(5, int)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert interval(counts, rate) == (0.25, 0.75)
        assert interval(counts, lambda sums: np.full(len(sums), np.nan)) is None


def test_resamples_that_all_agree_are_no_interval():
    counts = np.column_stack([[3, 3, 3, 6, 9], [4, 4, 4, 8, 12]])
    assert interval(counts, rate) is None
    assert figure(counts, rate) == {"value": 0.75, "low": None, "high": None}
    assert interval(counts + np.eye(5, 2, dtype=int), rate) is not None


def test_where_all_was_found_the_interval_reaches_as_far_down_as_so_few_blocks_allow():
    found = np.repeat(np.arange(1, 11), 2).reshape(10, 2)
    all_found = figure(found, rate, share=True)
    # Clopper & Pearson: with this share all ten blocks show all of theirs once in forty times
    assert (all_found["value"], all_found["high"]) == (1, 1)
    assert all_found["low"] ** 10 == pytest.approx(0.025)
    none_found = figure(found * [0, 1], rate, share=True)
    assert none_found == {"value": 0, "low": 0, "high": pytest.approx(1 - all_found["low"])}
    # blocks without an object say nothing of how many are found; with few others there is no interval
    assert figure(np.vstack([found, np.zeros((50, 2))]), rate, share=True) == all_found
    assert figure(found[: MIN_BLOCKS - 1], rate, share=True) == {"value": 1, "low": None, "high": None}
    assert interval_of_equals(1, 300)[0] == pytest.approx(1 - 3.69 / 300, abs=1e-4), "the rule of three, two-sided"


@settings(deadline=None)
@given(st.integers(0, 50), st.integers(1, 50), st.integers(MIN_BLOCKS, 1000))
def test_the_interval_of_equals_holds_them_and_is_never_a_point(found, missed, blocks):
    share = found / (found + missed)
    lower, upper = interval_of_equals(share, blocks)
    assert 0 <= lower <= share <= upper <= 1
    assert upper - lower > 1 / blocks
    wider = interval_of_equals(share, blocks, level=0.99)
    assert wider[0] <= lower
    assert wider[1] >= upper


def test_the_interval_holds_the_truth_where_nearly_all_is_found():
    """Blocks that show all of their objects or none are as alike within as can be."""

    def inside(seed):
        found = np.random.default_rng(seed).random(12) < 0.95
        told = figure(np.column_stack([found * 5, np.full(12, 5)]), rate, share=True)
        return told["low"] <= 0.95 <= told["high"]

    # the bootstrap's own would miss wherever all was found: in 0.95 ** 12 = 54 % of the cases
    assert sum(map(inside, range(200))) / 200 >= 0.95


def test_what_is_no_table_of_counts_is_refused():
    for counts in (np.ones(5), np.full((5, 2), np.nan)):
        with pytest.raises(ValueError, match="expected finite counts"):
            interval(counts, rate)
