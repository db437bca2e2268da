"""The project that faults are tried on, and how many were survived."""

from __future__ import annotations

import os
import shutil
from collections import Counter

import pandas as pd
import pytest
from harness import Disk, Job, jobs_of

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
    logs = tmp_path_factory.mktemp("said")
    made = {name: Job(case, name, arguments, logs / f"{name}.log") for name, arguments in {**planned, **found}.items()}
    # what the job of adjust reads; the finished project had no need of it
    made["overlaps"].learn()
    return made


@pytest.fixture
def count(request):
    """Count a fault and whether it was survived; fail when anything was lost."""

    def tried(fault: str, outcome: str, detail: str = "") -> None:
        request.node.user_properties.append(("fault", (fault, outcome)))
        assert outcome != "lost", f"{fault}: {detail}"

    return tried


def pytest_terminal_summary(terminalreporter):
    """Say how many faults were tried and survived."""
    total = Counter(
        tuple(value)
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", [])
        if name == "fault" and getattr(report, "when", "") == "call"
    )
    faults = sorted({fault for fault, _ in total})
    if faults:
        terminalreporter.write_line("\n| fault | tried | ended equal | stopped with one line | lost |\n|---|---|---|---|---|")
    for fault in faults:
        numbers = [total[fault, outcome] for outcome in ("equal", "told", "lost")]
        terminalreporter.write_line(f"| {fault} | {sum(numbers)} | {' | '.join(map(str, numbers))} |")
