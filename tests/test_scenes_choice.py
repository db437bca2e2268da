"""Which of several usable pixels a mosaic takes, and how seams are blended."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import rasterio

from mosaic_case import (
    SIZE,
    at,
    flat,
    half,
    item,
    mosaic,
    random_items,
    with_choice,
)
from rts_pipeline.config import BANDS


def test_the_nearest_date_comes_before_the_clearest_when_chosen(tmp_path):
    items = [item(tmp_path, 1, flat(1000), day="2019-07-20"), item(tmp_path, 2, flat(2000), masked=half(np.s_[:9]))]
    _, source, listed = mosaic(tmp_path, items, options=with_choice("nearest"))
    assert [entry["id"][-1] for entry in listed] == ["2", "1"]
    assert (source[:9] == 2).all()
    assert (source[9:] == 1).all()


def test_the_greenest_pixel_has_the_highest_ndvi(tmp_path):
    paths, stack = random_items(tmp_path)
    values, source, _ = mosaic(tmp_path, paths, options=with_choice("greenest"))
    red, nir = stack[:, 2].astype(float), stack[:, 3].astype(float)
    usable = stack.min(axis=1) > 0
    ndvi = np.where(usable, (nir - red) / np.where(usable, nir + red, 1), -2)
    assert np.array_equal(source > 0, usable.any(axis=0))
    got = (values[3].astype(float) - values[2]) / np.maximum(values[3].astype(float) + values[2], 1)
    assert np.allclose(got[source > 0], ndvi.max(axis=0)[source > 0])


def test_the_medoid_is_nearest_to_all_others(tmp_path):
    paths, stack = random_items(tmp_path)
    values, source, listed = mosaic(tmp_path, paths, options=with_choice("medoid"))
    usable = stack.min(axis=1) > 0
    for row, column in np.argwhere(source > 0)[::211]:
        seen = stack[usable[:, row, column], :, row, column].astype(float)
        sums = np.linalg.norm(seen[:, None] - seen[None], axis=2).sum(axis=1)
        taken = np.linalg.norm(seen - values[:, row, column], axis=1).argmin()
        assert sums[taken] == pytest.approx(sums.min())
        assert listed[source[row, column] - 1]["id"][-1] == str(np.flatnonzero(usable[:, row, column])[taken])
    assert np.array_equal(source > 0, usable.any(axis=0))


@pytest.mark.parametrize("choice", ["greenest", "medoid"])
def test_of_equals_the_nearest_date_and_then_the_id_decides(tmp_path, choice):
    days = ["2019-08-20", "2019-08-03", "2019-08-03"]
    items = [item(tmp_path, n, flat(1000), day=day) for n, day in enumerate(days)]
    _, source, listed = mosaic(tmp_path, items, options=with_choice(choice))
    assert listed[0]["id"][-1] == "1"
    assert (source == 1).all()


@pytest.mark.parametrize("choice", ["clearest", "nearest", "greenest", "medoid"])
def test_top_of_atmosphere_reflectance_only_fills_gaps(tmp_path, choice):
    surface = item(tmp_path, 1, flat(1000), masked=half(np.s_[64:]), day="2019-07-02")
    green = flat(2000)
    green[3] = 6000
    other = item(tmp_path, 2, green)
    told = json.loads(other.read_text())
    told["properties"] |= {"rts:reflectance": "top of atmosphere", "rts:gain": dict.fromkeys(BANDS, 0.5)}
    other.write_text(json.dumps(told))
    again = other.parent.with_name("again") / "item.json"
    shutil.copytree(other.parent, again.parent)
    again.write_text(json.dumps(told | {"id": "again"}))
    values, source, _ = mosaic(tmp_path, [other, surface, again], options=with_choice(choice))
    assert (source[:64] == 1).all()
    assert (source[64:] == 2).all()
    assert (values[0, 64:] == 1000).all(), "the raster's value times its gain"


def test_feathering_leaves_no_step_and_what_is_far_untouched(tmp_path):
    columns = np.arange(SIZE)
    left, right = flat(1000, (SIZE + 40, SIZE + 40)), flat(2000, (SIZE + 40, SIZE + 40))
    left[:, :, 101:] = 0
    days = ("2019-08-01", "2019-08-10")
    items = [item(tmp_path, n, values, day=days[n], transform=at(-20, -20)) for n, values in enumerate((left, right))]
    plain, source, _ = mosaic(tmp_path, items)
    assert np.abs(np.diff(plain[0].astype(int), axis=1)).max() == 1000
    values, again, _ = mosaic(tmp_path, items, options=with_choice("clearest", 30))
    assert np.array_equal(source, again), "the source map names the item chosen"
    assert np.abs(np.diff(values[0].astype(int), axis=1)).max() < 200
    far = np.abs(columns - 80.5) > 11
    assert np.array_equal(values[:, :, far], plain[:, :, far])
    with rasterio.open(tmp_path / "cell.tif") as dataset:
        assert dataset.tags()["FEATHER_M"] == "30"


def test_feathering_does_not_depend_on_windows(tmp_path, monkeypatch):
    paths, _ = random_items(tmp_path, 3)
    whole, _, _ = mosaic(tmp_path, paths, options=with_choice("clearest", 12))
    monkeypatch.setattr("rts_pipeline.mosaic.WINDOW_PX", 64)
    assert np.array_equal(mosaic(tmp_path, paths, options=with_choice("clearest", 12))[0], whole)
