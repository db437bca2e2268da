import os
import re
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import openvino
import pytest
import rasterio
import torch
from affine import Affine
from onnx import TensorProto, helper, numpy_helper

from learning_case import CELL_PX, make_world, write_mosaic, write_network
from rts_pipeline import cli, io, machine, progress
from rts_pipeline.cells import Mosaics
from rts_pipeline.config import Inference, Predict
from rts_pipeline.engines import CpuEngine
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.grid import Grid
from rts_pipeline.io import canonical_json
from rts_pipeline.lattice import Strip, probabilities, window_weights
from rts_pipeline.learning.network import Exported
from rts_pipeline.learning.torch_engine import TorchEngine
from rts_pipeline.model_folder import model_facts
from rts_pipeline.options import PredictOptions
from rts_pipeline.predict import predict

BANDS = ["nir", "red"]
CPU = Inference(device="cpu")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
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
    predict(block, model, mosaics or world.mosaics, out, options, CPU)
    with rasterio.open(out) as dataset:
        return dataset.read(1), dataset.profile, dataset.tags(ns="IMAGE_STRUCTURE")


def whole(world):
    return world.grid.block("b_e0003_n0007")


def expected_by_hand(world, model):
    """Apply the network to every window of the lattice and blend, all in memory."""
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
        predict(whole(other), model, [path], tmp_path / "out.tif", options, CPU)
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


def test_mosaics_that_nobody_saw_are_all_nodata(model, tmp_path):
    world = make_world(tmp_path, cells=1, gap=(slice(None), slice(None)))
    values = run(world, whole(world), model, tmp_path / "out.tif")[0]
    assert (values == 255).all()


def test_prediction_needs_no_torch(world, model, tmp_path):
    """Nor does a whole run: the modules are looked at after it."""
    options = canonical_json({"grid": world.section.model_dump(), "predict": SETTING.model_dump()})
    code = (
        "import sys, atexit; atexit.register(lambda: print('torch' in sys.modules)); from rts_pipeline.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "predict", "b_e0003_n0007", *map(str, world.mosaics), "--model", str(model)]
    command += ["--out", str(tmp_path / "out.tif"), "--options", options, "--device", "cpu"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"
    assert (tmp_path / "out.tif").exists()


def test_threads_respect_slurm(monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert machine.threads() == 1
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "10000")
    assert 1 <= machine.threads() < 10000


def test_gpus_are_counted_without_torch():
    code = "import sys; from rts_pipeline import machine; print(machine.gpus() >= 0, 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True False\n"


# --- the same bits, however it is done ---


class Counting:
    """An engine that notes the windows it is given."""

    readers, wide = 1, 4

    def __init__(self, engine):
        self.engine, self.windows = engine, []

    def start(self, pixels, lefts, add):
        self.windows += [pixels[:, :, left : left + SETTING.window_px].copy() for left in lefts]
        return self.engine.start(pixels, lefts, add)


def values_of(box, reader, engine, setting=SETTING):
    values = np.full(box.shape, 77, np.uint8)
    for part, found in probabilities(box, reader, engine, setting):
        assert (values[box.slices_of(part)] == 77).all()  # each pixel once
        values[box.slices_of(part)] = found
    return values


def reading(world):
    return Mosaics(world.mosaics, world.grid, BANDS)


@pytest.mark.parametrize("block", ["b_e0003_n0007", "b_e0100_n0100"])
def test_windows_without_a_pixel_of_the_block_cost_nothing(world, model, block):
    box, engine = world.grid.block(block), Counting(CpuEngine(model / "network.onnx", 2, SETTING))
    strip = Strip.around(box, SETTING)
    with reading(world) as reader:
        values_of(box, reader, engine)
        seen = reader.read(box).any(axis=0)
    windows = [strip.box.part(row * strip.stride, left, 128, 128) for row in range(strip.n_rows) for left in strip.lefts]
    needed = [window for window in windows if seen[box.slices_of(window.intersection(box))].any()]
    assert len(engine.windows) == len(needed) < len(windows)
    assert all(window.any() for window in engine.windows)


@pytest.mark.parametrize("flips", [False, True])
def test_panels_and_cores_change_nothing(world, model, monkeypatch, flips):
    setting = SETTING.model_copy(update={"flips": flips})
    box = whole(world)
    with reading(world) as reader:
        values = values_of(box, reader, CpuEngine(model / "network.onnx", 2, setting), setting)
        for wide, threads in ((1, "1"), (2, "2"), (3, "1")):
            monkeypatch.setenv("SLURM_CPUS_PER_TASK", threads)
            engine = CpuEngine(model / "network.onnx", 2, setting)
            engine.wide = wide
            assert np.array_equal(values_of(box, reader, engine, setting), values)
            assert np.array_equal(values_of(box, reader, engine, setting), values)


def test_neighbouring_blocks_and_orders_change_nothing(world, model):
    box = whole(world)
    engine = CpuEngine(model / "network.onnx", 2, SETTING)
    engine.wide = 2
    with reading(world) as reader:
        values = values_of(box, reader, engine)
        for edge in (97, 130, 384):
            for part in reversed(list(box.windows(edge))):
                assert np.array_equal(values_of(part, reader, engine), values[box.slices_of(part)])


def test_a_cell_does_not_depend_on_cells_that_no_window_of_it_reaches(world, model):
    cell = world.grid.cell(world.mosaics[0].stem)
    engine = CpuEngine(model / "network.onnx", 2, SETTING)
    near = [path for path in world.mosaics if world.grid.cell(path.stem).intersection(cell.grown(SETTING.window_px))]
    assert len(near) < len(world.mosaics)
    with reading(world) as every, Mosaics(near, world.grid, BANDS) as some:
        assert np.array_equal(values_of(cell, every, engine), values_of(cell, some, engine))


def test_equal_runs_give_equal_files(world, model, tmp_path):
    for name in ("a.tif", "b.tif"):
        run(world, whole(world), model, tmp_path / name)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


KILLED = """
import os, signal
from rts_pipeline import progress
whole = progress.track

def track(items, *rest):
    for number, item in enumerate(whole(items, *rest)):
        yield item
        if number == 1:
            os.kill(os.getpid(), signal.SIGKILL)

progress.track = track
from rts_pipeline.cli import main
main()
"""


def test_killed_half_way_nothing_looks_done_and_the_next_run_gives_the_same_file(world, model, tmp_path):
    run(world, whole(world), model, tmp_path / "whole.tif")
    options = canonical_json({"grid": world.section.model_dump(), "predict": SETTING.model_dump()})
    command = [sys.executable, "-c", KILLED, "predict", "b_e0003_n0007", *map(str, world.mosaics), "--model", str(model)]
    command += ["--out", str(tmp_path / "out.tif"), "--options", options, "--device", "cpu"]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    assert not (tmp_path / "out.tif").exists()
    run(world, whole(world), model, tmp_path / "out.tif")
    assert (tmp_path / "out.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()


def test_flips_are_the_mean_of_what_the_network_says_of_each_flipped_window(world, model):
    flipped = SETTING.model_copy(update={"flips": True})
    network = model / "network.onnx"
    with reading(world) as reader:
        found = values_of(whole(world), reader, CpuEngine(network, 2, flipped), flipped)
        plain = values_of(whole(world), reader, CpuEngine(network, 2, SETTING))
    one = openvino.compile_model(str(network), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    strip = Strip.around(whole(world), SETTING)
    windows = [strip.box.part(row * strip.stride, left, 128, 128) for row in range(strip.n_rows) for left in strip.lefts]
    # a window's middle is seen by it alone
    middles = [(window, window.part(50, 50, 28, 28)) for window in windows]
    inside = [(window, middle) for window, middle in middles if middle.intersection(whole(world)) == middle]
    window, middle = next(pair for pair in inside if (found[whole(world).slices_of(pair[1])] < 255).all())
    with reading(world) as reader:
        pixels = reader.read(window)[None].astype(np.float32)
    views = [pixels, pixels[..., ::-1], pixels[..., ::-1, :], pixels[..., ::-1, ::-1]]
    said = [one(np.ascontiguousarray(view))[0][0, 0].copy() for view in views]
    mean = (said[0] + said[1][:, ::-1] + said[2][::-1] + said[3][::-1, ::-1]) / 4
    assert np.abs(found[whole(world).slices_of(middle)].astype(int) - np.rint(mean[50:78, 50:78] * 250)).max() <= 1
    assert (found != plain).any()


# --- torch ---


@pytest.fixture(scope="module")
def trained(world):
    return write_network(world, world.folder / "torch", BANDS, "mobilenet_v2", members=2)


def torch_engine(folder, device="cpu", setting=SETTING, batch=4):
    return TorchEngine(folder, model_facts(folder), setting, device, batch)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("flips", [False, True])
def test_torch_and_openvino_agree(world, trained, device, flips):
    setting = SETTING.model_copy(update={"flips": flips})
    box = world.grid.cell(world.mosaics[7].stem)
    with reading(world) as reader:
        expected = values_of(box, reader, CpuEngine(trained / "network.onnx", 2, setting), setting)
        found = values_of(box, reader, torch_engine(trained, device, setting), setting)
    assert np.array_equal(found == 255, expected == 255)
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert np.ptp(expected[expected < 255]) > 50


@pytest.mark.parametrize("device", DEVICES)
def test_batches_and_panels_change_nothing_in_torch(world, trained, device):
    box = world.grid.cell(world.mosaics[8].stem)
    with reading(world) as reader:
        values = values_of(box, reader, torch_engine(trained, device, batch=4))
        for batch, wide in ((1, 8), (3, 8), (4, 1)):
            engine = torch_engine(trained, device, batch=batch)
            engine.wide = wide
            found = values_of(box, reader, engine)
            # another number at a time may take another algorithm on a GPU
            exact = device == "cpu" or batch == 4
            assert np.array_equal(found, values) if exact else np.abs(found.astype(int) - values).max() <= 1


def test_short_memory_halves_the_batch(world, trained, monkeypatch, capsys):
    box, most = world.grid.cell(world.mosaics[8].stem), 2
    network = Exported.forward

    def forward(self, image):
        if len(image) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return network(self, image)

    with reading(world) as reader:
        values = values_of(box, reader, torch_engine(trained))
        monkeypatch.setattr(Exported, "forward", forward)
        assert np.array_equal(values_of(box, reader, torch_engine(trained, batch=8)), values)
        assert "out of memory with 8 windows at a time; trying 4\n" in capsys.readouterr().err
        most = 0
        with pytest.raises(UsageError, match=r"predict\.window_px: the GPU's memory is too small for one window of 128 px"):
            values_of(box, reader, torch_engine(trained, batch=2))


def test_bf16_is_near_fp32_in_torch(world, trained):
    box = world.grid.cell(world.mosaics[8].stem)
    setting = SETTING.model_copy(update={"precision": "bf16"})
    with reading(world) as reader:
        exact = values_of(box, reader, torch_engine(trained)).astype(int)
        found = values_of(box, reader, torch_engine(trained, setting=setting), setting)
    # these weights' small differences are stretched to probabilities from 0 to 1
    assert np.mean(np.abs(found - exact) <= 25) > 0.9


def test_weights_of_another_network_are_refused(world, trained):
    facts = model_facts(trained) | {"encoder": "resnet18"}
    with pytest.raises(InputError, match=r"weights\.pt: doesn't fit: .*"):
        TorchEngine(trained, facts, SETTING, "cpu", 4)


# --- what a user can get wrong: one line each, and no file that looks done ---


def complaint(monkeypatch, capfd, world, model, out, *arguments, mosaics=None, block="b_e0003_n0007"):
    """Run the command; return its exit code and the last line that it says."""
    options = canonical_json({"grid": world.section.model_dump(), "predict": SETTING.model_dump()})
    paths = [str(path) for path in mosaics or world.mosaics]
    command = ["rts-pipeline", "predict", block, *paths, "--model", str(model), "--out", str(out), "--options", options]
    monkeypatch.setattr(sys, "argv", [*command, *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not list(out.parent.glob("*out.tif*"))
    assert not list(out.parent.glob(".tmp*"))
    return ended.value.code, capfd.readouterr().err.splitlines()[-1]


def test_a_gpu_that_is_not_there_or_unknown(monkeypatch, capfd, world, model, tmp_path):
    monkeypatch.setattr(machine, "gpus", lambda: 1)
    code, line = complaint(monkeypatch, capfd, world, model, tmp_path / "out.tif", "--device", "cuda:1")
    assert (code, line) == (
        2, "rts-pipeline: predict.device: 'cuda:1', but this machine has 1 GPUs; set it to 'auto' or 'cpu'"
    )  # fmt: skip
    code, line = complaint(monkeypatch, capfd, world, model, tmp_path / "out.tif", "--device", "gpu")
    assert code == 2
    assert "predict: key 'device' is 'gpu'" in line


def test_processes_share_out_the_gpus(tmp_path):
    """Each block's process takes a GPU that no other has, as long as it lives; when all are taken the first is shared."""
    code = (
        "from rts_pipeline.engines import _free_gpu; two = ('one', 'other');"
        " print(_free_gpu(two), _free_gpu(two), flush=True); input()"
    )
    command, environment = [sys.executable, "-c", code], {**os.environ, "TMPDIR": str(tmp_path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen(command, **pipes) as one, subprocess.Popen(command, **pipes) as other:
        assert sorted([one.stdout.readline(), other.stdout.readline()]) == ["0 0\n", "1 1\n"]
        third = subprocess.run(command, input="\n", capture_output=True, text=True, env=environment)
        assert third.stdout == "0 0\n"
        assert third.stderr == "predict: other processes have all GPUs that this one may use; the first is shared\n"
        one.communicate("\n")
        freed = subprocess.run(command, input="\n", capture_output=True, text=True, env=environment)
        other.communicate("\n")
    assert freed.stdout in ("0 0\n", "1 1\n")
    assert freed.stderr == ""


def test_jobs_that_each_see_another_gpu_as_the_first_have_both(tmp_path):
    """As two jobs of a cluster on one node: CUDA numbers anew what each may use."""
    code = "import sys; from rts_pipeline.engines import _free_gpu; print(_free_gpu((sys.argv[1],)), flush=True); input()"
    command, environment = [sys.executable, "-c", code], {**os.environ, "TMPDIR": str(tmp_path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen([*command, "a1"], **pipes) as one:
        assert one.stdout.readline() == "0\n"
        for uuid, told in (
            ("b2", ""),
            ("a1", "predict: other processes have all GPUs that this one may use; the first is shared\n"),
        ):
            other = subprocess.run([*command, uuid], input="\n", capture_output=True, text=True, env=environment)
            assert (other.stdout, other.stderr) == ("0\n", told)
        one.communicate("\n")


class Driver:
    """CUDA's driver with two GPUs, of which CUDA_VISIBLE_DEVICES left the second and the fourth of a machine."""

    uuids = (bytes(range(16)), bytes(range(16, 32)))

    def cuInit(self, flags):
        return 0

    def cuDeviceGetCount(self, number):
        number._obj.value = len(self.uuids)
        return 0

    def cuDeviceGet(self, device, number):
        device._obj.value = 40 + number
        return 0

    def cuDeviceGetUuid(self, uuid, device):
        uuid._obj[:] = self.uuids[device.value - 40]
        return 0


@pytest.mark.parametrize("version", ["", "_v2"])
def test_gpus_are_told_apart_by_what_the_driver_says(monkeypatch, version):
    kind = type("Asked", (Driver,), {f"cuDeviceGetUuid{version}": Driver.cuDeviceGetUuid})
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: kind())
    assert machine.gpu_uuids() == tuple(uuid.hex() for uuid in Driver.uuids)
    monkeypatch.setattr(Driver, "cuDeviceGet", lambda *_: 101)
    assert machine.gpu_uuids() == ("number-0", "number-1")


def test_a_network_for_other_bands(monkeypatch, capfd, world, tmp_path):
    model = write_model(tmp_path / "model")
    facts = io.read_json(model / "model.json")
    io.write_json(model / "model.json", facts | {"bands": ["nir", "red", "blue"]})
    code, line = complaint(monkeypatch, capfd, world, model, tmp_path / "out.tif", "--device", "cpu")
    assert code == 3
    assert "network.onnx: not a network for 3 bands" in line
    io.write_json(model / "model.json", facts | {"bands": ["nir", "swir"]})
    code, line = complaint(monkeypatch, capfd, world, model, tmp_path / "out.tif", "--device", "cpu")
    assert code == 3
    assert ".tif: lacks band swir; expected bands nir, swir; it has blue, green, red, nir" in line
    io.write_json(model / "model.json", {"bands": BANDS})
    code, line = complaint(monkeypatch, capfd, world, model, tmp_path / "out.tif", "--device", "cpu")
    assert (code, "model.json: doesn't say sha256" in line) == (3, True)


def test_a_changed_network_and_a_mosaic_of_another_grid(monkeypatch, capfd, world, model, tmp_path):
    changed = write_model(tmp_path / "model")
    with (changed / "network.onnx").open("ab") as file:
        file.write(b"x")
    code, line = complaint(monkeypatch, capfd, world, changed, tmp_path / "out.tif", "--device", "cpu")
    assert (code, "network.onnx: sha256 " in line, line.endswith("; train the round again")) == (3, True, True)
    path = tmp_path / "mosaics" / world.mosaics[0].name
    with rasterio.open(world.mosaics[0]) as dataset, io.new_cog(path, **_moved(dataset)) as other:
        other.write(dataset.read())
    code, line = complaint(monkeypatch, capfd, world, model, tmp_path / "out.tif", "--device", "cpu", mosaics=[path])
    assert (code, f"{path}: lies on another grid" in line) == (3, True)
    assert line.endswith("; remove the mosaics that were made with another grid")


def _moved(dataset):
    """The profile of a raster that lies a metre farther east."""
    names = "count", "dtype", "width", "height", "nodata", "crs"
    return {name: dataset.profile[name] for name in names} | {"transform": dataset.transform @ Affine.translation(1 / 3, 0)}


def test_a_network_whose_answer_is_no_number(monkeypatch, capfd, world, tmp_path):
    model = write_model(tmp_path / "model", gain=np.nan)
    code, line = complaint(monkeypatch, capfd, world, model, tmp_path / "out.tif", "--device", "cpu")
    assert code == 3
    assert "network.onnx" in line
    assert "no number for a window of b_e0003_n0007" in line


def test_a_corrupt_tile_is_named(monkeypatch, capfd, model, tmp_path):
    world = make_world(tmp_path, cells=1)
    path = world.mosaics[0]
    with rasterio.open(path) as dataset:
        place = int(dataset.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", 1)) + 1000
    data = bytearray(path.read_bytes())
    data[place : place + 2000] = bytes(2000)
    path.write_bytes(data)
    code, line = complaint(monkeypatch, capfd, world, model, tmp_path / "out.tif", "--device", "cpu")
    assert code == 3
    assert f"{path}: a part can't be read" in line
    assert line.endswith("remove the file and run again to rebuild it")


def test_a_mosaic_of_other_numbers(monkeypatch, capfd, model, tmp_path):
    world = make_world(tmp_path, cells=1)
    path = world.mosaics[0]
    with rasterio.open(path) as dataset:
        values, profile, bands = dataset.read(), dataset.profile, dataset.descriptions
    with rasterio.open(path, "w", **profile | {"dtype": "float32", "driver": "GTiff"}) as dataset:
        dataset.write(np.where(values, values, np.nan).astype(np.float32))
        dataset.descriptions = bands
    code, line = complaint(monkeypatch, capfd, world, model, tmp_path / "out.tif", "--device", "cpu")
    assert (code, line.partition(".tif: ")[2]) == (3, "holds float32; expected uint16, reflectance x 10,000")


@pytest.mark.parametrize("share", [0.1, 0.9, 1])
def test_a_full_disk(world, model, tmp_path, share):
    run(world, whole(world), model, tmp_path / "out.tif")
    limit = round((tmp_path / "out.tif").stat().st_size * share) - 1
    (tmp_path / "out.tif").unlink()
    options = canonical_json({"grid": world.section.model_dump(), "predict": SETTING.model_dump()})
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    code += "; from rts_pipeline.cli import main; main()"
    command = [sys.executable, "-c", code, "predict", "b_e0003_n0007", *map(str, world.mosaics), "--model", str(model)]
    command += ["--out", str(tmp_path / "out.tif"), "--options", options, "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 3
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"rts-pipeline: {tmp_path / 'out.tif'}: can't be written in full")
    assert line.endswith("; free space or mend permissions")
    assert not list(tmp_path.iterdir())


# --- progress and memory ---


def test_progress_says_area_rate_and_time_left(world, model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0)
    run(world, whole(world), model, tmp_path / "out.tif")
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"predict b_e0003_n0007: 1/1 km2, [\d.]+ km2/s, 0 s left", lines[-1])
    assert len(lines) > 2


MEASURED = """
import sys
from pathlib import Path
from rts_pipeline.config import GridSection, Inference, Predict
from rts_pipeline.options import PredictOptions
from rts_pipeline.predict import predict
folder, cells = Path(sys.argv[1]), int(sys.argv[2])
options = PredictOptions(grid=GridSection(crs="EPSG:32646", block_cells=cells), predict=Predict())
block = options.grid.grid().block("b_e0000_n0000")
predict(block, Path(sys.argv[3]), sorted(folder.glob("e*.tif")), folder / f"out{cells}.tif", options, Inference(device="cpu"))
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


def test_memory_does_not_depend_on_the_area(model, tmp_path):
    """Blocks of 4 and of 16 cells."""
    grid = Grid("EPSG:32646", 3.0, 2048, 4)
    for column in range(4):
        for row in range(4):
            cell = grid.cell(f"e{column:04d}_n{row:04d}")
            with io.new_cog(tmp_path / f"{cell.id}.tif", count=2, dtype="uint16", nodata=0, **cell.profile) as dataset:
                dataset.write(np.full((2, *cell.shape), 900, np.uint16))
                dataset.descriptions = BANDS
    peaks = []
    for cells in (2, 4):
        command = [sys.executable, "-c", MEASURED, str(tmp_path), str(cells), str(model)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] < 1.12 * peaks[0]
    assert peaks[1] < 500


def test_openvino_tells_nobody_that_it_is_used(tmp_path):
    """It would make a name for this user in the home folder, and send it by a thread of its own."""
    told = "import threading; print([thread.name for thread in threading.enumerate()], 'openvino.tools.ovc' in sys.modules)"
    script = f"import sys, rts_pipeline.engines, openvino; {told}"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "['MainThread'] True\n"
    assert list(tmp_path.iterdir()) == []
