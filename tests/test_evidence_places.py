"""Where the images of other years lie: measured against that of the target year on each candidate's ground."""

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from evidence_case import SIZE, SLUMP, build, image, rectangle, write_item
from rts_pipeline.evidence.places import UNMEASURED_M

HALF_PIXEL = 1.5


def ground(seed=0, size=SIZE):
    """Ground with texture of some pixels, as stones and tussocks give it."""
    rough = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(size, size)), 1.5)
    return np.stack([1000 + 200 * band + 600 * rough / rough.std() / 3 for band in range(4)])


def item(tmp_path, year, values, offset=(0.0, 0.0)):
    return write_item(tmp_path, f"i{year}", f"{year}-08-01T04:00:00Z", values, offset=offset)


def places(table, year, name="r01-0001"):
    row = table.loc[(name, year)]
    return row["shift_east_m"], row["shift_north_m"], row["misregistration_m"]


@pytest.mark.parametrize("offset", [(15.0, 9.0), (-6.0, 3.0), (2.2, -3.1)])
def test_a_displaced_year_is_moved_to_where_the_target_year_lies(tmp_path, offset):
    table = build(tmp_path, [item(tmp_path, 2019, ground()), item(tmp_path, 2018, ground(), offset)], scale=1)
    assert places(table, 2018) == pytest.approx((*offset, HALF_PIXEL), abs=0.2)
    assert places(table, 2019) == (0, 0, HALF_PIXEL)
    moved, target = (image(tmp_path, table.loc[("r01-0001", year)]) for year in (2018, 2019))
    assert np.abs(moved - target).mean() < 12


def test_what_is_moved_by_less_than_a_metre_is_not_resampled(tmp_path):
    table = build(tmp_path, [item(tmp_path, 2019, ground()), item(tmp_path, 2018, ground(), (0.6, -0.6))])
    assert places(table, 2018) == (0, 0, HALF_PIXEL)


@pytest.mark.parametrize(
    ("values", "offset"), [(ground(1), (0.0, 0.0)), (ground(), (60.0, 0.0)), (ground() * 0 + 900, (0.0, 0.0))]
)
def test_where_it_cannot_be_measured_the_image_stays_and_its_error_says_so(tmp_path, values, offset):
    """Other ground, ground that lies beyond what is believed, ground without texture."""
    table = build(tmp_path, [item(tmp_path, 2019, ground()), item(tmp_path, 2018, values, offset)])
    assert places(table, 2018) == pytest.approx((0, 0, UNMEASURED_M))


def test_clouds_over_most_of_it_leave_too_little_to_compare(tmp_path):
    cloudy = np.full((SIZE, SIZE), 2, np.uint8)
    cloudy[45:75, 45:75] = 1
    cloudy_year = write_item(tmp_path, "i2018", "2018-08-01T04:00:00Z", ground(), cloudy, offset=(15.0, 9.0))
    table = build(tmp_path, [item(tmp_path, 2019, ground()), cloudy_year])
    assert places(table, 2018) == pytest.approx((0, 0, UNMEASURED_M))


def test_without_an_image_of_the_target_year_the_nearest_holds(tmp_path):
    items = [item(tmp_path, 2018, ground(), (9.0, 0.0)), item(tmp_path, 2016, ground(), (15.0, 9.0))]
    table = build(tmp_path, items, years=(2016, 2018, 2019))
    assert places(table, 2018) == (0, 0, HALF_PIXEL)
    assert places(table, 2016) == pytest.approx((6.0, 9.0, HALF_PIXEL), abs=0.2)
    assert all(np.isnan(value) for value in places(table, 2019))


def test_candidates_of_one_image_are_moved_each_by_its_own_place(tmp_path):
    """The left half of the image lies right, the other one 9 m too far east: as of images with an error within."""
    size = 600
    whole = ground(size=size)
    torn = np.concatenate([whole[..., :300], np.roll(whole, 3, axis=-1)[..., 300:]], axis=-1)
    outlines = [rectangle(290, 120, 310, 140), rectangle(290, 460, 310, 480)]
    table = build(tmp_path, [item(tmp_path, 2019, whole), item(tmp_path, 2018, torn)], outlines=outlines)
    assert places(table, 2018) == (0, 0, HALF_PIXEL)
    assert places(table, 2018, "r01-0002") == pytest.approx((9.0, 0.0, HALF_PIXEL), abs=0.2)


def test_places_come_back_from_the_cache(tmp_path):
    items = [item(tmp_path, 2019, ground()), item(tmp_path, 2018, ground(), (15.0, 9.0))]
    first = build(tmp_path, items, outlines=(SLUMP,))
    kept = {path: path.stat().st_ino for path in (tmp_path / "cache").rglob("*.zip")}
    again = build(tmp_path, items, outlines=(SLUMP,))
    assert {path: path.stat().st_ino for path in (tmp_path / "cache").rglob("*.zip")} == kept
    pd.testing.assert_frame_equal(pd.DataFrame(again), pd.DataFrame(first))
