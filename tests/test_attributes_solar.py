"""Potential solar radiation: against the integrals and the sky-view factors that are known, and over ground in files."""

import geopandas as gpd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from shapely import Point, box

from attributes_case import attributes, write_dem
from rts_pipeline.inventory import sun
from rts_pipeline.inventory.dem import opened
from rts_pipeline.inventory.solar import horizon, read_levels, solar_radiation

X, Y = 500_010.0, 3_870_000.0
FLAT, OPEN = np.zeros((2, 1)), np.zeros((sun.DIRECTIONS, 1))


def north_of(latitude):
    return Transformer.from_crs("EPSG:4326", "EPSG:32646", always_xy=True).transform(93.0, latitude)[1]


def wide_dem(path, function, y=Y):
    """A DEM of 9 km around the place, of 30 m pixels of which one's centre is the place."""
    return write_dem(path, function, shape=(301, 301), origin=(X - 150.5 * 30, y + 150.5 * 30))


def extraterrestrial(latitude, tilt):
    """Return the kWh m-2 of a year outside the atmosphere, day by day, on a plane tilted (degrees) towards the equator.

    Duffie & Beckman, Solar Engineering of Thermal Processes: equation 1.10.3 for the plain, the numerator of 2.19.3 for the
    plane, which the sun leaves at sunset or, if that is earlier, when it stands in the plane.
    """
    phi, day = np.radians([latitude, latitude - np.sign(latitude) * tilt])[:, None], np.arange(1, 366)
    declination = np.radians(23.45) * np.sin(2 * np.pi * (284 + day) / 365)
    leaves = np.arccos(np.clip(-np.tan(phi) * np.tan(declination), -1, 1)).min(axis=0)
    part = np.cos(phi[1]) * np.cos(declination) * np.sin(leaves) + leaves * np.sin(phi[1]) * np.sin(declination)
    return (24 / np.pi * 1.361 * (1 + 0.033 * np.cos(2 * np.pi * day / 365)) * part).sum()


@pytest.mark.parametrize("latitude", [-20.0, 35.0, 68.0])
@pytest.mark.parametrize("tilt", [0.0, 15.0, -15.0])
def test_a_plane_gets_the_extraterrestrial_radiation_times_the_transmittance(latitude, tilt):
    positions = sun.sun_of_year(latitude)
    gradient = np.array([[0.0], [np.sign(latitude) * np.tan(np.radians(tilt))]])
    got = sun.direct(positions, 0.7 * positions.energy, gradient, OPEN)
    assert got[0] == pytest.approx(0.7 * extraterrestrial(latitude, tilt), rel=3e-3)


def test_a_slope_to_the_equator_gets_more_than_a_plain_and_one_to_the_pole_less():
    slopes = np.array([[0.0, 0.0, 0.0], [0.3, 0.0, -0.3]])
    equator, plain, pole = sun.potential_radiation(sun.sun_of_year(35.0), 4800.0, slopes, np.repeat(OPEN, 3, axis=1))
    assert equator > plain > pole


def test_thinner_air_lets_more_through():
    low, high = (sun.beam_transmittance(np.array([1.0, 0.1]), elevation) for elevation in (0.0, 4800.0))
    # the sun overhead at sea level: an air mass of 1
    assert low[0] == pytest.approx(0.56 * (np.exp(-0.65) + np.exp(-0.095)), rel=2e-3)
    assert (high > low).all()
    assert low[1] < low[0]


@given(st.floats(0, 1.2), st.floats(0, 2 * np.pi))
def test_an_open_slope_sees_its_part_of_the_sky(tilt, turned):
    gradient = np.tan(tilt) * np.array([[np.sin(turned)], [np.cos(turned)]])
    assert sun.sky_view(gradient, OPEN)[0] == pytest.approx((1 + np.cos(tilt)) / 2, abs=2e-3)


@given(st.floats(0, 1.4))
def test_the_bottom_of_a_valley_and_of_a_pit_see_less_sky(angle):
    east, _ = sun.directions()
    valley = np.tan(angle) * np.abs(east)[:, None]
    pit = np.full((sun.DIRECTIONS, 1), np.tan(angle))
    assert sun.sky_view(FLAT, valley)[0] == pytest.approx(np.cos(angle), abs=5e-3)
    assert sun.sky_view(FLAT, pit)[0] == pytest.approx(np.cos(angle) ** 2, abs=1e-9)


def test_a_wall_hides_the_sun_when_it_stands_lower():
    positions = sun.sun_of_year(35.0)
    wall = np.full((sun.DIRECTIONS, 1), np.tan(np.radians(30.0)))
    higher = positions.up > np.sin(np.radians(30.0))
    expected = (positions.energy * positions.up)[higher].sum()
    assert sun.direct(positions, positions.energy, FLAT, wall)[0] == pytest.approx(expected)


def levels_at(dem, x=X, y=Y):
    place = gpd.GeoSeries([Point(x, y).buffer(40)], crs="EPSG:32646")
    with opened(dem, place) as source:
        return read_levels(source, place.total_bounds)


def test_the_horizon_of_a_valley_is_found_in_the_dem(tmp_path):
    rise = np.tan(np.radians(17.0))
    dem = wide_dem(tmp_path / "dem.tif", lambda x, y: 4500 + rise * np.abs(x - X))
    skyline = horizon(levels_at(dem), np.array([X]), np.array([Y]), np.array([4500.0]))
    east, _ = sun.directions()
    assert skyline[:, 0] == pytest.approx(rise * np.abs(east), abs=0.01)
    assert sun.sky_view(FLAT, skyline)[0] == pytest.approx(np.cos(np.radians(17.0)), abs=1e-3)


@pytest.mark.parametrize(("metres", "height"), [(300, 60.0), (1500, 400.0), (3900, 900.0)])
def test_a_far_wall_stands_as_high_as_its_distance_says(tmp_path, metres, height):
    dem = wide_dem(tmp_path / "dem.tif", lambda x, y: 4500 + height * (y < Y - metres + 1))
    skyline = horizon(levels_at(dem), np.array([X]), np.array([Y]), np.array([4500.0]))
    _, north = sun.directions()
    south, away = np.argmin(north), north > -0.1
    # its edge is known to a pixel, and pixels are a sixteenth of the distance at most
    assert 0.98 * height / metres / (1 + 1 / 16) < skyline[south, 0] < 1.02 * height / metres
    assert (skyline[away] == 0).all()


@pytest.mark.parametrize(("metres", "seen"), [(17_000, True), (22_000, False), (28_000, False)])
def test_the_horizon_ends_where_the_dictionary_says(tmp_path, metres, seen):
    """The last pixels of a 30 m DEM would reach to 30.7 km."""
    step, side = 30.0, 2101
    origin = (X - (side // 2 + 0.5) * step, Y + (side // 2 + 0.5) * step)
    dem = write_dem(
        tmp_path / "dem.tif", lambda x, y: 4500 + 2000.0 * (y < Y - metres + 1), pixel=step, shape=(side, side), origin=origin
    )
    skyline = horizon(levels_at(dem), np.array([X]), np.array([Y]), np.array([4500.0]))
    assert (skyline[np.argmin(sun.directions()[1]), 0] > 0) == seen


def test_far_ground_lies_behind_the_curve_of_the_earth(tmp_path):
    """At 15 km the Earth has fallen by 17.7 m."""
    step = 300.0
    shape, origin = (121, 121), (X - 60.5 * step, Y + 60.5 * step)
    dem = write_dem(tmp_path / "dem.tif", lambda x, y: 4500 + 17.0 * (y < Y - 15_000), pixel=step, shape=shape, origin=origin)
    assert (horizon(levels_at(dem), np.array([X]), np.array([Y]), np.array([4500.0])) == 0).all()


def test_slumps_get_more_sun_the_less_they_face_north(tmp_path):
    y = north_of(35.0)
    roof = wide_dem(tmp_path / "dem.tif", lambda x, north: 4800 - 0.15 * np.abs(north - y), y=y)
    outlines = [Point(X, y + offset).buffer(90) for offset in (1500, -1500)]
    slumps = attributes(tmp_path, outlines, dem=roof)
    slope = np.array([[0.0, 0.0], [-0.15, 0.15]])
    expected = sun.potential_radiation(sun.sun_of_year(35.0), 4575.0, slope, np.repeat(OPEN, 2, axis=1))
    assert slumps["solar_kwh_m2_yr"].to_numpy() == pytest.approx(expected, rel=2e-3)
    assert expected[0] < 0.92 * expected[1]


def test_a_projection_that_is_turned_changes_no_sun(tmp_path):
    """South of a slump at 150 degrees west lies, in EPSG:3413, to the upper right: its grid north is 105 degrees off."""
    to_polar = Transformer.from_crs("EPSG:4326", "EPSG:3413", always_xy=True)
    to_degrees = Transformer.from_crs("EPSG:3413", "EPSG:4326", always_xy=True).transform
    x, y = to_polar.transform(-150.0, 68.0)

    def falls_south(east, north):
        return 500 + 111_500 * 0.2 * (to_degrees(east, north)[1] - 68.0)

    dem = write_dem(tmp_path / "dem.tif", falls_south, "EPSG:3413", shape=(120, 120), origin=(x - 1800, y + 1800))
    place = gpd.GeoSeries([Point(x, y).buffer(100)], crs="EPSG:3413")
    expected = sun.potential_radiation(sun.sun_of_year(68.0), 500.0, np.array([[0.0], [0.2]]), OPEN)
    assert solar_radiation(place, dem)[0] == pytest.approx(expected[0], rel=0.01)


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 40))
def test_a_large_slump_costs_no_more_pixels_and_gets_the_same(tmp_path_factory, edge):
    """A plane has one value everywhere, whatever the pixels that it is worked out on."""
    dem = wide_dem(tmp_path_factory.mktemp("solar") / "dem.tif", lambda x, y: 4800 - 0.1 * (x - X))
    place = gpd.GeoSeries([box(X, Y, X + edge * 100, Y + 60)], crs="EPSG:32646")
    plane = sun.potential_radiation(sun.sun_of_year(34.97), 4800.0, np.array([[-0.1], [0.0]]), OPEN)
    assert solar_radiation(place, dem)[0] == pytest.approx(plane[0], rel=0.01)


def test_neighbours_and_the_order_of_slumps_change_nothing(tmp_path):
    """Outlines of a tile share what is read of the DEM; each has the value that it has alone, to the last digit."""
    dem = wide_dem(tmp_path / "dem.tif", lambda x, y: 4700 + 90 * np.sin(x / 400) * np.cos(y / 700))
    places = [Point(X + 37 * number, Y - 700 * number).buffer(40 + 20 * abs(number)) for number in range(-4, 5)]
    together = solar_radiation(gpd.GeoSeries(places, crs="EPSG:32646"), dem)
    turned = solar_radiation(gpd.GeoSeries(places[::-1], crs="EPSG:32646"), dem)
    alone = [solar_radiation(gpd.GeoSeries([place], crs="EPSG:32646"), dem)[0] for place in places]
    assert together.tolist() == turned[::-1].tolist() == alone
    assert np.ptp(together) > 10


def test_nothing_is_known_beside_the_dem(tmp_path):
    dem = write_dem(tmp_path / "dem.tif", lambda x, y: 0 * x + 4800)
    places = gpd.GeoSeries([Point(X + 500_000, Y).buffer(50)], crs="EPSG:32646")
    assert np.isnan(solar_radiation(places, dem)).all()
    assert len(solar_radiation(places[:0], dem)) == 0
