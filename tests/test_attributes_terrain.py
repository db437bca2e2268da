"""Terrain of slumps: against ground whose slope, aspect and position are known, and against brute force."""

import subprocess

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rasterio.warp
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod, Transformer
from rasterio.features import rasterize
from scipy.ndimage import sobel
from shapely import Point, box

from attributes_case import CRS, EAST, NORTH, attributes, write_dem
from real_data import REAL, real
from rts_pipeline.config import Measures
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.inventory.dem import Patch, find_fill, horn, inside
from rts_pipeline.inventory.terrain import terrain, topographic_position

TERRAIN = REAL / "terrain"


def test_a_plane_has_its_slope_and_aspect(tmp_path):
    dem = write_dem(tmp_path / "dem.tif", lambda x, y: 4800 - 0.1 * (x - EAST))
    slump = attributes(tmp_path, [box(EAST + 100, NORTH + 100, EAST + 340, NORTH + 250)], dem=dem).iloc[0]
    assert slump.slope_deg == pytest.approx(np.degrees(np.arctan(0.1)), abs=0.01)
    assert slump.aspect_deg == pytest.approx(90, abs=0.5)
    assert slump.aspect_concentration == pytest.approx(1, abs=1e-6)
    # mean over the outline's exact share of each pixel: the plane's value at x = EAST + 220
    assert slump.elevation_mean_m == pytest.approx(4778, abs=1.0)
    assert slump.elevation_min_m < slump.elevation_mean_m < slump.elevation_max_m


def test_aspects_around_north_don_t_average_to_south(tmp_path):
    valley_axis = 500_000.0  # the central meridian: grid north is true north
    gable = write_dem(
        tmp_path / "dem.tif",
        lambda x, y: 4800 - 0.10 * (y - NORTH) - 0.02 * np.abs(x - valley_axis),
        origin=(valley_axis - 1200, NORTH + 1200),
    )
    slump = attributes(tmp_path, [box(valley_axis - 240, NORTH, valley_axis + 240, NORTH + 240)], dem=gable).iloc[0]
    assert min(slump.aspect_deg, 360 - slump.aspect_deg) < 0.5
    assert 0.95 < slump.aspect_concentration < 0.999


def test_aspect_is_from_true_north_in_a_projection_that_is_turned(tmp_path):
    # West of Greenwich by 150 degrees EPSG:3413's grid north is 105 degrees off. The slope falls to true east.
    centre = Transformer.from_crs("EPSG:4326", "EPSG:3413", always_xy=True).transform(-150.0, 68.0)
    to_degrees = Transformer.from_crs("EPSG:3413", "EPSG:4326", always_xy=True).transform

    def falls_east(x, y):
        return 500 - 4000.0 * (to_degrees(x, y)[0] + 150.0)

    dem = write_dem(tmp_path / "dem.tif", falls_east, "EPSG:3413", origin=(centre[0] - 1200, centre[1] + 1200))
    slump = attributes(tmp_path, [Point(centre).buffer(200)], dem=dem, crs="EPSG:3413").iloc[0]
    assert slump.aspect_deg == pytest.approx(90, abs=0.5)


def test_flat_ground_has_no_aspect(tmp_path):
    half = write_dem(tmp_path / "half.tif", lambda x, y: np.where(x < EAST + 300, 4800, 4800 - 0.1 * (x - EAST - 300)))
    flat, both = box(EAST + 30, NORTH + 90, EAST + 120, NORTH + 180), box(EAST + 90, NORTH + 300, EAST + 600, NORTH + 390)
    slumps = attributes(tmp_path, [flat, both], dem=half)
    assert slumps["slope_deg"][0] == 0
    assert np.isnan(slumps["aspect_deg"][0])
    assert np.isnan(slumps["aspect_concentration"][0])
    assert slumps["aspect_deg"][1] == pytest.approx(90, abs=0.5)
    assert slumps["aspect_concentration"][1] == pytest.approx(1, abs=1e-6)


def test_slumps_outside_the_dem_are_counted_and_empty(tmp_path, capsys):
    dem = write_dem(tmp_path / "dem.tif", lambda x, y: 4800 + 0.1 * y - 0.1 * NORTH)
    inside = box(EAST, NORTH, EAST + 90, NORTH + 90)
    far = box(EAST + 90_000, NORTH, EAST + 90_090, NORTH + 90)
    on_edge = box(EAST - 800, NORTH + 300, EAST - 540, NORTH + 390)
    slumps = attributes(tmp_path, [inside, far, on_edge], dem=dem)
    assert slumps["elevation_mean_m"].isna().tolist() == [False, True, True]
    assert slumps["aspect_deg"].isna().tolist() == [False, True, True]
    assert "does not cover 2 of 3 slumps" in capsys.readouterr().err


def test_a_hole_of_nodata_in_the_dem_is_no_elevation(tmp_path):
    dem = write_dem(tmp_path / "dem.tif", lambda x, y: np.where(x < EAST + 300, -32768, 4800 - 0.1 * (x - EAST)))
    slump = attributes(tmp_path, [box(EAST + 120, NORTH, EAST + 240, NORTH + 90)], dem=dem).iloc[0]
    assert np.isnan(slump.elevation_min_m)


def test_problems_with_the_dem_are_told(tmp_path, monkeypatch):
    outline = [box(EAST, NORTH, EAST + 90, NORTH + 90)]
    with pytest.raises(InputError, match=r"none\.tif: no such file"):
        attributes(tmp_path, outline, dem=tmp_path / "none.tif")
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(InputError, match=r"text\.tif: can't be read"):
        attributes(tmp_path, outline, dem=tmp_path / "text.tif")
    with pytest.raises(InputError, match=r"holds -32767; expected elevations"):
        attributes(tmp_path, outline, dem=write_dem(tmp_path / "raw.tif", lambda x, y: np.full_like(x, -32767)))
    with pytest.raises(InputError, match="declares no CRS"):
        attributes(tmp_path, outline, dem=write_dem(tmp_path / "bare.tif", lambda x, y: x * 0, crs=None))
    dem = write_dem(tmp_path / "dem.tif", lambda x, y: x * 0 + 4800)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"gdaldem: not found on the PATH.*apt-get install gdal-bin"):
        attributes(tmp_path, outline, dem=dem)


def test_a_dem_whose_rows_go_to_the_north_is_the_same_ground(tmp_path):
    """As xarray writes them, of which the northing ascends."""
    dem = write_dem(tmp_path / "dem.tif", lambda x, y: 4800 - 0.1 * (x - EAST) - 0.05 * (y - NORTH))
    with rasterio.open(dem) as dataset:
        profile, rows, transform = dataset.profile, dataset.read(1), dataset.transform
    with rasterio.open(
        tmp_path / "turned.tif", "w", **profile | {"transform": transform @ Affine(1, 0, 0, 0, -1, len(rows))}
    ) as turned:
        turned.write(rows[::-1], 1)
    outline = [box(EAST + 100, NORTH + 100, EAST + 340, NORTH + 250)]
    as_ever, found = (attributes(tmp_path, outline, dem=tmp_path / name).iloc[0] for name in ("dem.tif", "turned.tif"))
    for name in ("elevation_mean_m", "slope_deg", "aspect_deg", "tpi", "solar_kwh_m2_yr"):
        assert found[name] == pytest.approx(as_ever[name], rel=1e-6, abs=1e-6), name


@real
def test_elevation_of_a_dem_in_its_own_custom_crs_is_the_mean_of_its_pixels(tmp_path):
    path = TERRAIN / "dem_chhota_shigri.tif"
    with rasterio.open(path) as dataset:
        crs, elevation, transform = dataset.crs.to_wkt(), dataset.read(1), dataset.transform
    west, north = transform @ (100, 60)
    outline = box(west, north - 8 * 94, west + 5 * 94, north)
    slump = attributes(tmp_path, [outline], dem=path, crs=crs).iloc[0]
    inside = elevation[60:68, 100:105]
    assert slump.elevation_mean_m == pytest.approx(inside.mean(), abs=1e-3)
    assert (slump.elevation_min_m, slump.elevation_max_m) == (inside.min(), inside.max())


@real
def test_a_dem_in_degrees_gives_the_terrain_of_its_pixels(tmp_path):
    path, utm = TERRAIN / "baltoro_srtm_clip.tif", "EPSG:32643"
    x, y = Transformer.from_crs("EPSG:4326", utm, always_xy=True).transform(76.40, 35.75)
    outline = Point(x, y).buffer(900)
    slump = attributes(tmp_path, [outline], dem=path, crs=utm).iloc[0]
    with rasterio.open(path) as dataset:
        elevation = dataset.read(1)
        degrees = gpd.GeoSeries([outline], crs=utm).to_crs(4326).iloc[0]
        inside = rasterize([degrees], elevation.shape, transform=dataset.transform).astype(bool)
        pixel = dataset.transform
    assert slump.elevation_mean_m == pytest.approx(elevation[inside].mean(), abs=5)
    # An independent slope and aspect: Horn's kernel on the pixels in degrees, scaled to metres on the ground.
    dx = Geod(ellps="WGS84").inv(76.40, 35.75, 76.40 + pixel.a, 35.75)[2]
    dy = Geod(ellps="WGS84").inv(76.40, 35.75, 76.40, 35.75 - pixel.e)[2]
    down, right = sobel(elevation.astype(float), 0) / 8, sobel(elevation.astype(float), 1) / 8
    slope = np.degrees(np.arctan(np.hypot(down / dy, right / dx)))[inside].mean()
    aspect = np.arctan2(-right / dx, down / dy)[inside]
    mean = np.degrees(np.arctan2(np.sin(aspect).mean(), np.cos(aspect).mean())) % 360
    assert slump.slope_deg == pytest.approx(slope, abs=2)
    assert abs((slump.aspect_deg - mean + 180) % 360 - 180) < 5


AXIS = 500_000.0  # of a UTM zone: grid north is true north, lengths are 0.9996 of the ground's


def around(path, function, crs=CRS, y=NORTH, **changes):
    """A DEM around a place on the axis of a zone."""
    return write_dem(path, function, crs, origin=(AXIS - 1200, y + 1200), **changes)


@pytest.mark.parametrize(("crs", "y"), [("EPSG:32646", 3_870_000.0), ("EPSG:32608", 7_500_000.0), ("EPSG:32719", 6_200_000.0)])
def test_a_cone_in_several_zones(tmp_path, crs, y):
    dem = around(tmp_path / "dem.tif", lambda x, north: 4800 - 0.2 * np.hypot(x - AXIS, north - y), crs, y)
    slump = terrain(gpd.GeoSeries([Point(AXIS, y).buffer(600)], crs=crs), dem).iloc[0]
    assert slump.slope_deg == pytest.approx(np.degrees(np.arctan(0.2)), abs=0.1)
    assert slump.aspect_concentration == pytest.approx(0, abs=0.01)
    assert slump.relief_m == pytest.approx(0.2 * 600, abs=0.2 * 45)
    assert slump.relief_m == slump.elevation_max_m - slump.elevation_min_m
    # the mean of the distance from the middle of a circle is 2/3 of its radius
    assert slump.elevation_mean_m == pytest.approx(4800 - 0.2 * 400, abs=0.5)


@settings(max_examples=8, deadline=None)
@given(st.floats(0, 360), st.floats(0.01, 0.6))
def test_aspect_turns_and_slope_scales_with_the_ground(tmp_path_factory, azimuth, rise):
    east, north = np.sin(np.radians(azimuth)), np.cos(np.radians(azimuth))
    folder = tmp_path_factory.mktemp("plane")
    dem = around(folder / "dem.tif", lambda x, y: 4800 - rise * (east * (x - AXIS) + north * (y - NORTH)))
    slump = terrain(gpd.GeoSeries([Point(AXIS, NORTH).buffer(100)], crs=CRS), dem).iloc[0]
    assert abs((slump.aspect_deg - azimuth + 180) % 360 - 180) < 0.5
    assert slump.slope_deg == pytest.approx(np.degrees(np.arctan(rise)), abs=0.05)
    assert slump.tpi == pytest.approx(0, abs=0.05)


def test_a_gaussian_hill_in_degrees(tmp_path):
    """On its side, at one standard deviation, it is steepest: height / width x exp(-1/2)."""
    width, height = 1500.0, 300.0
    middle = (93.0, 35.0)

    def hill(longitude, latitude):
        shape = np.shape(longitude)
        flat = (np.ravel(longitude), np.ravel(latitude))
        n = len(flat[0])
        metres = Geod(ellps="WGS84").inv(*flat, np.full(n, middle[0]), np.full(n, middle[1]))[2].reshape(shape)
        return 4500 + height * np.exp(-((metres / width) ** 2) / 2)

    pixel = 1 / 3600
    dem = write_dem(
        tmp_path / "dem.tif", hill, "EPSG:4326", pixel, (250, 250), (middle[0] - 125 * pixel, middle[1] + 125 * pixel)
    )
    east = Geod(ellps="WGS84").fwd(*middle, 90, width)
    x, y = Transformer.from_crs("EPSG:4326", CRS, always_xy=True).transform(*east[:2])
    slump = terrain(gpd.GeoSeries([Point(x, y).buffer(60)], crs=CRS), dem).iloc[0]
    assert slump.slope_deg == pytest.approx(np.degrees(np.arctan(height / width * np.exp(-0.5))), abs=0.15)
    assert slump.aspect_deg == pytest.approx(90, abs=1)
    assert slump.elevation_mean_m == pytest.approx(4500 + height * np.exp(-0.5), abs=1)


def test_position_of_a_bowl(tmp_path):
    """Of a paraboloid a r^2 the mean around any place is above it by a times the mean square of the circle's pixels."""
    dem = around(tmp_path / "dem.tif", lambda x, y: 4500 + 1e-3 * ((x - AXIS) ** 2 + (y - NORTH) ** 2))
    slumps = terrain(gpd.GeoSeries([Point(AXIS, NORTH).buffer(90), Point(AXIS + 400, NORTH).buffer(90)], crs=CRS), dem)
    rows, columns = np.mgrid[-10:11, -10:11] * 30.0
    square = rows**2 + columns**2
    near = (square <= 300**2) & (square > 0)
    assert slumps["tpi"].to_numpy() == pytest.approx(-1e-3 * square[near].mean(), rel=1e-3)


def test_position_over_pixels_that_are_no_squares(tmp_path):
    """Three times as many rows as columns lie within the circle."""
    slope = write_dem(tmp_path / "dem.tif", lambda x, y: 4800 - 0.1 * (x - EAST))
    with rasterio.open(slope) as dataset:
        profile, values = dataset.profile, np.repeat(dataset.read(1), 3, axis=0)
        profile |= {"transform": dataset.transform @ Affine.scale(1, 1 / 3), "height": len(values)}
    with rasterio.open(tmp_path / "narrow.tif", "w", **profile) as dataset:
        dataset.write(values, 1)
    place = gpd.GeoSeries([box(EAST + 300, NORTH, EAST + 390, NORTH + 60)], crs=CRS)
    assert terrain(place, tmp_path / "narrow.tif")["tpi"][0] == pytest.approx(0, abs=1e-3)


def test_position_among_eight_neighbours_is_that_of_gdaldem(tmp_path):
    random = np.random.default_rng(1).normal(4800, 20, (40, 50))
    path = write_dem(tmp_path / "dem.tif", lambda x, y: random, shape=(40, 50))
    subprocess.run(["gdaldem", "TPI", path, tmp_path / "tpi.tif", "-q"], check=True)
    with rasterio.open(tmp_path / "tpi.tif") as dataset:
        expected = dataset.read(1)[1:-1, 1:-1]
    near = np.ones((3, 3), dtype=bool)
    near[1, 1] = False
    assert topographic_position(random.astype("float32"), near)[1:-1, 1:-1] == pytest.approx(expected, abs=5e-3)


def test_the_gradient_that_the_sun_is_worked_out_with_is_that_of_gdaldem(tmp_path):
    random = np.random.default_rng(3).normal(4800, 20, (30, 40)).astype("float32").astype(float)
    path = write_dem(tmp_path / "dem.tif", lambda x, y: random, shape=(30, 40))
    east, north = horn(random, 30.0)
    turned = np.degrees(np.arctan2(-east, -north)) % 360
    for name, expected in (("slope", np.degrees(np.arctan(np.hypot(east, north)))), ("aspect", turned)):
        subprocess.run(["gdaldem", name, path, tmp_path / f"{name}.tif", "-q"], check=True)
        with rasterio.open(tmp_path / f"{name}.tif") as dataset:
            apart = dataset.read(1)[1:-1, 1:-1] - expected
        assert np.abs((apart + 180) % 360 - 180).max() < 0.1  # gdaldem works in single precision


def test_position_leaves_out_what_is_unknown():
    elevation = np.random.default_rng(2).normal(100, 5, (20, 20))
    elevation[:, 8:10] = np.nan
    near = np.ones((5, 3), dtype=bool)
    near[2, 1] = False
    got = topographic_position(elevation, near)
    for row, column in [(10, 4), (10, 7), (0, 0), (5, 12)]:
        window = [
            elevation[row + r, column + c]
            for r in range(-2, 3)
            for c in range(-1, 2)
            if (r, c) != (0, 0) and 0 <= row + r < 20 and 0 <= column + c < 20
        ]
        known = [value for value in window if np.isfinite(value)]
        expected = elevation[row, column] - np.mean(known) if len(known) >= 13 else np.nan
        assert got[row, column] == pytest.approx(expected, abs=1e-9, nan_ok=True)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.floats(0.5, 9.5), st.floats(0.5, 9.5)), min_size=3, max_size=8), st.integers(0, 10))
def test_statistics_inside_are_those_of_brute_force(corners, seed):
    outline = shapely.MultiPoint(corners).convex_hull
    if outline.area < 0.1:
        return
    layer = np.random.default_rng(seed).normal(0, 1, (10, 10))
    layer[seed % 10, 5] = np.nan
    patch = Patch(layer, np.zeros((10, 10), dtype=bool), np.nan, Affine(1, 0, 0, 0, -1, 10))
    found = inside(layer, patch, gpd.GeoSeries([outline], crs=CRS), "count", "mean", "max").iloc[0]
    share = np.array([[outline.intersection(box(c, 9 - r, c + 1, 10 - r)).area for c in range(10)] for r in range(10)])
    share[np.isnan(layer)] = 0
    assert found["count"] == pytest.approx(share.sum(), abs=1e-5)
    assert found["mean"] == pytest.approx(np.nansum(share * layer) / share.sum(), abs=1e-4)
    assert found["max"] <= layer[share > 0].max() + 1e-12


@pytest.mark.parametrize(("value", "said"), [(0, "0"), (-32768, "-32768"), (65535, "65535"), (-9999, "-9999")])
def test_fill_values_that_the_dem_doesn_t_declare_are_noticed(tmp_path, capsys, value, said):
    dem = around(tmp_path / "dem.tif", lambda x, y: np.where(x < AXIS, value, 4500 + 0.1 * (x - AXIS)), nodata=None)
    inside_fill, beside = box(AXIS - 300, NORTH, AXIS - 200, NORTH + 90), box(AXIS + 420, NORTH, AXIS + 520, NORTH + 90)
    slumps = attributes(tmp_path, [inside_fill, beside], dem=dem, measures=Measures(dem_date="2011"))
    assert slumps["terrain_missing"].tolist()[0] == "fill values"
    assert slumps["terrain_missing"].isna().tolist() == [False, True]
    assert slumps["dem_date"].isna().tolist() == [True, False]
    empty = ["elevation_mean_m", "slope_deg", "aspect_deg", "tpi", "solar_kwh_m2_yr"]
    assert slumps.loc[0, empty].isna().all()
    assert slumps.loc[1, empty].notna().all()
    assert slumps["elevation_mean_m"][1] == pytest.approx(4547, abs=0.5)
    assert slumps["tpi"][1] == pytest.approx(0, abs=0.1), "the fill values have no part in it"
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "fill values" in line]
    assert f"({said}) in 1 of 2 slumps" in line
    assert "gdal_edit.py -a_nodata" in line


def test_the_sea_is_no_fill_value():
    x = np.arange(60) * 30.0
    coast = np.tile(np.clip(0.3 * (x - 600), 0, None), (60, 1))
    assert not find_fill(coast, 30.0)[0].any()
    cliff = np.where(coast > 0, coast + 25, 0)
    assert not find_fill(cliff, 30.0)[0].any()


def test_a_patch_of_zeros_is_taken_out_with_what_was_mixed_with_it():
    elevation = np.full((40, 40), 4500.0)
    elevation[10:20, 10:20] = 0
    elevation[9, 10:20] = 1700  # between both, by resampling
    fill, value = find_fill(elevation, 30.0)
    assert value == 0
    assert fill[9:20, 10:20].all()
    assert fill.sum() == 14 * 14
