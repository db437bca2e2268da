"""The pictures of the report: what they show, and that they stay small."""

import base64
import json
from io import BytesIO

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from shapely import box

from rts_pipeline.errors import InputError
from rts_pipeline.grid import Grid
from rts_pipeline.io import new_cog
from rts_pipeline.report import gallery
from rts_pipeline.report.overview import draw_overviews
from rts_pipeline.report.palette import FEW, HATCH, class_of, counted, dated, on_hatching
from rts_pipeline.report.quicklook import EDGES_PX, PIXELS, Look, draw_pictures, edge_for, read_looks

CRS = "EPSG:32646"
GRID = Grid(CRS, cell_px=2048, block_cells=2)
CELLS = ["e0078_n0628", "e0079_n0628"]
"""Both of one block; the second has no mosaic."""


def write(path, values, profile, **more):
    tags = more.pop("tags", {})
    descriptions = more.pop("descriptions", ())
    with new_cog(path, count=len(values), dtype=values.dtype, **profile, **more) as dataset:
        dataset.descriptions = descriptions or dataset.descriptions
        dataset.write(values)
        dataset.update_tags(**tags)


@pytest.fixture
def results(tmp_path):
    """A cell whose upper half came from one day, the lower left quarter from another, the rest from none."""
    rng = np.random.default_rng(0)
    cell, block = GRID.cell(CELLS[0]), GRID.block(GRID.block_of(CELLS[0]))
    source = np.zeros((1, *cell.shape), np.uint16)
    source[0, :1024], source[0, 1024:, :1024] = 1, 2
    values = rng.integers(400, 900, (4, *cell.shape)).astype(np.uint16) * (source > 0)
    items = [
        {"index": 1, "id": "a", "acquired": "2019-08-02T04:00:00Z", "pixels": 1024 * 2048},
        {"index": 2, "id": "b", "acquired": "2019-07-05T04:00:00Z", "pixels": 1024 * 1024},
    ]
    folder = tmp_path / "mosaic"
    write(folder / f"{cell.id}.tif", values, cell.profile, nodata=0)
    tags = {"ITEMS": json.dumps(items)}
    write(folder / f"{cell.id}_source.tif", source, cell.profile, nodata=0, overview_resampling="nearest", tags=tags)
    counts = np.full((2, *block.shape), 255, np.uint8)
    counts[:, block.slices_of(cell)[0]] = 0
    counts[1][block.slices_of(cell)] = source[0] > 0
    counts[0][block.slices_of(cell)] = 3
    place = tmp_path / "coverage" / f"{block.id}.tif"
    write(place, counts, block.profile, nodata=255, overview_resampling="nearest", descriptions=("2018", "2019"))
    return tmp_path


def cut_off(path, share):
    """Keep the beginning of a COG: its overviews lie before its full resolution."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def test_overviews_are_enough(results):
    """The last quarter of a file is full resolution: a read of it would fail."""
    for path in results.glob("mosaic/*.tif"):
        cut_off(path, 0.75)
    look = read_looks(results, CELLS, CELLS[:1], GRID)[0]
    edge = EDGES_PX[1]
    assert look.reflectance.shape == (4, edge, edge)
    assert (look.source > 0).mean() == pytest.approx(0.75)
    cut_off(results / "mosaic" / f"{CELLS[0]}.tif", 0.02)
    with pytest.raises(InputError, match=rf"{CELLS[0]}\.tif: can't be read"):
        read_looks(results, CELLS, CELLS[:1], GRID)


def test_a_mosaic_that_is_missing_is_not_taken_for_one_that_never_was(results):
    path = results / "mosaic" / f"{CELLS[1]}.tif"
    with pytest.raises(InputError, match=rf"{path}: no such file; expected the mosaic of an observed cell"):
        read_looks(results, CELLS, CELLS, GRID)


def test_a_mosaic_of_images_that_are_used_no_more_is_not_shown(results):
    look = read_looks(results, CELLS[:1], [], GRID)[0]
    assert not look.reflectance.any() and not look.source.any()


def test_pictures_show_what_was_observed(results):
    pictures = draw_pictures(read_looks(results, CELLS, CELLS[:1], GRID), 2019)
    assert pictures.days.labels == ("2019-07-05", "2019-08-02")
    edge = EDGES_PX[1]
    observed = np.ones((edge, edge), bool)
    observed[edge // 2 :, edge // 2 :] = False
    for name in ("true", "false", "source", "target"):
        first, second = pictures.images[name]
        assert np.array_equal(first[..., 3] > 0, observed), name
        assert not second[..., 3].any(), name
    assert (pictures.images["all"][0][..., 3] == 255).all()
    later, earlier = pictures.images["source"][0][0, 0], pictures.images["source"][0][-1, 0]
    assert [f"#{bytes(colour[:3]).hex().upper()}" for colour in (earlier, later)] == list(FEW[:2])
    assert list(pictures.looks[0].day_shares) == ["2019-08-02", "2019-07-05"]
    assert sum(pictures.looks[0].day_shares.values()) == pytest.approx(0.75)


def test_classes_of_numbers_of_observations():
    assert class_of(np.array([0, 1, 2, 3, 4, 5, 16, 17, 33, 254, 700])).tolist() == [0, 1, 2, 3, 3, 4, 5, 6, 7, 7, 7]
    assert counted().labels == ("1", "2", "3–4", "5–8", "9–16", "17–32", "33 or more")
    assert len(counted().colours) == 7


def test_each_day_has_its_own_colour():
    for n in (0, 1, 7, 8, 61, 200):
        days = [f"{2000 + number}" for number in range(n)]
        palette = dated(days)
        assert palette.labels == tuple(days)
        assert len(set(palette.colours)) == n


def test_what_was_not_observed_is_hatched():
    image = np.full((32, 32, 4), 255, np.uint8)
    image[:16] = 0
    shown = on_hatching(image)
    assert {tuple(map(int, colour)) for colour in shown[:16].reshape(-1, 3)} == set(HATCH)
    assert (shown[16:] == 255).all()


def test_the_size_of_a_picture_follows_the_number_of_cells():
    assert [edge_for(n) for n in (0, 1, 50, 500, 1400, 100_000)] == [320, 320, 280, 88, 48, 48]
    assert all(n * edge_for(n) ** 2 <= PIXELS for n in (50, 100, 500, 1400))


def test_the_gallery_stays_below_its_size(monkeypatch):
    """Noise is what compresses worst."""
    rng = np.random.default_rng(1)
    grid = Grid(CRS, cell_px=64, block_cells=2)
    cells = [f"e{2500 + n:04d}_n20104" for n in range(6)]
    looks = [
        Look(
            cell=grid.cell(name),
            reflectance=rng.integers(1, 10_000, (4, 96, 96)).astype(np.uint16),
            source=rng.integers(0, 9, (96, 96)).astype(np.uint16),
            days={number: f"2019-07-0{number}" for number in range(1, 9)},
            counts={2019: rng.integers(0, 40, (96, 96)).astype(np.uint8)},
        )
        for name in cells
    ]
    observed = pd.DataFrame({"cell": cells, "year": 2019, "observed_share": 1.0, "n_items": 8})
    pictures = draw_pictures(looks, 2019)
    whole = gallery.draw_gallery(pictures, observed, grid, 2019)
    monkeypatch.setattr(gallery, "MOST_BYTES", 60_000)
    small = gallery.draw_gallery(pictures, observed, grid, 2019)
    assert [len(block["cells"]) for block in small["blocks"]] == [2, 2, 2]
    shown = [cell for block in small["blocks"] for cell in block["cells"]]
    assert sum(len(cell["photo"]) + len(cell["flat"]) for cell in shown) <= 60_000
    assert whole["edge_px"] == 96 > small["edge_px"] >= 16
    photo, flat = (Image.open(BytesIO(base64.b64decode(shown[0][name].split(",")[1]))) for name in ("photo", "flat"))
    assert photo.size == (2 * small["edge_px"], small["edge_px"])
    assert flat.size == (3 * small["edge_px"], small["edge_px"])
    assert len(shown[0]["days"]) == gallery.MOST_DAYS
    assert sum(share for *_, share in shown[0]["days"]) + shown[0]["more_days"] == pytest.approx(8 / 9, abs=0.02)


def test_overviews_have_the_area_in_its_shape(results):
    looks = read_looks(results, CELLS, CELLS[:1], GRID)
    area = gpd.GeoSeries([box(*looks[0].cell.bounds)], crs=CRS)
    drawn = draw_overviews(draw_pictures(looks, 2019), area, CRS)
    assert list(drawn) == ["true", "false", "source", "target", "all"]
    for uri in drawn.values():
        image = Image.open(BytesIO(base64.b64decode(uri.removeprefix("data:image/webp;base64,"))))
        assert image.width > 600
        assert len(uri) < 400_000
