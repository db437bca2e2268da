"""How often the 95 % intervals of completeness hold the truth: on simulated corridors, where it is known.

python bench/completeness.py      (no network is trained: a detector of known recall stands in)

A corridor is a lattice of windows with slumps in groups on the slopes that suit them. The detector finds a slump with a
chance that depends on its size; its highest probability in a window says something of what it missed there. The sample is
drawn by the product's own code from windows stratified as in the product, and a reviewer finds what lies in them. Writes
results/bench/completeness.json: `coverage` of every estimator's interval over 600 corridors, `coverage_first` over the first
200 of them (what luck does to fewer), `plenty`: the audits of corridors with ten times as many slumps, and `violated`: what
becomes of it when an assumption doesn't hold.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from rts_pipeline.config import Audit
from rts_pipeline.io import write_json
from rts_pipeline.metrics.estimate import Estimate, recall
from rts_pipeline.metrics.objects import SIZE_CLASS_NAMES, size_class
from rts_pipeline.metrics.recapture import chapman
from rts_pipeline.metrics.removal import removal
from rts_pipeline.metrics.stratified import stratified_total
from rts_pipeline.progress import track
from rts_pipeline.sampling import draw, strata

Floats = NDArray[np.float64]

SHAPE = (40, 60)
"""Windows of 768 m: 31 x 46 km."""
WINDOW_M = 768.0
SLUMPS, PLENTY = 400, 4000
"""Expected number."""
RECALL = np.array([0.45, 0.65, 0.85, 0.95])
"""Of the detector, by size class."""
MEDIAN_M2, SPREAD = 8000.0, 1.2
"""Of the log-normal distribution of areas, whose mean is 1.6 ha."""
SECOND = np.array([0.4, 0.6, 0.8, 0.9])
"""Recall of a second detector."""
REVIEWERS = 0.9, 0.8
ROUND, ROUNDS = 0.5, 4
"""Share of the slumps still to be found that a round finds, and number of rounds."""
OPTIONS = Audit(windows=200)
CORRIDORS, FIRST = 600, 200
"""A coverage of .95 is seen as .933 to .967 with 600, as .92 to .98 with 200."""


@dataclass(frozen=True)
class World:
    """What isn't as the estimators assume; nothing by default.

    Attributes:
        reviewer: share of the missed slumps in a window that the audit's reviewer finds.
        common: share of a search's luck that it has in common with the other one, from 0 (independent) to 1.
        uneven: whether slumps differ in how easily a round finds them.
    """

    reviewer: float = 1.0
    common: float = 0.0
    uneven: bool = False


@dataclass
class Corridor:
    """A corridor with a truth."""

    rng: np.random.Generator
    slumps: int = SLUMPS
    slope: Floats = field(init=False)
    window: NDArray[np.int64] = field(init=False)
    size: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        """Lay out slopes and slumps."""
        rng = self.rng
        rough = gaussian_filter(rng.normal(size=SHAPE), 3)
        self.slope = 6 * np.exp(0.6 * rough / rough.std()).ravel()
        groups = gaussian_filter(rng.normal(size=SHAPE), 2).ravel()
        suited = np.exp(1.5 * groups / groups.std()) * np.exp(-(((self.slope - 7) / 4) ** 2))
        self.window = np.repeat(np.arange(suited.size), rng.poisson(self.slumps * suited / suited.sum()))
        area = MEDIAN_M2 * np.exp(SPREAD * rng.normal(size=self.window.size))
        self.size = size_class(area)

    def search(self, chance: Floats, luck: Floats | None = None, common: float = 0.0) -> NDArray[np.bool_]:
        """Return which slumps a search finds; `luck` is what it may have in common with another one."""
        own = self.rng.uniform(size=len(chance))
        shared = own if luck is None else np.where(self.rng.uniform(size=len(chance)) < common, luck, own)
        return np.asarray(shared < chance)

    def windows(self, found: NDArray[np.bool_]) -> pd.DataFrame:
        """Return the table that the stage audit makes of a corridor, for a detector that found those."""
        rng, n = self.rng, self.slope.size
        number = np.bincount(self.window, found, minlength=n)
        missed = np.bincount(self.window, ~found, minlength=n)
        lookalike = rng.uniform(size=n) < 0.02
        faint = np.where(missed > 0, 0.6 * rng.beta(1.5, 2, size=n), 0)
        flagged = (number > 0) | lookalike
        row, column = np.divmod(np.arange(n), SHAPE[1])
        known = np.column_stack([row, column])[number > 0]
        far, _ = cKDTree(known).query(np.column_stack([row, column])) if len(known) else (np.full(n, np.nan), None)
        frame = {
            "prob_max": np.where(flagged, rng.uniform(0.5, 1, size=n), np.maximum(0.5 * rng.beta(0.5, 5, size=n), faint)),
            "slope_deg": self.slope,
            "known_m": np.asarray(far) * WINDOW_M,
            "flagged": flagged,
        }
        table = pd.DataFrame(frame).assign(column=column, row=row)
        return table.assign(stratum=strata(table, OPTIONS))


def audit(corridor: Corridor, world: World, seed: int) -> dict[str, tuple[Estimate, float]]:
    """Return each estimate of an audit with its truth."""
    found = corridor.search(RECALL[corridor.size])
    sample = draw(corridor.windows(found), OPTIONS.windows, most=OPTIONS.probability[-1], key=str(seed))
    codes, names = pd.factorize(sample["stratum"], sort=True)
    sizes, looked = np.bincount(codes), np.flatnonzero(sample["sampled"])
    seen = ~found & np.isin(corridor.window, looked) & (corridor.rng.uniform(size=found.size) < world.reviewer)
    results = {}
    for name, members in {"all": np.full(found.size, True), **_classes(corridor)}.items():
        counts = np.bincount(corridor.window[seen & members], minlength=len(sample))[looked]
        missed = stratified_total(sizes, codes[looked], counts, list(names))
        n_found, n_missed = int((found & members).sum()), int((~found & members).sum())
        results[f"audit, missed, {name}"] = missed, float(n_missed)
        if n_found + n_missed:
            results[f"audit, recall, {name}"] = recall(n_found, missed), n_found / (n_found + n_missed)
    return results


def _classes(corridor: Corridor) -> dict[str, NDArray[np.bool_]]:
    return {name: corridor.size == number for number, name in enumerate(SIZE_CLASS_NAMES)}


def recapture(corridor: Corridor, world: World, seed: int) -> dict[str, tuple[Estimate, float]]:
    """Return the estimates from two detectors and from two reviewers of what a detector found, with their truths."""
    results = {}
    everything = np.full(corridor.size.size, True)
    shown = corridor.search(RECALL[corridor.size])
    for name, among, chances in (
        ("detectors", everything, (RECALL[corridor.size], SECOND[corridor.size])),
        ("reviewers", shown, tuple(np.full(corridor.size.size, chance) for chance in REVIEWERS)),
    ):
        luck = corridor.rng.uniform(size=corridor.size.size)
        one, two = (corridor.search(chance, luck, world.common) & among for chance in chances)
        searches = one, two, one & two
        table = [tuple(int((found & members).sum()) for found in searches) for members in _classes(corridor).values()]
        results[f"recapture, {name}"] = chapman(table), float(among.sum())
    return results


def curve(corridor: Corridor, world: World, seed: int) -> dict[str, tuple[Estimate, float]]:
    """Return the asymptote of the curve of new slumps a round, with the truth."""
    rng, n = corridor.rng, corridor.size.size
    chance = rng.beta(1, 1, size=n) if world.uneven else np.full(n, ROUND)
    left, new = np.full(n, True), []
    for _ in range(ROUNDS):
        hit = left & (rng.uniform(size=n) < chance)
        new.append(int(hit.sum()))
        left &= ~hit
    return {"curve, asymptote": (removal(new).total, float(n))}


Part = Callable[[Corridor, World, int], dict[str, tuple[Estimate, float]]]
VIOLATED: dict[str, tuple[World, Part]] = {
    "the audit's reviewer finds 80 % of what lies in a window": (World(reviewer=0.8), audit),
    "a third of the searches' luck is common": (World(common=1 / 3), recapture),
    "slumps differ in how easily a round finds them": (World(uneven=True), curve),
}


Outcomes = dict[str, list[tuple[Estimate, float]]]


def simulate(n: int, world: World, parts: tuple[Part, ...] = (audit, recapture, curve), slumps: int = SLUMPS) -> Outcomes:
    """Return for each estimator its estimates of `n` corridors, each with its truth."""
    outcomes: Outcomes = defaultdict(list)
    for seed in track(range(n), n, "completeness", "corridors"):
        corridor = Corridor(np.random.default_rng(seed), slumps)
        for part in parts:
            for name, result in part(corridor, world, seed).items():
                outcomes[name].append(result)
    return outcomes


def summaries(outcomes: Outcomes) -> dict[str, dict[str, Any]]:
    """Return for each estimator: coverage, share without upper limit, relative bias, median width."""
    return {name: _summary(results) for name, results in outcomes.items()}


def coverage(outcomes: Outcomes, n: int | None = None) -> dict[str, float]:
    """Return for each estimator the share of the (first `n`) intervals that hold the truth."""
    return {name: _coverage(results[:n]) for name, results in outcomes.items()}


def _coverage(results: list[tuple[Estimate, float]]) -> float:
    return sum(estimate.covers(truth) for estimate, truth in results) / len(results)


def _summary(results: list[tuple[Estimate, float]]) -> dict[str, Any]:
    estimated = [(estimate.value, truth) for estimate, truth in results if estimate.value is not None]
    bounded = [estimate.high - (estimate.low or 0) for estimate, _ in results if estimate.high is not None]
    mean = sum(truth for _, truth in estimated) / len(estimated)
    return {
        "n": len(results),
        "coverage": _coverage(results),
        "too_low": sum(estimate.high is not None and estimate.high < truth for estimate, truth in results) / len(results),
        "too_high": sum(estimate.low is None or estimate.low > truth for estimate, truth in results) / len(results),
        "unbounded": 1 - len(bounded) / len(results),
        "truth_mean": mean,
        "bias": sum(value - truth for value, truth in estimated) / len(estimated) / mean if mean else None,
        "width_median": float(np.median(bounded)) if bounded else None,
    }


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corridors", type=int, default=CORRIDORS)
    parser.add_argument("--out", type=Path, default=Path("results/bench/completeness.json"))
    given = parser.parse_args()
    n = given.corridors
    outcomes = simulate(n, World())
    plenty = summaries(simulate(n, World(), parts=(audit,), slumps=PLENTY))
    violated = {name: summaries(simulate(n, world, parts=(part,))) for name, (world, part) in VIOLATED.items()}
    usual, first = summaries(outcomes), coverage(outcomes, FIRST)
    result = {
        "coverage": coverage(outcomes),
        "coverage_first": first,
        "usual": usual,
        "plenty": plenty,
        "violated": violated,
    }
    write_json(given.out, result)
    for name, row in usual.items():
        print(f"{name:36} {row['coverage']:.3f} first {FIRST} {first[name]:.3f} width {row['width_median']:.3g}")
    print(f"with {PLENTY} slumps", {name: row["coverage"] for name, row in plenty.items()})
    for why, rows in violated.items():
        print(why, {name: (row["coverage"], round(row["bias"], 3)) for name, row in rows.items()})


if __name__ == "__main__":
    main()
