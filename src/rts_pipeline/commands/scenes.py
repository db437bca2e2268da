"""Commands of workflow/rules/scenes.smk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rts_pipeline.commands.common import DEFAULT_CONFIG, Block, Code, ConfigFile, Options, Out, record_item, stage_options
from rts_pipeline.errors import InputError
from rts_pipeline.options import (
    AdjustOptions,
    CatalogOptions,
    CoverageOptions,
    LedgerOptions,
    MosaicOptions,
    ObservedOptions,
    OverlapsOptions,
    ScenesOptions,
)

scenes = typer.Typer(help="Delivered PlanetScope items.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(scenes, name="scenes")
    for command in (overlaps, adjust, mosaic, coverage, observed):
        app.command()(command)


@scenes.command()
def measure(
    items: Annotated[list[str], typer.Argument(help="Ids of the items, or id:digest to be sure of their files.")],
    scenes_folder: Annotated[Path, typer.Option("--scenes", help="Folder for the measured items, one folder each.")],
    out: Annotated[Path, typer.Option(help="Record of what was measured, and what failed.")],
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Measure items that a run of snakemake (or a dry run) has found: for each its usable pixels and a STAC item.

    Example: rts-pipeline scenes measure 20190801_041000_1003 20190801_041002_1003 --scenes results/scenes
    --out results/scenes/batches/20190801_1.json
    """
    parsed = stage_options("scenes", ScenesOptions, options, config, code)
    from rts_pipeline.scenes.batches import measure_batch

    measure_batch(items, scenes_folder, out, parsed, record_item)


@scenes.command()
def catalog(
    scenes_folder: Annotated[Path, typer.Argument(help="Folder with the measured items.")],
    out: Out,
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """List every delivered item: used, rejected or ignored, why, and where it lies.

    Example: rts-pipeline scenes catalog results/scenes --out catalog.parquet
    """
    parsed = stage_options("catalog", CatalogOptions, options, config, code)
    from rts_pipeline.scenes.catalog import catalog

    catalog(scenes_folder, out, parsed)


@scenes.command()
def ledger(
    sources: Annotated[list[Path], typer.Argument(help="Source maps (<cell>_source.tif) of the mosaics.")],
    catalog: Annotated[Path, typer.Option(help="The table of items (catalog.parquet).")],
    out: Out,
    out_html: Annotated[Path, typer.Option(help="The same as a page to look things up in.")],
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Account for every delivered file: used for what and how much, or why not.

    Example: rts-pipeline scenes ledger results/mosaic/*_source.tif --catalog results/scenes/catalog.parquet
    --out ledger.parquet --out-html ledger.html
    """
    parsed = stage_options("ledger", LedgerOptions, options, config, code)
    from rts_pipeline.scenes.ledger import build_ledger

    build_ledger(catalog, sources, out, out_html, parsed)


@scenes.command()
def check(
    folders: Annotated[list[Path], typer.Argument(help="Folders with delivered orders.")],
    checksums: Annotated[
        bool, typer.Option("--checksums", help="Compare each used file's sha256 with the order's manifest.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="PNG to write: usable observations to expect at each place, by year; default: none.")
    ] = None,
    season: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="MM-DD MM-DD", help="First and last day that count in table and picture; default: all year."),
    ] = None,
    files: Annotated[bool, typer.Option("--files", help="List every file.")] = False,
) -> None:
    """Tell what folders with delivered orders hold, before any run; exit code 3 where something is broken.

    Example: rts-pipeline scenes check data/orders --season 07-01 08-30 --picture coverage.png
    """
    from rts_pipeline.scenes.check import Days, draw, summary
    from rts_pipeline.scenes.check import check as checked

    days = Days(season)
    delivery = checked(folders, checksums=checksums)
    for line in summary(delivery, days, every_file=files):
        typer.echo(line)
    if picture is not None:
        draw(delivery, days, picture)
    raise typer.Exit(InputError.exit_code if any(row.broken for row in delivery.files) else 0)


def overlaps(
    block: Block,
    out: Out,
    items: Annotated[list[Path] | None, typer.Argument(help="The STAC items (item.json) that touch it.")] = None,
    mosaic: Annotated[list[Path] | None, typer.Option(help="A mosaic to compare with instead; once for each cell.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Compare items where they see the same ground of a block, with each other or the mosaics: displacement, radiometry.

    Example: rts-pipeline overlaps b_e0015_n0125 results/scenes/*/item.json --out b_e0015_n0125.parquet
    """
    parsed = stage_options("overlaps", OverlapsOptions, options, config, code)
    from rts_pipeline.scenes.overlaps import measure_overlaps

    measure_overlaps(parsed.grid.grid().block(block), items or [], out, parsed, mosaic or [])


def adjust(
    scenes_folder: Annotated[Path, typer.Argument(help="Folder with the measured items; adjusted.json is written into each.")],
    items: Annotated[list[str], typer.Argument(help="Ids of the items.")],
    out: Annotated[Path, typer.Option(help="Record of what was written.")],
    overlaps: Annotated[list[Path] | None, typer.Option(help="What overlaps wrote; once for each block.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Make items agree: where each one really lies, and a gain and an offset for each band.

    Example: rts-pipeline adjust results/scenes 20190801_041000_1003 20190804_041200_0f28
    --overlaps results/overlaps/b_e0015_n0125.parquet --out results/scenes/adjusted.json
    """
    parsed = stage_options("adjust", AdjustOptions, options, config, code)
    from rts_pipeline.scenes.adjust import adjust_items

    adjust_items(overlaps or [], [scenes_folder / item / "item.json" for item in items], out, parsed)


def mosaic(
    cell: Annotated[str, typer.Argument(help="Name of the cell, such as e0079_n0628.")],
    items: Annotated[list[Path], typer.Argument(help="The STAC items (item.json) that touch it.")],
    out: Out,
    out_source: Annotated[Path, typer.Option(help="Map of the item that each pixel came from.")],
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Lay the target year's items onto one cell of the grid, best usable pixel first.

    Example: rts-pipeline mosaic e0079_n0628 results/scenes/*/item.json --out e0079_n0628.tif --out-source source.tif
    """
    parsed = stage_options("mosaic", MosaicOptions, options, config, code)
    from rts_pipeline.mosaic import build_mosaic

    build_mosaic(parsed.grid.grid().cell(cell), items, out, out_source, parsed)


def coverage(
    block: Block,
    out: Out,
    out_table: Annotated[Path, typer.Option(help="Table of how much of each cell was observed in each year.")],
    cell: Annotated[list[str], typer.Option(help="A cell of the area in the block; once for each.")],
    items: Annotated[list[Path] | None, typer.Argument(help="The STAC items (item.json) that touch the block.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Count for each pixel of a block how many items of each year saw it.

    Example: rts-pipeline coverage b_e0015_n0125 results/scenes/*/item.json --cell e0079_n0628 --cell e0078_n0628
    --out b_e0015_n0125.tif --out-table b_e0015_n0125.parquet
    """
    parsed = stage_options("coverage", CoverageOptions, options, config, code)
    from rts_pipeline.coverage import count_observations

    count_observations(parsed.grid.grid().block(block), cell, items or [], out, out_table, parsed)


def observed(
    tables: Annotated[list[Path], typer.Argument(help="Tables of all blocks (coverage/<block>.parquet).")],
    out: Out,
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Unite what was observed of each cell in each year as one table.

    Example: rts-pipeline observed results/coverage/b_*.parquet --out results/coverage/observed.parquet
    """
    stage_options("observed", ObservedOptions, options, config, code)
    from rts_pipeline.coverage import unite_observed

    unite_observed(tables, out)
