"""Which outline takes the place of which: reviewers judge outlines that grew over slumps that are known already.

Such a candidate names the labels that it lies over (`known_ids`). Accepted or redrawn, it takes the place of those of them that
it shares ground with: one that a new drawing leaves out, or touches by accident, stays as it was, so that no verdict disappears
with another.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray

    Geometries = NDArray[np.object_]
    Positions = NDArray[np.intp]

MIN_SHARED_M2 = 0.01
"""Overlaps below this are rounding: outlines that share an edge overlap by slivers after a change of CRS."""
NARROW_PX = 0.9
"""Overlaps nowhere as wide as this are no more than how sure a hand is: outlines are drawn to about a pixel."""
MOSTLY = 0.5
"""Of an outline that shares more than this share of its area the overlap is never by accident."""
LITTLE = 0.1
"""Outlines of which neither shares more than this share of its area are neighbours that overlap by accident."""
SEPARATOR = ","
JOINT = "+"
"""Joins the ids of the outlines that a slump of the inventory was made of."""
SEED = "seed"
"""Source of what was known at the start; that of what a review decided is "round 01" and so on."""


def outline_sha256(outlines: Geometries, decimals: int = 2) -> list[str]:
    """Return the sha256 of each outline: of its normalised little-endian 2D WKB, coordinates rounded to 0.01 m.

    Args:
        outlines: n polygons.
        decimals: of the coordinates, where they aren't metres.
    """
    rounded = shapely.normalize(shapely.transform(shapely.force_2d(outlines), lambda xy: np.round(xy, decimals) + 0.0))
    return [hashlib.sha256(wkb).hexdigest() for wkb in shapely.to_wkb(rounded, byte_order=1, output_dimension=2)]


def with_lineage(reviewed: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return the rows of a review with what was asked: `known_ids` and `judged_m2`.

    `known_ids` are the labels that the outline lies over, joined by commas, empty for a new slump; `judged_m2` is the area of
    the outline that was shown, nan for one that a reviewer added. Reviews from before there were such columns asked about new
    slumps alone.
    """
    missing = {"known_ids": "", "judged_m2": np.nan}
    rows = reviewed.assign(**{name: value for name, value in missing.items() if name not in reviewed})
    return rows.assign(known_ids=rows["known_ids"].fillna("").astype("str"), judged_m2=rows["judged_m2"].astype("float64"))


def known_outlines(candidates: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return candidate_id, known_ids and what is known (geometry) where a slump changed, or in a window that is audited.

    Candidates from before there was such a question have none.
    """
    if "known" not in candidates:
        candidates = candidates.iloc[:0].assign(known_ids="", known=candidates.geometry[:0])
    changed = candidates.loc[candidates["known"].notna(), ["candidate_id", "known_ids", "known"]]
    return changed.rename(columns={"known": "geometry"}).set_geometry("geometry", crs=candidates.crs)


def replacements(names: pd.Series, known: pd.Series, outlines: Geometries, pixel_m: float) -> tuple[Positions, Positions]:
    """Return the positions of the outlines that took another's place, and of that other, a pair of each.

    Args:
        names: label or candidate ids of n outlines that show slumps, each there once.
        known: their `known_ids`, as `with_lineage` returns them.
        outlines: their polygons, shape (n,), in one CRS in metres.
        pixel_m: edge of a pixel.
    """
    texts = known.str.split(SEPARATOR).reset_index(drop=True).explode()
    olds = pd.Index(names).get_indexer(texts)
    new, old = texts.index.to_numpy()[olds >= 0], olds[olds >= 0]
    ground = common_ground(outlines[new], outlines[old])
    shared = (shapely.area(ground) > MIN_SHARED_M2) & ~by_accident(ground, outlines[new], outlines[old], pixel_m)
    return new[shared], old[shared]


def by_accident(ground: Geometries, first: Geometries, second: Geometries, pixel_m: float) -> NDArray[np.bool_]:
    """Return which of n pairs overlap by accident: nowhere by a pixel's width, and by less than half of either outline.

    Args:
        ground: what each pair shares, shape (n,), in a CRS in metres.
        first: an outline of each pair.
        second: the other.
        pixel_m: edge of a pixel.
    """
    accident = shapely.area(ground) < MOSTLY * np.minimum(shapely.area(first), shapely.area(second))
    accident[accident] = shapely.is_empty(shapely.buffer(ground[accident], -NARROW_PX * pixel_m / 2))
    return accident


def slight(ground: Geometries, first: Geometries, second: Geometries, pixel_m: float) -> NDArray[np.bool_]:
    """Return which of n pairs of outlines of different times or hands are neighbours that overlap by accident.

    Their edges differ by more than a pixel, so that a small share of either's area tells no more than a narrow strip. Arguments
    as those of `by_accident`.
    """
    most = shapely.area(ground) / np.minimum(shapely.area(first), shapely.area(second))
    accident: NDArray[np.bool_] = (most < LITTLE) | by_accident(ground, first, second, pixel_m)
    return accident


def common_ground(first: Geometries, second: Geometries) -> Geometries:
    """Return what each of n pairs shares; outlines that are the same to the last coordinate are it, which costs less."""
    ground: Geometries = first.copy()
    other = np.flatnonzero(~shapely.equals_exact(first, second, 0.0))
    ground[other] = shapely.intersection(first[other], second[other])
    return ground


def united(outlines: Geometries, owner: NDArray[Any], count: int) -> Geometries:
    """Return the union of the outlines of each owner 0..count-1; None for one that has none."""
    result = np.full(count, None, dtype=object)
    order = np.argsort(owner, kind="stable")
    owners, place, number = np.unique(owner[order], return_inverse=True, return_counts=True)
    if len(owners):
        collections = np.asarray(shapely.geometrycollections(outlines[order], indices=place))
        several = number > 1
        result[owners[~several]] = shapely.get_geometry(collections[~several], 0)
        result[owners[several]] = shapely.union_all(collections[several][:, None], axis=1)
    return result


def covered_m2(outlines: Geometries, by: Geometries) -> NDArray[np.float64]:
    """Return the area of each of n outlines that others, which may overlap each other, cover, in the unit of their CRS."""
    other, one = shapely.STRtree(outlines).query(by, predicate="intersects")
    ground = shapely.intersection(outlines, united(by[other], one, len(outlines)))
    area: NDArray[np.float64] = np.nan_to_num(shapely.area(ground))
    return area
