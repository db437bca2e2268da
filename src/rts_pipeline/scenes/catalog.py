"""Stage catalog: the table of what was delivered, a row for every item known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import geopandas as gpd
from rasterio.warp import transform_bounds
from shapely.geometry import shape

from rts_pipeline.antimeridian import box_of
from rts_pipeline.io.files import was_read
from rts_pipeline.io.tables import write_parquet
from rts_pipeline.options import CatalogOptions
from rts_pipeline.scenes import metadata
from rts_pipeline.scenes.discover import Delivery, FileRow, Item, Rejected, discover
from rts_pipeline.scenes.failures import read_measured
from rts_pipeline.scenes.select import area_cells, select

LATE = "arrived while the workflow ran: run it again"

COLUMNS = ("item_id", "acquired", "status", "reason", "valid_fraction", "usable_fraction", "item_json", "geometry")


def catalog(scenes_folder: Path, out: Path, options: CatalogOptions) -> None:
    """Write the table of items (GeoParquet, EPSG:4326).

    Args:
        scenes_folder: where the needed items were measured (`<item>/item.json`) and adjusted (`<item>/adjusted.json`).
        out: item_id, acquired, status ("used", "rejected", "ignored"), reason (of any status: with the files of the item that
            are damaged or can't be read, such as its metadata), valid_fraction, usable_fraction, item_json (null where not
            measured), geometry: the valid pixels of measured items, else the footprint that the metadata give, else the
            raster's extent, else null.
        options: the delivered folders, and which of the items are needed.

    Raises:
        InputError: as `discover`; the area can't be read; an item could not be measured, or its item.json is damaged.
    """
    delivery = discover([Path(folder) for folder in options.scenes.folders], options.scenes, scenes_folder / ".headers.json")
    grid = options.grid.grid()
    cells = area_cells(Path(options.area.aoi), grid)
    needed = select(delivery.items, cells, grid, options.time, options.evidence.years)
    name = "adjusted.json" if options.adjust.active else "item.json"
    measured = {item_id: scenes_folder / item_id / name for item_id in needed.items}
    write_items(delivery, measured, needed.ignored, out)


def write_items(delivery: Delivery, measured: Mapping[str, Path], ignored: Mapping[str, str], out: Path) -> None:
    """Write the table of `catalog`.

    Args:
        delivery: what was found.
        measured: item id -> item.json or adjusted.json; one that doesn't exist came after the run was planned.
        ignored: item id -> why it wasn't measured although it could be used.
        out: the table of items.
    """
    rows = [_rejected_row(item) for item in delivery.rejected]
    broken = _broken(delivery.files)
    for item in delivery.items:
        path = measured.get(item.id)
        row = _measured_row(path) if path and path.parent.exists() else _ignored_row(item, ignored.get(item.id, LATE))
        rows.append(row | {"reason": "; ".join(filter(None, [row["reason"], *broken.get(item.id, [])]))})
    table = gpd.GeoDataFrame(sorted(rows, key=lambda row: row["item_id"]), columns=COLUMNS, geometry="geometry", crs=4326)
    for column in ("valid_fraction", "usable_fraction"):
        table[column] = table[column].astype("float64")
    write_parquet(out, table)


def _broken(files: Iterable[FileRow]) -> dict[str, list[str]]:
    """Return by item what is wrong with those of its files that would be used: it can be used without them."""
    found: dict[str, list[str]] = {}
    for row in files:
        if row.broken and row.status == "rejected":
            found.setdefault(row.item_id, []).append(f"{Path(row.path).name}: {row.reason}")
    return found


def _measured_row(path: Path) -> dict[str, Any]:
    item = read_measured(path)
    was_read(path)
    told = item["properties"]
    return {
        "item_id": item["id"],
        "acquired": told["datetime"],
        **{name: told[f"rts:{name}"] for name in ("status", "reason", "valid_fraction", "usable_fraction")},
        "item_json": str(path),
        "geometry": shape(item["geometry"]) if item["geometry"] else None,
    }


def _ignored_row(item: Item, reason: str) -> dict[str, Any]:
    place = metadata.footprint(item.metadata) or box_of([*transform_bounds(item.crs, "EPSG:4326", *item.bounds)])
    return {"item_id": item.id, "acquired": item.acquired, "status": "ignored", "reason": reason, "geometry": place}


def _rejected_row(item: Rejected) -> dict[str, Any]:
    place = metadata.footprint(item.metadata)
    return {"item_id": item.id, "acquired": item.acquired, "status": "rejected", "reason": item.reason, "geometry": place}
