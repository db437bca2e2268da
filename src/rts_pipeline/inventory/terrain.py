"""Terrain inside outlines: elevation, slope and aspect from a DEM in any CRS, with GDAL's gdaldem."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from math import ceil, floor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import rasterio.shutil
from affine import Affine
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from numpy.typing import NDArray
from pyproj import CRS, Proj, Transformer
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT

from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.inventory.dictionary import MIN_COVERED
from rts_pipeline.io import GDAL_OPTIONS
from rts_pipeline.progress import track

COLUMNS = ("elevation_min_m", "elevation_mean_m", "elevation_max_m", "slope_deg", "aspect_deg", "aspect_concentration")
NODATA = -9999.0
MARGIN_PX = 3
"""DEM pixels around the outlines: slope needs one neighbour, bilinear resampling another."""
TILE_PX = 1024
"""Edge, in DEM pixels, of the tiles whose outlines are worked on together: it bounds the memory for any resolution."""
PLAUSIBLE_M = (-500.0, 9000.0)
MIN_CONCENTRATION = 1e-6


def terrain(outlines: gpd.GeoSeries, dem: Path, what: str = "slumps") -> pd.DataFrame:
    """Return COLUMNS, a row an outline; empty (nan) where the DEM doesn't cover MIN_COVERED of the outline.

    The part of the DEM around the outlines of a tile is brought onto the projection (bilinear; unchanged where the DEM is
    in that CRS already); statistics weigh each pixel by its share inside. Aspect is averaged as sine and cosine over the
    sloping pixels and turned from grid north to true north.

    Args:
        outlines: polygons in a projected CRS in metres.
        dem: elevation in metres, band 1 of any raster with a CRS.
        what: what the outlines show, for the message about those that the DEM doesn't cover.

    Raises:
        InputError: the DEM is missing, unreadable, without CRS, or holds values that are no elevations.
        UsageError: gdaldem is not installed.
    """
    program = _gdaldem()
    if not dem.exists():
        raise InputError(dem, "no such file", expected="a DEM (attributes.dem)", do="correct the path, or set it to null")
    try:
        with rasterio.Env(**GDAL_OPTIONS), rasterio.open(dem) as dataset:
            if dataset.crs is None:
                raise InputError(dem, "declares no CRS", expected="a DEM with a CRS", do="assign it (gdal_edit.py -a_srs)")
            lattice = _lattice(dataset, outlines)
            found = list(_of_tiles(dataset, lattice, outlines, program)) if lattice else []
    except rasterio.errors.RasterioError as error:
        raise InputError(dem, f"can't be read ({error})", expected="a DEM (attributes.dem)") from None
    result = pd.concat(found) if found else pd.DataFrame(columns=COLUMNS, dtype="float64")
    result = result.reindex(outlines.index)
    _report_uncovered(int(result["elevation_mean_m"].isna().sum()), len(outlines), dem, what)
    result["aspect_deg"] = (result["aspect_deg"] + _convergence(outlines)) % 360
    return result


def _gdaldem() -> str:
    program = shutil.which("gdaldem")
    if program is None:
        install = "install GDAL's programs: apt-get install gdal-bin, or conda install -c conda-forge gdal"
        raise UsageError("gdaldem", "not found on the PATH", expected="GDAL's program for slope and aspect", do=install)
    return program


def _report_uncovered(missing: int, total: int, dem: Path, what: str) -> None:
    if missing:
        print(f"terrain: {dem} does not cover {missing} of {total} {what}; their terrain is empty", file=sys.stderr)


def _lattice(dem: DatasetReader, outlines: gpd.GeoSeries) -> Affine | None:
    """Return the transform of an endless raster in the outlines' CRS with about the DEM's resolution; None: nowhere near.

    In the DEM's own CRS it is the DEM's lattice, so that nothing is resampled. Else its pixels are anchored at the CRS
    origin, so that the values of a slump hardly depend on which others are in the inventory.
    """
    if CRS(dem.crs) == CRS(outlines.crs) and dem.transform.b == dem.transform.d == 0:
        return dem.transform
    west, south, east, north = outlines.total_bounds
    to_dem = Transformer.from_crs(outlines.crs, dem.crs, always_xy=True)
    x, y = to_dem.transform((west + east) / 2, (south + north) / 2)
    step = dem.transform
    around = np.array([[x, x + step.a, x + step.b], [y, y + step.d, y + step.e]])
    px, py = to_dem.transform(around[0], around[1], direction="INVERSE")
    edges = np.hypot(np.diff(px[[0, 1, 0, 2]])[[0, 2]], np.diff(py[[0, 1, 0, 2]])[[0, 2]])
    if not np.isfinite(edges).all():
        return None
    size = float(f"{edges.min():.2g}")
    return Affine(size, 0, 0, 0, -size, 0)


def _of_tiles(dem: DatasetReader, lattice: Affine, outlines: gpd.GeoSeries, program: str) -> Iterator[pd.DataFrame]:
    tiles = _by_tile(outlines, lattice)
    for part in track(tiles, len(tiles), "terrain", "tiles"):
        yield _of_tile(dem, lattice, part, program)


def _by_tile(outlines: gpd.GeoSeries, lattice: Affine) -> list[gpd.GeoSeries]:
    """Return the outlines grouped by the tile that the centre of their bounds lies in."""
    bounds = outlines.bounds
    x, y = (bounds["minx"] + bounds["maxx"]) / 2, (bounds["miny"] + bounds["maxy"]) / 2
    edge_x, edge_y = TILE_PX * abs(lattice.a), TILE_PX * abs(lattice.e)
    return [part for _, part in outlines.groupby([np.floor(x / edge_x), np.floor(y / edge_y)])]


def _of_tile(dem: DatasetReader, lattice: Affine, outlines: gpd.GeoSeries, program: str) -> pd.DataFrame:
    """Return COLUMNS for neighbouring outlines; aspect still from grid north."""
    with TemporaryDirectory(prefix="rts-terrain-") as folder:
        window = Path(folder) / "dem.tif"
        _warp(dem, lattice, outlines, window)
        elevation, transform = _read(window)
        check_elevations(elevation, dem.name)
        layers = {"elevation": elevation}
        for name in ("slope", "aspect"):
            layers[name], _ = _read(_run(program, name, window))
    radians = np.radians(layers.pop("aspect"))
    layers |= {"sine": np.sin(radians), "cosine": np.cos(radians)}
    return _statistics(layers, transform, outlines)


def _warp(dem: DatasetReader, lattice: Affine, outlines: gpd.GeoSeries, out: Path) -> None:
    """Write the lattice's pixels around the outlines, float32, NODATA outside the DEM."""
    west, south, east, north = outlines.total_bounds
    columns, rows = zip(*(~lattice @ corner for corner in ((west, north), (east, south))), strict=True)
    left, top = floor(min(columns)) - MARGIN_PX, floor(min(rows)) - MARGIN_PX
    width, height = ceil(max(columns)) + MARGIN_PX - left, ceil(max(rows)) + MARGIN_PX - top
    same = CRS(dem.crs) == CRS(outlines.crs)
    with WarpedVRT(
        dem,
        crs=outlines.crs.to_wkt(),
        transform=lattice @ Affine.translation(left, top),
        width=width,
        height=height,
        resampling=Resampling.nearest if same else Resampling.bilinear,
        dtype="float32",
        nodata=NODATA,
    ) as warped:
        rasterio.shutil.copy(warped, out, driver="GTiff", tiled=True)


def _run(program: str, what: str, dem: Path) -> Path:
    out = dem.with_name(f"{what}.tif")
    done = subprocess.run([program, what, dem, out, "-q"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UsageError(
            "gdaldem", f"{what} ended with {done.returncode}: {done.stderr.strip()}", do="check GDAL's installation"
        )
    return out


def _read(path: Path) -> tuple[NDArray[np.float32], Affine]:
    """Return band 1 with nan for nodata (gdaldem gives nodata for the aspect of flat pixels), and the transform."""
    with rasterio.open(path) as dataset:
        values, transform = dataset.read(1), dataset.transform
    return np.where(values == np.float32(NODATA), np.float32(np.nan), values), transform


def check_elevations(elevation: NDArray[np.floating[Any]], name: str) -> None:
    """Check that a DEM's values (nan: none) can be elevations in metres.

    Raises:
        InputError: one can't.
    """
    low, high = PLAUSIBLE_M
    wrong = elevation[(elevation < low) | (elevation > high)]
    if wrong.size:
        todo = "declare the nodata value (gdal_edit.py -a_nodata), or convert to metres"
        raise InputError(name, f"holds {wrong[0]:g}", expected=f"elevations of {low:g} to {high:g} m", do=todo)


def _statistics(layers: Mapping[str, NDArray[np.float32]], transform: Affine, outlines: gpd.GeoSeries) -> pd.DataFrame:
    """Return COLUMNS of the layers elevation, slope, sine and cosine (of the aspect), all on one transform."""
    features = gpd.GeoDataFrame(geometry=outlines.to_numpy(), crs=outlines.crs)
    height, width = layers["elevation"].shape
    west, north = transform.c, transform.f
    east, south = transform @ (width, height)
    stats: dict[str, pd.DataFrame] = {}
    for name, layer in layers.items():
        source = NumPyRasterSource(layer, west, south, east, north, name=name, nodata=np.nan)
        stats[name] = exact_extract(source, features, ["count", "min", "mean", "max"], output="pandas")
    pixels = outlines.area.to_numpy() / abs(transform.determinant)
    covered = (stats["slope"]["count"] >= MIN_COVERED * pixels).to_numpy()
    sine, cosine = stats["sine"]["mean"].to_numpy(float), stats["cosine"]["mean"].to_numpy(float)
    concentration = np.hypot(sine, cosine)
    aspect = np.where(concentration > MIN_CONCENTRATION, np.degrees(np.arctan2(sine, cosine)), np.nan)
    values = {
        "elevation_min_m": stats["elevation"]["min"],
        "elevation_mean_m": stats["elevation"]["mean"],
        "elevation_max_m": stats["elevation"]["max"],
        "slope_deg": stats["slope"]["mean"],
        "aspect_deg": aspect,
        "aspect_concentration": concentration,
    }
    result = pd.DataFrame(values).astype("float64").set_index(outlines.index)
    result.loc[~covered] = np.nan
    return result


def _convergence(outlines: gpd.GeoSeries) -> NDArray[np.float64]:
    """Return the angle (degrees, clockwise) from true north to grid north at each outline.

    In EPSG:3413 it is as large as the longitude; in a UTM zone up to a few degrees.
    """
    points = outlines.representative_point().to_crs("EPSG:4326")
    factors = Proj(outlines.crs).get_factors(points.x.to_numpy(), points.y.to_numpy())
    return np.asarray(factors.meridian_convergence, dtype=float)
