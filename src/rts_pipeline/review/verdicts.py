"""A filled-in GeoPackage of verdicts: reading it, and every way in which it can be wrong."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from rts_pipeline.errors import InputError
from rts_pipeline.review.events import DECISIONS, REJECT_REASONS
from rts_pipeline.review.outlines import plain, problem_of, same

CANDIDATES_LAYER, MISSED_LAYER, KNOWN_LAYER = "candidates", "missed", "known"
VERDICT = ("decision", "possibility", "reject_reason", "note")
NEEDED = {CANDIDATES_LAYER: ("candidate_id", "base_sha256", *VERDICT), MISSED_LAYER: ("possibility", "note")}
AGAIN = "export the round again and fill in that file"


def read_filled(file: Path, crs: Any) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """Read both layers in the CRS of the candidates; texts are stripped, empty ones are "".

    Raises:
        InputError: unreadable, or a layer, column or CRS is missing.
    """
    filled, missed = (_layer(file, name, crs) for name in NEEDED)
    return filled, missed


def _layer(file: Path, name: str, crs: Any) -> gpd.GeoDataFrame:
    import pyogrio

    try:
        known = [str(layer) for layer, _ in pyogrio.list_layers(file)]
        frame = pyogrio.read_dataframe(file, layer=name) if name in known else None
    except (RuntimeError, ValueError, OSError, shapely.GEOSException) as error:
        raise InputError(file, f"can't be read ({error})", expected="a GeoPackage of verdicts") from None
    if frame is None:
        raise InputError(file, f"has no layer '{name}' (has {', '.join(known) or 'none'})", do=AGAIN)
    if absent := [column for column in NEEDED[name] if column not in frame]:
        raise InputError(file, f"layer '{name}' has no column {', '.join(absent)}", do=AGAIN)
    if not isinstance(frame, gpd.GeoDataFrame) or frame.crs is None:
        raise InputError(file, f"layer '{name}' declares no CRS", expected="that of the candidates", do=AGAIN)
    for column in set(NEEDED[name]) - {"possibility"}:
        frame[column] = frame[column].astype(object).where(frame[column].notna(), "").astype(str).str.strip()
    return frame if frame.crs == crs else frame.to_crs(crs)


def check_filled(file: Path, filled: gpd.GeoDataFrame, known: pd.DataFrame) -> gpd.GeoDataFrame:
    """Return the rows that carry a decision, `possibility` as numbers, outlines 2D, after all checks.

    Args:
        file: for messages.
        filled: the layer of the candidates.
        known: index candidate_id; columns base_sha256, base (the candidate's outline) and drawn (the outline that
            this reviewer's recorded decision has: the same as base unless it is "edit").

    Raises:
        InputError: the first problem, with its row, the value and what is allowed.
    """
    rows = _Rows(file, CANDIDATES_LAYER, filled)
    ids = filled["candidate_id"]
    rows.refuse(~ids.isin(known.index), "candidate_id", "is unknown in this round", do=AGAIN)
    rows.refuse(ids.duplicated(), "candidate_id", "is there twice", do="keep one row a candidate")
    if absent := sorted(set(known.index) - set(ids)):
        raise InputError(
            file,
            f"{len(absent)} of {len(known)} candidates are missing: {', '.join(absent[:10])}",
            do="leave their decision empty instead of removing the row, or export again",
        )
    bases = known["base_sha256"].reindex(ids).to_numpy()
    rows.refuse(filled["base_sha256"].to_numpy() != bases, "base_sha256", "is of another version of the outline", do=AGAIN)
    decision = filled["decision"]
    rows.refuse(~decision.isin(["", *DECISIONS]), "decision", "is unknown", expected=f"{', '.join(DECISIONS)} or empty")
    filled = filled.assign(possibility=rows.possibilities())
    rows.refuse(
        ~filled["reject_reason"].isin(["", *REJECT_REASONS]),
        "reject_reason",
        "is unknown",
        expected=f"{', '.join(REJECT_REASONS)} or empty",
    )
    rows.refuse((filled["reject_reason"] != "") & (decision != "reject"), "reject_reason", "without decision 'reject'")
    for column in ("possibility", "note"):
        given = filled[column].notna() & (filled[column] != "")
        rows.refuse(given & (decision == ""), column, "without a decision", do="decide (at least 'unsure') or clear it")
    filled = filled.set_geometry(rows.outlines())
    _check_changes(rows, filled, known)
    return filled[decision != ""]


def _check_changes(rows: _Rows, filled: gpd.GeoDataFrame, known: pd.DataFrame) -> None:
    mine, there = filled.geometry.to_numpy(), known.reindex(filled["candidate_id"])
    as_base, as_drawn = (
        np.array([same(a, b) for a, b in zip(mine, there[column], strict=True)], dtype=bool) for column in ("base", "drawn")
    )
    edit = (filled["decision"] == "edit").to_numpy()
    rows.refuse(
        ~edit & ~as_base & ~as_drawn, "decision", "but the outline was redrawn", expected="'edit'", do="or restore the outline"
    )
    rows.refuse(edit & as_base, "decision", "but the outline is the candidate's own", do="redraw it, or decide 'accept'")


def check_missed(file: Path, missed: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return the added slumps, `possibility` as numbers, outlines 2D, after all checks.

    Raises:
        InputError: the first problem, with its row and value.
    """
    rows = _Rows(file, MISSED_LAYER, missed)
    return missed.assign(possibility=rows.possibilities()).set_geometry(rows.outlines())


class _Rows:
    """The rows of a layer, for checks that name the first bad one."""

    def __init__(self, file: Path, layer: str, frame: gpd.GeoDataFrame) -> None:
        self.file, self.layer, self.frame = file, layer, frame

    def refuse(self, bad: Iterable[bool], column: str, problem: str, *, expected: str = "", do: str = "") -> None:
        """Raise InputError for the first bad row."""
        rows = np.flatnonzero(np.asarray(bad, dtype=bool))
        if len(rows):
            value = self.frame[column].iloc[rows[0]]
            self.fail(int(rows[0]), f"{column} '{value}' {problem}", len(rows), expected, do)

    def fail(self, row: int, problem: str, count: int, expected: str = "", do: str = "") -> None:
        """Raise InputError for a row."""
        name = f" ({self.frame['candidate_id'].iloc[row]})" if "candidate_id" in self.frame else ""
        others = f" (and {count - 1} more rows)" if count > 1 else ""
        where = f"{self.file}, layer '{self.layer}', row {row + 1}{name}"
        raise InputError(where, problem + others, expected=expected, do=do)

    def possibilities(self) -> pd.Series:
        """Return the column as float64, NaN where empty."""
        column = self.frame["possibility"]
        text = column.astype(object).where(column.notna(), "").astype(str).str.strip()
        number = pd.to_numeric(text.where(text != "", None), errors="coerce").astype("float64")
        bad = (text != "") & ~number.between(0, 1)
        self.refuse(bad, "possibility", "is not possible", expected="a number from 0 to 1, or empty")
        return number

    def outlines(self) -> NDArray[np.object_]:
        """Return the outlines in 2D, normalized."""
        problems = [problem_of(outline) for outline in self.frame.geometry]
        if bad := [row for row, problem in enumerate(problems) if problem]:
            self.fail(bad[0], problems[bad[0]], len(bad), "a valid polygon", "QGIS: 'Fix geometries'")
        outlines: NDArray[np.object_] = np.empty(len(self.frame), dtype=object)
        outlines[:] = [plain(outline) for outline in shapely.force_2d(self.frame.geometry.to_numpy())]
        return outlines
