"""The sign-off: events are folded into the immutable rows of a round, and a small file says that it is closed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd

from rts_pipeline.config import Review
from rts_pipeline.errors import InputError, RefusedError
from rts_pipeline.grid import Grid
from rts_pipeline.inventory.dictionary import OF_THE_OUTLINE
from rts_pipeline.io.files import sha256_file
from rts_pipeline.io.tables import write_parquet
from rts_pipeline.review.events import Event
from rts_pipeline.review.folding import POSSIBILITY, Folded, Verdict, bases_in, disputed, fold
from rts_pipeline.review.outlines import SAME_SLUMP_IOU, from_geojson, overlaps, records
from rts_pipeline.review.readings import missing, second_readings
from rts_pipeline.review.rounds import (
    CANDIDATES,
    DRAFT,
    POSITIVE,
    REVIEWED,
    SIGNOFF,
    SUMMARY,
    Draft,
    Signoff,
    locked,
    outline_counts,
    read_candidates,
    read_draft,
    read_signoffs,
    round_folder,
)
from rts_pipeline.review.same_grid import check_grid
from rts_pipeline.review.store import read_round, write_exchange
from rts_pipeline.review.windows import AUDITED, window_ids

SHOWN = 10
COLUMNS = {
    "candidate_id": "str",
    "round": "str",
    "decision": "str",
    "possibility": "float64",
    "reject_reason": "str",
    "reviewers": "str",
    "n_reviews": "int64",
    "agreement": "float64",
    "reviewed_at": "str",
    "note": "str",
    "base_sha256": "str",
    "model_sha256": "str",
    "prob_mean": "float64",
    "prob_max": "float64",
    **dict.fromkeys(OF_THE_OUTLINE, "float64"),
    "guideline_version": "str",
    "known_ids": "str",
    "judged_m2": "float64",
    "first_year_visible": "Int64",
    "active": "boolean",
    "outline_scope": "str",
}


def finish(reviews: Path, round: str, *, policy: Review, grid: Grid, at: str) -> Signoff:
    """Close a round: write `reviewed.parquet`, everybody's exchange file, then the sign-off, then remove the draft.

    Where the round is audited, `audited.parquet` says what became of its windows: window_id, decision ("reject": looked
    through, "unsure", "unseen"), reviewers, reviewed_at. They are no rows of `reviewed.parquet`, which holds outlines.

    A process killed in between leaves the draft (finish again) or the sign-off (done).

    Args:
        reviews: the folder of all reviews.
        round: name of the open round.
        policy: what may be signed off.
        grid: the project's grid, in the CRS of the candidates (for the names of the touched cells).
        at: time of the sign-off (ISO 8601, UTC).

    Raises:
        RefusedError: not open, in use, candidates changed under the review, or candidates that are unreviewed, forked, disputed
            or lack their second reading (all of these are listed), or an earlier round was signed off on another grid.
        InputError: a damaged file, or a decision since the review's start on something that isn't a candidate of the round.
    """
    folder = round_folder(reviews, round)
    with locked(folder):
        signoffs = read_signoffs(reviews)
        if (folder / DRAFT).exists() and signoffs and signoffs[-1].round == round:
            (folder / DRAFT).unlink()
            return signoffs[-1]
        draft = read_draft(reviews, round)
        if int(round) != len(signoffs) + 1:
            raise RefusedError(folder, f"round {round} can't be signed off", do=f"finish round {len(signoffs) + 1:02d} first")
        check_grid(reviews, signoffs, grid)
        events = read_round(reviews, round)
        judged = read_candidates(reviews, round)
        verdicts = _verdicts(reviews, judged, events, draft, policy)
        windows = judged["candidate_id"].isin(window_ids(folder))
        rows = _rows(judged[~windows], verdicts, draft)
        _check_crs(rows, grid, folder)
        audited = _audited(judged.loc[windows, "candidate_id"], verdicts)
        if draft.audit_sha256 is not None:
            write_parquet(folder / AUDITED, audited)
        write_parquet(folder / REVIEWED, rows)
        write_exchange(folder, events)
        slumps, judging = rows["decision"].isin(POSITIVE), [*rows["reviewers"], *audited["reviewers"]]
        signoff = Signoff(
            round=round,
            after=sha256_file(round_folder(reviews, signoffs[-1].round) / SIGNOFF) if signoffs else None,
            rows_sha256=sha256_file(folder / REVIEWED),
            candidates_sha256=draft.candidates_sha256,
            n_candidates=draft.n_candidates,
            n_new=int((slumps & (rows["known_ids"] == "")).sum()),
            n_changed=int((slumps & (rows["known_ids"] != "")).sum()),
            n_cut=outline_counts(folder / SUMMARY)["cut"],
            n_unseen=int((rows["decision"] == "unseen").sum()),
            cells=tuple(grid.cells_touching(rows.geometry)) if len(rows) else (),
            at=at,
            reviewers=tuple(sorted({name for names in judging for name in names.split(",") if name})),
            audited_sha256=None if draft.audit_sha256 is None else sha256_file(folder / AUDITED),
            crs=grid.crs,
            pixel_m=grid.pixel_m,
            cell_px=grid.cell_px,
        )
        signoff.write(folder / SIGNOFF)
        (folder / DRAFT).unlink()
    return signoff


def _check_crs(rows: gpd.GeoDataFrame, grid: Grid, folder: Path) -> None:
    if rows.crs is None or rows.crs != grid.crs:
        raise InputError(
            folder / CANDIDATES, f"is in {rows.crs and rows.crs.to_string()}", expected=f"the grid's CRS {grid.crs}"
        )


def _verdicts(reviews: Path, judged: gpd.GeoDataFrame, events: list[Event], draft: Draft, policy: Review) -> dict[str, Verdict]:
    """Return the verdicts on candidates, windows and added slumps, after all checks."""
    folder = round_folder(reviews, draft.round)
    bases = bases_in(judged)
    folded, heads = fold(events, bases=bases), fold(events).heads
    once = [] if policy.allow_single else missing(second_readings(reviews, draft.round), folded)
    elsewhere = {name: ", ".join(heads[name]) for name in bases if name in heads and name not in folded.heads}
    _refuse_open_ends(folder, list(bases), folded, elsewhere, once, policy)
    _refuse_strays(folder, {name: by for name, by in heads.items() if name not in bases}, draft)
    return disputed(folded) | folded.verdicts


def _audited(windows: pd.Series, verdicts: dict[str, Verdict]) -> pd.DataFrame:
    rows = [
        (name, verdict.decision, ",".join(verdict.reviewers), verdict.reviewed_at)
        if (verdict := verdicts.get(name))
        else (name, "unseen", "", None)
        for name in windows
    ]
    return pd.DataFrame(rows, columns=["window_id", "decision", "reviewers", "reviewed_at"]).astype("str")


def _rows(candidates: gpd.GeoDataFrame, verdicts: dict[str, Verdict], draft: Draft) -> gpd.GeoDataFrame:
    judged = [_row(candidate, verdicts.get(candidate["candidate_id"]), draft) for candidate in records(candidates)]
    missed = merge_missed([verdict for verdict in verdicts.values() if verdict.decision == "missed"])
    rows = judged + [_row({"candidate_id": v.candidate_id, "round": draft.round}, v, draft) for v in missed]
    frame = gpd.GeoDataFrame(rows, columns=[*COLUMNS, "geometry"], geometry="geometry", crs=candidates.crs)
    return frame.astype(COLUMNS).sort_values("candidate_id", ignore_index=True)


def _row(candidate: dict[str, Any], verdict: Verdict | None, draft: Draft) -> dict[str, Any]:
    decision = verdict.decision if verdict else "unseen"
    possibility = verdict.possibility if verdict else None
    drawn = from_geojson(verdict.geometry) if verdict and verdict.geometry else candidate["geometry"]
    return {
        "candidate_id": candidate["candidate_id"],
        "round": draft.round,
        "decision": decision,
        "possibility": POSSIBILITY[decision] if possibility is None else possibility,
        "reject_reason": verdict.reject_reason if verdict else "",
        "reviewers": ",".join(verdict.reviewers) if verdict else "",
        "n_reviews": verdict.n_reviews if verdict else 0,
        "agreement": verdict.agreement if verdict else None,
        "reviewed_at": verdict.reviewed_at if verdict else None,
        "note": verdict.note if verdict else "",
        "base_sha256": candidate.get("base_sha256"),
        "model_sha256": candidate.get("model_sha256"),
        "prob_mean": candidate.get("prob_mean"),
        "prob_max": candidate.get("prob_max"),
        **{name: candidate.get(name) for name in OF_THE_OUTLINE},
        "guideline_version": verdict.guideline_version if verdict else draft.guideline_version,
        "known_ids": candidate.get("known_ids") or "",
        "judged_m2": candidate.get("area_m2"),
        "first_year_visible": verdict.first_year_visible if verdict else None,
        "active": verdict.active if verdict else None,
        "outline_scope": verdict.outline_scope if verdict else None,
        "geometry": drawn,
    }


def _refuse_open_ends(
    folder: Path, ids: list[str], folded: Folded, elsewhere: dict[str, str], once: list[str], policy: Review
) -> None:
    known = set(ids)
    unseen = [name for name in ids if name not in folded.heads and name not in elsewhere]
    unreviewed = [] if policy.allow_unreviewed else unseen
    # An added slump that is forked can't be left unsure: there would be no outline to be unsure of.
    forked = [fork for fork in folded.forks if not policy.allow_disputed or fork[0] not in known]
    differing = [] if policy.allow_disputed else folded.disagreements
    open_ends = []
    for names, problem, do in (
        (unreviewed, "not reviewed", "review them, or set review.allow_unreviewed"),
        (
            [f"{candidate} ({reviewers})" for candidate, reviewers in elsewhere.items()],
            "judged on another outline than they have now",
            "judge them again",
        ),
        (
            [f"{candidate} ({reviewer})" for candidate, reviewer in forked],
            "with two different decisions of one reviewer",
            "that reviewer or an adjudicator decides them again",
        ),
        (differing, "on which the reviewers disagree", "an adjudicator decides them, or set review.allow_disputed"),
        (once, "without their second reading", "a second reviewer judges them, or set review.allow_single"),
    ):
        if names:
            shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
            open_ends.append(f"{len(names)} of {len(ids)} candidates {problem}: {shown}; {do}")
    if open_ends:
        raise RefusedError(folder, "; ".join(open_ends))


def _refuse_strays(folder: Path, heads: dict[str, dict[str, list[Event]]], draft: Draft) -> None:
    """Check that what isn't under review was added, or decided before the review was started anew without it."""
    start = datetime.fromisoformat(draft.started_at)
    strays = [
        f"{name}, decided by {', '.join(by)}"
        for name, by in heads.items()
        if any(event.decision and event.order[0] >= start for events in by.values() for event in events)
    ]
    if strays:
        shown = "; ".join(strays[:SHOWN]) + ("; ..." if len(strays) > SHOWN else "")
        problem = "is no candidate of this round" if len(strays) == 1 else "are no candidates of this round"
        raise InputError(folder, f"{shown}, {problem}", do="these reviewers retract their decisions")


def merge_missed(missed: list[Verdict]) -> list[Verdict]:
    """Unite the slumps that were added more than once (IoU of at least 0.5 with a kept one): the last outline counts."""
    if not missed:
        return []
    order = sorted(missed, key=lambda v: (v.reviewed_at, v.candidate_id), reverse=True)
    outlines = np.array([from_geojson(v.geometry) for v in order if v.geometry], dtype=object)
    left, right, iou, _ = overlaps(outlines, outlines)
    keeper = np.arange(len(order))
    for a, b in sorted(zip(left[iou >= SAME_SLUMP_IOU], right[iou >= SAME_SLUMP_IOU], strict=True)):
        if keeper[a] == a and keeper[b] == b and a < b:
            keeper[b] = a
    united = []
    for index in np.flatnonzero(keeper == np.arange(len(order))):
        group = [order[i] for i in np.flatnonzero(keeper == index)]
        reviewers = tuple(sorted({name for verdict in group for name in verdict.reviewers}))
        notes = "; ".join(dict.fromkeys(verdict.note for verdict in group if verdict.note))
        agreement = 1.0 if len(reviewers) > 1 else None
        united.append(replace(order[index], reviewers=reviewers, n_reviews=len(reviewers), agreement=agreement, note=notes))
    return united
