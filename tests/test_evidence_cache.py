"""What was made before isn't made again: not in the next run, nor beside a new candidate, nor in the next round."""

import os
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from shapely import box

from evidence_case import NORTH, SLUMP, WEST, build, change, scene, write_dem, write_item
from rts_pipeline.evidence import build as stage
from rts_pipeline.evidence import network
from rts_pipeline.evidence.cache import KEPT_DAYS, Cache

OTHER = box(WEST + 60, NORTH - 120, WEST + 90, NORTH - 90)


@pytest.fixture
def made(monkeypatch):
    """Count what is drawn and what is computed: candidates drawn, and windows given to the network."""
    counts = {"drawn": 0, "looks": 0}
    draw, look = stage.draw, network.Network.look

    def drawing(candidates, *rest):
        counts["drawn"] += len(candidates)
        draw(candidates, *rest)

    def looking(self, looks, readers):
        counts["looks"] += len(looks)
        look(self, looks, readers)

    monkeypatch.setattr(stage, "draw", drawing)
    monkeypatch.setattr(network.Network, "look", looking)

    def since():
        told = (counts["drawn"], counts["looks"])
        counts.update(drawn=0, looks=0)
        return told

    return since


@pytest.fixture
def items(tmp_path):
    return [write_item(tmp_path, str(year), f"{year}-08-01T04:00:00Z", scene(1000 + year)) for year in (2018, 2019)]


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_only_what_is_new_is_made(tmp_path, items, made):
    dem = write_dem(tmp_path / "dem.tif")
    build(tmp_path, items, [SLUMP], dem=dem)
    assert made() == (1, 2)
    first = files(tmp_path / "evidence")
    build(tmp_path, items, [SLUMP], dem=dem)
    assert made() == (0, 0)
    assert files(tmp_path / "evidence") == first, "what comes from the cache is what was made"
    build(tmp_path, items, [OTHER, SLUMP], dem=dem, out="round_2")
    assert made() == (1, 2), "a candidate of another number, in another round, costs nothing if it is the same"
    again = files(tmp_path / "round_2")
    for what in ("2018_true", "2019_false", "hillshade", "slope"):
        assert again[f"r01-0002_{what}.webp"] == first[f"r01-0001_{what}.webp"]
    one, other = change(tmp_path), change(tmp_path, "round_2")
    columns = [name for name in one.columns if name != "rank"]
    pd.testing.assert_series_equal(one.loc["r01-0001", columns], other.loc["r01-0002", columns], check_names=False)


def test_what_it_is_made_from_is_what_counts(tmp_path, items, made):
    build(tmp_path, items)
    made()
    build(tmp_path, items, scale=1)
    assert made() == (1, 0), "another size on the screen changes no number"
    build(tmp_path, items, ring_m=30.0)
    assert made() == (0, 2), "the pictures of the first run are still kept"
    build(tmp_path, items, [SLUMP.difference(box(WEST + 195, NORTH - 165, WEST + 210, NORTH - 150))])
    assert made() == (0, 2), "another outline on the same ground"
    build(tmp_path, items, dem=write_dem(tmp_path / "dem.tif"))
    assert made() == (1, 2)
    (tmp_path / "dem.tif.aux.xml").write_text("<PAMDataset><SRS>EPSG:32647</SRS></PAMDataset>")
    row = build(tmp_path, items, dem=tmp_path / "dem.tif").iloc[0]
    assert (made(), row["terrain_reason"]) == ((1, 2), "the DEM does not cover the ground"), "what lies beside the DEM counts"
    items[0] = write_item(tmp_path, "2018", "2018-08-01T04:00:00Z", scene(3018))
    build(tmp_path, items)
    assert made() == (1, 2)
    (tmp_path / "model/network.onnx").touch()
    build(tmp_path, items)
    assert made() == (0, 0), "a touched network is the same network"


def test_a_run_that_was_stopped_is_taken_up_where_it_was(tmp_path, items, made, monkeypatch):
    monkeypatch.setattr(stage, "BATCH", 1)
    look = network.Network.look

    def stopped(self, looks, readers):
        if looks:
            raise KeyboardInterrupt

    build(tmp_path, items, [SLUMP])
    first = files(tmp_path / "evidence")
    monkeypatch.setattr(network.Network, "look", stopped)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, items, [SLUMP, OTHER])
    assert files(tmp_path / "evidence") == first and not list(tmp_path.glob(".*")), "nothing half-made is left"
    monkeypatch.setattr(network.Network, "look", look)
    made()
    build(tmp_path, items, [SLUMP, OTHER])
    assert made() == (0, 2), "the pictures of the new one were already kept, its numbers were not"


def test_a_damaged_or_lost_cache_is_made_anew(tmp_path, items, made):
    build(tmp_path, items)
    made()
    first = files(tmp_path / "evidence")
    kept = sorted((tmp_path / "cache").glob("*/*.zip"))
    assert len(kept) == 2
    for path in kept:
        content = bytearray(path.read_bytes())
        content[len(content) // 3] ^= 255
        path.write_bytes(content)
    build(tmp_path, items)
    assert made() == (1, 2)
    kept[0].write_bytes(kept[0].read_bytes()[:100])
    kept[1].unlink()
    build(tmp_path, items)
    assert made() == (1, 2)
    assert files(tmp_path / "evidence") == first


def test_no_damage_of_an_entry_ends_a_run(tmp_path):
    cache = Cache(tmp_path / "cache")
    cache.put("key", {"a": b"1"})
    (path,) = (tmp_path / "cache").glob("*/*")
    whole = path.read_bytes()
    for bit in range(8 * whole.index(b"PK\x01\x02"), 8 * len(whole)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        cache.get("key")


def test_processes_that_work_at_a_time_see_whole_entries_or_none(tmp_path):
    work = """
import sys
from pathlib import Path
from rts_pipeline.evidence.cache import Cache
cache, whole = Cache(Path(sys.argv[1])), {name: name.encode() * 100_000 for name in "abc"}
for number in range(150):
    found = cache.get(number % 3)
    assert found is None or found == whole
    cache.put(number % 3, whole)
assert cache.get(0) == whole
"""
    running = [subprocess.Popen([sys.executable, "-c", work, tmp_path / "cache"]) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert len(list((tmp_path / "cache").glob("*/*"))) == 3


def test_what_nobody_used_for_long_is_removed(tmp_path):
    cache = Cache(tmp_path / "cache")
    cache.put("used", {"a": b"1"})
    cache.put("old", {"a": b"2", "b": np.zeros(3, np.uint8).tobytes()})
    assert cache.get("old") == {"a": b"2", "b": b"\0\0\0"}
    (tmp_path / "cache/ab").mkdir(exist_ok=True)
    (tmp_path / "cache/ab/.tmp-1-left.zip").write_bytes(b"half")
    long_ago = time.time() - (KEPT_DAYS + 1) * 86_400
    for path in (tmp_path / "cache").glob("*/*"):
        os.utime(path, (long_ago, long_ago))
    assert cache.get("used") == {"a": b"1"}, "which marks it as used"
    cache.prune()
    assert cache.get("used") is not None
    assert cache.get("old") is None
    assert len(list((tmp_path / "cache").glob("*/*"))) == 1
