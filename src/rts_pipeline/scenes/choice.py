"""Which of the usable pixels of several items a mosaic takes, and how seams are blended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rts_pipeline.config import BANDS
from rts_pipeline.grid import GeoBox
from rts_pipeline.scenes.reader import MeasuredItem, Readers

Values = NDArray[np.uint16]
"""(4, h, w) reflectance x 10,000, 0 where there is none."""

Source = NDArray[np.uint16]
"""(h, w) number of the layer that a pixel was taken from, 0 where there is none."""

ROWS = 32
"""Rows compared at once: their pixels of all layers stay in the processor's cache."""


@dataclass(frozen=True)
class Layer:
    """An item over a rectangle of the grid, and its number in the source map."""

    number: int
    item: MeasuredItem
    readers: Readers
    box: GeoBox

    def read(self, wanted: NDArray[np.bool_] | None = None) -> tuple[Values, NDArray[np.bool_]] | None:
        """Return values and usable (h, w) of the wanted pixels, or None where none of them is usable."""
        return self.readers.of(self.item).read(self.box, wanted)

    def usable(self) -> NDArray[np.bool_] | None:
        """Return which pixels are usable (h, w), or None where the item doesn't reach."""
        return self.readers.of(self.item).usable_on(self.box)


def first(layers: Iterable[Layer], shape: tuple[int, int]) -> tuple[Values, Source]:
    """Take each pixel from the first layer in which it is usable; nothing is read that isn't needed.

    Returns:
        Values (4, h, w) and source (h, w).
    """
    values, source = np.zeros((len(BANDS), *shape), np.uint16), np.zeros(shape, np.uint16)
    for layer in layers:
        empty = source == 0
        if not empty.any():
            break
        got = layer.read(empty)
        if got is not None:
            reflectance, usable = got
            np.copyto(values, reflectance, where=usable)
            source[usable] = layer.number
    return values, source


def best_of_surface(
    choose: Callable[[Iterable[Layer], tuple[int, int]], tuple[Values, Source]], layers: Sequence[Layer], shape: tuple[int, int]
) -> tuple[Values, Source]:
    """Choose among the layers of surface reflectance, and among the others where none of those is usable.

    Returns:
        Values (4, h, w) and source (h, w).
    """
    values, source = choose([layer for layer in layers if layer.item.surface], shape)
    others = [layer for layer in layers if not layer.item.surface]
    if others and not source.all():
        gaps = source == 0
        more, more_source = choose(others, shape)
        np.copyto(values, more, where=gaps)
        np.copyto(source, more_source, where=gaps)
    return values, source


def greenest(layers: Iterable[Layer], shape: tuple[int, int]) -> tuple[Values, Source]:
    """Take each pixel from the layer with the highest NDVI, (nir - red) / (nir + red); of equals from the first.

    Returns:
        Values (4, h, w) and source (h, w).
    """
    values, source = np.zeros((len(BANDS), *shape), np.uint16), np.zeros(shape, np.uint16)
    best = np.zeros(shape, np.float32)
    for layer in layers:
        got = layer.read()
        if got is None:
            continue
        reflectance, usable = got
        # nir / red, which orders pixels as NDVI does and costs a third
        with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 where not usable
            ratio = reflectance[BANDS.index("nir")] / reflectance[BANDS.index("red")].astype(np.float32)
        better = usable & (ratio > best)
        np.copyto(best, ratio, where=better)
        np.copyto(values, reflectance, where=better)
        source[better] = layer.number
    return values, source


def medoid(layers: Iterable[Layer], shape: tuple[int, int]) -> tuple[Values, Source]:
    """Take each pixel from the layer whose values are nearest to those of all others; of equals from the first.

    The medoid of the usable observations: the one with the smallest sum of Euclidean distances, over the bands, to the
    others (Flood 2013, doi 10.3390/rs5126481). Holds the pixels of all layers at once.

    Returns:
        Values (4, h, w) and source (h, w).
    """
    values, source = np.zeros((len(BANDS), *shape), np.uint16), np.zeros(shape, np.uint16)
    read = [(layer.number, *got) for layer in layers if (got := layer.read()) is not None]
    if not read:
        return values, source
    numbers = np.array([number for number, _, _ in read], np.uint16)
    for top in range(0, shape[0], ROWS):
        rows = slice(top, min(top + ROWS, shape[0]))
        stack = np.stack([reflectance[:, rows] for _, reflectance, _ in read])
        usable = np.stack([usable[rows] for _, _, usable in read])
        index = _medoid_index(stack.astype(np.float32), usable)
        values[:, rows] = np.take_along_axis(stack, index[np.newaxis, np.newaxis], axis=0)[0]
        source[rows] = np.where(usable.any(axis=0), numbers[index], 0)
    return values, source


def _medoid_index(stack: NDArray[np.float32], usable: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return for each pixel the index of the medoid in a stack (n, bands, h, w)."""
    total = np.where(usable, np.float32(0), np.float32(np.inf))
    for one in range(len(stack)):
        for other in range(one + 1, len(stack)):
            both = usable[one] & usable[other]
            if not both.any():
                continue
            apart = stack[one] - stack[other]
            distance = np.sqrt(np.einsum("bhw,bhw->hw", apart, apart)) * both
            total[one] += distance
            total[other] += distance
    return total.argmin(axis=0)


def feathered(layers: Sequence[Layer], values: Values, source: Source, reach: int) -> Values:
    """Blend the layers near the seams of a source map; `values` where only one layer takes part.

    A layer's weight is its share of the source map within `reach` pixels on each side, and falls to nothing towards the
    edge of what is usable of it within `reach` pixels: no step is left where another layer lies below.

    Args:
        layers: as they were chosen from.
        values: (4, h, w) of the choice.
        source: (h, w) of the choice.
        reach: in pixels; this many rows and columns at each edge are not to be used, since they miss neighbours.
    """
    from scipy import ndimage

    taken = [layer for layer in layers if (source == layer.number).any()]
    if len(taken) < 2:
        return values
    total = np.zeros(source.shape, np.float32)
    blended = np.zeros(values.shape, np.float32)
    for layer in taken:
        share = ndimage.uniform_filter((source == layer.number).astype(np.float32), 2 * reach + 1, mode="nearest")
        got, usable = layer.read((share > 0) | (source == layer.number)), layer.usable()
        if got is None or usable is None:
            continue
        reflectance, there = got
        inside = np.minimum(ndimage.distance_transform_edt(usable) / reach, 1) if not usable.all() else np.ones(usable.shape)
        weight = (share * inside * there).astype(np.float32)
        total += weight
        blended += weight * reflectance
    return np.where(total > 0, np.rint(blended / np.where(total > 0, total, 1)), values).astype(np.uint16)
