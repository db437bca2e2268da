"""What it costs to compare two inventories, and to build one on an earlier one: CPU seconds and peak memory.

    python bench/inventory.py [--slumps 10000 30000 100000] [--redrawn 0.1 1.0]

B has A's slumps, a share of them redrawn, a hundredth gone and a hundredth new, in another order. Slumps are outlines of 64
points at random distances around a circle, about 1.9 ha each, 600 m apart. Redrawn ones have other points, so that each of
their edges crosses the old outline. The inventory is built of B as seeds on A as the earlier one, with a source map of each
cell that shows all of it, and of A as seeds with a round of review in which each of them was given B's outline.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import shutil
import tempfile
import time
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import shapely

from rts_pipeline.config import GridSection, Place, Time
from rts_pipeline.inventory.build import RELATIONS, Earlier, build_inventory
from rts_pipeline.inventory.diff import diff, summary
from rts_pipeline.options import InventoryOptions
from rts_pipeline.seeds import read_seeds
from rts_pipeline.source_map import SUFFIX

CRS = "EPSG:32646"
POINTS, SPACING_M, RADIUS_M, SIDE = 64, 600.0, 78.0, 320


def outlines(n: int, random: np.random.Generator) -> np.ndarray:
    """Return n outlines on a lattice, of which the first are at the same places whatever n is."""
    x, y = 300_000.0 + SPACING_M * (np.arange(n) % SIDE), 3_800_000.0 + SPACING_M * (np.arange(n) // SIDE)
    angle = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    radius = RADIUS_M * (1 + 0.1 * random.standard_normal((n, POINTS)))
    points = np.stack([x[:, None] + radius * np.cos(angle), y[:, None] + radius * np.sin(angle)], axis=-1)
    return shapely.polygons(points)


def releases(n: int, redrawn: float, folder: Path) -> tuple[Path, Path]:
    """Write the two inventories of n slumps each."""
    random = np.random.default_rng(0)
    shapes = outlines(n + n // 100, random)
    values = {"delineation_id": [f"s{i}" for i in range(len(shapes))], "slope_deg": random.uniform(1, 18, len(shapes))}
    frame = gpd.GeoDataFrame({"rts_uid": [f"uid-{i}" for i in range(len(shapes))], **values}, geometry=shapes, crs=CRS)
    frame["acquired_end"] = "2019-08-20T04:00:00Z"
    after = frame.iloc[n // 100 :].copy()
    other = random.permutation(len(after))[: round(n * redrawn)]
    geometry = after.geometry.to_numpy().copy()
    geometry[other] = outlines(len(shapes), random)[n // 100 :][other]
    paths = folder / "a.parquet", folder / "b.parquet"
    frame.iloc[:n].to_parquet(paths[0])
    after.set_geometry(geometry, crs=CRS).sample(frac=1, random_state=0).to_parquet(paths[1])
    return paths


def source_maps(inventory: Path, options: InventoryOptions, folder: Path) -> list[Path]:
    """Write the source maps of the cells of an inventory's slumps: one image shows everything."""
    grid, paths = options.grid.grid(), []
    for name in grid.cells_touching(gpd.read_parquet(inventory).geometry.to_numpy()):
        cell, path = grid.cell(name), folder / f"{name}{SUFFIX}"
        if paths:
            shutil.copy(paths[0], path)
            with rasterio.open(path, "r+") as raster:
                raster.transform = cell.transform
        else:
            tiles = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
            profile = {"driver": "GTiff", "count": 1, "dtype": "uint16", "nodata": 0, **tiles, **cell.profile}
            with rasterio.open(path, "w", **profile) as raster:
                raster.write(np.ones(cell.shape, "uint16"), 1)
                raster.update_tags(ITEMS=json.dumps([{"index": 1, "id": "a", "acquired": "2020-08-01T04:00:00Z"}]))
        paths.append(path)
    return paths


def review(seeds: Path, drawn: Path, folder: Path) -> Path:
    """Write a round in which the slumps of one inventory got the outlines of another."""
    label = dict(zip(gpd.read_parquet(seeds)["rts_uid"], read_seeds(seeds, CRS)["seed_id"], strict=True))
    frame = gpd.read_parquet(drawn)
    values = {
        **{"candidate_id": [f"r01-{number:06d}" for number in range(len(frame))], "round": 1, "decision": "edit"},
        **{"reject_reason": None, "possibility": 0.75, "n_reviews": 1, "reviewers": "ann", "prob_mean": 0.8, "prob_max": 0.9},
        **{"reviewed_at": "2024-01-01T08:00:00Z", "known_ids": [label.get(uid, "") for uid in frame["rts_uid"]]},
    }
    path = folder / "reviewed.parquet"
    gpd.GeoDataFrame(values, geometry=frame.geometry.to_numpy(), crs=CRS).to_parquet(path)
    return path


def measured(what: str, work) -> None:
    """Run `work` and print its CPU seconds."""
    start, wall = time.process_time(), time.perf_counter()
    result = work()
    cpu, wall = time.process_time() - start, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what}: {cpu:.1f} s of CPU ({wall:.1f} s on the clock), {peak:.0f} MB at most{result}", flush=True)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slumps", type=int, nargs="+", default=[10_000, 30_000, 100_000])
    parser.add_argument("--redrawn", type=float, nargs="+", default=[0.1, 1.0], help="share of the slumps")
    given = parser.parse_args()
    for slumps, redrawn in itertools.product(given.slumps, given.redrawn):
        with tempfile.TemporaryDirectory() as name:
            compare(slumps, redrawn, Path(name))


def compare(slumps: int, redrawn: float, folder: Path) -> None:
    """Measure both with so many slumps."""
    a, b = releases(slumps, redrawn, folder)
    area = folder / "aoi.parquet"
    gpd.GeoDataFrame(geometry=[shapely.box(0, 3_000_000, 1_500_000, 5_000_000)], crs=CRS).to_parquet(area)
    options = InventoryOptions(area=Place(), time=Time(), grid=GridSection(crs=CRS))
    out = folder / "outlines.parquet"

    def differ() -> str:
        rows = diff(a, b, 1e-6)
        summary(rows)
        return f"; {rows['change'].value_counts().to_dict()}"

    def build(seeds: Path, reviewed: list[Path], earlier: Earlier | None) -> str:
        build_inventory(seeds, reviewed, out, options, earlier)
        told = pd.read_parquet(out.with_name(RELATIONS), columns=["relation"])
        return f"; {told['relation'].value_counts().to_dict()}"

    print(f"{slumps:,} slumps against {slumps:,}, {redrawn:.0%} redrawn")
    measured("  diff", differ)
    earlier = Earlier(a, area, source_maps(a, options, folder))
    measured("  inventory on an earlier one", lambda: build(b, [], earlier))
    reviewed = [review(a, b, folder)]
    measured("  inventory of a round over seeds", lambda: build(a, reviewed, None))


if __name__ == "__main__":
    main()
