"""Weights to start from: of a file, or of torchgeo's collection, fitted to the bands that are used."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from rts_pipeline.config.learning import TORCHGEO
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.io.files import sha256_file

PREFIXES = ("", "model.", "encoder.", "model.encoder.", "backbone.", "module.")
"""What savers put before the names of an encoder's weights."""

RGB = ("red", "green", "blue")
"""Bands of weights with three of them (ImageNet's order), unless torchgeo says otherwise."""
BAND_NAMES = {
    **dict.fromkeys(("B", "B2", "B02"), "blue"),
    **dict.fromkeys(("G", "B3", "B03"), "green"),
    **dict.fromkeys(("R", "B4", "B04"), "red"),
    **dict.fromkeys(("B8", "B08"), "nir"),
    "NDVI": "ndvi",
}
"""Our names for the bands of Sentinel-2 and of colour images."""

State = dict[str, Tensor]

NO_TORCH_FILE = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError)
"""What torch raises of a file that it hasn't written, or of which a part is missing."""


def read_state(path: Path, key: str) -> State:
    """Return the tensors of a file: a state dict, or a checkpoint with one under "state_dict".

    Args:
        path: the file.
        key: the configuration key that names it, for the message.

    Raises:
        InputError: no such file, or not a file of weights.
    """
    _check_file(path, key)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except NO_TORCH_FILE as error:
        reason = str(error).splitlines()[0]
        raise InputError(path, f"not a file of weights ({reason})", expected=f"a torch state dict ({key})") from None
    state = state.get("state_dict", state) if isinstance(state, Mapping) else {}
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _check_file(path: Path, key: str) -> None:
    if not path.is_file():
        problem = "is no file" if path.exists() else "no such file"
        raise InputError(path, problem, expected=f"weights ({key})")


def load_weights(module: nn.Module, state: State, source: str | Path, key: str) -> None:
    """Put weights into `module`; names may carry a prefix, and what the module doesn't know is left.

    A batch normalisation's count of batches may be missing, as torch allows: old versions of it wrote none.

    Args:
        module: the network, or its encoder.
        state: the weights.
        source: where they come from, for the message.
        key: the configuration key behind them, for the message.

    Raises:
        InputError: they don't fit.
    """
    own = module.state_dict()
    wanted = {name: value.shape for name, value in own.items()}
    counts = {name: value for name, value in own.items() if name.endswith(".num_batches_tracked")}
    state = {**counts, **_renamed(state, wanted)}
    wrong = [name for name, shape in wanted.items() if name not in state or state[name].shape != shape]
    if wrong:
        has = tuple(state[wrong[0]].shape) if wrong[0] in state else "nothing"
        raise InputError(
            source,
            f"doesn't fit: {wrong[0]} is {has} ({len(wrong)} of {len(wanted)} tensors differ)",
            expected=str(tuple(wanted[wrong[0]])),
            do=f"correct {key}, or the architecture, encoder and bands",
        )
    module.load_state_dict({name: state[name] for name in wanted})


def load_encoder(encoder: nn.Module, weights: str, inputs: Sequence[str]) -> None:
    """Start an encoder from given weights.

    Args:
        encoder: the encoder; its first convolution takes `inputs`.
        weights: a file, or one of torchgeo's names ("ResNet50_Weights.SENTINEL2_ALL_MOCO") that is in torch's cache.
        inputs: names of the inputs: bands, and "ndvi".

    Raises:
        InputError: no such file, not weights, or weights that don't fit.
        UsageError: torchgeo doesn't know the name, or the file isn't in the cache.
    """
    path, bands = _source(weights)
    state = read_state(path, "train.weights")
    wanted = {name: value.shape for name, value in encoder.state_dict().items()}
    state = _renamed(state, wanted)
    first = next(name for name, shape in wanted.items() if len(shape) == 4)
    if first in state and state[first].ndim == 4:
        state[first] = adapt(state[first], bands, inputs)
    load_weights(encoder, state, path, "train.weights")


def sha256(weights: str) -> str:
    """Return the checksum of the file of given weights for an encoder.

    Args:
        weights: as in `load_encoder`.

    Raises:
        InputError: no such file.
        UsageError: torchgeo doesn't know the name, or the file isn't in the cache.
    """
    path, _ = _source(weights)
    _check_file(path, "train.weights")
    return sha256_file(path)


def adapt(kernel: Tensor, bands: Sequence[str] | None, inputs: Sequence[str]) -> Tensor:
    """Return the first convolution's kernel for other inputs.

    Each input takes the filters of the band of its name, and one that the weights don't know the mean of all. The whole
    is scaled by the ratio of the numbers of inputs, so that responses keep their size, as timm's `adapt_input_conv` does.

    Args:
        kernel: (filters, bands, rows, columns).
        bands: names of the bands that the weights were trained on; None: red, green, blue where there are three, else
            (or when their number is right) they are taken to be `inputs` themselves.
        inputs: names of the inputs wanted.
    """
    if bands is None:
        bands = RGB if kernel.shape[1] == 3 else inputs
    if len(bands) != kernel.shape[1] or list(bands) == list(inputs):
        return kernel
    mean = kernel.mean(dim=1)
    chosen = [kernel[:, list(bands).index(name)] if name in bands else mean for name in inputs]
    return torch.stack(chosen, dim=1) * (len(bands) / len(inputs))


def _renamed(state: State, wanted: Mapping[str, Any]) -> State:
    """Strip (or add) the prefix with which most names are known."""

    def renamed(strip: str, add: str) -> State:
        return {add + name.removeprefix(strip): value for name, value in state.items() if name.startswith(strip)}

    options = (renamed(strip, add) for strip, add in product(PREFIXES, ("", "model.")))
    return max(options, key=lambda option: sum(name in wanted for name in option))


def _source(weights: str) -> tuple[Path, list[str] | None]:
    """Return the file of an encoder's weights, and the bands that they were trained on where that is known."""
    return _from_torchgeo(weights) if TORCHGEO in weights else (Path(weights), None)


def _from_torchgeo(name: str) -> tuple[Path, list[str]]:
    from torchgeo.models import get_weight

    try:
        weights = get_weight(name)
    except (KeyError, ValueError):
        raise UsageError(
            "train.weights",
            f"'{name}' is unknown to torchgeo",
            expected="a file, or a name such as ResNet50_Weights.SENTINEL2_RGB_MOCO",
        ) from None
    path = Path(torch.hub.get_dir(), "checkpoints", PurePosixPath(urlparse(weights.url).path).name)
    if not path.exists():
        raise UsageError(
            "train.weights",
            f"'{name}' is not in torch's cache ({path})",
            do="on a machine with a network: python -c"
            f" \"from torchgeo.models import get_weight; get_weight('{name}').get_state_dict()\"",
        )
    return path, [BAND_NAMES.get(band, band) for band in weights.meta["bands"]]
