"""Which outlines are the same slump: those that share ground, directly or over others, and those whose place they took.

The outlines are the parts of the inventory's slumps. A slump begins with a part that took no other's place, or that was
split off. So there are as many slumps as beginnings, less those that were merged; mergers and splits are stated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from rts_pipeline.errors import RefusedError
from rts_pipeline.graph import components, steps
from rts_pipeline.inventory import relations
from rts_pipeline.inventory.descent import Descent, descend
from rts_pipeline.inventory.merge import merged
from rts_pipeline.inventory.relations import ASKED, DECIDED, PROPOSED, SAME_IOU
from rts_pipeline.inventory.shape import only_polygons
from rts_pipeline.lineage import MIN_SHARED_M2, by_accident, common_ground, replacements, united

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rts_pipeline.inventory.decisions import Decisions

    Geometries = NDArray[np.object_]
    Positions = NDArray[np.intp]

SURE = 0.2
"""Where the smaller of two outlines shares less than this share of its area, the lab is asked whether they are one slump."""


@dataclass(frozen=True)
class United:
    """What parts became.

    Attributes:
        slumps: a row a slump, with `rts_uid`, and `parts` of the outlines that it was made of.
        relations: how they are related: rows of `relations.table`, without places.
        places: the ground of each relation.
        slump: position of each part's slump, shape (n parts,).
        gone: whether another part took its place, shape (n parts,).
    """

    slumps: gpd.GeoDataFrame
    relations: list[dict[str, Any]]
    places: list[Any]
    slump: NDArray[np.int64]
    gone: NDArray[np.bool_]


def overlap_groups(outlines: Geometries) -> NDArray[np.int64]:
    """Return the number of each outline's group, 0..; outlines that share more than MIN_SHARED_M2 are of one group.

    Args:
        outlines: n polygons in one CRS in metres.
    """
    left, right, _ = _overlapping(outlines)
    return components(len(outlines), left, right)


def _overlapping(outlines: Geometries) -> tuple[Positions, Positions, Geometries]:
    left, right = shapely.STRtree(outlines).query(outlines, predicate="intersects")
    once = left < right
    left, right = left[once], right[once]
    ground = common_ground(outlines[left], outlines[right])
    shared = shapely.area(ground) > MIN_SHARED_M2
    return left[shared], right[shared], ground[shared]


def unite_overlapping(parts: gpd.GeoDataFrame, pixel_m: float, decisions: Decisions) -> United:
    """Return one row a slump; its outline is the union of the parts whose place no other took.

    Outlines that overlap by less than a pixel's width, or of which the lab says so, stay two: the earlier keeps the ground.

    Args:
        parts: outlines in a CRS in metres, those of earlier rounds first, with the columns of `build.PART_COLUMNS` and own_uid,
            the uid that each has as a slump of its own.
        pixel_m: edge of a pixel.
        decisions: what the lab decided.

    Raises:
        InputError: a decision that can't be.
        RefusedError: a decision that would leave a slump without ground.
    """
    if len(parts) == 0:
        slumps = parts.drop(columns=["known_ids", "own_uid"]).assign(parts=pd.Series([], dtype="str"), rts_uid=parts["own_uid"])
        return United(slumps, [], [], np.zeros(0, np.int64), np.zeros(0, bool))
    outlines = parts.geometry.to_numpy()
    taken = replacements(parts["delineation_id"], parts["known_ids"], outlines, pixel_m)
    lineage = descend(outlines, parts["iteration"].to_numpy(), *taken)
    links = _links(parts, lineage, pixel_m, decisions)
    joined = links["relation"] != "overlap"
    first = np.concatenate([links.loc[joined, "left"], np.arange(len(parts))])
    group = components(len(parts), first, np.concatenate([links.loc[joined, "right"], lineage.holder]))
    # A slump's uid is that of what it began with, of several beginnings the first.
    uids = parts["own_uid"].to_numpy()[_first(group, lineage.origin)]
    present = ~lineage.gone
    ground = united(outlines[present], group[present], len(uids))
    ground = _cut(ground, _first(group, np.ones(len(parts), dtype=bool)), group, links[~joined])
    slumps = _rows(parts.assign(replaced=lineage.gone), group)
    slumps = slumps.assign(rts_uid=uids).set_geometry(only_polygons(ground), crs=parts.crs)
    told = [
        *_told_links(parts, links, lineage, group, uids),
        *_told_merged(parts, lineage, group, uids),
        *_told_splits(parts, lineage, group, uids),
    ]
    told = _once(told)
    return United(slumps, [row for row, _ in told], [place for _, place in told], group, lineage.gone)


def _links(parts: gpd.GeoDataFrame, lineage: Descent, pixel_m: float, decisions: Decisions) -> pd.DataFrame:
    """Return the pairs of present parts that share ground, and what that means: merged, or overlap (by accident)."""
    outlines = parts.geometry.to_numpy()
    present = np.flatnonzero(~lineage.gone)
    left, right, ground = _overlapping(outlines[present])
    links = pd.DataFrame({"left": present[left], "right": present[right], "ground": ground})
    a, b = outlines[links["left"]], outlines[links["right"]]
    links = pd.concat([links, relations.pair_numbers(a, b, shapely.area(ground))], axis=1)
    most = links[["share", "related_share"]].max(axis=1)
    accident = by_accident(ground, a, b, pixel_m)
    asked = ~accident & (most < SURE)
    told = []
    for name, slight, open_ in zip(relations.question_ids(a, b), accident, asked, strict=True):
        decision = decisions.take(name, relations.TOGETHER)
        proposed = "overlap" if slight else "merged"
        told.append({"relation_id": name, **relations.said(decision, proposed, ASKED if open_ else PROPOSED)})
    names = ("relation_id", "relation", "status", "decision", "decided_by", "note")
    return pd.concat([links, pd.DataFrame(told, columns=list(names))], axis=1)


def _first(group: NDArray[np.int64], among: NDArray[np.bool_]) -> Positions:
    """Return the first part of each group among those that count."""
    positions = np.full(group.max() + 1, len(group))
    np.minimum.at(positions, group[among], np.flatnonzero(among))
    return positions


def _rows(parts: gpd.GeoDataFrame, group: NDArray[np.int64]) -> gpd.GeoDataFrame:
    """Return the values of each group's row, in the order of the groups."""
    several = np.bincount(group)[group] > 1
    single = parts[~several].drop(columns=["known_ids", "own_uid", "replaced"]).assign(parts=None).astype({"parts": "str"})
    single.index = pd.Index(group[~several])
    if several.any():
        made = merged(pd.DataFrame(parts[several]), group[several]).assign(geometry=None)
        made = made.astype({name: dtype for name, dtype in single.dtypes.items() if name != "geometry"})
        single = pd.concat([single, gpd.GeoDataFrame(made, geometry="geometry", crs=parts.crs)])
    return gpd.GeoDataFrame(single.sort_index(), geometry="geometry", crs=parts.crs)


def _cut(outlines: Geometries, first: Positions, group: NDArray[np.int64], apart: pd.DataFrame) -> Geometries:
    """Return the slumps' outlines without what belongs to the earlier one of two that overlap by accident."""
    for name, one, other in zip(apart["relation_id"], group[apart["left"]], group[apart["right"]], strict=True):
        if one == other:
            continue
        earlier, later = (one, other) if first[one] < first[other] else (other, one)
        left = shapely.difference(outlines[later], outlines[earlier])
        if shapely.area(left) <= MIN_SHARED_M2:
            raise RefusedError(
                f"relation {name}",
                "is decided as 'overlap', but one of the two slumps lies in the other",
                do="decide 'merged'",
            )
        outlines[later] = left
    return outlines


Told = list[tuple[dict[str, Any], Any]]


def _once(told: Told) -> Told:
    """Return each question of the lab's once, and of what is settled of two slumps what is told first."""
    kept: Told = []
    seen: set[Any] = set()
    for row, place in told:
        pair = (row["rts_uid"], row["related_uid"])
        name = row["relation_id"] if row["status"] == ASKED or row.get("decision") else pair
        if name not in seen:
            kept.append((row, place))
            seen |= {name, pair}
    return kept


def _told_links(
    parts: gpd.GeoDataFrame, links: pd.DataFrame, lineage: Descent, group: NDArray[np.int64], uids: NDArray[np.object_]
) -> Told:
    """Tell of the overlaps that were by accident, are asked, or were decided by the lab; `_told_merged` tells of the others."""
    names, own = parts["delineation_id"].to_numpy(), parts["own_uid"].to_numpy()
    told = []
    links = _outwards(links, lineage, group)
    for link in links[(links["relation"] == "overlap") | (links["status"] != PROPOSED)].to_dict("records"):
        left, right = link["left"], link["right"]
        one, other = uids[group[left]], uids[group[right]]
        if one == other and link["relation"] == "overlap":  # one slump all the same, over others
            continue
        if one == other:  # of one slump: the uid that the part beyond the link has without it
            other = own[lineage.owner[right]]
        row = {
            **{key: link[key] for key in links.columns if key not in {"left", "right", "ground"}},
            **{"rts_uid": one, "related_uid": other, "delineation_id": names[left], "related_id": names[right]},
            "reason": f"two outlines overlap by {max(link['share'], link['related_share']):.0%} of the smaller one",
            "choices": "|".join(relations.TOGETHER),
        }
        told.append((row, link["ground"]))
    return told


def _outwards(links: pd.DataFrame, lineage: Descent, group: NDArray[np.int64]) -> pd.DataFrame:
    """Return the links with the end in front that fewer others join to the part in which the slump's uid goes on."""
    joined = links[links["relation"] != "overlap"]
    keepers = lineage.holder[_first(group, lineage.origin)]
    away = steps(len(group), joined["left"].to_numpy(), joined["right"].to_numpy(), keepers)
    turned = joined.index[away[joined["left"]] > away[joined["right"]]]
    ends = ["left", "right", "share", "related_share"]
    there_and_back = links.loc[turned, ["right", "left", "related_share", "share"]].set_axis(ends, axis=1)
    return pd.concat([links.drop(index=turned), links.loc[turned].assign(**there_and_back)]).sort_index()


def _told_merged(parts: gpd.GeoDataFrame, lineage: Descent, group: NDArray[np.int64], uids: NDArray[np.object_]) -> Told:
    """Tell which slumps became part of another."""
    outlines, names, own = parts.geometry.to_numpy(), parts["delineation_id"].to_numpy(), parts["own_uid"].to_numpy()
    reviewers, first = parts["reviewers"].to_numpy(), _first(group, lineage.origin)
    others = np.flatnonzero(lineage.origin & (first[group] != np.arange(len(parts))))
    kept = first[group[others]]
    numbers = relations.pair_numbers(
        outlines[kept], outlines[others], shapely.area(shapely.intersection(outlines[kept], outlines[others]))
    )
    ids = relations.question_ids(outlines[kept], outlines[others])
    told = []
    for name, keeper, other, pair in zip(ids, kept, others, numbers.to_dict("records"), strict=True):
        by_review = lineage.gone[other] or lineage.gone[keeper]
        by = reviewers[lineage.holder[other]] if by_review else ""
        row: dict[str, Any] = {
            "relation_id": name,
            "status": DECIDED if by_review else PROPOSED,
            "relation": "repeat" if pair["iou"] >= SAME_IOU else "merged",
            **{"rts_uid": uids[group[other]], "related_uid": own[other]},
            **{"delineation_id": names[keeper], "related_id": names[other]},
            **{str(name): number for name, number in pair.items()},
            "reason": "reviewers gave both one outline" if by_review else "their outlines share ground",
            "decided_by": by,
        }
        told.append((row, outlines[other]))
    return told


def _told_splits(parts: gpd.GeoDataFrame, lineage: Descent, group: NDArray[np.int64], uids: NDArray[np.object_]) -> Told:
    """Tell which slumps were drawn on the ground of another that goes on elsewhere."""
    outlines, names, reviewers = (parts[name].to_numpy() for name in ("geometry", "delineation_id", "reviewers"))
    leads = _first(group, lineage.origin)[group] == np.arange(len(parts))
    split = np.flatnonzero(leads & (lineage.split_from >= 0))
    origin = lineage.split_from[split]
    ground = shapely.intersection(outlines[split], outlines[origin])
    numbers = relations.pair_numbers(outlines[split], outlines[origin], shapely.area(ground))
    ids = relations.question_ids(outlines[split], outlines[origin])
    told = []
    for name, new, old, pair in zip(ids, split, origin, numbers.to_dict("records"), strict=True):
        row: dict[str, Any] = {
            **{"relation_id": name, "status": DECIDED, "relation": "split"},
            **{"rts_uid": uids[group[new]], "related_uid": uids[group[lineage.owner[old]]]},
            **{"delineation_id": names[new], "related_id": names[old]},
            **{str(key): number for key, number in pair.items()},
            "reason": "reviewers gave one slump two outlines",
            "decided_by": reviewers[new],
        }
        told.append((row, outlines[new]))
    return told
