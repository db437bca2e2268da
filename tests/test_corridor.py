"""How many jobs a large area is: the benchmark's corridor, a hundredth of its length with its files, and all of it without."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from rts_pipeline.config import Scenes
from rts_pipeline.scenes import discover
from rts_pipeline.scenes.batches import assign
from rts_pipeline.scenes.discover import Item
from rts_pipeline.scenes.overview import Known, overview
from workflow_case import ROOT

ONCE = ("labels", "catalog", "chips", "ledger", "observed", "train", "validate", "candidates", "evidence", "all")


@pytest.fixture
def corridor():
    spec = importlib.util.spec_from_file_location("corridor", ROOT / "bench/corridor.py")
    sys.modules["corridor"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_jobs_are_batches_cells_and_blocks(tmp_path, corridor):
    folder = tmp_path / "corridor"
    corridor.make(folder, 0.01)
    done = corridor.snakemake(folder, "--dry-run", "--quiet", "rules")
    jobs = corridor.planned(done.text)
    days = {path.name[:8] for path in (folder / "orders").glob("*/PSScene/*")}
    assert jobs.pop("total") == sum(jobs.values())
    assert {rule: jobs.pop(rule) for rule in ONCE} == dict.fromkeys(ONCE, 1)
    assert jobs.pop("scenes") <= len(days)
    assert jobs.pop("mosaic") > 9
    blocks = jobs.pop("coverage")
    assert jobs == {"predict": blocks, "polygonize": blocks}
    assert not (folder / "results/scenes/batches").exists(), "a plan leaves no trace of batches"


@pytest.fixture
def delivered(corridor):
    """What the benchmark's folders hold at full size, as if their files had been looked at."""

    def found(place):
        for item in corridor.place_items(place, corridor.PER_YEAR):
            (west, north), (columns, rows) = item.corner, corridor.ITEM_PX
            yield Item(
                id=item.id,
                acquired=f"{item.day.isoformat()}T04:10:00.000000Z",
                crs=f"EPSG:{32600 + item.zone}",
                bounds=(west, north - 3.0 * rows, west + 3.0 * columns, north),
                shape=(rows, columns),
                fingerprint={},
                reflectance=Path(f"{item.id}_SR.tif"),
                mask=None,
                mask_kind="none",
                metadata=None,
                xml=None,
            )

    return found


def test_the_whole_corridor_is_a_few_thousand_jobs(tmp_path, corridor, delivered, monkeypatch):
    """54,000 km2 and 10,000 items, planned by the real Snakemake from what a first look at the files would have remembered."""
    folder = tmp_path / "corridor"
    items = sorted(delivered(corridor.lay_out(folder, 1.0)), key=lambda item: item.id)
    (folder / "orders").mkdir()
    monkeypatch.setattr(discover, "discover", lambda *_, **__: discover.Delivery(items, [], []))
    monkeypatch.chdir(folder)
    overview([Path("orders")], Scenes(folders=["orders"]), Path("results/scenes"))
    jobs = corridor.planned(corridor.snakemake(folder, "--dry-run", "--quiet", "rules").text)
    assert len(items) == 10_000
    assert jobs["mosaic"] > 1500
    # of those in season
    assert 300 < jobs["scenes"] <= len({item.acquired[:10] for item in items})
    assert jobs["total"] <= 5000


def test_ten_thousand_items_are_some_hundred_batches(tmp_path):
    rng = np.random.default_rng(0)
    days = [
        f"{year}-{day[5:]}"
        for year in range(2016, 2021)
        for day in np.arange("2020-07-01", "2020-08-31", dtype="M8[D]").astype(str)
    ]
    items = [Known(f"{n:05d}", f"{rng.choice(days)}T04:00:00Z", f"{n:05d}:0") for n in range(10_000)]
    batches = assign(tmp_path, items, 0)
    sizes = [len(names) for names in batches.versions.values()]
    assert len(sizes) <= len(days) == 305
    assert sum(sizes) == 10_000
    assert max(sizes) < 100
