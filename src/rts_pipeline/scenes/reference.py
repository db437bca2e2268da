"""The raster whose place is right (adjust.reference), on any rectangle of the grid."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.warp import Resampling

from rts_pipeline.errors import InputError
from rts_pipeline.grid import GeoBox
from rts_pipeline.scenes.delivered import opened
from rts_pipeline.scenes.measure import band_indexes

REFERENCE = "reference"
"""Its id among the items: Planet's begin with a date, so it comes after them."""


class ReferenceReader:
    """The reference's pixels on the grid, by cubic convolution. Use it in a `with`."""

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
