"""How far the content of one image lies from that of another of the same ground (pure functions on arrays)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from rts_pipeline.config import BANDS

Array = NDArray[np.floating[Any]]

VISIBLE = tuple(BANDS.index(band) for band in ("blue", "green", "red"))
"""Bands whose texture all generations of satellites see alike; near infrared follows the vegetation of the day."""

FINE_PX, COARSE_PX = 1.0, 4.0
"""Standard deviations of the two Gaussians whose difference is the texture: noise and resampling lie below, haze and
vegetation above. Of 0-1.5 and 4-8 px these gave the smallest errors on simulated items (median 0.03 px, at most 0.12 px)."""

CLIP = 4.0
"""Texture beyond this many standard deviations is cut, so that no single bright thing decides."""

TAPER_PX = 8
"""The texture fades to nothing over this distance to an unusable pixel or to the window's edge. Otherwise that edge, which
is the same in both images, would correlate best where nothing is displaced."""

UPSAMPLING = 20
"""Steps in a pixel: 0.05 px (Guizar-Sicairos et al. 2008, doi 10.1364/OL.33.000156)."""

LEAST_CORRELATION = 0.3
"""A displacement with less correlation can be chance: of 500 pairs of windows on different simulated ground the best
displacement reached 0.07 in the median and 0.28 in one of a hundred. The same ground in one season gave 0.5-1."""

Shift = tuple[int, int]


@dataclass(frozen=True)
class Displacement:
    """Where the content of image a lies in relation to that of b.

    Attributes:
        rows: positive: a's content lies further down, in pixels.
        columns: positive: a's content lies further right, in pixels.
        correlation: of the two textures over common usable ground once b is moved onto a, -1 to 1.
    """

    rows: float
    columns: float
    correlation: float

    def metres(self, pixel_m: float) -> tuple[float, float]:
        """Return how far a's content lies to the east and north of b's, with pixels of so many metres."""
        return self.columns * pixel_m, -self.rows * pixel_m

    @property
    def whole(self) -> Shift:
        """The displacement in whole pixels."""
        return round(self.rows), round(self.columns)


def texture(values: NDArray[np.uint16], usable: NDArray[np.bool_]) -> Array:
    """Return the fine texture of an image: what is smaller than haze and larger than noise, mean of the visible bands.

    Args:
        values: (4, h, w) reflectance in the order of BANDS.
        usable: (h, w); other pixels have no part in it.

    Returns:
        float32 (h, w), each band in units of its robust standard deviation; 0 where not usable.
    """
    weight = usable.astype(np.float32)
    shares = [np.maximum(_blurred(weight, sigma), np.float32(1e-3)) for sigma in (FINE_PX, COARSE_PX)]
    found = np.zeros(usable.shape, np.float32)
    for band in VISIBLE:
        # the mean keeps single precision precise, and the edge of the usable pixels low
        level = (values[band] - values[band][usable].mean(dtype=np.float32)) * weight
        fine, coarse = (_blurred(level, sigma) / share for sigma, share in zip((FINE_PX, COARSE_PX), shares, strict=True))
        detail = (fine - coarse) * weight
        spread = np.float32(1.4826) * np.median(np.abs(detail[usable]))  # standard deviation, if it were normal
        if spread > 0:
            found += np.clip(detail / spread, -CLIP, CLIP) / np.float32(len(VISIBLE))
    return found


def _blurred(values: Array, sigma: float) -> Array:
    blurred: Array = ndimage.gaussian_filter(values, sigma, mode="constant", truncate=3)
    return blurred


def displacement(
    a: Array, b: Array, usable_a: NDArray[np.bool_], usable_b: NDArray[np.bool_], least_px: int
) -> Displacement | None:
    """Measure how far a's content is displaced against b's.

    Whole pixels first; then the fraction once b is moved by them, so that both show the same ground below the same taper.
    Plain cross-correlation of the textures is used, not phase correlation: on simulated items its errors are less than a third.

    Args:
        a: (h, w) texture.
        b: (h, w) texture.
        usable_a: (h, w).
        usable_b: (h, w).
        least_px: usable ground that both must share, in pixels, before and after b is moved.

    Returns:
        None where they share too little, or nothing that has texture.
    """
    whole = _peak(a, b, usable_a & usable_b, 1)
    rows, columns = (round(step) for step in whole)
    near, common = moved(b, (rows, columns)), usable_a & moved(usable_b, (rows, columns))
    if np.count_nonzero(common) < least_px:
        return None
    fraction = _peak(a, near, common, UPSAMPLING)
    correlation = _correlation(a, ndimage.shift(near, fraction, order=1), common)
    return None if correlation is None else Displacement(rows + fraction[0], columns + fraction[1], correlation)


def _peak(a: Array, b: Array, common: NDArray[np.bool_], upsampling: int) -> tuple[float, float]:
    weight = _taper(common)
    a, b = a * weight, b * weight
    if not (a.any() and b.any()):  # flat ground, or nothing common
        return 0.0, 0.0
    shift = phase_cross_correlation(a, b, upsample_factor=upsampling, normalization=None)[0]
    return float(shift[0]), float(shift[1])


def _taper(common: NDArray[np.bool_]) -> Array:
    distance = ndimage.distance_transform_edt(np.pad(common, 1))[1:-1, 1:-1]
    return np.minimum(distance / TAPER_PX, 1).astype(np.float32)


def _correlation(a: Array, b: Array, common: NDArray[np.bool_]) -> float | None:
    inner = ndimage.binary_erosion(common, iterations=2)  # beyond the reach of the interpolation
    x, y = a[inner], b[inner]
    if x.size == 0 or x.std() == 0 or y.std() == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def moved(values: NDArray[Any], by: Shift) -> NDArray[Any]:
    """Return (..., h, w) displaced by whole rows and columns, with 0 where nothing came in."""
    out = np.zeros_like(values)
    (top, from_top), (left, from_left) = (_overlap(step, size) for step, size in zip(by, values.shape[-2:], strict=True))
    out[..., top, left] = values[..., from_top, from_left]
    return out


def _overlap(step: int, size: int) -> tuple[slice, slice]:
    """Return where the values that stay come to lie, and where they were."""
    step = min(max(step, -size), size)
    return slice(max(step, 0), size + min(step, 0)), slice(max(-step, 0), size + min(-step, 0))
