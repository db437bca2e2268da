from itertools import permutations

import geopandas as gpd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Polygon, box

from real_data import REAL, real
from rts_pipeline.errors import InputError
from rts_pipeline.grid import Grid
from rts_pipeline.metrics.objects import match_outlines, object_scores
from rts_pipeline.metrics.pixels import pixel_iou

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
    assert pixel_iou(series([]), series([]), Grid(CRS)) is None


def test_invalid_and_missing_outlines():
    bow = Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    matching = match_outlines(series([bow, None, Polygon()]), series([Polygon(), bow, None]))
    assert (matching.predicted.tolist(), matching.truth.tolist(), matching.iou.tolist()) == ([0], [1], [1.0])
    assert (matching.n_predicted, matching.n_truth) == (3, 3)


def test_other_crs_is_named():
    with pytest.raises(InputError, match="EPSG:32646 and EPSG:4326 differ"):
        match_outlines(series([box(0, 0, 1, 1)]), series([box(0, 0, 1, 1)], "EPSG:4326"))


@settings(deadline=None, max_examples=60)
@given(squares, squares, st.integers(1, 7))
def test_pixel_iou_does_not_depend_on_tiles(predicted, truth, tile_px):
    grid = Grid(CRS, pixel_m=1.0)
    pixels = [{(x, y) for g in side for x in range(12) for y in range(12) if g.contains(box(x, y, x + 1, y + 1))} for side in
              (predicted, truth)]  # fmt: skip
    union = pixels[0] | pixels[1]
    expected = len(pixels[0] & pixels[1]) / len(union) if union else None
    assert pixel_iou(series(predicted), series(truth), grid, tile_px) == expected


@real
def test_real_outlines_match_themselves():
    path = REAL / "rts_outlines/TrainingLabel_RTS_PlanetScope_Nitze_iteration001.gpkg"
    outlines = gpd.read_file(path).to_crs("EPSG:3413").geometry
    assert (~outlines.is_valid).any()
    order = np.random.default_rng(0).permutation(len(outlines))
    matching = match_outlines(outlines, outlines.iloc[order])
    assert object_scores(matching)["f1"] == 1.0
    assert matching.iou.min() > 0.99
