"""Mosaics and labels as torchgeo datasets, and the sampler that reads the table of chips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor
from torchgeo.datasets import DatasetNotFoundError, GeoDataset, IntersectionDataset, RasterDataset, VectorDataset
from torchgeo.samplers import GeoSampler

from rts_pipeline import imagery
from rts_pipeline.cells import Mosaics, UnpackedMosaics
from rts_pipeline.config import BANDS
from rts_pipeline.errors import InputError
from rts_pipeline.grid import GeoBox, Grid
from rts_pipeline.labels import IGNORE, LabelRaster

GeoSlice = tuple[slice, slice, slice]

SLUMP_COLOUR, BACKGROUND_COLOUR, IGNORE_COLOUR = "#D55E00", "#dfe5e8", "#ffffff"
LEGEND = [
    Patch(facecolor=SLUMP_COLOUR, label="slump"),
    Patch(facecolor=BACKGROUND_COLOUR, label="background"),
    Patch(facecolor=IGNORE_COLOUR, edgecolor="black", hatch="////", label="ignored"),
]


class MosaicDataset(RasterDataset):
    """Mosaics of the cells: image float32 (bands, rows, columns), reflectance x 10,000, 0 in all bands = not observed.

    Indexed by torchgeo, read as in prediction: torchgeo's search and merge cost 40 times as much as reading a window.
    """

    filename_glob = "*.tif"
    all_bands = BANDS
    rgb_bands = ("red", "green", "blue")

    def __init__(self, paths: Sequence[Path], grid: Grid, bands: Sequence[str], scratch: Path | None = None) -> None:
        """Index the mosaics of `grid` and return `bands` of them; with a `scratch` folder cells are unpacked there."""
        super().__init__([str(path) for path in paths], bands=list(bands))
        self._grid = grid
        self._reader = UnpackedMosaics(paths, grid, bands, scratch) if scratch else Mosaics(paths, grid, bands)

    def __getitem__(self, query: GeoSlice) -> dict[str, Any]:
        """Return the image of a window that lies on the grid's pixels."""
        pixels = self._reader.read(_box(query, self._grid))
        return {"crs": self.crs, "bounds": query, "image": torch.from_numpy(pixels.astype("float32"))}

    def plot(self, sample: dict[str, Any], show_titles: bool = True, suptitle: str | None = None) -> Figure:
        """Draw the image of a sample as `draw_image` does.

        Args:
            sample: what `__getitem__` returned.
            show_titles: whether the panel gets a title.
            suptitle: title of the whole figure.
        """
        with _panels(1, suptitle) as (figure, (axes,)):
            self.draw_image(axes, sample["image"])
            axes.set_title("Image" if show_titles else "")
        return figure

    def draw_image(self, axes: Axes, image: Tensor) -> None:
        """Draw in true colour, or the first band in grey where one of the three is not read; 2nd to 98th percentile."""
        values = dict(zip(self.bands, image.numpy().astype(np.uint16), strict=True))
        observed = image.any(dim=0).numpy()
        colours = self.rgb_bands if set(self.rgb_bands) <= set(self.bands) else (self.bands[0],) * 3
        limits = imagery.stretch(values, observed) if observed.any() else dict.fromkeys(values, (0.0, 1.0))
        axes.imshow(imagery.compose(values, colours, limits, observed), interpolation="none")


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

    def plot(self, sample: dict[str, Any], show_titles: bool = True, suptitle: str | None = None) -> Figure:
        """Draw the mask of a sample, what is ignored hatched, with a legend.

        Args:
            sample: what `__getitem__` returned.
            show_titles: whether the panel gets a title.
            suptitle: title of the whole figure.
        """
        with _panels(1, suptitle) as (figure, (axes,)):
            _draw_mask(axes, sample["mask"])
            axes.set_title("Mask" if show_titles else "")
            figure.legend(handles=LEGEND, loc="outside lower center", ncols=len(LEGEND))
        return figure


class SlumpDataset(IntersectionDataset):
    """Mosaics and labels together: image and mask of a window."""

    def __init__(self, images: MosaicDataset, labels: LabelDataset) -> None:
        """Join the two."""
        super().__init__(images, labels)
        self._images = images

    def plot(self, sample: dict[str, Any], show_titles: bool = True, suptitle: str | None = None) -> Figure:
        """Draw image and mask side by side, with a legend.

        Args:
            sample: what `__getitem__` returned; a `prediction` (rows, columns; 1 slump) is drawn beside them.
            show_titles: whether the panels get titles.
            suptitle: title of the whole figure.
        """
        masks = [name for name in ("mask", "prediction") if name in sample]
        with _panels(1 + len(masks), suptitle) as (figure, panels):
            self._images.draw_image(panels[0], sample["image"])
            for axes, mask in zip(panels[1:], masks, strict=True):
                _draw_mask(axes, sample[mask])
            for axes, name in zip(panels, ("image", *masks), strict=True):
                axes.set_title(name.capitalize() if show_titles else "")
            figure.legend(handles=LEGEND, loc="outside lower center", ncols=len(LEGEND))
        return figure


@contextmanager
def _panels(number: int, suptitle: str | None) -> Iterator[tuple[Figure, list[Axes]]]:
    """Give a figure of square panels without ticks; no display is needed and no global state is changed."""
    figure = Figure(figsize=(4 * number, 4.4), layout="constrained")
    panels = list(figure.subplots(1, number, squeeze=False)[0])
    yield figure, panels
    for axes in panels:
        axes.set_axis_off()
    if suptitle is not None:
        figure.suptitle(suptitle)


def _draw_mask(axes: Axes, mask: Tensor) -> None:
    classes = mask.squeeze().numpy()
    axes.imshow(classes == 1, cmap=ListedColormap([BACKGROUND_COLOUR, SLUMP_COLOUR]), vmin=0, vmax=1, interpolation="none")
    if (classes == IGNORE).any():
        axes.contourf(classes == IGNORE, levels=[0.5, 1], colors=[IGNORE_COLOUR], hatches=["////"])


def open_datasets(
    mosaics: Sequence[Path], labels: Path, grid: Grid, bands: Sequence[str], boundary_m: float, *, scratch: Path | None = None
) -> SlumpDataset:
    """Join mosaics and labels.

    Args:
        mosaics: mosaics of the cells that the windows lie on.
        labels: `labels.parquet` of the round.
        grid: the project's grid.
        bands: which bands an image has, in this order.
        boundary_m: width of the ignored ring on each side of a slump's outline, metres.
        scratch: folder of this run, empty at its start, where a cell's bands are unpacked when it is first read: for
            training, which reads many windows at random. 34 MB a cell.

    Raises:
        InputError: a mosaic was skipped because it can't be read (torchgeo does that without a word), the file of labels
            is missing or damaged, or a label can't be drawn.
    """
    try:
        images = MosaicDataset(mosaics, grid, bands, scratch)
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
    return SlumpDataset(images, LabelDataset(labels, images.index.geometry, grid, boundary_m))


class ChipSampler(GeoSampler):
    """Yields windows of a table of chips as torchgeo's slices: all of them in order, or balanced random draws."""

    def __init__(self, dataset: GeoDataset, chips: gpd.GeoDataFrame, *, draws: int | None = None, seed: int = 0) -> None:
        """Take the table; with `draws`, each pass gives so many windows, drawn by their `weight` (see `weights`)."""
        super().__init__(dataset)
        self.chips = chips
        self.draws = draws
        self.seed, self.epoch = seed, 0
        self._bounds = chips.geometry.bounds.to_numpy()

    def __len__(self) -> int:
        """Return the number of windows of a pass."""
        return len(self.chips) if self.draws is None else self.draws

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next pass is: its draws depend on that and the seed alone, so that a resumed training goes on.

        Lightning calls this before each epoch, through its wrapper for several devices too.
        """
        self.epoch = epoch

    def __iter__(self) -> Iterator[GeoSlice]:
        """Yield (x, y, time) slices."""
        order = np.arange(len(self.chips))
        if self.draws is not None:
            order = np.random.default_rng([self.seed, self.epoch]).choice(order, self.draws, p=self.chips.weight.to_numpy())
        time = slice(pd.Timestamp.min, pd.Timestamp.max)
        for west, south, east, north in self._bounds[order]:
            yield slice(west, east), slice(south, north), time


def weights(chips: gpd.GeoDataFrame, slumps: gpd.GeoSeries) -> np.ndarray:
    """Return draw probabilities: half for windows that hold a slump; hard negatives, if any, and other windows share the rest.

    Where more than half of the windows hold a slump, these are drawn as often as there are: to fill half of the draws with
    few other windows again and again costs a tenth of the IoU (docs/results.md).
    """
    held = np.zeros(len(chips), bool)
    held[shapely.STRtree(chips.geometry.to_numpy()).query(slumps.to_numpy(), predicate="intersects")[1]] = True
    group = np.select([held, (chips.kind == "negative").to_numpy()], [0, 1], 2)
    numbers = np.bincount(group, minlength=3)
    with_slump = max(0.5, numbers[0] / len(chips))
    without = (1 - with_slump) / max(np.count_nonzero(numbers[1:]), 1)
    share = (np.array([with_slump, without, without]) / np.maximum(numbers, 1))[group]
    return np.asarray(share / share.sum())
