"""The chips that a reviewer looks at, found through the index of each round's evidence, never by a path that a client names."""

from __future__ import annotations

import random
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from rts_pipeline.errors import InputError
from rts_pipeline.evidence.tables import GROUND
from rts_pipeline.io.tables import read_arrow, read_geoparquet, read_rows
from rts_pipeline.review.rounds import POSITIVE, REVIEWED, read_signoffs, round_folder

INDEX = "evidence.parquet"
KINDS = {
    "true": "true_colour",
    "false": "false_colour",
    "hillshade": "hillshade",
    "slope": "slope",
}
"""Kinds of pictures, and the columns of the index that name their files; those that aren't there are not offered."""
YEAR_NUMBERS = ("seen", "area_m2", "prob_mean", "ndvi", "ndvi_ring", "brightness", "brightness_ring", "numbers_reason")
"""What is measured of a candidate in each year: for after the verdict."""
SHOWN = ("candidate_id", "year", *GROUND, "acquired", "usable_fraction", "reason", *KINDS.values(), *YEAR_NUMBERS)
EXAMPLES = 24
"""Examples of each sort in the gallery."""
ROWS = 256
"""Candidates whose rows of the index are kept: each is asked about for every picture."""


class Pictures:
    """The chips of all rounds of a project."""

    def __init__(self, results: Path, reviews: Path, crs: str) -> None:
        """Take where the evidence lies, and the CRS of the project."""
        self.results, self.reviews, self.crs = results, reviews, crs
        self._index = lru_cache(maxsize=None)(self._read)
        self._rows = lru_cache(maxsize=ROWS)(self._read_rows)

    def years(self, round: str) -> list[int]:
        """Return the years of a round's chips."""
        table, _ = self._index(round)
        return sorted(table["year"].unique().to_pylist())

    def kinds(self, round: str) -> list[str]:
        """Return the kinds of pictures that a round has."""
        table, _ = self._index(round)
        there = {name for name in table.column_names if table[name].null_count < len(table)}
        return [kind for kind, column in KINDS.items() if column in there]

    def chips(self, round: str, candidate: str) -> list[dict[str, Any]]:
        """Return a candidate's years: year, acquired, usable (share), reason (why there is none), kinds."""
        return [
            {
                "year": row["year"],
                "acquired": row["acquired"] or None,
                "usable": _known(row["usable_fraction"]),
                "reason": row["reason"] or "",
                "kinds": [kind for kind, column in KINDS.items() if row.get(column)],
            }
            for row in self._rows(round, candidate)
        ]

    def numbers(self, round: str, candidate: str) -> list[dict[str, Any]]:
        """Return what is measured of a candidate in each year: year and YEAR_NUMBERS, None where it isn't known."""
        names = ("year", *YEAR_NUMBERS)
        return [{name: _known(row[name]) for name in names if name in row} for row in self._rows(round, candidate)]

    def outlines(self, round: str, candidate: str) -> dict[int, dict[str, Any]]:
        """Return what the network outlines of a candidate in each year, as GeoJSON: for after the verdict, like the numbers."""
        import shapely

        from rts_pipeline.review.outlines import to_geojson

        rows = [row["row"] for row in self._rows(round, candidate)]
        if not rows:
            return {}
        found = read_rows(self.index_file(round), rows, ("year", "outline"))
        drawn = zip(found["year"], shapely.from_wkb(found["outline"].to_numpy()), strict=True)
        return {int(year): to_geojson(outline) for year, outline in drawn if outline is not None}

    def file(self, round: str, candidate: str, year: int, kind: str) -> Path | None:
        """Return the file of a chip, None where the index has none."""
        of_year = [row for row in self._rows(round, candidate) if row["year"] == year]
        name = of_year[0].get(KINDS[kind]) if of_year and kind in KINDS else None
        # the index is ours, but it may have been damaged or come from elsewhere
        if name is None or Path(name).name != name:
            return None
        return self._folder(round) / name

    def ground(self, round: str, candidate: str) -> list[float] | None:
        """Return west, south, east, north of the ground that a candidate's chips show, in metres.

        None where there are no chips, or an earlier version made them, which doesn't say.
        """
        rows = self._rows(round, candidate)
        sides: list[Any] = [rows[0].get(side) for side in GROUND] if rows else []
        return sides if sides and None not in sides else None

    def examples(self, before: str) -> list[dict[str, Any]]:
        """Return candidates of signed-off rounds whose chips are here, slumps and others in turn: the same each time.

        Each has round, id, decision, reject_reason, note, chips (as `chips` returns them), ground (as `ground` returns it) and
        outline (GeoJSON in the project's CRS, as it was decided).
        """
        found: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
        for signoff in read_signoffs(self.reviews):
            if int(signoff.round) < int(before):
                for example in self._decided(signoff.round):
                    found[example["decision"] in POSITIVE].append(example)
        chosen = [random.Random(0).sample(group, min(EXAMPLES, len(group))) for group in found.values()]
        return [{**example, "ground": self.ground(example["round"], example["id"])} for group in chosen for example in group]

    def _decided(self, round: str) -> list[dict[str, Any]]:
        from rts_pipeline.review.outlines import to_geojson

        _, places = self._index(round)
        rows = read_geoparquet(round_folder(self.reviews, round) / REVIEWED).to_crs(self.crs)
        rows = rows[rows["decision"].isin([*POSITIVE, "reject"]) & rows["candidate_id"].isin(list(places))]
        return [
            {
                "round": round,
                "id": row["candidate_id"],
                "decision": row["decision"],
                "reject_reason": row["reject_reason"] or "",
                "note": row["note"] or "",
                "chips": self.chips(round, row["candidate_id"]),
                "outline": to_geojson(row["geometry"]),
            }
            for row in pd.DataFrame(rows).to_dict("records")
        ]

    def index_file(self, round: str) -> Path:
        """Return the table of a round's chips and numbers, which needn't be there."""
        return self._folder(round) / INDEX

    def _folder(self, round: str) -> Path:
        return self.results / "rounds" / round / "evidence"

    def _read_rows(self, round: str, candidate: str) -> list[dict[str, Any]]:
        """Return a candidate's rows of the index, by year; none of one that isn't in it."""
        table, places = self._index(round)
        rows = places.get(candidate)
        if rows is None:
            return []
        return [{**row, "row": at} for row, at in zip(table.take(rows).to_pylist(), rows.tolist(), strict=True)]

    def _read(self, round: str) -> tuple[pa.Table, dict[str, NDArray[np.int64]]]:
        """Return the index of a round, and the numbers of each candidate's rows, by year; empty without evidence.

        Raises:
            InputError: there is evidence, and its index is missing or damaged.
        """
        path = self.index_file(round)
        if not path.exists():
            if path.parent.exists():
                raise InputError(
                    path,
                    "no such file",
                    expected="the table of the evidence in its folder",
                    do="remove the folder, or make it anew",
                )
            return pa.table({"candidate_id": [], "year": []}), {}
        # its outlines would be most of it; hundreds of thousands of rows, of which few are ever looked at, stay with Arrow
        table = read_arrow(path, only=SHOWN).combine_chunks()
        if not len(table):
            return table, {}
        names = table["candidate_id"].chunk(0).dictionary_encode()
        candidate = names.indices.to_numpy()
        rows = np.lexsort((table["year"].to_numpy(), candidate))
        groups = np.split(rows, np.flatnonzero(np.diff(candidate[rows])) + 1)
        return table, dict(zip(names.dictionary.to_pylist(), groups, strict=True))


def _known(value: Any) -> Any:
    """Return a value of a table as JSON has it: None where it isn't known."""
    return None if value != value else value
