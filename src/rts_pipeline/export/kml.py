"""The inventory as KML 2.2, for Google Earth: outlines that leave the ground visible, with all attributes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as Xml

import geopandas as gpd
import numpy as np
import shapely

from rts_pipeline.export.tables import geographic
from rts_pipeline.io.files import atomic

NAMESPACE = "http://www.opengis.net/kml/2.2"
COLOUR = "ff00a5ff"
"""Alpha, blue, green, red: orange, which shows on bare and on green ground."""
TYPES = {"i": "int", "f": "double", "b": "bool"}
"""KML's names for the kinds of numpy's types; all others are texts."""


def write_kml(path: Path, frame: gpd.GeoDataFrame, title: str) -> None:
    """Write a placemark an outline, named by rts_id; null attributes are left out.

    GDAL's own writer rounds numbers to 15 digits, fills the outlines, and its file can't be read when a note holds "]]>".

    Args:
        path: the file.
        frame: outlines in any CRS.
        title: name of the document.
    """
    places = geographic(frame)
    attributes = places.drop(columns=places.geometry.name)
    root = Xml.Element("kml", xmlns=NAMESPACE)
    document = Xml.SubElement(root, "Document", id="root")
    _text(document, "name", title)
    style = Xml.SubElement(document, "Style", id="outline")
    line = Xml.SubElement(style, "LineStyle")
    _text(line, "color", COLOUR)
    _text(line, "width", "2")
    _text(Xml.SubElement(style, "PolyStyle"), "fill", "0")
    schema = Xml.SubElement(document, "Schema", name=path.stem, id="schema")
    for name, dtype in attributes.dtypes.items():
        Xml.SubElement(schema, "SimpleField", name=str(name), type=TYPES.get(getattr(dtype, "kind", ""), "string"))
    rows = attributes.astype(object).where(attributes.notna(), None).to_dict("records")
    for row, outline in zip(rows, places.geometry, strict=True):
        placemark = Xml.SubElement(document, "Placemark")
        _text(placemark, "name", f"RTS {row['rts_id']}")
        _text(placemark, "styleUrl", "#outline")
        data = Xml.SubElement(Xml.SubElement(placemark, "ExtendedData"), "SchemaData", schemaUrl="#schema")
        for name, value in row.items():
            if value is not None:
                _text(data, "SimpleData", _written(value)).set("name", str(name))
        parts = Xml.SubElement(placemark, "MultiGeometry")
        for polygon in shapely.get_parts(outline):
            parts.append(_polygon(polygon))
    Xml.indent(root, " ")
    with atomic(path) as temporary:
        Xml.ElementTree(root).write(temporary, encoding="utf-8", xml_declaration=True)


def _written(value: object) -> str:
    # GDAL before 3.7 reads "true" as 0
    return str(int(value)) if isinstance(value, bool | np.bool_) else str(value)


def _text(parent: Xml.Element, tag: str, text: str) -> Xml.Element:
    element = Xml.SubElement(parent, tag)
    element.text = text
    return element


def _polygon(polygon: shapely.Polygon) -> Xml.Element:
    element = Xml.Element("Polygon")
    for side, ring in _rings(polygon):
        boundary = Xml.SubElement(Xml.SubElement(element, side), "LinearRing")
        _text(boundary, "coordinates", " ".join(f"{x},{y}" for x, y in ring.coords))
    return element


def _rings(polygon: shapely.Polygon) -> Iterator[tuple[str, shapely.LinearRing]]:
    yield "outerBoundaryIs", polygon.exterior
    for hole in polygon.interiors:
        yield "innerBoundaryIs", hole
