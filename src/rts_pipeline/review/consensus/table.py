"""The consensus of several people as tables: for the terminal, and in Markdown."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rts_pipeline.review.outlines import records

if TYPE_CHECKING:
    import geopandas as gpd
    from rich.table import Table

NAMES = {
    "percent_agreement": "percent agreement",
    "fleiss_kappa": "Fleiss' kappa",
    "gwet_ac1": "Gwet's AC1",
    "krippendorff_alpha": "Krippendorff's alpha",
    "f1_30": "F1, IoU > 0.3",
    "f1_50": "F1, IoU > 0.5",
    "iou": "IoU of the ground",
}
Rows = list[list[str]]


def slump_rows(slumps: gpd.GeoDataFrame) -> Rows:
    """Return the header and one row a slump: areas in hectares, offsets in metres."""
    header = ["slump", "drew", "possibility", "area", "drawn areas", "CV", "distance", "68 %", "95 %"]
    rows = [header]
    for row in records(slumps):
        one = row["n_drew"] == 1
        rows.append(
            [
                str(row["slump_id"]),
                f"{row['n_drew']} of {row['n_looked']}",
                f"{row['possibility']:g} {row['possibility_class']}",
                f"{row['area_m2'] / 1e4:.2f}",
                "–" if one else f"{row['area_min_m2'] / 1e4:.2f}–{row['area_max_m2'] / 1e4:.2f}",
                "–" if one else f"{row['area_cv']:.2f}",
                "–" if one else f"{row['distance_median_m']:.1f}",
                _span(row["offset_p16_m"], row["offset_p84_m"]),
                _span(row["offset_p2_5_m"], row["offset_p97_5_m"]),
            ]
        )
    return rows


def reviewer_rows(statistics: dict[str, Any]) -> Rows:
    """Return the header and one row a reviewer."""
    rows = [["reviewer", "outlines", "slumps", "alone", "of what most others drew", "area", "offset"]]
    for row in statistics["reviewers"]:
        offset = row["offset_median_m"]
        rows.append(
            [
                row["reviewer"],
                str(row["n_outlines"]),
                str(row["n_slumps"]),
                str(row["n_alone"]),
                f"{row['n_found_of_most_others']} of {row['n_of_most_others']}",
                f"{row['area_m2'] / 1e4:.2f}",
                "–" if offset is None else _signed(offset),
            ]
        )
    return rows


def agreement_rows(statistics: dict[str, Any]) -> Rows:
    """Return the header and one row a statistic, with its interval."""
    kinds = {
        "slump or not, of places where anybody drew": statistics["presence"],
        "square metres, where all looked": {k: v for k, v in (statistics["ground"] or {}).items() if k in NAMES},
        "outlines, mean over pairs of people": statistics["outlines"]["mean"],
    }
    rows = [["of", "statistic", "value", "95 % interval"]]
    for what, figures in kinds.items():
        for name, figure in figures.items():
            rows.append([what, NAMES[name], _number(figure["value"]), _interval(figure)])
            what = ""
    return rows


def summary(statistics: dict[str, Any]) -> str:
    """Return in a line how many slumps so many people drew, the surest first."""
    counts = [f"{count} by {n}" for n, count in sorted(statistics["drawn_by"].items(), key=lambda item: -int(item[0])) if count]
    return f"{statistics['n_slumps']} slumps, drawn by {len(statistics['reviewers'])} people: {', '.join(counts)}"


def tables(slumps: gpd.GeoDataFrame, statistics: dict[str, Any]) -> list[Table]:
    """Return the tables for the terminal."""
    from rich.markup import escape
    from rich.table import Table

    views = []
    for title, rows in _all(slumps, statistics).items():
        view = Table(title=title, title_justify="left", padding=(0, 1))
        for number, column in enumerate(rows[0]):
            view.add_column(column, justify="left" if _is_text(number, column) else "right")
        for row in rows[1:]:
            view.add_row(*map(escape, row))
        views.append(view)
    return views


def markdown(slumps: gpd.GeoDataFrame, statistics: dict[str, Any]) -> str:
    """Return the same in Markdown, with the units and the notes."""
    parts = [summary(statistics) + "."]
    for title, rows in _all(slumps, statistics).items():
        lines = ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows]
        rule = "|" + "".join("---|" if _is_text(number, column) else "---:|" for number, column in enumerate(rows[0]))
        parts.append(f"**{title}**\n\n" + "\n".join([lines[0], rule, *lines[1:]]))
    parts.append(UNITS)
    parts += [f"- {note}" for note in statistics["notes"]]
    return "\n\n".join(parts) + "\n"


UNITS = (
    "Areas in hectares on the ellipsoid; `drawn areas` are the smallest and the largest, `CV` is their coefficient of "
    "variation. `distance` is the median distance (m) of what was drawn from the consensus outline; `68 %` and `95 %` are "
    "where the middle of the signed distances lies, positive outside. `offset` (m) is a reviewer's signed median, over slumps; "
    "`of what most others drew`: how many of the slumps that more than half of the others drew."
)


def _all(slumps: gpd.GeoDataFrame, statistics: dict[str, Any]) -> dict[str, Rows]:
    return {"Slumps": slump_rows(slumps), "Reviewers": reviewer_rows(statistics), "Agreement": agreement_rows(statistics)}


def _is_text(number: int, column: str) -> bool:
    return number == 0 or column == "statistic"


def _span(low: float, high: float) -> str:
    return "–" if math.isnan(low) else f"{_signed(low)} to {_signed(high)}"


def _signed(metres: float) -> str:
    # Without the minus of what rounds to zero.
    return f"{round(metres, 1) + 0.0:+.1f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _interval(figure: dict[str, float | None]) -> str:
    return "–" if figure["low"] is None else f"{_number(figure['low'])} to {_number(figure['high'])}"
