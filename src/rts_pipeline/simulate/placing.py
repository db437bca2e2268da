"""Where objects are: a weighted draw of terrain cells, and room kept between outlines."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import Polygon

from rts_pipeline.simulate.noise import Array
from rts_pipeline.simulate.terrain import CELL_M, Terrain


def draw_places(rng: np.random.Generator, terrain: Terrain, weight: Array) -> Iterator[tuple[float, float]]:
    """Yield x and y of cells drawn without replacement in proportion to `weight` (n, m), jittered within the cell."""
    flat = weight.ravel().astype(np.float64)
    with np.errstate(divide="ignore"):
        key = np.log(flat) + rng.gumbel(size=flat.size)
    order = np.argsort(-key, kind="stable")[: int((flat > 0).sum())]
    x, y = terrain.centre(order)
    jitter = rng.uniform(-CELL_M / 2, CELL_M / 2, (2, order.size))
    yield from zip((x + jitter[0]).tolist(), (y + jitter[1]).tolist(), strict=True)


class Room:
    """The outlines placed so far."""

    def __init__(self, terrain: Terrain, blocked: NDArray[np.bool_]) -> None:
        """Keep to a terrain; cells where `blocked` (n, m) is true take no outline."""
        self.terrain = terrain
        self.blocked = blocked
        self.frame = shapely.box(*terrain.box.bounds).buffer(-60)
        self.taken: list[Polygon] = []

    def take(self, outline: Polygon, gap_m: float) -> bool:
        """Place an outline if it is valid and at least `gap_m` from all others, from blocked ground and from the border."""
        if not (outline.is_valid and self.frame.contains(outline)):
            return False
        x, y = np.array(outline.exterior.coords).T
        if self.blocked[self.terrain.cells(x, y)].any():
            return False
        west, south, east, north = outline.bounds
        near = (west - gap_m, south - gap_m, east + gap_m, north + gap_m)
        if any(shapely.dwithin(other, outline, gap_m) for other in self.taken if _meet(other.bounds, near)):
            return False
        self.taken.append(outline)
        return True


def _meet(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Tell whether two bounding boxes share a point: far cheaper than the distance of two outlines."""
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]
