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

from rts_pipeline.graph import components

Floats = NDArray[np.float64]
Indexes = NDArray[np.int64]
Bools = NDArray[np.bool_]

ROUNDS = 30
"""Of reweighting; on simulated corridors nothing changes after ten."""

EVEN_M = 0.3
"""Residuals of displacements below this (0.1 px of PlanetScope) count as equal: least squares there, least sums beyond."""

GAIN_WIDTH, LEVEL_WIDTH = 0.1, 100.0
"""Widths of the prior: spread of satellites' gains around 1, and of their levels around 0 in reflectance x 10,000. A window
of ordinary contrast (standard deviation 200) outweighs it several hundred times."""

GAIN_RANGE, LEVEL_LIMIT = (0.5, 2.0), 1000.0
"""No two satellites differ by more: such an item has been compared with cloud or haze."""


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
    links = _differences(n, first, second)[:, free]
    pull = weights
    for _ in range(ROUNDS if free.any() else 0):
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
    """Return the sparse (m, n) matrix that takes values of nodes to those of `first` less those of `second`."""
    rows, ones = np.arange(len(first)), np.ones(len(first))
    places = np.concatenate([rows, rows]), np.concatenate([first, second])
    return sparse.csr_matrix((np.concatenate([ones, -ones]), places), shape=(len(first), n))


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

    def mapped(self, gain: Floats, level: Floats, mean: Floats) -> Samples:
        """Return the samples as (value - mean) * gain + level.

        Args:
            gain: of each node.
            level: of each node.
            mean: of each node, the same within a component.
        """
        n, (a, b) = self.count, (self.first, self.second)
        (g, h), (c, d), m = (gain[a], gain[b]), (level[a], level[b]), mean[a]
        x, y = self.x - n * m, self.y - n * m
        xx, yy = self.xx - 2 * m * self.x + n * m**2, self.yy - 2 * m * self.y + n * m**2
        xy = self.xy - m * (self.x + self.y) + n * m**2
        return replace(
            self,
            x=g * x + n * c,
            y=h * y + n * d,
            xx=g * g * xx + 2 * g * c * x + n * c * c,
            yy=h * h * yy + 2 * h * d * y + n * d * d,
            xy=g * h * xy + g * d * x + h * c * y + n * c * d,
        )


def solve_radiometry(n: int, samples: Samples) -> tuple[Floats, Floats]:
    """Return the gain and offset of each node that make pairs agree: value * gain + offset.

    Minimises the squared differences of the adjusted samples and a weak prior (gain 1, no correction), windows that fit
    badly weighing less. Pairs say nothing about what all items of a component have in common, so there the prior alone
    decides: the gains average 1, and the corrections of the component's mean value 0.

    A node whose solution no satellite can have (GAIN_RANGE, LEVEL_LIMIT) is left as it is, and out of the others' solution.

    Args:
        n: nodes.
        samples: of one band, reflectance x 10,000.

    Returns:
        Gain (n,) and offset (n,); 1 and 0 for nodes without samples.
    """
    trusted = np.ones(n, bool)
    while True:
        here = samples.where(trusted[samples.first] & trusted[samples.second] & (samples.count > 0))
        if len(here.count) == 0:
            return np.ones(n), np.zeros(n)
        group = components(n, here.first, here.second)
        mean = _means(group, here)
        gain, level = _agreeing(n, here, mean)
        lowest, highest = GAIN_RANGE
        wild = (gain < lowest) | (gain > highest) | (np.abs(level) > LEVEL_LIMIT)
        if not wild.any():
            return gain, level + mean - gain * mean
        # the worst first: it may have pulled the others
        trusted[np.argmax(wild * np.hypot((gain - 1) / GAIN_WIDTH, level / LEVEL_WIDTH))] = False


def _means(group: Indexes, samples: Samples) -> Floats:
    """Return for each node the mean of all samples of its component."""
    number = group[samples.first]
    total = np.bincount(number, samples.x + samples.y, minlength=group.max() + 1)
    count = np.bincount(number, 2 * samples.count, minlength=group.max() + 1)
    mean: Floats = (total / np.maximum(count, 1))[group]
    return mean


def _agreeing(n: int, samples: Samples, mean: Floats) -> tuple[Floats, Floats]:
    """Return the gain and level of each node, (value - mean) * gain + level, by steps from gain 1 and level 0."""
    gain, level = np.ones(n), np.zeros(n)
    difference = _differences(n, samples.first, samples.second)
    for _ in range(ROUNDS):
        now = samples.mapped(gain, level, mean)
        squares = np.maximum((now.xx + now.yy - 2 * now.xy) / now.count, 1)  # 1: that of rounding
        typical = float(np.median(squares))
        weights = 1 / (typical * (1 + squares / (4 * typical)))  # Cauchy's, with twice the typical difference as its scale
        step, rise = _step(difference, now, weights, gain, level)
        gain, level = gain * (1 + step), level * (1 + step) + rise
    return gain, level


def _step(difference: Any, s: Samples, weights: Floats, gain: Floats, level: Floats) -> tuple[Floats, Floats]:
    """Return the next change of gain and level.

    Both images of a pair are as noisy. So the gain step multiplies their mean, the best estimate of the ground, not each
    one's own values: least squares on those would lower the gain of the noisier one (regression dilution). Contrast within
    a window counts as far as it is common to both; on flat ground there is only noise, and the prior decides.
    """
    n = s.count
    var_x, var_y, cov = s.xx - s.x**2 / n, s.yy - s.y**2 / n, s.xy - s.x * s.y / n
    contrast, total, apart = (var_x + 2 * cov + var_y) / 4, (s.x + s.y) / 2, s.x - s.y
    common = np.clip(cov / np.maximum(contrast, 1e-9), 0, 1)
    square = total**2 / n + common * contrast
    product = total * apart / n + common * (var_x - var_y) / 2

    def normal(values: Floats) -> Any:
        return difference.T @ sparse.diags(weights * values) @ difference

    prior = [np.full(len(gain), width**-2) for width in (GAIN_WIDTH, LEVEL_WIDTH)]
    system = sparse.bmat(
        [[normal(square) + sparse.diags(prior[0]), normal(total)], [normal(total), normal(n) + sparse.diags(prior[1])]],
        format="csc",
    )
    right = [-difference.T @ (weights * product) - prior[0] * (gain - 1), -difference.T @ (weights * apart) - prior[1] * level]
    found = splu(system).solve(np.concatenate(right))
    return np.clip(found[: len(gain)], -0.3, 0.3), found[len(gain) :]  # a step beyond would leave what is nearly linear
