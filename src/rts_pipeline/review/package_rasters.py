"""The pictures of an offline package: what the evidence shows of each year, laid on the ground, and the mosaic."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image

from rts_pipeline.config import BANDS
from rts_pipeline.errors import InputError
from rts_pipeline.evidence.chips import MAX_EDGE_PX
from rts_pipeline.grid import GeoBox, Grid
from rts_pipeline.io.files import write_text
from rts_pipeline.io.rasters import new_cog
from rts_pipeline.review.pictures import Pictures

YEAR_BANDS = (*BANDS, "alpha")
"""Bands of a year's rasters, uint8: each candidate's own stretch, the same in all years; alpha 0: no picture here."""
KINDS = {"true": ("red", "green", "blue"), "false": ("nir", None, None)}
"""Which bands the channels of the evidence's pictures hold; those of the false colours that the true ones hold too are left."""


@dataclass(frozen=True)
class Ground:
    """The ground of a candidate's pictures.

    Attributes:
        candidate: whose.
        box: the ground, in pixels of the grid.
        size: pixels of the grid along the edge of one that was read (1 but for very large candidates).
    """

    candidate: str
    box: GeoBox
    size: int

    @classmethod
    def of(cls, candidate: str, bounds: Sequence[float], grid: Grid) -> Ground:
        """Return the ground of these bounds: west, south, east, north in metres, as the evidence's table has them."""
        west, _, east, north = (round(side / grid.pixel_m) for side in bounds)
        edge = east - west
        return cls(candidate, GeoBox(candidate, grid.crs, grid.pixel_m, west, -north, edge, edge), ceil(edge / MAX_EDGE_PX))


def grounds_of(pictures: Pictures, round: str, candidates: Sequence[str], grid: Grid) -> list[Ground]:
    """Return the ground of each candidate that has pictures.

    Raises:
        InputError: the evidence doesn't say what ground its pictures show.
    """
    grounds = {candidate: pictures.ground(round, candidate) for candidate in candidates if pictures.chips(round, candidate)}
    if None in grounds.values():
        problem = "doesn't say what ground its pictures show"
        raise InputError(pictures.index_file(round), problem, do="make the evidence again")
    return [Ground.of(candidate, bounds, grid) for candidate, bounds in grounds.items() if bounds]


def write_years(folder: Path, pictures: Pictures, round: str, grounds: Sequence[Ground], grid: Grid) -> Iterator[list[int]]:
    """Write `<year>/<cell>.tif` for each year and cell that has pictures, and `<year>.vrt` over them; yields after each cell.

    Args:
        folder: existing folder.
        pictures: of the project.
        round: whose.
        grounds: of the candidates; ground that several show is that of the nearest one, in all years.
        grid: of the project.

    Yields:
        the years that the cell has.

    Raises:
        InputError: a picture that can't be read, or isn't of its ground.
    """
    years = pictures.years(round)
    places: dict[int, list[GeoBox]] = {year: [] for year in years}
    of_cell: dict[str, list[int]] = {}
    for number, cell in grid.cell_pairs([shown.box.polygon for shown in grounds]):
        of_cell.setdefault(cell, []).append(number)
    for name, numbers in sorted(of_cell.items()):
        here = [(grounds[n], part) for n in numbers if (part := grid.cell(name).intersection(grounds[n].box))]
        if not here:
            continue
        box = _around(name, [part for _, part in here])
        owner = _owners(box, here)
        done = []
        for year in years:
            values = _painted(box, here, owner, pictures, round, year)
            if values is None:
                continue
            profile: dict[str, Any] = {"count": len(YEAR_BANDS), "dtype": "uint8", **box.profile}
            with new_cog(folder / str(year) / f"{name}.tif", **profile) as target:
                grey, alpha = rasterio.enums.ColorInterp.gray, rasterio.enums.ColorInterp.alpha
                target.colorinterp = [grey, *[rasterio.enums.ColorInterp.undefined] * (len(BANDS) - 1), alpha]
                target.write(values)
            places[year].append(box)
            done.append(year)
        yield done
    for year, boxes in places.items():
        if boxes:
            write_vrt(folder / f"{year}.vrt", str(year), boxes, grid, YEAR_BANDS, "Byte")


def link_mosaic(source: Path, folder: Path, cells: Sequence[str], grid: Grid) -> list[str]:
    """Put the mosaic's cells into `<folder>/mosaic`, with `mosaic.vrt` over them; returns those that are there.

    Where the disk allows it they are hard links: the workflow replaces its files and never changes them.
    """
    found = [cell for cell in cells if (source / f"{cell}.tif").exists()]
    (folder / "mosaic").mkdir()
    for cell in found:
        name = f"{cell}.tif"
        try:
            os.link(source / name, folder / "mosaic" / name)
        except OSError:
            shutil.copyfile(source / name, folder / "mosaic" / name)
    if found:
        write_vrt(folder / "mosaic.vrt", "mosaic", [grid.cell(cell) for cell in found], grid, BANDS, "UInt16", nodata="0")
    return found


def write_vrt(
    path: Path, folder: str, boxes: Sequence[GeoBox], grid: Grid, bands: Sequence[str], kind: str, *, nodata: str | None = None
) -> None:
    """Write a VRT over `<folder>/<box.id>.tif`, by relative paths (GDAL's virtual format, gdal.org/drivers/raster/vrt.html)."""
    whole = _around("all", boxes)
    root = ET.Element("VRTDataset", rasterXSize=str(whole.width), rasterYSize=str(whole.height))
    ET.SubElement(root, "SRS").text = grid.rasterio_crs.to_wkt()
    ET.SubElement(root, "GeoTransform").text = ", ".join(repr(float(value)) for value in whole.transform.to_gdal())
    for number, name in enumerate(bands, 1):
        band = ET.SubElement(root, "VRTRasterBand", dataType=kind, band=str(number))
        ET.SubElement(band, "Description").text = name
        if nodata is not None:
            ET.SubElement(band, "NoDataValue").text = nodata
        ET.SubElement(band, "ColorInterp").text = "Alpha" if name == "alpha" else "Gray" if number == 1 else "Undefined"
        for box in boxes:
            source = ET.SubElement(band, "SimpleSource" if nodata is None else "ComplexSource")
            ET.SubElement(source, "SourceFilename", relativeToVRT="1").text = f"{folder}/{box.id}.tif"
            ET.SubElement(source, "SourceBand").text = str(number)
            left, top = box.column - whole.column, box.row - whole.row
            for rect, x, y in (("SrcRect", 0, 0), ("DstRect", left, top)):
                place = {"xOff": x, "yOff": y, "xSize": box.width, "ySize": box.height}
                ET.SubElement(source, rect, {key: str(value) for key, value in place.items()})
            if nodata is not None:
                ET.SubElement(source, "NODATA").text = nodata
    ET.indent(root)
    write_text(path, ET.tostring(root, encoding="unicode"))


def _around(name: str, boxes: Sequence[GeoBox]) -> GeoBox:
    left, top = min(box.column for box in boxes), min(box.row for box in boxes)
    right, bottom = max(box.column + box.width for box in boxes), max(box.row + box.height for box in boxes)
    return GeoBox(name, boxes[0].crs, boxes[0].pixel_m, left, top, right - left, bottom - top)


def _owners(box: GeoBox, here: Sequence[tuple[Ground, GeoBox]]) -> NDArray[np.int32]:
    """Return for each pixel which ground it belongs to, by place in `here`: the one whose middle is nearest; -1: none."""
    owner, nearest = np.full(box.shape, -1, np.int32), np.full(box.shape, np.inf, np.float32)
    for number, (shown, part) in enumerate(here):
        at = box.slices_of(part)
        rows = np.arange(part.row, part.row + part.height) + 0.5 - (shown.box.row + shown.box.height / 2)
        columns = np.arange(part.column, part.column + part.width) + 0.5 - (shown.box.column + shown.box.width / 2)
        distance = np.hypot(rows[:, None], columns[None]).astype(np.float32)
        closer = distance < nearest[at]
        owner[at][closer], nearest[at][closer] = number, distance[closer]
    return owner


def _painted(
    box: GeoBox, here: Sequence[tuple[Ground, GeoBox]], owner: NDArray[np.int32], pictures: Pictures, round: str, year: int
) -> NDArray[np.uint8] | None:
    """Return a year's bands (5, h, w), None where no candidate has a picture."""
    values = np.zeros((len(YEAR_BANDS), *box.shape), np.uint8)
    for number, (shown, part) in enumerate(here):
        files = {kind: pictures.file(round, shown.candidate, year, kind) for kind in KINDS}
        if any(file is None for file in files.values()):
            continue
        at, mine = box.slices_of(part), owner[box.slices_of(part)] == number
        for kind, bands in KINDS.items():
            pixels = _pixels(files[kind], shown)[shown.box.slices_of(part)]
            for channel, name in enumerate(bands):
                if name is not None:
                    values[BANDS.index(name)][at][mine] = pixels[..., channel][mine]
        values[-1][at][mine] = 255
    return values if values[-1].any() else None


def _pixels(file: Path | None, shown: Ground) -> NDArray[np.uint8]:
    """Return a picture as pixels of the grid (h, w, 3): the means of what it shows enlarged."""
    assert file is not None
    edge = shown.box.width // shown.size
    try:
        with Image.open(file) as image:
            if image.width != image.height or image.width % edge:
                problem = f"is {image.width} x {image.height} pixels"
                raise InputError(file, problem, expected=f"a multiple of {edge} x {edge}", do="make the evidence again")
            small = np.asarray(image.convert("RGB").reduce(image.width // edge))
    except (OSError, SyntaxError) as error:
        raise InputError(file, f"can't be read ({error})", do="make the evidence again") from None
    return small.repeat(shown.size, axis=0).repeat(shown.size, axis=1)
