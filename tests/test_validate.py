"""Stage validate: settings and scores are those of the outlines that the inventory would be made of."""

import json
from itertools import product

import geopandas as gpd
import numpy as np
import pytest
import shapely
from scipy import ndimage

from learning_case import review_row
from rts_pipeline import io
from rts_pipeline.config import Shaping
from rts_pipeline.drawing import save
from rts_pipeline.engines import CpuEngine
from rts_pipeline.errors import InputError
from rts_pipeline.lattice import probabilities
from rts_pipeline.validate.build import validate
from rts_pipeline.validate.choice import choose
from rts_pipeline.validate.figures import draw
from rts_pipeline.validate.ground import Known, blocks_of
from rts_pipeline.validate.objects import HOLES_M2, MIN_AREAS_M2, SHAPE, THRESHOLDS, Tally, objects, tally, traced
from rts_pipeline.validate.windows import Scored, worst_and_best
from validate_case import BANDS, BLOCK_PX, CPU, FAINT, PREDICT, Case


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


def figures(facts, split="validation", iou="0.5"):
    return {name: figure["value"] for name, figure in facts[split]["objects"][iou].items()}


def test_a_perfect_network_is_perfect(case):
    facts, blocks = case.run(splits={(0, 0): "train", (2, 2): "test"})
    perfect = {"precision": 1.0, "recall": 1.0, "f1": 1.0}
    assert figures(facts) == figures(facts, iou="0.7") == figures(facts, "test") == perfect
    assert facts["validation"]["pr_auc"]["value"] == 1
    assert facts["validation"]["boundary_m"]["value"] < 3
    assert (facts["validation"]["n_blocks"], facts["test"]["n_blocks"]) == (7, 1)
    assert (facts["weights_sha256"], facts["temperature"]) == (io.sha256_file(case.folder / "model/weights.pt"), 1.25)
    assert facts["recall_wanted"] is facts["recall_reached"] is None
    assert blocks.split.tolist() == ["validation"] * 7 + ["test"]
    assert blocks[["px_tp", "px_fp", "px_fn", "px_tn"]].sum(axis=1).tolist() == [BLOCK_PX**2] * 8
    assert blocks.px_fp.sum() == blocks.px_fn.sum() == 0
    found = {path.name for path in (case.folder / "out").iterdir()}
    assert found == {"validation.json", "blocks.parquet", "reliability.png", "precision_recall.png", "windows.png"}


def test_the_pictures_can_be_drawn_again_from_the_record(case):
    facts, blocks = case.run(splits={(2, 2): "test"})
    blocks = blocks[blocks.split == "validation"]
    pixels = facts["validation_pixels"]
    assert [len(levels) for levels in pixels.values()] == [251, 251]
    slumps, others = blocks.px_tp.sum() + blocks.px_fn.sum(), blocks.px_fp.sum() + blocks.px_tn.sum()
    assert (sum(pixels["slump"]), sum(pixels["other"])) == (slumps, others)
    drawn = draw(facts)
    assert list(drawn) == ["reliability", "precision_recall"]
    for name, figure in drawn.items():
        save(figure, case.folder / f"{name}.png")
        assert (case.folder / f"{name}.png").read_bytes() == (case.folder / "out" / f"{name}.png").read_bytes()


def test_without_test_blocks_there_is_no_figure_of_them(case):
    assert case.run()[0]["test"] is None


def test_slumps_over_borders_are_single_objects(case):
    """Many slumps lie over borders of windows and of blocks; each is judged once, in the block of its larger part."""
    for y, x in ((64, 96), (96, 64), (192, 192), (131, 48), (240, 253), (137, 257)):
        case.slump(y, x, 10)
    facts, blocks = case.run()
    assert facts["validation"]["n_truth"] == blocks.n_found_50.sum() == blocks.n_predicted.sum() == len(case.world.slumps)


def test_the_choice_is_made_on_validation_blocks_only(case):
    splits = {(0, 0): "train", (1, 1): "test", (1, 2): "test"}
    before = case.run(splits=splits)[0]
    for rows, columns in product(range(130, 250, 16), range(130, 380, 16)):
        case.paint(slice(rows, rows + 9), slice(columns, columns + 9), 0)
    case.world.slumps[:] = [
        slump for slump in case.world.slumps if not slump.within(case.place(slice(128, 256), slice(128, 384)))
    ]
    after = case.run(splits=splits)[0]
    kept = ("threshold", "seed_threshold", "min_area_m2", "hole_m2", "thresholds", "validation")
    assert {name: before[name] for name in kept} == {name: after[name] for name in kept}
    assert after["test"]["objects"]["0.5"]["f1"]["value"] < before["test"]["objects"]["0.5"]["f1"]["value"]


def test_a_minimum_area_removes_speckle(case):
    for rows, columns in product(range(2, 384, 48), range(2, 384, 48)):
        case.paint(slice(rows, rows + 4), slice(columns, columns + 4), 200)
    facts, _ = case.run()
    assert 144 < facts["min_area_m2"] <= 600
    assert figures(facts)["f1"] == 1
    assert facts["validation"]["pixels"]["precision"]["value"] < 0.95, "pixels are those above the threshold, speckle too"


def test_holes_are_filled_up_to_the_best_size(case):
    for rows, columns in product(range(24, 384, 48), range(24, 384, 48)):
        case.paint(slice(rows - 2, rows + 2), slice(columns - 2, columns + 2), -1100)
    facts, _ = case.run()
    assert facts["hole_m2"] == 300
    assert figures(facts, iou="0.7")["f1"] == 1
    assert case.run(splits={})[0]["hole_m2"] == 300


def test_nothing_to_fill_is_the_smallest_size(case):
    assert case.run()[0]["hole_m2"] == 0


def test_a_seed_inside_a_faint_ring_is_the_object_where_the_ring_has_none(case):
    """The ring and what lies in its hole are one outline or the other, never both."""
    case.run(splits={place: "train" for place in product(range(3), range(3)) if place != (1, 1)})
    _, [(ground, _)] = tallied(case)
    probability = np.zeros(ground.box.shape, np.uint8)
    probability[40:60, 40:60] = 130
    probability[44:56, 44:56] = 0
    probability[48:52, 48:52] = 250
    outlined = objects(traced(ground, probability, 0.5), ground, probability, 2700.0, Shaping(simplify_px=0.0))
    found = [outlined.at(seed, 0.0) for seed in (0.5, 0.52, 0.56, 1.0)]
    assert [shapely.area(one.whole).tolist() for one in found] == [[3600.0], [3600.0], [144.0], [144.0]]


def faint_half(case):
    """Every second slump is faint, and as faint are patches that are none."""
    rows, columns = np.mgrid[:384, :384] + 0.5
    for number, slump in enumerate(case.world.slumps):
        x, y = slump.centroid.x / 3 - case.world.column, -slump.centroid.y / 3 - case.world.row
        if number % 2:
            inside = np.hypot(rows - y, columns - x) < np.sqrt(slump.area / np.pi) / 3
            case.paint(*np.nonzero(inside), FAINT)
        else:
            for top, left in ((y - 33, x - 6), (y - 6, x - 33), (y - 6, x + 20)):
                top, left = max(int(top), 0), max(int(left), 0)
                case.paint(slice(top, top + 13), slice(left, left + 13), FAINT)


def test_a_recall_that_is_asked_for_costs_precision(case):
    faint_half(case)
    best, _ = case.run()
    wanted, _ = case.run(recall=0.9)
    assert figures(best)["recall"] < 0.6
    assert figures(best)["precision"] == 1
    assert figures(wanted)["recall"] >= 0.9
    assert figures(wanted)["precision"] < 0.6
    assert (wanted["recall_wanted"], wanted["recall_reached"]) == (0.9, True)


def test_a_recall_out_of_reach_is_told(case, capsys):
    for slump in case.world.slumps[:10]:
        x, y = int(slump.centroid.x / 3) - case.world.column, int(-slump.centroid.y / 3) - case.world.row
        case.paint(slice(max(y - 12, 0), y + 12), slice(max(x - 12, 0), x + 12), -1100)
    facts, _ = case.run(recall=1.0)
    assert facts["recall_reached"] is False
    assert figures(facts)["recall"] == pytest.approx(54 / 64)
    assert "no setting finds 100.0% of the slumps of the validation blocks (choice.recall)" in capsys.readouterr().err


def test_a_network_that_finds_nothing_has_a_choice(case, capsys):
    facts, _ = case.run(gain=-1e-6)
    assert figures(facts)["f1"] == 0
    assert facts["threshold"] in THRESHOLDS
    assert "no setting finds any of the 64 slumps" in capsys.readouterr().err


def test_without_a_slump_to_judge_there_is_a_choice(case, capsys):
    case.world.slumps[:] = [case.world.slumps[0]]
    facts, _ = case.run(splits={(0, 0): "train"})
    assert facts["threshold"] in THRESHOLDS
    assert figures(facts) == {"precision": 0.0, "recall": None, "f1": 0.0}
    assert "no slump lies in judged ground of the validation blocks" in capsys.readouterr().err


def test_the_worst_and_the_best_windows_are_others(case):
    boxes = case.world.grid.cell(case.world.mosaics[0].stem).windows(16)
    windows = [Scored(box, tp, 10, 5) for box, tp in zip(boxes, (0, 9, 3, 0, 7), strict=False)]
    worst, best = worst_and_best(windows)
    assert [window.tp for window in worst] == [0, 0, 3]
    assert [window.tp for window in best] == [9, 7]
    assert worst_and_best(windows[:1]) == (windows[:1], [])
    assert worst_and_best([]) == ([], [])


def test_what_is_unsure_or_unseen_is_not_judged(case):
    """Outlines in ignored ground are no false ones, and a slump that lies there for the most part is no missed one."""
    patch = slice(36, 60), slice(277, 299)
    case.paint(*patch, 200)
    assert figures(case.run()[0])["precision"] < 1
    case.reviewed.append(review_row("r01-0001", "unsure", case.place(*patch)))
    facts, blocks = case.run()
    assert figures(facts) == {"precision": 1.0, "recall": 1.0, "f1": 1.0}
    judged = blocks[["px_tp", "px_fp", "px_fn", "px_tn"]].sum(axis=1)
    assert judged.sum() == 384**2 - 24 * 22
    case.world.pixels[:, :128, :96] = 0
    facts, blocks = case.run()
    assert figures(facts) == {"precision": 1.0, "recall": 1.0, "f1": 1.0}
    assert facts["validation"]["n_truth"] < 64
    assert blocks[["px_tp", "px_fp", "px_fn", "px_tn"]].sum(axis=1).min() == 128 * 32


def test_ground_without_a_validation_window_is_not_judged(case):
    before, _ = case.run()
    chips, labels, mosaics, model, out = case.files
    table = gpd.read_parquet(chips)
    io.write_parquet(chips, table[table.index % 4 != 3])
    validate(chips, labels, mosaics, model, out, case.options, CPU)
    after = io.read_json(out / "validation.json")
    assert after["validation"]["n_truth"] < before["validation"]["n_truth"]
    assert figures(after) == {"precision": 1.0, "recall": 1.0, "f1": 1.0}


def test_overlapping_labels_are_one_slump(case):
    for slump in case.world.slumps[:5]:
        case.reviewed.append(review_row(f"r01-{len(case.reviewed):04d}", "missed", slump.buffer(3)))
    facts, _ = case.run()
    assert facts["validation"]["n_truth"] == 64
    assert figures(facts)["f1"] == 1


def noisy(case):
    random = np.random.default_rng(5)
    field = ndimage.gaussian_filter(random.normal(0, 1, (384, 384)), 2.5)
    case.world.pixels[2] = (case.world.pixels[2] + 2600 * field).clip(1, 9000)
    return case


def tallied(case):
    """Return the tally of all validation blocks, with the blocks' grounds and probabilities."""
    from rts_pipeline.cells import Mosaics

    chips, labels, mosaics, model, _ = case.files
    blocks = [block for block in blocks_of(chips, case.options) if block.split == "validation"]
    known, total, looked = Known(labels, case.world.grid), Tally.none(), []
    with Mosaics(mosaics, case.world.grid, BANDS) as reader:
        engine = CpuEngine(model / "network.onnx", 2, PREDICT)
        for block in blocks:
            probability = np.concatenate([part for _, part in probabilities(block.box, reader, engine, PREDICT)])
            looked.append((known.ground(block, probability), probability))
            total += tally(*looked[-1], case.options.polygonize)
    return total, looked


def by_hand(ground, probability, threshold, seed, hole_m2, min_area_m2):
    """Return outlined and found objects of a block: pixel by pixel, every pair, every setting on its own."""
    labels, number = ndimage.label((probability >= threshold * 250 - 1e-6) & (probability != 255), np.ones((3, 3)))
    masks = [labels == name for name in range(1, number + 1)]
    masks = [filled(mask, hole_m2) for mask in masks if probability[mask].max() >= seed * 250 - 1e-6]
    masks = [m for i, m in enumerate(masks) if not any(j != i and (m & ~o).sum() == 0 for j, o in enumerate(masks))]
    masks = [m for m in masks if m.sum() * 9 * ground.m2_per_unit >= min_area_m2]
    ignored = shapely.union_all(ground.ignored)
    whole = [shapely.union_all([shapely.box(*cell) for cell in pixels_of(mask, ground.box)]) for mask in masks]
    outlines = [outline.difference(ignored) for outline in whole]
    outlines = [left for left, outline in zip(outlines, whole, strict=True) if 2 * left.area >= outline.area]
    best = [max(left.intersection(s).area / left.union(s).area for s in ground.slumps) for left in outlines]
    found = [iou for iou in best if iou > 0.5]
    return len(outlines), len(found), sum(found)


def filled(mask, hole_m2):
    """Fill what parts (pixels that share edges) enclose, if it is small enough."""
    parts, n_parts = ndimage.label(mask)
    for part in range(1, n_parts + 1):
        around, n_around = ndimage.label(parts != part)
        edges = {*around[0], *around[-1], *around[:, 0], *around[:, -1]}
        for hole in set(range(1, n_around + 1)) - edges:
            if (around == hole).sum() * 9 < hole_m2:
                mask = mask | (around == hole)
    return mask


def pixels_of(mask, box):
    for row, column in np.argwhere(mask):
        x, y = (box.column + column) * 3, -(box.row + row) * 3
        yield x, y - 3, x + 3, y


def test_every_setting_counts_as_by_hand(case):
    noisy(case).run(
        splits={place: "train" for place in product(range(3), range(3)) if place != (1, 1)},
        width=3,
        gain=0.004,
        simplify_px=0.0,
    )
    total, looked = tallied(case)
    settings = [(t, s, h, a) for t, s, h, a in product(*map(range, SHAPE)) if s >= t]
    random = np.random.default_rng(2)
    for t, s, h, a in random.permutation(settings)[:40]:
        values = THRESHOLDS[t], THRESHOLDS[s], HOLES_M2[h], MIN_AREAS_M2[a]
        n, found, iou = np.sum([by_hand(*look, *values) for look in looked], axis=0)
        assert (total.n_predicted[t, s, h, a], total.n_found[t, s, h, a]) == (n, found)
        assert total.iou[t, s, h, a] == pytest.approx(iou)
    assert len(np.unique(total.n_predicted)) > 20


@pytest.mark.parametrize("recall", [None, 0.5, 0.99])
def test_no_setting_is_better_than_the_one_chosen(case, recall):
    facts, blocks = noisy(case).run(width=3, gain=0.004, recall=recall)
    total, _ = tallied(case)
    grids = {"threshold": THRESHOLDS, "seed_threshold": THRESHOLDS, "hole_m2": HOLES_M2, "min_area_m2": MIN_AREAS_M2}
    at = [int(np.flatnonzero(values == facts[name])[0]) for name, values in grids.items()]
    n, found = total.n_predicted[*at], total.n_found[*at]
    assert (blocks.n_predicted.sum(), blocks.n_found_50.sum(), blocks.n_truth.sum()) == (n, found, total.n_truth)
    f1 = 2 * total.n_found / (total.n_predicted + total.n_truth)
    holes = total.iou.argmax(axis=2)[:, :, None]
    best_f1 = np.take_along_axis(f1, holes, axis=2).max()
    assert at[1] >= at[0], "the seed threshold is at least the threshold"
    if recall is None:
        assert f1[*at] >= best_f1 - 0.01
    elif facts["recall_reached"]:
        reach = np.take_along_axis(total.n_found, holes, axis=2) >= recall * total.n_truth
        precision = np.take_along_axis(total.n_found / np.maximum(total.n_predicted, 1), holes, axis=2)
        assert found >= recall * total.n_truth
        assert found / n == precision[reach].max()
    else:
        assert found == np.take_along_axis(total.n_found, holes[:, None], axis=1).max()


def counts(found, predicted, n_truth=10):
    """A tally of which only threshold and minimum area matter."""
    spread = [np.broadcast_to(np.array(values)[:, None, None], SHAPE).copy() for values in (predicted, found)]
    return Tally(*spread, np.zeros(SHAPE), n_truth)


def test_of_equals_the_middle_is_taken():
    found, predicted = np.full((19, 6), 2), np.full((19, 6), 10)
    found[4:13, 1:4] = 9
    choice = choose(counts(found, predicted), None)
    assert (choice.threshold, choice.min_area_m2, choice.hole_m2) == (THRESHOLDS[8], MIN_AREAS_M2[2], 0)
    found[17, 5] = 10
    assert choose(counts(found, predicted), None).threshold == THRESHOLDS[17]


def test_a_seed_that_removes_false_outlines_is_taken():
    """Of the seed thresholds that are as good the middle one."""
    tally = counts(np.full((19, 6), 8), np.full((19, 6), 30))
    tally.n_predicted[6, 10:15] = 9
    choice = choose(tally, None)
    assert (choice.threshold, choice.seed_threshold) == (THRESHOLDS[6], THRESHOLDS[12])
    assert [row["precision"] for row in choice.curve].count(8 / 9) == 1


def test_the_hole_size_is_that_of_the_largest_iou():
    tally = counts(np.full((19, 6), 8), np.full((19, 6), 10))
    tally.iou[:] = np.array([5.0, 6.0, 6.0 + 1e-12, 5.5])[:, None]
    assert choose(tally, None).hole_m2 == HOLES_M2[1], "of equals the smallest"


def test_equal_input_gives_equal_bytes(case):
    faint_half(case)
    case.run("one")
    case.run("two")
    for path in (case.folder / "one").iterdir():
        assert path.read_bytes() == (case.folder / "two" / path.name).read_bytes(), path.name


def test_a_model_or_table_that_can_not_be_used_is_named(case):
    case.run()
    chips, labels, mosaics, model, out = case.files
    table = gpd.read_parquet(chips)
    io.write_parquet(chips, table.assign(split="train"))
    with pytest.raises(InputError, match=r"chips\.parquet: holds no validation window"):
        validate(chips, labels, mosaics, model, out, case.options, CPU)
    io.write_parquet(chips, table)
    facts = json.loads((model / "model.json").read_text())
    io.write_json(model / "model.json", {**facts, "sha256": {"network.onnx": facts["sha256"]["network.onnx"]}})
    with pytest.raises(InputError, match=r"model\.json: names no sha256 of weights\.pt"):
        validate(chips, labels, mosaics, model, out, case.options, CPU)
    io.write_json(model / "model.json", {**facts, "sha256": {"weights.pt": "0" * 64}})
    with pytest.raises(InputError, match=r"weights\.pt: sha256 .* differs from model\.json"):
        validate(chips, labels, mosaics, model, out, case.options, CPU)


def test_a_slump_that_reaches_back_to_the_blocks_edge_from_outside(case):
    """Cut at the edge it leaves a line there, which has no boundary and no area."""
    case.paint(slice(40, 60), slice(100, 132), 200)
    case.paint(slice(40, 80), slice(128, 140), 200)
    body, arm = case.place(slice(40, 60), slice(96, 132)), case.place(slice(40, 80), slice(128, 140))
    case.world.slumps = [slump for slump in case.world.slumps if slump.distance(body | arm) > 12]
    case.world.slumps.append(body | arm)
    facts, blocks = case.run()
    assert blocks.boundary_m[blocks.n_found_50 > 0].notna().all()
    assert facts["validation"]["boundary_m"]["value"] is not None
    line = shapely.intersection(body | arm, case.place(slice(0, 128), slice(0, 128)))
    assert line.geom_type == "GeometryCollection"
