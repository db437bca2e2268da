"""What the delivered images give: the items to measure, in their batches, and the cells and blocks that they show."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rts_pipeline.config import Config
from rts_pipeline.errors import InputError
from rts_pipeline.grid import Grid

if TYPE_CHECKING:
    from rts_pipeline.scenes.batches import Batches
    from rts_pipeline.scenes.overview import Overview
    from rts_pipeline.scenes.select import Selection


class Images:
    """The items of a project, and the cells and blocks of its area."""

    def __init__(self, config: Config, records_until: int | None = None) -> None:
        """Take what is configured; folders are read when something is asked.

        Args:
            config: validated, with the grid resolved.
            records_until: in the jobs of a run the time of the newest record of measured items when it began (ns).
        """
        self.config = config
        self.grid: Grid = config.grid.grid()
        self._records_until = records_until

    @cached_property
    def overview(self) -> Overview:
        """What the configured folders hold."""
        from rts_pipeline.scenes.overview import overview

        folders = [Path(folder) for folder in self.config.scenes.folders]
        return overview(folders, self.config.scenes, self._scenes)

    @property
    def known(self) -> str:
        """Digest of the items found, so that the table of items is renewed when one comes, goes or changes."""
        return self.overview.known

    @property
    def listing(self) -> str:
        """Digest of all files below the folders, so that the ledger is renewed when one comes or goes."""
        return self.overview.listing

    @property
    def _scenes(self) -> Path:
        return Path(self.config.results, "scenes")

    @cached_property
    def selection(self) -> Selection:
        """The items that are needed.

        Raises:
            InputError: no item of the target year lies in the area.
        """
        from rts_pipeline.scenes.memory import remembered, state_of, state_of_layer
        from rts_pipeline.scenes.overview import recall
        from rts_pipeline.scenes.select import Selection, area_cells, select

        config, aoi = self.config, Path(self.config.area.aoi)
        moved_m = config.adjust.max_shift_m if config.adjust.shifts == "correct" else 0.0
        reach_m = max(config.mosaic.feather_m, moved_m)
        years = config.evidence.years

        def chosen() -> dict[str, Any]:
            items = recall(self._scenes)
            return vars(select(items, area_cells(aoi, self.grid), self.grid, config.time, years, reach_m))

        state = state_of(self.overview.state, str(aoi), state_of_layer(aoi), self.grid, config.time, years, reach_m)
        answer = remembered(self._scenes / ".selection.json", state, chosen)
        # an item is in a dozen of these lists, and JSON makes a string of its own for each
        shared = {
            name: {place: [*map(sys.intern, ids)] for place, ids in answer[name].items()} for name in ("by_cell", "by_block")
        }
        selection = Selection(**answer | shared)
        if not selection.by_cell:
            raise InputError(
                config.area.aoi,
                f"none of the {len(self.overview.items)} usable items lies in it in the season of {config.time.target_year}",
                expected="items that cover the area of interest",
                do="check area.aoi, time and scenes.folders",
            )
        return selection

    @property
    def items(self) -> list[str]:
        """Ids of the items to measure."""
        return self.selection.items

    @cached_property
    def _batches(self) -> Batches:
        from rts_pipeline.scenes.batches import assign, newest_record

        folder = self._scenes / "batches"
        until = newest_record(folder) if self._records_until is None else self._records_until
        wanted = set(self.items)
        return assign(folder, [item for item in self.overview.items if item.id in wanted], until)

    def batches(self, items: Iterable[str]) -> list[str]:
        """Return the sorted names of the batches that items (ids) are measured in."""
        return sorted({self._batches.of[item] for item in items})

    def batch_items(self, batch: str) -> list[str]:
        """Return the items of a batch, each with the version of its files."""
        return self._batches.versions[batch]

    @property
    def cells(self) -> list[str]:
        """Names of the area's cells that at least one item of the target year touches."""
        return list(self.selection.by_cell)

    @cached_property
    def blocks(self) -> list[str]:
        """Names of the blocks that hold such a cell."""
        return sorted({self.grid.block_of(cell) for cell in self.cells})

    @cached_property
    def adjusted(self) -> set[str]:
        """Ids of the items that are made to agree: all, or none when that is off."""
        return set(self.items) if self.config.adjust.active else set()

    @property
    def adjusted_years(self) -> set[str]:
        """Those of them that aren't of the target year: they are made to agree with its mosaics."""
        return self.adjusted - self.selection.target

    def items_near(self, block: str) -> set[str]:
        """Return the ids of the target year's items that can show a sample window that begins in the block."""
        return set().union(*(self.selection.by_cell[cell] for cell in self.cells_sampled(block)))

    def years_in(self, block: str) -> set[str]:
        """Return the ids of the other years' items that reach the block; those beside it are compared in the block there."""
        return set(self.selection.by_block[block]) - self.selection.target

    def cells_sampled(self, block: str) -> list[str]:
        """Return the cells that sample windows can reach that begin in the block."""
        from rts_pipeline.scenes.sample import WINDOW_PX

        return self._cells_within(block, WINDOW_PX)

    def cells_near(self, block: str) -> list[str]:
        """Return the cells that a block's prediction reads: its own and those within a window around it."""
        return self._cells_within(block, self.config.predict.window_px)

    def _cells_within(self, block: str, halo_px: int) -> list[str]:
        return [cell for cell in self.grid.cells_in(self.grid.neighbours(block, halo_px)) if cell in self.selection.by_cell]
