"""Stage `labels`: what is known so far, from seed outlines and signed-off reviews, as labels to learn from."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from rasterio.features import rasterize

from rts_pipeline.errors import InputError
from rts_pipeline.grid import GeoBox
from rts_pipeline.inventory.shape import only_polygons
from rts_pipeline.io.tables import read_geoparquet, write_parquet
from rts_pipeline.lineage import MIN_SHARED_M2, SEED, SEPARATOR, replacements, united, with_lineage
from rts_pipeline.options import LabelsOptions
from rts_pipeline.review.events import NOT_SEEN
from rts_pipeline.seeds import read_seeds

KINDS = {
    "accept": "positive",
    "edit": "positive",
    "missed": "positive",
    "reject": "negative",
    "unsure": "ignore",
    "unseen": "ignore",
}
"""Kind of label that each decision of a review becomes; a "reject" for one of `NOT_SEEN` is ignored, as what nobody judged."""

PRIORITY = ("ignore", "negative", "positive")
"""Where labels overlap the later kind wins."""

IGNORE = 255
"""Value of pixels that are neither learned from nor scored."""
VALUES = {"positive": 1, "negative": 0, "ignore": IGNORE}
"""Value of the pixels of each kind of label; what is not labelled is 0 too."""

COLUMNS = [
    "label_id",
    "kind",
    "source",
    "candidate_id",
    "reviewers",
    "decided_at",
    "reason",
    "possibility",
    "known_ids",
    "judged_m2",
    "geometry",
]
NEEDED = ["candidate_id", "round", "decision", "possibility", "reject_reason", "reviewers", "reviewed_at", "geometry"]


class LabelRaster:
    """The labels as classes of pixels: 1 slump, 0 background (hard negatives too), 255 neither learned from nor scored.

    All geometries are held in memory: a window costs a search in a tree and the drawing of what touches it.
    """

    def __init__(self, path: Path, crs: str, boundary_m: float = 0.0) -> None:
        """Read a file of labels.

        Args:
            path: `labels.parquet` of a round.
            crs: CRS of the boxes that will be asked for.
            boundary_m: width of the ring on each side of a slump's outline that is 255; it wins over every label.

        Raises:
            InputError: the file is missing or damaged, holds an unknown kind, or a label that has no place in `crs`.
        """
        frame = read_geoparquet(path).to_crs(crs)
        _check_drawable(frame, path, crs)
        frame = frame.iloc[frame.kind.map(PRIORITY.index).argsort(kind="stable")]
        positive = frame.geometry[frame.kind == "positive"]
        rings = positive.boundary.buffer(boundary_m) if boundary_m else positive.iloc[:0]
        self._shapes = np.concatenate([frame.geometry.to_numpy(), rings.to_numpy()])
        self._values = np.concatenate([frame.kind.map(VALUES).to_numpy(), np.full(len(rings), IGNORE)])
        self._tree = shapely.STRtree(self._shapes)

    def mask(self, box: GeoBox) -> np.ndarray:
        """Return uint8 (rows, columns) of `box`; a pixel belongs to the label that its centre lies in."""
        mask = np.zeros(box.shape, np.uint8)
        hits = np.sort(self._tree.query(box.polygon))
        # Negatives are drawn for what they take from ignored labels: alone they change nothing.
        if self._values[hits].any():
            rasterize(zip(self._shapes[hits], self._values[hits].tolist(), strict=True), out=mask, transform=box.transform)
        return mask


def _check_drawable(frame: gpd.GeoDataFrame, path: Path, crs: str) -> None:
    unknown = frame.kind[~frame.kind.isin(PRIORITY)]
    if len(unknown):
        raise InputError(path, f"unknown kind '{unknown.iloc[0]}'", expected=", ".join(PRIORITY))
    nowhere = ~np.isfinite(frame.geometry.bounds.to_numpy()).all(axis=1)
    if nowhere.any():
        raise InputError(
            path,
            f"label {frame.label_id[nowhere].iloc[0]} has no place in {crs} ({nowhere.sum()} of {len(frame)} labels)",
            expected="a polygon for each label",
            do="remove the file and run again",
        )


def build_labels(seeds: Path | None, reviewed: Sequence[Path], out: Path, options: LabelsOptions) -> None:
    """Write the labels of a round.

    What was accepted where a known slump changed takes that slump's place. What was refused there keeps the ground that isn't
    known, so that no label speaks against a known slump.

    Args:
        seeds: vector file of the outlines known at the start; all are positive. None: none is known.
        reviewed: `reviewed.parquet` of every signed-off round before this one.
        out: GeoParquet, one row a label, in the grid's CRS.
        options: the stage's options.

    Raises:
        InputError: a file is missing, empty, invalid, lacks a column or holds an unknown decision.
    """
    crs = options.grid.crs
    known = gpd.GeoDataFrame({"seed_id": []}, geometry=[], crs=crs) if seeds is None else read_seeds(seeds, crs)
    frames = [_from_seeds(known), *(_from_review(path, crs) for path in reviewed)]
    labels = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)[COLUMNS]
    twice = labels.label_id[labels.label_id.duplicated()]
    if len(twice):
        raise InputError(out.name, f"label {twice.iloc[0]} comes twice", expected="each candidate in one review only")
    _tell_strangers(labels)
    write_parquet(out, _settled(gpd.GeoDataFrame(labels, geometry="geometry", crs=crs), options.grid.pixel_m))


def _tell_strangers(labels: pd.DataFrame) -> None:
    """Say which known slumps verdicts name that are no label: none of them takes a place, and no other seed has their name."""
    slumps = labels[(labels.kind == "positive") & (labels.known_ids != "")]
    named = slumps.known_ids.str.split(SEPARATOR).explode()
    strangers = named[~named.isin(labels.label_id)].sort_values().unique()
    if len(strangers):
        shown = ", ".join(strangers[:3]) + (", ..." if len(strangers) > 3 else "")
        why = "seeds that changed or were removed since, or that an earlier version numbered"
        print(f"labels: {len(strangers)} known slumps that verdicts replace aren't there ({shown}): {why}", file=sys.stderr)


def _settled(labels: gpd.GeoDataFrame, pixel_m: float) -> gpd.GeoDataFrame:
    """Leave out the slumps whose place others took, and take the known ground out of what was refused there."""
    slumps = labels[labels.kind == "positive"]
    _, old = replacements(slumps.label_id, slumps.known_ids, slumps.geometry.to_numpy(), pixel_m)
    labels = labels.drop(index=slumps.index[old]).reset_index(drop=True)
    slumps = labels[labels.kind == "positive"]
    refused = labels[(labels.kind != "positive") & (labels.known_ids != "")]
    place, slump = refused.sindex.query(slumps.geometry, predicate="intersects")[::-1]
    known = united(slumps.geometry.to_numpy()[slump], place, len(refused))
    touched = ~shapely.is_missing(known)
    left = only_polygons(shapely.difference(refused.geometry.to_numpy()[touched], known[touched]))
    labels.loc[refused.index[touched], "geometry"] = gpd.GeoSeries(left, index=refused.index[touched], crs=labels.crs)
    covered = refused.index[touched][shapely.area(left) <= MIN_SHARED_M2]
    return labels.drop(index=covered).reset_index(drop=True)


def read_unmeasured(labels: Path) -> gpd.GeoDataFrame:
    """Return the slumps of a round's labels that no round has measured: the seeds in the first one, in later ones those that
    reviewers added in the last one before.

    Returns:
        candidate_id (that of the label), status "known", known (None), geometry.

    Raises:
        InputError: a missing or damaged file.
    """
    rows = read_geoparquet(labels)
    newest = max(rows.source.unique(), key=lambda source: (source != SEED, source), default=SEED)
    # reviewers saw no outline of what they added
    new = rows[(rows.kind == "positive") & (rows.source == newest) & rows.judged_m2.isna()].reset_index(drop=True)
    columns = {
        "candidate_id": new.label_id.astype("str"),
        "status": "known",
        "known": gpd.GeoSeries([None] * len(new), crs=rows.crs),
    }
    return gpd.GeoDataFrame(columns, geometry=new.geometry)


def _from_seeds(outlines: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(
        {
            "label_id": list(outlines["seed_id"]),
            "kind": "positive",
            "source": SEED,
            "candidate_id": pd.Series([None] * len(outlines), dtype="string"),
            "reviewers": "",
            "decided_at": pd.Series([None] * len(outlines), dtype="string"),
            "reason": "",
            "possibility": 1.0,
            "known_ids": "",
            "judged_m2": np.nan,
        },
        geometry=_clean(outlines),
        crs=outlines.crs,
    )


def _from_review(path: Path, crs: str) -> gpd.GeoDataFrame:
    rows = read_geoparquet(path)
    missing = [name for name in NEEDED if name not in rows.columns]
    if missing:
        raise InputError(path, f"column {missing[0]} is missing", expected="a signed-off review", do="sign the round off again")
    unknown = rows.decision[~rows.decision.isin(list(KINDS))]
    if len(unknown):
        raise InputError(path, f"unknown decision '{unknown.iloc[0]}'", expected=", ".join(KINDS))
    rows = with_lineage(rows.to_crs(crs))
    not_seen = (rows.decision == "reject") & rows.reject_reason.isin(NOT_SEEN)
    return gpd.GeoDataFrame(
        {
            "label_id": rows.candidate_id.astype("string"),
            "kind": rows.decision.map(KINDS).mask(not_seen, "ignore"),
            "source": "round " + rows["round"].astype(int).astype(str).str.zfill(2),
            "candidate_id": rows.candidate_id.astype("string"),
            "reviewers": rows.reviewers.fillna("").astype(str),
            "decided_at": rows.reviewed_at.astype("string"),
            "reason": rows.reject_reason.fillna("").astype(str),
            "possibility": rows.possibility.astype("float64"),
            "known_ids": rows.known_ids,
            # nobody judged what nobody looked at, or what no image showed: a known slump that changed there is asked again
            "judged_m2": rows.judged_m2.mask(not_seen | (rows.decision == "unseen")),
        },
        geometry=_clean(rows),
        crs=crs,
    )


def _clean(frame: gpd.GeoDataFrame) -> list[shapely.Geometry]:
    # Reprojection can make a valid outline touch itself; later stages subtract and rasterize it.
    flat = shapely.force_2d(frame.geometry.to_numpy())
    return list(shapely.make_valid(flat, method="structure", keep_collapsed=False))
