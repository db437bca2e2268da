"""How far two people who judged the same candidates agree: figures of each round, and who said what as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rts_pipeline.drawing import DARK, SIZE, drawing
from rts_pipeline.report.figures import NAMES, Drawn, data_uri
from rts_pipeline.review.agreement import agreement
from rts_pipeline.review.events import DECISIONS
from rts_pipeline.review.store import read_round

ORDER = ("accept", "edit", "unsure", "reject")
"""From slump to no slump: the farther from the diagonal, the farther apart."""
DARK_FROM = 0.6
"""Share of the largest count from which a field is so dark that its number is white."""


def agreements(reviews: Path, rounds: Sequence[str]) -> list[dict[str, Any]]:
    """Return what `review.agreement.agreement` tells of each round in which something was judged twice.

    Raises:
        InputError: a damaged file.
    """
    twice = [name for name in rounds if len({event.reviewer for event in read_round(reviews, name)}) > 1]
    return [found for name in twice if (found := agreement(reviews, name))["all"]["n"]]


def draw(found: Sequence[dict[str, Any]]) -> dict[str, Drawn]:
    """Return the figure `agreement`: how often the one said this and the other that, of all rounds; none without any."""
    if not found:
        return {}
    places = [DECISIONS.index(decision) for decision in ORDER]
    counts = np.sum([one["all"]["decisions"] for one in found], axis=0)[np.ix_(places, places)]
    labels = [NAMES[decision].replace(", ", ",\n") for decision in ORDER]
    with drawing(SIZE[0], SIZE[1] * 1.1, shape_fixed=True) as (figure, axes):
        axes.imshow(counts, cmap="Blues", vmin=0)
        for (row, column), count in np.ndenumerate(counts):
            ink = "white" if count > DARK_FROM * counts.max() else DARK
            axes.text(column, row, f"{count:,}", ha="center", va="center", color=ink)
        axes.set_xticks(range(len(labels)), labels)
        axes.set_yticks(range(len(labels)), labels)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("Other reviewer (candidates)")
        axes.set_ylabel("First reviewer")
        return {"agreement": data_uri(figure)}
