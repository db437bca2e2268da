"""Stage ledger: what became of every file that was delivered, how much of the mosaics it made, or why it wasn't used."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import rasterio

from rts_pipeline.errors import InputError
from rts_pipeline.io.files import write_text
from rts_pipeline.io.json import canonical_json
from rts_pipeline.io.tables import read_geoparquet, write_parquet
from rts_pipeline.options import LedgerOptions
from rts_pipeline.page import template
from rts_pipeline.scenes.catalog import LATE
from rts_pipeline.scenes.discover import FileRow, Item, discover
from rts_pipeline.source_map import cell_of, source_items

TYPES = {
    "path": "str",
    "bytes": "int64",
    "item_id": "str",
    "role": "str",
    "status": "str",
    "reason": "str",
    "broken": "bool",
    "used_for": "str",
    "cells": "str",
    "pixels": "int64",
    "share": "float64",
}

BEHIND = "no pixel in the mosaics: wherever it is usable there, other images go before it"
ASIDE = "no pixel in the mosaics: none of its usable pixels lies in a cell of the area"

STATUSES = ("used", "rejected", "superseded", "ignored")
"""In the order of the page; whatever else a file's status may be follows."""


@dataclass
class Part:
    """What the mosaics took from an item."""

    n_mosaics: int = 0
    """Mosaics that had it to choose from."""
    pixels: dict[str, int] = field(default_factory=dict)
    """Pixels by the name of the cell, where any."""


def build_ledger(catalog: Path, sources: Sequence[Path], out: Path, out_html: Path, options: LedgerOptions) -> None:
    """Write the ledger: exactly one row for every file below the delivered folders and every entry of their zip archives.

    Args:
        catalog: the table of items, in the folder of the measured items.
        sources: source maps (<cell>_source.tif) of all mosaics.
        out: Parquet: path, bytes, item_id, role, status, reason, broken (did not arrive as it was sent), used_for ("mosaic of
            2019", "evidence of 2018" or ""), and for the files of an item that are used: cells (names, joined by commas, of
            those in whose mosaics it has pixels), pixels (of the mosaics, that came from the item) and share (of its usable
            area that they are, 0-1, null where it has none). What is told of an item is repeated in each of its files' rows.
        out_html: the same as one page that needs no network, by item.
        options: the delivered folders, season and years, grid.

    Raises:
        InputError: as `discover`; the table of items or a source map is missing or damaged.
    """
    delivery = discover([Path(folder) for folder in options.scenes.folders], options.scenes, catalog.parent / ".headers.json")
    verdicts = {row["item_id"]: row for row in read_geoparquet(catalog).drop(columns="geometry").to_dict("records")}
    parts = _parts(sources)
    told = {item.id: _told(item, verdicts.get(item.id), parts.get(item.id, Part()), options) for item in delivery.items}
    rows = [_row(row, told.get(row.item_id)) for row in delivery.files]
    ledger = pd.DataFrame(rows, columns=list(TYPES)).astype(TYPES)
    write_parquet(out, ledger)
    write_text(out_html, page(ledger))


def _parts(sources: Sequence[Path]) -> dict[str, Part]:
    """Return what the mosaics took, by item."""
    parts: dict[str, Part] = {}
    for path in sources:
        try:
            with rasterio.open(path) as dataset:
                listed = source_items(path, dataset)
        except rasterio.errors.RasterioError as error:
            raise InputError(path, f"can't be read ({error})", do="remove it and run again") from None
        for entry in listed.values():
            part = parts.setdefault(entry["id"], Part())
            part.n_mosaics += 1
            if entry["pixels"]:
                part.pixels[cell_of(path)] = int(entry["pixels"])
    return parts


def _told(item: Item, verdict: Mapping[str, Any] | None, part: Part, options: LedgerOptions) -> dict[str, Any]:
    """Return what is told of an item that could be used, in the row of each file that is used."""
    if verdict is None:
        return {"status": "ignored", "reason": LATE}
    told = {"status": verdict["status"], "reason": verdict["reason"]}
    if verdict["status"] != "used":
        return told
    year, time = int(item.acquired[:4]), options.time
    evidence = f"evidence of {year}" if year in options.evidence.years else ""
    if not part.pixels:
        reason = "" if year != time.target_year else BEHIND if part.n_mosaics else ASIDE
        return told | {"reason": reason, "used_for": evidence}
    pixels = sum(part.pixels.values())
    west, south, east, north = item.bounds
    usable_m2 = (east - west) * (north - south) * verdict["valid_fraction"] * verdict["usable_fraction"]
    # The measured fractions are rounded, and resampling moves the edges of gaps: a whole item may come out above 1.
    share = min(1.0, pixels * options.grid.pixel_m**2 / usable_m2) if usable_m2 else None
    cells = ",".join(sorted(part.pixels))
    return told | {"used_for": f"mosaic of {year}", "cells": cells, "pixels": pixels, "share": share}


def _row(file: FileRow, told: dict[str, Any] | None) -> dict[str, Any]:
    row = {"used_for": "", "cells": "", "pixels": 0, "share": None, **vars(file)}
    if told is None or file.status != "used":
        return row
    return row | told | {"reason": "; ".join(reason for reason in (told["reason"], file.reason) if reason)}


def page(ledger: pd.DataFrame) -> str:
    """Return the ledger as an HTML page that needs no network.

    The rows travel as data and a script shows those asked for, a few hundred at a time: as a table, 40,000 rows would take
    a browser many seconds. The counts are part of the page itself.
    """
    counts = ledger.groupby(["role", "status"]).size().unstack(fill_value=0)
    known = [status for status in STATUSES if status in counts]
    counts = counts[[*known, *(status for status in counts if status not in STATUSES)]]
    paths = set(ledger["path"])
    inside = sum(any(match.string[: match.end(1)] in paths for match in _archives(path)) for path in paths)
    return str(
        template("rts_pipeline.scenes", "ledger.html").render(
            statuses=list(counts),
            roles=[(role, row.tolist(), int(row.sum())) for role, row in counts.iterrows()],
            totals=counts.sum().tolist(),
            n_files=len(ledger),
            n_inside=inside,
            megabytes=float(ledger["bytes"].sum()) / 1e6,
            # "<" could end the script element; JSON may write it as an escape anywhere
            data=canonical_json(_groups(ledger)).replace("<", "\\u003c"),
        )
    )


def _archives(path: str) -> Any:
    """Yield the places in a path where an archive's name may end, which is a folder of the path of its members."""
    return re.finditer(r"(\.zip)/", path, re.IGNORECASE)


def _groups(ledger: pd.DataFrame) -> dict[str, Any]:
    """Return {"folders": names, "groups": [[item id, status, used for, reason, cells, pixels, share, files]]}.

    A group is an item, or one file that belongs to none; a file is [folder's number, name, role, status, bytes, reason].
    """
    folders: dict[str, int] = {}
    groups: dict[str, list[Any]] = {}
    rank = {status: number for number, status in enumerate(STATUSES)}
    best = ledger.assign(rank=ledger["status"].map(rank).fillna(len(rank)))
    for row in best.sort_values(["item_id", "rank", "path"], kind="stable").to_dict("records"):
        folder, _, name = row["path"].rpartition("/")
        share = None if pd.isna(row["share"]) else round(row["share"], 4)
        told = [row[key] for key in ("item_id", "status", "used_for", "reason", "cells", "pixels")]
        # the first row of an item has its best status
        files = groups.setdefault(row["item_id"] or row["path"], [*told, share, []])[-1]
        place = folders.setdefault(folder, len(folders))
        files.append([place, name, *(row[key] for key in ("role", "status", "bytes", "reason"))])
    return {"folders": list(folders), "groups": list(groups.values())}
