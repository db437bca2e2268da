"""Stage validate: the network judged on whole spatial blocks, on the way that makes the inventory, and without torch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rasterio.features import rasterize

from rts_pipeline.cells import Mosaics
from rts_pipeline.errors import InputError
from rts_pipeline.io import scratch_folder, write_json, write_parquet
from rts_pipeline.metrics.bootstrap import interval
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
from rts_pipeline.metrics.summary import summarise
from rts_pipeline.options import ValidateOptions
from rts_pipeline.predict import Engine, model_facts, probabilities
from rts_pipeline.progress import track
from rts_pipeline.validate.choice import Choice, choose
from rts_pipeline.validate.figures import write_precision_recall, write_reliability
from rts_pipeline.validate.ground import Block, Ground, Known, blocks_of
from rts_pipeline.validate.objects import MIN_IOU, Objects, Tally, objects, tally, traced
from rts_pipeline.validate.windows import TRUE_COLOUR, Drawn, Scored, scored, worst_and_best, write_windows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]


def validate(chips: Path, labels: Path, mosaics: Sequence[Path], model: Path, out: Path, options: ValidateOptions) -> None:
    """Judge the network of a round; choose threshold, smallest outline and hole size on the validation blocks.

    Args:
        chips: table of windows; those of the splits "validation" and "test" are judged, the choice never sees the latter.
        labels: labels of the round.
        mosaics: mosaics of the cells that the windows lie in.
        model: folder with model.json and network.onnx.
        out: folder for blocks.parquet, reliability.png, precision_recall.png, windows.png and, last, validation.json.
        options: the stage's options.

    Raises:
        InputError: files of the model that are missing or were changed; a mosaic or a table that can't be used; no
            validation window.
    """
    facts = model_facts(model)
    if "weights.pt" not in facts["sha256"]:
        raise InputError(model / "model.json", "names no sha256 of weights.pt", do="train the round again")
    blocks, known = blocks_of(chips, options), Known(labels, options.grid.grid())
    with scratch_folder(out / ".tmp-validation") as scratch:
        kept = Kept(scratch)
        total = _predict(blocks, known, mosaics, model, facts, kept, options)
        choice = choose(total, options.choice.recall)
        _tell(choice, total, options)
        judged = [judge(block, known, kept.read(block), choice) for block in blocks]
        table = pd.DataFrame([one.row for one in judged])
        counts = np.stack([one.counts for one in judged])
        first = (table["split"] == "validation").to_numpy()
        pixels = counts[first].sum(axis=0)
        write_reliability(out / "reliability.png", pixels)
        write_precision_recall(out / "precision_recall.png", pixels, choice)
        _write_windows(out / "windows.png", blocks, judged, known, mosaics, kept, choice, options)
    write_parquet(out / "blocks.parquet", table)
    summaries = {
        split: _summary(table[mask], counts[mask]) if mask.any() else None
        for split, mask in (("validation", first), ("test", ~first))
    }
    write_json(out / "validation.json", {**_said(choice, options), **_origin(facts), **summaries})


class Kept:
    """The probabilities of all blocks, on disk: they are needed again once the threshold is chosen."""

    def __init__(self, folder: Path) -> None:
        """Keep them in an empty folder."""
        self._folder = folder

    def write(self, block: Block, probability: Bytes) -> None:
        """Keep the probabilities of a block, uint8 (rows, columns)."""
        np.save(self._folder / f"{block.box.id}.npy", probability)

    def read(self, block: Block) -> Bytes:
        """Return them."""
        values: Bytes = np.load(self._folder / f"{block.box.id}.npy")
        return values


@dataclass(frozen=True)
class Judged:
    """What a block says: its row of blocks.parquet, its pixels by class and level, and its windows."""

    row: dict[str, Any]
    counts: NDArray[np.int64]
    windows: list[Scored]


def judge(block: Block, known: Known, probability: Bytes, choice: Choice) -> Judged:
    """Judge a block at the settings that were chosen.

    Args:
        block: the block.
        known: the labels.
        probability: uint8 (rows, columns) of the block.
        choice: the settings.
    """
    ground = known.ground(block, probability)
    here = _chosen(ground, probability, choice)
    counts = count_pixels(probability, ground.classes)
    pixels = pixels_at(counts, level_of(choice.threshold))
    matchings = {iou: match_geometries(here.judged, ground.slumps, iou) for iou in IOUS}
    matching = matchings[MIN_IOU]
    apart = boundary_distance_m(here.judged[matching.predicted], ground.slumps[matching.truth], block.box.pixel_m)
    sizes = recall_by_size(matching, ground.slump_areas_m2)
    row = {
        "block": f"s_{block.box.id}",
        "split": block.split,
        "n_truth": matching.n_truth,
        "n_predicted": matching.n_predicted,
        **{f"n_found_{iou * 100:.0f}": len(found.iou) for iou, found in matchings.items()},
        **{f"px_{short}": pixels[name] for short, name in CONFUSION.items()},
        **{f"size_{name}_{what}": sizes[name][what] for name in sizes for what in ("n", "found")},
        "boundary_m": float(np.mean(apart)) if len(apart) else np.nan,
    }
    inside = np.zeros(ground.box.shape, np.uint8)
    if len(here.whole):
        rasterize(here.whole, out=inside, transform=ground.box.transform)
    return Judged(row, counts, scored(block.windows, block.box, inside > 0, ground.classes))


CONFUSION = {"tp": "true_positives", "fp": "false_positives", "fn": "false_negatives", "tn": "true_negatives"}


def _predict(
    blocks: list[Block], known: Known, mosaics: Sequence[Path], model: Path, facts: Any, kept: Kept, options: ValidateOptions
) -> Tally:
    """Keep the probabilities of all blocks and return the tally of the validation blocks."""
    setting, total = options.predict, Tally.none()
    with Mosaics(mosaics, options.grid.grid(), facts["bands"]) as reader:
        reader.check()
        engine = Engine(model / "network.onnx", len(facts["bands"]), setting)
        for block in track(blocks, len(blocks), "validate", "blocks"):
            parts = [values for _, values in probabilities(block.box, reader, engine, setting)]
            probability = np.concatenate(parts)
            kept.write(block, probability)
            if block.split == "validation":
                total += tally(known.ground(block, probability), probability)
    return total


def _chosen(ground: Ground, probability: Bytes, choice: Choice) -> Objects:
    outlines = traced(ground, probability, choice.threshold)
    return objects(outlines, ground, choice.hole_m2).from_area(choice.min_area_m2)


def _tell(choice: Choice, total: Tally, options: ValidateOptions) -> None:
    """Say on stderr what is wrong with the choice."""
    if not total.n_found.any():
        print(
            f"validate: no setting finds one of the {total.n_truth} slumps of the validation blocks;"
            f" threshold {choice.threshold:g} is a guess",
            file=sys.stderr,
        )
    elif choice.recall_reached is False:
        most = total.n_found.max() / max(total.n_truth, 1)
        print(
            f"validate: no setting finds {options.choice.recall:.0%} of the slumps of the validation blocks (choice.recall);"
            f" the one that finds most, {most:.0%}, is taken",
            file=sys.stderr,
        )


def _said(choice: Choice, options: ValidateOptions) -> dict[str, Any]:
    wanted = {"recall_wanted": options.choice.recall, "recall_reached": choice.recall_reached}
    chosen = {"threshold": choice.threshold, "min_area_m2": choice.min_area_m2, "hole_m2": choice.hole_m2}
    return {**chosen, **wanted, "thresholds": choice.curve}


def _origin(facts: Any) -> dict[str, Any]:
    return {"weights_sha256": facts["sha256"]["weights.pt"], "temperature": facts.get("temperature")}


def _summary(blocks: pd.DataFrame, counts: NDArray[np.int64]) -> dict[str, Any]:
    """Return the figures of a split.

    Args:
        blocks: its rows of blocks.parquet.
        counts: pixels by block, class and level.
    """
    found = blocks["n_found_50"].to_numpy()
    apart = np.column_stack([np.where(found > 0, blocks["boundary_m"] * found, 0.0), found])
    pixels = counts.reshape(len(counts), -1)
    by_level = {"pr_auc": average_precision, "calibration_error": expected_calibration_error}
    return {
        **summarise(blocks),
        **{name: _figure(pixels, _of_levels(score)) for name, score in by_level.items()},
        "boundary_m": _figure(apart, lambda sums: sums[:, 0] / sums[:, 1]),
    }


def _figure(counts: NDArray[Any], statistic: Callable[[Any], Any]) -> dict[str, float | None]:
    """Return a score of all blocks together with its interval."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(counts.sum(axis=0, keepdims=True))[0])
    low, high = interval(counts, statistic) or (None, None)
    return {"value": None if np.isnan(value) else value, "low": low, "high": high}


def _of_levels(score: Callable[[Any], float | None]) -> Callable[[Any], Any]:
    def of_all(sums: NDArray[Any]) -> NDArray[np.float64]:
        values = [score(one.reshape(2, LEVELS)) for one in sums]
        return np.array([np.nan if value is None else value for value in values])

    return of_all


def _write_windows(
    path: Path,
    blocks: list[Block],
    judged: list[Judged],
    known: Known,
    mosaics: Sequence[Path],
    kept: Kept,
    choice: Choice,
    options: ValidateOptions,
) -> None:
    windows = {window: block for block, one in zip(blocks, judged, strict=True) for window in one.windows}
    worst, best = worst_and_best([window for window, block in windows.items() if block.split == "validation"])

    def drawn(row: list[Scored]) -> Iterator[tuple[Scored, Drawn]]:
        for window in row:
            block = windows[window]
            probability = kept.read(block)
            ground = known.ground(block, probability)
            unjudged = ground.classes[block.box.slices_of(window.box)] > 1
            outlines = _chosen(ground, probability, choice).whole
            yield window, Drawn(known.near(window.box), outlines, unjudged)

    rows = {name: list(drawn(row)) for name, row in (("Worst", worst), ("Best", best)) if row}
    with Mosaics(mosaics, options.grid.grid(), TRUE_COLOUR) as reader:
        write_windows(path, rows, reader)
