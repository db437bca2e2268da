"""The tables of the report, as rows of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import geopandas as gpd
import pandas as pd

from rts_pipeline.inventory.earlier import EARLIER

MAX_ROWS = 40
LITTLE = 0.5
"""An outline of which a smaller share was observed is told among the limits."""


def file_account(ledger: pd.DataFrame) -> tuple[list[dict[str, Any]], int]:
    """Return the delivered files by status, use, role and reason, and how many rows more there are.

    A row holds status, used_for, role, reason, files and megabytes.
    """
    groups = ledger.groupby(["status", "used_for", "role", "reason"])["bytes"].agg(["size", "sum"]).reset_index()
    groups = _used_first(groups).rename(columns={"size": "files"})
    groups["megabytes"] = groups.pop("sum") / 1e6
    return records(groups.head(MAX_ROWS)), max(0, len(groups) - MAX_ROWS)


def item_account(catalog: gpd.GeoDataFrame) -> tuple[list[dict[str, Any]], int]:
    """Return the items by status and reason (status, reason, items, first, last), and how many rows more there are."""
    table = catalog.assign(reason=catalog["reason"].fillna(""))
    groups = table.groupby(["status", "reason"])["acquired"].agg(["size", "min", "max"]).reset_index()
    groups = _used_first(groups).rename(columns={"size": "items", "min": "first", "max": "last"})
    for name in ("first", "last"):
        groups[name] = groups[name].fillna("").astype(str).str[:10]
    return records(groups.head(MAX_ROWS)), max(0, len(groups) - MAX_ROWS)


def _used_first(groups: pd.DataFrame) -> pd.DataFrame:
    rank = groups["status"].map({"used": 0, "ignored": 1}).fillna(2)
    return groups.assign(rank=rank).sort_values(["rank", "size"], ascending=[True, False]).drop(columns="rank")


def counts(slumps: gpd.GeoDataFrame) -> dict[str, Any]:
    """Return what report and data card tell in numbers, each computed from the inventory's rows; None: there is none."""
    area, carried = slumps["area_m2"], slumps["decision"] == EARLIER
    return {
        "n": len(slumps),
        "n_seeds": int(((slumps["iteration"] == 0) & ~carried).sum()),
        "n_earlier": int(carried.sum()),
        "n_earlier_observed": int((carried & (slumps["observed_frac"] >= LITTLE)).sum()),
        "total_m2": float(area.sum()),
        "mean_m2": float(area.mean()) if len(slumps) else None,
        "median_m2": float(area.median()) if len(slumps) else None,
        "little_observed": int((slumps["observed_frac"] < LITTLE).sum()),
        "truncated": int(slumps["truncated"].sum()),
        "no_terrain": int(slumps["elevation_mean_m"].isna().sum()),
        "no_change": int(slumps["area_by_year_m2"].isna().sum()),
        "no_first_year": int(slumps["first_year"].isna().sum()),
        "first": _day(slumps["acquired_start"].min()),
        "last": _day(slumps["acquired_end"].max()),
    }


def _day(time: Any) -> str | None:
    return time[:10] if isinstance(time, str) else None


def found_by_round(slumps: gpd.GeoDataFrame, rounds: pd.DataFrame) -> list[int]:
    """Return how many slumps were known at the start, and how many each round found; those carried along are in none."""
    searched = slumps[slumps["decision"] != EARLIER]
    return searched["iteration"].value_counts().reindex([0, *rounds["round"].astype(int)], fill_value=0).tolist()


def possibilities(slumps: gpd.GeoDataFrame, levels: Sequence[str]) -> list[tuple[str, int]]:
    """Return the number of slumps of each class of possibility, the surest first."""
    counts = slumps["possibility_class"].fillna("not given").value_counts()
    return [(name, int(counts[name])) for name in (*levels, "not given") if name in counts]


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table by the names of its columns; what isn't known is None."""
    values = frame.astype(object).where(frame.notna(), None)
    return [{str(key): value for key, value in row.items()} for row in values.to_dict("records")]
