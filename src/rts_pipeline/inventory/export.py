"""Stage export: the published files, all with the same content, and their data dictionary."""

from __future__ import annotations

from pathlib import Path

from rts_pipeline.inventory.dictionary import WKT, conform, table
from rts_pipeline.io import read_geoparquet, write_csv, write_gpkg, write_parquet
from rts_pipeline.options import ExportOptions

LAYER = "rts_inventory"
WKT_DECIMALS = 7
"""Decimals of a degree in the CSV file: about a centimetre."""


def export(attributes: Path, out: Path, options: ExportOptions) -> None:
    """Write rts_inventory.gpkg, .parquet and .csv and data_dictionary.csv into a folder.

    The GeoPackage (1.3) and the GeoParquet file are the masters, in the project's CRS. The CSV file (UTF-8, texts quoted)
    gives each slump's point as longitude and latitude and its outline as WKT, both WGS84.

    Args:
        attributes: what stage attributes wrote.
        out: the folder, made when missing.
        options: the columns that the configuration names.

    Raises:
        InputError: the attributes are missing or damaged.
    """
    covariates = options.attributes.covariates
    slumps = conform(read_geoparquet(attributes), measured=True, covariates=covariates)
    write_gpkg(out / f"{LAYER}.gpkg", {LAYER: slumps})
    write_parquet(out / f"{LAYER}.parquet", slumps)
    outlines = slumps.geometry.to_crs("EPSG:4326").to_wkt(rounding_precision=WKT_DECIMALS)
    plain = slumps.drop(columns=slumps.geometry.name).assign(**{WKT.name: outlines})
    write_csv(out / f"{LAYER}.csv", plain)
    write_csv(out / "data_dictionary.csv", table(covariates))
