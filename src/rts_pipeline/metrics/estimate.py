"""A figure with its 95 % interval, as every estimate of completeness gives it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

ALPHA = 0.05
"""Intervals miss the truth in this share of the cases, half of it on each side."""


@dataclass(frozen=True)
class Estimate:
    """An estimate.

    Attributes:
        value: the estimate; None where the data give none.
        low: lower limit of the 95 % interval, None where there is none.
        high: upper limit; None where nothing bounds it.
        reason: why `value` or `high` is None, else "".
    """

    value: float | None
    low: float | None
    high: float | None
    reason: str = ""

    @property
    def plain(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return asdict(self)

    def at_least(self, number: float) -> Estimate:
        """Return the estimate of something of which so many are known."""
        value, low, high = (None if limit is None else max(limit, number) for limit in (self.value, self.low, self.high))
        return replace(self, value=value, low=low, high=high)

    def plus(self, number: float) -> Estimate:
        """Return the estimate moved by a number that is known."""
        value, low, high = (None if limit is None else limit + number for limit in (self.value, self.low, self.high))
        return replace(self, value=value, low=low, high=high)

    def covers(self, truth: float) -> bool:
        """Tell whether the truth lies in the interval; a half-open one reaches to infinity, none covers nothing."""
        return self.low is not None and self.low <= truth and (self.high is None or truth <= self.high)


def recall(found: int, missed: Estimate) -> Estimate:
    """Return found / (found + missed), whose limits are those of `missed`, transformed: it falls as `missed` grows.

    Args:
        found: number of slumps that were found, known without error.
        missed: estimated number of the others.
    """

    def share(number: float | None) -> float | None:
        return None if number is None or found + number == 0 else found / (found + number)

    if missed.value is None or found + missed.value == 0:
        return Estimate(None, None, None, missed.reason or "no slump was found, and none is estimated")
    low = 0.0 if missed.high is None else share(missed.high)
    return Estimate(share(missed.value), low, share(missed.low) if missed.low is not None else 1.0, missed.reason)
