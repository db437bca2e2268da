"""What is linked, directly or over others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Indexes = NDArray[np.int64]
    Nodes = NDArray[np.integer]


def components(n: int, first: Nodes, second: Nodes) -> Indexes:
    """Return the number of the component of each of n nodes, shape (n,), given the links from `first` to `second`."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(first), dtype=np.int8), (first, second)), shape=(n, n))
    return connected_components(links, directed=False)[1].astype(np.int64)


def steps(n: int, first: Nodes, second: Nodes, sources: Nodes) -> NDArray[np.float64]:
    """Return over how many links each of n nodes is reached from the nearest source, shape (n,); inf where none leads there."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import dijkstra

    links = coo_array((np.ones(len(first), dtype=np.int8), (first, second)), shape=(n, n))
    away: NDArray[np.float64] = dijkstra(links.tocsr(), directed=False, indices=sources, unweighted=True, min_only=True)
    return away
