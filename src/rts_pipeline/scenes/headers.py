"""What files say about themselves, read once and remembered by path, size and modification time.

What could not be read is tried again at each look: a right that was missing is given without a change of either.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from rts_pipeline.errors import InputError
from rts_pipeline.io.files import write_text
from rts_pipeline.scenes import delivered, metadata
from rts_pipeline.scenes.names import parse

FORMAT = 2
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
        """Return the facts of a file; what is read depends on its role ("sha256": its checksum)."""
        key = f"{role} {os.fsencode(path).decode('utf-8', 'backslashreplace')}"
        if key not in self._used:  # asked for the first time in this run
            try:
                stamp = [*delivered.stamp(path)]
            except InputError as error:
                return {"error": _told(path, error)}
            entry = self._known.get(key)
            if not isinstance(entry, list) or entry[:-1] != stamp or "error" in entry[-1]:
                entry = [*stamp, _read(path, role)]
            self._used[key] = entry
        facts: Facts = self._used[key][-1]
        return facts

    def save(self) -> None:
        """Write what was asked for in this run into the cache, if it differs from what is there."""
        if self._cache is not None and self._used != self._known:
            # ASCII, since what a damaged manifest lists need not be text that UTF-8 can hold
            write_text(self._cache, json.dumps({"format": FORMAT, "files": self._used}))


def _read(path: Path, role: str) -> Facts:
    readers: dict[str, Callable[[Path], Facts]] = {
        "metadata": _feature,
        "xml": _xml,
        "manifest": _manifest,
        "json": _json,
        "sha256": _sha256,
    }
    try:
        return readers.get(role, _raster)(path)
    except InputError as error:
        return {"error": _told(path, error)}


def _told(path: Path, error: InputError) -> str:
    return str(error).removeprefix(f"{path}: ")


def _raster(path: Path) -> Facts:
    with delivered.opened(path) as dataset:
        return {
            "count": dataset.count,
            "dtype": dataset.dtypes[0],
            "shape": list(dataset.shape),
            "transform": list(dataset.transform)[:6],
            "bounds": list(dataset.bounds),
            "crs": dataset.crs.to_string() if dataset.crs else None,
        }


def _feature(path: Path) -> Facts:
    feature = metadata.read_feature(path)
    told, named = feature["properties"], parse(path).item_id
    if feature.get("id") != named:
        raise InputError(path, f"describes another item, {feature.get('id')!r}")
    return {"acquired": metadata.utc(told.get("acquired")), "updated": metadata.utc(told.get("updated"))}


def _xml(path: Path) -> Facts:
    coefficients = {str(band): value for band, value in metadata.band_coefficients(path).items()}
    return {"acquired": metadata.utc(metadata.read_xml(path).get("acquired")), "coefficients": coefficients}


def _manifest(path: Path) -> Facts:
    listed = delivered.read_json(path)
    try:
        return {"files": {str(entry["path"]): _listed(entry) for entry in listed["files"]}}
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        raise InputError(path, "not the manifest of an order") from None


def _listed(entry: dict[str, Any]) -> list[Any]:
    digest = entry.get("digests", {}).get("sha256")
    return [int(entry["size"]), digest if isinstance(digest, str) else None]


def _sha256(path: Path) -> Facts:
    return {"sha256": delivered.sha256(path)}


def _json(path: Path) -> Facts:
    if delivered.stamp(path)[0] > LARGEST_STAC:
        return {"stac": False}
    value = delivered.read_json(path)
    return {"stac": isinstance(value, dict) and "stac_version" in value}
