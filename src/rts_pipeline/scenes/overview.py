"""What planning needs to know of the delivered folders, remembered for as long as no file below them changes.

`discover` looks at each file of each item, which takes ten seconds for ten thousand items; every start of snakemake, and on a
cluster every job, asks for the same again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rts_pipeline import io
from rts_pipeline.config import Scenes
from rts_pipeline.scenes.discover import Delivery, Item, discover
from rts_pipeline.scenes.walk import files_below
from rts_pipeline.stages import STAGES

HEADERS, OVERVIEW = ".headers.json", ".overview.json"
ROLES = ("reflectance", "mask", "metadata", "xml")


@dataclass(frozen=True)
class Overview:
    """The delivered folders in short.

    Attributes:
        items: the items that can be used, by id.
        known: digest of the items found, also those that can't be used.
        listing: digest of the paths and sizes of all files.
    """

    items: list[Item]
    known: str
    listing: str


def overview(folders: Sequence[Path], options: Scenes, scenes_folder: Path) -> Overview:
    """Return what `discover` finds, or found when it was called last for the same files.

    Args:
        folders: as for `discover`.
        options: as for `discover`.
        scenes_folder: where to remember it.

    Raises:
        InputError: as `discover`.
    """
    path, state = scenes_folder / OVERVIEW, _state(folders, options)
    with suppress(OSError, ValueError, TypeError, KeyError):
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["state"] == state:
            return Overview([_item(values) for values in stored["items"]], stored["known"], stored["listing"])
    found = summary(discover(folders, options, cache=scenes_folder / HEADERS))
    items = [asdict(item) | {role: _text(getattr(item, role)) for role in ROLES} for item in found.items]
    stored = {"state": state, "known": found.known, "listing": found.listing, "items": items}
    # ASCII, since the name of a folder need not be text that UTF-8 can hold
    io.write_text(path, json.dumps(stored, separators=(",", ":")))
    return found


def summary(delivery: Delivery) -> Overview:
    """Return a delivery in short."""
    used = [(item.id, item.acquired, item.fingerprint) for item in delivery.items]
    rejected = [(item.id, item.acquired, item.reason) for item in delivery.rejected]
    listing = sorted((row.path, row.bytes) for row in delivery.files)
    return Overview(delivery.items, io.sha256_json([used, rejected]), io.sha256_json(listing))


def _state(folders: Sequence[Path], options: Scenes) -> str:
    """Return the digest of all that `discover` goes by: every file's path, size and time, the options, and its own code.

    Raises:
        InputError: a folder is missing or can't be read.
    """
    digest = hashlib.sha256(repr((STAGES["catalog"], options.model_dump_json(), [str(folder) for folder in folders])).encode())
    for folder in folders:
        for line in sorted(f"{path}\0{size}\0{time}" for path, size, time in files_below(folder)):
            digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _item(values: dict[str, Any]) -> Item:
    paths = {role: values[role] and Path(values[role]) for role in ROLES}
    return Item(**values | paths | {"bounds": tuple(values["bounds"]), "shape": tuple(values["shape"])})
