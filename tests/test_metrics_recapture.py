"""Two searches of the same ground."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rts_pipeline.metrics.recapture import chapman


def test_the_estimate_of_a_published_example():
    # the example of textbooks: 10 marked, 15 caught later, 5 of them marked
    estimate = chapman([(10, 15, 5)])
    assert estimate.value == pytest.approx(28.33, abs=0.005)
    # the transformed logit interval of Sadinle 2009 for it is 22 to 65
    assert 20 <= estimate.low <= 23
    assert 55 <= estimate.high <= 66


def test_classes_are_added_up():
    assert chapman([(10, 15, 5), (0, 0, 0), (4, 4, 4)]).value == pytest.approx(28.333 + 4, abs=0.001)


def test_searches_that_agree_leave_nothing():
    estimate = chapman([(50, 50, 50)])
    assert (estimate.value, estimate.low, estimate.high) == (50, 50, 50)


def test_pooling_what_differs_would_be_too_low():
    classes = [(20, 20, 4), (95, 95, 90)]
    assert chapman([tuple(np.sum(classes, axis=0))]).value < 0.8 * chapman(classes).value


@pytest.mark.parametrize(
    "classes", [[(2, 20, 0), (15, 43, 14)], [(15, 43, 14), (2, 20, 0)], [(0, 9, 0), (2, 11, 2), (15, 43, 12)]]
)
def test_a_class_with_hardly_anything_in_common_is_united_with_its_neighbour(classes):
    """Two networks of the demo: alone, such a class had an upper limit of 34,000."""
    assert chapman(classes) == chapman([(17, 63, 14)])
    assert chapman(classes).high == 102


@pytest.mark.parametrize(("captures", "reason"), [([], "found nothing"), ([(3, 2, 0)], "no slump in common")])
def test_nothing_in_common_says_nothing(captures, reason):
    estimate = chapman(captures)
    assert (estimate.value, estimate.high) == (None, None)
    assert reason in estimate.reason


def test_hardly_anything_in_common_has_no_upper_limit():
    estimate = chapman([(600, 600, 1), (300, 300, 0)])
    assert estimate.high is None
    assert "too little in common" in estimate.reason


def test_more_in_common_than_found_is_refused():
    with pytest.raises(ValueError, match="more slumps in common"):
        chapman([(3, 2, 3)])


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(1, 40)), min_size=1, max_size=3))
def test_the_interval_is_above_what_was_found(cells):
    table = [(one + both, two + both, both) for one, two, both in cells]
    estimate = chapman(table)
    assert sum(map(sum, cells)) <= estimate.low <= estimate.value + 1
    assert estimate.high is None or estimate.value <= estimate.high + 1
