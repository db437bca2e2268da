"""Where a slump lies among roads and railways."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from rts_pipeline.errors import InputError
from rts_pipeline.inventory.shape import WGS84
from rts_pipeline.io import read_vector


def distance_to_lines(outlines: gpd.GeoSeries, lines: Path, what: str) -> NDArray[np.float64]:
    """Return the geodesic distance (m) from each outline to the nearest line; 0 where a line crosses it.

    The nearest place is found in the projection (an index, no pairs), its distance on the ellipsoid.

    Args:
        outlines: polygons in a projected CRS in metres.
        lines: vector file in any CRS.
        what: "roads" or "railway", for messages.

    Raises:
        InputError: missing, unreadable, empty, without CRS, or no lines in it.
    """
    frame = read_vector(lines, what)
    pieces = shapely.get_parts(frame.geometry.dropna().to_crs(outlines.crs).to_numpy())
    pieces = pieces[np.isfinite(shapely.bounds(pieces)).all(axis=1) & (shapely.get_dimensions(pieces) > 0)]
    if len(pieces) == 0:
        raise InputError(lines, f"holds no line that can be expressed in {outlines.crs.name}", expected=f"{what} as lines")
    shapes = outlines.to_numpy()
    nearest = pieces[shapely.STRtree(pieces).nearest(shapes)]
    ends = gpd.GeoSeries(shapely.shortest_line(shapes, nearest), crs=outlines.crs).to_crs("EPSG:4326")
    points = shapely.get_coordinates(ends.to_numpy()).reshape(-1, 2, 2)
    return np.asarray(WGS84.inv(*points[:, 0].T, *points[:, 1].T)[2], dtype=float)
