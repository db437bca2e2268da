"""What items are held against: the raster whose place is right (adjust.reference), or the target year's mosaics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.warp import Resampling

from rts_pipeline.cells import Mosaics
from rts_pipeline.config import BANDS
from rts_pipeline.errors import InputError
from rts_pipeline.grid import GeoBox, Grid
from rts_pipeline.scenes.delivered import opened
from rts_pipeline.scenes.measure import band_indexes

REFERENCE = "reference"
MOSAIC = "mosaic"
"""Their ids among the items: Planet's begin with a date or a number, so they come after them."""


class MosaicReader:
    """The target year's mosaics, on any rectangle of the grid. Use it in a `with`."""

    id = MOSAIC

    def __init__(self, paths: Sequence[Path], grid: Grid) -> None:
        """Take the mosaics of cells, which are opened when they are needed."""
        self._mosaics = Mosaics(paths, grid, BANDS)

    def __enter__(self) -> Self:
        self._mosaics.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._mosaics.__exit__(*error)

    def read(self, box: GeoBox) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
        """Return reflectance x 10,000 (4, h, w), and (h, w) where there is any.

        Raises:
            InputError: a mosaic can't be read, or lies on another grid.
        """
        values = self._mosaics.read(box)
        return values, np.all(values > 0, axis=0)


class ReferenceReader:
    """The reference's pixels on the grid, by cubic convolution. Use it in a `with`."""

    id = REFERENCE

    def __init__(self, path: Path) -> None:
        """Open the raster.

        Raises:
            InputError: it is missing or damaged, has no CRS, or other bands than ours.
        """
        if not path.exists():
            raise InputError(path, "no such file", expected="a raster as adjust.reference", do="correct the path")
        self.path = path
        self._dataset = opened(path)
        try:
            if self._dataset.crs is None:
                raise InputError(path, "declares no CRS", expected="a raster with a CRS as adjust.reference")
            self._bands = list(band_indexes(path, self._dataset).values())
        except BaseException:
            self._dataset.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._dataset.close()

    def read(self, box: GeoBox) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
        """Return blue, green, red, nir (4, h, w) in the reference's unit, and (h, w) where they hold something.

        Raises:
            InputError: a read fails half way.
        """
        nodata = 0 if self._dataset.nodata is None else self._dataset.nodata
        place = {"crs": box.crs, "transform": box.transform, "width": box.width, "height": box.height}
        try:
            with WarpedVRT(self._dataset, src_nodata=nodata, nodata=nodata, resampling=Resampling.cubic, **place) as placed:
                values = placed.read(self._bands)
        except (RasterioError, OSError) as error:
            raise InputError(self.path, f"can't be read ({error})", do="mend it, or leave adjust.reference empty") from None
        return values, np.all((values != nodata) & np.isfinite(values), axis=0)
