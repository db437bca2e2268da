"""From events to decisions. Views are folded each time and never stored; order and repetition of events don't matter.

Within one reviewer's events on a candidate a decision stands when it isn't retracted and no standing decision descends
from it. Two standing decisions that differ are a fork (the same person on two machines); two reviewers who differ are a
disagreement, which an adjudicator resolves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

from rts_pipeline.io.json import canonical_json
from rts_pipeline.review.events import Event, Role, make_event

if TYPE_CHECKING:
    import pandas as pd

POSSIBILITY = {"accept": 1.0, "edit": 1.0, "missed": 1.0, "unsure": 0.5, "reject": 0.0, "unseen": 0.5}
"""Possibility of a decision whose reviewers gave none: the presets Yes, Medium and No."""
Bases = Mapping[str, str]
"""candidate_id -> sha256 of the outline (or window) that is under review."""


@dataclass(frozen=True)
class Verdict:
    """The one decision on a candidate, or a slump that a reviewer added (decision "missed").

    `outline_scope`, `first_year_visible` and `active` are what the last of the agreeing reviewers said who said anything of it.
    """

    candidate_id: str
    decision: str
    possibility: float | None
    reject_reason: str
    geometry: dict[str, Any] | None
    base_sha256: str | None
    reviewers: tuple[str, ...]
    n_reviews: int
    agreement: float | None
    reviewed_at: str
    note: str
    guideline_version: str
    first_year_visible: int | None = None
    active: bool | None = None
    outline_scope: str | None = None


@dataclass(frozen=True)
class Folded:
    """The state of a round.

    Attributes:
        verdicts: candidate_id -> verdict, where there is one.
        forks: sorted (candidate_id, reviewer).
        disagreements: sorted candidate ids.
        heads: candidate_id -> reviewer -> standing decisions in time (in a fork several that differ).
    """

    verdicts: dict[str, Verdict]
    forks: list[tuple[str, str]]
    disagreements: list[str]
    heads: dict[str, dict[str, list[Event]]]


def decision_of(event: Event) -> str:
    """Return the decision of a standing event."""
    return event.decision or "missed"


def bases_in(judged: pd.DataFrame) -> dict[str, str]:
    """Return which outline of each of these candidates and windows is under review."""
    return dict(zip(judged["candidate_id"], judged["base_sha256"], strict=True))


def every(event: Event) -> bool:
    """Count every decision."""
    return True


def is_reading(event: Event) -> bool:
    """Tell a reading from what an adjudicator, who may have been one of the readers, decided afterwards."""
    return event.role != "adjudicator"


def fold(events: Iterable[Event], counts: Callable[[Event], bool] = every, bases: Bases | None = None) -> Folded:
    """Fold the events of one round, of any number of reviewers, in any order.

    Args:
        events: of the round.
        counts: which decisions may stand; see `standing_of`.
        bases: the outlines under review. Whoever judged another one last, before the review was started again on new
            candidates say, has no decision on what is there now. None: whatever was judged counts.
    """
    groups: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in events:
        groups[event.candidate_id, event.reviewer].append(event)
    heads: dict[str, dict[str, list[Event]]] = defaultdict(dict)
    for (candidate, reviewer), group in sorted(groups.items()):
        if standing := of_outlines(standing_of(group, counts), bases):
            heads[candidate][reviewer] = standing
    verdicts: dict[str, Verdict] = {}
    forks: list[tuple[str, str]] = []
    disagreements: list[str] = []
    for candidate, readings in heads.items():
        deciding, forked = _deciding(readings)
        if forked:
            forks += [(candidate, reviewer) for reviewer in forked]
        elif len({_content(event) for event in deciding}) > 1:
            disagreements.append(candidate)
        else:
            verdicts[candidate] = _verdict(candidate, deciding, readings)
    return Folded(verdicts, forks, disagreements, dict(heads))


def standing_of(events: Iterable[Event], counts: Callable[[Event], bool] = every) -> list[Event]:
    """Return the standing decisions in one reviewer's events on one candidate, in time: in a fork several that differ.

    Args:
        events: all of that reviewer's events on the candidate.
        counts: which decisions may stand and replace others; one that doesn't count still links those before and after it.
    """
    group = {event.event_id: event for event in events}
    retracted = {event.parent_event_id for event in group.values() if event.action == "retract"}
    said = [e for e in group.values() if e.action in ("decide", "add_missed") and counts(e)]
    live = [event for event in said if event.event_id not in retracted]
    superseded: set[str] = set()
    for event in live:
        parent = event.parent_event_id
        while parent in group and parent not in superseded:
            superseded.add(parent)
            parent = group[parent].parent_event_id
    return sorted((event for event in live if event.event_id not in superseded), key=lambda e: e.order)


def of_outlines(heads: Iterable[Event], bases: Bases | None) -> list[Event]:
    """Return the standing decisions that are on the outlines under review, and the added slumps."""
    return [e for e in heads if bases is None or e.action != "decide" or e.base_sha256 == bases.get(e.candidate_id)]


def standing_as(role: Role, events: Sequence[Event], bases: Bases) -> list[Event]:
    """Return what stands of one reviewer's events on a candidate for him or her in a role, in time.

    A reading stands for its reader also when he or she adjudicated it since. For an adjudicator nothing stands before there is
    an adjudication; then what counts beside it does too, so that a fork is seen. An added slump is the reviewer's in any role.
    """
    if any(event.action == "add_missed" for event in events):
        return standing_of(events)
    if role != "adjudicator":
        return of_outlines(standing_of(events, is_reading), bases)
    heads = of_outlines(standing_of(events), bases)
    return [] if all(is_reading(head) for head in heads) else heads


def _content(event: Event) -> tuple[str, str]:
    return decision_of(event), canonical_json(event.geometry) if event.geometry else ""


def _deciding(readings: dict[str, list[Event]]) -> tuple[list[Event], list[str]]:
    """Return the decisions that count (the adjudicators', if there are any) and which of those reviewers forked."""
    adjudicated = {name: heads for name, heads in readings.items() if any(e.role == "adjudicator" for e in heads)}
    counted = adjudicated or readings
    return list(chain(*counted.values())), [name for name, heads in counted.items() if is_fork(heads)]


def is_fork(heads: Sequence[Event]) -> bool:
    """Tell whether standing decisions differ. The same one twice is no fork: the last speaks for all."""
    return len({_content(event) for event in heads}) > 1


def _verdict(candidate: str, deciding: Sequence[Event], readings: dict[str, list[Event]]) -> Verdict:
    final = _content(deciding[0])
    opinions = [heads[-1] for heads in readings.values() if not is_fork(heads)]
    agreeing = sorted((event for event in opinions if _content(event) == final), key=lambda e: e.order)
    given = [event.possibility for event in agreeing if event.possibility is not None]
    return Verdict(
        candidate_id=candidate,
        decision=final[0],
        possibility=sum(given) / len(given) if given else None,
        reject_reason=next((event.reject_reason for event in agreeing if event.reject_reason), ""),
        geometry=deciding[0].geometry,
        base_sha256=deciding[0].base_sha256,
        reviewers=tuple(sorted(readings)),
        n_reviews=len(readings),
        agreement=len(agreeing) / len(readings) if len(readings) > 1 else None,
        reviewed_at=agreeing[-1].at,
        note="; ".join(dict.fromkeys(event.note for event in agreeing if event.note)),
        guideline_version=agreeing[-1].guideline_version,
        **{name: _last_said(agreeing, name) for name in ("first_year_visible", "active", "outline_scope")},
    )


def _last_said(events: Sequence[Event], name: str) -> Any:
    return next((said for event in reversed(events) if (said := getattr(event, name)) is not None), None)


def disputed(folded: Folded) -> dict[str, Verdict]:
    """Return candidate_id -> a verdict "unsure" that says who decided what, for disagreements and forks on candidates."""
    forked = {candidate for candidate, _ in folded.forks}
    found = {}
    for candidate in sorted({*forked, *folded.disagreements}):
        readings = folded.heads[candidate]
        heads = sorted(chain(*readings.values()), key=lambda e: e.order)
        if any(event.decision is None for event in heads):
            continue
        said = "; ".join(f"{event.reviewer}: {decision_of(event)}" for event in heads)
        agreeing = sum(all(event.decision == "unsure" for event in own) for own in readings.values())
        found[candidate] = Verdict(
            candidate_id=candidate,
            decision="unsure",
            possibility=None,
            reject_reason="",
            geometry=None,
            base_sha256=heads[-1].base_sha256,
            reviewers=tuple(sorted(readings)),
            n_reviews=len(readings),
            agreement=agreeing / len(readings) if len(readings) > 1 else None,
            reviewed_at=heads[-1].at,
            note=f"disputed ({said})",
            guideline_version=heads[-1].guideline_version,
        )
    return found


def revise(event: Event, standing: Sequence[Event], told: Sequence[Event] | None = None) -> list[Event]:
    """Return the events that make `event` its reviewer's standing decision: nothing when it says what stands already.

    Args:
        event: a decision or an added slump, without parent.
        standing: the reviewer's standing decisions on that candidate. Several get a successor each: retracting all but
            one would let the decisions before them stand again.
        told: what of it stands in the role of the event (`standing_as`); None: all.
    """
    said = standing if told is None else told
    if said and all(_says(head) == _says(event) for head in said):
        return []
    parents: list[str | None] = [head.event_id for head in standing] or [None]
    return [make_event(**{**event.plain, "parent_event_id": parent}) for parent in parents]


def renewed(events: Sequence[Event], known: Sequence[Event]) -> list[Event]:
    """Return the events, none of which is one of `known`.

    What was taken back and is said again within the same second would be the very event that was taken back.

    Args:
        events: new ones of a reviewer on a candidate.
        known: those that are recorded, in the order in which they were.
    """
    ids = {event.event_id for event in known}
    return [
        make_event(**{**event.plain, "parent_event_id": known[-1].event_id}) if event.event_id in ids else event
        for event in events
    ]


def retractions(known: Sequence[Event], common: Mapping[str, Any], wanted: str | None = None) -> list[Event]:
    """Return the events that take back what a reviewer said of a candidate and didn't take back yet.

    Args:
        known: the reviewer's events on the candidate, in the order in which they were recorded.
        common: what all new events say.
        wanted: id of the only event to take back, with those that ended a fork together with it; None: all.
    """
    retracted = {event.parent_event_id for event in known if event.action == "retract"}
    said = [event for event in known if event.action in ("decide", "add_missed") and event.event_id not in retracted]
    together = {event.event_id for event in known} if wanted is None else _said_together(known, wanted)
    return [
        make_event(**common, action="retract", candidate_id=event.candidate_id, parent_event_id=event.event_id)
        for event in said
        if event.event_id in together
    ]


def _said_together(known: Sequence[Event], wanted: str) -> set[str]:
    """Return the ids of the events that `revise` made at once, one for each decision that stood: they follow each other."""
    for _, run in groupby(known, lambda event: {**event.plain, "parent_event_id": None}):
        if wanted in (ids := {event.event_id for event in run}):
            return ids
    return set()


def _says(event: Event) -> tuple[object, ...]:
    seen = (event.outline_scope, event.evidence_years, event.first_year_visible, event.active)
    return (*_content(event), event.base_sha256, event.possibility, event.reject_reason, event.note or None, event.role, *seen)
