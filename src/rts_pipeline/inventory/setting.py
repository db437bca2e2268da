"""Where a slump lies among roads, railways and whatever else has a place."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Proj, Transformer

from rts_pipeline.errors import InputError
from rts_pipeline.inventory.shape import WGS84
from rts_pipeline.io.vectors import read_vector

Geometries = NDArray[np.object_]

SEGMENT_M = 1000.0
"""Longer pieces of lines are divided before they leave the projection: a straight line there is no geodesic."""
DISTORTION = 1.1
"""What is farther than the nearest by less than this factor in the projection may be nearer on the ellipsoid."""


def distance_to_lines(outlines: gpd.GeoSeries, lines: Path, what: str) -> NDArray[np.float64]:
    """Return the geodesic distance (m) from each outline to the nearest line (or polygon); 0 where one crosses it.

    Args:
        outlines: polygons in a projected CRS in metres.
        lines: vector file in any CRS; its points are left out.
        what: "roads" or "railway", for messages.

    Raises:
        InputError: missing, unreadable, empty, without CRS, or no lines in it.
    """
    return _distance(outlines, lines, what, "line", least_dimension=1)


def distance_to_features(outlines: gpd.GeoSeries, features: Path, what: str) -> NDArray[np.float64]:
    """Return the geodesic distance (m) from each outline to the nearest point, line or polygon of a vector file.

    Raises:
        InputError: missing, unreadable, empty, without CRS, or no geometry in it.
    """
    return _distance(outlines, features, what, "geometry", least_dimension=0)


def _distance(outlines: gpd.GeoSeries, path: Path, what: str, kind: str, *, least_dimension: int) -> NDArray[np.float64]:
    """Find what may be nearest in the projection (an index, no pairs), and what of it is nearest on the ellipsoid."""
    frame = read_vector(path, what)
    pieces = shapely.get_parts(frame.geometry.dropna().to_crs(outlines.crs).to_numpy())
    dot = (shapely.get_dimensions(pieces) == 1) & (shapely.length(pieces) == 0)
    pieces[dot] = shapely.get_point(pieces[dot], 0)  # a line of no length is a point
    finite = np.isfinite(shapely.bounds(pieces)).all(axis=1)
    pieces = pieces[finite & (shapely.get_dimensions(pieces) >= least_dimension)]
    if len(pieces) == 0:
        raise InputError(path, f"holds no {kind} that can be expressed in {outlines.crs.name}", expected=f"{what} as {kind}s")
    pieces = _segments(pieces)
    tree, shapes = shapely.STRtree(pieces), outlines.to_numpy()
    (index, _), far = tree.query_nearest(shapes, return_distance=True, all_matches=False)
    result = np.zeros(len(shapes))
    apart = index[far > 0]
    owner_of, piece = tree.query(shapes[apart], predicate="dwithin", distance=far[far > 0] * DISTORTION)
    starts = np.searchsorted(owner_of, np.arange(len(apart) + 1))
    to_degrees = Transformer.from_crs(outlines.crs, "EPSG:4326", always_xy=True).transform
    shapes, pieces = (shapely.transform(shape, lambda xy: np.column_stack(to_degrees(*xy.T))) for shape in (shapes, pieces))
    for number, owner in enumerate(apart):
        result[owner] = _geodesic(shapes[owner], pieces[piece[starts[number] : starts[number + 1]]])
    return result


def _segments(pieces: Geometries) -> Geometries:
    """Return lines cut into straight segments of at most SEGMENT_M; points and polygons as they are."""
    line = shapely.get_dimensions(pieces) == 1
    places, owner = shapely.get_coordinates(shapely.segmentize(pieces[line], SEGMENT_M), return_index=True)
    inner = owner[:-1] == owner[1:]
    return np.concatenate([pieces[~line], shapely.linestrings(np.stack([places[:-1], places[1:]], axis=1)[inner])])


def _geodesic(outline: shapely.Geometry, pieces: Geometries) -> float:
    """Return the shortest distance in the azimuthal equidistant projection around the outline, measured on the ellipsoid.

    Args:
        outline: a polygon, WGS84 degrees.
        pieces: geometries, WGS84 degrees, of edges so short that it doesn't matter where they are straight.
    """
    longitude, latitude = shapely.get_coordinates(outline)[0]
    local = Proj(proj="aeqd", lat_0=latitude, lon_0=longitude, ellps="WGS84")
    moved = shapely.transform(np.array([outline, *pieces]), lambda xy: np.column_stack(local(*xy.T)))
    joins = shapely.shortest_line(moved[0], moved[1:])
    x, y = shapely.get_coordinates(joins[np.argmin(shapely.length(joins))]).T
    ends = local(x, y, inverse=True)
    return float(WGS84.inv(ends[0][0], ends[1][0], ends[0][1], ends[1][1])[2])
