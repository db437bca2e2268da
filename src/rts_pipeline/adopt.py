"""Stage `adopt`: another project's network as that of the first round, for a region where no slump is known yet.

Its thresholds come along: they were chosen on ground of that project, and nothing here tells whether they suit this one.
"""

from __future__ import annotations

from pathlib import Path

from rts_pipeline.errors import InputError
from rts_pipeline.io.files import copy_file, was_read
from rts_pipeline.io.json import read_json, write_json
from rts_pipeline.model_folder import check_files, check_kind, model_facts, weights_sha256
from rts_pipeline.options import AdoptOptions

COPIED = ("model/weights.pt", "model/network.onnx", "validation/validation.json")
"""The network and how well it did there."""


def adopt(source: Path, out: Path, options: AdoptOptions) -> None:
    """Copy the network of a round of another project, its thresholds, and how well it did there.

    Args:
        source: the round's folder (results/rounds/04), with model/ and validation/.
        out: folder of the first round, for model/ and validation/; model.json, written last, names the source as
            `adopted_from`.
        options: the stage's options.

    Raises:
        InputError: a file that is missing or was changed, or a network from which the second round can't start.
    """
    model = source / "model"
    facts = model_facts(model)
    if options.train.warm_start:
        check_kind(model, facts, options.train)
    check_files(model, facts)
    _check_choice(source / "validation" / "validation.json", weights_sha256(model, facts))
    for name in COPIED:
        copy_file(source / name, out / name)
    write_json(out / "model" / "model.json", {**facts, "adopted_from": str(source)})
    was_read(model / "model.json", *(source / name for name in COPIED))


def _check_choice(path: Path, weights: str) -> None:
    choice = read_json(path)
    if not isinstance(choice, dict) or choice.get("weights_sha256") != weights:
        raise InputError(path, "was not chosen for the network beside it", do="validate that round again")
