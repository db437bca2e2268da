"""Stage `mosaic`: the items of the target year on one cell of the grid, for each pixel the best usable one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from rts_pipeline.config import BANDS
from rts_pipeline.errors import InputError
from rts_pipeline.grid import GeoBox
from rts_pipeline.io.rasters import new_cog
from rts_pipeline.options import MosaicOptions
from rts_pipeline.progress import track
from rts_pipeline.scenes import choice
from rts_pipeline.scenes.choice import Layer
from rts_pipeline.scenes.reader import MeasuredItem, Readers, one_policy, touching

WINDOW_PX = 512
CACHE_BYTES = 384 * 2**20
"""Block cache: windows cut the items' blocks, and a row of blocks of 35 items should still be there for the next windows."""

STACK_ITEMS = 48
"""Items whose pixels of a whole window are held at once by a choice that compares them all (100 MB): with more, windows
shrink."""

SAME_CLEARNESS_DIGITS = 2
"""Usable fractions that agree to 0.01 are equal, so that the date decides between them."""


def build_mosaic(cell: GeoBox, items: Sequence[Path], out: Path, out_source: Path, options: MosaicOptions) -> None:
    """Fill a cell from its items; which of the usable pixels is taken says `mosaic.choice`.

    Args:
        cell: where; both outputs cover it exactly.
        items: item.json or adjusted.json files of the items, in any order; rejected ones are left out.
        out: COG uint16 of blue, green, red, nir: reflectance x 10,000 (scale 0.0001), 1-65535, 0 = nodata in all bands. Its
            tags say how it was made: POLICY, CHOICE, FEATHER_M, TARGET_DATE, RESAMPLING.
        out_source: COG uint16: 0 = not observed, else the index of the item in the JSON list of the tag ITEMS (index, id,
            acquired, pixels).
        options: target year and date, choice, feathering.

    Raises:
        InputError: an item's file is missing or damaged, or the items were measured by different policies.
    """
    chosen = in_order([MeasuredItem.load(path) for path in items], cell, options)
    if len(chosen) > np.iinfo(np.uint16).max:
        raise InputError(out_source, f"{len(chosen)} items on one cell", expected="at most 65535", do="make cells smaller")
    pixels = np.zeros(len(chosen) + 1, np.int64)
    placed: dict[str, Any] = {"nodata": 0, "dtype": "uint16", **cell.profile}
    with (
        new_cog(out, count=len(BANDS), **placed) as target,
        new_cog(out_source, count=1, overview_resampling="nearest", **placed) as source_target,
        rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES),
        Readers() as readers,
    ):
        target.descriptions = BANDS
        target.scales = [1e-4] * len(BANDS)
        target.update_tags(**_recipe(chosen, options))
        windows = list(cell.windows(_window_px(len(chosen), options)))
        for window in track(windows, len(windows), f"mosaic {cell.id}", "windows"):
            values, source = _fill(window, chosen, readers, options)
            pixels += np.bincount(source.ravel(), minlength=len(pixels))
            if source.any():
                target.write(values, window=cell.window_of(window))
                source_target.write(source, 1, window=cell.window_of(window))
        listed = [
            {"index": n, "id": item.id, "acquired": item.acquired, "pixels": int(pixels[n])} for n, item in enumerate(chosen, 1)
        ]
        source_target.update_tags(ITEMS=json.dumps(listed), **_recipe(chosen, options))


def in_order(items: Sequence[MeasuredItem], cell: GeoBox, options: MosaicOptions) -> list[MeasuredItem]:
    """Return the used items whose footprint touches the cell, best first.

    Surface reflectance comes before top-of-atmosphere reflectance; then, for the choice "clearest", the greater usable
    fraction; then the nearest to the target date; then the id.
    """
    target = options.time.target_day(options.time.target_year)

    def rank(item: MeasuredItem) -> tuple[bool, float, int, str]:
        clearness = round(item.usable_fraction, SAME_CLEARNESS_DIGITS) if options.mosaic.choice == "clearest" else 0
        days = abs((datetime.fromisoformat(item.acquired).date() - target).days)
        return not item.surface, -clearness, days, item.id

    unique = {item.id: item for item in touching(items, cell.grown(_halo_px(cell, options))) if item.status == "used"}
    return sorted(unique.values(), key=rank)


def _recipe(items: Sequence[MeasuredItem], options: MosaicOptions) -> dict[str, str]:
    """Return the tags that say how the mosaic was made."""
    return {
        "POLICY": one_policy(items),
        "CHOICE": options.mosaic.choice,
        "FEATHER_M": f"{options.mosaic.feather_m:g}",
        "TARGET_DATE": options.time.target_day(options.time.target_year).isoformat(),
        "RESAMPLING": "reflectance: cubic, usable pixels: nearest; none where an item's pixels are the grid's",
    }


def _halo_px(box: GeoBox, options: MosaicOptions) -> int:
    """Return how far beyond a rectangle blending looks."""
    return ceil(options.mosaic.feather_m / box.pixel_m)


def _window_px(n_items: int, options: MosaicOptions) -> int:
    stacked = options.mosaic.choice == "medoid" and n_items > STACK_ITEMS
    return max(64, WINDOW_PX >> ceil(np.log2(n_items / STACK_ITEMS) / 2)) if stacked else WINDOW_PX


def _fill(
    window: GeoBox, items: Sequence[MeasuredItem], readers: Readers, options: MosaicOptions
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Return the window's values (4, h, w) and source (h, w)."""
    halo = _halo_px(window, options)
    wide = window.grown(halo)
    here = touching(items, wide)
    numbers = {item.id: number for number, item in enumerate(items, 1)}
    layers = [Layer(numbers[item.id], item, readers, wide) for item in here]
    if options.mosaic.choice == "greenest":
        values, source = choice.best_of_surface(choice.greenest, layers, wide.shape)
    elif options.mosaic.choice == "medoid":
        values, source = choice.best_of_surface(choice.medoid, layers, wide.shape)
    else:
        values, source = choice.first(layers, wide.shape)
    if halo:
        values = choice.feathered(layers, values, source, halo)
    inner = wide.slices_of(window)
    return values[(slice(None), *inner)], source[inner]
