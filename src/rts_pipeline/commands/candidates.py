"""Commands of workflow/rules/candidates.smk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rts_pipeline.commands.common import (
    DEFAULT_CONFIG,
    Batch,
    Block,
    Code,
    ConfigFile,
    Device,
    Options,
    Out,
    Round,
    placed,
    stage_options,
)
from rts_pipeline.config import Inference
from rts_pipeline.options import AuditOptions, CandidatesOptions, EvidenceOptions, PolygonizeOptions, PredictOptions

Choice = Annotated[Path, typer.Option("--choice", help="The round's validation.json: thresholds, smallest outline, hole size.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(predict)
    app.command()(polygonize)
    app.command()(candidates)
    app.command()(audit)
    app.command()(evidence)


def predict(
    block: Block,
    mosaics: Annotated[list[Path], typer.Argument(help="Mosaics of the block and of the cells around it.")],
    model: Annotated[Path, typer.Option(help="The round's model folder.")],
    out: Out,
    device: Device = "auto",
    batch_size: Batch = 16,
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Predict the probability of every observed pixel of a block.

    Example: rts-pipeline predict b_e0015_n0125 results/mosaic/*[0-9].tif --model model --out b_e0015_n0125.tif
    """
    parsed = stage_options("predict", PredictOptions, options, config, code)
    where = placed("predict", Inference, device=device, batch_size=batch_size)
    from rts_pipeline.predict import predict

    predict(parsed.grid.grid().block(block), model, mosaics, out, parsed, where)


def polygonize(
    block: Block,
    probability: Annotated[Path, typer.Option(help="The block's probability raster.")],
    choice: Choice,
    out: Out,
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Outline what lies above the threshold in a block.

    Example: rts-pipeline polygonize b_e0015_n0125 --probability b_e0015_n0125.tif --choice validation.json --out o.parquet
    """
    parsed = stage_options("polygonize", PolygonizeOptions, options, config, code)
    from rts_pipeline.polygonize import polygonize

    polygonize(parsed.grid.grid().block(block), probability, choice, out, parsed)


def candidates(
    round: Round,
    outlines: Annotated[list[Path], typer.Argument(help="Outlines of all blocks, each with its sums (.json) beside it.")],
    labels: Annotated[Path, typer.Option(help="The round's labels: what has been decided before.")],
    aoi: Annotated[Path, typer.Option(help="Area of interest.")],
    choice: Choice,
    out_outlines: Annotated[Path, typer.Option(help="All outlines of the round, whole, with their status.")],
    out: Out,
    out_gpkg: Annotated[Path, typer.Option(help="The candidates as GeoPackage.")],
    out_summary: Annotated[Path, typer.Option(help="Outlines by status and expected area, as JSON.")],
    probability: Annotated[
        list[Path] | None, typer.Option(help="A block's probability raster; of all blocks, where polygonize.neck_m cuts necks.")
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Unite the outlines over block edges and rank those that nobody has decided yet.

    Example: rts-pipeline candidates 01 outlines/*.parquet --labels labels.parquet --aoi data/aoi.gpkg
    --choice validation.json --out-outlines outlines.parquet --out candidates.parquet --out-gpkg candidates.gpkg
    --out-summary candidates.json
    """
    parsed = stage_options("candidates", CandidatesOptions, options, config, code)
    from rts_pipeline.candidates import build_candidates

    build_candidates(round, outlines, labels, aoi, choice, out_outlines, out, out_gpkg, out_summary, parsed, probability or [])


def audit(
    round: Round,
    probabilities: Annotated[list[Path], typer.Argument(help="Probability rasters of all blocks (<block>.tif).")],
    outlines: Annotated[Path, typer.Option(help="All outlines of the round.")],
    labels: Annotated[Path, typer.Option(help="The round's labels: what has been decided before.")],
    aoi: Annotated[Path, typer.Option(help="Area of interest.")],
    out: Out,
    out_summary: Annotated[Path, typer.Option(help="Strata and sizes, as JSON.")],
    dem: Annotated[Path | None, typer.Option(help="Elevation raster in metres.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Draw the windows that reviewers look through, to tell how many slumps were missed.

    Example: rts-pipeline audit 03 probability/*.tif --outlines outlines.parquet --labels labels.parquet --aoi data/aoi.gpkg
    --out audit.parquet --out-summary audit.json
    """
    parsed = stage_options("audit", AuditOptions, options, config, code)
    from rts_pipeline.audit import build_audit

    build_audit(round, probabilities, outlines, labels, aoi, dem, out, out_summary, parsed)


def evidence(
    candidates: Annotated[Path, typer.Option(help="The round's candidates.parquet.")],
    catalog: Annotated[Path, typer.Option(help="The table of items (catalog.parquet).")],
    model: Annotated[Path, typer.Option(help="The round's model folder.")],
    choice: Choice,
    cache: Annotated[Path, typer.Option(help="Folder that keeps pictures and numbers for the next run.")],
    out: Out,
    dem: Annotated[Path | None, typer.Option(help="Elevation in metres; default: no hillshade, slope and upslope.")] = None,
    labels: Annotated[Path | None, typer.Option(help="The round's labels.parquet: slumps not measured yet.")] = None,
    audit: Annotated[Path | None, typer.Option(help="The round's audit.parquet: its windows get pictures too.")] = None,
    device: Device = "auto",
    batch_size: Batch = 16,
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Show each candidate in every year (true and false colour, hillshade, slope), and measure how it changed.

    Example: rts-pipeline evidence --candidates candidates.parquet --catalog results/scenes/catalog.parquet --model model
    --choice validation.json --labels labels.parquet --dem dem.tif --cache results/evidence_cache --out evidence
    """
    parsed = stage_options("evidence", EvidenceOptions, options, config, code)
    where = placed("predict", Inference, device=device, batch_size=batch_size)
    from rts_pipeline.evidence.build import build_evidence

    build_evidence(candidates, catalog, model, choice, dem, cache, out, parsed, where, labels, audit)
