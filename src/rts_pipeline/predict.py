"""Stage `predict`: the probability of a slump for every observed pixel of a block, on a CPU and without torch.

Windows lie on a lattice of the whole grid, so that a pixel is seen by the same windows however the area is cut into
blocks. Their results are blended with weights that fall to zero at the windows' edges, row of windows by row of windows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from rts_pipeline import io, machine, progress
from rts_pipeline.cells import Mosaics
from rts_pipeline.config import Predict
from rts_pipeline.errors import InputError
from rts_pipeline.grid import GeoBox
from rts_pipeline.options import PredictOptions

SCALE, NODATA = 250, 255


@dataclass(frozen=True)
class Strip:
    """The rows of windows that touch a block.

    Attributes:
        box: all pixels of those windows.
        window: edge of a window in pixels.
        overlap: pixels that neighbouring windows share.
    """

    box: GeoBox
    window: int
    overlap: int

    @classmethod
    def around(cls, block: GeoBox, setting: Predict) -> Strip:
        """Return the windows of the grid's lattice that touch `block`."""
        stride = setting.window_px - setting.overlap_px
        first = [floor((start - setting.window_px) / stride) + 1 for start in (block.column, block.row)]
        ends = block.column + block.width, block.row + block.height
        width, height = (
            (ceil(end / stride) - low - 1) * stride + setting.window_px for low, end in zip(first, ends, strict=True)
        )
        column, row = (low * stride for low in first)
        box = GeoBox(block.id, block.crs, block.pixel_m, column, row, width, height)
        return cls(box, setting.window_px, setting.overlap_px)

    @property
    def stride(self) -> int:
        """Step from window to window in pixels."""
        return self.window - self.overlap

    @property
    def n_rows(self) -> int:
        """Number of rows of windows."""
        return (self.box.height - self.window) // self.stride + 1

    @property
    def lefts(self) -> range:
        """First column of each window of a row, within the box."""
        return range(0, self.box.width - self.window + 1, self.stride)

    def rows(self, top: int, height: int) -> GeoBox:
        """Return `height` rows of the box, `top` rows below its upper edge."""
        box = self.box
        return GeoBox(box.id, box.crs, box.pixel_m, box.column, box.row + top, box.width, height)


def predict(block: GeoBox, model: Path, mosaics: Sequence[Path], out: Path, options: PredictOptions) -> None:
    """Write the probabilities of a block.

    Args:
        block: the block.
        model: folder with model.json and network.onnx.
        mosaics: mosaics of the block's cells and, as far as they exist, of the cells around it.
        out: COG uint8 on the block: probability x 250, 255 = not observed (nodata).
        options: the stage's options.

    Raises:
        InputError: files of the model that are missing or were changed; a mosaic that is damaged, lies on another grid
            or lacks a band.
    """
    facts, setting = model_facts(model), options.predict
    strip = Strip.around(block, setting)
    near = [path for path in mosaics if options.grid.grid().cell(path.stem).intersection(strip.box)]
    with Mosaics(near, options.grid.grid(), facts["bands"]) as reader:
        reader.check()
        engine = Engine(model / "network.onnx", len(facts["bands"]), setting)
        layout: dict[str, Any] = {**block.profile, "count": 1, "dtype": "uint8", "nodata": NODATA}
        with io.new_cog(out, **layout) as dataset:
            parts = probabilities(block, reader, engine, setting)
            for part, values in progress.track(parts, strip.n_rows, f"predict {block.id}", "rows of windows"):
                dataset.write(values, 1, window=block.window_of(part))


def probabilities(
    box: GeoBox, reader: Mosaics, engine: Engine, setting: Predict
) -> Iterator[tuple[GeoBox, np.ndarray[Any, np.dtype[np.uint8]]]]:
    """Yield the probabilities of a box from north to south: for each row of windows the rows that no further one touches.

    Args:
        box: any rectangle of the grid; what lies around it is seen as far as the windows of the grid's lattice reach.
        reader: the mosaics, with the network's bands.
        engine: the network.
        setting: the lattice.

    Yields:
        A part of the box, as wide as it, and its values: uint8 (rows, columns), probability x 250, 255 = not observed.
    """
    for part, values in _blended(Strip.around(box, setting), reader, engine):
        kept = part.intersection(box)
        if kept is not None:
            yield kept, values[part.slices_of(kept)]


def model_facts(model: Path) -> Any:
    """Return what model.json says.

    Raises:
        InputError: it is missing, or a file that it describes is missing or was changed.
    """
    facts = io.read_json(model / "model.json")
    for name, expected in facts["sha256"].items():
        path = model / name
        if not path.exists():
            raise InputError(path, "no such file", expected="the file that model.json describes", do="train the round again")
        found = io.sha256_file(path)
        if found != expected:
            raise InputError(
                path,
                f"sha256 {found[:12]}... differs from model.json",
                expected=f"{expected[:12]}...",
                do="train the round again",
            )
    return facts


class Engine:
    """The exported network, several windows at a time."""

    def __init__(self, path: Path, bands: int, setting: Predict) -> None:
        """Compile the network for windows of one size.

        Raises:
            InputError: the file isn't a network.
        """
        core = openvino.Core()
        try:
            network = core.read_model(path)
        except RuntimeError as error:
            raise InputError(path, f"not a network ({str(error).splitlines()[-1]})", do="train the round again") from None
        network.reshape([1, bands, setting.window_px, setting.window_px])
        precision = setting.precision
        if precision == "auto":
            precision = "bf16" if machine.has_bf16() else "f32"
        # One window an inference and one stream a core: faster than all cores on one window, and the same numbers.
        properties = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_NUM_THREADS": machine.threads(),
            "NUM_STREAMS": machine.threads(),
        }
        self._compiled = core.compile_model(network, "CPU", properties)
        self._queue = openvino.AsyncInferQueue(self._compiled)
        self._queue.set_callback(self._keep)
        self._results: dict[int, np.ndarray] = {}

    def _keep(self, request: Any, index: int) -> None:
        self._results[index] = request.get_output_tensor(0).data[0, 0].copy()

    def start(self, index: int, pixels: np.ndarray) -> None:
        """Queue a window, uint16 (bands, rows, columns)."""
        self._queue.start_async({0: pixels[None].astype(np.float32)}, index)

    def finish(self) -> dict[int, np.ndarray]:
        """Wait, and return the probabilities, float32 (rows, columns), of all windows queued."""
        self._queue.wait_all()
        results, self._results = self._results, {}
        return results


def window_weights(window: int, overlap: int) -> np.ndarray:
    """Return the weights of a window's rows (and columns): 1 inside, falling to 0 over the overlap as a squared cosine.

    Those of neighbouring windows add up to 1 where they overlap.
    """
    weights = np.ones(window, np.float32)
    ramp = np.sin(np.pi / 2 * (np.arange(overlap) + 0.5) / max(overlap, 1)) ** 2
    weights[:overlap] = ramp
    weights[window - overlap :] = ramp[::-1]
    return weights


def _blended(strip: Strip, reader: Mosaics, engine: Engine) -> Iterator[tuple[GeoBox, np.ndarray]]:
    """Yield, from north to south, rows that no further window touches, with their values uint8 (rows, columns)."""
    window, stride = strip.window, strip.stride
    line = window_weights(window, strip.overlap)
    weights = line[:, None] * line
    pixels = reader.read(strip.rows(0, window))
    total: np.ndarray[Any, Any] = np.zeros(pixels.shape[1:], np.float32)
    with ThreadPoolExecutor(1) as pool:
        for number in range(strip.n_rows):
            last = number == strip.n_rows - 1
            # The next rows are read while the network works on these.
            ahead = None if last else pool.submit(reader.read, strip.rows(number * stride + window, stride))
            for left in strip.lefts:
                here = pixels[:, :, left : left + window]
                if here.any():
                    engine.start(left, here)
            # Added in one order whatever finished first: sums of floats depend on it.
            for left, values in sorted(engine.finish().items()):
                total[:, left : left + window] += values * weights
            done = window if last else stride
            yield strip.rows(number * stride, done), _quantised(total[:done], pixels[:, :done])
            if ahead is not None:
                pixels = np.concatenate([pixels[:, stride:], ahead.result()], axis=1)
                total = np.concatenate([total[stride:], np.zeros((stride, total.shape[1]), np.float32)])


def _quantised(total: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    values = np.rint(np.clip(total, 0, 1) * SCALE).astype(np.uint8)
    return np.where(pixels.any(axis=0), values, NODATA).astype(np.uint8)
