"""Stage `scenes` for many items: which are measured by one job, and that job.

A batch is what was new of a day when a run began: "20190801_1", then "20190801_2" for what came later. It never changes: its
list says which items it holds, and in which version, its record what became of them. So an item that comes, or comes again, is
in a new batch, and nothing else of its day is measured again. An item that failed is put into a new batch too: every run tries
it again. A batch of which later ones hold every item is removed.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rts_pipeline.errors import InputError
from rts_pipeline.io.files import sha256_file, write_text
from rts_pipeline.io.json import parse_json, write_json
from rts_pipeline.progress import track
from rts_pipeline.records import retire
from rts_pipeline.scenes.failures import FAILED

if TYPE_CHECKING:
    from rts_pipeline.options import ScenesOptions
    from rts_pipeline.scenes.discover import Item
    from rts_pipeline.scenes.overview import Known

LIST, RECORD = ".items.txt", ".json"
NAME = re.compile(r"\d{8}_\d+")

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
    times = [0]
    for path in _of_batches(folder, RECORD).values():
        with suppress(FileNotFoundError):  # a job has just removed it
            times.append(path.stat().st_mtime_ns)
    return max(times)


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
    versions = {batch: _names(path) for batch, path in _of_batches(folder, LIST).items()}
    records = _of_batches(folder, RECORD)
    failed = {(batch, item_id) for batch, path in records.items() for item_id in _failed(path, records_until)}
    last: dict[str, int] = defaultdict(int)
    listed: dict[str, tuple[str, str]] = {}
    for batch in sorted(versions, key=_parts):
        day, number = _parts(batch)
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


def _of_batches(folder: Path, suffix: str) -> dict[str, Path]:
    """Return batch -> its list or record.

    Other files may lie there that end alike: temporary ones, of jobs at work or killed, and records of items measured by hand.
    """
    found = {path.name.removesuffix(suffix): path for path in folder.glob(f"*{suffix}")}
    return {batch: path for batch, path in found.items() if NAME.fullmatch(batch)}


def _parts(batch: str) -> tuple[str, int]:
    day, _, number = batch.partition("_")
    return day, int(number)


Measured = Callable[[Path, Sequence[Path]], None]
"""Is told an item's folder, once its results are in it, and the delivered files that they are made from."""


def measure_batch(
    names: Sequence[str], scenes_folder: Path, out: Path, options: ScenesOptions, measured: Measured = lambda *_: None
) -> None:
    """Measure the items of a batch, one after the other, each into its own folder (see `measure`).

    An item whose files can't be used gets failed.json instead of item.json, and holds up those that need it. One that a later
    batch holds is left to that.

    Args:
        names: the items, by id or as `Item.version` names them.
        scenes_folder: where the items' folders are, and what planning remembers of the delivered folders.
        out: the record: `items`, id -> sha256 of item.json and usable.tif; `failed`, id -> why. The list is written beside it.
        options: as for `measure`.
        measured: is called after each item, also one that failed.

    Raises:
        InputError: not one of the items could be measured, or planning remembers nothing.
    """
    from rts_pipeline.scenes.overview import recall

    known = {item.id: item for item in recall(scenes_folder)}
    write_text(_list(out), "".join(f"{name}\n" for name in names))
    made: dict[str, dict[str, str]] = {}
    failed: dict[str, str] = {}
    for name in track(names, len(names), f"batch {out.stem}", "items"):
        item_id = name.partition(":")[0]
        if item_id in _held_later(out):
            continue
        item, place = known.get(item_id), scenes_folder / item_id
        try:
            made[item_id] = _measure(name, item, place, options)
        except InputError as error:
            failed[item_id] = str(error)
            _say_failed(place, str(error))
        measured(place, item.paths if item else [])
    if failed and not made:
        more = f"; and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
        raise InputError(out.stem, f"no item could be measured: {'; '.join([*failed.values()][:NAMED])}{more}")
    for why in failed.values():
        print(f"rts-pipeline: {why}", file=sys.stderr)
    write_json(out, {"items": made, "failed": failed})
    _retire_before(out)


def _names(batch: Path) -> list[str]:
    with suppress(FileNotFoundError):  # another job has just removed it
        return batch.read_text().split()
    return []


def _ids(batch: Path) -> set[str]:
    return {name.partition(":")[0] for name in _names(batch)}


def _failed(record: Path, records_until: int) -> list[str]:
    """Return the ids of the items that failed, of a record that isn't newer."""
    with suppress(FileNotFoundError):  # another job has just removed it
        if record.stat().st_mtime_ns <= records_until:
            return [*parse_json(record, record.read_bytes())["failed"]]
    return []


def _others(out: Path) -> tuple[list[Path], list[Path]]:
    """Return the lists of the same day's batches before and after one, each the last batch first."""
    if not NAME.fullmatch(out.stem):
        return [], []
    day, number = _parts(out.stem)
    of_day = ((_parts(batch), path) for batch, path in _of_batches(out.parent, LIST).items())
    found = {other: path for (its_day, other), path in of_day if its_day == day}
    ordered = sorted(found, reverse=True)
    return [found[n] for n in ordered if n < number], [found[n] for n in ordered if n > number]


def _held_later(out: Path) -> set[str]:
    """Return the items of later batches, of which one may have begun while this one is at work."""
    return set().union(*map(_ids, _others(out)[1]))


def _retire_before(out: Path) -> None:
    """Remove the earlier batches of which this one and others after them hold every item: nobody asks for them any more."""
    before, after = _others(out)
    measured = [path for path in after if _record(path).exists()]
    held = set().union(*map(_ids, [*measured, _list(out)]))
    for path in before:
        if _ids(path) <= held:
            retire([_record(path), path])
        elif _record(path).exists():
            held |= _ids(path)


def _list(record: Path) -> Path:
    return record.with_name(record.stem + LIST)


def _record(batch: Path) -> Path:
    return batch.with_name(batch.name.removesuffix(LIST) + RECORD)


def _measure(name: str, item: Item | None, place: Path, options: ScenesOptions) -> dict[str, str]:
    from rts_pipeline.scenes.measure import measure

    if item is None or name not in (item.id, item.version):
        raise InputError(name.partition(":")[0], "its files changed after the run was planned", do="run snakemake again")
    item_json, usable = place / "item.json", place / "usable.tif"
    files = (item.reflectance, item.mask, item.mask_kind, item.metadata, item.xml)
    measure(item.id, *files, item_json, usable, options)
    (place / FAILED).unlink(missing_ok=True)
    return {"item": sha256_file(item_json), "usable": sha256_file(usable)}


def _say_failed(place: Path, why: str) -> None:
    """Put why an item failed in the place of what was measured of it before."""
    write_json(place / FAILED, {"error": why})
    for name in ("item.json", "usable.tif"):
        (place / name).unlink(missing_ok=True)
