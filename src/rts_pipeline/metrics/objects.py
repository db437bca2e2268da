"""Object scores of outlines against a truth: an object is found when an outline matches it with an IoU above a limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from scipy.optimize import linear_sum_assignment

from rts_pipeline.graph import components
from rts_pipeline.metrics.outlines import require_same_crs, valid_polygons

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray

    Indices = NDArray[np.intp]
    Floats = NDArray[np.float64]
    Geometries = NDArray[np.object_]

IOUS = (0.3, 0.5, 0.7)
"""Limits of the IoU at which objects are scored: found at all, found, and well outlined."""
SIZE_CLASSES_M2 = (2_000, 10_000, 50_000)
"""Limits between the size classes, in square metres; an area at a limit belongs to the larger class."""
SIZE_CLASS_NAMES = ("below 0.2 ha", "0.2 to 1 ha", "1 to 5 ha", "5 ha and above")
"""Names of the size classes, smallest first: one more than there are limits."""


def size_class(area_m2: Floats) -> Indices:
    """Return the position in `SIZE_CLASS_NAMES` of each area's class; NaN (of a missing geometry) counts as no area.

    Args:
        area_m2: square metres, float, shape (n,).
    """
    return np.searchsorted(SIZE_CLASSES_M2, np.nan_to_num(area_m2), side="right")


@dataclass(frozen=True)
class Matching:
    """A one-to-one matching of outlines.

    Attributes:
        predicted: positions of the matched outlines, ascending, shape (n,).
        truth: positions of their partners, shape (n,).
        iou: intersection over union of each pair, shape (n,).
        n_predicted: number of all outlines.
        n_truth: number of all true outlines.
    """

    predicted: Indices
    truth: Indices
    iou: Floats
    n_predicted: int
    n_truth: int


def match_outlines(predicted: gpd.GeoSeries, truth: gpd.GeoSeries, min_iou: float = 0.5) -> Matching:
    """Match outlines to the truth one to one, as `match_geometries` does, after a look at their CRS.

    Args:
        predicted: polygons in a projected CRS. Invalid ones are repaired, missing and empty ones match nothing.
        truth: polygons in the same CRS, treated alike. Outlines of either set may overlap.
        min_iou: pairs must have an IoU above (not equal to) this.

    Raises:
        InputError: the CRS differ.
    """
    require_same_crs(predicted, truth)
    return match_geometries(predicted.to_numpy(), truth.to_numpy(), min_iou)


def match_geometries(predicted: Geometries, truth: Geometries, min_iou: float = 0.5) -> Matching:
    """Match geometries to the truth one to one: as many pairs as possible, then the largest sum of IoU.

    The assignment problem of Kuhn (1955), doi:10.1002/nav.3800020109, solved for each connected group of pairs.

    Args:
        predicted: polygons of one projected CRS, shape (n,). Invalid ones are repaired, missing and empty ones match
            nothing.
        truth: polygons in the same CRS, shape (m,), treated alike. Polygons of either set may overlap.
        min_iou: pairs must have an IoU above (not equal to) this. From 0.5 on no polygon that is disjoint from the
            others of its set can have two possible partners, so nothing is left to choose (Kirillov et al. 2019,
            "Panoptic segmentation", doi:10.1109/CVPR.2019.00963).
    """
    pairs = pairs_above(predicted, truth, min_iou)
    rows, columns, iou = _assign(*pairs, n_predicted=len(predicted), n_truth=len(truth))
    return Matching(rows, columns, iou, len(predicted), len(truth))


def object_scores(matching: Matching) -> dict[str, Any]:
    """Return precision, recall, f1, tp, fp, fn and iou (mean of the matched pairs); None where undefined.

    Precision tp / (tp + fp), recall tp / (tp + fn) and their harmonic mean F1 (van Rijsbergen 1979, "Information
    retrieval"), of objects as in Everingham et al. (2010), doi:10.1007/s11263-009-0275-4.
    """
    tp = len(matching.iou)
    return {
        "precision": _ratio(tp, matching.n_predicted),
        "recall": _ratio(tp, matching.n_truth),
        "f1": _ratio(2 * tp, matching.n_predicted + matching.n_truth),
        "tp": tp,
        "fp": matching.n_predicted - tp,
        "fn": matching.n_truth - tp,
        "iou": float(matching.iou.mean()) if tp else None,
    }


def recall_by_size(matching: Matching, truth_areas_m2: Floats) -> dict[str, dict[str, int]]:
    """Count the true objects, and those found, in each class of their size.

    Args:
        matching: the matching; its IoU limit says what found means.
        truth_areas_m2: area of each true object in square metres, float, shape (n_truth,), in the order in which they were
            matched. NaN (of a missing geometry) counts as no area.

    Returns:
        {"found": int, "n": int} by name, for all SIZE_CLASS_NAMES in their order. Recall is found / n where n isn't 0.

    Raises:
        ValueError: there isn't one area for each true object.
    """
    if len(truth_areas_m2) != matching.n_truth:
        raise ValueError(f"{len(truth_areas_m2)} areas for {matching.n_truth} true objects")
    classes = size_class(truth_areas_m2)
    number = np.bincount(classes, minlength=len(SIZE_CLASS_NAMES)).tolist()
    found = np.bincount(classes[matching.truth], minlength=len(SIZE_CLASS_NAMES)).tolist()
    return {name: {"found": hits, "n": n} for name, hits, n in zip(SIZE_CLASS_NAMES, found, number, strict=True)}


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def pairs_above(predicted: Geometries, truth: Geometries, min_iou: float) -> tuple[Indices, Indices, Floats]:
    """Return (position in `predicted`, position in `truth`, IoU) of all pairs above `min_iou`; arguments as in the matching.

    The overlap of two bounding boxes, and the smaller of two areas, bound the intersection: most pairs are settled by
    that, without computing a geometry.
    """
    predicted, truth = valid_polygons(predicted), valid_polygons(truth)
    rows, columns = shapely.STRtree(truth).query(predicted)
    areas = shapely.area(predicted), shapely.area(truth)
    a, b = areas[0][rows], areas[1][columns]
    boxes = shapely.bounds(predicted)[rows], shapely.bounds(truth)[columns]
    sides = np.minimum(boxes[0][:, 2:], boxes[1][:, 2:]) - np.maximum(boxes[0][:, :2], boxes[1][:, :2])
    bound = np.minimum(np.minimum(a, b), sides.prod(axis=1) * (1 + 1e-9))
    possible = bound * (1 + min_iou) > min_iou * (a + b)
    rows, columns, a, b = rows[possible], columns[possible], a[possible], b[possible]
    common = shapely.area(shapely.intersection(predicted[rows], truth[columns]))
    iou = common / (a + b - common)
    enough = iou > min_iou
    return rows[enough], columns[enough], iou[enough]


def _assign(rows: Indices, columns: Indices, iou: Floats, *, n_predicted: int, n_truth: int) -> tuple[Indices, Indices, Floats]:
    """Choose the optimal one-to-one subset of the pairs, component by component of their graph."""
    component = components(n_predicted + n_truth, rows, columns + n_predicted)[rows]
    alone = np.bincount(component, minlength=1)[component] == 1
    chosen = [np.flatnonzero(alone)]
    shared = np.flatnonzero(~alone)
    shared = shared[np.argsort(component[shared], kind="stable")]
    for group in np.split(shared, np.flatnonzero(np.diff(component[shared])) + 1):
        chosen.append(group[_best(rows[group], columns[group], iou[group])])
    picked = np.concatenate(chosen)
    picked = picked[np.argsort(rows[picked], kind="stable")]
    return rows[picked], columns[picked], iou[picked]


def _best(rows: Indices, columns: Indices, iou: Floats) -> Indices:
    """Return the positions of the best pairs of one component."""
    row_names, i = np.unique(rows, return_inverse=True)
    column_names, j = np.unique(columns, return_inverse=True)
    position = np.full((len(row_names), len(column_names)), -1, dtype=np.intp)
    position[i, j] = np.arange(len(rows))
    # A pair is worth more than all IoU together, so that the number of pairs comes first.
    worth = np.where(position >= 0, min(position.shape) + 1 + iou[position], 0.0)
    found = position[linear_sum_assignment(worth, maximize=True)]
    return found[found >= 0]
