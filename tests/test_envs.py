import re
import tomllib
from pathlib import Path

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
