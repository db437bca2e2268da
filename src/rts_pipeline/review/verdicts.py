"""Every way in which a filled-in file of verdicts can be wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rts_pipeline.errors import InputError
from rts_pipeline.review.events import DECISIONS, OUTLINE_SCOPES, REJECT_REASONS
from rts_pipeline.review.formats import ACTIVE, AGAIN, CANDIDATES_LAYER, DRAWN, MISSED, MISSED_LAYER, SEEN, Filled
from rts_pipeline.review.outlines import plain, problem_of, same
from rts_pipeline.review.windows import DO, EXPECTED, OUTLINED

REDRAW = "redraw it (a CSV can't hold one: use a GeoPackage, GeoJSON or Shapefile), or decide 'accept'"
RESTORE = "or restore the outline (the review page accepts the candidate's own)"
SHOWN = 10


def check_filled(file: Path, said: Filled, known: pd.DataFrame, *, whole: bool) -> gpd.GeoDataFrame:
    """Return the rows that carry a decision, `possibility` as numbers, outlines 2D, after all checks.

    Args:
        file: for messages.
        said: what the file says.
        known: index candidate_id; columns base_sha256, base (the candidate's outline) and drawn (the outline that
            this reviewer's recorded decision has: the same as base unless it is "edit"), window (bool: ground to be looked
            through, no outline).
        whole: whether there must be a row for every candidate.

    Raises:
        InputError: the first wrong row, its value and what is allowed, and what is wrong with the others.
    """
    filled = said.candidates
    rows = _Rows(file, CANDIDATES_LAYER if said.layered else None, filled)
    ids, decision = filled["candidate_id"], filled["decision"]
    if not said.layered:
        rows.refuse(decision == MISSED, "decision", "needs an outline", do="draw it in a GeoPackage, GeoJSON or Shapefile")
    rows.refuse(~ids.isin(known.index), "candidate_id", "is unknown in this round", do=AGAIN)
    rows.refuse(ids.duplicated(), "candidate_id", "is there twice", do="keep one row a candidate")
    bases = known["base_sha256"].reindex(ids).to_numpy()
    rows.refuse(filled["base_sha256"].to_numpy() != bases, "base_sha256", "is of another version of the outline", do=AGAIN)
    rows.refuse(~decision.isin(["", *DECISIONS]), "decision", "is unknown", expected=f"{', '.join(DECISIONS)} or empty")
    on_window = ids.isin(known.index[known["window"]])
    taken = decision.isin(OUTLINED) & on_window
    rows.refuse(taken, "decision", "on a window, which is no outline", expected=EXPECTED, do=DO)
    filled = filled.assign(possibility=rows.possibilities())
    rows.refuse(
        ~filled["reject_reason"].isin(["", *REJECT_REASONS]),
        "reject_reason",
        "is unknown",
        expected=f"{', '.join(REJECT_REASONS)} or empty",
    )
    rows.refuse((filled["reject_reason"] != "") & (decision != "reject"), "reject_reason", "without decision 'reject'")
    rows.check_seen()
    for column in ("possibility", "note", *(name for name in SEEN if name in filled)):
        given = filled[column].notna() & (filled[column] != "")
        rows.refuse(given & (decision == ""), column, "without a decision", do="decide (at least 'unsure') or clear it")
    shown = "geometry" in filled
    drawn = rows.outlines() if shown else known["drawn"].reindex(ids).to_numpy()
    outlined = gpd.GeoDataFrame(filled.drop(columns="geometry", errors="ignore"), geometry=drawn)
    _check_changes(rows, outlined, known, shown=shown)
    rows.tell()
    if whole and (absent := sorted(set(known.index) - set(ids))):
        raise InputError(
            file,
            f"{len(absent)} of {len(known)} candidates are missing: {', '.join(absent[:10])}",
            do="leave their decision empty instead of removing the row, or export again",
        )
    return outlined[decision != ""]


def _check_changes(rows: _Rows, filled: gpd.GeoDataFrame, known: pd.DataFrame, *, shown: bool) -> None:
    """Compare outlines and decisions; `shown`: the file holds the outlines, and they aren't just those that are recorded."""
    mine, there = filled.geometry.to_numpy(), known.reindex(filled["candidate_id"])
    as_base, as_drawn = (
        np.array([wrong or same(a, b) for a, b, wrong in zip(mine, there[column], rows.wrong, strict=True)], dtype=bool)
        for column in ("base", "drawn")
    )
    edit, accept = ((filled["decision"] == said).to_numpy() for said in ("edit", "accept"))
    # "accept" is about the candidate's outline: where the row shows an own one, that one is what was looked at.
    redrawn = ~edit & ~as_base & (~as_drawn | (accept & shown))
    rows.refuse(redrawn, "decision", "but the outline was redrawn", expected="'edit'", do=RESTORE)
    rows.refuse(edit & as_base, "decision", "but the outline is the candidate's own", do=REDRAW)


def check_missed(file: Path, said: Filled, known: Collection[str]) -> gpd.GeoDataFrame:
    """Return the added slumps, `possibility` as numbers, outlines 2D, after all checks.

    Args:
        file: for messages.
        said: what the file says.
        known: ids of all slumps that this reviewer added.

    Raises:
        InputError: the first wrong row and its value, and what is wrong with the others.
    """
    missed = said.missed
    rows = _Rows(file, MISSED_LAYER if said.layered else None, missed)
    ids = missed["candidate_id"]
    if said.layered:
        own = {"", *known}
        foreign = [name not in own and not DRAWN.fullmatch(name) for name in ids]
        rows.refuse(foreign, "candidate_id", "is no slump that this reviewer added", do=AGAIN)
    else:
        rows.refuse(ids != "", "candidate_id", "of an added slump", expected="none: it gets one")
        rows.refuse(missed["reject_reason"] != "", "reject_reason", "without decision 'reject'")
    rows.check_seen()
    checked = missed.assign(possibility=rows.possibilities()).set_geometry(rows.outlines())
    drawn = checked.geometry.to_wkb()
    for row in np.flatnonzero(drawn.duplicated() & drawn.notna() & ~rows.wrong):
        earlier = missed.index[int(np.flatnonzero(drawn == drawn.iloc[row])[0])]
        rows.note(int(row), f"geometry is that of row {earlier + 1}", do="keep one of them")
    rows.tell()
    return checked


class _Rows:
    """The rows of a table and what is wrong with each: the first thing that is; its index is the row in the file, from 0."""

    def __init__(self, file: Path, layer: str | None, frame: pd.DataFrame) -> None:
        self.file, self.layer, self.frame = file, layer, frame
        self.wrong = np.zeros(len(frame), dtype=bool)
        self.problems: dict[int, tuple[str, str, str]] = {}

    def refuse(self, bad: Iterable[bool], column: str, problem: str, *, expected: str = "", do: str = "") -> None:
        """Note the bad rows that weren't wrong yet."""
        for row in np.flatnonzero(np.asarray(bad, dtype=bool) & ~self.wrong):
            self.note(int(row), f"{column} '{self.frame[column].iloc[row]}' {problem}", expected, do)

    def note(self, row: int, problem: str, expected: str = "", do: str = "") -> None:
        """Note what is wrong with a row, given by place in the table."""
        self.wrong[row] = True
        self.problems[row] = problem, expected, do

    def tell(self) -> None:
        """Raise InputError if any row is wrong."""
        if not self.problems:
            return
        first, *others = sorted(self.problems)
        problem, expected, do = self.problems[first]
        also = [f"also {self._name(row)}: {self.problems[row][0]}" for row in others[:SHOWN]]
        more = [f"and {len(others) - SHOWN} more rows"] if len(others) > SHOWN else []
        layer = f", layer '{self.layer}'" if self.layer else ""
        told = "; ".join([*([do] if do else []), *also, *more])
        raise InputError(f"{self.file}{layer}, {self._name(first)}", problem, expected=expected, do=told)

    def _name(self, row: int) -> str:
        identifier = self.frame["candidate_id"].iloc[row] if "candidate_id" in self.frame else ""
        return f"row {self.frame.index[row] + 1}" + (f" ({identifier})" if identifier else "")

    def check_seen(self) -> None:
        """Refuse what the columns of `SEEN` that are there can't say."""
        for column, known in (("outline_scope", OUTLINE_SCOPES), ("active", tuple(ACTIVE))):
            if column in self.frame:
                bad = ~self.frame[column].isin(["", *known])
                self.refuse(bad, column, "is unknown", expected=f"{', '.join(known)} or empty")

    def possibilities(self) -> pd.Series:
        """Return the column as float64, NaN where empty."""
        column = self.frame["possibility"]
        text = column.astype(object).where(column.notna(), "").astype(str).str.strip()
        number = pd.to_numeric(text.where(text != "", None), errors="coerce").astype("float64")
        bad = (text != "") & ~number.between(0, 1)
        self.refuse(bad, "possibility", "is not possible", expected="a number from 0 to 1, or empty")
        return number

    def outlines(self) -> NDArray[np.object_]:
        """Return the outlines in 2D, normalized, None where there is none that could be used."""
        outlines: NDArray[np.object_] = np.full(len(self.frame), None, dtype=object)
        for row, outline in enumerate(self.frame["geometry"]):
            if problem := problem_of(outline):
                if not self.wrong[row]:
                    self.note(row, problem, "a valid polygon", "QGIS: 'Fix geometries'")
            else:
                outlines[row] = plain(outline)
        return outlines
