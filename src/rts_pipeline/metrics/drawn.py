"""How alike what several people drew is: as objects, and as ground."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from rts_pipeline.lineage import united
from rts_pipeline.metrics import bootstrap
from rts_pipeline.metrics.objects import match_geometries
from rts_pipeline.metrics.summary import figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Geometries = NDArray[np.object_]
    Positions = NDArray[np.integer]
    Drawn = tuple[Geometries, Positions]

IOUS = (0.3, 0.5)
"""Limits of the IoU at which outlines of two people are the same object."""
CM2 = 1e4
"""Square centimetres of a square metre: areas are counted in whole ones."""


def pairwise(
    outlines: Geometries, person: Positions, block: Positions, reviewers: Sequence[str], looked: Geometries | None
) -> dict[str, Any]:
    """Compare each two people: F1 of their outlines one to one, and IoU of the ground that they drew, by exact overlay.

    Neither is the truth, and F1 = 2 matched / (outlines of both) is the same either way round: the share of specific positive
    agreement (Dice 1945; Fleiss 1975), which needs no count of places without a slump.

    Args:
        outlines: valid polygons in an equal-area CRS in metres, shape (n,).
        person: who drew each, shape (n,).
        block: spatially independent group of each, 0.., shape (n,): outlines of two groups don't overlap.
        reviewers: names.
        looked: where each person looked; two are compared where both did: outlines that lie there at least by half.

    Returns:
        `pairs`: a list of reviewers (two names), f1_30, f1_50 and iou, each {value, low, high}; `mean`: the same three over all
        pairs. Intervals are those of a bootstrap over the blocks.
    """
    n_blocks = int(block.max()) + 1
    pairs = list(combinations(range(len(reviewers)), 2))
    counts: dict[str, list[NDArray[np.int64]]] = {}
    for one, other in pairs:
        common = None if looked is None else shapely.intersection(looked[one], looked[other])
        sides = [(outlines[person == who], block[person == who]) for who in (one, other)]
        for name, value in {
            **_objects(sides[0], sides[1], n_blocks, common),
            **_ground(sides[0], sides[1], n_blocks, common),
        }.items():
            counts.setdefault(name, []).append(value)
    parts = {f"f1_{iou * 100:.0f}": (f"twice_matched_{iou * 100:.0f}", "outlines") for iou in IOUS}
    parts["iou"] = "both", "either"
    rows: list[dict[str, Any]] = [{"reviewers": [reviewers[one], reviewers[other]]} for one, other in pairs]
    mean = {}
    for name, (part, whole) in parts.items():
        for row, a, b in zip(rows, counts[part], counts[whole], strict=True):
            row[name] = figure(a, b)
        mean[name] = _mean(np.array(counts[part]), np.array(counts[whole]))
    return {"pairs": rows, "mean": mean}


def _objects(one: Drawn, other: Drawn, n: int, common: shapely.Geometry | None) -> dict[str, NDArray[np.int64]]:
    (first, of_first), (second, of_second) = (_there(side, common) for side in (one, other))
    counts = {"outlines": np.bincount(of_first, minlength=n) + np.bincount(of_second, minlength=n)}
    for iou in IOUS:
        matching = match_geometries(first, second, iou)
        counts[f"twice_matched_{iou * 100:.0f}"] = 2 * np.bincount(of_first[matching.predicted], minlength=n)
    return counts


def _there(side: Drawn, common: shapely.Geometry | None) -> Drawn:
    if common is None:
        return side
    kept = shapely.area(shapely.intersection(side[0], common)) >= shapely.area(side[0]) / 2
    return side[0][kept], side[1][kept]


def _ground(one: Drawn, other: Drawn, n: int, common: shapely.Geometry | None) -> dict[str, NDArray[np.int64]]:
    first, second = (united(shapes, blocks, n) for shapes, blocks in (one, other))
    if common is not None:
        first, second = shapely.intersection(first, common), shapely.intersection(second, common)
    both, *each = (np.nan_to_num(shapely.area(shapes)) for shapes in (shapely.intersection(first, second), first, second))
    return {name: np.rint(area * CM2).astype(np.int64) for name, area in (("both", both), ("either", sum(each) - both))}


def _mean(part: NDArray[np.int64], whole: NDArray[np.int64]) -> dict[str, float | None]:
    """Return the mean ratio over the pairs that have one, with its interval; counts have shape (pairs, blocks)."""
    pairs = len(part)

    def mean(sums: Floats) -> Floats:
        defined = sums[..., pairs:] > 0
        ratios = np.where(defined, sums[..., :pairs] / sums[..., pairs:], 0)
        return ratios.sum(axis=-1) / defined.sum(axis=-1)

    return bootstrap.figure(np.concatenate([part, whole]).T, mean, share=True)
