"""Events: what can be one, how they are written, and folding."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from review_case import AT, square
from rts_pipeline.review.events import exchange_text, make_event, read_events
from rts_pipeline.review.folding import fold, is_reading, revise
from rts_pipeline.review.outlines import from_geojson, same, to_geojson


def event(decision="accept", parent=None, reviewer="ann", candidate="r01-0001", **fields):
    values = {
        "round": "01",
        "candidate_id": candidate,
        "reviewer": reviewer,
        "at": AT,
        "source": "web",
        "guideline_version": "1",
        "parent_event_id": parent.event_id if parent else None,
    }
    if decision in ("retract", "comment"):
        values |= {"action": decision}
    elif decision == "missed":
        values |= {"action": "add_missed"}
    else:
        values |= {"action": "decide", "decision": decision, "base_sha256": "b" * 64}
    return make_event(**{**values, **fields})


def test_an_event_survives_the_file(tmp_path):
    outline = square(0, 123.456789)
    fields = {"possibility": 1, "note": "é “x”\nline", "evidence_years": [2018]}
    written = event("edit", geometry=to_geojson(outline), **fields)
    path = tmp_path / "ann.jsonl"
    path.write_text(exchange_text([written, written]))
    (read,) = read_events(path)
    assert read == written
    assert from_geojson(read.geometry).equals(outline)
    assert same(from_geojson(read.geometry), outline)


BREAKS = ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r", "\r\n"]
"""What Python and QGIS take for the end of a line, beside the one that JSON lines know."""


@pytest.mark.parametrize("end", BREAKS, ids=ascii)
def test_an_event_survives_whatever_breaks_lines_in_its_note(tmp_path, end):
    written = [event("accept", candidate=f"r01-000{number}", note=f"headwall{end}tongue") for number in (1, 2)]
    path = tmp_path / "ann.jsonl"
    path.write_text(exchange_text(written))
    assert {read.event_id: read for read in read_events(path)} == {one.event_id: one for one in written}


def test_an_exchange_file_is_in_time_whatever_the_order():
    events = [event(at=f"2020-09-0{day}T00:00:00Z") for day in (2, 1, 3)]
    assert exchange_text(events) == exchange_text(sorted(events, key=lambda e: e.at, reverse=True))
    assert [line.count(f"2020-09-0{day}") for day, line in enumerate(exchange_text(events).splitlines(), 1)] == [1, 1, 1]


def test_the_id_depends_on_values_not_on_their_spelling():
    assert event(possibility=1).event_id == event(possibility=1.0).event_id
    assert event(possibility=1).event_id != event(possibility=0.5).event_id


WRONG = [
    {"decision": "maybe"},
    {"possibility": 1.01},
    {"possibility": float("nan")},
    {"reject_reason": "ugly", "decision": "reject"},
    {"reject_reason": "water", "decision": "accept"},
    {"geometry": to_geojson(square(0))},
    {"decision": "edit"},
    {"base_sha256": None},
    {"base_sha256": "xyz"},
    {"at": "2020-09-01 12:00"},
    {"at": "2020-13-01T12:00:00Z"},
    {"reviewer": "../ann"},
    {"reviewer": "ann,bob"},
    {"reviewer": ""},
    {"action": "retract", "decision": None},
    {"action": "comment", "decision": None},
    {"action": "add_missed", "decision": None},
    {"seconds": -1},
    {"round": "1"},
    {"candidate_id": ""},
    {"surprise": 1},
    {"decision": "edit", "geometry": {"type": "Point", "coordinates": [0, 0]}},
    {"decision": "edit", "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}},
    {"decision": "edit", "geometry": {"type": "Polygon", "coordinates": []}},
    {"decision": "edit", "geometry": {"type": "Polygon", "coordinates": [[[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 0, 1]]]}},
    {"decision": "edit", "geometry": {"type": "Polygon"}},
]


@pytest.mark.parametrize("fields", WRONG, ids=str)
def test_an_impossible_event_is_refused(fields):
    with pytest.raises(ValidationError):
        event(**fields)


def decision(events, candidate="r01-0001"):
    verdict = fold(events).verdicts.get(candidate)
    return verdict.decision if verdict else None


def test_a_later_decision_replaces_the_earlier_one_whatever_the_clock_says():
    first = event("accept", at="2020-09-02T00:00:00Z")
    second = event("reject", parent=first, at="2020-09-01T00:00:00Z")
    assert decision([second, first]) == "reject"


def test_undo_and_redo():
    first = event("accept")
    second = event("reject", parent=first)
    undo = event("retract", parent=second)
    redo = event("unsure", parent=undo)
    assert decision([first, second, undo]) == "accept"
    assert decision([first, second, undo, redo]) == "unsure"
    assert decision([first, event("retract", parent=first)]) is None
    assert decision([first, event("comment", note="look again")]) == "accept"


def test_two_heads_of_one_reviewer_are_a_fork_until_he_decides_again():
    first = event("unsure")
    laptops = [event("accept", parent=first), event("reject", parent=first)]
    folded = fold([first, *laptops])
    assert folded.forks == [("r01-0001", "ann")]
    assert folded.verdicts == {}
    new = revise(event("accept", at="2020-09-03T00:00:00Z"), folded.heads["r01-0001"]["ann"])
    assert decision([first, *laptops, *new]) == "accept"
    assert fold([first, *laptops, *new]).forks == []


def test_the_same_decision_on_two_laptops_is_no_fork():
    twice = [event("accept"), event("accept", at="2020-09-03T00:00:00Z")]
    folded = fold(twice)
    assert (folded.forks, folded.verdicts["r01-0001"].n_reviews) == ([], 1)
    changed = revise(event("reject", at="2020-09-04T00:00:00Z"), folded.heads["r01-0001"]["ann"])
    assert decision([*twice, *changed]) == "reject"


def test_reviewers_who_differ_disagree_until_an_adjudicator_decides():
    ann, bob = event("accept"), event("reject", reviewer="bob", role="second")
    assert fold([ann, bob]).disagreements == ["r01-0001"]
    eve = event("reject", reviewer="eve", role="adjudicator", possibility=0.25)
    verdict = fold([ann, bob, eve]).verdicts["r01-0001"]
    assert (verdict.decision, verdict.possibility, verdict.reviewers) == ("reject", 0.25, ("ann", "bob", "eve"))
    assert (verdict.n_reviews, verdict.agreement) == (3, 2 / 3)
    fork = event("unsure")
    assert fold([ann, fork, bob, eve]).verdicts["r01-0001"].decision == "reject"
    assert fold([ann, event("accept", reviewer="bob")]).verdicts["r01-0001"].agreement == 1.0
    assert fold([ann]).verdicts["r01-0001"].agreement is None


def test_what_was_read_before_an_adjudication_is_still_known():
    reading = event("accept")
    settled = event("reject", parent=reading, role="adjudicator")
    again = event("unsure", parent=settled)

    def read(*events):
        folded = fold(events, is_reading)
        return [head.decision for head in folded.heads.get("r01-0001", {}).get("ann", [])]

    assert decision([reading, settled]) == "reject"
    assert read(reading, settled) == ["accept"]
    assert read(reading, settled, again) == ["unsure"], "read anew after it was settled: no second reading beside the first"
    assert read(settled) == []
    assert read(reading, settled, event("retract", parent=reading, role="adjudicator")) == []


def test_two_different_outlines_are_a_disagreement():
    ann = event("edit", geometry=to_geojson(square(0, 90)))
    bob = event("edit", geometry=to_geojson(square(0, 80)), reviewer="bob")
    assert fold([ann, bob]).disagreements == ["r01-0001"]


@st.composite
def histories(draw):
    """Events of three reviewers on two candidates with parents taken at random among the earlier ones."""
    events = []
    for number in range(draw(st.integers(1, 12))):
        reviewer, candidate = draw(st.sampled_from(["ann", "bob", "eve"])), draw(st.sampled_from(["r01-0001", "r01-0002"]))
        own = [e for e in events if (e.reviewer, e.candidate_id) == (reviewer, candidate)]
        kind = draw(st.sampled_from(["accept", "reject", "unsure", "retract"] if own else ["accept", "reject", "unsure"]))
        parent = draw(st.sampled_from(own)) if kind == "retract" else draw(st.sampled_from([None, *own]))
        role = "adjudicator" if reviewer == "eve" else "primary"
        at = f"2020-09-01T00:00:{draw(st.integers(0, 59)):02d}Z"
        events.append(event(kind, parent, reviewer, candidate, role=role, at=at, seconds=number))
    return events


@settings(max_examples=150, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_folding_ignores_order_and_repetition(events, shuffler):
    again = [*events, *shuffler.choices(events, k=len(events))]
    shuffler.shuffle(again)
    assert fold(again) == fold(events)


@settings(max_examples=100, deadline=None)
@given(histories())
def test_every_candidate_with_a_standing_decision_has_exactly_one_state(events):
    folded = fold(events)
    forked = {candidate for candidate, _ in folded.forks}
    states = [set(folded.verdicts), forked, set(folded.disagreements)]
    assert set.union(*states) == set(folded.heads)
    assert sum(map(len, states)) == len(folded.heads)
    retracted = {e.parent_event_id for e in events if e.action == "retract"}
    assert not any(e.event_id in retracted for rs in folded.heads.values() for heads in rs.values() for e in heads)


@settings(max_examples=60, deadline=None)
@given(histories())
def test_deciding_again_always_ends_a_fork(events):
    standing = fold(events).heads.get("r01-0001", {}).get("ann", [])
    new = revise(event("unsure", at="2020-10-01T00:00:00Z"), standing)
    heads = fold([*events, *new]).heads["r01-0001"]["ann"]
    assert {e.decision for e in heads} == {"unsure"}
    assert revise(event("unsure", at="2020-11-01T00:00:00Z"), heads) == []
