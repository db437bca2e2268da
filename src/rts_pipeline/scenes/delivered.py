"""Open and read delivered files, which may be missing, truncated or corrupt anywhere, and may lie in a zip archive.

A member of an archive has the path that it would have if the archive were a folder ("orders/a.zip/PSScene/x_3B_udm2.tif").
This is the only module that knows of archives; what lies in an archive inside an archive can't be reached.
"""

from __future__ import annotations

import hashlib
import lzma
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile, ZipInfo

from rts_pipeline.errors import InputError
from rts_pipeline.io.json import parse_json

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rasterio import DatasetReader
    from rasterio.windows import Window

BLOCK = 2**20

USABLE, MEASURE = "usable.tif", "have its item measured again: remove the record of its batch (scenes/batches)"
"""What the stage scenes made of an item's mask lies beside no delivery, and is mended in another way."""

ENCRYPTED = 1
"""Bit of a member's flags (APPNOTE 4.4.4)."""

FAILURES = (
    *(BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError, ValueError, OverflowError),
    *(struct.error, zlib.error, lzma.LZMAError),
)
"""What zipfile raises for archives and members that are damaged, encrypted, or packed in a way that it doesn't know."""


@dataclass(frozen=True)
class Member:
    """An entry of an archive: where it is, its unpacked size, and why it can't be used ("" if it can)."""

    path: Path
    bytes: int
    problem: str


def is_archive(path: Path) -> bool:
    """Tell whether `path` is a zip on disk, whose members are read in place."""
    return path.suffix.lower() == ".zip" and path.is_file()


def on_disk(path: Path) -> Path:
    """Return the file on disk that holds `path`: the archive of a member, else `path` itself."""
    if ".zip" not in str(path).lower():
        return path
    return next((place for place in reversed(path.parents) if is_archive(place)), path)


def gdal_name(path: Path) -> str:
    """Return GDAL's name of a delivered file."""
    archive = on_disk(path)
    return str(path) if archive == path else f"/vsizip/{{{archive}}}/{_name_in(archive, path)}"


def members(archive: Path) -> list[Member]:
    """Return every entry of a zip, in its order.

    Raises:
        InputError: it can't be read.
    """
    infos = _opened_archive(archive).infolist()
    paths = [Path(f"{archive}/{info.filename}") for info in infos]
    times = Counter(paths)
    return [Member(path, info.file_size, _problem_of(info, times[path])) for path, info in zip(paths, infos, strict=True)]


def _problem_of(info: ZipInfo, times: int) -> str:
    if info.is_dir():
        return "a folder in an archive"
    plain = PurePosixPath(info.filename)
    if str(plain) != info.filename or plain.is_absolute() or ".." in plain.parts or "\\" in info.filename:
        return "its name is not a plain path in the archive: unpack it to use what it holds"
    return "" if times == 1 else f"the archive holds {times} files of this name: unpack it to use one of them"


def stamp(path: Path) -> tuple[int, int]:
    """Return size in bytes and time of modification in ns (of the archive, for a member).

    Raises:
        InputError: no such file, or its archive can't be read.
    """
    archive = on_disk(path)
    try:
        stat = archive.stat()
    except (OSError, ValueError):
        raise InputError(path, "no such file", do=_remedy(path)) from None
    return (stat.st_size if archive == path else _info(archive, path).file_size), stat.st_mtime_ns


def exists(path: Path) -> bool:
    """Tell whether a delivered file is there."""
    try:
        stamp(path)
    except InputError:
        return False
    return True


@contextmanager
def stream(path: Path) -> Iterator[IO[bytes]]:
    """Open a delivered file for reading its bytes.

    Raises:
        InputError: missing, or damaged where it is read.
    """
    archive = on_disk(path)
    try:
        if archive == path:
            with path.open("rb") as file:
                yield file
        else:
            with _opened_archive(archive).open(_readable(archive, path)) as file:
                yield file
    except FileNotFoundError:
        raise InputError(path, "no such file", do="deliver it again") from None
    except FAILURES as error:
        raise damaged(path, error) from None


def sha256(path: Path) -> str:
    """Return the sha256 of a delivered file.

    Raises:
        InputError: missing or damaged.
    """
    with stream(path) as file:
        digest = hashlib.sha256()
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def read_json(path: Path) -> Any:
    """Read a delivered JSON file.

    Raises:
        InputError: missing, damaged or not JSON.
    """
    with stream(path) as file:
        data = file.read()
    return parse_json(path, data)


def opened(path: Path) -> DatasetReader:
    """Open a delivered raster.

    Raises:
        InputError: missing, or its header is damaged.
    """
    # late: each start of snakemake takes checksums here, and needs no GDAL
    import rasterio
    from rasterio.errors import RasterioError

    archive = on_disk(path)
    if archive == path:
        stamp(path)
    else:
        _readable(archive, path)
    try:
        # Without listing the folder: an order can hold all its items in one.
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="TRUE"):
            return rasterio.open(gdal_name(path))
    except (RasterioError, OSError) as error:
        raise damaged(path, error) from None


def read(path: Path, dataset: DatasetReader, indexes: int | list[int], window: Window) -> NDArray[Any]:
    """Read a window of the delivered raster at `path`, opened as `dataset`: (h, w) for one band number, else (n, h, w).

    Raises:
        InputError: truncated or corrupt there.
    """
    from rasterio.errors import RasterioError

    try:
        values: NDArray[Any] = dataset.read(indexes, window=window)
    except (RasterioError, OSError) as error:
        raise damaged(path, error) from None
    return values


def georeferenced(path: Path) -> DatasetReader:
    """Open a raster of an item that was measured: so it was seen to say where it lies.

    Raises:
        InputError: missing, damaged, or it no longer says that: of a file that was cut off the size may be all that is left.
    """
    dataset = opened(path)
    if dataset.crs is None or dataset.transform.is_identity:
        dataset.close()
        raise InputError(path, "no longer says where it lies", do=_remedy(path))
    return dataset


def damaged(path: Path, error: Exception) -> InputError:
    """Return the error for a delivered file that can't be read to its end."""
    detail = str(error.__cause__ or error).replace(gdal_name(path), path.name).replace(str(path), path.name)
    return InputError(
        path, f"can't be read ({detail})", do=_remedy(path, "deliver it again, or list the item under scenes.exclude")
    )


def _remedy(path: Path, delivered: str = "deliver it again") -> str:
    return MEASURE if path.name == USABLE else delivered


def _name_in(archive: Path, path: Path) -> str:
    return path.relative_to(archive).as_posix()


def _info(archive: Path, path: Path) -> ZipInfo:
    try:
        return _opened_archive(archive).getinfo(_name_in(archive, path))
    except KeyError:
        raise InputError(path, "no such file", do="deliver it again") from None


def _readable(archive: Path, path: Path) -> ZipInfo:
    info = _info(archive, path)
    if info.flag_bits & ENCRYPTED:
        raise InputError(path, "is encrypted", do=f"unpack {archive.name} with its password")
    return info


def _opened_archive(archive: Path) -> ZipFile:
    try:
        stat = archive.stat()
        return _directory(archive, stat.st_size, stat.st_mtime_ns)
    except FAILURES as error:
        detail = str(error).replace(str(archive), archive.name)
        raise InputError(archive, f"can't be read ({detail})", do="deliver it again") from None


@lru_cache(maxsize=4)
def _directory(archive: Path, size: int, mtime_ns: int) -> ZipFile:
    """Open an archive and keep it: its directory is read once, not for each of its members."""
    return ZipFile(archive)
