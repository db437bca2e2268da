"""Thresholds, minimum area and hole size, chosen on the objects of the validation blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rts_pipeline.validate.objects import HOLES_M2, MIN_AREAS_M2, THRESHOLDS, Tally

if TYPE_CHECKING:
    from numpy.typing import NDArray

PLATEAU = 0.01
"""Settings whose F1 is this close to the best are one plateau: the difference is less than one object's chance."""


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        threshold: smallest probability inside an outline.
        seed_threshold: probability that at least one of its pixels has.
        min_area_m2: smallest outline.
        hole_m2: smaller holes are filled.
        recall_reached: whether the recall that was asked for is reached; None when none was.
        curve: threshold, precision, recall and f1 of objects at each threshold, with that area and hole size, and with that
            seed threshold as far as it is the higher one.
    """

    threshold: float
    seed_threshold: float
    min_area_m2: float
    hole_m2: float
    recall_reached: bool | None
    curve: list[dict[str, float | None]]


def choose(tally: Tally, recall: float | None) -> Choice:
    """Choose the best F1 of objects, or the best precision that a recall allows.

    Of equals, the middle: it is the furthest from settings that are worse; first of threshold and minimum area, then of the
    seed thresholds that are as good there. The hole size is at each of these settings the one with the largest sum of IoU,
    of equals the smallest.

    Args:
        tally: objects of all validation blocks.
        recall: share of the slumps that must be found; when no setting reaches it, the most that one finds.
    """
    holes = np.round(tally.iou, 9).argmax(axis=2)
    found, predicted = (
        np.take_along_axis(counts, holes[:, :, None], axis=2)[:, :, 0] for counts in (tally.n_found, tally.n_predicted)
    )
    if recall is None:
        scores, reached = 2 * found / np.maximum(predicted + tally.n_truth, 1), None
        places = scores >= scores.max() - PLATEAU
    else:
        places, reached = _by_recall(found, predicted, tally.n_truth, recall)
    # Below the threshold a seed asks for nothing more than at it.
    places &= (THRESHOLDS[:, None] <= THRESHOLDS)[:, :, None]
    row, column = _middle(places.any(axis=1))
    (seed,) = _middle(places[row, :, column])
    hole = int(holes[row, seed, column])
    values = (float(THRESHOLDS[row]), float(THRESHOLDS[seed]), float(MIN_AREAS_M2[column]), float(HOLES_M2[hole]))
    return Choice(*values, reached, _curve(tally, seed, hole, column))


def _by_recall(
    found: NDArray[np.int64], predicted: NDArray[np.int64], n_truth: int, recall: float
) -> tuple[NDArray[np.bool_], bool]:
    """Return the equally good settings, and whether they reach the recall."""
    shares, precision = found / max(n_truth, 1), found / np.maximum(predicted, 1)
    enough = shares >= recall - 1e-9
    if enough.any():
        places = enough & (precision == precision[enough].max())
        return places & (found == found[places].max()), True
    places = found == found.max()
    return places & (precision == precision[places].max()), False


def _middle(places: NDArray[np.bool_]) -> tuple[int, ...]:
    """Return the place that is nearest to the middle of all."""
    indices = np.argwhere(places)
    nearest = np.abs(indices - indices.mean(axis=0)).sum(axis=1).argmin()
    return tuple(indices[nearest].tolist())


def _curve(tally: Tally, seed: int, hole: int, area: int) -> list[dict[str, Any]]:
    rows = np.arange(len(THRESHOLDS))
    at = rows, np.maximum(rows, seed), hole, area
    counts = zip(THRESHOLDS, tally.n_found[at].tolist(), tally.n_predicted[at].tolist(), strict=True)
    return [
        {
            "threshold": float(threshold),
            "precision": found / predicted if predicted else None,
            "recall": found / tally.n_truth if tally.n_truth else None,
            "f1": 2 * found / (predicted + tally.n_truth) if predicted + tally.n_truth else None,
        }
        for threshold, found, predicted in counts
    ]
