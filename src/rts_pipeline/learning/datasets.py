"""Mosaics and labels as torchgeo datasets, and the sampler that reads the table of chips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import torch
from torchgeo.datasets import DatasetNotFoundError, GeoDataset, IntersectionDataset, RasterDataset, VectorDataset
from torchgeo.samplers import GeoSampler

from rts_pipeline.cells import Mosaics
from rts_pipeline.config import BANDS
from rts_pipeline.errors import InputError
from rts_pipeline.grid import GeoBox, Grid
from rts_pipeline.labels import IGNORE, LabelRaster  # noqa: F401

GeoSlice = tuple[slice, slice, slice]


class MosaicDataset(RasterDataset):
    """Mosaics of the cells: image float32 (bands, rows, columns), reflectance x 10,000, 0 in all bands = not observed.

    Indexed by torchgeo, read as in prediction: torchgeo's search and merge cost 40 times as much as reading a window.
    """

    filename_glob = "*.tif"
    all_bands = BANDS
    rgb_bands = ("red", "green", "blue")

    def __init__(self, paths: Sequence[Path], grid: Grid, bands: Sequence[str]) -> None:
        """Index the mosaics of `grid` and return `bands` of them."""
        super().__init__([str(path) for path in paths], bands=list(bands))
        self._grid = grid
        self._reader = Mosaics(paths, grid, bands)

    def __getitem__(self, query: GeoSlice) -> dict[str, Any]:
        """Return the image of a window that lies on the grid's pixels."""
        pixels = self._reader.read(_box(query, self._grid))
        return {"crs": self.crs, "bounds": query, "image": torch.from_numpy(pixels.astype("float32"))}


def _box(query: GeoSlice, grid: Grid) -> GeoBox:
    x, y = query[:2]
    pixel = grid.pixel_m
    column, row = round(x.start / pixel), -round(y.stop / pixel)
    width, height = round((x.stop - x.start) / pixel), round((y.stop - y.start) / pixel)
    return GeoBox("window", grid.crs, pixel, column, row, width, height)


class LabelDataset(VectorDataset):
    """Labels: mask long (rows, columns), 1 slump, 0 none, 255 ignored; what is not labelled is background.

    Indexed by torchgeo, drawn by `LabelRaster`: torchgeo reads the file again for each window.
    """

    filename_glob = "*.parquet"

    def __init__(self, path: Path, area: gpd.GeoSeries, grid: Grid, boundary_m: float = 0.0) -> None:
        """Index `path` for the whole `area` (outlines in the grid's CRS): a place without a label is known to be background.

        Raises:
            InputError: the file is missing or damaged, or a label can't be drawn.
        """
        self.raster = LabelRaster(path, grid.crs, boundary_m)
        super().__init__([path], crs=area.crs, res=grid.pixel_m)
        self.index.geometry = [shapely.box(*area.total_bounds)]
        self._grid = grid

    def __getitem__(self, query: GeoSlice) -> dict[str, Any]:
        """Return the mask of a window that lies on the grid's pixels."""
        mask = self.raster.mask(_box(query, self._grid))
        return {"crs": self.crs, "bounds": query, "mask": torch.from_numpy(mask).long()}


def open_datasets(
    mosaics: Sequence[Path], labels: Path, grid: Grid, bands: Sequence[str], boundary_m: float
) -> IntersectionDataset:
    """Join mosaics and labels.

    Raises:
        InputError: a mosaic was skipped because it can't be read (torchgeo does that without a word).
    """
    try:
        images = MosaicDataset(mosaics, grid, bands)
    except DatasetNotFoundError:
        indexed: set[str] = set()
    else:
        indexed = set(images.index["filepath"])
    lost = sorted({str(path) for path in mosaics} - indexed)
    if lost:
        raise InputError(
            lost[0],
            f"can't be read ({len(lost)} of {len(mosaics)} mosaics)",
            expected="a mosaic of a cell",
            do="remove the file and run again to rebuild it",
        )
    return images & LabelDataset(labels, images.index.geometry, grid, boundary_m)


class ChipSampler(GeoSampler):
    """Yields windows of a table of chips as torchgeo's slices: all of them in order, or balanced random draws."""

    def __init__(self, dataset: GeoDataset, chips: gpd.GeoDataFrame, *, draws: int | None = None, seed: int = 0) -> None:
        """Take the table; with `draws`, each pass gives so many windows, half of them with a slump (see `weights`)."""
        super().__init__(dataset)
        self.chips = chips
        self.draws = draws
        self._generator = np.random.default_rng(seed)
        self._bounds = chips.geometry.bounds.to_numpy()

    def __len__(self) -> int:
        """Return the number of windows of a pass."""
        return len(self.chips) if self.draws is None else self.draws

    def __iter__(self) -> Iterator[GeoSlice]:
        """Yield (x, y, time) slices."""
        order = np.arange(len(self.chips))
        if self.draws is not None:
            order = self._generator.choice(order, self.draws, p=self.chips.weight.to_numpy())
        time = slice(pd.Timestamp.min, pd.Timestamp.max)
        for west, south, east, north in self._bounds[order]:
            yield slice(west, east), slice(south, north), time


def weights(chips: gpd.GeoDataFrame, slumps: gpd.GeoSeries) -> np.ndarray:
    """Return draw probabilities: half for windows that hold a slump, a quarter for negatives (if any), else for the others."""
    held = np.zeros(len(chips), bool)
    held[shapely.STRtree(chips.geometry.to_numpy()).query(slumps.to_numpy(), predicate="intersects")[1]] = True
    group = np.select([held, (chips.kind == "negative").to_numpy()], [0, 1], 2)
    numbers = np.bincount(group, minlength=3)
    shares = np.where(numbers > 0, [0.5, 0.25, 0.25 if numbers[1] else 0.5], 0.0)
    share = (shares / np.maximum(numbers, 1))[group]
    return np.asarray(share / share.sum())
