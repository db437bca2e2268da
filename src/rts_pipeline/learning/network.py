"""The network: built, started from given weights, saved, and exported so that a CPU predicts without torch."""

from __future__ import annotations

import io as buffers
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from rts_pipeline import io
from rts_pipeline.errors import InputError, PipelineError, UsageError
from rts_pipeline.learning.augment import normalise

EXPORT_TOLERANCE = 1e-4


def build_network(architecture: str, encoder: str, bands: int) -> nn.Module:
    """Return a network with random weights that gives one logit a pixel.

    Raises:
        UsageError: unknown architecture or encoder.
    """
    name = architecture.lower().replace("+", "plus")
    if name not in smp.MODEL_ARCHITECTURES_MAPPING:
        known = ", ".join(sorted(smp.MODEL_ARCHITECTURES_MAPPING))
        raise UsageError("train.architecture", f"'{architecture}' is unknown", expected=f"deeplabv3+ or one of {known}")
    try:
        return smp.create_model(name, encoder_name=encoder, encoder_weights=None, in_channels=bands, classes=1)
    except (KeyError, RuntimeError) as error:
        raise UsageError(
            "train.encoder", f"'{encoder}' can't be built ({error})", expected="an encoder of segmentation-models-pytorch"
        ) from None


def load_weights(module: nn.Module, path: Path, key: str) -> None:
    """Put the weights of a file into `module`; names may carry the prefix "encoder." or "model.encoder.".

    Args:
        module: the network, or its encoder.
        path: a state dict, or a checkpoint with one under "state_dict".
        key: the configuration key that names the file, for the message.

    Raises:
        InputError: not a weights file, or its weights don't fit.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(path, "no such file", expected=f"weights ({key})") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(path, f"not a file of weights ({reason})", expected=f"a torch state dict ({key})") from None
    state = state.get("state_dict", state) if isinstance(state, Mapping) else {}
    for prefix in ("model.", "encoder."):
        if any(name.startswith(prefix) for name in state) and not any(n.startswith(prefix) for n in module.state_dict()):
            state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    wanted = {name: value.shape for name, value in module.state_dict().items()}
    wrong = [name for name, shape in wanted.items() if name not in state or state[name].shape != shape]
    if wrong:
        has = tuple(state[wrong[0]].shape) if wrong[0] in state else "nothing"
        raise InputError(
            path,
            f"doesn't fit: {wrong[0]} is {has} ({len(wrong)} of {len(wanted)} tensors differ)",
            expected=str(tuple(wanted[wrong[0]])),
            do=f"correct {key}, or the architecture, encoder and bands",
        )
    module.load_state_dict({name: state[name] for name in wanted})


def save_weights(network: nn.Module, path: Path) -> None:
    """Write the state dict; equal weights give equal bytes."""
    # torch.save writes the file's own name into the archive; a buffer has none.
    buffer = buffers.BytesIO()
    torch.save({name: value.cpu() for name, value in network.state_dict().items()}, buffer)
    with io.atomic(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


class Exported(nn.Module):
    """Raw mosaic values (n, bands, rows, columns) to probabilities (n, 1, rows, columns)."""

    def __init__(self, network: nn.Module, mean: Tensor, std: Tensor, temperature: float) -> None:
        """Take the trained network, the normalisation and the temperature that its logits are divided by."""
        super().__init__()
        self.network, self.temperature = network, temperature
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, image: Tensor) -> Tensor:
        """Return probabilities; unobserved pixels count as mean ground."""
        return torch.sigmoid(self.network(normalise(image, self.mean, self.std)[0]) / self.temperature)


def export_onnx(model: Exported, window: np.ndarray, path: Path) -> None:
    """Write the network as ONNX with dynamic n, rows and columns, and compare it with torch.

    Args:
        model: the network with its normalisation.
        window: float32 (1, bands, rows, columns), a raw window to compare on.
        path: the file.

    Raises:
        PipelineError: the exported network's probabilities differ from torch's.
    """
    import openvino

    model = model.cpu().eval().to(memory_format=torch.contiguous_format)
    image = torch.from_numpy(window)
    with io.atomic(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        free = {0: "n", 2: "rows", 3: "columns"}
        # By tracing: 1 s; by torch.export, the default since torch 2.9, 9 s for the same graph.
        torch.onnx.export(
            model,
            (image,),
            str(temporary),
            input_names=["image"],
            output_names=["probability"],
            dynamic_axes={"image": free, "probability": free},
            dynamo=False,
        )
    with torch.inference_mode():
        expected = model(image).numpy()
    exact = openvino.compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    difference = float(np.abs(exact(window)[0] - expected).max())
    if not difference < EXPORT_TOLERANCE:
        path.unlink()
        raise PipelineError(path, f"exported probabilities differ by {difference:g}", expected=f"< {EXPORT_TOLERANCE:g}")
