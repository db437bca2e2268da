"""What lies on one reviewer's desk: the candidates of a round, his or her own verdicts, and what was decided before.

Nothing of another reviewer's verdicts in the round is told, except to an adjudicator, who has to settle them; and what the
network thinks of a candidate is told only once a verdict on it stands: both would pull the reviewer along. A verdict that was
given after either was told is recorded as not blind.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely

from rts_pipeline.errors import UsageError
from rts_pipeline.io.tables import read_geoparquet, read_parquet
from rts_pipeline.review.events import Role
from rts_pipeline.review.folding import bases_in, fold, is_reading
from rts_pipeline.review.given import Drawn, Given, Retraction, Verdict
from rts_pipeline.review.outlines import from_geojson, same, to_geojson
from rts_pipeline.review.own import OwnRecord, said_of
from rts_pipeline.review.queue import Queue
from rts_pipeline.review.readings import queue_of
from rts_pipeline.review.rounds import read_candidates, read_draft, round_folder
from rts_pipeline.review.store import read_round
from rts_pipeline.review.windows import window_ids

NUMBERS = ("prob_mean", "prob_median", "prob_max", "expected_area_m2", "known_m")
CHANGES = (
    *("score", "n_images", "n_seen", "first_year_visible", "growth_m2_yr", "growth_low_m2_yr", "growth_high_m2_yr"),
    *("retreat_m_yr", "retreat_error_m_yr", "monotone_growth", "two_years"),
)
"""What the network says of a candidate, and how it changed: shown after the verdict."""
MAX_AROUND = 400
"""Outlines of a kind that the map gets at once; nearer ones first."""


class Desk:
    """The candidates of an open round, as one reviewer sees them."""

    def __init__(self, reviews: Path, results: Path, round: str, reviewer: str, role: Role = "primary") -> None:
        """Read the candidates and the reviewer's events.

        Raises:
            RefusedError: the round isn't open.
            UsageError: a name that can't be used.
            InputError: a damaged file.
        """
        self.reviews, self.results, self.round, self.reviewer, self.role = reviews, results, round, reviewer, role
        self.draft = read_draft(reviews, round)
        candidates = read_candidates(reviews, round)
        self.windows = window_ids(round_folder(reviews, round))
        self._outlines = candidates[~candidates["candidate_id"].isin(self.windows)]
        self.change = self._read_change()
        ranks = candidates["candidate_id"].map(self.change["rank"] if len(self.change) else {}).fillna(candidates["rank"])
        self._round = candidates.iloc[ranks.to_numpy().argsort(kind="stable")].reset_index(drop=True)
        self._places = {name: index for index, name in enumerate(self._round["candidate_id"])}
        self._queue = self._asked(frozenset())
        self._bases = bases_in(candidates)
        self._own = OwnRecord(reviews, round, reviewer, role, self.draft, self._bases)

    # What there is

    @property
    def candidates(self) -> Any:
        """What this reviewer has to judge, a GeoDataFrame in the order of the ranks."""
        return self._queue.candidates

    @property
    def position(self) -> dict[str, int]:
        """Ids of the candidates -> place in that order."""
        return self._queue.position

    def columns(self) -> dict[str, list[Any]]:
        """Return all candidates, by column, in the order of their rank; coordinates in whole metres.

        The list of a second reviewer or an adjudicator is asked for afresh: others judge meanwhile.
        """
        queue = self._queue = self._asked(frozenset(self.position))
        decisions: list[str | None] = [None] * len(queue.position)
        for name, decision in self.decided().items():
            decisions[queue.position[name]] = decision
        return {**queue.columns, "decision": decisions, "missed": [self.state(name) for name in self._own.added()]}

    def decided(self) -> dict[str, str]:
        """Return the reviewer's standing decisions on what is to be judged, by id."""
        states = {name: self.state(name) for name in self._own.names() if name in self.position}
        return {name: state["decision"] for name, state in states.items() if state}

    def _asked(self, listed: frozenset[str]) -> Queue:
        """Return what this reviewer has to judge by now; what was listed already stays, so that no open page loses it."""
        if self.role == "primary":
            return self._queue if listed else Queue(self._round, self.windows)
        wanted = listed | {*queue_of(self.reviews, self.round, self.reviewer, role=self.role)}
        return Queue(self._round[self._round["candidate_id"].isin(wanted)].reset_index(drop=True), self.windows)

    def candidate(self, name: str) -> dict[str, Any]:
        """Return what a reviewer sees of a candidate, or of a window: also the outlines of the candidates in it.

        Raises:
            UsageError: no such candidate.
        """
        row = self._row(name)
        known = row.get("known")
        return {
            "id": name,
            "outline": to_geojson(row["geometry"]),
            "known": to_geojson(known) if known is not None else None,
            "known_ids": row.get("known_ids", ""),
            "inside": self._inside(row["geometry"]) if name in self.windows else [],
            "area_m2": float(row["area_m2"]),
            "longitude": float(row["longitude"]),
            "latitude": float(row["latitude"]),
            "readings": self._readings(name),
            **self.told(name),
        }

    def told(self, name: str) -> dict[str, Any]:
        """Return the reviewer's standing verdict, and what the network says as soon as there is one: of a window nothing."""
        state = self.state(name)
        return {"mine": state, "numbers": self._numbers(name) if state and name not in self.windows else None}

    def state(self, name: str) -> dict[str, Any] | None:
        """Return the reviewer's standing verdict on a candidate (or added slump), None where there is none."""
        return self._own.state(name)

    def around(self, bounds: tuple[float, float, float, float]) -> dict[str, list[dict[str, Any]]]:
        """Return the outlines that touch a rectangle: of candidates, and of what was decided before this round."""
        window = shapely.box(*bounds)
        candidates = [
            {"id": row["candidate_id"], "outline": to_geojson(row["geometry"])}
            for row in _nearest(self.candidates, window)
            if row["candidate_id"] not in self.windows
        ]
        earlier = [
            {"id": row["label_id"], "kind": row["kind"], "outline": to_geojson(row["geometry"])}
            for row in _nearest(self.earlier, window)
        ]
        return {"candidates": candidates, "earlier": earlier}

    @cached_property
    def earlier(self) -> Any:
        """What was decided before this round (label_id, kind, geometry); empty where the results aren't here."""
        path = self.results / "rounds" / self.round / "labels.parquet"
        if not path.exists():
            return self.candidates.iloc[:0].assign(label_id="", kind="")
        return read_geoparquet(path).to_crs(self.candidates.crs)

    # What the reviewer does

    def decide(self, given: Verdict) -> dict[str, Any]:
        """Record a verdict; it is on the disk when this returns.

        Raises:
            UsageError: no such candidate, or an outline that doesn't go with the decision.
            RefusedError: the round isn't open any more, or by now on other candidates.
            ValidationError: fields that contradict each other.
        """
        self._row(given.candidate_id)
        fields = given.model_dump(exclude_none=True)
        if given.geometry is not None:
            fields["geometry"] = self.checked(Drawn(geometry=given.geometry, candidate_id=given.candidate_id))
        self._own.decide(given.candidate_id, fields)
        return {"candidate_id": given.candidate_id, **self.told(given.candidate_id)}

    def add_missed(self, given: Given) -> dict[str, Any]:
        """Record a slump that no candidate shows, or (with its id) a new version of one.

        Raises:
            UsageError: without an outline, or an id that isn't an added slump of this reviewer.
            RefusedError: the round isn't open any more, or by now on other candidates.
        """
        if given.geometry is None:
            raise UsageError("added slump", "has no outline")
        geometry = self.checked(Drawn(geometry=given.geometry))
        name = self._own.add(given.model_dump(exclude_none=True) | {"geometry": geometry})
        return {"candidate_id": name, **self.told(name)}

    def retract(self, given: Retraction) -> dict[str, Any]:
        """Take a verdict back; the one before it, if any, stands again. Taking back what no longer stands changes nothing.

        Raises:
            UsageError: nothing of that id was recorded for that candidate.
            RefusedError: the round isn't open any more, or by now on other candidates.
        """
        self._own.retract(given.candidate_id, given.event_id, earlier=given.earlier)
        return {"candidate_id": given.candidate_id, **self.told(given.candidate_id)}

    def checked(self, drawn: Drawn) -> dict[str, Any]:
        """Return a drawn outline normalized, coordinates to the centimetre; nothing is recorded.

        Raises:
            UsageError: not a valid polygon, or the outline of the candidate itself.
        """
        try:
            outline = shapely.set_precision(from_geojson(drawn.geometry), 0.01, mode="pointwise")
            geometry = to_geojson(from_geojson(to_geojson(outline)))
        except ValueError as error:
            raise UsageError("outline", str(error), do="mend it: edges must not cross") from None
        if drawn.candidate_id is not None and same(outline, self._row(drawn.candidate_id)["geometry"]):
            raise UsageError(drawn.candidate_id, "the outline is the candidate's own", do="redraw it, or accept (1)")
        return geometry

    # Within

    def _inside(self, window: Any) -> list[dict[str, Any]]:
        return [to_geojson(row["geometry"]) for row in _nearest(self._outlines, window)]

    def _row(self, name: str) -> dict[str, Any]:
        """Return a row of the round, in the list or not: what a browser holds may have been asked by an earlier server."""
        if name not in self._places:
            raise UsageError(name, f"no candidate of round {self.round}")
        row = self._round.iloc[self._places[name]]
        return {str(key): value for key, value in row.items()}

    def _readings(self, name: str) -> list[dict[str, Any]]:
        """Return what the others say of a candidate by now, and what the reviewer read in it, to an adjudicator alone."""
        if self.role != "adjudicator":
            return []
        events = read_round(self.reviews, self.round, name)
        said = fold(events, bases=self._bases).heads.get(name, {})
        read = fold(events, is_reading, self._bases).heads.get(name, {})
        said[self.reviewer] = read.get(self.reviewer, [])
        return [{"reviewer": who, **said_of(event)} for who in sorted(said) for event in said[who]]

    def _read_change(self) -> pd.DataFrame:
        """Return what the evidence says of the years, by candidate; empty where it isn't here."""
        path = self.results / "rounds" / self.round / "evidence" / "change.parquet"
        return read_parquet(path).set_index("candidate_id") if path.exists() else pd.DataFrame({"rank": []})

    def _numbers(self, name: str) -> dict[str, float | None]:
        if name not in self.position:
            return {}
        row = self._row(name)
        change: Any = self.change.loc[name] if name in self.change.index else {}
        values = {**{key: row[key] for key in NUMBERS if key in row}, **{key: change[key] for key in CHANGES if key in change}}
        return {key: None if pd.isna(value) else float(value) for key, value in values.items()}


def _nearest(frame: Any, window: Any) -> list[dict[str, Any]]:
    found = frame.iloc[np.sort(frame.sindex.query(window, predicate="intersects"))] if len(frame) else frame
    if len(found) > MAX_AROUND:
        found = found.iloc[found.geometry.distance(window.centroid).to_numpy().argsort(kind="stable")[:MAX_AROUND]]
    return [{str(key): value for key, value in row.items()} for row in pd.DataFrame(found).to_dict("records")]
