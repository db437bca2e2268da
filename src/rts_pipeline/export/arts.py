"""The inventory in the ARTS data standard (Arctic Retrogressive Thaw Slumps, Yang et al. 2025, Scientific Data 12:18)."""

from __future__ import annotations

import geopandas as gpd
import pandas as pd

from rts_pipeline.export.files import ARTS
from rts_pipeline.export.tables import Source, Table, rounded
from rts_pipeline.inventory.dictionary import Column, typed
from rts_pipeline.inventory.earlier import EARLIER
from rts_pipeline.inventory.relations import pairs_of

CRS = "EPSG:3413"
DECIMALS = 3
"""Of a metre."""
SOURCE = "PlanetScope"
RELATIONS = ("MergedRTS", "SplitRTS", "NewRTS", "StabilizedRTS", "UnknownRelationship")
FIELD_OF = {
    "merged": "MergedRTS",
    "split": "SplitRTS",
    "new": "StabilizedRTS",
    "stabilized": "StabilizedRTS",
    "unknown": "UnknownRelationship",
}
"""Field of each word of the inventory's column `relation`. Words say what the row's slump is, fields what the other one is: the
slump that a new one lies on is a scar (metadata format summary of the data set)."""
REQUIRED = (
    *("CentroidLat", "CentroidLon", "RegionName", "CreatorLab", "BaseMapDate", "BaseMapSource"),
    *("BaseMapResolution", "TrainClass", "LabelType"),
)
TRAIN_CLASSES = ("Positive", "Negative")

COLUMNS: tuple[Column, ...] = (
    Column("CentroidLat", "number", "degree", "Latitude of a point inside the outline (WGS84, 5 decimals)", "latitude"),
    Column("CentroidLon", "number", "degree", "Longitude of a point inside the outline (WGS84, 5 decimals)", "longitude"),
    Column("RegionName", "text", "", "Name of the region", "area.region"),
    Column("CreatorLab", "text", "", "Makers: initials and surname, organisation; joined by '; '", "area.creator_lab"),
    Column("BaseMapDate", "text", "", "First and last day of the season of the images, joined by ','", "time"),
    Column("BaseMapSource", "text", "", "Sensor", SOURCE),
    Column("BaseMapResolution", "number", "m", "Pixel size of the mosaics", "grid.pixel_m"),
    Column("TrainClass", "text", "", "Positive: a slump (the inventory holds no negative outline)", "constant"),
    Column("LabelType", "text", "", "Polygon", "constant"),
    Column("MergedRTS", "text", "", "UIDs of slumps that merged into this one, joined by ','; empty: none", "inventory"),
    Column("SplitRTS", "text", "", "UID of the slump that split, of which this is a part; empty: none", "inventory"),
    Column("NewRTS", "text", "", "UIDs of slumps that formed on this one, a scar now, joined by ','; empty: none", "inventory"),
    Column("StabilizedRTS", "text", "", "UIDs of stabilised scars that it overlaps, joined by ','; empty: none", "inventory"),
    Column("UnknownRelationship", "text", "", "UIDs of others that it overlaps, joined by ','; empty: none", "inventory"),
    Column("ContributionDate", "text", "", "Day of the release, YYYY-MM-DD", "export.released, review"),
    Column("UID", "text", "", "Identifier of the landform (UUID 5 of the required fields)", "rts_uid"),
    Column("BaseMapID", "text", "", "The image, where all pixels inside are of one", "scene_ids", "there are several, or none"),
    Column("Area", "number", "m2", "Area on the WGS84 ellipsoid", "area_m2"),
    Column("Notes", "text", "", "The reviewers' notes", "note", "no note was written"),
    Column("geometry", "geometry", "m", f"Outline, Polygon or MultiPolygon in {CRS}", "geometry"),
)


def arts_table(source: Source) -> Table:
    """Return the inventory as ARTS has it, in EPSG:3413.

    A text that the standard requires is empty where the configuration gives none (`lacking`). A slump that is carried along
    from an earlier inventory is in that one's file: on the images of this season nobody saw it.
    """
    every, options = source.slumps, source.options
    slumps = every[every["decision"] != EARLIER]
    single = ~slumps["scene_ids"].str.contains(",", na=True).astype(bool)
    values = {
        "CentroidLat": slumps["latitude"].round(5),
        "CentroidLon": slumps["longitude"].round(5),
        "RegionName": options.area.region,
        "CreatorLab": options.area.creator_lab,
        "BaseMapDate": ",".join(source.season),
        "BaseMapSource": SOURCE,
        "BaseMapResolution": options.grid.pixel_m,
        "TrainClass": TRAIN_CLASSES[0],
        "LabelType": "Polygon",
        **relations(slumps),
        "ContributionDate": source.day,
        "UID": slumps["rts_uid"],
        "BaseMapID": slumps["scene_ids"].where(single),
        "Area": slumps["area_m2"],
        "Notes": slumps["note"],
    }
    outlines = rounded(slumps.geometry, CRS, DECIMALS)
    frame = gpd.GeoDataFrame(pd.DataFrame(values, index=slumps.index), geometry=outlines)
    return Table(ARTS, "Inventory in the ARTS data standard", COLUMNS, typed(frame, COLUMNS))


def relations(slumps: gpd.GeoDataFrame) -> dict[str, list[str]]:
    """Return the UIDs of each kind of relation, joined by commas; empty where there is none.

    Args:
        slumps: with `rts_uid`, `relation` and `related_uids`, two lists of equal length joined by commas, null: none; without
            the last two no slump has a relation.
    """
    uids = slumps["rts_uid"].tolist()
    found: dict[str, list[dict[str, None]]] = {field: [{} for _ in uids] for field in RELATIONS}
    row_of = {uid: row for row, uid in enumerate(uids)}
    for row, pairs in enumerate(pairs_of(slumps)):
        for word, other in sorted(pairs):
            found[FIELD_OF[word]][row][other] = None
            if word == "new" and other in row_of:
                found["NewRTS"][row_of[other]][uids[row]] = None
    return {field: [",".join(others) for others in rows] for field, rows in found.items()}


def lacking(source: Source) -> list[str]:
    """Return the keys of the configuration without which the ARTS file isn't valid, and which are empty."""
    area = source.options.area
    return [name for name, text in (("area.region", area.region), ("area.creator_lab", area.creator_lab)) if not text]
