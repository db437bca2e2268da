"""How slumps are related, in the words of the ARTS data standard: the table of relations and what a slump's row says of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rts_pipeline.inventory.decisions import Decision

    Geometries = NDArray[np.object_]

PROPOSED, ASKED, DECIDED = "proposed", "asked", "decided"
"""What the software settled; what it leaves to the lab; what reviewers or the lab settled."""
TOGETHER = ("merged", "overlap")
"""What the lab may say of two outlines of one inventory that overlap."""
WITH_EARLIER = ("repeat", "merged", "split", "new", "stabilized", "overlap", "unknown")
"""What it may say of a slump and one of the earlier inventory."""
UNOBSERVED = "unobserved"
"""An earlier slump that can't be told of, since most of its ground was in no usable image, or the images don't tell."""
LOST = ("stabilized", UNOBSERVED, "unknown")
"""What it may say of an earlier slump that no outline shows any more."""
STATED = ("merged", "split", "new", "stabilized", "unknown")
"""Relations that a slump's row names: those that ARTS has a field for."""
TOLD = ("relation", "related_uids")
"""Columns of an inventory that tell relations."""
SAME_IOU = 0.5
"""Two outlines that overlap at least so much show one slump."""
SEPARATOR = ","
DECIMALS = 2
"""Outlines that differ by less than a centimetre are the same ground."""

COLUMNS = {
    **dict.fromkeys(("relation_id", "status", "relation", "rts_uid", "related_uid", "delineation_id", "related_id"), "str"),
    **dict.fromkeys(("iou", "share", "related_share", "shared_m2"), "float64"),
    **dict.fromkeys(("first_year", "related_year"), "Int64"),
    **dict.fromkeys(("reason", "choices", "decision", "decided_by", "note"), "str"),
    **dict.fromkeys(("longitude", "latitude"), "float64"),
}
"""Columns of `relations.parquet` and `relations.csv`; docs/inventory.md says what they hold."""


def question_id(*outlines: Any) -> str:
    """Return the id of a relation: that of its ground, so that a decision on other outlines is never taken for one on these."""
    return question_ids(*(np.array([outline], dtype=object) for outline in outlines))[0]


def question_ids(*outlines: Geometries) -> list[str]:
    """Return the ids of n relations of outlines, of which one array holds the first of each, the next one the second."""
    texts = [shapely.to_wkt(shapely.normalize(sides), rounding_precision=DECIMALS) for sides in outlines]
    return [hashlib.sha256("|".join(sorted(sides)).encode()).hexdigest()[:12] for sides in zip(*texts, strict=True)]


def pair_numbers(first: Geometries, second: Geometries, shared_m2: NDArray[np.float64]) -> pd.DataFrame:
    """Return iou, share (of `first` that is shared), related_share and shared_m2 of n pairs."""
    a, b = shapely.area(first), shapely.area(second)
    numbers = {"iou": shared_m2 / (a + b - shared_m2), "share": shared_m2 / a, "related_share": shared_m2 / b}
    return pd.DataFrame({**numbers, "shared_m2": shared_m2})


def said(decision: Decision | None, relation: str, status: str) -> dict[str, str]:
    """Return relation, status, decision, decided_by and note: the lab's where it decided, else the software's."""
    if decision is None:
        return {"relation": relation, "status": status, "decision": "", "decided_by": "", "note": ""}
    told = {"decision": decision.relation, "decided_by": decision.decided_by, "note": decision.note}
    return {"relation": decision.relation, "status": DECIDED, **told}


def table(rows: Sequence[dict[str, Any]], outlines: Geometries, crs: Any) -> pd.DataFrame:
    """Return the table of relations, those that are asked first.

    Args:
        rows: relations by the names of the columns, without the place.
        outlines: the ground to look at for each.
        crs: of the outlines.
    """
    import geopandas as gpd

    frame = pd.DataFrame(list(rows), columns=list(COLUMNS))
    points = gpd.GeoSeries(shapely.point_on_surface(outlines), crs=crs).to_crs("EPSG:4326")
    places = {"longitude": points.x.round(5).to_numpy(), "latitude": points.y.round(5).to_numpy()}
    frame = frame.assign(**places).astype(COLUMNS)
    rank = frame["status"].map({ASKED: 0, DECIDED: 1, PROPOSED: 2})
    order = frame.assign(_rank=rank).sort_values(["_rank", "rts_uid", "related_uid", "relation", "relation_id"])
    return frame.loc[order.index].reset_index(drop=True)


def pairs_of(slumps: pd.DataFrame) -> list[set[tuple[str, str]]]:
    """Return the (relation, uid) pairs that each row names, as `stated` says; none where the columns `TOLD` are missing."""
    if not set(TOLD) <= set(slumps.columns):
        return [set() for _ in range(len(slumps))]
    told = zip(*(slumps[name].fillna("") for name in TOLD), strict=True)
    return [set(zip(a.split(SEPARATOR), b.split(SEPARATOR), strict=False)) if b else set() for a, b in told]


def stated(uids: pd.Series, relations: pd.DataFrame, before: Sequence[set[tuple[str, str]]] | None = None) -> pd.DataFrame:
    """Return `relation` and `related_uids` of each slump: two lists of equal length, joined by commas; None: none.

    Args:
        uids: rts_uid of n slumps.
        relations: the table of relations.
        before: pairs that the slumps' rows of the earlier inventory name.
    """
    named = relations[relations["relation"].isin(STATED) & relations["rts_uid"].isin(uids) & (relations["related_uid"] != "")]
    found: dict[str, set[tuple[str, str]]] = {uid: set() for uid in uids}
    for uid, named_before in zip(uids, before or [], strict=False):
        found[uid] |= {pair for pair in named_before if pair[0] in STATED}  # a lab's own file may have other words
    for uid, relation, other in zip(named["rts_uid"], named["relation"], named["related_uid"], strict=True):
        found[uid].add((relation, other))
    texts = []
    for uid in uids:
        pairs = sorted(pair for pair in found[uid] if pair[1] != uid)
        texts.append(tuple(SEPARATOR.join(part) or None for part in zip(*pairs, strict=True)) if pairs else (None, None))
    return pd.DataFrame(texts, columns=["relation", "related_uids"], index=uids.index, dtype=object)
