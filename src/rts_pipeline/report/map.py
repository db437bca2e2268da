"""The map of the report: slumps by the round that found them, over what was observed and what was not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any, Self

import geopandas as gpd
import matplotlib
import numpy as np
import pandas as pd
import shapely
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_hex
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnchoredOffsetbox, DrawingArea
from matplotlib.patches import FancyArrow, Patch, PathPatch
from matplotlib.path import Path as MplPath
from matplotlib.text import Text
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from numpy.typing import NDArray
from pyproj import Proj, Transformer

from rts_pipeline.drawing import DARK, SIZE, drawing, legend_outside
from rts_pipeline.inventory.earlier import EARLIER
from rts_pipeline.inventory.shape import WGS84
from rts_pipeline.report.coverage import Coverage
from rts_pipeline.report.figures import Drawn, data_uri

SEEN, UNSEEN, SEED = "#f6f1e3", "#c9ced1", "#1c1c1c"
CARRIED = -1
"""Stands for the round of slumps that are carried along from an earlier inventory."""
CARRIED_ALONG, CARRIED_COLOUR = "carried along from an earlier inventory", "#0072b2"
STARTS = {0: ("known at the start", "^", SEED), CARRIED: (CARRIED_ALONG.replace(" from", "\nfrom"), "s", CARRIED_COLOUR)}
"""Name, marker and colour of what no round found."""
STEPS_DEG = (20.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005)
STEPS_M = np.array([f * 10**e for e in range(1, 7) for f in (1, 2, 5)], dtype=float)
WIDEST_IN, HIGHEST_IN, LEAST_IN = SIZE[0], 8.5, 3.35
"""A map's sides: never wider than other figures, as high as a page, and never narrower than a journal's column."""
LEFT_IN, BELOW_IN = 0.85, 0.35
"""Room for latitudes and longitudes."""
LOWEST_IN = 1.5
ROOM = 0.16
"""Room above and below a map as a share of its long side."""
PAGE_DPI = 270
LEGEND_COLUMNS, LEGEND_ROW_IN = 2, 0.2
SMALL_IN = 0.045
"""Outlines that are smaller on the map are points."""
LABEL_IN = 0.9
"""Room for a longitude at the lower edge."""


@dataclass(frozen=True)
class Frame:
    """The rectangle that the map shows, in the grid's CRS."""

    west: float
    south: float
    east: float
    north: float
    crs: str

    @classmethod
    def around(cls, bounds: Sequence[float], crs: str) -> Self:
        """Return the frame of a map of west, south, east, north."""
        west, south, east, north = bounds
        long_side = max(east - west, north - south)
        # Above and below is room for the arrow and the scale bar, so that they hide nothing.
        aside, above = 0.03 * long_side, ROOM * long_side
        return cls(west - aside, south - above, east + aside, north + above, crs)

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the rectangle."""
        return (self.west + self.east) / 2, (self.south + self.north) / 2

    def sheet(self, beside_in: float = 0, below_in: float = 0) -> tuple[float, float, float]:
        """Return width and height (inches) of a figure that this fills but for so much beside and below it, and its inches a
        metre."""
        width, height = self.east - self.west, self.north - self.south
        beside, below = LEFT_IN + beside_in, BELOW_IN + below_in
        scale = min((WIDEST_IN - beside) / width, (HIGHEST_IN - below) / height)
        return max(width * scale + beside, LEAST_IN), max(height * scale, LOWEST_IN) + below, scale

    def to_degrees(self) -> Transformer:
        """Transformer to longitude and latitude."""
        return Transformer.from_crs(self.crs, "EPSG:4326", always_xy=True)


def draw_map(slumps: gpd.GeoDataFrame, area: gpd.GeoSeries, seen: Coverage, crs: str) -> Drawn:
    """Return the map as a PNG data URI: as SVG many outlines would make the page too large.

    Args:
        slumps: the inventory with `iteration` and `decision`, in the grid's CRS.
        area: the area of interest, in the grid's CRS.
        seen: what was observed.
        crs: the grid's CRS.
    """
    bounds = np.array([area.total_bounds] + ([slumps.total_bounds] if len(slumps) else []))
    frame = Frame.around([*bounds[:, :2].min(axis=0), *bounds[:, 2:].max(axis=0)], crs)
    groups = slumps["iteration"].mask(slumps["decision"] == EARLIER, CARRIED)
    width, height, scale = frame.sheet(below_in=LEGEND_ROW_IN * (3 + groups.nunique() // LEGEND_COLUMNS))
    with drawing(width, height, shape_fixed=True) as (figure, axes):
        handles = [*_ground(axes, area, seen), *_slumps(axes, slumps, groups, scale)]
        decorate(axes, frame)
        legend_outside(figure, "lower center", handles, most=LEGEND_COLUMNS)
        return data_uri(figure, "png", dpi=PAGE_DPI)


def _ground(axes: Axes, area: gpd.GeoSeries, seen: Coverage) -> list[Patch]:
    """Draw the area: hatched grey where nothing was observed, light where it was."""
    unseen = hatched(axes, area, "not observed: unknown")
    outline(axes, area)
    light = ListedColormap([(0, 0, 0, 0), SEEN])
    for (west, south, east, north), observed in seen.tiles:
        axes.imshow(observed, light, vmin=0, vmax=1, extent=(west, east, south, north), interpolation="nearest", zorder=2)
    return [Patch(facecolor=SEEN, edgecolor=DARK, label="observed"), unseen]


def hatched(axes: Axes, area: gpd.GeoSeries, label: str) -> Patch:
    """Draw polygons hatched grey, below all else, as what was not observed; return the entry of the legend."""
    style: dict[str, Any] = {"facecolor": UNSEEN, "edgecolor": "#7f898f", "hatch": "////"}
    for path in _paths(area):
        axes.add_patch(PathPatch(path, lw=0, zorder=1, **style))
    return Patch(label=label, **style)


def outline(axes: Axes, area: gpd.GeoSeries) -> None:
    """Draw the outline of the area of interest."""
    for path in _paths(area):
        axes.add_patch(PathPatch(path, facecolor="none", edgecolor=DARK, lw=1.2, zorder=4))


def _paths(area: gpd.GeoSeries) -> Iterator[MplPath]:
    for polygon in shapely.get_parts(area.to_numpy()):
        yield MplPath.make_compound_path(*(MplPath(shapely.get_coordinates(ring)) for ring in shapely.get_rings(polygon)))


def _slumps(axes: Axes, slumps: gpd.GeoDataFrame, groups: pd.Series, inches_per_m: float) -> list[Line2D]:
    """Draw outlines by the round that found them (`groups`), and points instead where they are too small to be seen."""
    handles = []
    last = max(1, int(slumps["iteration"].max())) if len(slumps) else 1
    for found, group in slumps.groupby(groups):
        number = int(str(found))
        name, symbol, colour = STARTS.get(number) or (f"found in round {number:02d}", "o", round_colour(number, last))
        points = group.geometry.representative_point()
        small = np.sqrt(group.geometry.area) * inches_per_m < SMALL_IN
        if not small.all():
            group[~small].plot(ax=axes, facecolor=colour, edgecolor=colour, lw=0.6, zorder=5, aspect=None)
        style: dict[str, Any] = {"s": 16, "color": [colour], "edgecolors": "white", "linewidths": 0.5, "zorder": 6}
        axes.scatter(points.x[small], points.y[small], marker=symbol, **style)
        marker: dict[str, Any] = {"marker": symbol, "ls": "", "color": colour, "ms": 6}
        handles.append(Line2D([], [], label=f"{name} ({len(group)})", **marker))
    return handles


def round_colour(number: int, last: int) -> str:
    """Return the colour ("#rrggbb") of what round `number` of `last` found: dark where early, light where late; none as dark
    as what was known at the start."""
    return to_hex(matplotlib.colormaps["plasma"](0.25 + 0.6 * (number - 1) / max(1, last - 1)))


def decorate(axes: Axes, frame: Frame) -> None:
    """Set the extent and draw the scale bar, the arrow to true north, and the lines of longitude and latitude."""
    axes.set(xlim=(frame.west, frame.east), ylim=(frame.south, frame.north), aspect="equal", xlabel="", ylabel="")
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)
    x, y = frame.centre
    (lon0, lon1), (lat0, lat1) = frame.to_degrees().transform([x, x + 1000.0], [y, y])
    ground_per_grid = WGS84.inv(lon0, lat0, lon1, lat1)[2] / 1000.0
    room = (frame.east - frame.west) * ground_per_grid / 4
    length = STEPS_M[max(room, STEPS_M[0]) >= STEPS_M][-1]
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    thick = (frame.north - frame.south) / 160
    style: dict[str, Any] = {"size_vertical": thick, "color": DARK, "sep": 4, "borderpad": 0.5, "frameon": False}
    axes.add_artist(AnchoredSizeBar(axes.transData, length / ground_per_grid, text, "lower left", **style))
    turn = np.radians(-Proj(frame.crs).get_factors(lon0, lat0).meridian_convergence)
    axes.add_artist(AnchoredOffsetbox("upper right", child=_north(turn), borderpad=0.2, pad=0, frameon=False))
    _graticule(axes, frame)


def _north(turn: float) -> DrawingArea:
    """Return an arrow to true north, `turn` radians clockwise from the top of the map, with its letter at the tip."""
    room = DrawingArea(36, 36)
    east, north = np.sin(turn), np.cos(turn)
    foot, step = (18 - 15 * east, 18 - 15 * north), (18 * east, 18 * north)
    room.add_artist(FancyArrow(*foot, *step, head_width=7, head_length=8, length_includes_head=True, width=1.2, color=DARK))
    room.add_artist(Text(18 + 11 * east, 18 + 11 * north, "N", ha="center", va="center", fontweight="bold"))
    return room


def _graticule(axes: Axes, frame: Frame) -> None:
    """Draw lines of equal longitude and latitude, labelled where they meet the lower and the left edge."""
    edge = np.linspace(0, 1, 50)
    x = frame.west + (frame.east - frame.west) * np.concatenate([edge, edge, 0 * edge, 0 * edge + 1])
    y = frame.south + (frame.north - frame.south) * np.concatenate([0 * edge, 0 * edge + 1, edge, edge])
    lon, lat = frame.to_degrees().transform(x, y)
    # from the frame's middle on, so that they go on rising across 180 degrees
    middle = frame.to_degrees().transform(*frame.centre)[0]
    lon = middle + _wrapped(lon - middle)
    east_step, north_step = (next((s for s in STEPS_DEG if np.ptp(v) / s >= 2), STEPS_DEG[-1]) for v in (lon, lat))
    meridians, parallels = _multiples(lon, east_step), _multiples(lat, north_step)
    along_lat, along_lon = np.linspace(lat.min(), lat.max(), 200), np.linspace(lon.min(), lon.max(), 200)
    bottom, left = [], []
    for value in meridians:
        px, py = frame.to_degrees().transform(np.full(200, value), along_lat, direction="INVERSE")
        axes.plot(px, py, color="#6b7780", lw=0.4, alpha=0.6, zorder=3)
        bottom.append((float(np.interp(frame.south, py, px)), _degrees(value, east_step, "E", "W")))
    for value in parallels:
        px, py = frame.to_degrees().transform(along_lon, np.full(200, value), direction="INVERSE")
        axes.plot(px, py, color="#6b7780", lw=0.4, alpha=0.6, zorder=3)
        left.append((float(np.interp(frame.west, px, py)), _degrees(value, north_step, "N", "S")))
    bottom = [tick for tick in bottom if frame.west <= tick[0] <= frame.east]
    left = [tick for tick in left if frame.south <= tick[0] <= frame.north]
    bottom = sorted(bottom)[:: _every(axes, frame, [place for place, _ in bottom])]
    axes.set_xticks([place for place, _ in bottom], [text for _, text in bottom])
    axes.set_yticks([place for place, _ in left], [text for _, text in left])
    axes.set(xlim=(frame.west, frame.east), ylim=(frame.south, frame.north))


def _every(axes: Axes, frame: Frame, places: Sequence[float]) -> int:
    """Return which of the places along the lower edge can be labelled without one label touching the next."""
    figure = axes.figure
    width, height = (side / figure.dpi for side in figure.bbox.size)
    inches_per_m = min(width / (frame.east - frame.west), height / (frame.north - frame.south))
    spacing = np.ptp(places) / (len(places) - 1) * inches_per_m if len(places) > 1 else LABEL_IN
    return ceil(LABEL_IN / spacing)


def _multiples(values: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    first, last = np.ceil(values.min() / step), np.floor(values.max() / step)
    return np.round(np.arange(first, last + 1) * step, 6)


def _degrees(value: float, step: float, positive: str, negative: str) -> str:
    decimals = max(0, -floor(log10(step)))
    value = round(float(_wrapped(np.asarray(value))), decimals)
    side = "" if abs(value) == 180 else positive if value >= 0 else negative
    return f"{abs(value):.{decimals}f}°{side}"


def _wrapped(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return angles in -180 to 180 degrees."""
    return (degrees + 180.0) % 360.0 - 180.0
