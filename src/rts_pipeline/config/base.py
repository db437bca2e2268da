"""What all sections are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Year = Annotated[int, Field(ge=2009, le=2100)]


class Section(BaseModel):
    """A section of the configuration: unknown keys and numbers that JSON can't hold are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
