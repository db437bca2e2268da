"""`review consensus`: what several people drew freely, matched without ids."""

import itertools

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import MultiPolygon, Point, Polygon, box

from consensus_case import CRS, derive, drawn_by, rectangle, write
from real_data import REAL, real
from rts_pipeline.errors import UsageError
from rts_pipeline.review.consensus import build
from rts_pipeline.review.consensus.build import consensus
from rts_pipeline.review.consensus.drawings import read_drawings
from rts_pipeline.review.consensus.majority import agree, covered_by
from rts_pipeline.review.consensus.matching import match_people


def test_three_who_differ_in_place(tmp_path):
    found = derive(tmp_path, {name: [rectangle(10 * i, 0, 10 * i + 100, 100)] for i, name in enumerate("abc")})
    (slump,) = found.layers.consensus.to_dict("records")
    assert (slump["n_drew"], slump["n_looked"], slump["possibility"], slump["possibility_class"]) == (3, 3, 1.0, "Yes")
    assert slump["n_agree"] == 2
    # Two of three: the middle one. UTM's scale there makes 0.09 % of an area.
    assert slump["area_m2"] == pytest.approx(10_000, rel=2e-3)
    assert slump["inner_m2"] == pytest.approx(8_000, rel=2e-3)
    assert slump["outer_m2"] == pytest.approx(12_000, rel=2e-3)
    assert slump["area_cv"] == pytest.approx(0, abs=1e-3)
    # A third of the length is the consensus's own outline; both others lie 10 m off on two sides, one out and one in.
    assert slump["offset_median_m"] == pytest.approx(0, abs=0.01)
    assert slump["offset_p97_5_m"] == pytest.approx(10, abs=0.1)
    assert slump["offset_p2_5_m"] == pytest.approx(-10, abs=0.1)
    (band,) = found.layers.band.geometry
    assert band.area == pytest.approx(4_000, rel=2e-3)
    assert found.layers.drawn["iou"].tolist() == pytest.approx([9 / 11, 1, 9 / 11], abs=1e-3)


def test_what_most_drew_as_one_is_one(tmp_path):
    whole, halves = [rectangle(0, 0, 200, 100)], [rectangle(0, 0, 90, 100), rectangle(110, 0, 200, 100)]
    people = {"a": whole, "b": [rectangle(1, 1, 201, 101)], "c": [rectangle(-1, 0, 199, 99)], "d": halves}
    found = derive(tmp_path, people)
    assert drawn_by(found) == [4]
    drawn = found.layers.drawn.set_index("reviewer")
    assert drawn.loc["d", ["n_outlines", "features"]].tolist() == [2, "1, 2"]
    assert drawn.loc["d"].geometry.geom_type == "MultiPolygon"
    assert not drawn["covers_others"].any()


@pytest.mark.parametrize("n_lumpers", [1, 2])
def test_what_as_many_drew_apart_are_several(tmp_path, n_lumpers):
    people = {f"apart{i}": [rectangle(i, 0, 90, 100), rectangle(110, 0, 200 - i, 100)] for i in range(2)}
    people |= {f"whole{i}": [rectangle(-i, 0, 200 + i, 100 + i)] for i in range(n_lumpers)}
    found = derive(tmp_path, people)
    assert drawn_by(found) == [2 + n_lumpers] * 2
    drawn = found.layers.drawn
    assert drawn["covers_others"].tolist() == drawn["reviewer"].str.startswith("whole").tolist()
    # The one outline gives each slump what isn't the other's.
    assert (drawn["area_m2"] < 12_000).all()
    assert found.layers.consensus["area_m2"].to_numpy() == pytest.approx(9_000, rel=0.03)


def test_a_small_slump_beside_a_large_one_survives_one_who_lumps_them(tmp_path):
    large, small = rectangle(0, 0, 200, 200), rectangle(210, 0, 240, 30)
    people = {name: [shapely.affinity.translate(shape, i, i) for shape in (large, small)] for i, name in enumerate("abc")}
    found = derive(tmp_path, people | {"d": [rectangle(0, 0, 245, 200)]})
    assert drawn_by(found) == [4, 4]


def test_neighbours_that_overlap_between_people_stay_two(tmp_path):
    borders = {"a": (95, 95), "b": (100, 100), "c": (108, 108), "d": (101, 103)}
    people = {name: [rectangle(0, 0, x, 100), rectangle(y, 0, 200, 100)] for name, (x, y) in borders.items()}
    found = derive(tmp_path, people)
    assert drawn_by(found) == [4, 4]
    first, second = found.layers.consensus.geometry
    assert first.intersection(second).area < 0.01


def test_two_drawings_that_nobody_told_apart_are_one(tmp_path):
    # They share less than half of either, but the ground between is slump for all four.
    people = {name: [rectangle(0, i, 100, 100)] for i, name in enumerate("ab")}
    people |= {name: [rectangle(60, i, 160, 100)] for i, name in enumerate("cd")}
    assert drawn_by(derive(tmp_path, people)) == [4]


def test_a_slump_that_is_drawn_twice_by_one_person_counts_once(tmp_path):
    found = derive(tmp_path, {"a": [rectangle(0, 0, 100, 100), rectangle(2, 2, 99, 99)], "b": [rectangle(5, 0, 100, 100)]})
    assert drawn_by(found) == [2]
    assert found.layers.drawn["n_outlines"].tolist() == [2, 1]


def test_whoever_did_not_look_says_nothing(tmp_path):
    here, there = rectangle(0, 0, 100, 100), rectangle(2000, 0, 2100, 100)
    people = {"a": [here, there], "b": [shapely.affinity.translate(here, 3, 3)], "c": [shapely.affinity.translate(here, 1, 4)]}
    assert derive(tmp_path / "all", people).layers.consensus["share"].round(2).tolist() in ([1, 0.33], [0.33, 1])
    west, all_of_it = rectangle(-500, -500, 500, 500), rectangle(-500, -500, 3000, 500)
    looked = gpd.GeoDataFrame({"reviewer": ["a", "b", "c", "dan"]}, geometry=[all_of_it, west, all_of_it, west], crs=CRS)
    looked.to_file(tmp_path / "looked.gpkg")
    found = derive(tmp_path / "some", people, looked=tmp_path / "looked.gpkg")
    slumps = found.layers.consensus.sort_values("n_drew")
    # dan looked in the west and drew nothing: a no there, nothing in the east.
    assert slumps[["n_drew", "n_looked"]].to_numpy().tolist() == [[1, 2], [3, 4]]
    assert slumps["possibility"].tolist() == [0.5, 0.75]
    dan = found.statistics["reviewers"][-1]
    assert (dan["reviewer"], dan["n_slumps"], dan["n_found_of_most_others"], dan["n_of_most_others"]) == ("dan", 0, 0, 1)
    assert found.statistics["ground"]["looked_at_by_all_m2"] == pytest.approx(1e6, rel=2e-3)


def test_one_area_that_all_looked_at(tmp_path):
    gpd.GeoSeries([rectangle(0, 0, 1000, 100)], crs=CRS).to_file(tmp_path / "aoi.gpkg")
    people = {"a": [rectangle(0, 0, 200, 100)], "b": [rectangle(100, 0, 300, 100)]}
    found = derive(tmp_path / "x", people, looked=tmp_path / "aoi.gpkg").statistics
    # 10 % both, 10 % each alone, 70 % neither.
    assert found["ground"]["percent_agreement"]["value"] == pytest.approx(0.8, abs=1e-4)
    assert found["ground"]["fleiss_kappa"]["value"] == pytest.approx((0.8 - 0.68) / (1 - 0.68), abs=1e-3)
    (pair,) = found["outlines"]["pairs"]
    assert pair["reviewers"] == ["a", "b"]
    assert pair["iou"]["value"] == pytest.approx(1 / 3, abs=1e-4)
    assert (pair["f1_30"]["value"], pair["f1_50"]["value"]) == (1, 0)
    # One place is no sample.
    assert pair["iou"]["low"] is None
    assert derive(tmp_path / "y", people).statistics["ground"] is None


def test_holes_are_kept_and_crumbs_are_not(tmp_path):
    ring = rectangle(0, 0, 200, 200).difference(rectangle(80, 80, 120, 120))
    crumb = rectangle(300, 0, 312, 9)
    people = {name: [MultiPolygon([shapely.affinity.translate(ring, i, 0), crumb])] for i, name in enumerate("abc")}
    (outline,) = derive(tmp_path / "x", people, min_area_m2=150.0).layers.consensus.geometry
    assert len(outline.interiors) == 1
    assert shapely.area(Polygon(outline.interiors[0])) == pytest.approx(1600, rel=0.1)
    (outline,) = derive(tmp_path / "y", people, min_area_m2=0.0).layers.consensus.geometry
    assert shapely.get_num_geometries(outline) == 2


def test_what_is_too_small_is_left_out_and_named(tmp_path):
    people = {name: [rectangle(i, 0, 100, 100), rectangle(500, 500, 502, 502 + i)] for i, name in enumerate("ab", start=1)}
    found = derive(tmp_path, people)
    assert drawn_by(found) == [2]
    left = [(row["reviewer"], row["feature"]) for row in found.statistics["left_out"]]
    assert left == [("a", 2), ("b", 2)]
    with pytest.raises(UsageError, match="--min-area: all 4 outlines are smaller than 1e\\+06 m2"):
        derive(tmp_path, people, min_area_m2=1e6)


def test_alone_is_not_certain(tmp_path):
    files = write(tmp_path, {"a": [rectangle(0, 0, 100, 100)], "b": [rectangle(500, 0, 600, 100)]})
    found = consensus(files, tmp_path / "out.gpkg", min_area_m2=100)
    slumps = found.layers.consensus
    assert slumps["possibility"].tolist() == [0.5, 0.5]
    assert slumps[["area_cv", "offset_median_m", "distance_median_m"]].isna().all(axis=None)
    assert len(found.layers.band) == 0
    assert len(gpd.read_file(tmp_path / "out.gpkg", layer="band")) == 0
    assert found.statistics["presence"]["percent_agreement"]["value"] == 0


# Invariants, on squares of a coarse lattice: they touch, contain, equal and cross each other in every way.

squares = st.builds(lambda x, y, w, h: box(x, y, x + w, y + h), *([st.integers(0, 8)] * 2), *([st.integers(1, 5)] * 2))
drawings = st.lists(st.lists(squares, max_size=4), min_size=2, max_size=5).filter(any)


@settings(deadline=None, max_examples=60)
@given(st.lists(squares, min_size=1, max_size=6))
def test_each_square_metre_is_counted_as_often_as_it_was_drawn(shapes):
    regions = covered_by(shapes)
    assert sum(region.area for region in regions) == pytest.approx(sum(shape.area for shape in shapes))
    for x, y in itertools.product(np.arange(0.5, 13), repeat=2):
        count = sum(shape.contains(Point(x, y)) for shape in shapes)
        assert [region.contains(Point(x, y)) for region in regions] == [level <= count for level in range(1, len(shapes) + 1)]


@settings(deadline=None, max_examples=100)
@given(drawings)
def test_whatever_is_drawn_gives_slumps_apart(people):
    outlines = np.array([shape for shapes in people for shape in shapes], dtype=object)
    person = np.repeat(np.arange(len(people)), [len(shapes) for shapes in people])
    pieces = match_people(outlines, person)
    agreed = agree(pieces, 0.0)
    # Nothing that was drawn is lost.
    for found in (pieces, agreed.pieces):
        assert set(itertools.chain(*found.members)) == set(range(len(outlines)))
        assert len(set(zip(found.slump.tolist(), found.person.tolist(), strict=True))) == len(found.slump)
        assert all((person[list(members)] == who).all() for who, members in zip(found.person, found.members, strict=True))
        assert set(found.slump.tolist()) == set(range(found.slump.max() + 1))
    assert (shapely.area(agreed.outline) > 0).all()
    left, right = np.triu_indices(len(agreed.outline), 1)
    assert shapely.area(shapely.intersection(agreed.outline[left], agreed.outline[right])).sum() < 0.01
    outside = shapely.area(shapely.difference(agreed.outline, agreed.outer)).sum()
    assert outside == pytest.approx(0, abs=0.01)
    assert (shapely.area(agreed.inner) <= shapely.area(agreed.outer) + 1e-6).all()


@real
def test_six_experts_at_the_peel_plateau():
    files, looked = sorted((REAL / "peel" / "experts").glob("*.shp")), REAL / "peel" / "Peel_AOI_2500.geojson"
    found = build.derive(read_drawings(files, column=None, looked=looked, min_area_m2=100), 100)
    slumps = found.layers.consensus
    assert found.statistics["drawn_by"] == {"1": 1, "2": 0, "3": 0, "4": 3, "5": 0, "6": 7}
    # The large one that one expert drew in two parts, and the one that he drew in three.
    parts = found.layers.drawn.query("reviewer == 'expert_03'")["n_outlines"]
    assert sorted(parts)[-2:] == [2, 3]
    assert slumps["area_m2"].max() == pytest.approx(178_900, rel=0.01)
    # 3.5 to 7 m: one to two pixels of PlanetScope.
    assert slumps["distance_median_m"].dropna().between(2, 7).all()
    assert found.statistics["outlines"]["mean"]["f1_50"]["value"] == pytest.approx(0.61, abs=0.01)
    assert {row["reviewer"] for row in found.statistics["left_out"]} == {"expert_05"}
