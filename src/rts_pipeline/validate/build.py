"""Stage validate: the network judged on whole spatial blocks, on the way that makes the inventory, and without torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio

from rts_pipeline.cells import Mosaics
from rts_pipeline.config import Inference, Predict
from rts_pipeline.drawing import save
from rts_pipeline.engines import open_engine
from rts_pipeline.io.files import scratch_folder
from rts_pipeline.io.json import write_json
from rts_pipeline.io.rasters import GDAL_OPTIONS
from rts_pipeline.io.tables import write_parquet
from rts_pipeline.lattice import Engine, probabilities
from rts_pipeline.model_folder import model_facts, weights_sha256
from rts_pipeline.options import ValidateOptions
from rts_pipeline.progress import track
from rts_pipeline.validate.choice import Choice, choose
from rts_pipeline.validate.figures import CLASSES, draw
from rts_pipeline.validate.ground import JUDGED, Block, Known, blocks_of
from rts_pipeline.validate.judge import Judged, Predicted, judge, summary
from rts_pipeline.validate.objects import Tally, tally
from rts_pipeline.validate.quantised import quantisation_loss
from rts_pipeline.validate.windows import TRUE_COLOUR, Drawn, Scored, worst_and_best, write_windows


def validate(
    chips: Path,
    labels: Path,
    mosaics: Sequence[Path],
    model: Path,
    out: Path,
    options: ValidateOptions,
    where: Inference,
) -> None:
    """Judge the network of a round; choose thresholds, smallest outline and hole size on the validation blocks.

    Args:
        chips: table of windows; those of the splits "validation" and "test" are judged, the choice never sees the latter.
        labels: labels of the round.
        mosaics: mosaics of the cells that the windows lie in.
        model: folder with model.json, network.onnx and, for a GPU, weights.pt.
        out: folder for blocks.parquet, reliability.png, precision_recall.png, windows.png and, last, validation.json.
        options: the stage's options.
        where: the device that predicts.

    Raises:
        InputError: files of the model that are missing or were changed; a mosaic or a table that can't be used; no
            validation window.
        UsageError: a GPU that isn't there.
    """
    grid, facts = options.grid.grid(), model_facts(model)
    weights = weights_sha256(model, facts)
    blocks, known = blocks_of(chips, options), Known(labels, grid)

    def apply(setting: Predict, folder: Path) -> Predicted:
        predicted = Predicted(folder, known)
        engine = open_engine(model, facts, setting, where)
        with rasterio.Env(**GDAL_OPTIONS), Mosaics(mosaics, grid, facts["bands"], engine.readers) as reader:
            reader.check()
            _predict(blocks, predicted, reader, engine, setting)
        return predicted

    with scratch_folder(out / "predicted") as scratch:
        predicted = apply(options.predict, scratch)
        choice = _choose(blocks, predicted, options)
        judged = [judge(block, predicted, choice, options.polygonize) for block in blocks]
        loss = {}
        if options.predict.precision == "int8":
            (scratch / "exact").mkdir()
            exact = apply(options.predict.model_copy(update={"precision": "auto"}), scratch / "exact")
            loss["int8"] = quantisation_loss(blocks, predicted, exact, choice, options)
        with Mosaics(mosaics, grid, TRUE_COLOUR) as reader:
            _write_windows(out / "windows.png", dict(zip(blocks, judged, strict=True)), predicted, reader)
    table, counts = pd.DataFrame([one.row for one in judged]), np.stack([one.counts for one in judged])
    splits = {name: (table["split"] == name).to_numpy() for name in JUDGED}
    write_parquet(out / "blocks.parquet", table)
    pixels = counts[splits["validation"]].sum(axis=0).tolist()
    summaries = {name: summary(table[rows], counts[rows]) if rows.any() else None for name, rows in splits.items()}
    origin = {"weights_sha256": weights, "temperature": facts.get("temperature")}
    said = {**_said(choice, options.choice.recall), **origin, **loss, **summaries}
    said["validation_pixels"] = dict(zip(CLASSES, pixels, strict=True))
    for name, figure in draw(said).items():
        save(figure, out / f"{name}.png")
    write_json(out / "validation.json", said)


def _predict(blocks: Sequence[Block], predicted: Predicted, reader: Mosaics, engine: Engine, setting: Predict) -> None:
    for block in track(blocks, len(blocks), "validate: predict", "blocks"):
        whole = np.empty(block.box.shape, np.uint8)
        for part, values in probabilities(block.box, reader, engine, setting):
            whole[block.box.slices_of(part)] = values
        predicted.keep(block, whole)


def _choose(blocks: Sequence[Block], predicted: Predicted, options: ValidateOptions) -> Choice:
    """Choose on the validation blocks, and say on stderr what is wrong with the choice."""
    recall = options.choice.recall
    blocks = [block for block in blocks if block.split == "validation"]
    total = Tally.none()
    for block in track(blocks, len(blocks), "validate: compare settings", "blocks"):
        total += tally(*predicted.look(block), options.polygonize)
    choice = choose(total, recall)
    most = total.n_found.max() / max(total.n_truth, 1)
    if not total.n_truth:
        print("validate: no slump lies in judged ground of the validation blocks; the choice is a guess", file=sys.stderr)
    elif not most:
        problem = f"no setting finds any of the {total.n_truth} slumps of the validation blocks; the choice is a guess"
        print(f"validate: {problem}", file=sys.stderr)
    elif recall is not None and not choice.recall_reached:
        problem = f"no setting finds {recall:.1%} of the slumps of the validation blocks (choice.recall)"
        print(f"validate: {problem}; the one that finds most, {most:.1%}, is taken", file=sys.stderr)
    return choice


def _said(choice: Choice, recall: float | None) -> dict[str, Any]:
    return {
        "threshold": choice.threshold,
        "seed_threshold": choice.seed_threshold,
        "min_area_m2": choice.min_area_m2,
        "hole_m2": choice.hole_m2,
        "recall_wanted": recall,
        "recall_reached": choice.recall_reached,
        "thresholds": choice.curve,
    }


def _write_windows(path: Path, judged: dict[Block, Judged], predicted: Predicted, reader: Mosaics) -> None:
    """Draw the worst and the best validation windows."""
    owner = {window: block for block, one in judged.items() for window in one.windows if block.split == "validation"}

    def drawn(window: Scored) -> tuple[Scored, Drawn]:
        block = owner[window]
        ground, _ = predicted.look(block)
        unjudged = ground.classes[block.box.slices_of(window.box)] > 1
        return window, Drawn(predicted.known.near(window.box), judged[block].outlines, unjudged)

    worst, best = worst_and_best(list(owner))
    rows = {"Worst": [drawn(window) for window in worst], "Best": [drawn(window) for window in best]}
    write_windows(path, {title: row for title, row in rows.items() if row}, reader)
