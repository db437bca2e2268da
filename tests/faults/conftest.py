"""The project that faults are tried on, and how many were survived."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from harness import Disk, Job, jobs_of
from table import markdown

from workflow_case import shared_case


@pytest.fixture(scope="session")
def finished(tmp_path_factory, worker_id):
    """A project whose round 01 is signed off, with its inventory so far."""

    def finish(case):
        case.configure(audit={"windows": 12, "window_px": 128})
        case.snakemake()
        case.review("01")
        case.snakemake("preliminary")

    return shared_case(tmp_path_factory, worker_id, "finished", finish)


@pytest.fixture(scope="session")
def disk(tmp_path_factory):
    """A disk of its own for the project."""
    if os.getuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can make a small disk")
    made = Disk(tmp_path_factory.mktemp("disk") / "small")
    yield made
    made.close()


@pytest.fixture(scope="session")
def jobs(finished, disk, tmp_path_factory):
    """A job of every stage, by name, on the small disk; what they say lies elsewhere."""
    case = finished.copy(disk.folder / "case")
    found = {**jobs_of(case, "results/rounds/01/evidence", "results/rounds/01/verified.json"), **jobs_of(case, "preliminary")}
    agreeing = finished.copy(disk.folder / "agreeing")
    agreeing.configure(adjust={"shifts": "correct", "radiometry": "overlaps"})
    planned = jobs_of(agreeing, "--until", "adjust")
    agreeing.configure(predict={"precision": "int8", "device": "cpu"})
    planned["quantise"] = jobs_of(agreeing, "results/rounds/01/model/int8.json")["quantise"]
    shutil.copytree(case.results / "rounds/01", case.folder / "elsewhere")
    shutil.copytree(case.results / "rounds/01", agreeing.folder / "elsewhere")
    agreeing.configure(predict={"precision": "auto"}, rounds={"adopt": "elsewhere"})
    planned["adopt"] = jobs_of(agreeing, "results/rounds/01/model/model.json")["adopt"]
    planned["adopt"][planned["adopt"].index("--out") + 1] = "results/adopted"
    shutil.rmtree(agreeing.folder)
    measured = planned["overlaps"][planned["overlaps"].index("--out") + 1]
    only = planned["adjust"].index("--overlaps")
    rest = planned["adjust"][planned["adjust"].index("--out") :]
    planned["adjust"] = [*planned["adjust"][:only], "--overlaps", measured, *rest]
    # the tests' project has no block that every fold leaves out
    blocks = pd.read_parquet(case.results / "rounds/01/validation/blocks.parquet").assign(split="test")
    blocks.to_parquet(case.results / "blocks.parquet")
    out = ["--out", "results/crossvalidation.json", "--out-figure", "results/crossvalidation.png", "--options", "{}"]
    planned["crossvalidate"] = ["crossvalidate", "results/blocks.parquet", *out]
    # with what the first round left: its verdicts, its network
    found["labels"] = jobs_of(case, "results/rounds/02/labels.parquet")["labels"]
    found["train"] += ["--previous", "reviews/round_01/model"]
    # the tests of earlier stages make the round's candidates anew, from another network than was judged
    judged = "rounds/01/candidates.parquet"
    (case.results / "judged/rounds/01").mkdir(parents=True)
    shutil.copy2(case.results / judged, case.results / "judged" / judged)
    found["verify"][found["verify"].index("--results") + 1] += "/judged"
    logs = tmp_path_factory.mktemp("said")
    made = {name: Job(case, name, arguments, logs / f"{name}.log") for name, arguments in {**planned, **found}.items()}
    # what the job of adjust reads; the finished project had no need of it
    made["overlaps"].learn()
    return made


@pytest.fixture
def count(request):
    """Count a fault at a stage, or at a whole run, and how it ended; fail when anything was lost."""

    def tried(fault: str, outcome: str, stage: str = "whole run") -> None:
        request.node.user_properties.append(("fault", (stage, fault, outcome)))
        assert outcome != "lost", f"{stage}: {fault}"

    return tried


def faults_of(report):
    """Return how often each (stage, fault, outcome) happened in a test."""
    told = getattr(report, "user_properties", []) if getattr(report, "when", "") == "call" else []
    return Counter(tuple(value) for name, value in told if name == "fault")


def pytest_runtest_logreport(report):
    """Keep the count of each test, at once, in the file that RTS_FAULT_COUNTS names: so that many short runs make one table."""
    number, name = faults_of(report), os.environ.get("RTS_FAULT_COUNTS")
    if number and name:
        path = Path(name)
        earlier = json.loads(path.read_text()) if path.exists() else []
        again = {(stage, fault) for stage, fault, _ in number}
        rows = [*(row for row in earlier if tuple(row[:2]) not in again), *([*key, tried] for key, tried in number.items())]
        path.write_text("[\n" + ",\n".join(map(json.dumps, sorted(rows))) + "\n]\n")


def pytest_terminal_summary(terminalreporter):
    """Say how many faults were tried and how they ended."""
    total = sum((faults_of(report) for reports in terminalreporter.stats.values() for report in reports), Counter())
    if total:
        terminalreporter.write_line(f"\n{markdown([*key, tried] for key, tried in total.items())}")
