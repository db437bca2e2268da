from math import asinh, hypot, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import MultiPolygon, Point, Polygon, affinity, box

from rts_pipeline.metrics import boundary
from rts_pipeline.metrics.boundary import boundary_distance_m, offsets_m

outlines = st.lists(
    st.builds(
        lambda x, y, r, k: Point(x, y).buffer(r, quad_segs=k),
        *([st.floats(-20, 20)] * 2),
        st.floats(1, 30),
        st.integers(1, 4),
    ),
    min_size=1,
    max_size=4,
)


def array(*geometries):
    found = np.empty(len(geometries), dtype=object)
    found[:] = geometries
    return found


def distance(one, other, step_m=0.01):
    return float(boundary_distance_m(array(one), array(other), step_m)[0])


def test_concentric_circles():
    inner, outer = (Point(500_000, 7_000_000).buffer(radius, quad_segs=256) for radius in (100, 110))
    assert distance(inner, outer, 1.0) == pytest.approx(10, abs=0.01)


@pytest.mark.parametrize(("a", "b"), [(1, 2), (9, 10), (1, 10)])
def test_concentric_squares(a, b):
    # Half sides a < b, d = b - a. From the inner square it is d everywhere. Along half an outer side it is d as far as the
    # inner square reaches (a), then the distance to its corner: the integral of sqrt(d^2 + t^2) from 0 to d.
    d = b - a
    outwards, inwards = d, (a * d + d**2 / 2 * (sqrt(2) + asinh(1))) / b
    assert distance(box(-a, -a, a, a), box(-b, -b, b, b), 0.001) == pytest.approx((outwards + inwards) / 2, rel=1e-5)


def test_shifted_square():
    # The side that is left outside lies 1 m off, the one that is now inside as well, but for its ends, to which the sliding
    # sides are nearer (8 + 2 * 0.5); the sliding sides lie on their partners but for 1 m (0.5 each).
    expected = (10 + 9 + 0.5 + 0.5) / 40
    assert distance(box(0, 0, 10, 10), box(1, 0, 11, 10)) == pytest.approx(expected, rel=1e-4)


@settings(deadline=None, max_examples=40)
@given(outlines, outlines)
def test_distance_is_that_of_a_loop(predicted, truth):
    one, other = predicted[0], truth[0]

    def mean(line, other):
        steps = 2000
        points = [line.interpolate((i + 0.5) / steps, normalized=True) for i in range(steps)]
        return sum(point.distance(other) for point in points) / steps

    expected = (mean(one.exterior, other.exterior) + mean(other.exterior, one.exterior)) / 2
    assert distance(one, other, 0.05) == pytest.approx(expected, rel=1e-3, abs=1e-3)


@settings(deadline=None, max_examples=60)
@given(outlines, st.floats(0.5, 50), st.integers(-5_000, 5_000), st.integers(1, 359))
def test_neither_order_nor_place_nor_direction_matters(shapes, step_m, shift, angle):
    predicted, truth = array(*shapes), array(*(affinity.scale(shape, 1.3, 0.8) for shape in shapes))
    expected = boundary_distance_m(predicted, truth, step_m)
    assert boundary_distance_m(truth, predicted, step_m).tolist() == expected.tolist()
    for change in (lambda g: affinity.translate(g, shift, -shift), lambda g: affinity.rotate(g, angle, origin=(0, 0))):
        moved = (array(*(change(shape) for shape in side)) for side in (predicted, truth))
        assert boundary_distance_m(*moved, step_m) == pytest.approx(expected, abs=1e-6)
    assert (boundary_distance_m(predicted, predicted, step_m) < 1e-9).all()


@settings(deadline=None, max_examples=60)
@given(outlines, outlines)
def test_distance_lies_between_the_gap_and_the_hausdorff_distance(predicted, truth):
    one, other = predicted[0], truth[0]
    value = distance(one, other, 1.0)
    assert one.boundary.distance(other.boundary) - 1e-9 <= value
    assert value <= one.boundary.hausdorff_distance(other.boundary) + hypot(1, 1)


def test_more_corners_on_the_same_line_change_nothing():
    square = box(0, 0, 100, 100)
    dense = Polygon([(x, 0) for x in np.linspace(0, 100, 5000)] + [(100, 100), (0, 100)])
    other = box(-10, -2, 110, 100)
    assert distance(dense, other, 0.5) == pytest.approx(distance(square, other, 0.5), rel=1e-3)


def test_holes_and_parts_have_boundaries():
    disc = Point(0, 0).buffer(10, quad_segs=64)
    ring = disc.difference(Point(0, 0).buffer(5, quad_segs=64))
    # Of the ring's boundary a third is the hole's, 5 m from the disc's; the disc's lies on the ring's.
    assert distance(disc, ring) == pytest.approx(5 / 3 / 2, rel=0.01)
    two = MultiPolygon([box(0, 0, 10, 10), box(100, 0, 110, 10)])
    assert distance(two, two) == 0.0
    assert distance(box(0, 0, 10, 10), two) > 20


def test_missing_invalid_and_no_outlines():
    bow = Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    square = box(0, 0, 1, 1)
    values = boundary_distance_m(array(None, square, Polygon(), bow), array(square, None, square, bow), 1.0)
    assert np.isnan(values).tolist() == [True, True, True, False]
    assert values[3] == 0.0
    nothing = boundary_distance_m(array(), array(), 1.0)
    assert (nothing.shape, nothing.dtype) == ((0,), np.float64)


def test_batches_give_what_one_gives(monkeypatch):
    predicted = array(*(Point(x, 0).buffer(10 + x % 3) for x in range(10)))
    truth = array(*(Point(x, 1).buffer(11) for x in range(10)))
    whole = boundary_distance_m(predicted, truth, 1.0)
    monkeypatch.setattr(boundary, "BATCH", 3)
    assert boundary_distance_m(predicted, truth, 1.0).tolist() == whole.tolist()


def test_what_can_not_be_measured_is_refused():
    square = array(box(0, 0, 1, 1))
    with pytest.raises(ValueError, match="1 outlines and 0 partners"):
        boundary_distance_m(square, square[:0], 1.0)
    for step_m in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="expected above 0"):
            boundary_distance_m(square, square, step_m)


@pytest.mark.parametrize("radius", [40, 50, 65])
def test_offsets_are_positive_outside_and_negative_inside(radius):
    reference, drawn = (Point(0, 0).buffer(size, quad_segs=256) for size in (50, radius))
    offset, length, owner = offsets_m(array(drawn), array(reference), 1.0)
    assert offset == pytest.approx(np.full(len(offset), radius - 50), abs=0.01)
    assert length.sum() == pytest.approx(drawn.length)
    assert length.max() <= 1.0
    assert set(owner) == {0}


def test_offsets_belong_to_their_outlines_and_see_holes():
    reference = box(0, 0, 100, 100).difference(box(40, 40, 60, 60))
    offset, _, owner = offsets_m(array(box(10, 10, 90, 90), box(45, 45, 55, 55)), array(reference, reference), 1.0)
    assert offset[owner == 0] == pytest.approx(np.full(320, -10))
    # Within the hole is outside.
    assert offset[owner == 1] == pytest.approx(np.full(40, 5))
