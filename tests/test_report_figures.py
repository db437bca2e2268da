"""The report's figures of terrain and of years: what is drawn where, which slumps are shown, and the files beside the page."""

import re

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.dates import num2date
from PIL import Image
from pyproj import Transformer
from shapely import Point

from report_case import CRS, EAST, NORTH, Project, hill
from rts_pipeline.drawing import drawing
from rts_pipeline.errors import InputError
from rts_pipeline.report import agreement, figures, landscape, years
from rts_pipeline.report.map import Frame, decorate
from rts_pipeline.review.pictures import Pictures

N_SECTORS = 16
SAID = [("accept", "accept")] * 7 + [("reject", "reject")] * 3 + [("accept", "edit")] * 2 + [("unsure", "reject")]
"""What two people said of the candidates of a round."""
AXES = {
    "map": {"N", "observed", "not observed: unknown"},
    "clusters": {"N", "Slumps in 1 km²"},
    "growth": {"Round", "Slumps"},
    "decisions": {"Round", "Candidates and additions"},
    "agreement": {"First reviewer", "Other reviewer (candidates)", "accepted", "rejected", "unsure"},
    "time_line": {"Signed off (UTC)", "Slumps found by rounds"},
    "sizes": {"Area (ha)", "Slumps"},
    "elevation_mean_m": {"Mean elevation (m)", "Share (%)"},
    "slope_deg": {"Mean slope (degrees)", "Share (%)"},
    "reliability": {"Predicted probability", "Share that are slump", "Pixels"},
    "precision_recall": {"Recall", "Precision"},
    "aspect": {*("N", "NE", "E", "SE", "S", "SW", "W", "NW"), "slumps", "landscape"},
}


def written(svg):
    """The texts of a figure, which matplotlib notes beside the paths that it draws of them."""
    return set(re.findall(r"<!-- (.*?) -->", svg.decode()))


def sectors(*degrees):
    return landscape._by_sector(pd.Series(degrees, dtype=float), N_SECTORS)


@pytest.mark.parametrize(
    ("degrees", "sector"), [(0, 0), (11.2, 0), (348.8, 0), (359.9, 0), (360, 0), (11.3, 1), (348.7, 15), (90, 4), (180, 8)]
)
def test_the_sector_of_north_lies_on_both_sides_of_it(degrees, sector):
    assert np.flatnonzero(sectors(degrees)).tolist() == [sector]


@given(st.lists(st.floats(0, 360), min_size=1, max_size=50))
def test_every_aspect_is_in_one_sector(degrees):
    assert sectors(*degrees).sum() == pytest.approx(100)


def test_slumps_without_an_aspect_are_in_no_sector():
    assert sectors(np.nan, 0, 180)[[0, 8]].tolist() == [50, 50]
    assert sectors(np.nan).sum() == 0


def slumps(**columns):
    n = len(next(iter(columns.values())))
    values = {"rts_id": range(1, n + 1), "possibility": 1.0, "agreement": np.nan, "prob_mean": np.nan, **columns}
    return gpd.GeoDataFrame(values, geometry=[Point(EAST, NORTH).buffer(10)] * n, crs=CRS)


def test_the_largest_come_first_and_equal_ones_by_their_number():
    frame = slumps(area_m2=[5.0, 9.0, 9.0, *[1.0] * 12])
    assert years.largest(frame)["rts_id"].tolist() == [2, 3, 1, *range(4, 11)]


def test_the_least_certain_are_those_that_people_then_the_model_doubt_most():
    frame = slumps(
        possibility=[1.0, 0.5, np.nan, 0.5, 0.5], agreement=[np.nan, 1.0, 0.1, 0.4, 0.4], prob_mean=[0.1, 0.9, 0.1, 0.8, 0.7]
    )
    assert years.least_certain(frame)["rts_id"].tolist() == [5, 4, 2, 1, 3], "what nobody said counts as sure"


def test_growth_is_of_the_slumps_that_every_year_shows():
    areas = pd.DataFrame({2017: [1e4, 5e4, 2e4], 2018: [2e4, np.nan, 2e4], 2019: [3e4, 9e4, 2e4]}, index=[1, 2, 3])
    _, number = years.growth(areas)
    assert number == 2
    assert years.growth(areas.loc[[2]]) is None, "its middle year is a gap"
    assert years.growth(areas[[2017]]) is None, "one year is no growth"
    assert years.growth(pd.DataFrame()) is None


def test_growth_says_what_it_is_in():
    told, _ = years.growth(pd.DataFrame({2018: [2e4], 2019: [3e4]}, index=[1]))
    assert {"Year", "Area (ha)", "2018", "2019", "3.0"} <= written(figures.files(told)["svg"])


def test_who_said_what_is_drawn_from_slump_to_no_slump_over_all_rounds(tmp_path):
    project = Project(tmp_path, columns=2, n_seeds=0, new_by_round=(1, 0, 0))
    project.judged_twice("01", SAID)
    project.judged_twice("02", [("accept", "reject")])
    found = agreement.agreements(project.reviews, ["01", "02", "03"])
    assert [(one["round"], one["all"]["n"]) for one in found] == [("01", 13), ("02", 1)], "nobody judged the third"
    (axes,) = agreement.draw(found)["agreement"].figure.axes
    assert [text.get_text() for text in axes.texts] == [*"7201", *"0000", *"0001", *"0003"]
    assert agreement.draw([]) == {}


@pytest.mark.parametrize("days", [["2024-05-04T10:00:00Z"], ["2024-05-04T10:00:00Z", "2024-05-04T16:00:00Z"]])
def test_the_time_line_shows_no_years_around_a_day(days):
    rounds = pd.DataFrame({"round": [f"{k:02d}" for k in range(1, len(days) + 1)], "at": days, "n_new": 5})
    told = figures.time_line(rounds)
    (axes,) = told.figure.axes
    first, last = (pd.Timestamp(num2date(end)) for end in axes.get_xlim())
    assert first < pd.Timestamp(days[0]) < last < first + pd.Timedelta(days=7)
    assert {"01", "Signed off (UTC)"} <= written(figures.files(told)["svg"])


class Chips:
    """One candidate with a chip of one year; the other year has none."""

    def __init__(self, folder):
        self.path = folder / "chip.webp"
        Image.new("RGB", (64, 64), (90, 80, 70)).save(self.path, "webp", lossless=True)

    def chips(self, round, candidate):
        told = [(2018, None, "no usable image"), (2019, "2019-07-15T04:00:00Z", "")]
        there = (round, candidate) in {("01", "r01-0001"), ("01", "seed-00002")}
        return [{"year": year, "acquired": at, "reason": why} for year, at, why in told] if there else []

    def file(self, round, candidate, year, kind):
        return self.path if year == 2019 else None

    def index_file(self, round):
        return self.path

    def ground(self, round, candidate):
        return [EAST - 50, NORTH - 50, EAST + 110, NORTH + 110]

    def numbers(self, round, candidate):
        return [{"year": 2018, "area_m2": None}, {"year": 2019, "area_m2": 120.0}]


def test_a_strip_of_one_chip_tells_why_the_other_year_has_none(tmp_path):
    names = ["seed-00001+r01-0001", "r01-0002", "seed-00002"]
    frame = slumps(area_m2=[1.0, 2.0, 3.0], delineation_id=names)
    seen = years.Years(Chips(tmp_path), ["01", "02"])
    found, nothing, seed = seen.strips(frame)
    assert seed["years"] == found["years"], "what was known at the start is shown as well"
    assert [year["year"] for year in found["years"]] == [2018, 2019]
    assert found["years"][0]["picture"] is None
    assert found["years"][0]["reason"] == "no usable image"
    assert found["years"][1]["picture"].startswith("data:image/webp;base64,")
    assert found["years"][1]["acquired"] == "2019-07-15"
    assert nothing["years"] == []
    areas = seen.areas(frame)
    assert areas.index.tolist() == [1, 3]
    assert areas.loc[1].isna().tolist() == [True, False]
    chip = tmp_path / "chip.webp"
    chip.write_bytes(chip.read_bytes()[:20])
    with pytest.raises(InputError, match=r"chip\.webp: can't be read"):
        seen.strips(frame)
    chip.unlink()
    with pytest.raises(InputError, match=r"chip\.webp: can't be read .*No such file"):
        seen.strips(frame)


def test_evidence_without_its_table_is_not_taken_for_none(tmp_path):
    pictures = Pictures(tmp_path, tmp_path / "reviews", CRS)
    assert pictures.chips("01", "r01-0001") == []
    folder = tmp_path / "rounds/02/evidence"
    folder.mkdir(parents=True)
    with pytest.raises(InputError, match=rf"{folder / 'evidence.parquet'}: no such file"):
        pictures.chips("02", "r02-0001")


def test_every_figure_is_a_file_beside_the_page(tmp_path):
    project = Project(tmp_path, columns=2, n_seeds=3, new_by_round=(2,), dem=hill(tmp_path / "dem.tif")).measure()
    project.judged_twice("01", SAID)
    page = project.report()
    folder = project.folder / "figures"
    drawn = AXES.keys()
    assert {path.name for path in folder.iterdir()} == {f"{name}.{ending}" for name in drawn for ending in ("svg", "png")}
    assert len(re.findall(r'<figure>\s*<(?:div[^>]*><)?img src="data:image/(?:svg|png)', page)) == len(drawn)
    for name in drawn:
        with Image.open(folder / f"{name}.png") as image:
            image.load()
            assert min(image.size) > 700, name
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1), name
    # each says along its axes what is drawn, and in what
    words = {name: written((folder / f"{name}.svg").read_bytes()) for name in drawn}
    assert {name: AXES[name] - words[name] for name in drawn} == {name: set() for name in drawn}


@pytest.mark.parametrize(
    ("crs", "longitude", "labels"),
    [
        ("EPSG:32646", 93.0, ["92.5°E", "93.0°E", "93.5°E"]),
        ("EPSG:32631", 0.0, ["0.5°W", "0.0°E", "0.5°E"]),
        ("EPSG:32601", -179.9, ["179.5°E", "180.0°", "179.5°W", "179.0°W"]),
        ("EPSG:32660", 179.9, ["179.0°E", "179.5°E", "180.0°", "179.5°W"]),
        # the frame's corners reach across, its middle doesn't
        ("EPSG:32660", 179.2, ["178.5°E", "179.0°E", "179.5°E", "180.0°"]),
    ],
)
def test_longitudes_go_on_across_180_degrees(crs, longitude, labels):
    degrees = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    x, y = degrees.transform(longitude, 68.0)
    frame = Frame.around([x - 35_000, y - 35_000, x + 35_000, y + 35_000], crs)
    with drawing(6, 6, shape_fixed=True) as (_, axes):
        decorate(axes, frame)
        told = {label.get_text(): place for place, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)}
    assert list(told) == labels
    for label, place in told.items():
        value = float(label.partition("°")[0]) * (-1 if label.endswith("W") else 1)
        there, _ = degrees.transform(place, frame.south, direction="INVERSE")
        assert np.cos(np.radians(value - there)) == pytest.approx(1, abs=1e-9)
