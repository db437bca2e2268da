"""What the round's network says of a candidate's ground in single images, one for each year.

Every part of the ground lies in the middle of a window, with the halo that prediction has, and by the same windows in all
years: a difference between the years is one of the images. Windows of many candidates are computed side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from rts_pipeline.config import BANDS, Inference, Predict
from rts_pipeline.engines import open_engine
from rts_pipeline.grid import GeoBox
from rts_pipeline.lattice import Engine, answered
from rts_pipeline.metrics.pixels import NODATA
from rts_pipeline.model_folder import applied_facts, model_facts
from rts_pipeline.scenes.reader import MeasuredItem, Readers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint16]
    Values = NDArray[np.uint8]


@dataclass
class Look:
    """A rectangle of the grid in an image.

    Attributes:
        item: the image.
        box: the rectangle.
        pixels: reflectance x 10,000, (4, h, w), 0 where it isn't usable.
        probability: probability x 250, (h, w), 255 where it isn't usable.
    """

    item: MeasuredItem
    box: GeoBox
    pixels: Pixels
    probability: Values

    @classmethod
    def at(cls, item: MeasuredItem, box: GeoBox) -> Look:
        """Return a look at it before anything is read."""
        return cls(item, box, np.zeros((len(BANDS), *box.shape), np.uint16), np.full(box.shape, NODATA, np.uint8))


@dataclass(frozen=True)
class _Tile:
    """A part of a look that lies in the middle of a window."""

    look: Look
    part: GeoBox
    window: GeoBox
    observed: NDArray[np.bool_]


class Network:
    """The network of a round, on a CPU or a GPU; threads take turns at it, and read images while others compute."""

    def __init__(self, model: Path, setting: Predict, where: Inference) -> None:
        """Take the model in the folder `model`; it is loaded when first needed.

        Raises:
            InputError: files of the model that are missing or were changed.
        """
        # Windows whose overlap is half of them have no pixel that only one of them sees.
        self._setting = setting.model_copy(update={"overlap_px": min(setting.overlap_px, setting.window_px // 4)})
        self._facts = model_facts(model)
        self._model, self._where = model, where
        self._opened: Engine | None = None
        self._lock = Lock()
        self._bands = [BANDS.index(band) for band in self._facts["bands"]]

    @property
    def sha256(self) -> dict[str, str]:
        """Checksums of the network's files."""
        return dict(applied_facts(self._model, self._facts, self._setting)["sha256"])

    @property
    def _engine(self) -> Engine:
        with self._lock:
            if self._opened is None:
                self._opened = open_engine(self._model, self._facts, self._setting, self._where)
            return self._opened

    def look(self, looks: Sequence[Look], readers: Readers) -> None:
        """Read the pixels of each look, and compute its probabilities.

        Raises:
            InputError: a raster that can't be read, or a network whose answer is no number.
            UsageError: a GPU that isn't there.
        """
        parts = [(look, part) for look in looks for part in look.box.windows(self._inner)]
        wide = self._engine.wide if parts else 1
        for start in range(0, len(parts), wide):
            self._compute(parts[start : start + wide], readers)

    @property
    def _inner(self) -> int:
        """Edge of the middle of a window, whose weights are 1."""
        return self._setting.window_px - 2 * self._setting.overlap_px

    def _compute(self, parts: Sequence[tuple[Look, GeoBox]], readers: Readers) -> None:
        size = self._setting.window_px
        row = np.zeros((len(self._bands), size, len(parts) * size), np.uint16)
        tiles = [self._read(look, part, row[:, :, n * size : (n + 1) * size], readers) for n, (look, part) in enumerate(parts)]
        lefts = [n * size for n, tile in enumerate(tiles) if tile.observed.any()]
        engine = self._engine
        with self._lock:
            values = engine.start(row, lefts, lambda sums: sums)()
        for n, tile in enumerate(tiles):
            here = values[:, n * size : (n + 1) * size][tile.window.slices_of(tile.part)]
            at = tile.look.box.slices_of(tile.part)
            tile.look.probability[at] = answered(here, tile.observed, f"item {tile.look.item.id}")

    def _read(self, look: Look, part: GeoBox, row: Pixels, readers: Readers) -> _Tile:
        """Read the window around a part of a look into `row` (bands, window, window)."""
        size = self._setting.window_px
        window = part.part(-((size - part.height) // 2), -((size - part.width) // 2), size, size)
        found: Any = readers.of(look.item).read(window)
        if found is not None:
            values, _ = found
            row[:] = values[self._bands]
            look.pixels[(slice(None), *look.box.slices_of(part))] = values[(slice(None), *window.slices_of(part))]
        observed = np.asarray((look.pixels[(slice(None), *look.box.slices_of(part))] != 0).all(axis=0))
        return _Tile(look, part, window, observed)
