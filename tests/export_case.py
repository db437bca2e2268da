"""A release of a small inventory, made by the stages themselves, with all that is hard to keep in a file."""

import geopandas as gpd
import pandas as pd
from shapely import MultiPolygon, box
from shapely.affinity import translate

from rts_pipeline.completeness import build_completeness
from rts_pipeline.config import Export, GridSection, Place, Report, Time
from rts_pipeline.export.build import build_export
from rts_pipeline.inventory.attributes import build_attributes
from rts_pipeline.inventory.build import build_inventory
from rts_pipeline.inventory.dictionary import columns
from rts_pipeline.io import read_geoparquet, write_parquet
from rts_pipeline.options import AttributesOptions, CompletenessOptions, ExportOptions, InventoryOptions

CRS = "EPSG:32646"
GRID = GridSection(crs=CRS, cell_px=64, block_cells=2)
AREA = Place(region="Beiluhe", creator_lab="ZXia, The Chinese University of Hong Kong; LHuang, CUHK")
WEST, NORTH = 500_000, 3_870_000
SQUARE = box(WEST, NORTH, WEST + 90, NORTH + 60)
HOLED = SQUARE.difference(box(WEST + 10, NORTH + 10, WEST + 20, NORTH + 20))
NOTE = 'Murmeltierbau; "wet", 2 m,\nzweite Zeile <b>fett</b> & ]]> 冻土'
LONG = "scarp \u4e00" * 60
SCENES = "20190801_041000_1004,20221221_084022_18_2414,5790392_4372514_2019-08-16_2459"
OF_TYPE = {
    "text": ('"0012", 冻土;\n<b>&</b>', "2019-08-01"),
    "integer": (2016, -3),
    "number": (0.1 + 0.2, -1234567.890123456),
    "boolean": (True, False),
}
"""Two values of each type: an empty column gets one in the first row and one in the last, and stays empty between them."""
FILLED = {
    "relation": ("merged,new", "unknown"),
    "related_uids": ("6aff1955-71f5-5fa5-97d1-d9e006e4ec5c,b", "c"),
    "area_by_year_m2": ('{"2018":12.5,"2019":20.0}', "{}"),
    "parts": ('[{"delineation_id":"seed-00001","note":"a \\"b\\""}]', "[]"),
    "prob_median": (0.75, 1.0),
}
OUTLINES = [MultiPolygon([SQUARE, translate(SQUARE, 500)]), translate(HOLED, 0, 300), translate(SQUARE, 33.3333333, 600)]


def options(crs=CRS, area=AREA, **export):
    grid = GRID.model_copy(update={"crs": crs})
    return ExportOptions(area=area, time=Time(), grid=grid, export=Export(**export), report=Report())


def attributes_of(folder, outlines=OUTLINES, crs=CRS):
    """Write the attributes of an inventory of one round: a note of each awkward kind, nulls, and images of all kinds of ids."""
    n = len(outlines)
    notes = [NOTE, LONG, " NA \r\n"]
    rows = {
        "candidate_id": [f"r01-{number:04d}" for number in range(1, n + 1)],
        **{"round": 1, "decision": "accept", "possibility": 0.75, "reviewers": "ann", "n_reviews": 1, "agreement": None},
        **{"reviewed_at": "2024-01-01T08:00:00Z", "note": [notes[row % 3] for row in range(n)]},
        **{"base_sha256": "b", "model_sha256": "m", "prob_mean": [0.1 + 0.2] * n, "prob_max": 0.9},
    }
    gpd.GeoDataFrame(rows, geometry=list(outlines), crs=crs).to_parquet(folder / "reviewed.parquet")
    grid = GRID.model_copy(update={"crs": crs})
    inventory, attributes = folder / "outlines.parquet", folder / "attributes.parquet"
    build_inventory(None, [folder / "reviewed.parquet"], inventory, InventoryOptions(area=AREA, time=Time(), grid=grid))
    build_attributes(inventory, [], None, None, None, attributes, AttributesOptions(grid=grid))
    seen = read_geoparquet(attributes)
    first = seen.index < 1
    seen["scene_ids"] = seen["scene_ids"].mask(first, SCENES)
    seen["acquired_start"] = seen["acquired_start"].mask(first, "2019-08-01T04:10:00.500000Z")
    seen["acquired_end"] = seen["acquired_end"].mask(first, "2019-08-16T04:10:00Z")
    seen["dist_road_m"] = seen["dist_road_m"].mask(first, 123456.78901234567)
    write_parquet(attributes, seen)
    return attributes


def fill(attributes):
    """Give every column that is empty values of its type in the first and the last row, so that readers have some to read."""
    slumps = read_geoparquet(attributes)
    last = len(slumps) - 1
    for column in columns(measured=True):
        if column.type == "geometry" or slumps[column.name].notna().any():
            continue
        values = FILLED.get(column.name, OF_TYPE[column.type])
        filled = pd.Series([None] * len(slumps), dtype=object)
        filled[0], filled[last] = values
        slumps[column.name] = filled.astype(slumps[column.name].dtype)
    write_parquet(attributes, slumps)


def observed_table(folder, crs=CRS):
    """Write what was seen of two cells in two years."""
    grid = GRID.model_copy(update={"crs": crs}).grid()
    cells = sorted({grid.cell_at(WEST, NORTH), grid.cell_at(WEST + 5000, NORTH)})
    rows = [
        {
            **{"cell": cell, "year": year, "pixels": 4096, "observed_pixels": pixels, "observed_share": pixels / 4096},
            **{"n_items": 2, "first_acquired": f"{year}-07-02T04:00:00Z", "last_acquired": f"{year}-08-20T04:00:00Z"},
            "policy": "p",
        }
        for cell, pixels in zip(cells, (1024, 0), strict=True)
        for year in (2018, 2019)
    ]
    pd.DataFrame(rows).to_parquet(folder / "observed.parquet")
    return folder / "observed.parquet"


def publish(folder, attributes, crs=CRS, area=AREA, out="export", **export):
    """Make a release of folder/outlines.parquet and its attributes in folder/export and return that folder."""
    known, reviews = folder / "completeness.json", folder / "reviews"
    reviews.mkdir(exist_ok=True)
    grid = GRID.model_copy(update={"crs": crs})
    build_completeness(folder / "outlines.parquet", reviews, [], known, CompletenessOptions(grid=grid), [])
    wanted = options(crs, area, **export)
    build_export(attributes, known, observed_table(folder, crs), reviews, folder / out, wanted, [])
    return folder / out


def release(folder, outlines=OUTLINES, crs=CRS, area=AREA, out="export", full=False, **export):
    """Make a release of outlines in folder/export and return that folder; `full`: no column is empty."""
    folder.mkdir(exist_ok=True)
    attributes = attributes_of(folder, outlines, crs)
    if full:
        fill(attributes)
    return publish(folder, attributes, crs, area, out, **export)
