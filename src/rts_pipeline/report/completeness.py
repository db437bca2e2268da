"""How complete the inventory is: the estimates of the stage completeness as rows of a table and as figures."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from rts_pipeline.drawing import DARK, MAIN, SIZE, drawing, legend_outside
from rts_pipeline.metrics.objects import SIZE_CLASS_NAMES
from rts_pipeline.report.figures import Drawn, count_axis, data_uri

MORE_ROUNDS = 2
"""Rounds beyond the last one to which the fitted curve is drawn."""
ROW_IN, ROOM_IN = 0.45, 0.8
Row = dict[str, Any]


def shares(estimates: dict[str, Any]) -> list[Row]:
    """Return what share of the slumps was found, a row an estimate: label, of (what it is a share of), value, low, high,
    reason.

    Args:
        estimates: what the stage completeness wrote.
    """
    audit, curve = estimates["audit"], estimates["curve"]
    rows = []
    if audit["round"]:
        rows.append(_row("Audit", "all slumps", audit["completeness"]))
        classes = {name: audit["size_classes"][name]["completeness"] for name in SIZE_CLASS_NAMES}
        rows += [_row("Audit", f"slumps {name}", estimate) for name, estimate in classes.items() if _known(estimate)]
    else:
        rows.append(_row("Audit", "all slumps", _none(audit["reason"])))
    for name, of in (("reviewers", "slumps among the candidates"), ("detectors", "slumps new to both")):
        searches = estimates[name]
        found = sum(searches.get(key, 0) * sign for key, sign in (("first", 1), ("second", 1), ("both", -1)))
        row = _row(f"Two {name}", of, _share(found, searches["total"]))
        if _known(row) and any(searches.get("unjudged", ())):
            row["reason"] = "nobody judged {} and {} of their outlines".format(*searches["unjudged"])
        rows.append(row)
    rows.append(_row("Curve of rounds", "what such rounds can find", _share(sum(curve["new"]), curve["total"])))
    return rows


def _row(label: str, of: str, estimate: Row) -> Row:
    return {"label": label, "of": of, **estimate}


def _none(reason: str) -> Row:
    return {"value": None, "low": None, "high": None, "reason": reason}


def _known(estimate: Row) -> bool:
    return estimate["value"] is not None


def _share(found: int, total: Row) -> Row:
    """Return found / total with the limits turned round; 0 where nothing bounds the total."""
    if not _known(total) or not total["value"]:
        return _none(total["reason"])
    low = found / total["high"] if total["high"] else 0.0
    return {"value": found / total["value"], "low": low, "high": min(1.0, found / total["low"]), "reason": total["reason"]}


def draw(estimates: dict[str, Any]) -> dict[str, Drawn]:
    """Return the figures `completeness` and `curve`, each only where there is something to draw."""
    rows = [row for row in shares(estimates) if _known(row)]
    figures = {"completeness": _intervals(rows)} if rows else {}
    return figures | ({"curve": _curve(estimates["curve"])} if _known(estimates["curve"]["total"]) else {})


def _intervals(rows: list[Row]) -> Drawn:
    with drawing(SIZE[0], ROOM_IN + ROW_IN * len(rows)) as (figure, axes):
        place = np.arange(len(rows))
        value, low, high = (np.array([row[name] for row in rows]) * 100 for name in ("value", "low", "high"))
        axes.hlines(place, low, high, color=MAIN, lw=3)
        axes.plot(value, place, "o", color=DARK, ms=7, zorder=3)
        axes.set_yticks(place, [f"{row['label']}:\n{row['of']}" for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(0, 102)
        axes.set_xlabel("Found (%), with 95 % interval")
        axes.grid(axis="x", color="#e2e7ea", lw=0.7)
        return data_uri(figure)


def _curve(curve: Row) -> Drawn:
    new, total, p = curve["new"], curve["total"], curve["p"]
    with drawing() as (figure, axes):
        rounds = np.arange(len(new) + MORE_ROUNDS + 1)
        fine = np.linspace(0, rounds[-1], 200)
        axes.plot(fine, total["value"] * (1 - (1 - p) ** fine), color=MAIN)
        axes.axhline(total["value"], color=MAIN, ls="--", lw=1.2)
        handles: list[Artist] = [
            Line2D([], [], color=MAIN, label="fitted"),
            Line2D([], [], color=MAIN, ls="--", lw=1.2, label="its end"),
        ]
        if total["high"] is not None:
            axes.axhspan(total["low"], total["high"], color=MAIN, alpha=0.15, lw=0)
            handles.append(Patch(color=MAIN, alpha=0.15, lw=0, label="95 % interval of the end"))
        axes.plot(rounds[: len(new) + 1], np.cumsum([0, *new]), "o", color=DARK, zorder=3)
        handles.insert(0, Line2D([], [], color=DARK, marker="o", ls="", label="found"))
        axes.set_xticks(rounds)
        axes.set_xlabel("Rounds")
        count_axis(axes, "New slumps found")
        axes.set_ylim(0)
        legend_outside(figure, "upper center", handles)
        return data_uri(figure)
