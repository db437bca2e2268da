"""The STAC Item of a measured item: what was delivered and what was measured (pystac-valid; projection, eo and view)."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from os.path import relpath
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from pyproj import Transformer
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from rts_pipeline.antimeridian import bounds_of, cut
from rts_pipeline.scenes import metadata
from rts_pipeline.scenes.discover import ItemFiles

EXTENSIONS = [
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "https://stac-extensions.github.io/view/v1.0.0/schema.json",
]
DELIVERED = (
    *("item_type", "quality_category", "publishing_stage", "ground_control", "strip_id", "pixel_resolution"),
    *("clear_percent", "clear_confidence_percent", "visible_percent", "visible_confidence_percent", "cloud_percent"),
    *("snow_ice_percent", "shadow_percent", "light_haze_percent", "heavy_haze_percent", "anomalous_pixels"),
)
LARGEST = 1e9
"""Above what Planet's figures can be; a longer integer would not even be a float."""

GEOTIFF = "image/tiff; application=geotiff"
EDGE_M = 1000.0
"""Edges of a footprint are cut to this length before they are projected, so that they bend with the projection."""


def footprint(outline: BaseGeometry, crs: rasterio.crs.CRS) -> BaseGeometry:
    """Return an outline in WGS84, rounded to 0.01 m (1e-7 degrees), and cut at the antimeridian (RFC 7946, 3.1.9)."""
    import shapely

    to_wgs84: Any = Transformer.from_crs(crs.to_wkt(), "EPSG:4326", always_xy=True).transform
    placed = shapely.transform(shapely.segmentize(outline, EDGE_M), to_wgs84, interleaved=False)
    placed = cut(np.array([placed], dtype=object))[0]
    return shapely.make_valid(shapely.set_precision(shapely.make_valid(placed), 1e-7))


def stac_item(
    item_id: str,
    files: ItemFiles,
    dataset: rasterio.DatasetReader,
    outline: BaseGeometry,
    measured: Mapping[str, Any],
    folder: Path,
) -> dict[str, Any]:
    """Describe an item.

    Args:
        item_id: the item's id.
        files: what was delivered.
        dataset: the opened reflectance.
        outline: of the valid pixels, in the dataset's CRS; may be empty.
        measured: the `rts:` properties without "rts:mask".
        folder: where the item will lie; its hrefs are relative to it.
    """
    told = properties_of(files)
    place = footprint(outline, dataset.crs)
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": EXTENSIONS,
        "id": item_id,
        "geometry": None if place.is_empty else mapping(place),
        "properties": {
            "datetime": metadata.acquired_of(item_id, told.get("acquired")),
            "constellation": "planetscope",
            **_instrument(told),
            **_delivered(told),
            **_projection(dataset),
            **measured,
            "rts:mask": files.mask_kind,
        },
        "links": [],
        "assets": _assets(files, folder, measured, dataset.count),
    }
    if not place.is_empty:
        item["bbox"] = bounds_of(np.array([place], dtype=object))
    return item


def properties_of(files: ItemFiles) -> dict[str, Any]:
    """Return what the XML and, above it, the GeoJSON feature say."""
    told = metadata.read_xml(files.xml) if files.xml else {}
    return told | (metadata.read_feature(files.metadata)["properties"] if files.metadata else {})


def _instrument(told: Mapping[str, Any]) -> dict[str, Any]:
    """Rename Planet's properties to STAC's, leaving out what wasn't delivered."""
    # cloud_percent comes from the udm2; cloud_cover, a fraction, is the older and coarser estimate of the whole scene.
    cover, fraction, angle = (_number(told.get(name)) for name in ("cloud_percent", "cloud_cover", "view_angle"))
    if cover is None and fraction is not None:
        cover = round(100 * fraction, 2)
    named = {
        "platform": _text(told.get("satellite_id")),
        "instruments": [told["instrument"]] if _text(told.get("instrument")) else None,
        "gsd": _number(told.get("gsd")),
        "eo:cloud_cover": cover,
        "view:off_nadir": None if angle is None else abs(angle),
        "view:azimuth": _number(told.get("satellite_azimuth")),
        "view:sun_azimuth": _number(told.get("sun_azimuth")),
        "view:sun_elevation": _number(told.get("sun_elevation")),
    }
    return {name: value for name, value in named.items() if value is not None}


def _delivered(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Planet says of the whole scene, under the names of its own STAC items; what was measured is "rts:"."""
    said = {name: told.get(name) for name in DELIVERED}
    fits = {
        name: _number(value) is not None or (isinstance(value, str | bool) and not name.endswith("_percent"))
        for name, value in said.items()
    }
    return {f"pl:{name}": value for name, value in said.items() if fits[name]}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: object) -> float | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or abs(value) > LARGEST or not isfinite(value):
        return None
    return value


def _projection(dataset: rasterio.DatasetReader) -> dict[str, Any]:
    authority = dataset.crs.to_authority()
    named = {"proj:code": ":".join(authority)} if authority else {"proj:code": None, "proj:wkt2": dataset.crs.to_wkt()}
    return {**named, "proj:shape": list(dataset.shape), "proj:transform": list(dataset.transform)[:6]}


def _assets(files: ItemFiles, folder: Path, measured: Mapping[str, Any], n_bands: int) -> dict[str, Any]:
    ours = {number: band for band, number in measured["rts:bands"].items()}
    bands = [
        {"name": ours[number], "common_name": ours[number]} if number in ours else {"name": f"band {number}"}
        for number in range(1, n_bands + 1)
    ]
    assets: dict[str, Any] = {
        "reflectance": {
            "href": _href(files.reflectance, folder),
            "type": GEOTIFF,
            "roles": ["data", "reflectance"],
            "title": f"{measured['rts:reflectance']} reflectance x 10,000 when multiplied by rts:gain",
            "eo:bands": bands,
        },
        "usable": {
            "href": "./usable.tif",
            "type": f"{GEOTIFF}; profile=cloud-optimized",
            "roles": ["data-mask"],
            "title": "1 usable, 0 outside the swath, 2 masked, 3 implausible",
        },
    }
    for name, path, kind in (
        ("mask", files.mask, GEOTIFF),
        ("metadata", files.metadata, "application/geo+json"),
        ("xml", files.xml, "application/xml"),
    ):
        if path is not None:
            assets[name] = {"href": _href(path, folder), "type": kind, "roles": ["metadata"]}
    return assets


def _href(path: Path, folder: Path) -> str:
    return relpath(path, folder)
