"""Measured items of a small ground, candidates on it, a DEM and a network, and the stage evidence run on them."""

from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
from affine import Affine
from PIL import Image
from shapely import box

from rts_pipeline.config import Inference
from rts_pipeline.evidence.build import build_evidence
from rts_pipeline.io import write_json
from rts_pipeline.options import EvidenceOptions, parse_options
from validate_case import write_model

CRS = "EPSG:32646"
WEST, NORTH, SIZE = 498_000.0, 3_780_000.0, 120
SLUMP = box(WEST + 150, NORTH - 210, WEST + 210, NORTH - 150)
FOUR = {"blue": 1, "green": 2, "red": 3, "nir": 4}
PREDICT = {"window_px": 128, "overlap_px": 32, "precision": "f32"}
RULE = {"threshold": 0.5, "seed_threshold": 0.5, "min_area_m2": 300.0, "hole_m2": 0.0}


def write_item(folder, name, acquired, values, classes=None, bands=FOUR, status="used", offset=(0.0, 0.0), gain=1.0, said=None):
    """A measured item: reflectance (bands, h, w), usable classes, item.json. Returns its row of the catalogue."""
    here = folder / name
    here.mkdir(parents=True, exist_ok=True)
    classes = np.ones(values.shape[1:], np.uint8) if classes is None else classes
    place = {"crs": CRS, "transform": Affine(3, 0, WEST + offset[0], 0, -3, NORTH + offset[1])}
    for file, array in (("sr.tif", values.astype(np.uint16)), ("usable.tif", classes[None])):
        shape = {"count": len(array), "height": array.shape[1], "width": array.shape[2], "dtype": array.dtype}
        with rasterio.open(here / file, "w", driver="GTiff", nodata=0, **shape, **place) as dataset:
            dataset.write(array)
    assets = {"reflectance": {"href": str(here / "sr.tif")}, "usable": {"href": "./usable.tif"}}
    told = {"datetime": acquired, "rts:bands": bands, "rts:status": status, "rts:usable_fraction": 1.0}
    told |= {
        "rts:reflectance": "surface",
        "rts:gain": dict.fromkeys(bands, gain),
        "rts:policy": {"version": "2-x"},
        **(said or {}),
    }
    item = {"id": name, "properties": told, "assets": assets, "geometry": None}
    (here / "item.json").write_text(json.dumps(item))
    west, north = place["transform"].c, place["transform"].f
    footprint = box(west, north - 3 * values.shape[1], west + 3 * values.shape[2], north)
    row = {"item_id": name, "acquired": acquired, "status": status, "item_json": str(here / "item.json")}
    return {**row, "geometry": footprint}


def scene(level, bands=4):
    ramp = np.arange(SIZE * SIZE).reshape(SIZE, SIZE) % 97
    return np.stack([ramp * 5 + level + 200 * band for band in range(bands)])


def meadow(*slumps, size=SIZE):
    """Reflectance of meadow (probability 0) with mud (probability 1) in rectangles (top, left, bottom, right), in pixels."""
    values = np.random.default_rng(0).normal([[[500]], [[700]], [[800]], [[2400]]], 10, (4, size, size))
    for top, left, bottom, right in slumps:
        values[:, top:bottom, left:right] = np.array([900, 1200, 1500, 1600])[:, None, None]
    return values


def rectangle(top, left, bottom, right):
    """The outline of such a rectangle."""
    return box(WEST + 3 * left, NORTH - 3 * bottom, WEST + 3 * right, NORTH - 3 * top)


def write_dem(path, rise=(0.0, 0.1), size=40, crs=CRS):
    """A plane of 30 m pixels that rises to the east and north by so many metres a metre."""
    east, north = np.meshgrid(np.arange(size) * 30.0, -np.arange(size) * 30.0)
    values = (4800 + rise[0] * east + rise[1] * north).astype(np.float32)
    transform = Affine(30, 0, WEST - 390, 0, -30, NORTH + 390)
    shape = {"count": 1, "height": size, "width": size, "dtype": "float32", "nodata": -9999}
    with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=transform, **shape) as dataset:
        dataset.write(values, 1)
    return path


def build(
    tmp_path,
    items,
    outlines=(SLUMP,),
    years=(2018, 2019),
    known=None,
    dem=None,
    out="evidence",
    crs=CRS,
    labels=None,
    audit=None,
    time=None,
    **evidence,
):
    """Run the stage; return evidence.parquet by candidate and year."""
    catalog, candidates = tmp_path / "catalog.parquet", tmp_path / "candidates.parquet"
    gpd.GeoDataFrame(items, geometry="geometry", crs=CRS).to_crs("EPSG:4326").to_parquet(catalog)
    names = pd.Series([f"r01-{number:04d}" for number in range(1, len(outlines) + 1)], dtype="str")
    before = gpd.GeoSeries([known] * len(outlines), crs=crs)
    status = "candidate" if known is None else "changed"
    columns = {"candidate_id": names, "status": status, "known": before, "prob_mean": 0.8, "known_m": np.nan}
    gpd.GeoDataFrame(columns, geometry=list(outlines), crs=crs).to_parquet(candidates)
    if not (tmp_path / "model").exists():
        write_model(tmp_path / "model")
        write_json(tmp_path / "validation.json", RULE)
    values = {"years": list(years), "margin_m": 30.0, "min_size_px": 32, "scale": 2, "ring_m": 24.0, **evidence}
    sections = {"time": time or {}, "grid": {"crs": crs}, "predict": PREDICT, "polygonize": {}, "evidence": values}
    options = parse_options(EvidenceOptions, json.dumps(sections))
    where = Inference(device="cpu")
    files = (candidates, catalog, tmp_path / "model", tmp_path / "validation.json", dem, tmp_path / "cache", tmp_path / out)
    build_evidence(*files, options, where, labels, audit)
    return gpd.read_parquet(tmp_path / out / "evidence.parquet").set_index(["candidate_id", "year"])


def change(tmp_path, out="evidence"):
    return pd.read_parquet(tmp_path / out / "change.parquet").set_index("candidate_id")


def image(tmp_path, row, colour="true"):
    return np.asarray(Image.open(tmp_path / "evidence" / row[f"{colour}_colour"])).astype(int)
