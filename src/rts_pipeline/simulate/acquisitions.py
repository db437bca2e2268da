"""Which items see the corridor, when, from which satellite, and how well."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from shapely import Polygon

from rts_pipeline.grid import GeoBox
from rts_pipeline.simulate.options import PIXEL_M, CorridorOptions
from rts_pipeline.simulate.shapes import place

SWATH_SHARE, OVERLAP = 0.42, 0.2
"""Width of a swath as a share of the corridor's width (12 km: 5 km), and the part of it that the next one sees too."""


@dataclass(frozen=True)
class Satellite:
    """A satellite: its id, its instrument, and what its radiometry adds to the truth (bands blue, green, red, nir)."""

    id: str
    instrument: str
    gain: tuple[float, ...]
    offset: tuple[float, ...]


@dataclass(frozen=True)
class Acquisition:
    """One item as it was taken.

    Attributes:
        item_id: Planet's id, with three parts for PS2, four for later instruments.
        acquired: UTC.
        decimals: digits of the seconds' fraction in the metadata.
        satellite: who took it.
        swath: the ground that it saw, a tilted rectangle in the corridor's CRS.
        shift_px: displacement of its content to the south and to the east, in pixels.
        cloud: share of the swath under cloud.
        sun_azimuth: degrees.
        sun_elevation: degrees.
        number: position in the whole plan, for its own random stream.
    """

    item_id: str
    acquired: datetime
    decimals: int
    satellite: Satellite
    swath: Polygon
    shift_px: tuple[float, float]
    cloud: float
    sun_azimuth: float
    sun_elevation: float
    number: int


FLEET = {
    "PS2": ("0c74", "0e20", "0f28", "1011", "101c", "1032"),
    "PS2.SD": ("1063", "105a", "106b"),
    "PSB.SD": ("2278", "227b", "2414"),
}
RESPONSE = {"PS2": (1.0, 1.0, 1.0, 1.0), "PS2.SD": (0.97, 0.98, 1.03, 1.06), "PSB.SD": (0.95, 1.02, 0.98, 1.10)}


def make_fleet(rng: np.random.Generator) -> dict[str, list[Satellite]]:
    """Return the satellites of each instrument, each with a radiometry of its own."""
    fleet: dict[str, list[Satellite]] = {}
    for instrument, ids in FLEET.items():
        for name in ids:
            gain = np.array(RESPONSE[instrument]) * rng.normal(1, 0.025) * rng.normal(1, 0.012, 4)
            offset = rng.normal(0, 15, 4) + rng.normal(0, 20)
            fleet.setdefault(instrument, []).append(Satellite(name, instrument, tuple(gain.tolist()), tuple(offset.tolist())))
    return fleet


def plan(rng: np.random.Generator, options: CorridorOptions) -> list[Acquisition]:
    """Return all items: each year a pass over the whole corridor and a cloudier strip, in the target year a cloudier pass."""
    fleet = make_fleet(rng)
    items: list[Acquisition] = []
    for year in sorted(options.years):
        kinds = ["PS2"] if year < 2019 else ["PS2", "PS2.SD"] if year == 2019 else ["PS2.SD", "PSB.SD"]
        day = 0
        for again in (False, True):
            strips = _strips(rng, options.area, again)
            keep = len(strips) if not again or year == options.target_year else 1
            for strip in sorted(rng.permutation(len(strips))[:keep].tolist()):
                day += int(rng.integers(3, 9))
                satellite = fleet[str(rng.choice(kinds))][int(rng.integers(3))]
                cloud = rng.choice([0.03, 0.08, 0.2]) if again else rng.choice([0.0, 0.0, 0.015, 0.04])
                items.append(_acquire(rng, len(items), year, min(day, 58), satellite, strips[strip], float(cloud)))
    return items


def _strips(rng: np.random.Generator, area: GeoBox, again: bool) -> list[Polygon]:
    west, south, east, north = area.bounds
    width, height = east - west, north - south
    swath, tilt = SWATH_SHARE * width, np.radians(rng.uniform(9.5, 12.5))
    step = swath * (1 - OVERLAP)
    half = (height / 2 + width / 2 * np.sin(tilt)) * 1.08
    reach = width / 2 + height / 2 * np.tan(tilt)
    offset = step / 2 if again else 0.0
    strips = []
    for centre in np.arange(-reach + offset + swath * 0.35, reach + swath * 0.15, step):
        along = half * rng.uniform(0.8, 0.95) if again else half
        corners = np.array([(along, -swath / 2), (along, swath / 2), (-along, swath / 2), (-along, -swath / 2)])
        strips.append(Polygon(place(corners, (west + east) / 2 + centre, (south + north) / 2, tilt)))
    return strips


def _acquire(
    rng: np.random.Generator, number: int, year: int, day: int, satellite: Satellite, swath: Polygon, cloud: float
) -> Acquisition:
    seconds = int(rng.integers(3 * 3600 + 2400, 4 * 3600 + 2400))
    acquired = datetime(year, 7, 2, tzinfo=UTC) + timedelta(
        days=day, seconds=seconds, microseconds=int(rng.integers(1, 999_999))
    )
    middle = "" if satellite.instrument == "PS2" else f"_{acquired.microsecond // 10_000:02d}"
    item_id = f"{acquired:%Y%m%d_%H%M%S}{middle}_{satellite.id}"
    shift = rng.uniform(-0.7, 0.7, 2) if rng.uniform() < 0.7 else rng.uniform(-2, 2, 2)
    return Acquisition(
        item_id=item_id,
        acquired=acquired,
        decimals=int(rng.choice([0, 5, 6], p=[0.15, 0.25, 0.6])),
        satellite=satellite,
        swath=swath,
        shift_px=(float(shift[0]), float(shift[1])),
        cloud=cloud,
        sun_azimuth=round(float(rng.uniform(105, 128)), 1),
        sun_elevation=round(float(rng.uniform(52, 63)), 1),
        number=number,
    )


def raster_of(item: Acquisition, area: GeoBox) -> GeoBox:
    """Return the item's own grid: the swath's extent clipped to the area, in whole pixels of 3 m."""
    west, south, east, north = item.swath.bounds
    left, right = (int(np.floor(x / PIXEL_M)) for x in (west, east))
    top, bottom = (int(np.floor(-y / PIXEL_M)) for y in (north, south))
    left, top = max(left, area.column - 3 - item.number % 4), max(top, area.row - 2 - item.number % 5)
    right, bottom = min(right, area.column + area.width + 5), min(bottom, area.row + area.height + 4)
    return GeoBox(item.item_id, area.crs, area.pixel_m, left, top, right - left, bottom - top)
