"""A small project on disk that the real snakemake runs on."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pyogrio
import shapely
import yaml

from rts_pipeline import io

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
NO_RESULT = {"logs", "benchmarks", ".made", "evidence_cache", "tensorboard", ".overview.json", ".selection.json"}
"""Beside logs and the cache: what planning remembers by the times of the delivered files, which those of a copy don't share."""


@dataclass
class Case:
    """A project folder with corridor/, config.yaml, results/ and reviews/."""

    folder: Path
    package: Path | None = None
    """Where the package is imported from, if not from the repository."""
    workflow: Path = ROOT
    """Where the Snakefile is."""

    @property
    def environment(self):
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        own = {"PYTHONPATH": str(self.package)} if self.package else {}
        return {**os.environ, "PATH": path, "RTS_TEST_CASE": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1", **own}

    @property
    def config(self):
        return self.folder / "config.yaml"

    @property
    def results(self):
        return self.folder / "results"

    @property
    def reviews(self):
        return self.folder / "reviews"

    def configure(self, **sections):
        """Change keys of sections of the configuration."""
        values = yaml.safe_load(self.config.read_text())
        for section, keys in sections.items():
            values.setdefault(section, {}).update(keys)
        self.config.write_text(yaml.safe_dump(values))

    def run(self, *command, check=True):
        """Run a command in the project's folder."""
        done = subprocess.run(
            [str(part) for part in command], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def snakemake(self, *arguments, check=True):
        """Run the workflow on two cores."""
        return self.run(
            "snakemake",
            *(*arguments, "--snakefile", self.workflow / "Snakefile", "--configfile", self.config, "--cores", 2),
            check=check,
        )

    def plan(self, *arguments):
        """Return what a dry run would execute: rule -> number of jobs (targets left out)."""
        text = self.snakemake(*arguments, "--dry-run", "--quiet", "rules").stdout
        table = dict(re.findall(r"^(\w+) +(\d+)$", text, re.MULTILINE))
        targets = {"all", "all_rounds", "preliminary", "crossvalidation", "total"}
        return {rule: int(count) for rule, count in table.items() if rule not in targets}

    def exchange(self, name, old, new):
        """Go on with a copy of the workflow and the package in which a file has a text exchanged for another."""
        root = self.folder / "exchanged"
        if not root.exists():
            root.mkdir()
            for part in ("Snakefile", "workflow", "envs", "src"):
                copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copyfile
                copy(ROOT / part, root / part)
        self.workflow, self.package = root, root / "src"
        path = root / name
        text = path.read_text()
        assert text.count(old) == 1, f"{name} must hold this once: {old}"
        path.write_text(text.replace(old, new))

    def cli(self, *arguments, check=True):
        """Run rts-pipeline."""
        return self.run("rts-pipeline", *arguments, check=check)

    def review(self, k, *how):
        """Judge and sign off a round; `how` says how the scripted reviewer errs."""
        at = ("--config", self.config)
        self.cli("review", "start", k, *at)
        self.cli("review", "simulate", k, "--truth", self.folder / "corridor/truth.gpkg", *how, *at)
        self.cli("review", "finish", k, *at)

    def copy(self, folder: Path) -> Case:
        """Return a copy with the same times: all paths are relative, so nothing becomes stale by moving the project."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Case(folder)


def make_case(folder: Path) -> Case:
    """Make the project and run it until the candidates of round 01 wait for review."""
    case = Case(folder)
    folder.mkdir(parents=True)
    text = (ROOT / "tests/config.yaml").read_text().replace("$RTS_TEST_CASE/", "")
    case.config.write_text(text)
    case.cli("simulate", "corridor", "--width-km", 3, "--height-km", 3, "--slumps", 8)
    case.snakemake()
    return case


def touch_later(path):
    stat = path.stat()
    os.utime(path, (stat.st_atime + 3600, stat.st_mtime + 3600))


def add_item(case, like, new_id, year):
    """Deliver an item again under another id, as another satellite's."""
    source = next((case.folder / f"corridor/orders/{year}/PSScene").glob(like))
    target = source.with_name(new_id)
    target.mkdir()
    for file in source.iterdir():
        copy = target / file.name.replace(source.name, new_id)
        shutil.copyfile(file, copy)
        if copy.name.endswith("_metadata.json"):
            values = json.loads(copy.read_text())
            values["id"] = new_id
            copy.write_text(json.dumps(values))
    return target


def deliver_over_one_cell(case):
    """Deliver a small item over a cell without labels, away from the seeds in the west; return the cell and the raster."""
    import numpy as np
    from affine import Affine

    from items import write_item

    labelled = set(case_labelled_cells(case))
    cell, bounds = next((cell, bounds) for cell, bounds in case_cells(case).items() if cell not in labelled)
    west, south, east, north = bounds
    rng = np.random.default_rng(0)
    centre_x, centre_y = (west + east) / 2, (south + north) / 2
    folder = write_item(
        case.folder / "corridor/orders/extra",
        "20190801_040000_0f0f",
        rng.integers(400, 900, (4, 100, 100)).astype(np.uint16),
        crs="EPSG:32646",
        transform=Affine(3, 0, centre_x - 150, 0, -3, centre_y + 150),
        acquired="2019-08-01T04:00:00.000000Z",
    )
    return cell, next(folder.glob("*_SR.tif"))


def case_cells(case):
    import rasterio

    cells = {}
    for path in sorted((case.results / "mosaic").glob("*_source.tif")):
        with rasterio.open(path) as dataset:
            cells[path.name.removesuffix("_source.tif")] = tuple(dataset.bounds)
    return cells


def case_labelled_cells(case):
    seeds = gpd.read_file(case.folder / "corridor/seeds.gpkg").to_crs("EPSG:32646")
    return [cell for cell, bounds in case_cells(case).items() if seeds.intersects(shapely.box(*bounds)).any()]


def shared_case(tmp_path_factory, worker_id: str, name: str = "case", change=None) -> Case:
    """Return the project with the candidates of round 01 waiting, after `change(case)`; made once for all test processes."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = shared / f"{name}.done"
        if not done.exists() and change is None:
            make_case(shared / name)
        elif not done.exists():
            change(shared_case(tmp_path_factory, worker_id).copy(shared / name))
        done.touch()
    return Case(shared / name)


def content(path: Path) -> str:
    """Return a digest of what a file says: its bytes, without the times that some kinds hold."""
    if path.suffix == ".gpkg":
        try:
            layers = {name: gpd.read_file(path, layer=name).to_wkt().to_csv() for name, _ in pyogrio.list_layers(path)}
        except pyogrio.errors.DataSourceError as error:
            return str(error)
        return io.sha256_json(layers)
    if path.name == "metrics.csv":
        return io.sha256_json(pd.read_csv(path).drop(columns="seconds").to_csv())
    return io.sha256_file(path)


def results(case):
    """Return what each result says, by name: all files but logs (of TensorBoard too), the cache, times and records of them."""
    files = [path for path in case.results.rglob("*") if path.is_file()]
    names = {path: path.relative_to(case.results) for path in files}
    return {str(name): content(path) for path, name in names.items() if not NO_RESULT & {*name.parts}}
