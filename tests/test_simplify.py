"""Outlines without staircases: what never happens to them, for any pixels, and what is gained."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from rasterio.features import rasterize

from rts_pipeline.components import fill_holes, find, merge
from rts_pipeline.grid import GeoBox
from rts_pipeline.polygonize import to_crs_units
from rts_pipeline.simplify import simplify

CRS = "EPSG:32646"
masks = arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, max_side=14))
tolerances = st.sampled_from([0.05, 0.25, 0.4, 0.5])


def outlines(mask, column=500_000, row=-1_200_000):
    box = GeoBox("x", CRS, 3.0, column, row, *mask.shape[::-1])
    return merge([find(box, np.where(mask, 250, 0).astype(np.uint8), 125)]).geometry


def rings(geometry):
    return len(shapely.get_rings(geometry))


@settings(deadline=None, max_examples=300)
@given(masks, tolerances, st.sampled_from([0, 3]))
def test_what_never_happens(mask, tolerance, hole_px):
    pixels, inside, _ = fill_holes(outlines(mask), hole_px)
    pixels = np.delete(pixels, inside)
    simple = simplify(pixels, tolerance)
    assert shapely.is_valid(simple).all()
    assert shapely.get_num_geometries(simple).tolist() == shapely.get_num_geometries(pixels).tolist()
    assert [rings(one) for one in simple] == [rings(one) for one in pixels]
    for before, after in zip(pixels, simple, strict=True):
        assert shapely.hausdorff_distance(before.boundary, after.boundary, densify=0.1) <= tolerance + 1e-6
    left, right = shapely.STRtree(simple).query(simple, predicate="intersects")
    assert (left == right).all(), "outlines that were apart touch"
    grid = GeoBox("x", CRS, 1.0, 500_000, -1_200_000, *mask.shape[::-1]).transform
    for one, other in zip(to_crs_units(simple, 1.0), to_crs_units(pixels, 1.0), strict=True):
        drawn = [rasterize([shape], out_shape=mask.shape, transform=grid) for shape in (one, other)]
        assert (drawn[0] == drawn[1]).all(), "a pixel changed its side"


@settings(deadline=None, max_examples=100)
@given(masks, tolerances, st.integers(0, 9))
def test_the_place_and_the_direction_change_nothing(mask, tolerance, shift):
    """The staircase of a mirrored raster is passed the other way round, from another corner."""
    here = simplify(outlines(mask), tolerance)
    mirrored = simplify(outlines(mask[:, ::-1], column=-500_000 - mask.shape[1]), tolerance)
    back = shapely.transform(mirrored, lambda xy: xy * [-1, 1])
    assert set(shapely.to_wkb(shapely.normalize(here))) == set(shapely.to_wkb(shapely.normalize(back)))


def test_no_tolerance_is_no_change():
    pixels = outlines(np.eye(5, dtype=bool))
    assert simplify(pixels, 0.0) is pixels
    assert len(simplify(np.empty(0, dtype=object), 0.5)) == 0


def test_vertices_are_where_the_outline_turns():
    square = simplify(outlines(np.ones((9, 9), bool)), 0.5)[0]
    assert shapely.get_num_coordinates(square) < 20
    assert square.area == pytest.approx(81, abs=1.5)


@pytest.mark.parametrize("radius", [10, 20, 60])
def test_a_rasterised_circle_is_round(radius):
    """The staircase of a circle is 4 / pi longer than it, at any pixel size; what is left of that is 2 %."""
    perimeters, areas = [], []
    for seed in range(8):
        x, y = np.random.default_rng(seed).random(2) + radius + 1
        rows, columns = np.mgrid[: 2 * radius + 4, : 2 * radius + 4] + 0.5
        pixels = outlines(np.hypot(rows - y, columns - x) < radius)
        simple = simplify(pixels, 0.5)[0]
        assert pixels[0].length / (2 * np.pi * radius) > 1.25
        circularity = [4 * np.pi * one.area / one.length**2 for one in (pixels[0], simple)]
        assert circularity[0] < 0.65 and circularity[1] > 0.94
        perimeters.append(simple.length / (2 * np.pi * radius))
        areas.append(simple.area / pixels[0].area)
    assert np.mean(perimeters) == pytest.approx(1, abs=0.025)
    assert np.mean(areas) == pytest.approx(1, abs=0.08 / radius)
