"""The workflow on a real SLURM on this machine: the same results, and nothing lost or done twice when the cluster fails."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass

import pytest

from rts_pipeline.io import sha256_file
from workflow_case import ROOT, Case

pytestmark = [pytest.mark.slow, pytest.mark.slurm]

SCRIPT = ROOT / "scripts/slurm.sh"
PROFILE = ROOT / "workflow/profiles/slurm"
QUICK = ("--latency-wait", 10, "--slurm-init-seconds-before-status-checks", 4)
OUTAGE_S = 60


@dataclass
class Cluster:
    """The cluster of scripts/slurm.sh."""

    environment: dict[str, str]

    def do(self, *command):
        done = subprocess.run([*map(str, command)], env=self.environment, capture_output=True, text=True, check=True)
        return done.stdout

    def jobs(self, since):
        """Return what SLURM's accounting knows of the workflow's jobs: a list of (job of the workflow, state, memory, GPUs)."""
        fields = "JobID,Comment%200,State,ReqMem,AllocTRES%200"
        lines = self.do("sacct", "-X", "-n", "-P", "--starttime", since, "--format", fields).splitlines()
        rows = [line.split("|") for line in lines if "|rule_" in line]
        return [(comment, state.split()[0], memory, "gres/gpu" in tres) for _, comment, state, memory, tres in rows]


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("snakemake_executor_plugin_slurm", reason="scripts/slurm.sh install")
    if shutil.which("sbatch") is None:
        pytest.skip("no SLURM here: scripts/slurm.sh install")
    said = subprocess.run([SCRIPT, "start"], check=True, capture_output=True, text=True).stdout
    conf = re.search(r"SLURM_CONF=(\S+)", said)[1]
    yield Cluster({**os.environ, "SLURM_CONF": conf, "PATH": f"{os.environ['PATH']}:/usr/sbin"})
    subprocess.run([SCRIPT, "stop"], check=True)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A project of two cells and the images of one year, not run yet."""
    case = Case(tmp_path_factory.mktemp("slurm") / "local")
    case.folder.mkdir()
    case.config.write_text((ROOT / "tests/config.yaml").read_text().replace("$RTS_TEST_CASE/", ""))
    case.configure(grid={"cell_px": 2048, "block_cells": 4}, evidence={"years": [2019]})
    case.cli("simulate", "corridor", "--width-km", 3, "--height-km", 3, "--slumps", 8)
    return case


@pytest.fixture(scope="module")
def planned(local):
    """How many jobs of each rule there are until the inventory, after a single round."""
    return local.plan() | dict.fromkeys(("inventory", "completeness", "attributes", "export", "report"), 1)


@pytest.fixture(scope="module")
def finished(local, tmp_path_factory):
    """The results of the run without a cluster."""
    case = local.copy(tmp_path_factory.mktemp("slurm") / "finished")
    case.snakemake()
    case.review("01")
    case.snakemake("preliminary")
    return case


def submit(case, *arguments, start_only=False):
    """Run the workflow through SLURM."""
    command = ["snakemake", "--snakefile", ROOT / "Snakefile", "--configfile", case.config, "--workflow-profile", PROFILE]
    command = [*map(str, [*command, *QUICK, *arguments])]
    log = case.folder / "snakemake.log"
    with log.open("a") as out:
        process = subprocess.Popen(
            command, cwd=case.folder, env=case.environment, stdout=out, stderr=out, start_new_session=True
        )
    if start_only:
        return process
    assert process.wait(timeout=3600) == 0, log.read_text()
    return process


def now():
    # SLURM's accounting counts whole seconds
    time.sleep(1.1)
    return time.strftime("%Y-%m-%dT%H:%M:%S")


def wait_until(what, condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.5)


def products(case):
    """Return the sha256 of what a run is for, by name."""
    rounds, inventory = case.results / "rounds/01", case.results / "inventory"
    files = [rounds / "candidates.parquet", rounds / "model/weights.pt", *sorted((case.results / "mosaic").glob("*.tif"))]
    files += sorted(inventory.glob("*.parquet")) + sorted(inventory.glob("*.csv"))
    return {path.name: sha256_file(path) for path in files if path.exists()}


def completed(rows):
    """Return how many jobs of each rule SLURM says have succeeded; the tasks of an array share the comment of its first."""
    return Counter(re.match(r"rule_(\w+?)(_wildcards_.*)?$", job)[1] for job, state, *_ in rows if state == "COMPLETED")


@pytest.fixture(scope="module")
def through_slurm(local, cluster, tmp_path_factory):
    """The same project run through SLURM, and what its accounting says."""
    case = local.copy(tmp_path_factory.mktemp("slurm") / "through")
    since = now()
    submit(case, "--set-resources", "chips:mem_mb=200*attempt**2")
    case.review("01")
    submit(case, "preliminary")
    return case, cluster.jobs(since)


def test_results_equal_those_without_a_cluster(through_slurm, finished):
    case, _ = through_slurm
    assert len(products(finished)) >= 8
    assert products(case) == products(finished)
    assert case.plan() == finished.plan()


def test_a_gpu_is_asked_for_where_one_is_needed(through_slurm):
    _, rows = through_slurm
    with_gpu = {job for job, _, _, gpu in rows if gpu}
    assert {job.split("_wildcards")[0] for job in with_gpu} == {"rule_train"}


def test_a_job_that_exceeds_its_memory_is_retried_with_more(through_slurm):
    _, rows = through_slurm
    chips = [(state, memory) for job, state, memory, _ in rows if job.startswith("rule_chips")]
    assert chips[0][0] in {"OUT_OF_MEMORY", "FAILED", "CANCELLED"}
    assert chips[-1][0] == "COMPLETED"
    assert [memory for _, memory in chips][:2] == ["200M", "800M"]


def test_each_job_succeeded_once(through_slurm, planned):
    _, rows = through_slurm
    assert completed(rows) == planned


@pytest.fixture
def outdated(finished, tmp_path):
    """A finished project of which the candidates and what they are made from have to be made anew."""
    case = finished.copy(tmp_path / "case")
    shutil.rmtree(case.reviews)
    case.configure(polygonize={"min_area_m2": 1000})
    return case


@pytest.fixture
def undisturbed(outdated, tmp_path):
    """What comes of it without a cluster."""
    case = outdated.copy(tmp_path / "undisturbed")
    case.snakemake()
    return products(case)


def at_work(cluster):
    return bool(cluster.do("squeue", "-h", "-t", "RUNNING").strip())


def test_a_node_that_goes_down_and_a_controller_that_is_away(outdated, undisturbed, cluster):
    since, planned = now(), outdated.plan()
    process = submit(outdated, start_only=True)
    wait_until("a job at work", lambda: at_work(cluster))
    node = cluster.do("squeue", "-h", "-t", "RUNNING", "-o", "%N").split()[0]
    cluster.do("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    try:
        wait_until("a job at work elsewhere", lambda: at_work(cluster))
        # killed like that it forgets its last seconds: jobs submitted then are lost, and retried by snakemake
        time.sleep(10)
        cluster.do(SCRIPT, "controller-kill")
        time.sleep(OUTAGE_S)
        cluster.do(SCRIPT, "controller-start")
        assert process.wait(timeout=900) == 0, (outdated.folder / "snakemake.log").read_text()
    finally:
        cluster.do("scontrol", "update", f"NodeName={node}", "State=RESUME")
    rows = cluster.jobs(since)
    assert "NODE_FAIL" in {state for _, state, *_ in rows}
    assert completed(rows) == planned
    assert products(outdated) == undisturbed


def test_snakemake_killed_and_started_again(outdated, undisturbed, cluster):
    since, planned = now(), outdated.plan()
    process = submit(outdated, start_only=True)
    wait_until("a job at work", lambda: at_work(cluster))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for job in cluster.do("squeue", "-h", "-o", "%A %j").splitlines():
        if "rts-pipeline" in job:
            cluster.do("scancel", job.split()[0])
    wait_until("an empty queue", lambda: not cluster.do("squeue", "-h").strip())
    outdated.snakemake("--unlock")
    submit(outdated)
    assert completed(cluster.jobs(since)) == planned
    assert products(outdated) == undisturbed
    assert outdated.plan() == {}
