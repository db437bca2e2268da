"""What made each measured item, whoever measured it and in which order, and what `verify` says when a delivery changes."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from items import write_item
from rts_pipeline import io
from rts_pipeline.config import Scenes
from rts_pipeline.records import Job, find_records, verify
from rts_pipeline.scenes.batches import assign, newest_record
from rts_pipeline.scenes.overview import overview, recall
from scenes_case import CRS, PLACE, plain

IDS = ["20190801_041000_1003", "20190801_041002_1003", "20190802_041000_1003"]
SCENES, BATCHES = Path("results/scenes"), Path("results/scenes/batches")
OPTIONS = '{"scenes":{}}'


def deliver(item_id, value=1000, acquired=None):
    day = f"{item_id[:4]}-{item_id[4:6]}-{item_id[6:8]}T04:10:00Z"
    write_item(Path("orders"), item_id, plain(value=value), crs=CRS, transform=PLACE, acquired=acquired or day)


def plan():
    """Return the items of each batch, as the workflow does."""
    found = overview([Path("orders")], Scenes(folders=["orders"]), SCENES)
    return assign(BATCHES, found.items, newest_record(BATCHES)).versions


def measure(batch, names, check=True):
    out = BATCHES / f"{batch}.json"
    command = ["scenes", "measure", *names, "--scenes", SCENES, "--out", out, "--options", OPTIONS]
    command = [sys.executable, "-m", "rts_pipeline.cli", *map(str, command)]
    return subprocess.run(command, capture_output=True, text=True, check=check)


def run(order=sorted):
    """Measure what is new; `order` is that of the jobs."""
    for batch, names in order(plan().items()):
        if not (BATCHES / f"{batch}.json").exists():
            measure(batch, names)


def records():
    return {str(path): path.read_bytes() for path in find_records(Path("results"))}


def found_wrong():
    return [(str(finding.path), finding.problem) for finding in verify(Path("results"), find_records(Path("results")))]


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for item_id in IDS:
        deliver(item_id)


def test_an_item_says_which_delivered_files_made_it(project):
    run()
    made = io.read_json(SCENES / f".made/{IDS[0]}.json")
    files = list(Path(f"orders/{IDS[0]}").iterdir())
    assert made["inputs"] == {str(path): io.sha256_file(path) for path in files}
    results = {f"{IDS[0]}/{name}": io.sha256_file(SCENES / IDS[0] / name) for name in ("item.json", "usable.tif")}
    assert made["outputs"] == results
    assert found_wrong() == []


def test_records_are_those_of_the_items_in_whichever_order_the_jobs_run(project):
    run()
    first = records()
    shutil.rmtree("results")
    run(order=lambda jobs: sorted(jobs, reverse=True))
    assert records() == first
    assert {"inputs", "outputs"} <= json.loads(next(iter(first.values()))).keys()


def test_nothing_is_wrong_after_a_redelivery_was_measured(project):
    run()
    deliver(IDS[0], value=1200, acquired="2019-08-01T04:10:07.5Z")
    run()
    assert (BATCHES / "20190801_2.json").exists()
    assert (BATCHES / "20190801_1.json").exists(), "it holds another item"
    assert found_wrong() == []


def test_a_batch_of_which_everything_came_again_is_gone_with_its_record(project):
    run()
    for number, item_id in enumerate(IDS[:2]):
        deliver(item_id, value=1200, acquired=f"2019-08-01T04:10:0{number}.5Z")
        run()
    names = {path.name.partition(".")[0] for path in (*BATCHES.iterdir(), *BATCHES.glob(".made/*")) if path.is_file()}
    assert names == {"20190801_2", "20190801_3", "20190802_1"}
    assert plan().keys() == names, "and nothing is to be measured again"
    assert found_wrong() == []


def test_a_batch_that_is_measured_again_leaves_to_later_ones_what_they_hold(project):
    run()
    old = plan()["20190801_1"]
    deliver(IDS[0], value=1200, acquired="2019-08-01T04:10:07.5Z")
    run()
    before = io.sha256_file(SCENES / IDS[0] / "item.json")
    measure("20190801_1", old)  # as with other options
    assert io.sha256_file(SCENES / IDS[0] / "item.json") == before
    assert io.read_json(BATCHES / "20190801_1.json")["items"].keys() == {IDS[1]}
    assert io.read_json(BATCHES / "20190801_1.json")["failed"] == {}
    assert found_wrong() == []


def test_a_delivered_file_that_was_replaced_is_named(project):
    run()
    raster = next(Path(f"orders/{IDS[1]}").glob("*_SR.tif"))
    data = bytearray(raster.read_bytes())
    data[-1] ^= 1
    times = raster.stat()
    raster.write_bytes(data)
    os.utime(raster, ns=(times.st_atime_ns, times.st_mtime_ns))
    run()
    assert found_wrong() == [(f"{SCENES}/{IDS[1]}/item.json", f"was made from another {raster}")]


def test_an_item_that_failed_says_from_which_files(project):
    run()
    raster = next(Path(f"orders/{IDS[0]}").glob("*_SR.tif"))
    whole = raster.read_bytes()
    raster.write_bytes(whole[: len(whole) // 2])
    for path in BATCHES.iterdir():
        path.unlink() if path.is_file() else shutil.rmtree(path)
    run()
    assert found_wrong() == [], "what is there is as it was made"
    assert io.read_json(SCENES / f".made/{IDS[0]}.json")["outputs"].keys() == {f"{IDS[0]}/failed.json"}
    raster.write_bytes(whole)
    assert found_wrong() == [(f"{SCENES}/{IDS[0]}/failed.json", f"was made from another {raster}")]


def test_an_item_that_failed_since_its_files_may_not_be_read_spares_the_others(tmp_path, monkeypatch):
    hash_file = io.sha256_file

    def refuse(path):
        if path.name == "refused.tif":
            raise PermissionError(13, "Permission denied", str(path))
        return hash_file(path)

    monkeypatch.setattr("rts_pipeline.records.sha256_file", refuse)
    files = [tmp_path / name for name in ("mask.tif", "refused.tif")]
    for path in files:
        path.write_text("pixels")
    job = Job("scenes", "{}", [])
    io.write_json(tmp_path / "scenes/a/failed.json", {"error": "may not be read"})
    job.record_item(tmp_path / "scenes/a", files)
    made = io.read_json(tmp_path / "scenes/.made/a.json")
    assert made["inputs"] == {str(files[0]): hash_file(files[0])}
    assert made["outputs"].keys() == {"a/failed.json"}


def test_what_lies_in_an_archive_counts_too(project):
    with zipfile.ZipFile("order.zip", "w") as archive:
        for path in sorted(Path("orders").rglob("*.*")):
            archive.write(path, path.relative_to("orders"))
    shutil.rmtree("orders")
    Path("orders").mkdir()
    Path("order.zip").rename("orders/order.zip")
    run()
    assert found_wrong() == []
    inputs = io.read_json(SCENES / f".made/{IDS[0]}.json")["inputs"]
    assert len(inputs) == 3
    with zipfile.ZipFile("orders/order.zip") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in members if name.startswith(IDS[0]) and name.endswith("_SR.tif"))
    with zipfile.ZipFile("orders/order.zip", "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data + b"x" if member == name else data)
    assert found_wrong() == [(f"{SCENES}/{IDS[0]}/item.json", f"was made from another orders/order.zip/{name}")]


def test_items_made_to_agree_know_of_their_own_only(project):
    """The years are adjusted by two jobs: one item of the one year is no matter of the other's."""
    run()
    done = [sys.executable, "-m", "rts_pipeline.cli", "adjust", SCENES, *IDS[:2], "--out", SCENES / "adjusted.json"]
    options = '{"adjust":{"shifts":"measure"}}'
    subprocess.run([*map(str, done), "--options", options], check=True)
    made = io.read_json(SCENES / ".made/adjusted.json.json")
    assert made["inputs"].keys() == {f"{SCENES}/{item_id}/item.json" for item_id in IDS[:2]}
    deliver(IDS[2], value=1200, acquired="2019-08-02T04:10:07.5Z")
    run()
    assert found_wrong() == []
    assert {item.id for item in recall(SCENES)} == set(IDS)
