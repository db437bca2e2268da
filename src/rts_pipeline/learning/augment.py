"""Augmentation of a batch: other sensors and skies on the mosaics' values, other places and sizes on the network's inputs.

Every window of a batch gets its own draws. They come from torch's global generator, and all but the noise are the same on
every device. Arithmetic is in float32 whatever autocast says: bf16 holds reflectance x 10,000 to steps of 8 only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import kornia.augmentation as K
import torch
from torch import Tensor, nn
from torch.nn import functional

from rts_pipeline.labels import IGNORE
from rts_pipeline.learning.inputs import Normalisation

WAVELENGTHS_NM = {"blue": 490.0, "green": 565.0, "red": 665.0, "nir": 865.0}
"""Centres of the bands of PlanetScope's SuperDove (PSB.SD); those of the other generations lie within 45 nm."""

HAZE_EXPONENT = -0.7
"""Scattering falls with this power of the wavelength in the "hazy" one of Chavez's models (1988, RSE 24, 459-479)."""

AIRLIGHT = 3000.0
"""What a closed veil of haze itself reflects in blue, reflectance x 10,000."""

HAZE_NODES = 4
"""The haze's thickness is drawn at 4 x 4 places of a window: banks of some hundred metres."""


class BandJitter(K.IntensityAugmentationBase2D):
    """Gain, contrast and gamma, each partly in common and partly for each band: satellites and processings differ."""

    def __init__(self, mean: Tensor, *, gain: float, contrast: float, gamma: float) -> None:
        """Draw each from 1 +- the given; contrast and gamma turn about the bands' `mean` (bands, 1, 1)."""
        super().__init__(p=1.0)
        self.mean, self.strengths = mean, torch.tensor([gain, contrast, gamma])

    def generate_parameters(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        """Draw for each window and band of `shape` (n, bands, rows, columns); two thirds are common to the bands."""
        common = torch.rand(3, shape[0], 1, 1, 1) * 2 - 1
        each = torch.rand(3, shape[0], shape[1], 1, 1) * 2 - 1
        factors = 1 + self.strengths[:, None, None, None, None] * (2 * common + each) / 3
        return dict(zip(("gain", "contrast", "gamma"), factors, strict=True))

    def apply_transform(
        self, input: Tensor, params: dict[str, Tensor], flags: dict[str, Any], transform: Tensor | None = None
    ) -> Tensor:
        """Return gain * (m + contrast * (m (x / m)^gamma - m)) with the band's mean m."""
        gain, contrast, gamma = (params[name].to(input) for name in ("gain", "contrast", "gamma"))
        mean = self.mean.to(input)
        return ((input / mean).pow(gamma) * contrast + (1 - contrast)) * (mean * gain)


class Haze(K.IntensityAugmentationBase2D):
    """A veil of changing thickness t, x (1 - t) + airlight t: an addition that shrinks with the wavelength.

    The additive model of haze on multispectral images is that of Makarau et al. (2014, IEEE TGRS 52, 5895-5905).
    """

    def __init__(self, bands: Sequence[str], *, most: float, p: float) -> None:
        """Draw, for a share `p` of the windows, the thickest place's t from 0 to `most`."""
        super().__init__(p=p)
        self.most = most
        blue = WAVELENGTHS_NM["blue"]
        self.airlight = torch.tensor([[[AIRLIGHT * (WAVELENGTHS_NM[band] / blue) ** HAZE_EXPONENT]] for band in bands])

    def generate_parameters(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        """Draw the thickness at the nodes, (n, 1, nodes, nodes)."""
        return {"nodes": torch.rand(shape[0], 1, HAZE_NODES, HAZE_NODES) * torch.rand(shape[0], 1, 1, 1) * self.most}

    def apply_transform(
        self, input: Tensor, params: dict[str, Tensor], flags: dict[str, Any], transform: Tensor | None = None
    ) -> Tensor:
        """Lay the veil over the windows."""
        nodes, size = params["nodes"].to(input), input.shape[-2:]
        thickness = functional.interpolate(nodes, size=size, mode="bicubic", align_corners=True).clamp(0, self.most)
        return torch.lerp(input, self.airlight.to(input), thickness)


class Noise(K.IntensityAugmentationBase2D):
    """Noise of the sensor, independent for each pixel and band."""

    def __init__(self, std: Tensor, *, p: float) -> None:
        """Take its standard deviation for each band (bands, 1, 1)."""
        super().__init__(p=p)
        self.std = std

    def apply_transform(
        self, input: Tensor, params: dict[str, Tensor], flags: dict[str, Any], transform: Tensor | None = None
    ) -> Tensor:
        """Add what is drawn on the batch's own device: it is as large as the batch."""
        return torch.addcmul(input, torch.randn_like(input), self.std.to(input))


class Radiometric(nn.Module):
    """Haze, blur, gain, contrast, gamma and noise on the mosaics' values, in the order in which nature and sensor add them.

    As strong as items still differ that were corrected to surface reflectance. Three times as strong, a training of 300 steps
    loses a tenth of its IoU and one of 1,200 steps gains nothing over this (docs/results.md).

    Attributes:
        gain, contrast, gamma: largest change of each, as a share.
        haze: largest thickness; haze_share: share of the windows that get a veil.
        blur_px: smallest and largest standard deviation of the blur, pixels; blur_share: share of the windows.
        noise: standard deviation in those of the band; noise_share: share of the windows.
    """

    gain, contrast, gamma = 0.05, 0.08, 0.05
    haze, haze_share = 0.1, 0.3
    blur_px, blur_share = (0.3, 0.6), 0.3
    noise, noise_share = 0.02, 0.5

    def __init__(self, bands: Sequence[str], normalisation: Normalisation) -> None:
        """Take the bands' names and their mean and standard deviation."""
        super().__init__()
        mean, std = (torch.tensor(v[: len(bands)])[:, None, None] for v in (normalisation.mean, normalisation.std))
        self.mean = mean.clamp(min=1)
        self.steps = nn.Sequential(
            Haze(bands, most=self.haze, p=self.haze_share),
            K.RandomGaussianBlur((7, 7), self.blur_px, p=self.blur_share),
            BandJitter(self.mean, gain=self.gain, contrast=self.contrast, gamma=self.gamma),
            Noise(std * self.noise, p=self.noise_share),
        )

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """Return the changed image, float32; what is observed stays at least 1, what is not stays 0.

        Args:
            image: (n, bands, rows, columns) reflectance x 10,000; 0 in all bands = not observed.
        """
        with torch.autocast(image.device.type, enabled=False):
            values = image.float()
            observed = (values != 0).any(dim=1, keepdim=True)
            # At the mean, a gap leaves no dark seam where the blur mixes it with its neighbours.
            changed = self.steps(torch.where(observed, values, self.mean.to(values)))
            return changed.clamp(min=1) * observed


class Geometric(nn.Module):
    """Flips, quarter turns, and for a share of the windows another scale and place; what comes in from outside is ignored.

    Attributes:
        scale: smallest and largest magnification; a magnified window shows any of its parts, a shrunken one lies anywhere.
        scale_share: share of the windows that are scaled.
    """

    scale, scale_share = (0.75, 1.5), 0.5

    @torch.no_grad()
    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return image and mask, moved alike.

        Args:
            image: (n, inputs, size, size) normalised inputs, 0 = the mean ground.
            mask: (n, size, size) long; 255 = ignored.
        """
        turns = torch.randint(8, (len(image),)).tolist()
        image, mask = (torch.stack([_turned(*pair) for pair in zip(batch, turns, strict=True)]) for batch in (image, mask))
        # The choice is made on the CPU, so that no GPU has to tell how many windows it is.
        chosen = (torch.rand(len(image)) < self.scale_share).nonzero()[:, 0]
        transforms = self._transforms(len(chosen))
        if len(chosen):
            here = chosen.to(image.device)
            with torch.autocast(image.device.type, enabled=False):
                image[here], mask[here] = _resampled(image[here], mask[here], transforms.to(image.device))
        return image, mask

    def _transforms(self, number: int) -> Tensor:
        """Draw (n, 2, 3): where, from -1 to 1, what is seen at a place of the new window lies in the old one."""
        low, high = (math.log(value) for value in self.scale)
        inverse = torch.exp(-torch.empty(number).uniform_(low, high))
        shift = (torch.rand(number, 2) * 2 - 1) * (1 - inverse).abs()[:, None]
        return torch.cat([torch.diag_embed(inverse[:, None].expand(-1, 2)), shift[:, :, None]], dim=2)


def _turned(window: Tensor, turn: int) -> Tensor:
    turned = torch.rot90(window, turn % 4, (-2, -1))
    return turned.flip(-1) if turn >= 4 else turned


def _resampled(image: Tensor, mask: Tensor, transforms: Tensor) -> tuple[Tensor, Tensor]:
    grid = functional.affine_grid(transforms, list(image.shape), align_corners=False)
    inside = (grid[..., 0].abs() < 1) & (grid[..., 1].abs() < 1)
    moved = functional.grid_sample(image.float(), grid, padding_mode="border", align_corners=False)
    classes = mask[:, None].float()
    classes = functional.grid_sample(classes, grid, mode="nearest", padding_mode="border", align_corners=False)
    return (moved * inside[:, None]).to(image.dtype), torch.where(inside, classes[:, 0].to(mask.dtype), IGNORE)
