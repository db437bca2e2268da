"""The figures of the report but the map, each as an SVG image for an HTML page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from rts_pipeline.drawing import DARK, MAIN, drawing, legend_outside, styled

COLOURS = {
    "accept": "#0072B2",
    "edit": "#56B4E9",
    "missed": "#009E73",
    "reject": "#D55E00",
    "unsure": "#8c8c8c",
    "unseen": "#cfcfcf",
}
"""Okabe and Ito's colours, which stay apart for colour-blind readers."""
NAMES = {
    "accept": "accepted",
    "edit": "accepted, redrawn",
    "missed": "added by reviewer",
    "reject": "rejected",
    "unsure": "unsure",
    "unseen": "not looked at",
}
SMALL = (4.0, 3.1)
PNG_DPI = 300
"""What journals ask of pictures."""
ALONE = pd.Timedelta(days=3)
"""What is shown before and after the time of a single sign-off."""
TICKS_HA = [factor * 10.0**power for power in range(-4, 5) for factor in (1, 2, 5)]


class Drawn(str):
    """An image as a data URI, with the figure that it is of: files for papers are drawn from it."""

    figure: Figure


def data_uri(figure: Figure, kind: str = "svg", **options: Any) -> Drawn:
    """Return the figure as a data URI for the page; equal figures give equal text."""
    drawn = Drawn(uri(_saved(figure, kind, **options), {"svg": "svg+xml"}.get(kind, kind)))
    drawn.figure = figure
    return drawn


def _saved(figure: Figure, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    varying = {"svg": {"Date": None}, "png": {"Software": None}}
    with styled():
        figure.savefig(buffer, format=kind, metadata=varying.get(kind), **options)
    return buffer.getvalue()


def files(drawn: Drawn) -> dict[str, bytes]:
    """Return the content of a figure's files by their ending, "svg" and "png"."""
    return {"svg": _saved(drawn.figure, "svg"), "png": _saved(drawn.figure, "png", dpi=PNG_DPI)}


def uri(data: bytes, mime: str) -> str:
    """Return an image ("png", "webp", "svg+xml") as a data URI."""
    return f"data:image/{mime};base64,{base64.b64encode(data).decode()}"


def decisions_by_round(rounds: pd.DataFrame) -> Drawn:
    """Draw what became of each round's candidates as stacked bars, with the precision of the queue above."""
    with drawing() as (figure, axes):
        bottom = np.zeros(len(rounds))
        for decision in (name for name in NAMES if rounds[name].any()):
            counts = rounds[decision].to_numpy(float)
            axes.bar(rounds["round"], counts, 0.6, bottom=bottom, color=COLOURS[decision], label=NAMES[decision])
            bottom += counts
        for name, top, precision in zip(rounds["round"], bottom, rounds["precision"], strict=True):
            if np.isfinite(precision):
                _label(axes, f"{precision:.0%}".replace("%", " %"), name, top)
        count_axis(axes, "Candidates and additions")
        axes.set_xlabel("Round")
        axes.set_ylim(0, max(1.0, bottom.max(initial=0) * 1.12))
        if bottom.any():
            legend_outside(figure, "upper center")
        return data_uri(figure)


def growth_by_round(rounds: Sequence[str], found: Sequence[int]) -> Drawn:
    """Draw the slumps that the seeds and each round brought, and how they add up.

    Args:
        rounds: names of the rounds.
        found: number of the inventory's slumps known at the start, and found first in each round.
    """
    with drawing() as (figure, axes):
        names, new = ["start", *rounds], np.array(found, dtype=float)
        axes.bar(names[:1], new[:1], 0.6, color="#8c8c8c", label="known at the start")
        axes.bar(names[1:], new[1:], 0.6, color=MAIN, label="new")
        axes.plot(names, new.cumsum(), color=DARK, marker="o", label="all so far")
        for name, total in zip(names, new.cumsum(), strict=True):
            _label(axes, f"{total:.0f}", name, total)
        count_axis(axes, "Slumps")
        axes.set_ylim(0, max(1.0, new.sum() * 1.15))
        axes.set_xlabel("Round")
        legend_outside(figure, "upper center")
        return data_uri(figure)


def _label(axes: Axes, text: str, x: str, y: float) -> None:
    axes.annotate(text, (x, y), xytext=(0, 6), textcoords="offset points", ha="center")


def sizes(area_m2: pd.Series) -> Drawn:
    """Draw the distribution of areas in hectares, on a logarithmic axis."""
    hectares = area_m2.to_numpy() / 1e4
    with drawing() as (figure, axes):
        low, high = np.floor(np.log10(hectares.min()) * 4) / 4, np.ceil(np.log10(hectares.max()) * 4) / 4
        edges = 10 ** np.linspace(low, max(high, low + 0.5), max(4, round((max(high, low + 0.5) - low) * 8)) + 1)
        axes.hist(hectares, edges.tolist(), color=MAIN, edgecolor="white", linewidth=0.6)
        for value, name, style in ((hectares.mean(), "mean", "-"), (np.median(hectares), "median", "--")):
            axes.axvline(value, color=DARK, ls=style, lw=1.4, label=f"{name} {value:.2f} ha")
        ticks = [tick for tick in TICKS_HA if edges[0] <= tick <= edges[-1]]
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("Area (ha)")
        count_axis(axes, "Slumps")
        legend_outside(figure, "upper center")
        return data_uri(figure)


def time_line(rounds: pd.DataFrame) -> Drawn:
    """Draw when each round was signed off (UTC), and how many slumps were accepted by then."""
    with drawing(height=2.9) as (figure, axes):
        days = pd.to_datetime(rounds["at"], utc=True).dt.tz_localize(None)
        found = rounds["n_new"].cumsum()
        axes.step(days, found, where="post", color="#8c8c8c", lw=1.2)
        axes.plot(days, found, "o", color=MAIN)
        for day, total, name in zip(days, found, rounds["round"], strict=True):
            axes.annotate(name, (day, total), xytext=(0, 6), textcoords="offset points", ha="center")
        locator = AutoDateLocator(minticks=2, maxticks=6)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        axes.margins(x=0.08)
        if days.nunique() == 1:
            # else a single time would stand in the middle of four years
            axes.set_xlim(*date2num([days.iloc[0] - ALONE, days.iloc[0] + ALONE]))
        count_axis(axes, "Slumps found by rounds")
        axes.set_ylim(0, max(1.0, float(found.max()) * 1.18))
        axes.set_xlabel("Signed off (UTC)")
        return data_uri(figure)


def count_axis(axes: Axes, label: str) -> None:
    """Name the upright axis, with whole numbers and lines across."""
    axes.set_ylabel(label)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.grid(axis="y", color="#e2e7ea", lw=0.7)
