"""Pictures of what there is: mosaics, the dates of their images, and the number of observations, read from overviews."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.warp import Resampling

from rts_pipeline.config import BANDS
from rts_pipeline.errors import InputError
from rts_pipeline.grid import GeoBox, Grid
from rts_pipeline.imagery import COLOURS, Limits, compose, stretch
from rts_pipeline.io.files import was_read
from rts_pipeline.io.rasters import GDAL_OPTIONS
from rts_pipeline.progress import track
from rts_pipeline.report.coverage import read_counts
from rts_pipeline.report.palette import Palette, class_of, counted, dated
from rts_pipeline.source_map import SUFFIX, source_items

PIXELS = 4_000_000
"""Pixels of all cells together, in each of the pictures."""
EDGES_PX = 48, 320
"""Smallest and largest edge of a cell in the pictures."""

Image = NDArray[np.uint8]
"""(h, w, 4): red, green, blue, and 0 where not observed."""


@dataclass(frozen=True)
class Look:
    """A cell, n pixels wide.

    Attributes:
        cell: the cell.
        reflectance: (4, n, n) x 10,000 of the mosaic, 0 = not observed.
        source: (n, n) numbers of the source map, 0 = not observed.
        days: day of acquisition (ISO) by that number.
        counts: (n, n) observations by year.
    """

    cell: GeoBox
    reflectance: NDArray[np.uint16]
    source: NDArray[np.uint16]
    days: Mapping[int, str]
    counts: Mapping[int, NDArray[np.uint8]]

    @property
    def by_band(self) -> dict[str, NDArray[np.uint16]]:
        """The mosaic by the name of the band."""
        return dict(zip(BANDS, self.reflectance, strict=True))

    @property
    def day_shares(self) -> dict[str, float]:
        """The share of the cell that shows each day, the largest first."""
        shares: dict[str, float] = {}
        for number, pixels in enumerate(np.bincount(self.source.ravel())):
            if number and pixels:
                day = self.days[number]
                shares[day] = shares.get(day, 0) + pixels / self.source.size
        return dict(sorted(shares.items(), key=lambda entry: (-entry[1], entry[0])))


@dataclass(frozen=True)
class Pictures:
    """The cells as images, all with the same colours.

    Attributes:
        looks: the cells that they show, by name.
        images: "true", "false" (colour), "source" (day of acquisition), "target" (observations in the target year) and
            "all" (in all years), each in the order of the cells.
        days: classes of "source".
        counts: classes of "target" and "all".
    """

    looks: list[Look]
    images: dict[str, list[Image]]
    days: Palette
    counts: Palette


def edge_for(n_cells: int) -> int:
    """Return the edge of a cell in the pictures, in pixels, so that all of them together are of a bounded size."""
    smallest, largest = EDGES_PX
    return int(min(largest, max(smallest, sqrt(PIXELS / max(1, n_cells)) // 8 * 8)))


def read_looks(results: Path, cells: Sequence[str], observed: Container[str], grid: Grid) -> list[Look]:
    """Read what the pictures show; a cell that no image of the target year touches has no mosaic.

    Args:
        results: folder with mosaic/ and coverage/.
        cells: names of the area's cells.
        observed: those of them that were observed in the target year.
        grid: the project's grid.

    Raises:
        InputError: a raster is missing or damaged.
    """
    edge = min(edge_for(len(cells)), grid.cell_px)
    boxes = [grid.cell(name) for name in sorted(cells)]
    return [_look(results, box, box.id in observed, grid, edge) for box in track(boxes, len(boxes), "quick looks", "cells")]


@contextmanager
def _opened(path: Path) -> Iterator[DatasetReader]:
    """Open a mosaic or its source map."""
    try:
        with rasterio.open(path) as dataset:
            yield dataset
    except RasterioError as error:
        raise InputError(path, f"can't be read ({error})", do="remove it and run again") from None


def _look(results: Path, cell: GeoBox, observed: bool, grid: Grid, edge: int) -> Look:
    counts = read_counts(results / "coverage", cell, grid, edge)
    # a mosaic that lies there all the same is one of before, of images that are used no more
    if not observed:
        return Look(cell, np.zeros((len(BANDS), edge, edge), np.uint16), np.zeros((edge, edge), np.uint16), {}, counts)
    path = results / "mosaic" / f"{cell.id}.tif"
    if not path.exists():
        raise InputError(path, "no such file", expected="the mosaic of an observed cell", do="run the stage mosaic")
    source_path = path.with_name(f"{cell.id}{SUFFIX}")
    was_read(path, source_path)
    with rasterio.Env(**GDAL_OPTIONS):
        with _opened(path) as mosaic:
            values = mosaic.read(out_shape=(len(BANDS), edge, edge), resampling=Resampling.average)
        with _opened(source_path) as source_map:
            source = source_map.read(1, out_shape=(edge, edge))
            days = {number: item["acquired"][:10] for number, item in source_items(source_path, source_map).items()}
    return Look(cell, values, source, days, counts)


def draw_pictures(looks: list[Look], target_year: int) -> Pictures:
    """Draw the pictures, the mosaics with one stretch for all cells."""
    found = sorted({day for look in looks for day in look.day_shares})
    days, counts = dated(found), counted()
    limits = _limits(looks)
    images: dict[str, list[Image]] = {name: [_colour(look, bands, limits) for look in looks] for name, bands in COLOURS.items()}
    images["source"] = [days.paint(_day_classes(look, found)) for look in looks]
    images["target"] = [counts.paint(class_of(look.counts[target_year])) for look in looks]
    images["all"] = [counts.paint(class_of(np.sum([*look.counts.values()], axis=0, dtype=np.int64))) for look in looks]
    return Pictures(looks, images, days, counts)


def _limits(looks: list[Look]) -> Limits | None:
    """Return the stretch for all cells, or None where nothing was observed."""
    bands = {name: np.concatenate([look.reflectance[number] for look in looks]) for number, name in enumerate(BANDS)}
    observed = bands["red"] > 0
    return stretch(bands, observed) if observed.any() else None


def _colour(look: Look, bands: tuple[str, str, str], limits: Limits | None) -> Image:
    observed = look.reflectance.min(axis=0) > 0
    image = np.zeros((*observed.shape, 4), np.uint8)
    if limits is not None:
        image[..., :3] = compose(look.by_band, bands, limits, observed)
        image[..., 3] = 255 * observed
    return image


def _day_classes(look: Look, days: Sequence[str]) -> NDArray[np.intp]:
    """Return the class of the day (1, 2, ...) that each pixel came from."""
    classes = np.zeros(int(look.source.max(initial=0)) + 1, np.intp)
    for number, day in look.days.items():
        if number < len(classes) and day in days:
            classes[number] = days.index(day) + 1
    return classes[look.source]
