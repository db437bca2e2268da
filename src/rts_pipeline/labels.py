"""Stage `labels`: what is known so far, from seed outlines and signed-off reviews, as labels to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import pandas as pd
import shapely

from rts_pipeline import io
from rts_pipeline.errors import InputError
from rts_pipeline.options import LabelsOptions

KINDS = {
    "accept": "positive",
    "edit": "positive",
    "missed": "positive",
    "reject": "negative",
    "unsure": "ignore",
    "unseen": "ignore",
}
"""Kind of label that each decision of a review becomes."""

PRIORITY = ("ignore", "negative", "positive")
"""Where labels overlap the later kind wins."""

COLUMNS = ["label_id", "kind", "source", "candidate_id", "reviewers", "decided_at", "reason", "possibility", "geometry"]
NEEDED = ["candidate_id", "round", "decision", "possibility", "reject_reason", "reviewers", "reviewed_at", "geometry"]


def build_labels(seeds: Path, reviewed: Sequence[Path], out: Path, options: LabelsOptions) -> None:
    """Write the labels of a round.

    Args:
        seeds: vector file of the outlines known at the start; all are positive.
        reviewed: `reviewed.parquet` of every signed-off round before this one.
        out: GeoParquet, one row a label, in the grid's CRS.
        options: the stage's options.

    Raises:
        InputError: a file is missing, empty, invalid, lacks a column or holds an unknown decision.
    """
    crs = options.grid.crs
    frames = [_from_seeds(seeds, crs), *(_from_review(path, crs) for path in reviewed)]
    labels = pd.concat([frame for frame in frames if len(frame)], ignore_index=True)[COLUMNS]
    twice = labels.label_id[labels.label_id.duplicated()]
    if len(twice):
        raise InputError(out.name, f"label {twice.iloc[0]} comes twice", expected="each candidate in one review only")
    io.write_parquet(out, gpd.GeoDataFrame(labels, geometry="geometry", crs=crs))


def _from_seeds(path: Path, crs: str) -> gpd.GeoDataFrame:
    outlines = io.read_outlines(path, "seed outlines", crs=crs)
    return gpd.GeoDataFrame(
        {
            "label_id": [f"seed-{number:05d}" for number in range(1, len(outlines) + 1)],
            "kind": "positive",
            "source": "seed",
            "candidate_id": pd.Series([None] * len(outlines), dtype="string"),
            "reviewers": "",
            "decided_at": pd.Series([None] * len(outlines), dtype="string"),
            "reason": "",
            "possibility": 1.0,
        },
        geometry=_clean(outlines),
        crs=crs,
    )


def _from_review(path: Path, crs: str) -> gpd.GeoDataFrame:
    rows = io.read_geoparquet(path)
    missing = [name for name in NEEDED if name not in rows.columns]
    if missing:
        raise InputError(path, f"column {missing[0]} is missing", expected="a signed-off review", do="sign the round off again")
    unknown = rows.decision[~rows.decision.isin(list(KINDS))]
    if len(unknown):
        raise InputError(path, f"unknown decision '{unknown.iloc[0]}'", expected=", ".join(KINDS))
    rows = rows.to_crs(crs)
    return gpd.GeoDataFrame(
        {
            "label_id": rows.candidate_id.astype("string"),
            "kind": rows.decision.map(KINDS),
            "source": "round " + rows["round"].astype(int).astype(str).str.zfill(2),
            "candidate_id": rows.candidate_id.astype("string"),
            "reviewers": rows.reviewers.fillna("").astype(str),
            "decided_at": rows.reviewed_at.astype("string"),
            "reason": rows.reject_reason.fillna("").astype(str),
            "possibility": rows.possibility.astype("float64"),
        },
        geometry=_clean(rows),
        crs=crs,
    )


def _clean(frame: gpd.GeoDataFrame) -> list[shapely.Geometry]:
    # Reprojection can make a valid outline touch itself; later stages subtract and rasterize it.
    flat = shapely.force_2d(frame.geometry.to_numpy())
    return list(shapely.make_valid(flat, method="structure", keep_collapsed=False))
