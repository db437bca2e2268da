"""What planning needs to know of the delivered folders, remembered for as long as no file below them changes.

`discover` looks at each file of each item, which takes ten seconds for ten thousand items; every start of snakemake, and on a
cluster every job, asks for the same again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rts_pipeline.config import Scenes
from rts_pipeline.io.files import write_text
from rts_pipeline.io.json import read_json, sha256_json
from rts_pipeline.scenes.files import files_below
from rts_pipeline.scenes.memory import Answer, remembered, state_of
from rts_pipeline.stages import STAGES

if TYPE_CHECKING:
    from rts_pipeline.scenes.discover import Delivery, Item

HEADERS, OVERVIEW, ITEMS = ".headers.json", ".overview.json", ".items.json"
ROLES = ("reflectance", "mask", "metadata", "xml")


@dataclass(frozen=True)
class Known:
    """An item that can be used, as far as planning asks: see `Item`."""

    id: str
    acquired: str
    version: str


@dataclass(frozen=True)
class Overview:
    """The delivered folders in short.

    Attributes:
        items: the items that can be used, by id.
        known: digest of the items found, also those that can't be used, and of what is wrong with their files.
        listing: digest of the paths and sizes of all files, and of what is wrong with them.
        state: digest of all that this goes by.
    """

    items: list[Known]
    known: str
    listing: str
    state: str


def overview(folders: Sequence[Path], options: Scenes, scenes_folder: Path) -> Overview:
    """Return what `discover` finds, or found when it was called last for the same files.

    Args:
        folders: as for `discover`.
        options: as for `discover`.
        scenes_folder: where to remember it.

    Raises:
        InputError: as `discover`.
    """
    state = _state(folders, options)
    if not (scenes_folder / ITEMS).exists():
        (scenes_folder / OVERVIEW).unlink(missing_ok=True)

    def look() -> Answer:
        # late: what is remembered needs no GDAL
        from rts_pipeline.scenes.discover import discover

        found = discover(folders, options, cache=scenes_folder / HEADERS)
        items = [asdict(item) | {role: _text(getattr(item, role)) for role in ROLES} for item in found.items]
        write_text(scenes_folder / ITEMS, json.dumps(items, separators=(",", ":")))
        return {"items": [[item.id, item.acquired, item.version] for item in found.items], **digests(found)}

    answer = remembered(scenes_folder / OVERVIEW, state, look)
    return Overview([Known(*values) for values in answer["items"]], answer["known"], answer["listing"], state)


def recall(scenes_folder: Path) -> list[Item]:
    """Return the items that `overview` found last, with their files.

    Raises:
        InputError: it remembers nothing.
    """
    return [_item(values) for values in read_json(scenes_folder / ITEMS)]


def digests(delivery: Delivery) -> dict[str, str]:
    """Return `known` and `listing` of a delivery."""
    used = [(item.id, item.acquired, item.fingerprint) for item in delivery.items]
    rejected = [(item.id, item.acquired, item.reason) for item in delivery.rejected]
    broken = sorted((row.item_id, Path(row.path).name, row.reason) for row in delivery.files if row.broken)
    listing = sorted((row.path, row.bytes) for row in delivery.files)
    return {"known": sha256_json([used, rejected, broken]), "listing": sha256_json([listing, broken])}


def _state(folders: Sequence[Path], options: Scenes) -> str:
    """Return the digest of all that `discover` goes by: every file's path, size and times, the options, and its own code.

    Raises:
        InputError: a folder is missing or can't be read.
    """
    places = [str(folder) for folder in folders]
    files = (f"{path}\0{size}\0{times}" for folder in folders for path, size, times in sorted(files_below(folder)))
    return state_of(STAGES["catalog"], options.model_dump_json(), places, lines=files)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _item(values: dict[str, Any]) -> Item:
    from rts_pipeline.scenes.discover import Item

    paths = {role: values[role] and Path(values[role]) for role in ROLES}
    return Item(**values | paths | {"bounds": tuple(values["bounds"]), "shape": tuple(values["shape"])})
