"""The network: built, started from given weights, saved, and exported so that a CPU predicts without torch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from rts_pipeline.errors import PipelineError, UsageError
from rts_pipeline.io.files import atomic
from rts_pipeline.learning.inputs import Inputs

EXPORT_TOLERANCE = 1e-4


def build_network(architecture: str, encoder: str, inputs: int) -> nn.Module:
    """Return a network with random weights that gives one logit a pixel.

    Args:
        architecture: name in segmentation-models-pytorch.
        encoder: name there or in timm.
        inputs: number of inputs.

    Raises:
        UsageError: unknown architecture or encoder.
    """
    name = architecture.lower().replace("+", "plus")
    if name not in smp.MODEL_ARCHITECTURES_MAPPING:
        known = ", ".join(sorted(smp.MODEL_ARCHITECTURES_MAPPING))
        raise UsageError("train.architecture", f"'{architecture}' is unknown", expected=f"deeplabv3+ or one of {known}")
    # smp's prefix for what it takes from timm
    encoder = encoder if encoder in smp.encoders.encoders else f"tu-{encoder.removeprefix('tu-')}"
    try:
        return smp.create_model(name, encoder_name=encoder, encoder_weights=None, in_channels=inputs, classes=1)
    except (KeyError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            "train.encoder",
            f"'{encoder.removeprefix('tu-')}' can't be built ({reason})",
            expected="an encoder of segmentation-models-pytorch or timm that the architecture can use",
        ) from None


class Ensemble(nn.Module):
    """Networks that differ by their seeds; the mean of their logits, so that one temperature calibrates the whole."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        """Take at least one network."""
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (n, 1, rows, columns) of normalised inputs (n, inputs, rows, columns)."""
        return torch.stack([member(image) for member in self.members]).mean(dim=0)


def save(value: Any, path: Path) -> None:
    """Write what `torch.load` reads, straight to the disk.

    Raises:
        OSError: it can't be written.
    """
    with atomic(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(value, file)
        except RuntimeError as error:
            # of a disk that is full torch says in the end only that its archive has another length
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def save_weights(network: nn.Module, path: Path) -> None:
    """Write the state dict; equal weights give equal bytes."""
    # torch.save writes the file's own name into the archive; a buffer has none.
    buffer = BytesIO()
    torch.save({name: value.cpu() for name, value in network.state_dict().items()}, buffer)
    with atomic(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


class Exported(nn.Module):
    """Raw mosaic values (n, bands, rows, columns) to probabilities (n, 1, rows, columns)."""

    def __init__(self, network: nn.Module, inputs: Inputs, temperature: float) -> None:
        """Take the trained network, what it sees of raw values, and the temperature that its logits are divided by."""
        super().__init__()
        self.network, self.inputs, self.temperature = network, inputs, temperature

    def forward(self, image: Tensor) -> Tensor:
        """Return probabilities; unobserved pixels count as mean ground."""
        # float32 even where the network computes in bfloat16, which has steps of 1/256 near 1
        return torch.sigmoid(self.network(self.inputs(image)[0]).float() / self.temperature)


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
    with atomic(path) as temporary, warnings.catch_warnings():
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
