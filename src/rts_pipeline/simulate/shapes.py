"""Outlines of natural things, and the pixels around one outline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.features import rasterize
from scipy import ndimage
from shapely import Polygon

from rts_pipeline.grid import GeoBox
from rts_pipeline.simulate.noise import Array, ramp

VERTICES = 96
Points = NDArray[np.float64]


def ring(rng: np.random.Generator, roughness: float, harmonics: int = 14) -> Points:
    """Return the radii (96) of an irregular closed line around 1; harmonic k has amplitude roughness / k ** 1.3."""
    angle = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    order = np.arange(2, harmonics + 2)
    phase = rng.uniform(0, 2 * np.pi, order.size)
    weight = rng.normal(0, 1, order.size) * roughness / order**1.3
    return np.clip(1 + (weight[:, None] * np.cos(order[:, None] * angle + phase[:, None])).sum(0), 0.35, 1.9)


def blob(
    rng: np.random.Generator, x: float, y: float, area_m2: float, azimuth: float, aspect: float, roughness: float
) -> Polygon:
    """Return an irregular ellipse of that area whose long axis has that azimuth (radians from north)."""
    angle = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    radius = ring(rng, roughness)
    local = np.stack([radius * np.cos(angle) * aspect**0.5, radius * np.sin(angle) / aspect**0.5], 1)
    return Polygon(place(local * (area_m2 / Polygon(local).area) ** 0.5, x, y, azimuth))


def place(local: Points, x: float, y: float, azimuth: float) -> Points:
    """Turn local coordinates (along the azimuth, to its right) into x and y."""
    along, right = local.T
    sine, cosine = np.sin(azimuth), np.cos(azimuth)
    return np.stack([x + along * sine + right * cosine, y + along * cosine - right * sine], 1)


@dataclass(frozen=True)
class Patch:
    """The pixels of a ground box around an outline.

    Attributes:
        rows: rows of the box.
        columns: columns of the box.
        inside_m: distance to the outline, positive inside, metres.
        along_m: distance from the outline's origin along its azimuth, metres.
        right_m: distance to the right of its azimuth, metres.
    """

    rows: slice
    columns: slice
    inside_m: Array
    along_m: Array
    right_m: Array

    @property
    def cover(self) -> Array:
        """Share of each pixel inside the outline (0-1), about one pixel soft."""
        return ramp(self.inside_m, -2.0, 2.0)

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return self.rows, self.columns


def patch(box: GeoBox, outline: Polygon, x: float, y: float, azimuth: float, margin_px: int = 8) -> Patch:
    """Return the pixels of `box` within `margin_px` of an outline, in the local frame of (x, y, azimuth)."""
    west, _, _, north = box.bounds
    left, bottom, right, top = outline.bounds
    columns = slice(
        max(0, int((left - west) / box.pixel_m) - margin_px), min(box.width, int((right - west) / box.pixel_m) + margin_px)
    )
    rows = slice(
        max(0, int((north - top) / box.pixel_m) - margin_px), min(box.height, int((north - bottom) / box.pixel_m) + margin_px)
    )
    part = GeoBox(
        "",
        box.crs,
        box.pixel_m,
        box.column + columns.start,
        box.row + rows.start,
        columns.stop - columns.start,
        rows.stop - rows.start,
    )
    mask = rasterize([outline], out_shape=part.shape, transform=part.transform, dtype="uint8").astype(bool)
    inside = np.where(mask, ndimage.distance_transform_edt(mask) - 0.5, 0.5 - ndimage.distance_transform_edt(~mask))
    dx = west + (np.arange(columns.start, columns.stop) + 0.5) * box.pixel_m - x
    dy = (north - (np.arange(rows.start, rows.stop) + 0.5) * box.pixel_m - y)[:, None]
    sine, cosine = np.sin(azimuth), np.cos(azimuth)
    along, to_right = dx * sine + dy * cosine, dx * cosine - dy * sine
    return Patch(
        rows, columns, (inside * box.pixel_m).astype(np.float32), along.astype(np.float32), to_right.astype(np.float32)
    )


def blend(ground: NDArray[np.uint16], where: tuple[slice, slice], colour: Array, cover: Array) -> None:
    """Lay `colour` (4, h, w), reflectance x 10,000, over the ground (4, rows, columns) with `cover` (h, w), in place."""
    below = ground[:, *where].astype(np.float32)
    ground[:, *where] = np.rint(below + (colour - below) * cover)
