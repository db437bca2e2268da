# The project's state and the functions that name the files: read once, when the Snakefile is parsed.

import os
import shlex
from functools import lru_cache
from pathlib import Path

from rts_pipeline.review.rounds import CHANGE, YEARS
from rts_pipeline.workflow import (
    begin,
    load_project,
    read_rounds,
    tell_state,
    Project,
)

CONFIG_SOURCE = os.path.relpath(
    next(iter(workflow.overwrite_configfiles), "config/config.yaml")
)

project = load_project(config, CONFIG_SOURCE, main_process=workflow.is_main_process)


pathvars:
    results=project.config.results,
    reviews=project.config.reviews,
    logs=f"{project.config.results}/logs",
    benchmarks=f"{project.config.results}/benchmarks",


wildcard_constraints:
    k=r"\d\d+",
    cell=r"[ew]\d+_[ns]\d+",
    block=r"b_[ew]\d+_[ns]\d+",
    batch=r"\d{8}_\d+",
    fold=r"\d+",


RESULTS = project.config.results
REVIEWS = project.config.reviews
ADJUSTED = f"{RESULTS}/scenes/adjusted.json"
ADJUSTED_YEARS = f"{RESULTS}/scenes/adjusted_years.json"
MODEL = ["weights.pt", "network.onnx", "model.json"]
TRAINING = ["metrics.csv", "curves.png"]
INT8 = (
    ["int8.xml", "int8.bin", "int8.json"]
    if project.config.predict.precision == "int8"
    else []
)
JUDGED = ["blocks.parquet", "reliability.png", "precision_recall.png", "windows.png"]


def tell_current_state():
    """Say where the project stands now; the reviews may have moved on since the parse."""
    tell_state(Project(project.config, read_rounds(project.config), CONFIG_SOURCE))


if workflow.is_main_process:
    if not workflow.modifier.is_main_snakefile():
        begin(Path(RESULTS))  # Snakemake drops the onstart of a module
    tell_state(project)


# --- the files that are kept, each a direct target so that a failed re-run is noticed ---


def scene_files():
    return [
        f"{RESULTS}/scenes/catalog.parquet",
        f"{RESULTS}/scenes/ledger.parquet",
        f"{RESULTS}/scenes/ledger.html",
        *measured_of(project.items),
        *(overlaps_of(project.blocks, ["", "_years"]) if project.adjusted else []),
        *adjusted_of(project.adjusted),
        *expand(
            f"{RESULTS}/mosaic/{{cell}}{{kind}}.tif",
            cell=project.cells,
            kind=["", "_source"],
        ),
        *coverage_of(project.selection.by_block, ["tif", "parquet"]),
        f"{RESULTS}/coverage/observed.parquet",
    ]


def round_files(rounds):
    folder = f"{RESULTS}/rounds/{{k}}"
    trained = [k for k in rounds if project.trains(k)]
    single = [
        "labels.parquet",
        "outlines.parquet",
        "candidates.parquet",
        "candidates.gpkg",
        "candidates.json",
        "evidence",
        *(["audit.parquet", "audit.json"] if project.config.audit.windows else []),
    ]
    return [
        *expand(f"{folder}/{{file}}", k=rounds, file=single),
        *expand(f"{folder}/chips.parquet", k=trained),
        *expand(f"{folder}/model/{{file}}", k=rounds, file=MODEL),
        *expand(f"{folder}/model/{{file}}", k=trained, file=TRAINING),
        *expand(f"{folder}/model/{{file}}", k=rounds, file=INT8),
        *expand(f"{folder}/validation/validation.json", k=rounds),
        *expand(f"{folder}/validation/{{file}}", k=trained, file=JUDGED),
        *expand(f"{folder}/probability/{{block}}.tif", k=rounds, block=project.blocks),
        *expand(
            f"{folder}/outlines/{{block}}.{{kind}}",
            k=rounds,
            block=project.blocks,
            kind=["parquet", "json"],
        ),
    ]


def crossvalidation_files():
    return expand(
        f"{RESULTS}/rounds/{{k}}/crossvalidation.{{kind}}",
        k=project.last_round(),
        kind=["json", "png"],
    )


def verified_files(rounds):
    return expand(f"{RESULTS}/rounds/{{k}}/verified.json", k=rounds)


def inventory_files():
    names = [
        "outlines.parquet",
        "relations.parquet",
        "relations.csv",
        "completeness.json",
        "attributes.parquet",
    ]
    return [
        *expand(f"{RESULTS}/inventory/{{name}}", name=names),
        *expand(f"{RESULTS}/export/{{name}}", name=project.release_files),
        f"{RESULTS}/report/report.html",
        f"{RESULTS}/report/figures",
    ]


# --- resources: what a cluster gives a job, and more of it with each attempt ---


def memory(mb):
    """At least twice the largest job of small projects (a test compares with docs/results.md), and 250 MB for Snakemake in the job."""
    return lambda wildcards, attempt: mb * attempt


def minutes(number):
    return lambda wildcards, attempt: number * attempt


# --- inputs ---


# asked for each cell and block of a corridor: expand() takes forty times as long
def mosaics_of(cells, kind=""):
    return [f"{RESULTS}/mosaic/{cell}{kind}.tif" for cell in cells]


def measured_of(items):
    """The records of the batches that hold the items."""
    return [
        f"{RESULTS}/scenes/batches/{batch}.json" for batch in project.batches(items)
    ]


def adjusted_of(items):
    """The records of what made the items agree."""
    target = project.selection.target
    return [
        *([ADJUSTED] if target.intersection(items) else []),
        *([ADJUSTED_YEARS] if not target.issuperset(items) else []),
    ]


def known_of(items):
    """The records of what is known of items in the end."""
    return adjusted_of(items) if project.adjusted else measured_of(items)


@lru_cache(maxsize=None)
def item_json(item, name):
    """A file of an item: one string, for the dozen jobs that name it."""
    return f"{RESULTS}/scenes/{item}/{name}.json"


def item_jsons(items, name="item"):
    """The items themselves, which the records stand for: for commands, as a param, and never as an input."""
    return [item_json(item, name) for item in sorted(items)]


def known_jsons(items):
    return item_jsons(items, "adjusted" if project.adjusted else "item")


def coverage_of(blocks, kind):
    return expand(f"{RESULTS}/coverage/{{block}}.{{kind}}", block=blocks, kind=kind)


def overlaps_of(blocks, kind=""):
    return expand(
        f"{RESULTS}/overlaps/{{block}}{{kind}}.parquet", block=blocks, kind=kind
    )


def option_for_each(option, files):
    """A param that gives each of the input files of that name to the command as an option."""
    return lambda wildcards, input: " ".join(
        f"--{option} {shlex.quote(path)}" for path in input[files]
    )


def option_if_given(name):
    """A param that gives the input of that name to the command as an option, where there is one."""
    return lambda wildcards, input: (
        f"--{name} {shlex.quote(input[name])}" if input[name] else ""
    )


def quantised(model):
    """The network in int8 of a model's folder, where it is applied."""
    return [f"{model}/int8.json"] if project.config.predict.precision == "int8" else []


def reviewed(rounds):
    """The reviewed rows; rules depend on the sign-off, which holds their sha256."""
    return ancient(expand(f"{REVIEWS}/round_{{k}}/reviewed.parquet", k=rounds))


def kept_evidence(rounds):
    """Their tables of the years' evidence; reviews from before these were kept lack them."""
    kept = expand(f"{REVIEWS}/round_{{k}}/{{file}}", k=rounds, file=[CHANGE, YEARS])
    return ancient([path for path in kept if os.path.exists(path)])


def signoffs(rounds):
    return expand(f"{REVIEWS}/round_{{k}}/signoff.json", k=rounds)


def given(names, rounds=()):
    """A digest of users' files and sign-offs, which may come back with an older time: such inputs are ancient()."""
    files = [project.checksums.get(name, "") for name in names]
    return " ".join([*files, *([project.signoffs_sha256(rounds)] if rounds else [])])


def rounds_before(k):
    return [signoff.round for signoff in project.rounds.before(k)]


def previous_weights(wildcards):
    folder = project.previous_model(wildcards.k)
    return f"{folder}/weights.pt" if folder else []
