"""How well networks learn: ours against torchgeo's stock task, and what each of our choices buys, on blocks held out.

RTS_CASE=... python bench/learning.py real --variants ours stock
python bench/learning.py demo --variants ours strong rgb ndvi ring no_negatives   (after `rts-pipeline demo`)

real: real pixels and outlines as config/real_case.yaml describes them; demo: the simulated corridor with all its slumps as
labels and the outlines that the first review rejected as hard negatives (first: the seeds alone as labels; warm: from first's
networks on, with all labels, in WARM_EPOCHS; short: as many epochs from scratch; ensemble: of each three of ours); raw: the
same, of items that were not made to agree; other_year: the networks of raw, judged on the images and slumps of another year;
other_sensor: the same with the bands' values changed as much as generations of the satellites differ.
Every variant learns from the same windows, sees as many of them, and is scored on the test blocks that neither training nor
choice saw. What is done is kept in results/bench/learning/<case>, so that a run goes on where another ended; the figures go to
results/bench/learning.json (real), learning_<case>.json (the others).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import geopandas as gpd
import numpy as np
import rasterio
import torch
import yaml
from lightning.pytorch import Trainer, seed_everything
from torchgeo.trainers import SemanticSegmentationTask

from rts_pipeline import io
from rts_pipeline.cells import Mosaics
from rts_pipeline.chips import build_chips
from rts_pipeline.config import Chips, Config, Inference, Placement, Time, load_config
from rts_pipeline.labels import IGNORE, build_labels
from rts_pipeline.learning import datasets, network, task
from rts_pipeline.learning import train as training
from rts_pipeline.learning.augment import Geometric
from rts_pipeline.learning.datamodule import collate
from rts_pipeline.learning.inputs import Inputs, Normalisation
from rts_pipeline.learning.torch_engine import load_network
from rts_pipeline.options import ChipsOptions, LabelsOptions, TrainOptions, ValidateOptions, options_json, parse_options
from rts_pipeline.validate import build as judging
from rts_pipeline.validate.choice import Choice
from rts_pipeline.workflow import resolve_grid

ROOT = Path("results/bench/learning")
HERE = Placement(device="auto", workers=0)
STEPS = {"real": 600, "demo": 300, "raw": 300, "other_year": 0, "other_sensor": 0}
GAINS = [1.10, 1.05, 0.95, 0.92]
"""Of blue, green, red, near infrared: generations of PlanetScope differ by 5 to 10 % where they are not harmonised."""
EPOCHS, WARM_EPOCHS = 10, 3
OTHER_YEAR = 2018
CHIPS = {"block_m": 3072.0, "validation_fraction": 0.2, "test_fraction": 0.3, "guard_px": None}
NONE = {"gain": 0.0, "contrast": 0.0, "gamma": 0.0, "haze_share": 0.0, "blur_share": 0.0, "noise_share": 0.0}
STRONG = {"gain": 0.15, "contrast": 0.25, "gamma": 0.15, "haze": 0.3, "blur_px": (0.3, 1.0), "noise": 0.05}
VARIANTS: dict[str, dict[str, Any]] = {
    "ours": {},
    "stock": {},
    "no_photometric": {"radiometric": None},
    "strong": {"radiometric": STRONG},
    "strong_jitter": {"radiometric": NONE | {"gain": 0.15, "contrast": 0.25, "gamma": 0.15}},
    "strong_haze": {"radiometric": NONE | {"haze": 0.3, "haze_share": 0.3}},
    "strong_blur": {"radiometric": NONE | {"blur_px": (0.3, 1.0), "blur_share": 0.3}},
    "strong_noise": {"radiometric": NONE | {"noise": 0.05, "noise_share": 0.5}},
    "half": {"draws": "half"},
    "bce": {"loss": "bce"},
    "constant": {"schedule": "constant"},
    "no_scale": {"geometric": {"scale_share": 0.0}},
    "rgb": {"train": {"bands": ["blue", "green", "red"]}},
    "ndvi": {"train": {"ndvi": True}},
    "ring": {"labels": {"boundary_ignore_m": 4.5}},
    "no_negatives": {},
    "first": {},
    "warm": {},
    "short": {"train": {"epochs": WARM_EPOCHS}},
}


class Case:
    """Mosaics, labels and windows of a case."""

    def __init__(self, name: str, longer: int) -> None:
        self.name, self.folder, self.longer = name, ROOT / name, longer
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = Path("config/real_case.yaml" if name == "real" else "config/demo.yaml")
        self.config = self._config()
        self.labels, self.chips = self.folder / "labels.parquet", self.folder / "chips.parquet"
        self.mosaics = self._mosaics()
        if not self.chips.exists():
            self._write_labels()
            options = ChipsOptions(grid=self.config.grid, chips=self.config.chips)
            build_chips(self.labels, self.mosaics, self.chips, options)

    def _config(self) -> Config:
        given = load_config(self._file)
        if self.name != "demo":
            given = given.model_copy(update={"results": str(self.folder / "results")})
        if self.name.startswith("other"):
            given = given.model_copy(update={"time": Time(target_year=OTHER_YEAR)})
        given = resolve_grid(given)
        chips = Chips.model_validate({**given.chips.model_dump(), **CHIPS})
        length = {"epochs": EPOCHS * self.longer, "warm_epochs": WARM_EPOCHS * self.longer}
        length["steps_per_epoch"] = STEPS[self.name] // EPOCHS
        train = given.train.model_copy(update=length)
        return given.model_copy(update={"chips": chips, "train": train})

    def _mosaics(self) -> list[Path]:
        folder = Path(self.config.results) / "mosaic"
        if self.name == "other_sensor" and not folder.exists():
            for mosaic in Case("other_year", self.longer).mosaics:
                with rasterio.open(mosaic) as source, io.new_cog(folder / mosaic.name, **_layout(source)) as out:
                    out.write(np.rint(source.read() * np.array(GAINS)[:, None, None]).astype(source.dtypes[0]))
                    out.descriptions = source.descriptions
        elif self.name != "demo" and not folder.exists():
            file = self.folder / "config.yaml"
            values = yaml.safe_load(self._file.read_text())
            if self.name != "real":
                del values["adjust"]
            values["time"] = {"target_year": self.config.time.target_year}
            file.write_text(yaml.safe_dump({**values, "results": self.config.results}))
            subprocess.run(["snakemake", "--cores", "2", "--configfile", file, "--until", "mosaic"], check=True)
        return sorted(path for path in folder.glob("*.tif") if not path.stem.endswith("_source"))

    def _write_labels(self) -> None:
        truth = gpd.read_file(Path(self.config.area.aoi).with_name("truth.gpkg"))
        reviews = []
        if self.name != "real":
            truth = truth[truth.year == self.config.time.target_year]
            rows = gpd.read_parquet(Path(self.config.reviews) / "round_01/reviewed.parquet")
            io.write_parquet(self.folder / "rejected.parquet", rows[rows.decision == "reject"])
            reviews = [self.folder / "rejected.parquet"]
        truth[["geometry"]].to_file(self.folder / "seeds.gpkg")
        build_labels(self.folder / "seeds.gpkg", reviews, self.labels, LabelsOptions(grid=self.config.grid))

    def first_labels(self) -> Path:
        """Return labels of the slumps alone that the first round knows."""
        path = self.folder / "labels_first.parquet"
        build_labels(Path(self.config.labels.seeds), [], path, LabelsOptions(grid=self.config.grid))
        return path

    def without_negatives(self) -> tuple[Path, Path]:
        """Return labels and windows in which a rejected outline is ground like any other."""
        labels, chips = self.folder / "labels_plain.parquet", self.folder / "chips_plain.parquet"
        frame = gpd.read_parquet(self.labels)
        io.write_parquet(labels, frame[frame.kind != "negative"])
        table = gpd.read_parquet(self.chips)
        io.write_parquet(chips, table.assign(kind=table.kind.replace("negative", "background")))
        return labels, chips


def _layout(source: Any) -> dict[str, Any]:
    return {name: source.profile[name] for name in ("count", "dtype", "height", "width", "crs", "transform", "nodata")}


def train_ours(case: Case, variant: str, seed: int, out: Path) -> None:
    changes = VARIANTS[variant]
    labels, chips = case.without_negatives() if variant == "no_negatives" else (case.labels, case.chips)
    if variant == "first":
        labels = case.first_labels()
    previous = case.folder / "first" / str(seed) if variant == "warm" else None
    options = TrainOptions(
        grid=case.config.grid,
        labels=case.config.labels.model_copy(update=changes.get("labels", {})),
        train=case.config.train.model_copy(update={**changes.get("train", {}), "seed": seed}),
    )
    with ExitStack() as stack:
        for what, name, value in _replaced(changes):
            stack.enter_context(patch.object(what, name, value))
        training.train(chips, labels, case.mosaics, out, options, HERE, previous=previous, round="01")


def _replaced(changes: dict[str, Any]) -> Iterator[tuple[Any, str, Any]]:
    """Yield what of the product a variant replaces: of what, which attribute, by what."""
    radiometric: dict[str, Any] | None = changes.get("radiometric", {})
    kept = training.Radiometric
    changed = (lambda *rest: torch.nn.Identity()) if radiometric is None else type("Radiometric", (kept,), radiometric)
    yield training, "Radiometric", changed
    for name, value in changes.get("geometric", {}).items():
        yield Geometric, name, value
    if "draws" in changes:
        yield datasets, "weights", half_with_a_slump
    if "loss" in changes:
        yield task.SegmentationLoss, "forward", cross_entropy
    if "schedule" in changes:
        yield task.SlumpTask, "configure_optimizers", lambda self: torch.optim.AdamW(self.parameters(), self.hparams["lr"])


def half_with_a_slump(chips: gpd.GeoDataFrame, slumps: gpd.GeoSeries) -> np.ndarray:
    """Return draw probabilities: half for windows that hold a slump, however few the others are."""
    held = chips.intersects(slumps.union_all()).to_numpy()
    return np.where(held, 0.5 / held.sum(), 0.5 / (~held).sum())


def cross_entropy(self: task.SegmentationLoss, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the first part of the loss alone."""
    scored = target != IGNORE
    value: torch.Tensor = self.pixel(logits.squeeze(1)[scored].float(), target[scored].float())
    return value


def train_stock(case: Case, seed: int, out: Path) -> None:
    """torchgeo's task as it comes: its loss, optimiser and schedule; the same windows, drawn evenly, not augmented."""
    seed_everything(seed, verbose=False)
    setting, grid = case.config.train, case.config.grid.grid()
    chips = gpd.read_parquet(case.chips)
    table = chips[chips.split == "train"].assign(weight=lambda rows: 1 / len(rows))
    with Mosaics(case.mosaics, grid, setting.bands) as reader:
        normalisation = training.measure(table, reader, grid, ndvi=False)
        example = reader.read(training._box(table.iloc[0], grid))[None].astype(np.float32)
    joined = datasets.open_datasets(case.mosaics, case.labels, grid, setting.bands, 0.0)
    inputs = Inputs(setting.bands, normalisation)
    draws = setting.steps_per_epoch * setting.batch_size
    samplers = [
        datasets.ChipSampler(joined, table, draws=draws, seed=seed),
        datasets.ChipSampler(joined, chips[chips.split == "validation"]),
    ]
    loaders = [torch.utils.data.DataLoader(joined, setting.batch_size, sampler=s, collate_fn=collate) for s in samplers]
    stock = SemanticSegmentationTask("deeplabv3+", setting.encoder, in_channels=len(setting.bands), task="binary", loss="bce")
    stock.on_after_batch_transfer = lambda batch, index: {**batch, "image": inputs(batch["image"])[0]}
    Trainer(max_epochs=setting.epochs, precision="bf16-mixed", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False).fit(stock, *loaders)  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    model = network.Ensemble([stock.model.eval()])
    export(model, normalisation, example, {"bands": setting.bands, "temperature": 1.0}, out)


def export(model: Any, normalisation: Normalisation, example: np.ndarray, facts: dict[str, Any], out: Path) -> None:
    inputs = Inputs(facts["bands"], normalisation)
    network.save_weights(model, out / "weights.pt")
    network.export_onnx(network.Exported(model, inputs, facts["temperature"]), example, out / "network.onnx")
    facts["sha256"] = {name: io.sha256_file(out / name) for name in ("weights.pt", "network.onnx")}
    facts["normalisation"] = vars(normalisation)
    io.write_json(out / "model.json", facts)


def ensemble(case: Case, members: list[Path], out: Path) -> None:
    """Unite networks that are trained."""
    facts = io.read_json(members[0] / "model.json")
    out.mkdir(parents=True, exist_ok=True)
    parts = [load_network(path, io.read_json(path / "model.json")).network.members[0] for path in members]
    facts["temperature"] = float(np.mean([io.read_json(path / "model.json")["temperature"] for path in members]))
    grid, table = case.config.grid.grid(), gpd.read_parquet(case.chips)
    with Mosaics(case.mosaics, grid, facts["bands"]) as reader:
        example = reader.read(training._box(table.iloc[0], grid))[None].astype(np.float32)
    export(network.Ensemble(parts).eval(), Normalisation(**facts["normalisation"]), example, facts, out)


def judge(case: Case, model: Path, out: Path, *, fixed: bool) -> dict[str, Any]:
    """Score a network on the test blocks, with what is chosen on validation blocks, or with its class at .5 as it is."""
    options = parse_options(ValidateOptions, options_json(case.config, ValidateOptions))
    choose = judging._choose
    if fixed:
        judging._choose = lambda *rest: Choice(0.5, 0.5, 0.0, 0.0, None, [])
    try:
        judging.validate(
            case.chips, case.labels, case.mosaics, model, out / f"judged_{fixed}", options, Inference(device="cpu")
        )
    finally:
        judging._choose = choose
    return io.read_json(out / f"judged_{fixed}" / "validation.json")


def scores(case: Case, variant: str, seed: int | str, fixed: bool) -> dict[str, Any]:
    place = Path(variant if case.longer == 1 else f"{variant}_x{case.longer}", str(seed))
    out = case.folder / place
    model = ROOT / "raw" / place if case.name.startswith("other") else out
    kept = out / f"scores_{fixed}.json"
    if not kept.exists():
        start = time.monotonic()
        if not (model / "model.json").exists():
            if variant == "stock":
                train_stock(case, int(seed), model)
            elif variant == "ensemble":
                ensemble(case, [case.folder / "ours" / number for number in str(seed).split("-")], model)
            else:
                train_ours(case, variant, int(seed), model)
        trained = time.monotonic()
        judged = judge(case, model, out, fixed=fixed)
        test = judged["test"]
        io.write_json(kept, {
            "pixel_iou": test["pixels"]["iou"]["value"], "object_f1": test["objects"]["0.5"]["f1"]["value"],
            "object_f1_03": test["objects"]["0.3"]["f1"]["value"], "pr_auc": test["pr_auc"]["value"],
            "recall": test["objects"]["0.5"]["recall"]["value"], "precision": test["objects"]["0.5"]["precision"]["value"],
            "threshold": judged["threshold"], "min_area_m2": judged["min_area_m2"], "n_slumps": test["n_truth"],
            "train_s": trained - start, "judge_s": time.monotonic() - trained,
        })  # fmt: skip
    values: dict[str, Any] = json.loads(kept.read_text())
    print(variant, seed, {name: round(v, 3) for name, v in values.items() if v is not None}, file=sys.stderr, flush=True)
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=STEPS)
    parser.add_argument("--variants", nargs="+", default=["ours", "stock"], choices=[*VARIANTS, "ensemble"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--longer", type=int, default=1, help="so many times the steps")
    args = parser.parse_args()
    case, runs = Case(args.case, args.longer), {}
    for variant in args.variants:
        threes = ["-".join(map(str, args.seeds[at : at + 3])) for at in range(0, len(args.seeds), 3)]
        seeds = threes if variant == "ensemble" else args.seeds
        runs[variant] = [scores(case, variant, seed, variant == "stock") for seed in seeds]
        if variant == "stock":
            runs["stock, choice as ours"] = [scores(case, variant, seed, False) for seed in seeds]
    kinds = ("pixel_iou", "object_f1", "object_f1_03", "pr_auc")
    means = {v: {kind: float(np.mean([run[kind] or 0 for run in each])) for kind in kinds} for v, each in runs.items()}
    spread = {v: {kind: float(np.std([run[kind] or 0 for run in each], ddof=1)) for kind in kinds}
              for v, each in runs.items() if len(each) > 1}  # fmt: skip
    figures: dict[str, Any] = {"case": args.case, "per_seed": runs, "mean": means, "std": spread}
    if {"ours", "stock"} <= set(runs):
        figures["pixel_iou_ratio"] = means["ours"]["pixel_iou"] / means["stock"]["pixel_iou"]
        figures["object_f1_ratio"] = means["ours"]["object_f1"] / max(means["stock"]["object_f1"], 1e-9)
    name = "learning.json" if args.case == "real" else f"learning_{args.case}.json"
    Path("results/bench", name).write_text(json.dumps(figures, indent=1))
    for variant, mean in means.items():
        noise = spread.get(variant, {})
        print(f"{variant:24}", *(f"{kind} {mean[kind]:.3f} +- {noise.get(kind, float('nan')):.3f}" for kind in kinds), sep="  ")
    print({name: round(value, 2) for name, value in figures.items() if name.endswith("ratio")})


if __name__ == "__main__":
    main()
