"""What made each result, and what `verify` says of a folder in which something isn't as it was made."""

import json
import subprocess
import sys

import geopandas as gpd
import pytest
import shapely

from rts_pipeline import io
from rts_pipeline.records import _sha256
from rts_pipeline.stages import code

GRID = '{"grid":{"crs":"EPSG:32646","pixel_m":3.0,"cell_px":512,"block_cells":2}}'


def cli(folder, *arguments):
    command = [sys.executable, "-m", "rts_pipeline.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def project(tmp_path):
    """A folder with seeds, and the labels that the command made of them."""
    seeds = gpd.GeoDataFrame(
        {"n": [1, 2]}, geometry=[shapely.box(x, 4e6, x + 90, 4e6 + 90) for x in (5e5, 6e5)], crs="EPSG:32646"
    )
    seeds.to_file(tmp_path / "seeds.gpkg")
    done = cli(tmp_path, "labels", "--seeds", "seeds.gpkg", "--out", "results/rounds/01/labels.parquet", "--options", GRID)
    assert done.returncode == 0, done.stderr
    return tmp_path


def test_a_result_says_what_made_it(project):
    made = io.read_json(project / "results/rounds/01/.made/labels.parquet.json")
    assert made["stage"] == "labels"
    assert made["code"] == code("labels")
    assert made["options"] == json.loads(GRID)
    assert made["versions"]["rts-pipeline"]
    assert made["inputs"] == {"seeds.gpkg": io.sha256_file(project / "seeds.gpkg")}
    assert made["outputs"] == {"labels.parquet": io.sha256_file(project / "results/rounds/01/labels.parquet")}


def test_files_that_a_file_of_arguments_names_are_inputs(project):
    (project / "arguments").write_text("--seeds\nseeds.gpkg\n")
    done = cli(project, "labels", "@arguments", "--out", "results/rounds/02/labels.parquet", "--options", GRID)
    assert done.returncode == 0, done.stderr
    made = io.read_json(project / "results/rounds/02/.made/labels.parquet.json")
    assert made["inputs"] == {"seeds.gpkg": io.sha256_file(project / "seeds.gpkg")}


def test_a_file_that_an_option_names_after_an_equals_sign_is_an_input(project):
    done = cli(project, "labels", "--seeds=seeds.gpkg", "--out=results/rounds/02/labels.parquet", "--options", GRID)
    assert done.returncode == 0, done.stderr
    made = io.read_json(project / "results/rounds/02/.made/labels.parquet.json")
    assert made["inputs"] == {"seeds.gpkg": io.sha256_file(project / "seeds.gpkg")}


def test_the_checksum_of_a_result_that_changed_since_is_not_that_of_its_record(project):
    labels = project / "results/rounds/01/labels.parquet"
    recorded = io.sha256_file(labels)
    assert _sha256(labels) == recorded
    labels.write_bytes(labels.read_bytes() + b"x")
    assert _sha256(labels) == io.sha256_file(labels) != recorded


def test_a_release_without_a_record_is_named(project):
    stray = project / "results/export/stray.csv"
    stray.parent.mkdir()
    stray.write_text("a")
    done = cli(project, "verify", "results")
    assert done.returncode == 4
    assert "results/export/stray.csv: has no record of what made it" in done.stdout


def test_what_is_as_it_was_made_passes(project):
    done = cli(project, "verify", "results")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1 jobs: 0 results changed or missing, 0 from other versions or files, or without a record\n"


@pytest.mark.parametrize(
    ("change", "told", "exit_code"),
    [
        (lambda labels, seeds: labels.write_bytes(labels.read_bytes() + b"x"), "was changed after labels made it", 3),
        (lambda labels, seeds: labels.unlink(), "is missing", 3),
        (lambda labels, seeds: seeds.write_bytes(b"others"), "was made from another seeds.gpkg", 4),
        (lambda labels, seeds: seeds.unlink(), "was made from seeds.gpkg, which is gone", 4),
    ],
)
def test_what_isnt_is_named(project, change, told, exit_code):
    change(project / "results/rounds/01/labels.parquet", project / "seeds.gpkg")
    done = cli(project, "verify", "results")
    assert done.returncode == exit_code
    assert done.stdout.splitlines()[0] == f"results/rounds/01/labels.parquet: {told}"


def test_another_version_is_named(project):
    record = project / "results/rounds/01/.made/labels.parquet.json"
    record.write_text(record.read_text().replace(code("labels"), "labels-1"))
    done = cli(project, "verify", "results")
    assert done.returncode == 4
    assert f"was made by another version (labels-1; this rts-pipeline holds {code('labels')})" in done.stdout


def test_a_file_that_no_record_names_is_named(project):
    (project / "results/rounds/01/chips.parquet").write_bytes(b"from somewhere")
    done = cli(project, "verify", "results")
    assert done.returncode == 4
    assert done.stdout.splitlines()[0] == "results/rounds/01/chips.parquet: has no record of what made it"


def test_a_damaged_record_is_named(project):
    (project / "results/rounds/01/.made/labels.parquet.json").write_text('{"stage": ')
    done = cli(project, "verify", "results")
    assert done.returncode == 3
    assert "the record is damaged" in done.stdout


def test_a_folder_without_records_is_no_results_folder(tmp_path):
    done = cli(tmp_path, "verify", ".")
    assert done.returncode == 3
    assert "holds no record of what made it" in done.stderr
