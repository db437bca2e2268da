"""Which windows an audit looks at: strata in which missed slumps are about as likely, and a seeded random sample of each."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rts_pipeline.io.tables import read_geoparquet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import geopandas as gpd
    from numpy.typing import NDArray

    from rts_pipeline.config import Audit

    Integers = NDArray[np.int64]
    Floats = NDArray[np.float64]

FLAGGED = "with an outline"
"""Stratum of the windows that hold part of an outline or of a known slump: slumps come in groups, and most of those missed lie
beside others."""
LEAST_RATE = 0.01
"""Density of missed slumps that counts for a stratum of the lowest probability, so that it is looked at too."""
LEAST_SAMPLED = 4
"""Windows that every stratum gets, if it has them: with fewer its variance says nothing."""
LEAST_WINDOWS = 4 * LEAST_SAMPLED
"""Classes of slope and distance with fewer windows are one stratum, or they would take the sample from the large ones."""
WINDOW = "window"
"""Status of a window among the candidates of a round: ground to be looked through, no outline."""


def strata(windows: pd.DataFrame, options: Audit) -> pd.Series:
    """Return the name of each window's stratum: `FLAGGED`, or its classes of probability, slope and distance.

    Classes of one probability with fewer than LEAST_WINDOWS windows are united.

    Args:
        windows: flagged (bool), prob_max, slope_deg (nan where the DEM says nothing), known_m (nan where no slump is known).
        options: limits of the classes; a value at a limit belongs to the upper class.
    """
    parts = [
        _classes(windows["prob_max"], options.probability, "probability"),
        _classes(windows["slope_deg"], options.slope_deg, "slope"),
        _classes(windows["known_m"], options.known_m, "distance"),
    ]
    names = (parts[0] + ", " + parts[1] + ", " + parts[2]).where(~windows["flagged"], FLAGGED)
    small = names.map(names.value_counts()) < LEAST_WINDOWS
    return names.where(~small | windows["flagged"], parts[0] + ", small classes")


def _classes(values: pd.Series, limits: Sequence[float], what: str) -> pd.Series:
    texts = [f"{low:g} to {high:g}" for low, high in pairwise(limits)]
    texts = [f"below {limits[0]:g}", *texts, f"{limits[-1]:g} and above"] if limits else ["any"]
    named = np.array([f"{what} {text}" for text in [*texts, "unknown"]], dtype=object)
    known = values.notna().to_numpy()
    return pd.Series(named[np.where(known, np.digitize(values, limits), len(named) - 1)], index=values.index, dtype="str")


def allocate(sizes: Integers, rates: Floats, n: int) -> Integers:
    """Share `n` windows out among strata: as many for each as makes the estimated total surest.

    In proportion to N_h x sqrt(rate_h), where rate_h is the expected number of missed slumps in a window: with counts that
    vary as much as Poisson's, that is Neyman's allocation (Cochran 1977, equation 5.26). Each gets LEAST_SAMPLED if it has
    them, so that the sum may exceed `n`.

    Args:
        sizes: windows in each stratum, shape (h,).
        rates: guess of the rates, up to a factor, above 0; a wrong guess costs width of the interval, not truth.
        n: windows to look at.
    """
    least = np.minimum(sizes, LEAST_SAMPLED)
    share = sizes * np.sqrt(rates)
    given = least.copy()
    while (left := n - int(given.sum())) > 0 and (free := given < sizes).any():
        wanted = np.where(free, share, 0) / share[free].sum() * left
        more = np.minimum(np.floor(wanted).astype(np.int64), sizes - given)
        if not more.any():
            # single windows are left: to the largest claims, of equals the first
            order = np.argsort(-np.where(free, wanted, -1), kind="stable")[: min(left, int(free.sum()))]
            more[order] = 1
        given += more
    return given


def draw(windows: pd.DataFrame, n: int, *, most: float, key: str) -> pd.DataFrame:
    """Draw a stratified random sample without replacement.

    Each window has a random number that depends on the key and its place alone (permanent random numbers: Ohlsson 1995,
    "Coordination of samples using permanent random numbers"); a stratum's sample are those with its smallest numbers.

    Args:
        windows: stratum, prob_max, column, row.
        n: windows to draw.
        most: probability above which the guessed density of missed slumps doesn't rise any more.
        key: of the random numbers, such as the seed and the round.

    Returns:
        The windows with `inclusion` (n_h / N_h of their stratum), `sampled` (bool) and `order` (1, 2, ... of those sampled,
        random, so that it tells nothing of the stratum; 0 of the others).
    """
    rate = windows["prob_max"].clip(LEAST_RATE, max(most, LEAST_RATE)).groupby(windows["stratum"]).mean()
    sizes = windows["stratum"].value_counts().reindex(rate.index)
    share = allocate(np.asarray(sizes, dtype=np.int64), np.asarray(rate, dtype=np.float64), n)
    given = pd.Series(share.astype(float), index=rate.index)
    chance = pd.Series(_numbers(windows, key), index=windows.index)
    place = chance.groupby(windows["stratum"]).rank(method="first")
    sampled = place <= windows["stratum"].map(given)
    order = chance.where(sampled).rank(method="first").fillna(0).astype("int64")
    return windows.assign(inclusion=windows["stratum"].map(given / sizes), sampled=sampled, order=order)


def read_sampled(frame: Path) -> gpd.GeoDataFrame:
    """Return the sampled windows of a frame (`audit.parquet`), sorted by id: candidate_id, status (WINDOW), known, geometry.

    Raises:
        InputError: a missing or damaged file.
    """
    rows = read_geoparquet(frame)
    rows = rows[rows["sampled"]].rename(columns={"window_id": "candidate_id"}).assign(status=WINDOW)
    return rows[["candidate_id", "status", "known", "geometry"]].sort_values("candidate_id", ignore_index=True)


def _numbers(windows: pd.DataFrame, key: str) -> Floats:
    places = zip(windows["column"], windows["row"], strict=True)
    digests = (hashlib.sha256(f"{key} {column} {row}".encode()).digest() for column, row in places)
    return np.array([int.from_bytes(digest[:8], "big") / 2**64 for digest in digests], dtype=np.float64)
