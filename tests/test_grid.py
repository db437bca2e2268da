import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from rts_pipeline.errors import UsageError
from rts_pipeline.grid import Grid

GRID = Grid("EPSG:32646", 3.0, 512, 2)
INDEX = st.integers(-3000, 3000)


def cell_name(column, row):
    return f"{'e' if column >= 0 else 'w'}{abs(column):04d}_{'n' if row >= 0 else 's'}{abs(row):04d}"


@given(INDEX, INDEX)
def test_cell_bounds_follow_from_the_name(column, row):
    cell = GRID.cell(cell_name(column, row))
    size = 512 * 3.0
    assert cell.bounds == (column * size, row * size, (column + 1) * size, (row + 1) * size)
    assert cell.transform @ (0, 0) == (cell.bounds[0], cell.bounds[3])
    assert cell.transform @ (cell.width, cell.height) == (cell.bounds[2], cell.bounds[1])


@given(INDEX, INDEX)
def test_a_cell_lies_wholly_in_its_block(column, row):
    cell = GRID.cell(cell_name(column, row))
    block = GRID.block(GRID.block_of(cell.id))
    assert block.intersection(cell) is not None
    assert block.polygon.covers(cell.polygon)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(1, 5000), st.floats(1, 5000))
def test_cells_touching_cover_the_geometry_and_no_more(x, y, width, height):
    geometry = shapely.box(x, y, x + width, y + height)
    cells = [GRID.cell(name).polygon for name in GRID.cells_touching(geometry)]
    assert shapely.union_all(cells).buffer(1e-6).covers(geometry)
    assert all(cell.intersects(geometry) for cell in cells)


def test_cells_touching_is_the_same_for_a_larger_area():
    small = shapely.box(1000, 1000, 3000, 3000)
    large = shapely.box(0, 0, 9000, 9000)
    assert set(GRID.cells_touching(small)) < set(GRID.cells_touching(large))


def test_an_edge_shared_with_a_neighbour_is_not_area():
    assert GRID.cells_touching(GRID.cell("e0001_n0001").polygon) == ["e0001_n0001"]


@given(INDEX, INDEX, st.integers(-600, 600), st.integers(-600, 600), st.integers(1, 1500), st.integers(1, 1500))
def test_cells_in_a_rectangle_are_those_that_its_outline_touches(column, row, left, top, width, height):
    box = GRID.cell(cell_name(column, row)).part(top, left, height, width)
    assert GRID.cells_in(box) == GRID.cells_touching(box.polygon)


def test_empty_geometries_touch_nothing():
    assert GRID.cells_touching(np.array([shapely.Polygon()], dtype=object)) == []


def test_slices_and_windows_agree():
    cell, block = GRID.cell("e0003_n0004"), GRID.block("b_e0001_n0002")
    rows, columns = block.slices_of(cell)
    window = block.window_of(cell)
    assert (rows.start, columns.start) == (window.row_off, window.col_off)
    assert (rows.stop - rows.start, columns.stop - columns.start) == cell.shape


def test_boxes_apart_have_no_intersection():
    assert GRID.cell("e0000_n0000").intersection(GRID.cell("e0002_n0000")) is None
    assert GRID.cell("e0000_n0000").intersection(GRID.cell("e0001_n0000")) is None


@pytest.mark.parametrize("name", ["e1_n1", "b_e0001_n0001", "x0001_n0001", ""])
def test_wrong_cell_names_are_told(name):
    with pytest.raises(UsageError, match="not the name of a cell"):
        GRID.cell(name)
