"""The metadata beside an item: the GeoJSON feature and the older XML, under the feature's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from rts_pipeline.errors import InputError
from rts_pipeline.io.json import canonical_json
from rts_pipeline.scenes import delivered

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

XML_NAMES = {
    "acquisitionDateTime": "acquired",
    "serialIdentifier": "satellite_id",
    "illuminationAzimuthAngle": "sun_azimuth",
    "illuminationElevationAngle": "sun_elevation",
    "spaceCraftViewAngle": "view_angle",
}
"""Elements of the XML (without namespace) and the GeoJSON property that says the same."""


def read_feature(path: Path) -> dict[str, Any]:
    """Read `<id>_metadata.json`: a GeoJSON feature with a dict of properties.

    Raises:
        InputError: missing, not JSON (or with NaN, or half a character), or not a feature.
    """
    feature = delivered.read_json(path)
    try:
        canonical_json(feature).encode()
    except ValueError as error:
        raise InputError(path, f"not valid JSON ({error})", do="deliver it again") from None
    if not isinstance(feature, dict) or feature.get("type") != "Feature" or not isinstance(feature.get("properties"), dict):
        raise InputError(path, "not a GeoJSON feature", expected="the metadata of one item", do="deliver it again")
    return feature


def footprint(path: Path | None) -> BaseGeometry | None:
    """Return the footprint (WGS84) of the whole scene that the GeoJSON feature gives, or None.

    Raises:
        InputError: the feature can't be read.
    """
    import shapely
    from shapely.geometry import shape

    geometry = read_feature(path).get("geometry") if path else None
    try:
        place = shapely.make_valid(shape(geometry)) if geometry else None
    except (shapely.errors.ShapelyError, ValueError, TypeError, LookupError, AttributeError):
        return None
    return place if place is not None and place.area > 0 else None


def read_xml(path: Path) -> dict[str, Any]:
    """Read the properties that the XML shares with the GeoJSON feature (`XML_NAMES`, and instrument).

    Raises:
        InputError: missing or not XML.
    """
    values: dict[str, Any] = {}
    for element in _root(path).iter():
        tag, text = _tag(element), _text(element)
        if tag == "Instrument":
            values["instrument"] = next((e.text for e in element if e.tag.endswith("}shortName")), None)
        elif tag in XML_NAMES and text:
            name = XML_NAMES[tag]
            values[name] = text if name in ("acquired", "satellite_id") else _number(text)
    return {name: value for name, value in values.items() if value is not None}


def band_coefficients(path: Path) -> dict[int, float]:
    """Read each band's `reflectanceCoefficient` from the XML, by the band's number in the raster that it describes.

    Bands without a positive finite coefficient are left out.

    Raises:
        InputError: missing or not XML.
    """
    found: dict[int, float] = {}
    for element in _root(path).iter():
        if _tag(element) != "bandSpecificMetadata":
            continue
        told = {_tag(child): _number(_text(child)) for child in element}
        band, coefficient = told.get("bandNumber"), told.get("reflectanceCoefficient")
        if band is not None and band.is_integer() and coefficient is not None and isfinite(coefficient) and coefficient > 0:
            found[int(band)] = coefficient
    return found


def reflectance_coefficients(path: Path, bands: Mapping[str, int]) -> dict[str, float]:
    """Return the factors that turn at-sensor radiance, as delivered, into top-of-atmosphere reflectance (0-1).

    Source: Planet's XML, "multiply by reflectanceCoefficient to convert DNs to TOA Reflectance".

    Args:
        path: the XML of the radiance; one of the 8-band product numbers other bands than one of the 4-band product.
        bands: our bands and their numbers in the raster.

    Raises:
        InputError: missing, not XML, or without the coefficient of a band.
    """
    found = band_coefficients(path)
    if lacking := [band for band, number in bands.items() if number not in found]:
        raise InputError(
            path,
            f"gives no reflectanceCoefficient for {', '.join(lacking)}",
            expected="one for each band of the radiance",
            do="deliver it again, or list the item under scenes.exclude",
        )
    return {band: found[number] for band, number in bands.items()}


def _root(path: Path) -> ElementTree.Element:
    with delivered.stream(path) as file:
        data = file.read()
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise InputError(path, f"not valid XML ({error})", do="deliver it again") from None


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _text(element: ElementTree.Element) -> str:
    return (element.text or "").strip()


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def utc(text: object) -> str | None:
    """Return an acquisition time (ISO 8601 with 0 to 9 decimals) as "2019-08-01T04:10:00.123456Z", or None if it isn't one."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def acquired_of(item_id: str, *told: object) -> str | None:
    """Return the first valid time of those told, else what the id says: the second, or of a PSOrthoTile the day (at 00:00)."""
    for text in told:
        if moment := utc(text):
            return moment
    if match := re.match(r"^(\d{8})_(\d{6})_", item_id):
        return utc(f"{match[1]}T{match[2]}Z")
    match = re.match(r"^\d+_\d+_(\d{4}-\d{2}-\d{2})_", item_id)
    return utc(f"{match[1]}T00:00:00Z") if match else None
