"""Where the loop of rounds stands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rts_pipeline.config import Config
from rts_pipeline.review.rounds import Signoff, open_draft, read_signoffs, round_name


@dataclass(frozen=True)
class Rounds:
    """Where the loop of rounds stands.

    Attributes:
        signed: the sign-offs, first round first.
        open: name of the round to be made or reviewed, or None when the loop has ended.
        draft: name of the round whose review is in progress, or None.
    """

    signed: list[Signoff]
    open: str | None
    draft: str | None

    @property
    def finished(self) -> list[str]:
        """Names of the signed-off rounds."""
        return [signoff.round for signoff in self.signed]

    def before(self, k: str) -> list[Signoff]:
        """Return the sign-offs of the rounds before `k`."""
        return [signoff for signoff in self.signed if int(signoff.round) < int(k)]


def read_rounds(config: Config) -> Rounds:
    """Read the state of the rounds from the sign-off files: leaves that no rule makes, so finished rounds stay finished.

    The loop ends with a round that brought no new slump, unless it left outlines that nobody was asked about or looked at.
    """
    reviews = Path(config.reviews)
    signed = read_signoffs(reviews)
    productive = max((number for number, signoff in enumerate(signed, 1) if signoff.n_new > 0), default=0)
    converged = len(signed) - productive > config.rounds.extra and signed[-1].n_cut == signed[-1].n_unseen == 0
    return Rounds(signed, None if converged else round_name(len(signed) + 1), open_draft(reviews))
