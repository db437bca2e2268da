import subprocess
import sys

import geopandas as gpd
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import box
from torchmetrics.classification import BinaryAveragePrecision, BinaryCalibrationError

from rts_pipeline.errors import InputError
from rts_pipeline.grid import Grid
from rts_pipeline.metrics.pixels import (
    LEVELS,
    average_precision,
    count_pixels,
    expected_calibration_error,
    level_of,
    pixel_iou,
    pixel_scores,
    pixels_at,
    reliability,
)

CRS = "EPSG:32646"

# Few different levels, so that ties are common.
pairs = st.lists(st.tuples(st.sampled_from([0, 1, 60, 75, 124, 125, 200, 249, 250, 255]), st.sampled_from([0, 0, 1, 255])))
squares = st.lists(
    st.builds(lambda x, y, w, h: box(x, y, x + w, y + h), *([st.integers(0, 5)] * 2), *([st.integers(1, 5)] * 2)), max_size=5
)


def series(geometries, crs=CRS):
    return gpd.GeoSeries(list(geometries), crs=crs)


def counted(pixels):
    probability, truth = np.array(pixels, np.uint8).reshape(-1, 2).T
    return count_pixels(probability, truth)


def known(pixels):
    return [(level, truth) for level, truth in pixels if level != 255 and truth != 255]


def confusion(pixels, level):
    """True positives, false positives, false negatives, true negatives, pixel by pixel."""
    outcomes = [(found >= level, truth == 1) for found, truth in known(pixels)]
    return [outcomes.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False))]


def share(part, whole):
    return part / whole if whole else None


@settings(deadline=None)
@given(pairs)
def test_counts_are_those_of_a_loop(pixels):
    expected = np.zeros((2, LEVELS), int)
    for level, truth in known(pixels):
        expected[truth, level] += 1
    counts = counted(pixels)
    assert counts.dtype == np.int64
    assert np.array_equal(counts, expected)
    half = len(pixels) // 2
    assert np.array_equal(counted(pixels[:half]) + counted(pixels[half:]), counts)


@settings(deadline=None, max_examples=30)
@given(pairs)
def test_scores_at_every_threshold_are_those_of_a_loop(pixels):
    counts, curves = counted(pixels), pixel_scores(counted(pixels))
    for level in range(LEVELS):
        tp, fp, fn, tn = confusion(pixels, level)
        expected = {
            "precision": share(tp, tp + fp),
            "recall": share(tp, tp + fn),
            "f1": share(2 * tp, 2 * tp + fp + fn),
            "iou": share(tp, tp + fp + fn),
        }
        assert {name: curve[level] for name, curve in curves.items()} == {name: v or 0 for name, v in expected.items()}
        numbers = {"true_positives": tp, "false_positives": fp, "false_negatives": fn, "true_negatives": tn}
        assert pixels_at(counts, level) == expected | numbers


def test_no_pixel_is_found_above_the_highest_level():
    counts = counted([(250, 1), (250, 0)])
    assert pixels_at(counts, LEVELS)["precision"] is None
    assert pixels_at(counts, LEVELS)["recall"] == 0.0
    for level in (-1, LEVELS + 1):
        with pytest.raises(ValueError, match=f"level {level}, expected 0 to 251"):
            pixels_at(counts, level)


def test_the_level_of_a_threshold_is_the_lowest_one_at_or_above_it():
    assert [level_of(level / 250) for level in range(LEVELS)] == list(range(LEVELS))
    assert (level_of(0.28), level_of(0.5001), level_of(0.999)) == (70, 126, 250)


def test_what_has_no_meaning_is_refused():
    ones, zeros = np.ones(3, np.uint8), np.zeros(3, np.uint8)
    with pytest.raises(ValueError, match="shape"):
        count_pixels(ones, zeros[:2])
    with pytest.raises(ValueError, match="int64"):
        count_pixels(ones, zeros.astype(np.int64))
    for probability, truth in ((ones * 251, zeros), (ones, ones * 2)):
        with pytest.raises(ValueError, match="expected truth of 0, 1 or 255 and probability of 0-250 or 255"):
            count_pixels(probability, truth)


@settings(deadline=None)
@given(pairs)
def test_average_precision_by_its_definition(pixels):
    slumps = [level for level, truth in known(pixels) if truth == 1]
    if not slumps:
        assert average_precision(counted(pixels)) is None
        return
    area, before = 0.0, 0.0
    for level in sorted({level for level, _ in known(pixels)}, reverse=True):
        tp, fp, fn, _ = confusion(pixels, level)
        area += (tp / (tp + fn) - before) * tp / (tp + fp)
        before = tp / (tp + fn)
    assert average_precision(counted(pixels)) == pytest.approx(area)


def test_average_precision_of_scikit_learns_example():
    # y_true = [0, 0, 1, 1], y_scores = [0.1, 0.4, 0.35, 0.8]; 0.35 lies between two levels, its order is what counts.
    assert average_precision(counted([(25, 0), (100, 0), (88, 1), (200, 1)])) == pytest.approx(0.8333333333333333)


def test_average_precision_of_chance_is_the_share_of_slumps():
    random = np.random.default_rng(5)
    probability = random.integers(0, LEVELS, 200_000).astype(np.uint8)
    counts = count_pixels(probability, (random.random(200_000) < 0.03).astype(np.uint8))
    assert average_precision(counts) == pytest.approx(0.03, rel=0.05)


@pytest.mark.parametrize("seed", range(4))
def test_torchmetrics_agrees(seed):
    # Numbers of bins at whose limits no level lies, and no level of 1, to which torchmetrics gives a bin of its own.
    random = np.random.default_rng(seed)
    probability = (random.beta(0.5, 2, 3000) * 249).round().astype(np.uint8)
    truth = (random.random(3000) < (probability / 250) ** 1.5).astype(np.uint8)
    counts = count_pixels(probability, truth)
    predicted, target = torch.from_numpy(probability / 250), torch.from_numpy(truth.astype(np.int64))
    assert average_precision(counts) == pytest.approx(float(BinaryAveragePrecision()(predicted, target)), abs=1e-6)
    for bins in (3, 7, 11):
        expected = float(BinaryCalibrationError(n_bins=bins, norm="l1")(predicted, target))
        assert expected_calibration_error(counts, bins) == pytest.approx(expected, abs=1e-6)


@settings(deadline=None)
@given(pairs, st.integers(1, 20))
def test_reliability_by_its_definition(pixels, n_bins):
    rows = reliability(counted(pixels), n_bins)
    assert len(rows) == n_bins
    total, error = len(known(pixels)), 0.0
    for index, row in enumerate(rows):
        last = index == n_bins - 1
        inside = [(p, y) for p, y in known(pixels) if index * 250 <= p * n_bins and (last or p * n_bins < (index + 1) * 250)]
        assert row["n"] == len(inside)
        if inside:
            assert row["predicted"] == pytest.approx(np.mean([p / 250 for p, _ in inside]))
            assert row["observed"] == pytest.approx(np.mean([y for _, y in inside]))
            assert row["lower"] - 1e-12 <= row["predicted"] <= row["upper"] + 1e-12
            error += len(inside) / total * abs(row["predicted"] - row["observed"])
        else:
            assert row["predicted"] is row["observed"] is None
    assert expected_calibration_error(counted(pixels), n_bins) == (pytest.approx(error) if total else None)


def test_reliability_of_scikit_learns_example():
    # calibration_curve's: 0.1 0.2 0.3 0.4 without, 0.65 0.7 0.8 0.9 1 with the class. Twice each, as 0.65 is half a level.
    without, with_ = [25, 50, 75, 100], [162, 175, 200, 225, 250]
    rows = reliability(counted([(level, 0) for level in 2 * without] + [(level, 1) for level in [*with_, 163, *with_[1:]]]), 3)
    assert [row["observed"] for row in rows] == [0.0, 0.5, 1.0]
    assert [row["predicted"] for row in rows] == pytest.approx([0.2, 0.525, 0.85])


def test_calibration_error_of_torchmetrics_example():
    # predictions 0.25 0.25 0.55 0.75 0.75, classes 0 0 1 1 1, two bins: 0.29. Twice each, as they are half levels.
    pixels = [(62, 0), (63, 0)] * 2 + [(137, 1), (138, 1)] + [(187, 1), (188, 1)] * 2
    assert expected_calibration_error(counted(pixels), 2) == pytest.approx(0.29)


def test_calibrated_probabilities_have_hardly_an_error():
    levels = np.arange(LEVELS)
    counts = np.stack([1000 * (250 - levels), 1000 * levels])
    assert expected_calibration_error(counts) == pytest.approx(0.0, abs=1e-12)
    # Upside down, the error is the mean of |1 - 2p| over the 251 levels.
    assert expected_calibration_error(counts[::-1], 2) == pytest.approx(126 / 251)


@settings(deadline=None, max_examples=60)
@given(squares, squares, st.integers(1, 7))
def test_pixel_iou_does_not_depend_on_tiles(predicted, truth, tile_px):
    grid = Grid(CRS, pixel_m=1.0)
    pixels = [{(x, y) for g in side for x in range(12) for y in range(12) if g.contains(box(x, y, x + 1, y + 1))} for side in
              (predicted, truth)]  # fmt: skip
    union = pixels[0] | pixels[1]
    expected = len(pixels[0] & pixels[1]) / len(union) if union else None
    assert pixel_iou(series(predicted), series(truth), grid, tile_px) == expected


def test_pixel_iou_of_nothing_and_of_other_crs():
    assert pixel_iou(series([]), series([]), Grid(CRS)) is None
    with pytest.raises(InputError, match="EPSG:32646 and EPSG:4326 differ"):
        pixel_iou(series([box(0, 0, 1, 1)]), series([box(0, 0, 1, 1)], "EPSG:4326"), Grid(CRS))


def test_no_score_needs_torch():
    modules = ", ".join(f"rts_pipeline.metrics.{name}" for name in ("objects", "boundary", "pixels", "bootstrap"))
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules or 'geopandas' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
