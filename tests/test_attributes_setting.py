"""Distances of slumps from roads and railways."""

import geopandas as gpd
import numpy as np
import pytest
from pyproj import Geod, Transformer
from shapely import LineString, Point, box

from attributes_case import CRS, EAST, NORTH, attributes
from real_data import REAL, real
from rts_pipeline.errors import InputError
from rts_pipeline.inventory.setting import distance_to_features, distance_to_lines


def test_distance_starts_at_the_outline(tmp_path):
    roads = tmp_path / "roads.gpkg"
    x = 500_000.0
    lines = [
        LineString([(x + 1000, NORTH - 5000), (x + 1000, NORTH + 5000)]),
        LineString([(x - 9000, NORTH), (x - 9000, NORTH + 1)]),
    ]
    gpd.GeoDataFrame(geometry=lines, crs=CRS).to_crs("EPSG:4326").to_file(roads)
    aside, crossed = box(x, NORTH, x + 100, NORTH + 100), box(x + 950, NORTH, x + 1050, NORTH + 100)
    slumps = attributes(tmp_path, [aside, crossed], roads=roads)
    assert slumps["dist_road_m"].tolist() == pytest.approx([900 / 0.9996, 0], rel=1e-4)
    assert slumps["dist_railway_m"].isna().all()


def test_points_are_no_roads(tmp_path):
    gpd.GeoDataFrame(geometry=[Point(EAST, NORTH)], crs=CRS).to_file(tmp_path / "stops.gpkg")
    with pytest.raises(InputError, match=r"stops\.gpkg: holds no line"):
        attributes(tmp_path, [box(EAST, NORTH, EAST + 90, NORTH + 90)], railway=tmp_path / "stops.gpkg")


def test_a_line_of_no_length_is_a_point(tmp_path):
    dot, road = LineString([(EAST + 200, NORTH)] * 2), LineString([(EAST + 400, NORTH), (EAST + 400, NORTH + 90)])
    gpd.GeoDataFrame(geometry=[dot, road], crs=CRS).to_file(tmp_path / "roads.gpkg")
    slump = gpd.GeoSeries([box(EAST, NORTH, EAST + 100, NORTH + 90)], crs=CRS)
    assert distance_to_lines(slump, tmp_path / "roads.gpkg", "roads") == pytest.approx([300], rel=1e-3)
    assert distance_to_features(slump, tmp_path / "roads.gpkg", "wells") == pytest.approx([100], rel=1e-3)


@real
def test_distance_to_real_roads_agrees_with_a_search_of_all_vertices(tmp_path):
    roads, utm = REAL / "terrain" / "roads.geojson", "EPSG:32645"
    x, y = Transformer.from_crs("EPSG:4326", utm, always_xy=True).transform(86.0, 27.9)
    slump = attributes(tmp_path, [Point(x, y).buffer(1)], roads=roads, crs=utm).iloc[0]
    points = gpd.read_file(roads).to_crs(utm).segmentize(50).to_crs(4326).get_coordinates().to_numpy()
    n = len(points)
    brute = Geod(ellps="WGS84").inv(np.full(n, 86.0), np.full(n, 27.9), points[:, 0], points[:, 1])[2].min()
    assert slump.dist_road_m == pytest.approx(brute, abs=20)


ALBERS = "+proj=aea +lat_1=25 +lat_2=47 +lat_0=0 +lon_0=105 +ellps=WGS84"
"""Of all China: at 36 degrees north it is 3 % too long from south to north and as much too short from west to east."""


def far_line(place, azimuth, metres):
    """A line of 2 km across the direction, at that distance."""
    geod = Geod(ellps="WGS84")
    longitude, latitude, back = geod.fwd(*place, azimuth, metres)
    return LineString([geod.fwd(longitude, latitude, back + side, 1000)[:2] for side in (-90, 90)])


def test_the_nearest_road_is_that_on_the_ground_and_not_in_the_projection(tmp_path):
    place = (92.0, 36.0)
    roads = gpd.GeoDataFrame(geometry=[far_line(place, 0, 5000), far_line(place, 90, 5150)], crs="EPSG:4326")
    roads.to_file(tmp_path / "roads.gpkg")
    outline = gpd.GeoSeries([Point(place).buffer(1e-6)], crs="EPSG:4326").to_crs(ALBERS)
    projected = roads.to_crs(ALBERS).distance(outline.iloc[0])
    assert projected[1] < projected[0], "the projection prefers the wrong one"
    assert distance_to_lines(outline, tmp_path / "roads.gpkg", "roads") == pytest.approx([5000], abs=0.2)


def test_distances_hold_far_away(tmp_path):
    place = (92.0, 36.0)
    gpd.GeoDataFrame(geometry=[far_line(place, 40, 250_000)], crs="EPSG:4326").to_file(tmp_path / "roads.gpkg")
    outline = gpd.GeoSeries([Point(place).buffer(1e-6)], crs="EPSG:4326").to_crs(CRS)
    assert distance_to_lines(outline, tmp_path / "roads.gpkg", "roads") == pytest.approx([250_000], abs=2)


def test_distance_to_points_and_to_the_lake_that_an_outline_lies_in(tmp_path):
    x = 500_000.0
    gpd.GeoDataFrame(geometry=[Point(x + 1000, NORTH + 50), box(x - 900, NORTH, x - 500, NORTH + 100)], crs=CRS).to_file(
        tmp_path / "places.gpkg"
    )
    outlines = gpd.GeoSeries([box(x, NORTH, x + 100, NORTH + 100), box(x - 700, NORTH, x - 600, NORTH + 50)], crs=CRS)
    found = distance_to_features(outlines, tmp_path / "places.gpkg", "places")
    assert found == pytest.approx([500 / 0.9996, 0], abs=0.1)
