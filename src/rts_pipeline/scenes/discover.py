"""Find the PlanetScope items below the configured folders, and account for every file there.

Runs whenever the Snakefile is parsed: it opens only the headers of files that it doesn't remember.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from rts_pipeline.config import Scenes
from rts_pipeline.errors import InputError
from rts_pipeline.scenes import deliveries, metadata, names
from rts_pipeline.scenes.deliveries import Choice, Found
from rts_pipeline.scenes.headers import Facts, Headers

Status = Literal["used", "rejected", "ignored"]
MaskKind = Literal["udm2", "udm", "none"]

UNKNOWN = {
    "side file": "side file of another program",
    "archive": "archive: unpack it to use what it holds",
    "unknown": "not part of a PlanetScope item",
}


@dataclass(frozen=True, kw_only=True)
class ItemFiles:
    """The files that an item is measured from."""

    reflectance: Path
    mask: Path | None
    mask_kind: MaskKind
    metadata: Path | None
    xml: Path | None


@dataclass(frozen=True, kw_only=True)
class Item(ItemFiles):
    """An item that can be used, as far as its headers tell.

    Attributes:
        id: the item's id.
        acquired: ISO 8601, UTC, six decimals.
        crs: authority code or WKT of the reflectance raster.
        bounds: west, south, east, north of the raster in that CRS.
        shape: rows and columns.
        fingerprint: file name -> size in bytes and, where an order's manifest lists it, sha256.
    """

    id: str
    acquired: str
    crs: str
    bounds: tuple[float, float, float, float]
    shape: tuple[int, int]
    fingerprint: dict[str, dict[str, int | str]]


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """An item that was found and can't be used."""

    id: str
    acquired: str | None
    reason: str
    metadata: Path | None


@dataclass(frozen=True)
class FileRow:
    """What became of one file."""

    path: str
    bytes: int
    item_id: str
    role: str
    status: Status
    reason: str


@dataclass(frozen=True)
class Delivery:
    """Everything below the folders.

    Attributes:
        items: the items that can be used, by id.
        files: a row for every file, by path.
        rejected: the other items, by id.
    """

    items: list[Item]
    files: list[FileRow]
    rejected: list[Rejected]


def discover(folders: Sequence[Path], options: Scenes, cache: Path | None = None) -> Delivery:
    """Find and pair the files of all items.

    Args:
        folders: searched at any depth; symbolic links are followed.
        options: what to do with items without mask, and which to leave out.
        cache: file to remember the headers in.

    Raises:
        InputError: no folder, one that is missing or can't be read, or one without any item.
    """
    if not folders:
        raise InputError("scenes.folders", "names no folder", expected="folders with delivered PlanetScope items")
    found: dict[Path, Found] = {}
    for folder in folders:
        here = {path: _found(path) for path in _files_below(Path(folder))}
        if not any(file.makes_item for file in here.values()):
            raise InputError(
                folder,
                f"holds no PlanetScope item ({len(here)} files)",
                expected="files like <id>_3B_AnalyticMS_SR.tif at any depth",
                do="correct scenes.folders in the configuration",
            )
        found |= here
    headers = Headers(cache)
    delivery = _account(list(found.values()), options, headers)
    headers.save()
    return delivery


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder once, also through links, in no particular order."""
    if not folder.is_dir():
        raise InputError(folder, "no such folder", expected="a folder with delivered items", do="correct scenes.folders")

    def refuse(error: OSError) -> None:
        raise InputError(error.filename, f"can't be read ({error.strerror})", do="give yourself the right to read it")

    seen: set[tuple[int, int]] = set()
    for place, below, files in os.walk(folder, followlinks=True, onerror=refuse):
        stat = Path(place).stat()
        if (stat.st_dev, stat.st_ino) in seen:  # a link that leads back
            below.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        yield from (Path(place) / name for name in files)


def _found(path: Path) -> Found:
    name = names.parse(path)
    try:
        size = path.stat().st_size
    except OSError:
        return Found(path, 0, names.Name("", "broken link"))
    return Found(path, size, name)


def _account(found: list[Found], options: Scenes, headers: Headers) -> Delivery:
    found.sort(key=lambda file: (file.name.item_id, str(file.path)))
    checksums = _checksums(found, headers)
    items: list[Item] = []
    rejected: list[Rejected] = []
    rows: list[FileRow] = []
    for item_id, group in groupby(found, key=lambda file: file.name.item_id):
        files = list(group)
        parts = [file for file in files if file.makes_item]
        rows += [_other_row(file, headers) for file in files if not file.makes_item]
        if parts:
            choice, others = deliveries.choose(parts, headers)
            item = _judge(item_id, choice, options, headers, checksums)
            items += [item] if isinstance(item, Item) else []
            rejected += [item] if isinstance(item, Rejected) else []
            rows += _rows_of(item, choice, headers, checksums)
            rows += [_row(file, "ignored", "second delivery of the same item") for file in others]
    return Delivery(items, sorted(rows, key=lambda row: row.path), rejected)


def _checksums(found: Iterable[Found], headers: Headers) -> dict[Path, tuple[int, str]]:
    """Return size and sha256 of the files that a manifest beside or above them lists."""
    listed: dict[Path, tuple[int, str]] = {}
    for file in found:
        if file.name.role == "manifest":
            for path, (size, digest) in headers.of(file.path, "manifest").get("files", {}).items():
                listed[file.path.parent / path] = (size, digest)
    return listed


def _judge(
    item_id: str, choice: Choice, options: Scenes, headers: Headers, checksums: dict[Path, tuple[int, str]]
) -> Item | Rejected:
    told = {role: headers.of(file.path, role) for role, file in choice.used.items()}
    json_, xml = (told.get(role, {}) for role in ("metadata", "xml"))
    acquired = metadata.acquired_of(item_id, json_.get("acquired"), xml.get("acquired"))
    paths = {role: file.path for role, file in choice.used.items() if "error" not in told[role]}
    reason = _why_not(item_id, choice, told, options) or ("" if acquired else "no acquisition time in metadata, XML or id")
    if reason or acquired is None:
        return Rejected(id=item_id, acquired=acquired, reason=reason, metadata=paths.get("metadata"))
    header = told["reflectance"]
    return Item(
        id=item_id,
        acquired=acquired,
        reflectance=paths["reflectance"],
        mask=paths.get("udm2") or paths.get("udm"),
        mask_kind="udm2" if "udm2" in paths else "udm" if "udm" in paths else "none",
        metadata=paths.get("metadata"),
        xml=paths.get("xml"),
        crs=header["crs"],
        bounds=tuple(header["bounds"]),
        shape=tuple(header["shape"]),
        fingerprint={
            file.path.name: {"bytes": file.bytes} | ({"sha256": checksums[file.path][1]} if _listed(file, checksums) else {})
            for file in sorted(choice.used.values(), key=lambda file: file.path.name)
        },
    )


def _listed(file: Found, checksums: dict[Path, tuple[int, str]]) -> bool:
    return checksums.get(file.path, (None,))[0] == file.bytes


def _why_not(item_id: str, choice: Choice, told: dict[str, Facts], options: Scenes) -> str:
    """Return why an item can't be used, or ""."""
    if item_id in options.exclude:
        return f"excluded by the configuration: {options.exclude[item_id]}"
    if "reflectance" not in told:
        radiance = any(file.name.role == "radiance" for file in choice.unused)
        return "at-sensor radiance, not surface reflectance" if radiance else "no surface reflectance delivered"
    for role in ("reflectance", "udm2", "udm"):
        if problem := told.get(role, {}).get("error"):
            return f"damaged: {choice.used[role].path.name}: {problem}"
    header = told["reflectance"]
    if problem := _unfit(header):
        return f"{choice.used['reflectance'].path.name} {problem}"
    mask = next((role for role in ("udm2", "udm") if role in told), None)
    if mask is None:
        return "no udm2 and no udm delivered" if options.without_mask == "reject" else ""
    if any(told[mask][key] != header[key] for key in ("shape", "transform", "crs")):
        return f"{choice.used[mask].path.name} is not on the grid of {choice.used['reflectance'].path.name}"
    if told[mask]["count"] != (8 if mask == "udm2" else 1):
        return f"{choice.used[mask].path.name} has {told[mask]['count']} bands, not {8 if mask == 'udm2' else 1}"
    return ""


def _unfit(header: Facts) -> str:
    """Return what is wrong with a reflectance raster, or ""."""
    if header["count"] not in (4, 8) or header["dtype"] != "uint16":
        return f"has {header['count']} bands of {header['dtype']}, not 4 or 8 of uint16"
    if header["crs"] is None:
        return "declares no CRS"
    a, b, _, d, e, _ = header["transform"]
    return "" if a > 0 > e and b == d == 0 else "is not north-up"


def _rows_of(
    item: Item | Rejected, choice: Choice, headers: Headers, checksums: dict[Path, tuple[int, str]]
) -> Iterator[FileRow]:
    if isinstance(item, Rejected):
        yield from (_row(file, "rejected", item.reason) for file in choice.files)
        return
    for role, file in choice.used.items():
        if problem := headers.of(file.path, role).get("error"):
            yield _row(file, "rejected", f"damaged: {problem}")
        elif file.path in checksums and not _listed(file, checksums):
            yield _row(file, "used", f"the order's manifest gives another size ({checksums[file.path][0]} bytes)")
        else:
            yield _row(file, "used", "")
    for file in choice.unused:
        yield _row(file, "ignored", deliveries.why_unused(file, choice))


def _other_row(file: Found, headers: Headers) -> FileRow:
    role = file.name.role
    if role == "broken link":
        return _row(file, "ignored", "a link that leads nowhere")
    if role in UNKNOWN:
        return _row(file, "ignored", UNKNOWN[role])
    facts: dict[str, Any] = headers.of(file.path, role)
    if problem := facts.get("error"):
        return _row(file, "ignored", f"damaged: {problem}")
    if role == "manifest":
        return _row(file, "used", "sizes and checksums of an order")
    return _row(file, "ignored", "STAC description, not a delivered file" if facts["stac"] else UNKNOWN["unknown"])


def _row(file: Found, status: Status, reason: str) -> FileRow:
    path = os.fsencode(file.path).decode("utf-8", "backslashreplace")
    return FileRow(path, file.bytes, file.name.item_id, file.name.role, status, reason)
