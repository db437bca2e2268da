import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rts_pipeline.metrics.bootstrap import MIN_BLOCKS, interval


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
    # Only one block holds a true object: a third of the resamples have none, and no recall.
    counts = np.array([[3, 4], [0, 0], [0, 0], [0, 0], [0, 0]])
    counts = np.column_stack([counts, np.ones(5, int)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert interval(counts, rate) == (0.75, 0.75)
        assert interval(counts, lambda sums: np.full(len(sums), np.nan)) is None


def test_what_is_no_table_of_counts_is_refused():
    for counts in (np.ones(5), np.full((5, 2), np.nan)):
        with pytest.raises(ValueError, match="expected finite counts"):
            interval(counts, rate)
