"""What the lab decided of the relations that were asked: a small CSV file, checked row by row."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rts_pipeline.errors import InputError, RefusedError

COLUMNS = ("relation_id", "decision", "decided_by")
"""Columns that the file must have; `note` is taken over, others are not read, so that rows of relations.csv can be copied."""
RELATION_ID = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True)
class Decision:
    """What somebody decided of one relation; `row` is its row in the file, the head being row 1."""

    relation: str
    decided_by: str
    note: str
    row: int


class Decisions:
    """The decisions of a file, taken one by one; what nobody asked for in the end is stale."""

    def __init__(self, path: Path | None = None) -> None:
        """Read the file; None: nothing is decided.

        Raises:
            InputError: not such a file, or a row that can't be right.
        """
        self._path = path
        self._decisions = {} if path is None else _read(path)
        self._used: set[str] = set()

    def take(self, relation_id: str, choices: Sequence[str]) -> Decision | None:
        """Return what was decided of a relation, None if nothing was.

        Raises:
            InputError: it isn't one of the choices.
        """
        decision = self._decisions.get(relation_id)
        if decision is None:
            return None
        self._used.add(relation_id)
        if decision.relation not in choices:
            raise self.wrong(decision, f"'{decision.relation}' can't be decided of {relation_id}", ", ".join(choices))
        return decision

    def wrong(self, decision: Decision, problem: str, expected: str) -> InputError:
        """Return the error of a decision that can't be carried out."""
        return InputError(f"{self._path}, row {decision.row}", problem, expected=expected)

    def refuse_stale(self) -> None:
        """Stop where a decision is about outlines that aren't there any more.

        Raises:
            RefusedError: a decision was never asked for.
        """
        stale = {name: decision for name, decision in self._decisions.items() if name not in self._used}
        if stale:
            name, decision = next(iter(stale.items()))
            more = f" (so do {len(stale) - 1} more)" if len(stale) > 1 else ""
            raise RefusedError(
                f"{self._path}, row {decision.row}",
                f"decides relation {name}, which isn't there any more: its outlines changed{more}",
                do="remove the row; if the relation is still asked, relations.csv holds it under another relation_id",
            )


def _read(path: Path) -> dict[str, Decision]:
    import pandas as pd

    try:
        # The separator is found from the head: some spreadsheets write semicolons.
        table = pd.read_csv(path, sep=None, engine="python", dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(path, "no such file", expected="decisions as CSV", do="correct inventory.decisions") from None
    except (ValueError, pd.errors.ParserError, csv.Error, IsADirectoryError) as error:
        raise InputError(path, f"can't be read ({error})", expected=f"a CSV file with {', '.join(COLUMNS)}") from None
    if absent := [name for name in COLUMNS if name not in table]:
        raise InputError(path, f"has no column {', '.join(absent)}", expected=", ".join(COLUMNS))
    texts = table.fillna("").apply(lambda column: column.str.strip())  # a row may end early
    found: dict[str, Decision] = {}
    for number, row in enumerate(texts.to_dict("records"), 2):
        if not row["decision"]:
            continue
        name = row["relation_id"]
        for wrong, problem, expected in (
            (not RELATION_ID.fullmatch(name), f"relation_id '{name}' is none", "12 digits of 0-9, a-f, from relations.csv"),
            (name in found, f"decides {name} twice", "one decision for each relation"),
            (not row["decided_by"], f"decided_by of {name} is empty", "who decided"),
        ):
            if wrong:
                raise InputError(f"{path}, row {number}", problem, expected=expected)
        found[name] = Decision(row["decision"], row["decided_by"], row.get("note", ""), number)
    return found
