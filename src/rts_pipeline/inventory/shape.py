"""Shape of outlines, measured on the WGS84 ellipsoid, so that no projection's distortion enters."""

from __future__ import annotations

from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from pyproj import Geod

WGS84 = Geod(ellps="WGS84")
MAX_EDGE_M = 100.0
"""Longer straight edges are divided before they leave the projection: a straight line there is no geodesic."""


def only_polygons(geometries: NDArray[np.object_]) -> NDArray[np.object_]:
    """Return the geometries as valid Polygons or MultiPolygons in 2D; lines and points of a repair are dropped."""
    valid = shapely.force_2d(geometries)
    wrong = ~shapely.is_valid(valid) & ~shapely.is_missing(valid)
    valid[wrong] = shapely.make_valid(valid[wrong], method="structure", keep_collapsed=False)
    mixed = np.flatnonzero(~np.isin(shapely.get_type_id(valid), (3, 6)))
    for index in mixed:
        pieces = shapely.get_parts(valid[index])
        valid[index] = shapely.union_all(pieces[shapely.area(pieces) > 0])
    return valid


def geodesic_area_perimeter(outlines: gpd.GeoSeries) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return area (m2, without holes) and length of all boundaries (m) on the ellipsoid.

    Args:
        outlines: polygons in a projected CRS in metres.
    """
    divided = outlines.set_crs(outlines.crs).segmentize(MAX_EDGE_M)
    # Oriented, so that a hole's area is negative; in the projection, since in degrees a ring across 180 seems turned round.
    turned = gpd.GeoSeries(shapely.orient_polygons(divided.to_numpy()), crs=outlines.crs).to_crs("EPSG:4326")
    parts, owner = shapely.get_parts(turned.to_numpy(), return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    ends = np.cumsum(shapely.get_num_coordinates(rings))
    places = np.split(shapely.get_coordinates(rings), ends)[:-1]
    measured = np.array([WGS84.polygon_area_perimeter(*place.T) for place in places]).reshape(-1, 2)
    area, length = (np.bincount(owner[part], values, minlength=len(outlines)).astype(float) for values in measured.T)
    return np.abs(area), length


def rectangle_sides(outlines: gpd.GeoSeries) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the longer and the shorter side (m, geodesic) of the smallest rotated rectangle around each outline."""
    rectangles = gpd.GeoSeries(shapely.oriented_envelope(outlines.to_numpy()), crs=outlines.crs).to_crs("EPSG:4326")
    corners = shapely.get_coordinates(shapely.get_exterior_ring(rectangles.to_numpy())).reshape(-1, 5, 2)
    start, end = corners[:, :2].reshape(-1, 2), corners[:, 1:3].reshape(-1, 2)
    sides = np.asarray(WGS84.inv(*start.T, *end.T)[2]).reshape(-1, 2)
    return sides.max(axis=1, initial=0.0), sides.min(axis=1, initial=np.inf)


def describe(outlines: gpd.GeoSeries) -> pd.DataFrame:
    """Return area_m2, perimeter_m, circularity, length_m and width_m, a row an outline."""
    area, perimeter = geodesic_area_perimeter(outlines)
    length, width = rectangle_sides(outlines)
    values: dict[str, Any] = {
        "area_m2": area,
        "perimeter_m": perimeter,
        "circularity": 4 * np.pi * area / perimeter**2,
        "length_m": length,
        "width_m": width,
    }
    return pd.DataFrame(values, index=outlines.index)
