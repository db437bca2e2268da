"""Open and read delivered rasters, which may be missing, truncated or corrupt anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window

from rts_pipeline.errors import InputError


def opened(path: Path) -> rasterio.DatasetReader:
    """Open a delivered raster.

    Raises:
        InputError: missing, or its header is damaged.
    """
    if not path.exists():
        raise InputError(path, "no such file", do="deliver it again")
    try:
        return rasterio.open(path)
    except (RasterioError, OSError) as error:
        raise damaged(path, error) from None


def read(path: Path, dataset: rasterio.DatasetReader, indexes: int | list[int], window: Window) -> NDArray[Any]:
    """Read a window of the delivered raster at `path`, opened as `dataset`: (h, w) for one band number, else (n, h, w).

    Raises:
        InputError: truncated or corrupt there.
    """
    try:
        values: NDArray[Any] = dataset.read(indexes, window=window)
    except (RasterioError, OSError) as error:
        raise damaged(path, error) from None
    return values


def damaged(path: Path, error: Exception) -> InputError:
    """Return the error for a delivered file that can't be read to its end."""
    detail = str(error.__cause__ or error).replace(str(path), path.name)
    return InputError(path, f"can't be read ({detail})", do="deliver it again, or list the item under scenes.exclude")
