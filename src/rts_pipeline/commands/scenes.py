"""Commands of workflow/rules/scenes.smk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rts_pipeline.commands.common import DEFAULT_CONFIG, Code, ConfigFile, Options, Out, stage_options
from rts_pipeline.options import CatalogOptions, MosaicOptions, ScenesOptions

scenes = typer.Typer(help="Delivered PlanetScope items.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(scenes, name="scenes")
    app.command()(mosaic)


@scenes.command()
def measure(
    item: Annotated[str, typer.Argument(help="Item id.")],
    reflectance: Annotated[Path, typer.Option(help="GeoTIFF of surface reflectance, or of radiance with its XML.")],
    out_item: Annotated[Path, typer.Option(help="STAC item to write.")],
    out_usable: Annotated[Path, typer.Option(help="Mask of usable pixels to write.")],
    mask: Annotated[Path | None, typer.Option(help="udm2 or udm GeoTIFF.")] = None,
    mask_kind: Annotated[str, typer.Option(help="udm2, udm or none.")] = "none",
    metadata: Annotated[Path | None, typer.Option(help="The item's JSON.")] = None,
    xml: Annotated[Path | None, typer.Option(help="The item's XML.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Measure one item: usable pixels and a STAC item.

    Example: rts-pipeline scenes measure 20190801_041000_1004 --reflectance 20190801_041000_1004_3B_AnalyticMS_SR.tif
    --mask 20190801_041000_1004_3B_udm2.tif --mask-kind udm2 --out-item item.json --out-usable usable.tif
    """
    parsed = stage_options("scenes", ScenesOptions, options, config, code)
    from rts_pipeline.scenes.measure import measure

    measure(item, reflectance, mask, mask_kind, metadata, xml, out_item, out_usable, parsed)


@scenes.command()
def catalog(
    scenes_folder: Annotated[Path, typer.Argument(help="Folder with the measured items.")],
    out: Out,
    out_files: Annotated[Path, typer.Option(help="CSV with a row for every file.")],
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Account for every delivered file: used, rejected or ignored, and why.

    Example: rts-pipeline scenes catalog results/scenes --out catalog.parquet --out-files files.csv
    """
    parsed = stage_options("catalog", CatalogOptions, options, config, code)
    from rts_pipeline.scenes.catalog import catalog

    catalog(scenes_folder, out, out_files, parsed)


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
    """Tell what folders with delivered orders hold, before any run; exit code 1 where something is broken.

    Example: rts-pipeline scenes check data/orders --season 07-01 08-30 --picture coverage.png
    """
    from rts_pipeline.scenes.check import Season, draw, summary
    from rts_pipeline.scenes.check import check as checked

    days = Season(season)
    delivery = checked(folders, checksums=checksums)
    for line in summary(delivery, days, every_file=files):
        typer.echo(line)
    if picture is not None:
        draw(delivery, days, picture)
    raise typer.Exit(int(any(row.broken for row in delivery.files)))


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
