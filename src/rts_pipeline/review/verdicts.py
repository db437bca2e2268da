"""Every way in which a filled-in file of verdicts can be wrong."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from rts_pipeline.errors import InputError
from rts_pipeline.review.events import DECISIONS, REJECT_REASONS
from rts_pipeline.review.formats import AGAIN, CANDIDATES_LAYER, MISSED, MISSED_LAYER, Filled
from rts_pipeline.review.outlines import plain, problem_of, same

REDRAW = "redraw it (a CSV can't hold one: use a GeoPackage, GeoJSON or Shapefile), or decide 'accept'"
SHOWN = 10


def check_filled(file: Path, said: Filled, known: pd.DataFrame) -> gpd.GeoDataFrame:
    """Return the rows that carry a decision, `possibility` as numbers, outlines 2D, after all checks.

    Args:
        file: for messages.
        said: what the file says.
        known: index candidate_id; columns base_sha256, base (the candidate's outline) and drawn (the outline that
            this reviewer's recorded decision has: the same as base unless it is "edit").

    Raises:
        InputError: the first problem, with its row, the value and what is allowed.
    """
    filled = said.candidates
    rows = _Rows(file, CANDIDATES_LAYER if said.layered else None, filled)
    ids, decision = filled["candidate_id"], filled["decision"]
    if not said.layered:
        rows.refuse(decision == MISSED, "decision", "needs an outline", do="draw it in a GeoPackage, GeoJSON or Shapefile")
    rows.refuse(~ids.isin(known.index), "candidate_id", "is unknown in this round", do=AGAIN)
    rows.refuse(ids.duplicated(), "candidate_id", "is there twice", do="keep one row a candidate")
    if said.layered and (absent := sorted(set(known.index) - set(ids))):
        raise InputError(
            file,
            f"{len(absent)} of {len(known)} candidates are missing: {', '.join(absent[:10])}",
            do="leave their decision empty instead of removing the row, or export again",
        )
    bases = known["base_sha256"].reindex(ids).to_numpy()
    rows.refuse(filled["base_sha256"].to_numpy() != bases, "base_sha256", "is of another version of the outline", do=AGAIN)
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
    drawn = rows.outlines() if "geometry" in filled else known["drawn"].reindex(ids).to_numpy()
    outlined = gpd.GeoDataFrame(filled.drop(columns="geometry", errors="ignore"), geometry=drawn)
    _check_changes(rows, outlined, known)
    return outlined[decision != ""]


def _check_changes(rows: _Rows, filled: gpd.GeoDataFrame, known: pd.DataFrame) -> None:
    mine, there = filled.geometry.to_numpy(), known.reindex(filled["candidate_id"])
    as_base, as_drawn = (
        np.array([same(a, b) for a, b in zip(mine, there[column], strict=True)], dtype=bool) for column in ("base", "drawn")
    )
    edit = (filled["decision"] == "edit").to_numpy()
    rows.refuse(
        ~edit & ~as_base & ~as_drawn, "decision", "but the outline was redrawn", expected="'edit'", do="or restore the outline"
    )
    rows.refuse(edit & as_base, "decision", "but the outline is the candidate's own", do=REDRAW)


def check_missed(file: Path, said: Filled) -> gpd.GeoDataFrame:
    """Return the added slumps, `possibility` as numbers, outlines 2D, after all checks.

    Raises:
        InputError: the first problem, with its row and value.
    """
    missed = said.missed
    rows = _Rows(file, MISSED_LAYER if said.layered else None, missed)
    if not said.layered:
        rows.refuse(missed["candidate_id"] != "", "candidate_id", "of an added slump", expected="none: it gets one")
        rows.refuse(missed["reject_reason"] != "", "reject_reason", "without decision 'reject'")
    return missed.assign(possibility=rows.possibilities()).set_geometry(rows.outlines())


class _Rows:
    """The rows of a table, for checks that name the bad ones; its index is the row in the file, from 0."""

    def __init__(self, file: Path, layer: str | None, frame: pd.DataFrame) -> None:
        self.file, self.layer, self.frame = file, layer, frame

    def refuse(self, bad: Iterable[bool], column: str, problem: str, *, expected: str = "", do: str = "") -> None:
        """Raise InputError for the first bad row, naming its value and the other bad rows."""
        rows = np.flatnonzero(np.asarray(bad, dtype=bool))
        if len(rows):
            value = self.frame[column].iloc[rows[0]]
            self.fail(rows.tolist(), f"{column} '{value}' {problem}", expected, do)

    def fail(self, rows: list[int], problem: str, expected: str = "", do: str = "") -> None:
        """Raise InputError for rows, given by place in the table."""
        first, *others = [int(self.frame.index[row]) + 1 for row in rows]
        identifier = self.frame["candidate_id"].iloc[rows[0]] if "candidate_id" in self.frame else ""
        name = f" ({identifier})" if identifier else ""
        shown = ", ".join(map(str, others[:SHOWN])) + (", ..." if len(others) > SHOWN else "")
        also = f" (and in {len(others)} more: row {shown})" if others else ""
        layer = f", layer '{self.layer}'" if self.layer else ""
        raise InputError(f"{self.file}{layer}, row {first}{name}", problem + also, expected=expected, do=do)

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
        problems = [problem_of(outline) for outline in self.frame["geometry"]]
        if bad := [row for row, problem in enumerate(problems) if problem]:
            self.fail(bad, problems[bad[0]], "a valid polygon", "QGIS: 'Fix geometries'")
        outlines: NDArray[np.object_] = np.empty(len(self.frame), dtype=object)
        outlines[:] = [plain(outline) for outline in shapely.force_2d(self.frame["geometry"].to_numpy())]
        return outlines
