"""Which outlines are the same slump: those that share area, directly or over others, and those whose place they took."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from rts_pipeline.graph import components
from rts_pipeline.inventory.shape import only_polygons
from rts_pipeline.lineage import MIN_SHARED_M2, replacements


def overlap_groups(outlines: NDArray[np.object_]) -> NDArray[np.int64]:
    """Return the number of each outline's group, 0..; outlines that share more than MIN_SHARED_M2 are of one group.

    Args:
        outlines: n polygons in one CRS in metres.
    """
    return components(len(outlines), *_overlapping(outlines))


def _overlapping(outlines: NDArray[np.object_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    left, right = shapely.STRtree(outlines).query(outlines, predicate="intersects")
    once = left < right
    left, right = left[once], right[once]
    shared = shapely.area(shapely.intersection(outlines[left], outlines[right])) > MIN_SHARED_M2
    return left[shared], right[shared]


def slump_groups(parts: gpd.GeoDataFrame) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the number of each outline's slump, and whether another outline took its place.

    An outline without its place any more belongs to the slump of that other one and, by its shape, to no further one.

    Args:
        parts: outlines in a CRS in metres, with delineation_id and known_ids.
    """
    outlines = parts.geometry.to_numpy()
    new, old = replacements(parts["delineation_id"], parts["known_ids"], outlines)
    gone = np.zeros(len(parts), dtype=bool)
    gone[old] = True
    present = np.flatnonzero(~gone)
    left, right = _overlapping(outlines[present])
    links = np.concatenate([present[left], new]), np.concatenate([present[right], old])
    return components(len(parts), *links), gone


def unite_overlapping(parts: gpd.GeoDataFrame, merge: Callable[[pd.DataFrame], dict[str, Any]]) -> gpd.GeoDataFrame:
    """Return one row a slump; a column `parts` tells what a united row was made of.

    Its outline is the union of those whose place no other took.

    Args:
        parts: outlines in a CRS in metres, with delineation_id and known_ids.
        merge: gives the values (without geometry) of the row that several parts become; a column `replaced` says which of
            them another took the place of.
    """
    if len(parts) == 0:
        return parts.drop(columns="known_ids").assign(parts=pd.Series([], dtype="str"))
    group, gone = slump_groups(parts)
    parts = parts.assign(replaced=gone)
    several = np.bincount(group)[group] > 1
    single = parts[~several].drop(columns=["known_ids", "replaced"]).assign(parts=None)
    rows = [
        {**merge(frame), "geometry": only_polygons(np.array([shapely.union_all(frame.geometry[~frame["replaced"]])]))[0]}
        for _, frame in parts[several].groupby(group[several])
    ]
    if not rows:
        return single.reset_index(drop=True)
    united = gpd.GeoDataFrame(rows, geometry="geometry", crs=parts.crs)
    united = united.astype({name: dtype for name, dtype in single.dtypes.items() if name not in {"parts", "geometry"}})
    both = pd.concat([single.astype({"parts": "str"}), united.astype({"parts": "str"})], ignore_index=True)
    return gpd.GeoDataFrame(both, geometry="geometry", crs=parts.crs)
