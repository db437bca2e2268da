"""The two tables of what was delivered: a row for every item known, and a row for every file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
from rasterio.warp import transform_bounds
from shapely import box
from shapely.geometry import shape

from rts_pipeline import io
from rts_pipeline.options import CatalogOptions
from rts_pipeline.scenes import metadata
from rts_pipeline.scenes.discover import Delivery, FileRow, Item, Rejected, discover
from rts_pipeline.scenes.select import area_cells, select

COLUMNS = ("item_id", "acquired", "status", "reason", "valid_fraction", "usable_fraction", "item_json", "geometry")


def catalog(scenes_folder: Path, out_catalog: Path, out_files: Path, options: CatalogOptions) -> None:
    """Write the table of items (GeoParquet, EPSG:4326) and the table of files (CSV).

    Args:
        scenes_folder: where the needed items were measured: `<item>/item.json`.
        out_catalog: item_id, acquired, status ("used", "rejected", "ignored"), reason, valid_fraction, usable_fraction,
            item_json (null where not measured), geometry: the valid pixels of measured items, else the footprint that the
            metadata give, else the raster's extent, else null.
        out_files: path, bytes, item_id, role, status ("used", "rejected", "ignored", "superseded"), reason, broken; exactly
            one row for every file below the delivered folders and for every entry of their zip archives.
        options: the delivered folders, and which of the items are needed.

    Raises:
        InputError: as `discover`; the area can't be read; an item.json is damaged.
    """
    delivery = discover([Path(folder) for folder in options.scenes.folders], options.scenes, scenes_folder / ".headers.json")
    grid = options.grid.grid()
    cells = area_cells(Path(options.area.aoi), grid)
    needed = select(delivery.items, cells, grid, options.time, options.evidence.years)
    measured = {item_id: scenes_folder / item_id / "item.json" for item_id in needed.items}
    write_tables(delivery, measured, needed.ignored, out_catalog, out_files)


def write_tables(
    delivery: Delivery, measured: Mapping[str, Path], ignored: Mapping[str, str], out_catalog: Path, out_files: Path
) -> None:
    """Write both tables of `catalog`.

    Args:
        delivery: what was found.
        measured: item id -> item.json; one that doesn't exist came after the run was planned.
        ignored: item id -> why it wasn't measured although it could be used.
        out_catalog: the table of items.
        out_files: the table of files.
    """
    rows = [_rejected_row(item) for item in delivery.rejected]
    for item in delivery.items:
        path = measured.get(item.id)
        late = "arrived while the workflow ran: run it again"
        rows.append(_measured_row(path) if path and path.exists() else _ignored_row(item, ignored.get(item.id, late)))
    table = gpd.GeoDataFrame(sorted(rows, key=lambda row: row["item_id"]), columns=COLUMNS, geometry="geometry", crs=4326)
    for column in ("valid_fraction", "usable_fraction"):
        table[column] = table[column].astype("float64")
    io.write_parquet(out_catalog, table)
    verdicts = {row["item_id"]: (row["status"], row["reason"]) for row in rows}
    files = pd.DataFrame([asdict(_with_verdict(row, verdicts)) for row in delivery.files])
    io.write_text(out_files, files.to_csv(index=False, lineterminator="\n"))


def _measured_row(path: Path) -> dict[str, Any]:
    item = io.read_json(path)
    told = item["properties"]
    return {
        "item_id": item["id"],
        "acquired": told["datetime"],
        **{name: told[f"rts:{name}"] for name in ("status", "reason", "valid_fraction", "usable_fraction")},
        "item_json": str(path),
        "geometry": shape(item["geometry"]) if item["geometry"] else None,
    }


def _ignored_row(item: Item, reason: str) -> dict[str, Any]:
    place = metadata.footprint(item.metadata) or box(*transform_bounds(item.crs, "EPSG:4326", *item.bounds))
    return {"item_id": item.id, "acquired": item.acquired, "status": "ignored", "reason": reason, "geometry": place}


def _rejected_row(item: Rejected) -> dict[str, Any]:
    place = metadata.footprint(item.metadata)
    return {"item_id": item.id, "acquired": item.acquired, "status": "rejected", "reason": item.reason, "geometry": place}


def _with_verdict(row: FileRow, verdicts: Mapping[str, tuple[Any, str]]) -> FileRow:
    """Hand an item's verdict on to those of its files that were counted as used."""
    status, reason = verdicts.get(row.item_id, ("used", ""))
    if row.status != "used" or status == "used":
        return row
    return replace(row, status=status, reason=reason)
