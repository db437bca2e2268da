"""Which pixels of an item can be used, and where they lie: pure functions on arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rts_pipeline.config import UDM2_CLASSES, Usability
from rts_pipeline.io.json import sha256_json

OUTSIDE, USABLE, MASKED, IMPLAUSIBLE = 0, 1, 2, 3
"""Classes of usable.tif: outside the swath (its nodata), usable, masked by udm2 or udm, a band below the least reflectance
or too near to the swath's edge."""

RULES = 2
"""Version of the rules below; with the configured policy it makes the version that every output names."""

BLACKFILL = 1
"""Bit 0 of Planet's first mask (udm, and band 8 of udm2): outside the swath. Of band 8 only this bit is safe: others are
set on a fifth of the clear pixels of the newest instruments."""

MaskBands = Mapping[str, NDArray[np.uint8]]


def policy_record(policy: Usability) -> dict[str, Any]:
    """Return the policy as outputs record it: its settings, and a version that differs when rules or settings do."""
    settings = policy.model_dump(mode="json", include=set(Usability.model_fields))
    return {"version": f"{RULES}-{sha256_json(settings)[:8]}", **settings}


def classify(values: NDArray[np.floating[Any] | np.uint16], mask: MaskBands, policy: Usability) -> NDArray[np.uint8]:
    """Class of every pixel, but for the erosion of the swath's edge (`erode`).

    Args:
        values: (4, h, w) reflectance x 10,000, 0 = nodata.
        mask: (h, w) arrays by name: the bands of a udm2 (clear, snow, shadow, light_haze, heavy_haze, cloud, confidence,
            udm1), or "udm" alone, or nothing.
        policy: the usability policy.

    Returns:
        (h, w) uint8 of the classes above.
    """
    classes = np.full(values.shape[1:], USABLE, np.uint8)
    if "clear" in mask:
        classes[_masked_by_udm2(mask, policy)] = MASKED
    if "udm" in mask:
        classes[(mask["udm"] & _bits(policy.udm_bits)) != 0] = MASKED
    classes[values.min(axis=0) < policy.min_reflectance * 10_000] = IMPLAUSIBLE
    classes[values.max(axis=0) == 0] = OUTSIDE
    bits = mask.get("udm1", mask.get("udm"))
    if bits is not None:
        classes[(bits & BLACKFILL) != 0] = OUTSIDE
    return classes


def _masked_by_udm2(mask: MaskBands, policy: Usability) -> NDArray[np.bool_]:
    good = np.logical_or.reduce([mask[name] != 0 for name in policy.usable_classes])
    bad = ~good
    # Planet's classes exclude each other; where a mask says two things, the worse one counts.
    for name in UDM2_CLASSES:
        if name not in policy.usable_classes:
            bad |= mask[name] != 0
    if policy.min_confidence > 0:
        bad |= mask["confidence"] < policy.min_confidence
    if policy.udm2_bits:
        bad |= (mask["udm1"] & _bits(policy.udm2_bits)) != 0
    return bad


def _bits(numbers: Iterable[int]) -> int:
    return sum(1 << number for number in numbers)


def erosion_px(policy: Usability, pixel: tuple[float, float]) -> tuple[int, int]:
    """Return the edge erosion in whole rows and columns, for pixels of that height and width in metres."""
    return ceil(policy.edge_erosion_m / pixel[0]), ceil(policy.edge_erosion_m / pixel[1])


def erode(classes: NDArray[np.uint8], policy: Usability, pixel: tuple[float, float]) -> NDArray[np.uint8]:
    """Make pixels IMPLAUSIBLE that lie nearer to the swath's edge than the policy's distance.

    The swath's edge is where OUTSIDE or IMPLAUSIBLE pixels begin. What lies beyond the array counts as swath, so a part of
    a raster needs `erosion_px` more rows and columns on each side than are kept.

    Args:
        classes: (h, w) of `classify`.
        policy: the usability policy.
        pixel: height and width of a pixel in metres.
    """
    from scipy import ndimage

    swath = (classes == USABLE) | (classes == MASKED)
    if policy.edge_erosion_m == 0 or swath.all() or not swath.any():
        return classes
    near = swath & (ndimage.distance_transform_edt(swath, sampling=pixel) <= policy.edge_erosion_m)
    return np.where(near, np.uint8(IMPLAUSIBLE), classes)


def coarsen(valid: NDArray[np.bool_], factor: int) -> NDArray[np.bool_]:
    """Shrink (h, w) by a factor: a coarse pixel is true where any of its pixels is (the last ones may be partial)."""
    if factor == 1:
        return valid
    height, width = (-(-edge // factor) for edge in valid.shape)
    padded = np.zeros((height * factor, width * factor), bool)
    padded[: valid.shape[0], : valid.shape[1]] = valid
    return np.logical_or.reduce(padded.reshape(height, factor, width, factor), axis=(1, 3))
