"""One reviewer's own record in an open round: held in memory, and on the disk before a write returns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from rts_pipeline.errors import RefusedError, UsageError
from rts_pipeline.review.events import Event, Role, make_event, missed_id
from rts_pipeline.review.folding import (
    Bases,
    decision_of,
    is_fork,
    of_outlines,
    renewed,
    retractions,
    revise,
    standing_as,
    standing_of,
)
from rts_pipeline.review.rounds import Draft, round_folder
from rts_pipeline.review.store import Store, open_round

WAIT_S = 5.0
"""How long a verdict waits for the servers of other reviewers, which write a few milliseconds each; the page sends it again."""


class OwnRecord:
    """What a reviewer said in a round, as it stands in one role; all that writes to it goes through here, one at a time."""

    def __init__(self, reviews: Path, round: str, reviewer: str, role: Role, draft: Draft, bases: Bases) -> None:
        """Read the reviewer's events; a verdict on another outline than that of `bases` is told nowhere, and counts as none.

        Raises:
            RefusedError: the round isn't open.
            UsageError: a name that can't be used.
            InputError: a damaged file.
        """
        self._reviews, self._round, self._reviewer, self._role = reviews, round, reviewer, role
        self._draft, self._bases = draft, bases
        self._lock = Lock()
        self._events: dict[str, list[Event]] = defaultdict(list)
        with self._opened() as store:
            for event in store.events():
                self._events[event.candidate_id].append(event)

    def names(self) -> list[str]:
        """Return what anything was ever said of: candidates, windows, and added slumps."""
        return list(self._events)

    def added(self) -> list[str]:
        """Return the added slumps that stand."""
        return [name for name in self.names() if any(event.action == "add_missed" for event in self._heads(name))]

    def state(self, name: str) -> dict[str, Any] | None:
        """Return the standing verdict on a candidate (or added slump), None where there is none."""
        heads = self._heads(name)
        if not heads:
            return None
        return {**said_of(heads[-1]), "event_id": heads[-1].event_id, "forked": is_fork(heads)}

    def decide(self, name: str, said: dict[str, Any]) -> None:
        """Record a verdict on a candidate; it is on the disk when this returns.

        Raises:
            RefusedError: the round isn't open any more, or by now on other candidates.
            ValidationError: fields that contradict each other.
        """
        event = make_event(**self._common(name), **said, action="decide", base_sha256=self._bases[name])
        self._write(name, lambda known: revise(event, standing_of(known), standing_as(self._role, known, self._bases)))

    def add(self, said: dict[str, Any]) -> str:
        """Record an added slump, or (with its id) a new version of one, and return its id.

        Raises:
            UsageError: an id that isn't a slump that this reviewer added; one that was removed comes back.
            RefusedError: the round isn't open any more, or by now on other candidates.
        """
        name = said.get("candidate_id") or missed_id(self._round, self._reviewer, said["geometry"])
        if "candidate_id" in said and all(event.action != "add_missed" for event in self._events.get(name, [])):
            raise UsageError(name, "is no slump that you added")
        event = make_event(**self._common(name), **{**said, "candidate_id": name}, action="add_missed")
        self._write(name, lambda known: revise(event, standing_of(known)))
        return name

    def retract(self, name: str, event_id: str, *, earlier: bool) -> None:
        """Take back what an event says, and with `earlier` all that was said before it; twice changes nothing more.

        Raises:
            UsageError: nothing of that id was recorded for that candidate.
            RefusedError: the round isn't open any more, or by now on other candidates.
        """
        if event_id not in {event.event_id for event in self._events.get(name, [])}:
            raise UsageError(name, f"no verdict {event_id[:8]} of yours")
        wanted = None if earlier else event_id
        self._write(name, lambda known: retractions(known, self._common(name), wanted))

    def _common(self, name: str) -> dict[str, Any]:
        said = [event for event in self._events.get(name, []) if event.action != "retract"]
        return {
            "blind": self._role != "adjudicator" and not of_outlines(said, self._bases),
            "round": self._round,
            "reviewer": self._reviewer,
            "role": self._role,
            "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "source": "web",
            "guideline_version": self._draft.guideline_version,
        }

    def _opened(self) -> AbstractContextManager[Store]:
        """Open the record for a moment: other reviewers of the round have servers of their own."""
        return open_round(self._reviews, self._round, self._reviewer, role=self._role, wait_s=WAIT_S)

    def _write(self, name: str, make: Callable[[list[Event]], Sequence[Event]]) -> None:
        """Append what `make` returns for what is known, as the one writer, so that no two successors of a verdict arise."""
        with self._lock, self._opened() as store:
            self._check_outlines(store.draft)
            # another program of this reviewer's, an import say, may have been here meanwhile
            known = self._events[name] = store.events_of(name)
            if new := renewed(make(known), known):
                known += store.append(new)

    def _check_outlines(self, now: Draft) -> None:
        """Refuse a verdict where others than the outlines that are shown are under review by now: it would count as none."""
        shown = self._draft
        if (now.candidates_sha256, now.audit_sha256) != (shown.candidates_sha256, shown.audit_sha256):
            problem = f"the review of round {self._round} was started again on other candidates"
            raise RefusedError(round_folder(self._reviews, self._round), problem, do="end this server and start it again")

    def _heads(self, name: str) -> list[Event]:
        return standing_as(self._role, self._events.get(name, []), self._bases)


def said_of(event: Event) -> dict[str, Any]:
    """Return what a standing event says."""
    plain = event.plain
    shown = ("candidate_id", "possibility", "reject_reason", "note", "geometry", "outline_scope", "evidence_years")
    return {**{key: plain.get(key) for key in (*shown, "first_year_visible", "active", "at")}, "decision": decision_of(event)}
