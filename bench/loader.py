"""The loader alone: windows a second from mosaics of 2048 x 2048 px and 300 slumps, with 0, 1 and 2 processes.

python bench/loader.py

Set against what a window costs in training on two cores (ResNet-18, DeepLabv3+). CPU seconds are those of this process and of
the loader's, and say more than windows a second where others use the machine. Windows are cut from the mosaics as they are,
with a block cache of a fifth of them as for a region that is larger than memory, and from cells unpacked in the first pass.
Writes results/bench/loader.json.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import shapely
import torch
from scipy import ndimage
from torch.utils.data import DataLoader
from torchgeo.datasets import stack_samples

from rts_pipeline import io
from rts_pipeline.config import BANDS
from rts_pipeline.grid import Grid
from rts_pipeline.learning.datasets import ChipSampler, SlumpDataset, open_datasets, weights

GRID = Grid("EPSG:32646")
CELLS = [f"e{78 + i:04d}_n{628 + j:04d}" for i in range(3) for j in range(3)]
STEP_CPU_MS = {128: 2000 / 53, 256: 4 * 2000 / 53}
"""What a window costs in training, by its edge in pixels: two cores train 53 windows of 128 px a second."""
DRAWS = {128: 1200, 256: 600}
BATCH = 16
CACHE_BYTES = 64 * 2**20


def make_mosaics(folder: Path, random: np.random.Generator) -> None:
    """Write the cells as the stage does: correlated ground, noise of the sensor, a gap without an observation."""
    for name in CELLS:
        cell = GRID.cell(name)
        ground = ndimage.gaussian_filter(random.normal(0, 1, cell.shape).astype(np.float32), 3) * 3000 + 1500
        noise = random.normal(0, 12, (len(BANDS), *cell.shape)).astype(np.float32)
        values = (np.stack([ground * factor for factor in (0.5, 0.7, 0.9, 1.6)]) + noise).clip(1, 9000).astype(np.uint16)
        values[:, :300, :500] = 0
        with io.new_cog(folder / f"{name}.tif", count=len(BANDS), dtype="uint16", nodata=0, **cell.profile) as target:
            target.write(values)
            target.descriptions = BANDS


def make_labels(path: Path, random: np.random.Generator) -> gpd.GeoDataFrame:
    """Write 300 slumps and 300 rejected places, outlines of 80 corners about 60 m from their middles."""
    west, south, east, north = shapely.total_bounds([GRID.cell(name).polygon for name in CELLS])
    turn = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    shapes = []
    for x, y in random.uniform((west, south), (east, north), (600, 2)):
        radius = 60 + 15 * np.sin(turn * random.integers(2, 5)) + random.normal(0, 3, 80)
        shapes.append(shapely.Polygon(np.column_stack([x + radius * np.cos(turn), y + radius * np.sin(turn)])))
    columns = {"label_id": [f"{n:04d}" for n in range(600)], "kind": ["positive", "negative"] * 300}
    labels = gpd.GeoDataFrame(columns, geometry=shapes, crs=GRID.crs)
    io.write_parquet(path, labels)
    return labels


def make_chips(labels: gpd.GeoDataFrame, size: int) -> gpd.GeoDataFrame:
    """Return windows on a lattice of half a window around the labels, and as many of background, with their weights."""
    boxes = []
    for name in CELLS:
        boxes += [cell.part(0, 0, size, size).polygon for cell in GRID.cell(name).windows(size // 2)]
    chips = gpd.GeoDataFrame(geometry=boxes, crs=GRID.crs).assign(kind="background")
    for kind in ("negative", "positive"):
        near = shapely.STRtree(chips.geometry.to_numpy()).query(labels.geometry[labels.kind == kind], predicate="intersects")[1]
        chips.loc[np.unique(near), "kind"] = kind
    held, others = (chips[select] for select in (chips.kind != "background", chips.kind == "background"))
    chosen = pd.concat([held, others.sample(min(len(held), len(others)), random_state=0)], ignore_index=True)
    return chosen.assign(weight=weights(chosen, labels.geometry[labels.kind == "positive"]))


def collate(samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Leave out CRS and bounds, as training does."""
    return stack_samples({name: sample[name] for name in ("image", "mask")} for sample in samples)


def cpu_s() -> float:
    """Return the CPU seconds of this process and of its children that ended."""
    return sum(os.times()[:4])


def one_pass(dataset: SlumpDataset, chips: gpd.GeoDataFrame, draws: int, workers: int) -> dict[str, float]:
    """Draw `draws` windows; processes that start and end count in CPU seconds, not in the time."""
    sampler = ChipSampler(dataset, chips, draws=draws)
    before, n = cpu_s(), 0
    batches = iter(DataLoader(dataset, BATCH, sampler=sampler, num_workers=workers, collate_fn=collate))
    next(batches)
    start = time.perf_counter()
    for batch in batches:
        n += len(batch["image"])
    wall = time.perf_counter() - start
    del batches
    return {"windows_per_s": round(n / wall), "cpu_ms_per_window": round((cpu_s() - before) / draws * 1000, 2)}


def passes(folder: Path, size: int, workers: int, labels: gpd.GeoDataFrame) -> Iterator[dict[str, Any]]:
    """Yield what each pass cost."""
    mosaics, chips = sorted(folder.glob("*.tif")), make_chips(labels, size)
    for source, turns in {"mosaics": ["next"], "unpacked": ["first", "next"]}.items():
        scratch = folder / f"{size}-{workers}" if source == "unpacked" else None
        dataset = open_datasets(mosaics, folder / "labels.parquet", GRID, BANDS, 6.0, scratch=scratch)
        for turn in turns:
            with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
                cost = one_pass(dataset, chips, DRAWS[size], workers)
            load = round(os.getloadavg()[0], 1)
            yield {"size_px": size, "workers": workers, "source": source, "pass": turn, "load": load, **cost}


def main() -> None:
    """Measure, print a table, write results/bench/loader.json."""
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        folder = Path(name)
        make_mosaics(folder, random)
        labels = make_labels(folder / "labels.parquet", random)
        rows = [row for size in DRAWS for workers in (0, 1, 2) for row in passes(folder, size, workers, labels)]
    print("| window px | processes | from | pass | windows/s | CPU ms a window | of a step's CPU time | load |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        row["share_of_step"] = round(row["cpu_ms_per_window"] / STEP_CPU_MS[row["size_px"]], 3)
        print(
            f"| {row['size_px']} | {row['workers']} | {row['source']} | {row['pass']} | {row['windows_per_s']} |"
            f" {row['cpu_ms_per_window']:.2f} | {row['share_of_step']:.1%} | {row['load']} |"
        )
    io.write_json(Path("results/bench/loader.json"), {"batch": BATCH, "cores": os.cpu_count(), "passes": rows})


if __name__ == "__main__":
    main()
