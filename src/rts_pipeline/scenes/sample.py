"""Where items are compared: windows that are a sample, a quarter of the ground. Planning needs no more of `overlaps`."""

from __future__ import annotations

from math import ceil

WINDOW_PX = 256
LEAST_PX = 4096
"""Usable ground that two images must share in a window: a sixteenth of it."""
STEP_PX = 512
"""The lattice begins at the CRS's origin: the windows are the same however blocks are cut."""


def starts(first: int, size: int) -> range:
    """Return the rows (or columns) of `size` from `first` on, in pixels of the grid, in which windows begin."""
    return range(ceil(first / STEP_PX) * STEP_PX, first + size, STEP_PX)
