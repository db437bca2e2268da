"""What warm start and hard negatives change in the loop of rounds, on a case that has been run as it is configured.

python bench/rounds.py demo --max-rounds 6     (after `rts-pipeline demo`)
RTS_CASE=... python bench/rounds.py real_case --max-rounds 3   (after its rehearsal)

Each variant begins with the case's mosaics and goes through the rounds with the scripted reviewer: as_configured (with the
configured seed that is the case's own run, which is taken), scratch (train.warm_start off), no_negatives (rejected outlines
are ground like any other to the windows and the network; the list of candidates still leaves them out). What is done is kept;
writes results/bench/rounds_<case>.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from rts_pipeline.config import load_config

VARIANTS: dict[str, dict[str, Any]] = {"as_configured": {}, "scratch": {"train": {"warm_start": False}}, "no_negatives": {}}
SHARED = ("scenes", "overlaps", "mosaic", "coverage", "verdicts")
STAGES = ("chips", "train", "validate")
WITHOUT_NEGATIVES = f'''"""Python loads this at its start: the learning stages get labels without hard negatives."""
import sys
from pathlib import Path
if Path(sys.argv[0]).name == "rts-pipeline" and sys.argv[1] in {STAGES!r}:
    import geopandas as gpd
    at = sys.argv.index("--labels") + 1
    plain = Path(sys.argv[at]).with_name(f"plain_{{sys.argv[1]}}.parquet")
    frame = gpd.read_parquet(sys.argv[at])
    frame[frame.kind != "negative"].to_parquet(plain)
    sys.argv[at] = str(plain)
'''


def prepare(case: str, variant: str, seed: int) -> tuple[Path, Path]:
    """Lay the variant's folder out, with what the case's own run made of the images; return configuration and folder."""
    values = yaml.safe_load(Path(f"config/{case}.yaml").read_text())
    base, folder = Path(values["results"]), Path("results/bench/rounds", case, f"{variant}_{seed}")
    folder.mkdir(parents=True)
    for name in SHARED:
        if (base / name).exists():
            shutil.copytree(base / name, folder / name, copy_function=os.link)
    values |= {"results": str(folder), "reviews": str(folder / "reviews")}
    for section, keys in VARIANTS[variant].items():
        values[section] |= keys
    values["train"] |= {"seed": seed}
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(values))
    return config, folder


def run(case: str, variant: str, seed: int, max_rounds: int, cores: int) -> dict[str, Any]:
    folder = Path("results/bench/rounds", case, f"{variant}_{seed}")
    configured = load_config(Path(f"config/{case}.yaml"))
    if variant == "as_configured" and seed == configured.train.seed:
        folder = Path(configured.results)
    elif not (folder / "scores.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        config, folder = prepare(case, variant, seed)
        environment = dict(os.environ)
        if variant == "no_negatives":
            hook = (folder / "hook").absolute()
            hook.mkdir()
            (hook / "sitecustomize.py").write_text(WITHOUT_NEGATIVES)
            environment["PYTHONPATH"] = f"{hook}:{environment.get('PYTHONPATH', '')}"
        values = yaml.safe_load(config.read_text())
        truth = Path(os.path.expandvars(values["area"]["aoi"])).with_name("truth.gpkg")
        command = [shutil.which("rts-pipeline") or "", "rehearse", "--config", str(config), "--truth", str(truth)]
        limits = ["--max-rounds", str(max_rounds), "--cores", str(cores)]
        subprocess.run([*command, *limits], env=environment, check=True)
    scores: dict[str, Any] = json.loads((folder / "scores.json").read_text())
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=["demo", "demo_small", "real_case"])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--max-rounds", type=int, default=10)
    parser.add_argument("--cores", type=int, default=2)
    args = parser.parse_args()
    figures = {}
    for variant in args.variants:
        for seed in range(args.seeds):
            scores = figures[f"{variant}_{seed}"] = run(args.case, variant, seed, args.max_rounds, args.cores)
            asked = sum(row["n_candidates"] for row in scores["per_round"])
            print(f"\n{variant}, seed {seed}: F1 {scores['f1']:.3f}, {asked} verdicts in {scores['rounds']} rounds")
            for row in scores["per_round"]:
                model, known = row["model"], row["inventory"]
                print(
                    f"  {row['round']}  asked {row['n_candidates']:4}  new {row['n_new']:4}  network P {model['precision']:.3f}"
                    f" R {model['recall']:.3f}  accepted so far P {known['precision'] or 0:.3f} R {known['recall']:.3f}"
                )
    Path(f"results/bench/rounds_{args.case}.json").write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
