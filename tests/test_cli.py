"""The program as a user meets it: help, mistakes, exit codes."""

import json
import os
import re
import shutil
import subprocess
import sys
import warnings

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import yaml
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning
from typer.main import get_command

import review_case
from items import write_item
from rts_pipeline.cli import app, main, with_files
from rts_pipeline.grid import Grid
from rts_pipeline.review.start import start
from rts_pipeline.review.store import open_round, read_round
from rts_pipeline.simulate import rehearsal
from workflow_case import BIN, ROOT, Case

CRS = "EPSG:32646"
WEST, NORTH = 480_000.0, 3_860_001.0
TORCH = {"torch", "torchgeo", "lightning"}


def commands(command=None, path=()):
    command = command or get_command(app)
    if hasattr(command, "commands"):
        for name, sub in command.commands.items():
            yield from commands(sub, (*path, name))
    else:
        yield path, command


@pytest.mark.parametrize(
    ("path", "command"), list(commands()), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_every_command_has_help_with_an_example(path, command):
    text = " ".join(command.help.split())
    assert f"Example: rts-pipeline {' '.join(path)}" in text
    assert all(parameter.help for parameter in command.params if parameter.param_type_name == "option")


def test_help_imports_nothing_heavy():
    script = (
        "import sys; from rts_pipeline import cli\n"
        "try: cli.app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = ('torch', 'torchgeo', 'geopandas', 'rasterio', 'snakemake', 'matplotlib', 'fastapi', 'uvicorn')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


@pytest.mark.parametrize(
    "module",
    [
        "scenes.measure",
        "scenes.catalog",
        "scenes.overlaps",
        "scenes.adjust",
        "scenes.ledger",
        "mosaic",
        "coverage",
        "labels",
        "chips",
        "validate.build",
        "predict",
        "polygonize",
        "candidates",
        "evidence",
        "review.consensus.build",
        "review.finish",
        "review.simulated",
        "inventory.build",
        "inventory.attributes",
        "export.build",
        "export.validate",
        "report.build",
        "score",
        "simulate.corridor",
        "workflow",
    ],
)
def test_only_training_imports_torch(module):
    script = f"import sys, rts_pipeline.{module}; print(sorted(set(sys.modules) & {TORCH}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def case(tmp_path):
    """A project of one small item with one seed, right in every way: each test breaks one thing."""
    case = Case(tmp_path)
    rng = np.random.default_rng(0)
    write_item(
        tmp_path / "orders/2019",
        "20190801_040000_0f0f",
        rng.integers(300, 900, (4, 200, 200)).astype(np.uint16),
        crs=CRS,
        transform=Affine(3, 0, WEST, 0, -3, NORTH),
        acquired="2019-08-01T04:00:00.000000Z",
    )
    outline(WEST, NORTH - 600, 600).to_file(tmp_path / "aoi.gpkg")
    outline(WEST + 100, NORTH - 300, 100).to_file(tmp_path / "seeds.gpkg")
    case.config.write_text(
        yaml.safe_dump(
            {
                "area": {"aoi": "aoi.gpkg"},
                "scenes": {"folders": ["orders"]},
                "labels": {"seeds": "seeds.gpkg"},
                "grid": {"cell_px": 256, "block_cells": 2},
            }
        )
    )
    return case


def outline(west, south, size, crs=CRS):
    return gpd.GeoDataFrame(geometry=[shapely.box(west, south, west + size, south + size)], crs=crs)


def refused(case, code, *told, command=None):
    """Assert that the dry run (or another command) ends with this code and one line that says all of `told`."""
    done = case.run(*(command or ()), check=False) if command else case.snakemake("--dry-run", "--quiet", "all", check=False)
    text = done.stdout + done.stderr
    assert "Traceback" not in text, text
    assert done.returncode == code, text
    lines = [line for line in text.splitlines() if line.startswith("rts-pipeline: ")]
    assert any(all(part in line for part in told) for line in lines), text


def test_the_case_is_right(case):
    assert case.plan()["scenes"] == 1


def test_an_item_in_a_zip_is_measured_by_the_workflow(case):
    order = case.folder / "orders/2019"
    item_json = "results/scenes/20190801_040000_0f0f/item.json"
    case.snakemake("--until", "scenes")
    usable = case.folder / item_json.replace("item.json", "usable.tif")
    before = usable.read_bytes()
    shutil.make_archive(str(case.folder / "orders/order 1"), "zip", order)
    shutil.rmtree(order)
    assert case.plan("--until", "scenes") == {"scenes": 1}  # another place of the files, which item.json names
    case.snakemake("--until", "scenes")
    assert usable.read_bytes() == before
    told = json.loads((case.folder / item_json).read_text())
    assert told["assets"]["reflectance"]["href"].startswith("../../../orders/order 1.zip/")
    assert case.plan("--until", "scenes") == {}


def test_no_scene_folder(case):
    case.configure(scenes={"folders": ["nowhere"]})
    refused(case, 3, "nowhere", "no such folder")


def test_empty_scene_folder(case):
    (case.folder / "empty").mkdir()
    case.configure(scenes={"folders": ["empty"]})
    refused(case, 3, "empty", "PlanetScope item")


def test_seeds_without_crs(case):
    with pytest.warns(UserWarning, match="crs"):
        gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)]).to_file(case.folder / "seeds.gpkg")
    refused(case, 3, "seeds.gpkg", "declares no CRS")


def test_invalid_seed(case):
    bow = shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])
    gpd.GeoDataFrame(geometry=[bow], crs=CRS).to_file(case.folder / "seeds.gpkg")
    refused(case, 3, "seeds.gpkg", "invalid geometry in feature 1", "Self-intersection")


def test_empty_seed_geometry(case):
    frame = gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1), shapely.Polygon()], crs=CRS)
    frame.to_file(case.folder / "seeds.gpkg")
    refused(case, 3, "seeds.gpkg", "feature 2")


def test_area_outside_the_scenes(case):
    outline(WEST + 90_000, NORTH, 600).to_file(case.folder / "aoi.gpkg")
    refused(case, 3, "aoi.gpkg", "none of the 1 usable items")


def test_unknown_key(case):
    case.configure(train={"learningrate": 0.1})
    refused(case, 2, "config.yaml", "unknown key 'train.learningrate'", "learning_rate")


def test_wrong_unit(case):
    case.configure(chips={"buffer_m": "0.3 km"})
    refused(case, 2, "config.yaml", "chips.buffer_m", "0.3 km")


def test_scene_that_breaks_half_way(case):
    path = next((case.folder / "orders").rglob("*SR*.tif"))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    refused(case, 1, path.name, "scenes.exclude", command=case_snakemake(case))
    assert not list(case.results.rglob("item.json"))
    assert not list(case.results.rglob(".tmp*"))


def case_snakemake(case):
    from workflow_case import ROOT

    return ("snakemake", "--snakefile", ROOT / "Snakefile", "--configfile", case.config, "--cores", 2, "--show-failed-logs")


def test_a_failed_stage_ends_with_its_own_code(case):
    case.plan()
    path = next((case.folder / "orders").rglob("*SR*.tif"))
    path.write_bytes(path.read_bytes()[:4000])
    command = ("rts-pipeline", "scenes", "measure", "20190801_040000_0f0f", "--scenes", "results/scenes", "--out", "batch.json")
    refused(case, 3, path.name, command=(*command, "--config", case.config))
    assert not (case.folder / "batch.json").exists()


def test_another_version_is_refused(case):
    command = ("rts-pipeline", "labels", "--seeds", "seeds.gpkg", "--out", "x.parquet", "--config", case.config)
    refused(case, 4, "labels-0", command=(*command, "--code", "labels-0"))


def test_wrong_usage_ends_with_two(case):
    assert case.cli("mosaic", "--nonsense", check=False).returncode == 2
    assert (
        case.cli("mosaic", "x1_y1", "a.json", "--out", "a", "--out-source", "b", "-c", case.config, check=False).returncode == 2
    )
    assert case.cli("status", "--config", "none.yaml", check=False).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("status", "--config", "."), ".: Is a directory; give another path"),
        (("status", "--config", "config.yaml/a"), "config.yaml/a: Not a directory"),
        (("labels", "--seeds", "seeds.gpkg", "--out", "orders", "--config", "config.yaml"), "orders: is a folder; expected"),
        (("simulate", "config.yaml"), "config.yaml: File exists"),
        (("simulate", "corridor", "--width-km", "0"), "simulate: key 'width_km' is 0.0"),
    ],
)
def test_a_path_of_another_kind_or_a_corridor_of_no_width_is_told_in_one_line(case, arguments, told):
    refused(case, 2, told, command=("rts-pipeline", *arguments))


def test_full_disk_is_told_in_one_line(case):
    done = case.run(
        "bash",
        "-c",
        "ulimit -f 0; trap '' XFSZ; rts-pipeline labels --seeds seeds.gpkg --out x.parquet -c config.yaml",
        check=False,
    )
    assert done.returncode != 0
    assert not (case.folder / "x.parquet").exists()


def test_more_paths_than_any_command_line_holds(case):
    """A string of a shell command holds 128 kB, and the arguments of a process 2 MB: rules give long lists by a file."""
    case.snakemake("--until", "scenes")
    item = json.loads((case.results / "scenes/20190801_040000_0f0f/item.json").read_text())
    raster = next((case.folder / "orders").rglob("*SR*.tif"))
    item["assets"]["reflectance"]["href"] = str(raster)
    deep = case.folder / "many" / "/".join(["and deeper" * 20] * 3)
    deep.mkdir(parents=True)
    shutil.copy(case.results / "scenes/20190801_040000_0f0f/usable.tif", deep)
    (deep / "0.json").write_text(json.dumps(item))
    names = [deep / f"{n}.json" for n in range(3400)]
    for name in names[1:]:
        name.hardlink_to(names[0])
    assert sum(len(str(name)) for name in names) > 2 * 2**20
    cell = Grid(CRS, 3.0, 256, 2).cell_at(WEST + 10, NORTH - 10)
    (case.folder / "many.smk").write_text(
        f"""
rule many:
    input: [f"{deep}/{{n}}.json" for n in range({len(names)})]
    output: "cell.tif", "source.tif"
    shell:
        "rts-pipeline mosaic {cell} @<(printf '%s\\n' {{input:q}})"
        " --out {{output[0]}} --out-source {{output[1]}} -c config.yaml"
"""
    )
    case.run("snakemake", "--snakefile", "many.smk", "--cores", 1)
    with rasterio.open(case.folder / "cell.tif") as dataset:
        assert dataset.read(1).any()


def test_what_begins_like_a_file_of_arguments_and_is_none_stays_as_it_is(tmp_path):
    (tmp_path / "lines").write_text("one two\n\n--three\n")
    assert with_files(["a", f"@{tmp_path / 'lines'}", "@ada", "@"]) == ["a", "one two", "--three", "@ada", "@"]


def test_program_starts_without_the_repository(tmp_path):
    done = subprocess.run([BIN / "rts-pipeline", "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip()


def test_status_before_anything_ran(case):
    assert "Round 01: to be computed" in case.cli("status", "--config", case.config).stdout


def test_status_asks_snakemake_where_the_environment_is_not_activated(case):
    command = [BIN / "rts-pipeline", "status", "--config", case.config, "--snakefile", ROOT / "Snakefile"]
    env = {**case.environment, "PATH": os.defpath}
    done = subprocess.run(command, cwd=case.folder, env=env, capture_output=True, text=True)
    assert "The next run of snakemake: " in done.stdout, done.stderr


def test_broken_candidates_are_told_in_one_line(case):
    folder = case.results / "rounds/01"
    folder.mkdir(parents=True)
    status = ("rts-pipeline", "status", "--config", case.config)
    (folder / "candidates.parquet").write_text("{")
    refused(case, 3, "candidates.parquet", command=status)
    for broken in ("{", "[]", '{"outlines": {"cut": 0}}'):
        (folder / "candidates.json").write_text(broken)
        refused(case, 3, "candidates.json")


def test_status_tells_what_would_run_and_why(case):
    at = ("--config", case.config, "--snakefile", ROOT / "Snakefile")
    told = case.cli("status", *at).stdout
    assert re.search(r"The next run of snakemake: \d+ jobs: .*scenes 1, ", told)
    assert "output files have to be generated:" in told
    assert len(told.splitlines()) < 24
    case.configure(train={"learningrate": 0.1})
    refused(case, 2, "unknown key 'train.learningrate'", command=("rts-pipeline", "status", *at))


def test_status_tells_whom_a_review_waits_for(open_review):
    at = ("--config", open_review.config)
    told = open_review.cli("status", *at).stdout
    assert "01  review open: 4 candidates; judged by nobody yet; waits for 4 without a verdict" in told
    assert "there is no Snakefile here" in told


@pytest.fixture
def open_review(case):
    """The project with a review of four candidates under way."""
    results, reviews = case.folder / "results", case.folder / "reviews"
    review_case.write_candidates(results)
    start(reviews, results, "01", at=review_case.AT)
    case.cli("review", "export", "01", "--reviewer", "ann", "--out", "ann.gpkg", "--config", case.config)
    return case


def verdicts(case, change):
    """Write the reviewer's file with a change, and return the command that imports it."""
    frame = gpd.read_file(case.folder / "ann.gpkg", layer="candidates")
    change(frame).to_file(case.folder / "ann.gpkg", layer="candidates")
    return ("rts-pipeline", "review", "import", "01", "ann.gpkg", "--reviewer", "ann", "--config", case.config)


def test_unknown_verdict(open_review):
    command = verdicts(open_review, lambda frame: frame.assign(decision="perhaps"))
    refused(open_review, 3, "ann.gpkg", "perhaps", "accept", command=command)
    assert read_round(open_review.reviews, "01") == []


def test_missing_candidate_in_the_verdicts(open_review):
    command = verdicts(open_review, lambda frame: frame.assign(decision="accept").iloc[1:])
    refused(open_review, 3, "ann.gpkg", "r01-0001", command=command)
    assert read_round(open_review.reviews, "01") == []


def test_unfinished_review_is_not_signed_off(open_review):
    command = ("rts-pipeline", "review", "finish", "01", "--config", open_review.config)
    refused(open_review, 4, "r01-0001", command=command)
    assert not (open_review.reviews / "round_01/signoff.json").exists()


def test_a_second_writer_is_refused(open_review):
    command = verdicts(open_review, lambda frame: frame.assign(decision="accept"))
    with open_round(open_review.reviews, "01", "bob"):
        refused(open_review, 4, "round_01", "is in use by process", command=command)
    assert read_round(open_review.reviews, "01") == []


def test_two_reviewers_by_command(case):
    """Draw, judge, exchange, compare, adjudicate, sign off: what the commands say on the way."""
    at = ("--config", case.config)
    case.configure(review={"second_share": 0.5})
    review_case.write_candidates(case.results)
    case.cli("review", "start", "01", *at)
    wanted = json.loads((case.reviews / "round_01/second_readings.json").read_text())["random"]
    rows = [f"{name},{review_case.sha(review_case.square(int(name[-1]) - 1))}" for name in (f"r01-000{n}" for n in range(1, 5))]
    second = [row for row in rows if row.split(",")[0] in wanted]
    head = "candidate_id,base_sha256,decision,possibility,reject_reason,note"
    for name, said, decision in (("ann", rows, "accept"), ("bob", second, "reject"), ("eve", second, "accept")):
        (case.folder / f"{name}.csv").write_text("\n".join([head, *(f"{row},{decision},,," for row in said)]))
    case.cli("review", "import", "01", "ann.csv", "--reviewer", "ann", *at)
    status = case.cli("review", "status", *at).stdout
    assert f"read once, to be read twice: {', '.join(wanted)}" in status
    case.cli("review", "import", "01", "bob.csv", "--reviewer", "bob", "--role", "second", *at)
    status = case.cli("review", "status", *at).stdout
    assert f"disagreements: {', '.join(wanted)}" in status
    refused(case, 4, "disagree", *wanted, command=("rts-pipeline", "review", "finish", "01", *at))
    table = json.loads(case.cli("review", "agreement", "01", "--json", *at).stdout)
    assert (table["pairs"], table["random"]["decisions"][0]) == ({"ann, bob": 2}, [0, 2, 0, 0])
    assert "ann and bob, 2 candidates" in case.cli("review", "agreement", "01", *at).stdout
    case.cli("review", "import", "01", "eve.csv", "--reviewer", "eve", "--role", "adjudicator", *at)
    case.cli("review", "export", "01", "--reviewer", "bob", "--out", "bob.jsonl", *at)
    assert "0 new events, 2 known before" in case.cli("review", "import", "01", "bob.jsonl", *at).stdout
    refused(case, 2, "--reviewer", command=("rts-pipeline", "review", "import", "01", "bob.csv", *at))
    refused(
        case,
        2,
        "bob.txt",
        ".gpkg",
        command=("rts-pipeline", "review", "export", "01", "--reviewer", "b", "--out", "bob.txt", *at),
    )
    assert "4 new slumps" in case.cli("review", "finish", "01", *at).stdout
    assert {path.name for path in (case.reviews / "round_01").glob("*.jsonl")} == {"ann.jsonl", "bob.jsonl", "eve.jsonl"}


def test_only_of_files_is_it_warned_that_they_say_no_place(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["rts-pipeline", "--version"])
    with warnings.catch_warnings(record=True) as told:
        with pytest.raises(SystemExit):
            main()
        for module in ("rasterio.warp", "rasterio.features", "rasterio"):
            said = NotGeoreferencedWarning("Dataset has no geotransform, gcps, or rpcs. The identity matrix will be returned.")
            warnings.warn_explicit(said, None, module, 1, module)
    assert [warning.filename for warning in told] == ["rasterio"]


def test_the_demo_begins_anew_but_over_no_verdict_of_a_person(tmp_path, monkeypatch):
    case = review_case.Case(tmp_path / "results/demo")
    case.decide(0, reviewer="simulated", source="simulated")
    case.decide(1, reviewer="ada")
    done = subprocess.run([BIN / "rts-pipeline", "demo"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (4, "")
    told = "results/demo/reviews: holds verdicts of ada; move or remove results/demo: the demo starts anew there"
    assert done.stderr == f"rts-pipeline: {told}\n"
    assert len(read_round(case.reviews, "01")) == 2
    shutil.rmtree(tmp_path / "results/demo")
    case = review_case.Case(tmp_path / "results/demo")
    case.decide(0, reviewer="simulated", source="simulated")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rehearsal, "_run", lambda command: None)
    monkeypatch.setattr(rehearsal, "rehearse", lambda *_, **__: None)
    rehearsal.demo(small=False, cores=1)
    assert not case.reviews.exists()
