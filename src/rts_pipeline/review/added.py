"""The slumps that a reviewer added, on their way into a file of verdicts and back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rts_pipeline.review.events import Event, Role, make_event, missed_id
from rts_pipeline.review.folding import Folded, decision_of, fold, renewed, retractions, revise
from rts_pipeline.review.formats import ACTIVE, DRAWN, MISSED, SEEN, YEARS
from rts_pipeline.review.outlines import SAME_SLUMP_IOU, from_geojson, multi, overlaps, records, same, to_geojson

if TYPE_CHECKING:
    import geopandas as gpd


def exported_added(own: Sequence[Event], role: Role, crs: Any) -> tuple[gpd.GeoDataFrame, dict[str, str]]:
    """Return a reviewer's added slumps as a file shows them, and which event of each stands.

    Left out are those in a fork, which has to be resolved first, and what was said in another role.

    Args:
        own: the reviewer's events.
        role: in which the file is filled in.
        crs: of the outlines.

    Returns:
        Columns candidate_id, possibility, note and the outline, in the order of the ids; id -> event_id.
    """
    import geopandas as gpd

    folded = fold(own)
    forked = {name for name, _ in folded.forks}
    heads = {name: head for name, (head, *_) in sorted(_standing(folded).items()) if name not in forked and head.role == role}
    columns = {
        "candidate_id": pd.Series(list(heads), dtype="str"),
        "possibility": pd.Series([head.possibility for head in heads.values()], dtype="float64"),
        "note": pd.Series([head.note for head in heads.values()], dtype="str"),
    }
    outlines = [multi(from_geojson(head.geometry or {})) for head in heads.values()]
    frame = gpd.GeoDataFrame(columns, geometry=gpd.GeoSeries(outlines, crs=crs))
    return frame, {name: head.event_id for name, head in heads.items()}


def added_ids(own: Sequence[Event]) -> set[str]:
    """Return the ids of all slumps that a reviewer ever added."""
    return {event.candidate_id for event in own if event.action == "add_missed"}


def by_candidate(own: Sequence[Event]) -> dict[str, list[Event]]:
    """Return a reviewer's events on each candidate, in their order."""
    known: dict[str, list[Event]] = defaultdict(list)
    for event in own:
        known[event.candidate_id].append(event)
    return known


def import_added(
    missed: gpd.GeoDataFrame, exported: Mapping[str, str], own: Sequence[Event], common: Mapping[str, str]
) -> tuple[list[list[Event]], list[list[Event]]]:
    """Return the events for each added slump in a file, and for each that was removed from it; none where nothing is new.

    Args:
        missed: the added slumps in the file, checked.
        exported: id -> event that stood, of those that were in the file when it was made. One that isn't in it any more was
            removed, unless that very event was taken back already: then it was added anew since.
        own: the reviewer's events.
        common: what all new events say.
    """
    before, known = _standing(fold(own)), by_candidate(own)
    names = _matched(missed.assign(candidate_id=[_id_of(name, common) for name in missed["candidate_id"]]), before)
    said = [
        _version(row, before.get(name or "", []), known, common, name) for row, name in zip(records(missed), names, strict=True)
    ]
    gone = [name for name in exported if name in before and name not in names]
    taken_back = [retractions(known[name], common) for name in gone if exported[name] not in _retracted(known[name])]
    return said, [events for events in taken_back if events]


def _standing(folded: Folded) -> dict[str, list[Event]]:
    """Return what stands of one reviewer's added slumps, the last first."""
    heads = {name: next(iter(by.values()))[::-1] for name, by in folded.heads.items()}
    return {name: events for name, events in heads.items() if decision_of(events[0]) == MISSED}


def _retracted(events: Collection[Event]) -> set[str | None]:
    return {event.parent_event_id for event in events if event.action == "retract"}


def _id_of(name: str, common: Mapping[str, str]) -> str:
    """Return the id of an added slump: of one that was drawn in a package, however often it is redrawn, that of its UUID."""
    drawn = DRAWN.fullmatch(name)
    return missed_id(common["round"], common["reviewer"], drawn[1].lower()) if drawn else name


def _matched(missed: gpd.GeoDataFrame, before: Mapping[str, list[Event]]) -> list[str | None]:
    """Return which added slump each row is a version of, each slump once; None: a new one.

    A row is what its id says, also one that nobody has recorded yet; of several with one id, as splitting and copying leave
    them in other programs than QGIS, the one that is most like the slump. A row without an id is the slump that it overlaps.
    """
    earlier = list(before)
    drawn = np.array([from_geojson(heads[0].geometry or {}) for heads in before.values()], dtype=object)
    new, old, iou, _ = overlaps(missed.geometry.to_numpy(), drawn)
    alike = {(int(row), earlier[name]): float(value) for row, name, value in zip(new, old, iou, strict=True)}
    wanted = [(alike.get((row, name), 0.0), row, name) for row, name in enumerate(missed["candidate_id"]) if name]
    others = [(value, row, name) for (row, name), value in alike.items() if value >= SAME_SLUMP_IOU]
    found: dict[str, int] = {}
    for ranked in (wanted, others):
        for _, row, name in sorted(ranked, key=lambda pair: (-pair[0], pair[1])):
            if name not in found and row not in found.values():
                found[name] = row
    names = {row: name for name, row in found.items()}
    return [names.get(row) for row in range(len(missed))]


def _version(
    row: Mapping[str, Any],
    heads: Sequence[Event],
    known: Mapping[str, list[Event]],
    common: Mapping[str, str],
    name: str | None,
) -> list[Event]:
    geometry = to_geojson(row["geometry"])
    # A GIS program may move a vertex by less than it shows: that is no new version.
    if heads and heads[0].geometry and same(row["geometry"], from_geojson(heads[0].geometry)):
        geometry = heads[0].geometry
    candidate = name or missed_id(common["round"], common["reviewer"], geometry)
    said = given(row) | (unsaid(heads[0], row) if heads else {})
    event = make_event(**common, action="add_missed", candidate_id=candidate, geometry=geometry, **said)
    return renewed(revise(event, heads), known.get(candidate, []))


def given(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a row of a file says beside the decision and the outline."""
    return {
        "possibility": None if np.isnan(row["possibility"]) else row["possibility"],
        "note": row["note"] or None,
        "outline_scope": row.get("outline_scope") or None,
        "active": ACTIVE.get(row.get("active", "")),
    }


def unsaid(head: Event, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands of a verdict that the file of this row can't say."""
    return {name: getattr(head, name) for name in (*YEARS, *(name for name in SEEN if name not in row))}
