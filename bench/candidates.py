"""Outlines and their comparison at the size of a region: what polygonize and candidates cost, and how that grows.

python bench/candidates.py

Made fields of probabilities of 2,048 x 2,048 to 8,192 x 8,192 px, polygonized as one block, and 6,250 to 100,000 outlines
against as many labels, a fifth of them over known slumps and a fifth over what was rejected. CPU seconds of the process; each
row has four times the work of the one before. Writes results/bench/candidates.json.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import shapely
from scipy import ndimage

from rts_pipeline import io
from rts_pipeline.candidates import build_candidates
from rts_pipeline.grid import Grid
from rts_pipeline.omitted import Omitted
from rts_pipeline.options import CandidatesOptions, PolygonizeOptions, parse_options
from rts_pipeline.polygonize import polygonize, sums_path

CRS = "EPSG:32646"
SIDES_PX = (2048, 4096, 8192)
NUMBERS = (6_250, 25_000, 100_000)
STEP_PX = 40
CHOICE = {"threshold": 0.5, "seed_threshold": 0.6, "min_area_m2": 300.0, "hole_m2": 300.0, "weights_sha256": "0" * 64}
COLUMN, ROW = 166_400, -1_262_000


def cpu_seconds(work: Any) -> float:
    """Return the CPU seconds of a piece of work."""
    before = time.process_time()
    work()
    return time.process_time() - before


def write_json(path: Path, value: Any) -> Path:
    io.write_json(path, value)
    return path


def polygonized(folder: Path, side: int) -> dict[str, float]:
    """Polygonize a block of that side; return its cost and what was written."""
    grid = Grid(CRS, cell_px=side, block_cells=1)
    block = grid.block("b_e0020_n0153")
    random = np.random.default_rng(0)
    field = ndimage.zoom(ndimage.gaussian_filter(random.normal(0, 1, (side // 4, side // 4)), 4), 4, order=1)
    values = np.clip(125 + (field / field.std() - 2.6) * 80 + random.normal(0, 8, field.shape), 0, 250).astype(np.uint8)
    raster, out = folder / "p.tif", folder / "polygonized.parquet"
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": 255, "compress": "deflate", "tiled": True}
    with rasterio.open(raster, "w", **profile, **block.profile) as dataset:
        dataset.write(values, 1)
    sections = {"grid": {"crs": CRS, "cell_px": side, "block_cells": 1}, "polygonize": {}}
    options = parse_options(PolygonizeOptions, json.dumps(sections))
    cost = cpu_seconds(lambda: polygonize(block, raster, folder / "validation.json", out, options))
    frame = gpd.read_parquet(out)
    levels = pd.DataFrame(frame[["levels", "counts"]])
    levels.to_parquet(folder / "levels.parquet", compression="zstd")
    return {
        "megapixels": side**2 / 1e6,
        "outlines": len(frame),
        "cpu_s": cost,
        "file_mb": out.stat().st_size / 1e6,
        "levels_mb": (folder / "levels.parquet").stat().st_size / 1e6,
    }


def blobs(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return places and shapes (pixel masks of 17 to 29 px across) of outlines on a square lattice."""
    random = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(number)))
    places = np.stack(np.divmod(np.arange(number), side), axis=1) * STEP_PX
    return places, random.integers(5, 14, number)


def compared(folder: Path, number: int) -> dict[str, float]:
    """Merge and compare so many outlines with as many labels; return the cost."""
    places, radii = blobs(number, 1)
    rows, columns = np.mgrid[:30, :30] - 14.5
    discs = {radius: trace(np.hypot(rows, columns) < radius) for radius in np.unique(radii).tolist()}
    outlines_px = np.array([discs[radius][0] for radius in radii.tolist()])
    shift = np.repeat(places[:, ::-1] + [COLUMN, ROW], shapely.get_num_coordinates(outlines_px), axis=0)
    metres = shapely.transform(outlines_px, lambda xy: (xy + shift) * [3, -3])
    columns_of = {
        "block": "b",
        "levels": [np.array([130, 200, 240], np.uint8)] * number,
        "counts": [np.array([1, 1, discs[radius][1] - 2]) for radius in radii.tolist()],
        "edge_runs": "[]",
    }
    outlines = folder / "outlines.parquet"
    io.write_parquet(outlines, gpd.GeoDataFrame(columns_of, geometry=metres, crs=CRS))
    write_json(sums_path(outlines), {"observed_m2": 1.0, "expected_area_m2": 1.0, "left_out": Omitted(CRS, 3.0).total()})
    labels, aoi = folder / "labels.parquet", folder / "aoi.gpkg"
    # A fifth over slumps of their own radius or two thirds of it, a fifth over what was rejected, the rest apart.
    kinds = np.resize(["positive", "negative", "positive", "positive", "negative"], number)
    offset = np.resize([0.0, 0.0, 60.0, 60.0, 60.0], number)
    centres = places[:, ::-1] + [COLUMN + 15, ROW + 15]
    middles = shapely.points(centres[:, 0] * 3.0 + offset, -centres[:, 1] * 3.0)
    known = shapely.buffer(middles, np.where(offset > 0, 10.0, radii * np.resize([3.0, 2.0], number)))
    facts = {"label_id": [f"seed-{n:06d}" for n in range(number)], "kind": kinds, "known_ids": "", "judged_m2": np.nan}
    io.write_parquet(labels, gpd.GeoDataFrame(facts, geometry=known, crs=CRS))
    gpd.GeoSeries([shapely.box(*shapely.total_bounds(metres)).buffer(100)], crs=CRS).to_file(aoi)
    options = parse_options(CandidatesOptions, json.dumps({"grid": {"crs": CRS}, "polygonize": {}, "candidates": {}}))
    outs = [folder / name for name in ("o.parquet", "c.parquet", "c.gpkg", "c.json")]
    cost = cpu_seconds(lambda: build_candidates("01", [outlines], labels, aoi, folder / "validation.json", *outs, options))
    return {"outlines": number, "labels": number, "cpu_s": cost, **json.loads(outs[-1].read_text())["outlines"]}


def trace(mask: np.ndarray) -> tuple[Any, int]:
    from rasterio.features import shapes

    coordinates = next(shape["coordinates"] for shape, value in shapes(mask.astype(np.uint8)) if value)
    return shapely.Polygon(coordinates[0]), int(mask.sum())


def print_table(rows: list[dict[str, float]]) -> None:
    print(f"| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}")
    for row in rows:
        print(f"| {' | '.join(f'{value:.2f}' if isinstance(value, float) else f'{value:,}' for value in row.values())} |")
    print()


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_json(folder / "validation.json", CHOICE)
        result = {
            "polygonize": [polygonized(folder, side) for side in SIDES_PX],
            "candidates": [compared(folder, number) for number in NUMBERS],
        }
    for rows in result.values():
        print_table(rows)
    io.write_json(Path("results/bench/candidates.json"), result)


if __name__ == "__main__":
    main()
