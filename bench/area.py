"""What each stage costs against the area and against its limit, on simulated corridors of 36, 144 and 576 km2.

python bench/area.py [FOLDER]     (make bench; 25 minutes on two cores; writes results/bench/area.json and area.png)

A run that was stopped goes on where it was: `timeout 600 python bench/area.py`, some times, does it in pieces.

Each corridor goes through the first round, a scripted review and the inventory. Costs are CPU seconds of the stages' commands
with all that they start, as the kernel counts them at their end. (Snakemake's benchmark files look at a job each half second,
and after 15 s each 30 s: of a job of 30 s half is missing there.) What a stage costs on no area, the start of its jobs above
all, is in them. The slope is that of the straight line through the logarithms of cost and area. The limit of a stage is reading
every file once that its jobs read and writing every raster once that they wrote, here and now, with no more than GDAL. Training
has a budget of steps, not of area.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import geopandas as gpd
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import rasterio
from rasterio.io import MemoryFile

from rts_pipeline.io import read_json
from rts_pipeline.records import find_records
from rts_pipeline.simulate.rehearsal import rehearse
from rts_pipeline.stages import STAGES

SIDES_KM = [6, 12, 24]
SLUMPS_PER_KM2 = 0.83
COSTS = "RTS_BENCH_COSTS"
"""Variable with the file that gets a line a command: its stage and CPU seconds."""
COMMAND = """import json, os, sys
words = sys.argv[1:3] if sys.argv[1] in ("scenes", "review") else sys.argv[1:2]
stage = "scenes" if words[-1] == "measure" else words[-1]
out = sys.argv[sys.argv.index("--out") + 1] if "--out" in sys.argv else ""
years = "_years" if os.path.splitext(out)[0].endswith("_years") else ""
_, status, used = os.wait4(os.posix_spawn("{program}", ["{program}", *sys.argv[1:]], os.environ), 0)
with open(os.environ["{costs}"], "a") as file:
    file.write(json.dumps([stage + years, used.ru_utime + used.ru_stime]) + "\\n")
sys.exit(os.waitstatus_to_exitcode(status))
"""


def note_costs(folder: Path) -> None:
    """Let a program stand for rts-pipeline in the jobs that notes what each command takes."""
    folder.mkdir(parents=True, exist_ok=True)
    program, for_bash = folder.absolute() / "command.py", folder.absolute() / "jobs.sh"
    program.write_text(COMMAND.format(program=shutil.which("rts-pipeline"), costs=COSTS))
    for_bash.write_text(f'rts-pipeline() {{ {sys.executable} {program} "$@"; }}\n')
    # bash reads it before each job
    os.environ["BASH_ENV"] = str(for_bash)


def costs_of(home: Path) -> Path:
    """Return the file with the costs of a corridor."""
    return home.with_suffix(".jsonl")


def cpu_s(home: Path) -> pd.Series:
    """Return the CPU seconds of each stage of the workflow."""
    noted = pd.DataFrame([json.loads(line) for line in costs_of(home).read_text().splitlines()], columns=["stage", "cpu_s"])
    of_jobs = noted["stage"].str.removesuffix("_years").isin(STAGES)
    return noted[of_jobs].groupby("stage")["cpu_s"].sum()


def run(folder: Path, side: int) -> Path:
    """Simulate a corridor and walk the first round on it, as far as that isn't done; returns its results."""
    home = folder / f"{side}km"
    os.environ[COSTS] = str(costs_of(home).absolute())
    corridor, config = home / "corridor", home / "config.yaml"
    if not config.exists():
        shutil.rmtree(home, ignore_errors=True)
        size = ["--width-km", str(side), "--height-km", str(side), "--slumps", str(round(SLUMPS_PER_KM2 * side**2))]
        subprocess.run(["rts-pipeline", "simulate", str(corridor), "--seed", "1", *size], check=True)
        config.write_text(Path("config/demo_small.yaml").read_text().replace("results/demo_small", str(home)))
    if not (home / "scores.json").exists():
        subprocess.run(["snakemake", "--unlock", "--configfile", str(config)], check=True)
        rehearse(config, corridor / "truth.gpkg", cores=2, max_rounds=1)
    return home


def limits(results: Path) -> dict[str, float]:
    """Return the CPU seconds of reading once what each stage read and writing once the rasters that it wrote."""
    read: dict[str, set[Path]] = defaultdict(set)
    written: dict[str, set[Path]] = defaultdict(set)
    for record in find_records(results):
        made = read_json(record)
        read[made["stage"]].update(map(Path, made["inputs"]))
        written[made["stage"]].update(record.parent.parent / name for name in made["outputs"])
    return {stage: sum(map(reading, read[stage])) + sum(map(writing, written[stage])) for stage in written}


def reading(path: Path) -> float:
    """Return the CPU seconds of reading a file."""
    start = time.process_time()
    if path.suffix == ".tif":
        with rasterio.open(path) as source:
            for _, window in source.block_windows():
                source.read(window=window)
    elif path.suffix == ".gpkg":
        gpd.read_file(path)
    elif path.suffix == ".parquet":
        pd.read_parquet(path)
    return time.process_time() - start


def writing(path: Path) -> float:
    """Return the CPU seconds of writing a raster again, without overviews; 0 for other files, which are small."""
    if path.suffix != ".tif":
        return 0.0
    with rasterio.open(path) as source:
        profile, pixels = {**source.profile, "driver": "GTiff"}, source.read()
    start = time.process_time()
    with MemoryFile() as memory, memory.open(**profile) as sink:
        sink.write(pixels)
    return time.process_time() - start


def slope(costs: pd.Series) -> float:
    """Return the exponent of costs (CPU s) by area (km2)."""
    return float(np.polyfit(np.log(costs.index.to_numpy(float)), np.log(costs.to_numpy()), 1)[0])


def draw(costs: pd.DataFrame, slopes: pd.Series, path: Path) -> None:
    """Draw costs (a column a stage, a row an area) on logarithmic axes, a panel a stage, dearest first."""
    columns = 5
    rows = -(-costs.shape[1] // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(11, 1.9 * rows), sharex=True, layout="constrained")
    for axis in axes.flat[costs.shape[1] :]:
        axis.set_axis_off()
    for axis, stage in zip(axes.flat, costs, strict=False):
        axis.loglog(costs.index, costs[stage], "o-", color="#0072b2")
        first = costs[stage].iloc[0] / costs.index[0]
        axis.loglog(costs.index, first * costs.index, "--", color="#999999", linewidth=1)
        axis.set_title(f"{stage}, slope {slopes[stage]:.2f}", fontsize=9)
        axis.set_xticks(costs.index, [str(area) for area in costs.index])
        axis.minorticks_off()
    figure.supxlabel("Area, km² (dashed: in proportion to it)")
    figure.supylabel("CPU time, s")
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("results/bench/area"))
    folder = parser.parse_args().folder
    note_costs(folder)
    homes = {side**2: run(folder, side) for side in SIDES_KM}
    costs = pd.DataFrame({area: cpu_s(home) for area, home in homes.items()}).T
    costs = costs[costs.iloc[-1].sort_values(ascending=False).index]
    least = pd.Series(limits(homes[SIDES_KM[-1] ** 2]))
    slopes = costs.apply(slope)
    out = Path("results/bench")
    out.mkdir(parents=True, exist_ok=True)
    draw(costs, slopes, out / "area.png")
    figures = {"cpu_s": costs.to_dict(), "slope": slopes.to_dict(), "limit_cpu_s": least.to_dict()}
    (out / "area.json").write_text(json.dumps(figures, indent=1))
    print("| stage |", *(f"{area} km2, CPU s |" for area in costs.index), "slope | read and write, CPU s |")
    print("|---|" + "---|" * (len(costs) + 2))
    for stage in costs:
        seconds = [f"{value:.1f} |" for value in costs[stage]]
        print(f"| {stage} |", *seconds, f"{slopes[stage]:.2f} | {least.get(stage, np.nan):.1f} |")


if __name__ == "__main__":
    main()
