"""What is measured of a candidate in the image of one year."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from rts_pipeline.components import fill_holes, find
from rts_pipeline.config import BANDS
from rts_pipeline.evidence.network import Look
from rts_pipeline.expected import pixel_areas
from rts_pipeline.grid import GeoBox
from rts_pipeline.metrics.pixels import BINS, NODATA, level_of
from rts_pipeline.necks import cut_necks
from rts_pipeline.polygonize import to_crs_units
from rts_pipeline.simplify import simplify

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

    Mask = NDArray[np.bool_]

WHOLE = 0.95
"""Share of an outline that must be usable before its absence or its area counts."""
REFLECTANCE = 10_000


@dataclass(frozen=True)
class Outlining:
    """The round's rule of what is an outline; see the stages polygonize and candidates."""

    threshold: float
    seed_threshold: float
    min_area_m2: float
    hole_m2: float
    simplify_px: float
    neck_m: float


@dataclass(frozen=True)
class Zones:
    """Where a candidate is measured: pixels of a box.

    Attributes:
        box: the box.
        outline: the candidate's outline.
        inside: (h, w): its pixels.
        ring: (h, w): the pixels upslope of it; none where the direction uphill isn't known.
    """

    box: GeoBox
    outline: BaseGeometry
    inside: Mask
    ring: Mask

    @classmethod
    def of(cls, outline: BaseGeometry, box: GeoBox) -> Zones:
        """Return the zones as far as the direction uphill isn't needed.

        Args:
            outline: the candidate's outline, in the grid's CRS.
            box: pixels that hold it.
        """
        return cls(box, outline, _pixels(outline, box), np.zeros(box.shape, bool))

    def with_ring(self, uphill: float, ring_m: float) -> Zones:
        """Return the zones with the ring.

        Args:
            uphill: direction in radians clockwise from grid north.
            ring_m: width of the ring, which the box must hold.
        """
        around = self.outline.buffer(ring_m).difference(self.outline)
        columns, rows = np.meshgrid(np.arange(self.box.width) + 0.5, np.arange(self.box.height) + 0.5)
        x, y = self.box.transform @ (columns, rows)
        centre = self.outline.centroid
        upslope = (x - centre.x) * np.sin(uphill) + (y - centre.y) * np.cos(uphill)
        return replace(self, ring=_pixels(around, self.box) & (upslope > 0))


def measure(look: Look, zones: Zones, rule: Outlining) -> dict[str, Any]:
    """Return the numbers of a year by the names of `evidence.parquet`, `outline` as a geometry or None.

    Args:
        look: the image on the zones' box.
        zones: where to measure.
        rule: what is an outline.
    """
    usable = look.probability != NODATA
    observed = float(usable[zones.inside].mean())
    outline = outlined(look, zones.outline, rule)
    seen = True if outline is not None else False if observed >= WHOLE else None
    area, missing = _area(look, zones.outline, outline, usable, seen)
    prob = look.probability[zones.inside & usable] / BINS
    ndvi, brightness = _means(look, zones.inside & usable)
    ndvi_ring, brightness_ring = _means(look, zones.ring & usable)
    return {
        "observed_fraction": observed,
        "seen": seen,
        "area_m2": area,
        "prob_mean": float(prob.mean()) if len(prob) else np.nan,
        "prob_max": float(prob.max()) if len(prob) else np.nan,
        "ndvi": ndvi,
        "brightness": brightness,
        "ndvi_ring": ndvi_ring,
        "brightness_ring": brightness_ring,
        "numbers_reason": missing,
        "outline": outline,
    }


def outlined(look: Look, candidate: BaseGeometry, rule: Outlining) -> BaseGeometry | None:
    """Return what the network outlines of a candidate's slump: all outlines that touch the candidate's, united."""
    box = look.box
    pieces = find(box, look.probability, level_of(rule.threshold))
    pieces = pieces.where(pieces.value_max >= level_of(rule.seed_threshold))
    filled, inside, _ = fill_holes(pieces.geometry, rule.hole_m2 / box.pixel_m**2)
    kept = ~np.isin(np.arange(len(filled)), inside)
    neck_px = rule.neck_m / box.pixel_m
    pieces, _ = cut_necks(pieces.where(kept), filled[kept], neck_px, box, lambda part: look.probability[box.slices_of(part)])
    pieces = pieces.where(pieces.value_max >= level_of(rule.seed_threshold))
    outlines = to_crs_units(simplify(pieces.geometry, rule.simplify_px), box.pixel_m)
    near = outlines[shapely.intersects(outlines, candidate)]
    near = near[[area_m2(outline, box) >= rule.min_area_m2 for outline in near]]
    return shapely.union_all(near) if len(near) else None


def area_m2(outline: BaseGeometry, box: GeoBox) -> float:
    """Return an outline's area on the ellipsoid: by the scale of the projection at its centre."""
    at = np.array([outline.centroid.x]), np.array([outline.centroid.y])
    return float(outline.area * pixel_areas(box.crs, box.pixel_m, *at)[0] / box.pixel_m**2)


def _area(
    look: Look, candidate: BaseGeometry, outline: BaseGeometry | None, usable: Mask, seen: bool | None
) -> tuple[float, str]:
    """Return the area and why it isn't known."""
    if seen is None:
        return np.nan, "the image shows too little of the candidate to tell whether there is a slump"
    if outline is None:
        return 0.0, ""
    reach = _pixels(shapely.union_all([outline, candidate]).buffer(look.box.pixel_m), look.box)
    if usable[reach].mean() < WHOLE:
        return np.nan, "the image shows only a part of the slump: no area"
    edge = look.box.polygon.exterior.buffer(look.box.pixel_m)
    if outline.intersects(edge):
        return np.nan, "the slump reaches beyond the measured ground (evidence.margin_m): no area"
    return area_m2(outline, look.box), ""


def _means(look: Look, where: Mask) -> tuple[float, float]:
    """Return NDVI and brightness, means over pixels; nan without any."""
    blue, green, red, nir = (look.pixels[BANDS.index(band)][where] / REFLECTANCE for band in ("blue", "green", "red", "nir"))
    if not len(red):
        return np.nan, np.nan
    return float(((nir - red) / (nir + red)).mean()), float(((blue + green + red) / 3).mean())


def _pixels(shape: BaseGeometry, box: GeoBox) -> Mask:
    """Return the pixels whose centre lies in a shape (h, w)."""
    from rasterio.features import geometry_mask

    if shape.is_empty:
        return np.zeros(box.shape, bool)
    return np.asarray(geometry_mask([shape], box.shape, box.transform, invert=True), dtype=bool)
