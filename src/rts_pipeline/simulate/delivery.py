"""An order as Planet delivers it: pixels, usable data mask, JSON and XML of each item, and the order's manifest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import geopandas as gpd
import numpy as np
import rasterio
from numpy.typing import NDArray
from shapely import Polygon, box
from shapely.geometry import mapping

from rts_pipeline.grid import GeoBox
from rts_pipeline.io.files import atomic, write_text
from rts_pipeline.simulate.acquisitions import Acquisition, raster_of
from rts_pipeline.simulate.items import STRIPE, View, make_sky, stripe
from rts_pipeline.simulate.noise import Array

UDM2_BANDS = ("clear", "snow", "shadow", "light_haze", "heavy_haze", "cloud", "confidence", "udm1")
ASSETS = {
    "_3B_AnalyticMS_SR_clip.tif": ("image/tiff", "ortho_analytic_4b_sr"),
    "_3B_AnalyticMS_metadata_clip.xml": ("text/xml", "ortho_analytic_4b_xml"),
    "_3B_udm2_clip.tif": ("image/tiff", "ortho_udm2"),
    "_metadata.json": ("application/json", ""),
}
TILES = {"driver": "GTiff", "tiled": True, "blockxsize": 256, "blockysize": 256, "interleave": "band"}


@dataclass(frozen=True)
class Ground:
    """What the satellites see in a year.

    Attributes:
        box: its place.
        area: the part of it that was ordered.
        pixels: (4, rows, columns) uint16, reflectance x 10,000.
        snow: (rows, columns) where the producer's mask sees snow.
        noise: endless texture of the sensors' noise.
    """

    box: GeoBox
    area: GeoBox
    pixels: NDArray[np.uint16]
    snow: NDArray[np.bool_]
    noise: Array


def deliver_item(folder: Path, seed: int, ground: Ground, item: Acquisition) -> list[dict[str, Any]]:
    """Write the four files of an item into `folder`/<item id>/ and return their manifest entries."""
    view = view_of(seed, item, ground.area, ground.noise)
    place = view.box
    target = folder / item.item_id
    shares = _write_rasters(target, view, ground)
    footprint = gpd.GeoSeries([item.swath], crs=place.crs).to_crs(4326).iloc[0]
    write_text(
        target / f"{item.item_id}_metadata.json", json.dumps(_feature(item, place, footprint, shares), separators=(",", ":"))
    )
    clip = gpd.GeoSeries([item.swath.intersection(box(*place.bounds))], crs=place.crs).to_crs(4326).iloc[0]
    write_text(target / f"{item.item_id}_3B_AnalyticMS_metadata_clip.xml", _xml(item, place, clip, shares["cloud"]))
    return [_entry(target, item, suffix) for suffix in ASSETS]


def view_of(seed: int, item: Acquisition, area: GeoBox, noise: Array) -> View:
    """Return an item's grid, its sky and its noise, which only the seed and the item decide."""
    rng = np.random.default_rng([seed, 100, item.number])
    place = raster_of(item, area)
    roll = tuple(int(value) for value in rng.integers(0, min(noise.shape), 2))
    return View(item, place, make_sky(rng, item, place), np.roll(noise, roll, (0, 1)))


def write_manifest(order: Path, entries: list[dict[str, Any]]) -> None:
    """Write the manifest of an order with the size and digests of every file."""
    files = sorted(entries, key=lambda entry: str(entry["path"]))
    write_text(order / "manifest.json", json.dumps({"name": "", "files": files}, separators=(",", ":")))


def _write_rasters(target: Path, view: View, ground: Ground) -> dict[str, float]:
    """Write the reflectance and its mask stripe by stripe; return the shares of the udm2's classes within the swath."""
    item, place = view.item, view.box
    counts = np.zeros(8, np.int64)
    profile = TILES | place.profile
    with (
        atomic(target / f"{item.item_id}_3B_AnalyticMS_SR_clip.tif") as sr_path,
        atomic(target / f"{item.item_id}_3B_udm2_clip.tif") as udm2_path,
        rasterio.open(
            sr_path, "w", count=4, dtype="uint16", nodata=0, compress="deflate", zlevel=1, predictor=2, **profile
        ) as sr,
        rasterio.open(udm2_path, "w", count=8, dtype="uint8", compress="lzw", **profile) as udm2,
    ):
        sr.descriptions, udm2.descriptions = ("blue", "green", "red", "nir"), UDM2_BANDS
        sr.update_tags(TIFFTAG_DATETIME=f"{item.acquired:%Y:%m:%d %H:%M:%S}", TIFFTAG_IMAGEDESCRIPTION=_correction(item))
        udm2.update_tags(TIFFTAG_DATETIME=f"{item.acquired:%Y:%m:%d %H:%M:%S}")
        for top in range(0, place.height, STRIPE):
            rows = slice(top, min(top + STRIPE, place.height))
            pixels, mask = stripe(view, ground.pixels, ground.snow, ground.box, rows)
            window = rasterio.windows.Window(0, top, place.width, rows.stop - top)
            sr.write(pixels, window=window)
            udm2.write(mask, window=window)
            counts += np.count_nonzero(mask, axis=(1, 2))
            counts[7] += int((mask[7] == 1).sum()) - int((mask[7] != 0).sum())
    valid = max(place.width * place.height - int(counts[7]), 1)
    return {name: float(count) / valid for name, count in zip(UDM2_BANDS, counts, strict=True)}


def _correction(item: Acquisition) -> str:
    return json.dumps(
        {
            "atmospheric_correction": {
                "aerosol_model": "continental",
                "aot_method": "map",
                "aot_source": "mod09cma_nrt",
                "aot_status": "Data Found",
                "atmospheric_correction_algorithm": "6Sv2.1",
                "atmospheric_model": "water_vapor_and_ozone",
                "solar_azimuth_angle": item.sun_azimuth,
                "solar_zenith_angle": round(90 - item.sun_elevation, 1),
                "sr_version": "2.1",
            }
        }
    )


def _time(item: Acquisition) -> str:
    text = f"{item.acquired:%Y-%m-%dT%H:%M:%S}"
    return f"{text}.{item.acquired.microsecond:06d}"[: len(text) + 1 + item.decimals] + "Z" if item.decimals else text + "Z"


def _feature(item: Acquisition, place: GeoBox, footprint: Polygon, shares: dict[str, float]) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "acquired": _time(item),
        "anomalous_pixels": 0,
        "cloud_cover": round(shares["cloud"], 2),
        "epsg_code": int(place.crs.split(":")[1]),
        "ground_control": True,
        "gsd": 3.9 if item.satellite.instrument == "PS2" else 3.7,
        "instrument": item.satellite.instrument,
        "item_type": "PSScene",
        "pixel_resolution": 3,
        "provider": "planetscope",
        "published": f"{item.acquired + timedelta(hours=9):%Y-%m-%dT%H:%M:%SZ}",
        "publishing_stage": "finalized",
        "quality_category": "standard",
        "satellite_azimuth": round(100.0 + item.number % 7, 1),
        "satellite_id": item.satellite.id,
        "strip_id": str(1_000_000 + 4_321 * item.number),
        "sun_azimuth": item.sun_azimuth,
        "sun_elevation": item.sun_elevation,
        "updated": f"{item.acquired + timedelta(hours=30):%Y-%m-%dT%H:%M:%SZ}",
        "view_angle": _view_angle(item),
    }
    if item.acquired.year >= 2018:  # usable data masks, and what is counted from them, begin in 2018
        names = {"clear": "clear", "cloud": "cloud", "heavy_haze": "heavy_haze", "light_haze": "light_haze", "shadow": "shadow"}
        properties |= {f"{name}_percent": round(100 * shares[band]) for name, band in names.items()}
        properties |= {"snow_ice_percent": round(100 * shares["snow"]), "clear_confidence_percent": 92}
        properties |= {"visible_percent": round(100 * (1 - shares["cloud"])), "visible_confidence_percent": 88}
    return {
        "id": item.item_id,
        "type": "Feature",
        "geometry": mapping(footprint),
        "properties": dict(sorted(properties.items())),
    }


def _view_angle(item: Acquisition) -> float:
    return round(0.5 + (item.number * 7 % 31) / 10, 1)


def _xml(item: Acquisition, place: GeoBox, clip: Polygon, cloud: float) -> str:
    """Fill the geocorrected-level metadata template; rows and columns are those of the clip."""
    west, south, east, north = clip.bounds
    template = (Path(__file__).parent / "metadata.xml").read_text(encoding="utf-8")
    values = {
        "identifier": f"{item.item_id}_3B_AnalyticMS",
        "time": f"{item.acquired:%Y-%m-%dT%H:%M:%S}+00:00",
        "satellite": item.satellite.id,
        "instrument": item.satellite.instrument,
        "view_angle": f"{_view_angle(item):.6e}",
        "sun_azimuth": f"{item.sun_azimuth:.6e}",
        "sun_elevation": f"{item.sun_elevation:.6e}",
        "ring": " ".join(f"{x:.12f},{y:.12f}" for x, y in clip.exterior.coords),
        "centre": f"{clip.centroid.x:.9f} {clip.centroid.y:.9f}",
        "north": f"{north:.9f}",
        "south": f"{south:.9f}",
        "west": f"{west:.9f}",
        "east": f"{east:.9f}",
        "rows": str(place.height),
        "columns": str(place.width),
        "cloud": f"{100 * cloud:.2f}",
    }
    return template.format(**{name: escape(value) for name, value in values.items()})


def _entry(target: Path, item: Acquisition, suffix: str) -> dict[str, Any]:
    path = target / f"{item.item_id}{suffix}"
    media, asset = ASSETS[suffix]
    content = path.read_bytes()
    annotations = {"planet/item_id": item.item_id, "planet/item_type": "PSScene"}
    if asset:
        annotations |= {"planet/asset_type": asset, "planet/bundle_type": "analytic_sr_udm2"}
    return {
        "path": f"PSScene/{item.item_id}/{path.name}",
        "media_type": media,
        "size": len(content),
        "digests": {
            "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
            "sha256": hashlib.sha256(content).hexdigest(),
        },
        "annotations": dict(sorted(annotations.items())),
    }
