import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import yaml

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {"torch": "pytorch"}
ONLY_IN_CONDA = {"python", "gdal", "libgdal-core"}


def bounds(requirements):
    split = (re.match(r"([a-z0-9-]+)(.*)", requirement).groups() for requirement in requirements)
    return {CONDA_NAMES.get(name, name): version for name, version in split}


def test_conda_environment_mirrors_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    conda = bounds(yaml.safe_load((ROOT / "envs/rts-pipeline.yaml").read_text())["dependencies"])
    assert {name: version for name, version in conda.items() if name not in ONLY_IN_CONDA} == bounds(project["dependencies"])


def test_lock_file_names_no_index_and_hashes_everything():
    text = (ROOT / "requirements.txt").read_text()
    assert "://" not in text
    assert "--index" not in text
    pinned = re.findall(r"^[a-z0-9][A-Za-z0-9._-]*==", text, re.MULTILINE)
    blocks = re.split(r"\n(?=[a-z0-9])", text)
    assert len(pinned) > 100
    assert all("--hash=sha256:" in block for block in blocks if "==" in block.split("\n")[0])


def copied_into_docker():
    lines = (ROOT / "envs/Dockerfile").read_text().splitlines()
    return {name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]}


def copied_into_apptainer():
    files = (ROOT / "envs/rts-pipeline.def").read_text().split("%files\n")[1].split("\n\n")[0]
    return {line.split()[0] for line in files.splitlines()}


def test_both_images_copy_the_same_files_and_these_exist():
    assert copied_into_docker() == copied_into_apptainer()
    assert all((ROOT / name).exists() for name in copied_into_docker())


def test_both_images_are_set_up_as_every_machine_is():
    for name in ("Dockerfile", "rts-pipeline.def"):
        assert "scripts/setup.sh" in (ROOT / "envs" / name).read_text()
    # what the package and the workflow are made from is among what is copied
    needed = {"pyproject.toml", "requirements.txt", "README.md", "scripts", "src", "workflow", "envs", "Snakefile"}
    assert needed <= copied_into_docker()


def test_what_is_copied_is_enough_to_be_built_and_to_plan(made, tmp_path):
    image = tmp_path / "image"
    image.mkdir()
    for name in copied_into_docker():
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, image / name)
    (image / "profiles").symlink_to("workflow/profiles")
    case = made.copy(tmp_path / "project")
    case.workflow, case.package = image, image / "src"
    assert case.plan() == {}
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=image, check=True, capture_output=True)
    (wheel,) = (image / "dist").iterdir()
    held = {name.removeprefix("rts_pipeline/") for name in ZipFile(wheel).namelist()}
    package = ROOT / "src/rts_pipeline"
    # also the review page, the report's map and all else that is no code
    files = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert "review/page/index.html" in files
    assert files - held == set()


def test_catalog_entry_is_what_the_catalog_reads():
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert usage["software-stack-deployment"]["conda"] is True
