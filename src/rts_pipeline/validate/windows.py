"""The windows in which the network did worst and best, as pictures for the person who trains it.

They show Planet's pixels, so they are a working file that belongs into no inventory and no report.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path as MplPath
from matplotlib.patheffects import Normal, Stroke

from rts_pipeline.drawing import STYLE, save
from rts_pipeline.grid import GeoBox
from rts_pipeline.imagery import COLOURS, compose, stretch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rts_pipeline.cells import Mosaics

    Geometries = NDArray[np.object_]

SHOWN = 4
"""Windows of each kind."""
EDGE_IN = 2.5
TRUE_COLOUR = COLOURS["true"]
TRUTH, PREDICTED, CASING = "#F0E442", "#56B4E9", "#101418"
UNJUDGED = "#d9dee1"


@dataclass(frozen=True)
class Scored:
    """A window and its pixels that were right and wrong, outlines (not probabilities) against the truth."""

    box: GeoBox
    tp: int
    fp: int
    fn: int

    @property
    def iou(self) -> float:
        """Intersection over union of the window's pixels."""
        return self.tp / max(self.tp + self.fp + self.fn, 1)


@dataclass(frozen=True)
class Drawn:
    """What is drawn over a window: outlines in the grid's CRS, and which pixels weren't judged, bool (rows, columns)."""

    truth: Geometries
    predicted: Geometries
    unjudged: NDArray[np.bool_]


def scored(windows: Iterable[GeoBox], box: GeoBox, found: NDArray[np.bool_], classes: NDArray[np.uint8]) -> list[Scored]:
    """Score the windows of a block that hold a slump or an outline.

    Args:
        windows: the windows.
        box: the block.
        found: bool (rows, columns), inside an outline.
        classes: uint8 (rows, columns): 1 slump, 0 none, 255 not judged.
    """
    result = []
    for window in windows:
        inside, truth = found[box.slices_of(window)], classes[box.slices_of(window)]
        kinds = inside & (truth == 1), inside & (truth == 0), ~inside & (truth == 1)
        tp, fp, fn = (int(np.count_nonzero(kind)) for kind in kinds)
        result.append(Scored(window, tp, fp, fn))
    return [window for window in result if window.tp + window.fp + window.fn]


def worst_and_best(windows: Sequence[Scored]) -> tuple[list[Scored], list[Scored]]:
    """Return at most `SHOWN` windows with the lowest IoU (most wrong pixels first) and with the highest, none in both.

    A window in which nothing is right is never one of the best.
    """
    order = sorted(windows, key=lambda w: (w.iou, -w.fp - w.fn, w.box.row, w.box.column))
    number = min(SHOWN, (len(order) + 1) // 2)
    return order[:number], [window for window in order[number:][-SHOWN:][::-1] if window.tp]


def write_windows(path: Path, rows: dict[str, list[tuple[Scored, Drawn]]], reader: Mosaics) -> None:
    """Draw windows in true colour, one stretch for all of them.

    Args:
        path: the PNG.
        rows: the windows of each row, by its title.
        reader: mosaics with the bands of true colour.
    """
    pixels = [[reader.read(window.box) for window, _ in row] for row in rows.values()]
    flat = [image.reshape(3, -1) for row in pixels for image in row]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(SHOWN * EDGE_IN + 0.3, len(rows) * (EDGE_IN + 0.45) + 0.5), layout="constrained")
        if flat and np.concatenate(flat, axis=1).any():
            every = np.concatenate(flat, axis=1)
            limits = stretch(dict(zip(TRUE_COLOUR, every, strict=True)), np.asarray(every.any(axis=0)))
            grid = figure.subplots(len(rows), SHOWN, squeeze=False)
            for axes_row, (title, row), images in zip(grid, rows.items(), pixels, strict=True):
                _draw_row(axes_row, title, row, images, limits)
        else:
            figure.text(0.5, 0.5, "No validation window holds a slump or an outline.", ha="center", va="center")
        figure.legend(handles=_legend(), loc="outside lower center", ncols=3, fontsize=9)
        save(figure, path)


def _draw_row(axes_row: Any, title: str, row: list[tuple[Scored, Drawn]], images: list[Any], limits: Any) -> None:
    for axes in axes_row:
        axes.set_axis_off()
    for axes, (window, drawn), image in zip(axes_row, row, images, strict=False):
        values = dict(zip(TRUE_COLOUR, image, strict=True))
        west, south, east, north = window.box.bounds
        picture = compose(values, TRUE_COLOUR, limits, image.any(axis=0))
        axes.imshow(picture, extent=(west, east, south, north), interpolation="nearest")
        veil = np.zeros((*drawn.unjudged.shape, 4), np.float32)
        veil[drawn.unjudged] = (*matplotlib.colors.to_rgb(UNJUDGED), 0.55)
        axes.imshow(veil, extent=(west, east, south, north), interpolation="nearest")
        _outline(axes, drawn.truth, TRUTH, "solid")
        _outline(axes, drawn.predicted, PREDICTED, (0, (3, 1.5)))
        axes.set(xlim=(west, east), ylim=(south, north))
        axes.set_title(
            f"{window.box.id}, {round(east - west)} m\nIoU {window.iou:.2f}, {window.fp + window.fn:,} px wrong",
            fontsize=8,
            y=1.0,
        )
    axes_row[0].text(-0.06, 0.5, title, transform=axes_row[0].transAxes, rotation=90, ha="right", va="center", fontsize=11)


def _outline(axes: Axes, outlines: Geometries, colour: str, style: Any) -> None:
    for polygon in shapely.get_parts(outlines):
        rings = [np.asarray(ring.coords) for ring in (polygon.exterior, *polygon.interiors)]
        path = MplPath.make_compound_path(*(MplPath(ring, closed=True) for ring in rings))
        line = PathPatch(path, fill=False, ec=colour, lw=1.4, ls=style)
        # A casing keeps the line visible on bright ground.
        line.set_path_effects([Stroke(linewidth=2.8, foreground=CASING, alpha=0.65), Normal()])
        axes.add_patch(line)


def _legend() -> list[Any]:
    casing = [Stroke(linewidth=3.2, foreground=CASING, alpha=0.65), Normal()]
    return [
        Line2D([], [], color=TRUTH, lw=1.8, path_effects=casing, label="slump (label)"),
        Line2D([], [], color=PREDICTED, lw=1.8, ls=(0, (3, 1.5)), path_effects=casing, label="outlined by the network"),
        Patch(fc=UNJUDGED, ec="#8c969c", label="not judged"),
    ]
