"""What files say about themselves, read once and remembered by path, size and modification time."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from rts_pipeline import io
from rts_pipeline.errors import InputError
from rts_pipeline.scenes import metadata
from rts_pipeline.scenes.names import parse

FORMAT = 1
"""Version of the remembered facts: facts of another version are read again."""

LARGEST_STAC = 10_000_000
"""Bytes of a JSON file above which it isn't read to see whether it is a STAC description."""

Facts = dict[str, Any]


class Headers:
    """Facts about files: JSON-able dicts, with the key "error" where a file can't be read."""

    def __init__(self, cache: Path | None) -> None:
        """Load what was remembered in `cache`; a missing or damaged cache is empty."""
        self._cache = cache
        self._known: dict[str, list[Any]] = {}
        self._used: dict[str, list[Any]] = {}
        if cache is not None:
            with suppress(OSError, ValueError, TypeError, KeyError):
                stored = json.loads(cache.read_text(encoding="utf-8"))
                self._known = dict(stored["files"]) if stored["format"] == FORMAT else {}

    def of(self, path: Path, role: str) -> Facts:
        """Return the facts of a file; what is read depends on its role."""
        stat = path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns, role]
        key = str(path)
        entry = self._known.get(key)
        if not isinstance(entry, list) or entry[:3] != stamp:
            entry = [*stamp, _read(path, role)]
        self._used[key] = entry
        facts: Facts = entry[3]
        return facts

    def save(self) -> None:
        """Write what was asked for in this run into the cache, if it differs from what is there."""
        if self._cache is not None and self._used != self._known:
            io.write_text(self._cache, io.canonical_json({"format": FORMAT, "files": self._used}))


def _read(path: Path, role: str) -> Facts:
    readers: dict[str, Callable[[Path], Facts]] = {"metadata": _feature, "xml": _xml, "manifest": _manifest, "json": _json}
    try:
        return readers.get(role, _raster)(path)
    except InputError as error:
        return {"error": str(error).removeprefix(f"{path}: ")}


def _raster(path: Path) -> Facts:
    import rasterio

    try:
        with rasterio.open(path) as dataset:
            return {
                "count": dataset.count,
                "dtype": dataset.dtypes[0],
                "shape": list(dataset.shape),
                "transform": list(dataset.transform)[:6],
                "bounds": list(dataset.bounds),
                "crs": dataset.crs.to_string() if dataset.crs else None,
            }
    except (rasterio.errors.RasterioError, OSError) as error:
        raise InputError(path, str(error).replace(f"{path}", path.name).removeprefix("'")) from None


def _feature(path: Path) -> Facts:
    feature = metadata.read_feature(path)
    told, named = feature["properties"], parse(path).item_id
    if feature.get("id") != named:
        raise InputError(path, f"describes another item, {feature.get('id')!r}")
    return {"acquired": told.get("acquired"), "updated": metadata.utc(told.get("updated"))}


def _xml(path: Path) -> Facts:
    return {"acquired": metadata.read_xml(path).get("acquired")}


def _manifest(path: Path) -> Facts:
    listed = io.read_json(path)
    try:
        return {"files": {str(e["path"]): [int(e["size"]), str(e["digests"]["sha256"])] for e in listed["files"]}}
    except (KeyError, TypeError, ValueError):
        raise InputError(path, "not the manifest of an order") from None


def _json(path: Path) -> Facts:
    if path.stat().st_size > LARGEST_STAC:
        return {"stac": False}
    value = io.read_json(path)
    return {"stac": isinstance(value, dict) and "stac_version" in value}
