"""What several people drew, each on their own: reading their files, and every way in which these can be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.inventory.shape import only_polygons
from rts_pipeline.io.vectors import read_outlines
from rts_pipeline.lineage import united

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Geometries = NDArray[np.object_]

GRID_M = 0.001
"""Vertices lie on a grid of this size: outlines that came in different CRS share edges instead of slivers."""
REVIEWER = "reviewer"
"""Column that names the people in the file of areas that were looked at, where no other is given."""


@dataclass(frozen=True)
class Drawings:
    """The outlines of all people in one local equal-area CRS, in an order that the order of the files doesn't change.

    Attributes:
        reviewers: names, sorted; those too who looked and drew nothing.
        outlines: valid polygons on a grid of GRID_M, shape (n,).
        person: position in `reviewers` of each outline's author, shape (n,).
        feature: number of each outline's row in its file, from 1, shape (n,).
        crs: the equal-area CRS, in metres, centred on the outlines.
        written_crs: CRS that all files share, else `crs`.
        looked: where each person looked, shape (reviewers,); None: nobody said, so everybody looked everywhere.
        left_out: reviewer, feature and area_m2 of the outlines that were too small.
    """

    reviewers: tuple[str, ...]
    outlines: Geometries
    person: NDArray[np.intp]
    feature: NDArray[np.intp]
    crs: Any
    written_crs: Any
    looked: Geometries | None
    left_out: list[dict[str, Any]]


def read_drawings(files: Sequence[Path], *, column: str | None, looked: Path | None, min_area_m2: float) -> Drawings:
    """Read the outlines of all people.

    Args:
        files: vector files, each of one person, named by the file's stem, or of several with a `column`.
        column: column that names each outline's author.
        looked: polygons of where people looked, with the column (default "reviewer") of who did, or without: all did.
        min_area_m2: outlines below this are left out.

    Raises:
        InputError: a file can't be used, a person comes twice or has the outlines of another, an author isn't named.
        UsageError: fewer than two people, or nothing left.
    """
    frames = [_named(path, column) for path in files]
    _check_names(files, frames)
    drawn = sorted({name for frame in frames for name in frame["name"]})
    crs, shared = _local_crs(files, frames), {frame.crs for frame in frames}
    areas = _looked(looked, column or REVIEWER, drawn, crs) if looked else {}
    reviewers = tuple(sorted({*drawn, *areas}))
    if len(reviewers) < 2:
        raise UsageError(
            str(files[0]), f"only one reviewer ({reviewers[0]})", expected="two or more", do="give a file for each, or --column"
        )
    rows = pd.concat([_placed(frame, crs) for frame in frames], ignore_index=True)
    rows = rows.sort_values(["name", "wkb", "feature"], ignore_index=True)
    _check_copies(rows)
    small = rows["area_m2"].to_numpy() < min_area_m2
    if small.all():
        raise UsageError("--min-area", f"all {len(rows)} outlines are smaller than {min_area_m2:g} m2", do="lower it")
    kept = rows[~small]
    return Drawings(
        reviewers,
        kept["outline"].to_numpy(),
        np.searchsorted(reviewers, kept["name"]),
        kept["feature"].to_numpy(),
        crs,
        shared.pop() if len(shared) == 1 else crs,
        np.array([areas[name] for name in reviewers], dtype=object) if areas else None,
        _left_out(rows[small]),
    )


def _left_out(rows: pd.DataFrame) -> list[dict[str, Any]]:
    rows = rows.sort_values(["name", "feature"])
    return [
        {"reviewer": name, "feature": int(feature), "area_m2": round(float(area_m2), 1)}
        for name, feature, area_m2 in zip(rows["name"], rows["feature"], rows["area_m2"], strict=True)
    ]


def _named(path: Path, column: str | None) -> gpd.GeoDataFrame:
    """Return the file's outlines with `name` and `feature`."""
    frame = read_outlines(path, "a reviewer's outlines")
    names = [path.stem] * len(frame) if column is None else _column(path, frame, column)
    columns = {"name": names, "feature": range(1, len(frame) + 1)}
    return gpd.GeoDataFrame(columns, geometry=frame.geometry.to_numpy(), crs=frame.crs)


def _column(path: Path, frame: gpd.GeoDataFrame, column: str) -> list[str]:
    if column not in frame:
        others = ", ".join(str(name) for name in frame.columns if name != frame.geometry.name) or "none"
        raise InputError(path, f"has no column '{column}' (has {others})", expected="the column that names the reviewer")
    names = frame[column].astype(object).where(frame[column].notna(), "").astype(str).str.strip()
    if (names == "").any():
        row = int((names == "").to_numpy().nonzero()[0][0]) + 1
        raise InputError(path, f"feature {row} has no {column}", expected="the name of who drew it")
    return list(names)


def _check_names(files: Sequence[Path], frames: Sequence[gpd.GeoDataFrame]) -> None:
    """Refuse a person who comes in two files, or under two spellings, and would count as two or lose one of them."""
    known: dict[str, tuple[str, int]] = {}
    for number, (path, frame) in enumerate(zip(files, frames, strict=True)):
        for name in sorted(set(frame["name"])):
            other, before = known.setdefault(name.casefold(), (name, number))
            if before != number:
                problem = f"reviewer '{name}' has outlines in {files[before]} already"
                raise InputError(path, problem, expected="each reviewer in one file", do="unite the files or rename one")
            if other != name:
                raise InputError(path, f"reviewers '{other}' and '{name}' differ in case alone", do="spell them alike")


def _check_copies(rows: pd.DataFrame) -> None:
    """Refuse people whose outlines are those of another, all of them: a copy of a file is no second opinion."""
    owners: dict[tuple[bytes, ...], str] = {}
    for name, drawn in rows.groupby("name")["wkb"]:
        other = owners.setdefault(tuple(drawn), str(name))
        if other != name:
            raise InputError(str(name), f"has exactly the outlines of {other}", do="leave one of the two out")


def _local_crs(files: Sequence[Path], frames: Sequence[gpd.GeoDataFrame]) -> Any:
    """Return Lambert's azimuthal equal-area projection around the middle of all outlines."""
    places = []
    for path, frame in sorted(zip(files, frames, strict=True), key=lambda pair: (sorted(set(pair[1]["name"])), str(pair[0]))):
        corners = shapely.get_coordinates(frame.geometry.to_crs("EPSG:4326").to_numpy())
        # Infinite and missing values fail this too.
        if not (np.abs(corners[:, 1]) <= 90).all():
            problem = f"has outlines with no place on Earth in {frame.crs.name}"
            raise InputError(path, problem, expected="the CRS that it was drawn in")
        places.append(np.radians(corners))
    longitude, latitude = np.concatenate(places).T
    # A mean of directions: one of longitudes fails at the 180th meridian.
    x, y, z = np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)
    middle = np.degrees([np.arctan2(z.mean(), np.hypot(x.mean(), y.mean())), np.arctan2(y.mean(), x.mean())])
    latitude_0, longitude_0 = np.round(middle, 2)
    return gpd.GeoSeries([], crs=f"+proj=laea +lat_0={latitude_0:g} +lon_0={longitude_0:g} +datum=WGS84 +units=m").crs


def _placed(frame: gpd.GeoDataFrame, crs: Any) -> pd.DataFrame:
    """Return name, feature, outline (in `crs`), its area, and its WKB by which rows are sorted."""
    outlines = shapely.normalize(_on_grid(frame.geometry, crs))
    columns = {"outline": outlines, "area_m2": shapely.area(outlines), "wkb": shapely.to_wkb(outlines)}
    return pd.DataFrame({"name": frame["name"], "feature": frame["feature"], **columns})


def _on_grid(geometries: gpd.GeoSeries, crs: Any) -> Geometries:
    return shapely.set_precision(only_polygons(geometries.to_crs(crs).to_numpy()), GRID_M)


def _looked(path: Path, column: str, drawn: Sequence[str], crs: Any) -> dict[str, shapely.Geometry]:
    """Return where each person looked."""
    frame = read_outlines(path, "areas that were looked at")
    shapes = _on_grid(frame.geometry, crs)
    if column not in frame:
        return dict.fromkeys(drawn, shapely.union_all(shapes))
    who = _column(path, frame, column)
    if absent := sorted(set(drawn) - set(who)):
        raise InputError(
            path, f"doesn't say where {', '.join(absent)} looked", expected=f"a polygon for each reviewer in column {column}"
        )
    names = sorted(set(who))
    return dict(zip(names, united(shapes, np.searchsorted(names, who), len(names)), strict=True))
