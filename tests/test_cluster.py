"""What a cluster is told, without a cluster: the profile, the memory of the rules, the commands of docs/cluster.md."""

import os
import re
import stat
import subprocess

import pytest
import yaml

from workflow_case import ROOT

PROFILES = ROOT / "workflow/profiles"
CLUSTER, RESULTS = ROOT / "docs/cluster.md", ROOT / "docs/results.md"
SBATCH = ROOT / "src/rts_pipeline/slurm/sbatch"
WITHOUT_A_TABLE = {"all", "all_rounds", "preliminary", "crossvalidation"}
SNAKEMAKE_MB = 250


def resources(name):
    """Return what each rule says of a resource (None: nothing), also those that take it over from another rule."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    begin = re.compile(r"^(?:use rule (?P<like>\w+) as (?P<heir>\w+) with|rule (?P<rule>\w+)):$", re.MULTILINE)
    starts = [*begin.finditer(text)]
    ends = [*(start.start() for start in starts[1:]), len(text)]
    own = {}
    for start, end in zip(starts, ends, strict=True):
        found = re.search(rf"^        {name}=(.+),$", text[start.end() : end], re.MULTILINE)
        own[start["rule"] or start["heir"]] = found[1] if found else own[start["like"]] if start["like"] else None
    assert len(own) > 25
    return own


def profile(name):
    return yaml.safe_load((PROFILES / name / "config.yaml").read_text())


def test_the_cluster_profile_says_what_the_default_one_says():
    """Snakemake reads one of them only."""
    default, slurm = profile("default"), profile("slurm")
    del default["resources"]
    assert {key: slurm.get(key) for key in default} == default


def test_each_rule_that_may_ask_for_a_gpu_has_its_place_in_the_profile():
    asking = {rule: asked for rule, asked in resources("gpu").items() if asked}
    text = (PROFILES / "slurm/config.yaml").read_text()
    always = {rule for rule, asked in asking.items() if "placement" in asked}
    assert set(profile("slurm")["set-resources"]) == always == {"train", "train_fold"}
    # those of predict.device once their comment is taken away
    whole = yaml.safe_load(re.sub(r"^#(  .*:.*)$", r"\1", text, flags=re.MULTILINE))
    assert whole["set-resources"] == {rule: {"slurm_partition": "gpu"} for rule in asking}
    said = CLUSTER.read_text().partition("## GPUs")[2].partition("\n## ")[0]
    assert {rule for rule in asking if f"`{rule}`" not in said} == set()


def largest_jobs():
    """Return the MB of the largest job measured, by stage, from the tables of docs/results.md."""
    text = RESULTS.read_text().partition("## What the stages cost")[2].partition("\n**Inventories**")[0]
    return {name: int(mb) for name, mb in re.findall(r"^\| (\w+) \|.*\| (\d+) \|$", text, re.MULTILINE)}


def test_every_rule_asks_for_twice_the_memory_that_was_measured():
    measured, asked = largest_jobs(), resources("mem_mb")
    folds = {rule for rule in asked if rule.endswith("_fold")}
    assert set(measured) == set(asked) - folds - WITHOUT_A_TABLE
    memory = {rule: int(re.fullmatch(r"memory\((\d+)\)", text)[1]) for rule, text in asked.items()}
    assert {rule: mb for rule, mb in measured.items() if memory[rule] < 2 * mb + SNAKEMAKE_MB} == {}


def test_every_rule_says_how_long_its_jobs_may_take():
    """On a cluster a job without a time gets the partition's, which may be minutes or days."""
    asked = resources("runtime")
    assert {rule for rule, text in asked.items() if not re.fullmatch(r"minutes\(\d+\)", text or "")} <= WITHOUT_A_TABLE


def program(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def with_programs(folder, **environment):
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", **environment}


def test_only_the_jobs_of_the_project_are_cancelled(tmp_path):
    """After a snakemake that was killed, by the line of the docs; test_slurm.py does it on a real SLURM."""
    project, bin_folder = tmp_path / "a project", tmp_path / "bin"
    for folder in (project, bin_folder):
        folder.mkdir()
    (tmp_path / "link").symlink_to(project)
    jobs = f"11 {project}\n12 {project} 2\n13 /elsewhere\n14 {tmp_path}\n15 {project}\n"
    program(bin_folder, "squeue", f'[ "$*" = "--me -h -o %A %Z" ] && printf %s "{jobs}"')
    program(bin_folder, "scancel", 'echo "$@"')
    (line,) = re.findall(r"^squeue .*scancel$", CLUSTER.read_text(), re.MULTILINE)
    done = subprocess.run(
        ["bash", "-c", f"cd {tmp_path}/link; {line}"], env=with_programs(bin_folder), capture_output=True, text=True, check=True
    )
    assert done.stdout == "11 15\n"


AWAY = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"
FULL = "sbatch: error: Batch job submission failed: Invalid partition name specified"


@pytest.mark.parametrize(
    ("answers", "code", "out", "told"),
    [
        ([("", 0)], 0, "42 --parsable job.sh\n", ""),
        ([(AWAY, 1), (AWAY, 1), ("", 0)], 0, "42 --parsable job.sh\n", ""),
        ([(FULL, 7)], 7, "", f"{FULL}\n"),
        ([(AWAY, 1), (FULL, 7)], 7, "", f"{FULL}\n"),
    ],
    ids=["at once", "away twice", "refused", "away, then refused"],
)
def test_a_submission_outlasts_a_controller_that_is_away(tmp_path, answers, code, out, told):
    """SLURM's own sbatch answers as it is told, one time after the other; waiting takes no time here."""
    for number, (error, ends) in enumerate(answers):
        say = f'echo "{error}" >&2' if error else 'echo 42 "$@"'
        (tmp_path / f"answer{number}").write_text(f"{say}\nexit {ends}\n")
    program(
        tmp_path,
        "sbatch",
        f'n=$(ls "{tmp_path}"/asked* 2>/dev/null | wc -l); touch "{tmp_path}/asked$n"; . "{tmp_path}/answer$n"',
    )
    program(tmp_path, "sleep", ":")
    environment = with_programs(SBATCH.parent, PATH=f"{SBATCH.parent}{os.pathsep}{tmp_path}{os.pathsep}{os.environ['PATH']}")
    done = subprocess.run(["sbatch", "--parsable", "job.sh"], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, out, told)
    assert len(list(tmp_path.glob("asked*"))) == len(answers)
