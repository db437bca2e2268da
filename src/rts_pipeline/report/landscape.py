"""Slumps beside their landscape: where in it they lie, and where they crowd."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from rasterio.features import geometry_mask
from rasterio.transform import from_bounds
from scipy.ndimage import gaussian_filter

from rts_pipeline.drawing import DARK, MAIN, drawing, legend_outside
from rts_pipeline.inventory.terrain import terrain
from rts_pipeline.report.figures import SMALL, Drawn, data_uri
from rts_pipeline.report.map import STEPS_M, Frame, decorate, hatched, outline

SQUARES = 2000
"""Squares that stand for the landscape: a share of 10 % is known to +- 1.3 % (95 %)."""
SECTOR_DEG = 22.5
ARC_POINTS = 9
"""With which a sector's arc is drawn."""
BINS = 18
RASTER = 240
"""Pixels along the longer side of the raster in which slumps are counted."""
RADIUS_SHARE = 1 / 25
"""Of the longer side: about the radius within which slumps are counted together."""
COLORBAR_IN = 0.85
"""Width of the scale of density beside its map."""
LEAST_INSIDE = 0.1
"""Where less of the weight lies in observed ground, no density is told."""


def landscape(area: gpd.GeoSeries, dem: Path, edge_m: float) -> pd.DataFrame:
    """Return the terrain (columns as `inventory.terrain`) of SQUARES squares at random places of the area, always the same.

    They are as large as a slump, so that slumps and landscape are averaged over as much ground.

    Args:
        area: polygons in the grid's CRS.
        dem: elevation raster in metres.
        edge_m: edge of a square.
    """
    whole = gpd.GeoSeries([area.union_all()], crs=area.crs)
    x, y = shapely.get_coordinates(whole.sample_points(SQUARES, rng=0).to_numpy()).T
    half = edge_m / 2
    squares = shapely.box(x - half, y - half, x + half, y + half)
    return terrain(gpd.GeoSeries(squares, crs=area.crs), dem, "squares of the landscape")


def histogram(slumps: pd.Series, squares: pd.Series, label: str) -> Drawn:
    """Draw the distribution of a terrain attribute over slumps (bars) and over the landscape (line), in per cent of each."""
    values, around = slumps.dropna().to_numpy(float), squares.dropna().to_numpy(float)
    both = np.concatenate([values, around])
    edges = np.linspace(both.min(), max(both.max(), both.min() + 1e-6), BINS + 1)
    with drawing(*SMALL) as (figure, axes):
        bars, line = (100 * np.histogram(part, edges)[0] / max(len(part), 1) for part in (values, around))
        axes.bar(edges[:-1], bars, np.diff(edges), align="edge", color=MAIN, edgecolor="white", linewidth=0.6, label="slumps")
        if len(around):
            axes.stairs(line, edges, color=DARK, lw=1.6, label="landscape")
        axes.set_xlabel(label)
        axes.set_ylabel("Share (%)")
        axes.grid(axis="y", color="#e2e7ea", lw=0.7)
        legend_outside(figure, "upper center")
        return data_uri(figure)


def aspects(slumps: pd.Series, squares: pd.Series) -> Drawn:
    """Draw what share of the slumps (wedges) and of the landscape (line) faces each direction; areas stand for shares."""
    with drawing(*SMALL, projection="polar") as (figure, axes):
        polar: Any = axes
        n = round(360 / SECTOR_DEG)
        middles = np.radians(np.arange(n) * SECTOR_DEG)
        shares, around = (_by_sector(part, n) for part in (slumps, squares))
        polar.set_theta_zero_location("N")
        polar.set_theta_direction(-1)
        polar.bar(middles, np.sqrt(shares), np.radians(SECTOR_DEG), color=MAIN, edgecolor="white", label="slumps")
        if around.any():
            # points along each arc, since a line between two of them is straight; the last point closes it
            arc = np.radians(np.linspace(-SECTOR_DEG / 2, SECTOR_DEG / 2, ARC_POINTS))
            turns, lengths = (middles[:, None] + arc).ravel(), np.sqrt(np.repeat(around, ARC_POINTS))
            polar.plot(np.append(turns, turns[0]), np.append(lengths, lengths[0]), color=DARK, lw=1.6, label="landscape")
        polar.set_xticks(np.radians(np.arange(8) * 45), ["N", "NE", "E", "SE", "S", "SW", "W", "NW"])
        top = max(shares.max(), around.max(), 1.0)
        ticks = [top / 2, top]
        polar.set_yticks(np.sqrt(ticks), [""] * len(ticks))
        for tick, free in zip(ticks, _emptiest(shares, around), strict=False):
            text = polar.text(np.radians(free), np.sqrt(tick), f"{tick:.0f} %", ha="center", va="center", zorder=5)
            text.set_path_effects([withStroke(linewidth=3, foreground="white")])
        polar.grid(color="#cfd6da", lw=0.6)
        legend_outside(figure, "lower center")
        return data_uri(figure)


def _emptiest(shares: NDArray[np.float64], around: NDArray[np.float64]) -> list[float]:
    """Return the directions (degrees) without a name, those in which the least is drawn first, for the scale's labels."""
    free = np.arange(22.5, 360, 45)
    at = np.round(free / SECTOR_DEG).astype(int) % len(shares)
    return free[np.maximum(shares, around)[at].argsort(kind="stable")].tolist()


def _by_sector(aspect_deg: pd.Series, n: int) -> NDArray[np.float64]:
    values = aspect_deg.dropna().to_numpy(float)
    sector = (((values + SECTOR_DEG / 2) % 360) // SECTOR_DEG).astype(int)
    return 100 * np.bincount(sector, minlength=n) / max(len(values), 1)


def clusters(slumps: gpd.GeoDataFrame, area: gpd.GeoSeries, crs: str) -> tuple[Drawn, float]:
    """Draw how densely slumps lie, as a map; return it and the standard deviation of the kernel in metres.

    The number of slumps around each place, weighed by a Gaussian, over the part of the area around it, weighed alike: at the
    area's edge nothing is missing.
    """
    frame = Frame.around(area.total_bounds, crs)
    west, south, east, north = area.total_bounds
    side = max(east - west, north - south)
    sigma_m = float(STEPS_M[np.abs(np.log(STEPS_M / (side * RADIUS_SHARE))).argmin()])
    pixel_m = side / RASTER
    shape = max(1, round((north - south) / pixel_m)), max(1, round((east - west) / pixel_m))
    transform = from_bounds(west, south, east, north, shape[1], shape[0])
    inside = geometry_mask(area.to_list(), shape, transform, invert=True, all_touched=True).astype(float)
    points = slumps.geometry.representative_point()
    counts, _, _ = np.histogram2d(points.y, points.x, bins=shape, range=[[south, north], [west, east]])
    weigh = {"sigma": sigma_m / pixel_m, "mode": "constant"}
    number, ground = gaussian_filter(counts[::-1] * inside, **weigh), gaussian_filter(inside, **weigh)
    km2 = (east - west) * (north - south) / shape[0] / shape[1] / 1e6
    density = np.where((inside > 0) & (ground > LEAST_INSIDE), number / np.maximum(ground, LEAST_INSIDE) / km2, np.nan)
    per = 1.0 if np.nanmax(density, initial=0) >= 1 else 100.0
    width, height, _ = frame.sheet(beside_in=COLORBAR_IN)
    with drawing(width, height, shape_fixed=True) as (figure, axes):
        hatched(axes, area, "")
        image = axes.imshow(
            density * per, "YlGnBu", vmin=0, extent=(west, east, south, north), interpolation="bilinear", zorder=2
        )
        outline(axes, area)
        axes.scatter(points.x, points.y, s=9, color=DARK, edgecolors="white", linewidths=0.4, zorder=5)
        decorate(axes, frame)
        figure.colorbar(image, ax=axes, shrink=0.8, label=f"Slumps in {per:g} km²")
        return data_uri(figure), sigma_m
