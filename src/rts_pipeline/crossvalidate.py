"""Stage `crossvalidate`: what networks that never saw a block find in it, for all blocks, as figures with intervals.

Each fold trains a network from scratch and judges it on its own test blocks; together the folds test every block once, so
that the figures rest on all of the labelled country and not on the part that happened to be held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rts_pipeline.errors import InputError
from rts_pipeline.io.json import write_json
from rts_pipeline.io.tables import read_parquet
from rts_pipeline.metrics.summary import COUNTS, summarise

NEEDED = ("block", "split", *COUNTS)
NAMES = {"f1": "F1", "iou": "IoU"}


def crossvalidate(folds: Sequence[Path], out: Path, out_figure: Path) -> None:
    """Write the figures of the test blocks of all folds, pooled and for each fold.

    Args:
        folds: blocks.parquet of each fold's validation, fold 0 first: a row a spatial block with block, split and the
            counts that `summarise` reads. Rows of other splits than "test" are left out: their fold was fitted or chosen
            on them.
        out: JSON: what `summarise` returns of the pooled blocks, and `folds`, a list of the same for each fold.
        out_figure: PNG: each figure of each fold, and pooled with its 95 % interval.

    Raises:
        InputError: a table is missing, damaged, lacks a column or holds no test block, or a block is tested twice.
    """
    tables = [_test_blocks(path) for path in folds]
    _check_tested_once(folds, tables)
    pooled = pd.concat(tables, ignore_index=True)
    figures = {**summarise(pooled), "folds": [summarise(table) for table in tables]}
    _draw(figures, out_figure)
    write_json(out, figures)


def _test_blocks(path: Path) -> pd.DataFrame:
    table = read_parquet(path)
    missing = [name for name in NEEDED if name not in table.columns]
    if missing:
        raise InputError(path, f"column {missing[0]} is missing", expected="blocks.parquet of a fold's validation")
    tested = table[table.split == "test"]
    if tested.empty:
        raise InputError(
            path, f"none of its {len(table)} blocks is a test block", expected="blocks of a fold", do="remove it and run again"
        )
    return tested


def _check_tested_once(folds: Sequence[Path], tables: Sequence[pd.DataFrame]) -> None:
    tested: dict[str, Path] = {}
    for path, table in zip(folds, tables, strict=True):
        for block in table.block:
            if block in tested:
                raise InputError(
                    path,
                    f"block {block} is test here and in {tested[block]}",
                    expected="each block tested once, by one fold",
                    do="remove the folders of the folds and run snakemake crossvalidation again",
                )
            tested[block] = path


def _rows(figures: dict[str, Any]) -> dict[str, Any]:
    """Return the figures that are drawn, by label, from the top."""
    rows = {f"pixels: {NAMES.get(name, name)}": value for name, value in figures["pixels"].items()}
    for iou, scores in figures["objects"].items():
        rows |= {f"slumps, IoU > {iou}: {NAMES.get(name, name)}": value for name, value in scores.items()}
    return rows | {f"slumps, {name}: recall": size["recall"] for name, size in figures["size_classes"].items()}


def _draw(figures: dict[str, Any], path: Path) -> None:
    from rts_pipeline.drawing import MAIN, OTHER, SIZE, drawing, legend_outside, save

    pooled, folds = _rows(figures), [_rows(fold) for fold in figures["folds"]]
    with drawing(SIZE[0], 1 + 0.25 * len(pooled)) as (figure, axes):
        for place, (label, value) in enumerate(pooled.items()):
            dots = [fold[label]["value"] for fold in folds if label in fold and fold[label]["value"] is not None]
            axes.plot(dots, [place] * len(dots), "o", color=OTHER, alpha=0.6, markersize=4, label="" if place else "one fold")
            if value["low"] is not None:
                axes.plot([value["low"], value["high"]], [place, place], color=MAIN, linewidth=2, alpha=0.6)
            if value["value"] is not None:
                axes.plot(value["value"], place, "D", color=MAIN, markersize=5, label="" if place else "all blocks, 95 %")
        axes.set(yticks=range(len(pooled)), yticklabels=list(pooled), ylim=(len(pooled) - 0.5, -0.5), xlim=(-0.02, 1.02))
        axes.set_title(
            f"{figures['n_blocks']} blocks, {figures['n_blocks_with_slumps']} with slumps", fontsize="medium", loc="right"
        )
        axes.grid(axis="x", alpha=0.3)
        legend_outside(figure, "lower right")
        save(figure, path, dpi=120)
