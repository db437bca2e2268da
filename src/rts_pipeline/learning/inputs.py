"""What the network sees of a window: bands (and the NDVI) in standard deviations from the mean of the training blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each input over the training windows: bands (reflectance x 10,000), then the NDVI."""

    mean: list[float]
    std: list[float]


class Inputs(nn.Module):
    """Raw mosaic values (n, bands, rows, columns) to normalised inputs (n, inputs, rows, columns)."""

    def __init__(self, bands: Sequence[str], normalisation: Normalisation) -> None:
        """Take the bands' names; a normalisation of one input more than bands asks for the NDVI."""
        super().__init__()
        self.register_buffer("mean", torch.tensor(normalisation.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(normalisation.std)[:, None, None], persistent=False)
        self.ndvi = len(normalisation.mean) > len(bands)
        self.red, self.nir = (list(bands).index(name) if name in bands else 0 for name in ("red", "nir"))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs, unobserved pixels at the mean, and which pixels are observed (n, 1, rows, columns).

        Args:
            image: (n, bands, rows, columns) reflectance x 10,000; 0 in all bands = not observed.
        """
        observed = (image != 0).any(dim=1, keepdim=True)
        if self.ndvi:
            image = torch.cat([image, ndvi(image[:, self.red], image[:, self.nir])[:, None]], dim=1)
        return (image - self.mean) / self.std * observed, observed


def ndvi(red: Tensor, nir: Tensor) -> Tensor:
    """Return (nir - red) / (nir + red), 0 where both are 0."""
    return (nir - red) / (nir + red).clamp(min=1)
