"""How far the people who judged the same candidates of a round agree, before anybody adjudicated."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rts_pipeline.metrics import agreement as metrics
from rts_pipeline.metrics.bootstrap import MIN_BLOCKS
from rts_pipeline.review.events import DECISIONS, Event
from rts_pipeline.review.folding import POSSIBILITY, Bases, decision_of, fold, is_reading
from rts_pipeline.review.readings import bases_of, columns_of, second_readings
from rts_pipeline.review.store import read_round

CLASSES = ("slump", "unsure", "no slump")
CLASS_OF = {"accept": 0, "edit": 0, "unsure": 1, "reject": 2}
LEVELS = 5
"""Yes, High, Medium, Low, No: possibilities 1, 0.75, 0.5, 0.25, 0."""

TITLES = {
    "percent": "share of agreement",
    "cohen_kappa": "Cohen's kappa",
    "gwet_ac1": "Gwet's AC1",
    "positive_agreement": "positive agreement (slump)",
    "quadratic_kappa": "quadratic-weighted kappa (possibility)",
}


def agreement(reviews: Path, round: str) -> dict[str, Any]:
    """Return how far reviewers agree on the candidates that at least two of them judged.

    What an adjudicator decided doesn't count; what he or she had said as a reader does.

    Args:
        reviews: the folder of all reviews.
        round: name of a round, open or signed off.

    Returns:
        `round`, `pairs` (reviewers -> how many candidates both judged), `all` and, where some were drawn, `random`: the same of
        the random sample alone, which speaks for all candidates; what was added because it is difficult doesn't. Each holds
        `n`, `cells`, `decisions` (table: rows the first reviewer, columns the second, in the order of `DECISIONS`), and
        {value, low, high} (95 % interval, a bootstrap over cells; None where undefined) of `percent`, `cohen_kappa`,
        `gwet_ac1` on slump (accept or edit), unsure, no slump; `positive_agreement` on slump; `quadratic_kappa` on the five
        levels of possibility (nearest; where none was given, that of the decision).

    Raises:
        InputError: a damaged file.
    """
    cells = dict(zip(*columns_of(reviews, round, "candidate_id", "cell_id"), strict=True))
    pairs = [pair for pair in _pairs(read_round(reviews, round), bases_of(reviews, round)) if pair[0].candidate_id in cells]
    names = [f"{first.reviewer}, {second.reviewer}" for first, second in pairs]
    drawn = second_readings(reviews, round)
    chosen = None if drawn is None else set(drawn.random)
    return {
        "round": round,
        "pairs": {name: names.count(name) for name in sorted(set(names))},
        "all": _figures(pairs, cells),
        "random": None if chosen is None else _figures([p for p in pairs if p[0].candidate_id in chosen], cells),
    }


def _pairs(events: list[Event], bases: Bases) -> list[tuple[Event, Event]]:
    """Return each two reviewers' decisions on one candidate: a primary's first, then by name; forks say nothing."""
    folded = fold(events, is_reading, bases)
    forked = set(folded.forks)
    pairs: list[tuple[Event, Event]] = []
    for candidate, readings in folded.heads.items():
        heads = [standing[-1] for name, standing in readings.items() if (candidate, name) not in forked]
        decided = sorted((e for e in heads if e.decision), key=lambda e: (e.role != "primary", e.reviewer))
        pairs += combinations(decided, 2)
    return pairs


def _figures(pairs: list[tuple[Event, Event]], cells: dict[str, str]) -> dict[str, Any]:
    places = np.array([cells[first.candidate_id] for first, _ in pairs], dtype=str)
    decisions = np.array([[DECISIONS.index(decision_of(e)) for e in pair] for pair in pairs], dtype=int).reshape(-1, 2)
    classes = np.array([CLASS_OF[name] for name in DECISIONS])[decisions]
    levels = np.array([[_level(e) for e in pair] for pair in pairs], dtype=int).reshape(-1, 2)

    def table(codes: NDArray[Any], k: int) -> NDArray[np.int64]:
        return metrics.tables(codes[:, 0], codes[:, 1], k, places)

    by_class = table(classes, len(CLASSES))
    return {
        "n": len(pairs),
        "cells": len(by_class),
        "decisions": table(decisions, len(DECISIONS)).sum(axis=0).tolist(),
        "percent": metrics.figure(by_class, metrics.percent),
        "cohen_kappa": metrics.figure(by_class, metrics.cohen_kappa),
        "quadratic_kappa": metrics.figure(table(levels, LEVELS), metrics.quadratic_kappa),
        "positive_agreement": metrics.figure(by_class, metrics.positive_agreement),
        "gwet_ac1": metrics.figure(by_class, metrics.gwet_ac1),
    }


def _level(event: Event) -> int:
    given = POSSIBILITY[decision_of(event)] if event.possibility is None else event.possibility
    return int(given * (LEVELS - 1) + 0.5)


def lines(found: dict[str, Any]) -> list[str]:
    """Return what `agreement` found as lines of text."""
    pairs = [f"{names.replace(', ', ' and ')}, {n} candidates" for names, n in found["pairs"].items()]
    said = [f"Round {found['round']}: {'; '.join(pairs) or 'nothing was judged twice'}"]
    if pairs:
        said.append("Rows: who judged as primary; columns: the other. Accept and edit count as slump; forks are left out.")
    # the names where they fit, so that nobody has to ask who is who
    heads = " / ".join(next(iter(found["pairs"])).split(", ")) if len(pairs) == 1 else ""
    heads = heads if 0 < len(heads) <= 18 else "first / second"
    parts = {"all that two judged": found["all"], "of these the random sample": found["random"]}
    if found["random"] == found["all"]:
        parts = {"the random sample, all that two judged": found["all"]}
    for name, of in parts.items():
        if of is None or not of["n"]:
            continue
        cells = f"{of['cells']} cell{'s' if of['cells'] != 1 else ''}"
        few = f"; no intervals with fewer than {MIN_BLOCKS}" if of["cells"] < MIN_BLOCKS else ""
        said += ["", f"{name}: {of['n']} readings of two in {cells}{few}", f"{heads:>18}"]
        said[-1] += "".join(f"{decision:>9}" for decision in DECISIONS)
        said += [
            f"{decision:>18}" + "".join(f"{count:>9}" for count in row)
            for decision, row in zip(DECISIONS, of["decisions"], strict=True)
        ]
        said += [f"{title:>42}  {_shown(of[key])}" for key, title in TITLES.items()]
    return said


def _shown(figure: dict[str, float | None]) -> str:
    value, low, high = (figure[name] for name in ("value", "low", "high"))
    if value is None:
        return " undefined"
    return f"{value:6.3f}" + ("" if low is None else f"  ({low:.3f} to {high:.3f})")
