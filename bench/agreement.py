"""How well `overlaps` and `adjust` make the items of the demo's corridor agree, against the simulator's truth.

python bench/agreement.py results/demo

Displacement: error of rts:shift_m against the true displacement, in pixels of 3 m, absolute and relative to each other. Steps:
mean difference of two items' values (reflectance x 10,000, mean of the bands) within 8 px of a border between them, in squares
of 32 px, before and after; on clear ground (udm2 band 1 in both), and on all usable ground (with light haze, which no gain
takes away). Evidence: how far the images of other years lie from the target year's at each candidate of the last round, as
delivered and as they are shown; this also for a project without adjust. Prints a table and writes results/bench/agreement.json.
"""

from __future__ import annotations

import argparse
import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from rasterio.vrt import WarpedVRT
from scipy import ndimage

from rts_pipeline import io
from rts_pipeline.evidence.places import UNMEASURED_M
from rts_pipeline.grid import GeoBox
from rts_pipeline.scenes.reader import ItemReader, MeasuredItem
from rts_pipeline.simulate.acquisitions import plan
from rts_pipeline.simulate.options import CorridorOptions

SQUARE, NEAR_PX, LEAST = 32, 8, 128


def shift_errors(paths: list[Path], options: CorridorOptions) -> tuple[np.ndarray, np.ndarray]:
    """Return the error of each item's displacement in pixels: as it is, and apart from what all have in common.

    Where all lie together no overlap can tell: the median item is taken to lie right, unless adjust.reference says more.
    """
    told = [json.loads(path.read_text())["properties"]["rts:shift_m"] for path in paths]
    off = np.array(told) / 3 - true_shifts([path.parent.name for path in paths], options)
    return np.hypot(*off.T), np.hypot(*(off - np.median(off, axis=0)).T)


def true_shifts(items: list[str], options: CorridorOptions) -> np.ndarray:
    """Return how far each item's content lies to the east and north, in pixels (n, 2)."""
    truth = {item.item_id: item for item in plan(np.random.default_rng([options.seed, 7]), options)}
    return np.array([(truth[item].shift_px[1], -truth[item].shift_px[0]) for item in items])


def between_years(evidence: Path, options: CorridorOptions) -> pd.DataFrame:
    """Return how far each image lies from the target year's, in pixels: as delivered, as shown; and whether it was measured."""
    shown = pd.read_parquet(evidence).dropna(subset=["item_id"]).set_index(["candidate_id", "year"])
    true = true_shifts(list(shown["item_id"]), options)
    moved = true - shown[["shift_east_m", "shift_north_m"]].to_numpy() / 3
    target = shown.index.get_level_values("year") == options.target_year
    found = {"measured": shown["misregistration_m"] < UNMEASURED_M}
    for name, places in (("delivered", true), ("shown", moved)):
        table = pd.DataFrame(places, index=shown.index)
        held = table[target].droplevel("year").reindex(shown.index.get_level_values("candidate_id"))
        found[name] = np.hypot(*(places - held.to_numpy()).T)
    return pd.DataFrame(found, index=shown.index)[~target].dropna()


def seen(path: Path, area: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """Return an item's values (4, h, w) and usable (h, w) on the area."""
    with ItemReader(MeasuredItem.load(path)) as reader:
        values, usable = reader.read(area)
    return values.astype(np.float32), usable


def clear(path: Path, area: GeoBox) -> np.ndarray:
    """Return where the udm2 says clear."""
    mask = path.parent / json.loads(path.read_text())["assets"]["mask"]["href"]
    with rasterio.open(mask) as dataset, WarpedVRT(dataset, **area.profile) as placed:
        return placed.read(1) == 1


def steps(paths: list[Path], area: GeoBox, *, clear_only: bool) -> tuple[float, float]:
    """Return the mean step at the items' borders before and after adjustment."""
    before, after, good = [], [], []
    for path in paths:
        (raw, usable), (moved, there) = seen(path.with_name("item.json"), area), seen(path, area)
        before.append(raw)
        after.append(moved)
        good.append(ndimage.binary_erosion(usable & there & (clear(path, area) if clear_only else True), iterations=4))
    source = np.select(good, list(range(1, len(paths) + 1)))
    rows, columns = np.indices(area.shape)
    squares = (rows // SQUARE * area.width + columns // SQUARE).ravel()
    found = []
    for a, b in combinations(range(len(paths)), 2):
        border = ndimage.binary_dilation(source == a + 1) & ndimage.binary_dilation(source == b + 1)
        near = np.flatnonzero(ndimage.binary_dilation(border, iterations=NEAR_PX) & good[a] & good[b])
        number, place = np.unique(squares[near], return_inverse=True)
        count = np.bincount(place)
        for images in (before, after):
            difference = (images[a] - images[b]).reshape(4, -1)[:, near]
            means = [np.abs(np.bincount(place, band) / count)[count >= LEAST] for band in difference] if len(number) else []
            found.append(np.mean(means, axis=0) if len(means) else np.zeros(0))
    return float(np.concatenate(found[::2]).mean()), float(np.concatenate(found[1::2]).mean())


def agreement(paths: list[Path], options: CorridorOptions) -> dict[str, object]:
    """Measure how well the items of the target year agree."""
    result: dict[str, object] = {}
    for name, errors in zip(("absolute", "relative"), shift_errors(paths, options), strict=True):
        median, most = float(np.median(errors)), float(errors.max())
        print(f"{name} displacement of {len(paths)} items: error {median:.3f} px in the median, {most:.3f} at most")
        result[f"{name}_shift_error_px"] = {"median": median, "max": most}
    for name, clear_only in (("clear ground", True), ("all usable ground", False)):
        before, after = steps(paths, options.area, clear_only=clear_only)
        print(f"mean step on {name}: {before:.1f} before, {after:.1f} after, {before / after:.1f}-fold less")
        result[f"step_on_{name.replace(' ', '_')}"] = {"before": before, "after": after}
    return result


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=Path, help="of a demo")
    folder = parser.parse_args().results
    options = CorridorOptions(seed=1)  # as `rts-pipeline demo` makes it
    paths = sorted((folder / "scenes").glob(f"{options.target_year}*/adjusted.json"))
    years = between_years(max((folder / "rounds").glob("*/evidence/evidence.parquet")), options)
    result: dict[str, object] = {"items": len(paths), "images": len(years), "measured": int(years["measured"].sum())}
    for name in ("delivered", "shown"):
        median, p95, most = (float(years[name].quantile(q)) for q in (0.5, 0.95, 1))
        print(f"{len(years)} images as {name}, from the target year's: median {median:.3f} px, 95 % {p95:.3f}, all {most:.3f}")
        result[f"years_apart_px_as_{name}"] = {"median": median, "p95": p95, "max": most}
    if paths:
        result |= agreement(paths, options)
    io.write_json(Path("results/bench/agreement.json"), result)


if __name__ == "__main__":
    main()
