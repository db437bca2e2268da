"""What a reviewer may say on the review page: the bodies of its requests."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from rts_pipeline.review.events import Decision, OutlineScope, RejectReason

MAX_NOTE = 4000
Text = Annotated[str, Field(max_length=MAX_NOTE)]
Possibility = Annotated[float, Field(ge=0, le=1)]


class Given(BaseModel):
    """What a reviewer may say with a verdict or an added slump."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    candidate_id: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    possibility: Possibility | None = None
    outline_scope: OutlineScope | None = None
    evidence_years: tuple[int, ...] | None = None
    first_year_visible: int | None = None
    active: bool | None = None
    note: Text | None = None
    geometry: dict[str, Any] | None = None
    seconds: Annotated[float, Field(ge=0, le=86_400)] | None = None


class Verdict(Given):
    """A verdict on a candidate."""

    candidate_id: Annotated[str, Field(min_length=1, max_length=64)]
    decision: Decision
    reject_reason: RejectReason | None = None


class Drawn(BaseModel):
    """An outline, of a candidate or of an added slump."""

    model_config = ConfigDict(extra="forbid")

    geometry: dict[str, Any]
    candidate_id: str | None = None


class Retraction(BaseModel):
    """A verdict or an added slump that its reviewer takes back; `earlier`: with all that was said before it."""

    model_config = ConfigDict(extra="forbid")

    candidate_id: Annotated[str, Field(min_length=1, max_length=64)]
    event_id: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    earlier: bool = False
