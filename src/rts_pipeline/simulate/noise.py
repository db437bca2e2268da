"""Seeded random fields."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
"""Single precision wherever it is large."""


def fractal(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    pixel: float,
    longest: float,
    shortest: float,
    slope: float,
    stretch: float = 1.0,
) -> Array:
    """Return a Gaussian random field with a power-law spectrum.

    Args:
        rng: source of the white noise.
        shape: rows and columns.
        pixel: edge of a pixel.
        longest: longest wavelength, in the unit of `pixel`.
        shortest: shortest wavelength, in the unit of `pixel`.
        slope: the power falls with wavenumber ** -slope (0 white, 3-4 landforms).
        stretch: how much longer features are along columns than along rows.

    Returns:
        float32 field of `shape` with mean 0 and standard deviation 1. It is periodic in its padded size.
    """
    rows, columns = (scipy.fft.next_fast_len(size, real=True) for size in shape)
    white = rng.standard_normal((rows, columns), dtype=np.float32)
    fy = scipy.fft.fftfreq(rows, pixel).astype(np.float32)[:, None]
    fx = scipy.fft.rfftfreq(columns, pixel).astype(np.float32)[None, :] * stretch
    wavenumber = np.maximum(np.hypot(fy, fx), np.float32(0.1 / (max(rows, columns) * pixel)))
    amplitude = (
        (wavenumber * longest) ** (-slope / 2) / (1 + (wavenumber * longest) ** -8.0) / (1 + (wavenumber * shortest) ** 8.0)
    )
    amplitude[0, 0] = 0
    field = scipy.fft.irfft2(scipy.fft.rfft2(white) * amplitude, s=(rows, columns))[: shape[0], : shape[1]]
    return ((field - field.mean()) / field.std()).astype(np.float32)


def enlarge(coarse: Array, factor: int, rows: slice, columns: slice) -> Array:
    """Interpolate a window of a coarse field bilinearly to pixels `factor` times smaller.

    Args:
        coarse: (n, m) field.
        factor: fine pixels in the edge of a coarse one.
        rows: fine rows wanted.
        columns: fine columns wanted.

    Returns:
        float32 (rows, columns).
    """
    i, f = _between(np.arange(rows.start, rows.stop), factor, coarse.shape[0])
    j, g = _between(np.arange(columns.start, columns.stop), factor, coarse.shape[1])
    part = coarse[i] * (1 - f)[:, None] + coarse[i + 1] * f[:, None]
    return part[:, j] * (1 - g) + part[:, j + 1] * g


def _between(fine: NDArray[np.int64], factor: int, n: int) -> tuple[NDArray[np.int64], Array]:
    position = np.clip((fine + 0.5) / factor - 0.5, 0, n - 1)
    lower = np.minimum(position.astype(np.int64), n - 2)
    return lower, (position - lower).astype(np.float32)


def wrap(tile: Array, rows: slice, columns: slice) -> Array:
    """Return the window of an endlessly repeated tile."""
    return tile[np.arange(rows.start, rows.stop) % tile.shape[0]][:, np.arange(columns.start, columns.stop) % tile.shape[1]]


def ramp(value: Array, low: float, high: float) -> Array:
    """Rise linearly from 0 at `low` to 1 at `high` (fall where low > high)."""
    return np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
