"""Reading and writing: every product is written to a temporary name beside its place, synced, and renamed."""

from __future__ import annotations

import csv
import errno
import glob
import hashlib
import json
import logging
import os
import platform
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rts_pipeline.errors import ENVIRONMENT_ERRORS, InputError

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd
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


_written: set[Path] = set()


def note_written() -> set[Path]:
    """Return a set, empty now, that every file joins which this process puts in its place from now on."""
    global _written
    _written = set()
    return _written


_read: set[Path] = set()


def note_read() -> set[Path]:
    """Return a set, empty now, that every file joins which a stage says from now on that it has read (`was_read`)."""
    global _read
    _read = set()
    return _read


def was_read(*paths: Path) -> None:
    """Say that results are made from files of which the command line names the folder only."""
    _read.update(paths)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` (same suffix); on success sync it and rename it to `path`, else remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
        _written.add(path)
    finally:
        # what GDAL and SQLite lay beside it, too
        for leftover in path.parent.glob(f"{glob.escape(temporary.name)}*"):
            leftover.unlink()


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path`; on success sync its files and put it in the place of `path`, else remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = temporary_beside(path), temporary_beside(path)
    temporary.mkdir()
    try:
        yield temporary
        files = [file for file in temporary.rglob("*") if file.is_file()]
        for place in (*files, *{file.parent for file in files}, temporary):
            _sync(place)
        if path.exists():
            path.rename(old)
        temporary.rename(path)
        _sync(path.parent)
        _written.update(path / file.relative_to(temporary) for file in files)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


TEMPORARY = re.compile(r"\.tmp-(?P<machine>.+?-\d+)-(?P<pid>\d+)-[0-9a-f]{8}-")
"""What `temporary_beside` names begin with."""


def temporary_beside(path: Path) -> Path:
    """Return a name that nobody else uses, also on other machines, and that says which process it belongs to."""
    return path.with_name(f".tmp-{machine()}-{os.getpid()}-{secrets.token_hex(4)}-{path.name}")


def machine() -> str:
    """Return where a process id means something: the host and, since containers may share its name, the space of ids."""
    with suppress(OSError):
        return f"{platform.node()}-{re.sub(r'[^0-9]', '', str(Path('/proc/self/ns/pid').readlink()))}"
    return f"{platform.node()}-0"


def copy_file(source: Path, path: Path) -> None:
    """Copy a file atomically.

    Raises:
        InputError: there is no such file.
    """
    with atomic(path) as temporary:
        try:
            shutil.copyfile(source, temporary)
        except FileNotFoundError:
            raise InputError(source, "no such file") from None


def canonical_json(value: Any) -> str:
    """Serialise with sorted keys and no spaces, so that equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_json(value: Any) -> str:
    """Return the sha256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file's bytes.

    Raises:
        InputError: no such file.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise InputError(path, "no such file") from None


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        InputError: the file is missing or isn't JSON.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(path, "no such file") from None
    return parse_json(path, data)


def parse_json(path: Path, data: bytes) -> Any:
    """Parse the bytes of the JSON file at `path`.

    Raises:
        InputError: not JSON.
    """
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(path, f"not valid JSON ({error})", do="restore or rebuild the file") from None


def read_png(path: Path) -> bytes:
    """Return the bytes of a PNG, of which every pixel can be read.

    Raises:
        InputError: there is no such file, or it is damaged.
    """
    from PIL import Image

    try:
        data = path.read_bytes()
        with Image.open(BytesIO(data)) as image:
            image.load()
    except FileNotFoundError:
        raise InputError(path, "no such file", do="restore it from a backup") from None
    except (OSError, SyntaxError) as error:
        raise InputError(path, f"can't be read ({error})", expected="a PNG", do="restore it from a backup") from None
    return data


def write_parquet(path: Path, frame: pd.DataFrame, group_rows: int | None = None) -> None:
    """Write a (Geo)DataFrame as (Geo)Parquet, atomically; equal frames give equal bytes.

    Args:
        path: file to write.
        frame: its rows.
        group_rows: rows that can be read without the others (see `read_rows`); None: all that the library keeps together.
    """
    with atomic(path) as temporary:
        frame.reset_index(drop=True).to_parquet(temporary, index=False, compression="zstd", row_group_size=group_rows)


def read_rows(path: Path, rows: Sequence[int], only: Sequence[str]) -> pd.DataFrame:
    """Read some rows of a Parquet file of ours, and of the others only what lies in the same groups.

    Args:
        path: the file.
        rows: their numbers, from 0.
        only: columns to read; geometries come as WKB.

    Raises:
        InputError: the file is missing or damaged.
    """
    import numpy as np
    from pyarrow.parquet import ParquetFile

    def read(path: Path) -> pd.DataFrame:
        with ParquetFile(path) as file:
            ends = np.cumsum([file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)])
            groups = np.unique(np.searchsorted(ends, rows, side="right"))
            held = np.concatenate([np.arange(([0, *ends])[group], ends[group]) for group in groups])
            table = file.read_row_groups(groups.tolist(), columns=list(only))
            return table.take(np.flatnonzero(np.isin(held, rows))).to_pandas()

    return _read_table(path, read, "Parquet")


def read_parquet(path: Path, only: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a Parquet file of ours, without its geometry.

    Args:
        path: the file.
        only: columns to read, of which the file may lack some; None: all.

    Raises:
        InputError: the file is missing or damaged.
    """
    import pandas as pd
    from pyarrow.parquet import read_schema

    def read(path: Path) -> pd.DataFrame:
        names = None if only is None else set(read_schema(path).names)
        return pd.read_parquet(path, columns=None if names is None else [name for name in only or () if name in names])

    return _read_table(path, read, "Parquet")


def read_columns(path: Path, *names: str, expected: str) -> list[list[Any]]:
    """Read columns of a Parquet file as lists, without pandas, which takes longer to import than to read them.

    Raises:
        InputError: missing, damaged or without such a column; `expected` is what it says the file should be.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import read_table

    try:
        table = read_table(path, columns=list(names))
        return [table[name].to_pylist() for name in names]
    except (ArrowException, OSError, KeyError) as error:
        raise InputError(path, f"can't be read ({error})", expected=expected) from None


def read_geoparquet(path: Path) -> gpd.GeoDataFrame:
    """Read a GeoParquet file of ours.

    Raises:
        InputError: the file is missing or damaged.
    """
    import geopandas as gpd

    return _read_table(path, gpd.read_parquet, "GeoParquet")


def _read_table(path: Path, read: Callable[[Path], Any], kind: str) -> Any:
    from pyarrow import ArrowInvalid

    try:
        return read(path)
    except FileNotFoundError:
        raise InputError(path, "no such file") from None
    except (ArrowInvalid, ValueError, OSError) as error:
        raise InputError(path, f"not a {kind} file ({error})", do="remove it and run again") from None


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a CSV file (UTF-8, texts quoted, lines end with a line feed), atomically."""
    with atomic(path) as temporary:
        frame.to_csv(temporary, index=False, quoting=csv.QUOTE_NONNUMERIC, encoding="utf-8", lineterminator="\n")


def write_gpkg(
    path: Path, layers: Mapping[str, gpd.GeoDataFrame], metadata: Mapping[str, Mapping[str, str]] | None = None
) -> None:
    """Write a GeoPackage 1.3 (which QGIS 3.22 can read) with one table a layer, atomically.

    Args:
        path: file to write.
        layers: name -> table.
        metadata: of layers, by name; programs that change tables in place keep it.

    Raises:
        OSError: there is no space for it.
        InputError: it can't be written for another reason.
    """
    from pyogrio.errors import DataLayerError, DataSourceError, FeatureError

    with atomic(path) as temporary:
        for number, (layer, frame) in enumerate(layers.items()):
            options = {"VERSION": "1.3"} if number == 0 else {}
            # A table without rows would get no geometry type, and GIS programs couldn't draw polygons into it.
            kind = {} if len(frame) else {"geometry_type": "MultiPolygon"}
            about = dict((metadata or {}).get(layer, {})) or None
            try:
                frame.to_file(
                    temporary,
                    layer=layer,
                    driver="GPKG",
                    engine="pyogrio",
                    dataset_options=options,
                    layer_metadata=about,
                    **kind,
                )
            except (DataSourceError, DataLayerError, FeatureError) as error:
                if refused := _no_space(path, _most_bytes(frame)):
                    raise OSError(refused, f"can't be written in full ({error})", str(path)) from None
                raise InputError(path, f"can't be written ({error})") from None


def _most_bytes(frame: gpd.GeoDataFrame) -> int:
    """Return more than a GeoPackage of a table takes, but for its first MiB."""
    return 3 * int(frame.geometry.to_wkb().str.len().sum() + frame.memory_usage(deep=True).sum())


def _no_space(beside: Path, size: int) -> int | None:
    """Return the number of the system's error where a file of that size has no space: SQLite doesn't say why it failed."""
    trial = temporary_beside(beside)
    try:
        with trial.open("wb") as file:
            for _ in range(0, size + 1, 2**20):
                file.write(bytes(2**20))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno if error.errno in ENVIRONMENT_ERRORS else None
    finally:
        trial.unlink(missing_ok=True)
    return None


def read_outlines(path: Path, what: str, *, crs: Any | None = None) -> gpd.GeoDataFrame:
    """Read a user's polygon file (any vector format of GDAL) and check it.

    Args:
        path: the file.
        what: what it should be, for messages ("seed outlines", "area of interest").
        crs: reproject to this CRS.

    Raises:
        InputError: missing, unreadable, empty, without CRS, or with geometries that are missing, empty, invalid or
            not polygons (each is named by its row).
    """
    from shapely import is_valid_reason

    frame = read_vector(path, what)
    kinds = frame.geometry.geom_type
    for problem, bad in (
        ("missing or empty geometry", frame.geometry.isna() | frame.geometry.is_empty),
        ("not a polygon", ~kinds.isin(["Polygon", "MultiPolygon"])),
        ("invalid geometry", ~frame.geometry.is_valid),
    ):
        if bad.any():
            rows = [int(i) for i in bad.to_numpy().nonzero()[0]]
            reason = is_valid_reason(frame.geometry.iloc[rows[0]]) if problem == "invalid geometry" else problem
            shown = ", ".join(str(row + 1) for row in rows[:10]) + (", ..." if len(rows) > 10 else "")
            raise InputError(
                path,
                f"{problem} in feature {shown} ({len(rows)} of {len(frame)}; {reason})",
                expected=f"{what} as valid polygons",
                do="repair it, for example with QGIS 'Fix geometries'",
            )
    return frame if crs is None else frame.to_crs(crs)


def read_vector(path: Path, what: str) -> gpd.GeoDataFrame:
    """Read a user's vector file that must exist, hold features and declare its CRS.

    Raises:
        InputError: missing, unreadable, empty or without CRS.
    """
    import geopandas as gpd
    from pyogrio.errors import DataSourceError

    if not path.exists():
        raise InputError(path, "no such file", expected=f"{what} as a vector file", do="correct the path")
    try:
        frame = gpd.read_parquet(path) if path.suffix == ".parquet" else gpd.read_file(path)
    except (DataSourceError, ValueError, OSError) as error:
        raise InputError(path, f"can't be read ({error})", expected=f"{what} as a vector file") from None
    if len(frame) == 0:
        raise InputError(path, "holds no feature", expected=f"at least one feature as {what}")
    if not isinstance(frame, gpd.GeoDataFrame):
        raise InputError(path, "has no geometry", expected=f"{what} with geometries")
    if frame.crs is None:
        raise InputError(path, "declares no CRS", expected=f"{what} with a CRS", do="assign it (QGIS: 'Assign projection')")
    return frame


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


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside `path` for the time of a work; its name says which process it belongs to."""
    temporary = temporary_beside(path)
    temporary.mkdir(parents=True)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
