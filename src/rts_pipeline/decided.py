"""What was decided before where an outline lies: whether it shows anything that nobody judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import shapely

from rts_pipeline.inventory import relations
from rts_pipeline.lineage import MIN_SHARED_M2, SEPARATOR, common_ground, united

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray


def compare(frame: gpd.GeoDataFrame, labels: gpd.GeoDataFrame, growth: float, pixel_m: float) -> gpd.GeoDataFrame:
    """Compare outlines with everything that was decided before.

    An outline lies over a slump when they share more than neighbours do by accident (`relations.slight`). Of what was rejected
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
    rejected = frame.area.to_numpy() <= (1 + growth) * _rejected_m2(frame, labels) + MIN_SHARED_M2
    status = np.select([is_known & grown, is_known, rejected], ["changed", "known", "rejected"], "candidate")
    names = pd.Series(slumps["label_id"].to_numpy()[slump], dtype="str").groupby(known).agg(SEPARATOR.join)
    return frame.assign(
        status=pd.Series(status, dtype="str"),
        known_ids=names.reindex(frame.index).fillna("").astype("str"),
        known=gpd.GeoSeries(outlines, index=frame.index, crs=frame.crs),
    )


def _over(frame: gpd.GeoDataFrame, others: gpd.GeoDataFrame, pixel_m: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the positions of the outlines that lie over another, and of that other, a pair of each."""
    one, other = frame.sindex.query(others.geometry, predicate="intersects")[::-1]
    first, second = frame.geometry.to_numpy()[one], others.geometry.to_numpy()[other]
    ground = common_ground(first, second)
    shares = relations.pair_numbers(first, second, shapely.area(ground))[["share", "related_share"]]
    over = ~relations.slight(shares.max(axis=1).to_numpy(), ground, pixel_m)
    return one[over], other[over]


def _rejected_m2(frame: gpd.GeoDataFrame, labels: gpd.GeoDataFrame) -> NDArray[np.float64]:
    """Return the area of each outline, in its CRS, that reviewers rejected."""
    refused = labels.geometry[labels["kind"] == "negative"]
    place, label = frame.sindex.query(refused, predicate="intersects")[::-1]
    ground = united(refused.to_numpy()[label], place, len(frame))
    return np.nan_to_num(shapely.area(shapely.intersection(frame.geometry.to_numpy(), ground)))


def _judged_m2(frame: gpd.GeoDataFrame, labels: gpd.GeoDataFrame, pixel_m: float) -> NDArray[np.float64]:
    """Return the area of the largest outline that reviewers saw where each lies, and either took for a slump (perhaps redrawn
    smaller) or refused to put in the place of a known one; 0 where there was none.
    """
    seen = labels[((labels["kind"] == "positive") | (labels["known_ids"] != "")) & labels["judged_m2"].notna()]
    place, label = _over(frame, seen, pixel_m)
    judged = np.zeros(len(frame))
    np.maximum.at(judged, place, seen["judged_m2"].to_numpy()[label])
    return judged
