"""The workflow on a real SLURM on this machine: the same results, and nothing lost or done twice when the cluster fails."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from workflow_case import ROOT, Case, results

pytestmark = [pytest.mark.slow, pytest.mark.slurm]

SCRIPT = ROOT / "scripts/slurm.sh"
PROFILE = ROOT / "workflow/profiles/slurm"
QUICK = ("--latency-wait", 10, "--slurm-init-seconds-before-status-checks", 10)
"""Jobs here take some seconds: the plugin looks after 10 s, and if none has ended after 20 s more, then 30."""
LITTLE_MEMORY = ("--set-resources", "chips:mem_mb=200*attempt**2")
OUTAGE_S = 60
CANCEL = (
    "squeue --me -h -o '%A %Z' | HERE=$(pwd -P) awk 'substr($0, length($1) + 2) == ENVIRON[\"HERE\"] {print $1}'"
    " | xargs -r scancel"
)
"""What docs/cluster.md says to do after a snakemake that was killed."""


@dataclass(frozen=True)
class Row:
    """What SLURM's accounting says of one attempt of a job: `job` is `rule_<rule>[_wildcards_<values>]`."""

    job: str
    state: str
    memory: str
    gpus: int

    @property
    def rule(self):
        return re.fullmatch(r"rule_(\w+?)(_wildcards_.*)?", self.job)[1]


class Cluster:
    """The cluster of scripts/slurm.sh."""

    def do(self, *command):
        return subprocess.run([*map(str, command)], capture_output=True, text=True, check=True).stdout

    def running(self):
        """Return the nodes of the jobs at work."""
        return self.do("squeue", "-h", "-t", "RUNNING", "-o", "%N").split()

    def set_down(self, node):
        self.do("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")

    def resume(self, node):
        self.do("scontrol", "update", f"NodeName={node}", "State=RESUME")
        wait_until("the node", lambda: "idle" in self.do("sinfo", "-h", "-n", node, "-p", "cpu", "-o", "%t"))

    def wait_for_saved_state(self):
        """Wait until the controller has saved what it knows now: what it hasn't yet is lost with it."""
        saved, now = Path(os.environ["SLURM_CONF"]).parents[1] / "state/job_state", time.time()
        wait_until("the controller's state on disk", lambda: saved.stat().st_mtime > now)

    def rows(self, since):
        fields = "Comment%200,State,ReqMem,AllocTRES%200"
        lines = self.do("sacct", "-X", "-n", "-P", "--starttime", since, "--format", fields).splitlines()
        found = []
        for line in lines:
            job, state, memory, allocated = line.split("|")
            gpus = re.search(r"gres/gpu=(\d+)", allocated)
            found.append(Row(job, state.split()[0], memory, int(gpus[1]) if gpus else 0))
        return [row for row in found if row.job.startswith("rule_")]


@pytest.fixture(scope="module")
def cluster():
    if shutil.which("sbatch") is None:
        pytest.fail("no SLURM here: scripts/slurm.sh install")
    # what a run that was killed has left goes on otherwise
    subprocess.run([SCRIPT, "stop"], check=True)
    said = subprocess.run([SCRIPT, "start"], check=True, capture_output=True, text=True).stdout
    settings = dict(word.split("=") for word in said.split()[1:])
    if not Path(settings["PYTHONPATH"], "snakemake_executor_plugin_slurm").is_dir():
        pytest.fail("no plugin of Snakemake for SLURM here: scripts/slurm.sh install")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", settings["SLURM_CONF"])
        patch.setenv("PYTHONPATH", settings["PYTHONPATH"], prepend=os.pathsep)
        yield Cluster()
    subprocess.run([SCRIPT, "stop"], check=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project of two cells, each a block, and three days of one year, not run yet."""
    case = Case(tmp_path_factory.mktemp("slurm") / "project")
    case.folder.mkdir()
    case.config.write_text((ROOT / "tests/config.yaml").read_text().replace("$RTS_TEST_CASE/", ""))
    case.configure(grid={"cell_px": 2048, "block_cells": 1}, evidence={"years": [2019]})
    case.cli("simulate", "corridor", "--width-km", 3, "--height-km", 3, "--slumps", 8)
    for item in sorted((case.folder / "corridor/orders/2019/PSScene").iterdir())[3:]:
        shutil.rmtree(item)
    return case


def to_convergence(case, run, review=Case.review):
    """Run and review rounds until one brings nothing new; then the run makes the inventory."""
    for k in range(1, 6):
        run(case)
        if (case.results / "inventory/outlines.parquet").exists():
            return case
        review(case, f"{k:02d}")
    raise AssertionError("no end after five rounds")


@pytest.fixture(scope="module")
def alone(project, cluster, tmp_path_factory):
    """The project, and its way to convergence without a cluster beside what else happens."""
    case = project.copy(tmp_path_factory.mktemp("slurm") / "alone")
    with ThreadPoolExecutor(1) as pool:
        yield case, pool.submit(to_convergence, case, Case.snakemake)


@pytest.fixture(scope="module")
def finished(alone):
    _, way = alone
    return way.result()


def start(case, *arguments):
    """Start the workflow through SLURM."""
    command = ["snakemake", "--snakefile", ROOT / "Snakefile", "--configfile", case.config, "--workflow-profile", PROFILE]
    with (case.folder / "snakemake.log").open("a") as out:
        return subprocess.Popen(
            [*map(str, [*command, *QUICK, *arguments])],
            cwd=case.folder,
            env=case.environment,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


def said(case):
    return (case.folder / "snakemake.log").read_text()


def finish(case, process, seconds=1800):
    try:
        assert process.wait(timeout=seconds) == 0, said(case)
    finally:
        process.kill()


def now():
    # SLURM's accounting counts whole seconds
    time.sleep(1.1)
    return time.strftime("%Y-%m-%dT%H:%M:%S")


def wait_until(what, condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.5)


def completed(rows):
    """Return how often each job succeeded."""
    return Counter(row.job for row in rows if row.state == "COMPLETED")


def once(rows, planned):
    """Tell whether each job that was planned (number of jobs by rule) succeeded, and none of them twice."""
    jobs = completed(rows)
    rules = Counter(row.rule for row in rows if row.state == "COMPLETED")
    return rules == planned and set(jobs.values()) == {1}


@pytest.fixture(scope="module")
def through_slurm(project, alone, cluster, tmp_path_factory):
    """The same project through SLURM, and what its accounting says."""
    case = project.copy(tmp_path_factory.mktemp("slurm") / "through")

    without_cluster, _ = alone

    def run(case):
        finish(case, start(case, *(() if case.reviews.exists() else LITTLE_MEMORY)))

    def review(case, k):
        """Take over the verdicts of the other: the same ones given again would hold other times."""
        given = without_cluster.reviews / f"round_{k}"
        wait_until("the verdicts", (given / "signoff.json").exists, 900)
        shutil.copytree(given, case.reviews / given.name, copy_function=shutil.copy)

    since = now()
    to_convergence(case, run, review)
    return case, cluster.rows(since)


def test_results_equal_those_without_a_cluster(through_slurm, finished):
    case, _ = through_slurm
    assert len(list(case.reviews.glob("round_*/signoff.json"))) > 1
    assert results(case) == results(finished)
    assert case.plan() == finished.plan() == {}


def test_each_job_succeeded_once(through_slurm, finished):
    _, rows = through_slurm
    # each rule measures each of its jobs
    jobs = len(list((finished.results / "benchmarks").rglob("*.tsv")))
    assert len(completed(rows)) == jobs
    assert set(completed(rows).values()) == {1}


def test_a_gpu_is_asked_for_where_one_is_needed(through_slurm):
    _, rows = through_slurm
    assert {row.rule for row in rows if row.gpus} == {"train"}
    assert all(row.gpus == 1 for row in rows if row.rule == "train")


def test_a_job_that_exceeds_its_memory_is_retried_with_more(through_slurm):
    case, rows = through_slurm
    first, second = [row for row in rows if row.rule == "chips"][:2]
    assert (first.memory, second.memory) == ("200M", "800M")
    assert first.state in {"OUT_OF_MEMORY", "FAILED", "CANCELLED"}
    assert second.state == "COMPLETED"
    # of jobs that succeeded the plugin keeps none
    logs = [path.read_text() for path in (case.folder / ".snakemake/slurm_logs/rule_chips").rglob("*.log")]
    assert any("memory limit" in log for log in logs)


@pytest.fixture(scope="module")
def outdated(finished, tmp_path_factory):
    """A finished round of which the outlines, the candidates and their evidence have to be made anew."""
    case = finished.copy(tmp_path_factory.mktemp("slurm") / "outdated")
    # as if no round had been reviewed; what came after the first stays where it is
    shutil.rmtree(case.reviews)
    case.configure(polygonize={"min_area_m2": 1000})
    return case


@pytest.fixture(scope="module")
def undisturbed(outdated, tmp_path_factory):
    """What comes of it without a cluster."""
    case = outdated.copy(tmp_path_factory.mktemp("slurm") / "undisturbed")
    case.snakemake()
    return results(case)


@pytest.fixture
def case(outdated, undisturbed, tmp_path):
    return outdated.copy(tmp_path / "case")


def test_a_node_that_goes_down(case, undisturbed, cluster):
    since, planned = now(), case.plan()
    process = start(case)
    wait_until("a job at work", cluster.running)
    node = cluster.running()[0]
    cluster.set_down(node)
    try:
        finish(case, process)
    finally:
        cluster.resume(node)
    rows = cluster.rows(since)
    assert "NODE_FAIL" in {row.state for row in rows}
    assert once(rows, planned)
    assert results(case) == undisturbed


def test_a_controller_that_is_away(case, undisturbed, finished, cluster, tmp_path):
    """One run has jobs at work when it goes, another wants to submit one while it is away."""
    late = finished.copy(tmp_path / "late")
    since, planned = now(), case.plan()
    process = start(case)
    wait_until("two jobs at work", lambda: len(cluster.running()) == 2)
    cluster.wait_for_saved_state()
    cluster.do(SCRIPT, "controller-kill")
    began = time.monotonic()
    other = start(late, "--forcerun", "report")
    wait_until("a job to be submitted", lambda: "Execute 1 jobs" in said(late))
    time.sleep(max(0, began + OUTAGE_S - time.monotonic()))
    assert "has been submitted" not in said(late)
    cluster.do(SCRIPT, "controller-start")
    finish(late, other)
    finish(case, process)
    assert "sbatch failed" not in said(case) + said(late)
    rows = cluster.rows(since)
    assert once(rows, Counter(planned) + Counter(report=1))
    assert results(case) == undisturbed
    assert results(late) == results(finished)


def test_snakemake_killed_and_started_again(case, undisturbed, cluster):
    since, planned = now(), case.plan()
    process = start(case)
    wait_until("two jobs at work", lambda: len(cluster.running()) == 2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert CANCEL in (ROOT / "docs/cluster.md").read_text()
    case.run("bash", "-c", CANCEL)
    wait_until("an empty queue", lambda: not cluster.do("squeue", "-h"))
    case.snakemake("--unlock")
    finish(case, start(case))
    rows = cluster.rows(since)
    assert "CANCELLED" in {row.state for row in rows}
    assert once(rows, planned)
    assert results(case) == undisturbed
    assert case.plan() == {}
