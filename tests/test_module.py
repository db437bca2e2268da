"""The workflow as a part of another one: each region with its own prefix of rules, configuration, results and reviews."""

import os
import re
import subprocess
import time

import geopandas as gpd
import numpy as np
import pytest
import shapely
import yaml
from affine import Affine

from items import write_item
from rts_pipeline import workflow
from rts_pipeline.config import validate_config
from rts_pipeline.workflow.frozen import freeze, variable_of
from test_leftovers import left_by_a_killed_process
from workflow_case import ROOT, Case

CRS = "EPSG:32646"
WEST, NORTH = 480_000.0, 3_860_001.0
REGIONS = ("north", "south")
VALUES = {
    "area": {"aoi": "aoi.gpkg"},
    "scenes": {"folders": ["orders"]},
    "labels": {"seeds": "seeds.gpkg"},
    "grid": {"crs": CRS},
}


def region(folder, name, west):
    """One item, two seeds and an area in a folder of their own; return the configuration."""
    pixels = np.full((4, 200, 200), 1000, np.uint16)
    place = Affine(3, 0, west, 0, -3, NORTH)
    write_item(folder / f"{name}/orders", "20190801_040000_0f0f", pixels, crs=CRS, transform=place)
    square = shapely.box(west, NORTH - 600, west + 600, NORTH)
    gpd.GeoDataFrame(geometry=[square], crs=CRS).to_file(folder / f"{name}/aoi.gpkg")
    slumps = [shapely.box(x, NORTH - 300, x + 60, NORTH - 240) for x in (west + 100, west + 400)]
    gpd.GeoDataFrame(geometry=slumps, crs=CRS).to_file(folder / f"{name}/seeds.gpkg")
    values = yaml.safe_load((ROOT / "tests/config.yaml").read_text())
    values |= {
        "results": f"{name}/results",
        "reviews": f"{name}/reviews",
        "area": {"aoi": f"{name}/aoi.gpkg", "region": name, "creator_lab": "tests"},
        "scenes": {"folders": [f"{name}/orders"]},
        "labels": {"seeds": f"{name}/seeds.gpkg"},
        "attributes": {},
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))


@pytest.fixture
def project(tmp_path):
    for number, name in enumerate(REGIONS):
        region(tmp_path, name, WEST + 20_000 * number)
    modules = "".join(
        f"""
module {name}:
    snakefile: "{ROOT}/Snakefile"
    config: yaml.safe_load(Path("{name}.yaml").read_text())

use rule * from {name} as {name}_*
"""
        for name in REGIONS
    )
    imports = "import yaml\nfrom pathlib import Path\n"
    target = "\nrule all:\n    default_target: True\n    input: rules.north_all.input, rules.south_all.input\n"
    (tmp_path / "Snakefile").write_text(imports + modules + target)
    return Case(tmp_path)


def snakemake(project, *arguments, check=True):
    return project.run("snakemake", "--snakefile", "Snakefile", "--cores", 1, *arguments, check=check)


def test_two_regions_are_planned_side_by_side(project):
    done = snakemake(project, "--dry-run", "--printshellcmds")
    text = done.stdout + done.stderr
    commands = [line for line in text.splitlines() if "rts-pipeline " in line and "--options" in line]
    for name, other in (REGIONS, REGIONS[::-1]):
        assert f"Missing output files: {name}/results/scenes/batches/20190801_1.json" in text
        mine = [line for line in commands if f"{name}/results/" in line]
        assert len(mine) == len(commands) // 2 >= 10
        assert not any(f"{other}/" in line for line in mine)


def test_a_regions_items_are_measured_into_its_own_results(project):
    snakemake(project, "--until", "north_mosaic")
    mosaics = sorted((project.folder / "north/results/mosaic").glob("*.tif"))
    assert len(mosaics) >= 2
    assert not (project.folder / "south/results/mosaic").exists()
    text = snakemake(project, "--until", "north_mosaic", "south_mosaic", "--dry-run", "--quiet", "rules").stdout
    assert set(re.findall(r"^(\w+) +\d+$", text, re.MULTILINE)) == {"south_scenes", "south_mosaic", "total"}


def test_the_jobs_of_a_region_take_its_own_frozen_state(monkeypatch):
    regions = [validate_config({**VALUES, "results": f"{name}/results", "reviews": f"{name}/reviews"}, "t") for name in REGIONS]
    for settings in regions:
        name = variable_of({"results": settings.results})
        monkeypatch.setenv(name, freeze(settings, workflow.Rounds([], "01", None)))
    for settings in regions:
        edited = {**VALUES, "results": settings.results, "train": {"nonsense": 1}}
        assert workflow.load_project(edited, "edited.yaml", main_process=False).config == settings


def test_each_region_is_tidied_and_looked_at_before_a_run(project):
    results = {name: project.folder / f"{name}/results" for name in REGIONS}
    lefts = [left_by_a_killed_process(folder / "mosaic/value.txt") for folder in results.values()]
    snakemake(project, "--dry-run")
    assert not any(left.exists() for left in lefts)
    future = results["south"] / "mosaic/late.txt"
    future.write_text("x")
    os.utime(future, (time.time() + 3600,) * 2)
    told = snakemake(project, "--until", "north_scenes", check=False)
    assert told.returncode == 4
    assert "rts-pipeline: south/results/mosaic/late.txt: is of" in told.stderr
    assert not list(results["north"].rglob("item.json"))


def test_a_region_whose_results_may_not_be_written_is_told_before_a_run(project):
    if os.getuid() != 0:
        pytest.skip("only root can mount")
    snakemake(project, "--dry-run")
    south = project.folder / "south/results"
    subprocess.run(["mount", "--bind", south, south], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", south], check=True)
        told = snakemake(project, "--until", "north_scenes", check=False)
    finally:
        subprocess.run(["umount", "--lazy", south], check=True)
    assert told.returncode == 3
    assert len(re.findall(r"^rts-pipeline: south/results/.*Read-only file system", told.stderr, re.MULTILINE)) == 1
    assert not list((project.folder / "north/results").rglob("item.json"))
