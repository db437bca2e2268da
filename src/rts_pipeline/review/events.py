"""The events of a review, and the exchange file of one reviewer's: JSON lines.

An event is never changed or removed; a decision is taken back by another event. Its id is the sha256 of its content, so
merging is a set union.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.io.json import canonical_json, sha256_json

Decision = Literal["accept", "reject", "edit", "unsure"]
DECISIONS: tuple[Decision, ...] = ("accept", "reject", "edit", "unsure")
Role = Literal["primary", "second", "adjudicator"]
RejectReason = Literal[
    "bare ground", "gully or river bank", "road or mine", "water", "snow or cloud", "no-data edge", "stable scar", "other"
]
REJECT_REASONS: tuple[RejectReason, ...] = (
    "bare ground",
    "gully or river bank",
    "road or mine",
    "water",
    "snow or cloud",
    "no-data edge",
    "stable scar",
    "other",
)
NOT_SEEN: tuple[RejectReason, ...] = ("snow or cloud", "no-data edge")
"""Reasons that tell nothing of the ground: the image didn't show it."""
OutlineScope = Literal["active part", "active part and debris tongue", "whole scar"]
OUTLINE_SCOPES: tuple[OutlineScope, ...] = ("active part", "active part and debris tongue", "whole scar")
REVIEWER = re.compile(r"^\w(?:[\w .-]{0,62}\w)?$")
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def check_reviewer(name: str) -> str:
    """Return a reviewer's name if it can be a file name.

    Raises:
        UsageError: empty, too long, or with characters other than letters, digits, space, dot, hyphen, underscore.
    """
    if not REVIEWER.match(name):
        raise UsageError(
            f"reviewer '{name}'", "not usable as a name", expected="1-64 letters, digits, spaces, dots, hyphens, underscores"
        )
    return name


def _utc(value: str) -> str:
    if not value.endswith("Z"):
        raise ValueError("expected UTC as 2020-12-31T23:59:59Z")
    datetime.fromisoformat(value)
    return value


def _reviewer(value: str) -> str:
    if not REVIEWER.match(value):
        raise ValueError("expected 1-64 letters, digits, spaces, dots, hyphens, underscores")
    return value


def _outline(value: dict[str, Any]) -> dict[str, Any]:
    from rts_pipeline.review.outlines import from_geojson

    from_geojson(value)
    return value


class Content(BaseModel):
    """What an event says. Geometry is a GeoJSON Polygon or MultiPolygon in the CRS of the candidates."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    round: Annotated[str, Field(pattern=r"^\d{2,}$")]
    candidate_id: Annotated[str, Field(min_length=1)]
    base_sha256: Sha256 | None = None
    reviewer: Annotated[str, AfterValidator(_reviewer)]
    role: Role = "primary"
    at: Annotated[str, AfterValidator(_utc)]
    source: Literal["web", "qgis", "import", "simulated"]
    guideline_version: str
    action: Literal["decide", "retract", "add_missed", "comment"]
    parent_event_id: Sha256 | None = None
    decision: Decision | None = None
    possibility: Annotated[float, Field(ge=0, le=1)] | None = None
    reject_reason: RejectReason | None = None
    outline_scope: OutlineScope | None = None
    evidence_years: tuple[int, ...] | None = None
    first_year_visible: int | None = None
    active: bool | None = None
    geometry: Annotated[dict[str, Any], AfterValidator(_outline)] | None = None
    note: str | None = None
    seconds: Annotated[float, Field(ge=0)] | None = None
    blind: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        decides, draws = self.action == "decide", self.decision == "edit" or self.action == "add_missed"
        for wrong, problem in (
            (decides != (self.decision is not None), "a decision belongs to 'decide' and to nothing else"),
            (decides and self.base_sha256 is None, "'decide' needs base_sha256"),
            (draws != (self.geometry is not None), "a geometry belongs to 'edit' and 'add_missed' and to nothing else"),
            (self.reject_reason is not None and self.decision != "reject", "a reject_reason belongs to 'reject'"),
            (self.action == "retract" and self.parent_event_id is None, "'retract' needs parent_event_id"),
            (self.action == "comment" and not self.note, "'comment' needs a note"),
        ):
            if wrong:
                raise ValueError(problem)
        return self

    @property
    def plain(self) -> dict[str, Any]:
        """The values that are given, without the id, as JSON types."""
        return self.model_dump(mode="json", exclude={"event_id"}, exclude_none=True)


class Event(Content):
    """One thing that a reviewer did; its id is the sha256 of the canonical JSON of its content."""

    event_id: Sha256

    @model_validator(mode="after")
    def _unchanged(self) -> Self:
        if self.event_id != sha256_json(self.plain):
            raise ValueError("event_id isn't the sha256 of the event's content")
        return self

    @property
    def line(self) -> str:
        """The event as it stands in the file: canonical JSON without line end."""
        return canonical_json({"event_id": self.event_id, **self.plain})

    @property
    def order(self) -> tuple[datetime, str]:
        """Order in time, made total by the id."""
        return datetime.fromisoformat(self.at), self.event_id


def make_event(**fields: Any) -> Event:
    """Build an event and give it its id.

    Raises:
        ValidationError: fields that an event can't have.
    """
    plain = Content(**fields).plain
    return Event(event_id=sha256_json(plain), **plain)


def missed_id(round: str, reviewer: str, first: dict[str, Any] | str | None) -> str:
    """Return the id of a slump that a reviewer adds: by who drew it and its first outline (GeoJSON), or the UUID of its row."""
    return f"r{round}-m{sha256_json([reviewer, first])[:8]}"


def read_events(path: Path) -> list[Event]:
    """Read a reviewer's exchange file.

    Raises:
        InputError: missing, or a line that is damaged; the line is named.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(path, "no such file") from None
    except IsADirectoryError:
        raise InputError(path, "is a folder", expected="a reviewer's events") from None
    except UnicodeDecodeError as error:
        raise InputError(path, f"not UTF-8 ({error})", do="restore the file from a backup") from None
    if text and not text.endswith("\n"):
        raise InputError(f"{path}, line {text.count(chr(10)) + 1}", "is cut off", do="restore the file from a backup")
    # Not splitlines: it breaks lines at characters that JSON doesn't escape, and a note may hold.
    return [_parse(path, number, line) for number, line in enumerate(text.split("\n")[:-1], 1)]


def _parse(path: Path, number: int, line: str) -> Event:
    try:
        event = Event.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "line"
        raise InputError(
            f"{path}, line {number}", f"not an event ({place}: {first['msg']})", do="restore the file from a backup"
        ) from None
    return event


def exchange_text(events: Iterable[Event]) -> str:
    """Return the text of an exchange file, in time; equal sets of events give equal texts."""
    lines = {event.event_id: event for event in events}.values()
    return "".join(f"{event.line}\n" for event in sorted(lines, key=lambda event: event.order))
