"""The pictures as overviews of the whole area, each a map of its own."""

from __future__ import annotations

from collections.abc import Sequence

import geopandas as gpd
import numpy as np
import shapely
from matplotlib.patches import Patch
from PIL import Image as Pillow

from rts_pipeline.drawing import DARK, drawing, legend_outside
from rts_pipeline.grid import GeoBox
from rts_pipeline.report.figures import data_uri
from rts_pipeline.report.map import LEGEND_ROW_IN, Frame, decorate, hatched, outline
from rts_pipeline.report.palette import Palette
from rts_pipeline.report.quicklook import Image, Pictures

CANVAS_PX = 1400
"""Pixels along the longer edge of the area."""
DPI = 190
COLUMNS = 4
"""Of the legend, at most."""
MOST_LABELS = 20
"""Entries of a legend; of more dates every second, third, ... is named."""
LOSSY = {"quality": 82, "method": 4}


def draw_overviews(pictures: Pictures, area: gpd.GeoSeries, crs: str) -> dict[str, str]:
    """Return each picture of the whole area as a WebP data URI, by its name in `Pictures.images`."""
    cells = [look.cell for look in pictures.looks]
    legends = {"source": pictures.days, "target": pictures.counts, "all": pictures.counts}
    return {
        name: _overview(_canvas(images, cells, smooth=name not in legends), cells, area, crs, legends.get(name))
        for name, images in pictures.images.items()
    }


def _canvas(images: Sequence[Image], cells: Sequence[GeoBox], *, smooth: bool) -> Image:
    """Put the cells' images side by side, smaller where the whole would be too large."""
    size = cells[0].width
    left, top = min(cell.column for cell in cells), min(cell.row for cell in cells)
    across = (max(cell.column for cell in cells) - left) // size + 1
    down = (max(cell.row for cell in cells) - top) // size + 1
    edge = max(1, min(images[0].shape[0], CANVAS_PX // max(across, down)))
    canvas = np.zeros((down * edge, across * edge, 4), np.uint8)
    how = Pillow.Resampling.BOX if smooth else Pillow.Resampling.NEAREST
    for image, cell in zip(images, cells, strict=True):
        row, column = (cell.row - top) // size * edge, (cell.column - left) // size * edge
        canvas[row : row + edge, column : column + edge] = Pillow.fromarray(image).resize((edge, edge), how)
    return canvas


def _overview(canvas: Image, cells: Sequence[GeoBox], area: gpd.GeoSeries, crs: str, legend: Palette | None) -> str:
    ground = shapely.union_all([cell.polygon for cell in cells])
    west, south, east, north = ground.bounds
    frame = Frame.around(area.total_bounds, crs)
    names = _handles(legend) if legend else []
    width, height, _ = frame.sheet(below_in=LEGEND_ROW_IN * (2 + len(names) // COLUMNS))
    with drawing(width, height, shape_fixed=True) as (figure, axes):
        unseen = hatched(axes, gpd.GeoSeries([ground], crs=crs), "not observed")
        axes.imshow(canvas, extent=(west, east, south, north), interpolation="antialiased", zorder=2)
        outline(axes, area)
        decorate(axes, frame)
        legend_outside(figure, "lower center", [unseen, *names], most=COLUMNS)
        # without the figure, whose pictures are large
        return str(data_uri(figure, "webp", dpi=DPI, bbox_inches="tight", pad_inches=0.04, pil_kwargs=LOSSY))


def _handles(legend: Palette) -> list[Patch]:
    step = max(1, -(-len(legend.labels) // MOST_LABELS))
    shown = list(zip(legend.labels, legend.colours, strict=True))[::step]
    return [Patch(facecolor=colour, edgecolor=DARK, lw=0.4, label=label) for label, colour in shown]
