import os

import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize
from scipy import ndimage

from rts_pipeline.candidates import merge_outlines
from rts_pipeline.components import fill_holes, find, merge
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.grid import GeoBox
from rts_pipeline.necks import cut_necks
from rts_pipeline.omitted import Omitted
from test_candidates import CRS, GRID, ORIGIN, build, place, raster, sha256, write_blocks

SIZE = 60
BOX = GeoBox("region", CRS, 3.0, *ORIGIN, SIZE, SIZE)
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE] + 0.5
NECK_M = 9.0


def disc(y, x, radius):
    return np.hypot(ROWS - y, COLUMNS - x) < radius


def bar(y, x0, x1, width):
    """A bar from west to east of that many pixels, whose upper edge is at y."""
    return (y < ROWS) & (y + width > ROWS) & (x0 < COLUMNS) & (x1 > COLUMNS)


def values_of(mask, seed=0):
    return np.where(mask, np.random.default_rng(seed).integers(125, 251, mask.shape), 20).astype(np.uint8)


def reading(values):
    return lambda box: values[BOX.slices_of(box)]


def cut(values, neck_m=NECK_M, hole_m2=0.0):
    """Return the outlines of a raster and the part that each pixel is in, 0: none."""
    pieces = merge([find(BOX, values, 125)])
    filled, _, _ = fill_holes(pieces.geometry, hole_m2 / 9)
    parts, origin = cut_necks(pieces, filled, neck_m / 3, BOX, reading(values))
    return parts, origin, labelled(parts.geometry)


def labelled(outlines):
    """Number the pixels by the outline that they lie in, in global pixel indices."""
    where = rasterio.Affine.translation(BOX.column, BOX.row)
    numbered = [(outline, number) for number, outline in enumerate(outlines, 1)]
    return rasterize(numbered, BOX.shape, transform=where, dtype="int32") if numbered else np.zeros(BOX.shape, np.int32)


DUMBBELL = disc(30, 15, 10) | disc(30, 45, 9) | bar(29, 15, 45, 2)


@pytest.mark.parametrize(
    ("name", "mask", "n"),
    [
        ("dumbbell", DUMBBELL, 2),
        ("its neck as wide as may be", disc(30, 15, 10) | disc(30, 45, 9) | bar(29, 15, 45, 3), 2),
        ("its neck a pixel wider", disc(30, 15, 10) | disc(30, 45, 9) | bar(28, 15, 45, 4), 1),
        ("only a corner", disc(20, 20, 9) | disc(37, 37, 15) & ~disc(20, 20, 9.7) | disc(26.5, 26.5, 0.9), 2),
        ("three in a row", disc(30, 9, 8) | disc(30, 30, 8) | disc(30, 51, 8) | bar(29, 9, 51, 2), 3),
        ("a disc", disc(30, 30, 20), 1),
        ("a ring, thin", disc(30, 30, 20) & ~disc(30, 30, 18), 1),
        ("a ring, wide", disc(30, 30, 25) & ~disc(30, 30, 10), 1),
        ("an L, thin", bar(10, 10, 50, 3) | bar(10, 10, 13, 40), 1),
        ("an L, wide", bar(10, 10, 50, 12) | bar(10, 10, 22, 40), 1),
        ("a disc with a small bulge", disc(30, 25, 15) | disc(30, 44, 2.5) | bar(29, 30, 45, 2), 1),
        ("a disc with a tail", disc(30, 20, 12) | bar(29, 20, 58, 3), 1),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_only_necks_are_cut(name, mask, n, turned):
    values = values_of(mask.T if turned else mask)
    parts, _, _ = cut(values)
    assert len(parts.geometry) == n, name
    assert len(cut(values, 0.0)[0].geometry) == 1
    assert shapely.is_valid(parts.geometry).all()


def test_the_cut_is_a_line_across_the_neck():
    parts, origin, labels = cut(values_of(DUMBBELL))
    lost = DUMBBELL & (labels == 0)
    assert lost.sum() == 2 == np.ptp(np.nonzero(lost)[0]) + 1
    assert set(np.nonzero(lost)[1].tolist()) <= set(range(25, 36))
    assert labels[30, 15] != labels[30, 45]
    assert origin.tolist() == [0, 0]
    assert sorted(parts.n_px) == sorted(np.bincount(labels.ravel())[1:])


def test_slumps_six_metres_apart_are_never_one():
    mask = disc(30, 15, 10) | disc(30, 37, 10)
    assert not mask[:, 25:27].any() and mask[30, 24] and mask[30, 27]
    for neck_m in (0.0, 6.0, NECK_M, 30.0):
        assert len(cut(values_of(mask), neck_m)[0].geometry) == 2


def test_a_small_hole_makes_no_neck_and_its_pixels_dont_count():
    mask = disc(30, 30, 20) & ~(bar(12, 25, 35, 14) | bar(34, 25, 35, 14))
    values = values_of(mask)
    assert len(cut(values)[0].geometry) == 1
    narrow = mask & ~(bar(26, 29, 31, 3) | bar(31, 29, 31, 3))
    parts, _, labels = cut(values_of(narrow), hole_m2=5000.0)
    assert len(parts.geometry) == 1
    assert (labels > 0).sum() == disc(30, 30, 20).sum() > parts.n_px[0] == narrow.sum()


def field(seed, smooth):
    """A landscape of blobs, many of them joined."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(0, 1, (SIZE, SIZE)), smooth)
    return np.rint(250 / (1 + np.exp(-5 * noise / noise.std()))).astype(np.uint8)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 10_000), st.sampled_from([2.0, 3.0, 4.0]), st.sampled_from([6.0, 9.0, 15.0]), st.sampled_from([0.0, 300.0])
)
def test_parts_are_pixels_of_their_outline_with_their_own_statistics(seed, smooth, neck_m, hole_m2):
    values = field(seed, smooth)
    whole, _, before = cut(values, 0.0, hole_m2)
    parts, origin, after = cut(values, neck_m, hole_m2)
    assert (before[after > 0] > 0).all()
    for number, outline in enumerate(origin, 1):
        assert set(before[after == number]) == {outline + 1}
        inside = values[(after == number) & (values >= 125)]
        row = number - 1
        assert (parts.n_px[row], parts.value_sum[row], parts.value_max[row]) == (inside.size, inside.sum(), inside.max())
        assert parts.value_median[row] == np.median(inside)
    # parts are apart, and the ground between them is a line
    for number in range(1, len(origin) + 1):
        around = ndimage.binary_dilation(after == number, np.ones((3, 3)))
        siblings = [other + 1 for other in range(len(origin)) if origin[other] == origin[number - 1] and other + 1 != number]
        assert not np.isin(after[around], siblings).any()
    lost = (before > 0) & (after == 0)
    widened = ndimage.binary_dilation(after > 0, np.ones((3, 3)))
    assert (lost <= widened).all()
    n_cuts = len(origin) - len(whole.geometry)
    assert lost.any() == (n_cuts > 0)


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 10_000),
    st.lists(st.integers(1, SIZE - 1), max_size=4),
    st.lists(st.integers(1, SIZE - 1), max_size=4),
    st.sampled_from([6.0, 9.0, 15.0]),
)
def test_any_blocking_gives_the_same_parts(tmp_path_factory, seed, rows, columns, neck_m):
    values = field(seed, 3.0)
    kept = []
    for cuts in ((), ()), (rows, columns):
        folder = tmp_path_factory.mktemp("blocks")
        frame = merge_outlines(
            write_blocks(folder, values, *cuts), GRID, Omitted(GRID.crs, GRID.pixel_m), seed_threshold=0.7, min_area_m2=0.0,
            hole_m2=90.0, neck_m=neck_m, simplify_px=0.5, read=reading(values),
        )  # fmt: skip
        kept.append(pd.DataFrame(frame.drop(columns="geometry")).assign(wkb=frame.geometry.to_wkb()).reset_index(drop=True))
    pd.testing.assert_frame_equal(*kept)


def probability_files(folder, values):
    """Write the rasters of the blocks that the region lies in."""
    paths = []
    for cell in GRID.cells_touching(BOX.polygon.buffer(-1)):
        block = GRID.block(f"b_{cell}")
        whole, part = np.full(block.shape, 255, np.uint8), block.intersection(BOX)
        whole[block.slices_of(part)] = values[BOX.slices_of(part)]
        paths.append(folder / f"{block.id}.tif")
        profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": 255}
        with rasterio.open(paths[-1], "w", **profile, **block.profile) as dataset:
            dataset.write(whole, 1)
    return paths


def test_candidates_are_the_parts_measured_from_the_blocks_rasters(tmp_path):
    values = np.where(DUMBBELL, 0, raster())
    values[DUMBBELL & (COLUMNS < 30)] = 150
    values[DUMBBELL & (COLUMNS > 30)] = 250
    paths = probability_files(tmp_path, values)
    assert len(paths) > 1
    outlines, candidates, _ = build(tmp_path, values, neck_m=NECK_M, probabilities=paths)
    assert sorted(candidates.prob_mean.round(2)) == [0.6, 1.0]
    assert candidates.n_px.sum() in (DUMBBELL.sum() - 2, DUMBBELL.sum() - 1)
    assert candidates.base_sha256.tolist() == [sha256(geometry) for geometry in candidates.geometry]
    assert not outlines.geometry[0].intersects(outlines.geometry[1])
    # each part needs a seed of its own
    assert build(tmp_path, values, neck_m=NECK_M, probabilities=paths, seed_threshold=0.9)[0].prob_max.tolist() == [1.0]
    # of two slumps, one of which is known, the other is asked about
    labels = [("positive", (22, 7, 38, 23))]
    assert build(tmp_path, values, labels=labels)[0].status.tolist() == ["changed"]
    found = build(tmp_path, values, labels=labels, neck_m=NECK_M, probabilities=paths)[0]
    assert dict(zip(found.prob_max, found.status, strict=True)) == {0.6: "known", 1.0: "candidate"}
    assert place(22, 7, 38, 23).intersects(found.geometry[found.status == "known"].iloc[0])


def test_a_raster_that_is_missing_is_said(tmp_path):
    values = values_of(DUMBBELL)
    with pytest.raises(UsageError, match="--probability: doesn't give every block's raster"):
        build(tmp_path, values, neck_m=NECK_M)
    assert not (tmp_path / "candidates.parquet").exists()
    assert len(build(tmp_path, values)[0]) == 1
    paths = probability_files(tmp_path, values)
    for path in paths:
        os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(InputError, match=r"b_e.*\.tif: can't be read \(.*remove it and predict again"):
        build(tmp_path, values, neck_m=NECK_M, probabilities=paths)


def test_validation_judges_the_parts():
    from rts_pipeline.config import Shaping
    from rts_pipeline.validate.ground import Ground
    from rts_pipeline.validate.objects import objects, traced

    nothing = np.empty(0, dtype=object)
    values = values_of(DUMBBELL)
    ground = Ground(BOX, np.zeros(BOX.shape, np.uint8), nothing, np.empty(0), nothing, 1.0)
    pieces = traced(ground, values, 0.5)
    assert len(objects(pieces, ground, values, 0.0, Shaping()).whole) == 1
    found = objects(pieces, ground, values, 0.0, Shaping(neck_m=NECK_M))
    blocks = merge_outlines_of(values)
    assert sorted(found.whole, key=shapely.area) == sorted(blocks, key=shapely.area)
    assert sorted(found.top) == sorted(values[labelled_m(found.whole) == n].max() for n in (1, 2))


def merge_outlines_of(values):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as name:
        paths = write_blocks(Path(name), values)
        frame = merge_outlines(
            paths, GRID, Omitted(GRID.crs, GRID.pixel_m), seed_threshold=0.0, min_area_m2=0.0, hole_m2=0.0, neck_m=NECK_M,
            simplify_px=0.5, read=reading(values),
        )  # fmt: skip
    return list(frame.geometry)


def labelled_m(outlines):
    return rasterize([(outline, number) for number, outline in enumerate(outlines, 1)], BOX.shape, transform=BOX.transform)
