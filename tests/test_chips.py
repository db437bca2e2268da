import hashlib
from itertools import product

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from learning_case import CELL_PX, CRS, make_world, review_row, write_review
from rts_pipeline import io
from rts_pipeline.chips import COLUMNS, SPLITS, Fold, block_grid, build_chips, lattice, split_of
from rts_pipeline.config import Chips
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.grid import Grid
from rts_pipeline.labels import build_labels
from rts_pipeline.options import ChipsOptions, FoldsOptions, LabelsOptions, options_json, parse_options

CHIPS = Chips(size_px=64, stride_px=32, buffer_m=30, background_reach_m=600, block_m=384, validation_fraction=0.3, guard_px=16)


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


def build(world, labels, fold=None, **changes):
    out = world.folder / "chips.parquet"
    options = ChipsOptions(grid=world.section, chips=CHIPS.model_copy(update=changes))
    build_chips(labels, world.mosaics, out, options, fold)
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
    training = chips[chips.split == "train"]
    n_background = (training.kind == "background").sum()
    assert 0 < n_background <= round(0.25 * (len(training) - n_background))


def test_all_windows_of_the_blocks_that_judge_are_kept(world, labels):
    """However little background is trained on, false outlines weigh as they do in the landscape."""
    chips, known = build(world, labels, test_fraction=0.3, background_per_label=0.1), gpd.read_parquet(labels)
    grid, reach = world.grid, known.geometry.buffer(600)
    windows = lattice(reach, grid, block_grid(grid, CHIPS), CHIPS.model_copy(update={"test_fraction": 0.3}))
    expected = windows[windows.apart & (windows.split != "train")]
    area = shapely.union_all([grid.cell(mosaic.stem).polygon for mosaic in world.mosaics])
    expected = expected[expected.geometry.within(area) & ~expected.geometry.within(grid.cell("e0010_n0022").polygon)]
    judged = chips[chips.split != "train"]
    assert set(judged.split) == {"validation", "test"}
    assert set(zip(judged.column, judged.row, strict=True)) == set(zip(expected.column, expected.row, strict=True))


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


@st.composite
def configurations(draw):
    size = draw(st.sampled_from([64, 96, 128]))
    validation, test = draw(st.sampled_from([(0.25, 0.0), (0.5, 0.0), (0.3, 0.3), (0.2, 0.4), (0.0, 0.5)]))
    return Chips(
        size_px=size,
        stride_px=draw(st.integers(32, 150)),
        block_m=3.0 * (size + draw(st.integers(0, 200))),
        validation_fraction=validation,
        test_fraction=test,
        guard_px=draw(st.none() | st.integers(0, 3 * size)),
        seed=draw(st.integers(0, 20)),
        folds=draw(st.integers(3, 6)),
    )


def gap_px(windows, size, box):
    """Pixels between windows (n, 2: row, column) and a box, by Chebyshev; 0 where they touch."""
    after = np.array([box.row, box.column]) - windows - size
    before = windows - np.array([box.row + box.height, box.column + box.width])
    return np.maximum(np.maximum(after, before).max(axis=1), 0)


def painted(windows, corner, shape, size):
    seen = np.zeros(shape, bool)
    for row, column in windows - corner:
        seen[row : row + size, column : column + size] = True
    return seen


@settings(max_examples=60, deadline=None)
@given(data=st.data(), chips=configurations(), fold=st.none() | st.integers(0, 2), corner=st.tuples(*[st.integers(-4, 4)] * 2))
def test_no_pixel_that_judges_is_trained_on_in_any_round(data, chips, fold, corner):
    """Rounds add labels. No window leaves its block, and between blocks of different splits the guard is kept."""
    fold = None if fold is None else Fold(fold, chips.folds)
    grid, size = Grid(CRS, 3.0, 2048), chips.size_px
    blocks = block_grid(grid, chips)
    edge, guard = blocks.cell_px, size + 1 if chips.guard_px is None else chips.guard_px
    places = st.tuples(st.floats(0.01, 2.99), st.floats(0.01, 2.99))
    rounds = data.draw(st.lists(st.lists(places, min_size=1, max_size=4), min_size=1, max_size=3))
    reach = data.draw(st.sampled_from([1.0, 200.0, 900.0]))
    labels, windows = [], []
    for added in rounds:
        labels += [shapely.Point((corner + np.array(place)) * edge * 3).buffer(reach, quad_segs=2) for place in added]
        windows.append(lattice(gpd.GeoSeries(labels, crs=CRS), grid, blocks, chips, fold))
    everything = pd.concat(windows)
    assume(len(everything))
    assert (everything.groupby("block").split.nunique() == 1).all(), "a block keeps its split in all rounds"
    for name, group in everything.groupby("block"):
        block = blocks.cell(name.removeprefix("s_"))
        assert set(group.split) == {split_of(block.id, chips, fold)}
        assert ((group.column >= block.column) & (group.column + size <= block.column + edge)).all()
        assert ((group.row >= block.row) & (group.row + size <= block.row + edge)).all()
    kept = {split: everything.loc[everything.apart & (everything.split == split), ["row", "column"]] for split in SPLITS}
    kept = {split: frame.drop_duplicates().to_numpy() for split, frame in kept.items()}
    top, left = everything.row.min(), everything.column.min()
    shape = everything.row.max() - top + size, everything.column.max() - left + size
    seen = {split: painted(places, np.array([top, left]), shape, size) for split, places in kept.items()}
    for split in ("validation", "test"):
        assert not (seen["train"] & seen[split]).any()
        assert seen[split].sum() == len(kept[split]) * size**2, "windows that judge never overlap"
    assert not (seen["validation"] & seen["test"]).any()
    for column, row in product(range(-6, 10), repeat=2):
        block = blocks.cell(blocks.cell_at((corner[0] + column + 0.5) * edge * 3, (corner[1] + row + 0.5) * edge * 3))
        for split in SPLITS[: SPLITS.index(split_of(block.id, chips, fold))]:
            assert (gap_px(kept[split], size, block) >= guard).all(), (split, block)


@settings(max_examples=40, deadline=None)
@given(chips=configurations(), x=st.integers(-3000, 3000), y=st.integers(-3000, 3000))
def test_only_the_guard_takes_windows_away(chips, x, y):
    """A window is left out exactly when it comes too near to a block of a later split."""
    grid, size = Grid(CRS, 3.0, 2048), chips.size_px
    blocks = block_grid(grid, chips)
    edge, guard = blocks.cell_px, size + 1 if chips.guard_px is None else chips.guard_px
    windows = lattice(gpd.GeoSeries([shapely.Point(x, y).buffer(edge)], crs=CRS), grid, blocks, chips)
    near = np.zeros(len(windows), bool)
    for down, right in product(range(-6, 7), repeat=2):
        block = blocks.cell(blocks.cell_at(x + right * edge * 3, y + down * edge * 3))
        earlier = windows.split.isin(SPLITS[: SPLITS.index(split_of(block.id, chips))]).to_numpy()
        near |= earlier & (gap_px(windows[["row", "column"]].to_numpy(), size, block) < guard)
    assert (windows.apart.to_numpy() == ~near).all()


@given(seed=st.integers(), folds=st.integers(3, 12), column=st.integers(0, 9999), row=st.integers(0, 9999))
def test_each_block_is_test_in_exactly_one_fold(seed, folds, column, row):
    name, chips = f"e{column:04d}_n{row:04d}", Chips(seed=seed, folds=folds)
    splits = [split_of(name, chips, Fold(number, folds)) for number in range(folds)]
    assert splits.count("test") == 1


def test_shares_of_the_splits():
    names = [f"e{i:04d}_n{j:04d}" for i in range(40) for j in range(40)]
    both = [[split_of(name, Chips(seed=seed)) for name in names] for seed in (0, 1)]
    assert both[0] != both[1]
    assert set(both[0]) == {"train", "validation"}
    assert 0.2 < both[0].count("validation") / len(names) < 0.3
    three = [split_of(name, Chips(validation_fraction=0.2, test_fraction=0.1)) for name in names]
    assert 0.08 < three.count("test") / len(names) < 0.12
    assert 0.17 < three.count("validation") / len(names) < 0.23
    of_fold = [split_of(name, Chips(validation_fraction=0.25), Fold(3, 5)) for name in names]
    assert 0.17 < of_fold.count("test") / len(names) < 0.23
    assert 0.17 < of_fold.count("validation") / len(names) < 0.23


@given(seed=st.integers(0, 1000), column=st.integers(0, 9999), fraction=st.floats(0, 0.99))
def test_without_test_blocks_the_split_is_the_one_that_it_always_was(seed, column, fraction):
    name = f"e{column:04d}_n0001"
    place = int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:7], "big") / 2**56
    assert split_of(name, Chips(seed=seed, validation_fraction=fraction)) == ("validation" if place < fraction else "train")


def test_rounds_add_windows_and_move_none(world, labels, tmp_path):
    known = gpd.read_parquet(labels)
    few = tmp_path / "labels.parquet"
    known.iloc[::2].to_parquet(few)
    before, after = (build(world, path, test_fraction=0.2, seed=1) for path in (few, labels))
    both = before.merge(after, on="chip_id")
    assert len(both) > 0.8 * len(before)
    assert (both.split_x == both.split_y).all()
    judged = pd.concat([before, after]).query("split != 'train'").geometry.union_all()
    trained = pd.concat([before, after]).query("split == 'train'").geometry.union_all()
    assert judged.buffer(16 * 3, join_style="mitre").intersection(trained).area == 0


def test_a_fold_takes_its_own_test_blocks(world, labels):
    tested = {}
    for number in range(3):
        try:
            chips = build(world, labels, Fold(number, 3), guard_px=0)
        except InputError as error:
            assert "no window of the" in str(error)
            continue
        tested[number] = set(chips.block[chips.split == "test"])
        assert set(chips.split) == set(SPLITS)
    assert len(tested) > 1
    assert len(set().union(*tested.values())) == sum(len(blocks) for blocks in tested.values())


def test_folds_are_options_of_a_fold_alone(world):
    from rts_pipeline.config import validate_config

    values = {"area": {"aoi": "a"}, "scenes": {"folders": ["b"]}, "labels": {"seeds": "c"}, "chips": {"folds": 7}}
    config = validate_config(values, "config.yaml")
    assert "folds" not in options_json(config, ChipsOptions)
    assert parse_options(FoldsOptions, options_json(config, FoldsOptions)).chips.folds == 7


@pytest.mark.parametrize("number", [-1, 5])
def test_a_fold_that_does_not_exist(number):
    with pytest.raises(UsageError, match=rf"--fold: {number} of 5 folds; expected 0 to 4"):
        Fold(number, 5)


def test_no_block_left_for_training(world, labels):
    with pytest.raises(UsageError, match=r"chips.validation_fraction: with chips.test_fraction 1 of the blocks are held out"):
        build(world, labels, validation_fraction=0.5, test_fraction=0.5)


def test_few_blocks_to_judge_on_are_told(world, labels, capsys):
    build(world, labels)
    assert "chips: validation blocks with slumps: 2; what fewer than 4 say about other ground" in capsys.readouterr().err


def test_slumps_lost_to_the_guard_are_told(world, labels, capsys):
    chips, known = build(world, labels, guard_px=40), gpd.read_parquet(labels)
    slumps = known.geometry[known.kind == "positive"]
    free = build(world, labels, guard_px=0, background_per_label=100)
    lost = sum(not chips.intersects(slump).any() and free.intersects(slump).any() for slump in slumps)
    assert lost > 0
    said = capsys.readouterr().err
    assert f"chips: {lost} of {len(slumps)} slumps lie too near to blocks of another split to be in any window" in said


@pytest.mark.parametrize(
    ("shares", "split"), [((0.0, 0.5), "validation"), ((0.99, 0.0), "train"), ((0.5, 0.001), "test")], ids=str
)
def test_a_split_without_slumps_is_refused(world, labels, shares, split):
    fractions = dict(zip(("validation_fraction", "test_fraction"), shares, strict=True))
    with pytest.raises(InputError, match=rf"no window of the {split} blocks holds a slump.*change chips\.seed, chips\.\w+ "):
        build(world, labels, guard_px=0, **fractions)


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


def test_a_fold_whose_own_part_holds_no_slump_is_judged_by_false_outlines(world, labels, tmp_path):
    fold = Fold(1, 3)
    chips = build(world, labels, fold, guard_px=0)
    tested = chips.geometry[chips.split == "test"].union_all()
    rest = gpd.read_parquet(labels)
    io.write_parquet(tmp_path / "labels.parquet", rest[~rest.intersects(tested)])
    again = build(world, tmp_path / "labels.parquet", fold, guard_px=0)
    assert (again.kind[again.split == "test"] != "positive").any()
    with pytest.raises(InputError, match="no window of the test blocks holds a slump"):
        build(world, tmp_path / "labels.parquet", seed=1, test_fraction=1e-9)
