"""From reflectance to what an eye can compare: one stretch for many images, in true or false colour."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Values = Mapping[str, NDArray[np.uint16]]
"""Reflectance x 10,000 (h, w) by the name of the band; 0 = not observed."""

Limits = Mapping[str, tuple[float, float]]
"""For each band the values that are shown as 0 and as 255."""

COLOURS = {"true": ("red", "green", "blue"), "false": ("nir", "red", "green")}
"""Bands shown as red, green and blue."""

GREY = 128
"""Shown where nothing was observed."""

PERCENTILES = (2.0, 98.0)


def stretch(values: Values, usable: NDArray[np.bool_], percentiles: tuple[float, float] = PERCENTILES) -> Limits:
    """Return two percentiles of the usable pixels of each band (at least one pixel must be usable)."""
    limits = {}
    for name, band in values.items():
        low, high = np.percentile(band[usable], percentiles)
        limits[name] = float(low), float(max(high, low + 1))
    return limits


def compose(values: Values, bands: tuple[str, str, str], limits: Limits, observed: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return an image (h, w, 3) of three bands, linear between their limits, grey where not observed."""
    layers = []
    for name in bands:
        low, high = limits[name]
        layers.append(np.clip((values[name].astype(np.float32) - low) / (high - low), 0, 1) * 255)
    image = np.rint(np.stack(layers, axis=-1)).astype(np.uint8)
    dark = np.max([values[name] for name in bands], axis=0) == 0
    image[~observed | dark] = GREY
    return image
