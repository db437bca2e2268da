"""Which items are measured together, and what becomes of a batch in which some fail."""

import dataclasses
import json
import os
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from items import write_item
from rts_pipeline.config import Scenes, Usability
from rts_pipeline.errors import InputError
from rts_pipeline.io import sha256_file, write_json, write_text
from rts_pipeline.io.files import temporary_beside
from rts_pipeline.options import ScenesOptions
from rts_pipeline.scenes.batches import assign, measure_batch, newest_record
from rts_pipeline.scenes.failures import read_measured
from rts_pipeline.scenes.overview import overview
from scenes_case import CRS, PLACE, found, plain

DAYS = ("20190801", "20190801", "20190801", "20190802")
IDS = [f"{day}_0410{n:02d}_1003" for n, day in enumerate(DAYS)]
OPTIONS = ScenesOptions(scenes=Usability())


@pytest.fixture
def items(tmp_path):
    for item_id in IDS:
        acquired = f"{item_id[:4]}-{item_id[4:6]}-{item_id[6:8]}T04:10:00Z"
        write_item(tmp_path / "in", item_id, plain(), crs=CRS, transform=PLACE, acquired=acquired)
    return {item.id: item for item in found(tmp_path / "in").items}


def run(folder, items, failed=()):
    """A run that measures all that is new; return the batch of each item."""
    batches = assign(folder, items.values(), newest_record(folder))
    for batch in set(batches.of.values()):
        write_text(folder / f"{batch}.items.txt", "\n".join(batches.versions[batch]))
        mine = [item_id for item_id in items if batches.of[item_id] == batch]
        record = folder / f"{batch}.json"
        if not record.exists() and not set(mine) <= set(failed):
            write_json(record, {"items": {}, "failed": {item_id: "broken" for item_id in mine if item_id in failed}})
    return batches.of


def test_the_new_items_of_a_day_are_a_batch_and_stay_one(tmp_path, items):
    first = {item_id: items[item_id] for item_id in (IDS[0], IDS[1], IDS[3])}
    expected = {IDS[0]: "20190801_1", IDS[1]: "20190801_1", IDS[3]: "20190802_1"}
    assert run(tmp_path / "b", first) == expected
    assert run(tmp_path / "b", items) == expected | {IDS[2]: "20190801_2"}
    del first[IDS[0]]
    assert run(tmp_path / "b", first) == {IDS[1]: "20190801_1", IDS[3]: "20190802_1"}, "one that goes moves nothing"
    assert run(tmp_path / "b", items) == expected | {IDS[2]: "20190801_2"}, "nor does one that comes back as it was"


def test_an_item_that_is_delivered_anew_gets_a_new_batch_each_time(tmp_path, items):
    old = run(tmp_path / "b", items)
    other = dataclasses.replace(items[IDS[0]], fingerprint={"other.tif": {"bytes": 7}})
    assert run(tmp_path / "b", items | {IDS[0]: other}) == old | {IDS[0]: "20190801_2"}
    assert run(tmp_path / "b", items | {IDS[0]: other}) == old | {IDS[0]: "20190801_2"}
    assert run(tmp_path / "b", items) == old | {IDS[0]: "20190801_3"}, "its folder holds what the second batch measured"


def test_an_item_that_failed_is_tried_again_in_each_run_but_not_by_the_jobs_of_one(tmp_path, items):
    old = run(tmp_path / "b", items, failed={IDS[1]})
    assert assign(tmp_path / "b", items.values(), records_until=0).of == old, "the record is of this run"
    assert run(tmp_path / "b", items, failed={IDS[1]}) == old | {IDS[1]: "20190801_2"}
    assert not (tmp_path / "b/20190801_2.json").exists(), "nothing of it could be measured"
    again = run(tmp_path / "b", items)
    assert again == old | {IDS[1]: "20190801_2"}
    assert run(tmp_path / "b", items) == again


def test_a_plan_leaves_no_trace(tmp_path, items):
    assign(tmp_path / "b", items.values(), 0)
    assert not (tmp_path / "b").exists()


def test_a_batch_without_a_record_is_the_same_in_the_next_run(tmp_path, items):
    old = run(tmp_path / "b", items)
    (tmp_path / "b/20190801_1.json").unlink()
    assert run(tmp_path / "b", items) == old


def test_what_a_killed_job_left_and_what_was_measured_by_hand_is_no_batch(tmp_path, items):
    folder = tmp_path / "b"
    expected = run(folder, items)
    until = newest_record(folder)
    for name in ("20190801_1.items.txt", "20190801_1.json"):
        left = temporary_beside(folder / name)
        left.write_text("" if name.endswith(".json") else f"{items[IDS[0]].version}\n")
        os.utime(left, ns=(until + 10**9,) * 2)
    for name in ("mine", "20190801_mine"):
        write_text(folder / f"{name}.items.txt", f"{items[IDS[0]].version}\n")
        write_json(folder / f"{name}.json", {"items": {}, "failed": {IDS[0]: "broken"}})
    assert newest_record(folder) == until
    assert run(folder, items) == expected


def test_the_number_of_a_batch_that_is_removed_while_others_are_looked_for_is_not_given_again(tmp_path, items):
    first = run(tmp_path / "b", {IDS[0]: items[IDS[0]]})
    for path in [*(tmp_path / "b").iterdir()]:
        path.unlink()
        path.symlink_to("gone")  # listed, and not there when it is read
    assert newest_record(tmp_path / "b") == 0
    again = assign(tmp_path / "b", [items[IDS[0]]], records_until=0)
    assert (first, again.of) == ({IDS[0]: "20190801_1"}, {IDS[0]: "20190801_2"})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.sampled_from(IDS), unique=True), min_size=1, max_size=6))
def test_whatever_comes_and_goes_each_item_is_measured_once(tmp_path_factory, runs):
    from rts_pipeline.scenes.discover import Item

    folder = tmp_path_factory.mktemp("b")
    place = {
        "crs": CRS,
        "bounds": (0, 0, 1, 1),
        "shape": (1, 1),
        "mask": None,
        "mask_kind": "none",
        "metadata": None,
        "xml": None,
    }
    made: dict[str, str] = {}
    for ids in runs:
        items = {
            i: Item(id=i, acquired=f"{i[:4]}-{i[4:6]}-{i[6:8]}T0", reflectance=folder / i, fingerprint={}, **place) for i in ids
        }
        assigned = run(folder, items)
        assert all(made.get(item_id, batch) == batch for item_id, batch in assigned.items())
        made |= assigned


@pytest.fixture
def measure(tmp_path, items):
    """Plan, and return what measures all items as one batch, and its record."""
    overview([tmp_path / "in"], Scenes(folders=[str(tmp_path / "in")]), tmp_path / "out")
    record = tmp_path / "out/batches/20190801_1.json"
    names = [item.version for item in items.values()]
    return lambda: measure_batch(names, tmp_path / "out", record, OPTIONS), record


def test_one_that_fails_spares_the_others_and_says_why_to_those_who_need_it(tmp_path, items, measure):
    run_it, record = measure
    raster = items[IDS[1]].reflectance
    whole = raster.read_bytes()
    raster.write_bytes(whole[: len(whole) // 2])
    run_it()
    told = json.loads(record.read_text())
    assert sorted(told["items"]) == [IDS[0], IDS[2], IDS[3]]
    assert told["items"][IDS[0]]["usable"] == sha256_file(tmp_path / "out" / IDS[0] / "usable.tif")
    assert raster.name in told["failed"][IDS[1]]
    for name in ("item.json", "adjusted.json"):
        with pytest.raises(InputError, match=f"{IDS[1]}: could not be measured: .*{raster.name}"):
            read_measured(tmp_path / "out" / IDS[1] / name)
    raster.write_bytes(whole)
    run_it()
    assert json.loads(record.read_text())["failed"] == {}
    assert read_measured(tmp_path / "out" / IDS[1] / "item.json")["id"] == IDS[1]


def test_what_was_measured_before_is_no_answer_for_files_that_broke_since(tmp_path, items, measure):
    measure[0]()
    items[IDS[1]].reflectance.unlink()
    measure[0]()
    assert [path.name for path in (tmp_path / "out" / IDS[1]).iterdir()] == ["failed.json"]


def test_files_that_changed_after_the_plan_are_not_measured_in_their_place(tmp_path, items, measure):
    raster = items[IDS[1]].reflectance
    raster.with_name(raster.name.replace("_SR.tif", "_SR_clip.tif")).write_bytes(raster.read_bytes())
    raster.unlink()
    overview([tmp_path / "in"], Scenes(folders=[str(tmp_path / "in")]), tmp_path / "out")  # another run's plan
    measure[0]()
    assert "changed after the run was planned" in json.loads(measure[1].read_text())["failed"][IDS[1]]


def test_a_batch_of_which_nothing_can_be_measured_fails(tmp_path, measure):
    shutil.rmtree(tmp_path / "in")
    with pytest.raises(InputError, match=rf"no item could be measured: .*{IDS[0]}"):
        measure[0]()
    assert not measure[1].exists()


def test_a_batch_is_measured_beside_a_record_of_items_measured_by_hand(tmp_path, items, measure):
    write_text(measure[1].with_name("20190801_mine.items.txt"), f"{IDS[0]}\n")
    measure[0]()
    assert sorted(json.loads(measure[1].read_text())["items"]) == IDS
