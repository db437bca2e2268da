"""The style of all figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rts_pipeline.io.files import atomic

MAIN, OTHER, DARK = "#0072B2", "#D55E00", "#1c2b36"
"""Okabe and Ito's blue and vermilion, which stay apart for colour-blind readers, and the ink."""
STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#5b6770",
    "axes.labelcolor": DARK,
    "text.color": DARK,
    "xtick.color": "#3b4750",
    "ytick.color": "#3b4750",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "rts-pipeline",
    "hatch.linewidth": 0.5,
}
SIZE = (5.4, 3.5)
"""Width and height of a figure in inches. None may be wider: text of 10 points then has 6.2 in a column of 8.5 cm."""


def styled() -> AbstractContextManager[None]:
    """Give our style for the time of a work; no global state is changed."""
    return matplotlib.rc_context(STYLE)


@contextmanager
def drawing(
    width: float = SIZE[0], height: float = SIZE[1], *, shape_fixed: bool = False, **kwargs: Any
) -> Iterator[tuple[Figure, Axes]]:
    """Give a figure (inches) and its axes in our style; no display is needed and no global state is changed.

    Where the axes' shape is fixed, as a map's is, only a layout that knows it leaves all of its labels room.
    """
    with styled():
        figure = Figure(figsize=(width, height), layout="compressed" if shape_fixed else "constrained")
        yield figure, figure.add_subplot(**kwargs)


def legend_outside(figure: Figure, place: str, handles: Sequence[Artist] | None = None, most: int = 4) -> None:
    """Lay the legend beside all axes ("upper center", "lower right"), with as many columns, up to `most`, as have room."""
    given = {} if handles is None else {"handles": handles}
    for columns in range(most, 0, -1):
        legend = figure.legend(loc=f"outside {place}", ncols=columns, columnspacing=1.2, **given)
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def save(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Write a figure as PNG, atomically; equal figures give equal bytes."""
    with atomic(path) as temporary, styled():
        figure.savefig(temporary, format="png", dpi=dpi, metadata={"Software": None})
