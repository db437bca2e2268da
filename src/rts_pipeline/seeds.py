"""The slumps known at the start, each under a name of its own: one slump, one id, in every table of a project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from rts_pipeline.io.vectors import read_outlines, reprojected
from rts_pipeline.lineage import SEED, outline_sha256

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Geometries = NDArray[np.object_]

DIGITS = 12
"""Of the checksum in an id: among 100,000 seeds two share them once in 50,000 projects."""
DECIMALS = {"projected": 2, "geographic": 7}
"""Of the coordinates that count, about a centimetre: another format changes no id (GeoJSON holds 7 decimals of a degree)."""


def read_seeds(path: Path, crs: Any) -> gpd.GeoDataFrame:
    """Return seed_id and the outline of each seed in a CRS, in the order of the ids: that of the file changes no result.

    Raises:
        InputError: a file that can't be used.
    """
    given = read_outlines(path, "seed outlines")
    # by the file's own coordinates: those of a change of CRS differ in their last digits from machine to machine
    names = seed_ids(given.geometry.to_numpy(), geographic=given.crs.is_geographic)
    seeds = gpd.GeoDataFrame({"seed_id": names}, geometry=given.geometry.to_numpy(), crs=given.crs)
    return reprojected(seeds, crs, path).sort_values("seed_id", ignore_index=True)


def seed_ids(outlines: Geometries, *, geographic: bool = False) -> list[str]:
    """Return the ids of seeds, "seed-" and 12 hex digits: they follow the outlines, whatever else is in the file.

    An outline that is given again is "seed-<digits>-2" and so on.

    Args:
        outlines: n polygons in the CRS of their file.
        geographic: whether its coordinates are degrees.
    """
    alone = shapely.force_2d(outlines)
    alone = np.where(shapely.get_num_geometries(alone) == 1, shapely.get_geometry(alone, 0), alone)
    digits = [
        f"{SEED}-{text[:DIGITS]}" for text in outline_sha256(alone, DECIMALS["geographic" if geographic else "projected"])
    ]
    # those that differ by less than a centimetre are told apart by what they differ by
    frame = pd.DataFrame({"name": digits, "exact": shapely.to_wkb(shapely.normalize(alone), hex=True, byte_order=1)})
    number = frame.sort_values("exact", kind="stable").groupby("name").cumcount().sort_index() + 1
    return [name if nth == 1 else f"{name}-{nth}" for name, nth in zip(digits, number, strict=True)]
