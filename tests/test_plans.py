"""What is planned after which change: a line each, on a project of which everything is done and round 01 waits for review.

To add one: what changes (a function of the project), and the jobs by rule that a dry run must then show, no more and no less.
"""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from workflow_case import ROOT, add_item, deliver_over_one_cell, touch_later


@dataclass
class Plan:
    what: str
    change: Callable
    jobs: dict[str, int] = field(default_factory=dict)


def configure(**sections):
    return lambda case: case.configure(**sections)


def touch(*patterns):
    def change(case):
        files = [path for pattern in patterns for path in case.folder.glob(pattern)]
        assert files
        for path in files:
            touch_later(path)

    return change


def package(module, old, new):
    """Run a copy of the package in which something is exchanged."""

    def change(case):
        case.package = case.folder / "package"
        shutil.copytree(ROOT / "src", case.package)
        path = case.package / "rts_pipeline" / module
        text, count = re.subn(old, new, path.read_text(), count=1)
        assert count == 1
        path.write_text(text)

    return change


def scene_again(year):
    """Deliver an item of a year a second time, as another satellite's."""

    def change(case):
        item = sorted(path.name for path in (case.folder / f"corridor/orders/{year}/PSScene").iterdir())[0]
        add_item(case, item, f"{item[:-4]}ffff", year)

    return change


def scene_gone(year):
    def change(case):
        shutil.rmtree(sorted((case.folder / f"corridor/orders/{year}/PSScene").iterdir())[0])

    return change


def scene_redelivered(case):
    """The same item, of which a file has another size."""
    metadata = sorted((case.folder / "corridor/orders/2019/PSScene").glob("*/*_metadata.json"))[0]
    metadata.write_text(json.dumps(json.loads(metadata.read_text()), indent=3))
    shutil.copyfile(metadata, metadata.with_name("copy.json"))
    manifest = case.folder / "corridor/orders/2019/manifest.json"
    listed = json.loads(manifest.read_text())
    for entry in listed["files"]:
        if entry["path"].endswith(metadata.name):
            entry |= {"size": metadata.stat().st_size, "digests": {"sha256": "0" * 64}}
    manifest.write_text(json.dumps(listed))


def everything_of(*places):
    def change(case):
        for place in places:
            path = case.results / place
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


EVIDENCE = {"evidence": 1}
OUTLINES = {"polygonize": 4, "candidates": 1, **EVIDENCE}
CHOICE = {"validate": 1, **OUTLINES}
NETWORK = {"train": 1, "predict": 4, **CHOICE}
LEARNING = {"chips": 1, **NETWORK}
LISTS = {"catalog": 1, "ledger": 1}
COUNTS = {"coverage": 2, "observed": 1, **LISTS}

PLANS = [
    Plan("nothing", lambda case: None),
    Plan("touched: seeds, area, elevation", touch("corridor/seeds.gpkg", "corridor/aoi.gpkg", "corridor/dem.tif")),
    Plan("touched: every delivered file", touch("corridor/orders/*/PSScene/*/*")),
    Plan("a comment in the package", package("polygonize.py", r"\Z", "\n# a comment\n")),
    Plan("a stage's version", package("stages.py", r'("polygonize": Stage\()\d+', r"\g<1>999"), OUTLINES),
    Plan("the version of the first stage that learns", package("stages.py", r'("chips": Stage\()\d+', r"\g<1>999"), LEARNING),
    Plan("minimum area", configure(polygonize={"min_area_m2": 1200}), OUTLINES),
    Plan("recall", configure(choice={"recall": 0.9}), CHOICE),
    Plan("learning rate", configure(train={"learning_rate": 5e-4}), NETWORK),
    Plan("where to train", configure(train={"device": "cuda", "workers": 3})),
    Plan("where to predict", configure(predict={"device": "cuda:0", "batch_size": 2})),
    Plan("step of the training windows", configure(chips={"stride_px": 32}), LEARNING),
    Plan("number of folds", configure(chips={"folds": 6})),
    Plan("pictures", configure(evidence={"margin_m": 96.0}), EVIDENCE),
    Plan(
        "a file beside the elevation model",
        lambda case: (case.folder / "corridor/dem.tif.aux.xml").write_text("<PAMDataset></PAMDataset>"),
        EVIDENCE,
    ),
    Plan("no elevation model", configure(attributes={"dem": None}), EVIDENCE),
    Plan(
        "fewer years of evidence",
        configure(evidence={"years": [2019]}),
        {"coverage": 4, "observed": 1, **LISTS, **EVIDENCE},
    ),
    Plan("order of the candidates' overlap", configure(candidates={"growth": 0.9}), {"candidates": 1, **EVIDENCE}),
    Plan("an audit", configure(audit={"windows": 12, "window_px": 128}), {"audit": 1, **EVIDENCE}),
    Plan("target date", configure(time={"target_date": "08-02"}), {"mosaic": 9, "ledger": 1, **LEARNING}),
    Plan(
        "usable classes",
        configure(scenes={"usable_classes": ["clear"]}),
        {"scenes": 12, "mosaic": 9, **COUNTS, "coverage": 4, **LEARNING},
    ),
    Plan(
        "a scene in a cell without labels",
        deliver_over_one_cell,
        {"scenes": 1, "mosaic": 1, **COUNTS, "coverage": 1, "predict": 2, **OUTLINES, "polygonize": 2},
    ),
    Plan("a scene over labelled cells", scene_again(2019), {"scenes": 1, "mosaic": 6, **COUNTS, **LEARNING}),
    Plan("a scene of another year", scene_again(2018), {"scenes": 1, **COUNTS, **EVIDENCE}),
    Plan("a scene is gone", scene_gone(2019), {"mosaic": 6, **COUNTS, **LEARNING}),
    Plan("a scene of another year is gone", scene_gone(2018), {**COUNTS, **EVIDENCE}),
    Plan("a scene comes again", scene_redelivered, {"scenes": 1, "mosaic": 6, **COUNTS, **LEARNING}),
    Plan("a file of no item", lambda case: (case.folder / "corridor/orders/notes.txt").write_text("clouds"), {"ledger": 1}),
    Plan("an output is gone", everything_of("rounds/01/model/curves.png"), NETWORK),
    Plan("what only speeds up is gone", everything_of("evidence_cache", "scenes/.headers.json", "scenes/.overview.json")),
]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.what)
def test_plan(made, tmp_path, plan):
    case = made.copy(tmp_path / "case")
    plan.change(case)
    assert case.plan() == plan.jobs
