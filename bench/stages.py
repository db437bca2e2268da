"""What each stage of a run cost, from the benchmark files that the workflow wrote: a Markdown table on stdout.

python bench/stages.py results/demo
"""

import sys
from pathlib import Path

import pandas as pd

PARTS = {"scenes", "overlaps", "mosaic", "coverage", "predict", "polygonize"}
"""Stages of many jobs: a folder each."""


def stage_of(path: Path) -> str:
    """Return the stage of a benchmark file: scenes/<item>, rounds/<k>/predict/<block>, catalog, ..."""
    if path.parent.name not in PARTS:
        return path.stem
    return "overlaps_years" if path.stem.endswith("_years") else path.parent.name


def summary(folder: Path) -> pd.DataFrame:
    """Return a row a stage: jobs, wall_s and cpu_s of all of them, max_rss_mb of the largest."""
    files = sorted((folder / "benchmarks").rglob("*.tsv"))
    rows = pd.concat([pd.read_csv(file, sep="\t", na_values="-").assign(stage=stage_of(file)) for file in files])
    table = rows.groupby("stage").agg(
        jobs=("s", "size"), wall_s=("s", "sum"), cpu_s=("cpu_time", "sum"), max_rss_mb=("max_rss", "max")
    )
    return table.sort_values("cpu_s", ascending=False).round(1)


if __name__ == "__main__":
    table = summary(Path(sys.argv[1]))
    print("| stage | jobs | wall s | CPU s | largest job, MB |\n|---|---|---|---|---|")
    for row in table.itertuples():
        print(f"| {row.Index} | {row.jobs} | {row.wall_s} | {row.cpu_s} | {row.max_rss_mb:.0f} |")
