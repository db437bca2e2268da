"""The ground that a network has seen, so that no later one which starts from it is judged there.

`model.json` lists it as `ground`: for each CRS the blocks of windows that the network and those it started from were trained
on ("train"), and that their best epochs were chosen on ("validation"), as west, south, east, north in that CRS.
"""

from __future__ import annotations

from typing import Any

import geopandas as gpd
import numpy as np
import shapely

from rts_pipeline.chips import SPLITS

Ground = list[dict[str, Any]]


def ground_of(table: gpd.GeoDataFrame, crs: str, before: Ground) -> Ground:
    """Return what a network has seen that was fitted to these windows.

    Args:
        table: the table of windows.
        crs: their CRS, as the grid names it.
        before: what the network had seen that it started from; empty when it started from none.
    """
    seen = {entry["crs"]: entry for entry in before}
    known = seen.get(crs, {})
    own: dict[str, Any] = {"crs": crs}
    for split in SPLITS[:2]:
        bounds = table.bounds[table.split == split].groupby(table.block)
        blocks = np.column_stack([bounds[["minx", "miny"]].min(), bounds[["maxx", "maxy"]].max()])
        own[split] = sorted([*block] for block in {*map(tuple, blocks.tolist()), *map(tuple, known.get(split, []))})
    return [*(entry for name, entry in seen.items() if name != crs), own]


def seen_before(table: gpd.GeoDataFrame, before: Ground) -> int:
    """Return how many windows that are to judge a network share ground with what served an earlier purpose.

    A validation window must lie off all ground of training, a test window off that of validation too.

    Args:
        table: the table of windows.
        before: what the network has seen that is to be started from.
    """
    met = np.zeros(len(table), bool)
    for entry in before:
        windows = table.geometry.to_crs(entry["crs"]).to_numpy()
        # elsewhere in the world a CRS may have no coordinates
        placed = np.isfinite(shapely.bounds(windows)).all(axis=1)
        for number, split in enumerate(SPLITS[:2], 1):
            rows = np.flatnonzero(placed & table.split.isin(SPLITS[number:]).to_numpy())
            boxes = shapely.box(*np.reshape(entry[split], (-1, 4)).T)
            window, box = shapely.STRtree(boxes).query(windows[rows], predicate="intersects")
            shared = ~shapely.touches(windows[rows][window], boxes[box])
            met[rows[window[shared]]] = True
    return int(met.sum())
