"""What is written down about a training: progress, metrics of each epoch, curves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from lightning.pytorch import Callback, LightningModule, Trainer

from rts_pipeline import progress
from rts_pipeline.io.files import write_text

SCORES = ["train_loss", "val_loss", "val_precision", "val_recall", "val_f1", "val_iou"]
COLUMNS = ["member", "epoch", "step", *SCORES, "rate", "seconds"]


class Record(Callback):
    """Shows how far the training of a member is and writes a row to `metrics.csv` after each epoch."""

    def __init__(self, path: Path, member: int, steps: int, before: list[dict[str, float]]) -> None:
        """Write to `path`.

        Args:
            path: the file.
            member: number of the member, from 1.
            steps: optimiser steps that its training has.
            before: rows of the members before it.
        """
        self.path, self.member, self.steps, self.before = path, member, steps, before
        self.rows: list[dict[str, float]] = []
        self._bar: Iterator[int] | None = None
        self._earlier_s = 0.0

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Write the rows of an interrupted training again: there may be no epoch left to do it."""
        if trainer.is_global_zero and self.rows:
            write_metrics(self.path, [*self.before, *self.rows])

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin the bar, and the clock where an interrupted training left it."""
        self._start = time.monotonic() - self._earlier_s
        self._shown = trainer.global_step
        if trainer.is_global_zero:
            left = range(trainer.global_step, self.steps)
            self._bar = progress.track(left, len(left), f"train member {self.member}", "steps")
            next(self._bar, None)

    def on_train_batch_end(self, trainer: Trainer, *rest: Any) -> None:
        """Move the bar after each optimiser step."""
        if self._bar is not None and trainer.global_step > self._shown:
            self._shown = trainer.global_step
            next(self._bar, None)

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Write the epoch's row."""
        values = {name: float(trainer.callback_metrics[name]) for name in SCORES if name in trainer.callback_metrics}
        place = {"member": self.member, "epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        passed = {"rate": trainer.optimizers[0].param_groups[0]["lr"], "seconds": time.monotonic() - self._start}
        self.rows.append({**place, **values, **passed})
        if trainer.is_global_zero:
            write_metrics(self.path, [*self.before, *self.rows])

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, so that a resumed training's rows go on."""
        return {"rows": list(self.rows)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it up again."""
        self.rows = list(state["rows"])
        self._earlier_s = self.rows[-1]["seconds"] if self.rows else 0.0


def write_metrics(path: Path, rows: list[dict[str, float]]) -> None:
    """Write a row for each member and epoch."""
    write_text(path, pd.DataFrame(rows, columns=COLUMNS).to_csv(index=False, float_format="%.6g"))


def write_curves(path: Path, frame: pd.DataFrame) -> None:
    """Draw losses and validation scores of all members over the steps."""
    from matplotlib.figure import Figure

    from rts_pipeline.drawing import MAIN, OTHER, SIZE, save, styled

    with styled():
        figure = Figure(figsize=(SIZE[0], 5.4), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True)
        losses = {"train_loss": "training", "val_loss": "validation"}
        for axes, lines in ((upper, losses), (lower, {"val_f1": "F1", "val_iou": "IoU"})):
            for (name, label), colour in zip(lines.items(), (MAIN, OTHER), strict=True):
                for member, rows in frame.groupby("member"):
                    shown = label if member == frame.member.min() else None
                    axes.plot(rows.step, rows[name], marker=".", color=colour, alpha=0.8, label=shown)
            axes.legend()
            axes.grid(color="#e2e7ea", lw=0.7)
        upper.set(ylabel="Loss")
        lower.set(xlabel="Step", ylabel="Validation pixels", ylim=(0, 1))
        save(figure, path)
