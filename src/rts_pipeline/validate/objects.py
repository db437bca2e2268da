"""What the network outlines in a block, by the way of polygonize and candidates, and how much of it is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from rts_pipeline.components import Pieces, fill_holes, find
from rts_pipeline.metrics.objects import pairs_above
from rts_pipeline.metrics.pixels import level_of
from rts_pipeline.necks import cut_necks
from rts_pipeline.polygonize import to_crs_units
from rts_pipeline.simplify import simplify
from rts_pipeline.validate.ground import Ground, without

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rts_pipeline.config import Shaping

    Bytes = NDArray[np.uint8]
    Floats = NDArray[np.float64]
    Geometries = NDArray[np.object_]

THRESHOLDS = np.round(np.arange(0.05, 0.951, 0.05), 2)
MIN_AREAS_M2 = np.array([0.0, 300.0, 600.0, 1000.0, 2000.0, 4000.0])
HOLES_M2 = np.array([0.0, 300.0, 900.0, 2700.0])
SHAPE = len(THRESHOLDS), len(THRESHOLDS), len(HOLES_M2), len(MIN_AREAS_M2)
MIN_IOU = 0.5


@dataclass(frozen=True)
class Tally:
    """Objects of blocks at every setting, arrays of `SHAPE`: threshold, seed threshold, hole size, minimum area.

    Attributes:
        n_predicted: objects outlined.
        n_found: slumps that one of them matches with an IoU above 0.5.
        iou: sum of the IoU of those pairs.
        n_truth: slumps, whatever the setting.
    """

    n_predicted: NDArray[np.int64]
    n_found: NDArray[np.int64]
    iou: Floats
    n_truth: int

    @classmethod
    def none(cls) -> Tally:
        """Return the tally of no block."""
        return cls(np.zeros(SHAPE, np.int64), np.zeros(SHAPE, np.int64), np.zeros(SHAPE), 0)

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.n_predicted + other.n_predicted,
            self.n_found + other.n_found,
            self.iou + other.iou,
            self.n_truth + other.n_truth,
        )


@dataclass(frozen=True)
class Objects:
    """Outlines in a block.

    Attributes:
        whole: outlines in the grid's CRS with holes filled, shape (n,).
        judged: the same as far as they lie in judged ground; those that don't for half or more are left out of both.
        areas_m2: geodesic area of each whole outline.
        top: highest level of each one's pixels: it is an object up to that seed level,
        covered: and above this one: the highest top of those whose filled holes it lies in, -1 where there is none.
    """

    whole: Geometries
    judged: Geometries
    areas_m2: Floats
    top: NDArray[np.int64]
    covered: NDArray[np.int64]

    def at(self, seed_threshold: float, min_area_m2: float) -> Objects:
        """Return those that hold a pixel of at least that probability and have at least that area."""
        return self._where(self.seeded(np.array([seed_threshold]))[:, 0] & (self.areas_m2 >= min_area_m2))

    def seeded(self, seed_thresholds: Floats) -> NDArray[np.bool_]:
        """Return which are objects at each seed threshold, shape (n, number of thresholds)."""
        levels = np.array([level_of(threshold) for threshold in seed_thresholds])
        return (self.covered[:, None] < levels) & (levels <= self.top[:, None])

    def _where(self, kept: NDArray[np.bool_]) -> Objects:
        return Objects(self.whole[kept], self.judged[kept], self.areas_m2[kept], self.top[kept], self.covered[kept])


def traced(ground: Ground, probability: Bytes, threshold: float) -> Pieces:
    """Return the 8-connected sets of pixels at or above a threshold, as polygonize does, in global pixel indices."""
    return find(ground.box, probability, level_of(threshold))


def objects(pieces: Pieces, ground: Ground, probability: Bytes, hole_m2: float, shaping: Shaping) -> Objects:
    """Fill holes, cut necks, leave the pixels' staircases, as candidates does; keep what lies in judged ground.

    Args:
        pieces: what `traced` returned.
        ground: the block.
        probability: its probabilities.
        hole_m2: holes with a smaller area (in the grid's CRS) are filled.
        shaping: what is cut and simplified.
    """
    pixel_m, top = ground.box.pixel_m, pieces.value_max
    filled, inside, around = fill_holes(pieces.geometry, hole_m2 / pixel_m**2)
    covered = np.full(len(top), -1)
    np.maximum.at(covered, inside, top[around])
    # What is less probable than all around it is an object at no seed level.
    kept = covered < top
    pieces, origin = cut_necks(
        pieces.where(kept),
        filled[kept],
        shaping.neck_m / pixel_m,
        ground.box,
        lambda box: probability[ground.box.slices_of(box)],
    )
    # A part has what its whole is covered by; one that is less probable than that is an object at no seed level.
    top, covered = pieces.value_max, covered[kept][origin]
    whole = to_crs_units(simplify(pieces.geometry, shaping.simplify_px), pixel_m)
    judged, lies_there = without(whole, ground.ignored)
    areas_m2 = shapely.area(whole) * ground.m2_per_unit
    return Objects(whole, judged, areas_m2, top, covered)._where(lies_there)


def tally(ground: Ground, probability: Bytes, shaping: Shaping) -> Tally:
    """Count the objects of a block at every setting.

    Seed threshold and minimum area are applied to the matched objects: above an IoU of 0.5 each slump has one possible
    partner among objects that exist together, so that leaving others out changes no pair.
    """
    result = Tally.none()
    for index, threshold in enumerate(THRESHOLDS):
        pieces = traced(ground, probability, threshold)
        holes = _holes_m2(pieces.geometry, ground.box.pixel_m)
        for hole, hole_m2 in enumerate(HOLES_M2):
            at = index, slice(None), hole
            if hole and not ((holes >= HOLES_M2[hole - 1]) & (holes < hole_m2)).any():
                counts = [values[index, :, hole - 1] for values in (result.n_predicted, result.n_found, result.iou)]
            else:
                counts = _by_seed_and_area(objects(pieces, ground, probability, hole_m2, shaping), ground)
            result.n_predicted[at], result.n_found[at], result.iou[at] = counts
    return Tally(result.n_predicted, result.n_found, result.iou, len(ground.slumps))


def _by_seed_and_area(here: Objects, ground: Ground) -> list[NDArray[Any]]:
    """Return number, found and sum of IoU of the objects for each seed threshold and minimum area."""
    predicted, _, iou = pairs_above(here.judged, ground.slumps, MIN_IOU)
    seeded = here.seeded(THRESHOLDS).astype(float)
    large = (here.areas_m2[:, None] >= MIN_AREAS_M2).astype(float)
    found = seeded[predicted].T
    return [seeded.T @ large, found @ large[predicted], found @ (iou[:, None] * large[predicted])]


def _holes_m2(outlines: Geometries, pixel_m: float) -> Floats:
    """Return the areas of all holes."""
    rings, part = shapely.get_rings(shapely.get_parts(outlines), return_index=True)
    inner = np.diff(part, prepend=-1) == 0
    areas: Floats = shapely.area(np.asarray(shapely.polygons(rings[inner]))) * pixel_m**2
    return areas
