"""What it costs to compare two inventories, and to build one on an earlier one: CPU seconds and peak memory.

    python bench/inventory.py [--slumps 100000]

B has A's slumps, a tenth of them redrawn, a hundredth gone and a hundredth new, in another order. Slumps are outlines of 64
points in a random walk around a circle, about 1.9 ha each, 600 m apart.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely

from rts_pipeline.config import GridSection, Place, Time
from rts_pipeline.inventory.build import Earlier, build_inventory
from rts_pipeline.inventory.diff import diff, summary
from rts_pipeline.options import InventoryOptions

CRS = "EPSG:32646"
POINTS, SPACING_M, RADIUS_M = 64, 600.0, 78.0


def outlines(n: int, random: np.random.Generator) -> np.ndarray:
    """Return n outlines on a lattice."""
    side = int(np.ceil(n**0.5))
    x, y = 300_000.0 + SPACING_M * (np.arange(n) % side), 3_800_000.0 + SPACING_M * (np.arange(n) // side)
    angle = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    radius = RADIUS_M * (1 + 0.1 * random.standard_normal((n, POINTS)))
    points = np.stack([x[:, None] + radius * np.cos(angle), y[:, None] + radius * np.sin(angle)], axis=-1)
    return shapely.polygons(points)


def releases(n: int, folder: Path) -> tuple[Path, Path]:
    """Write the two inventories."""
    random = np.random.default_rng(0)
    shapes = outlines(n + n // 100, random)
    values = {"delineation_id": [f"s{i}" for i in range(len(shapes))], "slope_deg": random.uniform(1, 18, len(shapes))}
    frame = gpd.GeoDataFrame({"rts_uid": [f"uid-{i}" for i in range(len(shapes))], **values}, geometry=shapes, crs=CRS)
    frame["acquired_end"] = "2019-08-20T04:00:00Z"
    after = frame.iloc[n // 100 :].copy()
    redrawn = random.permutation(len(after))[: n // 10]
    geometry = after.geometry.to_numpy().copy()
    geometry[redrawn] = shapely.buffer(geometry[redrawn], 3.0)
    paths = folder / "a.parquet", folder / "b.parquet"
    frame.iloc[:n].to_parquet(paths[0])
    after.set_geometry(geometry, crs=CRS).sample(frac=1, random_state=0).to_parquet(paths[1])
    return paths


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
    parser.add_argument("--slumps", type=int, default=100_000)
    parser.add_argument("--build", type=int, default=10_000, help="slumps of the inventory that is built")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        a, b = releases(given.slumps, folder)

        def compare() -> str:
            rows = diff(a, b, 1e-6)
            summary(rows)
            return f"; {rows['change'].value_counts().to_dict()}"

        measured(f"diff of {given.slumps:,} against {given.slumps:,} slumps", compare)
        c, d = releases(given.build, folder)
        area = folder / "aoi.parquet"
        gpd.GeoDataFrame(geometry=[shapely.box(0, 3_000_000, 1_500_000, 5_000_000)], crs=CRS).to_parquet(area)
        options = InventoryOptions(area=Place(), time=Time(), grid=GridSection(crs=CRS))

        def build() -> str:
            build_inventory(d, [], folder / "outlines.parquet", options, Earlier(c, area))
            return ""

        measured(f"inventory of {given.build:,} slumps on an earlier one", build)


if __name__ == "__main__":
    main()
