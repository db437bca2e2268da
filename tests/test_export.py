"""Stage export: published files with one content, and the dictionary that explains every column."""

import csv
import json
import sqlite3

import geopandas as gpd
import pandas as pd
import pytest
import shapely
from pandas.testing import assert_frame_equal
from rts_pipeline.inventory.export import export
from shapely import MultiPolygon, box

from rts_pipeline.config import GridSection, Place, Time
from rts_pipeline.inventory.attributes import build_attributes
from rts_pipeline.inventory.build import build_inventory
from rts_pipeline.inventory.dictionary import columns, conform, table
from rts_pipeline.io import read_geoparquet
from rts_pipeline.options import AttributesOptions, ExportOptions, InventoryOptions

CRS = "EPSG:32646"
GRID = GridSection(crs=CRS)
NOTE = 'Murmeltierbau; "wet", 2 m,\nzweite Zeile <b>fett</b> 冻土'


@pytest.fixture
def exported(tmp_path):
    return make(tmp_path, [box(500_000, 3_870_000, 500_090, 3_870_060)])


def make(tmp_path, outlines):
    """Export an inventory of one round; the first outline is of two parts and has a difficult note."""
    rows = {
        "candidate_id": [f"r01-{n:04d}" for n, _ in enumerate(outlines, 1)],
        **{"round": 1, "decision": "accept", "possibility": 0.75, "reviewers": "ann", "n_reviews": 1, "agreement": None},
        **{"reviewed_at": "2024-01-01T08:00:00Z", "note": NOTE, "base_sha256": "b", "model_sha256": "m"},
        **{"prob_mean": 0.8, "prob_max": 0.9},
    }
    geometry = [MultiPolygon([outline, shapely.affinity.translate(outline, 500)]) for outline in outlines]
    gpd.GeoDataFrame(rows, geometry=geometry, crs=CRS).to_parquet(tmp_path / "reviewed.parquet")
    options = InventoryOptions(area=Place(region="Beiluhe"), time=Time(), grid=GRID)
    build_inventory(None, [tmp_path / "reviewed.parquet"], tmp_path / "outlines.parquet", options)
    attributes = tmp_path / "attributes.parquet"
    build_attributes(tmp_path / "outlines.parquet", [], None, None, None, attributes, AttributesOptions(grid=GRID))
    export(attributes, tmp_path / "inventory", ExportOptions())
    return tmp_path / "inventory"


def test_geopackage_and_geoparquet_hold_the_same(exported):
    package, parquet = gpd.read_file(exported / "rts_inventory.gpkg"), read_geoparquet(exported / "rts_inventory.parquet")
    assert list(package.columns) == list(parquet.columns) == [column.name for column in columns(measured=True)]
    values = parquet.drop(columns="geometry")
    assert_frame_equal(pd.DataFrame(conform(package, measured=True).drop(columns="geometry")), pd.DataFrame(values))
    assert package.geometry.geom_equals(parquet.geometry).all()
    assert package.crs == parquet.crs == CRS
    assert package["note"][0] == NOTE


def test_geopackage_is_of_version_1_3(exported):
    with sqlite3.connect(exported / "rts_inventory.gpkg") as database:
        assert database.execute("pragma user_version").fetchone() == (10300,)
        assert database.execute("select table_name from gpkg_contents").fetchall() == [("rts_inventory",)]


def test_csv_survives_quotes_newlines_and_other_scripts(exported):
    with (exported / "rts_inventory.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1
    assert rows[0]["note"] == NOTE
    assert rows[0]["dist_road_m"] == ""
    parquet = read_geoparquet(exported / "rts_inventory.parquet")
    outline = shapely.from_wkt(rows[0]["geometry_wkt"])
    back = gpd.GeoSeries([outline], crs=4326).to_crs(CRS)
    assert back.iloc[0].symmetric_difference(parquet.geometry[0]).area < 10
    assert (float(rows[0]["longitude"]), float(rows[0]["latitude"])) == (parquet["longitude"][0], parquet["latitude"][0])
    assert outline.buffer(1e-5).contains(shapely.Point(parquet["longitude"][0], parquet["latitude"][0]))


def test_every_column_of_every_file_is_in_the_dictionary(exported):
    dictionary = pd.read_csv(exported / "data_dictionary.csv", keep_default_na=False)
    assert list(dictionary.columns) == ["name", "type", "unit", "description", "source", "missing"]
    known = set(dictionary["name"])
    assert (
        set(gpd.read_file(exported / "rts_inventory.gpkg").columns) | set(pd.read_csv(exported / "rts_inventory.csv")) == known
    )
    assert dictionary["name"].is_unique
    assert (dictionary.drop(columns="unit") != "").all(axis=None)


def test_only_columns_that_may_be_missing_are(exported):
    frame = read_geoparquet(exported / "rts_inventory.parquet")
    empty = {name for name in frame.columns if frame[name].isna().any()}
    assert empty <= set(table().query("missing != 'never'")["name"])


def test_a_column_without_an_entry_is_refused(exported):
    frame = read_geoparquet(exported / "rts_inventory.parquet")
    with pytest.raises(ValueError, match="colour"):
        conform(frame.assign(colour="red"), measured=True)
    with pytest.raises(ValueError, match="area_m2"):
        conform(frame.drop(columns="area_m2"), measured=True)


def test_an_empty_inventory_is_published_with_all_columns(tmp_path):
    folder = make(tmp_path, [])
    names = [column.name for column in columns(measured=True)]
    package = gpd.read_file(folder / "rts_inventory.gpkg")
    assert len(package) == 0
    assert list(package.columns) == list(read_geoparquet(folder / "rts_inventory.parquet").columns) == names
    assert list(pd.read_csv(folder / "rts_inventory.csv")) == [*names[:-1], "geometry_wkt"]


def test_geoparquet_declares_its_crs(exported):
    import pyarrow.parquet

    meta = json.loads(pyarrow.parquet.read_schema(exported / "rts_inventory.parquet").metadata[b"geo"])
    assert meta["columns"]["geometry"]["crs"]["id"] == {"authority": "EPSG", "code": 32646}
