"""Scores against known truth, outside the seeds: the inventory's, and each round's with and without the reviewers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from rts_pipeline.errors import InputError
from rts_pipeline.grid import Grid
from rts_pipeline.io.tables import read_geoparquet
from rts_pipeline.io.vectors import read_vector, reprojected
from rts_pipeline.lineage import replacements, with_lineage
from rts_pipeline.metrics.objects import match_outlines, object_scores
from rts_pipeline.metrics.pixels import pixel_iou
from rts_pipeline.review.rounds import POSITIVE, read_signoffs

if TYPE_CHECKING:
    import geopandas as gpd
    from rich.table import Table


def score(
    results: Path, reviews: Path, truth: Path, *, target_year: int, grid: Grid, seconds: float | None = None
) -> dict[str, Any]:
    """Compare `results/inventory/outlines.parquet` and every signed-off round with the truth.

    Only true outlines that weren't seeds count, and no outline that intersects a seed does.

    Args:
        results: the results folder.
        reviews: the reviews folder; its sign-offs say which rounds there are.
        truth: vector file with truth_id, seed (bool), perhaps year (one row a slump and year), geometry.
        target_year: the year of the truth that is used when it has years.
        grid: the grid, for the IoU in pixels.
        seconds: duration of the whole run, recorded as it is.

    Returns:
        rounds, precision, recall, f1, tp, fp, fn, iou (mean of the matched pairs), pixel_iou, seconds, and `per_round`: for
        each round the counts of its review, `model` (scores of the network alone: all outlines of the round) and
        `inventory` (scores of all that was accepted up to that round). None where undefined.

    Raises:
        InputError: a file is missing or damaged, or the truth lacks a column or the year, or doesn't tell of an outline
            whether it was a seed.
    """
    known = _truth(truth, target_year, grid)
    accepted: list[gpd.GeoDataFrame] = []
    per_round = []
    for signoff in read_signoffs(reviews):
        name = signoff.round
        reviewed = with_lineage(read_geoparquet(reviews / f"round_{name}" / "reviewed.parquet").to_crs(grid.crs))
        accepted.append(reviewed.loc[reviewed["decision"].isin(POSITIVE), ["candidate_id", "known_ids", "geometry"]])
        model = read_geoparquet(results / "rounds" / name / "outlines.parquet").geometry
        per_round.append(
            {
                "round": name,
                "n_candidates": signoff.n_candidates,
                "n_new": signoff.n_new,
                **_counts(reviewed["decision"]),
                "model": _scores(model, known, grid),
                "inventory": _scores(_present(pd.concat(accepted, ignore_index=True), grid.pixel_m), known, grid),
            }
        )
    inventory = read_geoparquet(results / "inventory" / "outlines.parquet").geometry
    final = _scores(inventory, known, grid)
    return {"rounds": len(per_round), **final, "seconds": seconds, "per_round": per_round}


def _present(accepted: gpd.GeoDataFrame, pixel_m: float) -> gpd.GeoSeries:
    """Return the accepted outlines whose place no later one took."""
    _, old = replacements(accepted["candidate_id"], accepted["known_ids"], accepted.geometry.to_numpy(), pixel_m)
    return accepted.geometry.drop(index=old)


def table(scores: dict[str, Any]) -> Table:
    """Return the scores as a table for the screen."""
    from rich.table import Table

    view = Table(title="Scores outside the seeds: objects one to one, IoU > 0.5", padding=(0, 1))
    for column in ("round", "outlines", "n", "prec.", "recall", "F1", "IoU", "px IoU"):
        view.add_column(column, justify="left" if column in {"round", "outlines"} else "right", no_wrap=True)
    for row in scores["per_round"]:
        view.add_row(row["round"], "network alone", *_cells(row["model"]))
        judged = "{n_accepted} of {n_candidates} accepted".format(**row)
        view.add_row("", judged, *_cells(row["inventory"]), end_section=True)
    view.add_row("", "inventory", *_cells(scores), style="bold")
    return view


def _truth(path: Path, target_year: int, grid: Grid) -> gpd.GeoDataFrame:
    truth = reprojected(read_vector(path, "true outlines"), grid.crs, path)
    if "seed" not in truth.columns:
        raise InputError(path, "has no column 'seed'", expected="truth_id, seed (true or false), geometry")
    if "year" in truth.columns:
        if not is_numeric_dtype(truth["year"]):
            raise InputError(path, "column 'year' holds texts", expected="years as numbers")
        years = sorted({int(year) for year in truth["year"].dropna()})
        truth = truth[truth["year"] == target_year]
        if truth.empty:
            raise InputError(path, f"has no outline of {target_year}", expected=f"time.target_year among {years}")
    if unclear := truth["seed"][~truth["seed"].isin([True, False])].tolist():
        held = "nothing" if pd.isna(unclear[0]) else repr(unclear[0])
        raise InputError(
            path,
            f"column 'seed' holds {held} in a row ({len(unclear)} of {len(truth)} are neither true nor false)",
            expected="true or false, or 1 or 0, and no texts",
        )
    return truth.assign(seed=truth["seed"].astype(bool))


def _scores(outlines: gpd.GeoSeries, truth: gpd.GeoDataFrame, grid: Grid) -> dict[str, Any]:
    """Score the outlines that don't intersect a seed."""
    outlines = outlines.to_crs(grid.crs).reset_index(drop=True)
    seeds = truth.geometry[truth["seed"]].make_valid(method="structure", keep_collapsed=False)
    near = outlines.sindex.query(seeds, predicate="intersects")[1]
    judged = outlines.drop(index=near)
    wanted = truth.geometry[~truth["seed"]]
    return {**object_scores(match_outlines(judged, wanted)), "pixel_iou": pixel_iou(judged, wanted, grid)}


def _counts(decisions: pd.Series) -> dict[str, int]:
    kinds = {"n_accepted": POSITIVE, "n_rejected": ("reject",), "n_unsure": ("unsure", "unseen")}
    return {name: int(decisions.isin(kind).sum()) for name, kind in kinds.items()}


def _cells(scores: dict[str, Any]) -> list[str]:
    values = [scores[name] for name in ("precision", "recall", "f1", "iou", "pixel_iou")]
    return [str(scores["tp"] + scores["fp"]), *("-" if value is None else f"{value:.3f}" for value in values)]
