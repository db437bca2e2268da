"""What planning remembers of the delivered folders is never anything else than what discovery finds."""

import os
import shutil

import pytest

from items import write_item, write_manifest
from rts_pipeline.config import Scenes
from rts_pipeline.errors import InputError
from rts_pipeline.scenes import overview as module
from rts_pipeline.scenes.discover import discover
from rts_pipeline.scenes.overview import Known, digests, overview, recall
from scenes_case import CRS, ITEM, PLACE, plain

OTHER = "20190802_041000_1003"


@pytest.fixture
def orders(tmp_path):
    for item_id in (ITEM, OTHER):
        write_item(tmp_path / "in", item_id, plain(), crs=CRS, transform=PLACE)
    write_manifest(tmp_path / "in")
    return tmp_path / "in"


def seen(orders, **options):
    """The remembered overview, compared with what discovery finds."""
    scenes = Scenes(folders=[str(orders)], **options)
    remembered = overview([orders], scenes, orders.parent / "scenes")
    found = discover([orders], scenes)
    assert recall(orders.parent / "scenes") == found.items
    assert remembered.items == [Known(item.id, item.acquired, item.version) for item in found.items]
    assert {"known": remembered.known, "listing": remembered.listing} == digests(found)
    return remembered


def test_it_is_read_again_as_it_was_without_a_second_look(orders, monkeypatch):
    first = seen(orders)
    assert [item.id for item in first.items] == [ITEM, OTHER]
    monkeypatch.setattr("rts_pipeline.scenes.discover.discover", None)
    assert overview([orders], Scenes(folders=[str(orders)]), orders.parent / "scenes") == first


def test_a_file_that_comes_goes_or_changes_is_noticed(orders):
    before = seen(orders)
    (orders / "notes.txt").write_text("clouds")
    with_notes = seen(orders)
    assert (with_notes.known, with_notes.items) == (before.known, before.items)
    assert with_notes.listing != before.listing
    raster = next(orders.glob(f"{ITEM}/*_SR.tif"))
    raster.write_bytes(raster.read_bytes()[:-1])
    assert [item.id for item in seen(orders).items] == [OTHER], "half-downloaded"
    shutil.rmtree(orders / ITEM)
    assert seen(orders).known != before.known


def test_a_file_of_the_same_size_is_read_again(orders):
    seen(orders)
    metadata = orders / OTHER / f"{OTHER}_metadata.json"
    stat = metadata.stat()
    metadata.write_text(metadata.read_text().replace("2019-08-01T04", "2019-08-01T05"))
    os.utime(metadata, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert seen(orders).items[1].acquired.startswith("2019-08-01T05")


def test_a_broken_file_that_is_mended_is_noticed_by_no_more_than_its_rights(orders, monkeypatch):
    """Who may read a file, or what it holds, can change while its size and the time of its content are what they were."""
    metadata = orders / OTHER / f"{OTHER}_metadata.json"
    whole, stat = metadata.read_bytes(), metadata.stat()

    def put(content):
        metadata.write_bytes(content)
        os.utime(metadata, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    put(b" " * len(whole))
    broken = seen(orders)
    assert [item.id for item in broken.items] == [ITEM, OTHER]
    put(whole)
    mended = seen(orders)
    assert (mended.known != broken.known, mended.listing != broken.listing) == (True, True)
    metadata.chmod(0o600)
    monkeypatch.setattr("rts_pipeline.scenes.discover.discover", lambda *_, **__: pytest.fail("looked again"))
    with pytest.raises(pytest.fail.Exception, match="looked again"):
        overview([orders], Scenes(folders=[str(orders)]), orders.parent / "scenes")


def test_other_options_are_other_items(orders):
    assert len(seen(orders).items) == 2
    assert [item.id for item in seen(orders, exclude={ITEM: "stripes"}).items] == [OTHER]


def test_another_version_of_our_code_looks_again(orders, monkeypatch):
    seen(orders)
    monkeypatch.setitem(module.STAGES, "catalog", "another")
    monkeypatch.setattr("rts_pipeline.scenes.discover.discover", lambda *_, **__: pytest.fail("looked again"))
    with pytest.raises(pytest.fail.Exception, match="looked again"):
        overview([orders], Scenes(folders=[str(orders)]), orders.parent / "scenes")


def test_a_damaged_memory_is_none(orders):
    first = seen(orders)
    (orders.parent / "scenes/.overview.json").write_text('{"state": 1')
    assert seen(orders) == first


def test_a_folder_that_is_gone_is_told(orders):
    seen(orders)
    shutil.rmtree(orders)
    with pytest.raises(InputError, match="no such folder"):
        overview([orders], Scenes(folders=[str(orders)]), orders.parent / "scenes")
