import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rts_pipeline.crossvalidate import crossvalidate
from rts_pipeline.errors import InputError
from rts_pipeline.metrics.objects import SIZE_CLASS_NAMES
from rts_pipeline.metrics.summary import COUNTS, figure, summarise


def table(random, names, split="test"):
    """Made-up counts of blocks, which hold together: nothing is found that isn't there."""
    rows = []
    for name in names:
        sizes = random.integers(0, 4, len(SIZE_CLASS_NAMES))
        found = random.binomial(sizes, 0.7)
        n, hit = int(sizes.sum()), int(found.sum())
        counts = {"n_truth": n, "n_predicted": hit + int(random.integers(0, 3)), "n_found_30": hit, "n_found_50": hit}
        counts |= {"n_found_70": hit // 2, "px_tp": 80 * hit, "px_fp": 30 * hit + 7, "px_fn": 90 * n - 80 * hit, "px_tn": 9000}
        for label, number, hits in zip(SIZE_CLASS_NAMES, sizes, found, strict=True):
            counts |= {f"size_{label}_n": int(number), f"size_{label}_found": int(hits)}
        rows.append({"block": name, "split": split, **counts})
    return pd.DataFrame(rows)


@pytest.fixture
def folds(tmp_path):
    random, paths = np.random.default_rng(0), []
    for number in range(3):
        tested = table(random, [f"s_e000{number}_n000{block}" for block in range(5)])
        # the other folds' blocks are validation here, and must not count
        other = table(random, [f"s_e000{(number + 1) % 3}_n0000"], "validation")
        paths.append(tmp_path / f"{number}/validation/blocks.parquet")
        paths[-1].parent.mkdir(parents=True)
        pd.concat([tested, other]).to_parquet(paths[-1])
    return paths


def run(folds, folder):
    crossvalidate(folds, folder / "crossvalidation.json", folder / "crossvalidation.png")
    return json.loads((folder / "crossvalidation.json").read_text())


def test_pools_the_test_blocks_of_all_folds(folds, tmp_path):
    figures = run(folds, tmp_path)
    blocks = pd.concat([pd.read_parquet(path).query("split == 'test'") for path in folds])
    assert figures["n_blocks"] == 15
    assert figures["n_blocks_with_slumps"] == (blocks.n_truth > 0).sum()
    assert (figures["n_truth"], figures["n_predicted"]) == (blocks.n_truth.sum(), blocks.n_predicted.sum())
    assert figures["pixels"]["iou"]["value"] == blocks.px_tp.sum() / (blocks.px_tp + blocks.px_fp + blocks.px_fn).sum()
    half = figures["objects"]["0.5"]
    assert half["precision"]["value"] == blocks.n_found_50.sum() / blocks.n_predicted.sum()
    assert half["recall"]["value"] == blocks.n_found_50.sum() / blocks.n_truth.sum()
    harmonic = 2 / (1 / half["precision"]["value"] + 1 / half["recall"]["value"])
    assert half["f1"]["value"] == pytest.approx(harmonic)
    assert list(figures["objects"]) == ["0.3", "0.5", "0.7"]
    assert set(figures["size_classes"]) == set(SIZE_CLASS_NAMES)
    assert sum(size["n"] for size in figures["size_classes"].values()) == figures["n_truth"]
    for scores in (figures["pixels"], half):
        for value in scores.values():
            assert 0 <= value["low"] <= value["value"] <= value["high"] <= 1


def test_each_fold_is_told_apart(folds, tmp_path):
    figures = run(folds, tmp_path)
    assert [fold["n_blocks"] for fold in figures["folds"]] == [5, 5, 5]
    assert sum(fold["n_truth"] for fold in figures["folds"]) == figures["n_truth"]
    second = pd.read_parquet(folds[1]).query("split == 'test'")
    assert figures["folds"][1]["pixels"]["recall"]["value"] == second.px_tp.sum() / (second.px_tp + second.px_fn).sum()


def test_the_same_blocks_give_the_same_bytes(folds, tmp_path):
    run(folds, tmp_path / "one")
    run(folds, tmp_path / "two")
    for name in ("crossvalidation.json", "crossvalidation.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    with Image.open(tmp_path / "one/crossvalidation.png") as picture:
        assert min(picture.size) > 300


def test_a_block_that_two_folds_test_is_refused(folds, tmp_path):
    first = pd.read_parquet(folds[0])
    pd.concat([pd.read_parquet(folds[2]), first.iloc[:1]]).to_parquet(folds[2])
    with pytest.raises(InputError, match=r"2/validation/blocks.parquet: block s_e0000_n0000 is test here and in .*/0/valid"):
        run(folds, tmp_path)
    assert not (tmp_path / "crossvalidation.json").exists()


def test_a_block_that_one_fold_tests_twice_is_refused(folds, tmp_path):
    first = pd.read_parquet(folds[0])
    pd.concat([first, first.iloc[:1]]).to_parquet(folds[0])
    with pytest.raises(InputError, match=r"0/validation/blocks.parquet: block s_e0000_n0000 is test here and in .*/0/valid"):
        run(folds, tmp_path)


@pytest.mark.parametrize("column", ["block", "split", *COUNTS])
def test_a_table_without_a_column_is_refused(folds, tmp_path, column):
    pd.read_parquet(folds[1]).drop(columns=column).to_parquet(folds[1])
    with pytest.raises(InputError, match=f"1/validation/blocks.parquet: column {column} is missing"):
        run(folds, tmp_path)


def test_a_fold_without_test_blocks_is_refused(folds, tmp_path):
    pd.read_parquet(folds[1]).assign(split="validation").to_parquet(folds[1])
    with pytest.raises(InputError, match="none of its 6 blocks is a test block"):
        run(folds, tmp_path)


def test_what_cannot_be_computed_is_none(folds, tmp_path):
    for path in folds:
        frame = pd.read_parquet(path)
        counts = [name for name in frame.columns if name not in {"block", "split", "px_tn"}]
        frame.assign(**dict.fromkeys(counts, 0)).to_parquet(path)
    figures = run(folds, tmp_path)
    nothing = {"value": None, "low": None, "high": None}
    assert figures["objects"]["0.5"] == {"precision": nothing, "recall": nothing, "f1": nothing}
    assert figures["n_blocks_with_slumps"] == 0


def test_few_blocks_have_figures_but_no_interval():
    blocks = table(np.random.default_rng(1), ["a", "b"])
    assert summarise(blocks)["pixels"]["f1"]["value"] is not None
    assert summarise(blocks)["pixels"]["f1"]["low"] is None


@settings(max_examples=30, deadline=None)
@given(pairs=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=4, max_size=30))
def test_an_interval_lies_between_the_least_and_the_best_block(pairs):
    part, rest = np.array(pairs).T
    value = figure(part, part + rest)
    if value["low"] is None:
        return
    ratios = (part / np.maximum(part + rest, 1))[part + rest > 0]
    if np.ptp(ratios) < 1e-9:
        assert value["low"] < ratios[0] or value["high"] > ratios[0], "equal blocks don't make it certain"
        return
    assert ratios.min() - 1e-9 <= value["low"] <= value["high"] <= ratios.max() + 1e-9


def test_where_every_slump_was_found_none_is_certain():
    blocks = table(np.random.default_rng(1), list("abcdefghij"))
    perfect = blocks.assign(n_predicted=blocks.n_truth, n_found_50=blocks.n_truth)
    half = summarise(perfect)["objects"]["0.5"]
    of = int((blocks.n_truth > 0).sum())
    for score in half.values():
        assert (score["value"], score["high"]) == (1, 1)
        assert score["low"] == pytest.approx(0.025 ** (1 / of))


def test_more_blocks_make_an_interval_narrower():
    random = np.random.default_rng(2)
    widths = []
    for number in (8, 200):
        recall = summarise(table(random, [str(index) for index in range(number)]))["objects"]["0.5"]["recall"]
        widths.append(recall["high"] - recall["low"])
    assert widths[1] < widths[0] / 2
