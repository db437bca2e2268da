"""Stage `train`: a network from the windows of a round, with everything needed to apply and to judge it."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from rts_pipeline import io, machine
from rts_pipeline.cells import Mosaics
from rts_pipeline.config import Train
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.grid import GeoBox, Grid
from rts_pipeline.learning import datasets, network, record, validation
from rts_pipeline.learning.datamodule import ChipModule, Normalisation
from rts_pipeline.learning.task import SlumpTask
from rts_pipeline.options import TrainOptions

NORMALISATION_WINDOWS = 200
PACKAGES = ("rts-pipeline", "torch", "torchgeo", "lightning", "segmentation-models-pytorch", "kornia", "openvino")


def train(
    chips: Path,
    labels: Path,
    mosaics: Sequence[Path],
    out: Path,
    options: TrainOptions,
    *,
    previous: Path | None = None,
    round: str,
) -> None:
    """Train the network of a round.

    Args:
        chips: table of windows.
        labels: labels of the round.
        mosaics: mosaics of the cells that the windows lie in.
        out: folder for weights.pt, network.onnx, metrics.csv, curves.png and, last, model.json.
        options: the stage's options.
        previous: model folder of the round before, to start from.
        round: name of the round ("01").

    Raises:
        InputError: a mosaic that can't be read, or weights that don't fit.
        UsageError: an unknown architecture or encoder, no GPU where one is asked for, or a loss that is not a number.
    """
    setting, grid = options.train, options.grid.grid()
    table = io.read_geoparquet(chips)
    parent = None if previous is None or not setting.warm_start else _parent(previous, setting)
    with Mosaics(mosaics, grid, setting.bands) as reader:
        reader.check()
        # Weights that are kept expect the values that they were trained on.
        normalisation = Normalisation(**parent["normalisation"]) if parent else _normalisation(table, reader, grid)
        example = reader.read(_box(table.iloc[0], grid))[None].astype(np.float32)
    with _quiet(), _scratch(out) as scratch:
        torch.set_num_threads(machine.threads())
        seed_everything(setting.seed, verbose=False)
        data = _data(table, labels, mosaics, options, normalisation)
        task = _task(setting, warm=parent is not None)
        if parent is not None and previous is not None:
            network.load_weights(task.model, previous / "weights.pt", "train.warm_start")
        elif setting.weights is not None:
            network.load_weights(task.model.encoder, Path(setting.weights), "train.weights")
        history = _fit(task, data, setting, out, scratch)
        judged = _judge(task, data, setting, grid, scratch)
        facts = {**judged, "normalisation": vars(normalisation), "round": round, "n_chips": _numbers(table)}
        facts["parent_sha256"] = parent["sha256"]["weights.pt"] if parent else None
        _save(task, example, facts, setting, history, out)


def _parent(previous: Path, setting: Train) -> Any:
    parent = io.read_json(previous / "model.json")
    for key in ("bands", "architecture", "encoder"):
        if parent[key] != getattr(setting, key):
            raise InputError(
                previous / "model.json",
                f"the last round's {key} is {parent[key]}",
                expected=f"{getattr(setting, key)} as in train.{key}",
                do="keep it for all rounds, or set train.warm_start to false",
            )
    return parent


def _box(chip: Any, grid: Grid) -> GeoBox:
    return GeoBox(chip.chip_id, grid.crs, grid.pixel_m, int(chip.column), int(chip.row), int(chip.size_px), int(chip.size_px))


def _normalisation(table: gpd.GeoDataFrame, reader: Mosaics, grid: Grid) -> Normalisation:
    """Measure the observed pixels of evenly chosen training windows."""
    rows = table[table.split == "train"]
    rows = rows.iloc[:: max(1, len(rows) // NORMALISATION_WINDOWS)]
    number, total, squares = 0, np.zeros(len(reader.bands)), np.zeros(len(reader.bands))
    for chip in rows.itertuples():
        pixels = reader.read(_box(chip, grid))
        values = pixels[:, pixels.any(axis=0)].astype(np.float64)
        number += values.shape[1]
        total += values.sum(axis=1)
        squares += (values**2).sum(axis=1)
    mean = total / max(number, 1)
    std = np.sqrt(np.maximum(squares / max(number, 1) - mean**2, 1.0))
    return Normalisation([float(np.round(value, 3)) for value in mean], [float(np.round(value, 3)) for value in std])


def _data(
    table: gpd.GeoDataFrame, labels: Path, mosaics: Sequence[Path], options: TrainOptions, normalisation: Normalisation
) -> ChipModule:
    setting = options.train
    dataset = datasets.open_datasets(mosaics, labels, options.grid.grid(), setting.bands, options.labels.boundary_ignore_m)
    frame = io.read_geoparquet(labels).to_crs(table.crs)
    in_training = table.split == "train"
    table = table.assign(weight=0.0)
    table.loc[in_training, "weight"] = datasets.weights(table[in_training], frame.geometry[frame.kind == "positive"])
    return ChipModule(
        dataset,
        table,
        normalisation,
        batch_size=setting.batch_size,
        steps=setting.steps_per_epoch,
        workers=setting.workers,
        seed=setting.seed,
    )


def _task(setting: Train, *, warm: bool) -> SlumpTask:
    task = SlumpTask(
        architecture=setting.architecture,
        encoder=setting.encoder,
        bands=len(setting.bands),
        loss=setting.loss,
        lr=setting.learning_rate,
        weight_decay=setting.weight_decay,
        steps=_epochs(setting, warm=warm) * setting.steps_per_epoch,
    )
    return task.to(memory_format=torch.channels_last, device=_device(setting))


def _epochs(setting: Train, *, warm: bool) -> int:
    return setting.warm_epochs if warm else setting.epochs


def _device(setting: Train) -> torch.device:
    if setting.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("train.device", "'cuda', but torch sees no GPU", do="set it to 'auto' or 'cpu'")
    return torch.device("cuda" if setting.device != "cpu" and torch.cuda.is_available() else "cpu")


def _bf16(setting: Train) -> bool:
    fast = _device(setting).type == "cuda" or machine.has_bf16()
    return setting.precision == "bf16" or (setting.precision == "auto" and fast)


def _fit(task: SlumpTask, data: ChipModule, setting: Train, out: Path, scratch: Path) -> record.Record:
    """Train, and leave the weights of the best epoch in the task."""
    history = record.Record(out / "metrics.csv", task.steps)
    best = ModelCheckpoint(scratch, monitor="val_f1", mode="max", save_weights_only=True)
    trainer = Trainer(
        accelerator="gpu" if _device(setting).type == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed" if _bf16(setting) else "32-true",
        max_epochs=task.steps // setting.steps_per_epoch,
        callbacks=[history, best],
        default_root_dir=scratch,
        logger=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=1.0,
    )
    trainer.fit(task, data)
    task.load_state_dict(torch.load(best.best_model_path, map_location="cpu", weights_only=True)["state_dict"])
    task.to(_device(setting))
    return history


def _judge(task: SlumpTask, data: ChipModule, setting: Train, grid: Grid, scratch: Path) -> dict[str, Any]:
    """Return temperature, threshold, minimum area and the scores on all validation windows."""
    autocast = torch.autocast(_device(setting).type, torch.bfloat16, enabled=_bf16(setting))
    logits, targets = validation.validation_logits(task.model, data, autocast, scratch)
    chips = data.chips[data.chips.split == "validation"]
    warmth = validation.temperature(logits, targets)
    choice = validation.choose(logits, targets, chips, warmth, grid.pixel_m)
    level = warmth * np.log(choice.threshold / (1 - choice.threshold))
    return {
        "temperature": warmth,
        "threshold": choice.threshold,
        "min_area_m2": choice.min_area_m2,
        "metrics": {"objects": choice.scores, "pixels": validation.pixels(logits, targets, level)},
    }


def _numbers(table: gpd.GeoDataFrame) -> dict[str, dict[str, int]]:
    counts = table.groupby(["split", "kind"]).size()
    return {split: {kind: int(n) for (_, kind), n in group.items()} for split, group in counts.groupby(level=0)}


def _save(
    task: SlumpTask, example: np.ndarray, facts: dict[str, Any], setting: Train, history: record.Record, out: Path
) -> None:
    """Write weights, exported network and curves, and last the model's facts with their checksums."""
    model = task.model.cpu().eval()
    record.write_curves(out / "curves.png", history.frame())
    network.save_weights(model, out / "weights.pt")
    mean, std = (torch.tensor(facts["normalisation"][name]) for name in ("mean", "std"))
    network.export_onnx(network.Exported(model, mean, std, facts["temperature"]), example, out / "network.onnx")
    facts |= {name: getattr(setting, name) for name in ("bands", "architecture", "encoder", "seed")}
    facts["versions"] = {name: version(name) for name in PACKAGES}
    facts["sha256"] = {name: io.sha256_file(out / name) for name in ("weights.pt", "network.onnx")}
    io.write_json(out / "model.json", facts)


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """Give a folder inside `out` for checkpoints, removed at the end."""
    folder = out / ".tmp-training"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' advice away from the user: our own progress, errors and metrics say what matters."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
