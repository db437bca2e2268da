"""Stage `audit`: the windows of a round that reviewers look through to tell how many slumps were missed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely

from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.io.json import write_json
from rts_pipeline.io.rasters import GDAL_OPTIONS
from rts_pipeline.io.tables import read_geoparquet, write_parquet
from rts_pipeline.io.vectors import read_outlines
from rts_pipeline.lineage import united
from rts_pipeline.metrics.pixels import BINS, NODATA
from rts_pipeline.polygonize import check_raster, reading
from rts_pipeline.progress import track
from rts_pipeline.ranking import known_distance
from rts_pipeline.sampling import draw, strata

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray
    from rasterio.io import DatasetReader

    from rts_pipeline.grid import GeoBox, Grid
    from rts_pipeline.options import AuditOptions

    Geometries = NDArray[np.object_]

COLUMNS = [
    "window_id",
    "column",
    "row",
    "size_px",
    "stratum",
    "flagged",
    "prob_max",
    "slope_deg",
    "known_m",
    "observed_share",
    "inclusion",
    "sampled",
    "known",
    "geometry",
]
MIN_OBSERVED = 0.5
"""Windows of which less was observed aren't in the frame: nobody can look through them."""
MARGIN_M = 0.01
"""A window that shares only an edge with something doesn't hold it."""


@dataclass(frozen=True)
class Known:
    """What a round knows: outlines in the grid's CRS.

    Attributes:
        outlines: of the network, whatever became of them.
        slumps: known before the round.
    """

    outlines: gpd.GeoDataFrame
    slumps: gpd.GeoDataFrame


def build_audit(
    round: str,
    probabilities: Sequence[Path],
    outlines: Path,
    labels: Path,
    aoi: Path,
    dem: Path | None,
    out: Path,
    out_summary: Path,
    options: AuditOptions,
) -> None:
    """Write the frame of windows of a round and which of them are its sample.

    The frame is every window of the grid that shares ground with the area of interest and was observed for at least half. A
    slump belongs to the window that holds its representative point, so that each is counted once.

    Args:
        round: the round, "01", "02", ...
        probabilities: rasters of the blocks, named by block (`<block>.tif`), as `predict` writes them.
        outlines: `outlines.parquet` of the round.
        labels: `labels.parquet` of the round.
        aoi: polygons of the area of interest.
        dem: elevation in metres, or None: no strata of slope.
        out: GeoParquet in the grid's CRS with `COLUMNS`, a row a window of the frame: window_id ("a01-0001", numbered in random
            order; "" unless sampled), column and row (grid pixels of its upper left pixel), size_px, stratum, flagged (an
            outline or a known slump lies in it), prob_max (highest probability, 0-1), slope_deg (mean; nan where unknown),
            known_m (from its centre to the nearest known slump; nan where none is known), observed_share (0-1), inclusion
            (the chance that it had to be drawn, n_h / N_h), sampled, known (slumps known in it; null unless sampled), geometry.
        out_summary: JSON: windows of the frame, observed too little and sampled, seed, and windows and sample by stratum.
        options: the stage's options.

    Raises:
        InputError: a file can't be used, a raster isn't its block, or no window was observed for at least half.
        UsageError: a cell doesn't hold a whole number of windows.
    """
    audit, grid = options.audit, options.grid.grid()
    if grid.cell_px % audit.window_px:
        raise UsageError(
            "audit.window_px", f"{audit.window_px} px", expected=f"a divisor of grid.cell_px = {grid.cell_px}", do="change it"
        )
    area = read_outlines(aoi, "area of interest", crs=grid.crs)
    decided = read_geoparquet(labels).to_crs(grid.crs)
    known = Known(read_geoparquet(outlines).to_crs(grid.crs), decided[decided["kind"] == "positive"])
    windows = _inside(_windows(probabilities, grid, audit.window_px), audit.window_px, grid, area)
    seen = windows["observed_share"] >= MIN_OBSERVED
    if not seen.any():
        raise InputError(
            "audit.windows",
            f"of {len(windows)} windows in the area none was observed for at least half, so none can be looked through",
            do="deliver more images of the target year, or set it to 0",
        )
    frame = _described(windows[seen].reset_index(drop=True), known, dem)
    frame = frame.assign(stratum=strata(frame, audit))
    most = audit.probability[-1] if audit.probability else 1.0
    frame = draw(frame, audit.windows, most=most, key=f"{audit.seed} {round}")
    names = [f"a{round}-{number:04d}" if number else "" for number in frame["order"]]
    frame = frame.assign(window_id=pd.Series(names, index=frame.index, dtype="str"), size_px=audit.window_px)
    write_parquet(out, frame.assign(known=_known_in(frame, known.slumps))[COLUMNS])
    write_json(out_summary, _summary(round, frame, int((~seen).sum()), options))
    if not seen.all():
        print(f"audit: {(~seen).sum()} of {len(windows)} windows were observed too little to be judged", file=sys.stderr)


def _windows(probabilities: Sequence[Path], grid: Grid, size_px: int) -> pd.DataFrame:
    """Return column, row, prob_max and observed_share of all windows of the blocks, from north to south."""
    import rasterio

    tables = []
    for path in track(probabilities, len(probabilities), "audit", "blocks"):
        block = grid.block(path.stem)
        with reading(path), rasterio.Env(**GDAL_OPTIONS), rasterio.open(path) as dataset:
            check_raster(dataset, block, path)
            tables.append(_of_block(dataset, block, size_px))
    return pd.concat(tables).sort_values(["row", "column"], ignore_index=True)


def _of_block(dataset: DatasetReader, block: GeoBox, size_px: int) -> pd.DataFrame:
    columns = block.column + np.arange(0, block.width, size_px)
    rows = []
    for top in range(0, block.height, size_px):
        strip = block.part(top, 0, size_px, block.width)
        values = dataset.read(1, window=block.window_of(strip)).reshape(size_px, len(columns), size_px)
        observed = values != NODATA
        highest = np.where(observed, values, 0).max(axis=(0, 2)) / BINS
        share = observed.mean(axis=(0, 2))
        rows.append(pd.DataFrame({"column": columns, "row": strip.row, "prob_max": highest, "observed_share": share}))
    return pd.concat(rows)


def _inside(windows: pd.DataFrame, size_px: int, grid: Grid, area: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return the windows that share ground with the area, with their squares."""
    import geopandas as gpd

    squares = gpd.GeoSeries(_squares(windows, size_px, grid.pixel_m), crs=grid.crs)
    frame = gpd.GeoDataFrame(windows, geometry=squares)
    return frame[_holds(squares, area)].reset_index(drop=True)


def _squares(windows: pd.DataFrame, size_px: int, pixel_m: float) -> Geometries:
    west, north = windows["column"].to_numpy() * pixel_m, -windows["row"].to_numpy() * pixel_m
    edge = size_px * pixel_m
    return np.asarray(shapely.box(west, north - edge, west + edge, north))


def _holds(squares: gpd.GeoSeries, others: gpd.GeoDataFrame) -> NDArray[np.bool_]:
    """Tell which squares share area with one of the other outlines."""
    inner = squares.buffer(-MARGIN_M, join_style="mitre")
    hit = np.zeros(len(squares), dtype=bool)
    hit[inner.sindex.query(others.geometry, predicate="intersects")[1]] = True
    return hit


def _described(windows: gpd.GeoDataFrame, known: Known, dem: Path | None) -> gpd.GeoDataFrame:
    """Add flagged, slope_deg and known_m."""
    flagged = _holds(windows.geometry, known.outlines) | _holds(windows.geometry, known.slumps)
    slope = np.full(len(windows), np.nan)
    if dem is not None and len(windows):
        from rts_pipeline.inventory.terrain import terrain

        slope = terrain(windows.geometry, dem, "windows of the audit")["slope_deg"].to_numpy()
    return windows.assign(flagged=flagged, slope_deg=slope, known_m=known_distance(windows, known.slumps))


def _known_in(frame: gpd.GeoDataFrame, slumps: gpd.GeoDataFrame) -> gpd.GeoSeries:
    """Return the known slumps that touch each sampled window, whole, as one geometry; None where there is none."""
    import geopandas as gpd

    slump, window = frame.sindex.query(slumps.geometry, predicate="intersects")
    keep = frame["sampled"].to_numpy()[window]
    return gpd.GeoSeries(
        united(slumps.geometry.to_numpy()[slump[keep]], window[keep], len(frame)), index=frame.index, crs=frame.crs
    )


def _summary(round: str, frame: pd.DataFrame, unobserved: int, options: AuditOptions) -> dict[str, Any]:
    groups = frame.groupby("stratum")
    table = pd.DataFrame({"windows": groups.size(), "sampled": groups["sampled"].sum()}).reset_index()
    return {
        "round": round,
        "seed": options.audit.seed,
        "window_px": options.audit.window_px,
        "windows": len(frame),
        "unobserved": unobserved,
        "sampled": int(frame["sampled"].sum()),
        "strata": table.to_dict("records"),
    }
