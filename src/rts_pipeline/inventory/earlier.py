"""Slumps of an earlier inventory: which of them are seen again, were merged, split or stabilised, and which slumps are new.

ARTS (Yang et al. 2025, Scientific Data 12:18) wants each intersection with an earlier outline named, and a slump that is seen
again to keep its first UID. What outlines and dates settle is proposed; the rest is asked. An earlier slump that no outline
shows is carried along while nobody says that it is gone: its ground was mostly not observed this time, or the lab is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from rts_pipeline.errors import InputError
from rts_pipeline.inventory import relations
from rts_pipeline.inventory.dictionary import HISTORY, INVENTORY
from rts_pipeline.inventory.relations import ASKED, PROPOSED, SAME_IOU, UNOBSERVED
from rts_pipeline.inventory.shape import only_polygons
from rts_pipeline.io.vectors import read_outlines, reprojected
from rts_pipeline.lineage import MIN_SHARED_M2, MOSTLY, common_ground, covered_m2, slight

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rts_pipeline.inventory.decisions import Decisions

    Geometries = NDArray[np.object_]
    Observed = Callable[[gpd.GeoSeries], NDArray[np.float64]]

EARLIER = "earlier"
"""Source and decision of a slump that is carried along."""
OF_ITS_PROJECT = ("delineation_id", "source", "iteration", "decision", "parts", "change_of", "relation", "related_uids")
"""Columns that name rounds and candidates of the project that made the earlier inventory, or that are made anew."""
STABLE_SCAR = "stable scar"
"""The reason with which reviewers reject an outline that shows where a slump once was."""
REJECTED = "rejected"
"""Stands for any other reason."""


@dataclass(frozen=True)
class Matched:
    """What an earlier inventory says of slumps.

    Attributes:
        carried: position of the earlier slump whose uid each slump keeps, -1 for none, shape (n,).
        relations: rows of `relations.table` without places; of slumps of this inventory, which `slump` names, the caller knows
            `rts_uid`.
        slump: position of each relation's slump, -1 for none.
        places: the ground of each relation.
        along: rows of the earlier slumps that are carried along, as `carried_along` gives them.
        along_at: their positions in the earlier inventory.
    """

    carried: NDArray[np.int64]
    relations: list[dict[str, Any]]
    slump: list[int]
    places: list[Any]
    along: gpd.GeoDataFrame
    along_at: list[int]


def read_earlier(path: Path, crs: Any) -> gpd.GeoDataFrame:
    """Return the slumps of an inventory's file (GeoPackage or GeoParquet) in a CRS (None: its own); `rts_uid` is unique in it.

    Raises:
        InputError: not such a file, or uids that are missing or there twice.
    """
    slumps = read_outlines(path, "an inventory")
    if "rts_uid" not in slumps:
        raise InputError(path, "has no column 'rts_uid'", expected="an inventory's GeoPackage or GeoParquet file")
    wrong = slumps["rts_uid"].isna() | slumps["rts_uid"].duplicated()
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        uid = slumps["rts_uid"].iloc[row]
        raise InputError(path, f"rts_uid of feature {row + 1} is {uid!r}, missing or there twice", expected="one a slump")
    if crs is None or slumps.crs == crs:
        return slumps.set_geometry(shapely.force_2d(slumps.geometry.to_numpy()), crs=slumps.crs)
    slumps = reprojected(slumps, crs, path)
    return slumps.set_geometry(only_polygons(slumps.geometry.to_numpy()), crs=crs)


def match_earlier(
    slumps: gpd.GeoDataFrame,
    earlier: gpd.GeoDataFrame,
    rejected: gpd.GeoDataFrame,
    area: Any,
    pixel_m: float,
    decisions: Decisions,
    observed: Observed,
) -> Matched:
    """Relate slumps to those of an earlier inventory.

    Args:
        slumps: outlines in a CRS in metres, with delineation_id and first_year.
        earlier: what `read_earlier` gives, in the same CRS.
        rejected: outlines that reviewers rejected, with reject_reason.
        area: the area that was searched: of earlier slumps elsewhere nothing is said.
        pixel_m: edge of a pixel.
        decisions: what the lab decided.
        observed: tells which share of each outline's area was observed this time.

    Raises:
        InputError: a decision that can't be.
    """
    pairs = _pairs(slumps, earlier, pixel_m)
    outlines, before = slumps.geometry.to_numpy(), earlier.geometry.to_numpy()
    names = relations.question_ids(outlines[pairs["new"]], before[pairs["old"]])
    took = [decisions.take(name, relations.WITH_EARLIER) for name in names]
    carried = _carried(pairs, took, len(slumps), len(earlier), decisions)
    told = _of_pairs(pairs.assign(relation_id=names), took, carried, slumps, earlier)
    lost = np.setdiff1d(np.flatnonzero(shapely.intersects(before, area)), pairs.loc[_shown(pairs, told), "old"])
    free = _free(lost, pairs, outlines, before)
    told_lost, along = _of_lost(lost, free, earlier, rejected, decisions, observed)
    return Matched(
        carried,
        told + told_lost,
        [*pairs["new"].tolist(), *[-1] * len(lost)],
        [*pairs["ground"], *before[lost]],
        carried_along(earlier.iloc[along], free[along], slumps),
        along,
    )


def _of_pairs(
    pairs: pd.DataFrame, took: list[Any], carried: NDArray[np.int64], slumps: gpd.GeoDataFrame, earlier: gpd.GeoDataFrame
) -> list[dict[str, Any]]:
    """Return the relation of each pair, with what the lab decided of it in `took`."""
    uids, rows = earlier["rts_uid"].to_numpy(), slumps["delineation_id"].to_numpy()
    others = _delineations(earlier)
    taken = np.zeros(len(earlier), dtype=bool)
    taken[carried[carried >= 0]] = True
    told = []
    for decision, pair in zip(took, pairs.to_dict("records"), strict=True):
        new, old = pair["new"], pair["old"]
        relation, status, reason = _proposal(pair, carried[new], bool(taken[old]))
        told.append(
            {
                **{key: value for key, value in pair.items() if key in relations.COLUMNS},
                **{"reason": reason, "choices": "|".join(relations.WITH_EARLIER)},
                **{"related_uid": uids[old], "delineation_id": rows[new], "related_id": others[old]},
                **relations.said(decision, relation, status),
            }
        )
    return told


def _delineations(earlier: gpd.GeoDataFrame) -> NDArray[np.object_]:
    """Return by what the earlier rows are named: their delineation_id, or their uid where the file lacks it."""
    return earlier["delineation_id" if "delineation_id" in earlier else "rts_uid"].to_numpy()


def _shown(pairs: pd.DataFrame, told: list[dict[str, Any]]) -> NDArray[np.bool_]:
    """Return of which pairs the slump shows the earlier one: not by accident, nor so little that the lab is still asked."""
    accident = np.array([row["relation"] == "overlap" for row in told], dtype=bool)
    asked = np.array([row["status"] == ASKED for row in told], dtype=bool)
    return ~accident & (pairs["close"].to_numpy(bool) | ~asked)


def _of_lost(
    lost: NDArray[np.int64],
    free: Geometries,
    earlier: gpd.GeoDataFrame,
    rejected: gpd.GeoDataFrame,
    decisions: Decisions,
    observed: Observed,
) -> tuple[list[dict[str, Any]], list[int]]:
    """Return the relation of each earlier slump that no outline shows, and the positions of those that are carried along."""
    before, uids = earlier.geometry.to_numpy(), earlier["rts_uid"].to_numpy()
    others = _delineations(earlier)
    shares = observed(earlier.geometry.iloc[lost].reset_index(drop=True))
    told, along = [], []
    for old, said, share in zip(lost.tolist(), _rejections(before[lost], rejected), shares.tolist(), strict=True):
        row, stays = _lost(before[old], said, share, decisions, shapely.area(free[old]) > MIN_SHARED_M2)
        told.append({"rts_uid": uids[old] if stays else "", "related_uid": uids[old], "related_id": others[old], **row})
        along += [old] if stays else []
    return told, along


def carried_along(earlier: gpd.GeoDataFrame, outlines: Geometries, like: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return earlier slumps as rows of this inventory, with what their inventory tells of them.

    What it tells of its own rounds and candidates isn't taken over: the same names mean others here.

    Args:
        earlier: n slumps of an earlier inventory; columns that it lacks, or that hold something else, are left empty.
        outlines: their ground, shape (n,).
        like: this inventory's slumps, before they are placed: the rows get its columns, types and CRS.
    """
    values: dict[str, Any] = {}
    for column in (*INVENTORY, *HISTORY):
        if column.name not in earlier or column.name not in like or column.name in OF_ITS_PROJECT:
            continue
        told = earlier[column.name].reset_index(drop=True)
        if column.type in {"number", "integer"}:
            told = pd.to_numeric(told, errors="coerce").astype("float64")
            whole, share = column.type == "integer", column.unit == "1"
            told = told.where(np.isfinite(told) & (not whole or told % 1 == 0) & (not share or told.between(0, 1)))
        elif column.type == "boolean":
            told = told.map({True: True, False: False}).astype("boolean")
        elif column.unit == "UTC":
            told = told.astype("str").where(told.astype("str").str.match(r"\d{4}-\d\d-\d\d").fillna(False))
        values[column.name] = told
    named = {"delineation_id": [f"{EARLIER}-{uid}" for uid in earlier["rts_uid"]], "source": EARLIER, "decision": EARLIER}
    rows = pd.DataFrame({**values, **named, "iteration": 0}).reindex(columns=[name for name in like if name != "geometry"])
    rows["n_reviews"] = rows["n_reviews"].astype("float64").fillna(0)
    types = {name: dtype for name, dtype in like.dtypes.items() if name != "geometry"}
    return gpd.GeoDataFrame(rows.astype(types), geometry=outlines, crs=like.crs)


def _free(lost: NDArray[np.int64], pairs: pd.DataFrame, outlines: Geometries, before: Geometries) -> Geometries:
    """Return the earlier slumps' ground, of those that are `lost` only what no slump of this inventory takes."""
    left, neighbours = before.copy(), pairs[pairs["old"].isin(lost)]
    for new, old in zip(neighbours["new"], neighbours["old"], strict=True):
        left[old] = shapely.difference(left[old], outlines[new])
    touched = neighbours["old"].unique()
    left[touched] = [
        only_polygons(np.array([ground]))[0] if ground.area > MIN_SHARED_M2 else ground for ground in left[touched]
    ]
    return left


def known_before(places: Sequence[Any], earlier: gpd.GeoDataFrame) -> NDArray[np.bool_]:
    """Return which of n outlines show, or lie in, a slump of an earlier inventory."""
    outlines, before = np.array(places, dtype=object), earlier.geometry.to_numpy()
    new, old = shapely.STRtree(before).query(outlines, predicate="intersects")
    shared = shapely.area(shapely.intersection(outlines[new], before[old]))
    known = np.zeros(len(outlines), dtype=bool)
    known[new[shared >= MOSTLY * np.minimum(shapely.area(outlines[new]), shapely.area(before[old]))]] = True
    return known


def _rejections(outlines: Geometries, rejected: gpd.GeoDataFrame) -> list[str]:
    """Return what reviewers said of most of each outline's ground: `STABLE_SCAR`, `REJECTED` or nothing ("")."""
    everything, scars = rejected.geometry.to_numpy(), (rejected["reject_reason"] == STABLE_SCAR).to_numpy(bool)
    as_scar, at_all = (covered_m2(outlines, by) >= MOSTLY * shapely.area(outlines) for by in (everything[scars], everything))
    return np.select([as_scar, at_all], [STABLE_SCAR, REJECTED], "").tolist()


def _pairs(slumps: gpd.GeoDataFrame, earlier: gpd.GeoDataFrame, pixel_m: float) -> pd.DataFrame:
    """Return the pairs that share ground, best IoU first: what they share, when they were seen, and how close they are."""
    outlines, before = slumps.geometry.to_numpy(), earlier.geometry.to_numpy()
    new, old = shapely.STRtree(before).query(outlines, predicate="intersects")
    ground = common_ground(outlines[new], before[old])
    shared = shapely.area(ground)
    keep = shared > MIN_SHARED_M2
    new, old, ground, shared = new[keep], old[keep], ground[keep], shared[keep]
    pairs = relations.pair_numbers(outlines[new], before[old], shared)
    accident = slight(ground, outlines[new], before[old], pixel_m)
    close = ~accident & (pairs[["share", "related_share"]].max(axis=1) >= MOSTLY)
    years = earlier_years(earlier)
    pairs = pairs.assign(
        **{"new": new, "old": old, "ground": ground, "slight": accident, "close": close},
        first_year=slumps["first_year"].to_numpy(dtype=float, na_value=np.nan)[new],
        related_year=years[old],
    )
    return pairs.sort_values(["iou", "shared_m2"], ascending=False, kind="stable", ignore_index=True)


def earlier_years(earlier: gpd.GeoDataFrame) -> NDArray[np.float64]:
    """Return the year of the last image of each earlier slump; nan where its inventory doesn't say."""
    if "acquired_end" not in earlier:
        return np.full(len(earlier), np.nan)
    years: NDArray[np.float64] = pd.to_numeric(earlier["acquired_end"].astype("str").str[:4], errors="coerce").to_numpy(float)
    return years


def _goes_on(pair: dict[Any, Any]) -> bool:
    """Return whether outlines and dates let a slump be the earlier one, seen again."""
    later = pair["first_year"] > pair["related_year"]
    known = np.isfinite(pair["first_year"]) and np.isfinite(pair["related_year"])
    if pair["iou"] >= SAME_IOU:
        return True
    return not later if pair["related_share"] >= MOSTLY else bool(known and not later)


def _carried(pairs: pd.DataFrame, took: list[Any], n_new: int, n_old: int, decisions: Decisions) -> NDArray[np.int64]:
    """Return the earlier slump that each slump is: what the lab decided, then one to one by IoU."""
    carried, free = np.full(n_new, -1), np.ones(n_old, dtype=bool)
    rows = list(zip(pairs.to_dict("records"), took, strict=True))
    for pair, decision in rows:
        if decision is None or decision.relation != "repeat":
            continue
        if carried[pair["new"]] >= 0 or not free[pair["old"]]:
            raise decisions.wrong(decision, "'repeat' was decided of that slump already", "one slump for each earlier one")
        carried[pair["new"]], free[pair["old"]] = pair["old"], False
    for pair, decision in rows:
        if decision is None and pair["close"] and free[pair["old"]] and carried[pair["new"]] < 0 and _goes_on(pair):
            carried[pair["new"]], free[pair["old"]] = pair["old"], False
    return carried


def _proposal(pair: dict[Any, Any], carried: int, taken: bool) -> tuple[str, str, str]:
    """Return relation, status and reason of a pair.

    Args:
        pair: a row of `_pairs`.
        carried: the earlier slump that the pair's slump is, -1 for none.
        taken: whether the pair's earlier slump is one of these.
    """
    part = f"it shares {pair['share']:.0%} of its area and {pair['related_share']:.0%} of the earlier one's"
    if carried == pair["old"]:
        return "repeat", PROPOSED, part
    if pair["slight"]:
        return "overlap", PROPOSED, part
    if not pair["close"]:
        return "unknown", ASKED, f"{part}: too little to be sure"
    if carried >= 0:
        if taken or pair["related_share"] < MOSTLY:
            return "unknown", ASKED, f"{part}, and is another earlier slump already"
        return "merged", PROPOSED, f"{part}, and is another earlier slump too"
    if pair["first_year"] > pair["related_year"]:
        if pair["related_share"] >= MOSTLY:
            return "unknown", ASKED, f"{part}, but is said to be there first in {pair['first_year']:.0f}"
        return "new", PROPOSED, f"{part}, and is there since {pair['first_year']:.0f}"
    if taken:
        return "split", PROPOSED, f"{part}, which another slump goes on"
    return "unknown", ASKED, f"{part}, and it isn't known since when it is there"


def _lost(outline: Any, verdict: str, observed: float, decisions: Decisions, free: bool) -> tuple[dict[str, Any], bool]:
    """Return the relation of an earlier slump that no outline shows, and whether it is carried along.

    That nobody has decided yet removes no slump; a reviewer who looked at its ground and rejected it does.

    Args:
        outline: its ground.
        verdict: what reviewers said of most of it, as `_rejections` tells it.
        observed: share of it that was observed this time.
        decisions: what the lab decided.
        free: whether other slumps leave it any ground, without which it can't be carried along.

    Raises:
        InputError: it is decided as not observed, and has no ground left.
    """
    name = relations.question_id(outline)
    decision = decisions.take(name, relations.LOST)
    if decision is not None and decision.relation == UNOBSERVED and not free:
        raise decisions.wrong(
            decision, f"{name} can't be carried along: other slumps take all of its ground", "another decision"
        )
    if verdict == STABLE_SCAR:
        relation, status, reason = "stabilized", PROPOSED, f"reviewers rejected an outline there as '{STABLE_SCAR}'"
    elif observed < MOSTLY and free:
        relation, status, reason = UNOBSERVED, PROPOSED, f"{observed:.0%} of it was observed this time, too little to tell"
    else:
        because = "reviewers rejected an outline there" if verdict else "no outline shows most of it any more"
        relation, status, reason = "unknown", ASKED, f"{because}; {observed:.0%} of it was observed"
    told = relations.said(decision, relation, status)
    stays = free and (told["relation"] == UNOBSERVED or (told["status"] == ASKED and not verdict))
    return {"relation_id": name, "reason": reason, "choices": "|".join(relations.LOST), **told}, stays
