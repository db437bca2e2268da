"""Stage `train`: a network from the windows of a round, with everything needed to apply it."""

from __future__ import annotations

import logging
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import torch

from rts_pipeline import machine, stages
from rts_pipeline.cells import Mosaics
from rts_pipeline.config import Learning, Placement
from rts_pipeline.grid import GeoBox, Grid
from rts_pipeline.io.files import sha256_file
from rts_pipeline.io.json import read_json, sha256_json, write_json
from rts_pipeline.io.tables import read_geoparquet
from rts_pipeline.learning import datasets, network, record, weights
from rts_pipeline.learning.augment import Radiometric
from rts_pipeline.learning.calibrate import calibrate
from rts_pipeline.learning.datamodule import ChipModule
from rts_pipeline.learning.fit import Device, fit
from rts_pipeline.learning.ground import ground_of, seen_before
from rts_pipeline.learning.inputs import Inputs, Normalisation, ndvi
from rts_pipeline.learning.task import SlumpTask
from rts_pipeline.model_folder import KIND, check_kind, model_facts
from rts_pipeline.options import TrainOptions

NORMALISATION_WINDOWS = 200
PACKAGES = ("rts-pipeline", "torch", "torchgeo", "lightning", "segmentation-models-pytorch", "kornia", "openvino")


def train(
    chips: Path,
    labels: Path,
    mosaics: Sequence[Path],
    out: Path,
    options: TrainOptions,
    placement: Placement,
    *,
    previous: Path | None = None,
    round: str,
) -> None:
    """Train the network of a round.

    A training that was killed goes on from its last epoch when it is started again with the same inputs and stage version.

    Args:
        chips: table of windows.
        labels: labels of the round.
        mosaics: mosaics of the cells that the windows lie in.
        out: folder for weights.pt, network.onnx, metrics.csv, curves.png and, last, model.json; tensorboard/ has the logs.
        options: the stage's options.
        placement: where to train.
        previous: model folder of the round before, to start from, unless it learned from ground that this round is judged on.
        round: name of the round ("01").

    Raises:
        InputError: a mosaic that can't be read, or weights that don't fit.
        UsageError: an unknown architecture or encoder, no GPU where one is asked for, or a loss that is not a number.
    """
    setting, grid = options.train, options.grid.grid()
    table = read_geoparquet(chips)
    parent = None if previous is None or not setting.warm_start else _parent(previous, setting, table)
    with Mosaics(mosaics, grid, setting.bands) as reader:
        reader.check()
        # Weights that are kept expect the values that they were trained on.
        normalisation = Normalisation(**parent["normalisation"]) if parent else measure(table, reader, grid, ndvi=setting.ndvi)
        example = reader.read(_box(table.iloc[0], grid))[None].astype(np.float32)
    made_of = [
        stages.code("train"),
        options.model_dump_json(),
        round,
        *map(sha256_file, (chips, labels)),
        *map(_identity, mosaics),
    ]
    if parent is None and setting.weights is not None:
        made_of.append(weights.sha256(setting.weights))
    with _quiet(), _workshop(out, sha256_json([made_of, parent])) as workshop:
        torch.set_num_threads(machine.threads())
        device = Device.of(placement, setting.precision)
        data = _data(table, labels, mosaics, options, normalisation, placement.workers, workshop / "mosaics")
        start = _start(previous if parent else None, setting)
        members: list[dict[str, Any]] = []
        rows: list[dict[str, float]] = []
        for number in range(1, setting.members + 1):
            members.append(_member(number, start, data, setting, device, out, workshop, rows))
            rows = [*rows, *members[-1]["rows"]]
        # again, for a training that was interrupted after its last epoch
        record.write_metrics(out / "metrics.csv", rows)
        model = network.Ensemble([_network(setting, member["state"]) for member in members])
        facts: dict[str, Any] = {"normalisation": vars(normalisation), "round": round, "n_chips": _numbers(table)}
        facts["members"] = [member["facts"] for member in members]
        facts["parent_sha256"] = parent["sha256"]["weights.pt"] if parent else None
        facts["ground"] = ground_of(table, grid.crs, parent.get("ground", []) if parent else [])
        facts["temperature"] = _temperature(model, data, device)
        _save(model, data.inputs, example, facts, setting, out)


def _parent(previous: Path, setting: Learning, table: gpd.GeoDataFrame) -> Any:
    """Return the facts of the model to start from; None where it has seen ground that this round is judged on."""
    parent = model_facts(previous)
    check_kind(previous, parent, setting)
    if met := seen_before(table, parent.get("ground", [])):
        judged = int((table.split != "train").sum())
        print(
            f"train: starts from scratch, since {met} of {judged} windows to judge by lie on ground"
            f" that the network of {previous} learned from (it starts warm while chips.seed, block_m and fractions stay)",
            file=sys.stderr,
        )
        return None
    return parent


def _box(chip: Any, grid: Grid) -> GeoBox:
    return GeoBox(chip.chip_id, grid.crs, grid.pixel_m, int(chip.column), int(chip.row), int(chip.size_px), int(chip.size_px))


def _identity(path: Path) -> str:
    # Mosaics are large; one that was made again is a reason to begin anew even if it should be equal.
    status = path.stat()
    return f"{path.name} {status.st_size} {status.st_mtime_ns}"


def measure(table: gpd.GeoDataFrame, reader: Mosaics, grid: Grid, *, ndvi: bool) -> Normalisation:
    """Return mean and standard deviation of the observed pixels of evenly chosen training windows.

    Args:
        table: the table of chips.
        reader: the mosaics, with the bands that are used.
        grid: the grid.
        ndvi: whether to measure the NDVI too.
    """
    rows = table[table.split == "train"]
    rows = rows.iloc[:: max(1, len(rows) // NORMALISATION_WINDOWS)]
    number, total, squares = 0, np.zeros(0), np.zeros(0)
    for chip in rows.itertuples():
        pixels = reader.read(_box(chip, grid))
        values = pixels[:, pixels.any(axis=0)].astype(np.float64)
        if ndvi:
            values = np.vstack([values, _ndvi(values, reader.bands)])
        number += values.shape[1]
        total = total + values.sum(axis=1) if total.size else values.sum(axis=1)
        squares = squares + (values**2).sum(axis=1) if squares.size else (values**2).sum(axis=1)
    mean = total / max(number, 1)
    std = np.sqrt(np.maximum(squares / max(number, 1) - mean**2, 1e-6))
    return Normalisation([float(f"{value:.6g}") for value in mean], [float(f"{value:.6g}") for value in std])


def _ndvi(values: np.ndarray, bands: Sequence[str]) -> np.ndarray:
    red, nir = (torch.from_numpy(values[bands.index(name)]) for name in ("red", "nir"))
    return ndvi(red, nir).numpy()


def _data(
    table: gpd.GeoDataFrame,
    labels: Path,
    mosaics: Sequence[Path],
    options: TrainOptions,
    normalisation: Normalisation,
    workers: int,
    scratch: Path,
) -> ChipModule:
    setting, grid = options.train, options.grid.grid()
    learned, judged = (
        datasets.open_datasets(mosaics, labels, grid, setting.bands, ring, scratch=scratch)
        for ring in (options.labels.boundary_ignore_m, 0.0)
    )
    frame = read_geoparquet(labels).to_crs(table.crs)
    in_training = table.split == "train"
    table = table.assign(weight=0.0)
    table.loc[in_training, "weight"] = datasets.weights(table[in_training], frame.geometry[frame.kind == "positive"])
    return ChipModule(
        learned,
        judged,
        table,
        Inputs(setting.bands, normalisation),
        Radiometric(setting.bands, normalisation),
        batch_size=setting.batch_size,
        steps=setting.steps_per_epoch,
        workers=workers,
        seed=setting.seed,
    )


def _start(previous: Path | None, setting: Learning) -> network.Ensemble | None:
    """Return the networks of the last round, if there is one to start from."""
    if previous is None:
        return None
    ensemble = network.Ensemble([_network(setting) for _ in range(setting.members)])
    path = previous / "weights.pt"
    weights.load_weights(ensemble, weights.read_state(path, "train.warm_start"), path, "train.warm_start")
    return ensemble


def _network(setting: Learning, state: weights.State | None = None) -> torch.nn.Module:
    made = network.build_network(setting.architecture, setting.encoder, len(setting.bands) + setting.ndvi)
    if state is not None:
        made.load_state_dict(state)
    return made


def _member(
    number: int,
    start: network.Ensemble | None,
    data: ChipModule,
    setting: Learning,
    device: Device,
    out: Path,
    workshop: Path,
    before: list[dict[str, float]],
) -> dict[str, Any]:
    """Return the weights ("state"), the "facts" and the "rows" of a member: trained now, or before an interruption.

    `before` are the rows of the members before it.
    """
    done = workshop / f"member_{number}.pt"
    if done.exists():
        member: dict[str, Any] = torch.load(done, weights_only=True)
        return member
    epochs = setting.epochs if start is None else setting.warm_epochs
    data.seed = setting.seed + number - 1
    history = record.Record(out / "metrics.csv", number, epochs * setting.steps_per_epoch, before)

    def make_task() -> SlumpTask:
        task = SlumpTask(setting, steps=epochs * setting.steps_per_epoch)
        if start is not None:
            task.model.load_state_dict(start.members[number - 1].state_dict())
        elif setting.weights is not None:
            inputs = [*setting.bands, *(["ndvi"] if setting.ndvi else [])]
            weights.load_encoder(task.model.encoder, setting.weights, inputs)
        return task.to(memory_format=torch.channels_last)

    task, at_once = fit(make_task, data, setting, device, history, workshop / f"member_{number}")
    frame = pd.read_csv(out / "metrics.csv").query("member == @number")
    member = {
        "state": {name: value.cpu() for name, value in task.model.state_dict().items()},
        "facts": {"seed": data.seed, "windows_at_once": at_once, **_ending(frame, epochs, setting)},
        "rows": frame.to_dict("records"),
    }
    network.save(member, done)
    return member


def _ending(frame: pd.DataFrame, epochs: int, setting: Learning) -> dict[str, Any]:
    """Return how many epochs there were, which was the best, and why no more."""
    best = int(frame.epoch.iloc[int(frame.val_f1.argmax())])
    ended = "all epochs"
    if len(frame) < epochs:
        waited = len(frame) - best
        ended = "train.patience" if setting.patience is not None and waited >= setting.patience else "train.max_minutes"
    return {"epochs": len(frame), "best_epoch": best, "val_f1": float(frame.val_f1.max()), "ended": ended}


def _temperature(model: network.Ensemble, data: ChipModule, device: Device) -> float:
    model.to(device.kind, memory_format=torch.channels_last)
    return calibrate(model, data, torch.autocast(device.kind, torch.bfloat16, enabled=device.bf16))


def _numbers(table: gpd.GeoDataFrame) -> dict[str, dict[str, int]]:
    counts = table.groupby(["split", "kind"]).size()
    return {split: {kind: int(n) for (_, kind), n in group.items()} for split, group in counts.groupby(level=0)}


def _save(
    model: network.Ensemble, inputs: Inputs, example: np.ndarray, facts: dict[str, Any], setting: Learning, out: Path
) -> None:
    """Write weights, exported network and curves, and last the model's facts with their checksums."""
    model = model.cpu().eval()
    record.write_curves(out / "curves.png", pd.read_csv(out / "metrics.csv"))
    network.save_weights(model, out / "weights.pt")
    network.export_onnx(network.Exported(model, inputs.cpu(), facts["temperature"]), example, out / "network.onnx")
    facts |= {name: getattr(setting, name) for name in KIND if name != "members"}
    facts["versions"] = {name: version(name) for name in PACKAGES}
    facts["sha256"] = {name: sha256_file(out / name) for name in ("weights.pt", "network.onnx")}
    write_json(out / "model.json", facts)


@contextmanager
def _workshop(out: Path, made_of: str) -> Iterator[Path]:
    """Give a folder inside `out` for what an interrupted training goes on from; removed when done or in error.

    What another training left there (other inputs or options, by `made_of`) is removed first.
    """
    folder = out / ".training"
    sign = folder / "made_of.json"
    if not sign.exists() or read_json(sign) != made_of:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(out / "tensorboard", ignore_errors=True)
        folder.mkdir(parents=True)
        write_json(sign, made_of)
    yield folder
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
