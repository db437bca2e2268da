"""What is counted while an item's windows pass by: classes, values of the usable pixels, haze, and where valid pixels lie."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from rts_pipeline.config import BANDS
from rts_pipeline.scenes import usable

FOOTPRINT_PX = 512
"""Edge of the coarse raster that the footprint is drawn from."""

PERCENTILES = (2, 25, 50, 75, 98)

HOT_SLOPE, HOT_OFFSET = 0.5, 800
"""Haze optimised transformation of reflectance x 10,000, blue - 0.5 red - 800; above zero a pixel is hazy: Zhang, Guindon and
Cihlar 2002 (doi 10.1016/S0034-4257(02)00034-2), with the constants of Zhu and Woodcock 2012 (doi 10.1016/j.rse.2011.10.028)."""


class Totals:
    """Sums over an item.

    Attributes:
        classes: (4,) pixels of each class of `usable`.
        factor: pixels along the edge of a coarse pixel.
        coarse: where at least one pixel is valid, shrunk by `factor`.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        """Begin an item of `size` rows and columns."""
        self.classes = np.zeros(4, np.int64)
        self.factor = 2 ** max(0, int(np.ceil(np.log2(max(size) / FOOTPRINT_PX))))
        self.coarse = np.zeros([-(-edge // self.factor) for edge in size], bool)
        self._values = np.zeros((len(BANDS), 2**16), np.int64)
        self._hazy = 0
        self._hot = 0.0

    def add(self, window: Window, classes: NDArray[np.uint8], values: NDArray[np.uint16]) -> None:
        """Count a window: (h, w) classes and (4, h, w) reflectance x 10,000."""
        self.classes += np.bincount(classes.ravel(), minlength=4)
        part = usable.coarsen((classes == usable.USABLE) | (classes == usable.MASKED), self.factor)
        top, left = window.row_off // self.factor, window.col_off // self.factor
        self.coarse[top : top + part.shape[0], left : left + part.shape[1]] = part
        good = classes == usable.USABLE
        if not good.any():
            return
        seen = values[:, good]
        for histogram, band in zip(self._values, seen, strict=True):
            histogram += np.bincount(band, minlength=2**16)
        hot = seen[BANDS.index("blue")].astype(np.float32) - HOT_SLOPE * seen[BANDS.index("red")] - HOT_OFFSET
        self._hazy += int((hot > 0).sum())
        self._hot += float(hot.sum(dtype=np.float64))

    @property
    def valid(self) -> int:
        """Pixels that were observed and are plausible."""
        return int(self.classes[usable.USABLE] + self.classes[usable.MASKED])

    @property
    def usable_fraction(self) -> float:
        """Share of the valid pixels that are usable; 0 where none is valid."""
        return float(self.classes[usable.USABLE]) / self.valid if self.valid else 0.0

    def statistics(self) -> dict[str, Any]:
        """Return the properties that describe the pixels.

        `rts:classes`: pixels outside the swath, usable, masked, implausible; of the usable pixels `rts:percentiles` of each
        band (reflectance x 10,000), `rts:haze`: mean of the haze optimised transformation (reflectance), and
        `rts:hazy_fraction`: share above zero. Null where no pixel is usable.
        """
        count = int(self.classes[usable.USABLE])
        return {
            "rts:classes": dict(zip(("outside", "usable", "masked", "implausible"), self.classes.tolist(), strict=True)),
            "rts:percentiles": dict(zip(BANDS, map(_percentiles, self._values), strict=True)) if count else None,
            "rts:haze": round(self._hot / count / 10_000, 5) if count else None,
            "rts:hazy_fraction": round(self._hazy / count, 6) if count else None,
        }


def _percentiles(histogram: NDArray[np.int64]) -> dict[str, int]:
    """Return the smallest value that at least p per cent of the pixels don't exceed, by p."""
    reached = histogram.cumsum()
    ranks = np.ceil(np.array(PERCENTILES) / 100 * reached[-1])
    return {str(p): int(value) for p, value in zip(PERCENTILES, np.searchsorted(reached, ranks), strict=True)}
