"""What has to hold of outlines before they are compared: one CRS, and valid areas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

from rts_pipeline.errors import InputError

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray

    Geometries = NDArray[np.object_]


def require_same_crs(predicted: gpd.GeoSeries, truth: gpd.GeoSeries) -> None:
    """Stop when the outlines and the truth have different CRS.

    Raises:
        InputError: they have.
    """
    if predicted.crs != truth.crs:
        raise InputError("outlines to compare", f"CRS {predicted.crs} and {truth.crs} differ", expected="one CRS")


def valid_polygons(outlines: Geometries) -> Geometries:
    """Return a copy with invalid geometries repaired, as areas; missing and empty ones stay as they are.

    Args:
        outlines: polygons, shape (n,).

    Returns:
        Polygons and multipolygons, object, shape (n,).
    """
    geometries = np.array(outlines, dtype=object)
    broken = ~shapely.is_valid(geometries) & ~shapely.is_missing(geometries)
    # "structure" without collapsed parts: repairing must not leave lines or points behind.
    geometries[broken] = shapely.make_valid(geometries[broken], method="structure", keep_collapsed=False)
    return geometries
