"""Stage `chips`: which windows the network learns from, and which ones it is judged on.

Windows lie on a lattice inside spatial blocks. A block is wholly training, validation or test, by a hash of its name, so
that it keeps its split in all rounds, whatever labels they add. Between blocks of different splits a guard is kept: what
the network was fitted to ends well before the ground that it is judged on begins. No pixels are copied: a window is a row.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from rts_pipeline.cells import Mosaics
from rts_pipeline.config import BANDS, Windows
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.grid import GeoBox, Grid
from rts_pipeline.io.tables import read_geoparquet, write_parquet
from rts_pipeline.options import ChipsOptions

MIN_OBSERVED = 0.2
"""Windows with a smaller share of observed pixels are left out."""
OBSERVED_STEP = 8
"""Edge, in pixels, of the squares in which observed pixels are counted."""

MIN_BLOCKS = 4
"""Figures of slumps from fewer blocks than this say little about the next block."""
SPLITS = ("train", "validation", "test")
"""A window of one split keeps the guard to all blocks of the later ones."""
SHARES = {
    "train": "chips.validation_fraction",
    "validation": "chips.validation_fraction",
    "test": "chips.test_fraction (chips.folds in cross-validation)",
}
"""Keys that say how many blocks a split gets."""
SPAN = 2**56
"""Number of values of a hash."""

COLUMNS = ["chip_id", "cell", "column", "row", "size_px", "kind", "block", "split", "observed_fraction", "geometry"]


@dataclass(frozen=True)
class Fold:
    """A round of cross-validation: of so many parts of the blocks, the one (0-based) that is the test.

    Raises:
        UsageError: there is no such part.
    """

    number: int
    parts: int

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.parts:
            raise UsageError("--fold", f"{self.number} of {self.parts} folds", expected=f"0 to {self.parts - 1} (chips.folds)")


def build_chips(labels: Path, mosaics: Sequence[Path], out: Path, options: ChipsOptions, fold: Fold | None = None) -> None:
    """Write the table of windows.

    Of training windows without a label a sample is kept; of validation and test windows all within reach of a label, so
    that false outlines weigh there as they do in the landscape.

    Args:
        labels: labels of the round (GeoParquet).
        mosaics: mosaics of the cells around the labels.
        out: GeoParquet, one row a window; `column`, `row`: the grid's pixel indices of its upper left pixel.
        options: the stage's options.
        fold: take the test blocks of this fold, instead of `chips.test_fraction` of the blocks.

    Raises:
        InputError: no label on the mosaics, or no slump in one of the splits (but for the test part of a fold).
        UsageError: a window doesn't fit into a spatial block, or no block is left for training.
    """
    chips, grid = options.chips, options.grid.grid()
    blocks = block_grid(grid, chips)
    frame = _inside(read_geoparquet(labels).to_crs(grid.crs), mosaics, labels, grid)
    reach = frame.geometry.buffer(max(chips.background_reach_m, chips.buffer_m))
    windows = _observed(lattice(reach, grid, blocks, chips, fold), mosaics, grid)
    slumps = frame.geometry[frame.kind == "positive"]
    _tell_lost(windows, slumps)
    windows = windows[windows.apart].reset_index(drop=True)
    windows["kind"] = _kinds(windows, frame, chips)
    chosen = _with_background(windows, chips)
    # A fold's own part of the blocks may be without slumps: others have them, and false outlines count there too.
    _check(chosen, slumps, labels, judged=SPLITS[1:] if chips.test_fraction and not fold else SPLITS[1:2])
    chosen["cell"] = _cells(chosen, grid)
    chosen["chip_id"] = chosen.block + "_" + chosen.column.astype(str) + "_" + chosen.row.astype(str)
    chosen["size_px"] = chips.size_px
    write_parquet(out, chosen.sort_values(["split", "block", "row", "column"])[COLUMNS])


def block_grid(grid: Grid, chips: Windows) -> Grid:
    """Return the spatial blocks as the cells of a coarser grid with the same origin."""
    edge = round(chips.block_m / grid.pixel_m)
    if edge < chips.size_px:
        raise UsageError(
            "chips.block_m",
            f"{chips.block_m:g} m is {edge} px",
            expected=f"at least chips.size_px = {chips.size_px} px",
            do=f"raise it to {chips.size_px * grid.pixel_m:g} m or more",
        )
    return Grid(grid.crs, grid.pixel_m, edge)


def split_of(block: str, chips: Windows, fold: Fold | None = None) -> str:
    """Return "train", "validation" or "test": a pure function of the seed and the block's name, equal in all rounds.

    In a fold the blocks are turned by its share, so that each is test in exactly one of them; of the others
    `validation_fraction` is validation.

    Raises:
        UsageError: no block is left for training.
    """
    held_out = chips.validation_fraction if fold else chips.validation_fraction + chips.test_fraction
    if held_out >= 1:
        raise UsageError(
            "chips.validation_fraction",
            f"with chips.test_fraction {held_out:g} of the blocks are held out",
            expected="less than 1",
            do="lower one of them",
        )
    place = _hash(f"{chips.seed}:{block}")
    if fold is None:
        share = place / SPAN
        return "test" if share < chips.test_fraction else "validation" if share < held_out else "train"
    # in whole numbers: at a border of parts, rounding would put a block into two of them or into none
    turned = (place * fold.parts + fold.number * SPAN) % (fold.parts * SPAN)
    if turned < SPAN:
        return "test"
    return "validation" if (turned - SPAN) / ((fold.parts - 1) * SPAN) < held_out else "train"


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


def lattice(areas: gpd.GeoSeries, grid: Grid, blocks: Grid, chips: Windows, fold: Fold | None = None) -> gpd.GeoDataFrame:
    """Return all windows that touch one of `areas`: columns column, row, block, split, apart and the box.

    Training windows step by stride_px (the last one ends at the block's edge), the others never overlap. `apart`: the
    window keeps the guard to all blocks of later splits, whether or not those hold labels now.
    """
    edge, size = blocks.cell_px, chips.size_px
    steps = dict.fromkeys(SPLITS, np.arange(0, edge - size + 1, size))
    steps["train"] = np.unique([*range(0, edge - size + 1, chips.stride_px), edge - size])
    parts = []
    for name in blocks.cells_touching(areas.to_numpy()):
        box, split = blocks.cell(name), split_of(name, chips, fold)
        rows, columns = np.meshgrid(box.row + steps[split], box.column + steps[split], indexing="ij")
        apart = ~_near_later_splits(box, steps[split], blocks, chips, fold)
        values = {"column": columns.ravel(), "row": rows.ravel(), "block": f"s_{name}", "split": split}
        parts.append(pd.DataFrame({**values, "apart": apart.ravel()}))
    windows = pd.concat(parts, ignore_index=True)
    west, north = windows.column * grid.pixel_m, -windows.row * grid.pixel_m
    boxes = shapely.box(west, north - size * grid.pixel_m, west + size * grid.pixel_m, north)
    frame = gpd.GeoDataFrame(windows, geometry=boxes, crs=grid.crs)
    return frame[_touching(boxes, areas)].reset_index(drop=True)


def _near_later_splits(box: GeoBox, steps: np.ndarray, blocks: Grid, chips: Windows, fold: Fold | None) -> np.ndarray:
    """Return which positions of a block's lattice, (rows, columns), are nearer than the guard to a block of a later split."""
    edge, size = blocks.cell_px, chips.size_px
    guard = size + 1 if chips.guard_px is None else chips.guard_px
    rings = ceil(guard / edge)
    # pixels between a window and the row (or column) of blocks that lies `away` blocks from its own
    near = {
        away: np.maximum(away * edge - steps - size, steps - (away + 1) * edge) < guard for away in range(-rings, rings + 1)
    }
    later = SPLITS[SPLITS.index(split_of(box.id, chips, fold)) + 1 :]
    found = np.zeros((len(steps), len(steps)), bool)
    for down, right in product(near, repeat=2):
        middle = box.part(down * edge, right * edge, edge, edge).polygon.centroid
        if split_of(blocks.cell_at(middle.x, middle.y), chips, fold) in later:
            found |= near[down][:, None] & near[right]
    return found


def _touching(boxes: np.ndarray, areas: gpd.GeoSeries) -> np.ndarray:
    hit = np.zeros(len(boxes), bool)
    if len(areas):
        hit[shapely.STRtree(boxes).query(areas.to_numpy(), predicate="intersects")[1]] = True
    return hit


def _inside(labels: gpd.GeoDataFrame, mosaics: Sequence[Path], path: Path, grid: Grid) -> gpd.GeoDataFrame:
    covered = np.array([grid.cell(mosaic.stem).polygon for mosaic in mosaics], dtype=object)
    inside = _touching(labels.geometry.to_numpy(), gpd.GeoSeries(covered, crs=grid.crs))
    if not inside.any():
        raise InputError(
            path,
            f"none of its {len(labels)} labels lies on a mosaic",
            expected="labels inside the area that the scenes cover",
            do="check labels.seeds, area.aoi and scenes.folders",
        )
    if not inside.all():
        print(f"chips: {int((~inside).sum())} of {len(labels)} labels lie outside all mosaics", file=sys.stderr)
    return labels[inside]


def _observed(windows: gpd.GeoDataFrame, mosaics: Sequence[Path], grid: Grid) -> gpd.GeoDataFrame:
    """Keep the windows of which enough is observed, with `observed_fraction`; each mosaic is looked at once."""
    top, left = windows.row.to_numpy() / OBSERVED_STEP, windows.column.to_numpy() / OBSERVED_STEP
    size = (windows.geometry.bounds.maxx - windows.geometry.bounds.minx).to_numpy() / grid.pixel_m / OBSERVED_STEP
    count = np.zeros(len(windows))
    with Mosaics(mosaics, grid, BANDS) as reader:
        for path, box in reader.boxes.items():
            seen = reader.observed(path, OBSERVED_STEP)
            sums = np.pad(seen.cumsum(0, dtype=np.int64).cumsum(1), ((1, 0), (1, 0)))
            rows, columns = (np.array([0, n]) for n in seen.shape)
            first = np.clip(np.rint(top - box.row / OBSERVED_STEP), *rows).astype(int)
            last = np.clip(np.rint(top + size - box.row / OBSERVED_STEP), *rows).astype(int)
            west = np.clip(np.rint(left - box.column / OBSERVED_STEP), *columns).astype(int)
            east = np.clip(np.rint(left + size - box.column / OBSERVED_STEP), *columns).astype(int)
            count += sums[last, east] - sums[first, east] - sums[last, west] + sums[first, west]
    windows["observed_fraction"] = np.minimum(count / size**2, 1.0)
    return windows[windows.observed_fraction > MIN_OBSERVED].reset_index(drop=True)


def _tell_lost(windows: gpd.GeoDataFrame, slumps: gpd.GeoSeries) -> None:
    """Say how many slumps lie in windows, but in none that keeps the guard."""
    shown, kept = (_touching(slumps.to_numpy(), part.geometry) for part in (windows, windows[windows.apart]))
    if number := int((shown & ~kept).sum()):
        print(
            f"chips: {number} of {len(slumps)} slumps lie too near to blocks of another split to be in any window"
            " (chips.guard_px; larger blocks, chips.block_m, lose fewer)",
            file=sys.stderr,
        )


def _kinds(windows: gpd.GeoDataFrame, labels: gpd.GeoDataFrame, chips: Windows) -> np.ndarray:
    boxes = windows.geometry.to_numpy()
    near = {
        kind: _touching(boxes, labels.geometry[labels.kind == kind].buffer(chips.buffer_m)) for kind in labels.kind.unique()
    }
    none = np.zeros(len(boxes), bool)
    return np.select([near.get("positive", none), near.get("negative", none)], ["positive", "negative"], "background")


def _with_background(windows: gpd.GeoDataFrame, chips: Windows) -> gpd.GeoDataFrame:
    """Leave out training windows without a label, but for the number asked for with the lowest hash of their place."""
    candidates = windows[(windows.split == "train") & (windows.kind == "background")]
    number = round(chips.background_per_label * ((windows.split == "train") & (windows.kind != "background")).sum())
    places = candidates.column.astype(str) + ":" + candidates.row.astype(str)
    rank = pd.Series([_hash(f"{chips.seed}:{place}") for place in places], candidates.index, dtype="int64")
    return windows.drop(index=rank.index.difference(rank.nsmallest(number).index))


def _check(windows: gpd.GeoDataFrame, slumps: gpd.GeoSeries, path: Path, judged: Sequence[str]) -> None:
    """Refuse a split without a slump; say where those `judged` on have slumps in too few blocks to trust the figures."""
    held = windows[_touching(windows.geometry.to_numpy(), slumps)].groupby("split").block.nunique()
    for split in ("train", *judged):
        number = int(held.get(split, 0))
        remedy = f"change chips.seed, {SHARES[split]} or chips.block_m (smaller blocks), or add seeds"
        if number == 0:
            raise InputError(
                path,
                f"no window of the {split} blocks holds a slump",
                expected=f"slumps in {', '.join(judged)} and training blocks",
                do=f"{remedy}, or lower chips.guard_px",
            )
        if split in judged and number < MIN_BLOCKS:
            print(
                f"chips: {split} blocks with slumps: {number}; what fewer than {MIN_BLOCKS} say about other ground is"
                f" a matter of luck: {remedy}",
                file=sys.stderr,
            )


def _cells(windows: gpd.GeoDataFrame, grid: Grid) -> list[str]:
    """Name the cell in which the middle of each window lies."""
    middle = windows[["column", "row"]].to_numpy() + round(windows.geometry.length.iloc[0] / grid.pixel_m / 8)
    places, which = np.unique(middle // grid.cell_px, axis=0, return_inverse=True)
    points = shapely.points((places + 0.5) * [1, -1] * grid.cell_px * grid.pixel_m)
    names = [name for _, name in grid.cell_pairs(points)]
    return [names[index] for index in which.ravel()]
