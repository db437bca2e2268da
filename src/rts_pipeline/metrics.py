"""Object and pixel scores of outlines against a truth: the one implementation that every stage uses.

An object is found when an outline matches it one to one with an IoU above a limit. What can't be computed (no outline, no
truth) is None, never 0 or 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import floor
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from rts_pipeline.errors import InputError
from rts_pipeline.grid import GeoBox, Grid

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray

    Indices = NDArray[np.intp]
    Floats = NDArray[np.float64]
    Geometries = NDArray[np.object_]

TILE_PX = 2048


@dataclass(frozen=True)
class Matching:
    """A one-to-one matching of outlines.

    Attributes:
        predicted: positions of the matched outlines, ascending, shape (n,).
        truth: positions of their partners, shape (n,).
        iou: intersection over union of each pair, shape (n,).
        n_predicted: number of all outlines.
        n_truth: number of all true outlines.
    """

    predicted: Indices
    truth: Indices
    iou: Floats
    n_predicted: int
    n_truth: int


def match_outlines(predicted: gpd.GeoSeries, truth: gpd.GeoSeries, min_iou: float = 0.5) -> Matching:
    """Match outlines to the truth one to one: as many pairs as possible, then the largest sum of IoU.

    Args:
        predicted: polygons in a projected CRS. Invalid ones are repaired, missing and empty ones match nothing.
        truth: polygons in the same CRS, treated alike. Outlines of either set may overlap.
        min_iou: pairs must have an IoU above (not equal to) this. From 0.5 on no outline that is disjoint from the
            others of its set can have two possible partners, so nothing is left to choose.

    Raises:
        InputError: the CRS differ.
    """
    _same_crs(predicted, truth)
    pairs = _overlaps(_polygons(predicted), _polygons(truth), min_iou)
    rows, columns, iou = _assign(*pairs, n_predicted=len(predicted), n_truth=len(truth))
    return Matching(rows, columns, iou, len(predicted), len(truth))


def object_scores(matching: Matching) -> dict[str, Any]:
    """Return precision, recall, f1, tp, fp, fn and iou (mean of the matched pairs); None where undefined."""
    tp = len(matching.iou)
    return {
        "precision": _ratio(tp, matching.n_predicted),
        "recall": _ratio(tp, matching.n_truth),
        "f1": _ratio(2 * tp, matching.n_predicted + matching.n_truth),
        "tp": tp,
        "fp": matching.n_predicted - tp,
        "fn": matching.n_truth - tp,
        "iou": float(matching.iou.mean()) if tp else None,
    }


def pixel_iou(predicted: gpd.GeoSeries, truth: gpd.GeoSeries, grid: Grid, tile_px: int = TILE_PX) -> float | None:
    """Return the IoU of two sets of outlines counted in pixels of the grid (a pixel is in when its centre is).

    Args:
        predicted: polygons in the grid's CRS; overlapping ones count once.
        truth: the same.
        grid: the grid.
        tile_px: edge of the window that is held in memory; the result doesn't depend on it.

    Returns:
        The IoU, or None when neither set covers a pixel.

    Raises:
        InputError: the CRS differ.
    """
    _same_crs(predicted, truth)
    sets = [_polygons(predicted), _polygons(truth)]
    trees = [shapely.STRtree(geometries) for geometries in sets]
    both = either = 0
    for tile in _tiles(np.concatenate(sets), grid, tile_px):
        one, other = (
            _rasterise(geometries[tree.query(tile.polygon)], tile) for geometries, tree in zip(sets, trees, strict=True)
        )
        both += int(np.count_nonzero(one & other))
        either += int(np.count_nonzero(one | other))
    return _ratio(both, either)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _same_crs(predicted: gpd.GeoSeries, truth: gpd.GeoSeries) -> None:
    if predicted.crs != truth.crs:
        raise InputError("outlines to compare", f"CRS {predicted.crs} and {truth.crs} differ", expected="one CRS")


def _polygons(outlines: gpd.GeoSeries) -> Geometries:
    """Return the geometries with invalid ones repaired, as areas (repairing must not leave lines or points behind)."""
    geometries = np.array(outlines.to_numpy(), dtype=object)
    broken = ~shapely.is_valid(geometries) & ~shapely.is_missing(geometries)
    geometries[broken] = shapely.make_valid(geometries[broken], method="structure", keep_collapsed=False)
    return geometries


def _overlaps(predicted: Geometries, truth: Geometries, min_iou: float) -> tuple[Indices, Indices, Floats]:
    """Return (predicted, truth, IoU) of all pairs above `min_iou`.

    The overlap of two bounding boxes, and the smaller of two areas, bound the intersection: most pairs are settled by
    that, without computing a geometry.
    """
    rows, columns = shapely.STRtree(truth).query(predicted)
    areas = shapely.area(predicted), shapely.area(truth)
    a, b = areas[0][rows], areas[1][columns]
    boxes = shapely.bounds(predicted)[rows], shapely.bounds(truth)[columns]
    sides = np.minimum(boxes[0][:, 2:], boxes[1][:, 2:]) - np.maximum(boxes[0][:, :2], boxes[1][:, :2])
    bound = np.minimum(np.minimum(a, b), sides.prod(axis=1) * (1 + 1e-9))
    possible = bound * (1 + min_iou) > min_iou * (a + b)
    rows, columns, a, b = rows[possible], columns[possible], a[possible], b[possible]
    common = shapely.area(shapely.intersection(predicted[rows], truth[columns]))
    iou = common / (a + b - common)
    enough = iou > min_iou
    return rows[enough], columns[enough], iou[enough]


def _assign(rows: Indices, columns: Indices, iou: Floats, *, n_predicted: int, n_truth: int) -> tuple[Indices, Indices, Floats]:
    """Choose the optimal one-to-one subset of the pairs, component by component of their graph."""
    size = n_predicted + n_truth
    graph = coo_array((np.ones(len(rows)), (rows, columns + n_predicted)), shape=(size, size))
    component = connected_components(graph, directed=False)[1][rows]
    alone = np.bincount(component, minlength=1)[component] == 1
    chosen = [np.flatnonzero(alone)]
    shared = np.flatnonzero(~alone)
    shared = shared[np.argsort(component[shared], kind="stable")]
    for group in np.split(shared, np.flatnonzero(np.diff(component[shared])) + 1):
        chosen.append(group[_best(rows[group], columns[group], iou[group])])
    picked = np.concatenate(chosen)
    picked = picked[np.argsort(rows[picked], kind="stable")]
    return rows[picked], columns[picked], iou[picked]


def _best(rows: Indices, columns: Indices, iou: Floats) -> Indices:
    """Return the positions of the best pairs of one component."""
    row_names, i = np.unique(rows, return_inverse=True)
    column_names, j = np.unique(columns, return_inverse=True)
    position = np.full((len(row_names), len(column_names)), -1, dtype=np.intp)
    position[i, j] = np.arange(len(rows))
    # A pair is worth more than all IoU together, so that the number of pairs comes first.
    worth = np.where(position >= 0, min(position.shape) + 1 + iou[position], 0.0)
    found = position[linear_sum_assignment(worth, maximize=True)]
    return found[found >= 0]


def _tiles(geometries: Geometries, grid: Grid, tile_px: int) -> list[GeoBox]:
    """Return the tiles of the grid that the bounding boxes of the geometries touch, by row and column."""
    edge = tile_px * grid.pixel_m
    names: set[tuple[int, int]] = set()
    for west, south, east, north in shapely.bounds(geometries):
        if np.isfinite(west):
            rows = range(floor(-north / edge), floor(-south / edge) + 1)
            names.update(product(rows, range(floor(west / edge), floor(east / edge) + 1)))
    return [
        GeoBox(f"{row},{column}", grid.crs, grid.pixel_m, column * tile_px, row * tile_px, tile_px, tile_px)
        for row, column in sorted(names)
    ]


def _rasterise(geometries: Geometries, tile: GeoBox) -> NDArray[np.bool_]:
    from rasterio.features import rasterize

    if not len(geometries):
        return np.zeros(tile.shape, dtype=bool)
    return rasterize(geometries, out_shape=tile.shape, transform=tile.transform, dtype="uint8").astype(bool)
