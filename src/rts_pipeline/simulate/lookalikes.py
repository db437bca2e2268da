"""Objects that share their spectra with slumps: ponds, scars, pits beside the road, snow patches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shapely import LineString, Polygon

from rts_pipeline.grid import GeoBox
from rts_pipeline.simulate.landcover import BARE, GRAVEL, MUD, SILTY_WATER, SNOW, WATER, Textures
from rts_pipeline.simulate.noise import Array, ramp, wrap
from rts_pipeline.simulate.placing import Room, draw_places
from rts_pipeline.simulate.shapes import Patch, blend, blob, patch
from rts_pipeline.simulate.terrain import Terrain

SHARE = {"pond": 1.2, "scar": 1.3, "snow": 0.35}
"""Objects of each kind for each slump."""
FLAGGED_SNOW_M2 = 8_000.0


@dataclass(frozen=True)
class LookAlike:
    """An object: what it is, its outline, its main azimuth (radians from north), and its own tone (0-1)."""

    kind: str
    outline: Polygon
    azimuth: float
    tone: float


def make_lookalikes(rng: np.random.Generator, terrain: Terrain, room: Room, road: LineString, n_slumps: int) -> list[LookAlike]:
    """Place ponds on flats, scars anywhere dry, snow in high hollows that face north, and pits beside the road."""
    high = ramp(terrain.elevation, *np.quantile(terrain.elevation, [0.5, 0.9]))
    weights = {
        "pond": ramp(terrain.slope_deg, 3.5, 1.0),
        "scar": ramp(terrain.slope_deg, 14, 4),
        "snow": high * ramp(terrain.northness, 0.2, 0.9) * ramp(terrain.slope_deg, 2, 7),
    }
    objects = []
    for kind, weight in weights.items():
        places = draw_places(rng, terrain, weight)
        for _ in range(round(SHARE[kind] * n_slumps)):
            found = next((made for x, y in places if room.take((made := _draw(rng, kind, x, y)).outline, 25)), None)
            if found is not None:
                objects.append(found)
    return objects + _pits(rng, room, road)


def _draw(rng: np.random.Generator, kind: str, x: float, y: float) -> LookAlike:
    mean, largest, roughness, aspect = {
        "pond": (5_000.0, 40_000.0, 0.16, (1.0, 1.7)),
        "scar": (17_000.0, 60_000.0, 0.6, (1.1, 2.6)),
        "snow": (5_000.0, 25_000.0, 0.5, (1.3, 4.0)),
    }[kind]
    area = float(np.clip(rng.lognormal(np.log(mean) - 0.25, 0.7), 700, largest))
    azimuth = float(rng.normal(np.pi / 2, 0.3) if kind == "snow" else rng.uniform(0, np.pi))
    return LookAlike(kind, blob(rng, x, y, area, azimuth, rng.uniform(*aspect), roughness), azimuth, float(rng.uniform()))


def _pits(rng: np.random.Generator, room: Room, road: LineString) -> list[LookAlike]:
    pits = []
    for distance in np.arange(300, road.length - 300, 700):
        at = road.interpolate(distance + rng.uniform(-200, 200))
        side = rng.choice([-1, 1]) * rng.uniform(70, 130)
        outline = blob(rng, at.x + side, at.y, rng.uniform(2_000, 14_000), 0.0, rng.uniform(1, 2.2), 0.12)
        if room.take(outline, 25):
            pits.append(LookAlike("pit", outline, 0.0, float(rng.uniform())))
    return pits


def paint_lookalike(ground: NDArray[np.uint16], box: GeoBox, textures: Textures, thing: LookAlike) -> Patch:
    """Paint one object onto the ground (4, rows, columns), in place, and return the pixels that it touched."""
    centre = thing.outline.centroid
    part = patch(box, thing.outline, centre.x, centre.y, thing.azimuth)
    grain = wrap(textures.grain, part.rows, part.columns)
    colour, cover = PAINT[thing.kind](part, grain, thing.tone)
    speckle = wrap(textures.speckle, part.rows, part.columns)
    blend(ground, part.window, colour * (1 + 0.03 * speckle), cover)
    return part


def _pond(part: Patch, grain: Array, tone: float) -> tuple[Array, Array]:
    shore = 3 + 14 * tone
    water = WATER + (SILTY_WATER - WATER) * np.float32(tone**2)
    mud = MUD + (BARE - MUD) * np.clip(0.5 + 0.3 * grain, 0, 1)
    return mud + (water - mud) * ramp(part.inside_m, shore, shore + 3), part.cover


def _scar(part: Patch, grain: Array, tone: float) -> tuple[Array, Array]:
    soil = MUD + (BARE - MUD) * np.clip(0.15 + 0.75 * tone + 0.2 * grain, 0, 1.2)
    return soil, part.cover * ramp(part.inside_m + 4 * grain, -1, 3 + 12 * (1 - tone))


def _snow(part: Patch, grain: Array, tone: float) -> tuple[Array, Array]:
    dirty = SNOW * np.float32(0.55 + 0.45 * tone) * (1 + 0.06 * grain)
    soaked = MUD * np.float32(0.8) + (dirty - MUD * np.float32(0.8)) * ramp(part.inside_m, 3, 9)
    return soaked, part.cover


def _pit(part: Patch, grain: Array, tone: float) -> tuple[Array, Array]:
    soil = BARE + (GRAVEL - BARE) * np.clip(tone + 0.25 * grain, 0, 1)
    floor = MUD + (soil - MUD) * np.float32(0.4 + 0.6 * tone)
    return soil + (floor - soil) * ramp(part.inside_m, 9, 13), part.cover


PAINT: dict[str, Callable[[Patch, Array, float], tuple[Array, Array]]] = {
    "pond": _pond,
    "scar": _scar,
    "snow": _snow,
    "pit": _pit,
}
