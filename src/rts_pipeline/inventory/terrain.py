"""Terrain inside outlines: elevation, slope, aspect and topographic position from a DEM in any CRS, with GDAL's gdaldem."""

from __future__ import annotations

import shutil
import subprocess
import sys
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
from affine import Affine
from numpy.typing import NDArray
from scipy.signal import oaconvolve

from rts_pipeline.errors import UsageError
from rts_pipeline.inventory.dem import NODATA, Dem, Patch, check_elevations, inside, opened, true_azimuth_of_grid_north
from rts_pipeline.inventory.dictionary import MIN_CONCENTRATION, MIN_COVERED, TPI_RADIUS_M
from rts_pipeline.progress import track

NUMBERS = (
    *("elevation_min_m", "elevation_mean_m", "elevation_max_m", "relief_m"),
    *("slope_deg", "aspect_deg", "aspect_concentration", "tpi"),
)
COLUMNS = (*NUMBERS, "terrain_missing")
NOT_COVERED, FILL = "not covered", "fill values"
GDALDEM_NODATA = -9999.0
MARGIN_PX = 5
"""DEM pixels around the outlines: slope needs one neighbour, bilinear resampling another; the rest tells a fill value."""
TILE_PX = 1024
"""Edge, in DEM pixels, of the tiles whose outlines are worked on together: it bounds the memory for any resolution."""


def terrain(outlines: gpd.GeoSeries, dem: Path, what: str = "slumps") -> pd.DataFrame:
    """Return COLUMNS, a row an outline; empty (nan) where the DEM doesn't cover MIN_COVERED of the outline.

    The part of the DEM around the outlines of a tile is brought onto the projection (bilinear; unchanged where the DEM is
    in that CRS already); statistics weigh each pixel by its share inside. Aspect is averaged as sine and cosine over the
    sloping pixels and turned from grid north to true north. Fill values that the DEM doesn't declare count as not covered.

    Args:
        outlines: polygons in a projected CRS in metres.
        dem: elevation in metres, band 1 of any raster with a CRS.
        what: what the outlines show, for the message about those without terrain.

    Raises:
        InputError: the DEM is missing, unreadable, without CRS, or holds nothing but values that are no elevations.
        UsageError: gdaldem is not installed.
    """
    program = _gdaldem()
    with opened(dem, outlines) as source:
        tiles = _by_tile(outlines, source.lattice) if source else []
        found = [_of_tile(source, part, program) for part in track(tiles, len(tiles), "terrain", "tiles") if source]
    result = pd.concat(found) if found else pd.DataFrame(columns=[*NUMBERS, "fill"], dtype="float64")
    result = result.reindex(outlines.index)
    missing = result["elevation_mean_m"].isna()
    fill = result.pop("fill").where(missing)
    _report_missing(missing, fill, dem, what)
    result["aspect_deg"] = (result["aspect_deg"] + true_azimuth_of_grid_north(outlines)) % 360
    reason = np.where(fill.notna(), FILL, NOT_COVERED)
    return result.assign(terrain_missing=pd.Series(reason, index=result.index, dtype="str").where(missing))


def _gdaldem() -> str:
    program = shutil.which("gdaldem")
    if program is None:
        install = "install GDAL's programs: apt-get install gdal-bin, or conda install -c conda-forge gdal"
        raise UsageError("gdaldem", "not found on the PATH", expected="GDAL's program for slope and aspect", do=install)
    return program


def _report_missing(missing: pd.Series, fill: pd.Series, dem: Path, what: str) -> None:
    """Say how many outlines have no terrain and why.

    Raises:
        InputError: no outline has terrain, because the DEM holds values that are no elevations.
    """
    values = ", ".join(f"{value:g}" for value in sorted(fill.dropna().unique()))
    filled, total = int(fill.notna().sum()), len(missing)
    uncovered = int(missing.sum()) - filled
    if filled == total:
        check_elevations(fill.to_numpy(float), str(dem))
    if uncovered:
        print(f"terrain: {dem} does not cover {uncovered} of {total} {what}; their terrain is empty", file=sys.stderr)
    if filled:
        print(
            f"terrain: {dem} holds fill values that it doesn't declare ({values}) in {filled} of {total} {what}; their terrain"
            " is empty; declare the nodata value (gdal_edit.py -a_nodata)",
            file=sys.stderr,
        )


def _by_tile(outlines: gpd.GeoSeries, lattice: Affine) -> list[gpd.GeoSeries]:
    """Return the outlines grouped by the tile that the centre of their bounds lies in."""
    bounds = outlines.bounds
    x, y = (bounds["minx"] + bounds["maxx"]) / 2, (bounds["miny"] + bounds["maxy"]) / 2
    edge_x, edge_y = TILE_PX * abs(lattice.a), TILE_PX * abs(lattice.e)
    return [part for _, part in outlines.groupby([np.floor(x / edge_x), np.floor(y / edge_y)])]


def _of_tile(dem: Dem, outlines: gpd.GeoSeries, program: str) -> pd.DataFrame:
    """Return NUMBERS for neighbouring outlines, aspect still from grid north, and the fill value inside (nan: none)."""
    shorter = min(abs(dem.lattice.a), abs(dem.lattice.e))
    patch = dem.read(outlines.total_bounds, MARGIN_PX + ceil(TPI_RADIUS_M / shorter))
    with TemporaryDirectory(prefix="rts-terrain-") as folder:
        window = _write(patch, dem.crs, Path(folder, "dem.tif"))
        slope, aspect = (_read(_run(program, name, window)) for name in ("slope", "aspect"))
    height = inside(patch.elevation, patch, outlines, "min", "mean", "max")
    steep = inside(slope, patch, outlines, "count", "mean")
    sine, cosine = (
        inside(function(np.radians(aspect)), patch, outlines, "mean")["mean"].to_numpy(float) for function in (np.sin, np.cos)
    )
    concentration = np.hypot(sine, cosine)
    values = {
        "elevation_min_m": height["min"],
        "elevation_mean_m": height["mean"],
        "elevation_max_m": height["max"],
        "relief_m": height["max"] - height["min"],
        "slope_deg": steep["mean"],
        "aspect_deg": np.where(concentration > MIN_CONCENTRATION, np.degrees(np.arctan2(sine, cosine)), np.nan),
        "aspect_concentration": concentration,
        "tpi": inside(topographic_position(patch.elevation, _circle(dem.lattice)), patch, outlines, "mean")["mean"],
    }
    result = pd.DataFrame(values, index=outlines.index).astype("float64")
    pixels = outlines.area / abs(patch.transform.determinant)
    result[steep["count"] < MIN_COVERED * pixels] = np.nan
    filled = inside(np.where(patch.fill, 1.0, np.nan), patch, outlines, "count")["count"] > 0
    return result.assign(fill=np.where(filled, patch.value, np.nan))


def topographic_position(elevation: NDArray[np.floating[Any]], near: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return each pixel's elevation less the mean of those near it (m), nan where less than MIN_COVERED of them is known.

    Weiss 2001 (Topographic Position and Landforms Analysis); with the eight neighbours it is gdaldem's TPI.

    Args:
        elevation: (h, w), metres, nan for nodata.
        near: odd shape, which pixels around the middle count.
    """
    known = np.isfinite(elevation)
    level = float(elevation[known].mean()) if known.any() else 0.0
    kernel = near[::-1, ::-1].astype(float)
    total = oaconvolve(np.where(known, elevation - level, 0.0), kernel, mode="same")
    count = np.rint(oaconvolve(known.astype(float), kernel, mode="same"))
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count >= MIN_COVERED * near.sum())
    return np.asarray(elevation - level - mean, dtype=float)


def _circle(lattice: Affine) -> NDArray[np.bool_]:
    """Return which pixels lie within TPI_RADIUS_M of the middle one, itself left out; at least those that touch it."""
    width, height = abs(lattice.a), abs(lattice.e)
    columns, rows = (max(1, int(TPI_RADIUS_M // edge)) for edge in (width, height))
    y, x = np.mgrid[-rows : rows + 1, -columns : columns + 1]
    near = np.hypot(x * width, y * height) <= TPI_RADIUS_M
    near |= (np.abs(x) <= 1) & (np.abs(y) <= 1)
    near[rows, columns] = False
    return near


def _write(patch: Patch, crs: str, out: Path) -> Path:
    height, width = patch.elevation.shape
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "nodata": NODATA, "crs": crs, "transform": patch.transform}
    with rasterio.open(out, "w", width=width, height=height, **profile) as dataset:
        dataset.write(np.nan_to_num(patch.elevation, nan=NODATA), 1)
    return out


def _run(program: str, what: str, dem: Path) -> Path:
    out = dem.with_name(f"{what}.tif")
    done = subprocess.run([program, what, dem, out, "-q"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UsageError(
            "gdaldem", f"{what} ended with {done.returncode}: {done.stderr.strip()}", do="check GDAL's installation"
        )
    return out


def _read(path: Path) -> NDArray[np.float32]:
    """Return what gdaldem wrote, with nan for nodata, which flat pixels have in place of an aspect."""
    with rasterio.open(path) as dataset:
        values = dataset.read(1)
    return np.where(values == np.float32(GDALDEM_NODATA), np.float32(np.nan), values)
