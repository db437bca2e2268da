"""Figures of a set of spatial blocks, pooled, each with the interval that a bootstrap over the blocks gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rts_pipeline.metrics import bootstrap
from rts_pipeline.metrics.objects import IOUS

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Counts = NDArray[np.int64]


def found_column(iou: float) -> str:
    """Return the column that counts the slumps found with an IoU above a limit: n_found_50 for 0.5."""
    return f"n_found_{iou * 100:.0f}"


COUNTS = ("n_truth", "n_predicted", *map(found_column, IOUS), "px_tp", "px_fp", "px_fn", "px_tn")
"""Columns of counts that every table of blocks has, beside those of the size classes."""


def summarise(blocks: pd.DataFrame) -> dict[str, Any]:
    """Return the figures of all blocks together.

    Blocks are drawn again, not pixels or slumps: those of one block share the ground, the weather and the image.

    Args:
        blocks: one row a spatial block with the counts n_truth, n_predicted, n_found_30, n_found_50, n_found_70 (matched
            pairs with an IoU above that many per cent), px_tp, px_fp, px_fn, px_tn, and for each size class size_<name>_n
            and size_<name>_found.

    Returns:
        n_blocks, n_blocks_with_slumps, n_truth, n_predicted; `pixels`: precision, recall, f1, iou; `objects`: precision,
        recall, f1 by IoU limit ("0.3", "0.5", "0.7"); `size_classes`: n, found and recall by name. A figure is
        {value, low, high}: the pooled value and its 95 % interval, which doesn't shrink to a point where all blocks agree,
        as where every slump was found (see `bootstrap.interval_of_equals`); None where it can't be computed.
    """
    names = [name for name in blocks.columns if name.startswith(("n_", "px_", "size_"))]
    counts = {name: blocks[name].to_numpy(dtype=np.int64) for name in names}
    truth, predicted = counts["n_truth"], counts["n_predicted"]
    return {
        "n_blocks": len(blocks),
        "n_blocks_with_slumps": int((truth > 0).sum()),
        "n_truth": int(truth.sum()),
        "n_predicted": int(predicted.sum()),
        "pixels": {
            **_scores(counts["px_tp"], counts["px_tp"] + counts["px_fp"], counts["px_tp"] + counts["px_fn"]),
            "iou": figure(counts["px_tp"], counts["px_tp"] + counts["px_fp"] + counts["px_fn"]),
        },
        "objects": {str(iou): _scores(counts[found_column(iou)], predicted, truth) for iou in IOUS},
        "size_classes": {name: _size_class(counts, name) for name in size_names(blocks)},
    }


def size_names(blocks: pd.DataFrame) -> list[str]:
    """Return the names of the size classes that the table counts, in its order."""
    return [name[len("size_") : -len("_n")] for name in blocks.columns if name.startswith("size_") and name.endswith("_n")]


def figure(part: Counts, whole: Counts) -> dict[str, float | None]:
    """Return the pooled share of two counts of each block, shape (blocks,), with its interval over the blocks."""
    return bootstrap.figure(np.column_stack([part, whole]), _ratio, share=True)


def _ratio(counts: NDArray[Any]) -> Any:
    return counts[..., 0] / counts[..., 1]


def _scores(hits: Counts, predicted: Counts, truth: Counts) -> dict[str, dict[str, float | None]]:
    return {"precision": figure(hits, predicted), "recall": figure(hits, truth), "f1": figure(2 * hits, predicted + truth)}


def _size_class(counts: dict[str, Counts], name: str) -> dict[str, Any]:
    number, found = counts[f"size_{name}_n"], counts[f"size_{name}_found"]
    return {"n": int(number.sum()), "found": int(found.sum()), "recall": figure(found, number)}
