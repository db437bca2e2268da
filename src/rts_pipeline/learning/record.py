"""What is written down about a training: progress, metrics of each epoch, curves."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pandas as pd
from lightning.pytorch import Callback, LightningModule, Trainer

from rts_pipeline import io, progress

COLUMNS = ["epoch", "step", "train_loss", "val_loss", "val_precision", "val_recall", "val_f1", "val_iou", "rate", "seconds"]


class Record(Callback):
    """Shows how far the training is and writes a row to `metrics.csv` after each epoch."""

    def __init__(self, path: Path, steps: int) -> None:
        """Write to `path`; the training has `steps` steps."""
        self.path = path
        self.rows: list[dict[str, float]] = []
        self._bar = progress.track(range(steps), steps, "train", "steps")
        self._start = time.monotonic()

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, *rest: Any) -> None:
        """Move the bar."""
        next(self._bar)

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Write the epoch's row."""
        values = {name: float(trainer.callback_metrics[name]) for name in COLUMNS if name in trainer.callback_metrics}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        passed = {"rate": rate, "seconds": time.monotonic() - self._start}
        self.rows.append({"epoch": trainer.current_epoch + 1, "step": trainer.global_step, **values, **passed})
        io.write_text(self.path, self.frame().to_csv(index=False, float_format="%.6g"))

    def teardown(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Finish the bar."""
        next(self._bar, None)

    def frame(self) -> pd.DataFrame:
        """Return a row for each epoch."""
        return pd.DataFrame(self.rows, columns=COLUMNS)


def write_curves(path: Path, frame: pd.DataFrame) -> None:
    """Draw losses and validation scores over the steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, label in (("train_loss", "training"), ("val_loss", "validation")):
        left.plot(frame.step, frame[name], marker=".", label=label)
    for name, label in (("val_f1", "F1"), ("val_iou", "IoU")):
        right.plot(frame.step, frame[name], marker=".", label=label)
    left.set(xlabel="step", ylabel="loss")
    right.set(xlabel="step", ylabel="pixels of the validation blocks", ylim=(0, 1))
    for axes in (left, right):
        axes.legend(frameon=False)
        axes.grid(alpha=0.3)
    with io.atomic(path) as temporary:
        figure.savefig(temporary, dpi=120, metadata={"Software": None})
