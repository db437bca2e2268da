"""Adjustment: the network's solution on arrays, the properties of items, and a simulated corridor with known truth."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import rasterio
from scipy import ndimage
from typer.testing import CliRunner

from adjust_case import CRS, PLACE, adjust_options, adjusted, item, measure, moments_of, name, overlaps_options, seen, told
from rts_pipeline.cli import app
from rts_pipeline.config import BANDS, GridSection, Mosaic, Time
from rts_pipeline.errors import InputError
from rts_pipeline.graph import components
from rts_pipeline.grid import Grid
from rts_pipeline.io import canonical_json
from rts_pipeline.mosaic import in_order
from rts_pipeline.options import MosaicOptions
from rts_pipeline.scenes.adjust import adjust_items
from rts_pipeline.scenes.network import Samples, solve_radiometry, solve_shifts
from rts_pipeline.scenes.overlaps import measure_overlaps
from rts_pipeline.scenes.reader import ItemReader, MeasuredItem
from rts_pipeline.scenes.sample import STEP_PX, WINDOW_PX
from rts_pipeline.simulate.acquisitions import Acquisition, plan
from rts_pipeline.simulate.corridor import simulate
from rts_pipeline.simulate.options import CorridorOptions
from scenes_case import found, measured

GAIN, OFFSET = (1.08, 0.95, 1.0, 0.9), (30, -20, 10, 0)
IDENTITY = {"rts:gain": dict.fromkeys(BANDS, 1.0), "rts:offset": dict.fromkeys(BANDS, 0.0)}


# --- network -----------------------------------------------------------------------------------------------------------


def links(pairs):
    first, second = np.array(pairs, np.int64).reshape(-1, 2).T
    return first, second


def shifts_of(truth, pairs, fixed=None, off=None, weights=None):
    first, second = links(pairs)
    between = truth[first] - truth[second] + (0 if off is None else off)
    return solve_shifts(len(truth), first, second, between, np.ones(len(first)) if weights is None else weights, fixed)


def test_components():
    assert components(6, *links([(0, 3), (3, 1), (4, 5)])).tolist() == [0, 0, 1, 0, 2, 2]
    assert components(0, *links([])).tolist() == []


def test_the_median_of_each_component_stays_where_it_is():
    truth = np.array([(0, 0), (1, -1), (-1, 1), (0, 0), (30, 40), (5, 5), (3, 1), (9, 9)], float)
    solved = shifts_of(truth, [(0, 1), (1, 2), (2, 3), (3, 4), (5, 6)])
    assert np.allclose(solved[:5], truth[:5])
    assert np.allclose(solved[5:], [(1, 2), (-1, -2), (0, 0)])  # the last one is alone


def test_the_fixed_node_pins_its_component():
    truth = np.array([(7, 2), (8, 1), (6, 3), (0, 0), (4, 4), (6, 6)], float)
    solved = shifts_of(truth, [(0, 3), (0, 1), (1, 2), (4, 5)], fixed=3)
    assert np.allclose(solved[:4], truth[:4])
    assert np.allclose(solved[4:], [(-1, -1), (1, 1)])


def test_wrong_displacements_do_not_pull():
    rng = np.random.default_rng(1)
    truth = rng.normal(0, 2, (12, 2))
    truth -= np.median(truth, axis=0)
    pairs = [(a, b) for a in range(12) for b in range(a + 1, 12) if b - a <= 3]
    off = rng.normal(0, 0.1, (len(pairs), 2))
    off[rng.permutation(len(pairs))[:5]] += 90  # of 30
    assert np.abs(shifts_of(truth, pairs, off=off) - truth).max() < 0.3


def pair_samples(rng, truth, a, b, n=200, noise=15.0, outside=0.0):
    """Samples of one stretch of ground in items a and b; `truth` (n, 2): gain and offset of the satellites."""
    ground = rng.normal(rng.uniform(1200, 2600), 250, n)
    x, y = (ground * truth[item, 0] + truth[item, 1] + rng.normal(0, noise, n) for item in (a, b))
    return x, y + outside


def samples_of(measured):
    """Samples from (a, b, x, y)."""
    first, second = links([(a, b) for a, b, _, _ in measured])
    sums = np.array([moments_of(x, y) for _, _, x, y in measured]).T
    return Samples(first, second, np.array([len(x) for _, _, x, _ in measured], float), *sums)


def true_adjustment(truth):
    """The gains and offsets that give back the ground, with mean gain 1."""
    gain, offset = 1 / truth[:, 0], -truth[:, 1] / truth[:, 0]
    return gain / gain.mean(), offset / gain.mean()


def corrected(gain, offset, truth, ground):
    return (ground * truth[:, 0] + truth[:, 1]) * gain + offset


def satellites(rng, n):
    return np.column_stack([rng.normal(1, 0.06, n), rng.normal(0, 30, n)])


def test_gains_and_offsets_are_found_and_average_to_nothing():
    rng = np.random.default_rng(2)
    truth = satellites(rng, 8)
    measured = [(a, b, *pair_samples(rng, truth, a, b)) for a in range(8) for b in range(a + 1, min(a + 4, 8))]
    solved = samples_of(measured)
    gain, offset = solve_radiometry(8, solved)
    assert gain.mean() == pytest.approx(1, abs=1e-9)
    everything = np.concatenate([np.concatenate([x, y]) for _, _, x, y in measured]).mean()
    assert (gain * everything + offset - everything).mean() == pytest.approx(0, abs=1e-6)
    assert np.abs(gain - true_adjustment(truth)[0]).max() < 0.01
    for ground in (1000, 1800, 2800):
        assert np.ptp(corrected(gain, offset, truth, ground)) < 15
        assert np.ptp(corrected(1, 0, truth, ground)) > 100


def test_noise_does_not_shrink_gains():
    rng = np.random.default_rng(3)
    truth = np.array([(1.2, 0), (1.0, 0), (0.8, 0)])
    measured = [(a, b, *pair_samples(rng, truth, a, b, n=4000, noise=80)) for a, b in ((0, 1), (1, 2), (0, 2))]
    gain, _ = solve_radiometry(3, samples_of(measured))
    assert gain == pytest.approx(true_adjustment(truth)[0], abs=0.03)


def test_errors_do_not_run_away_along_a_chain():
    rng = np.random.default_rng(4)
    n = 40
    truth = satellites(rng, n)
    measured = [(a, a + 1, *pair_samples(rng, truth, a, a + 1, n=60)) for a in range(n - 1)]  # less than a hectare each
    gain, offset = solve_radiometry(n, samples_of(measured))
    left = corrected(gain, offset, truth, 1900.0)
    assert np.abs(np.diff(left)).max() < 25  # neighbours agree
    assert np.ptp(left) < 80  # and so do the ends, but for a random walk of what each overlap leaves open
    assert np.abs(gain / true_adjustment(truth)[0] - 1).max() < 0.1
    assert np.ptp(corrected(1, 0, truth, 1900.0)) > 400


def test_a_bad_pair_is_outvoted_and_a_hopeless_item_left_alone():
    rng = np.random.default_rng(5)
    truth = satellites(rng, 6)
    good = [(a, b, *pair_samples(rng, truth, a, b)) for a in range(6) for b in range(a + 1, 6)]
    haze = rng.uniform(0, 1500, 200)
    bad = (1, 4, *pair_samples(rng, truth, 1, 4, outside=haze))
    cloud = [(a, 6, pair_samples(rng, truth, a, a)[0], rng.normal(5000, 20, 200)) for a in range(4)]
    gain, offset = solve_radiometry(8, samples_of([*good, bad, *cloud]))
    assert np.ptp(corrected(gain[:6], offset[:6], truth, 1800.0)) < 15
    assert gain[:6].mean() == pytest.approx(1, abs=1e-9)
    assert (gain[6:].tolist(), offset[6:].tolist()) == ([1, 1], [0, 0])


def test_ground_without_contrast_gives_an_offset_but_no_gain():
    rng = np.random.default_rng(6)
    flat = [(0, 1, np.full(100, 2000.0), 2100 + rng.normal(0, 2, 100))]
    gain, offset = solve_radiometry(2, samples_of(flat))
    assert gain == pytest.approx([1, 1], abs=0.03)
    left, right = gain * (2000, 2100) + offset
    assert left == pytest.approx(right, abs=1)
    assert (left, right) == pytest.approx((2050, 2050), abs=2)


# --- items -------------------------------------------------------------------------------------------------------------


def same(properties, expected):
    return {key: properties[key] for key in expected} == expected


def test_a_single_item_and_items_without_overlap_stay_as_they_are(tmp_path):
    nothing = {"rts:shift_m": None, "rts:shift_confidence": 0, "rts:shift_measurements": 0, "rts:shift_corrected": False}
    alone = item(tmp_path, 1, seen((6, 6)), columns=slice(0, 500))
    assert same(adjusted(tmp_path, [alone])[0], nothing | IDENTITY | {"rts:status": "used", "rts:reason": ""})
    apart = item(tmp_path, 2, seen(gain=GAIN), columns=slice(530, 1024))
    assert all(same(properties, nothing | IDENTITY) for properties in adjusted(tmp_path, [alone, apart]))
    adjust_items([], [alone], tmp_path / "record.json", adjust_options())
    assert same(told(alone), nothing | IDENTITY)


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """Five items over the whole place; the fourth is displaced by 12 px, the last has another radiometry and clouds."""
    folder = tmp_path_factory.mktemp("five")
    cloud = np.zeros(PLACE.shape, bool)
    cloud[50:120, 30:200] = True
    hazy = seen((0.6, -3.3), GAIN, OFFSET, seed=5)
    hazy[:, 150:240, 90:200] += 1200  # that nobody masked
    items = [item(folder, n, seen(shift, seed=n)) for n, shift in enumerate([(0, 0), (1.2, 0.3), (-0.9, 0), (36, 0)], 1)]
    return folder, [*items, item(folder, 5, hazy, masked=cloud)]


def test_what_is_written_beside_each_item(five):
    folder, items = five
    properties = adjusted(folder, items)
    document = json.loads(items[4].with_name("adjusted.json").read_text())
    original = json.loads(items[4].read_text())
    added = {"rts:shift_m", "rts:shift_confidence", "rts:shift_measurements", "rts:shift_corrected", "rts:offset"}
    assert {key for key in document["properties"] if key not in original["properties"]} == added
    assert document | {"properties": original["properties"]} == original
    shifts = np.array([item["rts:shift_m"] for item in properties])
    assert np.abs(shifts - [(0, 0), (1.2, 0.3), (-0.9, 0), (36, 0), (0.6, -3.3)]).max() < 0.9  # the gauge: the median
    apart = shifts - shifts[0]
    assert np.abs(apart - [(0, 0), (1.2, 0.3), (-0.9, 0), (36, 0), (0.6, -3.3)]).max() < 0.3
    assert [item["rts:shift_corrected"] for item in properties] == [False, False, True, True, True]
    assert all(item["rts:shift_confidence"] == 1 for item in properties)
    assert [item["rts:shift_measurements"] for item in properties] == [6, 8, 8, 8, 6]  # two windows; all pairs but one
    for band, gain, offset in zip(BANDS, GAIN, OFFSET, strict=True):
        ratio = properties[4]["rts:gain"][band] / properties[0]["rts:gain"][band]
        assert ratio == pytest.approx(1 / gain, rel=0.01)
        assert np.mean([item["rts:gain"][band] for item in properties]) == pytest.approx(1, abs=1e-5)
        levels = [1500 * item["rts:gain"][band] + item["rts:offset"][band] for item in properties[:4]]
        hazy = (1500 * gain + offset) * properties[4]["rts:gain"][band] + properties[4]["rts:offset"][band]
        assert [*levels, hazy] == pytest.approx([levels[0]] * 5, abs=6)


def test_an_item_displaced_too_far_is_rejected(five):
    folder, items = five
    properties = adjusted(folder, items)
    assert [item["rts:status"] for item in properties] == ["used", "used", "used", "rejected", "used"]
    assert properties[3]["rts:reason"] == "displaced by 35 m against the items it overlaps (limit 30 m)"
    assert adjusted(folder, items, max_shift_m=40.0)[3]["rts:status"] == "used"
    only_recorded = adjusted(folder, items, min_confidence=1.0, shifts="none")[3]
    assert (only_recorded["rts:status"], only_recorded["rts:shift_m"]) == ("used", None)


def test_what_is_not_wanted_is_not_done(five):
    folder, items = five
    measured_only = adjusted(folder, items, shifts="measure", radiometry="none")
    assert not any(item["rts:shift_corrected"] for item in measured_only)
    assert measured_only[3]["rts:shift_m"] is not None
    assert all(same(item, IDENTITY) for item in measured_only)
    assert not any(item["rts:shift_corrected"] for item in adjusted(folder, items, correct_above_m=40.0))


def test_two_measurements_are_less_sure_than_three(tmp_path):
    items = [item(tmp_path, n, seen((6 * n, 0), seed=n), columns=slice(0, 256)) for n in (0, 1)]
    properties = adjusted(tmp_path, items)
    assert [told["rts:shift_confidence"] for told in properties] == [0.333, 0.333]
    assert np.abs(np.array([told["rts:shift_m"] for told in properties]) - [(-3, 0), (3, 0)]).max() < 0.3
    assert not any(told["rts:shift_corrected"] for told in properties)
    assert all(told["rts:shift_corrected"] for told in adjusted(tmp_path, items, min_confidence=0.3))
    for least, status in ((0.5, "used"), (0.3, "rejected")):  # far, but not sure
        assert {told["rts:status"] for told in adjusted(tmp_path, items, min_confidence=least, max_shift_m=2.0)} == {status}


def test_an_item_that_contradicts_itself_is_not_moved(tmp_path):
    bent = seen((9, 0), seed=3)
    bent[:, :, 500:] = seen((-9, 0), seed=3)[:, :, 500:]
    items = [item(tmp_path, n, image) for n, image in enumerate([seen(seed=1), seen(seed=2), bent])]
    *straight, last = adjusted(tmp_path, items, min_confidence=0.6)
    assert (last["rts:shift_measurements"], last["rts:shift_corrected"]) == (4, False)
    assert last["rts:shift_confidence"] <= 0.5
    assert all(told["rts:shift_confidence"] > last["rts:shift_confidence"] for told in straight)


def test_chance_is_no_displacement(tmp_path):
    items = [item(tmp_path, n, image) for n, image in enumerate([seen(seed=1), np.roll(seen(seed=2), 400, axis=2)])]
    assert [(told["rts:shift_m"], told["rts:shift_measurements"]) for told in adjusted(tmp_path, items)] == [(None, 0)] * 2


def test_gains_are_multiplied_with_those_that_items_bring(five, tmp_path):
    _, items = five
    plain = adjusted(tmp_path / "plain", items)[0]
    document = json.loads(items[0].read_text())
    document["properties"]["rts:gain"] = dict(zip(BANDS, (2.0, 0.5, 1.0, 3.0), strict=True))
    scaled = tmp_path / "scaled" / name(1) / "item.json"
    scaled.parent.mkdir(parents=True)
    scaled.write_text(json.dumps(document))
    adjust_items([tmp_path / "plain" / "overlaps" / "place.parquet"], [scaled], tmp_path / "record.json", adjust_options())
    expected = {band: plain["rts:gain"][band] * by for band, by in zip(BANDS, (2.0, 0.5, 1.0, 3.0), strict=True)}
    assert told(scaled)["rts:gain"] == pytest.approx(expected, abs=3e-6)
    assert told(scaled)["rts:offset"] == plain["rts:offset"]


def test_same_bytes_for_any_order_of_the_inputs(five):
    folder, items = five
    halves = [PLACE.intersection(Grid(CRS, cell_px=512).cell(cell)) for cell in ("e0312_n2512", "e0313_n2512")]
    parts = [measure(folder / f"half{n}", items, half) for n, half in enumerate(halves)]
    written = []
    for order in (1, -1):
        adjust_items(parts[::order], items[::order], folder / "record.json", adjust_options())
        written.append([path.with_name("adjusted.json").read_bytes() for path in items])
    assert written[0] == written[1]
    adjusted(folder, random.Random(0).sample(items, 5))
    assert [path.with_name("adjusted.json").read_bytes() for path in items] == written[0]


@pytest.mark.parametrize("wrong", ["overlaps", "columns", "item"])
def test_files_of_other_stages_are_refused(five, tmp_path, wrong):
    folder, items = five
    bad = tmp_path / ("item.json" if wrong == "item" else "bad.parquet")
    good = measure(folder, items)
    if wrong == "item":
        bad.write_text('{"type": "Feature"}')
    elif wrong == "overlaps":
        bad.write_bytes(b"no parquet")
    else:
        import geopandas as gpd

        gpd.read_parquet(good).drop(columns="nir_xy").to_parquet(bad)
    with pytest.raises(InputError, match=f"{bad.name}: (not a GeoParquet|lacks the column nir_xy|lacks 'id')"):
        given = [good if wrong == "item" else bad], [bad if wrong == "item" else items[0]]
        adjust_items(*given, tmp_path / "record.json", adjust_options())


def test_the_commands(five, tmp_path):
    _, items = five
    names = [str(path) for path in items]
    scenes, ids = str(items[0].parents[1]), [path.parent.name for path in items]
    options = overlaps_options().model_dump(mode="json")
    adjust = adjust_options(max_shift_m=40.0).model_dump(mode="json")
    block = "b_e0031_n0251"
    options["grid"] |= {"cell_px": 512, "block_cells": 10}
    out = tmp_path / f"{block}.parquet"
    done = CliRunner().invoke(app, ["overlaps", block, *names, "--out", str(out), "--options", canonical_json(options)])
    assert done.exit_code == 0, done.output
    written = ["--overlaps", str(out), "--out", str(tmp_path / "record.json")]
    done = CliRunner().invoke(app, ["adjust", scenes, *ids, *written, "--options", canonical_json(adjust)])
    assert done.exit_code == 0, done.output
    assert told(items[3])["rts:shift_m"][0] == pytest.approx(35.4, abs=0.6)
    assert told(items[3])["rts:status"] == "used"


# --- a corridor --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corridor(tmp_path_factory) -> tuple[CorridorOptions, list[Path], dict[str, Acquisition]]:
    folder = tmp_path_factory.mktemp("corridor")
    options = CorridorOptions(width_km=5, height_km=5, years=[2019], n_slumps=12)
    simulate(folder, options)
    grid = Grid(options.area.crs)
    paths = []
    for delivered in found(folder / "orders" / "2019").items:
        out = folder / "scenes" / delivered.id
        measured(delivered, out)
        paths.append(out / "item.json")
    blocks = sorted({grid.block_of(cell) for cell in grid.cells_touching(options.area.polygon)})
    overlaps = [folder / f"{block}.parquet" for block in blocks]
    for block, out in zip(blocks, overlaps, strict=True):
        measure_overlaps(grid.block(block), paths, out, overlaps_options())
    adjust_items(overlaps, paths, folder / "record.json", adjust_options())
    # the plan of the target year is drawn with the seed's seventh stream, as `simulate` does
    planned = plan(np.random.default_rng([options.seed, 7]), options)
    return options, sorted(paths), {taken.item_id: taken for taken in planned}


def test_the_displacements_of_a_corridor_are_found(corridor):
    _, paths, truth = corridor
    assert len(paths) == len(truth) >= 6
    east_north = [np.array(told(path)["rts:shift_m"]) / 3 for path in paths]
    true = [(taken.shift_px[1], -taken.shift_px[0]) for taken in (truth[path.parent.name] for path in paths)]
    errors = np.hypot(*(np.array(east_north) - true).T)
    assert np.median(errors) < 0.3
    assert errors.max() < 0.5
    # apart from where the median item lies, which nothing tells
    relative = np.array(east_north) - true
    assert np.hypot(*(relative - np.median(relative, axis=0)).T).max() < 0.15


def clear_of(path: Path, area) -> np.ndarray:
    """Where the udm2 says clear, on the area: light haze is usable, but no gain takes it away."""
    mask = path.parent / json.loads(path.read_text())["assets"]["mask"]["href"]
    with rasterio.open(mask) as dataset, rasterio.vrt.WarpedVRT(dataset, **area.profile) as placed:
        return placed.read(1) == 1


def test_seams_become_less_than_a_third(corridor):
    """The step at a seam: mean difference of both items within 8 px of the border, in squares of 32 px.

    On clear ground, 4 px from anything else, and outside of the windows that the adjustment was made from.
    """
    area, paths = corridor[0].area, corridor[1]
    options = MosaicOptions(time=Time(), grid=GridSection(crs=CRS), mosaic=Mosaic())
    items = in_order([MeasuredItem.load(path) for path in paths], area, options)
    by_id = {path.parent.name: path for path in paths}
    raw, after, clear = [], [], []
    for one in items:
        path = by_id[one.id]
        with ItemReader(one) as before, ItemReader(MeasuredItem.load(path.with_name("adjusted.json"))) as placed:
            (values, usable), (moved, there) = before.read(area), placed.read(area)
        raw.append(values.astype(np.float32))
        after.append(moved.astype(np.float32))
        clear.append(ndimage.binary_erosion(usable & there & clear_of(path, area), iterations=4))
    source = np.select(clear, list(range(1, len(items) + 1)))
    rows, columns = np.indices(area.shape)
    fitted = ((rows + area.row) % STEP_PX < WINDOW_PX) & ((columns + area.column) % STEP_PX < WINDOW_PX)
    steps = []
    for a in range(len(items)):
        for b in range(a + 1, len(items)):
            border = ndimage.binary_dilation(source == a + 1) & ndimage.binary_dilation(source == b + 1)
            near = ndimage.binary_dilation(border, iterations=8) & clear[a] & clear[b] & ~fitted
            squares = (rows // 32 * area.width + columns // 32)[near]
            for square in np.unique(squares):
                here = np.flatnonzero(near)[squares == square]
                if len(here) >= 128:
                    steps.append([np.abs((im[a] - im[b]).reshape(4, -1)[:, here].mean(axis=1)) for im in (raw, after)])
    before, left = np.array(steps).mean(axis=(0, 2))
    assert len(steps) > 50
    assert before > 30  # reflectance x 10,000: there was something to do
    assert left < before / 3
