"""Covariates that the configuration names: rasters and vectors measured for each slump, against brute force."""

import os
from unittest.mock import patch

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import rasterio.warp
import shapely
from affine import Affine
from shapely import Point, box

from attributes_case import CRS, EAST, GRID, NORTH, attributes
from export_case import observed_table, options
from rts_pipeline.completeness import build_completeness
from rts_pipeline.config import Covariate, Covariates, Measures, validate_config
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.export.build import build_export
from rts_pipeline.inventory.covariates import measure
from rts_pipeline.io import write_parquet
from rts_pipeline.options import CompletenessOptions
from rts_pipeline.workflow import load_project

MINIMAL = {"area": {"aoi": "aoi.gpkg"}, "scenes": {"folders": ["orders"]}, "labels": {"seeds": "seeds.gpkg"}}
SLUMPS = gpd.GeoSeries([box(EAST + 10, NORTH + 15, EAST + 95, NORTH + 70), Point(EAST + 200, NORTH + 200).buffer(70)], crs=CRS)
PIXEL = 30.0


def raster(path, values, crs=CRS, origin=(EAST - 90, NORTH + 390), pixel=PIXEL, **profile):
    profile = {"driver": "GTiff", "count": 1, "height": values.shape[0], "width": values.shape[1], **profile}
    with rasterio.open(
        path, "w", dtype=values.dtype, crs=crs, transform=Affine(pixel, 0, origin[0], 0, -pixel, origin[1]), **profile
    ) as dataset:
        dataset.write(values, 1)
    return path


def shares_of_pixels(outline, shape, origin=(EAST - 90, NORTH + 390)):
    x, y = (origin[0] + PIXEL * np.arange(shape[1])), (origin[1] - PIXEL * np.arange(shape[0]))
    squares = [[box(left, top - PIXEL, left + PIXEL, top) for left in x] for top in y]
    return np.array([[outline.intersection(square).area for square in row] for row in squares]) / outline.area


def covariate(path, kind, **values):
    return Covariate(name="cover", file=str(path), kind=kind, **values)


def test_a_mean_weighs_every_pixel_by_its_share(tmp_path):
    values = np.random.default_rng(1).normal(5, 2, (20, 20)).astype("float32")
    found = measure(SLUMPS, covariate(raster(tmp_path / "a.tif", values), "mean"))
    expected = [(shares_of_pixels(outline, values.shape) * values).sum() for outline in SLUMPS]
    assert list(found.columns) == ["cover"]
    assert found["cover"].to_numpy() == pytest.approx(expected, rel=1e-4)


def test_shares_of_classes(tmp_path, capsys):
    values = np.random.default_rng(2).integers(1, 4, (20, 20)).astype("uint8")
    found = measure(SLUMPS, covariate(raster(tmp_path / "a.tif", values), "shares", classes={1: "meadow", 2: "steppe"}))
    assert list(found.columns) == ["cover_meadow", "cover_steppe"]
    for number, name in enumerate(found.columns, 1):
        expected = [shares_of_pixels(outline, values.shape)[values == number].sum() for outline in SLUMPS]
        assert found[name].to_numpy() == pytest.approx(expected, abs=1e-4)
    assert "attributes.covariates.cover: the values 3 are in no class" in capsys.readouterr().err


@pytest.mark.parametrize("codes", [[-3, 0.1], [999_999, 1_000_000], [1_234_567, 1_234_568], [2**31, 2**32 - 1]])
def test_classes_are_told_apart_however_large_their_codes(tmp_path, capsys, codes):
    held = np.array(codes, dtype="float32" if min(codes) < 0 else "uint32")
    classes = dict(zip(codes, ("left", "right"), strict=True))
    values = np.random.default_rng(2).choice(held, (20, 20))
    found = measure(SLUMPS, covariate(raster(tmp_path / "a.tif", values), "shares", classes=classes))
    for name, value in zip(("cover_left", "cover_right"), held, strict=True):
        expected = [shares_of_pixels(outline, values.shape)[values == value].sum() for outline in SLUMPS]
        assert found[name].to_numpy() == pytest.approx(expected, abs=1e-4)
    gpd.GeoDataFrame({"code": held}, geometry=list(SLUMPS), crs=CRS).to_file(tmp_path / "a.gpkg")
    found = measure(SLUMPS, covariate(tmp_path / "a.gpkg", "shares", field="code", classes=classes))
    assert np.diag(found) == pytest.approx(1)
    assert capsys.readouterr().err == ""


def test_a_raster_in_degrees_is_read_in_its_own_crs(tmp_path):
    """Classes by longitude: the share is that of the ground on either side."""
    middle = gpd.GeoSeries([Point(EAST + 50, NORTH + 40)], crs=CRS).to_crs(4326).iloc[0]
    pixel = 1e-4
    values = np.repeat(np.array([[1] * 50 + [2] * 50], dtype="uint8"), 100, axis=0)
    path = raster(tmp_path / "a.tif", values, "EPSG:4326", (middle.x - 50 * pixel, middle.y + 50 * pixel), pixel)
    found = measure(SLUMPS[:1], covariate(path, "shares", classes={1: "west", 2: "east"}))
    assert found["cover_west"][0] == pytest.approx(40 / 85, abs=0.02)
    assert found.sum(axis=1)[0] == pytest.approx(1, abs=1e-3)


def test_where_it_covers_too_little_there_is_none_and_that_is_told(tmp_path, capsys):
    values = np.ones((20, 20), dtype="float32")
    values[:, :8] = -1
    path = raster(tmp_path / "a.tif", values, nodata=-1)
    found = measure(SLUMPS, covariate(path, "mean"))
    assert found["cover"].isna().tolist() == [True, False]
    assert "does not cover 1 of 2 slumps" in capsys.readouterr().err


def test_polygons_of_a_field(tmp_path):
    left, right = box(EAST - 500, NORTH - 500, EAST + 50, NORTH + 900), box(EAST + 50, NORTH - 500, EAST + 900, NORTH + 900)
    frame = gpd.GeoDataFrame({"soil": ["ice-rich", "sand"], "depth": [1.0, 3.0]}, geometry=[left, right], crs=CRS)
    frame.to_crs(4326).to_file(tmp_path / "soil.gpkg")
    classes = {"ice-rich": "ice", "sand": "sand"}
    shares = measure(SLUMPS, covariate(tmp_path / "soil.gpkg", "shares", field="soil", classes=classes))
    assert shares.to_numpy() == pytest.approx(np.array([[40 / 85, 45 / 85], [0, 1]]), abs=1e-4)
    depth = measure(SLUMPS, covariate(tmp_path / "soil.gpkg", "mean", field="depth"))
    assert depth["cover"].to_numpy() == pytest.approx([(40 * 1 + 45 * 3) / 85, 3], rel=1e-4)
    with pytest.raises(InputError, match=r"soil\.gpkg: has no field 'dept'; expected one of soil, depth"):
        measure(SLUMPS, covariate(tmp_path / "soil.gpkg", "mean", field="dept"))
    with pytest.raises(InputError, match=r"soil\.gpkg: holds '(ice-rich|sand)'; expected numbers"):
        measure(SLUMPS, covariate(tmp_path / "soil.gpkg", "mean", field="soil"))


def test_a_field_of_texts_is_no_mean_and_one_of_dates_no_class(tmp_path):
    elsewhere = [box(EAST + 9000, NORTH, EAST + 9090, NORTH + 90)]
    frame = gpd.GeoDataFrame({"soil": ["ice"], "seen": [pd.Timestamp("2019-07-01")]}, geometry=elsewhere, crs=CRS)
    frame.to_file(tmp_path / "soil.gpkg")
    with pytest.raises(InputError, match=r"soil\.gpkg: holds no numbers; expected numbers; use kind shares"):
        measure(SLUMPS, covariate(tmp_path / "soil.gpkg", "mean", field="soil"))
    with pytest.raises(InputError, match=r"soil\.gpkg: field 'seen' holds dates; expected numbers or texts"):
        measure(SLUMPS, covariate(tmp_path / "soil.gpkg", "shares", field="seen", classes={"2019-07-01": "early"}))


def test_what_is_infinite_is_no_value(tmp_path):
    """A ratio of bands is so where the divisor is 0."""
    values = np.full((20, 20), 2, dtype="float32")
    values[11, 4] = np.inf
    found = measure(SLUMPS.scale(3, 3), covariate(raster(tmp_path / "a.tif", values), "mean"))
    assert found["cover"].tolist() == [2, 2]


def test_ground_that_polygons_of_one_value_share_counts_once(tmp_path):
    left, right = box(EAST, NORTH, EAST + 60, NORTH + 90), box(EAST + 40, NORTH, EAST + 95, NORTH + 90)
    frame = gpd.GeoDataFrame({"soil": ["ice", "ice", "ice"]}, geometry=[left, right, left], crs=CRS)
    frame.to_file(tmp_path / "soil.gpkg")
    soil = covariate(tmp_path / "soil.gpkg", "shares", field="soil", classes={"ice": "ice"})
    assert measure(SLUMPS[:1], soil)["cover_ice"][0] == pytest.approx(1)
    frame.iloc[[0, 2]].to_file(tmp_path / "soil.gpkg")
    assert np.isnan(measure(SLUMPS[:1], soil)["cover_ice"][0]), "the same half twice is no whole"


def test_polygons_of_different_values_that_overlap_are_told(tmp_path, capsys):
    east, north = SLUMPS[0].centroid.x, SLUMPS[0].centroid.y
    wide = [box(east - 500, north - 500, east + 500, north + 500), box(east, north - 500, east + 500, north + 500)]
    gpd.GeoDataFrame({"soil": ["ice", "rock"]}, geometry=wide, crs=SLUMPS.crs).to_file(tmp_path / "soil.gpkg")
    soil = covariate(tmp_path / "soil.gpkg", "shares", field="soil", classes={"ice": "ice", "rock": "rock"})
    assert measure(SLUMPS[:1], soil).to_numpy() == pytest.approx(np.array([[1, 0.5]]), abs=0.01)
    assert (
        "soil.gpkg that hold different values overlap in 1 of 1 slumps, and such ground counts for each"
        in capsys.readouterr().err
    )
    gpd.GeoDataFrame({"soil": ["ice"]}, geometry=wide[:1], crs=SLUMPS.crs).to_file(tmp_path / "soil.gpkg")
    measure(SLUMPS[:1], soil)
    assert capsys.readouterr().err == ""


def test_an_edge_along_a_parallel_lies_there(tmp_path):
    """In UTM that of a polygon in degrees, brought there by its corners, lies up to 4 km further north."""
    south, north = box(90, 30, 96, 35.2), box(90, 35.2, 96, 40)
    gpd.GeoDataFrame({"zone": ["s", "n"]}, geometry=[south, north], crs=4326).to_file(tmp_path / "zones.gpkg")
    place = gpd.GeoSeries([Point(93, 35.22)], crs=4326).to_crs(CRS).buffer(100)
    found = measure(place, covariate(tmp_path / "zones.gpkg", "shares", field="zone", classes={"s": "s", "n": "n"}))
    assert found.to_numpy() == pytest.approx(np.array([[0, 1]]))


def test_an_outline_across_the_antimeridian_is_no_strip_around_the_globe(tmp_path):
    place = gpd.GeoSeries([Point(180, 70)], crs=4326).to_crs(3413).buffer(300)
    values = np.full((100, 3600), 5, dtype="uint8")
    values[:, 0], values[:, -1] = 1, 2
    world = raster(tmp_path / "world.tif", values, "EPSG:4326", (-180, 75), 0.1)
    assert measure(place, covariate(world, "mean"))["cover"][0] == pytest.approx(1.5, abs=0.01)


def test_files_that_can_t_be_used_are_told(tmp_path):
    with pytest.raises(InputError, match=r"none\.tif: no such file; expected a raster \(attributes\.covariates\.cover\)"):
        measure(SLUMPS, covariate(tmp_path / "none.tif", "mean"))
    bare = raster(tmp_path / "bare.tif", np.ones((3, 3), dtype="float32"), crs=None)
    with pytest.raises(InputError, match=r"bare\.tif: declares no CRS"):
        measure(SLUMPS, covariate(bare, "mean"))
    upside_down = raster(tmp_path / "down.tif", np.ones((20, 20), dtype="float32"))
    with rasterio.open(upside_down, "r+") as dataset:
        dataset.transform = Affine(PIXEL, 0, EAST - 90, 0, PIXEL, NORTH - 210)
    with pytest.raises(InputError, match=r"down\.tif: declares no CRS, or isn't north up; .*turn the raster \(gdalwarp\)"):
        measure(SLUMPS, covariate(upside_down, "mean"))
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(InputError, match=r"text\.tif: can't be read"):
        measure(SLUMPS, covariate(tmp_path / "text.tif", "mean"))


def test_covariates_become_columns_of_the_inventory_and_of_its_dictionary(tmp_path):
    values = np.full((20, 20), 2, dtype="uint8")
    gpd.GeoDataFrame(geometry=[Point(EAST + 500, NORTH)], crs=CRS).to_file(tmp_path / "lakes.gpkg")
    named = [
        covariate(raster(tmp_path / "a.tif", values), "mean", unit="m", description="Depth of the active layer"),
        Covariate(name="lake", file=str(tmp_path / "lakes.gpkg"), kind="nearest"),
    ]
    slumps = attributes(tmp_path, SLUMPS, measures=Measures(covariates=named))
    assert slumps["cover"].tolist() == [2, 2]
    assert slumps["dist_lake_m"].to_numpy() == pytest.approx(
        shapely.distance(SLUMPS.to_numpy(), Point(EAST + 500, NORTH)), rel=2e-3
    )
    write_parquet(tmp_path / "attributes.parquet", slumps)
    known, reviews = tmp_path / "completeness.json", tmp_path / "reviews"
    reviews.mkdir()
    build_completeness(tmp_path / "attributes.parquet", reviews, [], known, CompletenessOptions(grid=GRID), [])
    wanted = options().model_copy(update={"attributes": Covariates(covariates=named)})
    build_export(tmp_path / "attributes.parquet", known, observed_table(tmp_path), reviews, tmp_path / "out", wanted, [])
    dictionary = pd.read_csv(tmp_path / "out/data_dictionary.csv", keep_default_na=False).set_index("name")
    assert set(gpd.read_parquet(tmp_path / "out/rts_inventory.parquet").columns) | {"geometry_wkt"} == set(dictionary.index)
    assert dictionary.loc["cover", "unit"] == "m"
    assert "Depth of the active layer" in dictionary.loc["cover", "description"]
    assert dictionary.loc["dist_lake_m", ["source", "missing"]].tolist() == ["lakes.gpkg", "never"]
    assert (GRID.crs, slumps.crs.to_string()) == (CRS, CRS)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"name": "NDVI", "file": "a.tif", "kind": "mean"}, "attributes.covariates.0.name' is 'NDVI'"),
        ({"name": "a", "file": "a.tif", "kind": "median"}, "attributes.covariates.0.kind' is 'median'"),
        ({"name": "a", "file": "a.tif", "kind": "shares"}, "covariate 'a': kind shares, and no other, needs classes"),
        ({"name": "a", "file": "a.tif", "kind": "mean", "classes": {1: "b"}}, "needs classes"),
        ({"name": "slope_deg", "file": "a.tif", "kind": "mean"}, "would make the column 'slope_deg' twice"),
        ({"name": "road", "file": "a.gpkg", "kind": "nearest"}, "would make the column 'dist_road_m' twice"),
        ({"name": "fid", "file": "a.tif", "kind": "mean"}, "would make the column 'fid' twice"),
        ({"name": "geometry_wkt", "file": "a.tif", "kind": "mean"}, "would make the column 'geometry_wkt' twice"),
        ({"name": "a", "file": "a.tif", "kind": "mean", "unt": "m"}, "did you mean 'unit'"),
    ],
)
def test_mistakes_are_told_when_the_configuration_is_read(values, told):
    with pytest.raises(UsageError) as error:
        validate_config({**MINIMAL, "attributes": {"covariates": [values]}}, "config.yaml")
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_told_before_anything_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RTS_PIPELINE_FROZEN", raising=False)
    gpd.GeoDataFrame(geometry=[box(EAST, NORTH, EAST + 9000, NORTH + 9000)], crs=CRS).to_file("aoi.gpkg")
    gpd.GeoDataFrame(geometry=list(SLUMPS), crs=CRS).to_file("seeds.gpkg")
    monkeypatch.setattr("rts_pipeline.workflow.Project.labelled_cells", lambda self: [])
    values = {**MINIMAL, "attributes": {"covariates": [{"name": "ndvi", "file": "ndvi.tif", "kind": "mean"}]}}
    # the main process freezes its configuration in the environment, which no other test must find there
    with patch.dict(os.environ), pytest.raises(SystemExit) as ended:
        load_project(values, "config.yaml", main_process=True)
    assert ended.value.code == 3
    line = capsys.readouterr().err.strip()
    assert line == (
        "rts-pipeline: ndvi.tif: no such file; expected the file of attributes.covariates.ndvi; correct the path, or write null"
    )
