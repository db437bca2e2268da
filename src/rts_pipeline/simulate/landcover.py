"""The ground without slumps: tundra that follows slope and moisture, bare ground, channels, road and railway."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.transform import from_origin
from scipy import ndimage
from shapely import LineString

from rts_pipeline.simulate.noise import Array, enlarge, fractal, ramp, wrap
from rts_pipeline.simulate.options import PIXEL_M
from rts_pipeline.simulate.terrain import CELL_M, Terrain, channel_nodes

STRIPE = 400
MIDDLE_PX = 5
CHANNEL_PX = 2


def _spectrum(blue: int, green: int, red: int, nir: int) -> Array:
    return np.array([blue, green, red, nir], np.float32)[:, None, None]


MEADOW = _spectrum(430, 680, 700, 2350)
SWAMP = _spectrum(330, 520, 470, 2050)
STEPPE = _spectrum(800, 1120, 1460, 2170)
BARE = _spectrum(960, 1330, 1740, 2330)
MUD = _spectrum(640, 850, 1120, 1520)
GRAVEL = _spectrum(1350, 1640, 1900, 2350)
SHADED = _spectrum(420, 540, 700, 980)
WATER = _spectrum(420, 520, 440, 240)
SILTY_WATER = _spectrum(760, 1050, 1120, 640)
SNOW = _spectrum(5200, 5300, 5300, 4900)
ASPHALT = _spectrum(880, 980, 1060, 1180)
"""Surface reflectance x 10,000 of alpine ground in July and August; our own choice after published field spectra."""


@dataclass(frozen=True)
class Textures:
    """Endless fine textures at the ground's pixel size, each with mean 0 and standard deviation 1."""

    grain: Array
    speckle: Array
    flow: Array


def make_textures(rng: np.random.Generator) -> Textures:
    """Make the textures: `grain` is patchy, `speckle` nearly white, `flow` four times longer along its rows' direction."""
    return Textures(
        grain=fractal(rng, (2048, 2048), pixel=1, longest=40, shortest=2.5, slope=2.0),
        speckle=fractal(rng, (1536, 1536), pixel=1, longest=6, shortest=2, slope=0.5),
        flow=fractal(rng, (512, 512), pixel=1, longest=18, shortest=3, slope=1.6),
    )


@dataclass(frozen=True)
class Layers:
    """Coarse fields that the tundra is made from.

    Attributes:
        green: (n, m) 15 m, plant cover before fine texture.
        wet: (n, m) 15 m, moisture 0-1.
        shade: (n, m) 15 m, illumination relative to flat ground.
        bare: (n, m) 15 m, bare ground where positive.
        tone: (n, m) 15 m, colour of soil, 0 mud to 1 dry.
        channel_m: (p, q) 6 m, distance to the nearest channel.
        channel_km2: (p, q) 6 m, area drained by that channel.
        bars: (p, q) 6 m, noise that makes bars and banks.
    """

    green: Array
    wet: Array
    shade: Array
    bare: Array
    tone: Array
    channel_m: Array
    channel_km2: Array
    bars: Array


def make_layers(rng: np.random.Generator, terrain: Terrain) -> Layers:
    """Derive the coarse fields from the terrain."""
    middle = ndimage.zoom(terrain.elevation, 2, order=3, mode="nearest", grid_mode=True)
    shape, step = middle.shape, CELL_M / 2
    south, east = np.gradient(middle, step)
    channel_m, channel_km2 = _channels(rng, terrain)
    near = ndimage.zoom(channel_m[1::5, 1::5], 2, order=1, mode="nearest", grid_mode=True)[: shape[0], : shape[1]]
    curvature = ndimage.gaussian_filter(middle, 12) - ndimage.gaussian_filter(middle, 3)
    patchy = fractal(rng, shape, pixel=step, longest=1400, shortest=60, slope=2.2)
    steep = np.hypot(south, east)
    wet = 0.38 + 0.22 * np.exp(-near / 180) + 0.12 * np.tanh(curvature / 2.5) - 0.7 * steep + 0.11 * patchy
    green = 0.16 + 0.95 * wet - 0.9 * steep - 0.0012 * (middle - middle.mean())
    green += 0.22 * fractal(rng, shape, pixel=step, longest=1100, shortest=45, slope=2.0)
    bare = fractal(rng, shape, pixel=step, longest=520, shortest=80, slope=3.0) - 0.6 * green
    return Layers(
        green=green.astype(np.float32),
        wet=np.clip(wet, 0, 1).astype(np.float32),
        shade=_shade(south, east),
        bare=(bare - np.quantile(bare, 0.92)).astype(np.float32),
        tone=np.clip(0.5 + 0.3 * fractal(rng, shape, pixel=step, longest=900, shortest=90, slope=2), 0, 1),
        channel_m=channel_m,
        channel_km2=channel_km2,
        bars=fractal(rng, channel_m.shape, pixel=PIXEL_M * CHANNEL_PX, longest=160, shortest=20, slope=2.2),
    )


def _shade(south: Array, east: Array) -> Array:
    """Return cos(incidence) relative to flat ground for the morning sun (azimuth 118, elevation 58 degrees)."""
    azimuth, elevation = np.radians(118), np.radians(58)
    toward = -(east * np.sin(azimuth) - south * np.cos(azimuth))
    lit = (np.sin(elevation) + np.cos(elevation) * toward) / np.sqrt(1 + south**2 + east**2)
    return np.clip(lit / np.sin(elevation), 0.4, 1.5).astype(np.float32)


def _channels(rng: np.random.Generator, terrain: Terrain) -> tuple[Array, Array]:
    nodes, down, xy = channel_nodes(rng, terrain)
    lines = shapely.linestrings(np.stack([xy, xy[down]], 1)[down != np.arange(down.size)])
    drained = terrain.drained_km2.ravel()[nodes][down != np.arange(down.size)]
    west, _, _, north = terrain.box.bounds
    step = PIXEL_M * CHANNEL_PX
    burnt = rasterize(
        zip(lines, drained, strict=True),
        out_shape=(terrain.box.height // CHANNEL_PX, terrain.box.width // CHANNEL_PX),
        transform=from_origin(west, north, step, step),
        all_touched=True,
        dtype="float32",
    )
    distance, nearest = ndimage.distance_transform_edt(burnt == 0, return_indices=True)
    return (distance * step).astype(np.float32), burnt[tuple(nearest)]


def make_ground(layers: Layers, textures: Textures, shape: tuple[int, int]) -> NDArray[np.uint16]:
    """Return (4, rows, columns) blue, green, red, nir: reflectance x 10,000 of the ground without any object."""
    ground = np.empty((4, *shape), np.uint16)
    for start in range(0, shape[0], STRIPE):
        rows = slice(start, min(start + STRIPE, shape[0]))
        colour = _tundra(layers, textures, rows, slice(0, shape[1]))
        colour = _water_courses(layers, textures, rows, colour)
        light = enlarge(layers.shade, MIDDLE_PX, rows, slice(0, shape[1])) * (
            1 + 0.03 * wrap(textures.speckle, rows, slice(0, shape[1]))
        )
        ground[:, rows] = np.rint(np.clip(colour * light, 60, 9000))
    return ground


def _tundra(layers: Layers, textures: Textures, rows: slice, every: slice) -> Array:
    grain = wrap(textures.grain, rows, every)
    green = np.clip(enlarge(layers.green, MIDDLE_PX, rows, every) + 0.14 * grain, 0, 1)
    wet = enlarge(layers.wet, MIDDLE_PX, rows, every) + 0.08 * wrap(
        textures.grain, slice(rows.start + 700, rows.stop + 700), every
    )
    colour = STEPPE + (MEADOW - STEPPE) * green
    colour += (SWAMP - colour) * ramp(wet, 0.6, 0.95)
    tone = np.clip(enlarge(layers.tone, MIDDLE_PX, rows, every) + 0.12 * grain, 0, 1)
    soil = MUD + (BARE - MUD) * tone
    bare = enlarge(layers.bare, MIDDLE_PX, rows, every) + 0.3 * grain
    colour += (soil - colour) * ramp(bare, -0.05, 0.45) * np.float32(0.95)
    return colour


def _water_courses(layers: Layers, textures: Textures, rows: slice, colour: Array) -> Array:
    every = slice(0, colour.shape[2])
    distance = enlarge(layers.channel_m, CHANNEL_PX, rows, every)
    if distance.min() > 250:
        return colour
    root = np.sqrt(enlarge(layers.channel_km2, CHANNEL_PX, rows, every))
    bars = enlarge(layers.bars, CHANNEL_PX, rows, every)
    grain = wrap(textures.grain, rows, every)
    water = 1.0 + 1.0 * root
    bank = water + 10 + 9 * bars + 4 * grain
    colour = colour + (BARE + (SHADED - BARE) * ramp(bars + 0.5 * grain, 0.2, 1.2) - colour) * ramp(
        distance - bank, 3, -3
    ) * ramp(bars, -0.3, 0.3)
    plain = np.where(root > 1.6, (10 * (root - 1.2)) * (1 + 0.45 * bars), 0) + 3 * grain
    colour += (GRAVEL * (1 + 0.07 * grain) - colour) * ramp(distance - plain, 5, -5) * (root > 1.6)
    braid = np.abs(bars - 0.2) < np.float32(0.16)
    wet = np.maximum(ramp(distance - water, 2, -2), ramp(distance - 0.7 * plain, 2, -2) * braid * (root > 1.6))
    return colour + (SILTY_WATER + (WATER - SILTY_WATER) * ramp(root, 4, 1) - colour) * wet


def lay_line(ground: NDArray[np.uint16], terrain: Terrain, line: LineString, layers: list[tuple[float, Array, float]]) -> None:
    """Lay a road or railway over the ground, in place: (half width in metres, colour, cover) from the widest inward."""
    for half_width, colour, cover in layers:
        mask = rasterize([line.buffer(half_width)], out_shape=ground.shape[1:], transform=terrain.box.transform, dtype="uint8")
        rows, columns = np.nonzero(mask)
        below = ground[:, rows, columns].astype(np.float32)
        ground[:, rows, columns] = np.rint(below + (colour[:, :, 0] - below) * np.float32(cover))
