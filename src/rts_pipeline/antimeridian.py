"""Places on both sides of the 180th meridian, as GeoJSON wants them (RFC 7946, 3.1.9 and 5.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

Geometries = NDArray[np.object_]


def cut(placed: Geometries) -> Geometries:
    """Return geometries with those that cross the antimeridian cut there: else they would span the globe.

    Args:
        placed: (n,): in degrees, longitude first; one that is wider than 180 degrees crosses it.
    """
    west, _, east, _ = shapely.bounds(placed).T
    across = east - west > 180
    if not across.any():
        return placed
    whole = shapely.transform(placed[across], lambda xy: np.column_stack([xy[:, 0] % 360, xy[:, 1]]))
    halves = [shapely.intersection(whole, shapely.box(side, -90, side + 180, 90)) for side in (0, 180)]
    parts = placed.copy()
    parts[across] = shapely.union(halves[0], shapely.transform(halves[1], lambda xy: xy - (360, 0)))
    return parts


def bounds_of(placed: Geometries) -> list[float]:
    """Return west, south, east, north of the narrower box around all; west is above east where it crosses the antimeridian.

    Args:
        placed: (n,): in degrees, longitude first, cut there; at least one that isn't empty.
    """
    sides = shapely.bounds(shapely.get_parts(placed))
    (west, south), (east, north) = sides[:, :2].min(axis=0), sides[:, 2:].max(axis=0)
    turned = sides[:, [0, 2]] + 360 * (sides[:, :1] < 0)
    if np.ptp(turned) < east - west and turned.max() > 180:
        west, east = turned.min(), turned.max() - 360
    return [float(side) for side in (west, south, east, north)]


def box_of(bounds: list[float]) -> Any:
    """Return the box of `bounds_of`: in two parts where it crosses the antimeridian."""
    west, south, east, north = bounds
    if west <= east:
        return shapely.box(west, south, east, north)
    return shapely.MultiPolygon([shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)])
