"""Stage export: a release as a whole, its masters and CSV files, and the dictionary that explains every column."""

import csv
import hashlib
import json
import sqlite3
import subprocess

import geopandas as gpd
import pandas as pd
import pytest
import shapely
from pandas.testing import assert_frame_equal

from export_case import CRS, LONG, NOTE, OUTLINES, options, release
from rts_pipeline.export.files import TABLE_OF, release_files
from rts_pipeline.export.tables import clean_text
from rts_pipeline.inventory.dictionary import columns, conform, table
from rts_pipeline.io import read_geoparquet

FORMATS = [*TABLE_OF, "stac"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A release of three slumps; the southernmost has two parts and a difficult note."""
    return release(tmp_path_factory.mktemp("release"), full=True)


def files_of(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_geopackage_and_geoparquet_hold_the_same(exported):
    package, parquet = gpd.read_file(exported / "rts_inventory.gpkg"), read_geoparquet(exported / "rts_inventory.parquet")
    assert list(package.columns) == list(parquet.columns) == [column.name for column in columns(measured=True)]
    values = parquet.drop(columns="geometry")
    assert_frame_equal(pd.DataFrame(conform(package, measured=True).drop(columns="geometry")), pd.DataFrame(values))
    assert package.geometry.geom_equals(parquet.geometry).all()
    assert package.crs == parquet.crs == CRS
    assert package["note"].tolist() == ["NA", LONG.strip(), NOTE]


def test_geopackage_is_of_version_1_3(exported):
    with sqlite3.connect(exported / "rts_inventory.gpkg") as database:
        assert database.execute("pragma user_version").fetchone() == (10300,)
        assert database.execute("select table_name from gpkg_contents").fetchall() == [("rts_inventory",)]


def test_csv_survives_quotes_newlines_and_other_scripts(exported):
    with (exported / "rts_inventory.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    assert rows[2]["note"] == NOTE
    assert rows[2]["dist_road_m"] == ""
    parquet = read_geoparquet(exported / "rts_inventory.parquet")
    for row, known in zip(rows, parquet.itertuples(), strict=True):
        outline = shapely.from_wkt(row["geometry_wkt"])
        back = gpd.GeoSeries([outline], crs=4326).to_crs(CRS)
        assert back.iloc[0].symmetric_difference(known.geometry).area < 10
        assert (float(row["longitude"]), float(row["latitude"])) == (known.longitude, known.latitude)
        assert outline.buffer(1e-5).contains(shapely.Point(known.longitude, known.latitude))


@pytest.mark.parametrize("name", ["rts_inventory.csv", "rts_points.csv"])
def test_pandas_reads_the_csv_files_back(exported, name):
    parquet = read_geoparquet(exported / "rts_inventory.parquet")
    strict = {"keep_default_na": False, "na_values": [""], "float_precision": "round_trip"}
    read = pd.read_csv(exported / name, **strict)
    plain = pd.DataFrame(parquet.drop(columns="geometry"))
    assert_frame_equal(read[plain.columns].astype(plain.dtypes), plain, check_exact=True)
    assert set(read.columns) - set(plain.columns) == ({"geometry_wkt"} if name == "rts_inventory.csv" else set())


def test_every_column_of_every_file_is_in_the_dictionary(exported):
    dictionary = pd.read_csv(exported / "data_dictionary.csv", keep_default_na=False)
    assert list(dictionary.columns) == ["name", "type", "unit", "description", "source", "missing"]
    known = set(dictionary["name"])
    assert (
        set(gpd.read_file(exported / "rts_inventory.gpkg").columns) | set(pd.read_csv(exported / "rts_inventory.csv")) == known
    )
    assert dictionary["name"].is_unique
    assert (dictionary.drop(columns="unit") != "").all(axis=None)


@pytest.mark.parametrize("layout", ["arts", "darts"])
def test_every_column_of_other_layouts_is_in_their_dictionary(exported, layout):
    dictionary = pd.read_csv(exported / f"{layout}_dictionary.csv", keep_default_na=False)
    for file, name in TABLE_OF[layout].items():
        read = read_geoparquet(exported / file) if file.endswith("parquet") else gpd.read_file(exported / file)
        assert list(read.columns) == dictionary.loc[dictionary["table"] == name, "name"].tolist()
        empty = {column for column in read.columns if read[column].isna().any()}
        assert empty <= set(dictionary.loc[(dictionary["table"] == name) & (dictionary["missing"] != "never"), "name"])


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
    folder = release(tmp_path, [])
    names = [column.name for column in columns(measured=True)]
    package = gpd.read_file(folder / "rts_inventory.gpkg")
    assert len(package) == 0
    assert list(package.columns) == list(read_geoparquet(folder / "rts_inventory.parquet").columns) == names
    assert list(pd.read_csv(folder / "rts_inventory.csv")) == [*names[:-1], "geometry_wkt"]
    assert files_of(folder) == set(release_files(FORMATS))
    assert len(gpd.read_file(folder / "rts_inventory.shp.zip")) == 0
    assert json.loads((folder / "rts_inventory.geojson").read_text())["features"] == []


def test_geoparquet_declares_its_crs(exported):
    import pyarrow.parquet

    meta = json.loads(pyarrow.parquet.read_schema(exported / "rts_inventory.parquet").metadata[b"geo"])
    assert meta["columns"]["geometry"]["crs"]["id"] == {"authority": "EPSG", "code": 32646}


def test_a_release_holds_the_files_that_the_workflow_expects(exported):
    assert options().export.formats == FORMATS
    assert files_of(exported) == set(release_files(FORMATS))


def test_the_manifest_tells_sizes_checksums_and_rows(exported):
    manifest = pd.read_csv(exported / "manifest.csv").set_index("file")
    assert set(manifest.index) == files_of(exported) - {"manifest.csv"}
    for name, row in manifest.iterrows():
        content = (exported / name).read_bytes()
        assert (row["bytes"], row["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert manifest.loc["rts_inventory.gpkg", "rows"] == 3
    assert manifest.loc["data_dictionary.csv", "rows"] == len(table())
    assert manifest["rows"].isna().to_dict()["data_card.html"]


def test_the_manifest_is_checked_with_the_command_of_the_documentation(exported):
    lines = "tail -n +2 manifest.csv | tr -d '\"' | awk -F, '{print $3 \"  \" $1}' | sha256sum --check --quiet"
    subprocess.run(["bash", "-c", f"set -o pipefail; {lines}"], cwd=exported, check=True)


def test_equal_content_gives_equal_bytes(exported, tmp_path):
    again = release(tmp_path, full=True)
    for name in files_of(exported):
        assert (again / name).read_bytes() == (exported / name).read_bytes(), name


def test_only_the_wanted_formats_are_written_and_older_files_go(tmp_path):
    folder = release(tmp_path, OUTLINES[:1], formats=["gpkg", "kml"])
    assert files_of(folder) == set(release_files(["gpkg", "kml"]))
    release(tmp_path, OUTLINES[:1], formats=["points", "stac"])
    assert files_of(folder) == set(release_files(["points", "stac"]))
    assert "stac/rts_inventory.json" in files_of(folder)


def test_what_fails_leaves_the_last_release(tmp_path, monkeypatch):
    folder = release(tmp_path, OUTLINES[:1], formats=["csv"])
    before = {name: (folder / name).read_bytes() for name in files_of(folder)}
    monkeypatch.setattr("rts_pipeline.export.build.write_card", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        release(tmp_path, OUTLINES[:1], formats=["csv", "gpkg"])
    assert {name: (folder / name).read_bytes() for name in files_of(folder)} == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".tmp")]


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a\r\nb\rc", "a\nb\nc"),
        (" a ", "a"),
        ("", None),
        (" \n", None),
        ("a\x00\x07b\tc", "ab\tc"),
        ("NA", "NA"),
        ("]]>", "]]>"),
    ],
)
def test_texts_are_published_as_every_format_keeps_them(text, clean):
    assert clean_text(text) == clean
