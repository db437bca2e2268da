"""Scenes: names, discovery, and real deliveries."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from items import write_item, write_manifest
from real_data import REAL, real
from rts_pipeline.config import BANDS, Scenes
from rts_pipeline.errors import InputError
from rts_pipeline.io import sha256_file
from rts_pipeline.scenes import delivered
from rts_pipeline.scenes.discover import discover
from rts_pipeline.scenes.metadata import acquired_of
from rts_pipeline.scenes.names import parse
from scenes_case import CRS, ITEM, PLACE, found, measured, plain, reasons

ELSEWHERE = (
    'PROJCS["Mars",GEOGCS["Mars",DATUM["Mars",SPHEROID["Mars",3396190,169.8944]],PRIMEM["Reference",0],UNIT["degree",0.01745329]],'
    'PROJECTION["Equirectangular"],UNIT["metre",1]]'
)
"""In metres, and on no map of the earth."""

# --- names and times ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "item_id", "role"),
    [
        ("20151119_025740_0c74_3B_AnalyticMS_SR.tif", "20151119_025740_0c74", "reflectance"),
        ("20221221_084022_18_2414_3B_AnalyticMS_SR_clip.tif", "20221221_084022_18_2414", "reflectance"),
        ("20221221_084022_18_2414_3B_AnalyticMS_SR_8b_clip.tif", "20221221_084022_18_2414", "reflectance"),
        ("20221221_084022_18_2414_3B_AnalyticMS_SR_8b_harmonized_clip.tif", "20221221_084022_18_2414", "reflectance"),
        ("20170831_172754_101c_3B_AnalyticMS.tif", "20170831_172754_101c", "radiance"),
        ("20170831_172754_101c_1B_AnalyticMS.tif", "20170831_172754_101c", "other product"),
        ("20170831_172754_101c_3B_Visual.tif", "20170831_172754_101c", "other product"),
        ("20170831_172754_101c_3B_AnalyticMS_DN_udm_clip.tif", "20170831_172754_101c", "udm"),
        ("20221221_084022_18_2414_3B_udm2.tif", "20221221_084022_18_2414", "udm2"),
        ("20221221_084022_18_2414_metadata.json", "20221221_084022_18_2414", "metadata"),
        ("20221221_084022_18_2414.json", "20221221_084022_18_2414", "json"),
        ("20221221_084022_18_2414_3B_AnalyticMS_8b_metadata_clip.xml", "20221221_084022_18_2414", "xml"),
        ("20221221_084022_18_2414_3B_AnalyticMS_SR.tif.aux.xml", "", "side file"),
        ("order.zip", "", "archive"),
        ("notes.txt", "", "unknown"),
        (".DS_Store", "", "unknown"),
    ],
)
def test_a_name_is_cut_at_the_product(name, item_id, role):
    assert (parse(Path(name)).item_id, parse(Path(name)).role) == (item_id, role)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("2019-08-01T04:10:00Z", "2019-08-01T04:10:00.000000Z"),
        ("2019-08-01T04:10:00.12345Z", "2019-08-01T04:10:00.123450Z"),
        ("2019-08-01T04:10:00.123456Z", "2019-08-01T04:10:00.123456Z"),
        ("2019-08-01T12:10:00+08:00", "2019-08-01T04:10:00.000000Z"),
        ("soon", "2019-08-02T05:06:07.000000Z"),
        (None, "2019-08-02T05:06:07.000000Z"),
    ],
)
def test_times_have_any_number_of_decimals(told, expected):
    assert acquired_of("20190802_050607_18_2414", told) == expected


def test_an_id_without_a_date_gives_no_time():
    assert acquired_of("20191345_050607_2414") is None


# --- discovery ---------------------------------------------------------------------------------------------------------


def test_an_item_is_found_at_any_depth_with_all_its_files(tmp_path):
    write_item(tmp_path / "a" / "b" / "PSScene", ITEM, plain(), crs=CRS, transform=PLACE, clip=True)
    (tmp_path / ".hidden").write_text("")
    delivery = found(tmp_path)
    item = delivery.items[0]
    assert (item.id, item.mask_kind, item.shape, item.crs) == (ITEM, "udm2", (60, 80), CRS)
    assert item.bounds == (480_000, 3_860_001 - 180, 480_240, 3_860_001)
    assert item.acquired == "2019-08-01T04:10:00.123456Z"
    assert set(item.fingerprint) == {item.reflectance.name, item.mask.name, item.metadata.name}
    assert Counter(row.status for row in delivery.files) == {"used": 3, "ignored": 1}


def test_a_flat_folder_holds_many_items(tmp_path):
    ids = [ITEM, "20190801_041001_1003", "20190801_041001_18_1003"]
    for item_id in ids:
        folder = write_item(tmp_path / "apart", item_id, plain(), crs=CRS, transform=PLACE)
        for path in folder.iterdir():
            path.rename(tmp_path / path.name)
    shutil.rmtree(tmp_path / "apart")
    delivery = found(tmp_path)
    assert [item.id for item in delivery.items] == ids
    assert all(item.mask and item.mask.name == f"{item.id}_3B_udm2.tif" for item in delivery.items)
    assert Counter(row.status for row in delivery.files) == {"used": 9}


def test_the_fingerprint_knows_no_place_and_no_time(tmp_path):
    first = write_item(tmp_path / "one", ITEM, plain(), crs=CRS, transform=PLACE)
    shutil.copytree(first, tmp_path / "two" / "deep" / ITEM)
    os.utime(next((tmp_path / "two").rglob("*.tif")), (1, 1))
    one, two = (found(tmp_path / name).items[0].fingerprint for name in ("one", "two"))
    assert one == two
    assert json.loads(json.dumps(one)) == one


@pytest.mark.parametrize("verify", [False, True])
def test_the_manifest_gives_checksums(tmp_path, verify):
    write_item(tmp_path / "files", ITEM, plain(), crs=CRS, transform=PLACE)
    write_manifest(tmp_path)
    delivery = found(tmp_path, verify_checksums=verify)
    told = delivery.items[0].fingerprint
    assert told == {p.name: {"bytes": p.stat().st_size, "sha256": sha256_file(p)} for p in (tmp_path / "files").rglob("*.*")}
    assert reasons(delivery)["manifest.json"] == "used: sizes and checksums of an order"
    assert not any(row.broken for row in delivery.files)


@pytest.mark.parametrize("product", ["3B_AnalyticMS_SR.tif", "3B_udm2.tif", "metadata.json"])
@pytest.mark.parametrize(
    ("more", "reason"), [(7, "half-downloaded: {} has {} of the {} bytes"), (-7, "not as ordered: {} has {}")]
)
def test_a_size_that_differs_from_the_manifest_rejects_the_item(tmp_path, product, more, reason):
    folder = write_item(tmp_path / "files", ITEM, plain(), crs=CRS, transform=PLACE)
    name = f"{ITEM}_{product}"
    size = (folder / name).stat().st_size
    write_manifest(tmp_path, **{name: {"size": size + more}})
    delivery = found(tmp_path)
    expected = reason.format(name, size, size + more)
    assert delivery.rejected[0].reason.startswith(expected)
    assert {row.status for row in delivery.files if row.item_id} == {"rejected"}
    assert [Path(row.path).name for row in delivery.files if row.broken] == [name]


def test_checksums_are_compared_where_wanted_and_remembered(tmp_path, monkeypatch):
    folder = write_item(tmp_path / "in" / "files", ITEM, plain(), crs=CRS, transform=PLACE)
    write_manifest(tmp_path / "in", **{f"{ITEM}_3B_udm2.tif": {"digests": {"sha256": "0" * 64}}})
    assert len(found(tmp_path / "in").items) == 1
    read: list[Path] = []
    original = delivered.sha256
    monkeypatch.setattr(delivered, "sha256", lambda path: read.append(path) or original(path))
    options = Scenes(folders=["x"], verify_checksums=True)
    for _ in range(2):
        delivery = discover([tmp_path / "in"], options, tmp_path / "headers.json")
        assert delivery.rejected[0].reason == (
            f"not as ordered: {ITEM}_3B_udm2.tif has another sha256 than the order's manifest lists"
        )
    assert sorted(read) == sorted(folder.iterdir())


def test_what_a_manifest_lists_and_is_not_there_is_told(tmp_path):
    folder = write_item(tmp_path / "files", ITEM, plain(), crs=CRS, transform=PLACE)
    other = write_item(tmp_path / "files", "20190802_041000_1003", plain(), crs=CRS, transform=PLACE)
    write_manifest(tmp_path)
    for path in (folder / f"{ITEM}_3B_udm2.tif", other / f"{other.name}_3B_AnalyticMS_SR.tif"):
        path.unlink()
    delivery = found(tmp_path)
    assert [item.reason for item in delivery.rejected] == [
        f"no udm2 and no udm delivered; the order's manifest lists {ITEM}_3B_udm2.tif, which is not there",
        f"no surface reflectance delivered; the order's manifest lists {other.name}_3B_AnalyticMS_SR.tif, which is not there",
    ]
    manifest = next(row for row in delivery.files if row.role == "manifest")
    names = f"{ITEM}_3B_udm2.tif, {other.name}_3B_AnalyticMS_SR.tif"
    assert (manifest.status, manifest.reason, manifest.broken) == ("used", f"lists 2 files that are not there: {names}", True)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"product": "AnalyticMS"}, "at-sensor radiance without the XML that holds its reflectance coefficients"),
        ({"product": "Visual"}, "no surface reflectance delivered"),
        ({"mask": False}, "no udm2 and no udm delivered"),
        ({"udm2": np.ones((8, 60, 79), np.uint8)}, f"is not on the grid of {ITEM}_3B_AnalyticMS_SR.tif"),
        ({"udm2_transform": Affine(3, 0, 480_003, 0, -3, 3_860_001)}, f"is not on the grid of {ITEM}_3B_AnalyticMS_SR.tif"),
        ({"udm2": np.ones((5, 60, 80), np.uint8)}, "has 5 bands, not 8"),
        ({"reflectance": np.ones((3, 60, 80), np.uint16)}, "has 3 bands of uint16, not 4 or 8 of uint16"),
        ({"reflectance": np.ones((4, 60, 80), np.uint8)}, "has 4 bands of uint8, not 4 or 8 of uint16"),
        ({"crs": None, "with_metadata": False}, "declares no CRS"),
        ({"transform": PLACE @ Affine.rotation(10)}, "is not north-up"),
        ({"crs": "EPSG:4326", "transform": Affine(3e-5, 0, 92.8, 0, -3e-5, 34.9)}, "lies in EPSG:4326, not in"),
        ({"crs": "EPSG:2263", "transform": Affine(10, 0, 9e5, 0, -10, 2e5)}, "lies in EPSG:2263, not in"),
        ({"crs": 'LOCAL_CS["site",UNIT["metre",1]]', "with_metadata": False}, 'lies in LOCAL_CS["site",'),
        ({"crs": ELSEWHERE, "with_metadata": False}, "from which PROJ knows no way to other CRS"),
    ],
)
def test_an_item_that_cant_be_used_is_rejected_with_its_reason(tmp_path, change, reason):
    write_item(tmp_path, ITEM, **{"reflectance": plain(), "crs": CRS, "transform": PLACE, **change})
    delivery = found(tmp_path)
    assert delivery.items == []
    assert reason in delivery.rejected[0].reason
    assert {row.status for row in delivery.files} == {"rejected"}


def test_an_item_without_mask_is_used_when_the_configuration_says_so(tmp_path):
    write_item(tmp_path, ITEM, plain(), crs=CRS, transform=PLACE, mask=False)
    item = found(tmp_path, without_mask="use").items[0]
    assert (item.mask, item.mask_kind) == (None, "none")
    told, classes = measured(item, tmp_path / "out")
    assert told["properties"]["rts:mask"] == "none"
    assert (classes == 1).all()


def test_an_excluded_item_says_why(tmp_path):
    write_item(tmp_path, ITEM, plain(), crs=CRS, transform=PLACE)
    delivery = found(tmp_path, exclude={ITEM: "smoke"})
    assert delivery.rejected[0].reason == "excluded by the configuration: smoke"


@pytest.mark.parametrize("name", ["3B_AnalyticMS_SR.tif", "3B_udm2.tif"])
def test_a_damaged_header_rejects_the_item_and_names_the_file(tmp_path, name):
    folder = write_item(tmp_path, ITEM, plain(), crs=CRS, transform=PLACE)
    (folder / f"{ITEM}_{name}").write_bytes(b"II*\0 not a raster")
    reason = found(tmp_path).rejected[0].reason
    assert reason.startswith(f"damaged: {ITEM}_{name}: ")
    assert str(tmp_path) not in reason


def test_damaged_metadata_are_told_and_the_item_is_used_without_them(tmp_path):
    folder = write_item(tmp_path, ITEM, plain(), crs=CRS, transform=PLACE)
    (folder / f"{ITEM}_metadata.json").write_text('{"type": "Feat')
    delivery = found(tmp_path)
    assert delivery.items[0].metadata is None
    assert delivery.items[0].acquired == "2019-08-01T04:10:00.000000Z"
    assert reasons(delivery)[f"{ITEM}_metadata.json"].startswith("rejected: damaged: not valid JSON")


def test_metadata_of_another_item_are_not_believed(tmp_path):
    folder = write_item(tmp_path, ITEM, plain(), crs=CRS, transform=PLACE)
    other = write_item(tmp_path / "x", "20170101_000000_1003", plain(), crs=CRS, transform=PLACE)
    shutil.copy(other / "20170101_000000_1003_metadata.json", folder / f"{ITEM}_metadata.json")
    shutil.rmtree(tmp_path / "x")
    delivery = found(tmp_path)
    assert delivery.items[0].acquired[:4] == "2019"
    assert "describes another item" in reasons(delivery)[f"{ITEM}_metadata.json"]


def test_of_two_deliveries_the_newest_is_used(tmp_path):
    for name, updated in (("a", "2019-09-01T00:00:00Z"), ("b", "2020-01-01T00:00:00Z"), ("c", "2019-12-01T00:00:00Z")):
        write_item(tmp_path / name, ITEM, plain(), crs=CRS, transform=PLACE, updated=updated)
    delivery = found(tmp_path)
    assert len(delivery.items) == 1
    assert delivery.items[0].reflectance.parts[-3] == "b"
    told = {(Path(row.path).parts[-3], row.status, row.reason) for row in delivery.files}
    newest = tmp_path / "b" / ITEM
    newer = f"newer delivery of the same item is used, updated 2020-01-01T00:00:00.000000Z: {newest}"
    assert told == {("a", "superseded", newer), ("b", "used", ""), ("c", "superseded", newer)}


def test_of_equal_deliveries_the_first_by_path_is_used(tmp_path):
    for name in ("b", "a"):
        write_item(tmp_path / name, ITEM, plain(), crs=CRS, transform=PLACE)
    delivery = found(tmp_path)
    assert delivery.items[0].reflectance.parts[-3] == "a"
    told = {(Path(row.path).parts[-3], row.status, row.reason) for row in delivery.files}
    assert told == {("a", "used", ""), ("b", "superseded", "second delivery of the same item")}


def test_of_a_broken_and_a_whole_delivery_the_whole_one_is_used(tmp_path):
    for name, updated in (("new", "2020-01-01T00:00:00Z"), ("old", "2019-01-01T00:00:00Z")):
        write_item(tmp_path / name / "files", ITEM, plain(), crs=CRS, transform=PLACE, updated=updated)
    write_manifest(tmp_path / "new")
    (tmp_path / "new" / "files" / ITEM / f"{ITEM}_3B_AnalyticMS_SR.tif").write_bytes(b"II*\0")
    delivery = found(tmp_path)
    assert delivery.items[0].reflectance.parts[-4] == "old"
    told = {row.path: row for row in delivery.files if row.broken}
    assert [(row.status, row.reason.split(":")[0]) for row in told.values()] == [("superseded", "half-downloaded")]


def test_files_of_an_item_in_several_folders_belong_together(tmp_path):
    folder = write_item(tmp_path, ITEM, plain(), crs=CRS, transform=PLACE)
    below = folder / "analytic_sr_udm2"
    below.mkdir()
    (folder / f"{ITEM}_3B_udm2.tif").rename(below / f"{ITEM}_3B_udm2.tif")
    item = found(tmp_path).items[0]
    assert item.mask == below / f"{ITEM}_3B_udm2.tif"
    assert item.metadata == folder / f"{ITEM}_metadata.json"


def test_four_bands_and_udm2_are_taken_before_eight_and_udm(tmp_path):
    bits = np.zeros((60, 80), np.uint8)
    write_item(tmp_path, ITEM, plain(), crs=CRS, transform=PLACE)
    write_item(tmp_path, ITEM, np.ones((8, 60, 80), np.uint16), crs=CRS, transform=PLACE, udm=bits, product="AnalyticMS_SR_8b")
    delivery = found(tmp_path)
    assert delivery.items[0].reflectance.name.endswith("_SR.tif")
    told = reasons(delivery)
    assert told[f"{ITEM}_3B_AnalyticMS_DN_udm.tif"] == "ignored: the udm2 is used instead"
    assert "another reflectance of the item is used" in told[f"{ITEM}_3B_AnalyticMS_SR_8b.tif"]


@pytest.mark.parametrize("prepare", ["missing", "empty", "foreign", "file"])
def test_a_folder_without_an_item_is_told_in_one_line(tmp_path, prepare):
    folder = tmp_path / "orders"
    if prepare == "file":
        folder.write_text("")
    elif prepare != "missing":
        folder.mkdir()
    if prepare == "foreign":
        (folder / "readme.txt").write_text("hello")
        (folder / f"{ITEM}.json").write_text('{"stac_version": "1.0.0"}')
    with pytest.raises(InputError) as error:
        found(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="names no folder"):
        discover([], Scenes(folders=["x"]))


def test_links_that_lead_back_or_nowhere_are_survived(tmp_path):
    folder = write_item(tmp_path / "real", ITEM, plain(), crs=CRS, transform=PLACE)
    (folder / "loop").symlink_to(tmp_path)
    (folder / f"{ITEM}_3B_udm.tif").symlink_to(tmp_path / "gone")
    delivery = found(tmp_path)
    assert len(delivery.files) == 4
    assert reasons(delivery)[f"{ITEM}_3B_udm.tif"] == "ignored: a link that leads nowhere"
    twice = discover([tmp_path, tmp_path / "real"], Scenes(folders=["x"]))
    assert [row.path for row in twice.files] == [row.path for row in delivery.files]


def test_headers_are_remembered_until_the_file_changes(tmp_path, monkeypatch):
    folder = write_item(tmp_path / "in", ITEM, plain(), crs=CRS, transform=PLACE)
    cache = tmp_path / "headers.json"
    options = Scenes(folders=["x"])
    first = discover([tmp_path / "in"], options, cache)
    opened = []
    original = rasterio.open
    monkeypatch.setattr(rasterio, "open", lambda path, *more, **named: opened.append(path) or original(path, *more, **named))
    written = cache.stat().st_mtime_ns
    assert discover([tmp_path / "in"], options, cache) == first
    assert opened == []
    assert cache.stat().st_mtime_ns == written
    write_item(tmp_path / "in", ITEM, plain((70, 80)), crs=CRS, transform=PLACE)
    opened.clear()
    assert discover([tmp_path / "in"], options, cache).items[0].shape == (70, 80)
    assert {Path(path).parent for path in opened} == {folder}
    for damage in ("", "{}", "[1]", '{"format": 1, "files": 3}', '{"format": 1, "files": {"a": 1}}'):
        cache.write_text(damage)
        assert len(discover([tmp_path / "in"], options, cache).items) == 1


PRODUCTS = [
    *("3B_AnalyticMS_SR.tif", "3B_AnalyticMS.tif", "3B_udm2.tif", "3B_udm2_clip.tif", "3B_AnalyticMS_DN_udm.tif"),
    *("metadata.json", "3B_AnalyticMS_metadata.xml", "3B_Visual.tif", "1B_AnalyticMS.tif", "3A_udm2.tif"),
]
OTHERS = ["notes.txt", ".DS_Store", "manifest.json", "collection.json", "order.zip", "x.tif", "a_metadata.json"]
IDS = ["20190801_041000_1003", "20190801_041000_18_1003", "20190801_041000", "19990101_000000_zz"]
NAMES = st.one_of(st.sampled_from(OTHERS), st.builds("{}_{}".format, st.sampled_from(IDS), st.sampled_from(PRODUCTS)))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["", "a", "a/b", "c", ".d"]), NAMES),
        st.sampled_from([b"", b"{}", b'{"type": "Feature", "properties": {}}', b"\xff\xfe", b"<a/>", b"II*\0", b"[]", b"null"]),
        max_size=12,
    )
)
def test_every_file_has_exactly_one_row_whatever_is_there(tmp_path, files):
    folder = Path(shutil.rmtree(tmp_path / "in", ignore_errors=True) or tmp_path / "in")
    write_item(folder / "good", "20180701_000000_0f00", plain((16, 16)), crs=CRS, transform=PLACE)
    for (place, name), content in files.items():
        (folder / place).mkdir(parents=True, exist_ok=True)
        (folder / place / name).write_bytes(content)
    delivery = found(folder)
    assert sorted(row.path for row in delivery.files) == sorted(str(p) for p in folder.rglob("*") if p.is_file())
    assert all(row.status == "used" or row.reason for row in delivery.files)
    assert [item.id for item in delivery.items] == ["20180701_000000_0f00"]


# --- real deliveries ---------------------------------------------------------------------------------------------------


QGIS, HARVEY = "20221221_084022_18_2414", "20170831_172754_101c"
NO_REFLECTANCE = dict.fromkeys(
    ["20200629_030740_0f28", "20200727_014458_104b", "20200814_024229_65_2278"], "no surface reflectance delivered"
)


@real
def test_every_real_file_gets_a_true_statement(tmp_path):
    folder = tmp_path / "planet"
    shutil.copytree(REAL / "planet", folder)
    delivery = found(folder, without_mask="use")
    assert [row.path for row in delivery.files] == sorted(str(path) for path in folder.rglob("*") if path.is_file())
    assert [item.id for item in delivery.items] == [HARVEY]
    sr = f"{QGIS}_3B_AnalyticMS_SR.tif"
    half = f"half-downloaded: {sr} has 894696 of the 485490660 bytes that the order's manifest lists"
    assert {item.id: item.reason for item in delivery.rejected} == {QGIS: half, **NO_REFLECTANCE}
    told = {Path(row.path).relative_to(folder).as_posix(): (row.status, row.reason) for row in delivery.files}
    stac = ("ignored", "STAC description, not a delivered file")
    assert {told[name] for name in told if name.startswith("stac/")} == {stac}
    assert told["harvey/20170831_172754_101c.json"] == stac
    missing = f"lists 1 file that is not there: {QGIS}_3B_udm2.tif"
    assert told["qgis_plugin_20221221/manifest.json"] == ("used", missing)
    assert {Path(row.path).name for row in delivery.files if row.broken} == {sr, "manifest.json"}


@real
def test_the_real_item_without_its_manifest_is_used(tmp_path):
    folder = tmp_path / "planet"
    shutil.copytree(REAL / "planet/qgis_plugin_20221221", folder)
    (folder / "manifest.json").unlink()
    assert found(folder).rejected[0].reason == "no udm2 and no udm delivered"
    delivery = found(folder, without_mask="use")
    assert {row.status for row in delivery.files} == {"used"}
    item, classes = measured(delivery.items[0], tmp_path / "out")
    assert item["properties"]["rts:status"] == "used"
    assert item["properties"]["datetime"] == "2022-12-21T08:40:22.180138Z"
    assert (classes == 1).mean() > 0.9


@real
def test_real_radiance_is_measured_on_pixels_that_are_not_square(tmp_path):
    folder = tmp_path / "harvey"
    shutil.copytree(REAL / "planet/harvey", folder)
    item, classes = measured(found(folder).items[0], tmp_path / "out")
    told = item["properties"]
    assert (told["rts:status"], told["rts:mask"], told["rts:reflectance"]) == ("used", "udm", "top of atmosphere")
    assert classes.shape == (256, 256)
    with rasterio.open(folder / f"{HARVEY}_3B_AnalyticMS.tif") as dataset:
        radiance = dataset.read()
    with rasterio.open(folder / f"{HARVEY}_3B_AnalyticMS_DN_udm.tif") as dataset:
        udm = dataset.read(1)
    assert np.array_equal(classes == 0, (radiance == 0).all(axis=0) | ((udm & 1) != 0))
    assert 0 < (classes == 0).mean() < 1
    middle = np.array([told["rts:percentiles"][band]["50"] for band in ("blue", "green", "red", "nir")])
    assert ((middle > 300) & (middle < 4000)).all()  # of reflectance x 10,000, at the top of the atmosphere
    assert middle == pytest.approx(
        [np.median(values[classes == 1]) * told["rts:gain"][b] for b, values in zip(BANDS, radiance, strict=True)], abs=1
    )


ODD = {
    "RGB.byte.gcp.vrt": "has 3 bands of uint8, not 4 or 8 of uint16",
    "RGB.byte.tif": "has 3 bands of uint8, not 4 or 8 of uint16",
    "RGBA.uint16.tif": "used",  # a fourth band that is called alpha can be near infrared
    "all-nodata.tif": "no valid pixel",
    "alpha.tif": "has 4 bands of uint8, not 4 or 8 of uint16",
    "corrupt.tif": "has 3 bands of uint8, not 4 or 8 of uint16",
    "float_nan.tif": "has 1 band of float32, not 4 or 8 of uint16",
    "float_raster_with_nodata.tif": "has 1 band of float32, not 4 or 8 of uint16",
    "goes.tif": "has 3 bands of uint8, not 4 or 8 of uint16",
    "rgb1_fake_nir_epsg3857.tif": "has 1 band of uint8, not 4 or 8 of uint16",
    "rotated.tif": "has 1 band of uint8, not 4 or 8 of uint16",
    "test_esri_wkt.tif": "has 1 band of uint16, not 4 or 8 of uint16",
}


@real
def test_every_odd_raster_is_known():
    assert {path.name for path in (REAL / "odd_rasters").iterdir()} == set(ODD)


@real
@pytest.mark.parametrize("name", ODD)
def test_an_odd_raster_as_a_delivery_gets_a_true_row(tmp_path, name):
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / f"{ITEM}_3B_AnalyticMS_SR.tif"
    shutil.copy(REAL / "odd_rasters" / name, path)
    delivery = found(tmp_path / "in", without_mask="use")
    if delivery.items:
        told, classes = measured(delivery.items[0], tmp_path / "out")
        reason = told["properties"]["rts:reason"] or told["properties"]["rts:status"]
        assert (classes == 1).any() == (reason == "used")
    else:
        reason = delivery.files[0].reason.removeprefix(f"{path.name} ")
    assert reason == ODD[name]


@real
def test_a_real_corrupt_block_is_told_in_one_line():
    path = REAL / "odd_rasters/corrupt.tif"
    with delivered.opened(path) as dataset:
        whole = Window(0, 0, dataset.width, dataset.height)
        with pytest.raises(InputError, match=r"corrupt\.tif: can't be read \(.*\); deliver it again, or list") as error:
            delivered.read(path, dataset, [1, 2, 3], whole)
    assert "\n" not in str(error.value)


@real
@pytest.mark.parametrize("item_id", ["20200727_014458_104b", "20200814_024229_65_2278"])
def test_real_masks_are_read_by_the_rules(tmp_path, item_id):
    folder = tmp_path / "in"
    folder.mkdir()
    for path in (REAL / "planet/sumatra_2020").glob(f"{item_id}_*"):
        shutil.copy(path, folder)
    mask = folder / f"{item_id}_3B_udm2_clip.tif"
    with rasterio.open(mask) as dataset:
        udm2, profile = dataset.read(), dataset.profile
    profile |= {"count": 4, "dtype": "uint16", "nodata": 0}
    with rasterio.open(folder / f"{item_id}_3B_AnalyticMS_SR_clip.tif", "w", **profile) as dataset:
        dataset.write(np.where(udm2[7] & 1, 0, 1000).astype(np.uint16) * np.ones((4, 1, 1), np.uint16))
    told, classes = measured(found(tmp_path).items[0], tmp_path / "out", usable_classes=["clear"])
    inside = (udm2[7] & 1) == 0
    clear = inside & (udm2[0] == 1)
    assert np.array_equal(classes == 1, clear)
    assert np.array_equal(classes == 0, ~inside)
    assert told["properties"]["rts:usable_fraction"] == pytest.approx(clear.sum() / inside.sum(), abs=1e-6)
    assert told["properties"]["platform"] == item_id.rsplit("_", 1)[-1]
