"""Numbers on made ground whose change is known, and the rules that follow from them."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import affinity, box

from evidence_case import NORTH, SIZE, WEST, build, change, meadow, rectangle, write_dem, write_item
from rts_pipeline.evidence.change import (
    first_visible,
    growth,
    headwalls,
    monotone_growth,
    retreat,
    two_years,
)
from rts_pipeline.evidence.tables import change_table
from rts_pipeline.ranking import with_years

YEARS = (2016, 2017, 2018, 2019, 2020)
CANDIDATE = (50, 52, 70, 68)
NORTHWARDS = {2016: None, 2017: (58, 52, 70, 68), 2018: (54, 52, 70, 68), 2019: CANDIDATE, 2020: (46, 52, 70, 68)}
"""A slump of 16 px width that appears in 2017 and retreats by 4 px (12 m) a year to the north, which is uphill."""


def items_of(tmp_path, slumps, classes=None, **told):
    """An item a year, on the same day of each, with a rectangle of mud where it is not None."""
    classes = classes or {}
    return [
        write_item(tmp_path, str(y), f"{y}-08-01T00:00:00Z", meadow(*([s] if s else [])), classes.get(y), **told)
        for y, s in slumps.items()
    ]


def clouds(*parts):
    """Classes of usable.tif with clouds over parts (slices of rows and columns)."""
    values = np.ones((SIZE, SIZE), np.uint8)
    for part in parts:
        values[part] = 2
    return values


def test_known_growth_is_measured(tmp_path):
    items, dem = items_of(tmp_path, NORTHWARDS), write_dem(tmp_path / "dem.tif")
    table = build(tmp_path, items, [rectangle(*CANDIDATE)], YEARS, dem=dem, margin_m=60.0)
    told = change(tmp_path).loc["r01-0001"]
    assert (told["n_images"], told["n_seen"], told["reason"]) == (5, 4, "")
    assert (told["first_year_visible"], told["last_year_absent"]) == (2017, 2016)
    # 4 rows of 16 px; the scale of UTM at its central meridian and the days of a leap year are in it
    assert told["growth_m2_yr"] == pytest.approx(4 * 16 * 9, rel=0.01)
    assert told["growth_low_m2_yr"] <= told["growth_m2_yr"] <= told["growth_high_m2_yr"]
    assert told["growth_high_m2_yr"] - told["growth_low_m2_yr"] < 15
    assert told["retreat_m_yr"] == pytest.approx(12, rel=0.01)
    # four years, each off by half a pixel
    assert told["retreat_error_m_yr"] == pytest.approx(1.96 * 1.5 / 5**0.5, rel=0.01)
    assert (told["monotone_growth"], told["two_years"]) == (True, True)
    assert told["uphill_deg"] == pytest.approx(0, abs=0.1) or told["uphill_deg"] == pytest.approx(360, abs=0.1)
    rows = table.loc["r01-0001"]
    assert rows["seen"].tolist() == [False, True, True, True, True]
    assert rows["headwall_m"].tolist()[1:] == pytest.approx([-24, -12, 0, 12], abs=0.5)
    assert rows["area_m2"].tolist() == pytest.approx([0, 1728, 2304, 2880, 3456], rel=0.01)
    assert rows["prob_mean"].tolist() == pytest.approx([0, 0.6, 0.8, 1, 1], abs=0.03)
    assert rows["outline"].iloc[4].symmetric_difference(rectangle(*NORTHWARDS[2020])).area < 50
    assert (rows["numbers_reason"] == "").all()


def test_index_and_brightness_inside_and_upslope(tmp_path):
    items, dem = items_of(tmp_path, {2019: CANDIDATE}), write_dem(tmp_path / "dem.tif", rise=(0.0, -0.1))
    scene = meadow(CANDIDATE)
    scene[3, :50] = 4000  # north of it greener: downslope
    items = [write_item(tmp_path, "2019", "2019-08-01T00:00:00Z", scene)]
    row = build(tmp_path, items, [rectangle(*CANDIDATE)], (2019,), dem=dem).iloc[0]
    assert row["ndvi"] == pytest.approx(100 / 3100, abs=1e-3)
    assert row["brightness"] == pytest.approx(0.12, abs=1e-3)
    assert row["ndvi_ring"] == pytest.approx(1600 / 3200, abs=5e-3), "the ring is on the southern, upper side"
    assert row["brightness_ring"] == pytest.approx(2000 / 3 / 1e4, abs=1e-3)
    assert change(tmp_path)["uphill_deg"].iloc[0] == pytest.approx(180, abs=0.1)


def test_what_was_not_seen_is_not_absent(tmp_path):
    slumps = {**NORTHWARDS, 2018: None}
    some, all_of_it = np.s_[56:64, :], np.s_[45:75, :]
    classes = {2016: clouds(all_of_it), 2017: clouds(some), 2018: clouds(np.s_[50:60, :])}
    items = [item for item in items_of(tmp_path, slumps, classes) if item["item_id"] != "2019"]
    table = build(tmp_path, items, [rectangle(*CANDIDATE)], YEARS, margin_m=60.0).loc["r01-0001"]
    assert table["seen"].isna().tolist() == [True, False, True, True, False]
    assert table["area_m2"].isna().tolist() == [True, True, True, True, False]
    assert table["prob_mean"].isna().tolist() == [True, False, False, True, False]
    little = "the image shows too little of the candidate to tell whether there is a slump"
    assert table["numbers_reason"].tolist() == [
        little,
        "the image shows only a part of the slump: no area",
        little,
        "no image in the season of 2019",
        "",
    ]
    told = change(tmp_path).loc["r01-0001"]
    assert (told["first_year_visible"], told["n_seen"]) == (2017, 2)
    assert told[["last_year_absent", "two_years", "monotone_growth"]].isna().all()
    assert told[["growth_m2_yr", "retreat_m_yr"]].isna().all()
    assert told["reason"] == "the slump is outlined whole in 1 image(s): no growth, no retreat"
    assert told["score"] == pytest.approx(0.8), "the chance of the single image"


def test_a_slump_larger_than_the_ground_has_no_area(tmp_path):
    items = items_of(tmp_path, {2019: (20, 52, 70, 68)})
    row = build(tmp_path, items, [rectangle(*CANDIDATE)], (2019,)).iloc[0]
    assert (row["seen"], row["numbers_reason"]) == (
        True,
        "the slump reaches beyond the measured ground (evidence.margin_m): no area",
    )
    assert np.isnan(row["area_m2"]) and row["outline"] is not None


def test_parts_and_halo_of_a_large_candidate_fit_together(tmp_path):
    # larger than the 64 px in the middle of a window
    large = (20, 10, 100, 110)
    items = items_of(tmp_path, {2019: large})
    row = build(tmp_path, items, [rectangle(*large)], (2019,)).iloc[0]
    assert row["outline"].symmetric_difference(rectangle(*large)).area < 100
    assert row["area_m2"] == pytest.approx(80 * 100 * 9, rel=0.01)


def test_without_a_dem_growth_is_known_and_retreat_is_not(tmp_path):
    table = build(tmp_path, items_of(tmp_path, NORTHWARDS), [rectangle(*CANDIDATE)], YEARS, margin_m=60.0)
    told = change(tmp_path).loc["r01-0001"]
    assert told["growth_m2_yr"] == pytest.approx(576, rel=0.01)
    assert told[["retreat_m_yr", "retreat_error_m_yr", "uphill_deg"]].isna().all()
    assert told["reason"] == "no retreat: no DEM is configured (attributes.dem)"
    assert table["headwall_m"].isna().all()


def test_all_that_is_missing_is_said(tmp_path):
    three = {year: slump for year, slump in NORTHWARDS.items() if year > 2017}
    build(tmp_path, items_of(tmp_path, three), [rectangle(*CANDIDATE)], YEARS, margin_m=60.0)
    told = change(tmp_path).loc["r01-0001"]
    assert told[["retreat_m_yr", "growth_low_m2_yr"]].isna().all()
    assert told["reason"] == "no retreat: no DEM is configured (attributes.dem); the growth of 3 years has no interval"


def test_candidates_that_last_are_asked_first(tmp_path):
    east = {year: s and (s[0], s[1] + 35, s[2], s[3] + 35) for year, s in NORTHWARDS.items()}
    scenes = [meadow(*filter(None, [NORTHWARDS[y], east[2019] if y == 2018 else None])) for y in YEARS]
    items = [write_item(tmp_path, str(y), f"{y}-08-01T00:00:00Z", s) for y, s in zip(YEARS, scenes, strict=True)]
    build(tmp_path, items, [rectangle(*east[2019]), rectangle(*CANDIDATE)], YEARS, margin_m=60.0)
    told = change(tmp_path)
    assert told["two_years"].tolist() == told["monotone_growth"].tolist() == [False, True]
    assert told["rank"].tolist() == [2, 1]
    # both have 0.8: odds of 4, times 6.73 and 0.171
    assert told["score"].tolist() == pytest.approx([0.407, 0.964], abs=0.002)


@pytest.mark.parametrize(
    ("seen", "first", "absent", "two"),
    [
        ([True, True, True], 2016, None, True),
        ([False, True, True], 2017, 2016, True),
        ([False, None, True], 2018, 2016, None),
        ([False, True, False], 2017, 2016, False),
        ([False, False, True], 2018, 2017, None),
        ([False, False, False], None, None, False),
        ([None, None, None], None, None, None),
        ([None, False, None], None, None, None),
        ([False, None, False], None, None, False),
        ([False, False, None], None, None, None),
        ([True, None, False], 2016, None, None),
        ([True, False, True], 2016, None, None),
        ([], None, None, None),
    ],
)
def test_first_year_and_two_years(seen, first, absent, two):
    years = [2016, 2017, 2018][: len(seen)]
    assert first_visible(years, seen) == (first, absent)
    assert two_years(years, seen) is two
    # years that aren't asked for are not known either
    assert two_years([2012, 2014, 2018][: len(seen)], seen) is (False if seen and set(seen) == {False} else None)


@given(st.dictionaries(st.integers(2014, 2019), st.sampled_from([True, False, None]), min_size=1, max_size=4))
def test_two_years_is_told_where_no_unknown_year_could_change_it(asked):
    years = sorted(asked)
    open_years = sorted({y for year in years for y in (year - 1, year, year + 1) if asked.get(y) is None})
    possible = set()
    for guess in product([True, False], repeat=len(open_years)):
        there = asked | dict(zip(open_years, guess, strict=True))
        possible.add(any(there[year] and (there[year - 1] or there[year + 1]) for year in years))
    assert two_years(years, [asked[year] for year in years]) is (possible.pop() if len(possible) == 1 else None)


def test_monotone_growth_allows_a_tenth_of_the_union():
    small, large = box(0, 0, 10, 89), box(0, 0, 10, 100)
    assert monotone_growth([None, small, large]) is True
    assert monotone_growth([large, small]) is False
    assert monotone_growth([large, box(0, 0, 10, 91)]) is True
    assert monotone_growth([large, None]) is False
    assert monotone_growth([large]) is monotone_growth([None, None]) is monotone_growth([]) is None


@settings(deadline=None)  # the first call imports scipy
@given(st.integers(4, 9), st.floats(-5000, 5000), st.floats(0, 1e6), st.integers(0, 2**32 - 1))
def test_growth_is_the_slope_and_one_bad_year_moves_it_little(n, slope, start, seed):
    at = np.sort(np.random.default_rng(seed).uniform(0, 0.3, n)) + np.arange(n)
    areas = start + slope * at
    rate, low, high = growth(at, areas)
    assert (rate, low, high) == pytest.approx((slope,) * 3, rel=1e-6, abs=1e-4)
    noise = np.random.default_rng(seed).uniform(-100, 100, n)
    rate, low, high = growth(at, areas + noise)
    assert low <= rate <= high
    assert abs(rate - slope) < 300


def test_growth_interval_covers_as_often_as_it_says():
    random, hits = np.random.default_rng(0), []
    for _ in range(400):
        at = np.arange(5) + random.uniform(-0.05, 0.05, 5)
        _, low, high = growth(at, 700 * at + random.normal(0, 300, 5))
        hits.append(low <= 700 <= high)
    assert 0.95 <= np.mean(hits) <= 1
    assert np.isnan(growth(np.arange(3.0), np.arange(3.0))[1:]).all()
    assert np.isnan(growth(np.arange(1.0), np.arange(1.0))).all()


@given(st.floats(0, 2 * np.pi), st.floats(-30, 30))
def test_headwall_moves_by_what_it_moved_in_any_direction(uphill, moved):
    outline = box(-40, -60, 40, 60).buffer(8)
    turned = affinity.rotate(outline, -np.degrees(uphill), origin=(0, 0))
    shift = moved * np.sin(uphill), moved * np.cos(uphill)
    there = affinity.translate(turned, *shift)
    assert headwalls([turned, there], turned, uphill, 3.0) == pytest.approx([0, moved], abs=1e-6)
    beside = affinity.translate(turned, 500 * np.cos(uphill), -500 * np.sin(uphill))
    assert np.isnan(headwalls([turned, beside], turned, uphill, 3.0)).all()


def test_retreat_weighs_images_by_how_well_they_lie():
    at, walls = np.arange(4.0), np.array([0.0, 10.0, 20.0, 60.0])
    rate, error = retreat(at, walls, np.array([1.5, 1.5, 1.5, 1e6]))
    assert (rate, error) == pytest.approx((10, 1.96 * 1.5 / 2**0.5))
    assert np.isnan(retreat(at[:1], walls[:1], np.ones(1))).all()


def test_retreat_error_is_that_of_misplaced_images():
    random, errors = np.random.default_rng(0), np.array([1.5, 1.5, 3.0, 7.0, 1.5])
    found = [retreat(np.arange(5.0), 8 * np.arange(5.0) + random.normal(0, errors), errors) for _ in range(2000)]
    rates, halves = np.array(found).T
    assert np.mean(abs(rates - 8) <= halves) == pytest.approx(0.95, abs=0.02)


def test_chance_with_the_years():
    chance = with_years(np.array([0.5, 0.5, 0.5, 0.0, 1.0]), np.array([1, 0, np.nan, 1, 0]))
    assert chance == pytest.approx([0.871, 0.146, 0.5, 0, 1], abs=1e-3)
    assert (pd.Series(with_years(np.linspace(0, 1, 9), np.ones(9))).diff().dropna() > 0).all()


@pytest.mark.parametrize(
    ("monotone", "two", "score"),
    [(True, True, 0.871), (True, None, 0.5), (None, True, 0.5), (None, None, 0.5), (False, None, 0.146), (None, False, 0.146)],
)
def test_a_test_of_the_years_that_is_open_is_not_passed(monotone, two, score):
    candidate = pd.DataFrame({"candidate_id": ["r01-0001"], "prob_mean": [0.5], "known_m": [np.nan]})
    told = change_table([{"n_images": 0, "n_seen": 0, "monotone_growth": monotone, "two_years": two}], candidate)
    assert told["score"].tolist() == pytest.approx([score], abs=1e-3)


def test_the_ground_is_where_it_should_be():
    assert rectangle(0, 0, 1, 1).bounds == (WEST, NORTH - 3, WEST + 3, NORTH)
