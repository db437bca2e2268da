"""docs/inspect.md: the outputs that it shows are those of the real commands, but for times and the number of candidates."""

import re
import shutil

import pytest

from workflow_case import ROOT

PAGE = (ROOT / "docs/inspect.md").read_text()
SHOWN = dict(re.findall(r"^```\n\$ (.+)\n((?:(?!\$|```).*\n)+)```$", PAGE, re.MULTILINE))
"""What the page shows, by command."""
TIME = re.compile(r"[A-Z][a-z]{2} [A-Z][a-z]{2} +\d+ \d\d:\d\d:\d\d \d{4}")
CANDIDATES = re.compile(r"\d+ candidates (?=ready|wait)")
"""How many a network finds may differ between sorts of CPU."""


@pytest.fixture(scope="module")
def case(made, tmp_path_factory):
    """A project as a user has it, all done, of which the smallest area was raised: with the workflow in its folder."""
    case = made.copy(tmp_path_factory.mktemp("inspect") / "project")
    case.configure(polygonize={"min_area_m2": 1200})
    (case.folder / "config").mkdir()
    case.config.rename(case.folder / "config/config.yaml")
    shutil.copyfile(ROOT / "Snakefile", case.folder / "Snakefile")
    for part in ("workflow", "envs"):
        shutil.copytree(ROOT / part, case.folder / part)
    return case


def plain(line):
    return CANDIDATES.sub("N candidates ", TIME.sub("TIME", " ".join(line.split())))


def pattern(line):
    """Return what matches a line that the page shows: `...` stands for anything."""
    return ".*".join(re.escape(part) for part in plain(line).split("..."))


def test_every_command_of_the_page_is_shown_with_its_output():
    of_snakemake = ("-n --quiet rules", "-n", "--summary", "--rulegraph", "--dag", "--list-params-changes")
    commands = {"rts-pipeline status", *(f"snakemake {how}" for how in of_snakemake)}
    assert set(SHOWN) == commands


@pytest.mark.parametrize("command", SHOWN)
def test_the_page_shows_what_the_command_says(case, command):
    said = plain(case.run(*command.split()).stdout)
    # in this order; what lies between two lines may have been left out
    shown = ".*?".join(pattern(line) for line in SHOWN[command].splitlines())
    assert re.search(shown, said), f"$ {command}\n{said}"


def test_the_numbers_that_the_page_tells(case):
    nodes = re.findall(r"^\t\d+\[label", case.run("snakemake", "--rulegraph").stdout, re.MULTILINE)
    assert f"a node a rule: {len(nodes)} nodes" in PAGE
    listed = case.run("snakemake", "--list-params-changes").stdout.split()
    assert f"{len(listed)}\nfiles here" in PAGE
