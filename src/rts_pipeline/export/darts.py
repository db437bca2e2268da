"""The inventory in the layout of DARTS (Nitze et al. 2025, Scientific Data 12:1512): by image, by year, and the coverage."""

from __future__ import annotations

import re

import geopandas as gpd
import numpy as np
import pandas as pd

from rts_pipeline.export.files import COVERAGE, LEVEL1, LEVEL2
from rts_pipeline.export.tables import WGS84, Source, Table, geographic
from rts_pipeline.inventory.dictionary import Column, typed
from rts_pipeline.inventory.earlier import EARLIER
from rts_pipeline.inventory.shape import geodesic_area_perimeter

SCENE = re.compile(r"(?P<date>\d{8})_\d{6}_(?:\w+_)?(?P<satellite>[0-9A-Za-z]+)")
TILE = re.compile(r"(?P<take_id>\d+)_(?P<tile_id>\d+)_(?P<date>\d{4}-\d{2}-\d{2})_(?P<satellite>[0-9A-Za-z]+)")
"""Ids of a PSScene and of a PSOrthoTile (strip, tile, day, satellite)."""
TOLD = ("take_id", "tile_id", "date", "satellite")
"""What an id may tell."""
NO_TILE = "the image isn't a PSOrthoTile"
NO_MODEL = "no outline of a model took part"

_ID = Column("id", "text", "", "Identifier of the landform", "rts_uid")
_OUTLINE = Column("geometry", "geometry", "degree", f"Polygon or MultiPolygon in {WGS84}", "geometry")
IMAGES: tuple[Column, ...] = (
    _ID,
    Column("image_id", "text", "", "PlanetScope item that shows part of the outline", "scene_ids"),
    Column("take_id", "text", "", "Strip of the item", "image_id", NO_TILE),
    Column("tile_id", "text", "", "Grid tile of the item", "image_id", NO_TILE),
    Column("date", "text", "", "Day of acquisition (UTC), YYYY-MM-DD", "image_id", "the id doesn't tell"),
    Column("year", "integer", "", "Year that the inventory describes", "time.target_year"),
    Column("satellite", "text", "", "Satellite", "image_id", "the id doesn't tell"),
    _OUTLINE,
)
YEARS: tuple[Column, ...] = (
    _ID,
    Column("year", "integer", "", "Year that the inventory describes", "time.target_year"),
    Column("area_m2", "number", "m2", "Area on the WGS84 ellipsoid", "area_m2"),
    Column("pval_mean", "number", "1", "Mean probability of the model", "prob_mean", NO_MODEL),
    Column("pval_median", "number", "1", "Median probability of the model", "prob_median", f"{NO_MODEL}, or several did"),
    Column("pval_max", "number", "1", "Highest probability of the model", "prob_max", NO_MODEL),
    _OUTLINE,
)
COVERED: tuple[Column, ...] = (
    Column("id", "text", "", "Cell of the project's grid", "grid"),
    Column("year", "integer", "", "Year that the inventory describes", "time.target_year"),
    Column("area_km2", "number", "km2", "Observed part of the cell on the WGS84 ellipsoid", "coverage"),
    Column("coverage_period", "text", "", "Days of the first and last image that saw it, YYYY-MM-DD/YYYY-MM-DD", "coverage"),
    Column("geometry", "geometry", "degree", f"The whole cell in {WGS84}", "grid"),
)


def darts_tables(source: Source) -> list[Table]:
    """Return level 1 (a row a slump and image), level 2 (a row a slump) and the coverage (a row a cell), in WGS84.

    A slump is drawn on a mosaic, so that level 1 repeats its whole outline for each image that shows part of it; one of which
    no pixel was observed is in level 2 alone. DARTS keeps nothing below 288 m2; here every reviewed slump is kept. Slumps that
    are carried along from an earlier inventory are in none: they weren't seen in this year.
    """
    slumps = geographic(source.slumps[source.slumps["decision"] != EARLIER])
    year = source.options.time.target_year
    return [
        Table(LEVEL1, "Slumps by image, in the layout of DARTS level 1", IMAGES, typed(_by_image(slumps, year), IMAGES)),
        Table(LEVEL2, "Slumps by year, in the layout of DARTS level 2", YEARS, typed(_by_year(slumps, year), YEARS)),
        Table(COVERAGE, "Ground that was observed, in the layout of DARTS", COVERED, typed(_coverage(source), COVERED)),
    ]


def _by_image(slumps: gpd.GeoDataFrame, year: int) -> gpd.GeoDataFrame:
    seen = slumps.dropna(subset="scene_ids")
    rows = seen.assign(image_id=seen["scene_ids"].str.split(",")).explode("image_id", ignore_index=True)
    told = pd.DataFrame([image(name) for name in rows["image_id"]], index=rows.index, columns=[*TOLD])
    return rows[["rts_uid", "image_id", "geometry"]].rename(columns={"rts_uid": "id"}).assign(year=year).join(told)


def image(item: str) -> dict[str, str | None]:
    """Return what the id of a PlanetScope item tells: take_id, tile_id, date and satellite, None where it doesn't."""
    match = SCENE.fullmatch(item) or TILE.fullmatch(item)
    found = dict.fromkeys(TOLD) | (match.groupdict() if match else {})
    day = (found["date"] or "").replace("-", "")
    return {**found, "date": f"{day[:4]}-{day[4:6]}-{day[6:]}" if day else None}


def _by_year(slumps: gpd.GeoDataFrame, year: int) -> gpd.GeoDataFrame:
    names = {"rts_uid": "id", "prob_mean": "pval_mean", "prob_median": "pval_median", "prob_max": "pval_max"}
    return slumps[[*names, "area_m2", "geometry"]].rename(columns=names).assign(year=year)


def covered_km2(source: Source) -> float:
    """Return how much ground was observed in the year of the inventory, in whole cells of the grid."""
    return float(_coverage(source)["area_km2"].sum())


def _coverage(source: Source) -> gpd.GeoDataFrame:
    grid, observed = source.options.grid.grid(), source.observed
    rows = observed[(observed["year"] == source.options.time.target_year) & (observed["observed_pixels"] > 0)]
    rows = rows.reset_index(drop=True)
    cells = gpd.GeoSeries([grid.cell(name).polygon for name in rows["cell"]], crs=grid.crs)
    area_m2 = geodesic_area_perimeter(cells)[0] if len(cells) else np.empty(0)
    values = {
        "id": rows["cell"],
        "year": rows["year"],
        "area_km2": rows["observed_share"] * area_m2 / 1e6,
        "coverage_period": rows["first_acquired"].str[:10] + "/" + rows["last_acquired"].str[:10],
    }
    return geographic(gpd.GeoDataFrame(values, geometry=cells, crs=grid.crs))
