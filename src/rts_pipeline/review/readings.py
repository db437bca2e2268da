"""Who has to judge what: all candidates once, a drawn part of them twice, and by a third person what two differ on."""

from __future__ import annotations

from pathlib import Path

from rts_pipeline.review.store import Role


def queue_of(reviews: Path, round: str, reviewer: str, *, role: Role = "primary") -> list[str]:
    """Return the ids of the candidates that a reviewer has to judge, judged ones included, sorted; never a verdict.

    primary: all; second: the drawn double readings and what a primary is unsure of by now, without those that this
    reviewer judged as a primary; adjudicator: what two reviewers differ on, and forks.

    Args:
        reviews: the folder of all reviews.
        round: name of the open round.
        reviewer: who judges.
        role: in which role.

    Raises:
        RefusedError: the round isn't open.
        InputError: a damaged file.
    """
    raise NotImplementedError
