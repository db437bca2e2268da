"""A DEM in any CRS, read around outlines: on their projection, with fill values taken out that it doesn't declare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil, floor
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
from affine import Affine
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from numpy.typing import NDArray
from pyproj import CRS, Proj, Transformer
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from scipy import ndimage

from rts_pipeline.errors import InputError
from rts_pipeline.io.rasters import GDAL_OPTIONS

NODATA = -1e6
"""Of our own rasters of elevations: no DEM has it as a fill value, declared or not."""
PLAUSIBLE_M = (-500.0, 9000.0)
MIXED_PX = 2
"""Pixels beside a fill value that resampling may have mixed with it."""
MIN_JUMP_M = 100.0
"""Zeros are the sea, unless the ground beside them is higher than this everywhere, and rises by more than 45 degrees."""


@dataclass(frozen=True)
class Patch:
    """Elevations around outlines.

    Attributes:
        elevation: float32, (h, w), metres; nan where the DEM has none.
        fill: bool, (h, w): where a fill value was taken out that the DEM doesn't declare.
        value: that value; nan for none.
        transform: from (column, row) to the outlines' CRS.
    """

    elevation: NDArray[np.float32]
    fill: NDArray[np.bool_]
    value: float
    transform: Affine

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north."""
        height, width = self.elevation.shape
        east, south = self.transform @ (width, height)
        return self.transform.c, south, east, self.transform.f


@dataclass(frozen=True)
class Dem:
    """An open DEM and the endless lattice of pixels in the outlines' CRS that it is read on."""

    dataset: DatasetReader
    crs: str
    lattice: Affine
    native: bool

    @property
    def pixel_m(self) -> float:
        """The longer edge of a pixel."""
        return max(abs(self.lattice.a), abs(self.lattice.e))

    def read(self, bounds: Sequence[float], margin_px: int, factor: int = 1) -> Patch:
        """Read the pixels around a rectangle.

        In the DEM's own CRS they are its own; else resampled bilinearly, and `factor` times as large ones as means.

        Args:
            bounds: west, south, east, north in the outlines' CRS.
            margin_px: pixels to read on each side of it.
            factor: edge of a pixel in pixels of the lattice.
        """
        left, top, width, height = self.window(bounds, margin_px, factor)
        transform = self.lattice @ Affine.scale(factor) @ Affine.translation(left, top)
        exact = Resampling.nearest if self.native else Resampling.bilinear
        with WarpedVRT(
            self.dataset,
            crs=self.crs,
            transform=transform,
            width=width,
            height=height,
            resampling=exact if factor == 1 else Resampling.average,
            dtype="float32",
            nodata=NODATA,
        ) as warped:
            elevation = warped.read(1)
        elevation[elevation == np.float32(NODATA)] = np.nan
        fill, value = find_fill(elevation, self.pixel_m * factor)
        return Patch(np.where(fill, np.float32(np.nan), elevation), fill, value, transform)

    def window(self, bounds: Sequence[float], margin_px: int, factor: int) -> tuple[int, int, int, int]:
        """Return left, top, width and height of what `read` reads, in its pixels from the lattice's origin."""
        lattice = self.lattice @ Affine.scale(factor)
        west, south, east, north = bounds
        columns, rows = zip(*(~lattice @ corner for corner in ((west, north), (east, south))), strict=True)
        left, top = floor(min(columns)) - margin_px, floor(min(rows)) - margin_px
        return left, top, ceil(max(columns)) + margin_px - left, ceil(max(rows)) + margin_px - top


@dataclass(frozen=True)
class Surroundings:
    """A DEM around a rectangle that many outlines lie in: read once for all of them at each size of pixel."""

    dem: Dem
    bounds: tuple[float, float, float, float]
    patches: dict[tuple[int, int], Patch] = field(default_factory=dict)

    @property
    def pixel_m(self) -> float:
        """The longer edge of a pixel."""
        return self.dem.pixel_m

    def read(self, bounds: Sequence[float], margin_px: int, factor: int = 1) -> Patch:
        """Return what `Dem.read` does, of a rectangle inside."""
        if (margin_px, factor) not in self.patches:
            self.patches[margin_px, factor] = self.dem.read(self.bounds, margin_px, factor)
        patch = self.patches[margin_px, factor]
        left, top, width, height = self.dem.window(bounds, margin_px, factor)
        first_column, first_row, *_ = self.dem.window(self.bounds, margin_px, factor)
        column, row = left - first_column, top - first_row
        part = slice(row, row + height), slice(column, column + width)
        transform = patch.transform @ Affine.translation(column, row)
        return Patch(patch.elevation[part], patch.fill[part], patch.value, transform)


@contextmanager
def opened(path: Path, outlines: gpd.GeoSeries) -> Iterator[Dem | None]:
    """Open a DEM for outlines in a projected CRS in metres; None: it lies nowhere near them.

    Raises:
        InputError: missing, unreadable or without CRS.
    """
    if not path.exists():
        raise InputError(path, "no such file", expected="a DEM (attributes.dem)", do="correct the path, or set it to null")
    try:
        with rasterio.Env(**GDAL_OPTIONS), rasterio.open(path) as dataset:
            if dataset.crs is None:
                raise InputError(path, "declares no CRS", expected="a DEM with a CRS", do="assign it (gdal_edit.py -a_srs)")
            native = CRS(dataset.crs) == CRS(outlines.crs) and dataset.transform.b == dataset.transform.d == 0
            step = dataset.transform
            north_up = Affine(abs(step.a), 0, step.c, 0, -abs(step.e), step.f)  # its rows may go to the north
            lattice = north_up if native else _lattice(dataset, outlines)
            yield Dem(dataset, outlines.crs.to_wkt(), lattice, native) if lattice else None
    except rasterio.errors.RasterioError as error:
        raise InputError(path, f"can't be read ({error})", expected="a DEM (attributes.dem)") from None


def _lattice(dem: DatasetReader, outlines: gpd.GeoSeries) -> Affine | None:
    """Return the transform of an endless raster in the outlines' CRS with about the DEM's resolution; None: nowhere near.

    Its pixels are anchored at the CRS origin, so that the values of a slump hardly depend on which others there are.
    """
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


def find_fill(elevation: NDArray[np.floating[Any]], pixel_m: float) -> tuple[NDArray[np.bool_], float]:
    """Return where a DEM holds fill values that it doesn't declare (with what resampling mixed with them), and one of them.

    Those are values that no elevation has, and patches of exact zeros that the ground doesn't come near to: their sides would
    be steeper than 45 degrees, and higher than MIN_JUMP_M, all around.

    Args:
        elevation: (h, w), metres, nan for nodata.
        pixel_m: edge of a pixel.
    """
    low, high = PLAUSIBLE_M
    wrong = ~np.isnan(elevation) & ~((elevation >= low) & (elevation <= high))
    zero = elevation == 0
    if zero.any():
        zero = _implausible_zeros(elevation, zero, pixel_m)
    value = elevation[wrong][0] if wrong.any() else 0.0 if zero.any() else np.nan
    fill = wrong | zero
    return (ndimage.binary_dilation(fill, np.ones((3, 3)), MIXED_PX) if fill.any() else fill), float(value)


def _implausible_zeros(elevation: NDArray[np.floating[Any]], zero: NDArray[np.bool_], pixel_m: float) -> NDArray[np.bool_]:
    labels, count = ndimage.label(zero, np.ones((3, 3)))
    reach = MIXED_PX + 1
    mixed = ndimage.binary_dilation(zero, np.ones((3, 3)), MIXED_PX)
    beside = np.where(mixed | np.isnan(elevation), np.inf, np.abs(elevation))
    nearest = ndimage.minimum_filter(beside, 2 * reach + 1, mode="constant", cval=np.inf)
    lowest = ndimage.minimum(nearest, labels, np.arange(1, count + 1))
    return np.concatenate([[False], np.asarray(lowest) > max(MIN_JUMP_M, reach * pixel_m)])[labels]


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


def horn(elevation: NDArray[np.floating[Any]], pixel_m: float) -> NDArray[np.float64]:
    """Return the gradient to the east and to the north, (2, h, w) of elevations (h + 2, w + 2) in metres.

    By Horn 1981 (doi 10.1109/PROC.1981.11918), as in gdaldem.
    """
    rows = elevation[:-2] + 2 * elevation[1:-1] + elevation[2:]
    columns = elevation[:, :-2] + 2 * elevation[:, 1:-1] + elevation[:, 2:]
    east, north = rows[:, 2:] - rows[:, :-2], columns[:-2] - columns[2:]
    return np.stack([east, north]) / (8 * pixel_m)


def inside(layer: NDArray[Any], patch: Patch, outlines: gpd.GeoSeries, *what: str) -> pd.DataFrame:
    """Return statistics (exactextract's names) of a layer on a patch's pixels, each weighted by its share in the outline.

    Args:
        layer: (h, w); nan is left out.
        patch: where its pixels lie.
        outlines: polygons in the patch's CRS.
        what: the statistics.
    """
    features = gpd.GeoDataFrame(geometry=outlines.to_numpy(), crs=outlines.crs)
    source = NumPyRasterSource(layer, *patch.bounds, nodata=np.nan)
    return exact_extract(source, features, list(what), output="pandas").set_index(outlines.index)


def true_azimuth_of_grid_north(outlines: gpd.GeoSeries) -> NDArray[np.float64]:
    """Return the angle (degrees, clockwise) from true north to grid north at each outline.

    In EPSG:3413 it is as large as the longitude; in a UTM zone up to a few degrees.
    """
    points = outlines.representative_point().to_crs("EPSG:4326")
    factors = Proj(outlines.crs).get_factors(points.x.to_numpy(), points.y.to_numpy())
    return np.asarray(factors.meridian_convergence, dtype=float)
