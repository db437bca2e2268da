"""Review by file: a GeoPackage to be filled in with QGIS or any other program and its validated way back, and one
reviewer's events on their way to another machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd

from rts_pipeline.errors import InputError, RefusedError, UsageError
from rts_pipeline.io.files import write_text
from rts_pipeline.io.vectors import write_gpkg
from rts_pipeline.lineage import known_outlines
from rts_pipeline.review.added import added_ids, by_candidate, exported_added, given, import_added, unsaid
from rts_pipeline.review.events import Event, Role, check_reviewer, exchange_text, make_event, read_events
from rts_pipeline.review.folding import Bases, bases_in, is_fork, of_outlines, renewed, revise, standing_as, standing_of
from rts_pipeline.review.formats import (
    ACTIVE,
    ADDED,
    CANDIDATES_LAYER,
    KNOWN_LAYER,
    MISSED_LAYER,
    ROLE,
    SEEN,
    SOURCE,
    VERDICT,
    Source,
    read_filled,
)
from rts_pipeline.review.outlines import from_geojson, multi, records, to_geojson
from rts_pipeline.review.readings import queue_of
from rts_pipeline.review.rounds import read_candidates, read_draft, round_folder
from rts_pipeline.review.store import merge, open_round, read_round
from rts_pipeline.review.verdicts import check_filled, check_missed
from rts_pipeline.review.windows import check_decisions, window_ids

SHOWN = ("candidate_id", "round", "status", "known_ids", "area_m2", "longitude", "latitude", "base_sha256")
"""Columns of the candidates that the reviewer gets: not the model's score, which would anchor the verdict."""


@dataclass(frozen=True)
class ImportResult:
    """What an import did, or would do.

    Attributes:
        decided: new verdicts on candidates.
        missed: added slumps that are new, or another version of one.
        unchanged: rows that said nothing new.
        undecided: candidates left to be judged.
        taken_back: added slumps that were removed from the file.
    """

    decided: int
    missed: int
    unchanged: int
    undecided: int
    taken_back: int = 0


def export_gpkg(
    reviews: Path, round: str, reviewer: str, out: Path, *, role: Role = "primary", source: Source = "import"
) -> None:
    """Write what a reviewer has to judge in the open round, with the decisions so far, to be filled in and imported.

    Layer "candidates": one row for each candidate of `queue_of`; fill `decision` (accept, reject, edit, unsure; empty = not
    yet reviewed), optionally `possibility` (0-1), `reject_reason`, `note`,
    `outline_scope` and `active` (yes, no); for "edit" redraw the outline. Layer "missed": the slumps that this reviewer added,
    to be redrawn or removed; draw more that no candidate shows, with `possibility` and `note`. Layer "known": the known
    outlines whose place a candidate of status "changed" would take, and what is known in a window; to look at. A row of status
    "window" is ground to be looked through: "reject" says that there is nothing more to add.

    Args:
        reviews: the folder of all reviews.
        round: name of the open round.
        reviewer: who judges.
        out: new file to write.
        role: "primary", "second" or "adjudicator".
        source: what the verdicts are recorded as when they come back.

    Raises:
        RefusedError: the round isn't open, or `out` is there: it may hold verdicts.
        InputError: a damaged record.
    """
    read_draft(reviews, round)
    if out.exists():
        raise RefusedError(
            out, "is there already, and may hold verdicts", do="import it, then remove it, or choose another file"
        )
    judged = read_candidates(reviews, round)
    judged = judged[judged["candidate_id"].isin(queue_of(reviews, round, reviewer, role=role))].reset_index(drop=True)
    own = _own(reviews, round, reviewer)
    missed, standing = exported_added(own, role, judged.crs)
    layers = {
        CANDIDATES_LAYER: _current(judged, own, role),
        MISSED_LAYER: missed,
        KNOWN_LAYER: known_outlines(judged)[["candidate_id", "geometry"]],
    }
    made = {SOURCE: source, ADDED: json.dumps(standing), ROLE: role}
    write_gpkg(out, layers, {MISSED_LAYER: made})


def _own(reviews: Path, round: str, reviewer: str) -> list[Event]:
    check_reviewer(reviewer)
    return [event for event in read_round(reviews, round) if event.reviewer == reviewer]


def _current(candidates: gpd.GeoDataFrame, own: list[Event], role: Role) -> gpd.GeoDataFrame:
    """Return the candidates with the verdict columns (a fork counts as undecided) and the outlines that the reviewer drew."""
    known, bases = by_candidate(own), bases_in(candidates)
    rows: list[dict[str, Any]] = []
    outlines = []
    for identifier, outline in zip(candidates["candidate_id"], candidates.geometry, strict=True):
        head = standing[-1] if (standing := _standing(known.get(identifier, []), role, bases)) else None
        rows.append({name: _told(getattr(head, name)) if head else None for name in (*VERDICT, *SEEN)})
        outlines.append(multi(from_geojson(head.geometry) if head and head.geometry else outline))
    names = (*VERDICT, *SEEN)
    verdicts = pd.DataFrame(rows, columns=list(names)).astype({n: "float64" if n == "possibility" else "str" for n in names})
    shown = pd.DataFrame(candidates[[name for name in SHOWN if name in candidates]])
    return gpd.GeoDataFrame(pd.concat([shown, verdicts], axis=1), geometry=gpd.GeoSeries(outlines, crs=candidates.crs))


def _told(value: Any) -> Any:
    return next(text for text, said in ACTIVE.items() if said == value) if isinstance(value, bool) else value


def _standing(known: list[Event], role: Role, bases: Bases) -> list[Event]:
    heads = standing_as(role, known, bases)
    return [] if is_fork(heads) else heads


def import_verdicts(
    reviews: Path,
    round: str,
    reviewer: str,
    file: Path,
    *,
    at: str,
    role: Role = "primary",
    dry_run: bool = False,
) -> ImportResult:
    """Check a filled-in file and record what it says that isn't recorded yet: all of it or nothing.

    An empty decision leaves what is recorded as it is, and so does a candidate that is gone. An added slump that was in the
    file when it was made and isn't any more is taken back.

    Args:
        reviews: the folder of all reviews.
        round: name of the open round.
        reviewer: who judged.
        file: the GeoPackage made by `export_gpkg`, or one table as GeoJSON, Shapefile or CSV; see `read_filled`.
        at: time of the verdicts (ISO 8601, UTC).
        role: "primary", "second" or "adjudicator".
        dry_run: check only.

    Raises:
        InputError: unreadable file, missing layer or column, or a row with an unknown, contradictory or missing value.
        UsageError: the file was made for another role.
        RefusedError: the round isn't open.
    """
    draft = read_draft(reviews, round)
    candidates = read_candidates(reviews, round)
    windows = window_ids(round_folder(reviews, round))
    said = read_filled(file, candidates.crs)
    if said.role not in ("", role):
        raise UsageError(f"--role {role}", f"but {file} was made for role {said.role}", do=f"import it with --role {said.role}")
    asked = queue_of(reviews, round, reviewer, role=role)
    common = {
        "round": round,
        "reviewer": reviewer,
        "role": role,
        "at": at,
        "source": said.source,
        "guideline_version": draft.guideline_version,
    }
    counts = {"decided": 0, "missed": 0, "unchanged": 0, "undecided": 0, "taken_back": 0}

    def make(own: list[Event]) -> list[Event]:
        missed = check_missed(file, said, added_ids(own))
        known = _known(candidates, own, role, windows)
        rows = check_filled(file, said, known, whole=said.layered and role == "primary")
        added, taken_back = import_added(missed, said.exported, own, common)
        new = {"decided": _decided(rows, own, role, common), "missed": added, "taken_back": taken_back}
        for kind, events in new.items():
            counts[kind] = sum(map(bool, events))
            counts["unchanged"] += len(events) - counts[kind]
        counts["undecided"] = len({*asked} - {*rows["candidate_id"]})
        return [event for events in new.values() for one in events for event in one]

    if dry_run:
        make(_own(reviews, round, reviewer))
    else:
        with open_round(reviews, round, reviewer, role=role) as store:
            store.append(make(store.events()))
    return ImportResult(**counts)


def export_events(reviews: Path, round: str, reviewer: str, out: Path) -> int:
    """Write a reviewer's exchange file, of an open or a signed-off round, and return the number of events.

    Raises:
        RefusedError: `out` is there and holds events that would be lost.
        InputError: a damaged record, or `out` is there and no exchange file.
    """
    events = _own(reviews, round, reviewer)
    lost = {event.event_id for event in read_events(out)} - {event.event_id for event in events} if out.exists() else ()
    if lost:
        raise RefusedError(
            out,
            f"holds {len(lost)} events that aren't among {reviewer}'s of round {round}",
            do="import it first, or choose another file",
        )
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
        InputError: a damaged line, or an event of another round or reviewer, or since the review's start on another version of
            the candidates.
        RefusedError: the round isn't open, or in use.
    """
    start = datetime.fromisoformat(read_draft(reviews, round).started_at)
    events = read_events(file)
    judged, windows = read_candidates(reviews, round), window_ids(round_folder(reviews, round))
    bases = bases_in(judged)
    check_decisions(events, windows, file)
    for number, event in enumerate(events, 1):
        # what was decided before the review was started again may be on other outlines, and counts as none
        since = event.decision and event.order[0] >= start
        for column, value, wanted in (
            ("round", event.round, round),
            ("reviewer", event.reviewer, reviewer or event.reviewer),
            ("base_sha256", event.base_sha256, bases.get(event.candidate_id) if since else event.base_sha256),
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


def _known(candidates: gpd.GeoDataFrame, own: list[Event], role: Role, windows: frozenset[str]) -> pd.DataFrame:
    known = pd.DataFrame({"base_sha256": candidates["base_sha256"], "base": candidates.geometry.to_numpy()})
    known["drawn"] = _current(candidates, own, role).geometry.to_numpy()
    known["window"] = candidates["candidate_id"].isin(windows)
    return known.set_index(candidates["candidate_id"])


def _decided(rows: gpd.GeoDataFrame, own: list[Event], role: Role, common: dict[str, str]) -> list[list[Event]]:
    """Return the events for each row that carries a decision; none where it says nothing new."""
    by, bases = by_candidate(own), bases_in(rows)
    made = []
    for row in records(rows):
        known = by.get(row["candidate_id"], [])
        # the review page tells the network's numbers after a verdict; no file does
        told = any(event.source == "web" and event.action == "decide" for event in of_outlines(known, bases))
        event = _decide(row, {**common, "blind": not told}, _standing(known, role, bases))
        made.append(renewed(revise(event, standing_of(known), standing_as(role, known, bases)), known))
    return made


def _decide(row: dict[str, Any], common: dict[str, Any], standing: list[Event]) -> Event:
    said = given(row)
    if standing and standing[-1].decision == row["decision"]:
        said |= unsaid(standing[-1], row)
    return make_event(
        **common,
        action="decide",
        candidate_id=row["candidate_id"],
        base_sha256=row["base_sha256"],
        decision=row["decision"],
        geometry=to_geojson(row["geometry"]) if row["decision"] == "edit" else None,
        reject_reason=row["reject_reason"] or None,
        **said,
    )
