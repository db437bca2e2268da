import sys

import geopandas as gpd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning_case import BANDS, make_windows, write_network
from rts_pipeline import cli, io, machine, quantise
from rts_pipeline.cells import Mosaics
from rts_pipeline.chips import block_grid
from rts_pipeline.config import Chips, Choice, Inference, Predict, Shaping
from rts_pipeline.engines import open_engine
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.lattice import probabilities
from rts_pipeline.model_folder import model_facts
from rts_pipeline.options import PredictOptions, QuantiseOptions, ValidateOptions
from rts_pipeline.predict import predict
from rts_pipeline.validate.build import validate

CPU = Inference(device="cpu")
CHIPS = Chips(size_px=64, stride_px=32, buffer_m=10, background_reach_m=100, block_m=192, validation_fraction=0.3, guard_px=0)
SETTING = Predict(window_px=128, overlap_px=32, precision="f32")
INT8 = SETTING.model_copy(update={"precision": "int8"})
FILES = "int8.xml", "int8.bin", "int8.json"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_windows(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def model(world):
    """A model, after what it predicted before anything was added to it."""
    write_network(world, world.folder / "model", BANDS, "resnet18")
    run_predict(world, world.folder / "model", world.folder / "before.tif", SETTING)
    add(world, world.folder / "model")
    return world.folder / "model"


def add(world, folder):
    options = QuantiseOptions(grid=world.section, chips=CHIPS, predict=SETTING)
    quantise.quantise(world.folder / "chips.parquet", world.mosaics, folder, options)


def run_predict(world, folder, out, setting):
    predict(whole(world), folder, world.mosaics, out, PredictOptions(grid=world.section, predict=setting), CPU)


def whole(world):
    return world.grid.block(world.grid.block_of(world.mosaics[0].stem))


def values_of(world, folder, box, setting, wide=4):
    facts = model_facts(folder)
    engine = open_engine(folder, facts, setting, CPU)
    engine.wide = wide
    values = np.full(box.shape, 77, np.uint8)
    with Mosaics(world.mosaics, world.grid, facts["bands"]) as reader:
        for part, found in probabilities(box, reader, engine, setting):
            values[box.slices_of(part)] = found
    return values


def copy_of(model, folder):
    folder.mkdir()
    for path in model.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_it_is_added_to_a_model_and_changes_nothing_else(world, model, tmp_path):
    made, facts = io.read_json(model / "int8.json"), io.read_json(model / "model.json")
    assert made["network_sha256"] == facts["sha256"]["network.onnx"] == io.sha256_file(model / "network.onnx")
    assert made["sha256"] == {name: io.sha256_file(model / name) for name in FILES[:2]}
    assert made["windows"] > 5
    run_predict(world, model, tmp_path / "after.tif", SETTING)
    assert (tmp_path / "after.tif").read_bytes() == (world.folder / "before.tif").read_bytes()
    other = copy_of(model, tmp_path / "model")
    add(world, other)
    assert [(other / name).read_bytes() for name in FILES] == [(model / name).read_bytes() for name in FILES]


def test_its_probabilities_are_near_and_not_the_same(world, model):
    exact = values_of(world, model, whole(world), SETTING).astype(int)
    found = values_of(world, model, whole(world), INT8).astype(int)
    assert np.array_equal(found == 255, exact == 255)
    seen = exact < 255
    assert np.ptp(exact[seen]) > 20
    apart = np.abs(found - exact)[seen]
    assert 0 < apart.mean() < 0.1 * np.ptp(exact[seen])


def test_int8_convolutions_are_what_is_computed(world, model):
    """Not a slower way to the same rounding: OpenVINO runs the encoder's convolutions on 8 bit integers."""
    from rts_pipeline.engines import compile_network

    compiled = compile_network(model / "int8.xml", 4, INT8)
    types = [node.get_rt_info()["runtimePrecision"].astype(str) for node in compiled.get_runtime_model().get_ops()
             if node.get_rt_info()["layerType"].astype(str) == "Convolution"]  # fmt: skip
    assert sum(kind in ("u8", "i8") for kind in types) >= 10


def test_the_same_bits_however_it_is_cut(world, model, monkeypatch, tmp_path):
    box = whole(world)
    values = values_of(world, model, box, INT8)
    for wide, threads in ((1, "1"), (3, "2")):
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", threads)
        assert np.array_equal(values_of(world, model, box, INT8, wide), values)
    for part in reversed(list(box.windows(130))):
        assert np.array_equal(values_of(world, model, part, INT8), values[box.slices_of(part)])
    for name in ("a.tif", "b.tif"):
        run_predict(world, model, tmp_path / name, INT8)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def complaint(monkeypatch, capfd, world, folder, out):
    options = io.canonical_json({"grid": world.section.model_dump(), "predict": INT8.model_dump()})
    paths = [str(path) for path in world.mosaics]
    command = ["predict", whole(world).id, *paths, "--model", str(folder), "--out", str(out), "--options", options]
    monkeypatch.setattr(sys, "argv", ["rts-pipeline", *command, "--device", "cpu"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not out.exists()
    return ended.value.code, capfd.readouterr().err.splitlines()[-1]


def test_what_is_missing_or_was_changed_is_said(world, model, tmp_path, monkeypatch, capfd):
    folder, out = copy_of(model, tmp_path / "model"), tmp_path / "out.tif"
    with (folder / "int8.bin").open("ab") as file:
        file.write(b"x")
    code, line = complaint(monkeypatch, capfd, world, folder, out)
    assert (code, "int8.bin: sha256" in line) == (3, True)
    made = io.read_json(folder / "int8.json")
    io.write_json(folder / "int8.json", made | {"network_sha256": "0" * 64})
    code, line = complaint(monkeypatch, capfd, world, folder, out)
    assert (code, "int8.json: was made of another network than network.onnx" in line) == (3, True)
    (folder / "int8.json").unlink()
    code, line = complaint(monkeypatch, capfd, world, folder, out)
    assert (code, line) == (
        3,
        f"rts-pipeline: {folder / 'int8.json'}: no such file: the model has no network in int8; run rts-pipeline quantise"
        " (snakemake does), or set predict.precision to 'auto'",
    )


def test_a_gpu_has_no_int8(world, model, monkeypatch):
    monkeypatch.setattr(machine, "gpus", lambda: 1)
    for device in ("auto", "cuda"):
        with pytest.raises(UsageError, match=r"predict\.precision: 'int8' is for a CPU"):
            open_engine(model, model_facts(model), INT8, Inference(device=device))


def test_a_network_without_an_encoder_is_refused(world, tmp_path):
    from test_predict import write_model

    folder = write_model(tmp_path / "model")
    with pytest.raises(InputError, match=r"network\.onnx: has no convolution of an encoder"):
        add(world, folder)
    (folder / "network.onnx").write_bytes(b"none")
    with pytest.raises(InputError, match=r"network\.onnx: not a network"):
        add(world, folder)


@pytest.mark.parametrize("window_px", [128, 160])
def test_only_training_blocks_are_looked_at(world, window_px):
    options = QuantiseOptions(grid=world.section, chips=CHIPS, predict=Predict(window_px=window_px, overlap_px=0))
    table = gpd.read_parquet(world.folder / "chips.parquet")
    coarse = block_grid(world.grid, CHIPS)
    judged = [coarse.cell(name.removeprefix("s_")) for name in table[table.split != "train"].block.unique()]
    boxes = list(quantise._boxes(world.folder / "chips.parquet", options))
    assert boxes and judged
    assert not any(box.intersection(block) for box in boxes for block in judged)
    assert all(max(box.shape) <= window_px for box in boxes)
    with Mosaics(world.mosaics, world.grid, ["red"]) as reader:
        window = quantise._window(boxes[0], reader, window_px)
        assert window.shape == (1, 1, window_px, window_px)
        assert set(window.ravel()) == set(reader.read(boxes[0]).ravel())


@settings(deadline=None)
@given(st.floats(-1000, 1000), st.floats(0, 1000))
def test_zero_is_one_of_the_steps(low, width):
    found = quantise._with_zero(low, low + width)
    slack = 1e-9 * (abs(low) + width)
    assert found[0] <= min(low, 0) + slack and found[1] >= low + width - slack
    step = (found[1] - found[0]) / 255
    assert round(-found[0] / step) == pytest.approx(-found[0] / step, abs=1e-6)


def test_validation_says_what_it_costs(world, model, tmp_path, capsys):
    files = [world.folder / name for name in ("chips.parquet", "labels.parquet")]
    facts = {}
    for setting in (SETTING, INT8):
        options = ValidateOptions(grid=world.section, chips=CHIPS, predict=setting, polygonize=Shaping(), choice=Choice())
        validate(*files, world.mosaics, model, tmp_path / setting.precision, options, CPU)
        facts[setting.precision] = io.read_json(tmp_path / setting.precision / "validation.json")
    assert "int8" not in facts["f32"]
    loss, here = facts["int8"]["int8"], facts["int8"]["validation"]
    assert set(loss) == {"f1", "iou", "pr_auc", "agreement"}
    assert loss["iou"]["int8"] == here["pixels"]["iou"]["value"]
    assert loss["f1"]["int8"] == here["objects"]["0.5"]["f1"]["value"]
    # on this machine auto may be bf16: nearly what f32 gives
    assert loss["pr_auc"]["exact"] == pytest.approx(facts["f32"]["validation"]["pr_auc"]["value"], abs=0.05)
    assert 0 <= loss["agreement"] <= 1
    assert "validate: with int8 f1 " in capsys.readouterr().err
    assert not list((tmp_path / "int8").glob(".tmp*"))
