"""Stage `quantise`: the network of a round with the convolutions of its encoder in int8, for a CPU.

After training: weights get 255 steps between plus and minus their largest, by output channel, and what goes into a convolution
256 steps of the range that training windows show. OpenVINO multiplies such numbers as integers of 8 bits. The decoder stays as
it is: it would add a fifth to the gain and double the loss (docs/results.md).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino

from rts_pipeline import machine, progress
from rts_pipeline.cells import Mosaics
from rts_pipeline.chips import block_grid
from rts_pipeline.errors import InputError
from rts_pipeline.grid import GeoBox
from rts_pipeline.io.files import atomic, sha256_file
from rts_pipeline.io.json import write_json
from rts_pipeline.io.tables import read_geoparquet
from rts_pipeline.model_folder import int8_paths, model_facts
from rts_pipeline.options import QuantiseOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Windows = NDArray[np.float32]
    Range = tuple[float, float]

CALIBRATED_ON = 64
"""Most training windows, evenly chosen: the range of what goes into a convolution grows no more with further ones."""
CONVOLUTIONS = ("Convolution", "GroupConvolution")
ENCODER = "/encoder/"
"""In the names of its operations, as segmentation-models-pytorch names its parts."""


def quantise(chips: Path, mosaics: Sequence[Path], model: Path, options: QuantiseOptions) -> None:
    """Add the network in int8 to a model.

    Args:
        chips: table of windows; those of the split "train" are looked at.
        mosaics: mosaics of the cells that the windows lie in.
        model: folder with model.json and network.onnx, which gets int8.xml, int8.bin and, last, int8.json.
        options: the stage's options.

    Raises:
        InputError: a model, a mosaic or a table that can't be used.
    """
    facts = model_facts(model)
    onnx = model / "network.onnx"
    network = _read(onnx)
    inputs = _inputs(network, onnx)
    with Mosaics(mosaics, options.grid.grid(), facts["bands"]) as reader:
        reader.check()
        boxes = list(_boxes(chips, options))
        windows = (
            _window(box, reader, options.predict.window_px) for box in progress.track(boxes, len(boxes), "quantise", "windows")
        )
        ranges = _ranges(onnx, list(inputs), windows)
    _insert(inputs, ranges)
    # OpenVINO names by a count of all that a process ever made.
    for number, node in enumerate(network.get_ordered_ops()):
        node.set_friendly_name(str(number))
    structure, weights = int8_paths(model)
    with atomic(structure) as new_structure, atomic(weights) as new_weights:
        try:
            openvino.serialize(network, str(new_structure), str(new_weights))
        except RuntimeError as error:
            # OpenVINO says no more than that when the disk is full
            raise OSError(errno.ENOSPC, f"can't be written in full ({error})", str(weights)) from None
    made = {"network_sha256": sha256_file(onnx), "windows": len(boxes), "versions": {"openvino": version("openvino")}}
    made["sha256"] = {path.name: sha256_file(path) for path in (structure, weights)}
    write_json(model / "int8.json", made)


def _read(path: Path) -> openvino.Model:
    try:
        return openvino.Core().read_model(path)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(path, f"not a network ({reason})", do="train the round again") from None


def _inputs(network: openvino.Model, path: Path) -> dict[tuple[str, int], list[Any]]:
    """Return the encoder's convolutions by what goes into them: name and number of an output."""
    found: dict[tuple[str, int], list[Any]] = {}
    for node in network.get_ordered_ops():
        if node.get_type_name() in CONVOLUTIONS and ENCODER in node.get_friendly_name():
            source = node.input_value(0)
            found.setdefault((source.get_node().get_friendly_name(), source.get_index()), []).append(node)
    if not found:
        raise InputError(path, "has no convolution of an encoder", expected="a network of segmentation-models-pytorch")
    return found


def _boxes(chips: Path, options: QuantiseOptions) -> Iterator[GeoBox]:
    """Yield windows as large as those of prediction around training windows, as far as they lie in the same training block."""
    grid, coarse, size = options.grid.grid(), block_grid(options.grid.grid(), options.chips), options.predict.window_px
    table = read_geoparquet(chips)
    table = table[table["split"] == "train"]
    if not len(table):
        raise InputError(chips, "holds no training window", expected="windows of train and validation", do="make it again")
    for chip in table.iloc[:: ceil(len(table) / CALIBRATED_ON)].itertuples():
        block = coarse.cell(str(chip.block).removeprefix("s_"))
        column, row = (
            max(low, min(int(middle) - size // 2, high - size))
            for middle, low, high in (
                (chip.column + chip.size_px // 2, block.column, block.column + block.width),
                (chip.row + chip.size_px // 2, block.row, block.row + block.height),
            )
        )
        inside = GeoBox(str(chip.block), grid.crs, grid.pixel_m, column, row, size, size).intersection(block)
        if inside is not None:
            yield inside


def _window(box: GeoBox, reader: Mosaics, size: int) -> Windows:
    """Return the pixels of a box as a window (1, bands, size, size); what a smaller block lacks is its mirror image.

    As large as in prediction, because a dilated convolution sees the zeros beyond a small window's edge.
    """
    pixels = reader.read(box)
    missing = [(0, 0), (0, size - box.height), (0, size - box.width)]
    return np.pad(pixels, missing, mode="symmetric")[None].astype(np.float32)


def _ranges(path: Path, names: Sequence[tuple[str, int]], windows: Iterator[Windows]) -> dict[tuple[str, int], Range]:
    """Return the least and the greatest value that windows show at some outputs of a network."""
    from openvino import opset13 as operations

    network = _read(path)
    nodes = {node.get_friendly_name(): node for node in network.get_ordered_ops()}
    axes = np.arange(4)
    ends = []
    for name, index in names:
        output = nodes[name].output(index)
        ends += [operations.reduce_min(output, axes, False), operations.reduce_max(output, axes, False)]
    probe = openvino.Model([operations.result(end) for end in ends], network.get_parameters(), "ranges")
    properties = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": machine.threads()}
    compiled = openvino.Core().compile_model(probe, "CPU", properties)
    seen = np.array([[float(value) for value in compiled(window).values()] for window in windows])
    least, greatest = seen[:, ::2].min(axis=0), seen[:, 1::2].max(axis=0)
    return dict(zip(names, zip(least.tolist(), greatest.tolist(), strict=True), strict=True))


def _insert(inputs: dict[tuple[str, int], list[Any]], ranges: dict[tuple[str, int], Range]) -> None:
    """Let convolutions take rounded inputs and weights, by operations that OpenVINO makes integers of."""
    from openvino import opset13 as operations

    for place, convolutions in inputs.items():
        low, high = (np.full((1, 1, 1, 1), end, np.float32) for end in _with_zero(*ranges[place]))
        rounded = operations.fake_quantize(convolutions[0].input_value(0), low, high, low, high, 256)
        for convolution in convolutions:
            convolution.input(0).replace_source_output(rounded.output(0))
            weights = convolution.input_value(1)
            most = _largest(weights)
            steps = operations.fake_quantize(weights, -most, most, -most, most, 255)
            convolution.input(1).replace_source_output(steps.output(0))


def _with_zero(low: float, high: float) -> Range:
    """Return the least range around one whose 256 steps have zero among them: what lies beyond an image's edge stays exact."""
    low, high = min(low, 0.0), max(high, 1e-6)
    if low == 0:
        return low, high
    zero = min(max(round(-low / (high - low) * 255), 1), 254)
    step = max(-low / zero, high / (255 - zero))
    return -step * zero, step * (255 - zero)


def _largest(weights: Any) -> NDArray[np.float32]:
    """Return the largest absolute weight of each output channel, with the weights' number of axes."""
    node, shape = weights.get_node(), tuple(weights.get_shape())
    while node.get_type_name() != "Constant":
        node = node.input_value(0).get_node()
    # (outputs, inputs, rows, columns); of groups: (groups, outputs, inputs, rows, columns)
    axes = tuple(range(len(shape) - 3, len(shape)))
    values = np.abs(node.get_data().reshape(shape)).max(axis=axes, keepdims=True)
    return np.maximum(values, 1e-9).astype(np.float32)
