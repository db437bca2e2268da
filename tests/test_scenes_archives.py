"""Deliveries in zip archives, read in place, and archives that can't be."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from items import write_item, write_manifest
from rts_pipeline.errors import InputError
from rts_pipeline.grid import GeoBox
from rts_pipeline.scenes import delivered
from rts_pipeline.scenes.discover import Delivery
from rts_pipeline.scenes.reader import ItemReader, MeasuredItem
from scenes_case import CRS, ITEM, PLACE, found, measured, plain

SR = f"{ITEM}_3B_AnalyticMS_SR.tif"


@pytest.fixture
def order(tmp_path):
    """A folder with an order: one item and its manifest."""
    write_item(tmp_path / "order" / "PSScene", ITEM, plain(), crs=CRS, transform=PLACE)
    write_manifest(tmp_path / "order")
    return tmp_path / "order"


def zipped(folder: Path, archive: Path, **more: bytes) -> Path:
    """Pack a folder as Planet does, with entries for the folders too; `more`: further entries."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for path in sorted(folder.rglob("*")):
            target.write(path, path.relative_to(folder))
        for name, content in more.items():
            target.writestr(name, content)
    return archive


def told(delivery: Delivery, below: Path) -> dict[str, tuple[str, str]]:
    return {str(Path(row.path).relative_to(below)): (row.status, row.reason) for row in delivery.files}


@pytest.mark.parametrize("relative", [False, True])
def test_an_item_in_a_zip_is_measured_as_the_unpacked_one(tmp_path, order, monkeypatch, relative):
    archive = zipped(order, tmp_path / "in" / "Order 1.ZIP")
    monkeypatch.chdir(tmp_path)
    inside = found(Path("in") if relative else tmp_path / "in")
    item, plain_item = inside.items[0], found(order).items[0]
    assert item.reflectance == (Path("in/Order 1.ZIP") if relative else archive) / "PSScene" / ITEM / SR
    assert item.fingerprint == plain_item.fingerprint
    for name, files in (("zip", item), ("folder", plain_item)):
        measured(files, tmp_path / "out" / name)
    usable = [(tmp_path / "out" / name / "usable.tif").read_bytes() for name in ("zip", "folder")]
    assert usable[0] == usable[1]
    with ItemReader(MeasuredItem.load(tmp_path / "out/zip/item.json")) as reader:
        values, good = reader.read(GeoBox("cell", CRS, 3.0, 160_000, -1_286_667, 80, 60))
    assert good.all()
    assert (values == 1000).all()


def test_every_entry_of_a_zip_and_the_zip_itself_have_a_row(tmp_path, order):
    zipped(order, tmp_path / "in" / "a.zip", **{"notes.txt": b"x", "inner.zip": b"PK"})
    zipped(tmp_path / "none", tmp_path / "in" / "other.zip", **{"notes.txt": b"x"})
    (tmp_path / "in" / "b.tar.gz").write_bytes(b"x")
    delivery = found(tmp_path / "in")
    used, folder = ("used", ""), ("ignored", "a folder in an archive")
    foreign, packed = "not part of a PlanetScope item", "archive: unpack it to use what it holds"
    place = f"a.zip/PSScene/{ITEM}"
    assert told(delivery, tmp_path / "in") == {
        "a.zip": ("used", "read in place"),
        "a.zip/PSScene": folder,
        place: folder,
        **{f"{place}/{ITEM}_{name}": used for name in ("3B_AnalyticMS_SR.tif", "3B_udm2.tif", "metadata.json")},
        "a.zip/manifest.json": ("used", "sizes and checksums of an order"),
        "a.zip/notes.txt": ("ignored", foreign),
        "a.zip/inner.zip": ("ignored", packed),
        "other.zip": ("ignored", "nothing in it is used"),
        "other.zip/notes.txt": ("ignored", foreign),
        "b.tar.gz": ("ignored", packed),
    }
    entries = sum(len(zipfile.ZipFile(path).infolist()) for path in (tmp_path / "in").glob("*.zip"))
    assert len(delivery.files) == 3 + entries
    assert not any(row.broken for row in delivery.files)


def test_entries_that_lead_elsewhere_or_hide_each_other_are_left(tmp_path, order):
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive = zipped(order, tmp_path / "in" / "a.zip", **{f"PSScene/{ITEM}/{ITEM}_3B_udm2.tif": b"another"})
    names = [f"../{SR}", f"/etc/{SR}", f"./x/{SR}", f"b\\{SR}", f"c//{SR}"]
    with zipfile.ZipFile(archive, "a") as target:
        for name in names:
            target.writestr(name, b"x")
    delivery = found(tmp_path / "in")
    rows = [row for row in delivery.files if row.role == "archive entry"]
    assert {row.status for row in rows} == {"ignored"}
    assert sum("is not a plain path" in row.reason for row in rows) == len(names)
    assert sum("holds 2 files of this name" in row.reason for row in rows) == 2
    assert len(delivery.files) == 1 + len(zipfile.ZipFile(archive).infolist())
    assert delivery.rejected[0].reason.startswith("no udm2 and no udm delivered")


def test_a_manifest_beside_a_zip_tells_whether_it_is_whole(tmp_path, order):
    archive = zipped(order, tmp_path / "in" / "a.zip")
    write_item(tmp_path / "in" / "b", "20190802_041000_1003", plain(), crs=CRS, transform=PLACE)
    write_manifest(tmp_path / "in")
    assert told(found(tmp_path / "in"), tmp_path / "in")["a.zip"] == ("used", "read in place")
    archive.write_bytes(archive.read_bytes()[:-500])
    row = next(row for row in found(tmp_path / "in").files if row.path == str(archive))
    assert (row.status, row.broken) == ("ignored", True)
    assert row.reason.startswith("damaged: can't be read (")


def test_an_unpacked_delivery_is_taken_before_the_same_one_in_a_zip(tmp_path, order):
    zipped(order, order.parent / "order.zip")
    delivery = found(tmp_path)
    assert delivery.items[0].reflectance == order / "PSScene" / ITEM / SR
    assert told(delivery, tmp_path)[f"order.zip/PSScene/{ITEM}/{SR}"] == ("superseded", "second delivery of the same item")


def test_a_folder_may_be_called_zip(tmp_path, order):
    order.rename(tmp_path / "order.zip")
    item = found(tmp_path).items[0]
    assert delivered.gdal_name(item.reflectance) == str(item.reflectance)
    measured(item, tmp_path / "out")


def test_an_encrypted_entry_is_told(tmp_path, order):
    archive = zipped(order, tmp_path / "in" / "a.zip")
    data = bytearray(archive.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # APPNOTE 4.3.7 and 4.3.12
        position = data.find(signature)
        while position >= 0:
            data[position + flags] |= 1
            position = data.find(signature, position + 4)
    archive.write_bytes(data)
    delivery = found(tmp_path / "in")
    reason = f"{SR}: is encrypted; unpack a.zip with its password"
    assert delivery.rejected[0].reason == f"damaged: {reason}"
    assert told(delivery, tmp_path / "in")[f"a.zip/PSScene/{ITEM}/{SR}"] == ("rejected", "damaged: " + reason.split(": ", 1)[1])
    with pytest.raises(InputError, match="is encrypted"):
        delivered.opened(archive / "PSScene" / ITEM / SR)


def test_a_missing_entry_is_told_in_one_line(tmp_path, order):
    archive = zipped(order, tmp_path / "a.zip")
    for reader in (delivered.opened, delivered.read_json, delivered.sha256, delivered.stamp):
        with pytest.raises(InputError, match=r"a\.zip/gone\.tif: no such file"):
            reader(archive / "gone.tif")
    assert not delivered.exists(archive / "gone.tif")
    assert delivered.exists(archive / "manifest.json")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1), cut=st.booleans(), noise=st.binary(min_size=1, max_size=30))
def test_a_damaged_zip_is_told_or_read(tmp_path, order, where, cut, noise):
    place = Path(shutil.rmtree(tmp_path / "in", ignore_errors=True) or tmp_path / "in")
    write_item(place, "20180701_000000_0f00", plain((16, 16)), crs=CRS, transform=PLACE)
    archive = zipped(order, place / "a.zip")
    whole = archive.read_bytes()
    position = int(where * len(whole))
    archive.write_bytes(whole[:position] if cut else whole[:position] + noise + whole[position + len(noise) :])
    delivery = found(place)
    assert all(row.reason for row in delivery.files if row.status != "used")
    row = next(row for row in delivery.files if row.path == str(archive))
    members = [row for row in delivery.files if row.path.startswith(f"{archive}/")]
    assert members or row.reason.startswith("damaged: ")
    for item in delivery.items:
        try:
            measured(item, tmp_path / "out")
        except InputError as error:
            assert "\n" not in str(error)
            assert "a.zip" in str(error)


def test_a_raster_in_a_zip_is_opened_by_gdals_name(tmp_path, order):
    archive = zipped(order, tmp_path / "a b" / "x.zip")
    with rasterio.open(delivered.gdal_name(archive / "PSScene" / ITEM / SR)) as dataset:
        assert dataset.shape == (60, 80)
    assert delivered.on_disk(archive / "PSScene") == archive
    assert delivered.on_disk(archive) == archive
