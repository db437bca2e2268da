"""Stage `overlaps`: how items differ where they see the same ground: displacement and radiometry.

The items of the target year are compared with each other, those of other years with the target year's mosaics.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
from numpy.typing import NDArray

from rts_pipeline.config import BANDS, Agreement
from rts_pipeline.grid import GeoBox
from rts_pipeline.io.rasters import GDAL_OPTIONS
from rts_pipeline.io.tables import write_parquet
from rts_pipeline.options import OverlapsOptions
from rts_pipeline.progress import track
from rts_pipeline.scenes.radiometry import MOMENTS, moments, samples, unchanged
from rts_pipeline.scenes.reader import MeasuredItem, Readers, touching
from rts_pipeline.scenes.reference import MOSAIC, REFERENCE, MosaicReader, ReferenceReader
from rts_pipeline.scenes.registration import LEAST_CORRELATION, Array, Displacement, displacement, moved, texture
from rts_pipeline.scenes.sample import LEAST_PX, WINDOW_PX, starts

PARTNERS = 3
"""Items are compared with so many before and after them (by id, thus by time): 3 n pairs where n overlap, not n^2 / 2."""

Pinned = ReferenceReader | MosaicReader
"""What items are held against."""

MOMENT_COLUMNS = [f"{band}_{name}" for band in BANDS for name in MOMENTS]
COLUMNS = {
    "a": "str",
    "b": "str",
    "window_column": "int64",
    "window_row": "int64",
    "shift_east_m": "float64",
    "shift_north_m": "float64",
    "correlation": "float64",
    "samples": "int64",
    **dict.fromkeys(MOMENT_COLUMNS, "float64"),
}


def measure_overlaps(
    block: GeoBox, items: Sequence[Path], out: Path, options: OverlapsOptions, mosaics: Sequence[Path] = ()
) -> None:
    """Compare the items that overlap in sample windows of a block, or each of them with the mosaics where some are given.

    A window belongs to the block that its upper left pixel lies in, and is read beyond the block's edge.

    Writes a GeoParquet with a row for each window and pair of items that share ground there, sorted:
        a, b: the items' ids, a < b; b can be "reference" or "mosaic".
        window_column, window_row: the window's upper left pixel on the grid; its outline is the geometry.
        shift_east_m, shift_north_m: how far a's content lies from b's, in metres; null where not measured.
        correlation: of their textures once that is undone, -1 to 1; null where not measured.
        samples: squares of 8 px of unchanged ground; 0 where radiometry wasn't measured.
        <band>_x, _y, _xx, _yy, _xy: sums over the samples of a's mean x and b's mean y (reflectance x 10,000).

    Args:
        block: where.
        items: item.json files of `scenes`, in any order; those that were rejected are left out.
        out: the GeoParquet.
        options: what is measured, and the reference, which the items are compared with beside each other.
        mosaics: those of the cells around.

    Raises:
        InputError: an item's file, the reference or a mosaic is missing or damaged.
    """
    loaded = {item.id: item for item in map(MeasuredItem.load, items) if item.status == "used"}
    chosen = touching([loaded[name] for name in sorted(loaded)], _reach(block))
    windows = list(_windows(block))
    rows: list[dict[str, Any]] = []
    with rasterio.Env(**GDAL_OPTIONS), Readers() as readers, _pinned(options, mosaics) as pinned:
        for window in track(windows, len(windows), f"overlaps {block.id}", "windows"):
            views = _views(window, chosen, readers, pinned)
            rows += [_compare(window, views[a], views[b], options.adjust) for a, b in pairs(views)]
    write_parquet(out, _frame(rows, block))


def _pinned(options: OverlapsOptions, mosaics: Sequence[Path]) -> AbstractContextManager[Pinned | None]:
    if mosaics:
        return MosaicReader(mosaics, options.grid.grid())
    if options.adjust.reference and options.adjust.shifts != "none":
        return ReferenceReader(Path(options.adjust.reference))
    return nullcontext()


def _reach(block: GeoBox) -> GeoBox:
    return block.part(0, 0, block.height + WINDOW_PX, block.width + WINDOW_PX)


def _windows(block: GeoBox) -> Iterator[GeoBox]:
    for row in starts(block.row, block.height):
        for column in starts(block.column, block.width):
            yield block.part(row - block.row, column - block.column, WINDOW_PX, WINDOW_PX)


@dataclass(frozen=True)
class View:
    """What an item shows of a window: reflectance x 10,000 (4, h, w), and where it is usable (h, w)."""

    id: str
    values: NDArray[np.uint16]
    usable: NDArray[np.bool_]

    @cached_property
    def texture(self) -> Array:
        """What displacement is measured on (h, w)."""
        return texture(self.values, self.usable)


def _views(window: GeoBox, items: Sequence[MeasuredItem], readers: Readers, pinned: Pinned | None) -> list[View]:
    """Return the items that show enough of the window, by id; what they are held against, if it does, last."""
    shown = [(item.id, readers.of(item).read(window)) for item in touching(items, window)]
    if pinned is not None:
        shown.append((pinned.id, pinned.read(window)))
    return [View(name, *got) for name, got in shown if got is not None and np.count_nonzero(got[1]) >= LEAST_PX]


def pairs(views: Sequence[View]) -> list[tuple[int, int]]:
    """Return the positions, lower first, of the views to compare.

    Each is compared with the PARTNERS nearest before and after it of those that share LEAST_PX with it: so even one that
    overlaps a single other is compared. The reference is compared with all, the mosaic too, and then nothing else.
    """
    if not views:
        return []
    masks = np.stack([view.usable.ravel() for view in views]).astype(np.float32)
    enough = masks @ masks.T >= LEAST_PX
    chosen: set[tuple[int, int]] = set()
    for one, view in enumerate(views):
        partners = np.flatnonzero(enough[one])
        before, after = partners[partners < one], partners[partners > one]
        if view.id in (REFERENCE, MOSAIC):
            near = before
        elif views[-1].id == MOSAIC:
            continue
        else:
            near = np.concatenate([before[-PARTNERS:], after[:PARTNERS]])
        chosen |= {(min(one, int(other)), max(one, int(other))) for other in near}
    return sorted(chosen)


def _compare(window: GeoBox, a: View, b: View, what: Agreement) -> dict[str, Any]:
    row: dict[str, Any] = {"a": a.id, "b": b.id, "window_column": window.column, "window_row": window.row, "samples": 0}
    found = None
    if what.shifts != "none":
        found = displacement(a.texture, b.texture, a.usable, b.usable, LEAST_PX)
    if found is not None:
        row["shift_east_m"], row["shift_north_m"] = found.metres(window.pixel_m)
        row["correlation"] = found.correlation
    if what.radiometry == "overlaps" and b.id != REFERENCE:  # whose place is right, not its radiometry
        row |= _radiometry(a, b, found)
    return row


def _radiometry(a: View, b: View, found: Displacement | None) -> dict[str, Any]:
    to = found.whole if found is not None and found.correlation >= LEAST_CORRELATION else (0, 0)
    x, y = samples(a.values, moved(b.values, to), a.usable & moved(b.usable, to))
    same = unchanged(x, y)
    sums = moments(x[:, same], y[:, same])
    return {"samples": np.count_nonzero(same), **dict(zip(MOMENT_COLUMNS, sums.ravel().tolist(), strict=True))}


def _frame(rows: list[dict[str, Any]], block: GeoBox) -> gpd.GeoDataFrame:
    order = ("window_row", "window_column", "a", "b")
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table[MOMENT_COLUMNS] = table[MOMENT_COLUMNS].astype(float).fillna(0.0)
    table = table.astype(COLUMNS).sort_values(list(order))
    outlines = [
        block.part(row - block.row, column - block.column, WINDOW_PX, WINDOW_PX).polygon
        for column, row in zip(table["window_column"], table["window_row"], strict=True)
    ]
    return gpd.GeoDataFrame(table, geometry=outlines, crs=block.crs)
