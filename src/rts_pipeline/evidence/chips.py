"""Image chips of a candidate in every year.

All chips of a candidate show the same ground with the same stretch, so that what differs between the years is the land. The
outline is not drawn into them. Where a known slump changed, a further picture of each year shows both outlines: the
candidate's (blue) and the known one (yellow).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from io import BytesIO
from itertools import groupby
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from rts_pipeline.config import Time
from rts_pipeline.grid import GeoBox, Grid
from rts_pipeline.imagery import COLOURS, Limits, Values, compose, stretch
from rts_pipeline.scenes import delivered
from rts_pipeline.scenes.reader import MeasuredItem, levelled
from rts_pipeline.scenes.usable import OUTSIDE, USABLE

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image
    from shapely.geometry.base import BaseGeometry

    Reader = Callable[[list[int], GeoBox, tuple[float, float]], NDArray[Any]]

MAX_EDGE_PX = 2048
"""Largest edge of a chip, read and on the screen; larger ground is shown with larger pixels."""
PERCENTILES = (0.5, 99.5)
"""Of a candidate's ground, shown as black and white: its headwall and fresh debris are a few per cent of it at most."""
QUALITY, WEBP_METHOD = 80, 1
NEW, KNOWN = "#56B4E9", "#F0E442"
"""Colours of a candidate's outline and of what is known there."""


@dataclass
class Chip:
    """A candidate in a year: the ground, outlines to draw by colour, items that may show it, and what was made of it.

    Attributes:
        candidate_id: the candidate.
        year: the year.
        box: the pixels of the ground.
        items: used items of the season that may show it.
        outlines: to be drawn into a further picture, by colour.
        item: the item that is shown, with the displacement that is to be taken back (see `places`), or None.
        place_error_m: standard error (m) of its place along one direction; nan without an item.
        fraction: share of the ground that it shows usable; nan without items.
        pictures: WebP files by kind: true_colour, false_colour, outlined.
    """

    candidate_id: str
    year: int
    box: GeoBox
    items: list[MeasuredItem]
    outlines: dict[str, BaseGeometry]
    item: MeasuredItem | None = None
    fraction: float = float("nan")
    place_error_m: float = float("nan")
    pictures: dict[str, bytes] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """Why no item shows it; "" where one does."""
        if not self.items:
            return f"no image in the season of {self.year}"
        if self.item is None:
            return f"no usable pixel in {len(self.items)} image(s) of the season of {self.year}"
        return ""


def ground(bounds: tuple[float, float, float, float], grid: Grid, margin_m: float, min_size_px: int) -> GeoBox:
    """Return the square of pixels that shows `bounds` (metres) with a margin; pixels grow when it would be too large."""
    west, south, east, north = bounds
    edge = max(east - west, north - south) + 2 * margin_m
    pixel = grid.pixel_m * max(1, ceil(edge / grid.pixel_m / (MAX_EDGE_PX - 1)))
    size = max(min_size_px, ceil(edge / pixel) + 1)
    column, row = round((west + east) / 2 / pixel - size / 2), round(-(south + north) / 2 / pixel - size / 2)
    return GeoBox("chip", grid.crs, pixel, column, row, size, size)


def choose(chips: Iterable[Chip], time: Time) -> None:
    """Choose for each chip the item with most usable pixels, then nearest to the target date, then by id."""
    best: dict[int, tuple[float, int, str]] = {}
    wanted = [(item, chip) for chip in chips for item in chip.items]
    for item, users in _by_item(wanted):
        with _on_grid(item.usable, "nearest") as read:
            for chip in users:
                fraction = float(np.mean(read([1], chip.box, item.shift_m) == USABLE))
                key = (-fraction, _days_off(item.acquired, time), item.id)
                if key < best.get(id(chip), (1.0, 0, "")):
                    best[id(chip)], chip.fraction = key, fraction
                    chip.item = item if fraction > 0 else None


def draw(candidates: list[list[Chip]], target_year: int, scale: int) -> None:
    """Draw the pictures of candidates, each a list of its chips with the items chosen; those of a batch share open files."""
    stretches: dict[str, Limits] = {}
    first = {id(chip) for years in candidates if (chip := nearest_shown(years, target_year))}
    for again in (False, True):
        _draw([c for years in candidates for c in years if c.item and (id(c) in first) != again], stretches, scale)


def as_webp(image: Image.Image) -> bytes:
    """Return a picture as the bytes of a WebP file."""
    file = BytesIO()
    image.save(file, "webp", quality=QUALITY, method=WEBP_METHOD)
    return file.getvalue()


def enlargement(edge_px: int, scale: int) -> int:
    """Return screen pixels along the edge of one that was read: `scale`, or what keeps a picture within MAX_EDGE_PX."""
    return max(1, min(scale, MAX_EDGE_PX // edge_px))


def enlarged(pixels: NDArray[np.uint8], scale: int) -> Image.Image:
    """Return square pixels (n, n, 3) or (n, n) as an image of `scale` screen pixels for one, within MAX_EDGE_PX."""
    from PIL import Image

    edge = pixels.shape[0] * enlargement(pixels.shape[0], scale)
    return Image.fromarray(pixels).resize((edge, edge), Image.Resampling.BICUBIC)


def _days_off(acquired: str, time: Time) -> int:
    day = date.fromisoformat(acquired[:10])
    return abs((day - time.target_day(day.year)).days)


def nearest_shown(years: Sequence[Chip], target_year: int) -> Chip | None:
    """Return the chip that those of all years are held against: the target year's, or else the nearest with an image."""
    shown = [chip for chip in years if chip.item]
    return min(shown, key=lambda chip: (abs(chip.year - target_year), chip.year), default=None)


def _by_item(wanted: Iterable[tuple[MeasuredItem, Chip]]) -> Iterator[tuple[MeasuredItem, list[Chip]]]:
    ordered = sorted(wanted, key=lambda pair: (pair[0].id, pair[1].candidate_id, pair[1].year))
    for _, group in groupby(ordered, key=lambda pair: pair[0].id):
        pairs = list(group)
        yield pairs[0][0], [chip for _, chip in pairs]


def _draw(chips: list[Chip], stretches: dict[str, Limits], scale: int) -> None:
    """Draw the pictures of chips; a candidate without a stretch gets the one of the first of its chips."""
    for item, users in _by_item((chip.item, chip) for chip in chips if chip.item):
        places = [chip.item.shift_m if chip.item else item.shift_m for chip in users]
        with _on_grid(item.usable, "nearest") as read:
            classes = [read([1], chip.box, place)[0] for chip, place in zip(users, places, strict=True)]
        with _on_grid(item.reflectance, "cubic") as read:
            for chip, place, seen in zip(users, places, classes, strict=True):
                bands = levelled(read(list(item.bands.values()), chip.box, place), item.gain, item.offset)
                values = dict(zip(item.bands, bands, strict=True))
                if chip.candidate_id not in stretches:
                    stretches[chip.candidate_id] = stretch(values, seen == USABLE, PERCENTILES)
                _draw_one(chip, values, seen != OUTSIDE, stretches[chip.candidate_id], scale)


def _draw_one(chip: Chip, values: Values, observed: NDArray[np.bool_], limits: Limits, scale: int) -> None:
    for colour, bands in COLOURS.items():
        image = enlarged(compose(values, bands, limits, observed), scale)
        chip.pictures[f"{colour}_colour"] = as_webp(image)
        if colour == "true" and chip.outlines:
            _outline(image, chip)
            chip.pictures["outlined"] = as_webp(image)


def _outline(image: Image.Image, chip: Chip) -> None:
    from PIL import ImageDraw

    to_pixel, enlarged = ~chip.box.transform, image.width / chip.box.width
    for colour, outline in reversed(chip.outlines.items()):
        for ring in shapely.get_rings(shapely.get_parts(outline)):
            columns, rows = to_pixel @ shapely.get_coordinates(ring).T
            points = np.column_stack([columns, rows]) * enlarged
            ImageDraw.Draw(image).line(points.ravel().tolist(), fill=colour, width=2)


@contextmanager
def _on_grid(path: Path, resampling: str) -> Iterator[Reader]:
    """Open a raster of an item and give a function that reads bands of it onto the pixels of a box; 0 is nodata.

    Its last argument is the displacement of the item that is to be taken back, in metres to the east and north.
    """
    from affine import Affine
    from rasterio.enums import Resampling
    from rasterio.vrt import WarpedVRT
    from rasterio.windows import Window

    with delivered.georeferenced(path) as dataset:

        def read(bands: list[int], box: GeoBox, shift_m: tuple[float, float]) -> NDArray[Any]:
            # where the box's ground lies in a displaced item
            place = {
                "crs": box.crs,
                "transform": Affine.translation(*shift_m) @ box.transform,
                "width": box.width,
                "height": box.height,
            }
            with WarpedVRT(dataset, resampling=Resampling[resampling], src_nodata=0, nodata=0, **place) as warped:
                return delivered.read(path, warped, bands, Window(0, 0, box.width, box.height))

        yield read
