"""Small PlanetScope items as they are delivered, made for tests (no pixel of Planet's)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.warp import transform_bounds

UDM2_BANDS = ("clear", "snow", "shadow", "light_haze", "heavy_haze", "cloud", "confidence", "udm1")
SR_BANDS = ("blue", "green", "red", "nir")
TILES = {"driver": "GTiff", "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}


def clear_udm2(shape: tuple[int, int], observed: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
    """A udm2 (8, h, w) that calls every observed pixel clear, with full confidence."""
    good = np.ones(shape, bool) if observed is None else observed
    udm2 = np.zeros((8, *shape), np.uint8)
    udm2[0], udm2[6], udm2[7] = good, 90 * good, ~good
    return udm2


def metadata(item_id: str, acquired: str, bounds: tuple[float, float, float, float], **properties: Any) -> dict[str, Any]:
    """The GeoJSON feature beside an item; `bounds` in WGS84."""
    west, south, east, north = bounds
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    values = {
        "acquired": acquired,
        "cloud_cover": 0.0,
        "cloud_percent": 0,
        "clear_percent": 100,
        "gsd": 3.9,
        "instrument": "PS2",
        "item_type": "PSScene",
        "pixel_resolution": 3,
        "provider": "planetscope",
        "published": "2019-08-30T00:00:00Z",
        "quality_category": "standard",
        "satellite_azimuth": 100.0,
        "satellite_id": item_id.rsplit("_", 1)[-1],
        "sun_azimuth": 120.0,
        "sun_elevation": 60.0,
        "updated": "2019-08-30T00:00:00Z",
        "view_angle": 2.0,
        **properties,
    }
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "id": item_id, "geometry": geometry, "properties": values}


def write_item(
    folder: Path,
    item_id: str,
    reflectance: NDArray[np.uint16],
    *,
    crs: str,
    transform: Affine,
    udm2: NDArray[np.uint8] | None = None,
    udm: NDArray[np.uint8] | None = None,
    mask: bool = True,
    acquired: str = "2019-08-01T04:10:00.123456Z",
    with_metadata: bool = True,
    clip: bool = False,
    product: str = "AnalyticMS_SR",
    udm2_transform: Affine | None = None,
    **properties: Any,
) -> Path:
    """Write one item below `folder`/`item_id` and return that folder.

    Args:
        folder: the order.
        item_id: as "20190801_041000_1003".
        reflectance: (bands, h, w) uint16, 0 = nodata.
        crs: of the raster.
        transform: of the raster.
        udm2: (8, h, w) uint8; all clear where reflectance is when not given.
        udm: (h, w) uint8 bits: written as the old `_DN_udm` instead of udm2.
        mask: whether a mask is written at all.
        acquired: ISO 8601 UTC.
        with_metadata: whether `_metadata.json` is written.
        clip: whether the names end in `_clip`.
        product: the raster's product name.
        udm2_transform: where the udm2 lies, if not where the reflectance does.
        properties: more or other properties of the metadata (value None: the key is left out).
    """
    place = folder / item_id
    place.mkdir(parents=True, exist_ok=True)
    end = "_clip.tif" if clip else ".tif"
    _, height, width = reflectance.shape
    names = SR_BANDS if len(reflectance) == 4 else None
    _write(place / f"{item_id}_3B_{product}{end}", reflectance, crs, transform, names, nodata=0)
    if mask and udm is not None:
        _write(place / f"{item_id}_3B_AnalyticMS_DN_udm{end}", udm[np.newaxis], crs, transform, None, nodata=1)
    elif mask:
        udm2 = clear_udm2((height, width), (reflectance > 0).any(axis=0)) if udm2 is None else udm2
        _write(place / f"{item_id}_3B_udm2{end}", udm2, crs, udm2_transform or transform, UDM2_BANDS)
    if with_metadata:
        west, north = transform @ (0, 0)
        east, south = transform @ (width, height)
        feature = metadata(item_id, acquired, transform_bounds(crs, "EPSG:4326", west, south, east, north), **properties)
        feature["properties"] = {key: value for key, value in feature["properties"].items() if value is not None}
        (place / f"{item_id}_metadata.json").write_text(json.dumps(feature))
    return place


def write_xml(folder: Path, item_id: str, coefficients: Mapping[Any, Any], product: str = "AnalyticMS", **told: str) -> Path:
    """Write the XML of an item's radiance; `coefficients`: band number -> reflectanceCoefficient; `told`: element -> text."""
    bands = "".join(
        f"<ps:bandSpecificMetadata><ps:bandNumber>{band}</ps:bandNumber>"
        f"<ps:reflectanceCoefficient>{value}</ps:reflectanceCoefficient></ps:bandSpecificMetadata>"
        for band, value in coefficients.items()
    )
    more = "".join(f"<ps:{name}>{text}</ps:{name}>" for name, text in told.items())
    name = f"{item_id}_{product}_metadata.xml" if "BGRN" in product else f"{item_id}_3B_{product}_metadata.xml"
    path = folder / name
    path.write_text(f'<?xml version="1.0" encoding="UTF-8"?><ps:Scene xmlns:ps="http://ps">{more}{bands}</ps:Scene>')
    return path


def write_manifest(order: Path, **changes: dict[str, Any]) -> None:
    """Write the manifest.json of an order: sizes and checksums of all files below it; `changes`: file name -> other values."""
    listed = []
    for path in sorted(path for path in order.rglob("*") if path.is_file()):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        told = {"path": path.relative_to(order).as_posix(), "size": path.stat().st_size, "digests": {"sha256": digest}}
        listed.append(told | changes.get(path.name, {}))
    (order / "manifest.json").write_text(json.dumps({"name": "", "files": listed}))


def _write(
    path: Path, values: NDArray[Any], crs: str, transform: Affine, names: tuple[str, ...] | None, **options: Any
) -> None:
    count, height, width = values.shape
    profile = {**TILES, "count": count, "height": height, "width": width, "dtype": values.dtype, **options}
    with rasterio.open(path, "w", crs=crs, transform=transform, **profile) as dataset:
        if names and len(names) == count:  # before the pixels, so that the header stays at the file's beginning
            dataset.descriptions = names
        dataset.write(values)
