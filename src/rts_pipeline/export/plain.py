"""Files of plain text: CSV and GeoJSON; and the day that GDAL's files bear."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pyogrio

from rts_pipeline.antimeridian import bounds_of
from rts_pipeline.export.tables import DEGREE_DECIMALS, WGS84, geographic
from rts_pipeline.inventory.dictionary import WKT
from rts_pipeline.io.files import write_text
from rts_pipeline.io.tables import write_csv


@contextmanager
def dated(day: str) -> Iterator[None]:
    """Let GDAL write this day instead of the time of writing, so that equal content gives equal bytes."""
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": f"{day}T00:00:00.000Z"})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


def write_csv_outlines(path: Path, frame: gpd.GeoDataFrame) -> None:
    """Write a CSV file whose last column holds the outlines as WKT in WGS84."""
    outlines = geographic(frame).geometry.to_wkt(rounding_precision=DEGREE_DECIMALS)
    write_csv(path, without_geometry(frame).assign(**{WKT.name: outlines}))


def write_csv_points(path: Path, frame: gpd.GeoDataFrame) -> None:
    """Write a CSV file of points, the columns longitude and latitude; a spreadsheet can't hold a long outline in a cell."""
    write_csv(path, without_geometry(frame))


def without_geometry(frame: gpd.GeoDataFrame) -> pd.DataFrame:
    """Return the attributes alone."""
    return pd.DataFrame(frame.drop(columns=frame.geometry.name))


def write_geojson(path: Path, frame: gpd.GeoDataFrame) -> None:
    """Write GeoJSON, a feature a line: in WGS84 as RFC 7946 has it, in any other CRS with the older member `crs`.

    GDAL rounds numbers to what looks nice; here they keep all their digits.
    """
    head: dict[str, object] = {"type": "FeatureCollection", "name": path.stem}
    if frame.crs != WGS84:
        head["crs"] = {"type": "name", "properties": {"name": "urn:ogc:def:crs:{}::{}".format(*frame.crs.to_authority())}}
    elif len(frame):
        head["bbox"] = bounds_of(frame.geometry.to_numpy())
    features = (json.dumps(feature, ensure_ascii=False, allow_nan=False) for feature in frame.iterfeatures(drop_id=True))
    opening = json.dumps(head, ensure_ascii=False)[:-1]
    write_text(path, f'{opening}, "features": [\n' + ",\n".join(features) + "\n]}\n")
