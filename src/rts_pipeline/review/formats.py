"""Filled-in verdicts as people hand them in: a GeoPackage of ours, or rows as GeoJSON, Shapefile or CSV."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import geopandas as gpd
import pandas as pd

from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.io.vectors import reading, reprojected

CANDIDATES_LAYER, MISSED_LAYER, KNOWN_LAYER = "candidates", "missed", "known"
VERDICT = ("decision", "possibility", "reject_reason", "note")
CANDIDATE_COLUMNS, MISSED_COLUMNS = ("candidate_id", "base_sha256", *VERDICT), ("possibility", "note")
SEEN = ("outline_scope", "active")
"""Columns of the candidates that a file may lack: then what is recorded of them stays as it is."""
YEARS = ("evidence_years", "first_year_visible")
"""What a verdict from the review page may say and no file does."""
ACTIVE = {"yes": True, "no": False}
MISSED = "missed"
"""Decision of a row that is an added slump, in files of one table."""
DRAWN = re.compile(r"\{?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\}?", re.IGNORECASE)
"""`candidate_id` of a slump that was drawn in an offline package: a UUID, which QGIS gives to a row and never changes."""
AGAIN = "export the round again and fill in that file"
SEPARATORS = (",", ";", "\t")
SHORT = {name[:10]: name for name in (*CANDIDATE_COLUMNS, *SEEN) if len(name) > 10}
"""What a Shapefile makes of the longer names."""
SOURCE, ADDED, ROLE = "source", "added", "role"
"""Metadata of the layer of added slumps: what an import is recorded as, id -> event of those that it was made with, the role.

Of the layer, not of the file: GDAL would write a file .aux.xml beside a GeoPackage that is read.
"""
Source = Literal["import", "qgis"]


@dataclass(frozen=True)
class Filled:
    """What a file says; the index of a table is the row in the file, from 0; texts are stripped, empty ones are "".

    Attributes:
        candidates: `CANDIDATE_COLUMNS`, what of `SEEN` the file has and, but from a CSV, the outlines in the candidates' CRS.
        missed: the added slumps: `MISSED_COLUMNS`, candidate_id ("" where the file says none) and outlines.
        layered: whether these are two layers of a GeoPackage.
        source: what the verdicts are recorded as: "qgis" for an offline package, however it was renamed.
        exported: id -> event that stood, of the added slumps that the file held when it was made.
        role: for which the file was made; "": it doesn't say.
    """

    candidates: pd.DataFrame
    missed: gpd.GeoDataFrame
    layered: bool = False
    source: Source = "import"
    exported: Mapping[str, str] = field(default_factory=dict)
    role: str = ""


def read_filled(file: Path, crs: Any) -> Filled:
    """Read filled-in verdicts, by the file's suffix.

    Args:
        file: .gpkg; .geojson, .json, .shp or .csv, whose rows without `candidate_id` and with decision "missed" are added
            slumps (which a CSV can't hold, for want of outlines).
        crs: of the candidates.

    Raises:
        UsageError: another suffix.
        InputError: unreadable, or a layer, column or CRS is missing.
    """
    suffix = file.suffix.lower()
    if suffix == ".gpkg":
        candidates = _layer(file, crs, CANDIDATE_COLUMNS, CANDIDATES_LAYER)
        missed = _layer(file, crs, MISSED_COLUMNS, MISSED_LAYER)
        missed = missed if "candidate_id" in missed else missed.assign(candidate_id="")
        return Filled(candidates, missed, layered=True, **_metadata(file))
    if suffix == ".csv":
        return Filled(_csv(file), gpd.GeoDataFrame(columns=list(CANDIDATE_COLUMNS), geometry=[], crs=crs))
    if suffix not in (".geojson", ".json", ".shp"):
        raise UsageError(file, "not a kind of file that holds verdicts", expected=".gpkg, .geojson, .shp, .csv or .jsonl")
    rows = _layer(file, crs, CANDIDATE_COLUMNS)
    added = rows["decision"] == MISSED
    return Filled(rows[~added], rows[added])


def _layer(file: Path, crs: Any, columns: tuple[str, ...], name: str | None = None) -> gpd.GeoDataFrame:
    import pyogrio

    what = "layer" if name is None else f"layer '{name}'"
    with reading(file, "verdicts as a vector file"):
        known = [str(layer) for layer, _ in pyogrio.list_layers(file)]
        frame = pyogrio.read_dataframe(file, layer=name or 0) if name is None or name in known else None
    if frame is None:
        raise InputError(file, f"has no layer '{name}' (has {', '.join(known) or 'none'})", do=AGAIN)
    if file.suffix.lower() == ".shp":
        frame = frame.rename(columns={short: long for short, long in SHORT.items() if long not in frame})
    _check_columns(file, what, list(frame.columns), columns)
    if not isinstance(frame, gpd.GeoDataFrame) or frame.crs is None:
        raise InputError(file, f"{what} declares no CRS", expected="that of the candidates", do=AGAIN)
    for column in {*columns, *SEEN, "candidate_id"} & {*frame.columns} - {"possibility"}:
        frame[column] = frame[column].astype(object).where(frame[column].notna(), "").astype(str).str.strip()
    return frame if frame.crs == crs else reprojected(frame, crs, file)


def _metadata(file: Path) -> dict[str, Any]:
    import pyogrio

    found = pyogrio.read_info(file, layer=MISSED_LAYER)["layer_metadata"] or {}
    try:
        added = json.loads(found.get(ADDED, "{}"))
    except ValueError:
        added = None
    if not isinstance(added, dict):
        raise InputError(file, f"its metadata '{ADDED}' is damaged", do=AGAIN)
    return {
        "source": "qgis" if found.get(SOURCE) == "qgis" else "import",
        "exported": {str(name): str(event) for name, event in added.items()},
        "role": found.get(ROLE, ""),
    }


def _check_columns(file: Path, what: str, found: list[str], needed: tuple[str, ...]) -> None:
    if absent := [column for column in needed if column not in found]:
        raise InputError(file, f"{what} has no column {', '.join(absent)}", do=AGAIN)


def _csv(file: Path) -> pd.DataFrame:
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(file, f"can't be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InputError(file, f"not UTF-8 ({error.reason})", do="save it as UTF-8 (Excel: 'CSV UTF-8')") from None
    # Not splitlines: it breaks lines at characters that a note may hold without quotes.
    lines = list(StringIO(text, newline=""))
    try:
        heads = [next(csv.reader(lines[:1], delimiter=separator), []) for separator in SEPARATORS]
    except csv.Error as error:
        raise InputError(f"{file}, the first line", f"not CSV ({error})") from None
    head, separator = max(zip(heads, SEPARATORS, strict=True), key=lambda pair: len(pair[0]))
    _check_columns(file, "the first line", head, CANDIDATE_COLUMNS)
    if doubled := sorted({name for name in head if head.count(name) > 1}):
        raise InputError(file, f"has two columns {', '.join(doubled)}", do="keep one of each")
    rows: dict[int, list[str]] = {}
    try:
        for number, row in enumerate(csv.reader(lines, delimiter=separator, strict=True)):
            if row and len(row) != len(head):
                raise InputError(
                    f"{file}, row {number}", f"has {len(row)} values", expected=f"{len(head)}, as the first line names"
                )
            rows[number - 1] = row
    except csv.Error as error:
        raise InputError(f"{file}, row {len(rows)}", f"not CSV ({error})") from None
    filled = {number: row for number, row in rows.items() if number >= 0 and row}
    frame = pd.DataFrame(list(filled.values()), index=list(filled), columns=head, dtype=object)
    # a text, where the other tables have their outlines
    frame = frame.drop(columns="geometry", errors="ignore")
    return frame.apply(lambda column: column.str.strip()) if len(frame) else frame
