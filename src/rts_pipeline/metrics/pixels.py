"""Scores of pixels: of probabilities, at one threshold or at all of them, their calibration, and of outlines on a grid.

Probabilities are counted once, by true class and level; every score follows from those counts. Counts of parts (windows,
blocks) add up to the counts of the whole.
"""

from __future__ import annotations

from itertools import product
from math import ceil, floor
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from rts_pipeline.grid import GeoBox, Grid
from rts_pipeline.metrics.outlines import require_same_crs, valid_polygons

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Counts = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Geometries = NDArray[np.object_]

BINS = 250
"""A probability is kept as uint8: itself times this, rounded."""
LEVELS = BINS + 1
"""Number of levels that a probability can have."""
NODATA = 255
TILE_PX = 2048


def level_of(threshold: float) -> int:
    """Return the lowest level that is at or above a probability from 0 to 1."""
    # 0.28 x 250 is a little above 70 in floating point.
    return ceil(threshold * BINS - 1e-9)


def count_pixels(probability: Bytes, truth: Bytes) -> Counts:
    """Count pixels by true class and level of the probability.

    Args:
        probability: uint8, any shape: 0-250 = probability x 250, 255 = not observed.
        truth: uint8, the same shape: 1 slump, 0 not, 255 unknown.

    Returns:
        int64, shape (2, LEVELS): row = class, column = level. Pixels that are 255 in either array aren't counted.

    Raises:
        ValueError: the shapes differ, or a value has no meaning.
    """
    if probability.shape != truth.shape:
        raise ValueError(f"probability of shape {probability.shape}, truth of shape {truth.shape}")
    if probability.dtype != np.uint8 or truth.dtype != np.uint8:
        raise ValueError(f"probability is {probability.dtype} and truth {truth.dtype}, expected uint8")
    pairs = (truth.astype(np.uint16) << 8) | probability
    joint = np.bincount(pairs.ravel(), minlength=1 << 16).reshape(256, 256)
    if joint[2:NODATA].any() or joint[:, LEVELS:NODATA].any():
        raise ValueError("expected truth of 0, 1 or 255 and probability of 0-250 or 255")
    return joint[:2, :LEVELS].astype(np.int64)


def pixel_scores(counts: Counts) -> dict[str, Floats]:
    """Return precision, recall, f1 and iou of pixels for each threshold.

    Precision, recall and their harmonic mean F1 as in van Rijsbergen (1979), IoU = tp / (tp + fp + fn) (Jaccard 1912).

    Args:
        counts: int, shape (2, LEVELS), from `count_pixels`.

    Returns:
        float64, shape (LEVELS,), for each score. Entry t: levels from t upwards are slumps. 0 where undefined, so that the
        best threshold is an argmax; `pixels_at` tells the two apart.
    """
    false, true = _from_above(counts).astype(float)
    total = true[0]
    precision, recall = _ratios(true, true + false), _ratios(true, np.full_like(true, total))
    f1, iou = _ratios(2 * true, true + false + total), _ratios(true, false + total)
    return {"precision": precision, "recall": recall, "f1": f1, "iou": iou}


def pixels_at(counts: Counts, level: int) -> dict[str, Any]:
    """Return the scores and the confusion of pixels when levels from `level` upwards are slumps.

    Args:
        counts: int, shape (2, LEVELS), from `count_pixels`.
        level: 0 (all pixels are slumps) to LEVELS (none is). `level_of` gives that of a threshold.

    Returns:
        precision, recall, f1, iou (as in `pixel_scores`, but None where undefined), true_positives, false_positives,
        false_negatives, true_negatives.

    Raises:
        ValueError: there is no such level.
    """
    if not 0 <= level <= LEVELS:
        raise ValueError(f"level {level}, expected 0 to {LEVELS}")
    (tn, fp), (fn, tp) = ((int(row[:level].sum()), int(row[level:].sum())) for row in counts)
    scores = {"precision": _ratio(tp, tp + fp), "recall": _ratio(tp, tp + fn)}
    scores |= {"f1": _ratio(2 * tp, 2 * tp + fp + fn), "iou": _ratio(tp, tp + fp + fn)}
    return {**scores, "true_positives": tp, "false_positives": fp, "false_negatives": fn, "true_negatives": tn}


def average_precision(counts: Counts) -> float | None:
    """Return the area under the curve of precision over recall, as the sum of steps (R_n - R_n-1) P_n.

    Not interpolated: the average precision of Zhu (2004), "Recall, precision and average precision", as scikit-learn's
    `average_precision_score` computes it. Trapezoids would be too optimistic (Davis & Goadrich 2006,
    doi:10.1145/1143844.1143874).

    Args:
        counts: int, shape (2, LEVELS), from `count_pixels`.

    Returns:
        0 to 1, or None when there is no slump.
    """
    false, true = _from_above(counts).astype(float)
    if not true[0]:
        return None
    # Each level's slumps are the recall that is gained when the threshold falls to that level.
    return float((counts[1] * _ratios(true, true + false)).sum() / true[0])


def reliability(counts: Counts, n_bins: int = 10) -> list[dict[str, Any]]:
    """Compare predicted probabilities with what was observed, in bins of equal width (Guo et al. 2017, section 2).

    The probability is that of a slump, not of the likelier class (as Niculescu-Mizil & Caruana 2005,
    doi:10.1145/1102351.1102430), because slumps are too rare for the likelier class to say anything of them.

    Args:
        counts: int, shape (2, LEVELS), from `count_pixels`.
        n_bins: number of bins over 0 to 1; a bin holds its lower limit, the last one its upper limit as well.

    Returns:
        One row a bin, lowest first: lower, upper (its limits), predicted (mean probability), observed (share of slumps)
        and n (pixels). predicted and observed are None in an empty bin.
    """
    levels = np.arange(LEVELS)
    # Whole numbers, because 0.3 / 0.1 isn't 3.
    which = np.minimum(levels * n_bins // BINS, n_bins - 1)
    pixels, slumps = counts.sum(axis=0), counts[1]
    totals, expected, observed = (_by_bin(which, values, n_bins) for values in (pixels, pixels * levels, slumps))
    return [
        {
            "lower": index / n_bins,
            "upper": (index + 1) / n_bins,
            "predicted": _ratio(expected[index], totals[index] * BINS),
            "observed": _ratio(observed[index], totals[index]),
            "n": totals[index],
        }
        for index in range(n_bins)
    ]


def expected_calibration_error(counts: Counts, n_bins: int = 10) -> float | None:
    """Return the mean over pixels of |observed - predicted| of their bin of `reliability`.

    ECE of Naeini et al. (2015), doi:10.1609/aaai.v29i1.9602, and Guo et al. (2017), "On calibration of modern neural
    networks", ICML.

    Args:
        counts: int, shape (2, LEVELS), from `count_pixels`.
        n_bins: number of bins of equal width.

    Returns:
        0 to 1, or None when there is no pixel.
    """
    rows = [row for row in reliability(counts, n_bins) if row["n"]]
    total = sum(row["n"] for row in rows)
    return sum(row["n"] * abs(row["observed"] - row["predicted"]) for row in rows) / total if total else None


def pixel_iou(predicted: gpd.GeoSeries, truth: gpd.GeoSeries, grid: Grid, tile_px: int = TILE_PX) -> float | None:
    """Return the IoU of two sets of outlines counted in pixels of the grid (a pixel is in when its centre is).

    Args:
        predicted: polygons in the grid's CRS; overlapping ones count once.
        truth: the same.
        grid: the grid.
        tile_px: edge of the window that is held in memory; the result doesn't depend on it.

    Returns:
        The IoU, or None when neither set covers a pixel.

    Raises:
        InputError: the CRS differ.
    """
    require_same_crs(predicted, truth)
    sets = [valid_polygons(predicted.to_numpy()), valid_polygons(truth.to_numpy())]
    trees = [shapely.STRtree(geometries) for geometries in sets]
    both = either = 0
    for tile in _tiles(np.concatenate(sets), grid, tile_px):
        one, other = (
            _rasterise(geometries[tree.query(tile.polygon)], tile) for geometries, tree in zip(sets, trees, strict=True)
        )
        both += int(np.count_nonzero(one & other))
        either += int(np.count_nonzero(one | other))
    return _ratio(both, either)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _ratios(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _from_above(counts: Counts) -> Counts:
    """Return how many pixels of each class have a level or a higher one, shape (2, LEVELS)."""
    return np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]


def _by_bin(which: NDArray[np.intp], values: Counts, n_bins: int) -> list[int]:
    sums = np.zeros(n_bins, np.int64)
    np.add.at(sums, which, values)
    return sums.tolist()


def _tiles(geometries: Geometries, grid: Grid, tile_px: int) -> list[GeoBox]:
    """Return the tiles of the grid that the bounding boxes of the geometries touch, by row and column."""
    edge = tile_px * grid.pixel_m
    names: set[tuple[int, int]] = set()
    for west, south, east, north in shapely.bounds(geometries):
        if np.isfinite(west):
            rows = range(floor(-north / edge), floor(-south / edge) + 1)
            names.update(product(rows, range(floor(west / edge), floor(east / edge) + 1)))
    return [
        GeoBox(f"{row},{column}", grid.crs, grid.pixel_m, column * tile_px, row * tile_px, tile_px, tile_px)
        for row, column in sorted(names)
    ]


def _rasterise(geometries: Geometries, tile: GeoBox) -> NDArray[np.bool_]:
    from rasterio.features import rasterize

    if not len(geometries):
        return np.zeros(tile.shape, dtype=bool)
    return rasterize(geometries, out_shape=tile.shape, transform=tile.transform, dtype="uint8").astype(bool)
