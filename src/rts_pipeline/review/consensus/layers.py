"""The tables of a consensus: slumps, what each person drew of them, and the ground between all and any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import shapely

from rts_pipeline.inventory.identity import POSSIBILITY, possibility_class
from rts_pipeline.inventory.shape import geodesic_area_perimeter, only_polygons
from rts_pipeline.metrics.boundary import offsets_m

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rts_pipeline.review.consensus.drawings import Drawings
    from rts_pipeline.review.consensus.majority import Agreed
    from rts_pipeline.review.consensus.matching import Pieces

    Floats = NDArray[np.float64]

STEP_M = 1.0
"""Distance between the points of a boundary at which its offset is measured: a third of a PlanetScope pixel."""
OFFSETS = {
    "offset_p2_5_m": 0.025,
    "offset_p16_m": 0.16,
    "offset_median_m": 0.5,
    "offset_p84_m": 0.84,
    "offset_p97_5_m": 0.975,
}
"""Median, and the ends of the middle 68 % and 95 %: one and two standard deviations, were offsets normal."""
SEEN = 0.5
"""Share of a slump that a person must have looked at, for not having drawn it to say something."""


@dataclass(frozen=True)
class Layers:
    """The tables, in the equal-area CRS of the drawings; slumps from north to south.

    Attributes:
        consensus: one row a slump: slump_id (1, 2, ...), n_drew, n_looked, share (n_drew / n_looked), possibility (the nearest
            of 1, 0.75, 0.5, 0.25, 0; halfway counts as the higher one) and its class, reviewers (who drew it), n_agree (how
            many people's outlines the consensus lies in), area_m2 and those drawn (smallest, median, largest, coefficient of
            variation), inner_m2 (drawn by all who drew it), outer_m2 (by any), offsets, distance_median_m.
        drawn: one row a slump and person: slump_id, reviewer, features (rows of the file), n_outlines, covers_others (an
            outline of it covers further slumps; it has only what isn't theirs), area_m2, iou and offset_median_m to the
            consensus.
        band: one row a slump that several drew: what some of them drew but not all, with inner_m2, outer_m2 and offsets.
        ratings: slumps x people, 1 drew it, 0 didn't, NaN didn't look there.
        first_outline: position in the drawings of one outline of each slump.
    """

    consensus: gpd.GeoDataFrame
    drawn: gpd.GeoDataFrame
    band: gpd.GeoDataFrame
    ratings: Floats
    first_outline: NDArray[np.intp]


def make_layers(drawings: Drawings, agreed: Agreed) -> Layers:
    """Return the tables of what was agreed. Areas are geodesic, offsets in metres, NaN where one person alone drew a slump."""
    pieces, crs = agreed.pieces, drawings.crs
    latitude = gpd.GeoSeries(agreed.outline, crs=crs).representative_point().to_crs("EPSG:4326").y.to_numpy()
    order = np.argsort(-latitude, kind="stable")
    number = order.argsort() + 1
    offset, length, owner = offsets_m(pieces.geometry, agreed.outline[pieces.slump], STEP_M)
    # All people weigh the same, however long their outline is.
    weight = length / np.bincount(owner, length)[owner]
    alone = np.bincount(pieces.slump) == 1
    quantiles = _quantiles(offset, weight, pieces.slump[owner], list(OFFSETS.values()))
    distance = _quantiles(np.abs(offset), weight, pieces.slump[owner], [0.5])
    quantiles[alone], distance[alone] = np.nan, np.nan
    middle = _quantiles(offset, weight, owner, [0.5])[:, 0]
    drawn = _drawn(drawings, agreed, np.where(alone[pieces.slump], np.nan, middle))
    ratings = _ratings(drawings, agreed)
    spread = {**dict(zip(OFFSETS, quantiles.T, strict=True)), "distance_median_m": distance[:, 0]}
    slumps = _slumps(drawings, agreed, drawn["area_m2"], ratings, spread).iloc[order].reset_index(drop=True)
    slumps.insert(0, "slump_id", slumps.index + 1)
    drawn.insert(0, "slump_id", number[pieces.slump])
    several = slumps.loc[slumps["n_drew"] > 1, ["slump_id", "n_drew", "inner_m2", "outer_m2", *spread]]
    between = only_polygons(shapely.difference(agreed.outer, agreed.inner))[order][several.index]
    band = gpd.GeoDataFrame(several.reset_index(drop=True), geometry=between, crs=crs)
    return Layers(
        slumps,
        drawn.sort_values(["slump_id", "reviewer"], ignore_index=True),
        band[~band.geometry.is_empty].reset_index(drop=True),
        ratings[order],
        _first_outline(pieces)[order],
    )


def _slumps(drawings: Drawings, agreed: Agreed, drawn_m2: Any, ratings: Floats, spread: dict[str, Floats]) -> gpd.GeoDataFrame:
    names = np.array(drawings.reviewers)
    n_drew, n_looked = (ratings == 1).sum(axis=1), (~np.isnan(ratings)).sum(axis=1)
    level = possibility_class(n_drew / n_looked)
    areas = drawn_m2.groupby(agreed.pieces.slump)
    outline, inner, outer = (gpd.GeoSeries(shapes, crs=drawings.crs) for shapes in (agreed.outline, agreed.inner, agreed.outer))
    return gpd.GeoDataFrame(
        {
            "n_drew": n_drew,
            "n_looked": n_looked,
            "share": n_drew / n_looked,
            "possibility": [POSSIBILITY[name] for name in level],
            "possibility_class": level,
            "reviewers": [", ".join(names[row == 1]) for row in ratings],
            "n_agree": agreed.n_agree,
            "area_m2": geodesic_area_perimeter(outline)[0],
            "area_min_m2": areas.min(),
            "area_median_m2": areas.median(),
            "area_max_m2": areas.max(),
            "area_cv": areas.std() / areas.mean(),
            "inner_m2": geodesic_area_perimeter(inner)[0],
            "outer_m2": geodesic_area_perimeter(outer)[0],
            **spread,
        },
        geometry=outline,
    )


def _drawn(drawings: Drawings, agreed: Agreed, offset: Floats) -> gpd.GeoDataFrame:
    pieces = agreed.pieces
    series, target = gpd.GeoSeries(pieces.geometry, crs=drawings.crs), agreed.outline[pieces.slump]
    common = shapely.area(shapely.intersection(pieces.geometry, target))
    return gpd.GeoDataFrame(
        {
            "reviewer": np.array(drawings.reviewers)[pieces.person],
            "features": [", ".join(map(str, np.sort(drawings.feature[list(outlines)]))) for outlines in pieces.members],
            "n_outlines": [len(outlines) for outlines in pieces.members],
            "covers_others": pieces.shared,
            "area_m2": geodesic_area_perimeter(series)[0],
            "iou": common / (shapely.area(pieces.geometry) + shapely.area(target) - common),
            "offset_median_m": offset,
        },
        geometry=series,
    )


def _ratings(drawings: Drawings, agreed: Agreed) -> Floats:
    ratings = np.zeros((len(agreed.outline), len(drawings.reviewers)))
    if drawings.looked is not None:
        seen = shapely.area(shapely.intersection(agreed.outline[:, None], drawings.looked[None]))
        ratings[seen < SEEN * shapely.area(agreed.outline)[:, None]] = np.nan
    # To have drawn a slump is to have looked, whatever the areas say.
    ratings[agreed.pieces.slump, agreed.pieces.person] = 1
    return ratings


def _first_outline(pieces: Pieces) -> NDArray[np.intp]:
    start = np.flatnonzero(np.diff(pieces.slump, prepend=-1))
    return np.array([pieces.members[place][0] for place in start], dtype=np.intp)


def _quantiles(values: Floats, weights: Floats, owner: NDArray[np.intp], quantiles: Sequence[float]) -> Floats:
    """Return quantiles of each owner's values, each standing for as much as its weight, shape (owners, quantiles)."""
    order = np.lexsort((values, owner))
    cuts = np.flatnonzero(np.diff(owner[order])) + 1
    groups = zip(np.split(values[order], cuts), np.split(weights[order], cuts), strict=True)
    return np.array([np.interp(quantiles, (np.cumsum(w) - w / 2) / w.sum(), v) for v, w in groups])
