"""The simulated corridor: files as delivered, a growing truth, equal bytes for equal seeds, and no trivial way to solve it."""

import hashlib
import json
import xml.etree.ElementTree as ElementTree
from itertools import product

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from pydantic import ValidationError
from rasterio.features import rasterize
from rasterio.windows import from_bounds
from scipy import ndimage

from rts_pipeline.config import Scenes, Usability
from rts_pipeline.errors import UsageError
from rts_pipeline.options import ScenesOptions
from rts_pipeline.scenes.discover import discover
from rts_pipeline.scenes.measure import measure
from rts_pipeline.simulate.acquisitions import plan
from rts_pipeline.simulate.corridor import simulate
from rts_pipeline.simulate.delivery import view_of
from rts_pipeline.simulate.items import shows_ground
from rts_pipeline.simulate.landcover import make_textures
from rts_pipeline.simulate.options import CorridorOptions

OPTIONS = CorridorOptions(seed=3, width_km=4, height_km=4, years=[2018, 2019], n_slumps=18)


@pytest.fixture(scope="module")
def corridor(tmp_path_factory):
    out = tmp_path_factory.mktemp("corridor")
    simulate(out, OPTIONS)
    return out


@pytest.fixture(scope="module")
def truth(corridor):
    return gpd.read_file(corridor / "truth.gpkg")


def items_of(out, year):
    return sorted((out / "orders" / str(year) / "PSScene").iterdir())


def mosaic_of(out, options):
    """Return the first usable pixel of the target year on the corridor's grid (4, rows, columns), 0 where there is none."""
    area = options.area
    mosaic = np.zeros((4, *area.shape), np.uint16)
    for item in items_of(out, options.target_year):
        with (
            rasterio.open(item / f"{item.name}_3B_AnalyticMS_SR_clip.tif") as sr,
            rasterio.open(item / f"{item.name}_3B_udm2_clip.tif") as udm2,
        ):
            window = from_bounds(*area.bounds, sr.transform).round_offsets().round_lengths()
            pixels = sr.read(window=window, boundless=True, fill_value=0)
            clear = udm2.read(1, window=window, boundless=True, fill_value=0) == 1
        take = clear & (pixels[:3].min(0) > 1) & (mosaic[3] == 0)
        mosaic[:, take] = pixels[:, take]
    return mosaic


def threshold_scores(mosaic, truth_labels):
    """Yield the object F1 (one to one, IoU > 0.5) of every threshold on every band and NDVI, and every minimum area."""
    red, nir = (mosaic[band].astype(np.float32) for band in (2, 3))
    seen = nir > 0
    layers = [*mosaic.astype(np.float32), (nir - red) / np.maximum(nir + red, 1)]
    inside = truth_labels > 0
    truth_size = np.bincount(truth_labels.ravel())
    for (name, layer), sign in product(zip(("blue", "green", "red", "nir", "ndvi"), layers, strict=True), (1, -1)):
        values = np.unique(np.quantile(sign * layer[inside & seen], np.linspace(0.02, 0.9, 15)))
        for value in values:
            labels, _ = ndimage.label(seen & (sign * layer > value), np.ones((3, 3)))
            size = np.bincount(labels.ravel())
            pair, shared = np.unique(truth_labels[inside].astype(np.int64) * size.size + labels[inside], return_counts=True)
            one, other = np.divmod(pair, size.size)
            matched = other[(shared / (truth_size[one] + size[other] - shared) > 0.5) & (other > 0)]
            for smallest in (0, 50, 150, 300, 450, 600, 900, 1300, 2000):
                found = int((size[matched] >= smallest).sum())
                yield 2 * found / (int((size[1:] >= smallest).sum()) + truth_size.size - 1), name, sign * value, smallest


def best_threshold(out, options):
    """Return (F1, layer, threshold, smallest object in pixels) of the best single threshold."""
    truth = gpd.read_file(out / "truth.gpkg")
    truth = truth[truth["year"] == options.target_year]
    shapes = zip(truth.geometry, range(1, len(truth) + 1), strict=True)
    labels = rasterize(shapes, out_shape=options.area.shape, transform=options.area.transform, dtype="int32")
    return max(threshold_scores(mosaic_of(out, options), labels))


def test_no_single_threshold_finds_the_slumps(corridor):
    f1, *how = best_threshold(corridor, OPTIONS)
    assert f1 < 0.4, how


def digests(folder):
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


def test_equal_options_give_equal_bytes_for_any_number_of_workers(tmp_path):
    small = {"width_km": 2.4, "height_km": 2.4, "years": [2019], "n_slumps": 4}
    for name, more in {"a": {"workers": 1}, "b": {"workers": 2}, "c": {"seed": 1}}.items():
        simulate(tmp_path / name, CorridorOptions(**small, **more))
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert digests(tmp_path / "a") != digests(tmp_path / "c")


def test_every_file_is_in_the_manifest_with_its_digest(corridor):
    for year in OPTIONS.years:
        order = corridor / "orders" / str(year)
        entries = json.loads((order / "manifest.json").read_text())["files"]
        on_disk = {path: value for path, value in digests(order).items() if path != "manifest.json"}
        assert {entry["path"]: entry["digests"]["sha256"] for entry in entries} == on_disk
        assert all((order / entry["path"]).stat().st_size == entry["size"] for entry in entries)


def test_items_look_as_delivered(corridor):
    grids, parts = set(), set()
    for item in (item for year in OPTIONS.years for item in items_of(corridor, year)):
        with rasterio.open(item / f"{item.name}_3B_AnalyticMS_SR_clip.tif") as sr:
            pixels, profile = sr.read(), sr.profile
            assert sr.descriptions == ("blue", "green", "red", "nir")
        assert (profile["dtype"], profile["nodata"], str(profile["crs"])) == ("uint16", 0, "EPSG:32646")
        with rasterio.open(item / f"{item.name}_3B_udm2_clip.tif") as dataset:
            udm2 = dataset.read()
            assert (dataset.count, dataset.nodata, dataset.transform) == (8, None, profile["transform"])
        valid = pixels[3] > 0
        assert 0.3 < valid.mean() < 0.95, "a nodata wedge beside the tilted swath"
        assert np.array_equal((udm2[7] & 1) == 0, valid)
        assert np.array_equal(udm2[:6].sum(0), valid), "one class a valid pixel"
        floor = valid & (pixels[:3] == 1).all(0)
        assert floor.any() and pixels[3][floor].min() > 100
        feature = json.loads((item / f"{item.name}_metadata.json").read_text())
        assert feature["id"] == item.name and feature["properties"]["acquired"][:10].replace("-", "") == item.name[:8]
        assert shapely.geometry.shape(feature["geometry"]).is_valid
        xml = ElementTree.parse(item / f"{item.name}_3B_AnalyticMS_metadata_clip.xml")
        found = {tag: xml.find(f".//{{*}}{tag}").text for tag in ("numRows", "numColumns", "serialIdentifier")}
        assert (int(found["numRows"]), int(found["numColumns"])) == valid.shape
        assert item.name.endswith(found["serialIdentifier"])
        grids.add(tuple(profile["transform"]) + valid.shape)
        parts.add(len(item.name.split("_")))
    assert len(grids) == sum(len(items_of(corridor, year)) for year in OPTIONS.years), "each item has its own grid"
    assert parts == {3, 4}


def test_udm2_matches_the_clouds(corridor):
    bright, clear = [], []
    for item in items_of(corridor, 2019):
        with (
            rasterio.open(item / f"{item.name}_3B_AnalyticMS_SR_clip.tif") as sr,
            rasterio.open(item / f"{item.name}_3B_udm2_clip.tif") as dataset,
        ):
            blue, udm2 = sr.read(1), dataset.read()
        bright.append(blue[udm2[5] == 1])
        clear.append(blue[udm2[0] == 1])
    cloud = np.concatenate(bright)
    assert cloud.size > 10_000 and np.median(cloud) > 3000
    assert np.quantile(np.concatenate(clear), 0.99) < 2500


def test_the_target_year_is_observed_nearly_everywhere(corridor):
    assert (mosaic_of(corridor, OPTIONS)[3] > 0).mean() > 0.95


def test_seeds_are_the_western_third_in_the_target_year(corridor, truth):
    target = truth[truth["year"] == 2019]
    seeds = gpd.read_file(corridor / "seeds.gpkg")
    assert set(seeds["truth_id"]) == set(target.loc[target["seed"], "truth_id"])
    assert 0.25 < len(seeds) / len(target) < 0.42
    assert len(target) == OPTIONS.n_slumps
    centres = target.geometry.centroid.x
    assert centres[target["seed"]].max() < centres[~target["seed"]].min() + 100


def test_slumps_keep_apart_grow_uphill_and_some_are_new(truth):
    target = truth[truth["year"] == 2019].geometry
    nearest = [target.drop(index).distance(outline).min() for index, outline in target.items()]
    assert min(nearest) >= 15
    assert target.area.min() >= 4_000 and 10_000 < target.area.mean() < 30_000
    both = truth.pivot(index="truth_id", columns="year", values="area_m2")
    activity = truth.groupby("truth_id")["activity"].first()
    assert (both[2019] >= both[2018])[both[2018].notna()].all()
    assert (both[2019] / both[2018])[activity == "active"].min() > 1.02
    assert both[2018].isna()[activity == "new"].any()
    old, new = (truth[truth["year"] == year].set_index("truth_id").geometry for year in (2018, 2019))
    lost = old.difference(new.loc[old.index]).area / old.area
    assert lost.max() < 0.02


def test_elevation_model_covers_the_corridor(corridor):
    with rasterio.open(corridor / "dem.tif") as dem:
        area = gpd.read_file(corridor / "aoi.gpkg").to_crs(dem.crs).geometry[0]
        values = dem.read(1, window=from_bounds(*area.bounds, dem.transform))
    assert values[values > -9999].min() > 4_400
    assert values.max() < 5_200


def test_a_target_year_without_items_is_refused():
    with pytest.raises(ValidationError, match="target_year 2017"):
        CorridorOptions(years=[2018, 2019], target_year=2017)


def test_more_slumps_than_there_is_room_for_are_refused(tmp_path):
    with pytest.raises(UsageError, match="n_slumps: 400 slumps find no room, only"):
        simulate(tmp_path / "out", CorridorOptions(width_km=2.4, height_km=2.4, years=[2019], n_slumps=400))
    assert not (tmp_path / "out").exists()


def test_pixels_called_usable_show_the_ground(corridor, tmp_path):
    """The masks err along the rims of clouds as real ones do; still hardly a usable pixel is none."""
    right = wrong = missed = 0
    noise = np.zeros(make_textures(np.random.default_rng(0)).speckle.shape, np.float32)
    for item in plan(np.random.default_rng([OPTIONS.seed, 7]), OPTIONS):
        order = corridor / "orders" / str(item.acquired.year)
        found = discover([order / "PSScene" / item.item_id], Scenes(folders=["x"])).items[0]
        out = tmp_path / found.id
        files = (found.reflectance, found.mask, found.mask_kind, found.metadata, found.xml)
        measure(found.id, *files, out / "item.json", out / "usable.tif", ScenesOptions(scenes=Usability()))
        with rasterio.open(out / "usable.tif") as dataset:
            usable = dataset.read(1) == 1
        truth = shows_ground(view_of(OPTIONS.seed, item, OPTIONS.area, noise), slice(0, usable.shape[0]))
        with rasterio.open(found.mask) as dataset:
            snow = dataset.read(2) == 1
        right += np.count_nonzero(usable & truth)
        wrong += np.count_nonzero(usable & ~truth)
        missed += np.count_nonzero(~usable & truth & ~snow)
    assert wrong > 0, "masks without a mistake would prove nothing"
    assert right / (right + wrong) >= 0.99
    assert right / (right + missed) >= 0.97
