"""Stage attributes: what is measured for each slump of the inventory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd

from rts_pipeline import __version__
from rts_pipeline.inventory import shape
from rts_pipeline.inventory.covariates import measure
from rts_pipeline.inventory.dictionary import conform
from rts_pipeline.inventory.observed import acquisitions
from rts_pipeline.inventory.setting import distance_to_lines
from rts_pipeline.inventory.solar import solar_radiation
from rts_pipeline.inventory.terrain import NUMBERS, terrain
from rts_pipeline.io.json import sha256_json
from rts_pipeline.io.tables import read_geoparquet, write_parquet
from rts_pipeline.options import AttributesOptions


def build_attributes(
    inventory: Path,
    sources: Sequence[Path],
    dem: Path | None,
    roads: Path | None,
    railway: Path | None,
    out: Path,
    options: AttributesOptions,
) -> None:
    """Write the inventory with its attributes (GeoParquet, all columns of `dictionary.columns`).

    Args:
        inventory: what stage inventory wrote.
        sources: source maps of the mosaics, <cell>_source.tif.
        dem: elevation raster in metres, in any CRS; None leaves the terrain empty.
        roads: vector file of lines; None leaves the distance empty.
        railway: vector file of lines; None leaves the distance empty.
        out: the file to write.
        options: the grid, the date of the DEM, and the covariates with their files.

    Raises:
        InputError: a file is missing or can't be used as it is.
        UsageError: gdaldem is not installed.
    """
    slumps = read_geoparquet(inventory)
    outlines = slumps.geometry
    measured = [
        acquisitions(outlines, sources, options.grid.grid()),
        shape.describe(outlines),
        _terrain(outlines, dem, options.attributes.dem_date),
        *(measure(outlines, covariate) for covariate in options.attributes.covariates),
    ]
    slumps = slumps.assign(**{str(name): values for frame in measured for name, values in frame.items()})
    slumps["dist_road_m"] = _distance(outlines, roads, "roads")
    slumps["dist_railway_m"] = _distance(outlines, railway, "railway")
    slumps["config_sha256"] = sha256_json(options.model_dump(mode="json"))
    slumps["rts_pipeline_version"] = __version__
    write_parquet(out, conform(slumps, measured=True, covariates=options.attributes.covariates))


def _terrain(outlines: gpd.GeoSeries, dem: Path | None, dem_date: str | None) -> pd.DataFrame:
    if dem is None or len(outlines) == 0:
        nothing = pd.DataFrame(np.nan, index=outlines.index, columns=[*NUMBERS, "solar_kwh_m2_yr"])
        return nothing.assign(terrain_missing=None, dem_date=None)
    values = terrain(outlines, dem)
    known = values["terrain_missing"].isna()
    radiation = pd.Series(solar_radiation(outlines[known], dem), index=outlines.index[known])
    date = pd.Series(dem_date, index=outlines.index, dtype="str").where(known)
    return values.assign(solar_kwh_m2_yr=radiation, dem_date=date)


def _distance(outlines: gpd.GeoSeries, lines: Path | None, what: str) -> pd.Series:
    if lines is None or len(outlines) == 0:
        return pd.Series(np.nan, index=outlines.index)
    return pd.Series(distance_to_lines(outlines, lines, what), index=outlines.index)
