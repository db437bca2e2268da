"""Stage `chips`: which windows the network learns from, and which ones it is judged on.

Windows lie on a lattice inside spatial blocks. A block is wholly training or wholly validation, by a hash of its name, so
that no window is ever in both and a block keeps its split in all rounds. No pixels are copied: a window is a row.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from rts_pipeline import io
from rts_pipeline.cells import Mosaics
from rts_pipeline.config import BANDS, Chips
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.grid import Grid
from rts_pipeline.options import ChipsOptions

MIN_OBSERVED = 0.2
"""Windows with a smaller share of observed pixels are left out."""
OBSERVED_STEP = 8
"""Edge, in pixels, of the squares in which observed pixels are counted."""

COLUMNS = ["chip_id", "cell", "column", "row", "size_px", "kind", "block", "split", "observed_fraction", "geometry"]


def build_chips(labels: Path, mosaics: Sequence[Path], out: Path, options: ChipsOptions) -> None:
    """Write the table of windows.

    Args:
        labels: labels of the round (GeoParquet).
        mosaics: mosaics of the cells around the labels.
        out: GeoParquet, one row a window; `column`, `row`: the grid's pixel indices of its upper left pixel.
        options: the stage's options.

    Raises:
        InputError: no label on the mosaics, or none in training or in validation.
        UsageError: a window doesn't fit into a spatial block.
    """
    chips, grid = options.chips, options.grid.grid()
    blocks = block_grid(grid, chips)
    frame = _inside(io.read_geoparquet(labels).to_crs(grid.crs), mosaics, labels, grid)
    windows = lattice(frame.geometry.buffer(max(chips.background_reach_m, chips.buffer_m)), grid, blocks, chips)
    windows = _observed(windows, mosaics, grid)
    windows["kind"] = _kinds(windows, frame, chips)
    chosen = _with_background(windows, chips)
    _check(chosen, frame, labels)
    chosen["cell"] = _cells(chosen, grid)
    chosen["chip_id"] = chosen.block + "_" + chosen.column.astype(str) + "_" + chosen.row.astype(str)
    chosen["size_px"] = chips.size_px
    io.write_parquet(out, chosen.sort_values(["split", "block", "row", "column"])[COLUMNS])


def block_grid(grid: Grid, chips: Chips) -> Grid:
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


def split_of(block: str, chips: Chips) -> str:
    """Return "validation" or "train": a pure function of the seed and the block's name, equal in all rounds."""
    return "validation" if _hash(f"{chips.seed}:{block}") / 2**56 < chips.validation_fraction else "train"


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


def lattice(areas: gpd.GeoSeries, grid: Grid, blocks: Grid, chips: Chips) -> gpd.GeoDataFrame:
    """Return all windows that touch one of `areas`: columns column, row, block, split and the box.

    Training windows step by stride_px (the last one ends at the block's edge), validation windows never overlap.
    """
    edge, size = blocks.cell_px, chips.size_px
    steps = {
        "train": np.unique([*range(0, edge - size + 1, chips.stride_px), edge - size]),
        "validation": np.arange(0, edge - size + 1, size),
    }
    parts = []
    for name in blocks.cells_touching(areas.to_numpy()):
        box, split = blocks.cell(name), split_of(name, chips)
        rows, columns = np.meshgrid(box.row + steps[split], box.column + steps[split], indexing="ij")
        parts.append(pd.DataFrame({"column": columns.ravel(), "row": rows.ravel(), "block": f"s_{name}", "split": split}))
    windows = pd.concat(parts, ignore_index=True)
    west, north = windows.column * grid.pixel_m, -windows.row * grid.pixel_m
    boxes = shapely.box(west, north - size * grid.pixel_m, west + size * grid.pixel_m, north)
    frame = gpd.GeoDataFrame(windows, geometry=boxes, crs=grid.crs)
    return frame[_touching(boxes, areas)].reset_index(drop=True)


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


def _kinds(windows: gpd.GeoDataFrame, labels: gpd.GeoDataFrame, chips: Chips) -> np.ndarray:
    boxes = windows.geometry.to_numpy()
    near = {
        kind: _touching(boxes, labels.geometry[labels.kind == kind].buffer(chips.buffer_m)) for kind in labels.kind.unique()
    }
    none = np.zeros(len(boxes), bool)
    return np.select([near.get("positive", none), near.get("negative", none)], ["positive", "negative"], "background")


def _with_background(windows: gpd.GeoDataFrame, chips: Chips) -> gpd.GeoDataFrame:
    """Keep the windows around labels and, of the others, the number asked for with the lowest hash of their place."""
    places = windows.column.astype(str) + ":" + windows.row.astype(str)
    rank = pd.Series([_hash(f"{chips.seed}:{place}") for place in places], windows.index, dtype="int64")
    keep = windows.kind != "background"
    for split in ("train", "validation"):
        here = windows.split == split
        number = round(chips.background_per_label * int((keep & here).sum()))
        keep[rank[here & (windows.kind == "background")].nsmallest(number).index] = True
    return windows[keep].copy()


def _check(windows: gpd.GeoDataFrame, labels: gpd.GeoDataFrame, path: Path) -> None:
    positive = _touching(windows.geometry.to_numpy(), labels.geometry[labels.kind == "positive"])
    for split in ("train", "validation"):
        if not (positive & (windows.split == split)).any():
            raise InputError(
                path,
                f"no window of the {split} blocks holds a slump",
                expected="slumps in training and in validation blocks",
                do="change chips.seed, chips.validation_fraction or chips.block_m (smaller blocks), or add seeds",
            )


def _cells(windows: gpd.GeoDataFrame, grid: Grid) -> list[str]:
    """Name the cell in which the middle of each window lies."""
    middle = windows[["column", "row"]].to_numpy() + round(windows.geometry.length.iloc[0] / grid.pixel_m / 8)
    places, which = np.unique(middle // grid.cell_px, axis=0, return_inverse=True)
    points = shapely.points((places + 0.5) * [1, -1] * grid.cell_px * grid.pixel_m)
    names = [name for _, name in grid.cell_pairs(points)]
    return [names[index] for index in which.ravel()]
