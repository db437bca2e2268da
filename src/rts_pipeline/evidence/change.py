"""What the years together say of a candidate: pure functions on what was measured in each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

    Floats = NDArray[np.float64]

SHRINKS = 0.1
"""An outline may lose this share of the union of all years in a step (Huang et al. 2021, doi 10.1016/j.jag.2021.102399)."""
FEW_RAYS = 3
"""Rays of one pixel's width that must cross the outlines of all years for the headwall to be measured."""
NORMAL_95 = 1.96
DAYS_A_YEAR = 365.25


def first_visible(years: Sequence[int], seen: Sequence[bool | None]) -> tuple[int | None, int | None]:
    """Return the first year with a slump, and the last one before it without; None: there is none.

    Args:
        years: ascending.
        seen: whether there is a slump; None where it isn't known.
    """
    first = next((year for year, there in zip(years, seen, strict=True) if there), None)
    before = [year for year, there in zip(years, seen, strict=True) if there is False and (first is None or year < first)]
    return first, before[-1] if first is not None and before else None


def two_years(years: Sequence[int], seen: Sequence[bool | None]) -> bool | None:
    """Return whether a slump is there in two years that follow each other; None where years that aren't known leave it open.

    Each of the years counts with the one before it and the one after it. Those that weren't asked for aren't known: a slump
    that is there in the last year alone is left open, and so is one of which no year tells anything.
    """
    if not years:
        return None
    told = dict(zip(years, seen, strict=True))
    pairs = [(told.get(first), told.get(first + 1)) for year in years for first in (year - 1, year)]
    if (True, True) in pairs:
        return True
    return False if all(False in pair for pair in pairs) else None


def monotone_growth(outlines: Sequence[BaseGeometry | None]) -> bool | None:
    """Return whether a slump never shrinks: its IoU with the union of all years falls by at most `SHRINKS` in a step.

    Args:
        outlines: of the years whose outline is known whole, ascending; None where there is no slump.
    """
    areas = np.array([0.0 if outline is None else outline.area for outline in outlines])
    if len(areas) < 2 or not areas.any():
        return None
    union = shapely.union_all([outline for outline in outlines if outline is not None]).area
    return bool((np.diff(areas / union) >= -SHRINKS).all())


def growth(at: Floats, areas: Floats) -> tuple[float, float, float]:
    """Return the slope of the area in m2 a year and the ends of its interval; nan where too few years tell.

    The median of the slopes of all pairs (Theil 1950, Sen 1968, doi 10.1080/01621459.1968.10480934), which one bad year of
    five doesn't move far. The interval is at least of 92 % (four years; 98 % for five, 95 % for more), by the distribution of
    Kendall's S; fewer than four years have none.

    Args:
        at: times in years, shape (n,).
        areas: m2, shape (n,).
    """
    if len(at) < 2:
        return np.nan, np.nan, np.nan
    from scipy.stats import theilslopes

    found = theilslopes(areas, at)
    interval = (float(found.low_slope), float(found.high_slope)) if len(at) >= 4 else (np.nan, np.nan)
    return float(found.slope), *interval


def headwalls(outlines: Sequence[BaseGeometry], reference: BaseGeometry, uphill: float, step_m: float) -> Floats:
    """Return how far (m) the upslope edge of each outline lies upslope of the reference's, shape (n,).

    The median along rays, `step_m` apart, that run uphill and cross all of the outlines; nan where fewer than `FEW_RAYS` do.

    Args:
        outlines: of the years.
        reference: what they are compared with.
        uphill: direction in radians clockwise from grid north.
        step_m: distance between the rays.
    """
    everything = [*outlines, reference]
    across, up = np.array([np.cos(uphill), -np.sin(uphill)]), np.array([np.sin(uphill), np.cos(uphill)])
    axes = np.stack([across, up], axis=1)
    origin = shapely.get_coordinates(reference.centroid)[0]
    turned = [shapely.transform(outline, lambda xy: (xy - origin) @ axes) for outline in everything]
    bounds = shapely.bounds(turned)
    rays = np.arange(bounds[:, 0].max() + step_m / 2, bounds[:, 2].min(), step_m)
    tops = np.stack([_tops(outline, rays) for outline in turned])
    crossed = np.isfinite(tops).all(axis=0)
    if crossed.sum() < FEW_RAYS:
        return np.full(len(outlines), np.nan)
    displaced: Floats = np.median(tops[:-1, crossed] - tops[-1, crossed], axis=1)
    return displaced


def _tops(outline: BaseGeometry, rays: Floats) -> Floats:
    """Return the largest y at which an outline crosses each of the lines x = rays, -inf where it doesn't."""
    rings = shapely.get_rings(shapely.get_parts(outline))
    points, ring = shapely.get_coordinates(rings, return_index=True)
    edges = np.stack([points[:-1], points[1:]], axis=1)[ring[:-1] == ring[1:]]
    (x0, y0), (x1, y1) = edges[:, 0].T, edges[:, 1].T
    with np.errstate(divide="ignore", invalid="ignore"):
        along = (rays[:, None] - x0) / (x1 - x0)
        y = np.where((along >= 0) & (along <= 1), y0 + along * (y1 - y0), -np.inf)
    return np.max(y, axis=1, initial=-np.inf)


def retreat(at: Floats, headwall_m: Floats, error_m: Floats) -> tuple[float, float]:
    """Return the retreat of the headwall in m a year and half of its 95 % interval; nan where fewer than two years tell.

    The line of least squares, each year weighed by the standard error of its image's place. The interval is that of these
    errors alone; how well the network finds the edge is not in it.

    Args:
        at: times in years, shape (n,).
        headwall_m: position upslope, shape (n,).
        error_m: standard errors of the position, shape (n,).
    """
    if len(at) < 2:
        return np.nan, np.nan
    weights = error_m**-2.0
    centred = at - np.average(at, weights=weights)
    spread = (weights * centred**2).sum()
    return float((weights * centred * headwall_m).sum() / spread), float(NORMAL_95 * spread**-0.5)


def decimal_years(acquired: Sequence[str]) -> Floats:
    """Return acquisition times (ISO 8601) in years since 2000."""
    passed = pd.to_datetime(pd.Series(list(acquired), dtype="str"), utc=True, format="ISO8601") - pd.Timestamp("2000", tz="UTC")
    return np.asarray(passed / pd.Timedelta(days=DAYS_A_YEAR), dtype=float)


def summary(rows: Sequence[dict[str, Any]], candidate: BaseGeometry, uphill: float | str, step_m: float) -> dict[str, Any]:
    """Return the numbers of `change.parquet` but `score` and `rank`, and write `headwall_m` into the rows.

    Args:
        rows: of `evidence.parquet`, years ascending.
        candidate: the candidate's outline.
        uphill: direction in radians clockwise from grid north, or why it isn't known.
        step_m: edge of a pixel.
    """
    years, seen = [row["year"] for row in rows], [row["seen"] for row in rows]
    first, absent = first_visible(years, seen)
    shown = [row for row in rows if row["seen"] and np.isfinite(row["area_m2"])]
    at = decimal_years([row["acquired"] for row in shown])
    grown = growth(at, np.array([row["area_m2"] for row in shown]))
    walls = np.full(len(shown), np.nan)
    if shown and not isinstance(uphill, str):
        walls = headwalls([row["outline"] for row in shown], candidate, uphill, step_m)
    for row, wall in zip(shown, walls.tolist(), strict=True):
        row["headwall_m"] = wall
    known = np.isfinite(walls)
    errors = np.array([row["misregistration_m"] for row in shown])
    rate, error = retreat(at[known], walls[known], errors[known])
    whole = [row["outline"] for row in rows if row["seen"] is not None and np.isfinite(row["area_m2"])]
    return {
        "n_images": sum(row["item_id"] is not None for row in rows),
        "n_seen": sum(bool(there) for there in seen),
        "first_year_visible": first,
        "last_year_absent": absent,
        "growth_m2_yr": grown[0],
        "growth_low_m2_yr": grown[1],
        "growth_high_m2_yr": grown[2],
        "retreat_m_yr": rate,
        "retreat_error_m_yr": error,
        "uphill_deg": np.nan if isinstance(uphill, str) else float(np.degrees(uphill) % 360),
        "monotone_growth": monotone_growth(whole),
        "two_years": two_years(years, seen),
        "reason": _reason(len(shown), rate, uphill),
    }


def _reason(shown: int, rate: float, uphill: float | str) -> str:
    if shown < 2:
        return f"the slump is outlined whole in {shown} image(s): no growth, no retreat"
    reasons = []
    if np.isnan(rate):
        shared = "no part of the headwall is in all years"
        reasons.append(f"no retreat: {uphill if isinstance(uphill, str) else shared}")
    if shown < 4:
        reasons.append(f"the growth of {shown} years has no interval")
    return "; ".join(reasons)
