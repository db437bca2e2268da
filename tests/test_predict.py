import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
import rasterio
from onnx import TensorProto, helper, numpy_helper

from learning_case import CELL_PX, make_world, write_mosaic
from rts_pipeline import io, machine
from rts_pipeline.config import Predict
from rts_pipeline.errors import InputError
from rts_pipeline.options import PredictOptions
from rts_pipeline.predict import Strip, predict, window_weights

BANDS = ["nir", "red"]
SETTING = Predict(window_px=128, overlap_px=48, precision="f32")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    gap = slice(100, 300), slice(0, 200)
    return make_world(tmp_path_factory.mktemp("world"), gap=gap)


@pytest.fixture(scope="module")
def model(world):
    return write_model(world.folder / "model")


def write_model(folder, gain=1.0):
    """Write a network of one wide convolution, so that a window's edge changes its values."""
    folder.mkdir()
    kernel = np.random.default_rng(0).normal(0, 1e-4 * gain, (1, len(BANDS), 9, 9)).astype(np.float32)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", len(BANDS), "h", "w"])
    probability = helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["n", 1, "h", "w"])
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["logit"], pads=[4, 4, 4, 4]),
        helper.make_node("Sigmoid", ["logit"], ["probability"]),
    ]
    graph = helper.make_graph(nodes, "network", [image], [probability], [numpy_helper.from_array(kernel, "kernel")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), folder / "network.onnx")
    io.write_json(folder / "model.json", {"bands": BANDS, "sha256": {"network.onnx": io.sha256_file(folder / "network.onnx")}})
    return folder


def run(world, block, model, out, setting=SETTING, mosaics=None):
    options = PredictOptions(grid=world.section, predict=setting)
    predict(block, model, mosaics or world.mosaics, out, options)
    with rasterio.open(out) as dataset:
        return dataset.read(1), dataset.profile, dataset.tags(ns="IMAGE_STRUCTURE")


def whole(world):
    return world.grid.block("b_e0003_n0007")


def expected_by_hand(world, model):
    """Apply the network to every window of the lattice and blend, all in memory."""
    import openvino

    network = openvino.compile_model(str(model / "network.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    box = replace(whole(world))
    big = np.zeros((2, box.height + 512, box.width + 512), np.float32)
    rows, columns = world.row - box.row + 256, world.column - box.column + 256
    size = world.pixels.shape[1]
    big[:, rows : rows + size, columns : columns + size] = world.pixels[[3, 2]]
    line = window_weights(128, 48)
    total = np.zeros(big.shape[1:])
    stride = 80
    for y in range((-(box.row - 256)) % stride, big.shape[1] - 128, stride):
        for x in range((-(box.column - 256)) % stride, big.shape[2] - 128, stride):
            part = big[None, :, y : y + 128, x : x + 128]
            total[y : y + 128, x : x + 128] += network(part)[0][0, 0] * np.outer(line, line)
    values = np.where(big.any(axis=0), np.rint(total * 250), 255)
    return values[256:-256, 256:-256]


def test_values_are_the_blended_windows_of_the_network(world, model, tmp_path):
    values, profile, structure = run(world, whole(world), model, tmp_path / "whole.tif")
    expected = expected_by_hand(world, model)
    assert np.array_equal(values == 255, expected == 255)
    assert np.abs(values.astype(int) - expected).max() <= 1
    assert len(np.unique(values)) > 100
    assert (profile["dtype"], profile["nodata"], structure["LAYOUT"]) == ("uint8", 255, "COG")
    assert profile["transform"] == whole(world).transform


@pytest.mark.parametrize("setting", [SETTING, Predict(window_px=128, overlap_px=0), Predict(window_px=160, overlap_px=64)])
def test_values_do_not_depend_on_how_the_area_is_cut(world, model, tmp_path, setting):
    box = whole(world)
    values = run(world, box, model, tmp_path / "whole.tif", setting)[0]
    random = np.random.default_rng(1)
    for number in range(3):
        height, width = (int(n) for n in random.integers(20, 200, 2))
        row, column = (int(n) for n in random.integers(60, 180, 2))
        part = replace(box, column=box.column + column, row=box.row + row, width=width, height=height)
        cut = run(world, part, model, tmp_path / f"{number}.tif", setting)[0]
        assert np.array_equal(cut, values[row : row + height, column : column + width])


def test_unobserved_pixels_are_nodata(world, model, tmp_path):
    box = whole(world)
    values = run(world, box, model, tmp_path / "whole.tif")[0]
    seen = np.zeros(box.shape, bool)
    rows, columns = world.row - box.row, world.column - box.column
    size = world.pixels.shape[1]
    part = seen[max(rows, 0) : rows + size, max(columns, 0) : columns + size]
    part[:] = world.pixels.any(axis=0)[max(-rows, 0) :, max(-columns, 0) :][: part.shape[0], : part.shape[1]]
    assert np.array_equal(values != 255, seen)


def test_windows_without_pixels_are_skipped(world, model, tmp_path, monkeypatch):
    from rts_pipeline import predict as stage

    started = []
    start = stage.Engine.start
    monkeypatch.setattr(
        stage.Engine, "start", lambda self, index, pixels: (started.append(pixels.any()), start(self, index, pixels))
    )
    strip = Strip.around(whole(world), SETTING)
    run(world, whole(world), model, tmp_path / "whole.tif")
    assert all(started)
    assert len(started) < strip.n_rows * len(strip.lefts)


@pytest.mark.parametrize(("window", "overlap"), [(128, 48), (512, 128), (64, 32), (96, 0), (96, 1)])
def test_weights_add_up_to_one(window, overlap):
    weights, stride = window_weights(window, overlap), window - overlap
    total = np.zeros(window + 2 * stride)
    for start in (0, stride, 2 * stride):
        total[start : start + window] += weights
    assert np.allclose(total[overlap : window + stride], 1)
    if overlap > 1:
        assert weights[0] < 0.01


def test_changed_weights_are_refused(world, tmp_path):
    model = write_model(tmp_path / "model")
    with (model / "network.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match=r"network\.onnx: sha256 .* differs from model\.json"):
        run(world, whole(world), model, tmp_path / "out.tif")
    assert not (tmp_path / "out.tif").exists()


def test_a_network_that_is_none_is_refused(world, tmp_path):
    model = write_model(tmp_path / "model")
    (model / "network.onnx").write_bytes(b"no network")
    io.write_json(model / "model.json", {"bands": BANDS, "sha256": {"network.onnx": io.sha256_file(model / "network.onnx")}})
    with pytest.raises(InputError, match=r"network\.onnx: not a network"):
        run(world, whole(world), model, tmp_path / "out.tif")


def test_bad_mosaics_are_named(model, tmp_path):
    world = make_world(tmp_path, cells=1)
    path = world.mosaics[0]
    write_mosaic(world, path.stem, bands=("blue", "green", "red"))
    with pytest.raises(InputError, match=rf"{path.name}: lacks band nir"):
        run(world, whole(world), model, tmp_path / "out.tif")
    write_mosaic(world, path.stem)
    other = replace(world, grid=replace(world.grid, pixel_m=4.0))
    with pytest.raises(InputError, match=rf"{path.name}: lies on another grid"):
        options = PredictOptions(grid=other.section.model_copy(update={"pixel_m": 4.0}), predict=SETTING)
        predict(whole(other), model, [path], tmp_path / "out.tif", options)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(InputError, match=rf"{path.name}: a part can't be read"):
        run(world, whole(world), model, tmp_path / "out.tif")
    path.write_bytes(b"no image")
    with pytest.raises(InputError, match=rf"{path.name}: can't be opened"):
        run(world, whole(world), model, tmp_path / "out.tif")
    assert not (tmp_path / "out.tif").exists()


def test_a_block_without_mosaics_is_all_nodata(world, model, tmp_path):
    values = run(world, world.grid.block("b_e0100_n0100"), model, tmp_path / "far.tif")[0]
    assert values.shape == (3 * CELL_PX, 3 * CELL_PX)
    assert (values == 255).all()


def test_prediction_needs_no_torch():
    code = "import sys, rts_pipeline.predict as p; assert p.openvino; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_threads_respect_slurm(monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert machine.threads() == 1
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "10000")
    assert 1 <= machine.threads() < 10000
