"""Rasters: Cloud Optimized GeoTIFFs written window by window, and what GDAL is told for every raster."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rts_pipeline.io.files import atomic

if TYPE_CHECKING:
    from rasterio.io import DatasetWriter

GDAL_OPTIONS = {
    "GDAL_CACHEMAX": 64 * 2**20,
    "GDAL_NUM_THREADS": "2",
    "GTIFF_SRS_SOURCE": "EPSG",
    "COG_TMP_COMPRESSION": "NONE",
}
"""GDAL's settings for every raster that we open: a block cache of 64 MiB instead of 5 % of the machine, and no compression of
the overviews that GDAL keeps while it makes a COG.

Through rasterio the cache is in bytes, not in megabytes as elsewhere."""

BLOCK_PX = 512
"""Edge of a block of the rasters that we write."""


@contextmanager
def new_cog(path: Path, *, overview_resampling: str = "average", level: int = 6, **profile: Any) -> Iterator[DatasetWriter]:
    """Open a raster for windowed writing that becomes a Cloud Optimized GeoTIFF at `path` when the block ends.

    Args:
        path: the COG, written atomically.
        overview_resampling: resampling of the overviews ("nearest" for classes).
        level: of compression, 1 (fast) to 9 (small).
        profile: count, dtype, height, width, crs, transform, nodata. Memory is bounded by the window written: the
            strips go to a tiled temporary file that GDAL then copies.

    Raises:
        OSError: the disk is full, or failed, and part of the file is lost.
    """
    import rasterio

    with rasterio.Env(**GDAL_OPTIONS), atomic(path) as temporary, _told_if_lost(path):
        draft = temporary.with_name(f"{temporary.name}.draft.tif")
        layout = {
            "tiled": True,
            "blockxsize": BLOCK_PX,
            "blockysize": BLOCK_PX,
            "compress": "zstd",
            "zstd_level": 1,
            "bigtiff": "if_safer",
        }
        # where nothing may be written rasterio's error lacks the system's number for it
        draft.touch()
        draft.unlink()
        with rasterio.open(draft, "w", driver="GTiff", **layout, **profile) as dataset:
            yield dataset
        _check_blocks(draft)
        _copy_to_cog(draft, temporary, overview_resampling, level)
        _check_blocks(temporary)


def _copy_to_cog(draft: Path, out: Path, overview_resampling: str, level: int) -> None:
    import rasterio.shutil
    from rasterio._err import CPLE_BaseError

    try:
        rasterio.shutil.copy(
            draft,
            out,
            driver="COG",
            blocksize=BLOCK_PX,
            # zstd is read twice as fast, but a changed bit in it goes unnoticed, in deflate six of seven don't
            compress="deflate",
            predictor="yes",
            level=level,
            overview_resampling=overview_resampling,
            bigtiff="if_safer",
            num_threads="2",
        )
    except CPLE_BaseError as error:
        raise _LostError(str(error)) from None


def _check_blocks(path: Path) -> None:
    """Raise when a block isn't there: a full disk is no error for GDAL when it happens on closing."""
    import rasterio
    from rasterio.errors import RasterioIOError

    end = path.stat().st_size
    try:
        with rasterio.open(path) as dataset:
            for (row, column), _ in dataset.block_windows(1):
                place = [dataset.get_tag_item(f"BLOCK_{what}_{column}_{row}", "TIFF", 1) for what in ("OFFSET", "SIZE")]
                if None in place or sum(map(int, place)) > end:
                    raise _LostError(f"block {row}, {column} is missing")
    except RasterioIOError as error:
        raise _LostError(str(error)) from None


class _LostError(Exception):
    """Part of a file couldn't be written."""


class _Lost(logging.Handler):
    """Notes that GDAL couldn't write."""

    signs = ("Write error", "error writing", "TIFFRewriteDirectory:Error")
    message = ""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if not self.message and any(sign in message for sign in self.signs):
            self.message = message.partition("msg=")[2].strip("'") or message


@contextmanager
def _told_if_lost(path: Path) -> Iterator[None]:
    """Raise what GDAL only logs: it writes blocks when it finds time, and closes a file that lost some without an error."""
    lost, log = _Lost(), logging.getLogger("rasterio._env")
    level = log.level
    log.addHandler(lost)
    log.setLevel(logging.INFO)
    try:
        yield
    except _LostError as error:
        lost.message = lost.message or str(error)
    except Exception:
        if not lost.message:
            raise
    finally:
        log.setLevel(level)
        log.removeHandler(lost)
    if lost.message:
        raise OSError(errno.ENOSPC, f"can't be written in full ({lost.message})", str(path))
