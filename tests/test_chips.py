import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from learning_case import CELL_PX, CRS, make_world, review_row, write_review
from rts_pipeline.chips import COLUMNS, block_grid, build_chips, lattice, split_of
from rts_pipeline.config import Chips
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.grid import Grid
from rts_pipeline.labels import build_labels
from rts_pipeline.options import ChipsOptions, LabelsOptions

CHIPS = Chips(size_px=64, stride_px=32, buffer_m=30, background_reach_m=600, block_m=384, validation_fraction=0.3)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    gap = slice(0, CELL_PX), slice(0, CELL_PX)
    return make_world(tmp_path_factory.mktemp("world"), step=96, gap=gap)


@pytest.fixture(scope="module")
def labels(world):
    path = world.folder / "labels.parquet"
    rejected = shapely.box(*world.grid.cell("e0011_n0021").bounds).centroid.buffer(20)
    review = write_review(world.folder / "reviewed.parquet", [review_row("r01-0001", "reject", rejected)])
    build_labels(world.seeds, [review], path, LabelsOptions(grid=world.section))
    return path


def build(world, labels, **changes):
    out = world.folder / "chips.parquet"
    build_chips(labels, world.mosaics, out, ChipsOptions(grid=world.section, chips=CHIPS.model_copy(update=changes)))
    return gpd.read_parquet(out)


def test_columns_and_places(world, labels):
    chips = build(world, labels)
    assert list(chips.columns) == COLUMNS
    assert chips.chip_id.is_unique
    assert set(chips.kind) == {"positive", "negative", "background"}
    for chip in chips.itertuples():
        assert chip.geometry.bounds == (chip.column * 3, -(chip.row + 64) * 3, (chip.column + 64) * 3, -chip.row * 3)
        assert world.grid.cell(chip.cell).polygon.intersects(chip.geometry)


def test_kinds_follow_the_labels(world, labels):
    chips, known = build(world, labels), gpd.read_parquet(labels)
    for kind in ("positive", "negative"):
        near = known.geometry[known.kind == kind].buffer(30).union_all()
        touching = chips.geometry.intersects(near)
        assert touching[chips.kind == kind].all()
        if kind == "positive":
            assert not touching[chips.kind != kind].any()


def test_background_is_bounded_in_number_and_reach(world, labels):
    chips, known = build(world, labels, background_per_label=0.25, background_reach_m=60), gpd.read_parquet(labels)
    background = chips[chips.kind == "background"]
    assert len(background) > 0
    assert background.geometry.distance(known.union_all()).max() <= 60
    for split, group in chips.groupby("split"):
        n_background = (group.kind == "background").sum()
        assert n_background <= round(0.25 * (len(group) - n_background)), split


def test_unobserved_windows_are_left_out(world, labels):
    chips = build(world, labels)
    gap = world.grid.cell("e0010_n0022").polygon
    assert (chips.observed_fraction > 0.2).all()
    assert not chips.geometry.within(gap).any()
    expected = []
    for chip in chips.itertuples():
        rows, columns = chip.row - world.row, chip.column - world.column
        expected.append(world.pixels[:, rows : rows + 64, columns : columns + 64].any(axis=0).mean())
    assert np.abs(chips.observed_fraction - expected).max() < 0.05


def test_a_new_label_keeps_the_rest(world, labels, tmp_path):
    before = set(build(world, labels).chip_id)
    known = gpd.read_parquet(labels)
    fewer = tmp_path / "labels.parquet"
    known.iloc[1:].to_parquet(fewer)
    after = build(world, fewer)
    assert len(set(after.chip_id) - before) <= 0.1 * len(after)


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(2, 6).map(lambda n: 32 * n),
    stride=st.integers(32, 150),
    spare=st.integers(0, 200),
    seed=st.integers(0, 5),
    x=st.integers(-(10**6), 10**6),
    y=st.integers(-(10**6), 10**6),
)
def test_splits_are_pure(size, stride, spare, seed, x, y):
    """No window crosses a block, no validation window overlaps another one, and none shares a pixel with training."""
    chips = Chips(size_px=size, stride_px=stride, block_m=3.0 * (size + spare), validation_fraction=0.5, seed=seed)
    grid = Grid(CRS, 3.0, 2048)
    blocks = block_grid(grid, chips)
    place = shapely.box(x, y, x + 2.5 * chips.block_m, y + 2.5 * chips.block_m)
    windows = lattice(gpd.GeoSeries([place], crs=CRS), grid, blocks, chips)
    for name, group in windows.groupby("block"):
        block = blocks.cell(name.removeprefix("s_"))
        assert set(group.split) == {split_of(name.removeprefix("s_"), chips)}
        assert (group.column >= block.column).all()
        assert (group.row >= block.row).all()
        assert (group.column + size <= block.column + block.width).all()
        assert (group.row + size <= block.row + block.height).all()
    boxes, validation = windows.geometry.to_numpy(), (windows.split == "validation").to_numpy()
    tree = shapely.STRtree(boxes)
    pairs = tree.query(boxes[validation], predicate="intersects")
    shared = shapely.area(shapely.intersection(boxes[validation][pairs[0]], boxes[pairs[1]])) > 0
    assert (np.flatnonzero(validation)[pairs[0][shared]] == pairs[1][shared]).all()


def test_splits_depend_on_the_seed_and_hold_their_share():
    names = [f"e{i:04d}_n{j:04d}" for i in range(40) for j in range(40)]
    splits = [[split_of(name, Chips(seed=seed)) for name in names] for seed in (0, 1)]
    assert splits[0] != splits[1]
    assert 0.2 < splits[0].count("validation") / len(names) < 0.3


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_a_split_without_slumps_is_refused(world, labels, fraction):
    with pytest.raises(InputError, match=r"no window of the (train|validation) blocks holds a slump.*change chips\.seed"):
        build(world, labels, validation_fraction=fraction)


def test_labels_elsewhere_are_refused(world, labels, tmp_path):
    elsewhere = tmp_path / "labels.parquet"
    frame = gpd.read_parquet(labels)
    frame.set_geometry(frame.geometry.translate(1e5, 0)).to_parquet(elsewhere)
    with pytest.raises(InputError, match="none of its 17 labels lies on a mosaic"):
        build(world, elsewhere)


def test_some_labels_elsewhere_are_told(world, labels, tmp_path, capsys):
    frame = gpd.read_parquet(labels)
    frame.loc[0, "geometry"] = shapely.affinity.translate(frame.geometry[0], 1e5)
    frame.to_parquet(tmp_path / "labels.parquet")
    build(world, tmp_path / "labels.parquet")
    assert "1 of 17 labels lie outside all mosaics" in capsys.readouterr().err


def test_a_window_must_fit_into_a_block(world, labels):
    with pytest.raises(UsageError, match=r"chips\.block_m: 90 m is 30 px; expected at least chips\.size_px = 64 px"):
        build(world, labels, block_m=90.0)


def test_mosaics_without_pixels_are_refused(tmp_path):
    world = make_world(tmp_path, cells=1, gap=(slice(None), slice(None)))
    build_labels(world.seeds, [], tmp_path / "labels.parquet", LabelsOptions(grid=world.section))
    with pytest.raises(InputError, match="no window of the train blocks holds a slump"):
        build(world, tmp_path / "labels.parquet")
