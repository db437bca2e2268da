import dataclasses

import geopandas as gpd
import numpy as np
import openvino
import pandas as pd
import pytest
import rasterio
import torch

from learning_case import make_world, review_row, write_review
from rts_pipeline import io
from rts_pipeline.chips import build_chips
from rts_pipeline.config import Chips, Labelling, Predict, Train
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.labels import build_labels
from rts_pipeline.learning import network, validation
from rts_pipeline.learning.task import BINS, SegmentationLoss, pixel_scores
from rts_pipeline.learning.train import train
from rts_pipeline.options import ChipsOptions, LabelsOptions, PredictOptions, TrainOptions
from rts_pipeline.predict import predict

CHIPS = Chips(size_px=64, stride_px=32, buffer_m=10, background_reach_m=100, block_m=192, validation_fraction=0.3)
TRAIN = Train(encoder="resnet18", epochs=2, warm_epochs=1, steps_per_epoch=1, batch_size=4, workers=0, device="cpu")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = make_world(tmp_path_factory.mktemp("world"), cells=2, gap=(slice(0, 20), slice(0, 60)))
    rows = [
        review_row("r01-0001", "reject", world.slumps[3].buffer(20)),
        review_row("r01-0002", "unsure", world.slumps[5].buffer(30)),
    ]
    review = write_review(world.folder / "reviewed.parquet", rows)
    build_labels(world.seeds, [review], world.folder / "labels.parquet", LabelsOptions(grid=world.section))
    out = world.folder / "chips.parquet"
    build_chips(world.folder / "labels.parquet", world.mosaics, out, ChipsOptions(grid=world.section, chips=CHIPS))
    return world


def run(world, out, *, previous=None, round="01", **changes):
    setting = TRAIN.model_copy(update=changes)
    options = TrainOptions(grid=world.section, labels=Labelling(), chips=CHIPS, train=setting)
    chips, labels = world.folder / "chips.parquet", world.folder / "labels.parquet"
    train(chips, labels, world.mosaics, out, options, previous=previous, round=round)
    return io.read_json(out / "model.json")


@pytest.fixture(scope="module")
def model(world):
    run(world, world.folder / "model")
    return world.folder / "model"


def test_a_model_says_what_it_is(world, model):
    facts = io.read_json(model / "model.json")
    files = {path.name for path in model.iterdir()}
    assert files == {"weights.pt", "network.onnx", "model.json", "metrics.csv", "curves.png"}
    assert facts["bands"] == ["blue", "green", "red", "nir"]
    assert facts["parent_sha256"] is None
    assert facts["sha256"] == {name: io.sha256_file(model / name) for name in ("weights.pt", "network.onnx")}
    assert facts["threshold"] in validation.THRESHOLDS
    assert facts["min_area_m2"] in validation.MIN_AREAS_M2
    chips = gpd.read_parquet(world.folder / "chips.parquet")
    assert sum(sum(kinds.values()) for kinds in facts["n_chips"].values()) == len(chips)
    confusion = facts["metrics"]["pixels"]
    n_scored = sum(confusion[name] for name in confusion if name.endswith("tives"))
    assert 0 < n_scored <= (chips.split == "validation").sum() * 64**2
    assert pd.read_csv(model / "metrics.csv")[["epoch", "step"]].to_numpy().tolist() == [[1, 1], [2, 2]]


def test_normalisation_is_that_of_observed_training_pixels(world, model):
    facts = io.read_json(model / "model.json")
    values = world.pixels[:, world.pixels.any(axis=0)].astype(float)
    assert np.allclose(facts["normalisation"]["mean"], values.mean(axis=1), rtol=0.05)
    assert np.allclose(facts["normalisation"]["std"], values.std(axis=1), rtol=0.3)


@pytest.mark.parametrize("workers", [0, 1])
def test_equal_seeds_give_equal_weights(world, model, tmp_path, workers):
    again = run(world, tmp_path / "model", workers=workers)
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
    name = "segmentation_head.0.weight"
    assert torch.allclose(before[name], after[name], atol=1e-6)


def test_another_network_can_not_start_from_the_parent(world, model, tmp_path):
    with pytest.raises(InputError, match=r"model\.json: the last round's bands is .*; expected \['red'\]"):
        run(world, tmp_path / "warm", previous=model, bands=["red"])


def test_the_exported_network_predicts_as_torch_does(world, model):
    facts = io.read_json(model / "model.json")
    trained = network.build_network("deeplabv3+", "resnet18", 4)
    network.load_weights(trained, model / "weights.pt", "test")
    image = world.pixels[None, :, :128, :96].astype(np.float32)
    mean, std = (torch.tensor(facts["normalisation"][name])[:, None, None] for name in ("mean", "std"))
    seen = (torch.tensor(image) != 0).any(dim=1, keepdim=True)
    with torch.inference_mode():
        expected = torch.sigmoid(trained.eval()((torch.tensor(image) - mean) / std * seen) / facts["temperature"]).numpy()
    compiled = openvino.compile_model(str(model / "network.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert np.abs(compiled(image.repeat(3, axis=0))[0] - expected).max() < 1e-4


def test_predict_takes_the_model(world, model, tmp_path):
    options = PredictOptions(grid=world.section, predict=Predict(window_px=128, overlap_px=32))
    block = dataclasses.replace(world.grid.block("b_e0003_n0006"), width=256, height=256)
    predict(block, model, world.mosaics, tmp_path / "probability.tif", options)
    with rasterio.open(tmp_path / "probability.tif") as dataset:
        values = dataset.read(1)
    assert (values != 255).any()
    assert values[values != 255].max() <= 250


def test_nothing_but_the_model_is_left(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"train\.learning_rate: the loss became (nan|inf) at step \d"):
        run(world, tmp_path / "model", learning_rate=1e30, epochs=8, precision="32")
    assert {path.name for path in tmp_path.iterdir()} == {"model"}
    assert {path.name for path in (tmp_path / "model").iterdir()} <= {"metrics.csv"}


@pytest.mark.parametrize(("architecture", "encoder"), [("deeplab", "resnet18"), ("deeplabv3+", "resnet17")])
def test_unknown_networks_are_named(architecture, encoder):
    with pytest.raises(UsageError, match=r"train\.(architecture|encoder): '(deeplab|resnet17)'"):
        network.build_network(architecture, encoder, 4)


def test_encoder_weights_may_carry_a_prefix(tmp_path):
    source, target = (network.build_network("deeplabv3+", "resnet18", 4) for _ in range(2))
    torch.save(
        {"state_dict": {f"encoder.{name}": value for name, value in source.encoder.state_dict().items()}}, tmp_path / "w.pt"
    )
    network.load_weights(target.encoder, tmp_path / "w.pt", "train.weights")
    assert torch.equal(source.encoder.conv1.weight, target.encoder.conv1.weight)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    encoder = network.build_network("deeplabv3+", "resnet18", 3).encoder
    torch.save(encoder.state_dict(), tmp_path / "w.pt")
    target = network.build_network("deeplabv3+", "resnet18", 4).encoder
    with pytest.raises(InputError, match=r"doesn't fit: conv1\.weight is \(64, 3, 7, 7\).*expected \(64, 4, 7, 7\)"):
        network.load_weights(target, tmp_path / "w.pt", "train.weights")
    (tmp_path / "w.pt").write_bytes(b"no weights")
    with pytest.raises(InputError, match="not a file of weights"):
        network.load_weights(target, tmp_path / "w.pt", "train.weights")


@pytest.mark.parametrize("kind", ["bce+dice", "focal+dice"])
def test_ignored_pixels_do_not_count(kind):
    loss = SegmentationLoss(kind)
    target = torch.randint(0, 2, (2, 16, 16))
    target[:, :5] = 255
    logits = torch.randn(2, 1, 16, 16)
    changed = logits.clone()
    changed[:, :, :5] = torch.randn(2, 1, 5, 16) * 50
    assert torch.equal(loss(logits, target), loss(changed, target))
    changed[:, :, 5:] += 1
    assert not torch.equal(loss(logits, target), loss(changed, target))
    assert loss(logits, torch.full_like(target, 255)) == 0


def test_objects_match_one_to_one():
    truth = np.zeros((40, 40), int)
    truth[2:12, 2:12], truth[20:30, 20:30] = 1, 2
    found = np.zeros((40, 40), bool)
    found[2:12, 2:10], found[20:25, 20:30], found[35:38, 2:5] = True, True, True
    ignored = np.zeros((40, 40), bool)
    sizes, matched = validation.match(found, truth, ignored)
    assert sorted(zip(sizes.tolist(), matched.tolist(), strict=True)) == [(9, False), (50, False), (80, True)]
    ignored[34:39] = True
    sizes, matched = validation.match(found, truth, ignored)
    assert sorted(zip(sizes.tolist(), matched.tolist(), strict=True)) == [(50, False), (80, True)]


def test_the_choice_is_the_middle_of_the_plateau():
    scores = np.zeros((9, 5))
    scores[2:7, 1:4] = 0.8
    assert validation.plateau_middle(scores) == (4, 2)
    scores[8, 0] = 0.9
    assert validation.plateau_middle(scores) == (8, 0)


def test_threshold_and_area_are_chosen_on_objects():
    """Two halves of a block, a slump over both; speckle that only a minimum area removes."""
    logits = np.full((2, 64, 64), -6.0, np.float16)
    targets = np.zeros((2, 64, 64), np.uint8)
    logits[0, 20:40, 50:], logits[1, 20:40, :14] = 3.0, 3.0
    targets[0, 20:40, 50:], targets[1, 20:40, :14] = 1, 1
    logits[0, 2:8, 2:8] = 3.0
    chips = gpd.GeoDataFrame({"block": "s", "row": [0, 0], "column": [100, 164]})
    choice = validation.choose(logits, targets, chips, 1.0, 3.0)
    assert choice.scores == {
        "precision": 1.0,
        "recall": 1.0,
        "f1": 1.0,
        "true_positives": 1,
        "false_positives": 0,
        "false_negatives": 0,
    }
    assert choice.min_area_m2 > 324


def test_temperature_undoes_overconfidence():
    random = np.random.default_rng(0)
    true_logits = random.normal(0, 2, (4, 64, 64))
    targets = (random.random(true_logits.shape) < 1 / (1 + np.exp(-true_logits))).astype(np.uint8)
    targets[0] = 255
    assert validation.temperature((true_logits * 2.5).astype(np.float16), targets) == pytest.approx(2.5, rel=0.05)


def test_pixel_scores_by_threshold():
    counts = np.zeros((2, BINS + 1), int)
    counts[1, 200], counts[1, 50], counts[0, 60] = 8, 2, 5
    scores = pixel_scores(counts)
    assert (scores["precision"][100], scores["recall"][100], scores["iou"][100]) == (1.0, 0.8, 0.8)
    assert scores["f1"][0] == pytest.approx(2 * 10 / 25)
