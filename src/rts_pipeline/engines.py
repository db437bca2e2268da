"""The engines that apply a trained network: OpenVINO on a CPU, without torch, or torch on a GPU."""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from rts_pipeline import machine
from rts_pipeline.config import Inference, Predict
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.lattice import EXACT, FAULT, Add, Engine, view_weights, views
from rts_pipeline.metrics.pixels import BINS
from rts_pipeline.model_folder import applied_facts, check_files, int8_paths

if TYPE_CHECKING:
    import openvino
    from numpy.typing import NDArray

    from rts_pipeline.lattice import Pixels, Values

QUEUED = 2
"""Windows given to a core at a time, so that it has the next one while this program looks after the last."""


def open_engine(model: Path, facts: Any, setting: Predict, where: Inference) -> Engine:
    """Return the engine for the place that was chosen; torch is imported for a GPU alone.

    Args:
        model: the model's folder.
        facts: its `model_facts`.
        setting: the lattice and the arithmetic.
        where: the device.

    Raises:
        InputError: a file of the model that is missing or was changed, or a network that can't be used (on a CPU the last
            is said at the first row of windows).
        UsageError: a GPU that isn't there, or int8 on one.
    """
    int8 = setting.precision == "int8"
    gpus = machine.gpus() if where.device != "cpu" else 0
    if int8 and (gpus or where.device.startswith("cuda")):
        how = "set predict.device to 'cpu', or predict.precision to 'auto'"
        raise UsageError("predict.precision", "'int8' is for a CPU, and this machine has a GPU", do=how)
    kind, _, number = where.device.partition(":")
    if kind == "cuda" and gpus <= int(number or 0):
        raise UsageError(
            "predict.device", f"'{where.device}', but this machine has {gpus} GPUs", do="set it to 'auto' or 'cpu'"
        )
    if not gpus:
        # Compiling has begun when the files are looked at.
        applied = applied_facts(model, facts, setting)
        engine = CpuEngine(int8_paths(model)[0] if int8 else model / "network.onnx", len(facts["bands"]), setting)
        check_files(model, applied)
        return engine
    check_files(model, facts)
    from rts_pipeline.learning.torch_engine import TorchEngine

    return TorchEngine(model, facts, setting, f"cuda:{number or _free_gpu(machine.gpu_uuids())}", where.batch_size)


@cache
def _free_gpu(uuids: tuple[str, ...]) -> int:
    """Return the number of the first GPU that no other process of ours has, or else 0; it is held until this process ends.

    Args:
        uuids: what tells those that this process may use from all others of the machine.
    """
    for gpu, uuid in enumerate(uuids):
        file = (Path(tempfile.gettempdir()) / f"rts-pipeline-{os.getuid()}-gpu-{uuid}.lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
        else:
            _HELD.append(file)
            return gpu
    print("predict: other processes have all GPUs that this one may use; the first is shared", file=sys.stderr)
    return 0


_HELD: list[IO[str]] = []


class CpuEngine:
    """The exported network on a CPU, by OpenVINO: one window an inference and one stream of them a core.

    That is faster than all cores on one window, and gives the same numbers on however many cores.
    """

    def __init__(self, path: Path, bands: int, setting: Predict) -> None:
        """Begin to compile the network for windows of one size; that takes one core, while files are opened and read."""
        self.readers, self.wide = 1, 4
        pool = ThreadPoolExecutor(1)
        self._compiled = pool.submit(compile_network, path, bands, setting)
        pool.shutdown(wait=False)
        self._idle: list[Any] = []
        self._busy: deque[tuple[Any, NDArray[np.float32], tuple[int, int]]] = deque()
        self._started = self._collected = 0
        self._weights, self._views = view_weights(setting), views(setting)
        self._part = np.empty_like(self._weights)
        self._sums = deque([np.empty((0, 0), np.float32)])

    def start(self, pixels: Pixels, lefts: Sequence[int], add: Add) -> Callable[[], Values]:
        """Begin with a row of windows (see `Engine`).

        Raises:
            InputError: the file isn't a network for that many bands.
        """
        compiled = self._compiled.result()
        if not self._idle and not self._busy:
            self._idle = [compiled.create_infer_request() for _ in range(QUEUED * machine.threads())]
        window, sums = len(self._weights), self._next_sums(pixels.shape[2])
        for left in lefts:
            for rows, columns in self._views:
                request = self._idle.pop() if self._idle else self._collect()
                request.get_input_tensor().data[0] = pixels[:, ::rows, left : left + window][:, :, ::columns]
                request.start_async()
                self._busy.append((request, sums[:, left : left + window], (rows, columns)))
                self._started += 1
        end = self._started

        def wait() -> Values:
            while self._collected < end:
                self._idle.append(self._collect())
            done: NDArray[np.float32] = add(sums)
            done *= np.float32(BINS)
            done[np.isnan(done)] = FAULT
            return np.rint(done, out=done).astype(np.uint8)

        return wait

    def _next_sums(self, width: int) -> NDArray[np.float32]:
        """Return zeros (window, width); three arrays go round: this row's, the last one's, and the one that it adds to."""
        if self._sums[0].shape[1] < width:
            self._sums = deque(np.empty((len(self._weights), width), np.float32) for _ in range(3))
        self._sums.rotate()
        sums = self._sums[0][:, :width]
        sums[:] = 0
        return sums

    def _collect(self) -> Any:
        """Add the window that was started first; return the request that is free then."""
        request, target, (rows, columns) = self._busy.popleft()
        request.wait()
        part = np.multiply(request.get_output_tensor().data[0, 0, ::rows, ::columns], self._weights, out=self._part)
        part += EXACT
        part -= EXACT
        target += part
        self._collected += 1
        return request


def compile_network(path: Path, bands: int, setting: Predict) -> openvino.CompiledModel:
    """Return the network for windows of one size, one stream of them a core.

    Raises:
        InputError: the file isn't a network for that many bands.
    """
    # late: a GPU needs none of it
    import openvino

    precision = setting.precision
    # What isn't quantised in a network of the stage quantise is computed as with auto.
    if precision in ("auto", "int8"):
        precision = "bf16" if machine.has_bf16() else "f32"
    properties = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_NUM_THREADS": machine.threads(),
        "NUM_STREAMS": machine.threads(),
    }
    core = openvino.Core()
    try:
        network = core.read_model(path)
        network.reshape([1, bands, setting.window_px, setting.window_px])
        return core.compile_model(network, "CPU", properties)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(path, f"not a network for {bands} bands ({reason})", do="train the round again") from None
