"""The classes of the pictures and their colours, which stay apart for colour-blind readers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.colors import to_hex, to_rgba_array
from numpy.typing import NDArray

FEW = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
"""Okabe and Ito's colours, for as many dates as there are of them; more get steps of a ramp, early dark and late light."""
LEAST = (1, 2, 3, 5, 9, 17, 33)
"""Smallest number of observations of each class."""
HATCH = (222, 226, 228), (150, 158, 163)
"""Ground and lines of what was not observed."""
HATCHES = 16
"""Lines along an edge."""


@dataclass(frozen=True)
class Palette:
    """Classes 1, 2, ... with their labels and colours ("#rrggbb"); class 0 is what was not observed."""

    labels: tuple[str, ...]
    colours: tuple[str, ...]

    def paint(self, classes: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Return classes (h, w) as (h, w, 4) colours, fully transparent where not observed."""
        table = np.zeros((len(self.colours) + 1, 4), np.uint8)
        table[1:] = np.rint(to_rgba_array(self.colours) * 255) if self.colours else 0
        return table[classes]


def dated(days: Sequence[str]) -> Palette:
    """Return a class for each day (ISO), which must be in order."""
    if len(days) <= len(FEW):
        return Palette(tuple(days), FEW[: len(days)])
    ramp = matplotlib.colormaps["viridis"](np.linspace(0, 1, len(days)))
    return Palette(tuple(days), tuple(to_hex(colour) for colour in ramp))


def counted() -> Palette:
    """Return the classes of numbers of observations, pale where few and dark where many."""
    ends = [following - 1 for following in LEAST[1:]]
    labels = [f"{low}" if low == high else f"{low}–{high}" for low, high in zip(LEAST, ends, strict=False)]
    ramp = matplotlib.colormaps["YlGnBu"](np.linspace(0.12, 1, len(LEAST)))
    return Palette((*labels, f"{LEAST[-1]} or more"), tuple(to_hex(colour) for colour in ramp))


def class_of(counts: NDArray[np.integer]) -> NDArray[np.intp]:
    """Return the class of each number of observations; 0 stays 0."""
    return np.searchsorted(LEAST, counts, side="right")


def on_hatching(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay an image (h, w, 4) over hatching, (h, w, 3): what is transparent shows it and can't be taken for ground."""
    rows, columns = np.indices(image.shape[:2])
    period = max(4, image.shape[0] // HATCHES)
    lines = (rows + columns) % period < period // 3
    ground = np.array(HATCH, np.uint8)[lines.astype(np.intp)]
    return np.where(image[..., 3:] > 0, image[..., :3], ground)
