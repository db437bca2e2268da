"""Slumps: where they are, how they grow from year to year, and what they look like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from shapely import Polygon

from rts_pipeline.errors import UsageError
from rts_pipeline.grid import GeoBox
from rts_pipeline.simulate.landcover import BARE, GRAVEL, MEADOW, MUD, SHADED, Textures
from rts_pipeline.simulate.noise import Array, fractal, ramp
from rts_pipeline.simulate.placing import Room, draw_places
from rts_pipeline.simulate.shapes import VERTICES, Patch, blend, patch, place, ring
from rts_pipeline.simulate.terrain import CELL_M, Terrain

MEAN_M2, SIGMA_LOG, SMALLEST_M2, LARGEST_M2 = 21_500.0, 0.55, 6_000.0, 80_000.0
GAP_M = 40.0


@dataclass(frozen=True)
class Slump:
    """One slump.

    Attributes:
        truth_id: number, from 1.
        x: easting of its centre, metres.
        y: northing of its centre, metres.
        upslope: azimuth of the uphill direction, radians from north.
        local: (96, 2) its outline in the target year: metres upslope, metres to the right of upslope.
        activity: "active", "stable" or "new".
        first_year: the year that it appears (0: before all years).
        growth: share of its upslope length added a year, before and after the target year.
        plants: share of its floor that plants cover again.
        dry: 0 wet mud to 1 dry soil.
    """

    truth_id: int
    x: float
    y: float
    upslope: float
    local: NDArray[np.float64]
    activity: str
    first_year: int
    growth: float
    plants: float
    dry: float

    def outline(self, year: int, target_year: int) -> Polygon | None:
        """Return its outline in a year, None before it appears. The headwall retreats; the toe hardly moves."""
        if year < self.first_year:
            return None
        scale = (1 + self.growth) ** (year - max(target_year, self.first_year))
        along, right = self.local.T
        grown = np.stack([np.where(along > 0, along * scale, along * scale**0.15), right * scale**0.4], 1)
        return Polygon(place(grown, self.x, self.y, self.upslope))


def make_slumps(
    rng: np.random.Generator, terrain: Terrain, room: Room, years: Sequence[int], target_year: int, n_slumps: int
) -> list[Slump]:
    """Place `n_slumps` that exist in the target year, and a few that begin after it.

    They cluster in ice-rich ground on gentle slopes that face north (Xia et al. 2022: slopes of 1.2-18.1 degrees).

    Raises:
        UsageError: there is no room for so many.
    """
    weight = _suitability(rng, terrain)
    later = max(1, n_slumps // 20) if max(years) > target_year else 0
    slumps: list[Slump] = []
    for x, y in draw_places(rng, terrain, weight):
        number = len(slumps) + 1
        slump = _draw(rng, terrain, (x, y), number, years, target_year, begins_later=number > n_slumps)
        largest = slump.outline(max(years), target_year)
        if largest is not None and room.take(largest, GAP_M):
            slumps.append(slump)
            if len(slumps) == n_slumps + later:
                return slumps
    raise UsageError(
        "n_slumps",
        f"{n_slumps} slumps find no room, only {len(slumps)} do",
        expected="about one a square kilometre",
        do="ask for fewer or for a larger corridor",
    )


def _suitability(rng: np.random.Generator, terrain: Terrain) -> Array:
    shape = terrain.elevation.shape
    ice = fractal(rng, shape, pixel=CELL_M, longest=3500, shortest=300, slope=2.5)
    gentle = np.exp(-(((terrain.slope_deg - 6.5) / 3.0) ** 2))
    return gentle * ramp(terrain.northness, -0.1, 0.8) ** 2 * np.exp(1.3 * ice)


def _draw(
    rng: np.random.Generator,
    terrain: Terrain,
    at: tuple[float, float],
    number: int,
    years: Sequence[int],
    target_year: int,
    *,
    begins_later: bool,
) -> Slump:
    row, column = (int(value[0]) for value in terrain.cells(np.array([at[0]]), np.array([at[1]])))
    east, north = (float(part[row, column]) for part in terrain.gradient)
    area = float(np.clip(rng.lognormal(np.log(MEAN_M2) - SIGMA_LOG**2 / 2, SIGMA_LOG), SMALLEST_M2, LARGEST_M2))
    activity = "new" if begins_later else str(rng.choice(["active", "stable", "new"], p=[0.62, 0.25, 0.13]))
    first = 0
    if activity == "new":
        begun = [year for year in years if (year > target_year if begins_later else min(years) < year <= target_year)]
        first = int(rng.choice(begun)) if begun else 0
        area *= 0.6
    low, high = {"active": (0.03, 0.12), "stable": (0.0, 0.004), "new": (0.15, 0.3)}[activity]
    return Slump(
        truth_id=number,
        x=at[0],
        y=at[1],
        upslope=float(np.arctan2(east, north) + rng.normal(0, 0.12)),
        local=_shape(rng, max(area, SMALLEST_M2)),
        activity=activity,
        first_year=first,
        growth=float(rng.uniform(low, high)),
        plants=float(rng.uniform(0.2, 0.32) if activity == "stable" else rng.uniform(0, 0.18)),
        dry=float(rng.uniform(0.15, 0.85)),
    )


def _shape(rng: np.random.Generator, area_m2: float) -> NDArray[np.float64]:
    """Return a pear: a broad scalloped headwall uphill, a narrower tongue downhill (96, 2)."""
    angle = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    uphill = np.cos(angle)
    scallops = (
        0.10
        * np.abs(np.sin(rng.uniform(2.5, 4.5) * angle + rng.uniform(0, np.pi)))
        * ramp(uphill.astype(np.float32), -0.3, 0.6)
    )
    radius = ring(rng, 0.30) * (1 + scallops)
    aspect = rng.uniform(1.05, 1.9)
    along = radius * uphill * aspect**0.5
    taper = 1 - rng.uniform(0.1, 0.45) * np.clip(-uphill, 0, 1)
    right = radius * np.sin(angle) / aspect**0.5 * taper
    right += rng.normal(0, 0.12) * np.minimum(along, 0) ** 2
    local = np.stack([along, right], 1)
    return local * (area_m2 / Polygon(local).area) ** 0.5


def paint_slump(ground: NDArray[np.uint16], box: GeoBox, textures: Textures, slump: Slump, outline: Polygon) -> None:
    """Paint a slump of one year onto the ground (4, rows, columns), in place."""
    part = patch(box, outline, slump.x, slump.y, slump.upslope)
    texture = _along_flow(textures.flow, part, slump.truth_id)
    inside = part.inside_m > 0
    toe = part.along_m[inside].min()
    length = float(part.along_m[inside].max() - toe)
    height = (part.along_m - toe) / np.float32(length)
    colour = _floor_and_lobe(slump, part, texture, height)
    plants = np.float32(slump.plants) * (1 + ramp(texture, -0.6, 0.9)) * ramp(height, 1.3, 0.3)
    colour += (MEADOW - colour) * np.clip(plants, 0, 0.8)
    _headwall(colour, part, texture, wall_m=min(14.0, 6.0 + length / 40))
    light = 1 + np.float32(0.035) * textures.speckle[: inside.shape[0], : inside.shape[1]]
    blend(ground, part.window, colour * light, part.cover)


def _headwall(colour: Array, part: Patch, texture: Array, wall_m: float) -> None:
    """Shade the wall along the uphill edge and lay fresh debris before it, in place."""
    facing = ramp(part.along_m / np.maximum(np.hypot(part.along_m, part.right_m), 1), 0.05, 0.45)
    ragged = part.inside_m + np.float32(1.5) * texture
    debris = ramp(ragged, wall_m + 10, wall_m + 5) * ramp(ragged, wall_m - 2, wall_m + 2)
    colour += (GRAVEL - colour) * (np.float32(0.5) * facing * debris)
    colour += (SHADED - colour) * (np.float32(0.9) * facing * ramp(ragged, wall_m + 1.5, wall_m - 1.5))


def _floor_and_lobe(slump: Slump, part: Patch, texture: Array, height: Array) -> Array:
    """Return the colour of the wet floor uphill and of the drier lobe with its arcs and levees downhill (4, h, w)."""
    lobe = ramp(height, 0.42, 0.28)
    arcs = np.sin(part.along_m / 7 + np.float32(0.0012) * part.right_m**2 + texture)
    levee = lobe * ramp(part.inside_m, 11, 6) * ramp(part.inside_m, 0, 4)
    dry = slump.dry * np.float32(0.7) + np.float32(0.2) * texture - 0.15 + lobe * (0.4 + np.float32(0.12) * arcs) + 0.45 * levee
    return MUD + (BARE - MUD) * np.clip(dry, -0.15, 1.25)


def _along_flow(tile: Array, part: Patch, number: int) -> Array:
    """Sample the flow texture stretched four times along the slope."""
    rows = part.right_m / 3 + 37 * number
    columns = part.along_m / 12 + 91 * number
    return ndimage.map_coordinates(tile, [rows, columns], order=1, mode="grid-wrap")
