"""A scripted reviewer who knows the truth and errs at given rates: for the demo, the tests and the benchmarks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from rts_pipeline.errors import InputError
from rts_pipeline.io.vectors import read_outlines
from rts_pipeline.review.events import NOT_SEEN, REJECT_REASONS, Event, Role, make_event, missed_id
from rts_pipeline.review.folding import fold, revise
from rts_pipeline.review.outlines import overlaps, to_geojson
from rts_pipeline.review.readings import queue_of
from rts_pipeline.review.rounds import read_candidates, read_draft, round_folder
from rts_pipeline.review.store import open_round
from rts_pipeline.review.windows import window_ids

NO_OVERLAP = 0.1
"""A candidate that truth covers less than this, and with a smaller IoU, has nothing to do with a slump."""

REASONS = tuple(reason for reason in REJECT_REASONS if reason not in NOT_SEEN)
"""What the scripted reviewer, who is told the truth, gives as a reason: that images didn't show the ground isn't among it."""

NOTHING_MORE = {"decision": "reject", "seconds": 15.0}
"""What is said of a window that was looked through."""


@dataclass(frozen=True)
class Errors:
    """How the reviewer errs.

    Attributes:
        seed: of all draws; a draw depends on it and on the candidate's place alone.
        miss_rate: share of the slumps that are wrongly rejected.
        false_accept_rate: share of the other candidates that are wrongly accepted.
        redraw_rate: share of the slumps with a poor outline that are redrawn (else "unsure").
    """

    seed: int = 0
    miss_rate: float = 0.0
    false_accept_rate: float = 0.0
    redraw_rate: float = 0.0


def simulate_review(
    reviews: Path,
    round: str,
    truth: Path,
    *,
    reviewer: str = "simulated",
    role: Role = "primary",
    seed: int = 0,
    miss_rate: float = 0.0,
    false_accept_rate: float = 0.0,
    redraw_rate: float = 0.0,
    target_year: int,
    accept_iou: float = 0.5,
    at: str,
) -> dict[str, int]:
    """Decide every candidate that the role has to judge, and return how often each decision was taken.

    In the windows of an audit the reviewer adds the slumps that no candidate shows and that aren't known, then has nothing
    more to add there ("reject"); of those added `missed` is the number, which only an audited round has.

    Args:
        reviews: the folder of all reviews.
        round: name of the open round.
        truth: polygons of the real slumps; of `target_year` where the file has a column `year`.
        reviewer: name in the record.
        role: in which role; see `queue_of`.
        seed: of the errors; a candidate at the same place meets the same error.
        miss_rate: share of the slumps that are wrongly rejected.
        false_accept_rate: share of the other candidates that are wrongly accepted.
        redraw_rate: share of the slumps with a poor outline that are redrawn; the others stay "unsure".
        target_year: the year that the inventory describes.
        accept_iou: IoU from which on an outline is right.
        at: time of the decisions (ISO 8601, UTC).

    Raises:
        RefusedError: the round isn't open.
        InputError: the truth can't be used or has no slump in the target year.
    """
    draft = read_draft(reviews, round)
    candidates = read_candidates(reviews, round)
    candidates = candidates[candidates["candidate_id"].isin(queue_of(reviews, round, reviewer, role=role))]
    audited = candidates["candidate_id"].isin(window_ids(round_folder(reviews, round)))
    windows, candidates = candidates[audited], candidates[~audited]
    outlines = _truth(truth, target_year, candidates.crs)
    errors = Errors(seed, miss_rate, false_accept_rate, redraw_rate)
    known = candidates["known"].to_numpy() if "known" in candidates else np.full(len(candidates), None)
    verdicts = judge(candidates.geometry.to_numpy(), outlines, errors, accept_iou, known)

    common = {
        "round": round,
        "reviewer": reviewer,
        "role": role,
        "at": at,
        "source": "simulated",
        "guideline_version": draft.guideline_version,
    }
    said = [_decision(common, *pair) for pair in zip(_named(candidates), verdicts, strict=True)]
    added = _missed(windows, candidates, outlines, errors)
    said += [_addition(common, outline) for outline in added]
    said += [_decision(common, window, NOTHING_MORE) for window in _named(windows)]
    with open_round(reviews, round, reviewer, role=role) as store:
        standing = fold(store.events()).heads
        store.append(new for e in said for new in revise(e, standing.get(e.candidate_id, {}).get(reviewer, [])))
    decisions = [event.decision for event in said]
    counts = {decision: decisions.count(decision) for decision in ("accept", "reject", "edit", "unsure")}
    return counts | ({"missed": len(added)} if len(windows) else {})


def _missed(
    windows: gpd.GeoDataFrame, candidates: gpd.GeoDataFrame, truth: NDArray[np.object_], errors: Errors
) -> list[BaseGeometry]:
    """Return the true slumps that the reviewer sees in the windows and finds in no list."""
    if windows.empty:
        return []
    lists = [candidates.geometry.to_numpy(), windows["known"].dropna().to_numpy()]
    listed, _, _, _ = overlaps(truth, np.concatenate(lists))
    inside = windows.sindex.query(shapely.point_on_surface(truth), predicate="intersects")[0]
    seen = sorted({*inside.tolist()} - {*listed.tolist()})
    return [truth[index] for index in seen if _draws(errors.seed, truth[index])[0] >= errors.miss_rate]


def judge(
    candidates: NDArray[np.object_],
    truth: NDArray[np.object_],
    errors: Errors,
    accept_iou: float = 0.5,
    known: NDArray[np.object_] | None = None,
) -> list[dict[str, Any]]:
    """Return the decision, possibility, reject_reason, geometry and seconds for each candidate, in their order.

    Args:
        candidates: polygons, shape (n,).
        truth: polygons of the real slumps, shape (m,), the same CRS.
        errors: how the reviewer errs.
        accept_iou: IoU from which on an outline is right.
        known: polygons known where a slump changed, else None, shape (n,): a candidate that fits no better is rejected.
    """
    left, right, iou, shared = overlaps(candidates, truth)
    best, covered = np.zeros(len(candidates)), np.zeros(len(candidates))
    np.maximum.at(best, left, iou)
    np.add.at(covered, left, shared)
    known_best = np.zeros(len(candidates))
    if known is not None:
        outline, _, known_iou, _ = overlaps(known, truth)
        np.maximum.at(known_best, outline, known_iou)
    cover = covered / shapely.area(candidates) if len(candidates) else covered
    partner = _partners(left, right, iou)
    decided = []
    redrawn = {t for c, t in partner.items() if best[c] >= accept_iou}
    for index, outline in enumerate(candidates):
        draw = _draws(errors.seed, outline)
        match = partner.get(index)
        if known_best[index] > 0 and known_best[index] >= best[index]:
            decision = "reject"
        elif best[index] >= accept_iou and match is not None:
            decision = "reject" if draw[0] < errors.miss_rate else "accept"
        elif best[index] < NO_OVERLAP and cover[index] < NO_OVERLAP:
            decision = "accept" if draw[0] < errors.false_accept_rate else "reject"
        elif match is not None and match not in redrawn and draw[0] < errors.redraw_rate:
            decision = "edit"
        else:
            decision = "unsure"
        decided.append(_verdict(decision, best[index], truth[match] if match is not None else None, draw))
    return decided


def _partners(left: NDArray[np.intp], right: NDArray[np.intp], iou: NDArray[np.float64]) -> dict[int, int]:
    """Return candidate -> truth, one to one, the best IoU first."""
    partner: dict[int, int] = {}
    taken: set[int] = set()
    for pair in np.lexsort((right, left, -iou)):
        candidate, slump = int(left[pair]), int(right[pair])
        if candidate not in partner and slump not in taken:
            partner[candidate] = slump
            taken.add(slump)
    return partner


def _draws(seed: int, outline: BaseGeometry) -> tuple[float, float]:
    """Return two numbers in [0, 1) that depend on the seed and on the place (to the metre) alone."""
    point = outline.representative_point()
    digest = hashlib.sha256(f"{seed} {point.x:.0f} {point.y:.0f}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64, int.from_bytes(digest[8:16], "big") / 2**64


def _verdict(decision: str, iou: float, truth: BaseGeometry | None, draw: tuple[float, float]) -> dict[str, Any]:
    sure = {"accept": 1.0 if iou >= 0.7 else 0.75, "edit": 0.75, "unsure": 0.5, "reject": 0.0 if draw[1] < 0.8 else 0.25}
    seconds = {"accept": 5, "edit": 40, "unsure": 12, "reject": 4}[decision] * (0.5 + draw[1])
    return {
        "decision": decision,
        "possibility": sure[decision],
        "reject_reason": REASONS[int(draw[1] * len(REASONS))] if decision == "reject" else None,
        "geometry": to_geojson(truth) if decision == "edit" and truth is not None else None,
        "note": "the outline doesn't fit the slump" if decision == "unsure" else None,
        "seconds": float(np.round(seconds, 1)),
    }


def _named(candidates: gpd.GeoDataFrame) -> list[tuple[str, str]]:
    return list(zip(candidates["candidate_id"], candidates["base_sha256"], strict=True))


def _decision(common: dict[str, str], candidate: tuple[str, str], verdict: dict[str, Any]) -> Event:
    return make_event(**common, action="decide", candidate_id=candidate[0], base_sha256=candidate[1], **verdict)


def _addition(common: dict[str, str], outline: BaseGeometry) -> Event:
    drawn = to_geojson(outline)
    name = missed_id(common["round"], common["reviewer"], drawn)
    return make_event(**common, action="add_missed", candidate_id=name, geometry=drawn, possibility=1.0)


def _truth(path: Path, target_year: int, crs: Any) -> NDArray[np.object_]:
    frame = read_outlines(path, "the true slumps", crs=crs)
    if "year" in frame:
        years = sorted({int(year) for year in frame["year"].dropna()})
        frame = frame[frame["year"] == target_year]
        if frame.empty:
            raise InputError(path, f"has no slump of {target_year} (years {years})", do="correct time.target_year")
    outlines: NDArray[np.object_] = frame.geometry.to_numpy()
    return outlines
