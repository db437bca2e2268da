"""After training: temperature, threshold and minimum area, chosen on the whole validation blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import torch
from scipy import ndimage
from scipy.optimize import minimize_scalar
from torch import nn

from rts_pipeline.learning.datamodule import ChipModule
from rts_pipeline.learning.datasets import IGNORE

THRESHOLDS = np.round(np.arange(0.2, 0.801, 0.05), 2)
MIN_AREAS_M2 = np.array([0.0, 300.0, 600.0, 1000.0, 2000.0, 4000.0])
PLATEAU = 0.01
"""Settings whose F1 is this close to the best are one plateau: the difference is less than one object's chance."""
EIGHT = np.ones((3, 3), int)

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Choice:
    """Threshold and minimum area, and what they give on the validation blocks."""

    threshold: float
    min_area_m2: float
    scores: dict[str, float]


def validation_logits(network: nn.Module, data: ChipModule, autocast: Any, folder: Path) -> tuple[Array, Array]:
    """Return logits float16 and targets uint8, both (windows, rows, columns), as arrays on disk in `folder`."""
    loader = data.all_validation()
    size = int(data.chips.size_px.iloc[0])
    shape = (len(loader.sampler), size, size)
    logits = np.lib.format.open_memmap(folder / "logits.npy", "w+", np.float16, shape)
    targets = np.lib.format.open_memmap(folder / "targets.npy", "w+", np.uint8, shape)
    device, done = next(network.parameters()).device, 0
    network.eval()
    with torch.inference_mode(), autocast:
        for batch in loader:
            image, mask = data.prepare({name: value.to(device) for name, value in batch.items()})
            here = slice(done, done + len(image))
            given = network(image.contiguous(memory_format=torch.channels_last))
            logits[here] = given.squeeze(1).float().clamp(-60, 60).cpu().numpy()
            targets[here] = mask.cpu().numpy()
            done = here.stop
    return logits, targets


def temperature(logits: Array, targets: Array) -> float:
    """Return the T that makes sigmoid(logit / T) likeliest (Guo et al. 2017), from at most a few million pixels."""
    step = max(1, logits.shape[1] // 64)
    given, wanted = np.asarray(logits[:, ::step, ::step]).ravel(), np.asarray(targets[:, ::step, ::step]).ravel()
    margin = np.where(wanted == 1, given, -given)[wanted != IGNORE].astype(np.float64)

    def cost(log_t: float) -> float:
        return float(np.logaddexp(0, -margin / np.exp(log_t)).mean())

    return round(float(np.exp(minimize_scalar(cost, bounds=(-1.5, 1.5), method="bounded").x)), 4)


def choose(logits: Array, targets: Array, chips: gpd.GeoDataFrame, temperature: float, pixel_m: float) -> Choice:
    """Choose what maximises the F1 of objects (one to one, IoU > 0.5); of equals, the middle of the plateau.

    Args:
        logits: (windows, rows, columns).
        targets: (windows, rows, columns); 1, 0, 255 ignored.
        chips: the windows' rows of the table, in the same order.
        temperature: logits are divided by it.
        pixel_m: pixel size in metres.
    """
    hits = np.zeros((len(THRESHOLDS), len(MIN_AREAS_M2)), int)
    found, truths = hits.copy(), 0
    for block_logits, block_targets in _blocks(logits, targets, chips):
        truth, number = ndimage.label(block_targets == 1, EIGHT)
        truths += number
        for index, threshold in enumerate(THRESHOLDS):
            level = temperature * np.log(threshold / (1 - threshold))
            sizes, matched = match(block_logits >= level, truth, block_targets == IGNORE)
            large = sizes[:, None] * pixel_m**2 >= MIN_AREAS_M2
            found[index] += large.sum(axis=0)
            hits[index] += (large & matched[:, None]).sum(axis=0)
    f1 = 2 * hits / np.maximum(found + truths, 1)
    row, column = plateau_middle(f1)
    tp, n = int(hits[row, column]), int(found[row, column])
    scores = {"precision": tp / max(n, 1), "recall": tp / max(truths, 1), "f1": float(f1[row, column])}
    counts = {"true_positives": tp, "false_positives": n - tp, "false_negatives": truths - tp}
    return Choice(float(THRESHOLDS[row]), float(MIN_AREAS_M2[column]), {**scores, **counts})


def match(found: Array, truth: Array, ignored: Array) -> tuple[Array, Array]:
    """Return sizes (pixels) of the found objects and whether each one is a slump of `truth` (IoU > 0.5: one to one).

    Args:
        found: bool (rows, columns).
        truth: int (rows, columns), numbered objects, 0 none.
        ignored: bool (rows, columns); found objects that lie mostly there are left out, and other pixels there don't count.
    """
    objects, number = ndimage.label(found, EIGHT)
    whole = np.bincount(objects.ravel(), minlength=number + 1)
    objects[ignored] = 0
    sizes = np.bincount(objects.ravel(), minlength=number + 1)
    pairs = objects.ravel().astype(np.int64) * (truth.max(initial=0) + 1) + truth.ravel()
    values, common = np.unique(pairs[(objects.ravel() > 0) & (truth.ravel() > 0)], return_counts=True)
    first, second = np.divmod(values, truth.max(initial=0) + 1)
    truth_sizes = np.bincount(truth.ravel())
    matched = np.zeros(number + 1, bool)
    matched[first[2 * common > sizes[first] + truth_sizes[second] - common]] = True
    kept = 2 * sizes[1:] > whole[1:]
    return sizes[1:][kept], matched[1:][kept]


def plateau_middle(scores: Array) -> tuple[int, int]:
    """Return the place nearest to the middle of all that are as good as the best."""
    places = np.argwhere(scores >= scores.max() - PLATEAU)
    nearest = np.abs(places - places.mean(axis=0)).sum(axis=1).argmin()
    return int(places[nearest][0]), int(places[nearest][1])


def _blocks(logits: Array, targets: Array, chips: gpd.GeoDataFrame) -> Iterator[tuple[Array, Array]]:
    """Yield logits and targets of each spatial block, its windows put together; what no window covers is ignored."""
    chips = chips.reset_index(drop=True)
    size = logits.shape[1]
    for _, rows in chips.groupby("block", sort=True):
        top, left = rows.row.min(), rows.column.min()
        shape = (rows.row.max() - top + size, rows.column.max() - left + size)
        block_logits = np.full(shape, -np.inf, np.float32)
        block_targets = np.full(shape, IGNORE, np.uint8)
        for index, row, column in zip(rows.index, rows.row - top, rows.column - left, strict=True):
            here = slice(row, row + size), slice(column, column + size)
            block_logits[here], block_targets[here] = logits[index], targets[index]
        yield block_logits, block_targets


def pixels(logits: Array, targets: Array, level: float) -> dict[str, float]:
    """Return precision, recall, F1, IoU and the confusion of pixels when logits from `level` up are slumps."""
    counts = np.zeros((2, 2), np.int64)
    for window, target in zip(logits, targets, strict=True):
        for value in (0, 1):
            counts[value] += np.bincount((window[target == value] >= level).astype(int), minlength=2)
    (tn, fp), (fn, tp) = counts.tolist()
    scores = {"precision": tp / max(tp + fp, 1), "recall": tp / max(tp + fn, 1)}
    scores |= {"f1": 2 * tp / max(2 * tp + fp + fn, 1), "iou": tp / max(tp + fp + fn, 1)}
    return {**scores, "true_positives": tp, "false_positives": fp, "false_negatives": fn, "true_negatives": tn}
