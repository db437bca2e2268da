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
from affine import Affine
from rasterio.features import rasterize
from torchgeo.datasets import DatasetNotFoundError, GeoDataset, IntersectionDataset, RasterDataset, VectorDataset
from torchgeo.samplers import GeoSampler

from rts_pipeline.cells import Mosaics
from rts_pipeline.config import BANDS
from rts_pipeline.errors import InputError
from rts_pipeline.grid import GeoBox, Grid
from rts_pipeline.labels import PRIORITY

IGNORE = 255
"""Value of pixels that are neither learned from nor scored."""
VALUES = {"positive": 1, "negative": 0, "ignore": IGNORE}

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
        x, y = query[:2]
        pixel = self._grid.pixel_m
        column, row = round(x.start / pixel), -round(y.stop / pixel)
        width, height = round((x.stop - x.start) / pixel), round((y.stop - y.start) / pixel)
        pixels = self._reader.read(GeoBox("window", self._grid.crs, pixel, column, row, width, height))
        return {"crs": self.crs, "bounds": query, "image": torch.from_numpy(pixels.astype("float32"))}


class LabelDataset(VectorDataset):
    """Labels: mask long (rows, columns), 1 slump, 0 none, 255 ignored; what is not labelled is background.

    Positive beats negative beats ignore; a ring of `boundary_m` metres on both sides of a slump's outline is ignored.
    """

    filename_glob = "*.parquet"

    def __init__(self, path: Path, area: gpd.GeoSeries, pixel_m: float, boundary_m: float = 0.0) -> None:
        """Index `path` for the whole `area`: a place without a label is known to be background."""
        super().__init__([path], crs=area.crs, res=pixel_m)
        self.index.geometry = [shapely.box(*area.total_bounds)]
        frame = gpd.read_parquet(path).to_crs(area.crs)
        frame = frame.iloc[frame.kind.map(PRIORITY.index).argsort(kind="stable")]
        positive = frame.geometry[frame.kind == "positive"]
        rings = positive.boundary.buffer(boundary_m) if boundary_m else positive.iloc[:0]
        self._shapes = np.concatenate([frame.geometry.to_numpy(), rings.to_numpy()])
        self._values = np.concatenate([frame.kind.map(VALUES).to_numpy(), np.full(len(rings), IGNORE)])
        self._tree = shapely.STRtree(self._shapes)

    def __getitem__(self, query: GeoSlice) -> dict[str, Any]:
        """Return the mask of a window; geometries are held in memory instead of reading the file for each window."""
        x, y = query[:2]
        bounds = (x.start, y.start, x.stop, y.stop)
        shape = (round((y.stop - y.start) / self.res[1]), round((x.stop - x.start) / self.res[0]))
        hits = np.sort(self._tree.query(shapely.box(*bounds)))
        mask = np.zeros(shape, np.uint8)
        if len(hits):
            pairs = zip(self._shapes[hits], self._values[hits].tolist(), strict=True)
            rasterize(pairs, out=mask, transform=Affine(self.res[0], 0, x.start, 0, -self.res[1], y.stop))
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
    return images & LabelDataset(labels, images.index.geometry, grid.pixel_m, boundary_m)


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
