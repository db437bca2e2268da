"""Commands of workflow/rules/learning.smk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rts_pipeline.commands.common import (
    DEFAULT_CONFIG,
    Batch,
    Code,
    ConfigFile,
    Device,
    Options,
    Out,
    Reviewed,
    Round,
    Seeds,
    placed,
    stage_options,
)
from rts_pipeline.config import Inference, Placement
from rts_pipeline.options import (
    AdoptOptions,
    ChipsOptions,
    CrossvalidateOptions,
    FoldsOptions,
    LabelsOptions,
    QuantiseOptions,
    TrainOptions,
    ValidateOptions,
)

Labels = Annotated[Path, typer.Option("--labels", help="The round's labels.parquet.")]
Windows = Annotated[Path, typer.Option("--chips", help="The round's chips.parquet.")]
Mosaics = Annotated[list[Path], typer.Argument(help="Mosaics (<cell>.tif).")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(labels)
    app.command()(chips)
    app.command()(adopt)
    app.command()(train)
    app.command()(quantise)
    app.command()(validate)
    app.command()(crossvalidate)


def labels(
    out: Out,
    seeds: Seeds = None,
    reviewed: Reviewed = None,
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Turn seeds and reviewed candidates into labels: positive, negative, ignore.

    Example: rts-pipeline labels reviews/round_01/reviewed.parquet --seeds data/seeds.gpkg --out labels.parquet
    """
    parsed = stage_options("labels", LabelsOptions, options, config, code)
    from rts_pipeline.labels import build_labels

    build_labels(seeds, reviewed or [], out, parsed)


def chips(
    mosaics: Mosaics,
    labels: Labels,
    out: Out,
    fold: Annotated[int | None, typer.Option(help="Fold of cross-validation (from 0) whose blocks are the test.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Choose the windows for training, validation and test, split by spatial block.

    Example: rts-pipeline chips results/mosaic/e0079_n0628.tif --labels labels.parquet --out chips.parquet
    """
    parsed = stage_options("chips", ChipsOptions if fold is None else FoldsOptions, options, config, code)
    from rts_pipeline.chips import Fold, build_chips

    part = Fold(fold, parsed.chips.folds) if fold is not None and isinstance(parsed, FoldsOptions) else None
    build_chips(labels, mosaics, out, parsed, part)


def adopt(
    source: Annotated[Path, typer.Argument(help="Folder of a round of another project (results/rounds/04).")],
    out: Out,
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Take another project's network and thresholds for the first round, instead of training (rounds.adopt).

    Example: rts-pipeline adopt ../corridor/results/rounds/04 --out results/rounds/01
    """
    parsed = stage_options("adopt", AdoptOptions, options, config, code)
    from rts_pipeline.adopt import adopt

    adopt(source, out, parsed)


def train(
    round: Round,
    mosaics: Mosaics,
    chips: Windows,
    labels: Labels,
    out: Out,
    previous: Annotated[Path | None, typer.Option(help="Model folder of the round to start from.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    devices: Annotated[int, typer.Option(help="GPUs (or, on a CPU, processes) that share each step's windows.")] = 1,
    workers: Annotated[int, typer.Option(help="Processes that read windows, for each device.")] = 2,
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Train the network of a round, calibrate and export it; an interrupted training goes on from its last epoch.

    Example: rts-pipeline train 01 results/mosaic/*[0-9].tif --chips chips.parquet --labels labels.parquet --out model
    """
    parsed = stage_options("train", TrainOptions, options, config, code)
    placement = placed("train", Placement, device=device, devices=devices, workers=workers)
    from rts_pipeline.learning.train import train

    train(chips, labels, mosaics, out, parsed, placement, previous=previous, round=round)


def quantise(
    mosaics: Mosaics,
    model: Annotated[Path, typer.Option(help="The round's model folder, which gets the network in int8.")],
    chips: Windows,
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Add the network in int8 to a model, for predict.precision: int8.

    Example: rts-pipeline quantise results/mosaic/*[0-9].tif --model model --chips chips.parquet
    """
    parsed = stage_options("quantise", QuantiseOptions, options, config, code)
    from rts_pipeline.quantise import quantise

    quantise(chips, mosaics, model, parsed)


def validate(
    mosaics: Mosaics,
    model: Annotated[Path, typer.Option(help="The round's model folder.")],
    chips: Windows,
    labels: Labels,
    out: Out,
    device: Device = "auto",
    batch_size: Batch = 16,
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Judge the network on the blocks kept for it; choose threshold, smallest outline and hole size there.

    Example: rts-pipeline validate results/mosaic/*[0-9].tif --model model --chips chips.parquet --labels labels.parquet
    --out validation
    """
    parsed = stage_options("validate", ValidateOptions, options, config, code)
    where = placed("predict", Inference, device=device, batch_size=batch_size)
    from rts_pipeline.validate.build import validate

    validate(chips, labels, mosaics, model, out, parsed, where)


def crossvalidate(
    folds: Annotated[list[Path], typer.Argument(help="blocks.parquet of each fold's validation, fold 0 first.")],
    out: Out,
    out_figure: Annotated[Path, typer.Option(help="PNG of the figures.")],
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Unite what the folds' networks found in blocks that they never saw, as figures with intervals.

    Example: rts-pipeline crossvalidate folds/*/validation/blocks.parquet --out crossvalidation.json
    --out-figure crossvalidation.png
    """
    stage_options("crossvalidate", CrossvalidateOptions, options, config, code)
    from rts_pipeline.crossvalidate import crossvalidate

    crossvalidate(folds, out, out_figure)
