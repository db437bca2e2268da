"""A QGIS project as a file, written without QGIS: what QGIS 3.22 and later read of it, and nothing else.

The elements are those of QGIS's own project files (`QgsProject::write`, `QgsMapLayer::writeLayerXml` and what they call).
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from rts_pipeline.errors import InputError
from rts_pipeline.imagery import GREY

VERSION = "3.22.16-Białowieża"
"""Of the oldest QGIS that the project is for: later ones read it, and say nothing."""
MIN_ID = 11
"""QGIS 3.22 replaces a layer's id that is shorter, so that themes would lose it."""


@dataclass(frozen=True)
class Layer:
    """A layer of a project.

    Attributes:
        id: of at least MIN_ID characters.
        name: shown.
        source: path relative to the project, for a table of a GeoPackage with "|layername=".
        kind: "vector" or "raster".
        parts: elements of the layer: style, form, ...
        visible: when the project is opened.
        year: the layer shows this year only; None: it is no matter of time.
        attributes: of the element.
    """

    id: str
    name: str
    source: str
    kind: str
    parts: Sequence[ET.Element] = ()
    visible: bool = True
    year: int | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse an id that QGIS would replace."""
        if len(self.id) < MIN_ID:
            raise ValueError(f"layer id '{self.id}' has fewer than {MIN_ID} characters")


def element(tag: str, *children: ET.Element, text: str | None = None, **attributes: Any) -> ET.Element:
    """Return an element; an underscore at the end of an attribute's name is left out."""
    made = ET.Element(tag, {name.removesuffix("_"): str(value) for name, value in attributes.items()})
    made.text = text
    made.extend(children)
    return made


def options(values: Mapping[str, Any], name: str | None = None) -> ET.Element:
    """Return a map as QGIS's <Option>: texts, numbers, lists of maps, and maps."""
    made = element("Option", type="Map", **({} if name is None else {"name": name}))
    for key, value in values.items():
        if isinstance(value, Mapping):
            made.append(options(value, key))
        elif isinstance(value, list):
            made.append(element("Option", *[options(one) for one in value], type="List", name=key))
        else:
            kind = "bool" if isinstance(value, bool) else "QString"
            made.append(element("Option", type=kind, name=key, value=str(value).lower() if kind == "bool" else value))
    return made


def write_project(
    path: Path,
    title: str,
    crs: str,
    layers: Sequence[Layer],
    themes: Mapping[str, Sequence[str]],
    extent: tuple[float, float, float, float],
) -> None:
    """Write a project (.qgz).

    Args:
        path: file to write.
        title: of the window.
        crs: of the project and all layers, as an authority code or WKT.
        layers: the topmost first.
        themes: the ids of the layers that each shows.
        extent: west, south, east, north of what is shown first, in the CRS.

    Raises:
        InputError: a CRS that can't be understood.
    """
    years = sorted(layer.year for layer in layers if layer.year is not None)
    root = element("qgis", projectname=title, version=VERSION)
    root.append(element("title", text=title))
    root.append(element("projectCrs", _crs(crs)))
    tree = element("layer-tree-group")
    for layer in layers:
        checked = "Qt::Checked" if layer.visible else "Qt::Unchecked"
        provider = _provider(layer)
        tree.append(
            element(
                "layer-tree-layer",
                id=layer.id,
                name=layer.name,
                source=layer.source,
                providerKey=provider,
                checked=checked,
                expanded=int(layer.kind == "vector"),
            )
        )
    root.append(tree)
    root.append(
        element(
            "mapcanvas", element("units", text="meters"), _extent(extent), element("rotation", text="0"), name="theMapCanvas"
        )
    )
    root.append(element("projectlayers", *[_layer(layer, crs) for layer in layers]))
    root.append(element("layerorder", *[element("layer", id=layer.id) for layer in layers]))
    root.append(element("visibility-presets", *[_theme(name, shown) for name, shown in themes.items()]))
    if years:
        root.append(_time(years[0], years[-1]))
    root.append(element("ProjectViewSettings", _extent(extent, "DefaultViewExtent"), UseProjectScales=0))
    paths = element("Paths", element("Absolute", text="false", type="bool"))
    projected = element("SpatialRefSys", element("ProjectionsEnabled", text="1", type="int"))
    colours = [element(f"CanvasColor{part}Part", text=str(GREY), type="int") for part in ("Red", "Green", "Blue")]
    root.append(element("properties", paths, projected, element("Gui", *colours)))
    ET.indent(root, " ")
    text = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n" + ET.tostring(root, encoding="unicode")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{path.stem}.qgs", text)


def _provider(layer: Layer) -> str:
    return "ogr" if layer.kind == "vector" else "gdal"


def _layer(layer: Layer, crs: str) -> ET.Element:
    made = element("maplayer", type=layer.kind, **layer.attributes)
    made.append(element("id", text=layer.id))
    made.append(element("datasource", text=layer.source))
    made.append(element("layername", text=layer.name))
    made.append(element("provider", text=_provider(layer), **({"encoding": "UTF-8"} if layer.kind == "vector" else {})))
    made.append(element("srs", _crs(crs)))
    made.append(element("map-layer-style-manager", element("map-layer-style", name="default"), current="default"))
    if layer.year is not None:
        start, end = (element(tag, text=text) for tag, text in zip(("start", "end"), _year(layer.year), strict=True))
        made.append(element("temporal", element("fixedRange", start, end), enabled=1, mode=0, fetchMode=0))
    made.extend(layer.parts)
    return made


def _year(year: int) -> tuple[str, str]:
    return f"{year}-01-01T00:00:00Z", f"{year}-12-31T23:59:59Z"


def _time(first: int, last: int) -> ET.Element:
    start, end = element("start", text=_year(first)[0]), element("end", text=_year(last)[1])
    step: dict[str, Any] = {"timeStep": 1, "timeStepUnit": "y", "frameRate": 1, "cumulativeTemporalRange": 0}
    return element("ProjectTimeSettings", element("TemporalRange", start, end), **step)


def _theme(name: str, shown: Sequence[str]) -> ET.Element:
    layers = [element("layer", id=layer, visible=1, style="default", expanded=0) for layer in shown]
    said: dict[str, Any] = {"name": name, "has-expanded-info": 0, "has-checked-group-info": 0}
    return element("visibility-preset", *layers, **said)


def _extent(bounds: tuple[float, float, float, float], tag: str = "extent") -> ET.Element:
    names = ("xmin", "ymin", "xmax", "ymax")
    if tag == "extent":
        return element(tag, *[element(name, text=repr(float(value))) for name, value in zip(names, bounds, strict=True)])
    return element(tag, **{name: repr(float(value)) for name, value in zip(names, bounds, strict=True)})


def _crs(crs: str) -> ET.Element:
    import pyproj
    from pyproj.exceptions import CRSError

    try:
        known = pyproj.CRS.from_user_input(crs)
    except CRSError as error:
        raise InputError(f"CRS '{crs}'", f"can't be understood ({error})") from None
    authority = ":".join(known.to_authority() or ())
    made = element("spatialrefsys", element("wkt", text=known.to_wkt()), element("authid", text=authority))
    made.append(element("description", text=known.name))
    made.append(element("geographicflag", text="false"))
    return made
