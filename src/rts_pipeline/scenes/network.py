"""Networks of items that overlap: one displacement, and a gain and offset, for each from how pairs of them differ.

Everything is solved for all items at once, so that errors don't add up from item to item along a strip. Items that are
linked by overlaps, directly or not, are a component; nothing is known between components. (Pure functions on arrays.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

Floats = NDArray[np.float64]
Indexes = NDArray[np.int64]
Bools = NDArray[np.bool_]

ROUNDS = 30
"""Of reweighting: then a solution changes by less than 1e-3 of its unit."""

EVEN_M = 0.3
"""Residuals of displacements below this (0.1 px of PlanetScope) count as equal: least squares there, least sums beyond."""

GAIN_WIDTH, OFFSET_WIDTH = 0.1, 100.0
"""Widths of the prior: spread of satellites' gains around 1, and of their offsets around 0 in reflectance x 10,000. A
window of any contrast outweighs it by some hundred times."""

GAIN_RANGE = 0.5, 2.0
"""No two satellites differ by more: an item with such a gain has been compared with cloud or haze."""


def components(n: int, first: Indexes, second: Indexes) -> Indexes:
    """Return the number of the component of each of n nodes, given the links from `first` to `second`."""
    links = sparse.coo_matrix((np.ones(len(first)), (first, second)), shape=(n, n))
    found: Indexes = sparse.csgraph.connected_components(links, directed=False)[1].astype(np.int64)
    return found


def solve_shifts(n: int, first: Indexes, second: Indexes, shifts: Floats, weights: Floats, fixed: int | None) -> Floats:
    """Return the displacement of each node from those between pairs (least absolute deviations, by reweighting).

    Args:
        n: nodes.
        first: (m,) node a of each measurement.
        second: (m,) node b.
        shifts: (m, 2) displacement of a against b, in metres.
        weights: (m,) > 0.
        fixed: the node whose place is right. In a component without it the median displacement is 0.

    Returns:
        (n, 2) metres; 0 for nodes without measurement.
    """
    found = np.zeros((n, 2))
    group = components(n, first, second)
    free = np.ones(n, bool)
    free[np.unique(group, return_index=True)[1]] = False  # one of each component stays where it is for now
    pull = weights
    for _ in range(ROUNDS if free.any() else 0):
        links = sparse.csr_matrix(_differences(n, first, second))[:, free]
        normal, right = links.T @ sparse.diags(pull) @ links, links.T @ (pull[:, None] * shifts)
        found[free] = splu(sparse.csc_matrix(normal)).solve(right)
        rest = np.linalg.norm(shifts - (found[first] - found[second]), axis=1)
        pull = weights / np.maximum(rest, EVEN_M)
    for number in range(group.max(initial=-1) + 1):
        members = group == number
        pinned = fixed is not None and members[fixed]
        found[members] -= found[fixed] if pinned else np.median(found[members], axis=0)
    return found


def _differences(n: int, first: Indexes, second: Indexes) -> Any:
    rows = np.arange(len(first))
    ones = np.ones(len(first))
    return sparse.coo_matrix(
        (np.concatenate([ones, -ones]), (np.concatenate([rows, rows]), np.concatenate([first, second]))), shape=(len(rows), n)
    )


@dataclass(frozen=True)
class Samples:
    """What pairs of items say about one band: (m,) each, sums over a window's samples of x in a and y in b."""

    first: Indexes
    second: Indexes
    count: Floats
    x: Floats
    y: Floats
    xx: Floats
    yy: Floats
    xy: Floats

    def where(self, wanted: Bools) -> Samples:
        """Return those of the wanted rows."""
        return Samples(*(values[wanted] for values in vars(self).values()))

    def centred(self, mean: Floats) -> Samples:
        """Return the same samples less a value for each row."""
        n = self.count
        return replace(
            self,
            x=self.x - n * mean,
            y=self.y - n * mean,
            xx=self.xx - 2 * mean * self.x + n * mean**2,
            yy=self.yy - 2 * mean * self.y + n * mean**2,
            xy=self.xy - mean * (self.x + self.y) + n * mean**2,
        )


def solve_radiometry(n: int, samples: Samples) -> tuple[Floats, Floats]:
    """Return the gain and offset of each node that make pairs agree: value * gain + offset.

    Minimises the squared differences of the adjusted samples and a weak prior (gain 1, offset 0), windows that fit badly
    weighing less. In each component the gains average 1, and the corrections of its mean value 0: without that the
    differences would be least where all gains are 0.

    An item whose gain leaves GAIN_RANGE is left as it is, and out of the others' solution.

    Args:
        n: nodes.
        samples: of one band, reflectance x 10,000.

    Returns:
        Gain (n,) and offset (n,); 1 and 0 for nodes without samples.
    """
    trusted = np.ones(n, bool)
    while True:
        here = samples.where(trusted[samples.first] & trusted[samples.second] & (samples.count > 0))
        gain, offset = _solve_trusted(n, here)
        wild = (gain < GAIN_RANGE[0]) | (gain > GAIN_RANGE[1])
        if not wild.any():
            return gain, offset
        trusted[np.argmax(np.where(wild, np.abs(gain - 1), 0))] = False  # the worst first: it may have pulled the others


def _solve_trusted(n: int, samples: Samples) -> tuple[Floats, Floats]:
    if len(samples.count) == 0:
        return np.ones(n), np.zeros(n)
    group = components(n, samples.first, samples.second)
    mean = _means(group, samples)
    here = samples.centred(mean[samples.first])
    linked = np.zeros(n, bool)
    linked[samples.first] = linked[samples.second] = True
    solution = np.zeros(2 * n)  # gain - 1 of all, then the correction of the component's mean value
    weights = 1 / np.maximum(_mean_squares(here, solution, n), 1)
    for _ in range(ROUNDS):
        solution = _least_squares(n, here, weights, np.where(linked, group, -1))
        squares = np.maximum(_mean_squares(here, solution, n), 1)  # 1: rounding
        typical = np.median(squares)
        # Cauchy's weight, with twice the typical deviation as its scale
        weights = 1 / (typical * (1 + squares / (4 * typical)))
    return 1 + solution[:n], solution[n:] - solution[:n] * mean


def _means(group: Indexes, samples: Samples) -> Floats:
    """Return for each node the mean of all samples of its component."""
    number = group[samples.first]
    total = np.bincount(number, samples.x + samples.y, minlength=group.max() + 1)
    count = np.bincount(number, 2 * samples.count, minlength=group.max() + 1)
    mean: Floats = (total / np.maximum(count, 1))[group]
    return mean


def _mean_squares(s: Samples, solution: Floats, n: int) -> Floats:
    """Return the mean squared difference (m,) of the adjusted samples of each row."""
    gain_a, gain_b = 1 + solution[s.first], 1 + solution[s.second]
    apart = solution[n + s.first] - solution[n + s.second]
    total = gain_a**2 * s.xx + gain_b**2 * s.yy - 2 * gain_a * gain_b * s.xy
    total = total + s.count * apart**2 + 2 * apart * (gain_a * s.x - gain_b * s.y)
    return np.maximum(total / s.count, 0)


def _least_squares(n: int, s: Samples, weights: Floats, group: Indexes) -> Floats:
    """Solve the normal equations with, for each component, a multiplier that holds the sums of gains and corrections."""
    a, b = s.first, s.second
    unknowns = (a, n + a, b, n + b)
    # each sample's equation: x * dg_a + c_a - y * dg_b - c_b = y - x
    products = (
        (s.xx, s.x, -s.xy, -s.x),
        (s.x, s.count, -s.y, -s.count),
        (-s.xy, -s.y, s.yy, s.y),
        (-s.x, -s.count, s.y, s.count),
    )
    right = np.zeros(2 * n)
    for unknown, value in zip(unknowns, (s.xy - s.xx, s.y - s.x, s.xy - s.yy, s.x - s.y), strict=True):
        right += np.bincount(unknown, weights * value, minlength=2 * n)
    rows = np.concatenate([row for row in unknowns for _ in unknowns])
    columns = np.concatenate([column for _ in unknowns for column in unknowns])
    values = np.concatenate([weights * value for line in products for value in line])
    normal = sparse.coo_matrix((values, (rows, columns)), shape=(2 * n, 2 * n))
    prior = sparse.diags(np.repeat([GAIN_WIDTH**-2, OFFSET_WIDTH**-2], n))
    held = _held(n, group)
    system = sparse.bmat([[normal + prior, held.T], [held, None]], format="csc")
    solution: Floats = splu(system).solve(np.concatenate([right, np.zeros(held.shape[0])]))[: 2 * n]
    return solution


def _held(n: int, group: Indexes) -> Any:
    """Return the equations that hold each component: a row for its gains and one for its corrections."""
    nodes = np.flatnonzero(group >= 0)
    row = np.unique(group[nodes], return_inverse=True)[1]
    count = int(row.max()) + 1
    rows, columns = np.concatenate([row, row + count]), np.concatenate([nodes, n + nodes])
    return sparse.coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(2 * count, 2 * n))
