"""Review by file: a GeoPackage to be filled in with QGIS or any other program and its validated way back, and one
reviewer's events on their way to another machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from shapely import MultiPolygon
from shapely.geometry.base import BaseGeometry

from rts_pipeline.errors import InputError
from rts_pipeline.io import write_gpkg, write_text
from rts_pipeline.lineage import known_outlines
from rts_pipeline.review.events import Event, Role, check_reviewer, exchange_text, make_event, missed_id, read_events
from rts_pipeline.review.folding import Folded, decision_of, fold, revise
from rts_pipeline.review.formats import ACTIVE, CANDIDATES_LAYER, KNOWN_LAYER, MISSED_LAYER, SEEN, VERDICT, read_filled
from rts_pipeline.review.outlines import SAME_SLUMP_IOU, from_geojson, overlaps, records, same, to_geojson
from rts_pipeline.review.readings import queue_of
from rts_pipeline.review.rounds import read_candidates, read_draft, round_folder
from rts_pipeline.review.store import merge, open_round, read_round
from rts_pipeline.review.verdicts import check_filled, check_missed
from rts_pipeline.review.windows import check_decisions, window_ids

SHOWN = ("candidate_id", "round", "status", "known_ids", "area_m2", "longitude", "latitude", "base_sha256")
"""Columns of the candidates that the reviewer gets: not the model's score, which would anchor the verdict."""
YEARS = ("evidence_years", "first_year_visible")
"""What a verdict from the review page may say and no file does."""


@dataclass(frozen=True)
class ImportResult:
    """What an import did (or would do): new events by kind, rows that said nothing new, and candidates left to be judged."""

    decided: int
    missed: int
    unchanged: int
    undecided: int


def export_gpkg(reviews: Path, round: str, reviewer: str, out: Path, *, role: Role = "primary") -> None:
    """Write what a reviewer has to judge in the open round, with the decisions so far, to be filled in and imported.

    Layer "candidates": one row for each candidate of `queue_of`; fill `decision` (accept, reject, edit, unsure; empty = not
    yet reviewed), optionally `possibility` (0-1), `reject_reason`, `note`,
    `outline_scope` and `active` (yes, no); for "edit" redraw the outline. Layer "missed":
    draw slumps that no candidate shows, with `possibility` and `note`; always empty in the export. Layer "known": the known
    outlines whose place a candidate of status "changed" would take, and what is known in a window; to look at. A row of status
    "window" is ground to be looked through: "reject" says that there is nothing more to add.

    Raises:
        RefusedError: the round isn't open.
        InputError: a damaged record.
    """
    read_draft(reviews, round)
    judged = read_candidates(reviews, round)
    judged = judged[judged["candidate_id"].isin(queue_of(reviews, round, reviewer, role=role))].reset_index(drop=True)
    candidates = _current(judged, fold(_own(reviews, round, reviewer)), reviewer)
    missed = gpd.GeoDataFrame(
        {"possibility": pd.Series(dtype="float64"), "note": pd.Series(dtype="str")},
        geometry=gpd.GeoSeries([], crs=candidates.crs),
    )
    write_gpkg(
        out,
        {CANDIDATES_LAYER: candidates, MISSED_LAYER: missed, KNOWN_LAYER: known_outlines(judged)[["candidate_id", "geometry"]]},
    )


def _own(reviews: Path, round: str, reviewer: str) -> list[Event]:
    check_reviewer(reviewer)
    return [event for event in read_round(reviews, round) if event.reviewer == reviewer]


def _current(candidates: gpd.GeoDataFrame, folded: Folded, reviewer: str) -> gpd.GeoDataFrame:
    """Return the candidates with the verdict columns (a fork counts as undecided) and the outlines that the reviewer drew."""
    rows: list[dict[str, Any]] = []
    outlines = []
    for identifier, outline in zip(candidates["candidate_id"], candidates.geometry, strict=True):
        head = standing[-1] if (standing := _standing(folded, identifier, reviewer)) else None
        rows.append({name: _told(getattr(head, name)) if head else None for name in (*VERDICT, *SEEN)})
        outlines.append(_multi(from_geojson(head.geometry) if head and head.geometry else outline))
    names = (*VERDICT, *SEEN)
    verdicts = pd.DataFrame(rows, columns=list(names)).astype({n: "float64" if n == "possibility" else "str" for n in names})
    shown = pd.DataFrame(candidates[[name for name in SHOWN if name in candidates]])
    return gpd.GeoDataFrame(pd.concat([shown, verdicts], axis=1), geometry=gpd.GeoSeries(outlines, crs=candidates.crs))


def _told(value: Any) -> Any:
    return next(text for text, said in ACTIVE.items() if said == value) if isinstance(value, bool) else value


def _standing(folded: Folded, candidate: str, reviewer: str) -> list[Event]:
    if (candidate, reviewer) in folded.forks:
        return []
    return folded.heads.get(candidate, {}).get(reviewer, [])


def _multi(outline: BaseGeometry) -> BaseGeometry:
    # One geometry type for the layer, so that GIS programs let the reviewer draw parts.
    return MultiPolygon(shapely.get_parts(outline).tolist())


def import_verdicts(
    reviews: Path,
    round: str,
    reviewer: str,
    file: Path,
    *,
    at: str,
    source: Literal["import", "qgis"] = "import",
    role: Role = "primary",
    dry_run: bool = False,
) -> ImportResult:
    """Check a filled-in file and record what it says that isn't recorded yet: all of it or nothing.

    An empty decision leaves what is recorded as it is; nothing is ever retracted by a row that is empty or gone.

    Args:
        reviews: the folder of all reviews.
        round: name of the open round.
        reviewer: who judged.
        file: the GeoPackage made by `export_gpkg`, or one table as GeoJSON, Shapefile or CSV; see `read_filled`.
        at: time of the verdicts (ISO 8601, UTC).
        source: "import" or "qgis".
        role: "primary", "second" or "adjudicator".
        dry_run: check only.

    Raises:
        InputError: unreadable file, missing layer or column, or a row with an unknown, contradictory or missing value.
        RefusedError: the round isn't open.
    """
    draft = read_draft(reviews, round)
    candidates = read_candidates(reviews, round)
    windows = window_ids(round_folder(reviews, round))
    said = read_filled(file, candidates.crs)
    asked = queue_of(reviews, round, reviewer, role=role)
    missed = check_missed(file, said)
    common = {
        "round": round,
        "reviewer": reviewer,
        "role": role,
        "at": at,
        "source": source,
        "guideline_version": draft.guideline_version,
    }
    counts = {"decided": 0, "missed": 0, "unchanged": 0, "undecided": 0}

    def make(known: list[Event]) -> list[Event]:
        folded = fold(known)
        rows = check_filled(file, said, _known(candidates, folded, reviewer, windows), whole=said.layered and role == "primary")
        events = [
            (
                revise(_decide(row, common, _standing(folded, name, reviewer)), folded.heads.get(name, {}).get(reviewer, [])),
                "decided",
            )
            for name, row in zip(rows["candidate_id"], records(rows), strict=True)
        ]
        events += [(new, "missed") for new in _added(missed, folded, common)]
        counts["undecided"] = len({*asked} - {*rows["candidate_id"]})
        for new, kind in events:
            counts[kind if new else "unchanged"] += 1
        return [event for new, _ in events for event in new]

    if dry_run:
        make(_own(reviews, round, reviewer))
    else:
        with open_round(reviews, round, reviewer, role=role) as store:
            store.append(make(store.events()))
    return ImportResult(**counts)


def export_events(reviews: Path, round: str, reviewer: str, out: Path) -> int:
    """Write a reviewer's exchange file, of an open or a signed-off round, and return the number of events.

    Raises:
        InputError: a damaged record.
    """
    events = _own(reviews, round, reviewer)
    write_text(out, exchange_text(events))
    return len(events)


def import_events(
    reviews: Path, round: str, file: Path, *, reviewer: str | None = None, dry_run: bool = False
) -> tuple[int, int]:
    """Take up an exchange file, all or nothing, and return how many of its events are new and how many were known.

    Args:
        reviews: the folder of all reviews.
        round: name of the open round.
        file: made by `export_events`, on this machine or another.
        reviewer: whose events it must hold; None: anybody's.
        dry_run: check only.

    Raises:
        InputError: a damaged line, or an event of another round, reviewer or version of the candidates.
        RefusedError: the round isn't open, or in use.
    """
    read_draft(reviews, round)
    events = read_events(file)
    judged, windows = read_candidates(reviews, round), window_ids(round_folder(reviews, round))
    bases = dict(zip(judged["candidate_id"], judged["base_sha256"], strict=True))
    check_decisions(events, windows, file)
    for number, event in enumerate(events, 1):
        for column, value, wanted in (
            ("round", event.round, round),
            ("reviewer", event.reviewer, reviewer or event.reviewer),
            ("base_sha256", event.base_sha256, bases.get(event.candidate_id) if event.decision else event.base_sha256),
        ):
            if value != wanted:
                expected = "a candidate of this round" if wanted is None else f"'{wanted}'"
                raise InputError(f"{file}, line {number} ({event.candidate_id})", f"{column} '{value}'", expected=expected)
    if dry_run:
        known = {event.event_id for event in read_round(reviews, round)}
        new = len({event.event_id for event in events} - known)
    else:
        new = len(merge(reviews, round, events))
    return new, len(events) - new


def _known(candidates: gpd.GeoDataFrame, folded: Folded, reviewer: str, windows: frozenset[str]) -> pd.DataFrame:
    known = pd.DataFrame({"base_sha256": candidates["base_sha256"], "base": candidates.geometry.to_numpy()})
    known["drawn"] = _current(candidates, folded, reviewer).geometry.to_numpy()
    known["window"] = candidates["candidate_id"].isin(windows)
    return known.set_index(candidates["candidate_id"])


def _decide(row: dict[str, Any], common: dict[str, str], standing: list[Event]) -> Event:
    seen = {"outline_scope": row.get("outline_scope") or None, "active": ACTIVE.get(row.get("active", ""))}
    if standing and standing[-1].decision == row["decision"]:
        seen |= _unsaid(standing[-1], [*YEARS, *(name for name in SEEN if name not in row)])
    return make_event(
        **common,
        action="decide",
        candidate_id=row["candidate_id"],
        base_sha256=row["base_sha256"],
        decision=row["decision"],
        geometry=to_geojson(row["geometry"]) if row["decision"] == "edit" else None,
        **_given(row),
        reject_reason=row["reject_reason"] or None,
        **seen,
    )


def _unsaid(head: Event, names: Sequence[str]) -> dict[str, Any]:
    """Return what stands of a verdict that the file can't say."""
    return {name: getattr(head, name) for name in names}


def _given(row: dict[str, Any]) -> dict[str, Any]:
    return {"possibility": None if np.isnan(row["possibility"]) else row["possibility"], "note": row["note"] or None}


def _added(missed: gpd.GeoDataFrame, folded: Folded, common: dict[str, str]) -> list[list[Event]]:
    """Return the events for each added slump; one that overlaps an earlier one is its new version and keeps its id."""
    before = {
        candidate: readings[common["reviewer"]]
        for candidate, readings in folded.heads.items()
        if common["reviewer"] in readings and decision_of(readings[common["reviewer"]][-1]) == "missed"
    }
    names = list(before)
    drawn = np.array([from_geojson(heads[-1].geometry or {}) for heads in before.values()], dtype=object)
    new, old, iou, _ = overlaps(missed.geometry.to_numpy(), drawn)
    version_of = {int(new[pair]): int(old[pair]) for pair in np.argsort(iou) if iou[pair] >= SAME_SLUMP_IOU}
    events = []
    for index, row in enumerate(records(missed)):
        earlier = version_of.get(index)
        # A GIS program may move a vertex by less than it shows: that is no new version.
        kept = earlier is not None and same(row["geometry"], drawn[earlier])
        geometry = before[names[earlier]][-1].geometry if earlier is not None and kept else to_geojson(row["geometry"])
        fresh = missed_id(common["round"], common["reviewer"], geometry)
        candidate = fresh if earlier is None else names[earlier]
        heads = before.get(candidate, [])
        said = {**_given(row), **(_unsaid(heads[-1], [*YEARS, *SEEN]) if heads else {})}
        event = make_event(**common, action="add_missed", candidate_id=candidate, geometry=geometry, **said)
        events.append(revise(event, heads))
    return events
