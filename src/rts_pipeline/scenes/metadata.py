"""The metadata beside an item: the GeoJSON feature and the older XML, under the feature's names."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from rts_pipeline import io
from rts_pipeline.errors import InputError

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
        InputError: missing, not JSON, or not a feature.
    """
    feature = io.read_json(path)
    if not isinstance(feature, dict) or feature.get("type") != "Feature" or not isinstance(feature.get("properties"), dict):
        raise InputError(path, "not a GeoJSON feature", expected="the metadata of one item", do="deliver it again")
    return feature


def read_xml(path: Path) -> dict[str, Any]:
    """Read the properties that the XML shares with the GeoJSON feature (`XML_NAMES`, and instrument).

    Raises:
        InputError: missing or not XML.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise InputError(path, f"not valid XML ({error})", do="deliver it again") from None
    values: dict[str, Any] = {}
    for element in root.iter():
        tag = element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
        text = (element.text or "").strip()
        if tag == "Instrument":
            values["instrument"] = next((e.text for e in element if e.tag.endswith("}shortName")), None)
        elif tag in XML_NAMES and text:
            name = XML_NAMES[tag]
            values[name] = text if name in ("acquired", "satellite_id") else _number(text)
    return {name: value for name, value in values.items() if value is not None}


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
    except ValueError:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def acquired_of(item_id: str, *told: object) -> str | None:
    """Return the first valid time of those told, else the one that the id begins with (to the second)."""
    for text in told:
        if moment := utc(text):
            return moment
    match = re.match(r"^(\d{8})_(\d{6})_", item_id)
    return utc(f"{match[1]}T{match[2]}Z") if match else None
