"""The windows of a round as batches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader
from torchgeo.datasets import GeoDataset, stack_samples

from rts_pipeline.learning.augment import Augmentation, normalise
from rts_pipeline.learning.datasets import IGNORE, ChipSampler


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each band over the training windows, reflectance x 10,000."""

    mean: list[float]
    std: list[float]


class ChipModule(LightningDataModule):
    """Training draws, augmented, and validation windows."""

    def __init__(
        self,
        dataset: GeoDataset,
        chips: gpd.GeoDataFrame,
        normalisation: Normalisation,
        *,
        batch_size: int,
        steps: int,
        workers: int,
        seed: int,
    ) -> None:
        """Take the joined dataset and the table of chips (with `weight` for the training windows)."""
        super().__init__()
        self.dataset, self.chips = dataset, chips
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self.mean, self.std = torch.tensor(normalisation.mean), torch.tensor(normalisation.std)
        self.augmentation = Augmentation()
        train = chips[chips.split == "train"]
        self.train_sampler = ChipSampler(dataset, train, draws=steps * batch_size, seed=seed)
        # An epoch's validation may not cost more than its training: of many windows every n-th is looked at.
        validation = chips[chips.split == "validation"]
        self.val_sampler = ChipSampler(dataset, validation.iloc[:: math.ceil(len(validation) / (steps * batch_size))])

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Return the balanced draws of an epoch."""
        return self._loader(self.train_sampler)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Return the validation windows."""
        return self._loader(self.val_sampler)

    def all_validation(self) -> DataLoader[dict[str, Any]]:
        """Return every validation window, in the order of the table."""
        return self._loader(ChipSampler(self.dataset, self.chips[self.chips.split == "validation"]))

    def _loader(self, sampler: ChipSampler) -> DataLoader[dict[str, Any]]:
        return DataLoader(
            self.dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.workers,
            collate_fn=_collate,
            persistent_workers=self.workers > 0,
        )

    def on_after_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        """Normalise, ignore what is not observed and, in training, augment."""
        image, mask = self.prepare(batch)
        if self.trainer is not None and self.trainer.training:
            # Loaders draw from the common generator too, more or fewer with other `workers`: begin each step anew.
            torch.manual_seed((self.seed << 32) + self.trainer.global_step)
            image, mask = self.augmentation(image, mask)
        return {"image": image.contiguous(memory_format=torch.channels_last), "mask": mask}

    def prepare(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the normalised image and the mask with unobserved pixels ignored."""
        image, mask = batch["image"], batch["mask"]
        image, observed = normalise(image, self.mean.to(image), self.std.to(image))
        return image, torch.where(observed[:, 0], mask, IGNORE)


def _collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
    return stack_samples({"image": sample["image"], "mask": sample["mask"]} for sample in samples)
