"""What all sections are made of."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidatorFunctionWrapHandler, field_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Year = Annotated[int, Field(ge=2009, le=2100)]


class Section(BaseModel):
    """A section of the configuration: unknown keys and numbers that JSON can't hold are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="wrap")
    @classmethod
    def _no_switch(cls, value: Any, validated: ValidatorFunctionWrapHandler) -> Any:
        """YAML takes yes, no, on and off for booleans, and pydantic takes those for 1 and 0."""
        result = validated(value)
        if isinstance(value, bool) and not isinstance(result, bool):
            raise ValueError("a number is expected; YAML reads yes, no, on and off as true and false")
        return result
