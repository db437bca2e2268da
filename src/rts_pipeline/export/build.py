"""Stage export: the release, a folder of published files with one content, their dictionaries, card, citation and manifest."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from rts_pipeline.export.arts import arts_table, lacking
from rts_pipeline.export.card import write_card
from rts_pipeline.export.citation import write_citation
from rts_pipeline.export.darts import darts_tables
from rts_pipeline.export.files import (
    ARTS,
    CARD,
    CITATION,
    CSV,
    DICTIONARIES,
    DICTIONARY,
    GEOJSON,
    INVENTORY,
    KML,
    POINTS,
    SHAPEFILE,
    data_files,
)
from rts_pipeline.export.kml import write_kml
from rts_pipeline.export.manifest import listing, write_manifest
from rts_pipeline.export.plain import dated, write_csv_outlines, write_csv_points, write_geojson
from rts_pipeline.export.shapefile import write_shapefile
from rts_pipeline.export.stac import write_stac
from rts_pipeline.export.tables import Source, Table, dictionary, geographic, published
from rts_pipeline.inventory.dictionary import columns, table
from rts_pipeline.io.files import new_folder
from rts_pipeline.io.tables import read_parquet, write_csv, write_parquet
from rts_pipeline.io.vectors import write_gpkg
from rts_pipeline.options import ExportOptions


def build_export(
    attributes: Path,
    completeness: Path,
    observed: Path,
    reviews: Path,
    out: Path,
    options: ExportOptions,
    rounds: Sequence[str],
) -> None:
    """Write the release; equal input gives equal bytes.

    The GeoPackage (1.3) and the GeoParquet file are the masters, in the project's CRS; docs/export.md describes every file.

    Args:
        attributes: what stage attributes wrote.
        completeness: what stage completeness wrote.
        observed: `observed.parquet` of the stage observed.
        reviews: folder of the reviews.
        out: the folder; all that lies in it is replaced, once everything is written.
        options: place, season, grid, formats and what is said of the release.
        rounds: names of the signed-off rounds that the inventory holds.

    Raises:
        InputError: a file is missing or damaged.
        RefusedError: the chain of sign-offs is broken.
    """
    source = Source(published(attributes, options), read_parquet(observed), options)
    files = data_files(options.export.formats)
    tables = {table.name: table for table in _tables(source, set(files.values()))}
    rows = {file: len(tables[name].frame) for file, name in files.items()}
    with new_folder(out) as folder, dated(source.day):
        for file, name in files.items():
            _write(folder / file, tables[name], source)
        for file, described in _dictionaries(tables, options).items():
            write_csv(folder / file, described)
            rows[file] = len(described)
        write_citation(folder / CITATION, source)
        write_card(folder / CARD, source, completeness, reviews, rounds, rows)
        if "stac" in options.export.formats:
            write_stac(folder, source, list(tables.values()), files, listing(folder, rows))
        write_manifest(folder, rows)
    missing = lacking(source) if ARTS in tables else []
    if missing:
        print(f"{out / ARTS}.geojson: not valid ARTS while {' and '.join(missing)} are empty", file=sys.stderr)


def _tables(source: Source, wanted: set[str]) -> list[Table]:
    """Return the tables that are published, the inventory first."""
    named = source.options.attributes.covariates
    inventory = Table(INVENTORY, "Retrogressive thaw slumps", columns(measured=True, covariates=named), source.slumps)
    others = [arts_table(source)] if ARTS in wanted else []
    others += [table for table in darts_tables(source) if table.name in wanted] if wanted - {INVENTORY, ARTS} else []
    return [*([inventory] if INVENTORY in wanted else []), *others]


def _dictionaries(tables: dict[str, Table], options: ExportOptions) -> dict[str, pd.DataFrame]:
    """Return the data dictionary of the inventory, and those of the other layouts that are written."""
    others = {
        file: dictionary([tables[name] for name in dict.fromkeys(data_files([kind]).values())])
        for kind, file in DICTIONARIES.items()
        if kind in options.export.formats
    }
    return {DICTIONARY: table(options.attributes.covariates), **others}


def _write(path: Path, content: Table, source: Source) -> None:
    frame = content.frame
    if path.name == CSV:
        write_csv_outlines(path, frame)
    elif path.name == POINTS:
        write_csv_points(path, frame)
    elif path.name == SHAPEFILE:
        write_shapefile(path, frame, content.columns, source.day)
    elif path.name == KML:
        write_kml(path, frame, source.title)
    elif path.suffix == ".geojson":
        write_geojson(path, geographic(frame) if path.name == GEOJSON else frame)
    elif path.suffix == ".gpkg":
        write_gpkg(path, {content.name: frame})
    else:
        write_parquet(path, frame)
