"""The training of one member: on one device or several, resumed where it was interrupted, with fewer windows at a time
where a GPU's memory is short."""

from __future__ import annotations

import gc
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, Timer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch.multiprocessing import ProcessRaisedException

from rts_pipeline import machine
from rts_pipeline.config import Learning, Placement
from rts_pipeline.errors import UsageError, error_of
from rts_pipeline.learning.datamodule import ChipModule
from rts_pipeline.learning.network import save
from rts_pipeline.learning.record import Record
from rts_pipeline.learning.task import SlumpTask
from rts_pipeline.learning.weights import NO_TORCH_FILE

FEWEST = 2
"""Windows at a time: batch normalisation needs two."""


@dataclass(frozen=True)
class Device:
    """Where a training runs, and in what arithmetic."""

    kind: str
    number: int
    bf16: bool

    @classmethod
    def of(cls, placement: Placement, precision: str) -> Device:
        """Choose.

        Raises:
            UsageError: GPUs are asked for that torch doesn't see.
        """
        gpus = torch.cuda.device_count() if placement.device != "cpu" else 0
        if placement.device == "cuda" and gpus < placement.devices:
            raise UsageError(
                "train.device", f"{placement.devices} x 'cuda', but torch sees {gpus} GPUs", do="set it to 'auto' or 'cpu'"
            )
        kind = "cuda" if gpus else "cpu"
        number = min(placement.devices, gpus) if gpus else placement.devices
        fast = kind == "cuda" or machine.has_bf16()
        return cls(kind, number, precision == "bf16" or (precision == "auto" and fast))


class Checkpoints(TorchCheckpointIO):
    """Writes checkpoints as all other files are written: a training that is killed leaves the last whole one.

    Lightning's own copies them from the folder of temporary files, which often lies in another file system.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint to `path`."""
        save(checkpoint, Path(path))


class Best(ModelCheckpoint):
    """Keeps the best epoch's weights, also where the folder has another path than when the training was interrupted."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up again which epoch is the best: Lightning forgets that of another path."""
        super().load_state_dict({**state_dict, "dirpath": self.dirpath})


class Patience(EarlyStopping):
    """Ends a training also where it was interrupted after that had been decided."""

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Decide again."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class EndAtOnce(Callback):
    """Lets SIGTERM end a training as it ends any program: Lightning would end it at leisure, and as if all were done."""

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Take Lightning's answer to the signal away, and give the one that it may have swallowed so far."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if trainer.received_sigterm:
            signal.raise_signal(signal.SIGTERM)


def fit(
    make_task: Callable[[], SlumpTask], data: ChipModule, setting: Learning, device: Device, record: Record, folder: Path
) -> tuple[SlumpTask, int]:
    """Train, and return the task with the weights of its best epoch, and how many windows went at a time on each device.

    Args:
        make_task: gives the task with its first weights; called after the seed is set.
        data: the windows.
        setting: how to learn.
        device: where.
        record: what is written down.
        folder: for checkpoints: a training that was killed goes on from the last one.

    Raises:
        UsageError: a loss that is not a number, a batch that can't be shared, or too little memory for two windows.
    """
    share, rest = divmod(setting.batch_size, device.number)
    if rest or share < FEWEST:
        raise UsageError(
            "train.batch_size",
            f"{setting.batch_size} windows can't be shared by {device.number} devices",
            expected=f"a multiple of {device.number} with at least {FEWEST} for each",
        )
    # an interrupted training's folder says how many fitted into memory; it may have run on another number of devices
    most = min((int(path.name) for path in folder.glob("[0-9]*")), default=share)
    at_once = next(_at_once(share, most), share)
    while True:
        seed_everything(data.seed, verbose=False)
        task = make_task()
        try:
            _run(task, data, setting, device, record, folder / str(most), accumulate=share // at_once)
            return task, at_once
        except (RuntimeError, ProcessRaisedException) as error:
            if not _out_of_memory(error):
                raise _told(error) from None
        # outside of the handler: the traceback holds the tensors
        most = at_once = _fewer(share, at_once, data)
        record.rows.clear()
        shutil.rmtree(folder, ignore_errors=True)
        del task
        gc.collect()
        torch.cuda.empty_cache()


def _run(
    task: SlumpTask, data: ChipModule, setting: Learning, device: Device, record: Record, folder: Path, *, accumulate: int
) -> None:
    last = _last(folder, record.member)
    folder.mkdir(parents=True, exist_ok=True)
    data.at_once = setting.batch_size // (device.number * accumulate)
    best = Best(
        folder, filename="best", monitor="val_f1", mode="max", save_on_train_epoch_end=True, enable_version_counter=False
    )
    # by itself, after the best: Lightning's own save_last leaves out epochs that aren't the best
    each = ModelCheckpoint(folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
    trainer = Trainer(
        accelerator="gpu" if device.kind == "cuda" else "cpu",
        devices=device.number,
        strategy="ddp_spawn" if device.number > 1 else "auto",
        sync_batchnorm=device.number > 1 and device.kind == "cuda",
        accumulate_grad_batches=accumulate,
        precision="bf16-mixed" if device.bf16 else "32-true",
        max_epochs=task.steps // setting.steps_per_epoch,
        callbacks=[EndAtOnce(), record, *_limits(setting), best, each],
        default_root_dir=folder,
        # in a job of SLURM Lightning takes the job's tasks for its own processes, which we start ourselves
        plugins=[Checkpoints(), LightningEnvironment()],
        logger=TensorBoardLogger(record.path.parent, name="tensorboard", version=f"member_{record.member}"),
        log_every_n_steps=10,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=1.0,
    )
    trainer.fit(task, data, ckpt_path=last, weights_only=False)
    task.load_state_dict(torch.load(folder / "best.ckpt", map_location="cpu", weights_only=False)["state_dict"])


def _last(folder: Path, member: int) -> Path | None:
    """Return the checkpoint that a training goes on from, and say so; None: there is none, or one of them is damaged.

    What a damaged one lies among is removed.
    """
    last = folder / "last.ckpt"
    if not last.exists():
        return None
    for path in (last, folder / "best.ckpt"):
        try:
            torch.load(path, map_location="cpu", mmap=True, weights_only=False)
        except (FileNotFoundError, *NO_TORCH_FILE) as error:
            reason = " ".join(str(error).splitlines()[:1])
            print(f"train: member {member} starts anew: {path} is damaged ({reason})", file=sys.stderr)
            shutil.rmtree(folder)
            return None
    print(f"train: member {member} goes on from its last epoch", file=sys.stderr)
    return last


def _limits(setting: Learning) -> list[Callback]:
    limits: list[Callback] = []
    if setting.patience is not None:
        limits.append(Patience("val_f1", mode="max", patience=setting.patience, check_on_train_epoch_end=True))
    if setting.max_minutes is not None:
        limits.append(Timer(timedelta(minutes=setting.max_minutes), interval="epoch", verbose=False))
    return limits


def _told(error: Exception) -> Exception:
    # several devices are processes of their own, which hand their errors over as text
    return (error_of(str(error)) if isinstance(error, ProcessRaisedException) else None) or error


def _out_of_memory(error: Exception) -> bool:
    told = isinstance(error, ProcessRaisedException) and "OutOfMemoryError" in str(error)
    return told or isinstance(error, torch.OutOfMemoryError)


def _at_once(share: int, most: int) -> Iterator[int]:
    """Give the numbers of windows at a time, at most so many, that make up a device's share of a step; the largest first."""
    return (number for number in range(min(share, most), FEWEST - 1, -1) if share % number == 0)


def _fewer(share: int, at_once: int, data: ChipModule) -> int:
    smaller = next(_at_once(share, at_once // 2), None)
    if smaller is None:
        raise UsageError(
            "train.batch_size",
            f"the GPU's memory is too small for {at_once} windows of {int(data.chips.size_px.iloc[0])} px at a time",
            do="lower chips.size_px, choose a smaller train.encoder, or train on another GPU",
        )
    print(f"train: out of memory with {at_once} windows at a time; trying {smaller}", file=sys.stderr)
    return smaller
