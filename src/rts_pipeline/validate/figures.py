"""The figures of a validation that show no pixels of the images, drawn from the numbers in its record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rts_pipeline.drawing import DARK, MAIN, OTHER, SIZE, drawing, legend_outside, styled
from rts_pipeline.metrics.pixels import average_precision, expected_calibration_error, level_of, pixel_scores, reliability

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASSES = ("other", "slump")
"""Names of the classes of `metrics.pixels.count_pixels` in validation.json."""
WIDTH_IN = SIZE[0]
SOFT = "#c4ccd1"
F1_LINES = (0.2, 0.4, 0.6, 0.8)
MARK: dict[str, Any] = {"marker": "o", "ms": 10, "mew": 1.8}


def draw(said: dict[str, Any]) -> dict[str, Figure]:
    """Return `reliability` and `precision_recall`, drawn from what validation.json says.

    Args:
        said: its content; without `validation_pixels` (from before they were kept) nothing can be drawn.
    """
    if "validation_pixels" not in said:
        return {}
    counts = np.array([said["validation_pixels"][name] for name in CLASSES], dtype=np.int64)
    return {"reliability": _reliability(counts), "precision_recall": _precision_recall(counts, said)}


def _reliability(counts: NDArray[np.int64]) -> Figure:
    """Draw the share of slump pixels over their predicted probability, and how many pixels stand behind it."""
    rows = [row for row in reliability(counts) if row["n"]]
    with styled():
        figure = Figure(figsize=(WIDTH_IN, 5.4), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        upper.plot([0, 1], [0, 1], color=DARK, lw=1, ls=(0, (4, 3)), label="perfectly calibrated")
        shares: Any = [row["predicted"] for row in rows], [row["observed"] for row in rows]
        name = _named("network", "ECE", expected_calibration_error(counts))
        upper.plot(*shares, color=MAIN, marker="o", ms=5, label=name, clip_on=False, zorder=3)
        upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="Share that are slump")
        upper.legend(loc="upper left")
        lower.bar([row["lower"] for row in rows], [row["n"] for row in rows], 0.1, align="edge", color=MAIN, edgecolor="white")
        lower.set(yscale="log", ylim=(0.7, None), xlabel="Predicted probability", ylabel="Pixels")
        for axes in (upper, lower):
            axes.grid(color="#e2e7ea", lw=0.7)
        return figure


def _precision_recall(counts: NDArray[np.int64], said: dict[str, Any]) -> Figure:
    """Draw precision over recall, of pixels at every threshold and of objects, with what was chosen."""
    with drawing(WIDTH_IN, 5.4, shape_fixed=True) as (figure, axes):
        _f1_lines(axes)
        scores = pixel_scores(counts)
        defined = counts[:, ::-1].cumsum(axis=1)[:, ::-1].sum(axis=0) > 0
        if counts[1].any():
            label = _named("pixels", "PR-AUC", average_precision(counts))
            axes.plot(scores["recall"][defined], scores["precision"][defined], color=MAIN, lw=1.8, label=label)
            level = level_of(said["threshold"])
            _mark(axes, scores["recall"][level], scores["precision"][level], MAIN)
        known: list[Any] = [row for row in said["thresholds"] if row["precision"] is not None and row["recall"] is not None]
        if known:
            places = [row["recall"] for row in known], [row["precision"] for row in known]
            style: dict[str, Any] = {"color": OTHER, "lw": 1.2, "marker": "o", "ms": 3.5}
            axes.plot(*places, **style, label="objects, IoU > 0.5")
        for row in known:
            if row["threshold"] == said["threshold"]:
                _mark(axes, row["recall"], row["precision"], OTHER)
        axes.plot([], [], **MARK, color="none", mec=DARK, ls="", label=f"chosen threshold, {said['threshold']:g}")
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="Recall", ylabel="Precision", aspect="equal")
        legend_outside(figure, "upper center", most=2)
        return figure


def _mark(axes: Axes, recall: float, precision: float, colour: str) -> None:
    axes.plot(recall, precision, **MARK, mfc="white", mec=colour, zorder=3, clip_on=False)
    axes.plot(recall, precision, marker="o", ms=4, color=colour, zorder=4, clip_on=False)


def _f1_lines(axes: Axes) -> None:
    for f1 in F1_LINES:
        recall = np.linspace(f1 / (2 - f1), 1, 100)
        axes.plot(recall, f1 * recall / (2 * recall - f1), color=SOFT, lw=0.8, zorder=0)
        axes.text(1.025, f1 / (2 - f1), f"F1 {f1:g}", va="center", color="#6b767d")


def _named(name: str, score: str, value: float | None) -> str:
    return name if value is None else f"{name}, {score} {value:.3f}"
