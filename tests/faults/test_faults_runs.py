"""A whole run, killed, doubled, with an edited configuration, with another clock, where it may not write."""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress

import geopandas as gpd
import pytest
from harness import SEEDS, content

from workflow_case import ROOT, shared_case

AGAIN = ("outlines/*.parquet", "outlines.parquet", "candidates.parquet", "candidates.gpkg", "evidence/evidence.parquet")


@pytest.fixture(scope="module")
def waiting(tmp_path_factory, worker_id):
    """A project of which the outlines, the candidates and their evidence have to be made anew."""
    made = shared_case(tmp_path_factory, worker_id)
    case = made.copy(tmp_path_factory.mktemp("runs") / "waiting")
    case.configure(polygonize={"min_area_m2": 1200})
    return case


@pytest.fixture(scope="module")
def undisturbed(waiting, tmp_path_factory):
    """What comes of it undisturbed, and how long that takes."""
    case = waiting.copy(tmp_path_factory.mktemp("runs") / "undisturbed")
    start = time.monotonic()
    case.snakemake()
    return products(case), time.monotonic() - start


@pytest.fixture
def case(waiting, tmp_path):
    return waiting.copy(tmp_path / "case")


def products(case):
    folder = case.results / "rounds/01"
    return {str(path.relative_to(folder)): content(path) for pattern in AGAIN for path in sorted(folder.glob(pattern))}


def start(case):
    command = ["snakemake", "--snakefile", ROOT / "Snakefile", "--configfile", case.config, "--cores", "2"]
    log = (case.folder / "run.log").open("w")
    return subprocess.Popen(
        [str(part) for part in command], cwd=case.folder, env=case.environment, stdout=log, stderr=log, start_new_session=True
    )


def killed(case, seconds):
    """Start the workflow and kill it, with its jobs, after so many seconds; tell whether it was at work until then."""
    process = start(case)
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def wait_for_a_new_outline(case, process):
    folder = case.results / "rounds/01/outlines"
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.json")}
    while process.poll() is None and all(
        path.exists() and path.stat().st_mtime_ns == changed for path, changed in before.items()
    ):
        time.sleep(0.05)


def test_killed_at_any_moment(waiting, undisturbed, tmp_path, count):
    wanted, seconds = undisturbed
    draw = random.Random(0)
    for seed in range(SEEDS):
        case, moment = waiting.copy(tmp_path / str(seed)), draw.uniform(0, seconds)
        while not killed(case, moment):
            count("kill -9", "missed")
            shutil.rmtree(case.folder)
            case, moment = waiting.copy(case.folder), moment / 2
        case.snakemake("--unlock")
        case.snakemake()
        whole = products(case) == wanted and case.plan() == {} and not list(case.results.rglob(".tmp-*"))
        count("kill -9", "equal" if whole else "lost")
        shutil.rmtree(case.folder)


def test_two_runs_at_once(case, undisturbed, count):
    process = start(case)
    wait_for_a_new_outline(case, process)
    second = case.snakemake(check=False)
    assert process.wait() == 0, (case.folder / "run.log").read_text()
    assert second.returncode != 0
    assert "cannot be locked" in second.stdout + second.stderr
    assert "Traceback" not in second.stdout + second.stderr
    count("two runs at once", "told" if products(case) == undisturbed[0] else "lost")


def test_the_configuration_edited_during_the_run(case, undisturbed, count):
    process = start(case)
    wait_for_a_new_outline(case, process)
    case.configure(polygonize={"min_area_m2": 3000})
    assert process.wait() == 0, (case.folder / "run.log").read_text()
    assert products(case) == undisturbed[0], "the run ends with the configuration that it began with"
    assert case.plan() == {"polygonize": 4, "candidates": 1, "evidence": 1}
    count("configuration edited", "equal")


def test_the_clock_set_back(case, undisturbed, count):
    mosaic = next((case.results / "mosaic").glob("*.tif"))
    times = mosaic.stat()
    os.utime(mosaic, (time.time() + 86_400,) * 2)
    done = case.snakemake(check=False)
    assert done.returncode == 4
    told = re.findall(r"^rts-pipeline: .*later than now.*$", done.stderr, re.MULTILINE)
    assert len(told) == 1
    assert mosaic.name in told[0]
    os.utime(mosaic, (times.st_atime, times.st_mtime))
    case.snakemake()
    count("clock set back", "told" if products(case) == undisturbed[0] else "lost")


def test_a_file_that_was_put_back_is_noticed(case, count):
    """Snakemake looks at inputs that are newer than results; a copy that keeps its time is older."""
    seeds = case.folder / "corridor/seeds.gpkg"
    times = seeds.stat()
    gpd.read_file(seeds).iloc[1:].to_file(seeds)
    os.utime(seeds, (times.st_atime, times.st_mtime))
    assert case.plan()["labels"] == 1
    count("older input", "equal")


def test_results_that_may_not_be_written(case, count):
    if os.getuid() != 0:
        pytest.skip("only root can mount")
    wanted = case.results / "coverage/observed.parquet"
    before = content(wanted)
    wanted.unlink()
    subprocess.run(["mount", "--bind", case.results, case.results], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", case.results], check=True)
        done = case.snakemake("results/coverage/observed.parquet", check=False)
    finally:
        subprocess.run(["umount", "--lazy", case.results], check=True)
    assert done.returncode == 3
    assert len(re.findall(r"^rts-pipeline: .*Read-only file system", done.stderr, re.MULTILINE)) == 1
    case.snakemake("results/coverage/observed.parquet")
    count("read-only", "told" if content(wanted) == before else "lost")
