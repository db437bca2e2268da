"""Terrain of slumps: against ground whose slope, aspect and position are known, and against brute force."""

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rasterio.warp
from pyproj import Geod, Transformer
from rasterio.features import rasterize
from scipy.ndimage import sobel
from shapely import Point, box

from attributes_case import CRS, EAST, NORTH, attributes, write_dem
from real_data import REAL, real
from rts_pipeline.errors import InputError, UsageError

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
