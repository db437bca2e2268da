"""The picture of a consensus: what everybody drew, the majority's outlines, and the ground between all and any."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path as Outline

from rts_pipeline.drawing import DARK, MAIN, STYLE, save
from rts_pipeline.graph import components
from rts_pipeline.report.palette import dated

if TYPE_CHECKING:
    import geopandas as gpd

    from rts_pipeline.review.consensus.layers import Layers

PANELS = 11
"""Most panels of places, beside the one with counts; the largest places are shown."""
COLUMNS = 4
WIDTH = 9.0
ALL, SOME = "#b9c4cb", "#e9edef"
"""Ground that all who drew a slump drew, and that some of them did."""
MARGIN = 0.08
"""Free border of a panel, of its edge."""


def draw(path: Path, layers: Layers, reviewers: Sequence[str]) -> None:
    """Draw one panel for each place (slumps whose outlines overlap are at one place), and how many slumps so many people drew.

    Args:
        path: the PNG.
        layers: the slumps, what was drawn of them, and the ground between, in a CRS in metres.
        reviewers: names of all people.
    """
    places = _places(layers.consensus, layers.drawn)
    shown = places[:PANELS]
    rows = ceil((len(shown) + 1) / COLUMNS)
    # dated() gives colours that stay apart to any number of classes.
    colours = dict(zip(reviewers, dated(tuple(reviewers)).colours, strict=True))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, rows * WIDTH / COLUMNS * 1.06 + 0.5), layout="constrained")
        axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
        for axis in axes[len(shown) + 1 :]:
            axis.set_axis_off()
        for axis, ids in zip(axes, shown, strict=False):
            _place(axis, ids, layers, colours)
        _counts(axes[len(shown)], layers.consensus, len(reviewers))
        figure.legend(handles=_legend(colours), loc="outside lower center", ncols=5, fontsize=8.5)
        if len(places) > len(shown):
            figure.suptitle(f"The {len(shown)} largest of {len(places)} places", fontsize=9)
        save(figure, path)


def _places(slumps: gpd.GeoDataFrame, drawn: gpd.GeoDataFrame) -> list[list[int]]:
    """Return the ids of the slumps of each place, the largest place first."""
    first, second = shapely.STRtree(drawn.geometry.to_numpy()).query(drawn.geometry.to_numpy(), predicate="intersects")
    position = drawn["slump_id"].to_numpy() - 1
    place = components(len(slumps), position[first], position[second])
    groups = [(np.flatnonzero(place == number) + 1).tolist() for number in range(int(place.max()) + 1)]
    return sorted(groups, key=lambda ids: (-slumps["outer_m2"].to_numpy()[np.array(ids) - 1].sum(), ids))


def _place(axis: Axes, ids: list[int], layers: Layers, colours: dict[str, str]) -> None:
    slumps, own, band = (frame[frame["slump_id"].isin(ids)] for frame in (layers.consensus, layers.drawn, layers.band))
    for shape in slumps.geometry:
        axis.add_patch(PathPatch(_path(shape), facecolor=ALL, edgecolor="none", zorder=1))
    # Over the consensus, so that what is left of its colour is what all drew.
    for shape in band.geometry:
        axis.add_patch(PathPatch(_path(shape), facecolor=SOME, edgecolor="none", zorder=2))
    for shape in slumps.geometry:
        axis.add_patch(PathPatch(_path(shape), facecolor="none", edgecolor=DARK, lw=2.4, zorder=3))
    for row in own.itertuples():
        axis.add_patch(PathPatch(_path(row.geometry), facecolor="none", edgecolor=colours[row.reviewer], lw=0.9, zorder=4))
    west, south, east, north = own.total_bounds
    half = max(east - west, north - south) / 2 / (1 - 2 * MARGIN)
    axis.set(xlim=((west + east) / 2 - half, (west + east) / 2 + half), xticks=[], yticks=[], aspect="equal")
    axis.set_ylim((south + north) / 2 - half, (south + north) / 2 + half)
    axis.spines[:].set_visible(True)
    axis.spines[:].set_color("#c4ccd1")
    texts = [f"{row.slump_id}: {row.n_drew} of {row.n_looked}" for row in slumps.itertuples()]
    axis.set_title(", ".join(texts[:3]) + (", …" if len(texts) > 3 else ""), fontsize=9)
    _scale_bar(axis, 2 * half)


def _path(shape: shapely.Geometry) -> Outline:
    rings = shapely.get_rings(shapely.get_parts(shapely.orient_polygons(shape)))
    return Outline.make_compound_path(*(Outline(shapely.get_coordinates(ring), closed=True) for ring in rings))


def _scale_bar(axis: Axes, width_m: float) -> None:
    """Draw a bar of 1, 2 or 5 x 10^n metres, at most a third of the panel, below the panel's lower edge."""
    power = 10 ** int(np.floor(log10(width_m / 3)))
    length = max(step * power for step in (1, 2, 5) if step * power <= width_m / 3)
    style: dict[str, Any] = {"color": DARK, "lw": 2, "solid_capstyle": "butt"}
    axis.plot([0, length / width_m], [-0.035, -0.035], transform=axis.transAxes, clip_on=False, **style)
    text = f"{length:g} m" if length < 1000 else f"{length / 1000:g} km"
    axis.text(length / width_m + 0.03, -0.035, text, transform=axis.transAxes, va="center", fontsize=8)


def _counts(axis: Axes, slumps: gpd.GeoDataFrame, n_reviewers: int) -> None:
    n = np.arange(1, n_reviewers + 1)
    counts = [int((slumps["n_drew"] == number).sum()) for number in n]
    bars = axis.bar(n, counts, color=MAIN, width=0.7)
    axis.bar_label(bars, [str(count) if count else "" for count in counts], fontsize=8, padding=1)
    axis.set(xticks=n, yticks=[], xlabel="people who drew it")
    axis.set_title("slumps", fontsize=9)
    axis.spines["left"].set_visible(False)
    axis.margins(y=0.15)


def _legend(colours: dict[str, str]) -> list[Line2D | Patch]:
    people = [Line2D([], [], color=colour, lw=1.4, label=name.replace("$", r"\$")) for name, colour in colours.items()]
    majority = Line2D([], [], color=DARK, lw=2.4, label="consensus")
    ground = [Patch(facecolor=colour, label=f"drawn by {who} of them") for colour, who in ((ALL, "all"), (SOME, "some"))]
    return [*people, majority, *ground]
