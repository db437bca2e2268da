"""What the attributes cost: CPU seconds a slump for each group, and whether they are linear in the number of slumps.

python bench/attributes.py

Slumps of 1.9 ha (the mean of the Qinghai-Tibet inventory) at random in a simulated country: a DEM of 30 m with hills, source
maps, short roads, a raster of classes, points. Each group runs alone, in this process, for each number of slumps. Prints CPU
seconds and writes results/bench/attributes.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import tempfile
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from affine import Affine
from scipy.ndimage import gaussian_filter

from rts_pipeline import io
from rts_pipeline.config import Covariate, GridSection
from rts_pipeline.inventory import shape
from rts_pipeline.inventory.covariates import measure
from rts_pipeline.inventory.observed import acquisitions
from rts_pipeline.inventory.setting import distance_to_lines
from rts_pipeline.inventory.solar import solar_radiation
from rts_pipeline.inventory.terrain import terrain

CRS = "EPSG:32646"
GRID = GridSection(crs=CRS).grid()
CELL_M = GRID.cell_px * GRID.pixel_m
WEST, SOUTH = 80 * CELL_M, 630 * CELL_M
CORNER = np.array([WEST, SOUTH])
RADIUS_M = 78.0
DEM_M = 30.0


def write(path: Path, values: np.ndarray, pixel_m: float, **profile) -> Path:
    """Write a raster whose lower left corner is that of the country."""
    transform = Affine(pixel_m, 0, WEST, 0, -pixel_m, SOUTH + values.shape[0] * pixel_m)
    layout = {"driver": "GTiff", "count": 1, "tiled": True, "compress": "deflate", "crs": CRS, "transform": transform}
    with rasterio.open(
        path, "w", dtype=values.dtype, height=values.shape[0], width=values.shape[1], **layout, **profile
    ) as dataset:
        dataset.write(values, 1)
    return path


def country(folder: Path, cells: int) -> dict[str, Path]:
    """Make the files of a country of cells x cells."""
    random = np.random.default_rng(1)
    edge = round(cells * CELL_M / DEM_M)
    hills = gaussian_filter(random.normal(0, 1, (edge, edge)), 25, mode="wrap") * 25 * 120
    ends = random.uniform(0, cells * CELL_M, (cells * cells * 20, 2)) + CORNER
    turns = random.uniform(-1000, 1000, ends.shape)
    roads = gpd.GeoSeries(shapely.linestrings(np.stack([ends, ends + turns], axis=1)), crs=CRS)
    roads.to_file(folder / "roads.gpkg")
    gpd.GeoSeries(shapely.points(ends), crs=CRS).to_file(folder / "lakes.gpkg")
    for column in range(cells):
        for row in range(cells):
            cell = GRID.cell(GRID.cell_at(WEST + (column + 0.5) * CELL_M, SOUTH + (row + 0.5) * CELL_M))
            index = np.kron(random.integers(0, 5, (8, 8)), np.ones((256, 256), dtype=int)).astype("uint16")
            with io.new_cog(
                folder / f"{cell.id}_source.tif",
                overview_resampling="nearest",
                count=1,
                dtype="uint16",
                nodata=0,
                **cell.profile,
            ) as dataset:
                dataset.write(index, 1)
                items = [{"index": n, "id": f"item{n}", "acquired": f"2019-07-0{n}T04:00:00Z"} for n in range(1, 5)]
                dataset.update_tags(ITEMS=json.dumps(items))
    return {
        "dem": write(folder / "dem.tif", (4700 + hills).astype("float32"), DEM_M, nodata=-32768),
        "classes": write(folder / "classes.tif", random.integers(1, 6, (edge, edge)).astype("uint8"), DEM_M),
        "roads": folder / "roads.gpkg",
        "lakes": folder / "lakes.gpkg",
    }


def slumps(number: int, cells: int) -> gpd.GeoSeries:
    """Return round slumps at random, some way from the country's edge."""
    places = np.random.default_rng(2).uniform(1000, cells * CELL_M - 1000, (number, 2)) + CORNER
    return gpd.GeoSeries(shapely.buffer(shapely.points(places), RADIUS_M), crs=CRS)


def groups(files: dict[str, Path], folder: Path) -> dict[str, Callable[[gpd.GeoSeries], object]]:
    """Return what measures each group."""
    classes = {str(value): f"class{value}" for value in range(1, 6)}
    shares = Covariate(name="cover", file=str(files["classes"]), kind="shares", classes=classes)
    mean = Covariate(name="height", file=str(files["dem"]), kind="mean")
    nearest = Covariate(name="lake", file=str(files["lakes"]), kind="nearest")
    sources = sorted(folder.glob("*_source.tif"))
    return {
        "time": lambda outlines: acquisitions(outlines, sources, GRID),
        "shape": shape.describe,
        "terrain": lambda outlines: terrain(outlines, files["dem"]),
        "solar radiation": lambda outlines: solar_radiation(outlines, files["dem"]),
        "distance from roads": lambda outlines: distance_to_lines(outlines, files["roads"], "roads"),
        "covariate: mean": lambda outlines: measure(outlines, mean),
        "covariate: shares": lambda outlines: measure(outlines, shares),
        "covariate: nearest": lambda outlines: measure(outlines, nearest),
    }


def cpu_s() -> float:
    """Return the CPU seconds of this process and of the programs that it ran."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--numbers", type=int, nargs="+", default=[100, 400])
    parser.add_argument("--cells", type=int, default=3, help="edge of the country in cells of 6.1 km")
    options = parser.parse_args()
    told: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="rts-attributes-") as name:
        files = country(Path(name), options.cells)
        for group, run in groups(files, Path(name)).items():
            told[group] = {}
            for number in options.numbers:
                outlines = slumps(number, options.cells)
                start = cpu_s()
                with contextlib.redirect_stderr(StringIO()):
                    run(outlines)
                told[group][str(number)] = cpu_s() - start
            print(f"{group:20}", *(f"{value:8.2f}" for value in told[group].values()), flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak {peak:.0f} MB")
    io.write_json(Path("results/bench/attributes.json"), {"cpu_s": told, "peak_mb": peak})


if __name__ == "__main__":
    main()
