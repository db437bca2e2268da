"""The release as a STAC 1.1 Collection with an Item a table (extensions table, projection, file; scientific for a DOI)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely

from rts_pipeline.antimeridian import bounds_of, box_of, cut
from rts_pipeline.export.citation import authors
from rts_pipeline.export.files import CARD, CITATION, COLLECTION, DICTIONARY, item_file
from rts_pipeline.export.tables import DEGREE_DECIMALS, WGS84, Source, Table
from rts_pipeline.inventory.dictionary import Column
from rts_pipeline.io.json import write_json

VERSION = "1.1.0"
TABLE, PROJECTION, FILE, SCIENTIFIC = (
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("table/v1.2.0", "projection/v2.0.0", "file/v2.1.0", "scientific/v1.0.0")
)
MEDIA = {
    ".gpkg": "application/geopackage+sqlite3",
    ".parquet": "application/vnd.apache.parquet",
    ".csv": "text/csv",
    ".geojson": "application/geo+json",
    ".zip": "application/zip",
    ".kml": "application/vnd.google-earth.kml+xml",
    ".html": "text/html",
    ".cff": "application/yaml",
}
SHA256 = "1220"
"""Prefix of a multihash: sha2-256, 32 bytes."""
Json = dict[str, Any]
WORLD = [-180.0, -90.0, 180.0, 90.0]
"""Extent of a collection of tables without rows, for which STAC asks all the same."""
LINKS = ("root", "parent", "collection")
"""Relations of an Item to its Collection."""
DESCRIBING = {CARD: "What the inventory is, and how good", CITATION: "How to cite it", DICTIONARY: "Its columns"}


def write_stac(folder: Path, source: Source, tables: Sequence[Table], files: Mapping[str, str], listed: pd.DataFrame) -> None:
    """Write COLLECTION and an Item for each table into a release; links are relative.

    Args:
        folder: of the release.
        source: what it is made from.
        tables: its tables.
        files: the files of data, and the table that each holds.
        listed: `manifest.listing` of at least the files that are linked.
    """
    known = listed.set_index("file")
    items = [_item(source, table, [file for file in files if files[file] == table.name], known) for table in tables]
    write_json(folder / COLLECTION, _collection(source, tables, items, known))
    for item in items:
        write_json(folder / item_file(item["id"]), item)


def _collection(source: Source, tables: Sequence[Table], items: Sequence[Json], listed: pd.DataFrame) -> Json:
    export, region = source.options.export, source.options.area.region
    boxes = np.array([box_of(item["bbox"]) for item in items if "bbox" in item], dtype=object)
    start, end = _times(source)
    collection: Json = {
        "type": "Collection",
        "stac_version": VERSION,
        "stac_extensions": [TABLE, FILE],
        "id": identifier(source),
        "title": source.title,
        "description": f"{len(source.slumps)} retrogressive thaw slumps, outlined on PlanetScope images and reviewed by"
        " experts. The images are no part of it.",
        "keywords": ["retrogressive thaw slump", "permafrost", "PlanetScope", *([region] if region else [])],
        "license": export.licence or "other",
        "providers": [{"name": person["written"], "roles": ["producer"]} for person in authors(source)],
        "extent": {
            "spatial": {"bbox": [bounds_of(boxes) if len(boxes) else WORLD]},
            "temporal": {"interval": [[start, end]]},
        },
        "table:tables": [{"name": table.name, "description": table.title} for table in tables],
        "assets": {file: _asset(file, title, "metadata", listed) for file, title in DESCRIBING.items()},
        "links": [{"rel": "root", "href": f"./{Path(COLLECTION).name}", "type": "application/json"}]
        + [{"rel": "item", "href": f"./{item['id']}.json", "type": "application/geo+json"} for item in items],
    }
    if export.version:
        collection["version"] = export.version
    if export.doi:
        collection["stac_extensions"].append(SCIENTIFIC)
        collection["sci:doi"] = export.doi
        collection["links"].append({"rel": "cite-as", "href": f"https://doi.org/{export.doi}"})
    return collection


def _item(source: Source, table: Table, files: Sequence[str], listed: pd.DataFrame) -> Json:
    frame = table.frame
    start, end = _times(source)
    links = [{"rel": rel, "href": f"./{Path(COLLECTION).name}", "type": "application/json"} for rel in LINKS]
    item: Json = {
        "type": "Feature",
        "stac_version": VERSION,
        "stac_extensions": [TABLE, PROJECTION, FILE],
        "id": table.name,
        "collection": identifier(source),
        "geometry": None,
        "properties": {
            "title": table.title,
            "datetime": None,
            "start_datetime": start,
            "end_datetime": end,
            "table:columns": [_column(column) for column in table.columns],
            "table:primary_geometry": frame.geometry.name,
            "table:row_count": len(frame),
            **_projection(table),
        },
        "links": links,
        "assets": {file: _asset(file, table.title, "data", listed) for file in files},
    }
    if len(frame):
        bounds = bounds_of(cut(frame.geometry.to_crs(WGS84).to_numpy()))
        item["bbox"] = [round(side, DEGREE_DECIMALS) for side in bounds]
        item["geometry"] = shapely.geometry.mapping(box_of(item["bbox"]))
        item["properties"]["proj:bbox"] = [float(side) for side in frame.total_bounds]
    return item


def _projection(table: Table) -> Json:
    authority = table.frame.crs.to_authority()
    return {"proj:code": ":".join(authority)} if authority else {"proj:code": None, "proj:wkt2": table.frame.crs.to_wkt()}


def _column(column: Column) -> dict[str, str]:
    unit = f" ({column.unit})" if column.unit else ""
    return {"name": column.name, "description": f"{column.description}{unit}", "type": column.type}


def _asset(file: str, title: str, role: str, listed: pd.DataFrame) -> Json:
    return {
        "href": f"../{file}",
        "title": title,
        "type": MEDIA[Path(file).suffix],
        "roles": [role],
        "file:checksum": SHA256 + str(listed["sha256"][file]),
        "file:size": int(listed["bytes"][file]),
    }


def _times(source: Source) -> tuple[str, str]:
    """Return the first and last acquisition of the pixels inside the outlines; without any, the season."""
    seen = source.slumps.dropna(subset=["acquired_start", "acquired_end"])
    if len(seen):
        return seen["acquired_start"].min(), seen["acquired_end"].max()
    first, last = source.season
    return f"{first}T00:00:00Z", f"{last}T23:59:59Z"


def identifier(source: Source) -> str:
    """Return the collection's id: letters, digits and hyphens of the title."""
    return re.sub(r"[^a-z0-9]+", "-", source.title.lower()).strip("-")
