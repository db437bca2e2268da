"""The trained network on a GPU, by torch: normalised, blended and quantised there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rts_pipeline import machine
from rts_pipeline.config import Predict
from rts_pipeline.errors import UsageError
from rts_pipeline.lattice import EXACT, FAULT, Add, view_weights, views
from rts_pipeline.learning.inputs import Inputs, Normalisation
from rts_pipeline.learning.network import Ensemble, Exported, build_network
from rts_pipeline.learning.weights import load_weights, read_state
from rts_pipeline.metrics.pixels import BINS

if TYPE_CHECKING:
    from rts_pipeline.lattice import Pixels, Values


def load_network(model: Path, facts: Any) -> Exported:
    """Return a trained network in torch, as it was exported: raw mosaic values to probabilities.

    Args:
        model: folder with weights.pt.
        facts: what model.json says.

    Raises:
        InputError: the weights aren't those of the network that model.json describes.
    """
    inputs = Inputs(facts["bands"], Normalisation(**facts["normalisation"]))
    n_inputs = len(facts["normalisation"]["mean"])
    members = Ensemble([build_network(facts["architecture"], facts["encoder"], n_inputs) for _ in facts["members"]])
    path = model / "weights.pt"
    load_weights(members, read_state(path, "model.json"), path, "model.json")
    return Exported(members, inputs, facts["temperature"]).eval()


class TorchEngine:
    """The network on a device of torch.

    Neither torch.compile nor a CUDA graph: compiling takes longer than a block, and windows of 512 px keep a GPU busy for
    longer than their kernels take to launch.
    """

    def __init__(self, model: Path, facts: Any, setting: Predict, device: str, batch: int) -> None:
        """Load the weights.

        Args:
            model: folder with weights.pt.
            facts: what model.json says.
            setting: the lattice and the arithmetic (auto: bf16).
            device: torch's name of it.
            batch: windows at a time; halved when memory is short.

        Raises:
            InputError: the weights aren't those of the network that model.json describes.
            UsageError: a torch without CUDA.
        """
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise UsageError("predict.device", "there is a GPU, but this torch can't use it", do="set it to 'cpu'")
        # The fastest algorithm is another one from run to run, and with it the last digits.
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
        torch.backends.cudnn.allow_tf32 = False
        self.readers, self.wide = machine.threads(), max(8, batch)
        self._device = torch.device(device)
        self._network = load_network(model, facts).to(self._device, memory_format=torch.channels_last)
        self._bf16 = setting.precision != "f32"
        self._batch = batch
        self._weights = torch.from_numpy(view_weights(setting)).to(self._device)
        self._views = [[axis for axis, step in zip((-2, -1), view, strict=True) if step < 0] for view in views(setting)]

    @torch.inference_mode()
    def start(self, pixels: Pixels, lefts: Sequence[int], add: Add) -> Callable[[], Values]:
        """Begin with a row of windows (see `Engine`); on a GPU all of it is only queued."""
        window, on_gpu = len(self._weights), self._device.type == "cuda"
        sums = torch.zeros(pixels.shape[1:], device=self._device)
        if lefts:
            image = torch.from_numpy(pixels)
            image = image.pin_memory().to(self._device, non_blocking=True) if on_gpu else image
            windows = [image[:, :, left : left + window] for left in lefts]
            for left, part in zip(lefts, self._parts(windows), strict=True):
                sums[:, left : left + window] += part
        done = add(sums).mul(BINS).nan_to_num(FAULT).round().to(torch.uint8)
        values = torch.empty(done.shape, dtype=torch.uint8, pin_memory=on_gpu).copy_(done, non_blocking=True)
        if not on_gpu:
            return values.numpy
        copied = torch.cuda.Event()
        copied.record(torch.cuda.current_stream(self._device))

        def wait() -> Values:
            copied.synchronize()
            return values.numpy()

        return wait

    def _parts(self, windows: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield what each window adds to the sums, float32 (window, window)."""
        done = 0
        while done < len(windows):
            some = windows[done : done + self._batch]
            try:
                parts = self._weighted(some)
            except torch.OutOfMemoryError:
                parts = None
            if parts is None:
                # Outside of the handler: the traceback holds the tensors.
                self._halve()
                continue
            yield from parts[: len(some)]
            done += len(some)

    def _weighted(self, windows: Sequence[Tensor]) -> Tensor:
        # Always a whole batch: for another number of windows the libraries may take another way, with other last digits.
        filled = [*windows, *[torch.zeros_like(windows[0])] * (self._batch - len(windows))]
        image = torch.stack(filled).float().contiguous(memory_format=torch.channels_last)
        total = torch.zeros((), device=self._device)
        for axes in self._views:
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
                seen = self._network(image.flip(axes))[:, 0].flip(axes)
            total = total + ((seen * self._weights + EXACT) - EXACT)
        return total

    def _halve(self) -> None:
        torch.cuda.empty_cache()
        if self._batch == 1:
            raise UsageError(
                "predict.window_px",
                f"the GPU's memory is too small for one window of {len(self._weights)} px",
                do="set predict.device to 'cpu', or predict on another GPU",
            )
        print(f"predict: out of memory with {self._batch} windows at a time; trying {self._batch // 2}", file=sys.stderr)
        self._batch //= 2
