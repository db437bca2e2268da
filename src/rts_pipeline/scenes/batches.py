"""Stage `scenes` for many items: which are measured by one job, and that job.

A batch is what was new of a day when a run began: "20190801_1", then "20190801_2" for what came later. It never changes: its
list says which items it holds, and in which version, its record what became of them. So an item that comes, or comes again, is
in a new batch, and nothing else of its day is measured again. An item that failed is put into a new batch too: every run tries
it again.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rts_pipeline import io
from rts_pipeline.errors import InputError
from rts_pipeline.progress import track
from rts_pipeline.scenes.failures import FAILED

if TYPE_CHECKING:
    from rts_pipeline.options import ScenesOptions
    from rts_pipeline.scenes.discover import Item
    from rts_pipeline.scenes.overview import Known

LIST, RECORD = ".items.txt", ".json"

NAMED = 5
"""Failed items whose messages a batch tells when none of its items could be measured."""


@dataclass(frozen=True)
class Batches:
    """Who is measured where.

    Attributes:
        of: item id -> batch.
        versions: batch -> its items, as `Item.version` names them; also those that aren't wanted any more.
    """

    of: dict[str, str]
    versions: dict[str, list[str]]


def newest_record(folder: Path) -> int:
    """Return when the newest record was written (ns), 0 without any: what is older is of earlier runs."""
    return max((path.stat().st_mtime_ns for path in folder.glob(f"*{RECORD}")), default=0)


def assign(folder: Path, items: Iterable[Known], records_until: int) -> Batches:
    """Return the batch of each item: the last one whose list holds it in this version, else a new one of its day.

    Args:
        folder: the lists and records.
        items: the items to measure.
        records_until: time of the newest record when the run began (ns): what failed by then is tried again. The jobs of a
            run ask too, while it writes more.

    Raises:
        InputError: a record is damaged.
    """
    versions = {path.name.removesuffix(LIST): path.read_text().split() for path in folder.glob(f"*{LIST}")}
    failed = {
        (path.stem, item_id)
        for path in folder.glob(f"*{RECORD}")
        if path.stat().st_mtime_ns <= records_until
        for item_id in io.read_json(path)["failed"]
    }
    last: dict[str, int] = defaultdict(int)
    listed: dict[str, tuple[str, str]] = {}
    for day, number in sorted(_parts(batch) for batch in versions):
        batch = f"{day}_{number}"
        last[day] = number
        listed.update({name.partition(":")[0]: (batch, name) for name in versions[batch]})
    of: dict[str, str] = {}
    new: dict[str, list[str]] = defaultdict(list)
    for item in items:
        batch, known = listed.get(item.id, ("", ""))
        if known != (name := item.version) or (batch, item.id) in failed:
            day = item.acquired[:10].replace("-", "")
            batch = f"{day}_{last[day] + 1}"
            new[batch].append(name)
        of[item.id] = batch
    return Batches(of, versions | {batch: sorted(names) for batch, names in new.items()})


def _parts(batch: str) -> tuple[str, int]:
    day, _, number = batch.partition("_")
    return day, int(number)


def measure_batch(names: Sequence[str], scenes_folder: Path, out: Path, options: ScenesOptions) -> None:
    """Measure the items of a batch, one after the other, each into its own folder (see `measure`).

    An item whose files can't be used gets failed.json instead of item.json, and holds up those that need it.

    Args:
        names: the items, by id or as `Item.version` names them.
        scenes_folder: where the items' folders are, and what planning remembers of the delivered folders.
        out: the record: `items`, id -> sha256 of item.json and usable.tif; `failed`, id -> why. The list is written beside it.
        options: as for `measure`.

    Raises:
        InputError: not one of the items could be measured, or planning remembers nothing.
    """
    from rts_pipeline.scenes.overview import recall

    known = {item.id: item for item in recall(scenes_folder)}
    io.write_text(out.with_name(out.stem + LIST), "".join(f"{name}\n" for name in names))
    made: dict[str, dict[str, str]] = {}
    failed: dict[str, str] = {}
    for name in track(names, len(names), f"batch {out.stem}", "items"):
        item_id = name.partition(":")[0]
        try:
            made[item_id] = _measure(name, known.get(item_id), scenes_folder / item_id, options)
        except InputError as error:
            failed[item_id] = str(error)
            _say_failed(scenes_folder / item_id, str(error))
    if failed and not made:
        more = f"; and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
        raise InputError(out.stem, f"no item could be measured: {'; '.join([*failed.values()][:NAMED])}{more}")
    for why in failed.values():
        print(f"rts-pipeline: {why}", file=sys.stderr)
    io.write_json(out, {"items": made, "failed": failed})


def _measure(name: str, item: Item | None, place: Path, options: ScenesOptions) -> dict[str, str]:
    from rts_pipeline.scenes.measure import measure

    if item is None or name not in (item.id, item.version):
        raise InputError(name.partition(":")[0], "its files changed after the run was planned", do="run snakemake again")
    item_json, usable = place / "item.json", place / "usable.tif"
    files = (item.reflectance, item.mask, item.mask_kind, item.metadata, item.xml)
    measure(item.id, *files, item_json, usable, options)
    (place / FAILED).unlink(missing_ok=True)
    return {"item": io.sha256_file(item_json), "usable": io.sha256_file(usable)}


def _say_failed(place: Path, why: str) -> None:
    """Put why an item failed in the place of what was measured of it before."""
    io.write_json(place / FAILED, {"error": why})
    for name in ("item.json", "usable.tif"):
        (place / name).unlink(missing_ok=True)
