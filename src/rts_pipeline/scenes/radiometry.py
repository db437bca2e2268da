"""What two images of the same ground say about each other's radiometry, as sums that add up (pure functions on arrays)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLE_PX = 8
"""Edge of a sample: its mean hardly feels the noise of the sensor or what displacement is left, below a pixel."""

TRIMMED_AT = 3.0
"""Samples this many standard deviations off the line of most samples show changed ground (snow, cloud, shadow, slump)."""

SMALLEST_SPREAD = 1.0
"""Spread (reflectance x 10,000) below which samples are taken to agree: that of rounding."""

MOMENTS = ("x", "y", "xx", "yy", "xy")
"""Sums over the samples that go with their number, in this order."""


def samples(
    a: NDArray[np.uint16], b: NDArray[np.uint16], common: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the means of the squares that are wholly usable in both.

    Args:
        a: (bands, h, w) with h and w multiples of SAMPLE_PX.
        b: the same ground in the other image.
        common: (h, w): usable in both.

    Returns:
        x of a and y of b, both (bands, n).
    """
    height, width = (size // SAMPLE_PX for size in common.shape)
    squares = (height, SAMPLE_PX, width, SAMPLE_PX)
    whole = common.reshape(squares).all(axis=(1, 3))
    x, y = (image.reshape(-1, *squares).mean(axis=(2, 4), dtype=np.float64)[:, whole] for image in (a, b))
    return x, y


def unchanged(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which samples lie near the line that most of them follow, in every band.

    The line goes through the medians, with the ratio of the median absolute deviations as its slope: neither image is
    taken to be the true one, and up to half of the samples can be anything.

    Args:
        x: (bands, n).
        y: (bands, n).
    """
    kept: NDArray[np.bool_] = np.ones(x.shape[1], bool)
    for _ in range(2):  # the second time without what pulled at the first line
        if not kept.any():
            break
        off = np.zeros(x.shape, float)
        for band, (u, v) in enumerate(zip(x, y, strict=True)):
            slope = _spread(v[kept]) / _spread(u[kept])
            off[band] = v - np.median(v[kept]) - slope * (u - np.median(u[kept]))
            off[band] /= _spread(off[band][kept])
        kept = np.all(np.abs(off) <= TRIMMED_AT, axis=0)
    return kept


def _spread(values: NDArray[np.float64]) -> float:
    """Median absolute deviation, as the standard deviation of a normal distribution."""
    return max(float(1.4826 * np.median(np.abs(values - np.median(values)))), SMALLEST_SPREAD)


def moments(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (bands, len(MOMENTS)) sums over the samples: those of several windows add up."""
    sums: list[NDArray[Any]] = [x.sum(axis=1), y.sum(axis=1), (x * x).sum(axis=1), (y * y).sum(axis=1), (x * y).sum(axis=1)]
    return np.stack(sums, axis=1)
