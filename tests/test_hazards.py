"""What Snakemake by itself gets wrong in such a workflow: each hazard with our cure, and the proof that it bites without."""

import os
import subprocess

import pytest

from workflow_case import shared_case

AS_ON_A_CLUSTER = [
    *("--executor", "cluster-generic", "--cluster-generic-submit-cmd", "bash"),
    *("--jobs", "1", "--seconds-between-status-checks", "1"),
]
"""Each job in a process of its own that reads the Snakefile and the configuration again, here one after the other."""


@pytest.fixture
def case(tmp_path_factory, worker_id, tmp_path):
    return shared_case(tmp_path_factory, worker_id).copy(tmp_path / "case")


def as_resource(case, stage, runtime, name, instead=""):
    """Give a param of a stage to its command as a resource, which Snakemake doesn't compare; another in its place."""
    rules = "workflow/rules/candidates.smk"
    begin = f"rule {stage}:"
    rule = begin + (case.workflow / rules).read_text().split(begin)[1].split("\nrule ")[0]
    moved = rule.replace(f'        {name}=project.{name}("{stage}"),\n', f"        {instead}\n" if instead else "")
    moved = moved.replace(f"{runtime},\n", f'{runtime},\n        {name}=project.{name}("{stage}"),\n')
    moved = moved.replace(f"{{params.{name}", f"{{resources.{name}")
    assert moved.count(f"{name}=project") == moved.count(f"resources.{name}") == 1
    case.exchange(rules, rule, moved)


def fail_in_a_rerun(case):
    """Let the one stale job fail once: what it reads is broken meanwhile, and whole again with its old time afterwards."""
    read = next((case.results / "rounds/01/outlines").glob("*.parquet"))
    whole, times = read.read_bytes(), (read.stat().st_atime_ns, read.stat().st_mtime_ns)
    case.configure(candidates={"growth": 0.9})
    read.write_bytes(b"broken")
    os.utime(read, ns=times)
    failed = case.snakemake(check=False)
    assert failed.returncode == 1
    assert read.name in failed.stderr
    assert not (case.results / "rounds/01/candidates.parquet").exists()
    read.write_bytes(whole)
    os.utime(read, ns=times)


def test_a_job_that_fails_in_a_rerun_runs_again(case):
    fail_in_a_rerun(case)
    assert case.plan() == {"candidates": 1, "evidence": 1}


def test_without_every_file_as_a_target_it_is_taken_for_done(case):
    case.exchange("Snakefile", "        scene_files(),\n        round_files(project.wanted_rounds()),\n", "        LAST,\n")
    case.exchange("Snakefile", "rule all:\n", 'LAST = f"{RESULTS}/rounds/01/evidence"\n\n\nrule all:\n')
    fail_in_a_rerun(case)
    assert case.plan() == {}


def edit_during_a_run(case):
    """Edit the configuration between a run's first job and its last; return the smallest outline's area (m2)."""
    import geopandas as gpd

    case.configure(polygonize={"min_area_m2": 1200})
    command = ["snakemake", "--snakefile", case.workflow / "Snakefile", "--configfile", case.config, *AS_ON_A_CLUSTER]
    with (case.folder / "run.log").open("w") as log:
        run = subprocess.Popen(
            [str(part) for part in command],
            cwd=case.folder,
            env=case.environment,
            stderr=subprocess.PIPE,
            stdout=log,
            text=True,
        )
        for line in run.stderr:
            log.write(line)
            if line.startswith("Select jobs to execute"):
                case.configure(polygonize={"min_area_m2": 6000})
                break
        log.write(run.stderr.read())
        assert run.wait() == 0, (case.folder / "run.log").read_text()
    return gpd.read_parquet(case.results / "rounds/01/outlines.parquet")["area_m2"].min()


def test_a_run_ends_with_the_configuration_that_it_began_with(case):
    assert edit_during_a_run(case) < 6000
    assert case.plan() == {"polygonize": 4, "candidates": 1, "evidence": 1}


def test_without_the_frozen_configuration_jobs_take_the_edited_one(case):
    case.exchange("src/rts_pipeline/workflow/snakefile.py", "if not main_process and (frozen :=", "if False and (frozen :=")
    assert edit_during_a_run(case) >= 6000


def exchange_two_values(case):
    case.configure(evidence={"margin_m": 96.0, "min_size_px": 150})
    case.snakemake()
    case.configure(evidence={"margin_m": 150.0, "min_size_px": 96})


def test_values_that_change_places_are_noticed(case):
    exchange_two_values(case)
    assert case.plan() == {"evidence": 1}


def test_as_a_param_each_they_are_not(case):
    values = "margin=int(project.config.evidence.margin_m),\n        size=project.config.evidence.min_size_px,"
    as_resource(case, "evidence", "minutes(240)", "options", instead=values)
    exchange_two_values(case)
    assert case.plan() == {}


def raise_the_version(case):
    before = '"polygonize": Stage('
    case.exchange("src/rts_pipeline/stages.py", before, before + "99")


def test_other_code_is_noticed(case):
    raise_the_version(case)
    assert case.plan() == {"polygonize": 4, "candidates": 1, "evidence": 1}


def test_without_its_version_as_a_param_it_is_not(case):
    as_resource(case, "polygonize", "minutes(60)", "code")
    case.snakemake()
    raise_the_version(case)
    assert case.plan() == {}
