"""Which outlines are the same slump: those that share area, directly or over others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from rts_pipeline.inventory.shape import only_polygons

MIN_SHARED_M2 = 0.01
"""Overlaps below this are rounding: outlines that share an edge overlap by slivers after a change of CRS."""


def overlap_groups(outlines: NDArray[np.object_]) -> NDArray[np.int64]:
    """Return the number of each outline's group, 0..; outlines that share more than MIN_SHARED_M2 are of one group.

    Args:
        outlines: n polygons in one CRS in metres.
    """
    left, right = shapely.STRtree(outlines).query(outlines, predicate="intersects")
    once = left < right
    left, right = left[once], right[once]
    shared = shapely.area(shapely.intersection(outlines[left], outlines[right])) > MIN_SHARED_M2
    left, right = left[shared], right[shared]
    links = coo_array((np.ones(len(left), dtype=bool), (left, right)), shape=(len(outlines), len(outlines)))
    return connected_components(links, directed=False)[1].astype(np.int64)


def unite_overlapping(parts: gpd.GeoDataFrame, merge: Callable[[pd.DataFrame], dict[str, Any]]) -> gpd.GeoDataFrame:
    """Return one row a group of overlapping outlines; a column `parts` tells what a united row was made of.

    Args:
        parts: outlines in a CRS in metres.
        merge: gives the values (without geometry) of the row that several parts become.
    """
    if len(parts) == 0:
        return parts.assign(parts=pd.Series([], dtype="str"))
    group = overlap_groups(parts.geometry.to_numpy())
    several = np.bincount(group)[group] > 1
    single = parts[~several].assign(parts=None)
    rows = [
        {**merge(frame), "geometry": only_polygons(np.array([shapely.union_all(frame.geometry.to_numpy())]))[0]}
        for _, frame in parts[several].groupby(group[several])
    ]
    if not rows:
        return single.reset_index(drop=True)
    united = gpd.GeoDataFrame(rows, geometry="geometry", crs=parts.crs)
    united = united.astype({name: dtype for name, dtype in parts.dtypes.items() if name != "geometry"})
    both = pd.concat([single.astype({"parts": "str"}), united.astype({"parts": "str"})], ignore_index=True)
    return gpd.GeoDataFrame(both, geometry="geometry", crs=parts.crs)
