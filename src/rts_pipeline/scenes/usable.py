"""Which pixels of an item can be used, and where they lie: pure functions on arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

OUTSIDE, USABLE, MASKED, IMPLAUSIBLE = 0, 1, 2, 3
"""Classes of usable.tif: outside the swath (its nodata), usable, masked by udm2 or udm, a band at its floor value."""

FLOOR = 1
"""Surface reflectance x 10,000 that a band has where it was not measured: along swath edges up to three bands are 1
while the near infrared is 1300-2400 and the mask calls the pixel good."""

BLACKFILL, UDM_CLOUD = 1, 2
"""Bits 0 and 1 of Planet's first mask (udm, and band 8 of udm2). Of band 8 only blackfill is safe: its other bits are set
on a fifth of the clear pixels of the newest instruments."""

MaskBands = Mapping[str, NDArray[np.uint8]]


def classify(
    reflectance: NDArray[np.uint16], mask: MaskBands, *, accept_light_haze: bool, min_confidence: int
) -> NDArray[np.uint8]:
    """Class of every pixel.

    Args:
        reflectance: (4, h, w) surface reflectance x 10,000, 0 = nodata.
        mask: (h, w) arrays by name: the bands of a udm2 (clear, snow, shadow, light_haze, heavy_haze, cloud, confidence,
            udm1), or "udm" alone, or nothing.
        accept_light_haze: whether light haze is usable.
        min_confidence: udm2 confidence in per cent below which a pixel is masked.

    Returns:
        (h, w) uint8 of the classes above.
    """
    classes = np.full(reflectance.shape[1:], USABLE, np.uint8)
    if "clear" in mask:
        classes[_masked_by_udm2(mask, accept_light_haze, min_confidence)] = MASKED
    if "udm" in mask:
        classes[(mask["udm"] & UDM_CLOUD) != 0] = MASKED
    classes[reflectance.min(axis=0) <= FLOOR] = IMPLAUSIBLE
    classes[reflectance.max(axis=0) == 0] = OUTSIDE
    bits = mask.get("udm1", mask.get("udm"))
    if bits is not None:
        classes[(bits & BLACKFILL) != 0] = OUTSIDE
    return classes


def _masked_by_udm2(mask: MaskBands, accept_light_haze: bool, min_confidence: int) -> NDArray[np.bool_]:
    hazy = mask["light_haze"] != 0
    good = (mask["clear"] != 0) | hazy if accept_light_haze else (mask["clear"] != 0) & ~hazy
    bad = ~good
    for name in ("snow", "shadow", "heavy_haze", "cloud"):
        bad |= mask[name] != 0
    if min_confidence > 0:
        bad |= mask["confidence"] < min_confidence
    return bad


def coarsen(valid: NDArray[np.bool_], factor: int) -> NDArray[np.bool_]:
    """Shrink (h, w) by a factor: a coarse pixel is true where any of its pixels is (the last ones may be partial)."""
    if factor == 1:
        return valid
    height, width = (-(-edge // factor) for edge in valid.shape)
    padded = np.zeros((height * factor, width * factor), bool)
    padded[: valid.shape[0], : valid.shape[1]] = valid
    return np.logical_or.reduce(padded.reshape(height, factor, width, factor), axis=(1, 3))
