"""Which items are needed, and where: cells of the target year, blocks of all wanted years."""

import random
from pathlib import Path

from rts_pipeline.config import Season
from rts_pipeline.grid import Grid
from rts_pipeline.scenes.discover import Item
from rts_pipeline.scenes.select import select

CRS = "EPSG:32646"
GRID = Grid(CRS, cell_px=2048, block_cells=2)
CELL_M = 2048 * 3.0


def item(item_id, west, south, edge_m=1000.0):
    """An item of a square; its id begins with the day."""
    return Item(
        id=item_id,
        acquired=f"{item_id[:4]}-{item_id[4:6]}-{item_id[6:8]}T04:00:00.000000Z",
        reflectance=Path(),
        mask=None,
        mask_kind="none",
        metadata=None,
        xml=None,
        crs=CRS,
        bounds=(west, south, west + edge_m, south + edge_m),
        shape=(10, 10),
        fingerprint={},
    )


def test_blocks_know_the_items_of_all_years_and_cells_those_of_the_target_year():
    cells = ["e0078_n0628", "e0079_n0628", "e0080_n0628", "e0082_n0628"]
    x, y = 80 * CELL_M, 628 * CELL_M + 100
    both, left = item("20190801_1", x - 500, y), item("20180801_2", x - 3000, y)
    lost, early = item("20190801_3", x + CELL_M + 100, y), item("20190101_4", x, y)
    found = select([early, lost, left, both], cells, GRID, Season(), [2018])
    assert found.by_block == {
        "b_e0039_n0314": ["20180801_2", "20190801_1"],
        "b_e0040_n0314": ["20190801_1"],
        "b_e0041_n0314": [],  # nothing delivered there: it must still be said that nobody looked
    }
    assert found.block_cells == {"b_e0039_n0314": cells[:2], "b_e0040_n0314": cells[2:3], "b_e0041_n0314": cells[3:]}
    assert found.by_cell == {"e0079_n0628": ["20190801_1"], "e0080_n0628": ["20190801_1"]}
    assert found.ignored == {
        "20190101_4": "acquired outside the season of 2018, 2019",
        "20190801_3": "outside the area of interest",
    }
    assert list(found.items) == ["20180801_2", "20190801_1"]


def test_what_comes_near_to_a_cell_has_a_part_in_its_mosaic_and_counts_where_that_is_wanted():
    cells = ["e0079_n0628", "e0080_n0628"]
    x, y = 80 * CELL_M, 628 * CELL_M + 100
    items = [item("20190801_1", x - 1100, y), item("20190801_2", x + CELL_M + 50, y)]
    assert select(items, cells, GRID, Season(), []).by_cell == {"e0079_n0628": ["20190801_1"]}
    found = select(items, cells, GRID, Season(), [], reach_m=101.0)
    assert found.by_cell == {"e0079_n0628": ["20190801_1"], "e0080_n0628": ["20190801_1"]}
    assert found.by_block == {"b_e0039_n0314": ["20190801_1"], "b_e0040_n0314": ["20190801_1"]}
    assert list(found.items) == ["20190801_1"], "what only comes near to the area is not needed"


def test_ten_thousand_items_on_1400_cells():
    draw = random.Random(0)
    cells = [f"e{column:04d}_n{row:04d}" for column in range(70, 110) for row in range(628, 663)]
    items = [
        item(f"{2016 + n % 5}0801_{n}", draw.uniform(70, 109) * CELL_M, draw.uniform(628, 662) * CELL_M, 9000.0)
        for n in range(10_000)
    ]
    found = select(items, cells, GRID, Season(), [2016, 2017, 2018, 2020])
    assert len(found.by_block) == 20 * 18
    assert sum(map(len, found.by_block.values())) > 10_000
