"""Where a candidate's images of other years lie against that of the target year: measured on its own ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, hypot
from typing import TYPE_CHECKING

from rts_pipeline.evidence.chips import Chip, nearest_shown
from rts_pipeline.grid import GeoBox
from rts_pipeline.scenes.reader import MeasuredItem, Readers
from rts_pipeline.scenes.registration import LEAST_CORRELATION, Array, displacement, texture

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WINDOW_PX = 256
"""Smallest edge of the ground that is compared, as of the windows of the stage overlaps."""
LEAST_PX = 4096
"""Usable ground that two images must share there: a sixteenth of it."""
FARTHEST_M = 30.0
"""A displacement beyond this is taken for chance: three times the RMSE that Planet states."""
LEAVE_M = 1.0
"""A smaller displacement is left, which spares a resampling."""
UNMEASURED_M = 10 / 2**0.5
"""Standard error along one direction of an image whose place was not measured: Planet states an RMSE of less than 10 m for both
directions together (Planet Imagery Product Specifications)."""


@dataclass(frozen=True)
class _View:
    texture: Array
    usable: NDArray[np.bool_]


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
        if chip is fixed:
            chip.place_error_m = box.pixel_m / 2
        elif chip.item is not None:
            chip.item, chip.place_error_m = _placed(chip.item, reference, box, readers)


def _placed(item: MeasuredItem, reference: _View | None, box: GeoBox, readers: Readers) -> tuple[MeasuredItem, float]:
    """Return an item where it is to be read, and the error of its place."""
    view = _view(item, box, readers) if reference else None
    if view is None or reference is None:
        return item, UNMEASURED_M
    found = displacement(view.texture, reference.texture, view.usable, reference.usable, LEAST_PX)
    if found is None or found.correlation < LEAST_CORRELATION:
        return item, UNMEASURED_M
    east, north = found.columns * box.pixel_m, -found.rows * box.pixel_m
    if hypot(east, north) > FARTHEST_M:
        return item, UNMEASURED_M
    if hypot(east, north) < LEAVE_M:
        return item, box.pixel_m / 2
    return replace(item, shift_m=(item.shift_m[0] + east, item.shift_m[1] + north)), box.pixel_m / 2


def _view(item: MeasuredItem, box: GeoBox, readers: Readers) -> _View | None:
    """Return what an item shows of the ground; None where that is too little."""
    found = readers.of(item).read(box)
    if found is None or found[1].sum() < LEAST_PX:
        return None
    return _View(texture(*found), found[1])
