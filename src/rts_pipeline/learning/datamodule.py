"""The windows of a round as batches."""

from __future__ import annotations

import math
from typing import Any

import geopandas as gpd
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader
from torchgeo.datasets import GeoDataset, stack_samples

from rts_pipeline.learning.augment import Geometric, Radiometric
from rts_pipeline.learning.datasets import IGNORE, ChipSampler
from rts_pipeline.learning.inputs import Inputs

CALIBRATED_ON = 2000
"""Validation windows, evenly chosen, that the temperature is fitted to: some million pixels."""


class ChipModule(LightningDataModule):
    """Training draws, augmented, and validation windows."""

    def __init__(
        self,
        learned: GeoDataset,
        judged: GeoDataset,
        chips: gpd.GeoDataFrame,
        inputs: Inputs,
        radiometric: Radiometric,
        *,
        batch_size: int,
        steps: int,
        workers: int,
        seed: int,
    ) -> None:
        """Take mosaics joined with labels, and the table of chips.

        Args:
            learned: with the ring at outlines that is not learned from.
            judged: without it.
            chips: the table, with `weight` for the training windows.
            inputs: what the network sees of raw values.
            radiometric: augmentation of raw values.
            batch_size: windows in an optimiser step, on all devices together.
            steps: steps in an epoch.
            workers: processes that read.
            seed: of draws and augmentation.
        """
        super().__init__()
        self.learned, self.judged, self.chips = learned, judged, chips
        self.inputs, self.radiometric, self.geometric = inputs, radiometric, Geometric()
        self.at_once, self.workers, self.seed = batch_size, workers, seed
        self.steps, self.draws = steps, steps * batch_size

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Return the balanced draws of an epoch."""
        train = self.chips[self.chips.split == "train"]
        sampler = ChipSampler(self.learned, train, draws=self.draws, seed=self.seed)
        if self.trainer is not None:
            # Workers read ahead before Lightning says which epoch a resumed training is in.
            sampler.set_epoch(self.trainer.global_step // self.steps)
        return self._loader(self.learned, sampler)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Return the validation windows that an epoch is judged on."""
        # That may not cost more than the training: of many windows every n-th is looked at.
        return self._loader(self.judged, self._validation(self.draws))

    def calibration_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Return the validation windows that the temperature is fitted to."""
        return self._loader(self.judged, self._validation(CALIBRATED_ON))

    def _validation(self, most: int) -> ChipSampler:
        validation = self.chips[self.chips.split == "validation"]
        return ChipSampler(self.judged, validation.iloc[:: math.ceil(len(validation) / most)])

    def _loader(self, dataset: GeoDataset, sampler: ChipSampler) -> DataLoader[dict[str, Any]]:
        return DataLoader(
            dataset,
            batch_size=self.at_once,
            sampler=sampler,
            num_workers=self.workers,
            collate_fn=collate,
            persistent_workers=self.workers > 0,
        )

    def on_after_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        """Normalise, ignore what is not observed and, in training, augment."""
        training = self.trainer is not None and self.trainer.training
        if training:
            self._begin_anew()
            batch = {**batch, "image": self.radiometric(batch["image"])}
        image, mask = self.prepare(batch)
        if training:
            image, mask = self.geometric(image, mask)
        return {"image": image.contiguous(memory_format=torch.channels_last), "mask": mask}

    def _begin_anew(self) -> None:
        # Loaders draw from the common generator too, more or fewer with other `workers`, and a resumed training has drawn
        # nothing before. So each batch of each device has a seed of its own, which also holds for the network's dropout.
        trainer = self.trainer
        number = trainer.fit_loop.epoch_loop.total_batch_idx * trainer.world_size + trainer.global_rank
        torch.manual_seed((self.seed << 32) + number)

    def prepare(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the network's inputs and the mask with unobserved pixels ignored."""
        image, observed = self.inputs.to(batch["image"].device)(batch["image"])
        return image, torch.where(observed[:, 0], batch["mask"], IGNORE)


def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Stack the images and masks of samples into a batch."""
    return stack_samples({"image": sample["image"], "mask": sample["mask"]} for sample in samples)
