"""Measurement of items: usable pixels, and what is said of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from scipy import ndimage
from shapely.geometry import shape

from items import clear_udm2, write_item
from rts_pipeline.config import Usability
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.options import ScenesOptions
from rts_pipeline.scenes.measure import measure
from rts_pipeline.scenes.usable import classify
from scenes_case import CRS, ITEM, PLACE, found, measured, plain


def test_classes_of_pixels_follow_the_rules():
    cases = {  # name -> reflectance, udm2 bands that differ from clear, class
        "clear": ([900, 900, 900, 900], {}, 1),
        "outside": ([0, 0, 0, 0], {}, 0),
        "floor at a swath edge": ([1, 1, 1, 1800], {}, 3),
        "zero in one band": ([900, 0, 900, 900], {}, 3),
        "all at one": ([1, 1, 1, 1], {}, 3),
        "cloud": ([900] * 4, {"clear": 0, "cloud": 1}, 2),
        "shadow": ([900] * 4, {"clear": 0, "shadow": 1}, 2),
        "snow": ([900] * 4, {"clear": 0, "snow": 1}, 2),
        "heavy haze": ([900] * 4, {"clear": 0, "heavy_haze": 1}, 2),
        "light haze": ([900] * 4, {"clear": 0, "light_haze": 1}, 1),
        "nothing known": ([900] * 4, {"clear": 0}, 2),
        "low confidence": ([900] * 4, {"confidence": 10}, 1),
        "blackfill": ([900] * 4, {"udm1": 1}, 0),
        "other bits of udm1": ([900] * 4, {"udm1": 208}, 1),
        "blackfill among bits": ([900] * 4, {"udm1": 29}, 0),
    }
    reflectance = np.array([case[0] for case in cases.values()], np.uint16).T[:, np.newaxis]
    names = ("clear", "snow", "shadow", "light_haze", "heavy_haze", "cloud", "confidence", "udm1")
    clear = {"clear": 1, "confidence": 90}
    mask = {n: np.array([[(clear | case[1]).get(n, 0) for case in cases.values()]], np.uint8) for n in names}
    got = classify(reflectance, mask, Usability())[0]
    assert dict(zip(cases, got.tolist(), strict=True)) == {name: case[2] for name, case in cases.items()}
    strict = classify(reflectance, mask, Usability(usable_classes=["clear"], min_confidence=50))[0]
    changed = {name for name, old, new in zip(cases, got, strict, strict=True) if old != new}
    assert changed == {"light haze", "low confidence"}
    assert not (strict == 1)[list(cases).index("light haze")]


def test_an_old_udm_is_read_as_bits_although_its_nodata_is_one(tmp_path):
    bits = np.zeros((60, 80), np.uint8)
    bits[:10], bits[10:20], bits[20:30] = 1, 2, 4
    write_item(tmp_path, ITEM, plain(), crs=CRS, transform=PLACE, udm=bits)
    item = found(tmp_path).items[0]
    told, classes = measured(item, tmp_path / "out")
    assert item.mask_kind == told["properties"]["rts:mask"] == "udm"
    assert (classes[:10] == 0).all()
    assert (classes[10:20] == 2).all()
    assert (classes[20:] == 1).all()


def test_of_eight_bands_the_four_that_we_know_are_taken(tmp_path):
    eight = np.zeros((8, 60, 80), np.uint16)
    eight[[1, 3, 5, 7]] = 1000
    write_item(tmp_path, ITEM, eight, crs=CRS, transform=PLACE, product="AnalyticMS_SR_8b")
    told, classes = measured(found(tmp_path).items[0], tmp_path / "out")
    assert told["properties"]["rts:bands"] == {"blue": 2, "green": 4, "red": 6, "nir": 8}
    names = [band["name"] for band in told["assets"]["reflectance"]["eo:bands"]]
    assert names == ["band 1", "blue", "band 3", "green", "band 5", "red", "band 7", "nir"]
    assert (classes == 1).all()


def test_what_is_measured_comes_from_the_pixels(tmp_path):
    height, width = 1300, 1100  # several windows, and a footprint that is drawn coarsely
    rows, columns = np.mgrid[:height, :width]
    inside = (columns + rows > 600) & (columns + rows < 2000)
    reflectance = plain((height, width)) * inside
    reflectance[:3, inside & (columns + rows < 640)] = 1
    udm2 = clear_udm2((height, width), inside)
    cloud = inside & (rows > 900)
    udm2[0, cloud], udm2[5, cloud] = 0, 1
    write_item(tmp_path, ITEM, reflectance, crs=CRS, transform=PLACE, udm2=udm2, cloud_percent=None, cloud_cover=0.07)
    told, classes = measured(found(tmp_path).items[0], tmp_path / "out")
    expected = np.where(~inside, 0, np.where(columns + rows < 640, 3, np.where(cloud, 2, 1)))
    assert np.array_equal(classes, expected)
    valid, usable = (np.isin(expected, kinds) for kinds in ([1, 2], [1]))
    properties = told["properties"]
    assert properties["rts:valid_fraction"] == pytest.approx(valid.mean(), abs=1e-6)
    assert properties["rts:usable_fraction"] == pytest.approx(usable.sum() / valid.sum(), abs=1e-6)
    assert (properties["rts:status"], properties["eo:cloud_cover"]) == ("used", 7)
    place = gpd.GeoSeries([shape(told["geometry"])], crs=4326).to_crs(CRS)[0]
    pixels = gpd.points_from_xy(*(PLACE @ (columns[valid][::997] + 0.5, rows[valid][::997] + 0.5)))
    assert place.is_valid
    assert place.contains(pixels).all()
    assert place.area < 9 * valid.sum() * 1.05


def test_percentiles_and_haze_are_those_of_the_usable_pixels(tmp_path):
    random = np.random.default_rng(1)
    reflectance = random.integers(2, 3000, (4, 1100, 900)).astype(np.uint16)
    udm2 = clear_udm2((1100, 900))
    udm2[0, 500:], udm2[5, 500:] = 0, 1
    write_item(tmp_path, ITEM, reflectance, crs=CRS, transform=PLACE, udm2=udm2)
    told, _ = measured(found(tmp_path).items[0], tmp_path / "out")
    properties, seen = told["properties"], reflectance[:, :500].astype(float)
    assert properties["rts:classes"] == {"outside": 0, "usable": 450_000, "masked": 540_000, "implausible": 0}
    for band, values in zip(("blue", "green", "red", "nir"), seen, strict=True):
        expected = np.percentile(values, [2, 25, 50, 75, 98], method="inverted_cdf")
        assert list(properties["rts:percentiles"][band].values()) == expected.tolist()
    hot = (seen[0] - 0.5 * seen[2]) / 1e4 - 0.08
    assert properties["rts:haze"] == pytest.approx(hot.mean(), abs=1e-5)
    assert properties["rts:hazy_fraction"] == pytest.approx((hot > 0).mean(), abs=1e-6)


def test_what_planet_says_stands_beside_what_was_measured(tmp_path):
    write_item(tmp_path, ITEM, plain(), crs=CRS, transform=PLACE, clear_percent=67, strip_id="12", quality_category="test")
    told, _ = measured(found(tmp_path).items[0], tmp_path / "out")
    properties = told["properties"]
    assert (properties["pl:clear_percent"], properties["rts:usable_fraction"]) == (67, 1.0)
    assert (properties["pl:strip_id"], properties["pl:quality_category"]) == ("12", "test")
    assert "pl:shadow_percent" not in properties


def test_every_output_names_the_policy(tmp_path):
    write_item(tmp_path / "in", ITEM, plain(), crs=CRS, transform=PLACE)
    item = found(tmp_path / "in").items[0]
    told, _ = measured(item, tmp_path / "one")
    policy = told["properties"]["rts:policy"]
    with rasterio.open(tmp_path / "one" / "usable.tif") as dataset:
        assert json.loads(dataset.tags()["POLICY"]) == policy
    assert policy["usable_classes"] == ["clear", "light_haze"]
    other, _ = measured(item, tmp_path / "two", min_confidence=1)
    assert other["properties"]["rts:policy"]["version"] != policy["version"]
    same, _ = measured(item, tmp_path / "three")
    assert same == told


def test_erosion_takes_the_swath_edge_and_leaves_the_rim_of_clouds(tmp_path):
    height, width = 1300, 1200  # several windows: no seam of the erosion between them
    rows, columns = np.mgrid[:height, :width]
    inside = columns + 0.3 * rows > 300
    udm2 = clear_udm2((height, width), inside)
    cloud = np.hypot(columns - 1024, rows - 1024) < 50
    udm2[0, cloud], udm2[5, cloud] = 0, 1
    write_item(tmp_path, ITEM, plain((height, width)) * inside, crs=CRS, transform=PLACE, udm2=udm2)
    _, classes = measured(found(tmp_path).items[0], tmp_path / "out", edge_erosion_m=30)
    distance = ndimage.distance_transform_edt(inside) * 3
    expected = np.where(~inside, 0, np.where(distance <= 30, 3, np.where(cloud, 2, 1)))
    assert np.array_equal(classes, expected)


def test_policies_of_classes_bits_and_least_reflectance():
    reflectance = np.full((4, 1, 5), 900, np.uint16)
    reflectance[0, 0, 4] = 90
    bands = dict.fromkeys(("clear", "snow", "shadow", "light_haze", "heavy_haze", "cloud", "confidence", "udm1"), 0)
    mask = {name: np.zeros((1, 5), np.uint8) for name in bands}
    mask["clear"][0, [0, 3, 4]], mask["snow"][0, 1], mask["shadow"][0, 2], mask["udm1"][0, 3] = 1, 1, 1, 64

    def classes(**policy):
        return classify(reflectance, mask, Usability(**policy))[0].tolist()

    assert classes() == [1, 2, 2, 1, 1]
    assert classes(usable_classes=["clear", "snow"]) == [1, 1, 2, 1, 1]
    assert classes(udm2_bits=[6]) == [1, 2, 2, 2, 1]
    assert classes(min_reflectance=0.01) == [1, 2, 2, 1, 3]
    assert classify(reflectance, {"udm": mask["udm1"]}, Usability(udm_bits=[6]))[0].tolist() == [1, 1, 1, 2, 1]
    assert classify(reflectance, {"udm": mask["udm1"]}, Usability())[0].tolist() == [1, 1, 1, 1, 1]


def test_the_item_is_valid_stac(tmp_path):
    write_item(tmp_path, ITEM, plain(), crs=CRS, transform=PLACE)
    measured(found(tmp_path).items[0], tmp_path / "out")
    item = pystac.Item.from_file(str(tmp_path / "out" / "item.json"))
    item.stac_extensions, extensions = [], item.stac_extensions  # their schemas are on the network
    item.validate()
    assert [name.split("/")[3] for name in extensions] == ["projection", "eo", "view"]
    assert item.properties["proj:code"] == CRS
    assert item.properties["proj:transform"] == list(PLACE)[:6]
    assert item.properties["platform"] == "1003"
    assert not Path(item.assets["reflectance"].href).is_absolute()
    assert Path(item.assets["reflectance"].get_absolute_href()).is_file()
    assert Path(item.assets["usable"].get_absolute_href()) == tmp_path / "out" / "usable.tif"


def test_keys_that_old_metadata_lack_are_left_out(tmp_path):
    odd = {"strip_id": ["12"], "clear_percent": "most", "ground_control": True}
    absent = dict.fromkeys(["cloud_percent", "cloud_cover", "view_angle", "gsd", "instrument"])
    write_item(tmp_path, ITEM, plain(), crs=CRS, transform=PLACE, sun_elevation="high", **(absent | odd))
    told, _ = measured(found(tmp_path).items[0], tmp_path / "out")
    assert not {"eo:cloud_cover", "view:off_nadir", "gsd", "instruments", "view:sun_elevation"} & set(told["properties"])
    assert not {"pl:strip_id", "pl:clear_percent"} & set(told["properties"])
    assert told["properties"]["pl:ground_control"] is True


@pytest.mark.parametrize(
    ("good", "options", "reason"),
    [
        (np.s_[:0], {}, "0.00 % of the valid pixels are usable, fewer than 1 %"),
        (np.s_[:3], {"min_usable_fraction": 0.06}, "5.00 % of the valid pixels are usable, fewer than 6 %"),
    ],
)
def test_an_item_with_few_usable_pixels_is_rejected(tmp_path, good, options, reason):
    udm2 = clear_udm2((60, 80))
    clear = np.zeros((60, 80), bool)
    clear[good] = True
    udm2[0], udm2[5] = clear, ~clear
    write_item(tmp_path, ITEM, plain(), crs=CRS, transform=PLACE, udm2=udm2)
    told, _ = measured(found(tmp_path).items[0], tmp_path / "out", **options)
    assert (told["properties"]["rts:status"], told["properties"]["rts:reason"]) == ("rejected", reason)


def test_an_item_without_a_valid_pixel_is_rejected(tmp_path):
    write_item(tmp_path, ITEM, plain(value=0), crs=CRS, transform=PLACE)
    told, classes = measured(found(tmp_path).items[0], tmp_path / "out")
    assert (told["properties"]["rts:reason"], told["geometry"]) == ("no valid pixel", None)
    assert not classes.any()
    pystac.Item.from_dict(told | {"stac_extensions": []}).validate()


def test_equal_input_gives_equal_bytes(tmp_path):
    write_item(tmp_path / "in", ITEM, plain(), crs=CRS, transform=PLACE)
    item = found(tmp_path / "in").items[0]
    for name in ("a", "b"):
        measured(item, tmp_path / name)
    for name in ("item.json", "usable.tif"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_an_item_across_the_antimeridian_has_a_narrow_bbox(tmp_path):
    """As RFC 7946, 5.2 has it: west is above east, and it doesn't go round the Earth."""
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:32660", always_xy=True).transform(180, 66)
    write_item(tmp_path / "in", ITEM, plain(), crs="EPSG:32660", transform=Affine(3, 0, round(x) - 120, 0, -3, round(y)))
    told, _ = measured(found(tmp_path / "in").items[0], tmp_path / "out")
    west, south, east, north = told["bbox"]
    assert 179.99 < west < 180 and -180 < east < -179.99 and 65.99 < south < north < 66.01
    assert shape(told["geometry"]).geom_type == "MultiPolygon"


def test_a_mask_on_another_grid_is_an_error(tmp_path):
    write_item(tmp_path, ITEM, plain(), crs=CRS, transform=PLACE, udm2_transform=PLACE @ Affine.translation(1, 0))
    paths = [tmp_path / ITEM / f"{ITEM}_3B_{name}.tif" for name in ("AnalyticMS_SR", "udm2")]
    out = (tmp_path / "out" / "item.json", tmp_path / "out" / "usable.tif", ScenesOptions(scenes=Usability()))
    with pytest.raises(InputError, match=r"udm2\.tif: is .*expected the grid of"):
        measure(ITEM, *paths, "udm2", None, None, *out)
    with pytest.raises(UsageError, match="expected udm2 or udm with a mask"):
        measure(ITEM, *paths, "none", None, None, *out)
    with pytest.raises(InputError, match="no such file"):
        measure(ITEM, tmp_path / "gone.tif", None, "none", None, None, *out)


@pytest.fixture(scope="module")
def noisy_item(tmp_path_factory):
    """An item of several blocks that don't compress."""
    folder = tmp_path_factory.mktemp("noisy")
    values = np.random.default_rng(0).integers(300, 4000, (4, 300, 300)).astype(np.uint16)
    write_item(folder, ITEM, values, crs=CRS, transform=PLACE)
    return found(folder).items[0]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    which=st.sampled_from(["reflectance", "mask"]),
    where=st.floats(0, 1),
    cut=st.booleans(),
    noise=st.binary(min_size=40, max_size=40),
)
def test_a_damaged_raster_is_told_or_read_and_never_half_written(tmp_path, noisy_item, which, where, cut, noise):
    folder = tmp_path / "in"
    shutil.rmtree(tmp_path, ignore_errors=True)
    shutil.copytree(noisy_item.reflectance.parent, folder)
    path = folder / getattr(noisy_item, which).name
    whole = path.read_bytes()
    position = int(where * len(whole))
    path.write_bytes(whole[:position] if cut else whole[:position] + noise + whole[position + len(noise) :])
    delivery = found(tmp_path)
    out = tmp_path / "out"
    for item in delivery.items:
        try:
            measured(item, out)
        except InputError as error:
            told = str(error)
            assert path.name in told
            assert "\n" not in told
            assert not out.exists() or list(out.iterdir()) == []
    for item in delivery.rejected:
        assert path.name in item.reason


def test_a_read_that_fails_half_way_says_what_to_do(tmp_path, noisy_item):
    folder = Path(shutil.copytree(noisy_item.reflectance.parent, tmp_path / "in"))
    path = folder / noisy_item.reflectance.name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    item = found(tmp_path).items[0]
    with pytest.raises(InputError, match=r"deliver it again, or list the item under scenes\.exclude") as error:
        measured(item, tmp_path / "out")
    assert str(path) in str(error.value)
    assert list((tmp_path / "out").iterdir()) == []
