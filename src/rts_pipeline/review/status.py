"""Where the reviews stand, a row a round."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rts_pipeline.review.rounds import CANDIDATES, count_rows, open_draft, read_signoffs, round_folder, round_name
from rts_pipeline.review.windows import window_ids

if TYPE_CHECKING:
    from rts_pipeline.review.events import Role


@dataclass(frozen=True)
class RoundStatus:
    """The state of one round.

    Attributes:
        round: name of the round.
        state: "signed off", "open" (under review), or "ready" (candidates wait for `review start`).
        n_candidates: candidates of the round.
        decided: (reviewer, role) -> candidates and windows that he or she decided.
        left: (reviewer, role) -> how many more he or she has to decide as of now; empty unless the round is open.
        undecided: candidates and windows that nobody decided yet.
        forks: (candidate_id, reviewer) with two standing decisions.
        disagreements: candidate ids on which the reviewers differ.
        once: ids of candidates that were judged, but lack their second reading.
        n_missed: slumps added by the reviewers.
        n_new: slumps that the round brought; None before the sign-off.
        n_windows: windows of its audit, under review or looked through.
    """

    round: str
    state: Literal["signed off", "open", "ready"]
    n_candidates: int
    decided: dict[tuple[str, Role], int]
    undecided: int
    forks: tuple[tuple[str, str], ...] = ()
    disagreements: tuple[str, ...] = ()
    once: tuple[str, ...] = ()
    n_missed: int = 0
    n_new: int | None = None
    n_windows: int = 0
    left: dict[tuple[str, Role], int] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether the round is open and nothing in it is."""
        return self.state == "open" and not (self.undecided or self.forks or self.disagreements or self.once)

    def line(self) -> str:
        """Say in a line what was judged by whom, and what is waited for."""
        if self.state == "ready":
            return f"{self.n_candidates} candidates wait for a review to be started"
        people = ", ".join(f"{reviewer} ({role}) {number}" for (reviewer, role), number in sorted(self.decided.items()))
        if self.state == "signed off":
            return f"signed off: {self.n_candidates} candidates, {self.n_new} new slumps; judged by {people or 'nobody'}"
        missing = {
            "without a verdict": self.undecided,
            "with two standing verdicts of one person": len(self.forks),
            "on which reviewers differ": len(self.disagreements),
            "that lack a second reading": len(self.once),
        }
        waits = ", ".join(f"{number} {what}" for what, number in missing.items() if number) or "none: it can be signed off"
        return f"review open: {self.n_candidates} candidates; judged by {people or 'nobody yet'}; waits for {waits}"


def status(reviews: Path, results: Path | None = None) -> list[RoundStatus]:
    """Return the state of all finished rounds, of the open one, and of the one that is ready for review.

    Raises:
        RefusedError: a broken chain of sign-offs.
        InputError: a damaged file.
    """
    signoffs = read_signoffs(reviews)
    rows = [_reviewed(reviews, signoff.round, signoff.n_new) for signoff in signoffs]
    if (draft := open_draft(reviews)) is not None:
        return [*rows, _reviewed(reviews, draft, None)]
    following = round_name(len(signoffs) + 1)
    if results is not None and (waiting := results / "rounds" / following / CANDIDATES).exists():
        n = count_rows(waiting)
        rows.append(RoundStatus(following, "ready", n, {}, n))
    return rows


def _reviewed(reviews: Path, round: str, n_new: int | None) -> RoundStatus:
    from rts_pipeline.review.folding import fold, is_reading
    from rts_pipeline.review.readings import asked, bases_of, judged_ids, missing, readers_of, second_readings
    from rts_pipeline.review.store import read_round

    listed, windows = judged_ids(reviews, round), window_ids(round_folder(reviews, round))
    events, ids, second = read_round(reviews, round), set(listed), second_readings(reviews, round)
    bases = bases_of(reviews, round)
    folded, readings = fold(events, bases=bases), fold(events, is_reading, bases)
    # who adjudicates what he or she had read says two things of it
    read = {name: {who: heads[-1].role for who, heads in by.items()} for name, by in readings.heads.items()}
    settled = {name: {*by} - {*readers_of(by)} for name, by in folded.heads.items()}
    decided: Counter[tuple[str, Role]] = Counter()
    for name in ids:
        decided.update(read.get(name, {}).items())
        decided.update((who, "adjudicator") for who in settled.get(name, ()))

    def left(reviewer: str, role: Role) -> list[str]:
        said = settled if role == "adjudicator" else read
        return [name for name in asked(listed, folded, second, reviewer, role) if reviewer not in said.get(name, ())]

    return RoundStatus(
        round=round,
        state="open" if n_new is None else "signed off",
        n_candidates=len(ids) - len(windows),
        decided=dict(sorted(decided.items())),
        undecided=len(ids - set(folded.heads)),
        forks=tuple(folded.forks),
        disagreements=tuple(folded.disagreements),
        once=tuple(missing(second, folded)),
        n_missed=len(set(folded.verdicts) - ids),
        n_new=n_new,
        n_windows=len(windows),
        left={} if n_new is not None else {who: len(left(*who)) for who in decided},
    )
