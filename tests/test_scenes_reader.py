"""The reader of measured items: any rectangle, moved to its place and brought to the common level."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Transformer

from mosaic_case import (
    CELL,
    CRS,
    NORTH,
    SIZE,
    SOUTH,
    WEST,
    adjusted,
    at,
    flat,
    half,
    item,
    mosaic,
)
from rts_pipeline.config import BANDS
from rts_pipeline.errors import InputError
from rts_pipeline.grid import Grid
from rts_pipeline.scenes.reader import ItemReader, MeasuredItem, usable_on


@pytest.mark.parametrize("zone", [32646, 32645])
def test_a_displaced_item_is_moved_to_its_place(tmp_path, zone):
    def ground(x, y):
        return 3000 + 1500 * np.sin((x - WEST) / 60) * np.cos((y - SOUTH) / 80)

    east, north = 4.8, -7.3
    x, y = Transformer.from_crs(32646, zone, always_xy=True).transform(WEST - 90, NORTH + 90)
    place = Affine(3, 0, x, 0, -3, y)
    rows, columns = np.mgrid[:260, :260] + 0.5
    there = Transformer.from_crs(zone, 32646, always_xy=True).transform(*(place @ (columns, rows)))
    values = np.repeat(ground(there[0] - east, there[1] - north)[None], 4, axis=0).round().astype(np.uint16)
    path = item(tmp_path, 0, values, transform=place, crs=f"EPSG:{zone}")
    adjusted(path, **{"rts:shift_m": [east, north], "rts:shift_corrected": True})
    got, source, _ = mosaic(tmp_path, [path])
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    off = np.abs(got[0] - ground(*(CELL.transform @ (columns, rows))))[source > 0]
    assert (source > 0).mean() > 0.9
    assert off.mean() < 75 * 0.05  # at most 75 a pixel
    adjusted(path, **{"rts:shift_corrected": False})
    got, source, _ = mosaic(tmp_path, [path])
    assert np.abs(got[0] - ground(*(CELL.transform @ (columns, rows))))[source > 0].mean() > 40


@pytest.mark.parametrize("lost", ["crs", "transform"])
def test_a_raster_that_lost_its_place_is_told(tmp_path, lost):
    """As after a file was cut off: its size may be right."""
    measured = MeasuredItem.load(item(tmp_path, 0, flat(1000)))
    with rasterio.open(measured.usable) as whole:
        values, profile = whole.read(), {name: value for name, value in whole.profile.items() if name != lost}
    with rasterio.open(measured.usable, "w", **profile) as cut:
        cut.write(values)
    for read in (lambda: ItemReader(measured), lambda: usable_on(measured, CELL)):
        with pytest.raises(InputError, match=r"usable\.tif: no longer says where it lies"):
            read()


def test_whole_pixels_of_displacement_need_no_resampling(tmp_path):
    random = np.random.default_rng(0).integers(2, 5000, (4, SIZE, SIZE)).astype(np.uint16)
    path = adjusted(item(tmp_path, 0, random), **{"rts:shift_m": [6.0, -3.0], "rts:shift_corrected": True})
    got, _, _ = mosaic(tmp_path, [path])
    assert np.array_equal(got[:, :-1, :-2], random[:, 1:, 2:])


def test_gain_and_offset_bring_values_to_the_common_level(tmp_path):
    path = item(tmp_path, 0, flat(1000), masked=half(np.s_[:9]))
    gain, offset = dict(zip(BANDS, (1.1, 1, 0.9, 70), strict=True)), dict(zip(BANDS, (-50.4, 0, 2000, 0), strict=True))
    got, source, _ = mosaic(tmp_path, [adjusted(path, **{"rts:gain": gain, "rts:offset": offset})])
    assert not got[:, :9].any()
    assert got[:, 64, 64].tolist() == [1050, 1001, 2902, 65535]
    low = adjusted(path, **{"rts:offset": dict.fromkeys(BANDS, -9000)})
    got, source, _ = mosaic(tmp_path, [low])
    assert got[:3, 64, 64].tolist() == [1, 1, 1], "below what a pixel can hold, but not nodata"
    assert source[64, 64] == 1


def test_the_reader_gives_any_rectangle(tmp_path):
    values = np.random.default_rng(0).integers(2, 5000, (4, SIZE, SIZE)).astype(np.uint16)
    loaded = MeasuredItem.load(item(tmp_path, 0, values, masked=half(np.s_[:10])))
    part = Grid(CRS, cell_px=64).cell("e2501_n20105")  # the right upper quarter
    with ItemReader(loaded) as reader:
        reflectance, usable = reader.read(part)
        assert reader.read(part, np.zeros(part.shape, bool)) is None
        assert reader.read(Grid(CRS, cell_px=64).cell("e2600_n20105")) is None
    assert np.array_equal(usable, ~half(np.s_[:10])[:64, 64:])
    assert np.array_equal(reflectance, values[:, :64, 64:] * usable)


def test_a_displaced_item_is_read_where_its_content_belongs_beyond_its_footprint(tmp_path):
    far = (-SIZE - 5, 0)  # the raster ends five pixels before the cell; its content lies ten pixels too far west
    values = np.random.default_rng(0).integers(2, 5000, (4, SIZE, SIZE)).astype(np.uint16)
    path = adjusted(item(tmp_path, 0, values, transform=at(*far)), **{"rts:shift_m": [-30.0, 0.0], "rts:shift_corrected": True})
    got, source, _ = mosaic(tmp_path, [path])
    assert np.array_equal(got[:, :, :5], values[:, :, -5:])
    assert not source[:, 5:].any()
