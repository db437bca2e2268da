"""The mosaic of a cell of 2048 x 2048 px from 35 overlapping items, against the bare cost of its reading and writing.

python bench/mosaic.py

The limit is what nobody can spare: every item's window of the cell read once (reflectance and usable pixels) and a raster of
that size written as a COG. CPU seconds of this process and its threads; both are measured by turns, the least of each counts.
Writes results/bench/mosaic.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.windows import Window
from scipy import ndimage

from rts_pipeline import io
from rts_pipeline.config import GridSection, Mosaic, Scenes, Time, Usability
from rts_pipeline.grid import Grid
from rts_pipeline.mosaic import build_mosaic
from rts_pipeline.options import MosaicOptions, ScenesOptions
from rts_pipeline.scenes.discover import discover
from rts_pipeline.scenes.measure import measure

CRS = "EPSG:32646"
CELL = Grid(CRS).cell("e0078_n0628")
N_ITEMS = 35
SIDE = 3000
TURNS = 3


def make_items(folder: Path) -> list[Path]:
    """Write and measure the items: swaths with slanted edges and clouds, wider than the cell, on its grid."""
    rng = np.random.default_rng(0)
    ground = ndimage.gaussian_filter(rng.normal(0, 1, (SIDE, SIDE)).astype(np.float32), 3) * 6000 + 1500
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    jsons = []
    for number in range(N_ITEMS):
        item_id = f"201907{1 + number % 28:02d}_0410{number:02d}_10{number:02d}"
        left, top = rng.integers(-800, 0, 2)
        across = columns + left + 0.2 * (rows + top) - rng.uniform(0, 1400)
        inside = (across > 0) & (across < 1900)
        cloud = ndimage.zoom(ndimage.gaussian_filter(rng.normal(0, 1, (100, 100)), 3), SIDE / 100, order=1) > 0.12
        noise = rng.normal(0, 12, (SIDE, SIDE)).astype(np.float32)
        values = np.stack([ground * factor + noise for factor in (0.5, 0.7, 0.9, 1.6)])
        values = np.where(inside, np.clip(values, 50, 9000), 0).astype(np.uint16)
        udm2 = np.zeros((8, SIDE, SIDE), np.uint8)
        udm2[0], udm2[5], udm2[6], udm2[7] = inside & ~cloud, inside & cloud, 90 * inside, ~inside
        jsons.append(_measured(folder, item_id, values, udm2, CELL.transform @ Affine.translation(int(left), int(top))))
    return jsons


def _measured(folder: Path, item_id: str, values: np.ndarray, udm2: np.ndarray, transform: Affine) -> Path:
    place = folder / "orders" / item_id
    place.mkdir(parents=True)
    for name, array, nodata in (("AnalyticMS_SR", values, 0), ("udm2", udm2, None)):
        profile = {"driver": "GTiff", "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "lzw", "predictor": 2}
        size = {"count": len(array), "height": SIDE, "width": SIDE, "dtype": array.dtype}
        path = place / f"{item_id}_3B_{name}.tif"
        with rasterio.open(path, "w", crs=CRS, transform=transform, nodata=nodata, **profile, **size) as dataset:
            dataset.write(array)
    item = discover([place], Scenes(folders=[str(place)])).items[0]
    out = folder / "scenes" / item_id
    files = (item.reflectance, item.mask, item.mask_kind, item.metadata, item.xml)
    measure(item_id, *files, out / "item.json", out / "usable.tif", ScenesOptions(scenes=Usability()))
    return out / "item.json"


def bare(items: list[Path], out: Path) -> None:
    """Read each item's window of the cell once, block by block, and write the last as a COG of the mosaic's kind."""
    values = np.zeros((4, *CELL.shape), np.uint16)
    with rasterio.Env(**io.GDAL_OPTIONS):
        for item in items:
            told = json.loads(item.read_text())
            reflectance = (item.parent / told["assets"]["reflectance"]["href"]).resolve()
            with rasterio.open(reflectance) as dataset, rasterio.open(item.parent / "usable.tif") as mask:
                column, row = (round(value) for value in ~dataset.transform @ (CELL.bounds[0], CELL.bounds[3]))
                window = Window(column, row, 2048, 2048).intersection(Window(0, 0, SIDE, SIDE))
                part = dataset.read(window=window)
                mask.read(1, window=window)
                values[:, : part.shape[1], : part.shape[2]] = part
    placed = {"nodata": 0, **CELL.profile}
    with io.new_cog(out, count=4, dtype="uint16", **placed) as target:
        target.write(values)
    with io.new_cog(out.with_name("source.tif"), count=1, dtype="uint16", overview_resampling="nearest", **placed) as target:
        target.write(values[0], 1)


def cpu_seconds(work: list[str], folder: Path) -> tuple[float, float, float]:
    """Run one piece in a process of its own; return its CPU seconds, wall seconds (without imports) and peak MB."""
    done = subprocess.run(
        [sys.executable, __file__, "--work", *work, "--folder", str(folder)], check=True, capture_output=True, text=True
    )
    cpu, wall, peak = (float(value) for value in done.stdout.split())
    return cpu, wall, peak


def work(name: str, choice: str, folder: Path) -> None:
    """Do one piece and print its cost."""
    items = sorted((folder / "scenes").glob("*/item.json"))
    before, start = time.process_time(), time.perf_counter()
    if name == "bare":
        bare(items, folder / "bare.tif")
    else:
        options = MosaicOptions(time=Time(), grid=GridSection(crs=CRS), mosaic=Mosaic(choice=choice))
        build_mosaic(CELL, items, folder / "cell.tif", folder / "cell_source.tif", options)
    # not ru_maxrss, which a child inherits from its parent
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    print(time.process_time() - before, time.perf_counter() - start, peak)


def main() -> None:
    """Measure by turns, print a table, write results/bench/mosaic.json."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        folder = Path(name)
        make_items(folder)
        pieces = {"bare": ["bare", "-"]} | {c: ["mosaic", c] for c in ("clearest", "nearest", "greenest", "medoid")}
        turns = [{piece: cpu_seconds(words, folder) for piece, words in pieces.items()} for _ in range(TURNS)]
    best = {piece: min(turn[piece] for turn in turns) for piece in pieces}
    print(f"| {N_ITEMS} items | CPU s | over the limit | wall s | peak MB |\n|---|---|---|---|---|")
    for piece, (cpu, wall, peak) in best.items():
        print(f"| {piece} | {cpu:.2f} | {cpu / best['bare'][0]:.2f} | {wall:.2f} | {peak:.0f} |")
    result = {
        "cpu_over_limit": {piece: round(cost[0] / best["bare"][0], 3) for piece, cost in best.items() if piece != "bare"},
        "peak_rss_mb": {piece: round(max(turn[piece][2] for turn in turns)) for piece in pieces},
    }
    io.write_json(Path("results/bench/mosaic.json"), result)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", nargs=2)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.work:
        work(*arguments.work, arguments.folder)
    else:
        main()
