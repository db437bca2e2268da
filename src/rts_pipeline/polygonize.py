"""From probabilities to outlines: 8-connected components above the threshold, each one row.

A raster is read strip by strip, so that memory doesn't grow with it. How it is cut changes nothing (see `components`).
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from rts_pipeline.components import Pieces, find, merge
from rts_pipeline.config import Outlining
from rts_pipeline.errors import InputError
from rts_pipeline.expected import Sums
from rts_pipeline.grid import GeoBox
from rts_pipeline.io.json import read_json, write_json
from rts_pipeline.io.rasters import GDAL_OPTIONS
from rts_pipeline.io.tables import write_parquet
from rts_pipeline.metrics.pixels import LEVELS, level_of
from rts_pipeline.omitted import Omitted, tell
from rts_pipeline.options import PolygonizeOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    import geopandas as gpd
    from numpy.typing import NDArray
    from rasterio.io import DatasetReader

    Geometries = NDArray[np.object_]

STRIP_PX = 1024
COLUMNS = ["block", "levels", "counts", "edge_runs", "geometry"]


def polygonize(block: GeoBox, probability: Path, choice: Path, out: Path, options: PolygonizeOptions) -> None:
    """Write the outlines of a block, and beside them `<block>.json`: what its probabilities sum up to (see `expected`), and as
    `left_out` what was dropped (see `omitted`).

    Args:
        block: the block; the raster must be exactly its pixels.
        probability: uint8, 0-250 = probability x 250, 255 = not observed (never inside an outline).
        choice: `validation.json`, for the thresholds and the minimum area that the options leave open.
        out: GeoParquet with `COLUMNS`: `counts` are the numbers of pixels that have the values `levels` (probability x 250).
            Outlines at the block's edge are kept whatever they are, with the boxes of their pixels along it as
            `edge_runs`; inside, what holds no seed or can't reach the minimum area is dropped.
        options: the stage's options.

    Raises:
        InputError: the raster isn't the block or is damaged, or the choice names no threshold.
    """
    import rasterio

    chosen = chosen_values(choice, options.polygonize)
    limit, sums = level_of(chosen["threshold"]), Sums(block)
    with reading(probability), rasterio.Env(**GDAL_OPTIONS), rasterio.open(probability) as dataset:
        check_raster(dataset, block, probability)
        strips = []
        for strip, values in _strips(dataset, block):
            sums.add(strip, values)
            strips.append(find(strip, values, limit))
    pieces = merge(strips)
    pieces = _edges_only(pieces, block)
    whole, omitted = np.ones(len(pieces.geometry), bool), Omitted(block.crs, block.pixel_m)
    whole[pieces.owner] = False
    reasons = hopeless(pieces, chosen["seed_threshold"], chosen["min_area_m2"], block.pixel_m)
    pieces = omitted.pieces_without(pieces, {reason: which & whole for reason, which in reasons.items()})
    left_out = omitted.total()
    write_json(sums_path(out), {**sums.total(), "left_out": left_out})
    write_parquet(out, to_frame(pieces, block))
    tell(f"polygonize {block.id}", len(pieces.geometry), left_out)


def sums_path(outlines: Path) -> Path:
    """Return where the sums of a block lie, from where its outlines do."""
    return outlines.with_suffix(".json")


def read_sums(outlines: Path) -> Any:
    """Return the sums of a block, and what was left out there.

    Raises:
        InputError: the file lacks one of them.
    """
    path = sums_path(outlines)
    sums = read_json(path)
    names = "observed_m2", "expected_area_m2", "left_out"
    missing = [name for name in names if not isinstance(sums, dict) or name not in sums]
    if missing:
        raise InputError(path, f"doesn't say {', '.join(missing)}", do="polygonize the block again")
    return sums


def hopeless(pieces: Pieces, seed_threshold: float, min_area_m2: float, pixel_m: float) -> dict[str, NDArray[np.bool_]]:
    """Return which whole pieces hold no seed, or can't reach the smallest area, by reason (see `omitted`), shape (n,) each.

    Holes may be filled later, and the final area is geodesic: half the smallest area is below what either can change.
    """
    unseeded = pieces.value_max < level_of(seed_threshold)
    small = _filled_area(pieces.geometry) * pixel_m**2 < min_area_m2 / 2
    return {"no_seed": unseeded, "too_small": small & ~unseeded}


def chosen_values(choice: Path, options: Outlining) -> dict[str, float]:
    """Return `threshold`, `seed_threshold`, `min_area_m2` and `hole_m2`: as set, or else as chosen on the validation blocks.

    Raises:
        InputError: neither the options nor the choice give a number.
    """
    chosen = read_json(choice)
    values = {}
    for key in ("threshold", "seed_threshold", "min_area_m2", "hole_m2"):
        option = getattr(options, key)
        value = chosen.get(key) if option is None else option
        if not isinstance(value, int | float):
            raise InputError(
                choice, f"'{key}' is {value!r}", expected="a number", do=f"validate again, or set polygonize.{key}"
            )
        values[key] = float(value)
    return values


def to_frame(pieces: Pieces, block: GeoBox) -> gpd.GeoDataFrame:
    """Return the pieces as a table with `COLUMNS`, in the grid's CRS."""
    import geopandas as gpd
    import pandas as pd

    runs: list[list[list[int]]] = [[] for _ in pieces.geometry]
    for owner, run in zip(pieces.owner.tolist(), pieces.runs.tolist(), strict=True):
        runs[owner].append(run)
    rows = pieces.levels.indptr[1:-1]
    columns = {
        "block": np.full(len(runs), block.id, dtype=object),
        "levels": pd.Series(np.split(pieces.levels.indices.astype(np.uint8), rows)[: len(runs)], dtype=object),
        "counts": pd.Series(np.split(pieces.levels.data, rows)[: len(runs)], dtype=object),
        "edge_runs": np.array([json.dumps(boxes) for boxes in runs], dtype=object),
    }
    geometry = to_crs_units(pieces.geometry, block.pixel_m)
    return gpd.GeoDataFrame(columns, geometry=gpd.GeoSeries(geometry, crs=block.crs))[COLUMNS]


def from_frame(frame: gpd.GeoDataFrame, pixel_m: float) -> Pieces:
    """Return the pieces that `to_frame` made a table of."""
    from scipy.sparse import csr_array

    boxes = [json.loads(text) for text in frame["edge_runs"]]
    ends = np.cumsum([0, *(len(counts) for counts in frame["counts"])])
    levels, counts = (np.concatenate([np.empty(0, np.int64), *frame[name]]) for name in ("levels", "counts"))
    return Pieces(
        levels=csr_array((counts, levels, ends), shape=(len(frame), LEVELS)),
        geometry=shapely.transform(np.array(frame.geometry, dtype=object), lambda xy: np.rint(xy / [pixel_m, -pixel_m])),
        runs=np.array([box for piece in boxes for box in piece], dtype=np.int64).reshape(-1, 4),
        owner=np.repeat(np.arange(len(boxes)), np.array([len(piece) for piece in boxes], dtype=np.int64)),
    )


def to_crs_units(geometry: Geometries, pixel_m: float) -> Geometries:
    """Return geometries in global pixel indices as normalised ones in metres of the grid's CRS."""
    return shapely.normalize(shapely.transform(geometry, lambda xy: xy * [pixel_m, -pixel_m] + 0.0))


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn GDAL's errors into ours while a raster of probabilities is opened and read.

    Raises:
        InputError: it is missing, no raster, or damaged.
    """
    from rasterio.errors import RasterioIOError

    try:
        yield
    except RasterioIOError as error:
        raise InputError(path, f"can't be read ({error})", do="remove it and predict again") from None


def check_raster(dataset: DatasetReader, block: GeoBox, path: Path) -> None:
    """Check that a raster of probabilities is exactly its block.

    Raises:
        InputError: it has other pixels, or other numbers.
    """
    if dataset.shape != block.shape or not dataset.transform.almost_equals(block.transform, precision=1e-6):
        raise InputError(path, f"{dataset.shape} pixels from {dataset.transform[2]}, {dataset.transform[5]}",
                         expected=f"the pixels of block {block.id}", do="remove it and predict again")  # fmt: skip
    if dataset.dtypes != ("uint8",):
        raise InputError(path, f"holds {', '.join(dataset.dtypes)}", expected="one band, uint8: probability x 250",
                         do="remove it and predict again")  # fmt: skip


def _strips(dataset: DatasetReader, block: GeoBox) -> Iterator[tuple[GeoBox, NDArray[np.uint8]]]:
    for top in range(0, block.height, STRIP_PX):
        height = min(STRIP_PX, block.height - top)
        strip = GeoBox(block.id, block.crs, block.pixel_m, block.column, block.row + top, block.width, height)
        yield strip, dataset.read(1, window=block.window_of(strip))


def _edges_only(pieces: Pieces, block: GeoBox) -> Pieces:
    """Leave out the runs along the seams within the block."""
    top, left, bottom, right = pieces.runs.T
    level = (top == block.row) | (bottom == block.row + block.height)
    upright = (right - left == 1) & ((left == block.column) | (right == block.column + block.width))
    kept = level | upright
    return replace(pieces, runs=pieces.runs[kept], owner=pieces.owner[kept])


def _filled_area(geometry: Geometries) -> NDArray[np.float64]:
    """Return the area in pixels with all holes filled."""
    parts, owner = shapely.get_parts(geometry, return_index=True)
    areas = shapely.area(np.asarray(shapely.polygons(shapely.get_exterior_ring(parts))))
    return np.bincount(owner, areas, minlength=len(geometry)).astype(float)
