"""Commands of workflow/rules/inventory.smk."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rts_pipeline.commands.common import DEFAULT_CONFIG, Code, ConfigFile, Options, Out, Reviewed, Seeds, stage_options
from rts_pipeline.errors import UsageError
from rts_pipeline.options import AttributesOptions, CompletenessOptions, ExportOptions, InventoryOptions, ReportOptions

inventory = typer.Typer(help="One outline for each slump, and what differs between inventories.", no_args_is_help=True)
export = typer.Typer(help="The published release.", no_args_is_help=True)


class Schema(StrEnum):
    """Standards that a file can be checked against."""

    arts = "arts"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(inventory, name="inventory")
    app.command()(completeness)
    app.command()(attributes)
    app.add_typer(export, name="export")
    app.command()(report)


@inventory.command()
def build(
    out: Out,
    seeds: Seeds = None,
    reviewed: Reviewed = None,
    previous: Annotated[Path | None, typer.Option(help="An earlier inventory (GeoPackage or GeoParquet).")] = None,
    aoi: Annotated[Path | None, typer.Option(help="Area of interest; needed with --previous.")] = None,
    source: Annotated[
        list[Path] | None, typer.Option(help="Source map (<cell>_source.tif) of a mosaic; all are needed with --previous.")
    ] = None,
    decisions: Annotated[Path | None, typer.Option(help="CSV file of relations that the lab decided.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Unite seeds and accepted candidates into one outline for each slump; relations.parquet and .csv lie beside it.

    Example: rts-pipeline inventory build reviews/*/reviewed.parquet --seeds data/seeds.gpkg --out outlines.parquet
    """
    parsed = stage_options("inventory", InventoryOptions, options, config, code)
    if previous is not None and aoi is None:
        raise UsageError("--previous", "is given without --aoi", expected="the area that was searched")
    if previous is not None and not source:
        raise UsageError("--previous", "is given without --source", expected="the source maps, which tell what was observed")
    from rts_pipeline.inventory.build import Earlier, build_inventory

    earlier = Earlier(previous, aoi, source or []) if previous is not None and aoi is not None else None
    build_inventory(seeds, reviewed or [], out, parsed, earlier, decisions)


@inventory.command()
def diff(
    first: Annotated[Path, typer.Argument(help="Inventory A: GeoPackage or GeoParquet.", metavar="A")],
    second: Annotated[Path, typer.Argument(help="Inventory B.", metavar="B")],
    out: Annotated[Path | None, typer.Option(help="CSV or GeoPackage to write, a row a slump that differs.")] = None,
    tolerance: Annotated[float, typer.Option(help="Outlines with an IoU of 1 less this are the same.", min=0, max=1)] = 1e-6,
) -> None:
    """Tell which slumps were added, removed, merged, split or redrawn, and which attributes changed.

    Example: rts-pipeline inventory diff release-2019.gpkg release-2020.gpkg --out changes.gpkg
    """
    from rich import print as show

    from rts_pipeline.inventory import diff as differences

    rows = differences.diff(first, second, tolerance)
    if out is not None:
        differences.write_rows(rows, out)
    for table in differences.summary(rows):
        show(table)
    for line in differences.lines(rows):
        typer.echo(line)


def completeness(
    inventory: Annotated[Path, typer.Option(help="The inventory's outlines.")],
    reviews: Annotated[Path, typer.Option(help="The reviews folder.")],
    out: Out,
    rounds: Annotated[list[str] | None, typer.Argument(help="The signed-off rounds: 01 02 ...")] = None,
    detector: Annotated[list[Path] | None, typer.Option(help="Round folder of a second project; given twice.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Estimate how many slumps the inventory misses.

    Example: rts-pipeline completeness 01 02 --inventory outlines.parquet --reviews reviews --out completeness.json
    """
    parsed = stage_options("completeness", CompletenessOptions, options, config, code)
    from rts_pipeline.completeness import build_completeness

    build_completeness(inventory, reviews, detector or [], out, parsed, rounds or [])


def attributes(
    sources: Annotated[list[Path], typer.Argument(help="Source maps (<cell>_source.tif) of the mosaics.")],
    inventory: Annotated[Path, typer.Option(help="The inventory's outlines.")],
    out: Out,
    dem: Annotated[Path | None, typer.Option(help="Elevation raster in metres.")] = None,
    roads: Annotated[Path | None, typer.Option(help="Vector file of roads.")] = None,
    railway: Annotated[Path | None, typer.Option(help="Vector file of railways.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Measure time, shape, terrain and setting of each slump.

    Example: rts-pipeline attributes results/mosaic/*_source.tif --inventory outlines.parquet --out attributes.parquet
    """
    parsed = stage_options("attributes", AttributesOptions, options, config, code)
    from rts_pipeline.inventory.attributes import build_attributes

    build_attributes(inventory, sources, dem, roads, railway, out, parsed)


@export.command()
def write(
    attributes: Annotated[Path, typer.Argument(help="attributes.parquet")],
    completeness: Annotated[Path, typer.Option(help="completeness.json")],
    observed: Annotated[Path, typer.Option(help="What was observed of each cell and year (observed.parquet).")],
    reviews: Annotated[Path, typer.Option(help="The reviews folder.")],
    out: Annotated[Path, typer.Option(help="Folder to write; what lies in it is replaced.")],
    rounds: Annotated[list[str] | None, typer.Argument(help="The signed-off rounds: 01 02 ...")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Write the release: the inventory in all configured formats, with dictionary, data card, citation and manifest.

    Example: rts-pipeline export write results/inventory/attributes.parquet 01 02
    --completeness results/inventory/completeness.json --observed results/coverage/observed.parquet --reviews reviews
    --out results/export
    """
    parsed = stage_options("export", ExportOptions, options, config, code)
    from rts_pipeline.export.build import build_export

    build_export(attributes, completeness, observed, reviews, out, parsed, rounds or [])


@export.command()
def validate(
    file: Annotated[Path, typer.Argument(help="The file to check.")],
    schema: Annotated[Schema, typer.Option(help="arts: the ARTS data standard.")],
) -> None:
    """Check a file against a standard of the field: a line for each kind of defect, and exit code 3 when there is one.

    Example: rts-pipeline export validate --schema arts results/export/rts_arts.geojson
    """
    from rts_pipeline.export.validate import check

    check(file, schema.value)


def report(
    attributes: Annotated[Path, typer.Option(help="attributes.parquet")],
    completeness: Annotated[Path, typer.Option(help="completeness.json")],
    catalog: Annotated[Path, typer.Option(help="The table of items (catalog.parquet); ledger.parquet lies beside it.")],
    aoi: Annotated[Path, typer.Option(help="Area of interest.")],
    results: Annotated[Path, typer.Option(help="The results folder.")],
    reviews: Annotated[Path, typer.Option(help="The reviews folder.")],
    out: Out,
    rounds: Annotated[list[str] | None, typer.Argument(help="The signed-off rounds: 01 02 ...")] = None,
    dem: Annotated[Path | None, typer.Option(help="Elevation raster in metres, for the landscape's terrain.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Write the report: one HTML file with map, rounds, distributions and the account of files, and its figures beside it.

    Example: rts-pipeline report 01 02 --attributes results/inventory/attributes.parquet
    --completeness results/inventory/completeness.json --catalog results/scenes/catalog.parquet
    --aoi data/aoi.gpkg --results results --reviews reviews --out report.html
    """
    parsed = stage_options("report", ReportOptions, options, config, code)
    from rts_pipeline.report.build import build_report

    build_report(attributes, completeness, results, reviews, catalog, aoi, dem, out, parsed, rounds or [])
