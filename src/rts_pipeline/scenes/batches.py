"""Stage `scenes` for many items: which are measured by one job, and that job.

A batch is what was new of a day when a run began: "20190801_1", then "20190801_2" for what came later. It never changes: its
list says which files of which items it is made from, its record what became of them. So an item that comes, or comes again,
is in a new batch, and nothing else of its day is measured again. An item that failed is put into a new batch too: every run
tries it again.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rts_pipeline import io
from rts_pipeline.errors import InputError
from rts_pipeline.progress import track
from rts_pipeline.scenes.failures import FAILED

if TYPE_CHECKING:
    from rts_pipeline.options import ScenesOptions
    from rts_pipeline.scenes.discover import Item

LIST = ".items.json"
RECORD = ".json"
NAMED = 5
"""Failed items whose messages a batch tells when none of its items could be measured."""

Entry = dict[str, Any]


def assign(folder: Path, items: Iterable[Item], *, new_run: bool) -> dict[str, str]:
    """Return the batch of each item, by id: the last one whose list holds it as it is now, else a new one of its day.

    Args:
        folder: the lists and records.
        items: the items to measure.
        new_run: whether items that failed are tried again; not so in the jobs of a run, for which its start decides.

    Raises:
        InputError: a list or a record is damaged.
    """
    listed: dict[str, tuple[str, Entry]] = {}
    last: dict[str, int] = defaultdict(int)
    failed: set[tuple[str, str]] = set()
    for number, batch, is_list in sorted(_files(folder)):
        day = batch.partition("_")[0]
        last[day] = max(last[day], number)
        if is_list:
            listed.update({item_id: (batch, told) for item_id, told in io.read_json(folder / f"{batch}{LIST}").items()})
        elif new_run:
            failed |= {(batch, item_id) for item_id in io.read_json(folder / f"{batch}{RECORD}")["failed"]}
    assigned = {}
    for item in items:
        batch, told = listed.get(item.id, ("", {}))
        if told != entry(item) or (batch, item.id) in failed:
            day = item.acquired[:10].replace("-", "")
            batch = f"{day}_{last[day] + 1}"
        assigned[item.id] = batch
    return assigned


def _files(folder: Path) -> Iterable[tuple[int, str, bool]]:
    """Yield number in its day, name of the batch, and whether it is a list, of all lists and records."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    for name in (name for name in names if name.endswith(RECORD) and not name.startswith(".")):
        batch = name.removesuffix(LIST).removesuffix(RECORD)
        yield int(batch.partition("_")[2]), batch, name.endswith(LIST)


def entry(item: Item) -> Entry:
    """Return what a list says of an item: its files, and their names, sizes and checksums as far as they are known."""
    roles = ("reflectance", "mask", "metadata", "xml")
    files = {role: str(path) for role in roles if (path := getattr(item, role)) is not None}
    return {"files": files, "mask_kind": item.mask_kind, "fingerprint": item.fingerprint}


def write_lists(folder: Path, items: Mapping[str, Item], assigned: Mapping[str, str]) -> None:
    """Write the lists that aren't there, as `assign` arranged the items."""
    lists: dict[str, dict[str, Entry]] = defaultdict(dict)
    for item_id, batch in sorted(assigned.items()):
        lists[batch][item_id] = entry(items[item_id])
    for batch, entries in lists.items():
        path = folder / f"{batch}{LIST}"
        if not path.exists():
            # ASCII, since the name of a folder need not be text that UTF-8 can hold
            io.write_text(path, json.dumps(entries, indent=1))


def measure_batch(listing: Path, scenes_folder: Path, out: Path, options: ScenesOptions) -> None:
    """Measure the items of a list, one after the other, each into its own folder (see `measure`).

    An item whose files can't be used gets failed.json instead of item.json, and holds up those that need it.

    Args:
        listing: the list of a batch.
        scenes_folder: where the items' folders are.
        out: the record: `items`, id -> sha256 of item.json and usable.tif; `failed`, id -> why.
        options: as for `measure`.

    Raises:
        InputError: the list is damaged, or not one of its items could be measured.
    """
    from rts_pipeline.scenes.measure import measure

    entries: dict[str, Entry] = io.read_json(listing)
    made: dict[str, dict[str, str]] = {}
    failed: dict[str, str] = {}
    for item_id in track(sorted(entries), len(entries), f"batch {out.stem}", "items"):
        told, place = entries[item_id], scenes_folder / item_id
        files = [Path(told["files"][role]) if role in told["files"] else None for role in ("mask", "metadata", "xml")]
        mask, metadata, xml = files
        item_json, usable, failure = place / "item.json", place / "usable.tif", place / FAILED
        reflectance = Path(told["files"]["reflectance"])
        try:
            measure(item_id, reflectance, mask, told["mask_kind"], metadata, xml, item_json, usable, options)
        except InputError as error:
            failed[item_id] = str(error)
            print(f"rts-pipeline: {error}", file=sys.stderr)
            io.write_json(failure, {"error": str(error)})
            for path in (item_json, usable):
                path.unlink(missing_ok=True)
        else:
            failure.unlink(missing_ok=True)
            made[item_id] = {"item": io.sha256_file(item_json), "usable": io.sha256_file(usable)}
    if failed and not made:
        more = f"; and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
        raise InputError(listing, f"no item could be measured: {'; '.join([*failed.values()][:NAMED])}{more}")
    io.write_json(out, {"items": made, "failed": failed})
