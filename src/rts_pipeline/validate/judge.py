"""A block judged at the settings that were chosen, and the figures of many blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.features import rasterize

from rts_pipeline.io.arrays import write_array
from rts_pipeline.metrics.bootstrap import figure
from rts_pipeline.metrics.boundary import boundary_distance_m
from rts_pipeline.metrics.objects import IOUS, match_geometries, recall_by_size
from rts_pipeline.metrics.pixels import (
    LEVELS,
    average_precision,
    count_pixels,
    expected_calibration_error,
    level_of,
    pixels_at,
)
from rts_pipeline.metrics.summary import found_column, summarise
from rts_pipeline.validate.choice import Choice
from rts_pipeline.validate.ground import Block, Ground, Known
from rts_pipeline.validate.objects import MIN_IOU, Objects, objects, traced
from rts_pipeline.validate.windows import Scored, scored

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from rts_pipeline.config import Shaping

    Bytes = NDArray[np.uint8]
    Floats = NDArray[np.float64]
    Counts = NDArray[np.int64]
    Geometries = NDArray[np.object_]

CONFUSION = {"tp": "true_positives", "fp": "false_positives", "fn": "false_negatives", "tn": "true_negatives"}


@dataclass(frozen=True)
class Predicted:
    """The probabilities of all blocks, kept on disk: they are needed again once the settings are chosen.

    Attributes:
        folder: where they are kept.
        known: the labels.
    """

    folder: Path
    known: Known

    def keep(self, block: Block, probability: Bytes) -> None:
        """Keep the probabilities of a block, uint8 (rows, columns)."""
        write_array(self._path(block), probability)

    def look(self, block: Block) -> tuple[Ground, Bytes]:
        """Return what is known of a block, and its probabilities."""
        probability: Bytes = np.load(self._path(block))
        return self.known.ground(block, probability), probability

    def _path(self, block: Block) -> Path:
        return self.folder / f"{block.box.id}.npy"


@dataclass(frozen=True)
class Judged:
    """What a block says: its row of blocks.parquet, its pixels by class and level, its windows, and the outlines there."""

    row: dict[str, Any]
    counts: Counts
    windows: list[Scored]
    outlines: Geometries


def judge(block: Block, predicted: Predicted, choice: Choice, shaping: Shaping) -> Judged:
    """Judge a block at the settings that were chosen."""
    ground, probability = predicted.look(block)
    pieces = traced(ground, probability, choice.threshold)
    here = objects(pieces, ground, probability, choice.hole_m2, shaping).at(choice.seed_threshold, choice.min_area_m2)
    counts = count_pixels(probability, ground.classes)
    pixels = pixels_at(counts, level_of(choice.threshold))
    confusion = {f"px_{short}": pixels[name] for short, name in CONFUSION.items()}
    row = {"block": f"s_{block.box.id}", "split": block.split, **_objects(here, ground), **confusion}
    inside = np.zeros(ground.box.shape, np.uint8)
    if len(here.whole):
        rasterize(here.whole, out=inside, transform=ground.box.transform)
    return Judged(row, counts, scored(block.windows, block.box, inside > 0, ground.classes), here.whole)


def _objects(here: Objects, ground: Ground) -> dict[str, Any]:
    """Return the counts of a block's objects, those of the size classes at an IoU of 0.5."""
    matchings = {iou: match_geometries(here.judged, ground.slumps, iou) for iou in IOUS}
    matching = matchings[MIN_IOU]
    apart = boundary_distance_m(here.judged[matching.predicted], ground.slumps[matching.truth], ground.box.pixel_m)
    sizes = recall_by_size(matching, ground.slump_areas_m2)
    return {
        "n_truth": matching.n_truth,
        "n_predicted": matching.n_predicted,
        **{found_column(iou): len(found.iou) for iou, found in matchings.items()},
        **{f"size_{name}_{what}": sizes[name][what] for name in sizes for what in ("n", "found")},
        "boundary_m": float(np.mean(apart)) if len(apart) else np.nan,
    }


def summary(blocks: pd.DataFrame, counts: Counts) -> dict[str, Any]:
    """Return the figures of a split, each as {value, low, high}: pooled, with its interval over the blocks.

    Args:
        blocks: its rows of blocks.parquet.
        counts: pixels by block, class and level, shape (blocks, 2, LEVELS).
    """
    found = blocks[found_column(MIN_IOU)].to_numpy()
    apart = np.column_stack([np.where(found > 0, blocks["boundary_m"] * found, 0.0), found])
    pixels = counts.reshape(len(counts), -1)
    return {
        **summarise(blocks),
        "pr_auc": figure(pixels, _of_levels(average_precision)),
        "calibration_error": figure(pixels, _of_levels(expected_calibration_error)),
        "boundary_m": figure(apart, lambda sums: sums[:, 0] / sums[:, 1]),
    }


def _of_levels(score: Callable[[Any], float | None]) -> Callable[[Floats], Floats]:
    """Return a score of pixel counts as a score of many rows of them; NaN where it is undefined."""

    def of_all(sums: Floats) -> Floats:
        values = [score(one.astype(np.int64).reshape(2, LEVELS)) for one in sums]
        return np.array([np.nan if value is None else value for value in values])

    return of_all
