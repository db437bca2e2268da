"""Which of the delivered items are needed: those in the area, in the season of a wanted year."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rts_pipeline.config import Season
from rts_pipeline.grid import Grid
from rts_pipeline.io import read_outlines

if TYPE_CHECKING:
    from pyproj import Transformer

    from rts_pipeline.scenes.discover import Item


@dataclass(frozen=True)
class Selection:
    """Items to measure, and what for.

    Attributes:
        items: item id -> item, for all wanted years.
        by_cell: name of a cell of the area -> ids of the target year's items that reach it; cells without any are left
            out.
        by_block: name of a block that holds a cell of the area -> ids of the items of all wanted years that touch such a
            cell in it; also blocks without any.
        block_cells: name of such a block -> the area's cells in it.
        ignored: item id -> why it isn't needed.
    """

    items: dict[str, Item]
    by_cell: dict[str, list[str]]
    by_block: dict[str, list[str]]
    block_cells: dict[str, list[str]]
    ignored: dict[str, str]

    @property
    def target(self) -> set[str]:
        """Ids of the target year's items."""
        return set().union(*self.by_cell.values())


def area_cells(aoi: Path, grid: Grid) -> list[str]:
    """Return the names of the cells that share area with the area of interest.

    Raises:
        InputError: the file can't be used as it is.
    """
    area = read_outlines(aoi, "area of interest (area.aoi)", crs=grid.crs)
    return grid.cells_touching(area.geometry.to_numpy())


def select(
    items: Iterable[Item], cells: Sequence[str], grid: Grid, time: Season, years: Sequence[int], reach_m: float = 0.0
) -> Selection:
    """Select the items in season that touch the area's cells.

    Args:
        items: the delivered items that can be used.
        cells: names of the area's cells.
        grid: the grid.
        time: season and target year.
        years: further years whose images are wanted as evidence.
        reach_m: items that come so near to a cell have a part in its mosaic too (where seams are blended, or displaced items
            are moved); it makes no item needed.
    """
    import shapely

    block_of = [grid.block_of(cell) for cell in cells]
    block_cells: dict[str, list[str]] = {block: [] for block in sorted(set(block_of))}
    for cell, block in zip(cells, block_of, strict=True):
        block_cells[block].append(cell)
    by_block: dict[str, list[str]] = {block: [] for block in block_cells}
    polygons = [grid.cell(cell).polygon for cell in cells]
    boxes = shapely.STRtree(polygons)
    reached = shapely.STRtree(shapely.buffer(polygons, reach_m, join_style="mitre")) if reach_m else boxes
    wanted = sorted({time.target_year, *years})
    # the same for all, without the day, so that accounts can count the items by reason
    out_of_season = f"acquired outside the season of {', '.join(map(str, wanted))}"
    selected: dict[str, Item] = {}
    by_cell: dict[str, list[str]] = {}
    ignored: dict[str, str] = {}
    for item in sorted(items, key=lambda item: item.id):
        if not any(time.in_season(item.acquired, year) for year in wanted):
            ignored[item.id] = out_of_season
            continue
        extent = _extent(item, grid)
        touched = boxes.query(extent, predicate="intersects")
        if len(touched) == 0:
            ignored[item.id] = "outside the area of interest"
            continue
        selected[item.id] = item
        for block in {block_of[index] for index in touched}:
            by_block[block].append(item.id)
        if time.in_season(item.acquired, time.target_year):
            for index in reached.query(extent, predicate="intersects"):
                by_cell.setdefault(cells[index], []).append(item.id)
    return Selection(selected, dict(sorted(by_cell.items())), by_block, block_cells, ignored)


def _extent(item: Item, grid: Grid) -> Any:
    """Return the item's raster extent in the grid's CRS (edges densified, since they bend between zones)."""
    import shapely

    outline = shapely.segmentize(shapely.box(*item.bounds), max(1.0, (item.bounds[2] - item.bounds[0]) / 16))
    to_grid: Any = _transformer(item.crs, grid.crs).transform
    return shapely.transform(outline, to_grid, interleaved=False)


@cache
def _transformer(source: str, target: str) -> Transformer:
    from pyproj import Transformer

    return Transformer.from_crs(source, target, always_xy=True)
