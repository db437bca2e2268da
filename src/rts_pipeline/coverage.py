"""Stages `coverage` and `observed`: how often each pixel of the area was seen in each year, and how much of each cell.

An observation is an item's usable pixel in the season: two items of one overpass that overlap are two observations. What
the network or a reviewer didn't find where this says 0 was not looked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rts_pipeline.errors import UsageError
from rts_pipeline.grid import GeoBox
from rts_pipeline.io.rasters import new_cog
from rts_pipeline.io.tables import read_parquet, write_parquet
from rts_pipeline.options import CoverageOptions
from rts_pipeline.progress import track
from rts_pipeline.scenes.reader import MeasuredItem, one_policy, touching, usable_on

NODATA, MOST = 255, 254
"""Outside the area's cells; the highest count, which stands for itself and all above."""

WINDOW_PX = 2048
"""Counted at once: large, since each item that touches a window is opened for it."""

TYPES = {
    "cell": "str",
    "year": "int64",
    "pixels": "int64",
    "observed_pixels": "int64",
    "observed_share": "float64",
    "n_items": "int64",
    "first_acquired": "str",
    "last_acquired": "str",
    "policy": "str",
}


@dataclass
class CellYear:
    """What was seen of a cell in a year."""

    cell: GeoBox
    year: int
    policy: str
    observed_pixels: int = 0
    acquired: dict[str, str] = field(default_factory=dict)
    """Time of acquisition by the id of the items that saw it."""

    def row(self) -> dict[str, Any]:
        """Return its row of the table."""
        pixels, times = self.cell.width * self.cell.height, self.acquired.values()
        return {
            "cell": self.cell.id,
            "year": self.year,
            "pixels": pixels,
            "observed_pixels": self.observed_pixels,
            "observed_share": self.observed_pixels / pixels,
            "n_items": len(self.acquired),
            "first_acquired": min(times, default=None),
            "last_acquired": max(times, default=None),
            "policy": self.policy,
        }


def count_observations(
    block: GeoBox, cells: Sequence[str], items: Sequence[Path], out: Path, out_table: Path, options: CoverageOptions
) -> None:
    """Count for each pixel and year the items in season that saw it; of the items only usable.tif is read.

    Args:
        block: where; the raster covers it exactly.
        cells: names of the area's cells in it.
        items: item.json files of `scenes`, in any order; those that were rejected, or are out of season, don't count.
        out: COG uint8, a band a year (its description): 0-254 usable observations, 0 = not observed, 254 = 254 or more,
            255 = nodata, outside the area's cells.
        out_table: a row a (cell, year), in that order: pixels, observed_pixels (at least one observation), observed_share
            (0-1), n_items (that saw any pixel), first_acquired and last_acquired (ISO 8601, UTC; null where none did),
            policy (version of the usability policy, also the raster's tag POLICY; "" for a block without items).
        options: years, season, grid.

    Raises:
        UsageError: a cell doesn't lie in the block.
        InputError: an item's file is missing or damaged, or the items were measured by different policies.
    """
    grid = options.grid.grid()
    for cell in cells:
        if grid.block_of(cell) != block.id:
            raise UsageError(cell, f"does not lie in block {block.id}", expected="cells of the block")
    used = [item for item in map(MeasuredItem.load, items) if item.status == "used"]
    by_year = {year: [item for item in used if options.time.in_season(item.acquired, year)] for year in options.years}
    policy = one_policy(used)
    boxes = [grid.cell(cell) for cell in sorted(cells)]
    seen = {box.id: [CellYear(box, year, policy) for year in by_year] for box in boxes}
    parts = [part for box in boxes for part in box.windows(WINDOW_PX)]
    # by band: where bands are interleaved GDAL fills a tile that is written in part with 0, which would say "not observed"
    profile: dict[str, Any] = {"count": len(by_year), "dtype": "uint8", "nodata": NODATA, "interleave": "band", **block.profile}
    with new_cog(out, overview_resampling="nearest", **profile) as target:
        target.descriptions = [str(year) for year in by_year]
        target.update_tags(POLICY=policy)
        for part in track(parts, len(parts), f"coverage {block.id}", "windows"):
            counts = [_count(part, by_year[cell_year.year], cell_year) for cell_year in seen[part.id]]
            target.write(np.stack(counts), window=block.window_of(part))
    rows = [cell_year.row() for years in seen.values() for cell_year in years]
    write_parquet(out_table, pd.DataFrame(rows, columns=list(TYPES)).astype(TYPES))


def unite_observed(tables: Sequence[Path], out: Path) -> None:
    """Write the rows of all blocks as one table, by cell and year.

    Args:
        tables: what `count_observations` wrote of each block.
        out: the table, with the same columns.

    Raises:
        InputError: a table is missing or damaged.
    """
    rows = pd.concat([read_parquet(table) for table in tables])
    write_parquet(out, rows.sort_values(["cell", "year"], kind="stable"))


def _count(part: GeoBox, items: Sequence[MeasuredItem], seen: CellYear) -> NDArray[np.uint8]:
    """Return the counts (h, w) of a window and note in `seen` what they add to the cell."""
    counts = np.zeros(part.shape, np.uint8)
    for item in touching(items, part):
        usable = usable_on(item, part)
        if usable is not None and usable.any():
            np.add(counts, 1, out=counts, where=usable & (counts < MOST))
            seen.acquired[item.id] = item.acquired
    seen.observed_pixels += int(np.count_nonzero(counts))
    return counts
