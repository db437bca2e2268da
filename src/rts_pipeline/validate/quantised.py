"""What int8 costs on the validation blocks: the same ground by the network as it was trained, with a choice of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rts_pipeline.metrics.pixels import BINS, level_of
from rts_pipeline.validate.choice import Choice, choose
from rts_pipeline.validate.judge import Predicted, judge, summary
from rts_pipeline.validate.objects import Tally, tally

if TYPE_CHECKING:
    from rts_pipeline.options import ValidateOptions
    from rts_pipeline.validate.ground import Block

SCORES = ("objects", "0.5", "f1"), ("pixels", "iou"), ("pr_auc",)
"""Where the figures lie in a summary: F1 of objects at IoU > 0.5, IoU and PR-AUC of pixels."""


def quantisation_loss(
    blocks: Sequence[Block], predicted: Predicted, exact: Predicted, choice: Choice, options: ValidateOptions
) -> dict[str, Any]:
    """Compare the network in int8 with the one that it was made of, and say on stderr what it costs.

    Args:
        blocks: the blocks; those of the validation split count.
        predicted: probabilities in int8.
        exact: those of the network as it was trained.
        choice: what was chosen for int8.
        options: the stage's options.

    Returns:
        `f1` (of objects, IoU > 0.5), `iou` and `pr_auc` (of pixels), each {int8, exact}, both at the settings that are best for
        them; `agreement`: the IoU of the pixels that both have above their thresholds. None where it can't be computed.
    """
    blocks = [block for block in blocks if block.split == "validation"]
    total = Tally.none()
    for block in blocks:
        total += tally(*exact.look(block), options.polygonize)
    its_choice = choose(total, options.choice.recall)
    both = _scores(blocks, predicted, choice, options), _scores(blocks, exact, its_choice, options)
    loss: dict[str, Any] = {
        name: {"int8": one, "exact": other} for name, one, other in zip(("f1", "iou", "pr_auc"), *both, strict=True)
    }
    loss["agreement"] = _agreement(blocks, predicted, exact, level_of(choice.threshold), level_of(its_choice.threshold))
    said = ", ".join(f"{name} {_text(loss[name]['int8'])} instead of {_text(loss[name]['exact'])}" for name in ("f1", "iou"))
    print(f"validate: with int8 {said} on the validation blocks; pixels agree by {_text(loss['agreement'])}", file=sys.stderr)
    return loss


def _scores(blocks: Sequence[Block], predicted: Predicted, choice: Choice, options: ValidateOptions) -> list[float | None]:
    judged = [judge(block, predicted, choice, options.polygonize) for block in blocks]
    found: Any = summary(pd.DataFrame([one.row for one in judged]), np.stack([one.counts for one in judged]))
    values = []
    for path in SCORES:
        figure = found
        for name in path:
            figure = figure[name]
        values.append(figure["value"])
    return values


def _agreement(blocks: Sequence[Block], predicted: Predicted, exact: Predicted, limit: int, its_limit: int) -> float | None:
    both = either = 0
    for block in blocks:
        (_, one), (_, other) = predicted.look(block), exact.look(block)
        # 255, not observed, is so in both
        above, its_above = (one >= limit) & (one <= BINS), (other >= its_limit) & (other <= BINS)
        both += int(np.count_nonzero(above & its_above))
        either += int(np.count_nonzero(above | its_above))
    return both / either if either else None


def _text(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
