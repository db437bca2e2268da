"""How many usable observations can be expected at each place, drawn from metadata alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from math import ceil, cos, radians
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import shapely
from affine import Affine
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray
from rasterio.enums import MergeAlg
from rasterio.features import rasterize
from rasterio.warp import transform_bounds
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from rts_pipeline.drawing import MAIN, STYLE, save
from rts_pipeline.report.figures import COLOURS
from rts_pipeline.scenes import metadata
from rts_pipeline.scenes.discover import Delivery, Item

if TYPE_CHECKING:
    from rts_pipeline.scenes.check import Days

FINE, COARSE = 900, 150
"""Cells along the longer side of the map; few where deliveries lie so far apart that a scene would not be visible."""
MARGIN = 0.03
CLASSES = ((0, "0: cloud expected"), (1, "1"), (2, "2"), (3, "3–4"), (5, "5–9"), (10, "10 or more"))
"""Lowest expected number, rounded, of each class."""
CLASS_COLOURS = ("#fff3bf", "#b5dfb0", "#6cc3b8", "#2b9ac0", "#2263a5", "#1b1f6b")
"""From light to dark throughout, so that they stay apart for colour-blind readers and in print."""
NOT_SEEN = "#d5d9dc"
EDGE = "#5b6770"
WIDTH_IN, MAP_IN, TALLEST_IN = 10.0, 9.0, 6.0
"""Of the figure, of all maps side by side, and the greatest height of a map."""
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class Observation:
    """A usable item: where it lies (WGS84, longitudes perhaps beyond 180) and which share of it is clear (0-1)."""

    year: int
    place: BaseGeometry
    clear: float


def observation(item: Item) -> Observation:
    """Return what the metadata promise of an item.

    It lies where its scene's footprint and its raster, which may be a small part of the scene, overlap. Its clear share is
    the metadata's `clear_percent`, before 2018 what `cloud_cover` leaves, else 1.
    """
    west, south, east, north = transform_bounds(item.crs, "EPSG:4326", *item.bounds)
    extent = shapely.box(west, south, east if east >= west else east + 360, north)
    scene = metadata.footprint(item.metadata)
    both = extent & _unwrapped(scene) if scene is not None else extent
    told = metadata.read_feature(item.metadata)["properties"] if item.metadata else {}
    clear, cloud = _number(told.get("clear_percent")), _number(told.get("cloud_cover"))
    share = clear / 100 if clear is not None else 1 - cloud if cloud is not None else 1.0
    return Observation(int(item.acquired[:4]), both if both.area > 0 else extent, min(1.0, max(0.0, share)))


def _number(value: object) -> float | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    return float(value) if 0 <= value <= 100 else None


def _unwrapped(place: BaseGeometry) -> BaseGeometry:
    """Bring the parts on both sides of the antimeridian together."""
    west, _, east, _ = place.bounds
    return shapely.transform(place, lambda xy: np.column_stack([xy[:, 0] % 360, xy[:, 1]])) if east - west > 180 else place


@dataclass(frozen=True)
class Frame:
    """The rectangle that all panels show: bounds in degrees, and cells along its longer side."""

    west: float
    south: float
    east: float
    north: float
    cells: int

    @classmethod
    def around(cls, places: Sequence[BaseGeometry]) -> Frame:
        """Hold all places, with a margin."""
        bounds = shapely.bounds(np.array(places, dtype=object))
        (west, south), (east, north) = bounds[:, :2].min(axis=0), bounds[:, 2:].max(axis=0)
        side = float(max(east - west, north - south))
        visible = np.median((bounds[:, 2:] - bounds[:, :2]).min(axis=1)) > 2 * side / FINE
        margin = MARGIN * side
        return cls(west - margin, south - margin, east + margin, north + margin, FINE if visible else COARSE)

    @property
    def stretch(self) -> float:
        """Length of a degree of latitude on the map, in degrees of longitude."""
        return 1 / max(0.05, cos(radians((self.south + self.north) / 2)))

    @property
    def aspect(self) -> float:
        """Height over width on the map."""
        return (self.north - self.south) * self.stretch / (self.east - self.west)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        long = max(1.0, self.aspect)
        return max(1, round(self.cells * self.aspect / long)), max(1, round(self.cells / long))

    @property
    def transform(self) -> Affine:
        """From columns and rows to degrees."""
        rows, columns = self.shape
        return Affine((self.east - self.west) / columns, 0, self.west, 0, -(self.north - self.south) / rows, self.north)


def expected(observations: Sequence[Observation], frame: Frame) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return for each cell of the frame the expected number of usable observations, and whether it is seen at all.

    Coarse cells count every scene that they touch.
    """
    shapes_of = {"out_shape": frame.shape, "transform": frame.transform, "merge_alg": MergeAlg.add, "dtype": "float32"}
    whole = frame.cells == COARSE
    seen = rasterize([(o.place, 1) for o in observations], all_touched=whole, **shapes_of)
    clear = rasterize([(o.place, o.clear) for o in observations], all_touched=whole, **shapes_of)
    return clear, seen > 0


def _together(observations: list[Observation]) -> list[Observation]:
    """Put the west beyond the east, where that makes the map smaller: deliveries on both sides of the antimeridian."""
    moved = [replace(o, place=translate(o.place, xoff=360)) if o.place.bounds[0] < 0 else o for o in observations]

    def width(these: list[Observation]) -> float:
        bounds = np.array([o.place.bounds for o in these])
        return float(bounds[:, 2].max() - bounds[:, 0].min())

    return min(observations, moved, key=width)


def draw_expected(delivery: Delivery, season: Days, picture: Path) -> None:
    """Write a PNG: by year a map of the usable observations to expect in season, and below the days of all items.

    Args:
        delivery: with at least one usable item in season.
        season: which of the items count.
        picture: the file to write.
    """
    observations = _together([observation(item) for item in delivery.items if season.holds(item.acquired)])
    frame = Frame.around([o.place for o in observations])
    years = sorted({o.year for o in observations})
    columns = min(len(years), 1 if frame.aspect < 0.2 else 2 if frame.aspect < 0.5 else 3)
    rows = ceil(len(years) / columns)
    days = _days(delivery)
    maps_in = rows * (min(MAP_IN / columns * frame.aspect, TALLEST_IN) + 0.4) + 1.1
    strip_in = 1.1 + 0.26 * len(days)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, maps_in + strip_in), layout="constrained", dpi=150)
        parts: Any = figure.subfigures(2, 1, height_ratios=[maps_in, strip_in])
        maps, strip = parts
        panels = maps.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, year in zip(panels.flat, years, strict=False):
            _draw_map(axes, [o for o in observations if o.year == year], frame, f"{year}")
        _finish(maps, panels, len(years), season)
        _draw_days(strip.subplots(), days, season)
        save(figure, picture)


def _draw_map(axes: Axes, observations: list[Observation], frame: Frame, year: str) -> None:
    number, seen = expected(observations, frame)
    norm = BoundaryNorm([lowest - 0.5 for lowest, _ in CLASSES] + [np.inf], len(CLASSES))
    axes.set_facecolor(NOT_SEEN)
    axes.imshow(
        np.ma.masked_array(number, ~seen),
        extent=(frame.west, frame.east, frame.south, frame.north),
        cmap=ListedColormap(CLASS_COLOURS),
        norm=norm,
        aspect=frame.stretch,
        interpolation="nearest",
    )
    items = "1 item" if len(observations) == 1 else f"{len(observations)} items"
    axes.set_title(f"{year}   {items}", fontsize=10, loc="left")
    axes.grid(color="white", lw=0.5, alpha=0.5)
    for axis, positive, negative in ((axes.xaxis, "E", "W"), (axes.yaxis, "N", "S")):
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(FuncFormatter(_degrees(positive, negative)))


def _degrees(positive: str, negative: str) -> Callable[[float, int], str]:
    def text(value: float, _: int) -> str:
        turned = (value + 180) % 360 - 180
        return f"{abs(turned):.6g}° {positive if turned >= 0 else negative}"

    return text


def _finish(maps: Any, panels: NDArray[Any], n_years: int, season: Days) -> None:
    for axes in panels.flat[n_years:]:
        axes.remove()
    for column in range(panels.shape[1]):  # ticks under the last panel of a column that is not the longest
        panels.flat[max(i for i in range(n_years) if i % panels.shape[1] == column)].tick_params(labelbottom=True)
    maps.supxlabel("Longitude", fontsize=10)
    maps.supylabel("Latitude", fontsize=10)
    handles = [Patch(facecolor=NOT_SEEN, edgecolor=EDGE, label="not seen")]
    handles += [
        Patch(facecolor=colour, edgecolor=EDGE, label=label) for colour, (_, label) in zip(CLASS_COLOURS, CLASSES, strict=True)
    ]
    when = f", {season.days[0]} to {season.days[1]}" if season.days else ""
    maps.legend(
        handles=handles,
        loc="outside upper center",
        ncols=len(handles),
        title=f"Usable observations to expect, by the clear share of each item{when}",
        fontsize=9,
        columnspacing=1.2,
        handlelength=1.4,
    )


def _days(delivery: Delivery) -> dict[str, tuple[list[int], list[int]]]:
    """Return by year the days of the year on which usable and rejected items were acquired."""
    days: dict[str, tuple[list[int], list[int]]] = {}
    told = [(item.acquired, 0) for item in delivery.items]
    told += [(item.acquired, 1) for item in delivery.rejected if item.acquired]
    for acquired, kind in sorted(told):
        days.setdefault(acquired[:4], ([], []))[kind].append(_day_of_year(acquired[5:10]))
    return days


def _day_of_year(month_day: str) -> int:
    return date.fromisoformat(f"2000-{month_day}").timetuple().tm_yday


def _draw_days(axes: Axes, days: dict[str, tuple[list[int], list[int]]], season: Days) -> None:
    if season.days:
        first, last = map(_day_of_year, season.days)
        axes.axvspan(first - 0.5, last + 0.5, color="#e8eef2", lw=0)
    for row, (usable, rejected) in enumerate(days.values()):
        axes.axhline(row, color="#e2e7ea", lw=0.7, zorder=0)
        axes.plot(usable, [row - 0.13] * len(usable), "|", color=MAIN, ms=9, mew=1.3)
        axes.plot(rejected, [row + 0.22] * len(rejected), "x", color=COLOURS["reject"], ms=4, mew=1.2)
    axes.set_yticks(range(len(days)), list(days))
    axes.set_ylim(len(days) - 0.5, -0.5)
    axes.set_xlim(0.5, 366.5)
    axes.set_xticks([_day_of_year(f"{month:02d}-01") for month in range(1, 13)], MONTHS, ha="left")
    axes.set_xlabel("Day of acquisition")
    handles = [
        Line2D([], [], color=MAIN, marker="|", ls="", ms=9, mew=1.3, label="usable item"),
        Line2D([], [], color=COLOURS["reject"], marker="x", ls="", ms=4, mew=1.2, label="rejected item"),
        *([Patch(facecolor="#e8eef2", label="season")] if season.days else []),
    ]
    axes.figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), fontsize=9)
