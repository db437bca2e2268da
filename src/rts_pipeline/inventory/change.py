"""How a slump changes: what the years' images tell of the outlines that it was made of, and what the reviewers said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import shapely

from rts_pipeline.evidence.change import NORMAL_95
from rts_pipeline.io.json import canonical_json
from rts_pipeline.io.tables import read_parquet
from rts_pipeline.review.rounds import CHANGE, YEARS

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray

RATES = ("growth_m2_yr", "growth_low_m2_yr", "growth_high_m2_yr", "retreat_m_yr", "retreat_error_m_yr")
CHANGED = "last_changed_year"
MEASURED = {
    **{"candidate_id": "str", "first_year_visible": "Int64", **dict.fromkeys(RATES, "float64")},
    **{"areas": "str", CHANGED: "Int64"},
}
IN_YEARS = ("candidate_id", "year", "seen", "area_m2", "misregistration_m", "outline")
SEEN_BEFORE = 2
"""So many images must show the ground before it was taken; one that shows no slump there counts."""
STATED = ("first_year_visible", "active")
"""What reviewers can say of a slump."""


def read_change(reviewed: Sequence[Path], pixel_m: float) -> pd.DataFrame:
    """Return what was measured of the candidates of rounds, columns of `MEASURED`.

    `areas` is a JSON object of the area (m2) in each year that shows the slump whole; `last_changed_year` is by `last_changed`,
    or else the first year, where an earlier one shows that there was nothing.

    Args:
        reviewed: the reviewed.parquet of rounds; beside each lie the tables of its evidence, unless the review was started with
            an earlier version.
        pixel_m: edge of a pixel.

    Raises:
        InputError: a table is damaged, or the other one of its round is missing.
    """
    # one table without the other isn't of an earlier version, but damaged
    kept = [path.parent for path in reviewed if any((path.parent / table).exists() for table in (CHANGE, YEARS))]
    tables = [_measured(folder, pixel_m) for folder in kept]
    return pd.concat([pd.DataFrame(columns=list(MEASURED)).astype(MEASURED), *tables], ignore_index=True)


def _measured(folder: Path, pixel_m: float) -> pd.DataFrame:
    change = read_parquet(folder / CHANGE, [*(name for name in MEASURED if name not in {"areas", CHANGED}), "last_year_absent"])
    years = read_parquet(folder / YEARS, IN_YEARS).reindex(columns=list(IN_YEARS))
    shown = years[years["seen"].fillna(False).astype(bool) & years["area_m2"].notna()].sort_values("year")
    areas = {
        name: canonical_json({str(year): round(area, 1) for year, area in zip(rows["year"], rows["area_m2"], strict=True)})
        for name, rows in shown.groupby("candidate_id")
    }
    names, came = change["candidate_id"], change["last_year_absent"].notna()
    last = names.map(last_changed(shown, pixel_m, names[came].to_numpy())).astype("Int64")
    last = last.fillna(change["first_year_visible"].astype("Int64").where(came))
    return change.assign(areas=names.map(areas), **{CHANGED: last})[list(MEASURED)].astype(MEASURED)


def last_changed(shown: pd.DataFrame, pixel_m: float, appeared: NDArray[np.object_]) -> pd.Series:
    """Return the last year in which each candidate took new ground, by candidate_id; those that never did are left out.

    New ground: more than a pixel's area that lies farther from what was taken before than a pixel and 1.96 standard errors of
    both images' places, which is what the edge of an outline that stays may move by. What is nearer counts as taken once the
    outline has gone beyond it, so that slow growth adds up. One image alone may outline a slump too small or too large: two
    images must show the ground before it was taken, and the next one, where there is one, must show it taken too.

    Args:
        shown: rows of `evidence.parquet` that show a candidate whole, years ascending, `IN_YEARS`; outlines as WKB.
        pixel_m: edge of a pixel.
        appeared: candidate_id of those of which an image before the first of `shown` shows that nothing was there.
    """
    names = pd.Index(shown["candidate_id"].unique())
    code, turn = names.get_indexer(shown["candidate_id"]), shown.groupby("candidate_id").cumcount().to_numpy()
    outlines, errors = shapely.from_wkb(shown["outline"].to_numpy()), shown["misregistration_m"].to_numpy(float)
    position = pd.Series(np.arange(len(shown)), index=shown.index)
    following = position.groupby(code).shift(-1, fill_value=-1).to_numpy()
    taken, error = np.full(len(names), None, dtype=object), np.full(len(names), np.nan)
    last, before = pd.Series(pd.NA, index=names, dtype="Int64"), names.isin(appeared).astype(int)
    for number in range(turn.max(initial=-1) + 1):
        rows = np.flatnonzero(turn == number)
        if number:
            room = pixel_m + NORMAL_95 * np.hypot(errors[rows], error[code[rows]])
            rows, room = rows[np.isfinite(room)], room[np.isfinite(room)]
            new = shapely.difference(outlines[rows], shapely.buffer(taken[code[rows]], room))
            seen_again = following[rows] >= 0
            new[seen_again] = shapely.intersection(new[seen_again], outlines[following[rows][seen_again]])
            rows = rows[shapely.area(new) > pixel_m**2]
            told = rows[number + before[code[rows]] >= SEEN_BEFORE]
            last.iloc[code[told]] = shown["year"].to_numpy()[told]
        taken[code[rows]] = shapely.union_all([taken[code[rows]], outlines[rows]], axis=0)
        error[code[rows]] = np.fmax(error[code[rows]], errors[rows])
    return last.dropna()


def change_of(
    parts: gpd.GeoDataFrame, slump: NDArray[np.int64], gone: NDArray[np.bool_], measured: pd.DataFrame
) -> pd.DataFrame:
    """Return of each slump the columns of `dictionary.HISTORY` that tell how it changed: all but its relations.

    They are those of its largest present part that was measured: changes of several outlines can't be added. A statement of a
    reviewer, the last one on any part, goes before what was measured.

    Args:
        parts: with delineation_id, iteration, reviewed_at and `STATED`.
        slump: position of each part's slump, shape (n parts,), 0..m-1, each there.
        gone: whether another part took its place, shape (n parts,).
        measured: what `read_change` gives.
    """
    frame = pd.DataFrame(parts[["delineation_id", "iteration", "reviewed_at", *STATED]]).assign(slump=slump)
    area = pd.Series(shapely.area(parts.geometry.to_numpy()), index=frame.index)
    largest = (
        frame[~gone]
        .assign(area=area)
        .merge(measured.rename(columns={"candidate_id": "delineation_id"}), "inner", "delineation_id", suffixes=("_said", ""))
    )
    largest = largest.sort_values("area", ascending=False, kind="stable").drop_duplicates("slump").set_index("slump")
    slumps = pd.RangeIndex(slump.max() + 1 if len(slump) else 0)
    largest = largest.reindex(slumps)
    said = {name: _last(frame, name).reindex(slumps) for name in STATED}
    growing = pd.Series(True, index=slumps, dtype="boolean").where(largest["growth_low_m2_yr"] > 0)
    first, first_source = _first_of(said["first_year_visible"].astype("Int64"), largest["first_year_visible"])
    active, active_source = _first_of(said["active"].astype("boolean"), growing)
    return pd.DataFrame(
        {
            **{"first_year": first, "first_year_source": first_source, "active": active, "active_source": active_source},
            **{name: largest[name] for name in (CHANGED, *RATES)},
            **{"area_by_year_m2": largest["areas"], "change_of": largest["delineation_id"]},
        }
    )


def _last(frame: pd.DataFrame, name: str) -> pd.Series:
    """Return the last statement on each slump that has one."""
    said = frame[frame[name].notna()].sort_values(["iteration", "reviewed_at"], kind="stable")
    return said.drop_duplicates("slump", keep="last").set_index("slump")[name]


def _first_of(said: pd.Series, measured: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Return what the reviewers said, else what was measured, and who says so."""
    value = said.fillna(measured)
    source = pd.Series(np.where(said.notna(), "reviewer", "measured"), index=said.index, dtype="str")
    return value, source.where(value.notna())
