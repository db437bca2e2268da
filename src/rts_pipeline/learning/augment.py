"""What is done to a batch before the network sees it: normalisation, ignored pixels, augmentation."""

from __future__ import annotations

from typing import Any

import kornia.augmentation as K
import torch
from torch import Tensor

from rts_pipeline.learning.datasets import IGNORE


def normalise(image: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Return the image in standard deviations from the mean, unobserved pixels at the mean, and which are observed.

    Args:
        image: (n, bands, rows, columns) reflectance x 10,000; 0 in all bands = not observed.
        mean: (bands,) of the training windows.
        std: (bands,) of the training windows.
    """
    observed = (image != 0).any(dim=1, keepdim=True)
    scaled = (image - mean[:, None, None]) / std[:, None, None]
    return scaled * observed, observed


class BandJitter(K.IntensityAugmentationBase2D):
    """Random gain and offset for each band: satellites and days differ in brightness and contrast."""

    def __init__(self, gain: float, offset: float) -> None:
        """Draw gains from 1 +- `gain` and offsets from +- `offset` (standard deviations)."""
        super().__init__(p=1.0)
        self.gain, self.offset = gain, offset

    def generate_parameters(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        """Draw for each image and band of `shape` (n, bands, rows, columns)."""
        common = torch.rand(2, shape[0], 1, 1, 1) * 2 - 1
        each = torch.rand(2, shape[0], shape[1], 1, 1) * 2 - 1
        drawn = (2 * common + each) / 3
        return {"gain": 1 + self.gain * drawn[0], "offset": self.offset * drawn[1]}

    def apply_transform(
        self, input: Tensor, params: dict[str, Tensor], flags: dict[str, Any], transform: Tensor | None = None
    ) -> Tensor:
        """Apply what was drawn."""
        return input * params["gain"].to(input) + params["offset"].to(input)


class Augmentation(torch.nn.Module):
    """Flips, quarter turns, scale, gain and offset by band, noise; what comes in from outside the window is ignored."""

    def __init__(self) -> None:
        super().__init__()
        self.together = K.AugmentationSequential(
            K.RandomHorizontalFlip(),
            K.RandomVerticalFlip(),
            K.RandomAffine(degrees=0.0, scale=(0.8, 1.25), p=0.5, padding_mode="zeros"),
            BandJitter(gain=0.2, offset=0.3),
            K.RandomGaussianNoise(std=0.05, p=0.5),
            data_keys=["input", "mask"],
            extra_args={"mask": {"resample": "nearest", "align_corners": False}},
        )

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the augmented image (n, bands, rows, columns; normalised) and mask (n, rows, columns; 255 ignored)."""
        turns = int(torch.randint(4, ()))
        image, mask = torch.rot90(image, turns, (2, 3)), torch.rot90(mask, turns, (1, 2))
        # Warping fills with 0 from outside; classes are shifted by one so that 0 can mean ignored.
        shifted = torch.where(mask == IGNORE, 0, mask + 1).to(image.dtype)
        image, shifted = self.together(image.contiguous(), shifted[:, None].contiguous())
        classes = shifted[:, 0].round().long()
        return image, torch.where(classes == 0, IGNORE, classes - 1)
