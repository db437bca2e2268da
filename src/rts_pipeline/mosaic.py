"""Stage `mosaic`: the items of the target year on one cell of the grid, the best usable pixel first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rts_pipeline import io
from rts_pipeline.config import BANDS, Time
from rts_pipeline.errors import InputError
from rts_pipeline.grid import GeoBox
from rts_pipeline.options import MosaicOptions
from rts_pipeline.progress import track
from rts_pipeline.scenes.reader import ItemReader, MeasuredItem, touching

WINDOW_PX = 512
OPEN_ITEMS = 32
"""Items kept open at once: a cell may have hundreds, and a process only so many open files."""

SAME_CLEARNESS_DIGITS = 2
"""Usable fractions that agree to 0.01 are equal, so that the date decides between them."""


def build_mosaic(cell: GeoBox, items: Sequence[Path], out: Path, out_source: Path, options: MosaicOptions) -> None:
    """Fill a cell from its items, the clearest first, then the nearest to the target date, then by id.

    Args:
        cell: where; both outputs cover it exactly.
        items: item.json files of `scenes`, in any order; those that were rejected are left out.
        out: COG uint16 of blue, green, red, nir: surface reflectance x 10,000, 1-65535, 0 = nodata in all bands.
        out_source: COG uint16: 0 = not observed, else the index of the item in the JSON list of the tag ITEMS, which gives
            each item's id, acquisition time and number of pixels.
        options: target year and date.

    Raises:
        InputError: an item's file is missing or damaged.
    """
    chosen = in_order([MeasuredItem.load(path) for path in items], cell, options.time)
    if len(chosen) > np.iinfo(np.uint16).max:
        raise InputError(out_source, f"{len(chosen)} items on one cell", expected="at most 65535", do="make cells smaller")
    listed = [{"index": n, "id": item.id, "acquired": item.acquired} for n, item in enumerate(chosen, 1)]
    placed: dict[str, Any] = {"nodata": 0, "dtype": "uint16", **cell.profile}
    with (
        io.new_cog(out, count=len(BANDS), **placed) as target,
        io.new_cog(out_source, count=1, overview_resampling="nearest", **placed) as source_target,
        _Readers() as readers,
    ):
        target.descriptions = BANDS
        windows = list(cell.windows(WINDOW_PX))
        pixels = np.zeros(len(chosen) + 1, np.int64)
        for window in track(windows, len(windows), f"mosaic {cell.id}", "windows"):
            values, source = _fill(window, chosen, readers)
            if source.any():
                target.write(values, window=cell.window_of(window))
                source_target.write(source, 1, window=cell.window_of(window))
                pixels += np.bincount(source.ravel(), minlength=len(pixels))
        counted = [entry | {"pixels": int(pixels[number])} for number, entry in enumerate(listed, 1)]
        source_target.update_tags(ITEMS=json.dumps(counted))


def in_order(items: Sequence[MeasuredItem], cell: GeoBox, time: Time) -> list[MeasuredItem]:
    """Return the used items whose footprint touches the cell, best first."""
    target = _target_day(time)

    def rank(item: MeasuredItem) -> tuple[float, int, str]:
        days = abs((datetime.fromisoformat(item.acquired).date() - target).days)
        return -round(item.usable_fraction, SAME_CLEARNESS_DIGITS), days, item.id

    unique = {item.id: item for item in touching(items, cell) if item.status == "used"}
    return sorted(unique.values(), key=rank)


def _target_day(time: Time) -> date:
    month, day = (int(part) for part in time.target_date.split("-"))
    return date(time.target_year, month, 1) + timedelta(days=day - 1)  # 29 February of another year is 1 March


def _fill(window: GeoBox, items: Sequence[MeasuredItem], readers: _Readers) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    values = np.zeros((len(BANDS), *window.shape), np.uint16)
    source = np.zeros(window.shape, np.uint16)
    numbers = {item.id: number for number, item in enumerate(items, 1)}
    for item in touching(items, window):
        empty = source == 0
        if not empty.any():
            break
        got = readers.of(item).read(window, empty)
        if got is not None:
            reflectance, usable = got
            np.copyto(values, reflectance, where=usable)
            source[usable] = numbers[item.id]
    return values, source


class _Readers:
    """Open items, the ones used last: the next window mostly needs the same."""

    def __init__(self) -> None:
        self._open: dict[str, ItemReader] = {}

    def of(self, item: MeasuredItem) -> ItemReader:
        reader = self._open.pop(item.id, None)
        if reader is None:
            reader = ItemReader(item)
            if len(self._open) >= OPEN_ITEMS:
                self._open.pop(next(iter(self._open))).close()
        self._open[item.id] = reader
        return reader

    def __enter__(self) -> _Readers:
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._open.values():
            reader.close()
