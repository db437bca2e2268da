"""The agreement of a round's reviewers, from their events."""

import json

import pytest

from review_case import Case, square
from rts_pipeline.review.agreement import agreement, lines
from rts_pipeline.review.readings import Draw, second_readings
from rts_pipeline.review.store import read_round


@pytest.fixture
def case(tmp_path):
    """Ten candidates in five cells; ann judges all, bob six of them, eve adjudicates one."""
    case = Case(tmp_path, outlines=[square(n) for n in range(10)], second=Draw(share=0.3, margin=0.0))
    case.decide_all(("accept", "reject", "unsure", "accept", "reject", "reject", "accept", "accept", "reject", "accept"))
    outline = square(3, 90).__geo_interface__
    case.decide(0, "accept", "bob", role="second", possibility=0.75)
    case.decide(1, "accept", "bob", role="second")
    case.decide(2, "unsure", "bob", role="second")
    case.decide(3, "edit", "bob", role="second", geometry=json.loads(json.dumps(outline)))
    case.decide(4, "reject", "bob", role="second")
    case.decide(5, "reject", "bob", role="second", possibility=0.2)
    case.decide(1, "reject", "eve", role="adjudicator")
    return case


def test_two_reviewers(case):
    found = agreement(case.reviews, "01")
    assert found["pairs"] == {"ann, bob": 6}
    both = found["all"]
    assert (both["n"], both["cells"]) == (6, 3)
    assert both["decisions"] == [[1, 0, 1, 0], [1, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    # slump 2, unsure 1, no slump 2 of 6 alike; shares of ann 2, 1, 3 and of bob 3, 1, 2. Scikit-learn has kappa .7391,
    # F1 .8 and quadratic kappa .4906, irrCAC has AC1 .7576.
    assert both["percent"]["value"] == pytest.approx(5 / 6)
    assert both["cohen_kappa"]["value"] == pytest.approx((5 / 6 - 13 / 36) / (1 - 13 / 36))
    shares = [5 / 12, 2 / 12, 5 / 12]
    chance = sum(p * (1 - p) for p in shares) / 2
    assert both["gwet_ac1"]["value"] == pytest.approx((5 / 6 - chance) / (1 - chance))
    assert both["positive_agreement"]["value"] == pytest.approx(4 / 5)
    # levels of ann 4 0 2 4 0 0 and of bob 3 4 2 4 0 1, from presets where none was given; mean squares 36/6, 46/6
    expected = 36 / 6 + 46 / 6 - 2 * (10 / 6) * (14 / 6)
    assert both["quadratic_kappa"]["value"] == pytest.approx(1 - ((1 + 16 + 1) / 6) / expected)
    assert both["percent"]["low"] is None, "three cells give no interval"


def test_a_reader_who_adjudicates_has_read_all_the_same(case):
    """Else just the pairs that differed would be missing, and the two would agree on all that is left."""
    before = agreement(case.reviews, "01")
    readings = {event.candidate_id: event for event in read_round(case.reviews, "01") if event.reviewer == "ann"}
    for number, decision in ((1, "accept"), (2, "reject")):
        parent = readings[f"r01-{number + 1:04d}"].event_id
        case.decide(number, decision, "ann", role="adjudicator", parent_event_id=parent, blind=False)
    assert agreement(case.reviews, "01") == before


def test_the_random_sample_stands_apart(case):
    drawn = second_readings(case.reviews, "01").random
    found = agreement(case.reviews, "01")["random"]
    assert found["n"] == len({f"r01-{n:04d}" for n in range(1, 7)} & set(drawn)) < 6


def test_forks_and_single_readings_say_nothing(tmp_path):
    case = Case(tmp_path)
    case.decide_all()
    assert agreement(case.reviews, "01")["all"]["n"] == 0
    case.decide(0, "accept", "bob")
    case.decide(0, "reject", "bob")
    found = agreement(case.reviews, "01")
    assert (found["pairs"], found["random"]) == ({}, None)
    assert found["all"]["percent"] == {"value": None, "low": None, "high": None}
    assert lines(found) == ["Round 01: nothing was judged twice"]


def test_lines(case):
    text = "\n".join(lines(agreement(case.reviews, "01")))
    assert "all that two judged: 6 readings of two in 3 cells" in text
    assert "share of agreement   0.833" in text
    assert "Gwet's AC1" in text
    json.dumps(agreement(case.reviews, "01"), allow_nan=False)
