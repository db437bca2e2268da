"""The list of what a reviewer has to judge, as the page shows it."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd


class Queue:
    """What a reviewer has to judge, in order; replaced as a whole, since requests are answered side by side.

    Attributes:
        candidates: a GeoDataFrame with the columns of `candidates.parquet`.
        position: id -> row of `candidates`.
    """

    def __init__(self, candidates: Any, windows: Collection[str]) -> None:
        """Hold the candidates in this order; of which some are windows of an audit."""
        self.candidates, self._windows = candidates, windows
        self.position = {name: index for index, name in enumerate(candidates["candidate_id"].tolist())}

    @cached_property
    def columns(self) -> dict[str, list[Any]]:
        """What the page's list shows, by column; coordinates in whole metres."""
        frame = self.candidates
        centre = frame.geometry.centroid
        curve = frame.geometry.hilbert_distance().to_numpy() if len(frame) else np.zeros(0)
        return {
            "id": frame["candidate_id"].tolist(),
            "x": centre.x.round().astype(int).tolist(),
            "y": centre.y.round().astype(int).tolist(),
            "area": frame["area_m2"].round().astype(int).tolist(),
            "changed": (frame["status"] == "changed").astype(int).tolist() if "status" in frame else [0] * len(frame),
            "window": frame["candidate_id"].isin(self._windows).astype(int).tolist(),
            "near": pd.Series(curve).rank(method="first").astype(int).tolist(),
        }
