"""Windows on a lattice of the whole grid, blended to one value a pixel, read ahead and in bounded memory.

A pixel is seen by the same windows however the area is cut into blocks. Results are blended with weights that fall to zero at
the windows' edges. Windows are worked off row by row within panels of a few windows side by side, so that memory depends on the
window and not on the raster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import ceil, floor
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rts_pipeline.cells import Mosaics
from rts_pipeline.config import Predict
from rts_pipeline.errors import InputError
from rts_pipeline.grid import GeoBox
from rts_pipeline.metrics.pixels import NODATA

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint16]
    Values = NDArray[np.uint8]

FAULT = 254
"""What an engine gives for a pixel whose probability is not a number."""
EXACT = 2.0
"""Added and taken away again it leaves a probability as a multiple of 2^-22: float32 adds such numbers without rounding, so
that a sum doesn't depend on the order, and neither on how windows are grouped."""


@dataclass(frozen=True)
class Strip:
    """Rows of windows that lie side by side: all that touch a box, or a panel of them.

    Attributes:
        box: all pixels of those windows.
        window: edge of a window in pixels.
        overlap: pixels that neighbouring windows share.
        last: whether no panel follows to the east.
    """

    box: GeoBox
    window: int
    overlap: int
    last: bool = True

    @classmethod
    def around(cls, box: GeoBox, setting: Predict) -> Strip:
        """Return the windows of the grid's lattice that touch `box`."""
        stride = setting.window_px - setting.overlap_px
        first = [floor((start - setting.window_px) / stride) + 1 for start in (box.column, box.row)]
        ends = box.column + box.width, box.row + box.height
        width, height = (
            (ceil(end / stride) - low - 1) * stride + setting.window_px for low, end in zip(first, ends, strict=True)
        )
        column, row = (low * stride for low in first)
        return cls(replace(box, column=column, row=row, width=width, height=height), setting.window_px, setting.overlap_px)

    @property
    def stride(self) -> int:
        """Step from window to window in pixels."""
        return self.window - self.overlap

    @property
    def n_rows(self) -> int:
        """Number of rows of windows."""
        return (self.box.height - self.window) // self.stride + 1

    @property
    def lefts(self) -> range:
        """First column of each window of a row, within the box."""
        return range(0, self.box.width - self.window + 1, self.stride)

    def panels(self, wide: int) -> list[Strip]:
        """Return the windows as panels of `wide` or less, from west to east; neighbours share `overlap` columns."""
        panels = []
        for first in range(0, len(self.lefts), wide):
            number = min(wide, len(self.lefts) - first)
            part = self.box.part(0, first * self.stride, self.box.height, number * self.stride + self.overlap)
            panels.append(replace(self, box=part, last=first + number == len(self.lefts)))
        return panels


@dataclass(frozen=True)
class Row:
    """A row of windows of a panel."""

    strip: Strip
    number: int

    @property
    def last(self) -> bool:
        """Whether no row follows to the south."""
        return self.number == self.strip.n_rows - 1

    @property
    def box(self) -> GeoBox:
        """All pixels of the windows."""
        strip = self.strip
        return strip.box.part(self.number * strip.stride, 0, strip.window, strip.box.width)

    @property
    def finished(self) -> GeoBox:
        """The pixels that no further window of the strip touches, nor one of the panel to the east."""
        strip = self.strip
        width = strip.box.width if strip.last else strip.box.width - strip.overlap
        return self.box.part(0, 0, strip.window if self.last else strip.stride, width)


class Blend:
    """The sums of a panel, row of windows by row of windows; its arrays are numpy's or torch's.

    Attributes:
        east: what the panel to the east gets: the columns that both share, a part for each row of windows.
    """

    def __init__(self, west: Sequence[Any] = ()) -> None:
        """Take `east` of the panel to the west."""
        self.east: list[Any] = []
        self._west = iter(west)
        self._north: Any = None

    def add(self, row: Row, sums: Any) -> Any:
        """Take the sums of a row's windows (window, width); return those of its finished pixels.

        Rows come from north to south.
        """
        strip, (height, width) = row.strip, row.finished.shape
        if self._north is not None:
            sums[: strip.overlap] += self._north
        self._north = sums[strip.stride :]
        done = sums[:height]
        for shared in self._west:
            done[:, : strip.overlap] += shared
            break
        if not strip.last:
            # A copy: a view would keep the whole row.
            self.east.append(done[:, width:] + 0)
        return done[:, :width]


Add = Callable[[Any], Any]
"""Takes the sums of a row's windows, gives those of its finished pixels."""


class Engine(Protocol):
    """Applies the network.

    Attributes:
        readers: threads that decode mosaics beside it: one where it computes on the same cores.
        wide: windows side by side in a panel. More: less is decoded twice where panels meet; less: less memory.
    """

    readers: int
    wide: int

    def start(self, pixels: Pixels, lefts: Sequence[int], add: Add) -> Callable[[], Values]:
        """Begin with a row of windows; `pixels` may be changed when this returns.

        Args:
            pixels: (bands, window, width).
            lefts: first columns of the windows to compute.
            add: gets the sums of the windows, weighted, float32 (window, width); called once, in the order of the rows.

        Returns:
            A function that waits, and returns what `add` gave as uint8: value x 250, `FAULT` where it is no number. To be
            called in the order of the rows.
        """
        ...


def window_weights(window: int, overlap: int) -> NDArray[np.float32]:
    """Return the weights of a window's rows (and columns): 1 inside, falling to 0 over the overlap as a squared cosine.

    Those of neighbouring windows add up to 1 where they overlap.
    """
    weights = np.ones(window, np.float32)
    ramp = np.sin(np.pi / 2 * (np.arange(overlap) + 0.5) / max(overlap, 1)) ** 2
    weights[:overlap] = ramp
    weights[window - overlap :] = ramp[::-1]
    return weights


def views(setting: Predict) -> list[tuple[int, int]]:
    """Return how a window is seen: steps (1, or -1 for flipped) along its rows and columns."""
    return [(1, 1), (1, -1), (-1, 1), (-1, -1)] if setting.flips else [(1, 1)]


def view_weights(setting: Predict) -> NDArray[np.float32]:
    """Return the weight of each pixel of a window (window, window), divided among its views."""
    line = window_weights(setting.window_px, setting.overlap_px)
    weights: NDArray[np.float32] = np.outer(line, line) / np.float32(len(views(setting)))
    return weights


def probabilities(box: GeoBox, reader: Mosaics, engine: Engine, setting: Predict) -> Iterator[tuple[GeoBox, Values]]:
    """Yield the probabilities of a box, part by part: each pixel once.

    While a part is computed the next one is read, and the engine has the windows after it before the caller gets it.

    Args:
        box: any rectangle of the grid; what lies around it is seen as far as the windows of the grid's lattice reach.
        reader: the mosaics, with the network's bands.
        engine: the network.
        setting: the lattice.

    Yields:
        A part of the box and its values: uint8 (rows, columns), probability x 250, 255 = not observed.

    Raises:
        InputError: a mosaic that can't be read, or a network whose answer is no number.
    """
    panels = Strip.around(box, setting).panels(engine.wide)
    rows = [Row(panel, number) for panel in panels for number in range(panel.n_rows)]
    blend, waiting = Blend(), None
    for row, (pixels, observed) in zip(rows, _read_ahead(rows, box, reader), strict=True):
        if row.number == 0:
            blend = Blend(blend.east)
        lefts = [left for left in row.strip.lefts if observed[:, left : left + row.strip.window].any()]
        started = row, observed, engine.start(pixels, lefts, _adding(blend, row))
        if waiting is not None:
            yield from _ended(box, *waiting)
        waiting = started
    if waiting is not None:
        yield from _ended(box, *waiting)


def _adding(blend: Blend, row: Row) -> Add:
    return lambda sums: blend.add(row, sums)


def _ended(box: GeoBox, row: Row, observed: Any, wait: Callable[[], Values]) -> Iterator[tuple[GeoBox, Values]]:
    """Yield the finished pixels of a row that lie in the box."""
    values, part = wait(), row.finished
    kept = part.intersection(box)
    if kept is None:
        return
    values = values[part.slices_of(kept)]
    yield kept, answered(values, observed[row.box.slices_of(kept)], box.id)


def answered(values: Values, observed: NDArray[np.bool_], name: str) -> Values:
    """Return an engine's values with 255 where nothing was observed, in place.

    Args:
        values: uint8, any shape: probability x 250, `FAULT` where it is no number.
        observed: the same shape.
        name: of the place, for the message.

    Raises:
        InputError: an observed pixel's is no number.
    """
    values[~observed] = NODATA
    if (values == FAULT).any():
        raise InputError(
            "network.onnx and weights.pt",
            f"their answer is no number for a window of {name}",
            expected="probabilities",
            do="train the round again",
        )
    return values


def _read_ahead(rows: Sequence[Row], box: GeoBox, reader: Mosaics) -> Iterator[tuple[Pixels, NDArray[np.bool_]]]:
    """Yield the pixels (bands, window, width) of each row of windows, valid until the next, and which of them are observed.

    Observed means here: and inside of `box`, as a window without such a pixel gives nothing to it.
    """
    width = max(row.strip.box.width for row in rows)
    buffers = [np.zeros((len(reader.bands), rows[0].strip.window, width), np.uint16) for _ in range(2)]

    def read(index: int) -> tuple[Pixels, NDArray[np.bool_]]:
        row, shared = rows[index], rows[index].strip.overlap if rows[index].number else 0
        here, before = (buffers[i % 2][:, :, : row.strip.box.width] for i in (index, index - 1))
        here[:, :shared] = before[:, row.strip.stride : row.strip.stride + shared]
        reader.read(row.box.part(shared, 0, row.strip.window - shared, row.strip.box.width), out=here[:, shared:])
        observed = np.zeros(row.box.shape, bool)
        inside = row.box.intersection(box)
        if inside is not None:
            part = row.box.slices_of(inside)
            np.not_equal(np.bitwise_or.reduce(here[(slice(None), *part)], axis=0), 0, out=observed[part])
        return here, observed

    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(read, 0)
        for index in range(len(rows)):
            ready = ahead.result()
            if index + 1 < len(rows):
                ahead = pool.submit(read, index + 1)
            yield ready
