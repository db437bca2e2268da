import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import geopandas as gpd
import numpy as np
import openvino
import pandas as pd
import pytest
import rasterio
import shapely
import torch

from learning_case import CRS, make_windows
from rts_pipeline import io, stages
from rts_pipeline.chips import build_chips
from rts_pipeline.config import Chips, Inference, Labelling, Learning, Placement, Predict
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.io.files import note_written
from rts_pipeline.learning import calibrate, network, weights
from rts_pipeline.learning.fit import Checkpoints
from rts_pipeline.learning.ground import ground_of, seen_before
from rts_pipeline.learning.inputs import Inputs, Normalisation
from rts_pipeline.learning.task import SegmentationLoss, SlumpTask
from rts_pipeline.learning.train import train
from rts_pipeline.options import ChipsOptions, PredictOptions, TrainOptions
from rts_pipeline.predict import predict

SETTING = Learning(encoder="resnet18", epochs=2, warm_epochs=1, steps_per_epoch=1, batch_size=4)
HERE = Placement(workers=0, device="cpu")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_windows(tmp_path_factory.mktemp("world"))


def options_of(world, **changes):
    return TrainOptions(grid=world.section, labels=Labelling(), train=SETTING.model_copy(update=changes))


def run(world, out, *, placement=HERE, previous=None, round="01", chips=None, **changes):
    chips, labels = chips or world.folder / "chips.parquet", world.folder / "labels.parquet"
    options = options_of(world, **changes)
    train(chips, labels, world.mosaics, out, options, placement, previous=previous, round=round)
    return io.read_json(out / "model.json")


@pytest.fixture(scope="module")
def model(world):
    run(world, world.folder / "model")
    return world.folder / "model"


def test_a_model_says_what_it_is(world, model):
    facts = io.read_json(model / "model.json")
    files = {path.name for path in model.iterdir()}
    assert files == {"weights.pt", "network.onnx", "model.json", "metrics.csv", "curves.png", "tensorboard"}
    assert list((model / "tensorboard" / "member_1").glob("events.*"))
    assert facts["bands"] == ["blue", "green", "red", "nir"]
    assert facts["parent_sha256"] is None
    assert facts["sha256"] == {name: io.sha256_file(model / name) for name in ("weights.pt", "network.onnx")}
    chips = gpd.read_parquet(world.folder / "chips.parquet")
    assert sum(sum(kinds.values()) for kinds in facts["n_chips"].values()) == len(chips)
    metrics = pd.read_csv(model / "metrics.csv")
    assert metrics[["member", "epoch", "step"]].to_numpy().tolist() == [[1, 1, 1], [1, 2, 2]]
    (member,) = facts["members"]
    assert member["val_f1"] == pytest.approx(metrics.val_f1.max())
    assert (member["seed"], member["epochs"], member["ended"], member["windows_at_once"]) == (0, 2, "all epochs", 4)
    assert member["best_epoch"] == metrics.epoch[metrics.val_f1.argmax()]


def test_normalisation_is_that_of_observed_training_pixels(world, model, tmp_path):
    values = world.pixels[:, world.pixels.any(axis=0)].astype(float)
    red, nir = values[2:]
    seen = np.vstack([values, (nir - red) / (nir + red)])
    for facts, expected in (
        (io.read_json(model / "model.json"), values),
        (run(world, tmp_path / "model", ndvi=True, epochs=1), seen),
    ):
        assert np.allclose(facts["normalisation"]["mean"], expected.mean(axis=1), rtol=0.05)
        assert np.allclose(facts["normalisation"]["std"], expected.std(axis=1), rtol=0.3)


@pytest.mark.parametrize("workers", [0, 1])
def test_equal_seeds_give_equal_weights(world, model, tmp_path, workers):
    again = run(world, tmp_path / "model", placement=HERE.model_copy(update={"workers": workers}))
    assert again["sha256"] == io.read_json(model / "model.json")["sha256"]


def test_another_seed_gives_other_weights(world, model, tmp_path):
    again = run(world, tmp_path / "model", seed=1, epochs=1)
    assert again["sha256"]["weights.pt"] != io.read_json(model / "model.json")["sha256"]["weights.pt"]


def test_a_warm_round_starts_from_the_parent(world, model, tmp_path):
    facts = run(world, tmp_path / "warm", previous=model, round="02", learning_rate=1e-9)
    parent = io.read_json(model / "model.json")
    assert facts["parent_sha256"] == parent["sha256"]["weights.pt"]
    assert facts["normalisation"] == parent["normalisation"]
    before, after = (torch.load(folder / "weights.pt") for folder in (model, tmp_path / "warm"))
    name = "members.0.segmentation_head.0.weight"
    assert torch.allclose(before[name], after[name], atol=1e-6)


def split_anew(world, path, **changes):
    """Lay the world's windows out as `make_windows` does, but for these keys of `chips`."""
    keys = {"size_px": 64, "stride_px": 32, "buffer_m": 10, "background_reach_m": 100, "block_m": 192, "guard_px": 0}
    chips = Chips(**{**keys, "validation_fraction": 0.3, **changes})
    build_chips(world.folder / "labels.parquet", world.mosaics, path, ChipsOptions(grid=world.section, chips=chips))
    return path


def ground(windows, *splits):
    return shapely.union_all(windows.geometry[windows.split.isin(splits)].to_numpy())


def test_a_network_that_has_seen_this_split_s_ground_is_not_started_from(world, model, tmp_path, capsys):
    chips = split_anew(world, tmp_path / "chips.parquet", seed=5)
    facts = run(world, tmp_path / "anew", previous=model, round="02", chips=chips)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("train: starts")]
    assert len(told) == 1 and told[0].startswith("train: starts from scratch, since ")
    assert facts["parent_sha256"] is None
    assert [member["epochs"] for member in facts["members"]] == [SETTING.epochs]
    assert facts["ground"] == ground_of(gpd.read_parquet(chips), CRS, [])


@pytest.mark.parametrize("changes", [{"seed": 5}, {"block_m": 252}, {"validation_fraction": 0.6}, {"test_fraction": 0.5}])
def test_ground_that_was_learned_from_is_none_to_judge_on(world, tmp_path, changes):
    old = gpd.read_parquet(world.folder / "chips.parquet")
    new = gpd.read_parquet(split_anew(world, tmp_path / "chips.parquet", **changes))
    seen = ground_of(old, CRS, [])
    assert seen_before(old, seen) == 0
    judged = ground(old, "train").intersection(ground(new, "validation", "test"))
    assert judged.area + ground(old, "validation").intersection(ground(new, "test")).area > 0
    assert seen_before(new, seen) > 0
    # what was seen stays seen, however many networks later
    assert seen_before(new, ground_of(new, CRS, seen)) >= seen_before(new, seen)
    assert ground_of(old, CRS, seen) == seen


def test_another_regions_network_is_started_from_and_its_ground_kept(world, model, tmp_path):
    """A network says in the CRS of its project where it learned; one from before that was written down says nothing."""
    chips = gpd.read_parquet(world.folder / "chips.parquet")
    theirs = chips.assign(split="train").to_crs("EPSG:32645")
    here = ground_of(theirs, "EPSG:32645", [])
    far = ground_of(theirs.set_geometry(theirs.translate(1e5)), "EPSG:32645", [])
    assert (seen_before(chips, here), seen_before(chips, far)) == ((chips.split != "train").sum(), 0)
    # where they have no coordinates here
    assert seen_before(chips, [{"crs": "EPSG:32610", "train": [[5e5, 4e6, 5.1e5, 4.1e6]], "validation": []}]) == 0

    adopted = shutil.copytree(model, tmp_path / "adopted")
    for seen, kept in ((far, far), (None, [])):
        facts = io.read_json(model / "model.json")
        io.write_json(adopted / "model.json", {name: value for name, value in facts.items() if name != "ground"})
        if seen:
            io.write_json(adopted / "model.json", facts | {"ground": seen})
        started = run(world, tmp_path / f"second_{bool(seen)}", previous=adopted, round="02")
        assert started["parent_sha256"] == facts["sha256"]["weights.pt"]
        assert started["ground"] == [*kept, *facts["ground"]]


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"bands": ["red"]}, r"bands is .*; expected \['red'\]"), ({"members": 2}, "members is 1; expected 2")],
)
def test_another_network_can_not_start_from_the_parent(world, model, tmp_path, changes, told):
    with pytest.raises(InputError, match=r"model\.json: the network's " + told):
        run(world, tmp_path / "warm", previous=model, **changes)


def test_the_exported_network_predicts_as_torch_does(world, model):
    facts = io.read_json(model / "model.json")
    trained = network.Ensemble([network.build_network("deeplabv3+", "resnet18", 4)])
    weights.load_weights(trained, weights.read_state(model / "weights.pt", "test"), "test", "test")
    image = world.pixels[None, :, :128, :96].astype(np.float32)
    mean, std = (torch.tensor(facts["normalisation"][name])[:, None, None] for name in ("mean", "std"))
    seen = (torch.tensor(image) != 0).any(dim=1, keepdim=True)
    with torch.inference_mode():
        expected = torch.sigmoid(trained.eval()((torch.tensor(image) - mean) / std * seen) / facts["temperature"]).numpy()
    compiled = openvino.compile_model(str(model / "network.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert np.abs(compiled(image.repeat(3, axis=0))[0] - expected).max() < 1e-4


@pytest.fixture(scope="module")
def ensemble(world):
    run(world, world.folder / "ensemble", members=2, ndvi=True, epochs=1)
    return world.folder / "ensemble"


def test_members_are_the_networks_of_their_seeds(world, ensemble, tmp_path):
    run(world, tmp_path / "second", seed=1, ndvi=True, epochs=1)
    members, alone = torch.load(ensemble / "weights.pt"), torch.load(tmp_path / "second" / "weights.pt")
    assert all(torch.equal(value, members[name.replace("members.0", "members.1")]) for name, value in alone.items())
    metrics = pd.read_csv(ensemble / "metrics.csv")
    assert metrics.member.tolist() == [1, 2]
    assert [member["seed"] for member in io.read_json(ensemble / "model.json")["members"]] == [0, 1]


def test_predict_takes_the_model_of_several_members_and_the_ndvi(world, ensemble, tmp_path):
    options = PredictOptions(grid=world.section, predict=Predict(window_px=128, overlap_px=32))
    block = dataclasses.replace(world.grid.block("b_e0003_n0006"), width=256, height=256)
    predict(block, ensemble, world.mosaics, tmp_path / "probability.tif", options, Inference(device="cpu"))
    with rasterio.open(tmp_path / "probability.tif") as dataset:
        values = dataset.read(1)
    assert (values != 255).any()
    assert values[values != 255].max() <= 250


def command_of(world, out, **changes):
    command = [sys.executable, "-m", "rts_pipeline.cli", "train", "01", *map(str, world.mosaics)]
    command += ["--chips", f"{world.folder}/chips.parquet", "--labels", f"{world.folder}/labels.parquet", "--out", str(out)]
    return [*command, "--workers", "1", "--device", "cpu", "--options", options_of(world, **changes).model_dump_json()]


def wait_for(path, process):
    end = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_training_that_is_told_to_end_does_not_end_as_if_it_were_done(world, tmp_path):
    out = tmp_path / "model"
    process = subprocess.Popen(command_of(world, out, epochs=500), stderr=subprocess.PIPE)
    wait_for(out / ".training/member_1/4/last.ckpt", process)
    process.terminate()
    process.communicate()
    assert process.returncode == -signal.SIGTERM
    assert not (out / "model.json").exists()


def test_a_killed_training_goes_on_to_the_same_result(world, tmp_path):
    """kill -9 in the second member, somewhere after its first epoch; the rest is done by the next start."""
    changes = {"members": 2, "epochs": 4, "steps_per_epoch": 2}
    out = tmp_path / "killed"
    command = command_of(world, out, **changes)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    wait_for(out / ".training/member_2/4/last.ckpt", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "model.json").exists()
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "member 2 goes on from its last epoch" in again.stderr
    undisturbed = run(world, tmp_path / "whole", **changes)
    assert io.read_json(out / "model.json")["sha256"] == undisturbed["sha256"]
    columns = ["member", "epoch", "step", "train_loss", "val_loss", "val_f1", "rate"]
    killed, whole = (pd.read_csv(folder / "metrics.csv")[columns] for folder in (out, tmp_path / "whole"))
    pd.testing.assert_frame_equal(killed, whole)
    assert not (out / ".training").exists()


def test_a_training_that_was_killed_while_it_wrote_is_not_done_again(world, ensemble, tmp_path, monkeypatch):
    changes = {"members": 2, "ndvi": True, "epochs": 1}

    def killed(*rest):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(network, "export_onnx", killed)
        run(world, tmp_path / "model", **changes)
    # as Snakemake does with what an unfinished job left
    (tmp_path / "model" / "metrics.csv").unlink()
    monkeypatch.setattr("rts_pipeline.learning.train.fit", killed)
    again = run(world, tmp_path / "model", **changes)
    assert again["sha256"] == io.read_json(ensemble / "model.json")["sha256"]
    assert pd.read_csv(tmp_path / "model" / "metrics.csv").member.tolist() == [1, 2]


ENDS = [{}, {"epochs": 9, "patience": 2, "learning_rate": 1e-12}]


@pytest.mark.parametrize("changes", ENDS, ids=["all epochs", "patience"])
def test_a_training_that_was_killed_after_its_last_epoch_is_not_done_again(world, tmp_path, monkeypatch, changes):
    def killed(*rest):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(network, "save", killed)
        run(world, tmp_path / "model", **changes)
    begun = pd.read_csv(tmp_path / "model" / "metrics.csv")
    assert begun.val_f1.argmax() < len(begun) - 1
    # as Snakemake does with what an unfinished job left
    (tmp_path / "model" / "metrics.csv").unlink()
    monkeypatch.setattr(SlumpTask, "training_step", killed)
    again = run(world, tmp_path / "model", **changes)
    assert again["members"][0]["epochs"] == len(begun)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "model" / "metrics.csv"), begun)


def test_what_was_begun_with_other_options_is_not_gone_on_with(world, model, tmp_path):
    left = tmp_path / "model" / ".training"
    left.mkdir(parents=True)
    io.write_json(left / "made_of.json", "something else")
    torch.save({"state": {}, "facts": {}, "rows": []}, left / "member_1.pt")
    assert run(world, tmp_path / "model")["sha256"] == io.read_json(model / "model.json")["sha256"]


def test_what_was_begun_with_other_weights_or_code_is_not_gone_on_with(world, tmp_path, monkeypatch):
    started_from, left = tmp_path / "w.pt", tmp_path / "model/.training/left"

    def killed(*rest):
        raise KeyboardInterrupt

    def goes_on():
        with pytest.raises(KeyboardInterrupt):
            run(world, tmp_path / "model", weights=str(started_from))
        kept = left.exists()
        left.touch()
        return kept

    monkeypatch.setattr("rts_pipeline.learning.train.fit", killed)
    started_from.write_bytes(b"one")
    assert [goes_on(), goes_on()] == [False, True]
    started_from.write_bytes(b"two")
    assert [goes_on(), goes_on()] == [False, True]
    now = stages.STAGES["train"]
    monkeypatch.setitem(stages.STAGES, "train", dataclasses.replace(now, version=now.version + 1))
    assert [goes_on(), goes_on()] == [False, True]


def test_two_processes_share_the_windows(world, tmp_path):
    facts = run(world, tmp_path / "model", placement=Placement(workers=0, device="cpu", devices=2), steps_per_epoch=2)
    assert facts["members"][0]["windows_at_once"] == 2
    assert pd.read_csv(tmp_path / "model" / "metrics.csv").step.tolist() == [2, 4]


class Together(SlumpTask):
    """Ends with an error where a process thinks itself alone among several: each would learn from the first one's windows."""

    def on_train_start(self):
        if self.trainer.world_size != self.trainer.num_devices:
            raise RuntimeError("alone")


@pytest.mark.parametrize(("devices", "tasks"), [(1, 8), (2, 1)])
def test_a_training_inside_a_job_of_slurm(world, tmp_path, monkeypatch, devices, tasks):
    monkeypatch.setattr("rts_pipeline.learning.train.SlumpTask", Together)
    job = {"JOB_ID": 123456, "JOB_NAME": "rule_train", "NTASKS": tasks, "NNODES": 1, "NODELIST": "localhost"}
    for name, value in {**job, "PROCID": 0, "LOCALID": 0, "NODEID": 0}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    facts = run(world, tmp_path / "model", epochs=1, placement=HERE.model_copy(update={"devices": devices}))
    assert facts["members"][0]["windows_at_once"] == 4 // devices


def test_windows_that_can_not_be_shared(world, tmp_path):
    with pytest.raises(UsageError, match=r"train\.batch_size: 4 windows can't be shared by 3 devices"):
        run(world, tmp_path / "model", placement=Placement(workers=0, device="cpu", devices=3))


class Interrupted(SlumpTask):
    """Ends, with an error, when its second epoch begins."""

    def on_train_epoch_start(self):
        if self.current_epoch == 1:
            raise RuntimeError("interrupted")


def test_an_interrupted_training_goes_on_on_more_devices(world, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="interrupted"):
        patch.setattr("rts_pipeline.learning.train.SlumpTask", Interrupted)
        run(world, tmp_path / "model")
    begun = pd.read_csv(tmp_path / "model" / "metrics.csv")
    facts = run(world, tmp_path / "model", placement=HERE.model_copy(update={"devices": 2}))
    assert "member 1 goes on from its last epoch" in capsys.readouterr().err
    assert facts["members"][0]["windows_at_once"] == 2
    rows = pd.read_csv(tmp_path / "model" / "metrics.csv")
    assert rows[["epoch", "step"]].to_numpy().tolist() == [[1, 1], [2, 2]]
    pd.testing.assert_frame_equal(rows.iloc[:1], begun)


def test_an_interrupted_training_that_lies_elsewhere_now_keeps_its_best_epoch(world, model, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="interrupted"):
        patch.setattr("rts_pipeline.learning.train.SlumpTask", Interrupted)
        run(world, tmp_path / "model")
    (tmp_path / "model").rename(tmp_path / "moved")
    again = run(world, tmp_path / "moved")
    assert again["members"][0]["best_epoch"] == 1
    assert again["sha256"] == io.read_json(model / "model.json")["sha256"]


@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
def test_a_damaged_checkpoint_is_told_and_the_member_starts_anew(world, model, tmp_path, monkeypatch, capsys, name):
    written = note_written()
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="interrupted"):
        patch.setattr("rts_pipeline.learning.train.SlumpTask", Interrupted)
        run(world, tmp_path / "model")
    checkpoint = tmp_path / "model/.training/member_1/4" / name
    assert checkpoint in written
    os.truncate(checkpoint, checkpoint.stat().st_size // 2)
    again = run(world, tmp_path / "model")
    assert re.search(rf"train: member 1 starts anew: \S+/{name} is damaged \(", capsys.readouterr().err)
    assert again["sha256"] == io.read_json(model / "model.json")["sha256"]


def test_a_checkpoint_that_is_written_halfway_leaves_the_last_whole_one(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    Checkpoints().save_checkpoint({"epoch": 1}, path)

    def killed(checkpoint, file):
        file.write(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch, "save", killed)
        Checkpoints().save_checkpoint({"epoch": 2}, path)
    assert Checkpoints().load_checkpoint(path, weights_only=True) == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]


class ShortOfMemory(SlumpTask):
    """As on a device that holds two windows; a class of a module, because a process of its own has to find it."""

    most = 2

    def training_step(self, batch, *rest):
        if len(batch["image"]) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().training_step(batch, *rest)


@pytest.mark.parametrize(("devices", "share"), [(1, 8), (2, 4)])
def test_short_of_memory_fewer_windows_go_at_a_time(world, tmp_path, monkeypatch, capsys, devices, share):
    monkeypatch.setattr("rts_pipeline.learning.train.SlumpTask", ShortOfMemory)
    facts = run(world, tmp_path / "model", batch_size=8, placement=Placement(workers=0, device="cpu", devices=devices))
    assert f"out of memory with {share} windows at a time; trying {share // 2}" in capsys.readouterr().err
    assert facts["members"][0]["windows_at_once"] == 2
    assert pd.read_csv(tmp_path / "model" / "metrics.csv").step.tolist() == [1, 2]


def test_too_little_memory_is_told(world, tmp_path, monkeypatch):
    monkeypatch.setattr("rts_pipeline.learning.train.SlumpTask", ShortOfMemory)
    monkeypatch.setattr(ShortOfMemory, "most", 0)
    with pytest.raises(UsageError, match=r"memory is too small for 2 windows of 64 px at a time; lower chips\.size_px"):
        run(world, tmp_path / "model")
    assert not (tmp_path / "model" / "model.json").exists()


def test_training_ends_early(world, tmp_path):
    worse = run(world, tmp_path / "a", epochs=9, patience=2, learning_rate=1e-12)["members"][0]
    assert worse["ended"] == "train.patience"
    assert worse["epochs"] == worse["best_epoch"] + 2
    brief = run(world, tmp_path / "b", epochs=9, max_minutes=1e-4)["members"][0]
    assert (brief["epochs"], brief["ended"]) == (1, "train.max_minutes")


@pytest.mark.parametrize("devices", [1, 2])
def test_a_loss_that_is_no_number_leaves_no_model(world, tmp_path, monkeypatch, devices):
    monkeypatch.chdir(tmp_path)
    placement = Placement(workers=0, device="cpu", devices=devices)
    with pytest.raises(UsageError, match=r"^train\.learning_rate: the loss became (nan|inf) at step \d"):
        run(world, tmp_path / "model", learning_rate=1e30, epochs=8, precision="32", placement=placement)
    assert {path.name for path in tmp_path.iterdir()} == {"model"}
    assert {path.name for path in (tmp_path / "model").iterdir()} <= {"metrics.csv", ".training", "tensorboard"}


@pytest.mark.parametrize(("architecture", "encoder"), [("deeplab", "resnet18"), ("deeplabv3+", "resnet17")])
def test_unknown_networks_are_named(architecture, encoder):
    with pytest.raises(UsageError, match=r"train\.(architecture|encoder): '(deeplab|resnet17)'"):
        network.build_network(architecture, encoder, 4)


def test_a_gpu_that_is_not_there(world, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(UsageError, match=r"train\.device: 1 x 'cuda', but torch sees 0 GPUs"):
        run(world, tmp_path / "model", placement=Placement(device="cuda"))


def test_inputs_are_standard_deviations_from_the_mean():
    inputs = Inputs(["red", "nir"], Normalisation([10.0, 20.0, 0.5], [2.0, 4.0, 0.25]))
    image = torch.tensor([[12.0, 0.0], [36.0, 0.0]]).reshape(1, 2, 1, 2)
    seen, observed = inputs(image)
    assert seen[0, :, 0].tolist() == [[1.0, 0.0], [4.0, 0.0], [0.0, 0.0]]
    assert observed.flatten().tolist() == [True, False]


def test_ignored_pixels_do_not_count():
    loss = SegmentationLoss()
    target = torch.randint(0, 2, (2, 16, 16))
    target[:, :5] = 255
    logits = torch.randn(2, 1, 16, 16)
    changed = logits.clone()
    changed[:, :, :5] = torch.randn(2, 1, 5, 16) * 50
    assert torch.equal(loss(logits, target), loss(changed, target))
    changed[:, :, 5:] += 1
    assert not torch.equal(loss(logits, target), loss(changed, target))
    assert loss(logits, torch.full_like(target, 255)) == 0


def test_temperature_undoes_overconfidence():
    random = np.random.default_rng(0)
    true_logits = random.normal(0, 2, 20000)
    targets = random.random(true_logits.shape) < 1 / (1 + np.exp(-true_logits))
    margins = np.where(targets, true_logits, -true_logits) * 2.5
    assert calibrate.temperature(margins.astype(np.float32)) == pytest.approx(2.5, rel=0.05)
