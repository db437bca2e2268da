"""The two tables of the evidence: the same columns and types however many rows they have. The package says what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rts_pipeline.ranking import score, with_years

if TYPE_CHECKING:
    import geopandas as gpd

CHIP = ("true_colour", "false_colour", "outlined")
TERRAIN = ("hillshade", "slope")
GROUND = ("west", "south", "east", "north")
YEAR = {
    "candidate_id": "str",
    "year": "int64",
    **dict.fromkeys(GROUND, "float64"),
    "item_id": "str",
    "acquired": "str",
    **dict.fromkeys(CHIP, "str"),
    "usable_fraction": "float64",
    "shift_east_m": "float64",
    "shift_north_m": "float64",
    "reason": "str",
    **dict.fromkeys(TERRAIN, "str"),
    "terrain_reason": "str",
    "observed_fraction": "float64",
    "seen": "boolean",
    "area_m2": "float64",
    "prob_mean": "float64",
    "prob_max": "float64",
    "ndvi": "float64",
    "brightness": "float64",
    "ndvi_ring": "float64",
    "brightness_ring": "float64",
    "headwall_m": "float64",
    "misregistration_m": "float64",
    "numbers_reason": "str",
}
"""Columns of `evidence.parquet` before the geometry."""
GROUP_ROWS = 2000
"""Rows of `evidence.parquet` that lie together: the review reads the outlines of one candidate at a time."""
CHANGE = {
    "candidate_id": "str",
    "n_images": "int64",
    "n_seen": "int64",
    "first_year_visible": "Int64",
    "last_year_absent": "Int64",
    "growth_m2_yr": "float64",
    "growth_low_m2_yr": "float64",
    "growth_high_m2_yr": "float64",
    "retreat_m_yr": "float64",
    "retreat_error_m_yr": "float64",
    "uphill_deg": "float64",
    "monotone_growth": "boolean",
    "two_years": "boolean",
    "score": "float64",
    "rank": "Int64",
    "reason": "str",
}
"""Columns of `change.parquet`."""


def evidence_table(rows: Sequence[dict[str, Any]], crs: str) -> gpd.GeoDataFrame:
    """Return `evidence.parquet` of rows by the names of its columns; what a row doesn't say is null."""
    import geopandas as gpd

    frame = pd.DataFrame(list(rows), columns=list(YEAR)).astype(YEAR)
    outlines = gpd.GeoSeries([row["outline"] for row in rows], crs=crs)
    return gpd.GeoDataFrame(frame.assign(outline=outlines), geometry="outline", crs=crs)


def change_table(summaries: Sequence[dict[str, Any]], candidates: pd.DataFrame) -> pd.DataFrame:
    """Return `change.parquet`.

    Args:
        summaries: a candidate each, without id, score and rank.
        candidates: candidate_id, prob_mean and known_m, in the same order; the last two are nan for slumps that are known.
    """
    frame = pd.DataFrame(list(summaries), columns=list(CHANGE)).astype({k: v for k, v in CHANGE.items() if k != "rank"})
    frame["candidate_id"] = candidates["candidate_id"].to_numpy()
    chance = with_years(candidates["prob_mean"].to_numpy(float), _lasting(frame))
    frame["score"] = score(chance, candidates["known_m"].to_numpy(float))
    # Equals keep the order that they have among the candidates.
    frame["rank"] = frame["score"].rank(ascending=False, method="first").astype("Int64")
    return frame.astype(CHANGE)


def _lasting(frame: pd.DataFrame) -> np.ndarray:
    """Return 1 where both tests of the years are passed, 0 where one is failed, else nan."""
    # pandas' own "all" passes over what isn't known
    tests = frame[["monotone_growth", "two_years"]].to_numpy(float, na_value=np.nan)
    return np.select([(tests == 0).any(axis=1), (tests == 1).all(axis=1)], [0.0, 1.0], np.nan)
