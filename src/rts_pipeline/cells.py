"""The cells' mosaics as one seamless raster: every file is checked against the grid before a pixel is used."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import rasterio
from rasterio.errors import RasterioIOError
from rasterio.windows import Window

from rts_pipeline.errors import InputError
from rts_pipeline.grid import GeoBox, Grid
from rts_pipeline.io.arrays import write_array
from rts_pipeline.io.files import atomic

MOST_OPEN = 8
"""Mosaics held open at a time, if not said otherwise: each takes some megabytes for the blocks that it decodes."""
MOST_MAPPED = 128
"""Array files held open at a time: a system allows a process about a thousand files."""


class Mosaics:
    """Reads windows anywhere in the grid from the mosaics of cells (`<cell>.tif`); where no mosaic is, all is 0 (nodata).

    Use as a context manager. Files are opened when first needed.
    """

    def __init__(
        self, paths: Sequence[Path], grid: Grid, bands: Sequence[str], threads: int = 1, most_open: int = MOST_OPEN
    ) -> None:
        """Take the `paths` of mosaics on `grid`, the `bands` to return, in that order, and the `threads` that decode."""
        self.grid = grid
        self.threads, self.most_open = threads, most_open
        self.bands = tuple(bands)
        self.boxes = {path: grid.cell(path.stem) for path in sorted(paths)}
        self._at = {(box.column // grid.cell_px, box.row // grid.cell_px): path for path, box in self.boxes.items()}
        self._open: dict[Path, rasterio.DatasetReader] = {}
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open files behind: a process that gets a copy opens its own."""
        return self.__dict__ | {"_open": {}}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for dataset in self._open.values():
            dataset.close()
        self._open.clear()

    def check(self) -> None:
        """Open every file.

        Raises:
            InputError: a file is missing, unreadable, on another grid, or lacks a band.
        """
        for path in self.boxes:
            self._dataset(path)

    def read(self, box: GeoBox, out: np.ndarray | None = None) -> np.ndarray:
        """Return the pixels of `box` as uint16 (bands, rows, columns); 0 = not observed.

        Args:
            box: any rectangle of the grid.
            out: array of that shape to read into, instead of a new one.

        Raises:
            InputError: a file can't be read, is on another grid, or lacks a band.
        """
        pixels = np.empty((len(self.bands), *box.shape), np.uint16) if out is None else out
        size = self.grid.cell_px
        columns = range(box.column // size, (box.column + box.width - 1) // size + 1)
        rows = range(box.row // size, (box.row + box.height - 1) // size + 1)
        parts = [(path, self.boxes[path].intersection(box)) for path in map(self._at.get, product(columns, rows)) if path]
        if sum(part.width * part.height for _, part in parts if part) < box.width * box.height:
            pixels[:] = 0
        for path, part in parts:
            if part:
                self._read(path, self.boxes[path].window_of(part), pixels[(slice(None), *box.slices_of(part))])
        return pixels

    def observed(self, path: Path, step: int) -> np.ndarray:
        """Return which pixels of one cell are observed, one bool for `step` x `step` pixels (from overviews: fast, rough)."""
        box = self.boxes[path]
        seen = np.empty((len(self.bands), box.height // step, box.width // step), np.uint16)
        self._read(path, Window(0, 0, box.width, box.height), seen)
        return np.logical_or.reduce(seen != 0)

    def _read(self, path: Path, window: Window, out: np.ndarray) -> None:
        dataset = self._dataset(path)
        indexes = [dataset.descriptions.index(band) + 1 for band in self.bands]
        try:
            dataset.read(indexes, window=window, out=out)
        except RasterioIOError as error:
            raise InputError(
                path, f"a part can't be read ({error})", do="remove the file and run again to rebuild it"
            ) from None

    def _dataset(self, path: Path) -> rasterio.DatasetReader:
        if self._process != os.getpid():
            # A forked process shares the place in an open file with its parent: both would read wrong bytes.
            self._open, self._process = {}, os.getpid()
        dataset = self._open.pop(path, None)
        if dataset is None:
            if len(self._open) == self.most_open:
                self._open.pop(next(iter(self._open))).close()
            dataset = self._opened(path)
        # The one used last comes last, and is closed last.
        self._open[path] = dataset
        return dataset

    def _opened(self, path: Path) -> rasterio.DatasetReader:
        try:
            dataset = rasterio.open(path, num_threads=self.threads)
        except RasterioIOError as error:
            raise InputError(path, f"can't be opened ({error})", expected="the mosaic of a cell") from None
        box = self.boxes[path]
        if dataset.crs != self.grid.rasterio_crs or dataset.shape != box.shape or dataset.transform != box.transform:
            raise InputError(
                path,
                f"lies on another grid ({dataset.crs}, {dataset.width} x {dataset.height} px, pixel {dataset.res[0]} m)",
                expected=f"cell {box.id} ({box.crs}, {box.width} x {box.height} px, pixel {box.pixel_m} m)",
                do="remove the mosaics that were made with another grid",
            )
        if set(dataset.dtypes) != {"uint16"}:
            raise InputError(path, f"holds {dataset.dtypes[0]}", expected="uint16, reflectance x 10,000")
        missing = [band for band in self.bands if band not in dataset.descriptions]
        if missing:
            have = ", ".join(str(name) for name in dataset.descriptions)
            raise InputError(path, f"lacks band {', '.join(missing)}", expected=f"bands {', '.join(self.bands)}; it has {have}")
        return dataset


class UnpackedMosaics(Mosaics):
    """Mosaics read at random places many times: a cell's bands are copied to an array file when first asked for.

    A window of a mosaic costs the decoding of whole blocks, most of it for other ground. An array file costs 2 bytes a pixel
    and band on disk (34 MB for a cell of 2048 px and four bands) and is read through memory that all processes share.
    """

    def __init__(self, paths: Sequence[Path], grid: Grid, bands: Sequence[str], folder: Path) -> None:
        """Take, besides what `Mosaics` takes, a `folder` for the array files; whoever made it removes it."""
        super().__init__(paths, grid, bands)
        self._folder = folder
        self._arrays: dict[Path, np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open files behind: a process that gets a copy opens its own."""
        return super().__getstate__() | {"_arrays": {}}

    def _read(self, path: Path, window: Window, out: np.ndarray) -> None:
        if (window.height, window.width) != out.shape[1:]:
            super()._read(path, window, out)
        else:
            out[:] = self._array(path)[(slice(None), *window.toslices())]

    def _array(self, path: Path) -> np.ndarray:
        if path not in self._arrays:
            file = self._folder / f"{path.stem}.npy"
            if not file.exists():
                box = self.boxes[path]
                pixels = np.empty((len(self.bands), *box.shape), np.uint16)
                super()._read(path, box.window_of(box), pixels)
                with atomic(file) as temporary:
                    write_array(temporary, pixels)
            if len(self._arrays) == MOST_MAPPED:
                del self._arrays[next(iter(self._arrays))]
            self._arrays[path] = np.load(file, mmap_mode="r")
        return self._arrays[path]
