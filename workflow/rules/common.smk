# The project's state and the functions that name the files: read once, when the Snakefile is parsed.

import os
import shlex
import sys
from pathlib import Path

from rts_pipeline.io import canonical_json
from rts_pipeline.scenes.delivered import on_disk
from rts_pipeline.workflow import begin, load_project, read_rounds, Project

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
    item=r"[0-9A-Za-z_-]+",
    fold=r"\d+",


RESULTS = project.config.results
REVIEWS = project.config.reviews
MODEL = ["weights.pt", "network.onnx", "model.json", "metrics.csv", "curves.png"]
VALIDATION = [
    "validation.json",
    "blocks.parquet",
    "reliability.png",
    "precision_recall.png",
    "windows.png",
]


def current_state():
    """Say where the project stands now; the reviews may have moved on since the parse."""
    return Project(
        project.config, read_rounds(project.config), CONFIG_SOURCE
    ).state_line()


if workflow.is_main_process:
    print(f"rts-pipeline: {project.state_line()}", file=sys.stderr)


# --- the files that are kept, each a direct target so that a failed re-run is noticed ---


def scene_files():
    return [
        f"{RESULTS}/scenes/catalog.parquet",
        f"{RESULTS}/scenes/ledger.parquet",
        f"{RESULTS}/scenes/ledger.html",
        *expand(
            f"{RESULTS}/scenes/{{item}}/{{file}}",
            item=project.items,
            file=["item.json", "usable.tif"],
        ),
        *(overlaps_of(project.blocks, ["", "_years"]) if project.adjusted else []),
        *adjusted_jsons(project.adjusted),
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
    single = [
        "labels.parquet",
        "chips.parquet",
        "outlines.parquet",
        "candidates.parquet",
        "candidates.gpkg",
        "candidates.json",
        "evidence",
        *(["audit.parquet", "audit.json"] if project.config.audit.windows else []),
    ]
    return [
        *expand(f"{folder}/{{file}}", k=rounds, file=single),
        *expand(f"{folder}/model/{{file}}", k=rounds, file=MODEL),
        *expand(f"{folder}/validation/{{file}}", k=rounds, file=VALIDATION),
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
        "completeness.json",
        "attributes.parquet",
        "rts_inventory.gpkg",
        "rts_inventory.parquet",
        "rts_inventory.csv",
    ]
    return [
        *expand(f"{RESULTS}/inventory/{{name}}", name=[*names, "data_dictionary.csv"]),
        f"{RESULTS}/report/report.html",
    ]


# --- resources: what a cluster gives a job, and more of it with each attempt ---


def memory(mb):
    """At least twice what the largest job measured took (docs/results.md), and 250 MB for Snakemake in the job."""
    return lambda wildcards, attempt: mb * attempt


def minutes(number):
    return lambda wildcards, attempt: number * attempt


# --- inputs ---


def mosaics_of(cells, kind=""):
    return expand(f"{RESULTS}/mosaic/{{cell}}{{kind}}.tif", cell=cells, kind=kind)


def measured_jsons(items):
    return expand(f"{RESULTS}/scenes/{{item}}/item.json", item=sorted(items))


def adjusted_jsons(items):
    return expand(f"{RESULTS}/scenes/{{item}}/adjusted.json", item=sorted(items))


def coverage_of(blocks, kind):
    return expand(f"{RESULTS}/coverage/{{block}}.{{kind}}", block=blocks, kind=kind)


def item_jsons(items):
    """What is known of items in the end."""
    return adjusted_jsons(items) if project.adjusted else measured_jsons(items)


def overlaps_of(blocks, kind=""):
    return expand(
        f"{RESULTS}/overlaps/{{block}}{{kind}}.parquet", block=blocks, kind=kind
    )


def masks_of(items):
    return expand(f"{RESULTS}/scenes/{{item}}/usable.tif", item=sorted(items))


def delivered_files(wildcards):
    files = [path for _, path in item_files(project.items[wildcards.item])]
    # what lies in an archive is read in place, and Snakemake sees the archive
    return ancient(sorted({str(on_disk(Path(path))) for path in files}))


def item_files(item):
    named = [
        ("reflectance", item.reflectance),
        ("mask", item.mask),
        ("metadata", item.metadata),
        ("xml", item.xml),
    ]
    return [(name, str(path)) for name, path in named if path is not None]


def item_arguments(item):
    files = " ".join(f"--{name} {shlex.quote(path)}" for name, path in item_files(item))
    return f"{files} --mask-kind {item.mask_kind}"


def option_for_each(option, files):
    """A param that gives each of the input files of that name to the command as an option."""
    return lambda wildcards, input: " ".join(
        f"--{option} {shlex.quote(path)}" for path in input[files]
    )


def reviewed(rounds):
    """The reviewed rows; rules depend on the sign-off, which holds their sha256."""
    return ancient(expand(f"{REVIEWS}/round_{{k}}/reviewed.parquet", k=rounds))


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
