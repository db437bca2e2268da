"""Stage export: STAC, valid by pystac with the schemas that it brings and with those of the extensions, without the network."""

import hashlib
import json
from pathlib import Path

import geopandas as gpd
import pystac
import pytest
from pyproj.datadir import get_data_dir
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.table import TableExtension
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from export_case import CRS, HOLED, OUTLINES, release
from rts_pipeline.inventory.dictionary import columns
from rts_pipeline.io import read_geoparquet


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    return release(folder, licence="CC-BY-4.0", version="1.2.0", doi="10.5281/zenodo.1234567")


@pytest.fixture(scope="module")
def collection(exported):
    return pystac.Collection.from_file(str(exported / "stac" / "collection.json"))


class Offline(JsonSchemaSTACValidator):
    """Knows the schemas of the extensions, and fetches none."""

    def __init__(self):
        super().__init__()
        for path in (Path(__file__).parent / "data" / "stac_extensions").glob("*.json"):
            schema = json.loads(path.read_text())
            self.schema_cache[schema["$id"].rstrip("#")] = schema
        projjson = "https://proj.org/schemas/v0.7/projjson.schema.json"
        self.schema_cache[projjson] = json.loads(Path(get_data_dir(), "projjson.schema.json").read_text())

    def _get_schema(self, schema_uri):
        return self.schema_cache[schema_uri]


def valid(thing):
    """Validate by the core's schemas and those of all extensions that it names; return the schemas."""
    return thing.validate(Offline())


def test_collection_and_items_are_valid(collection):
    named = {f"https://stac-extensions.github.io/{name}/schema.json" for name in ("table/v1.2.0", "file/v2.1.0")}
    assert named | {"https://stac-extensions.github.io/scientific/v1.0.0/schema.json"} < set(valid(collection))
    items = list(collection.get_items())
    assert [item.id for item in items] == ["rts_inventory", "rts_arts", "darts_level1", "darts_level2", "darts_coverage"]
    for item in items:
        assert named | {"https://stac-extensions.github.io/projection/v2.0.0/schema.json"} < set(valid(item))
        assert item.get_collection().id == collection.id == item.collection_id
        assert {name.split("/")[3] for name in item.stac_extensions} == {"table", "projection", "file"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("table:columns", [{"description": "a column without a name"}]),
        ("table:row_count", "three"),
        ("proj:code", 32646),
        ("proj:bbox", [0.0, 1.0]),
        ("proj:epsg", 32646),
    ],
)
def test_the_extensions_schemas_refuse_what_is_wrong(collection, field, value):
    item = next(collection.get_items()).clone()
    item.properties[field] = value
    with pytest.raises(pystac.STACValidationError):
        valid(item)


def test_the_collection_tells_who_what_and_when(collection):
    assert collection.title == "Inventory of retrogressive thaw slumps: Beiluhe, 2019"
    assert collection.license == "CC-BY-4.0"
    assert [provider.name for provider in collection.providers] == ["ZXia, The Chinese University of Hong Kong", "LHuang, CUHK"]
    start, end = collection.extent.temporal.intervals[0]
    assert (start.isoformat(), end.isoformat()) == ("2019-08-01T04:10:00.500000+00:00", "2019-08-16T04:10:00+00:00")
    assert collection.ext.sci.doi == "10.5281/zenodo.1234567"
    assert collection.extra_fields["version"] == "1.2.0"
    assert {entry["name"] for entry in collection.extra_fields["table:tables"]} == {item.id for item in collection.get_items()}


def test_tables_are_described(exported, collection):
    for item in collection.get_items():
        file = exported / f"{item.id}.parquet"
        frame = read_geoparquet(file) if file.exists() else gpd.read_file(file.with_suffix(".geojson"))
        table, place = TableExtension.ext(item), ProjectionExtension.ext(item)
        assert [column.name for column in table.columns] == list(frame.columns)
        assert (table.row_count, table.primary_geometry) == (len(frame), "geometry")
        assert place.code == frame.crs.to_string()
        assert place.bbox == pytest.approx(frame.total_bounds.tolist())
        assert item.bbox == pytest.approx(frame.to_crs(4326).total_bounds.tolist(), abs=1e-6)
    described = TableExtension.ext(collection.get_item("rts_inventory")).columns
    assert [column.name for column in described] == [column.name for column in columns(measured=True)]


def test_assets_are_the_files_with_their_checksums(exported, collection):
    things = [collection, *collection.get_items()]
    paths = {asset.get_absolute_href(): asset for thing in things for asset in thing.assets.values()}
    for href, asset in paths.items():
        content = Path(href).read_bytes()
        checked = FileExtension.ext(asset)
        assert (checked.checksum, checked.size) == (f"1220{hashlib.sha256(content).hexdigest()}", len(content))
    assert {href.rpartition("/")[2] for href in paths} >= {"rts_inventory.gpkg", "rts_inventory.shp.zip", "rts_arts.geojson"}


def test_links_and_assets_are_relative(exported):
    for path in (exported / "stac").iterdir():
        assert str(exported) not in path.read_text()


def test_without_a_licence_or_a_row_it_is_valid_too(tmp_path):
    folder = release(tmp_path, OUTLINES[:0], formats=["gpkg", "stac"])
    collection = pystac.Collection.from_file(str(folder / "stac" / "collection.json"))
    item = collection.get_item("rts_inventory")
    valid(collection)
    valid(item)
    assert (collection.license, item.geometry) == ("other", None)
    assert item.properties["start_datetime"] == "2019-07-01T00:00:00Z"


def test_a_crs_without_a_code_is_given_in_full(tmp_path):
    albers = "+proj=aea +lat_1=27 +lat_2=45 +lat_0=35 +lon_0=93 +datum=WGS84 +units=m"
    outline = gpd.GeoSeries([HOLED], crs=CRS).to_crs(albers).iloc[0]
    folder = release(tmp_path, [outline], crs=albers, formats=["parquet", "stac"])
    item = pystac.Item.from_file(str(folder / "stac" / "rts_inventory.json"))
    valid(item)
    assert ProjectionExtension.ext(item).code is None
    assert (
        gpd.GeoSeries([], crs=ProjectionExtension.ext(item).wkt2).crs == read_geoparquet(folder / "rts_inventory.parquet").crs
    )
