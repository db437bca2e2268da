"""Stage attributes: images and shape of each slump, and the columns of the stage."""

import hashlib
import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from pyproj import Transformer
from shapely import MultiPolygon, Point, box, transform

from attributes_case import CELL_M, EAST, GRID, NORTH, attributes, source_map, write_dem
from rts_pipeline.config import Measures, Place, Time
from rts_pipeline.errors import InputError
from rts_pipeline.inventory.attributes import build_attributes
from rts_pipeline.inventory.build import build_inventory
from rts_pipeline.inventory.dictionary import columns, markdown
from rts_pipeline.inventory.shape import geodesic_area_perimeter
from rts_pipeline.options import AttributesOptions, InventoryOptions


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


def test_holes_and_parts_at_the_antimeridian_count_as_elsewhere():
    """Only the outer ring of the holed square, and one part of the other, lie across it."""
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:3413", always_xy=True).transform(180, 70)
    across, hole, beside = (box(x + a - b, y - b, x + a + b, y + b) for a, b in ((0, 200), (120, 30), (600, 100)))
    outlines = gpd.GeoSeries([across.difference(hole), MultiPolygon([across, beside])], crs="EPSG:3413")
    area, _ = geodesic_area_perimeter(outlines)
    assert area == pytest.approx([across.area - hole.area, across.area + beside.area], rel=1e-4)


def test_nothing_configured_leaves_nulls_and_the_dictionary_s_columns(tmp_path):
    slumps = attributes(tmp_path, [box(EAST, NORTH, EAST + 90, NORTH + 90)])
    assert list(slumps.columns) == [column.name for column in columns(measured=True)]
    assert slumps[["elevation_mean_m", "aspect_deg", "dist_road_m", "dist_railway_m"]].isna().all(axis=None)


def test_rows_name_the_configuration_that_they_depend_on(tmp_path):
    outline = [box(EAST, NORTH, EAST + 60, NORTH + 60)]
    plain, again, dated = (
        attributes(tmp_path, outline, measures=Measures(dem_date=date))["config_sha256"][0] for date in (None, None, "2011")
    )
    assert plain == again != dated
    options = AttributesOptions(grid=GRID, attributes=Measures()).model_dump(mode="json")
    assert sorted(options) == ["area", "attributes", "grid", "time"]
    text = json.dumps(options, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert plain == hashlib.sha256(text.encode()).hexdigest()


def test_an_empty_inventory_has_attributes(tmp_path):
    inventory, out = tmp_path / "inventory.parquet", tmp_path / "attributes.parquet"
    build_inventory(None, [], inventory, InventoryOptions(area=Place(), time=Time(), grid=GRID))
    source = source_map(tmp_path, "e2604_n20156", np.ones((64, 64)), [("A", "2019-07-01T00:00:00Z")])
    dem = write_dem(tmp_path / "dem.tif", lambda x, y: x * 0)
    build_attributes(inventory, [source], dem, None, None, out, AttributesOptions(grid=GRID))
    empty = gpd.read_parquet(out)
    assert len(empty) == 0
    assert list(empty.columns) == [column.name for column in columns(measured=True)]


def test_the_table_of_attributes_in_the_documents_is_the_dictionary():
    text = (Path(__file__).parents[1] / "docs/attributes.md").read_text(encoding="utf-8")
    assert markdown() in text, "run: make config"
