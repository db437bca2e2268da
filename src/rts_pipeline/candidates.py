"""From the outlines of all blocks to the candidates of a round: merged, compared with everything decided, ranked."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely
from pyproj import Transformer

from rts_pipeline.components import fill_holes, merge
from rts_pipeline.decided import asked_in_vain, compare
from rts_pipeline.errors import InputError
from rts_pipeline.expected import pixel_areas
from rts_pipeline.grid import Grid
from rts_pipeline.inventory.dictionary import AREA_THRESHOLDS
from rts_pipeline.inventory.shape import geodesic_area_perimeter
from rts_pipeline.io.json import read_json, write_json
from rts_pipeline.io.tables import read_geoparquet, write_parquet
from rts_pipeline.io.vectors import read_outlines, write_gpkg
from rts_pipeline.lineage import known_outlines, outline_sha256
from rts_pipeline.metrics.pixels import BINS, level_of
from rts_pipeline.necks import Probabilities, Read, cut_necks
from rts_pipeline.omitted import Counts, Omitted, tell
from rts_pipeline.options import CandidatesOptions
from rts_pipeline.polygonize import chosen_values, from_frame, hopeless, read_sums, to_crs_units
from rts_pipeline.ranking import known_distance, left_for_later, score
from rts_pipeline.simplify import simplify

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray

    Geometries = NDArray[np.object_]

MEASURED = ["area_m2", "expected_area_m2", *AREA_THRESHOLDS, "prob_mean", "prob_median", "prob_max", "n_px"]
OUTLINE_COLUMNS = ["status", "known_ids", *MEASURED, "geometry"]
CANDIDATE_COLUMNS = [
    "candidate_id",
    "round",
    "rank",
    "status",
    "known_ids",
    "known_m",
    "score",
    *MEASURED,
    "cell_id",
    "longitude",
    "latitude",
    "base_sha256",
    "model_sha256",
    "known",
    "geometry",
]
STATUSES = ("candidate", "changed", "cut", "known", "rejected")
"""New; over known slumps, but much larger than they are; either of these, but left for a later round; over known slumps; mostly
over what was rejected."""
ASKED = ("candidate", "changed")


def build_candidates(
    round: str,
    outlines: Sequence[Path],
    labels: Path,
    aoi: Path,
    choice: Path,
    out_outlines: Path,
    out_candidates: Path,
    out_gpkg: Path,
    out_summary: Path,
    options: CandidatesOptions,
    probabilities: Sequence[Path] = (),
) -> None:
    """Write all outlines of a round, and those of them that a person has to look at.

    Args:
        round: the round, "01", "02", ...
        outlines: the files of all blocks, in any order, each with its sums beside it.
        labels: `labels.parquet` of the round: what is decided so far.
        aoi: polygons of the area of interest; outlines that reach into it are kept whole.
        choice: `validation.json`: what the options leave open, and whose network it was chosen for.
        out_outlines: GeoParquet with `OUTLINE_COLUMNS`.
        out_candidates: GeoParquet with `CANDIDATE_COLUMNS`, rank 1 first; `known` is a second geometry: what is known where
            a slump changed.
        out_gpkg: the same as a GeoPackage, layer "candidates", and the outlines known so far of those that changed in layer
            "known".
        out_summary: JSON: the outlines by status, what was left out of them since the blocks were outlined (see `omitted`), the
            expected precision (mean probability) of those asked about, the observed
            area, and the area that is expected to be slump among all observed pixels (of the blocks, whatever the area of
            interest) and among those of the outlines; `applied`: what the outlines were made with, as `chosen_values` gives it.
        options: the stage's options.
        probabilities: the rasters of all blocks; needed only where necks are cut.

    Raises:
        InputError: a file that can't be used, or a choice without thresholds, minimum area, hole size or checksum.
        UsageError: a raster that is needed isn't given.
    """
    grid = options.grid.grid()
    area = read_outlines(aoi, "area of interest", crs=grid.crs)
    chosen, sums = chosen_values(choice, options.polygonize), [read_sums(path) for path in outlines]
    omitted = Omitted(grid.crs, grid.pixel_m)
    with Probabilities(probabilities, grid) as read:
        frame = merge_outlines(
            outlines,
            grid,
            omitted,
            seed_threshold=chosen["seed_threshold"],
            min_area_m2=chosen["min_area_m2"],
            hole_m2=chosen["hole_m2"],
            neck_m=options.polygonize.neck_m,
            simplify_px=options.polygonize.simplify_px,
            read=read,
        )
    # Pixels below the threshold of the outlines weren't counted.
    frame[[name for name, value in AREA_THRESHOLDS.items() if level_of(value) < level_of(chosen["threshold"])]] = np.nan
    frame = omitted.rows_without(frame, "too_small", frame["area_m2"].to_numpy() < chosen["min_area_m2"])
    frame = omitted.rows_without(frame, "outside_aoi", ~_touches(frame, area))
    left_out = omitted.total([block["left_out"] for block in sums])
    decided = read_geoparquet(labels).to_crs(grid.crs)
    frame = compare(frame.reset_index(drop=True), decided, options.candidates.growth, grid.pixel_m)
    ranked = rank(frame[frame["status"].isin(ASKED)], decided, options.candidates.growth)
    waiting = left_for_later(ranked, options.candidates)
    frame.loc[ranked.index[waiting], "status"] = "cut"
    write_parquet(out_outlines, frame[OUTLINE_COLUMNS])
    candidates = _identified(ranked[~waiting], round, grid, _weights_sha256(choice))
    write_parquet(out_candidates, candidates)
    write_gpkg(out_gpkg, layers(candidates))
    write_json(out_summary, {**_summary(round, frame, sums, left_out), "applied": chosen})
    tell("candidates", len(frame), left_out)
    if waiting.any():
        why = "candidates.max_count, candidates.min_precision"
        print(f"candidates: {waiting.sum()} of {len(ranked)} outlines wait for a later round ({why})", file=sys.stderr)


def merge_outlines(
    outlines: Sequence[Path],
    grid: Grid,
    omitted: Omitted,
    *,
    seed_threshold: float,
    min_area_m2: float,
    hole_m2: float,
    neck_m: float,
    simplify_px: float,
    read: Read,
) -> gpd.GeoDataFrame:
    """Return the whole outlines of all blocks, from north to south, with small holes filled, cut at necks, without staircases.

    Args:
        outlines: GeoParquet files of the stage polygonize.
        grid: the grid.
        omitted: counts what is left out.
        seed_threshold: outlines without a pixel of at least this probability are left out, before any hole is filled.
        min_area_m2: outlines that can't reach this area are left out then, too, as in their blocks: larger ones may still have
            a smaller area in the end.
        hole_m2: holes with a smaller area (in the grid's CRS) are filled, and outlines inside such holes left out.
        neck_m: width of the widest neck that is cut, 0: none; a part without a seed is left out as any other outline.
        simplify_px: tolerance of `simplify` in pixels.
        read: gives the values of pixels, for what is cut.

    Returns:
        A table with area_m2 (geodesic), geometry, and of the pixels above the threshold, so without filled holes: n_px,
        prob_mean, prob_median, prob_max, expected_area_m2, the sum of probability x geodesic area of a pixel there, and the
        geodesic areas (m2) of the pixels at or above each of AREA_THRESHOLDS.
    """
    import geopandas as gpd

    pieces = merge([from_frame(read_geoparquet(path), grid.pixel_m) for path in outlines])
    pieces = omitted.pieces_without(pieces, hopeless(pieces, seed_threshold, min_area_m2, grid.pixel_m))
    filled, others, _ = fill_holes(pieces.geometry, hole_m2 / grid.pixel_m**2)
    inside = np.isin(np.arange(len(filled)), others)
    pieces = omitted.pieces_without(pieces, {"in_filled_hole": inside})
    pieces, _ = cut_necks(pieces, filled[~inside], neck_m / grid.pixel_m, grid, read)
    pieces = omitted.pieces_without(pieces, {"no_seed": pieces.value_max < level_of(seed_threshold)})
    geometry = to_crs_units(simplify(pieces.geometry, simplify_px), grid.pixel_m)
    series = gpd.GeoSeries(geometry, crs=grid.crs)
    pixel_m2 = pixel_areas(grid.crs, grid.pixel_m, *shapely.get_coordinates(shapely.centroid(geometry)).T)
    columns = {
        "area_m2": geodesic_area_perimeter(series)[0],
        "expected_area_m2": pieces.value_sum / BINS * pixel_m2,
        **{name: pieces.count_from(level_of(value)) * pixel_m2 for name, value in AREA_THRESHOLDS.items()},
        "prob_mean": pieces.value_sum / BINS / pieces.n_px,
        "prob_median": pieces.value_median / BINS,
        "prob_max": pieces.value_max / BINS,
        "n_px": pieces.n_px,
    }
    frame = gpd.GeoDataFrame(columns, geometry=series)
    return frame.iloc[_by_place(geometry)]


def _by_place(geometry: Geometries) -> NDArray[np.intp]:
    """Return the order from north to south, then west to east, then (for outlines within each other) by shape."""
    west, south, east, north = shapely.bounds(geometry).T if len(geometry) else np.empty((4, 0))
    shape = pd.Series(shapely.to_wkb(geometry, hex=True), dtype=object).rank(method="first").to_numpy(dtype=float)
    return np.lexsort([shape, east, south, west, -north])


def _touches(frame: gpd.GeoDataFrame, others: gpd.GeoDataFrame) -> NDArray[np.bool_]:
    hit = np.zeros(len(frame), dtype=bool)
    hit[frame.sindex.query(others.geometry, predicate="intersects")[1]] = True
    return hit


def rank(frame: gpd.GeoDataFrame, labels: gpd.GeoDataFrame, growth: float) -> gpd.GeoDataFrame:
    """Return the outlines with `known_m` and `score`, by score, then area, then place.

    Those that were asked in vain come after all others, so that they keep none of them from being asked where a round has a
    largest number of candidates.
    """
    known_m = known_distance(frame, labels[labels["kind"] == "positive"])
    scored = frame.assign(known_m=known_m, score=score(frame["prob_mean"].to_numpy(), known_m))
    scored = scored.assign(again=asked_in_vain(frame, labels, growth))
    order = {"again": True, "score": False, "area_m2": False}
    return scored.sort_values(list(order), ascending=list(order.values()), kind="stable").drop(columns="again")


def layers(candidates: gpd.GeoDataFrame) -> dict[str, gpd.GeoDataFrame]:
    """Return candidates as layers with one geometry each: the candidates, and what is known where a slump changed."""
    return {"candidates": candidates.drop(columns="known"), "known": known_outlines(candidates)}


def _summary(round: str, frame: gpd.GeoDataFrame, sums: Sequence[Any], left_out: Counts) -> dict[str, Any]:
    observed_m2, expected_m2 = (fsum(block[name] for block in sums) for name in ("observed_m2", "expected_area_m2"))
    asked = frame.loc[frame["status"].isin(ASKED), "prob_mean"]
    return {
        "round": round,
        "expected_precision": float(asked.mean()) if len(asked) else None,
        "outlines": {status: int((frame["status"] == status).sum()) for status in STATUSES},
        "left_out": left_out,
        "observed_m2": observed_m2,
        "expected_area_m2": {"observed": expected_m2, "outlines": fsum(frame["expected_area_m2"])},
    }


def _weights_sha256(choice: Path) -> str:
    try:
        return str(read_json(choice)["weights_sha256"])
    except (KeyError, TypeError):
        raise InputError(choice, "names no weights_sha256", do="validate again") from None


def _identified(ranked: gpd.GeoDataFrame, round: str, grid: Grid, model_sha256: str) -> gpd.GeoDataFrame:
    """Number the ranked outlines, and add what identifies a candidate."""
    frame = ranked.reset_index(drop=True)
    points = frame.geometry.representative_point()
    to_wgs84 = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    longitude, latitude = to_wgs84.transform(points.x.to_numpy(), points.y.to_numpy())
    numbers = np.arange(1, len(frame) + 1)
    text = {
        "candidate_id": [f"r{round}-{number:04d}" for number in numbers],
        "round": [round] * len(frame),
        "cell_id": [grid.cell_at(x, y) for x, y in zip(points.x, points.y, strict=True)],
        "base_sha256": outline_sha256(frame.geometry.to_numpy()),
        "model_sha256": [model_sha256] * len(frame),
    }
    # The type is said, so that a round without candidates has the same columns as any other.
    text_columns = {name: pd.Series(values, dtype="str") for name, values in text.items()}
    return frame.assign(rank=numbers, longitude=longitude, latitude=latitude, **text_columns)[CANDIDATE_COLUMNS]
