"""Where a candidate's images of other years lie against that of the target year: measured on its own ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, hypot

import numpy as np
from numpy.typing import NDArray

from rts_pipeline.evidence.chips import Chip, nearest_shown
from rts_pipeline.grid import GeoBox
from rts_pipeline.scenes.reader import MeasuredItem, Readers
from rts_pipeline.scenes.registration import LEAST_CORRELATION, Array, displacement, texture
from rts_pipeline.scenes.sample import LEAST_PX, WINDOW_PX

View = tuple[Array, NDArray[np.bool_]]
"""Texture of an image (h, w), and where it is usable."""
FARTHEST_M = 30.0
"""A displacement beyond this is taken for chance: three times the RMSE that Planet states."""
LEAVE_M = 1.0
"""A smaller displacement is left, which spares a resampling."""
UNMEASURED_M = 10 / 2**0.5
"""Standard error along one direction of an image whose place was not measured: Planet states an RMSE of less than 10 m for both
directions together (Planet Imagery Product Specifications)."""


def register(years: Sequence[Chip], target_year: int, readers: Readers) -> None:
    """Move the images chosen for a candidate to where that of the target year lies, or of the year nearest to it that has one.

    An image is moved where the displacement is sure (`LEAST_CORRELATION`) and worth a resampling. The error of its place is
    half a pixel then, and where nothing was to be moved; `UNMEASURED_M` where the displacement couldn't be measured.

    Args:
        years: the chips of a candidate; `item` and `place_error_m` are set.
        target_year: the year.
        readers: open items.

    Raises:
        InputError: a raster that can't be read.
    """
    fixed = nearest_shown(years, target_year)
    if fixed is None or fixed.item is None:
        return
    box = fixed.box.grown(max(0, ceil((WINDOW_PX - fixed.box.width) / 2)))
    reference = _view(fixed.item, box, readers)
    for chip in years:
        if chip.item is None:
            continue
        found = (0.0, 0.0) if chip is fixed else _displacement(chip.item, reference, box, readers)
        chip.place_error_m = UNMEASURED_M if found is None else box.pixel_m / 2
        if found is not None and hypot(*found) >= LEAVE_M:
            east, north = chip.item.shift_m
            chip.item = replace(chip.item, shift_m=(east + found[0], north + found[1]))


def _view(item: MeasuredItem, box: GeoBox, readers: Readers) -> View | None:
    """Return what an item shows of the ground; None where that is too little."""
    found = readers.of(item).read(box)
    if found is None or found[1].sum() < LEAST_PX:
        return None
    return texture(*found), found[1]


def _displacement(item: MeasuredItem, reference: View | None, box: GeoBox, readers: Readers) -> tuple[float, float] | None:
    """Return how far an item's content lies to the east and north of the reference, in metres; None where that isn't sure."""
    seen = _view(item, box, readers) if reference else None
    if seen is None or reference is None:
        return None
    found = displacement(seen[0], reference[0], seen[1], reference[1], LEAST_PX)
    if found is None or found.correlation < LEAST_CORRELATION or hypot(*found.metres(box.pixel_m)) > FARTHEST_M:
        return None
    return found.metres(box.pixel_m)
