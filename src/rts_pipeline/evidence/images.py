"""The items that may show a candidate."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import shapely

from rts_pipeline.errors import InputError
from rts_pipeline.grid import GeoBox, Grid
from rts_pipeline.io.files import sha256_file
from rts_pipeline.io.tables import read_geoparquet
from rts_pipeline.options import EvidenceOptions
from rts_pipeline.scenes import delivered
from rts_pipeline.scenes.reader import MeasuredItem

if TYPE_CHECKING:
    import geopandas as gpd


@dataclass(frozen=True)
class Images:
    """The used items of each year.

    Attributes:
        by_year: year -> table of the items of its season: `item`, and the footprint in the grid's CRS.
        stamps: item id -> what changes whenever its pixels or what is known of it does.
    """

    by_year: dict[int, gpd.GeoDataFrame]
    stamps: dict[str, list[str | int]]

    @classmethod
    def read(cls, catalog: Path, grid: Grid, options: EvidenceOptions) -> Self:
        """Read the items of a `catalog.parquet`.

        Raises:
            InputError: the table or an item can't be read.
        """
        table = read_geoparquet(catalog)
        used = table[(table["status"] == "used") & table["item_json"].notna()].to_crs(grid.crs)
        paths = [_found(Path(name), catalog) for name in used["item_json"]]
        used = used.assign(item=[MeasuredItem.load(path) for path in paths])
        seasons = {y: [options.time.in_season(at, y) for at in used["acquired"]] for y in options.evidence.years}
        years = {year: used[np.array(within, dtype=bool)] for year, within in seasons.items()}
        stamps = {item.id: _stamp(path, item) for path, item in zip(paths, used["item"], strict=True)}
        return cls(years, stamps)

    def showing(self, year: int, boxes: Sequence[GeoBox]) -> list[list[MeasuredItem]]:
        """Return for each box the items of a year whose footprint meets it."""
        table, grounds = self.by_year[year], np.array([box.polygon for box in boxes], dtype=object)
        seen: list[list[MeasuredItem]] = [[] for _ in boxes]
        for item, index in np.transpose(shapely.STRtree(grounds).query(table.geometry.to_numpy(), predicate="intersects")):
            seen[index].append(table["item"].iloc[item])
        return seen


def _stamp(path: Path, item: MeasuredItem) -> list[str | int]:
    stamp: list[str | int] = [item.id, sha256_file(path)]
    for raster in (item.reflectance, item.usable):
        with suppress(InputError):  # told when it is read
            stamp += delivered.stamp(raster)
    return stamp


def _found(item: Path, catalog: Path) -> Path:
    return item if item.exists() else catalog.parent / item
