"""The simulated corridor: ground and slumps for each year, the orders that see them, and everything else a user brings."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import rasterio
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.transform import from_origin
from rasterio.warp import Resampling, calculate_default_transform, reproject
from shapely import LineString

from rts_pipeline.io.files import atomic
from rts_pipeline.io.rasters import GDAL_OPTIONS
from rts_pipeline.io.vectors import write_gpkg
from rts_pipeline.progress import track
from rts_pipeline.simulate.acquisitions import Acquisition, plan
from rts_pipeline.simulate.delivery import Ground, deliver_item, write_manifest
from rts_pipeline.simulate.landcover import ASPHALT, BARE, GRAVEL, Textures, lay_line, make_ground, make_layers, make_textures
from rts_pipeline.simulate.lookalikes import FLAGGED_SNOW_M2, LookAlike, make_lookalikes, paint_lookalike
from rts_pipeline.simulate.noise import Array
from rts_pipeline.simulate.options import CorridorOptions
from rts_pipeline.simulate.placing import Room
from rts_pipeline.simulate.slumps import Slump, make_slumps, paint_slump
from rts_pipeline.simulate.terrain import CELL_M, Terrain, lay_route, make_terrain

CHANNEL_ROOM_M, ROUTE_ROOM_M = 45.0, 45.0
SNOW_LIES = 0.7
"""Chance that a snow patch of the plan lies in a given summer."""


@dataclass(frozen=True)
class Scenery:
    """Everything that lasts: the ground without slumps and snow (4, rows, columns), and what lies on it."""

    options: CorridorOptions
    terrain: Terrain
    textures: Textures
    pixels: NDArray[np.uint16]
    road: LineString
    railway: LineString
    slumps: list[Slump]
    snow: list[LookAlike]
    seeds: frozenset[int]


def simulate(out: Path, options: CorridorOptions) -> None:
    """Write a corridor with known truth below `out`; equal options give equal bytes.

    Writes:
        orders/<year>/: PlanetScope items as delivered, with a manifest.
        aoi.gpkg, roads.gpkg, railway.gpkg, dem.tif (30 m, metres, EPSG:4326).
        truth.gpkg: a row a slump and year (truth_id, year, seed, activity, area_m2, geometry).
        seeds.gpkg: the outlines of the target year in the seed region (the western third of the slumps).
    """
    scenery = _make_scenery(options)
    _write_vectors(out, scenery)
    _write_dem(out / "dem.tif", scenery.terrain)
    items = plan(_rng(options, 7), options)
    for year in track(sorted(options.years), len(options.years), "simulate", "years"):
        order = out / "orders" / str(year)
        ground = _ground_of(scenery, year)
        entries = _deliver(order / "PSScene", ground, options, [item for item in items if item.acquired.year == year])
        write_manifest(order, entries)


def _rng(options: CorridorOptions, stream: int) -> np.random.Generator:
    return np.random.default_rng([options.seed, stream])


def _make_scenery(options: CorridorOptions) -> Scenery:
    place = options.ground
    terrain = make_terrain(_rng(options, 1), place)
    textures = make_textures(_rng(options, 2))
    layers = make_layers(_rng(options, 3), terrain)
    flat = np.zeros_like(terrain.elevation)
    road, railway = lay_route(terrain, 0.55, 0.62, flat), lay_route(terrain, 0.60, 0.66, flat)
    pixels = make_ground(layers, textures, place.shape)
    lay_line(pixels, terrain, railway, [(14, GRAVEL, 0.6), (4, GRAVEL, 1)])
    lay_line(pixels, terrain, road, [(16, BARE, 0.7), (5, ASPHALT, 1)])
    room = Room(terrain, _blocked(terrain, layers.channel_m, [road, railway]))
    slumps = make_slumps(_rng(options, 4), terrain, room, options.years, options.target_year, options.n_slumps)
    lookalikes = make_lookalikes(_rng(options, 5), terrain, room, road, options.n_slumps)
    for thing in lookalikes:
        if thing.kind != "snow":
            paint_lookalike(pixels, place, textures, thing)
    snow = [thing for thing in lookalikes if thing.kind == "snow"]
    return Scenery(options, terrain, textures, pixels, road, railway, slumps, snow, _seed_region(slumps))


def _blocked(terrain: Terrain, channel_m: Array, routes: list[LineString]) -> NDArray[np.bool_]:
    """Tell which terrain cells are too near to a channel, the road or the railway for anything else."""
    west, _, _, north = terrain.box.bounds
    shape = terrain.elevation.shape
    near = [route.buffer(ROUTE_ROOM_M) for route in routes]
    transform = from_origin(west, north, CELL_M, CELL_M)
    crossed = rasterize(near, out_shape=shape, transform=transform, all_touched=True, dtype="uint8").astype(bool)
    return crossed | (channel_m[2::5, 2::5] < CHANNEL_ROOM_M)


def _seed_region(slumps: list[Slump]) -> frozenset[int]:
    """Return the ids of the western third of the slumps."""
    cut = np.quantile([slump.x for slump in slumps], 1 / 3)
    return frozenset(slump.truth_id for slump in slumps if slump.x <= cut)


def _ground_of(scenery: Scenery, year: int) -> Ground:
    """Lay the snow and the slumps of a year over the lasting ground."""
    options = scenery.options
    pixels = scenery.pixels.copy()
    flagged = np.zeros(pixels.shape[1:], bool)
    lies = np.random.default_rng([options.seed, 6, year]).uniform(size=len(scenery.snow)) < SNOW_LIES
    for thing in (patch for patch, here in zip(scenery.snow, lies, strict=True) if here):
        part = paint_lookalike(pixels, options.ground, scenery.textures, thing)
        if thing.outline.area >= FLAGGED_SNOW_M2:
            flagged[part.window] |= part.inside_m > 6
    for slump in scenery.slumps:
        outline = slump.outline(year, options.target_year)
        if outline is not None:
            paint_slump(pixels, options.ground, scenery.textures, slump, outline)
    return Ground(options.ground, options.area, pixels, flagged, scenery.textures.speckle)


_shared: Ground | None = None
"""The ground of the year, inherited by forked workers instead of being sent to them."""


def _deliver(folder: Path, ground: Ground, options: CorridorOptions, items: list[Acquisition]) -> list[dict[str, Any]]:
    global _shared
    _shared = ground
    try:
        with ProcessPoolExecutor(options.workers, mp_context=multiprocessing.get_context("fork")) as pool:
            jobs = [pool.submit(_deliver_one, folder, options.seed, item) for item in items]
            return [entry for job in jobs for entry in job.result()]
    finally:
        _shared = None


def _deliver_one(folder: Path, seed: int, item: Acquisition) -> list[dict[str, Any]]:
    assert _shared is not None
    with rasterio.Env(**(GDAL_OPTIONS | {"GDAL_NUM_THREADS": "1"})):
        return deliver_item(folder, seed, _shared, item)


def truth_of(scenery: Scenery) -> gpd.GeoDataFrame:
    """Return the truth: a row a slump and year."""
    options = scenery.options
    rows = []
    for slump in scenery.slumps:
        for year in sorted(options.years):
            outline = slump.outline(year, options.target_year)
            if outline is not None:
                row = {"truth_id": slump.truth_id, "year": year, "seed": slump.truth_id in scenery.seeds}
                rows.append(row | {"activity": slump.activity, "area_m2": round(outline.area, 1), "geometry": outline})
    return gpd.GeoDataFrame(rows, crs=options.area.crs)


def _write_vectors(out: Path, scenery: Scenery) -> None:
    options = scenery.options
    truth = truth_of(scenery)
    seeds = truth[truth["seed"] & (truth["year"] == options.target_year)][["truth_id", "geometry"]]
    crs = options.area.crs
    layers = {
        "aoi": gpd.GeoDataFrame({"name": ["corridor"]}, geometry=[options.area.polygon], crs=crs),
        "roads": gpd.GeoDataFrame({"name": ["highway"]}, geometry=[scenery.road], crs=crs),
        "railway": gpd.GeoDataFrame({"name": ["railway"]}, geometry=[scenery.railway], crs=crs),
        "truth": truth,
        "seeds": seeds.reset_index(drop=True),
    }
    with _frozen_clock():
        for name, frame in layers.items():
            write_gpkg(out / f"{name}.gpkg", {name: frame})


@contextmanager
def _frozen_clock() -> Iterator[None]:
    """Make GDAL write the same time stamp into every GeoPackage."""
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "2021-01-01T00:00:00.000Z"})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


def _write_dem(path: Path, terrain: Terrain) -> None:
    """Write the elevation as elevation models come: EPSG:4326, one second of arc, float32 metres, nodata -9999."""
    place = terrain.box
    west, _, _, north = place.bounds
    n, m = terrain.elevation.shape
    second = 1 / 3600
    transform, width, height = calculate_default_transform(place.crs, "EPSG:4326", m, n, *place.bounds, resolution=second)
    target = np.full((height, width), -9999, np.float32)
    reproject(
        terrain.elevation,
        target,
        src_transform=from_origin(west, north, CELL_M, CELL_M),
        src_crs=place.crs,
        dst_transform=transform,
        dst_crs="EPSG:4326",
        dst_nodata=-9999,
        resampling=Resampling.bilinear,
    )
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "nodata": -9999, "compress": "deflate", "predictor": 3}
    with (
        atomic(path) as temporary,
        rasterio.open(temporary, "w", width=width, height=height, crs="EPSG:4326", transform=transform, **profile) as dataset,
    ):
        dataset.write(target, 1)
