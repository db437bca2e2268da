"""Which of the delivered items are needed: those in the area, in the season of a wanted year."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rts_pipeline.config import Season
from rts_pipeline.grid import Grid
from rts_pipeline.io.vectors import read_outlines

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pyproj import Transformer
    from shapely import STRtree

    from rts_pipeline.scenes.discover import Item


@dataclass(frozen=True)
class Selection:
    """Items to measure, and what for.

    Attributes:
        items: ids of the items, for all wanted years.
        by_cell: name of a cell of the area -> ids of the target year's items that reach it; cells without any are left
            out.
        by_block: name of a block that holds a cell of the area -> ids of the items of all wanted years that reach such a
            cell in it; also blocks without any.
        block_cells: name of such a block -> the area's cells in it.
        ignored: item id -> why it isn't needed.
    """

    items: list[str]
    by_cell: dict[str, list[str]]
    by_block: dict[str, list[str]]
    block_cells: dict[str, list[str]]
    ignored: dict[str, str]

    @cached_property
    def target(self) -> frozenset[str]:
        """Ids of the target year's items."""
        return frozenset().union(*self.by_cell.values())


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
        reach_m: items that come so near to a cell reach it too (where seams are blended, or displaced items are moved); it
            makes no item needed.
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
    ordered = sorted(items, key=lambda item: item.id)
    in_season = [item for item in ordered if any(time.in_season(item.acquired, year) for year in wanted)]
    extents = _extents(in_season, grid)
    touched, near = _pairs(boxes, extents), _pairs(reached, extents)
    selected: list[str] = []
    by_cell: dict[str, list[str]] = {}
    ignored = {item.id: out_of_season for item in ordered}
    for number, item in enumerate(in_season):
        if number not in touched:
            ignored[item.id] = "outside the area of interest"
            continue
        del ignored[item.id]
        selected.append(item.id)
        for block in {block_of[index] for index in near[number]}:
            by_block[block].append(item.id)
        if time.in_season(item.acquired, time.target_year):
            for index in near[number]:
                by_cell.setdefault(cells[index], []).append(item.id)
    return Selection(selected, dict(sorted(by_cell.items())), by_block, block_cells, ignored)


def _pairs(tree: STRtree, extents: NDArray[np.object_]) -> dict[int, list[int]]:
    """Return the indexes of what each extent touches; extents that touch nothing are left out."""
    pairs: dict[int, list[int]] = {}
    for number, index in zip(*tree.query(extents, predicate="intersects").tolist(), strict=True):
        pairs.setdefault(number, []).append(index)
    return pairs


def _extents(items: Sequence[Item], grid: Grid) -> NDArray[np.object_]:
    """Return the items' raster extents in the grid's CRS (edges densified, since they bend between zones)."""
    import shapely

    bounds = np.array([item.bounds for item in items]).reshape(-1, 4)
    outlines = shapely.segmentize(shapely.box(*bounds.T), np.maximum(1.0, (bounds[:, 2] - bounds[:, 0]) / 16))
    crs = np.array([item.crs for item in items], dtype=object)
    for source in set(crs.tolist()):
        of_zone = crs == source
        to_grid: Any = _transformer(source, grid.crs).transform
        outlines[of_zone] = shapely.transform(outlines[of_zone], to_grid, interleaved=False)
    return outlines


@cache
def _transformer(source: str, target: str) -> Transformer:
    from pyproj import Transformer

    return Transformer.from_crs(source, target, always_xy=True)
