"""Stage export: GeoJSON, KML and Shapefile, read back by the ordinary readers and compared with the master field by field."""

import json
import os
import re
import subprocess
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from shapely import box

from export_case import CRS, HOLED, LONG, NOTE, OUTLINES, release
from rts_pipeline.antimeridian import bounds_of
from rts_pipeline.export.kml import write_kml
from rts_pipeline.export.plain import write_csv_points, write_geojson
from rts_pipeline.export.shapefile import (
    LONG_TEXTS,
    NAME_CHARACTERS,
    SHORT,
    TEXT_BYTES,
    cut_text,
    field_map,
    short_names,
    write_shapefile,
)
from rts_pipeline.export.tables import clean_text, geographic
from rts_pipeline.grid import Grid
from rts_pipeline.inventory.dictionary import Column, columns
from rts_pipeline.io import read_geoparquet, write_gpkg, write_parquet

PYTHON = "/usr/bin/python3"
"""Debian's own, which has PyQGIS after `apt install python3-qgis`."""
DOCS = Path(__file__).parents[1] / "docs"
KML = {"kml": "http://www.opengis.net/kml/2.2"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return release(tmp_path_factory.mktemp("release"), full=True)


@pytest.fixture(scope="module")
def master(exported):
    return read_geoparquet(exported / "rts_inventory.parquet")


def test_no_column_is_compared_without_a_value(master):
    assert master.notna().any().all()
    many = [column.name for column in columns(measured=True) if column.missing != "never"]
    assert master[many].isna().any().mean() > 0.7, "and most of those that may be empty are so in a row"


def assert_same(read, master, *, relative=0.0, absolute=0.0):
    """Each field of each row: nulls where there are nulls, equal texts and whole numbers, numbers within the tolerances."""
    for name in master.columns.drop("geometry"):
        known, found = master[name], read[name]
        assert found.isna().tolist() == known.isna().tolist(), name
        known, found = known.dropna(), found.dropna()
        if known.dtype == "float64":
            np.testing.assert_allclose(found.astype(float), known, rtol=relative, atol=absolute, err_msg=name)
        else:
            assert found.astype(known.dtype).tolist() == known.tolist(), name


def assert_places(read, master, metres):
    """Outlines of as many parts and holes, no vertex farther than this from the master's."""
    back = read.geometry.to_crs(CRS)
    for found, known in zip(back, master.geometry, strict=True):
        assert shapely.get_num_geometries(found) == shapely.get_num_geometries(known)
        assert found.is_valid
        assert found.hausdorff_distance(known) < metres
        assert found.area == pytest.approx(known.area, rel=1e-3)


def test_geojson_has_all_digits(exported, master):
    read = gpd.read_file(exported / "rts_inventory.geojson", DATE_AS_STRING="YES")
    assert list(read.columns) == list(master.columns)
    assert_same(read, master)
    assert_places(read, master, 0.02)


def test_geojson_is_as_rfc_7946_asks(exported, master):
    told = json.loads((exported / "rts_inventory.geojson").read_text(encoding="utf-8"))
    assert "crs" not in told
    assert told["bbox"] == pytest.approx(master.geometry.to_crs(4326).total_bounds.tolist(), abs=1e-7)
    for feature in told["features"]:
        parts = feature["geometry"]["coordinates"]
        for polygon in parts if feature["geometry"]["type"] == "MultiPolygon" else [parts]:
            outer, *holes = (shapely.LinearRing(ring) for ring in polygon)
            assert outer.is_ccw
            assert not any(hole.is_ccw for hole in holes)
            assert all(len(str(value).split(".")[1]) <= 7 for ring in polygon for place in ring for value in place)
            assert all(92 < x < 94 and 34 < y < 36 for ring in polygon for x, y in ring), "longitude comes first"


def test_kml_has_all_attributes(exported, master):
    read = gpd.read_file(exported / "rts_inventory.kml")
    assert_same(read, master)
    assert read["Name"].tolist() == ["RTS 1", "RTS 2", "RTS 3"]
    assert read.crs == "EPSG:4326"
    assert_places(read, master, 0.02)
    holes = sum(len(part.interiors) for part in shapely.get_parts(read.geometry.to_numpy()))
    assert holes == 1


def test_kml_leaves_the_ground_visible(exported):
    document = ElementTree.parse(exported / "rts_inventory.kml").getroot()
    assert document.find(".//kml:PolyStyle/kml:fill", KML).text == "0"
    styles = {f"#{style.get('id')}" for style in document.iterfind(".//kml:Style", KML)}
    assert {element.text for element in document.iterfind(".//kml:Placemark/kml:styleUrl", KML)} == styles


def shapefile(exported):
    """The table with the columns' own names, and the texts that were cut put back, as docs/export.md says."""
    archive = exported / "rts_inventory.shp.zip"
    with zipfile.ZipFile(archive) as zipped, zipped.open("fields.csv") as fields, zipped.open(LONG_TEXTS) as texts:
        names = pd.read_csv(fields, keep_default_na=False).set_index("field")["name"].to_dict()
        whole = pd.read_csv(texts, keep_default_na=False)
    read = gpd.read_file(archive).rename(columns=names)
    cut = read.copy()
    for row in whole.itertuples():
        read.loc[read["rts_id"] == row.rts_id, row.name] = row.text
    return read, cut, whole


def test_the_shapefile_and_what_lies_beside_it_hold_everything(exported, master):
    read, _, _ = shapefile(exported)
    assert list(read.columns) == list(master.columns)
    assert_same(read, master, relative=1e-14, absolute=1e-15)
    assert read.crs == CRS
    assert read.geometry.geom_equals(master.geometry).all()


def test_a_text_that_a_dbf_table_cannot_hold_ends_with_a_sign(exported, master):
    _, cut, whole = shapefile(exported)
    assert whole[["rts_id", "name", "text"]].to_numpy().tolist() == [[2, "note", LONG.strip()]]
    text = cut.loc[1, "note"]
    assert text.endswith("…")
    assert LONG.startswith(text[:-1])
    assert len(text.encode()) <= TEXT_BYTES
    assert cut.loc[2, "note"] == NOTE


def test_the_archive_opens_as_a_layer_and_as_its_parts(exported, tmp_path):
    with zipfile.ZipFile(exported / "rts_inventory.shp.zip") as zipped:
        zipped.extractall(tmp_path)
    assert (tmp_path / "rts_inventory.cpg").read_text() == "UTF-8"
    assert len(gpd.read_file(tmp_path / "rts_inventory.shp")) == len(OUTLINES)


def test_every_column_has_a_short_name_of_its_own():
    fields = field_map(columns(measured=True))
    assert fields["field"].str.len().max() <= NAME_CHARACTERS
    assert fields["field"].str.upper().is_unique
    assert (fields["field"] == fields["name"])[fields["name"].str.len() <= NAME_CHARACTERS].all()


def test_the_documents_name_the_field_of_every_column_that_has_another_name():
    page = (DOCS / "export.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"`(\w+)` \| `(\w+)`", page[page.index("## The Shapefile") : page.index("## ARTS")]))
    fields = field_map(columns(measured=True))
    assert told == dict(fields[fields["field"] != fields["name"]][["name", "field"]].to_numpy())
    assert told == SHORT, "no field is called by the first letters of a column"


@given(st.lists(st.text("abc_", min_size=1, max_size=16), unique=True, max_size=30))
@example(["a_long_name_one", "a_long_name_two", "a_long_n_2", "A_LONG_NAM"])
def test_short_names_never_meet(names):
    short = short_names(names)
    assert list(short) == names
    assert all(len(name) <= NAME_CHARACTERS for name in short.values())
    assert len({name.upper() for name in short.values()}) == len(names)


@given(st.text(max_size=400))
def test_texts_are_cut_between_characters(text):
    cut = cut_text(text)
    assert len(cut.encode()) <= TEXT_BYTES
    assert cut == text or (cut.endswith("…") and text.startswith(cut[:-1]))


NOTES = st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=120)


NUMBERS = st.floats(min_value=1e-3, max_value=1e7)


@settings(max_examples=25, deadline=None)
@given(note=NOTES, number=NUMBERS)
def test_any_note_and_number_come_back_from_every_format(master, tmp_path_factory, note, number):
    folder = tmp_path_factory.mktemp("any")
    frame = master.assign(note=pd.Series([clean_text(note), None, "x"], dtype="str"), dist_road_m=[number, np.nan, 1 / number])
    write_csv_points(folder / "any.csv", frame)
    write_geojson(folder / "any.geojson", geographic(frame))
    write_kml(folder / "any.kml", frame, "any")
    write_shapefile(folder / "rts_inventory.shp.zip", frame, columns(measured=True), "2024-01-01")
    assert_same(pd.read_csv(folder / "any.csv", keep_default_na=False, na_values=[""], float_precision="round_trip"), frame)
    assert_same(gpd.read_file(folder / "any.geojson", DATE_AS_STRING="YES"), frame)
    assert_same(gpd.read_file(folder / "any.kml"), frame)
    assert_same(shapefile(folder)[0], frame, relative=1e-14, absolute=1e-15)


def test_booleans_and_whole_numbers_keep_their_nulls(master, tmp_path):
    active, first_year = pd.array([True, None, False], dtype="boolean"), pd.array([2016, None, 2019], dtype="Int64")
    frame = master[["rts_id", "geometry"]].assign(active=active, first_year=first_year)
    frame = frame[["rts_id", "active", "first_year", "geometry"]]
    known = [Column(name, "text", "", "", "") for name in frame.columns.drop("geometry")]
    write_gpkg(tmp_path / "any.gpkg", {"any": frame})
    write_parquet(tmp_path / "any.parquet", frame)
    write_csv_points(tmp_path / "any.csv", frame)
    write_geojson(tmp_path / "any.geojson", geographic(frame))
    write_kml(tmp_path / "any.kml", frame, "any")
    write_shapefile(tmp_path / "rts_inventory.shp.zip", frame, known, "2024-01-01")
    for read in (
        gpd.read_file(tmp_path / "any.gpkg"),
        read_geoparquet(tmp_path / "any.parquet"),
        pd.read_csv(tmp_path / "any.csv", keep_default_na=False, na_values=[""]),
        gpd.read_file(tmp_path / "any.geojson", DATE_AS_STRING="YES"),
        gpd.read_file(tmp_path / "any.kml"),
        shapefile(tmp_path)[0],
    ):
        assert_same(read, frame)


def test_an_outline_in_a_crs_without_a_code_is_placed(tmp_path):
    albers = "+proj=aea +lat_1=27 +lat_2=45 +lat_0=35 +lon_0=93 +datum=WGS84 +units=m"
    outline = gpd.GeoSeries([HOLED], crs=CRS).to_crs(albers).iloc[0]
    folder = release(tmp_path, [outline], crs=albers)
    known = gpd.GeoSeries([HOLED], crs=CRS)
    for name in (
        "rts_inventory.gpkg",
        "rts_inventory.shp.zip",
        "rts_inventory.geojson",
        "rts_arts.geojson",
        "darts_level2.gpkg",
    ):
        back = gpd.read_file(folder / name).geometry.to_crs(CRS)
        assert back.iloc[0].hausdorff_distance(known.iloc[0]) < 0.05, name


@pytest.mark.parametrize("offset", [0, 400, -400])
def test_slumps_at_the_antimeridian_stay_as_small_as_they_are(tmp_path, offset):
    """One across it, one on each side (RFC 7946, 3.1.9 and 5.2); or both on one side."""
    polar = "EPSG:3413"
    x, y = Transformer.from_crs("EPSG:4326", polar, always_xy=True).transform(180.0, 71.2)
    # the meridian runs from the pole to the upper left: a step along (1, 1) leads across it
    middles = [(x + step, y + step) for step in (offset, offset + 300, offset - 300)]
    squares = [box(east - 50, north - 50, east + 50, north + 50) for east, north in middles]
    known = gpd.GeoSeries(squares, crs=polar)
    folder = release(tmp_path, squares, crs=polar, formats=["geojson", "kml", "csv", "stac"])
    for name in ("rts_inventory.geojson", "rts_inventory.kml"):
        back = gpd.read_file(folder / name)
        assert back.geometry.is_valid.all(), name
        widths = back.geometry.explode().bounds.eval("maxx - minx")
        assert widths.max() < 0.01, name
        # metres: the cut moves no corner, and opens a seam of no width
        placed = back.geometry.to_crs(polar).buffer(0.05).to_numpy()
        assert sum(shapely.area(placed)) == pytest.approx(sum(known.area), rel=0.02), name
    item = json.loads((folder / "stac/rts_inventory.json").read_text())
    for west, south, east, north in (
        json.loads((folder / "rts_inventory.geojson").read_text())["bbox"],
        item["bbox"],
        *json.loads((folder / "stac/collection.json").read_text())["extent"]["spatial"]["bbox"],
    ):
        assert 71 < south < north < 72
        assert (west > east) == (offset == 0)
        assert (east - west) % 360 < 0.05
    assert shapely.geometry.shape(item["geometry"]).area < 0.01


def test_a_cell_across_the_antimeridian_is_cut():
    grid = Grid("EPSG:3413")
    cell = grid.cell(grid.cell_at(*Transformer.from_crs(4326, 3413, always_xy=True).transform(180.0, 71.2)))
    (placed,) = geographic(gpd.GeoDataFrame(geometry=[cell.polygon], crs=grid.crs)).geometry
    assert placed.geom_type == "MultiPolygon" and len(placed.geoms) == 2
    assert placed.area < 0.2
    assert bounds_of(np.array([placed], dtype=object))[0] > 179


@pytest.mark.slow
def test_qgis_reads_every_file(exported, master):
    found = Path(PYTHON).exists() and not subprocess.run([PYTHON, "-c", "import qgis.core"], capture_output=True).returncode
    if not found:
        pytest.skip("no PyQGIS: apt install python3-qgis")
    script = Path(__file__).with_name("pyqgis_read.py")
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": ""}
    done = subprocess.run([PYTHON, script, exported], capture_output=True, text=True, env=environment, check=True, timeout=300)
    told = json.loads(done.stdout.splitlines()[-1])
    assert all(layer["valid"] for layer in told.values())
    for name in (f"rts_inventory.{kind}" for kind in ("gpkg", "geojson", "kml", "shp.zip")):
        read = pd.DataFrame(told[name]["rows"])
        if name.endswith(".shp.zip"):
            read = read.rename(columns=field_map(columns(measured=True)).set_index("field")["name"].to_dict())
            read["note"] = read["note"].where(~read["note"].str.endswith("…"), LONG.strip())
        if name.endswith(".geojson"):
            # QGIS takes for a time what looks like one
            for time in ("reviewed_at", "acquired_start", "acquired_end"):
                times = [pd.to_datetime(frame[time], format="ISO8601", utc=True) for frame in (read, master)]
                pd.testing.assert_series_equal(*times, check_dtype=False)
                read[time] = master[time]
        assert_same(read, master, relative=1e-14, absolute=1e-15)
        assert told[name]["empty"] == 0
    assert told["rts_arts.geojson"]["crs"] == "EPSG:3413"
    assert len(told["rts_points.csv"]["rows"]) == len(master)
