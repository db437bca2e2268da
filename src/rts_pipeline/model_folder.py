"""The folder of a model: what model.json says of the network, and whether the files beside it are those it speaks of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rts_pipeline.config import Network, Predict
from rts_pipeline.errors import InputError
from rts_pipeline.io.files import sha256_file
from rts_pipeline.io.json import read_json

KIND = ("bands", "ndvi", "architecture", "encoder", "members")
"""What a network must share with the one that it starts from."""


def model_facts(model: Path) -> Any:
    """Return what model.json says.

    Raises:
        InputError: it is missing or says too little.
    """
    path = model / "model.json"
    facts = read_json(path)
    missing = [name for name in ("bands", "sha256") if not isinstance(facts, dict) or name not in facts]
    if missing:
        raise InputError(path, f"doesn't say {', '.join(missing)}", do="train the round again")
    return facts


def weights_sha256(model: Path, facts: Any) -> str:
    """Return the checksum of a model's weights, by which results name the network that they were made with.

    Args:
        model: the model's folder.
        facts: its `model_facts`.

    Raises:
        InputError: model.json doesn't hold it.
    """
    if "weights.pt" not in facts["sha256"]:
        raise InputError(model / "model.json", "names no sha256 of weights.pt", do="train the round again")
    return str(facts["sha256"]["weights.pt"])


def int8_paths(model: Path) -> tuple[Path, Path]:
    """Return where the network in int8 lies in a model's folder: its structure and its weights."""
    return model / "int8.xml", model / "int8.bin"


def applied_facts(model: Path, facts: Any, setting: Predict) -> Any:
    """Return the facts of the network that is applied, with `sha256` of its files: of model.json, or for int8 of int8.json.

    Args:
        model: the model's folder.
        facts: its `model_facts`.
        setting: the arithmetic.

    Raises:
        InputError: the network in int8 is missing, or it was made of another network.
    """
    if setting.precision != "int8":
        return facts
    path = model / "int8.json"
    how = "run rts-pipeline quantise (snakemake does), or set predict.precision to 'auto'"
    if not path.exists():
        raise InputError(path, "no such file: the model has no network in int8", do=how)
    made = read_json(path)
    if made["network_sha256"] != facts["sha256"].get("network.onnx"):
        raise InputError(path, "was made of another network than network.onnx", do=how)
    return made


def check_files(model: Path, facts: Any) -> None:
    """Check that the files of a model's folder are those that its facts describe.

    Raises:
        InputError: one is missing, or was changed.
    """
    for name, expected in facts["sha256"].items():
        path = model / name
        if not path.exists():
            raise InputError(path, "no such file", expected="the file that model.json describes", do="train the round again")
        found = sha256_file(path)
        if found != expected:
            raise InputError(
                path,
                f"sha256 {found[:12]}... differs from model.json",
                expected=f"{expected[:12]}...",
                do="train the round again",
            )


def check_kind(model: Path, facts: Any, setting: Network) -> None:
    """Check that the network of the next round can start from a model.

    Args:
        model: its folder.
        facts: its `model_facts`.
        setting: of the next round's network.

    Raises:
        InputError: it is of another kind.
    """
    found = {**facts, "members": len(facts["members"])}
    for key in KIND:
        if found[key] != getattr(setting, key):
            raise InputError(
                model / "model.json",
                f"the network's {key} is {found[key]}",
                expected=f"{getattr(setting, key)} as in train.{key}",
                do="keep it for all rounds, or set train.warm_start to false",
            )
