"""Distances of slumps from roads and railways."""

import geopandas as gpd
import numpy as np
import pytest
from pyproj import Geod, Transformer
from shapely import LineString, Point, box

from attributes_case import CRS, EAST, NORTH, attributes
from real_data import REAL, real
from rts_pipeline.errors import InputError


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


@real
def test_distance_to_real_roads_agrees_with_a_search_of_all_vertices(tmp_path):
    roads, utm = REAL / "terrain" / "roads.geojson", "EPSG:32645"
    x, y = Transformer.from_crs("EPSG:4326", utm, always_xy=True).transform(86.0, 27.9)
    slump = attributes(tmp_path, [Point(x, y).buffer(1)], roads=roads, crs=utm).iloc[0]
    points = gpd.read_file(roads).to_crs(utm).segmentize(50).to_crs(4326).get_coordinates().to_numpy()
    n = len(points)
    brute = Geod(ellps="WGS84").inv(np.full(n, 86.0), np.full(n, 27.9), points[:, 0], points[:, 1])[2].min()
    assert slump.dist_road_m == pytest.approx(brute, abs=20)
