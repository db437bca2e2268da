"""What differs between two inventories: slumps that came, went, merged, split or were redrawn, and their attributes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from pandas.api.types import is_numeric_dtype

from rts_pipeline.errors import UsageError
from rts_pipeline.inventory.earlier import read_earlier
from rts_pipeline.inventory.relations import SAME_IOU, pair_numbers, pairs_of
from rts_pipeline.inventory.shape import geodesic_area_perimeter
from rts_pipeline.io.tables import write_csv
from rts_pipeline.io.vectors import utm_zone, write_gpkg
from rts_pipeline.lineage import MIN_SHARED_M2, MOSTLY

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.table import Table

    Positions = NDArray[np.intp]

CHANGES = {
    "added": "slumps of B that A hasn't",
    "removed": "slumps of A that B hasn't",
    "merged": "slumps of A that are part of another in B",
    "split": "slumps of B that were part of another in A",
    "renamed": "the same ground under another rts_uid",
    "reshaped": "another outline",
    "re-attributed": "the same outline, other attributes",
}
"""Kinds of difference, and what they mean."""
OTHER = {"merged": "into", "split": "from", "renamed": "was"}
ASIDE = ("rts_uid", "rts_id", "config_sha256", "rts_pipeline_version", "geometry")
"""Columns that tell nothing of the slump: its number moves with every slump north of it."""
SAME_NUMBER = 1e-9
"""Relative difference of two numbers that are equal: sums in another order."""
SHOWN = 20
SUFFIXES = (".csv", ".gpkg")


def diff(first: Path, second: Path, tolerance: float) -> gpd.GeoDataFrame:
    """Return a row for each slump that differs between two inventories, in the order of `CHANGES`.

    Columns change, rts_uid (of B; of A where B hasn't it), other_uid (the slump that it is part of, or was part of; of a
    renamed one its uid in A), iou, area_before_m2 and area_after_m2 (on the ellipsoid), fields (attributes that differ,
    joined by commas) and the outline in B, or else in A.

    Args:
        first: GeoPackage or GeoParquet file of the inventory A.
        second: the same of B.
        tolerance: outlines with an IoU of at least 1 - tolerance are the same.

    Raises:
        InputError: a file is missing, or is no inventory.
    """
    before = read_earlier(first, None)
    if before.crs.is_geographic:
        before = before.to_crs(utm_zone(before, first))
    after = read_earlier(second, before.crs)
    place = pd.Index(before["rts_uid"]).get_indexer(after["rts_uid"])
    in_both, came = np.flatnonzero(place >= 0), np.flatnonzero(place < 0)
    went = np.setdiff1d(np.arange(len(before)), place[in_both])
    renamed = _renamed(before, after, went, came)
    went, came = np.setdiff1d(went, renamed["a"]), np.setdiff1d(came, renamed["b"])
    same = pd.DataFrame({"a": place[in_both], "b": in_both})
    rows = [
        _one_sided(before, after, went, came),
        renamed.assign(change="renamed", other=before["rts_uid"].to_numpy()[renamed["a"]]),
        _redrawn(before, after, same, tolerance),
    ]
    return _table(pd.concat(rows, ignore_index=True), before, after)


def _ground(of: gpd.GeoDataFrame, rows: Positions, on: gpd.GeoDataFrame) -> pd.DataFrame:
    """Return for each row the outline of `on` that shares most of it: row, other, share, iou; nothing where none does."""
    outlines, others = of.geometry.to_numpy()[rows], on.geometry.to_numpy()
    one, other = shapely.STRtree(others).query(outlines, predicate="intersects")
    shared = shapely.area(shapely.intersection(outlines[one], others[other]))
    numbers = pair_numbers(outlines[one], others[other], shared).assign(row=rows[one], other=other)
    numbers = numbers[numbers["shared_m2"] > MIN_SHARED_M2].sort_values("shared_m2", ascending=False, kind="stable")
    return numbers.drop_duplicates("row")


def _renamed(before: gpd.GeoDataFrame, after: gpd.GeoDataFrame, went: Positions, came: Positions) -> pd.DataFrame:
    """Return the pairs (a, b, iou) of slumps that have the same ground, but not the same uid."""
    pairs = _ground(before, went, after)
    pairs = pairs[pairs["other"].isin(came) & (pairs["iou"] >= SAME_IOU)].drop_duplicates("other")
    return pairs.rename(columns={"row": "a", "other": "b"})[["a", "b", "iou"]]


def _one_sided(before: gpd.GeoDataFrame, after: gpd.GeoDataFrame, went: Positions, came: Positions) -> pd.DataFrame:
    """Return the slumps that only one inventory has: removed or merged, added or split; as B says, else by their ground."""
    rows, said = [], _said(after)
    for side, change, part, of, rest, on in (
        ("a", "removed", "merged", before, went, after),
        ("b", "added", "split", after, came, before),
    ):
        ground = _ground(of, rest, on)
        lies_in = ground[ground["share"] >= MOSTLY].set_index("row")["other"]
        by_ground = pd.Series(on["rts_uid"].to_numpy()[lies_in], index=lies_in.index, dtype="str").reindex(rest)
        other = (
            pd.Series(of["rts_uid"].to_numpy()[rest], index=rest, dtype="str").map(said[part]).astype("str").fillna(by_ground)
        )
        rows.append(pd.DataFrame({side: rest, "other": other, "change": np.where(other.notna(), part, change)}))
    return pd.concat(rows)


def _said(after: gpd.GeoDataFrame) -> dict[str, dict[str, str]]:
    """Return part -> the slump that it is part of ("merged"), or was part of ("split"), as the rows of B name it."""
    said: dict[str, dict[str, str]] = {"merged": {}, "split": {}}
    for uid, pairs in zip(after["rts_uid"], pairs_of(after), strict=True):
        for relation, other in pairs:
            if relation in said:
                part, whole = (other, uid) if relation == "merged" else (uid, other)
                said[relation][part] = whole
    return said


def _redrawn(before: gpd.GeoDataFrame, after: gpd.GeoDataFrame, same: pd.DataFrame, tolerance: float) -> pd.DataFrame:
    """Return the slumps of both whose outline or attributes differ."""
    one, other = before.geometry.to_numpy()[same["a"]], after.geometry.to_numpy()[same["b"]]
    iou = np.ones(len(same))
    moved = np.flatnonzero(~shapely.equals_exact(one, other, 0.0))
    shared = shapely.area(shapely.intersection(one[moved], other[moved]))
    iou[moved] = pair_numbers(one[moved], other[moved], shared)["iou"]
    differing = _fields(before.iloc[same["a"]], after.iloc[same["b"]])
    reshaped = iou < 1 - tolerance
    change = np.where(reshaped, "reshaped", "re-attributed")
    return same.assign(change=change, iou=iou, fields=differing)[reshaped | (differing != "")]


def _fields(before: gpd.GeoDataFrame, after: gpd.GeoDataFrame) -> NDArray[np.object_]:
    """Return the names of the attributes that differ in each of n rows, joined by commas."""
    names = [name for name in before.columns if name in after.columns and name not in ASIDE]
    differ = np.zeros((len(before), len(names)), dtype=bool)
    for column, name in enumerate(names):
        one, other = before[name], after[name]
        if is_numeric_dtype(one) and is_numeric_dtype(other):
            numbers = one.to_numpy(float, na_value=np.nan), other.to_numpy(float, na_value=np.nan)
            differ[:, column] = ~np.isclose(*numbers, rtol=SAME_NUMBER, atol=0, equal_nan=True)
        else:
            texts = [series.astype("str").where(series.notna(), "").to_numpy(object) for series in (one, other)]
            differ[:, column] = texts[0] != texts[1]
    told = np.full(len(before), "", dtype=object)
    for row in np.flatnonzero(differ.any(axis=1)):
        told[row] = ",".join(np.array(names)[differ[row]])
    return told


def _table(rows: pd.DataFrame, before: gpd.GeoDataFrame, after: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    rank = rows["change"].map({change: number for number, change in enumerate(CHANGES)})
    rows = rows.assign(rank=rank).sort_values(["rank", "iou"], kind="stable", ignore_index=True)
    outlines, uids, areas = np.full(len(rows), None, dtype=object), np.full(len(rows), "", dtype=object), {}
    for side, frame, area in (("a", before, "area_before_m2"), ("b", after, "area_after_m2")):  # B's go over A's
        there = rows[side].notna().to_numpy()
        positions = rows.loc[there, side].to_numpy(np.intp)
        outlines[there], uids[there] = frame.geometry.to_numpy()[positions], frame["rts_uid"].to_numpy()[positions]
        areas[area] = np.full(len(rows), np.nan)
        areas[area][there] = geodesic_area_perimeter(frame.geometry.iloc[positions].reset_index(drop=True))[0]
    values = {
        "change": rows["change"],
        "rts_uid": uids,
        "other_uid": rows["other"].astype("str"),
        "iou": rows["iou"].astype(float),
    }
    fields = rows["fields"].fillna("").astype("str")
    return gpd.GeoDataFrame({**values, **areas, "fields": fields}, geometry=outlines, crs=before.crs)


def write_rows(rows: gpd.GeoDataFrame, out: Path) -> None:
    """Write the rows as CSV (without outlines) or GeoPackage, by the suffix.

    Raises:
        UsageError: another suffix.
    """
    if out.suffix not in SUFFIXES:
        raise UsageError(out, f"ends in '{out.suffix}'", expected=" or ".join(SUFFIXES))
    if out.suffix == ".csv":
        write_csv(out, pd.DataFrame(rows.drop(columns="geometry")))
    else:
        write_gpkg(out, {"inventory_diff": rows})


def summary(rows: gpd.GeoDataFrame) -> list[Table]:
    """Return tables for the screen: how many slumps of each kind, and which attributes differ."""
    from rich.table import Table

    kinds = Table("change", "slumps", "ha before", "ha after", "what", title="Differences from A to B")
    for change, what in CHANGES.items():
        some = rows[rows["change"] == change]
        areas = [f"{some[name].sum() / 1e4:,.2f}" for name in ("area_before_m2", "area_after_m2")]
        kinds.add_row(change, f"{len(some):,}", *areas, what)
    fields = Table("attribute", "slumps", title="Attributes that differ")
    for name, count in rows["fields"].str.split(",").explode().value_counts().items():
        if name:
            fields.add_row(str(name), f"{count:,}")
    return [kinds, *([fields] if fields.row_count else [])]


def lines(rows: gpd.GeoDataFrame) -> Iterator[str]:
    """Yield the first slumps of each kind, a line each: uid, the other one's, IoU, areas, attributes."""
    for change in CHANGES:
        some = rows[rows["change"] == change]
        for row in some.head(SHOWN).to_dict("records"):
            told = [row["rts_uid"]]
            if isinstance(row["other_uid"], str):
                told.append(f"{OTHER[change]} {row['other_uid']}")
            if not np.isnan(row["iou"]):
                told.append(f"IoU {row['iou']:.3f}")
            areas = [f"{row[name]:,.0f}" for name in ("area_before_m2", "area_after_m2") if not np.isnan(row[name])]
            told.append(f"{' -> '.join(areas)} m2")
            told += [row["fields"].replace(",", ", ")] if row["fields"] else []
            yield f"{change} {'; '.join(told)}"
        if len(some) > SHOWN:
            yield f"{change} ... {len(some) - SHOWN:,} more (--out FILE)"
