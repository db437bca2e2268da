"""Checks of a file against the ARTS data standard: every kind of defect, with the number of features that have it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from uuid import UUID

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from rts_pipeline.errors import InputError
from rts_pipeline.export.arts import CRS, RELATIONS, REQUIRED, TRAIN_CLASSES
from rts_pipeline.export.tables import WGS84
from rts_pipeline.inventory.identity import arts_uid
from rts_pipeline.inventory.shape import geodesic_area_perimeter, only_polygons
from rts_pipeline.io.vectors import reading

GENERATED = (*RELATIONS, "ContributionDate", "UID")
NUMBERS = {"CentroidLat": 90.0, "CentroidLon": 180.0, "BaseMapResolution": np.inf, "Area": np.inf}
"""Fields that hold numbers, and the largest absolute value."""
OPTIONAL = ("BaseMapID", "Area", "Notes")
CENTROID_DECIMALS = 5
FAR_M = 100.0
"""A centroid farther than this from its outline belongs to another place."""
AREA_TOLERANCE = 0.01
MIN_SHARED_M2 = 1.0
"""Smaller overlaps of outlines are taken for a common edge."""
POLYGONS = ("Polygon", "MultiPolygon")
CREATOR = re.compile(r"[^,;]+, [^;]+(; [^,;]+, [^;]+)*")
DAY = re.compile(r"\d{4}-\d\d-\d\d")
SHOWN = 3
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Finding:
    """A kind of defect, or something to know.

    Attributes:
        field: name of the column, or geometry.
        problem: what is wrong.
        features: positions of the features concerned, from 0.
        expected: what the standard asks for.
        defect: whether it breaks the standard.
    """

    field: str
    problem: str
    features: NDArray[np.intp]
    expected: str
    defect: bool = True

    def line(self, total: int) -> str:
        """Say it in one line."""
        shown = ", ".join(str(number + 1) for number in self.features[:SHOWN])
        more = ", ..." if len(self.features) > SHOWN else ""
        sign = "defect" if self.defect else "note"
        count = f"{len(self.features)} of {total} features ({shown}{more})"
        return f"{sign}: {self.field}: {self.problem} in {count}; expected {self.expected}"


def check(file: Path, schema: str) -> None:
    """Print what is found, a line each.

    Args:
        file: any vector format that GDAL reads.
        schema: "arts".

    Raises:
        InputError: unreadable, or there is a defect.
    """
    features = _read(file)
    findings = CHECKS[schema](features)
    for finding in findings:
        print(finding.line(len(features)))
    kinds = sum(finding.defect for finding in findings)
    if kinds:
        raise InputError(file, f"not valid {schema.upper()}: {kinds} kinds of defects", do="they are listed above")
    print(f"{file}: valid {schema.upper()}, {len(features)} features")


def _read(file: Path) -> gpd.GeoDataFrame:
    import pyogrio

    if not file.exists():
        raise InputError(file, "no such file", expected="a vector file")
    with reading(file, "a vector file"):
        features = pyogrio.read_dataframe(file, datetime_as_string=True)
    if not isinstance(features, gpd.GeoDataFrame):
        raise InputError(file, "has no geometry", expected="outlines")
    return features


def check_arts(features: gpd.GeoDataFrame) -> list[Finding]:
    """Return what a file of the ARTS data standard has wrong, and what is to be known of it.

    Args:
        features: as read, dates as texts.
    """
    checks = (_columns, _texts, _numbers, _dates, _uids, _relations, _geometry, _places, _areas, _overlaps)
    return [finding for one in checks for finding in one(features) if len(finding.features)]


CHECKS: dict[str, Callable[[gpd.GeoDataFrame], list[Finding]]] = {"arts": check_arts}


def _found(flags: Flags | pd.Series, *said: str, defect: bool = True) -> Finding:
    field, problem, expected = said
    return Finding(field, problem, np.flatnonzero(np.asarray(flags, dtype=bool)), expected, defect)


def _all(features: gpd.GeoDataFrame) -> Flags:
    return np.ones(len(features), dtype=bool)


def _columns(features: gpd.GeoDataFrame) -> Iterator[Finding]:
    for name in (*REQUIRED, *GENERATED):
        if name not in features:
            yield _found(_all(features), name, "column is missing", "the column")
    known = {*REQUIRED, *GENERATED, *OPTIONAL, features.geometry.name}
    for name in [str(column) for column in features.columns if column not in known]:
        yield _found(_all(features), name, "column that the standard doesn't know", "columns of the standard", defect=False)


def _texts(features: gpd.GeoDataFrame) -> Iterator[Finding]:
    for name in (name for name in REQUIRED if name in features and name not in NUMBERS):
        if pd.api.types.is_numeric_dtype(features[name]):
            yield _found(features[name].notna(), name, "number", "a text")
        texts = features[name].fillna("").astype(str).str.strip()
        yield _found(texts == "", name, "empty", "a text")
    if "CreatorLab" in features:
        texts = features["CreatorLab"].fillna("").astype(str)
        bad = (texts != "") & ~texts.map(lambda text: CREATOR.fullmatch(text) is not None).astype(bool)
        yield _found(bad, "CreatorLab", "not a maker", "'Initials+Surname, Organisation', several joined by '; '")
    if "TrainClass" in features:
        bad = features["TrainClass"].notna() & ~features["TrainClass"].isin(TRAIN_CLASSES)
        yield _found(bad, "TrainClass", "unknown class", " or ".join(TRAIN_CLASSES))


def _numbers(features: gpd.GeoDataFrame) -> Iterator[Finding]:
    for name, largest in NUMBERS.items():
        if name not in features:
            continue
        if not pd.api.types.is_numeric_dtype(features[name]):
            yield _found(features[name].notna(), name, "text", "a number")
        values = number(features, name)
        if name in REQUIRED:
            yield _found(values.isna(), name, "empty, or no number", "a number")
        lowest = -largest if name.startswith("Centroid") else np.nextafter(0, 1)
        bad = values.notna() & ~values.between(lowest, largest)
        yield _found(bad, name, "out of range", f"{lowest:g} to {largest:g}" if lowest < 0 else "a number above 0")
        if name.startswith("Centroid"):
            fine = np.isclose(values, values.round(CENTROID_DECIMALS), rtol=0, atol=1e-9) | values.isna()
            yield _found(~fine, name, f"more than {CENTROID_DECIMALS} decimals", f"{CENTROID_DECIMALS} decimals")


def number(features: gpd.GeoDataFrame, name: str) -> pd.Series:
    """Return a column as numbers, nan where it holds none."""
    return pd.to_numeric(features[name], errors="coerce").astype(float)


def _is_day(text: str) -> bool:
    if not DAY.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _dates(features: gpd.GeoDataFrame) -> Iterator[Finding]:
    if "BaseMapDate" in features:
        days = [text.split(",") for text in features["BaseMapDate"].fillna("").astype(str)]
        there = np.array([pair != [""] for pair in days], dtype=bool)
        good = np.array([all(map(_is_day, pair)) for pair in days], dtype=bool)
        expected = "YYYY-MM-DD,YYYY-MM-DD"
        yield _found(there & ~good, "BaseMapDate", "no dates", expected)
        single = np.array([len(pair) == 1 for pair in days], dtype=bool)
        yield _found(good & single, "BaseMapDate", "one date, on which readers of the standard fail", expected)
        turned = np.array([len(pair) > 2 or pair != sorted(pair) for pair in days], dtype=bool)
        yield _found(good & turned, "BaseMapDate", "not a first and a last date", expected)
    if "ContributionDate" in features:
        bad = ~features["ContributionDate"].fillna("").astype(str).map(_is_day).astype(bool)
        yield _found(bad, "ContributionDate", "no date", "YYYY-MM-DD")


def _uids(features: gpd.GeoDataFrame) -> Iterator[Finding]:
    if "UID" not in features:
        return
    uids = features["UID"].fillna("").astype(str)
    wrong = ~uids.map(_is_uid).astype(bool)
    yield _found(wrong, "UID", "not a UUID of version 5", "36 characters")
    again = uids.duplicated(keep=False) & ~wrong
    if "BaseMapDate" in features:
        same = pd.DataFrame({"uid": uids, "date": features["BaseMapDate"]}).duplicated(keep=False) & again
        yield _found(same, "UID", "the same twice for one date", "a UID of its own for each slump")
        yield _found(again & ~same, "UID", "repeated observation of a slump", "the first one's UID", defect=False)
    if not set(REQUIRED) <= set(features.columns):
        return
    follows = np.array([_follows(row) for row in features[[*REQUIRED, "UID"]].itertuples(index=False)], dtype=bool)
    owned = uids.isin(set(uids[follows]))
    expected = "the UUID of its fields, or that of the landform's first outline, in another file"
    yield _found(~follows & ~owned & ~wrong, "UID", "doesn't follow from the row", expected, defect=False)


def _is_uid(text: str) -> bool:
    try:
        return len(text) == 36 and UUID(text).version == 5
    except ValueError:
        return False


def _follows(row: tuple[object, ...]) -> bool:
    """Tell whether the UID is that of the row's required fields."""
    latitude, longitude, region, creator, dates, source, resolution, train_class, label_type, uid = row
    try:
        place = float(str(latitude)), float(str(longitude))
        pixel = float(str(resolution))
    except ValueError:
        return False
    return uid == arts_uid(
        *place,
        str(region),
        str(creator),
        str(dates),
        pixel,
        base_map_source=str(source),
        train_class=str(train_class),
        label_type=str(label_type),
    )


def _relations(features: gpd.GeoDataFrame) -> Iterator[Finding]:
    known = set(features["UID"].astype(str)) if "UID" in features else set()
    for name in (name for name in RELATIONS if name in features):
        yield _found(features[name].isna(), name, "null", "an empty text where there is none")
        lists = [text.split(",") if text else [] for text in features[name].fillna("").astype(str)]
        bad = np.array([not all(map(_is_uid, uids)) for uids in lists], dtype=bool)
        yield _found(bad, name, "not UIDs", "UIDs joined by ',' without spaces")
        away = np.array([any(uid not in known for uid in uids) for uids in lists], dtype=bool)
        expected = "UIDs of this file or of the ARTS data set"
        yield _found(away & ~bad, name, "UID of no feature of this file", expected, defect=False)


def _geometry(features: gpd.GeoDataFrame) -> Iterator[Finding]:
    outlines = features.geometry
    if features.crs is None or not features.crs.equals(CRS):
        named = "none" if features.crs is None else features.crs.name
        yield _found(_all(features), "geometry", f"CRS is {named}", CRS)
    gone = outlines.isna() | outlines.is_empty
    yield _found(gone, "geometry", "missing or empty", "an outline")
    yield _found(~gone & ~outlines.geom_type.isin(POLYGONS), "geometry", "no outline", " or ".join(POLYGONS))
    yield _found(outlines.has_z, "geometry", "third coordinate", "two coordinates")
    yield _found(~gone & ~outlines.is_valid, "geometry", "invalid", "valid outlines (simple features)")
    if features.crs is not None:
        lost = ~gone & ~np.isfinite(outlines.to_crs(CRS).bounds).all(axis=1)
        yield _found(lost, "geometry", f"no place in {CRS}", "x is east (longitude), y is north (latitude)")


def _measurable(features: gpd.GeoDataFrame) -> gpd.GeoSeries:
    """Return the outlines that can be measured, repaired where they must be, in CRS."""
    outlines = features.geometry
    kept = outlines[outlines.geom_type.isin(POLYGONS) & ~outlines.is_empty]
    if features.crs is None or not len(kept):
        return gpd.GeoSeries([], index=kept.index[:0], crs=CRS)
    placed = kept.to_crs(CRS)
    placed = placed[np.isfinite(placed.bounds).all(axis=1)]
    return gpd.GeoSeries(only_polygons(placed.to_numpy()), index=placed.index, crs=CRS)


def _places(features: gpd.GeoDataFrame) -> Iterator[Finding]:
    if {"CentroidLat", "CentroidLon"} <= set(features.columns):
        latitude, longitude = number(features, "CentroidLat"), number(features, "CentroidLon")
        sound = latitude.between(-90, 90) & longitude.between(-180, 180)
        outlines = _measurable(features[sound])
        points = gpd.points_from_xy(longitude[outlines.index], latitude[outlines.index], crs=WGS84)
        far = pd.Series(False, index=features.index)
        far[outlines.index] = gpd.GeoSeries(points, index=outlines.index).to_crs(CRS).distance(outlines) > FAR_M
        yield _found(far, "CentroidLat, CentroidLon", f"more than {FAR_M:.0f} m from the outline", "a point of it")


def _areas(features: gpd.GeoDataFrame) -> Iterator[Finding]:
    outlines = _measurable(features)
    if len(outlines) and "Area" in features:
        told, measured = number(features, "Area")[outlines.index], geodesic_area_perimeter(outlines)[0]
        off = pd.Series(False, index=features.index)
        off[outlines.index] = (told.notna() & ((told / measured - 1).abs() > AREA_TOLERANCE)).to_numpy()
        yield _found(off, "Area", f"off by more than {AREA_TOLERANCE:.0%}".replace("%", " %"), "the outline's area in m2")


def _overlaps(features: gpd.GeoDataFrame) -> Iterator[Finding]:
    """Name outlines that share ground with one of another UID, and neither says how they are related."""
    outlines = _measurable(features)
    if not len(outlines) or "UID" not in features:
        return
    shapes, rows = outlines.to_numpy(), features.loc[outlines.index]
    left, right = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    left, right = left[left < right], right[left < right]
    shared = shapely.area(shapely.intersection(shapes[left], shapes[right])) > MIN_SHARED_M2
    uids = rows["UID"].fillna("").astype(str).to_numpy()
    names = [name for name in RELATIONS if name in rows]
    told = rows[names].fillna("").astype(str).agg(",".join, axis=1).to_numpy() if names else np.full(len(rows), "")
    silent = [
        uids[a] != uids[b] and uids[b] not in told[a] and uids[a] not in told[b]
        for a, b in zip(left[shared], right[shared], strict=True)
    ]
    concerned = np.unique(np.concatenate([left[shared][silent], right[shared][silent]]))
    flags = pd.Series(False, index=features.index)
    flags[rows.index[concerned]] = True
    yield _found(flags, "geometry", "overlaps another slump", f"its UID in one of {', '.join(RELATIONS)}")
