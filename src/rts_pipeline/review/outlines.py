"""Outlines in the record: GeoJSON in the CRS of the candidates, and when two of them are the same or the same slump."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon
from shapely.geometry.base import BaseGeometry

if TYPE_CHECKING:
    import geopandas as gpd

SAME_M = 0.01
"""Two outlines whose boundaries are nowhere farther apart (m) are the same: GIS programs round and reproject."""
SAME_SLUMP_IOU = 0.5
"""Two outlines that overlap at least so much show one slump."""


def to_geojson(outline: BaseGeometry) -> dict[str, Any]:
    """Return a polygon as a GeoJSON geometry: 2D, normalized, a MultiPolygon of one part as Polygon."""
    value: dict[str, Any] = json.loads(shapely.to_geojson(plain(outline)))
    return value


def from_geojson(value: dict[str, Any]) -> BaseGeometry:
    """Return the polygon of a GeoJSON geometry.

    Raises:
        ValueError: not GeoJSON, not a polygon, empty, 3D or invalid.
    """
    try:
        outline = shapely.from_geojson(json.dumps(value))
    except (shapely.GEOSException, TypeError) as error:
        raise ValueError(f"not a GeoJSON geometry ({error})") from None
    if problem := problem_of(outline):
        raise ValueError(problem)
    if outline.has_z:
        raise ValueError("geometry has heights")
    return outline


def problem_of(outline: BaseGeometry | None) -> str:
    """Say what is wrong with an outline, or return an empty text."""
    if outline is None or outline.is_empty:
        return "geometry is missing or empty"
    if outline.geom_type not in ("Polygon", "MultiPolygon"):
        return f"geometry is a {outline.geom_type}, not a polygon"
    return "" if outline.is_valid else f"geometry is invalid ({shapely.is_valid_reason(outline)})"


def plain(outline: BaseGeometry) -> BaseGeometry:
    """Return the outline in 2D, normalized, a MultiPolygon of one part as Polygon."""
    flat = shapely.force_2d(outline)
    if flat.geom_type == "MultiPolygon" and shapely.get_num_geometries(flat) == 1:
        flat = shapely.get_parts(flat)[0]
    return shapely.normalize(flat)


def multi(outline: BaseGeometry) -> BaseGeometry:
    """Return the outline as a MultiPolygon: layers of one geometry type, so that GIS programs let people draw parts."""
    return MultiPolygon(shapely.get_parts(outline).tolist())


def same(first: BaseGeometry, second: BaseGeometry) -> bool:
    """Tell whether two polygons have the same boundary, to the centimetre."""
    a, b = plain(first), plain(second)
    return bool(shapely.equals_exact(a, b, SAME_M) or shapely.hausdorff_distance(a.boundary, b.boundary) <= SAME_M)


def overlaps(
    first: NDArray[np.object_], second: NDArray[np.object_]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """Return all pairs that share area: index in `first`, index in `second`, IoU, and the shared area (m2).

    Args:
        first: polygons, shape (n,), one CRS.
        second: polygons, shape (m,), the same CRS.
    """
    left, right = shapely.STRtree(second).query(first, predicate="intersects")
    shared = shapely.area(shapely.intersection(first[left], second[right]))
    union = shapely.area(first[left]) + shapely.area(second[right]) - shared
    keep = shared > 0
    return left[keep], right[keep], (shared / union)[keep], shared[keep]


def records(frame: gpd.GeoDataFrame) -> list[dict[str, Any]]:
    """Return the rows as dictionaries, geometry included."""
    import pandas as pd

    return [{str(name): value for name, value in row.items()} for row in pd.DataFrame(frame).to_dict("records")]
