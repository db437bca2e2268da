"""Names of the files of a release, by format; no heavy import, since the workflow asks for them at its parse."""

from __future__ import annotations

from collections.abc import Sequence

INVENTORY, ARTS = "rts_inventory", "rts_arts"
LEVEL1, LEVEL2, COVERAGE = "darts_level1", "darts_level2", "darts_coverage"

GPKG, PARQUET, CSV, POINTS, GEOJSON, SHAPEFILE, KML = (
    *(f"{INVENTORY}.gpkg", f"{INVENTORY}.parquet", f"{INVENTORY}.csv", "rts_points.csv"),
    *(f"{INVENTORY}.geojson", f"{INVENTORY}.shp.zip", f"{INVENTORY}.kml"),
)
TABLE_OF = {
    "gpkg": {GPKG: INVENTORY},
    "parquet": {PARQUET: INVENTORY},
    "csv": {CSV: INVENTORY},
    "points": {POINTS: INVENTORY},
    "geojson": {GEOJSON: INVENTORY},
    "shapefile": {SHAPEFILE: INVENTORY},
    "kml": {KML: INVENTORY},
    "arts": {f"{ARTS}.geojson": ARTS},
    "darts": {f"{table}.{kind}": table for table in (LEVEL1, LEVEL2, COVERAGE) for kind in ("gpkg", "parquet")},
}
"""Files of data of each format, and the table that each holds."""
DICTIONARY, DICTIONARIES = "data_dictionary.csv", {"arts": "arts_dictionary.csv", "darts": "darts_dictionary.csv"}
CARD, CITATION, MANIFEST = "data_card.html", "CITATION.cff", "manifest.csv"
COLLECTION = "stac/collection.json"


def data_files(formats: Sequence[str]) -> dict[str, str]:
    """Return the files of data, and the table that each holds."""
    return {file: table for name, files in TABLE_OF.items() if name in formats for file, table in files.items()}


def item_file(table: str) -> str:
    """Return the file of a table's STAC Item."""
    return f"stac/{table}.json"


def release_files(formats: Sequence[str]) -> list[str]:
    """Return all files of a release, the manifest first."""
    data = data_files(formats)
    dictionaries = [name for kind, name in DICTIONARIES.items() if kind in formats]
    items = [COLLECTION, *map(item_file, dict.fromkeys(data.values()))] if "stac" in formats else []
    return [MANIFEST, *data, DICTIONARY, *dictionaries, CARD, CITATION, *items]
