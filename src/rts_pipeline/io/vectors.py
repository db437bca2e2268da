"""Vector files: GeoPackages of ours, and what users give in any format."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rts_pipeline.errors import ENVIRONMENT_ERRORS, InputError
from rts_pipeline.io.files import atomic, temporary_beside

if TYPE_CHECKING:
    import geopandas as gpd
    from pyproj import CRS


def write_gpkg(
    path: Path, layers: Mapping[str, gpd.GeoDataFrame], metadata: Mapping[str, Mapping[str, str]] | None = None
) -> None:
    """Write a GeoPackage 1.3 (which QGIS 3.22 can read) with one table a layer, atomically.

    Args:
        path: file to write.
        layers: name -> table.
        metadata: of layers, by name; programs that change tables in place keep it.

    Raises:
        OSError: there is no space for it.
        InputError: it can't be written for another reason.
    """
    from pyogrio.errors import DataLayerError, DataSourceError, FeatureError

    with atomic(path) as temporary:
        for number, (layer, frame) in enumerate(layers.items()):
            options = {"VERSION": "1.3"} if number == 0 else {}
            # A table without rows would get no geometry type, and GIS programs couldn't draw polygons into it.
            kind = {} if len(frame) else {"geometry_type": "MultiPolygon"}
            about = dict((metadata or {}).get(layer, {})) or None
            try:
                frame.to_file(
                    temporary,
                    layer=layer,
                    driver="GPKG",
                    engine="pyogrio",
                    dataset_options=options,
                    layer_metadata=about,
                    **kind,
                )
            except (DataSourceError, DataLayerError, FeatureError) as error:
                if refused := _no_space(path, _most_bytes(frame)):
                    raise OSError(refused, f"can't be written in full ({error})", str(path)) from None
                raise InputError(path, f"can't be written ({error})") from None


def _most_bytes(frame: gpd.GeoDataFrame) -> int:
    """Return more than a GeoPackage of a table takes, but for its first MiB."""
    return 3 * int(frame.geometry.to_wkb().str.len().sum() + frame.memory_usage(deep=True).sum())


def _no_space(beside: Path, size: int) -> int | None:
    """Return the number of the system's error where a file of that size has no space: SQLite doesn't say why it failed."""
    trial = temporary_beside(beside)
    try:
        with trial.open("wb") as file:
            for _ in range(0, size + 1, 2**20):
                file.write(bytes(2**20))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno if error.errno in ENVIRONMENT_ERRORS else None
    finally:
        trial.unlink(missing_ok=True)
    return None


def read_outlines(path: Path, what: str, *, crs: Any | None = None) -> gpd.GeoDataFrame:
    """Read a user's polygon file (any vector format of GDAL) and check it.

    Args:
        path: the file.
        what: what it should be, for messages ("seed outlines", "area of interest").
        crs: reproject to this CRS.

    Raises:
        InputError: missing, unreadable, empty, without CRS, or with geometries that are missing, empty, invalid or
            not polygons (each is named by its row), or that have no place in `crs`.
    """
    from shapely import is_valid_reason

    frame = read_vector(path, what)
    kinds = frame.geometry.geom_type
    for problem, bad in (
        ("missing or empty geometry", frame.geometry.isna() | frame.geometry.is_empty),
        ("not a polygon", ~kinds.isin(["Polygon", "MultiPolygon"])),
        ("invalid geometry", ~frame.geometry.is_valid),
    ):
        if bad.any():
            rows = [int(i) for i in bad.to_numpy().nonzero()[0]]
            reason = is_valid_reason(frame.geometry.iloc[rows[0]]) if problem == "invalid geometry" else problem
            shown = ", ".join(str(row + 1) for row in rows[:10]) + (", ..." if len(rows) > 10 else "")
            raise InputError(
                path,
                f"{problem} in feature {shown} ({len(rows)} of {len(frame)}; {reason})",
                expected=f"{what} as valid polygons",
                do="repair it, for example with QGIS 'Fix geometries'",
            )
    return frame if crs is None else reprojected(frame, crs, path)


def reprojected(frame: gpd.GeoDataFrame, crs: Any, path: Path) -> gpd.GeoDataFrame:
    """Return a user's features in another CRS.

    Args:
        frame: features, of which some may have no geometry.
        crs: the other CRS.
        path: the file that they are from.

    Raises:
        InputError: a feature has no place there, as a point at 93 degrees north, which PROJ puts at infinity without a word.
    """
    import numpy as np

    placed = frame.to_crs(crs)
    drawn = frame.geometry.notna() & ~frame.geometry.is_empty
    if (lost := np.flatnonzero(drawn & ~np.isfinite(placed.bounds).all(axis=1))).size:
        west, south, east, north = frame.geometry.iloc[lost[0]].bounds
        raise InputError(
            path,
            f"feature {lost[0] + 1} ({lost.size} of {len(frame)}) has no place on Earth in {frame.crs.name}: "
            f"x {west:g} to {east:g}, y {south:g} to {north:g}",
            expected="x is east (longitude), y is north (latitude)",
            do="change the two if they are swapped, or assign the CRS that it was drawn in",
        )
    return placed


def utm_zone(features: gpd.GeoDataFrame, path: Path) -> CRS:
    """Return the UTM zone of the middle of a user's features; those in degrees may lie on both sides of the antimeridian.

    Args:
        features: at least one, with geometries.
        path: the file that they are from.

    Raises:
        InputError: the middle lies in no zone.
    """
    from geopandas import GeoSeries
    from shapely import Point

    from rts_pipeline.antimeridian import bounds_of

    places = features.geometry
    if features.crs.is_geographic:
        west, south, east, north = bounds_of(features.geometry.to_numpy())
        middle = (west + east + 360 * (west > east)) / 2
        places = GeoSeries([Point(middle - 360 * (middle > 180), (south + north) / 2)], crs=features.crs)
    try:
        return places.estimate_utm_crs()
    except RuntimeError as error:
        raise InputError(path, str(error), expected="x is east (longitude), y is north (latitude)") from None


def read_vector(path: Path, what: str) -> gpd.GeoDataFrame:
    """Read a user's vector file that must exist, hold features and declare its CRS.

    Raises:
        InputError: missing, unreadable, empty or without CRS.
    """
    import geopandas as gpd

    if not path.exists():
        raise InputError(path, "no such file", expected=f"{what} as a vector file", do="correct the path")
    with reading(path, f"{what} as a vector file"):
        frame = gpd.read_parquet(path) if path.suffix == ".parquet" else gpd.read_file(path)
    if len(frame) == 0:
        raise InputError(path, "holds no feature", expected=f"at least one feature as {what}")
    if not isinstance(frame, gpd.GeoDataFrame):
        raise InputError(path, "has no geometry", expected=f"{what} with geometries")
    if frame.crs is None:
        raise InputError(path, "declares no CRS", expected=f"{what} with a CRS", do="assign it (QGIS: 'Assign projection')")
    return frame


@contextmanager
def reading(path: Path, expected: str) -> Iterator[None]:
    """Tell in one line, as InputError, why a user's vector file can't be read: no format, no layer, a ring that doesn't close.

    Args:
        path: the file.
        expected: what it should be, for the message.
    """
    from shapely import GEOSException

    try:
        yield
    except IndexError:  # of pyogrio, which takes the first layer unasked
        raise InputError(path, "holds no layer", expected=expected) from None
    except (RuntimeError, ValueError, OSError, GEOSException) as error:  # all of pyogrio's own are RuntimeErrors
        raise InputError(path, f"can't be read ({error})", expected=expected) from None
