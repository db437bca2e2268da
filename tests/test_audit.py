"""Stage audit: the frame of windows, its strata, and the sample."""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import box

from rts_pipeline.audit import COLUMNS, build_audit
from rts_pipeline.config import Audit
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.grid import Grid
from rts_pipeline.io import new_cog
from rts_pipeline.options import AuditOptions, parse_options
from rts_pipeline.sampling import FLAGGED, LEAST_SAMPLED, allocate, draw, read_sampled, strata

CRS = "EPSG:32646"
GRID = Grid(CRS, pixel_m=3.0, cell_px=64, block_cells=2)
BLOCKS = ("b_e1300_n10070", "b_e1301_n10070")
SIDE_M = 3.0 * 128
WINDOW_M = 3.0 * 32
WEST, SOUTH = 1300 * SIDE_M, 10070 * SIDE_M


def place(left, bottom, right, top):
    """A box in windows from the south-western corner of the first block."""
    return box(WEST + left * WINDOW_M, SOUTH + bottom * WINDOW_M, WEST + right * WINDOW_M, SOUTH + top * WINDOW_M)


class Case:
    """Two blocks of 4 x 4 windows: faint, unobserved in the two eastmost columns, with one outline and one slump."""

    def __init__(self, folder):
        self.folder = folder
        values = np.full((128, 256), 2, np.uint8)
        values[5, 70] = 100  # window 2 from the west in the northmost row
        values[:, 192:] = 255
        self.probabilities = []
        for number, name in enumerate(BLOCKS):
            block = GRID.block(name)
            self.probabilities.append(folder / f"{name}.tif")
            with new_cog(self.probabilities[-1], count=1, dtype="uint8", nodata=255, **block.profile) as dataset:
                dataset.write(values[:, number * 128 : (number + 1) * 128], 1)
        outline, slump = place(0.2, 0.2, 0.6, 0.6), place(0.9, 3.2, 1.0, 3.4)
        gpd.GeoDataFrame(geometry=[outline], crs=CRS).to_parquet(folder / "outlines.parquet")
        labels = gpd.GeoDataFrame({"kind": ["positive", "negative"]}, geometry=[slump, place(3, 3, 4, 4)], crs=CRS)
        labels.to_parquet(folder / "labels.parquet")
        gpd.GeoDataFrame(geometry=[place(0, 0, 8, 4)], crs=CRS).to_crs(4326).to_file(folder / "aoi.gpkg")

    def build(self, dem=None, probabilities=None, **audit):
        audit = {"windows": 12, "window_px": 32, "known_m": [200.0], **audit}
        text = json.dumps({"grid": {"crs": CRS, "cell_px": 64, "block_cells": 2}, "audit": audit})
        outs = self.folder / "audit.parquet", self.folder / "audit.json"
        inputs = [self.folder / name for name in ("outlines.parquet", "labels.parquet", "aoi.gpkg")]
        build_audit("02", probabilities or self.probabilities, *inputs, dem, *outs, parse_options(AuditOptions, text))
        return gpd.read_parquet(outs[0]), json.loads(outs[1].read_text())


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


def at(frame, left, bottom):
    """The window at that place."""
    return frame[frame.geometry.contains(shapely.centroid(place(left, bottom, left + 1, bottom + 1)))].iloc[0]


def test_the_frame_is_what_was_observed(case, capsys):
    frame, summary = case.build()
    assert list(frame.columns) == COLUMNS
    assert len(frame) == summary["windows"] == 24
    assert summary["unobserved"] == 8
    assert "8 of 32 windows were observed too little" in capsys.readouterr().err
    assert frame.geometry.union_all().equals(place(0, 0, 6, 4))
    assert set(frame["observed_share"]) == {1.0}
    assert frame.crs == CRS


def test_windows_are_described(case):
    frame, _ = case.build()
    assert at(frame, 2, 3)["prob_max"] == pytest.approx(100 / 250)
    assert at(frame, 3, 3)["prob_max"] == pytest.approx(2 / 250)
    assert sorted(frame.index[frame["flagged"]]) == sorted([at(frame, 0, 0).name, at(frame, 0, 3).name])
    assert set(frame.loc[frame["flagged"], "stratum"]) == {FLAGGED}
    assert at(frame, 0, 3)["known_m"] == pytest.approx(np.hypot(0.4, 0.1) * WINDOW_M)
    assert at(frame, 2, 3)["stratum"] == "probability 0.4 and above, small classes"


def test_only_windows_in_the_area_count(case):
    gpd.GeoDataFrame(geometry=[place(1, 1, 2.5, 2)], crs=CRS).to_file(case.folder / "aoi.gpkg")
    frame, _ = case.build()
    assert frame.geometry.union_all().equals(place(1, 1, 3, 2))


def test_a_sample_has_known_chances(case):
    frame, summary = case.build()
    for name, part in frame.groupby("stratum"):
        assert part["inclusion"].nunique() == 1
        assert part["inclusion"].iloc[0] == pytest.approx(part["sampled"].mean())
        assert {"stratum": name, "windows": len(part), "sampled": int(part["sampled"].sum())} in summary["strata"]
    sampled = frame[frame["sampled"]]
    assert summary["sampled"] == len(sampled) >= 12
    assert sorted(sampled["window_id"]) == [f"a02-{number:04d}" for number in range(1, len(sampled) + 1)]
    assert set(frame.loc[~frame["sampled"], "window_id"]) == {""}


def test_what_is_known_in_a_sampled_window_is_told(case):
    frame, _ = case.build()
    assert at(frame, 0, 3)["sampled"] and at(frame, 0, 3)["known"].equals(place(0.9, 3.2, 1.0, 3.4))
    assert at(frame, 0, 0)["sampled"] and at(frame, 0, 0)["known"] is None
    assert frame.loc[~frame["sampled"], "known"].isna().all()
    sampled = read_sampled(case.folder / "audit.parquet")
    assert list(sampled["candidate_id"]) == sorted(frame.loc[frame["sampled"], "window_id"])
    assert set(sampled["status"]) == {"window"}


def test_the_seed_decides_alone(case):
    first, _ = case.build()
    again, _ = case.build(probabilities=case.probabilities[::-1])
    other, _ = case.build(seed=1)
    pd.testing.assert_frame_equal(first, again)
    assert not first["sampled"].equals(other["sampled"])


def test_slope_makes_strata(case):
    dem = case.folder / "dem.tif"
    rows, columns = np.mgrid[:40, :60]
    elevation = (4500 + 6.0 * np.maximum(columns - 25, 0) * 30 / 30).astype("float32")
    transform = rasterio.Affine(30, 0, WEST - 300, 0, -30, SOUTH + SIDE_M + 300)
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "height": len(rows), "width": 60}
    with rasterio.open(dem, "w", crs=CRS, transform=transform, **profile) as dataset:
        dataset.write(elevation, 1)
    frame, _ = case.build(dem=dem)
    assert at(frame, 1, 1)["slope_deg"] == pytest.approx(0, abs=0.01)
    assert at(frame, 5, 1)["slope_deg"] == pytest.approx(np.degrees(np.arctan(0.2)), abs=0.1)


def test_windows_must_fit_into_cells(case):
    with pytest.raises(UsageError, match=r"audit\.window_px: 24 px.*divisor"):
        case.build(window_px=24)


def test_an_area_that_was_hardly_observed_is_told(case):
    gpd.GeoDataFrame(geometry=[place(6.1, 0, 8, 4)], crs=CRS).to_file(case.folder / "aoi.gpkg")
    with pytest.raises(InputError, match=r"audit\.windows: of 8 windows in the area none was observed for at least half"):
        case.build()


def test_a_raster_of_another_block_is_refused(case):
    wrong = case.folder / "b_e1305_n10070.tif"
    case.probabilities[0].rename(wrong)
    with pytest.raises(InputError, match="expected the pixels of block b_e1305_n10070"):
        case.build(probabilities=[wrong])


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(1, 500), st.floats(1e-3, 1)), min_size=1, max_size=8), st.integers(0, 800))
def test_allocation_gives_what_there_is(strata, n):
    sizes, rates = np.array([size for size, _ in strata]), np.array([rate for _, rate in strata])
    given_ = allocate(sizes, rates, n)
    least = np.minimum(sizes, LEAST_SAMPLED)
    assert (given_ >= least).all()
    assert (given_ <= sizes).all()
    assert given_.sum() == min(max(n, least.sum()), sizes.sum())


def test_every_window_of_a_stratum_has_the_same_chance():
    windows = pd.DataFrame({"column": np.arange(10), "row": 0, "prob_max": 0.1, "stratum": "a"})
    drawn = sum(draw(windows, 5, most=1.0, key=str(key))["sampled"].to_numpy(int) for key in range(200))
    assert drawn.sum() == 1000
    assert abs(drawn - 100).max() < 4 * np.sqrt(50)


def test_values_at_a_limit_belong_to_the_upper_class():
    values = {"flagged": False, "prob_max": [0.1, 0.4, 0.0], "slope_deg": [4.0, np.nan, 3.9], "known_m": [2000.0, 1.0, np.nan]}
    names = strata(pd.concat([pd.DataFrame(values)] * 16, ignore_index=True), Audit())
    assert names[:3].tolist() == [
        "probability 0.1 to 0.4, slope 4 and above, distance 2000 and above",
        "probability 0.4 and above, slope unknown, distance below 2000",
        "probability below 0.1, slope below 4, distance unknown",
    ]


def test_small_classes_of_a_probability_are_one_stratum():
    values = {"flagged": False, "prob_max": 0.0, "slope_deg": [1.0] * 16 + [9.0, np.nan], "known_m": 1.0}
    names = strata(pd.DataFrame(values), Audit())
    assert names.nunique() == 2
    assert names[16:].tolist() == ["probability below 0.1, small classes"] * 2
