"""The pixels of an item: what one satellite makes of the ground, and the usable data mask beside it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rts_pipeline.grid import GeoBox
from rts_pipeline.simulate.acquisitions import Acquisition
from rts_pipeline.simulate.noise import Array, enlarge, fractal, ramp, wrap

STRIPE = 256
CLOUD_PX = 10
EDGE_M = 5.0
"""Ground along a swath's edge where half of the pixels hold the floor value in the visible bands, as in real deliveries."""
NOISE = np.float32(0.008)
MASK_ERROR = 0.05
"""Standard deviation of the mask's mistake about the thickness of a cloud and the depth of a shadow."""
THICK, HAZY, DARK = 0.35, 0.06, 0.25
"""Thickness from which the mask calls a pixel cloud or light haze, and depth from which it calls it shadow."""
CLOUD = np.array([5200, 5300, 5400, 5600], np.float32)


@dataclass(frozen=True)
class Sky:
    """Clouds over an item, one value a 30 m cell: thickness 0-1 of cloud (with its haze) and depth 0-1 of its shadow.

    `mistake` is what the producer's mask takes both for too much or too little, so that it errs along their rims.
    """

    cloud: Array
    shadow: Array
    mistake: Array


def make_sky(rng: np.random.Generator, item: Acquisition, box: GeoBox) -> Sky | None:
    """Make clouds of the item's cloud share, and their shadows away from the sun; None for a clear sky."""
    if item.cloud == 0:
        return None
    pad = 30
    shape = (box.height // CLOUD_PX + 2 + 2 * pad, box.width // CLOUD_PX + 2 + 2 * pad)
    field = fractal(rng, shape, pixel=30, longest=2500, shortest=240, slope=3.0)
    core = float(np.quantile(field, 1 - item.cloud))
    cloud = ramp(field, core - 0.25, core + 0.35)
    length = rng.uniform(400, 900) / np.tan(np.radians(item.sun_elevation)) / 30
    azimuth = np.radians(item.sun_azimuth + 180)
    shadow = ndimage.shift(
        ramp(cloud, 0.3, 0.8), (-length * np.cos(azimuth), length * np.sin(azimuth)), order=1, mode="nearest"
    )
    mistake = MASK_ERROR * fractal(rng, shape, pixel=30, longest=900, shortest=90, slope=2.0)
    inner = (slice(pad, -pad), slice(pad, -pad))
    return Sky(cloud[inner], shadow[inner], mistake[inner])


@dataclass(frozen=True)
class View:
    """What all stripes of an item share."""

    item: Acquisition
    box: GeoBox
    sky: Sky | None
    noise: Array


def stripe(
    view: View, ground: NDArray[np.uint16], snow: NDArray[np.bool_], ground_box: GeoBox, rows: slice
) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Return some rows of an item: (4, rows, width) reflectance x 10,000, 0 outside the swath; (8, rows, width) udm2.

    Args:
        view: the item.
        ground: (4, n, m) reflectance x 10,000 of the year.
        snow: (n, m) where the producer sees snow.
        ground_box: the place of `ground`.
        rows: rows of the item.
    """
    shape = (rows.stop - rows.start, view.box.width)
    pixels, udm2 = np.zeros((4, *shape), np.uint16), np.zeros((8, *shape), np.uint8)
    udm2[7] = 1
    columns = _columns(view, rows)
    if columns.start < columns.stop:
        part = _part(view.box, rows, columns)
        inside, edge = _swath(view.item, part)
        clouds = _clouds(view, rows, columns)
        seen = _seen(view, ground, ground_box, part, clouds)
        seen[:3, edge & (wrap(view.noise, rows, columns) > 0)] = 1
        pixels[:, :, columns] = seen * inside
        udm2[:, :, columns] = _udm2(inside, _as_masked(view, rows, columns, clouds), snow[ground_box.slices_of(part)])
    return pixels, udm2


def shows_ground(view: View, rows: slice) -> NDArray[np.bool_]:
    """Return where some rows of an item truly show the ground (rows, width): the truth for its usable pixels.

    Inside the swath, not at its very edge, and neither below a cloud nor in a shadow as thick as the mask should tell.
    """
    columns = slice(0, view.box.width)
    inside, edge = _swath(view.item, _part(view.box, rows, columns))
    clouds = _clouds(view, rows, columns)
    if clouds is None:
        return inside & ~edge
    return inside & ~edge & (clouds[0] <= THICK) & (clouds[1] <= DARK)


def _part(box: GeoBox, rows: slice, columns: slice) -> GeoBox:
    height, width = rows.stop - rows.start, columns.stop - columns.start
    return GeoBox(box.id, box.crs, box.pixel_m, box.column + columns.start, box.row + rows.start, width, height)


def _columns(view: View, rows: slice) -> slice:
    """Return the columns that the swath reaches in these rows."""
    strip = _part(view.box, rows, slice(0, view.box.width))
    reached = view.item.swath.intersection(strip.polygon)
    if reached.is_empty:
        return slice(0, 0)
    west, _, east, _ = reached.bounds
    left = strip.bounds[0]
    return slice(int((west - left) / strip.pixel_m), min(int((east - left) / strip.pixel_m) + 1, strip.width))


def _swath(item: Acquisition, part: GeoBox) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which pixels lie inside the tilted swath, and which of them at its very edge."""
    west, _, _, north = part.bounds
    x = (west + (np.arange(part.width) + 0.5) * part.pixel_m)[None, :]
    y = (north - (np.arange(part.height) + 0.5) * part.pixel_m)[:, None]
    corners = np.array(item.swath.exterior.coords)
    distance = np.full(part.shape, np.inf, np.float32)
    for (x0, y0), (x1, y1) in pairwise(corners):
        length = np.hypot(x1 - x0, y1 - y0)
        across = ((x - x0) * ((y1 - y0) / length)).astype(np.float32) - ((y - y0) * ((x1 - x0) / length)).astype(np.float32)
        np.minimum(distance, across, out=distance)
    inside = distance >= 0
    return inside, inside & (distance < EDGE_M)


def _clouds(view: View, rows: slice, columns: slice) -> tuple[Array, Array] | None:
    """Return thickness of cloud and depth of shadow (rows, columns), None where the sky is clear."""
    if view.sky is None:
        return None
    cloud = enlarge(view.sky.cloud, CLOUD_PX, rows, columns)
    shadow = enlarge(view.sky.shadow, CLOUD_PX, rows, columns)
    return (cloud, shadow) if cloud.any() or shadow.any() else None


def _as_masked(view: View, rows: slice, columns: slice, clouds: tuple[Array, Array] | None) -> tuple[Array, Array] | None:
    """Return thickness and depth as the producer's mask takes them: only where there is something does it err."""
    if view.sky is None or clouds is None:
        return None
    mistake = enlarge(view.sky.mistake, CLOUD_PX, rows, columns)
    cloud, shadow = clouds
    return cloud + mistake * (cloud > 0), shadow + mistake * (shadow > 0)


def _seen(
    view: View, ground: NDArray[np.uint16], ground_box: GeoBox, part: GeoBox, clouds: tuple[Array, Array] | None
) -> NDArray[np.uint16]:
    """Return what the satellite makes of the ground (4, rows, columns): displaced, below clouds, with its gain and noise."""
    satellite = view.item.satellite
    window, weights = _displaced(view.item, ground_box, part)
    top, left = part.row - view.box.row, part.column - view.box.column
    seen = np.empty((4, *part.shape), np.uint16)
    for band in range(4):  # a band at a time stays in the processor's cache
        colour = _bilinear(ground[band][window], weights) * np.float32(satellite.gain[band]) + np.float32(
            satellite.offset[band]
        )
        if clouds is not None:
            colour *= 1 - np.float32(0.55) * clouds[1]
            colour += (CLOUD[band] - colour) * clouds[0] * (np.float32(0.4) + np.float32(0.6) * clouds[0])
        own = slice(top + 311 * band, top + 311 * band + part.height)
        colour *= 1 + NOISE * wrap(view.noise, own, slice(left, left + part.width))
        seen[band] = np.clip(colour, 20, 16_000, out=colour)
    return seen


def _displaced(
    item: Acquisition, ground_box: GeoBox, part: GeoBox
) -> tuple[tuple[slice, slice], tuple[np.float32, np.float32]]:
    """Return the window of the ground that the part shows (a row and column more), and the fraction of a pixel beyond it."""
    whole = [int(np.floor(-shift)) for shift in item.shift_px]
    down, right = (np.float32(-shift - step) for shift, step in zip(item.shift_px, whole, strict=True))
    rows, columns = ground_box.slices_of(part)
    window = (
        slice(rows.start + whole[0], rows.stop + whole[0] + 1),
        slice(columns.start + whole[1], columns.stop + whole[1] + 1),
    )
    return window, (down, right)


def _bilinear(window: NDArray[np.uint16], weights: tuple[np.float32, np.float32]) -> Array:
    down, right = weights
    lines = window[:-1] * (1 - down) + window[1:] * down
    return lines[:, :-1] * (1 - right) + lines[:, 1:] * right


def _udm2(inside: NDArray[np.bool_], clouds: tuple[Array, Array] | None, snow: NDArray[np.bool_]) -> NDArray[np.uint8]:
    udm2 = np.zeros((8, *inside.shape), np.uint8)
    covered = np.zeros(inside.shape, bool)
    udm2[6] = 92 * inside
    udm2[7] = ~inside
    if clouds is not None:
        cloud, shadow = clouds
        thick = (cloud > THICK) & inside
        haze = (cloud > HAZY) & inside & ~thick
        dark = (shadow > DARK) & inside & ~thick & ~haze
        covered = thick | haze | dark
        udm2[2], udm2[3], udm2[5] = dark, haze, thick
        udm2[6] -= (40 * haze + 15 * dark + 8 * thick).astype(np.uint8)
        udm2[7] |= 2 * thick.astype(np.uint8)
    udm2[0], udm2[1] = inside & ~snow & ~covered, inside & snow & ~covered
    return udm2
