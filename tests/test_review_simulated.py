"""The scripted reviewer."""

import geopandas as gpd
import numpy as np
import pytest
from shapely import box
from shapely.affinity import translate

from review_case import AT, CRS, GRID, STRICT, Case, place, square
from rts_pipeline.errors import InputError
from rts_pipeline.review.events import REJECT_REASONS
from rts_pipeline.review.finish import finish
from rts_pipeline.review.folding import fold
from rts_pipeline.review.outlines import from_geojson
from rts_pipeline.review.readings import Draw, second_readings
from rts_pipeline.review.simulated import Errors, judge, simulate_review
from rts_pipeline.review.store import read_round


def write_truth(path, outlines, years=None, crs=CRS):
    frame = gpd.GeoDataFrame({"truth_id": range(len(outlines))}, geometry=outlines, crs=CRS)
    if years is not None:
        frame["year"] = years
    frame.to_crs(crs).to_file(path, layer="truth", driver="GPKG", engine="pyogrio")
    return path


def decisions(candidates, truth, accept_iou=0.5, **errors):
    found = judge(np.array(candidates, dtype=object), np.array(truth, dtype=object), Errors(**errors), accept_iou)
    return [verdict["decision"] for verdict in found]


def test_who_knows_the_truth_judges_by_it():
    good, poor, none = square(0), square(1), square(2)
    truth = [square(0, 95), translate(square(1), 45), place(box(0, 900, 100, 1000))]
    assert decisions([good, poor, none], truth) == ["accept", "unsure", "reject"]
    assert decisions([good, poor, none], truth, redraw_rate=1.0) == ["accept", "edit", "reject"]
    assert decisions([good, poor, none], truth, miss_rate=1.0) == ["reject", "unsure", "reject"]
    assert decisions([good, poor, none], truth, false_accept_rate=1.0) == ["accept", "unsure", "accept"]
    assert decisions([good, poor, none], truth, accept_iou=0.99) == ["unsure", "unsure", "reject"]
    assert decisions([good], []) == ["reject"]
    assert decisions([], truth) == []


@pytest.mark.parametrize(("shift_m", "expected"), [(30, "accept"), (40, "unsure"), (88, "unsure"), (92, "reject")])
def test_limits(shift_m, expected):
    """A shift of s m leaves IoU (100 - s) / (100 + s) and cover 1 - s / 100."""
    assert decisions([square(0)], [translate(square(0), shift_m)]) == [expected]


def test_a_change_is_accepted_where_it_fits_better_than_what_is_known():
    outlines = np.array([square(0), square(1), square(2)])
    known = np.array([square(0, 50), square(1, 95), None])
    truth = np.array([square(0, 90), square(1, 94), square(2)])
    found = judge(outlines, truth, Errors(), known=known)
    assert [verdict["decision"] for verdict in found] == ["accept", "reject", "accept"]


def test_a_small_part_of_a_large_slump_is_unsure_not_rejected():
    assert decisions([square(0, 20)], [square(0)]) == ["unsure"]
    assert decisions([square(0)], [square(0, 36)]) == ["unsure"]


def test_a_slump_is_redrawn_once():
    parts = [place(box(0, 0, 100, 20)), place(box(0, 40, 100, 65)), place(box(0, 80, 100, 100))]
    assert decisions(parts, [square(0)], redraw_rate=1.0) == ["unsure", "edit", "unsure"]
    assert decisions([*parts, place(box(0, 0, 100, 100))], [square(0)], redraw_rate=1.0) == ["unsure"] * 3 + ["accept"]


def test_errors_depend_on_seed_and_place_alone():
    candidates = [place(box(0, 0, 100, 100), 300.0 * (i % 40), 300.0 * (i // 40)) for i in range(800)]
    rejected = np.array(decisions(candidates, candidates, miss_rate=0.2, seed=1)) == "reject"
    assert 0.15 < rejected.mean() < 0.25
    shuffled = np.random.default_rng(0).permutation(800)
    again = np.array(decisions([candidates[i] for i in shuffled], candidates, miss_rate=0.2, seed=1)) == "reject"
    np.testing.assert_array_equal(again, rejected[shuffled])
    other = np.array(decisions(candidates, candidates, miss_rate=0.2, seed=2)) == "reject"
    assert (other != rejected).any()
    accepted = np.array(decisions(candidates, [], false_accept_rate=0.1, seed=1)) == "accept"
    assert 0.06 < accepted.mean() < 0.14


def test_the_reasons_are_of_the_ground():
    """Who is told the truth saw it: none says that the images didn't show it, which would leave the outline undecided."""
    decided = judge(np.array([square(i) for i in range(100)]), np.array([translate(square(0), 0, 90_000)]), Errors())
    assert {verdict["reject_reason"] for verdict in decided} == set(REJECT_REASONS) - {"snow or cloud", "no-data edge"}


def test_a_whole_review(tmp_path):
    case = Case(tmp_path)
    outlines = [square(0), square(1), square(2), translate(square(3), 45)]
    truth = write_truth(tmp_path / "truth.gpkg", outlines, [2019, 2018, 2019, 2019], crs=4326)
    options = {"seed": 3, "redraw_rate": 1.0, "target_year": 2019, "at": AT}
    counts = simulate_review(case.reviews, "01", truth, **options)
    assert counts == {"accept": 2, "reject": 1, "edit": 1, "unsure": 0}
    events = read_round(case.reviews, "01")
    assert {e.source for e in events} == {"simulated"} and {e.reviewer for e in events} == {"simulated"}
    assert all(e.seconds and e.possibility is not None for e in events)
    assert fold(events).verdicts["r01-0002"].reject_reason
    edited = from_geojson(fold(events).verdicts["r01-0004"].geometry)
    assert edited.intersection(outlines[3]).area > 0.99 * outlines[3].area
    simulate_review(case.reviews, "01", truth, **options)
    assert read_round(case.reviews, "01") == events
    assert finish(case.reviews, "01", policy=STRICT, grid=GRID, at=AT).n_new == 3


def test_scripted_reviewers_in_every_role(tmp_path):
    case = Case(tmp_path, second=Draw(share=0.5))
    drawn = second_readings(case.reviews, "01").random
    truth = write_truth(tmp_path / "truth.gpkg", [square(i) for i in range(4)])
    options = {"target_year": 2019, "at": AT}
    simulate_review(case.reviews, "01", truth, reviewer="ann", **options)
    counts = simulate_review(case.reviews, "01", truth, reviewer="bob", role="second", miss_rate=1.0, **options)
    assert counts["reject"] == sum(counts.values()) == 2
    assert fold(read_round(case.reviews, "01")).disagreements == list(drawn)
    counts = simulate_review(case.reviews, "01", truth, reviewer="eve", role="adjudicator", **options)
    assert counts["accept"] == sum(counts.values()) == 2
    assert finish(case.reviews, "01", policy=STRICT, grid=GRID, at=AT).n_new == 4


def test_truth_without_years_and_without_the_target_year(tmp_path):
    case = Case(tmp_path)
    truth = write_truth(tmp_path / "plain.gpkg", [square(0)])
    assert simulate_review(case.reviews, "01", truth, target_year=2019, at=AT)["accept"] == 1
    wrong = write_truth(tmp_path / "years.gpkg", [square(0)], [2016])
    with pytest.raises(InputError, match=r"years.gpkg: has no slump of 2019 \(years \[2016\]\)"):
        simulate_review(case.reviews, "01", wrong, target_year=2019, at=AT)


def test_a_round_without_candidates(tmp_path):
    case = Case(tmp_path, outlines=[])
    truth = write_truth(tmp_path / "truth.gpkg", [square(0)])
    assert simulate_review(case.reviews, "01", truth, target_year=2019, at=AT)["accept"] == 0
