"""The rounds: what each brought, who signed it off, which model drew its candidates, and how well that one did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rts_pipeline.errors import InputError
from rts_pipeline.io.json import read_json
from rts_pipeline.io.tables import read_geoparquet
from rts_pipeline.omitted import REASONS
from rts_pipeline.review.rounds import POSITIVE, REVIEWED, SUMMARY, Signoff, read_signoffs, round_folder

DECISIONS = (*POSITIVE, "reject", "unsure", "unseen")
CHOSEN = ("threshold", "seed_threshold", "min_area_m2", "hole_m2")


def history(reviews: Path, rounds: Sequence[str]) -> pd.DataFrame:
    """Return a row a round: round, at, reviewers, n_candidates, n_new, n_changed, n_cut, one count a decision, precision,
    after, rows_sha256, model_sha256, n_chips, adopted_from, threshold, seed_threshold, min_area_m2, hole_m2, judged, left_out.

    `adopted_from` names the round of another project whose network was taken instead of training one; None: it was trained.
    The thresholds, smallest area and hole size are those that were applied, which the configuration may have set; of a round
    from before that was kept, those that were chosen on its validation blocks.
    `precision` is the share of slumps among the candidates that were decided: (accept + edit) / (accept + edit + reject).
    `judged` holds the figures of the validation blocks and, if there are any, of the test blocks, by split, as
    `metrics.summary` gives them. `left_out` are the outlines that were left out before anybody was asked, as `omitted.Counts`
    by what `omitted.REASONS` say; None for a round from before they were counted.

    Args:
        reviews: folder of the reviews; its chain of sign-offs is verified.
        rounds: names of the rounds to report.

    Raises:
        RefusedError: the chain of sign-offs is broken.
        InputError: a round isn't signed off, or a file is damaged.
    """
    signoffs = {signoff.round: signoff for signoff in read_signoffs(reviews)}
    missing = [name for name in rounds if name not in signoffs]
    if missing:
        raise InputError(round_folder(reviews, missing[0]), "is not signed off", do="finish its review first")
    rows = [_round(signoffs[name], reviews) for name in rounds]
    return pd.DataFrame(rows, columns=list(_round_columns()))


def _round_columns() -> tuple[str, ...]:
    signed = ("round", "at", "reviewers", "n_candidates", "n_new", "n_changed", "n_cut", "after", "rows_sha256")
    return (*signed, *DECISIONS, "precision", "model_sha256", "n_chips", "adopted_from", *CHOSEN, "judged", "left_out")


def _round(signoff: Signoff, reviews: Path) -> dict[str, Any]:
    folder = round_folder(reviews, signoff.round)
    rows = read_geoparquet(folder / REVIEWED)
    counts = rows["decision"].value_counts().reindex(list(DECISIONS), fill_value=0)
    right, wrong = counts["accept"] + counts["edit"], counts["reject"]
    return {
        "round": signoff.round,
        "at": signoff.at,
        "reviewers": ", ".join(signoff.reviewers),
        "n_candidates": signoff.n_candidates,
        "n_new": signoff.n_new,
        "n_changed": signoff.n_changed,
        "n_cut": signoff.n_cut,
        "after": signoff.after,
        "rows_sha256": signoff.rows_sha256,
        **counts.to_dict(),
        "precision": right / (right + wrong) if right + wrong else np.nan,
        **_model(folder / "model" / "model.json"),
        **_validation(folder / "validation" / "validation.json"),
        **_candidates(folder / SUMMARY),
    }


def _candidates(path: Path) -> dict[str, Any]:
    """Return what the review's own copy of candidates.json says was left out, and what the outlines were made with.

    Of a round from before either was kept `left_out` is None, and there are no values that were applied.
    """
    told = read_json(path)
    counts = told.get("left_out")
    left_out = counts and {REASONS[reason]: counted for reason, counted in counts.items() if counted["outlines"]}
    return {**told.get("applied", {}), "left_out": left_out}


def _model(path: Path) -> dict[str, Any]:
    """Return what the review's own copy of model.json says."""
    model = read_json(path)
    windows = (f"{sum(kinds.values())} {split}" for split, kinds in sorted(model["n_chips"].items()))
    return {
        "model_sha256": model["sha256"]["weights.pt"],
        "n_chips": ", ".join(windows),
        "adopted_from": model.get("adopted_from"),
    }


def _validation(path: Path) -> dict[str, Any]:
    """Return what the review's own copy of validation.json says."""
    validation = read_json(path)
    judged = {split: validation[split] for split in ("validation", "test") if validation[split] is not None}
    return {**{name: validation.get(name) for name in CHOSEN}, "judged": judged}


def verdict(rounds: pd.DataFrame) -> tuple[bool, str]:
    """Return whether the rounds converged, and the sentence that says so."""
    if len(rounds) == 0:
        return False, "Not converged: no round has been reviewed. This inventory holds the known slumps alone."
    last = rounds.iloc[-1]
    left = ", and ".join(
        f"{what}: {count}"
        for what, count in (
            ("outlines were left for a later round, which nobody was asked about", last["n_cut"]),
            ("candidates were signed off that nobody looked at", last["unseen"]),
        )
        if count
    )
    if last["n_new"] == 0 and not left:
        return True, f"Converged: the last round (round {last['round']}) brought no new slump."
    if last["n_new"] == 0:
        return False, f"Not converged: the last reviewed round (round {last['round']}) brought no new slump, but {left}."
    new = f"{last['n_new']} new slump{'s' if last['n_new'] > 1 else ''}"
    more = f" Also, {left}." if left else ""
    return False, f"Not converged: the last reviewed round (round {last['round']}) still brought {new}. Expect more.{more}"
