"""The tables of a release: one frame with described columns each, and what is done to their texts and outlines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from rts_pipeline.antimeridian import cut
from rts_pipeline.inventory.dictionary import Column, conform
from rts_pipeline.inventory.shape import only_polygons
from rts_pipeline.io.tables import read_geoparquet
from rts_pipeline.options import ExportOptions

WGS84 = "EPSG:4326"
DEGREE_DECIMALS = 7
"""Decimals of a degree: about a centimetre (RFC 7946 advises against more than the data hold)."""
NEWLINE, CONTROL = re.compile(r"\r\n?"), re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")


@dataclass(frozen=True)
class Table:
    """A table of the release.

    Attributes:
        name: as in the names of its files.
        title: what it is, in a few words.
        columns: its columns, in order.
        frame: its rows; the active geometry is its last column, `geometry`.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    frame: gpd.GeoDataFrame


@dataclass(frozen=True)
class Source:
    """What a release is made from.

    Attributes:
        slumps: the inventory with its attributes, as `published` gives it.
        observed: `observed.parquet` of the stage observed.
        options: place, season, grid, and what the configuration says of the release.
    """

    slumps: gpd.GeoDataFrame
    observed: pd.DataFrame
    options: ExportOptions

    @cached_property
    def day(self) -> str:
        """Day of the release: the configured one, else that of the latest verdict, else the season's last."""
        decided = self.slumps["reviewed_at"].dropna()
        latest = decided.max()[:10] if len(decided) else self.season[1]
        return self.options.export.released or latest

    @property
    def season(self) -> tuple[str, str]:
        """First and last day of the season that the inventory describes."""
        first, last = (f"{self.options.time.target_year}-{day}" for day in self.options.time.season)
        return first, last

    @property
    def title(self) -> str:
        """Title of the inventory, with region and year."""
        place = f": {self.options.area.region}" if self.options.area.region else ""
        return f"{self.options.report.title}{place}, {self.options.time.target_year}"


def published(attributes: Path, options: ExportOptions) -> gpd.GeoDataFrame:
    """Return the inventory as all formats hold it: texts as `clean_text` makes them.

    Raises:
        InputError: the file is missing or damaged.
    """
    slumps = conform(read_geoparquet(attributes), measured=True, covariates=options.attributes.covariates)
    texts = slumps.columns[slumps.dtypes == "str"]
    return slumps.assign(**{name: slumps[name].map(clean_text, na_action="ignore").astype("str") for name in texts})


def clean_text(text: str) -> str | None:
    """Return a text that every format keeps: newlines as \\n, no other control character, no space around; None if empty.

    XML knows no control characters, a DBF table drops spaces at the end, and CSV and DBF can't tell an empty text from none.
    """
    return CONTROL.sub("", NEWLINE.sub("\n", text)).strip() or None


def rounded(outlines: gpd.GeoSeries, crs: str, decimals: int) -> gpd.GeoSeries:
    """Return the outlines in another CRS with coordinates of so many decimals, valid, outer rings anticlockwise (RFC 7946).

    In degrees those that cross the antimeridian are cut there.
    """
    placed = outlines.to_crs(crs)
    whole = cut(placed.to_numpy()) if placed.crs.is_geographic else placed.to_numpy()
    snapped = shapely.set_precision(whole, 10.0**-decimals)
    polygons = shapely.orient_polygons(only_polygons(snapped))
    # snapping leaves multiples of a binary step, and 93.0031770 is to be written as 93.003177
    exact = shapely.transform(polygons, lambda places: np.round(places, decimals))
    return gpd.GeoSeries(exact, index=outlines.index, crs=crs, name=outlines.name)


def geographic(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return the frame with its outlines in WGS84, longitude first, DEGREE_DECIMALS decimals."""
    return frame.set_geometry(rounded(frame.geometry, WGS84, DEGREE_DECIMALS))


def dictionary(tables: Sequence[Table]) -> pd.DataFrame:
    """Return the columns of tables as rows: table and the fields of `Column`."""
    return pd.DataFrame([{"table": table.name} | vars(column) for table in tables for column in table.columns])
