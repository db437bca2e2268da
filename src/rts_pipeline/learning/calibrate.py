"""The temperature that makes the probabilities of the validation blocks likeliest."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import nn

from rts_pipeline.learning.datamodule import ChipModule
from rts_pipeline.learning.datasets import IGNORE

SAMPLES = 64
"""Rows and columns of pixels of a window that are looked at: neighbours say the same."""


def calibrate(network: nn.Module, data: ChipModule, autocast: Any) -> float:
    """Return the temperature of a network, measured on the validation windows."""
    device, margins = next(network.parameters()).device, []
    network.eval()
    with torch.inference_mode(), autocast:
        for batch in data.calibration_dataloader():
            image, mask = data.prepare({name: value.to(device) for name, value in batch.items()})
            logits = network(image.contiguous(memory_format=torch.channels_last)).squeeze(1)
            step = max(1, mask.shape[-1] // SAMPLES)
            wanted, given = mask[:, ::step, ::step], logits[:, ::step, ::step].float()
            margin = torch.where(wanted == 1, given, -given)[wanted != IGNORE]
            margins.append(margin.cpu().numpy())
    return temperature(np.concatenate(margins))


def temperature(margins: np.ndarray[Any, Any]) -> float:
    """Return the T that makes sigmoid(logit / T) likeliest (Guo et al. 2017, "On calibration of modern neural networks").

    Args:
        margins: (n,) logits of the class that is true: logit where there is a slump, -logit elsewhere.
    """
    margins = margins.astype(np.float64)

    def cost(log_t: float) -> float:
        return float(np.logaddexp(0, -margins / np.exp(log_t)).mean())

    return round(float(np.exp(minimize_scalar(cost, bounds=(-1.5, 1.5), method="bounded").x)), 4)
