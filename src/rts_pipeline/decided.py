"""What was decided before where an outline lies: whether it shows anything that nobody judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import shapely

from rts_pipeline.lineage import MIN_SHARED_M2, SEPARATOR, common_ground, covered_m2, slight, united

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray

    Geometries = NDArray[np.object_]


def compare(frame: gpd.GeoDataFrame, labels: gpd.GeoDataFrame, growth: float, pixel_m: float) -> gpd.GeoDataFrame:
    """Compare outlines with everything that was decided before.

    An outline lies over a slump when they share more than neighbours do by accident (`lineage.slight`). Of what was rejected
    only the ground counts: an outline around a rejected one, or beside it, shows ground that nobody judged. Whatever is asked
    and judged leaves less of such ground, so that no outline is asked again and again.

    Args:
        frame: outlines, index 0..n-1, in the CRS of the labels.
        labels: labels of the round.
        growth: share above the area of what is known there, and of what reviewers saw there, from which on it is asked again;
            also share of what was rejected of it that the rest of it must exceed.
        pixel_m: edge of a pixel.

    Returns:
        The outlines with `status` ("candidate", "changed", "known" or "rejected"), `known_ids` (labels of the known slumps that
        it lies over, joined by commas) and `known` (their union, None where there is none).
    """
    import geopandas as gpd

    slumps = labels[labels["kind"] == "positive"]
    known, slump = _over(frame, slumps, pixel_m)
    order = np.lexsort([slump, known])
    known, slump = known[order], slump[order]
    outlines = united(slumps.geometry.to_numpy()[slump], known, len(frame))
    is_known = ~shapely.is_missing(outlines)
    scale = frame["area_m2"].to_numpy() / frame.area.to_numpy()
    known_m2 = np.fmax(shapely.area(outlines) * scale, _judged_m2(frame, labels, pixel_m))
    grown = frame["area_m2"].to_numpy() > (1 + growth) * known_m2
    rejected = _mostly(frame.geometry.to_numpy(), labels.geometry[labels["kind"] == "negative"], growth)
    status = np.select([is_known & grown, is_known, rejected], ["changed", "known", "rejected"], "candidate")
    names = pd.Series(slumps["label_id"].to_numpy()[slump], dtype="str").groupby(known).agg(SEPARATOR.join)
    return frame.assign(
        status=pd.Series(status, dtype="str"),
        known_ids=names.reindex(frame.index).fillna("").astype("str"),
        known=gpd.GeoSeries(outlines, index=frame.index, crs=frame.crs),
    )


def asked_in_vain(frame: gpd.GeoDataFrame, labels: gpd.GeoDataFrame, growth: float) -> NDArray[np.bool_]:
    """Return which outlines show, beyond what is known, mostly ground that reviewers looked at and couldn't tell.

    Args:
        frame: outlines as `compare` returns them.
        labels: labels of the round.
        growth: share of that ground that the rest may have.
    """
    outlines, known = frame.geometry.to_numpy().copy(), frame["known"].to_numpy()
    there = ~shapely.is_missing(known)
    outlines[there] = shapely.difference(outlines[there], known[there])
    return _mostly(outlines, labels.geometry[(labels["kind"] == "ignore") & (labels["reviewers"] != "")], growth)


def _over(frame: gpd.GeoDataFrame, others: gpd.GeoDataFrame, pixel_m: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the positions of the outlines that lie over another, and of that other, a pair of each."""
    one, other = frame.sindex.query(others.geometry, predicate="intersects")[::-1]
    first, second = frame.geometry.to_numpy()[one], others.geometry.to_numpy()[other]
    over = ~slight(common_ground(first, second), first, second, pixel_m)
    return one[over], other[over]


def _mostly(outlines: Geometries, ground: gpd.GeoSeries, growth: float) -> NDArray[np.bool_]:
    """Return which outlines lie on some ground, but for a rest that is at most the share `growth` of what lies there."""
    most: NDArray[np.bool_] = shapely.area(outlines) <= (1 + growth) * covered_m2(outlines, ground.to_numpy()) + MIN_SHARED_M2
    return most


def _judged_m2(frame: gpd.GeoDataFrame, labels: gpd.GeoDataFrame, pixel_m: float) -> NDArray[np.float64]:
    """Return the area of the largest outline that reviewers saw where each lies, and either took for a slump (perhaps redrawn
    smaller) or refused to put in the place of a known one; 0 where there was none.
    """
    seen = labels[((labels["kind"] == "positive") | (labels["known_ids"] != "")) & labels["judged_m2"].notna()]
    place, label = _over(frame, seen, pixel_m)
    judged = np.zeros(len(frame))
    np.maximum.at(judged, place, seen["judged_m2"].to_numpy()[label])
    return judged
