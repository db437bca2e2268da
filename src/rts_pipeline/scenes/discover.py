"""Find the PlanetScope items below the configured folders, and account for every file there.

Runs whenever the Snakefile is parsed: it opens only the headers of files that it doesn't remember.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Literal

from rts_pipeline.config import Scenes
from rts_pipeline.errors import InputError
from rts_pipeline.io.json import sha256_json
from rts_pipeline.scenes import delivered, deliveries, metadata
from rts_pipeline.scenes.deliveries import Choice, Found
from rts_pipeline.scenes.fitness import why_not
from rts_pipeline.scenes.headers import Facts, Headers
from rts_pipeline.scenes.manifests import Manifests
from rts_pipeline.scenes.walk import found_below

Status = Literal["used", "rejected", "ignored", "superseded"]
MaskKind = Literal["udm2", "udm", "none"]

UNKNOWN = {
    "side file": "side file of another program",
    "archive": "archive: unpack it to use what it holds",
    "unknown": "not part of a PlanetScope item",
}


@dataclass(frozen=True, kw_only=True)
class ItemFiles:
    """The files that an item is measured from; `reflectance` is at-sensor radiance where its name says so."""

    reflectance: Path
    mask: Path | None
    mask_kind: MaskKind
    metadata: Path | None
    xml: Path | None

    @property
    def paths(self) -> list[Path]:
        """Those of the files that there are."""
        return [path for path in (self.reflectance, self.mask, self.metadata, self.xml) if path]


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

    @property
    def version(self) -> str:
        """The id with a digest of the item's files: their places, names, sizes and checksums, as far as they are known."""
        files = [str(path) for path in (self.reflectance, self.mask, self.metadata, self.xml)]
        return f"{self.id}:{sha256_json([files, self.mask_kind, self.fingerprint])[:16]}"


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """An item that was found and can't be used."""

    id: str
    acquired: str | None
    reason: str
    metadata: Path | None


@dataclass(frozen=True)
class FileRow:
    """What became of one file, or of one entry of an archive; `broken`: it did not arrive as it was sent."""

    path: str
    bytes: int
    item_id: str
    role: str
    status: Status
    reason: str
    broken: bool = False


@dataclass(frozen=True)
class Delivery:
    """Everything below the folders.

    Attributes:
        items: the items that can be used, by id.
        files: a row for every file and every entry of an archive, by path.
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
    found: dict[Path, list[Found]] = {}
    for folder in folders:
        here = list(found_below(Path(folder)))
        if not any(file.makes_item for file in here):
            broken = next((f"; {file.path.name}: {file.problem}" for file in here if file.problem), "")
            raise InputError(
                folder,
                f"holds no PlanetScope item ({len(here)} files{broken})",
                expected="files like <id>_3B_AnalyticMS_SR.tif at any depth",
                do="correct scenes.folders in the configuration",
            )
        # by path, since a folder may lie in another; an archive can hold several entries of one name
        by_path = sorted(here, key=lambda file: str(file.path))
        found |= {path: list(files) for path, files in groupby(by_path, key=lambda file: file.path)}
    headers = Headers(cache)
    delivery = _Account([file for files in found.values() for file in files], options, headers).delivery()
    headers.save()
    return delivery


class _Account:
    """The account of some files, item by item."""

    def __init__(self, found: list[Found], options: Scenes, headers: Headers) -> None:
        self._found = sorted(found, key=lambda file: (file.name.item_id, str(file.path)))
        self._options = options
        self._headers = headers
        self._manifests = Manifests(found, headers, verify_checksums=options.verify_checksums)

    def delivery(self) -> Delivery:
        items: list[Item] = []
        rejected: list[Rejected] = []
        rows: list[tuple[Found, FileRow]] = []
        for item_id, group in groupby(self._found, key=lambda file: file.name.item_id):
            files = list(group)
            parts = [file for file in files if file.makes_item]
            rows += [(file, self._other_row(file)) for file in files if not file.makes_item]
            if parts:
                choice, others = deliveries.choose(parts, self._headers, self._problem)
                item = self._judged(item_id, choice)
                items += [item] if isinstance(item, Item) else []
                rejected += [item] if isinstance(item, Rejected) else []
                rows += self._rows_of(item, choice)
                rows += [(file, self._row(file, "superseded", reason)) for file, reason in others]
        return Delivery(items, sorted(_archives_used(rows), key=lambda row: row.path), rejected)

    def _problem(self, file: Found) -> str:
        """Say why a file did not arrive as it was sent, or ""; of files that nothing is read from, only their size tells."""
        role = file.name.role
        if role == "other product":
            return self._manifests.size_problem(file)
        facts = self._headers.of(file.path, role)
        return self._manifests.problem(file) or (f"damaged: {facts['error']}" if "error" in facts else "")

    def _judged(self, item_id: str, choice: Choice) -> Item | Rejected:
        told = {role: self._headers.of(file.path, file.name.role) for role, file in choice.used.items()}
        acquired = metadata.acquired_of(item_id, *(told.get(role, {}).get("acquired") for role in ("metadata", "xml")))
        paths = {role: file.path for role, file in choice.used.items() if "error" not in told[role]}
        reason = why_not(item_id, choice, told, self._options, self._manifests)
        reason = reason or ("" if acquired else "no acquisition time in metadata, XML or id")
        if reason or acquired is None:
            return Rejected(id=item_id, acquired=acquired, reason=reason, metadata=paths.get("metadata"))
        return self._item(item_id, acquired, choice, paths, told["reflectance"])

    def _item(self, item_id: str, acquired: str, choice: Choice, paths: dict[str, Path], header: Facts) -> Item:
        fingerprint: dict[str, dict[str, int | str]] = {}
        for file in sorted(choice.used.values(), key=lambda file: file.path.name):
            digest = self._manifests.sha256(file)
            fingerprint[file.path.name] = {"bytes": file.bytes} | ({"sha256": digest} if digest else {})
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
            fingerprint=fingerprint,
        )

    def _rows_of(self, item: Item | Rejected, choice: Choice) -> Iterator[tuple[Found, FileRow]]:
        for file in choice.files:
            used = file in choice.used.values()
            if isinstance(item, Rejected):
                yield file, self._row(file, "rejected", item.reason)
            elif used:
                yield file, self._row(file, "used", "")
            else:
                yield file, self._row(file, "ignored", deliveries.why_unused(file, choice))

    def _row(self, file: Found, status: Status, reason: str) -> FileRow:
        """Return the row of an item's file; what is wrong with the file itself comes before what became of the item."""
        if problem := self._problem(file):
            return _file_row(file, "rejected" if status == "used" else status, problem, broken=True)
        return _file_row(file, status, reason)

    def _other_row(self, file: Found) -> FileRow:
        role = file.name.role
        problem = file.problem or self._manifests.size_problem(file)
        if problem:
            return _file_row(file, "ignored", problem, broken=file.name.role != "archive entry")
        if role in UNKNOWN:
            return _file_row(file, "ignored", UNKNOWN[role])
        facts = self._headers.of(file.path, role)
        if error := facts.get("error"):
            return _file_row(file, "ignored", f"damaged: {error}", broken=True)
        if role == "manifest":
            missing = self._manifests.missing(file.path)
            return _file_row(file, "used", missing or "sizes and checksums of an order", broken=bool(missing))
        return _file_row(file, "ignored", "STAC description, not a delivered file" if facts["stac"] else UNKNOWN["unknown"])


def _archives_used(rows: list[tuple[Found, FileRow]]) -> Iterator[FileRow]:
    """Yield the rows, and say of each archive that is read in place whether anything in it is used."""
    used = {delivered.on_disk(file.path) for file, row in rows if row.status == "used"}
    for file, row in rows:
        if file.name.role != "archive" or row.broken or not delivered.is_archive(file.path):
            yield row
        elif file.path in used:
            yield replace(row, status="used", reason="read in place")
        else:
            yield replace(row, reason="nothing in it is used")


def _file_row(file: Found, status: Status, reason: str, *, broken: bool = False) -> FileRow:
    path = os.fsencode(file.path).decode("utf-8", "backslashreplace")
    return FileRow(path, file.bytes, file.name.item_id, file.name.role, status, reason, broken)
