"""Who has to judge what: all candidates once, a drawn part of them twice, and by a third person what two differ on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from rts_pipeline.errors import InputError
from rts_pipeline.io.json import read_json
from rts_pipeline.io.tables import read_columns
from rts_pipeline.review.events import Event, Role
from rts_pipeline.review.folding import Bases, Folded, bases_in, fold
from rts_pipeline.review.rounds import CANDIDATES, CHOICE, SECOND, SecondReadings, read_draft, round_folder
from rts_pipeline.review.store import read_round
from rts_pipeline.review.windows import read_windows, window_ids

EXPECTED = "the candidates of a round"


@dataclass(frozen=True)
class Draw:
    """How candidates are drawn for a second reading.

    Attributes:
        share: of the candidates, to be drawn at random.
        seed: of the draw.
        margin: candidates whose mean probability is no farther from the threshold are read twice too.
        threshold: mean probability; None: the one that was chosen on the round's validation objects.
    """

    share: float
    seed: int = 0
    margin: float = 0.0
    threshold: float | None = None

    def of(self, folder: Path) -> SecondReadings:
        """Draw from the candidates in a round's review folder.

        The share is rounded up and taken by the sha256 of seed and id, so that neither order nor machine matters.

        Raises:
            InputError: a damaged file, or no threshold was chosen.
        """
        threshold = _chosen(folder / CHOICE) if self.threshold is None else self.threshold
        scores = dict(zip(*read_columns(folder / CANDIDATES, "candidate_id", "prob_mean", expected=EXPECTED), strict=True))
        order = sorted(scores, key=lambda name: hashlib.sha256(f"{self.seed} {name}".encode()).digest())
        # Rounded first: 0.07 * 100 is 7.000000000000001.
        random = sorted(order[: ceil(round(self.share * len(order), 9))])
        near = sorted(name for name, score in scores.items() if abs(score - threshold) <= self.margin)
        return SecondReadings(self.share, self.seed, threshold, self.margin, tuple(random), tuple(near))


def _chosen(choice: Path) -> float:
    threshold = read_json(choice).get("threshold")
    if not isinstance(threshold, int | float):
        raise InputError(choice, f"'threshold' is {threshold!r}", expected="a number", do="set polygonize.threshold")
    return float(threshold)


def queue_of(reviews: Path, round: str, reviewer: str, *, role: Role = "primary") -> list[str]:
    """Return the ids of the candidates and windows that a reviewer has to judge, judged ones included, sorted; never a verdict.

    primary: all; second: the drawn double readings and what one other reviewer is unsure of by now, without those that this
    reviewer judged in another role; adjudicator: forks, what two reviewers differ on, and what an adjudicator decided.

    Args:
        reviews: the folder of all reviews.
        round: name of the open round.
        reviewer: who judges.
        role: in which role.

    Raises:
        RefusedError: the round isn't open.
        InputError: a damaged file.
    """
    read_draft(reviews, round)
    ids = judged_ids(reviews, round)
    if role == "primary":
        return ids
    folded = fold(read_round(reviews, round), bases=bases_of(reviews, round))
    return asked(ids, folded, second_readings(reviews, round), reviewer, role)


def asked(ids: list[str], folded: Folded, second: SecondReadings | None, reviewer: str, role: Role) -> list[str]:
    """Return which of a round's ids a reviewer has to judge; see `queue_of`."""
    if role == "primary":
        return ids
    if role == "adjudicator":
        disputed = {*folded.disagreements, *(candidate for candidate, _ in folded.forks)}
        wanted = disputed | {name for name, readings in folded.heads.items() if len(readers_of(readings)) < len(readings)}
    else:
        wanted = twice(second, folded, reviewer)
    return [name for name in ids if name in wanted]


def twice(second: SecondReadings | None, folded: Folded, reviewer: str | None = None) -> set[str]:
    """Return the ids that two people have to judge; of a certain second reviewer, if given."""
    if second is None:
        return set()
    wanted = {*second.random, *second.near}
    for name, readings in folded.heads.items():
        others = [heads for who, heads in readings.items() if who != reviewer]
        if any(event.decision == "unsure" for heads in others for event in heads):
            wanted.add(name)
        if any(event.role != "second" for event in readings.get(reviewer or "", [])):
            wanted.discard(name)
    return wanted


def missing(second: SecondReadings | None, folded: Folded) -> list[str]:
    """Return the sorted ids of the candidates that were judged once, but have to be judged twice; not adjudicated ones."""
    once = {name for name, readings in folded.heads.items() if len(readings) == 1 == len(readers_of(readings))}
    return sorted(twice(second, folded) & once)


def second_readings(reviews: Path, round: str) -> SecondReadings | None:
    """Read what was drawn for a second reading when the review of the round was started, or None."""
    path = round_folder(reviews, round) / SECOND
    return SecondReadings.read(path) if path.exists() else None


def readers_of(readings: dict[str, list[Event]]) -> list[str]:
    """Return who read a candidate without being its adjudicator."""
    return [name for name, heads in readings.items() if not any(event.role == "adjudicator" for event in heads)]


def judged_ids(reviews: Path, round: str) -> list[str]:
    """Return the sorted ids of all that is judged in a round: its candidates, and the windows of its audit."""
    return sorted({*columns_of(reviews, round, "candidate_id")[0], *window_ids(round_folder(reviews, round))})


def bases_of(reviews: Path, round: str) -> Bases:
    """Return which outline of each of these is under review."""
    bases = dict(zip(*columns_of(reviews, round, "candidate_id", "base_sha256"), strict=True))
    folder = round_folder(reviews, round)
    if window_ids(folder):
        windows = read_windows(folder, len(bases))
        bases |= bases_in(windows)
    return bases


def columns_of(reviews: Path, round: str, *names: str) -> list[list[Any]]:
    """Return columns of the candidates under review, in the order of the file.

    Raises:
        InputError: a damaged file, or one without such a column.
    """
    return read_columns(round_folder(reviews, round) / CANDIDATES, *names, expected=EXPECTED)
