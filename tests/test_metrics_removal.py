"""The curve of new slumps a round."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rts_pipeline.metrics.removal import removal


@pytest.mark.parametrize(
    ("new", "total", "low", "high", "p"),
    [
        ((45, 11, 18, 8), 90.6, 83.4, 109.2, 0.44),
        ((52, 31, 10, 12), 114.6, 107.0, 131.5, 0.46),
        ((48, 10, 6, 6), 71.1, 70.0, 76.3, 0.61),
        ((44, 12, 1, 0), 57.0, 57.0, 58.0, 0.80),
        ((16, 22, 6, 4), 55.0, 48.4, 81.6, 0.39),
        ((18, 16, 5, 2), 43.2, 41.0, 53.5, 0.50),
        ((55, 6, 3, 4), 68.0, 68.0, 69.9, 0.74),
    ],
)
def test_published_estimates_with_their_profile_likelihood_intervals(new, total, low, high, p):
    # Schnute 1983 (doi:10.1139/f83-250), tables 1 to 3: brook trout, constant chance of capture
    fit = removal(new)
    assert [fit.total.value, fit.total.low, fit.total.high] == pytest.approx([total, low, high], abs=0.11)
    assert fit.p == pytest.approx(p, abs=0.0051)


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        ((), "two rounds"),
        ((9,), "two rounds"),
        ((0, 0), "no round found"),
        ((5, 5, 5), "don't fall"),
        ((7, 6, 9), "don't fall"),
    ],
)
def test_without_a_fall_no_end_is_named(new, reason):
    fit = removal(new)
    assert (fit.total.value, fit.total.low, fit.total.high, fit.p) == (None, sum(new), None, None)
    assert reason in fit.total.reason
    assert fit.expected(3) == []


def test_numbers_that_hardly_fall_have_no_upper_limit():
    fit = removal((10, 9, 8))
    assert fit.total.value > fit.total.low >= 27
    assert fit.total.high is None
    assert "hardly fall" in fit.total.reason


def test_the_fitted_curve_meets_what_was_found():
    fit = removal((45, 11, 18, 8))
    assert fit.expected(4)[-1] == pytest.approx(82, abs=0.5)


def test_a_negative_number_is_refused():
    with pytest.raises(ValueError, match="negative"):
        removal((3, -1))


@settings(deadline=None, max_examples=80)
@given(st.lists(st.integers(0, 200), min_size=2, max_size=7))
def test_never_less_than_was_found(new):
    fit = removal(new)
    assert fit.total.low >= sum(new) - 1e-6
    if fit.total.value is not None:
        assert fit.total.low <= fit.total.value + 1e-6
        assert fit.total.high is None or fit.total.value <= fit.total.high + 1e-6
        assert 0 < fit.p <= 1
        assert np.isfinite(fit.total.value)
