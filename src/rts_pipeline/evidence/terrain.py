"""Hillshade, slope and the direction uphill on a candidate's ground, from the DEM.

The DEM, mostly far coarser than the images, is brought onto the ground's pixels by a cubic B-spline, whose slopes have no
steps. Gradients are by Horn 1981 (doi 10.1109/PROC.1981.11918), as in gdaldem.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from math import atan2, hypot, radians, tan
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from rts_pipeline.errors import InputError
from rts_pipeline.evidence.chips import as_webp, enlarged
from rts_pipeline.grid import GeoBox
from rts_pipeline.imagery import GREY

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rasterio.io import DatasetReader

    Floats = NDArray[np.float64]

NO_DEM = "no DEM is configured (attributes.dem)"
NODATA = -9999.0
SUN_AZIMUTH_DEG, SUN_HEIGHT_DEG = 315.0, 45.0
EXAGGERATION = 3.0
"""Of heights in the hillshade: slumps lie on slopes of some degrees, which would hardly show."""
STEEP_DEG = 25.0
"""Shown as the darkest; the slopes of known slumps reach 18 degrees (Xia et al. 2022)."""
SLOPE_COLOURS = np.array([[255, 255, 229], [254, 227, 145], [254, 153, 41], [204, 76, 2], [102, 37, 6]], dtype=float)
"""From flat to steep: YlOrBr of ColorBrewer, which is safe for colour-blind eyes."""
FILL_SLOPE = 1.0
"""Metres a metre: the sides of a block of fill values are steeper (see `inventory.dem.find_fill`)."""
FILL_MARGIN_PX = 8
"""Of the DEM, read around the ground to tell a block of fill values by what lies beside it."""
FLAT_DEG = 0.5
"""A candidate's ground that slopes less has no direction uphill."""


@dataclass(frozen=True)
class Elevation:
    """A DEM that is open; None for none. Threads take turns at it."""

    dataset: DatasetReader | None = None
    path: Path | None = None
    lock: Lock = field(default_factory=Lock)

    @cached_property
    def stamp(self) -> list[str | int]:
        """Tell this DEM from others and from itself in another state."""
        if self.path is None or self.dataset is None:
            return []
        stat, dataset = self.path.stat(), self.dataset
        with self.lock:
            # these may be told by files beside it (.prj, .tfw, .aux.xml)
            place = dataset.crs.to_wkt(), repr(dataset.transform), repr(dataset.nodata)
        return [str(self.path), stat.st_size, stat.st_mtime_ns, *place]

    def gradient(self, box: GeoBox) -> Floats | str:
        """Return the slope to the east and to the north (2, h, w), metres a metre, nan outside the DEM; or why there is none.

        Fill values that the DEM doesn't declare count as outside, with what the spline mixed with them.

        Raises:
            InputError: the DEM can't be read there, or holds what is no elevation.
        """
        from rasterio.enums import Resampling
        from rasterio.errors import RasterioError
        from rasterio.vrt import WarpedVRT

        from rts_pipeline.inventory.dem import check_elevations, horn

        if self.dataset is None or self.path is None:
            return NO_DEM
        here = box.grown(1)
        place = {"crs": here.crs, "transform": here.transform, "width": here.width, "height": here.height}
        kind = {"resampling": Resampling.cubic_spline, "dtype": "float32", "nodata": NODATA}
        try:
            with self.lock, WarpedVRT(self.dataset, **kind, **place) as warped:
                elevation = warped.read(1).astype(float)
        except RasterioError as error:
            raise InputError(self.dataset.name, f"can't be read ({error})", expected="a DEM (attributes.dem)") from None
        elevation[elevation == NODATA] = np.nan
        check_elevations(elevation, self.dataset.name)
        gradient = horn(elevation, box.pixel_m)
        # Looked for only where their edge, or they themselves, can be: that costs a second reading.
        if (elevation == 0).any() or (np.abs(gradient) > FILL_SLOPE).any():
            gradient[:, _filled(self.path, box)] = np.nan
        return gradient if np.isfinite(gradient).any() else "the DEM does not cover the ground"


@contextmanager
def opened(dem: Path | None) -> Iterator[Elevation]:
    """Open a DEM, in any CRS; None: none is configured.

    Raises:
        InputError: it is missing, can't be read or has no CRS.
    """
    import rasterio
    from rasterio.errors import RasterioError

    if dem is None:
        yield Elevation()
        return
    try:
        dataset = rasterio.open(dem)
    except RasterioError as error:
        raise InputError(dem, f"can't be read ({error})", expected="a DEM (attributes.dem)") from None
    with dataset:
        if dataset.crs is None:
            raise InputError(dem, "declares no CRS", expected="a DEM with a CRS", do="assign it (gdal_edit.py -a_srs)")
        yield Elevation(dataset, dem)


def pictures(gradient: Floats, scale: int) -> dict[str, bytes]:
    """Return `hillshade` and `slope` as WebP; grey where the DEM has no data."""
    missing = np.isnan(gradient).any(axis=0)
    drawn = {"hillshade": _hillshade(gradient), "slope": _slope(gradient)}
    for shown in drawn.values():
        shown[missing] = GREY
    return {name: as_webp(enlarged(shown, scale)) for name, shown in drawn.items()}


def uphill(gradient: Floats, inside: NDArray[np.bool_]) -> float | str:
    """Return the direction of the mean gradient inside, radians clockwise from grid north; or why there is none."""
    gradient = gradient[:, inside]
    known = np.isfinite(gradient).all(axis=0)
    if not known.any():
        return "the DEM does not cover the outline"
    east, north = gradient[:, known].mean(axis=1).tolist()
    if hypot(east, north) < tan(radians(FLAT_DEG)):
        return f"the ground slopes less than {FLAT_DEG} degrees: no direction uphill"
    return atan2(east, north)


def _filled(dem: Path, box: GeoBox) -> NDArray[np.bool_]:
    """Return (h, w) where a DEM holds fill values that it doesn't declare, and what the spline mixed with them."""
    import geopandas as gpd

    from rts_pipeline.inventory.dem import opened as opened_for

    filled = np.zeros(box.shape, bool)
    with opened_for(dem, gpd.GeoSeries([box.polygon], crs=box.crs)) as lattice:
        if lattice is not None:
            patch = lattice.read(box.bounds, FILL_MARGIN_PX)
            here, there = box.transform, patch.transform
            columns = (here.c + here.a * (np.arange(box.width) + 0.5) - there.c) / there.a
            rows = (here.f + here.e * (np.arange(box.height) + 0.5) - there.f) / there.e
            filled = patch.fill[np.ix_(rows.astype(int), columns.astype(int))]
    return filled


def _hillshade(gradient: Floats) -> NDArray[np.uint8]:
    azimuth, height = np.radians(SUN_AZIMUTH_DEG), np.radians(SUN_HEIGHT_DEG)
    sun = np.array([np.sin(azimuth) * np.cos(height), np.cos(azimuth) * np.cos(height), np.sin(height)])
    east, north = np.nan_to_num(gradient) * EXAGGERATION
    # The cosine between the sun and the ground's normal, which is (-east, -north, 1) by its length.
    light = (sun[2] - sun[0] * east - sun[1] * north) / np.sqrt(1 + east**2 + north**2)
    return np.repeat(np.rint(np.clip(light, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)


def _slope(gradient: Floats) -> NDArray[np.uint8]:
    degrees = np.degrees(np.arctan(np.hypot(*np.nan_to_num(gradient))))
    steps = np.linspace(0, STEEP_DEG, len(SLOPE_COLOURS))
    return np.rint(np.stack([np.interp(degrees, steps, colour) for colour in SLOPE_COLOURS.T], axis=-1)).astype(np.uint8)
