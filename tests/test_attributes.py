"""Stage attributes: images, shape, terrain and setting of each slump."""

import json

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rasterio.warp
from affine import Affine
from pyproj import Geod, Transformer
from rasterio.features import rasterize
from scipy.ndimage import sobel
from shapely import LineString, Point, box, transform

from real_data import REAL, real
from rts_pipeline.config import GridSection, Place, Time
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.inventory.attributes import build_attributes
from rts_pipeline.inventory.build import build_inventory
from rts_pipeline.inventory.dictionary import columns
from rts_pipeline.io import new_cog
from rts_pipeline.options import AttributesOptions, InventoryOptions

TERRAIN = REAL / "terrain"
CRS = "EPSG:32646"
GRID = GridSection(crs=CRS, cell_px=64, block_cells=2)
CELL_M = 192.0
EAST, NORTH = 2604 * CELL_M, 20156 * CELL_M


def attributes(tmp_path, outlines, sources=(), dem=None, roads=None, railway=None, crs=CRS):
    """Return the attributes of outlines (given in the grid's CRS), in the order given."""
    grid = GRID.model_copy(update={"crs": crs})
    seeds, inventory, out = tmp_path / "seeds.parquet", tmp_path / "inventory.parquet", tmp_path / "attributes.parquet"
    gpd.GeoDataFrame(geometry=list(outlines), crs=crs).to_parquet(seeds)
    build_inventory(seeds, [], inventory, InventoryOptions(area=Place(), time=Time(), grid=grid))
    build_attributes(inventory, list(sources), dem, roads, railway, out, AttributesOptions(grid=grid))
    return gpd.read_parquet(out).sort_values("delineation_id", ignore_index=True)


def source_map(tmp_path, name, index, items):
    cell = GRID.grid().cell(name)
    profile = {"count": 1, "dtype": "uint16", "nodata": 0, **cell.profile}
    with new_cog(tmp_path / f"{name}_source.tif", overview_resampling="nearest", **profile) as dataset:
        dataset.write(index.astype("uint16"), 1)
        table = [{"index": n, "id": item, "acquired": acquired} for n, (item, acquired) in enumerate(items, 1)]
        dataset.update_tags(ITEMS=json.dumps(table))
    return tmp_path / f"{name}_source.tif"


def write_dem(path, function, crs=CRS, pixel=30.0, shape=(80, 80), origin=(EAST - 600, NORTH + 1200)):
    """Write elevations function(x, y) at the pixels' centres."""
    transform = Affine(pixel, 0, origin[0], 0, -pixel, origin[1])
    columns_, rows = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    x, y = transform @ (columns_, rows)
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "height": shape[0], "width": shape[1], "nodata": -32768}
    with rasterio.open(path, "w", crs=crs, transform=transform, **profile) as dataset:
        dataset.write(function(x, y).astype("float32"), 1)
    return path


def test_images_inside_an_outline_over_two_cells(tmp_path):
    early, late, other = (f"2019-0{month}-15T04:00:00Z" for month in (7, 8, 6))
    left = np.ones((64, 64))
    left[:, :32] = 2
    right = np.zeros((64, 64))
    right[:, :4] = 1
    sources = [
        source_map(tmp_path, "e2604_n20156", left, [("B", late), ("never_inside", other)]),
        source_map(tmp_path, "e2605_n20156", right, [("A", early)]),
    ]
    across = box(EAST + CELL_M - 24, NORTH + 30, EAST + CELL_M + 24, NORTH + 60)
    unseen = box(EAST + CELL_M + 90, NORTH + 30, EAST + CELL_M + 120, NORTH + 60)
    beyond = box(EAST, NORTH + 5 * CELL_M, EAST + 30, NORTH + 5 * CELL_M + 30)
    slumps = attributes(tmp_path, [across, unseen, beyond], sources)
    assert slumps["scene_ids"][0] == "A,B"
    assert (slumps["acquired_start"][0], slumps["acquired_end"][0]) == (early, late)
    assert list(slumps["observed_frac"]) == pytest.approx([0.75, 0, 0])
    assert slumps["scene_ids"].isna().tolist() == [False, True, True]
    assert slumps["acquired_start"].isna().tolist() == [False, True, True]


def test_an_outline_that_reaches_to_what_was_not_observed_is_truncated(tmp_path):
    seen = np.ones((64, 64))
    seen[[30, 10], [40, 50]] = 0
    source = source_map(tmp_path, "e2604_n20156", seen, [("A", "2019-07-15T04:00:00Z")])
    inside = box(EAST + 6, NORTH + 6, EAST + 60, NORTH + 60)
    at_edge = box(EAST, NORTH + 90, EAST + 30, NORTH + 180)
    beside_gap = box(EAST + 90, NORTH + 99, EAST + 120, NORTH + 110)
    over_gap = box(EAST + 141, NORTH + 150, EAST + 180, NORTH + 170)
    near_gap = box(EAST + 130, NORTH + 20, EAST + 160, NORTH + 90)
    slumps = attributes(tmp_path, [inside, at_edge, beside_gap, over_gap, near_gap], [source])
    assert slumps["truncated"].tolist() == [False, True, True, True, False]
    assert slumps["observed_frac"].tolist() == pytest.approx([1, 1, 1, 1 - 9 / (39 * 20), 1])


def test_a_source_map_without_its_table_is_named(tmp_path):
    path = source_map(tmp_path, "e2604_n20156", np.ones((64, 64)), [("A", "2019-07-01T00:00:00Z")])
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dataset:
        dataset.update_tags(ITEMS="")
    with pytest.raises(InputError, match=r"e2604_n20156_source\.tif: its tag ITEMS is missing"):
        attributes(tmp_path, [box(EAST, NORTH, EAST + 30, NORTH + 30)], [path])


def test_shape_is_measured_on_the_ellipsoid(tmp_path):
    scale = 0.9996  # of UTM on its central meridian
    x = 500_000.0
    plain = box(x - 150, NORTH, x + 150, NORTH + 100)
    holed = box(x - 150, NORTH + 900, x + 150, NORTH + 1000).difference(box(x - 50, NORTH + 930, x + 50, NORTH + 970))
    circle = Point(x, NORTH + 3000).buffer(100, quad_segs=64)
    slumps = attributes(tmp_path, [plain, holed, circle])
    assert slumps["area_m2"][:2].tolist() == pytest.approx([30_000 / scale**2, 26_000 / scale**2], rel=1e-5)
    assert slumps["perimeter_m"][:2].tolist() == pytest.approx([800 / scale, 1080 / scale], rel=1e-5)
    assert slumps["length_m"][:2].tolist() == pytest.approx([300 / scale] * 2, rel=1e-5)
    assert slumps["width_m"][0] == pytest.approx(100 / scale, rel=1e-5)
    assert slumps["circularity"][2] == pytest.approx(1, abs=1e-3)
    assert slumps["circularity"][0] == pytest.approx(4 * np.pi * 30_000 / 800**2, rel=1e-4)


def test_area_in_a_conformal_polar_projection_is_that_of_the_ground(tmp_path):
    # In EPSG:3413 lengths at 60 degrees north are 4 % off; on the ellipsoid they are not.
    to_polar = Transformer.from_crs("EPSG:32604", "EPSG:3413", always_xy=True).transform
    ground = transform(box(500_000, 6_650_000, 500_300, 6_650_300), to_polar, interleaved=False)
    slump = attributes(tmp_path, [ground], crs="EPSG:3413").iloc[0]
    assert slump.area_m2 == pytest.approx(90_000 / 0.9996**2, rel=1e-4)
    assert abs(ground.area / slump.area_m2 - 1) > 0.03


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


def test_nothing_configured_leaves_nulls_and_the_dictionary_s_columns(tmp_path):
    slumps = attributes(tmp_path, [box(EAST, NORTH, EAST + 90, NORTH + 90)])
    assert list(slumps.columns) == [column.name for column in columns(measured=True)]
    assert slumps[["elevation_mean_m", "aspect_deg", "dist_road_m", "dist_railway_m"]].isna().all(axis=None)


def test_an_empty_inventory_has_attributes(tmp_path):
    inventory, out = tmp_path / "inventory.parquet", tmp_path / "attributes.parquet"
    build_inventory(None, [], inventory, InventoryOptions(area=Place(), time=Time(), grid=GRID))
    source = source_map(tmp_path, "e2604_n20156", np.ones((64, 64)), [("A", "2019-07-01T00:00:00Z")])
    dem = write_dem(tmp_path / "dem.tif", lambda x, y: x * 0)
    build_attributes(inventory, [source], dem, None, None, out, AttributesOptions(grid=GRID))
    empty = gpd.read_parquet(out)
    assert len(empty) == 0
    assert list(empty.columns) == [column.name for column in columns(measured=True)]


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


@real
def test_distance_to_real_roads_agrees_with_a_search_of_all_vertices(tmp_path):
    roads, utm = TERRAIN / "roads.geojson", "EPSG:32645"
    x, y = Transformer.from_crs("EPSG:4326", utm, always_xy=True).transform(86.0, 27.9)
    slump = attributes(tmp_path, [Point(x, y).buffer(1)], roads=roads, crs=utm).iloc[0]
    points = gpd.read_file(roads).to_crs(utm).segmentize(50).to_crs(4326).get_coordinates().to_numpy()
    n = len(points)
    brute = Geod(ellps="WGS84").inv(np.full(n, 86.0), np.full(n, 27.9), points[:, 0], points[:, 1])[2].min()
    assert slump.dist_road_m == pytest.approx(brute, abs=20)
