"""Fractal terrain with drainage that reaches the border, on 30 m cells."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import spsolve_triangular
from shapely import LineString

from rts_pipeline.grid import GeoBox
from rts_pipeline.simulate.noise import Array, fractal
from rts_pipeline.simulate.options import PIXEL_M, TERRAIN_PX

CELL_M = PIXEL_M * TERRAIN_PX
CHANNEL_KM2 = 0.3
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Terrain:
    """Terrain of a ground box, one value a 30 m cell.

    Attributes:
        box: the ground it covers.
        elevation: (n, m) float32, metres.
        drained_km2: (n, m) float32, area that drains through a cell.
        receiver: (n * m) flat index of the cell that each cell drains to, -1 at an outlet.
    """

    box: GeoBox
    elevation: Array
    drained_km2: Array
    receiver: Index

    @cached_property
    def gradient(self) -> tuple[Array, Array]:
        """Rise to the east and to the north, metres per metre."""
        south, east = np.gradient(ndimage.gaussian_filter(self.elevation, 1.0), CELL_M)
        return east, -south

    @cached_property
    def slope_deg(self) -> Array:
        """Slope in degrees."""
        return np.degrees(np.arctan(np.hypot(*self.gradient)))

    @cached_property
    def northness(self) -> Array:
        """Cosine of the aspect: 1 where the ground falls to the north."""
        east, north = self.gradient
        return -north / np.maximum(np.hypot(east, north), 1e-6)

    def cells(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[Index, Index]:
        """Return row and column of the cells that points lie in, clipped to the terrain."""
        west, _, _, north = self.box.bounds
        rows, columns = (north - y) // CELL_M, (x - west) // CELL_M
        n, m = self.elevation.shape
        return np.clip(rows, 0, n - 1).astype(np.int64), np.clip(columns, 0, m - 1).astype(np.int64)

    def centre(self, flat: Index) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return x and y of the centres of cells given by flat index."""
        west, _, _, north = self.box.bounds
        rows, columns = np.divmod(flat, self.elevation.shape[1])
        return west + (columns + 0.5) * CELL_M, north - (rows + 0.5) * CELL_M


def make_terrain(rng: np.random.Generator, box: GeoBox) -> Terrain:
    """Make hills of 4,600-5,000 m whose ridges run from west to east, cut by their own drainage."""
    shape = (box.height // TERRAIN_PX, box.width // TERRAIN_PX)
    padded = (shape[0] + 60, shape[1] + 60)
    hills = fractal(rng, padded, pixel=CELL_M, longest=5500, shortest=150, slope=3.8, stretch=1.5)[: shape[0], : shape[1]]
    elevation = 4760 + 46 * hills
    for depth in (9.0, 4.0):
        receiver, drained = drainage(elevation)
        valley = ndimage.gaussian_filter(np.log1p(drained / 0.15), 2.5)
        elevation = ndimage.gaussian_filter(elevation - np.float32(depth) * valley, 0.8)
    elevation += 0.25 * fractal(rng, shape, pixel=CELL_M, longest=300, shortest=60, slope=2)
    return Terrain(box, elevation.astype(np.float32), drained, receiver)


def drainage(elevation: Array) -> tuple[Index, Array]:
    """Route every cell to the lowest part of the border by least-cost paths, so that no pit has to be filled.

    Returns:
        Flat index of each cell's receiver (-1 at outlets), and the drained area in km2 (n, m).
    """
    n, m = elevation.shape
    height = np.exp((elevation - elevation.min()) / 25).astype(np.float64)
    border = np.ones((n, m), bool)
    border[1:-1, 1:-1] = False
    outlets = np.flatnonzero(border & (elevation <= np.quantile(elevation[border], 0.06)))
    graph = neighbours(height)
    cost, receiver, _ = csgraph.dijkstra(graph, indices=outlets, min_only=True, return_predecessors=True)
    receiver = np.where(receiver < 0, -1, receiver).astype(np.int64)
    order = np.argsort(-cost, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    inner = np.flatnonzero(receiver >= 0)
    flows = sparse.csr_matrix((-np.ones(inner.size), (rank[receiver[inner]], rank[inner])), shape=(n * m, n * m))
    total = spsolve_triangular(flows + sparse.identity(n * m, format="csr"), np.ones(n * m), lower=True)
    return receiver, (total[rank] * (CELL_M / 1000) ** 2).astype(np.float32).reshape(n, m)


def neighbours(cost: NDArray[np.float64]) -> sparse.csr_matrix:
    """Return the graph of the 8 neighbours; an edge costs its length times the mean cost of its ends."""
    n, m = cost.shape
    flat = np.arange(n * m).reshape(n, m)
    a, b, c = [], [], []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = (slice(0, n - dy), slice(max(0, -dx), m - max(0, dx)))
        there = (slice(dy, n), slice(max(0, dx), m + min(0, dx)))
        a.append(flat[here].ravel())
        b.append(flat[there].ravel())
        c.append((np.hypot(dy, dx) * (cost[here] + cost[there]) / 2).ravel())
    rows, columns, costs = np.concatenate(a), np.concatenate(b), np.concatenate(c)
    graph = sparse.coo_matrix((np.r_[costs, costs], (np.r_[rows, columns], np.r_[columns, rows])), shape=(n * m, n * m))
    return graph.tocsr()


def channel_nodes(rng: np.random.Generator, terrain: Terrain) -> tuple[Index, Index, NDArray[np.float64]]:
    """Return channel cells, their receivers (as positions in the first array) and smooth meandering positions.

    Returns:
        (k) flat indices, (k) index of the receiver among them (itself at an outlet), (k, 2) x and y in metres.
    """
    drained = terrain.drained_km2.ravel()
    nodes = np.flatnonzero(drained >= CHANNEL_KM2)
    nodes = nodes[np.argsort(drained[nodes], kind="stable")]
    where = np.full(drained.size, -1)
    where[nodes] = np.arange(nodes.size)
    down = terrain.receiver[nodes]
    down = np.where(down >= 0, where[down], np.arange(nodes.size))
    up = np.arange(nodes.size)
    up[down] = np.arange(nodes.size)  # nodes are sorted by drained area: the largest tributary wins
    shape = terrain.elevation.shape
    bend = [fractal(rng, shape, pixel=CELL_M, longest=500, shortest=120, slope=2).ravel()[nodes] for _ in range(2)]
    xy = np.stack(terrain.centre(nodes), 1) + 38 * np.stack(bend, 1)
    for _ in range(6):
        xy = 0.5 * xy + 0.25 * (xy[down] + xy[up])
    return nodes, down, xy


def lay_route(terrain: Terrain, start: float, end: float, avoid: Array) -> LineString:
    """Lay a smooth route from the north to the south border where the ground is gentle.

    Args:
        terrain: the ground.
        start: place on the north border, fraction of the width.
        end: place on the south border, fraction of the width.
        avoid: (n, m) extra cost of a cell.
    """
    n, m = terrain.elevation.shape
    cost = 1 + (terrain.slope_deg / 4.0) ** 2 + avoid
    first, last = int(start * (m - 1)), (n - 1) * m + int(end * (m - 1))
    _, back = csgraph.dijkstra(neighbours(cost.astype(np.float64)), indices=first, return_predecessors=True)
    path = [last]
    while path[-1] != first:
        path.append(int(back[path[-1]]))
    x, y = terrain.centre(np.array(path))
    smooth = [ndimage.gaussian_filter1d(values, 6, mode="nearest") for values in (x, y)]
    _, south, _, north = terrain.box.bounds
    points = list(zip(*smooth, strict=True))
    return LineString([(points[0][0], south), *points[3:-3:3], (points[-1][0], north)])
