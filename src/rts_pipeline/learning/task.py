"""The segmentation task: torchgeo's, with losses and metrics that ignore unlabelled pixels."""

from __future__ import annotations

import numpy as np
import segmentation_models_pytorch as smp
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchgeo.trainers import SemanticSegmentationTask

from rts_pipeline.config import Learning
from rts_pipeline.errors import UsageError
from rts_pipeline.learning.datasets import IGNORE
from rts_pipeline.learning.network import build_network
from rts_pipeline.metrics.pixels import BINS, pixel_scores


class SegmentationLoss(nn.Module):
    """Binary cross-entropy plus Dice loss over the pixels that are not ignored."""

    def __init__(self) -> None:
        """Build the two parts."""
        super().__init__()
        self.pixel = nn.BCEWithLogitsLoss()
        self.dice = smp.losses.DiceLoss("binary", smooth=1.0)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of `logits` (n, 1, rows, columns) against `target` (n, rows, columns; 1, 0, 255 ignored)."""
        scored = target != IGNORE
        given, wanted = logits.squeeze(1)[scored].float(), target[scored].float()
        if given.numel() == 0:
            return logits.sum() * 0
        return self.pixel(given, wanted) + self.dice(given[None, None], wanted[None, None])


class SlumpTask(SemanticSegmentationTask):
    """Slump or not, for each pixel."""

    def __init__(self, setting: Learning, *, steps: int) -> None:
        """Take how to learn, and the number of optimiser steps: the length of the one-cycle schedule."""
        self.setting, self.steps = setting, steps
        super().__init__(
            model=setting.architecture,
            backbone=setting.encoder,
            in_channels=len(setting.bands) + setting.ndvi,
            task="binary",
            lr=setting.learning_rate,
            ignore_index=IGNORE,
        )

    def configure_models(self) -> None:
        """Build the network."""
        self.model = build_network(self.hparams["model"], self.hparams["backbone"], self.hparams["in_channels"])
        if self.setting.compile:
            self.model.compile()

    def configure_losses(self) -> None:
        """Build the loss."""
        self.criterion = SegmentationLoss()

    def configure_metrics(self) -> None:
        """Count validation pixels by class and probability."""
        self.register_buffer("counts", torch.zeros(2, BINS + 1, dtype=torch.int64), persistent=False)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Return the loss of a batch.

        Raises:
            UsageError: the loss is not a number.
        """
        loss = self._loss(self(batch["image"]), batch["mask"])
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch["image"]))
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Add a batch to the validation's loss and counts."""
        logits = self(batch["image"])
        self.log("val_loss", self._loss(logits, batch["mask"]), on_epoch=True, sync_dist=True, batch_size=len(batch["image"]))
        bins = (logits.squeeze(1).float().sigmoid() * BINS).round().long()
        for value in (0, 1):
            self.counts[value] += torch.bincount(bins[batch["mask"] == value], minlength=BINS + 1)

    def _loss(self, logits: Tensor, mask: Tensor) -> Tensor:
        loss: Tensor = self.criterion(logits, mask)
        if not torch.isfinite(loss):
            raise UsageError(
                "train.learning_rate",
                f"the loss became {float(loss)} at step {self.global_step}",
                expected="a finite loss",
                do="lower train.learning_rate, or set train.precision to '32'",
            )
        return loss

    def on_validation_epoch_end(self) -> None:
        """Log F1 and IoU of pixels at the best threshold."""
        counts = self.all_gather(self.counts).reshape(-1, *self.counts.shape).sum(dim=0)
        scores = pixel_scores(counts.cpu().numpy())
        best = int(np.argmax(scores["f1"]))
        self.log_dict({f"val_{name}": float(values[best]) for name, values in scores.items()})
        self.counts.zero_()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with one cycle of the learning rate."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams["lr"], weight_decay=self.setting.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.hparams["lr"], total_steps=self.steps, pct_start=0.2)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
