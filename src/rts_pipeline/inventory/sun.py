"""Potential solar radiation of ground under a cloudless sky: where the sun is, what the ground hides of it and of the sky.

Pure functions on arrays; angles in radians, azimuths clockwise from grid north unless true north is said.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SOLAR_CONSTANT_W_M2 = 1361.0
"""Kopp & Lean 2011 (doi 10.1029/2010GL045777)."""
DAYS, STEPS = 24, 32
"""Days of the year, and times of each day between sunrise and sunset, that the sums are made of."""
DIRECTIONS = 36
"""In which the horizon is known: every ten degrees."""
CHUNK = 512
"""Pixels worked on at a time: it bounds the memory."""


@dataclass(frozen=True)
class Sun:
    """Where the sun is above a plain in a year.

    Attributes:
        east, north, up: (n,) of the unit vector towards it.
        energy: (n,) kWh m-2 that a plane facing it gets outside the atmosphere, in the time that the position stands for.
    """

    east: Floats
    north: Floats
    up: Floats
    energy: Floats


def sun_of_year(latitude_deg: float, grid_north_deg: float = 0.0) -> Sun:
    """Return the sun's positions in a year.

    Declination (Cooper 1969) and distance as in Duffie & Beckman, Solar Engineering of Thermal Processes, section 1.6 and
    1.4; each position is the middle of a part of the day between sunrise and sunset.

    Args:
        latitude_deg: degrees.
        grid_north_deg: true azimuth of grid north, degrees; north and east are then the grid's.
    """
    day = 0.5 + (np.arange(DAYS) + 0.5) * 365 / DAYS
    declination = np.radians(23.45) * np.sin(2 * np.pi * (284 + day) / 365)
    distance = 1 + 0.033 * np.cos(2 * np.pi * day / 365)
    latitude = np.radians(latitude_deg)
    sunset = np.arccos(np.clip(-np.tan(latitude) * np.tan(declination), -1, 1))
    # (days, steps): hour angles from sunrise to sunset, negative in the morning
    hour = sunset[:, None] * (2 * (np.arange(STEPS) + 0.5) / STEPS - 1)
    sine, cosine = np.sin(declination)[:, None], np.cos(declination)[:, None]
    east = -cosine * np.sin(hour)
    north = sine * np.cos(latitude) - cosine * np.sin(latitude) * np.cos(hour)
    up = sine * np.sin(latitude) + cosine * np.cos(latitude) * np.cos(hour)
    hours = 2 * sunset / STEPS * 12 / np.pi * 365 / DAYS
    energy = SOLAR_CONSTANT_W_M2 / 1000 * distance * hours
    turn = np.radians(grid_north_deg)
    return Sun(
        (east * np.cos(turn) - north * np.sin(turn)).ravel(),
        (east * np.sin(turn) + north * np.cos(turn)).ravel(),
        np.clip(up, 0, 1).ravel(),
        np.repeat(energy, STEPS),
    )


def beam_transmittance(up: Floats, elevation_m: float) -> Floats:
    """Return the share of direct radiation that a cloudless atmosphere lets through.

    Kumar, Skidmore & Knowles 1997 (Int. J. Geographical Information Science 11, 475-497), after Kreith & Kreider 1978: from
    the mass of air on the way, which is less where the ground is high.

    Args:
        up: (n,) sine of the sun's height.
        elevation_m: of the ground.
    """
    pressure = ((288 - 0.0065 * elevation_m) / 288) ** 5.256
    mass = (np.sqrt(1229 + (614 * up) ** 2) - 614 * up) * pressure
    return np.asarray(0.56 * (np.exp(-0.65 * mass) + np.exp(-0.095 * mass)))


def directions() -> tuple[Floats, Floats]:
    """Return east and north of the unit vectors in which the horizon is known, (DIRECTIONS,), clockwise from grid north."""
    azimuth = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    return np.sin(azimuth), np.cos(azimuth)


def sky_view(gradient: Floats, horizon: Floats) -> Floats:
    """Return the share of the sky's light that reaches the ground, (n,): 1 on a plain.

    Dozier & Frew 1990 (doi 10.1109/36.58986), equation 7b, for light that is equal from all parts of the sky.

    Args:
        gradient: (2, n) rise to the east and to the north, metres a metre.
        horizon: (DIRECTIONS, n) tangent of the height of the horizon, 0 or more.
    """
    east, north = directions()
    rise = east[:, None] * gradient[0] + north[:, None] * gradient[1]
    tangent = np.maximum(horizon, rise)
    zenith = np.pi / 2 - np.arctan(tangent)
    sine_2 = 1 / (1 + tangent**2)
    # sin S cos(azimuth - aspect) is -rise x cos S
    seen = sine_2 - rise * (zenith - tangent * sine_2)
    return np.asarray(seen.mean(axis=0) / np.sqrt(1 + (gradient**2).sum(axis=0)))


def direct(sun: Sun, beam: Floats, gradient: Floats, horizon: Floats) -> Floats:
    """Return the direct radiation on the ground, (n,), in the unit of `beam`.

    Args:
        sun: its positions.
        beam: what each of them brings to a plane that faces the sun.
        gradient: (2, n) rise to the east and to the north, metres a metre.
        horizon: (DIRECTIONS, n) tangent of the height of the horizon.
    """
    normal = np.stack([-gradient[0], -gradient[1], np.ones_like(gradient[0])]) / np.sqrt(1 + (gradient**2).sum(axis=0))
    facing = np.clip(np.stack([sun.east, sun.north, sun.up], axis=1) @ normal, 0, None)
    place = np.arctan2(sun.east, sun.north) / (2 * np.pi) * DIRECTIONS % DIRECTIONS
    before = np.floor(place).astype(int) % DIRECTIONS
    share = (place - np.floor(place))[:, None]
    skyline = horizon[before] * (1 - share) + horizon[(before + 1) % DIRECTIONS] * share
    lit = sun.up[:, None] > skyline * np.hypot(sun.east, sun.north)[:, None]
    return np.asarray(beam @ (facing * lit))


def potential_radiation(sun: Sun, elevation_m: float, gradient: Floats, horizon: Floats) -> Floats:
    """Return the potential solar radiation of a year, (n,), kWh m-2: direct and from the sky, none from other ground.

    The sky's light on a plain is what Liu & Jordan 1960 (doi 10.1016/0038-092X(60)90062-1) found beside the direct light.

    Args:
        sun: its positions.
        elevation_m: of the ground.
        gradient: (2, n) rise to the east and to the north, metres a metre.
        horizon: (DIRECTIONS, n) tangent of the height of the horizon.
    """
    transmittance = beam_transmittance(sun.up, elevation_m)
    sky = float((sun.energy * (0.271 - 0.294 * transmittance)) @ sun.up)
    parts = []
    for start in range(0, gradient.shape[1], CHUNK):
        slopes, skyline = gradient[:, start : start + CHUNK], horizon[:, start : start + CHUNK]
        parts.append(direct(sun, sun.energy * transmittance, slopes, skyline) + sky * sky_view(slopes, skyline))
    return np.concatenate(parts)
