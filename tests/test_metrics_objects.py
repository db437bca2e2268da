from itertools import permutations

import geopandas as gpd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Polygon, box
from shapely.affinity import translate

from real_data import REAL, real
from rts_pipeline.errors import InputError
from rts_pipeline.metrics.objects import (
    IOUS,
    SIZE_CLASS_NAMES,
    SIZE_CLASSES_M2,
    Matching,
    match_geometries,
    match_outlines,
    object_scores,
    recall_by_size,
)

CRS = "EPSG:32646"

squares = st.lists(
    st.builds(lambda x, y, w, h: box(x, y, x + w, y + h), *([st.integers(0, 5)] * 2), *([st.integers(1, 5)] * 2)), max_size=5
)


def series(geometries, crs=CRS):
    return gpd.GeoSeries(list(geometries), crs=crs)


def brute_force(predicted, truth, min_iou):
    """The best (number of pairs, sum of IoU) over all assignments."""

    def iou(a, b):
        return a.intersection(b).area / a.union(b).area

    long, short = (predicted, truth) if len(predicted) >= len(truth) else (truth, predicted)
    best = (0, 0.0)
    for order in permutations(range(len(long)), len(short)):
        values = [iou(long[i], other) for i, other in zip(order, short, strict=True)]
        values = [value for value in values if value > min_iou]
        best = max(best, (len(values), round(sum(values), 9)))
    return best


@settings(deadline=None, max_examples=150)
@given(squares, squares, st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7]))
def test_matching_is_optimal(predicted, truth, min_iou):
    matching = match_outlines(series(predicted), series(truth), min_iou)
    assert len(set(matching.predicted)) == len(set(matching.truth)) == len(matching.iou)
    assert (len(matching.iou), round(float(matching.iou.sum()), 9)) == brute_force(predicted, truth, min_iou)


def test_number_of_matches_comes_before_iou():
    # Pairing the two best alike squares would leave the others without a partner.
    predicted = [box(0, 0, 10, 1), box(6, 0, 16, 1)]
    truth = [box(0, 0, 10, 1), box(-6, 0, 4, 1)]
    matching = match_outlines(series(predicted), series(truth), 0.2)
    assert list(zip(matching.predicted, matching.truth, strict=True)) == [(0, 1), (1, 0)]


def test_half_is_not_above_half():
    assert len(match_outlines(series([box(0, 0, 2, 1)]), series([box(0, 0, 1, 1)])).iou) == 0
    assert len(match_outlines(series([box(0, 0, 2, 1)]), series([box(0, 0, 1.01, 1)])).iou) == 1


def test_scores():
    truth = series([box(0, 0, 10, 10), box(20, 0, 30, 10), box(40, 0, 50, 10)])
    predicted = series([box(0, 0, 10, 8), box(20, 0, 30, 10), box(60, 0, 70, 10), box(80, 0, 90, 10)])
    assert object_scores(match_outlines(predicted, truth)) == {
        "precision": 0.5,
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(4 / 7),
        "tp": 2,
        "fp": 2,
        "fn": 1,
        "iou": pytest.approx(0.9),
    }


def test_undefined_is_none():
    none = object_scores(match_outlines(series([]), series([])))
    assert [none[key] for key in ("precision", "recall", "f1", "iou")] == [None] * 4
    missed = object_scores(match_outlines(series([]), series([box(0, 0, 1, 1)])))
    assert (missed["precision"], missed["recall"], missed["f1"], missed["iou"]) == (None, 0.0, 0.0, None)


def test_invalid_and_missing_outlines():
    bow = Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    matching = match_outlines(series([bow, None, Polygon()]), series([Polygon(), bow, None]))
    assert (matching.predicted.tolist(), matching.truth.tolist(), matching.iou.tolist()) == ([0], [1], [1.0])
    assert (matching.n_predicted, matching.n_truth) == (3, 3)


def test_other_crs_is_named():
    with pytest.raises(InputError, match="EPSG:32646 and EPSG:4326 differ"):
        match_outlines(series([box(0, 0, 1, 1)]), series([box(0, 0, 1, 1)], "EPSG:4326"))


def test_kuhns_example():
    # Kuhn's (1955) simple assignment: the first qualifies for jobs 1-3, the second for 3 and 4, the others for 4 alone.
    predicted = [box(0, 0, 3, 1), box(3, 0, 5, 1), box(5, 0, 5.5, 1), box(5.5, 0, 6, 1)]
    truth = [box(0, 0, 1, 1), box(1, 0, 2, 1), box(2, 0, 4, 1), box(4, 0, 6, 1)]
    matching = match_geometries(np.array(predicted), np.array(truth), 0.0)
    assert len(matching.iou) == 3
    assert matching.truth[:2].tolist() in ([0, 2], [1, 2])


@settings(deadline=None, max_examples=60)
@given(squares, squares, st.integers(-10_000, 10_000), st.randoms(use_true_random=False))
def test_scores_depend_neither_on_place_nor_on_order(predicted, truth, shift, random):
    expected = object_scores(match_outlines(series(predicted), series(truth), 0.3))
    random.shuffle(predicted)
    moved = series(translate(geometry, shift, -shift) for geometry in predicted)
    scores = object_scores(match_outlines(moved, series(translate(geometry, shift, -shift) for geometry in truth), 0.3))
    assert scores == pytest.approx(expected)


@settings(deadline=None, max_examples=60)
@given(squares, squares)
def test_precision_is_the_other_sides_recall(predicted, truth):
    one, other = (object_scores(match_outlines(series(a), series(b), 0.3)) for a, b in ((predicted, truth), (truth, predicted)))
    assert (one["precision"], one["f1"], one["fp"]) == (other["recall"], other["f1"], other["fn"])
    found = [object_scores(match_outlines(series(predicted), series(truth), limit))["tp"] for limit in IOUS]
    assert found == sorted(found, reverse=True)


def test_geometries_match_as_outlines_do():
    squares = np.array([box(0, 0, 10, 8), None, box(20, 0, 30, 10)], dtype=object)
    truth = np.array([box(20, 0, 30, 10), box(0, 0, 10, 10)], dtype=object)
    one, other = match_geometries(squares, truth, 0.5), match_outlines(series(squares), series(truth), 0.5)
    assert one.predicted.tolist() == other.predicted.tolist() == [0, 2]
    assert one.truth.tolist() == other.truth.tolist() == [1, 0]
    assert one.iou.tolist() == other.iou.tolist() == [0.8, 1.0]
    assert squares[1] is None


def test_recall_by_size():
    limits = [*SIZE_CLASSES_M2]
    areas = np.array([1.0, limits[0], limits[0] - 1, limits[1], limits[2] - 1, limits[2], 1e9, np.nan])
    matching = Matching(np.arange(3), np.array([0, 3, 6]), np.ones(3), 5, len(areas))
    classes = recall_by_size(matching, areas)
    assert tuple(classes) == SIZE_CLASS_NAMES
    assert [(row["found"], row["n"]) for row in classes.values()] == [(1, 3), (0, 1), (1, 2), (1, 2)]
    with pytest.raises(ValueError, match="7 areas for 8 true objects"):
        recall_by_size(matching, areas[:-1])
    nothing = Matching(np.arange(0), np.arange(0), np.zeros(0), 0, 0)
    assert all(row == {"found": 0, "n": 0} for row in recall_by_size(nothing, np.zeros(0)).values())


@real
def test_real_outlines_match_themselves():
    path = REAL / "rts_outlines/TrainingLabel_RTS_PlanetScope_Nitze_iteration001.gpkg"
    outlines = gpd.read_file(path).to_crs("EPSG:3413").geometry
    assert (~outlines.is_valid).any()
    order = np.random.default_rng(0).permutation(len(outlines))
    matching = match_outlines(outlines, outlines.iloc[order])
    assert object_scores(matching)["f1"] == 1.0
    assert matching.iou.min() > 0.99
