"""Who has to judge what: the draw of second readings, everybody's list, and what a sign-off asks of them."""

import json

import pandas as pd
import pytest

from review_case import AT, GRID, Case, square
from rts_pipeline import io
from rts_pipeline.config import Review
from rts_pipeline.errors import InputError, RefusedError
from rts_pipeline.review.desk import Desk
from rts_pipeline.review.finish import finish
from rts_pipeline.review.folding import revise
from rts_pipeline.review.given import Verdict as Said
from rts_pipeline.review.readings import Draw, queue_of, second_readings
from rts_pipeline.review.rounds import CANDIDATES
from rts_pipeline.review.start import start
from rts_pipeline.review.status import status
from rts_pipeline.review.store import append, read_round

TEN = [square(number) for number in range(10)]
SCORES = [0.4, 0.44, 0.46, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]


@pytest.fixture
def case(tmp_path):
    """Ten candidates: two near the threshold of 0.4, and two of ten drawn."""
    return Case(tmp_path, outlines=TEN, scores=SCORES, second=Draw(share=0.15, seed=7, margin=0.05))


def queue(case, reviewer, role):
    return queue_of(case.reviews, "01", reviewer, role=role)


def close(case, **policy):
    return finish(case.reviews, "01", policy=Review(**policy), grid=GRID, at=AT)


def decide_all(case, reviewer, role="primary", **others):
    """Accept everything in the reviewer's list, but what `others` says, by number ("n3")."""
    numbers = [int(name[-4:]) - 1 for name in queue(case, reviewer, role)]
    events = [case.event(n, others.get(f"n{n}", "accept"), reviewer, role=role) for n in numbers]
    return append(case.reviews, "01", reviewer, events, role=role)


def test_the_draw_is_seeded_and_kept(case, tmp_path):
    drawn = second_readings(case.reviews, "01")
    assert (drawn.share, drawn.seed, drawn.threshold, drawn.margin) == (0.15, 7, 0.4, 0.05)
    assert len(drawn.random) == 2
    assert drawn.near == ("r01-0001", "r01-0002")
    again = Case(tmp_path / "again", outlines=TEN, scores=SCORES, second=Draw(share=0.15, seed=7, margin=0.05))
    assert second_readings(again.reviews, "01") == drawn
    draws = {Draw(0.15, seed, threshold=0.9).of(case.folder).random for seed in range(20)}
    assert len(draws) > 10
    nested = [set(Draw(share, 7).of(case.folder).random) for share in (0.1, 0.5, 1.0)]
    assert [len(names) for names in nested] == [1, 5, 10] and nested[0] < nested[1] < nested[2]


@pytest.mark.parametrize(
    ("share", "n", "drawn"), [(0.07, 100, 7), (0.28, 175, 49), (0.55, 100, 55), (0.071, 100, 8), (0.0, 9, 0)]
)
def test_the_share_is_rounded_up_as_it_is_written(tmp_path, share, n, drawn):
    """Not as binary numbers have it: 0.07 * 100 is 7.000000000000001."""
    io.write_parquet(tmp_path / CANDIDATES, pd.DataFrame({"candidate_id": [f"c{i}" for i in range(n)], "prob_mean": 0.7}))
    assert len(Draw(share, threshold=0.4).of(tmp_path).random) == drawn


def test_every_candidate_is_drawn_as_often_as_any_other(case):
    times = dict.fromkeys((f"r01-{number:04d}" for number in range(1, 11)), 0)
    for seed in range(300):
        for name in Draw(0.2, seed).of(case.folder).random:
            times[name] += 1
    assert sum(times.values()) == 600
    assert all(35 < count < 85 for count in times.values())


def test_without_a_chosen_threshold_it_has_to_be_set(case):
    (case.folder / "validation/validation.json").write_text("{}")
    with pytest.raises(InputError, match=r"'threshold' is None; expected a number; set polygonize.threshold"):
        Draw(0.2).of(case.folder)
    assert Draw(0.2, threshold=0.9, margin=0.01).of(case.folder).near == tuple(f"r01-{n:04d}" for n in range(4, 11))


def test_a_damaged_draw_is_told(case):
    path = case.folder / "second_readings.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "share": "much"}))
    with pytest.raises(InputError, match="share is 'much'"):
        queue(case, "bob", "second")


def test_everybodys_list(case):
    drawn = second_readings(case.reviews, "01")
    twice = sorted({*drawn.random, *drawn.near})
    assert queue(case, "ann", "primary") == [f"r01-{n:04d}" for n in range(1, 11)]
    assert queue(case, "bob", "second") == twice
    assert queue(case, "eve", "adjudicator") == []
    unsure = next(n for n in range(10) if f"r01-{n + 1:04d}" not in twice)
    case.decide(unsure, "unsure")
    assert queue(case, "bob", "second") == sorted([*twice, f"r01-{unsure + 1:04d}"])
    assert queue(case, "ann", "second") == twice, "nobody judges twice what is unsure to himself"
    case.decide(0, "accept")
    assert queue(case, "ann", "second") == twice[1:]
    first = case.decide(0, "reject", "bob", role="second")
    assert queue(case, "eve", "adjudicator") == ["r01-0001"]
    case.decide(2, "accept")
    case.decide(2, "reject")
    assert queue(case, "eve", "adjudicator") == ["r01-0001", "r01-0003"]
    case.decide(0, "accept", "eve", role="adjudicator")
    assert queue(case, "eve", "adjudicator") == ["r01-0001", "r01-0003"], "what is judged stays in the list"
    assert first.role == "second"


def test_without_a_draw_nobody_judges_twice(tmp_path):
    case = Case(tmp_path)
    case.decide_all(("unsure",) * 4)
    assert queue(case, "bob", "second") == []
    assert close(case).n_new == 0


def test_a_list_belongs_to_an_open_round(case):
    decide_all(case, "ann")
    close(case, allow_single=True)
    with pytest.raises(RefusedError, match="already signed off"):
        queue(case, "ann", "primary")


def test_two_reviewers_and_an_adjudicator(case):
    """The whole way: ann judges all, bob his list, eve what they differ on; each step is asked for by name."""
    twice = queue(case, "bob", "second")
    with pytest.raises(RefusedError, match="10 of 10 candidates not reviewed"):
        close(case)
    decide_all(case, "ann")
    (row,) = status(case.reviews)
    assert row.once == tuple(twice)
    with pytest.raises(RefusedError, match=rf"{len(twice)} of 10 candidates without their second reading: {', '.join(twice)}"):
        close(case)
    decide_all(case, "bob", "second", n0="reject")
    (row,) = status(case.reviews)
    assert (row.once, row.disagreements) == ((), ("r01-0001",))
    with pytest.raises(RefusedError, match="1 of 10 candidates on which the reviewers disagree: r01-0001"):
        close(case)
    decide_all(case, "eve", "adjudicator", n0="reject")
    signoff = close(case)
    assert (signoff.n_new, signoff.reviewers) == (9, ("ann", "bob", "eve"))


def test_all_open_ends_are_told_at_once(case):
    case.decide(0, "accept")
    case.decide(0, "reject", "bob")
    case.decide(1, "accept")
    case.decide(5, "accept")
    case.decide(5, "reject")
    with pytest.raises(RefusedError) as caught:
        close(case)
    for part in (
        "7 of 10 candidates not reviewed: r01-0003",
        "1 of 10 candidates with two different decisions of one reviewer: r01-0006 (ann)",
        "1 of 10 candidates on which the reviewers disagree: r01-0001",
        "1 of 10 candidates without their second reading: r01-0002",
    ):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_policy_may_leave_open_ends(case):
    import geopandas as gpd

    decide_all(case, "ann")
    case.decide(0, "reject", "bob", role="second", at="2020-09-02T00:00:00Z")
    case.decide(5, "reject")
    with pytest.raises(RefusedError, match="without their second reading"):
        close(case, allow_disputed=True)
    signoff = close(case, allow_disputed=True, allow_single=True)
    rows = gpd.read_parquet(case.folder / "reviewed.parquet").set_index("candidate_id")
    assert signoff.n_new == 8
    first, fork = rows.loc["r01-0001"], rows.loc["r01-0006"]
    assert (first["decision"], first["possibility"], first["reviewers"], first["agreement"]) == ("unsure", 0.5, "ann,bob", 0.0)
    assert (first["note"], first["reviewed_at"]) == ("disputed (ann: accept; bob: reject)", "2020-09-02T00:00:00Z")
    assert (fork["decision"], fork["reviewers"], fork["n_reviews"]) == ("unsure", "ann", 1)
    assert first.geometry.equals(square(0))


def test_a_disputed_outline_of_an_added_slump_is_never_signed_off(case):
    decide_all(case, "ann")
    for size in (80, 90):
        outline = json.loads(json.dumps(square(20, size).__geo_interface__))
        case.decide(20, None, candidate_id="r01-mabc", action="add_missed", base_sha256=None, geometry=outline)
    with pytest.raises(RefusedError, match=r"two different decisions of one reviewer: r01-mabc \(ann\)"):
        close(case, allow_disputed=True, allow_single=True)


def test_a_review_that_is_started_again_without_a_draw_asks_for_no_second_reading(case):
    decide_all(case, "ann")
    (case.folder / "draft.json").unlink()
    start(case.reviews, case.results, "01", at=AT)
    assert (second_readings(case.reviews, "01"), queue(case, "bob", "second")) == (None, [])
    assert close(case).n_new == 10


def test_a_second_reading_taken_back_is_missing_again(case):
    decide_all(case, "ann")
    reading = decide_all(case, "bob", "second")[0]
    case.decide(0, None, "bob", role="second", action="retract", base_sha256=None, parent_event_id=reading.event_id)
    (row,) = status(case.reviews)
    assert row.once == ("r01-0001",)
    append(
        case.reviews,
        "01",
        "bob",
        revise(case.event(0, "accept", "bob", role="second", at="2020-09-03T00:00:00Z"), []),
        role="second",
    )
    assert status(case.reviews)[0].once == ()
    assert len({event.event_id for event in read_round(case.reviews, "01")}) == len(read_round(case.reviews, "01"))


def test_a_reader_who_adjudicates_begins_with_nothing_settled(tmp_path):
    """His or her reading is one of the readings: said again by an adjudicator it settles the matter."""
    case = Case(tmp_path)
    case.decide_all(("accept", "accept", "accept", "reject"))
    case.decide_all(("accept", "reject", "reject", "reject"), "bob")
    differed = ["r01-0002", "r01-0003"]

    def desk(role):
        return Desk(case.reviews, case.results, "01", "ann", role)

    def readings(name):
        return {(said["reviewer"], said["decision"]) for said in desk("adjudicator").candidate(name)["readings"]}

    judge = desk("adjudicator")
    assert (judge.columns()["id"], judge.columns()["decision"]) == (differed, [None, None])
    assert (judge.candidate("r01-0002")["mine"], judge.candidate("r01-0002")["numbers"]) == (None, None)
    assert readings("r01-0002") == {("ann", "accept"), ("bob", "reject")}
    assert status(case.reviews)[0].left == {("ann", "primary"): 0, ("bob", "primary"): 0}

    assert judge.decide(Said(candidate_id="r01-0002", decision="accept"))["mine"]["decision"] == "accept"
    (row,) = status(case.reviews)
    assert row.disagreements == ("r01-0003",)
    assert row.decided == {("ann", "primary"): 4, ("ann", "adjudicator"): 1, ("bob", "primary"): 4}
    assert row.left == {("ann", "primary"): 0, ("ann", "adjudicator"): 1, ("bob", "primary"): 0}
    judge.decide(Said(candidate_id="r01-0003", decision="reject"))
    for again in (judge, desk("adjudicator")):
        assert again.columns()["decision"] == ["accept", "reject"]
    assert readings("r01-0003") == {("ann", "accept"), ("bob", "reject")}

    reader = desk("primary")
    assert list(reader.decided().values()) == ["accept", "accept", "accept", "reject"]
    reader.decide(Said(candidate_id="r01-0003", decision="accept"))
    assert status(case.reviews)[0].done, "a reading that is said again undoes nothing"
    close(case)
