"""Image chips of every year around each candidate: what a reviewer looks at.

All chips of a candidate show the same ground with the same stretch, so that what differs between the years is the land. The
outline is not drawn into them. Where a known slump changed, a further picture of each year shows both outlines: the
candidate's (blue) and the known one (yellow).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely

from rts_pipeline.config import Time
from rts_pipeline.grid import GeoBox, Grid
from rts_pipeline.imagery import COLOURS, Limits, Values, compose, stretch
from rts_pipeline.io import GDAL_OPTIONS, new_folder, read_geoparquet, write_parquet
from rts_pipeline.options import EvidenceOptions
from rts_pipeline.progress import track
from rts_pipeline.scenes import delivered
from rts_pipeline.scenes.reader import MeasuredItem, levelled
from rts_pipeline.scenes.usable import OUTSIDE, USABLE

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray
    from PIL import Image
    from shapely.geometry.base import BaseGeometry

    Reader = Callable[[list[int], GeoBox], NDArray[Any]]

MAX_EDGE_PX = 2048
"""Largest edge of a chip, read and on the screen; larger ground is shown with larger pixels."""
BATCH = 16
"""Candidates (neighbours) worked on together, so that each raster is opened once for all of them."""
QUALITY, WEBP_METHOD = 80, 1
NEW, KNOWN = "#56B4E9", "#F0E442"
"""Colours of a candidate's outline and of what is known there."""
TYPES = {
    "candidate_id": "str",
    "year": "int64",
    "item_id": "str",
    "acquired": "str",
    "true_colour": "str",
    "false_colour": "str",
    "outlined": "str",
    "usable_fraction": "float64",
    "reason": "str",
}


@dataclass
class Chip:
    """A candidate in a year: the ground, outlines to draw by colour, items that may show it, and what was made of it."""

    candidate_id: str
    year: int
    box: GeoBox
    items: list[MeasuredItem]
    outlines: dict[str, BaseGeometry]
    item: MeasuredItem | None = None
    fraction: float = float("nan")
    true_colour: str | None = None
    false_colour: str | None = None
    outlined: str | None = None

    def row(self) -> dict[str, Any]:
        """Return its row of evidence.parquet."""
        item = self.item
        return {
            "candidate_id": self.candidate_id,
            "year": self.year,
            "item_id": item.id if item else None,
            "acquired": item.acquired if item else None,
            "true_colour": self.true_colour,
            "false_colour": self.false_colour,
            "outlined": self.outlined,
            "usable_fraction": self.fraction,
            "reason": self._reason(),
        }

    def _reason(self) -> str:
        if not self.items:
            return f"no image in the season of {self.year}"
        if self.item is None:
            return f"no usable pixel in {len(self.items)} image(s) of the season of {self.year}"
        return ""


def build_evidence(candidates: Path, catalog: Path, out: Path, options: EvidenceOptions) -> None:
    """Write the folder `out`: chips as WebP and `evidence.parquet` with a row a candidate and year.

    Args:
        candidates: `candidates.parquet` of a round.
        catalog: `catalog.parquet` of the stage scenes.
        out: folder, replaced as a whole when all of it is written.
        options: years, extent, enlargement, season and target date.

    Raises:
        InputError: a table, an item or one of its rasters can't be read.
    """
    import rasterio

    grid = options.grid.grid()
    frame = read_geoparquet(candidates)
    chips = _chips(frame, _items(read_geoparquet(catalog), catalog, grid, options), grid, options)
    order = frame.geometry.hilbert_distance().to_numpy().argsort(kind="stable") if len(frame) else []
    with new_folder(out) as folder, rasterio.Env(**GDAL_OPTIONS):
        list(track(_work(folder, [chips[i] for i in order], options), len(frame), "evidence", "candidates"))
        rows = [chip.row() for years in chips for chip in years]
        write_parquet(folder / "evidence.parquet", pd.DataFrame(rows, columns=list(TYPES)).astype(TYPES))


def ground(bounds: tuple[float, float, float, float], grid: Grid, margin_m: float, min_size_px: int) -> GeoBox:
    """Return the square of pixels that shows `bounds` (metres) with a margin; pixels grow when it would be too large."""
    west, south, east, north = bounds
    edge = max(east - west, north - south) + 2 * margin_m
    pixel = grid.pixel_m * max(1, ceil(edge / grid.pixel_m / (MAX_EDGE_PX - 1)))
    size = max(min_size_px, ceil(edge / pixel) + 1)
    column, row = round((west + east) / 2 / pixel - size / 2), round(-(south + north) / 2 / pixel - size / 2)
    return GeoBox("chip", grid.crs, pixel, column, row, size, size)


def _items(catalog: gpd.GeoDataFrame, path: Path, grid: Grid, options: EvidenceOptions) -> dict[int, gpd.GeoDataFrame]:
    """Return for each year the used items of its season, footprints in the grid's CRS."""
    used = catalog[(catalog["status"] == "used") & catalog["item_json"].notna()].to_crs(grid.crs)
    used = used.assign(item=[MeasuredItem.load(_found(Path(name), path)) for name in used["item_json"]])
    years = options.evidence.years
    return {year: used[[options.time.in_season(acquired, year) for acquired in used["acquired"]]] for year in years}


def _found(item: Path, catalog: Path) -> Path:
    return item if item.exists() else catalog.parent / item


def _chips(
    candidates: gpd.GeoDataFrame, items: dict[int, gpd.GeoDataFrame], grid: Grid, options: EvidenceOptions
) -> list[list[Chip]]:
    """Return the chips to make: for each candidate one a year."""
    margin, size = options.evidence.margin_m, options.evidence.min_size_px
    boxes = [ground(tuple(bounds), grid, margin, size) for bounds in candidates.bounds.to_numpy()]
    grounds = np.array([box.polygon for box in boxes], dtype=object)
    drawn = [
        {NEW: new, KNOWN: known} if status == "changed" else {}
        for status, new, known in zip(candidates["status"], candidates.geometry, candidates["known"], strict=True)
    ]
    chips: list[list[Chip]] = [[] for _ in boxes]
    for year, table in sorted(items.items()):
        seen: list[list[MeasuredItem]] = [[] for _ in boxes]
        for item, index in np.transpose(shapely.STRtree(grounds).query(table.geometry.to_numpy(), predicate="intersects")):
            seen[index].append(table["item"].iloc[item])
        for years, name, box, may_show, over in zip(chips, candidates["candidate_id"], boxes, seen, drawn, strict=True):
            years.append(Chip(name, year, box, may_show, over))
    return chips


def _work(folder: Path, chips: list[list[Chip]], options: EvidenceOptions) -> Iterator[None]:
    """Write the chips, batch by batch; yields once a candidate."""
    for start in range(0, len(chips), BATCH):
        batch = chips[start : start + BATCH]
        _choose([chip for years in batch for chip in years], options.time)
        stretches: dict[str, Limits] = {}
        first = {id(chip) for years in batch if (chip := _stretched(years, options.time.target_year))}
        for again in (False, True):
            _write(folder, [c for years in batch for c in years if c.item and (id(c) in first) != again], stretches, options)
        yield from (None for _ in batch)


def _choose(chips: list[Chip], time: Time) -> None:
    """Choose for each chip the item with most usable pixels, then nearest to the target date, then by id."""
    best: dict[int, tuple[float, int, str]] = {}
    wanted = [(item, chip) for chip in chips for item in chip.items]
    for item, users in _by_item(wanted):
        with _on_grid(item, item.usable, "nearest") as read:
            for chip in users:
                fraction = float(np.mean(read([1], chip.box) == USABLE))
                key = (-fraction, _days_off(item.acquired, time), item.id)
                if key < best.get(id(chip), (1.0, 0, "")):
                    best[id(chip)], chip.fraction = key, fraction
                    chip.item = item if fraction > 0 else None


def _days_off(acquired: str, time: Time) -> int:
    day = date.fromisoformat(acquired[:10])
    return abs((day - date.fromisoformat(f"{day.year}-{time.target_date}")).days)


def _stretched(years: list[Chip], target_year: int) -> Chip | None:
    """Return the chip whose values stretch those of all years: the target year's, or else the nearest that there is."""
    shown = [chip for chip in years if chip.item]
    return min(shown, key=lambda chip: (abs(chip.year - target_year), chip.year), default=None)


def _by_item(wanted: Iterable[tuple[MeasuredItem, Chip]]) -> Iterator[tuple[MeasuredItem, list[Chip]]]:
    ordered = sorted(wanted, key=lambda pair: (pair[0].id, pair[1].candidate_id, pair[1].year))
    for _, group in groupby(ordered, key=lambda pair: pair[0].id):
        pairs = list(group)
        yield pairs[0][0], [chip for _, chip in pairs]


def _write(folder: Path, chips: list[Chip], stretches: dict[str, Limits], options: EvidenceOptions) -> None:
    """Write the images of the chips; a candidate without a stretch gets the one of the first of its chips."""
    for item, users in _by_item((chip.item, chip) for chip in chips if chip.item):
        with _on_grid(item, item.usable, "nearest") as read:
            classes = [read([1], chip.box)[0] for chip in users]
        with _on_grid(item, item.reflectance, "cubic") as read:
            for chip, seen in zip(users, classes, strict=True):
                bands = levelled(read(list(item.bands.values()), chip.box), item.gain, item.offset)
                values = dict(zip(item.bands, bands, strict=True))
                if chip.candidate_id not in stretches:
                    stretches[chip.candidate_id] = stretch(values, seen == USABLE)
                _draw(folder, chip, values, seen != OUTSIDE, stretches[chip.candidate_id], options.evidence.scale)


def _draw(folder: Path, chip: Chip, values: Values, observed: NDArray[np.bool_], limits: Limits, scale: int) -> None:
    from PIL import Image

    edge = chip.box.width * max(1, min(scale, MAX_EDGE_PX // chip.box.width))
    for colour, bands in COLOURS.items():
        image = Image.fromarray(compose(values, bands, limits, observed)).resize((edge, edge), Image.Resampling.BICUBIC)
        setattr(chip, f"{colour}_colour", _save(folder, chip, colour, image))
        if colour == "true" and chip.outlines:
            _outline(image, chip)
            chip.outlined = _save(folder, chip, "outlined", image)


def _save(folder: Path, chip: Chip, what: str, image: Image.Image) -> str:
    name = f"{chip.candidate_id}_{chip.year}_{what}.webp"
    image.save(folder / name, quality=QUALITY, method=WEBP_METHOD)
    return name


def _outline(image: Image.Image, chip: Chip) -> None:
    from PIL import ImageDraw

    to_pixel, enlarged = ~chip.box.transform, image.width / chip.box.width
    for colour, outline in reversed(chip.outlines.items()):
        for ring in shapely.get_rings(shapely.get_parts(outline)):
            columns, rows = to_pixel @ shapely.get_coordinates(ring).T
            points = np.column_stack([columns, rows]) * enlarged
            ImageDraw.Draw(image).line(points.ravel().tolist(), fill=colour, width=2)


@contextmanager
def _on_grid(item: MeasuredItem, path: Path, resampling: str) -> Iterator[Reader]:
    """Open a raster of an item and give a function that reads bands of it onto the pixels of a box; 0 is nodata."""
    from affine import Affine
    from rasterio.enums import Resampling
    from rasterio.vrt import WarpedVRT
    from rasterio.windows import Window

    with delivered.opened(path) as dataset:

        def read(bands: list[int], box: GeoBox) -> NDArray[Any]:
            # where the box's ground lies in a displaced item
            place = {
                "crs": box.crs,
                "transform": Affine.translation(*item.shift_m) @ box.transform,
                "width": box.width,
                "height": box.height,
            }
            with WarpedVRT(dataset, resampling=Resampling[resampling], src_nodata=0, nodata=0, **place) as warped:
                return delivered.read(path, warped, bands, Window(0, 0, box.width, box.height))

        yield read
