"""The network on single images: what it says doesn't depend on how the ground is cut, and unusable pixels have no answer."""

import numpy as np
import pytest
from scipy import ndimage

from evidence_case import NORTH, PREDICT, SIZE, WEST, write_item
from rts_pipeline.config import BANDS, Inference, Predict
from rts_pipeline.evidence.network import Look, Network
from rts_pipeline.grid import GeoBox
from rts_pipeline.scenes.reader import MeasuredItem, Readers
from validate_case import write_model

BOX = GeoBox("box", "EPSG:32646", 3.0, round(WEST / 3), round(-NORTH / 3), SIZE, SIZE)
GAIN, WIDTH = 0.005, 9


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """An item with a hole of clouds, its values as the network gets them, and what the network says of them."""
    folder = tmp_path_factory.mktemp("network")
    random = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(random.normal(0, 9e3, (SIZE, SIZE)), 4)
    values = np.clip(np.round(random.uniform(1000, 1500, (4, SIZE, SIZE)) + texture), 100, 6000)
    values[3] += 450
    classes = np.ones((SIZE, SIZE), np.uint8)
    classes[30:50, 60:90] = 2
    write_item(folder, "a", "2019-08-01T04:00:00Z", values, classes)
    write_model(folder / "model", WIDTH, GAIN)
    seen = np.where(classes == 1, values, 0)
    mean = ndimage.uniform_filter(seen[2] - seen[3], WIDTH, mode="constant")
    expected = np.where(classes == 1, 250 / (1 + np.exp(-GAIN * (mean + 450))), 255)
    return folder, seen, expected


def look(folder, boxes, setting=PREDICT):
    item = MeasuredItem.load(folder / "a/item.json")
    looks = [Look.at(item, box) for box in boxes]
    with Readers() as readers:
        Network(folder / "model", Predict(**setting), Inference(device="cpu")).look(looks, readers)
    return looks


def test_it_says_everywhere_what_the_network_says(ground):
    folder, seen, expected = ground
    # 120 px are two windows a side, whose middles are 64 px
    (here,) = look(folder, [BOX])
    assert np.array_equal(here.probability == 255, expected == 255)
    assert np.abs(here.probability - expected).max() <= 1
    assert len(np.unique(here.probability)) > 20
    assert np.array_equal(here.pixels, seen)


@pytest.mark.parametrize("overlap_px", [16, 32, 64])
def test_how_it_is_cut_changes_nothing(ground, overlap_px):
    folder, _, expected = ground
    parts = [BOX.part(3, 7, 50, 41), BOX.part(25, 55, 90, 60), BOX.part(-20, -20, 60, 60)]
    found = look(folder, parts, {**PREDICT, "overlap_px": overlap_px})
    around = np.pad(expected, 20, constant_values=255)
    for part, here in zip(parts, found, strict=True):
        at = BOX.grown(20).slices_of(part)
        assert np.abs(here.probability - around[at]).max() <= 1


def test_beside_the_image_nothing_is_computed(ground):
    (here,) = look(ground[0], [BOX.part(0, 400, 30, 30)])
    assert (here.probability == 255).all() and here.pixels.shape == (len(BANDS), 30, 30) and not here.pixels.any()
    assert look(ground[0], []) == []
