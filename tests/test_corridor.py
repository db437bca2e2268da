"""How many jobs a large area is: the benchmark's corridor, a hundredth of its length, and the days of all of it."""

import importlib.util
import sys

import numpy as np
import pytest

from rts_pipeline.scenes.batches import assign
from rts_pipeline.scenes.overview import Known
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
