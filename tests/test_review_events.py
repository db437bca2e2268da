"""The record: validation, appending by several processes and under kill -9, and folding."""

import random
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from review_case import AT, Case, square
from rts_pipeline.errors import InputError, RefusedError, UsageError
from rts_pipeline.review.events import append, make_event, read_events, read_round, record
from rts_pipeline.review.folding import fold, revise
from rts_pipeline.review.outlines import from_geojson, same, to_geojson


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


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


def test_an_event_survives_the_file(case):
    outline = square(0, 123.456789)
    written = case.decide(0, "edit", geometry=to_geojson(outline), possibility=1, note="é “x”\nline", evidence_years=[2018])
    (read,) = read_events(case.folder / "ann.jsonl")
    assert read == written
    assert from_geojson(read.geometry).equals(outline)
    assert same(from_geojson(read.geometry), outline)


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


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.replace('"accept"', '"reject"', 1), "line 1: not an event .*event_id isn't the sha256"),
        (lambda text: text[:-20], "line 2: is cut off"),
        (lambda text: text + "\n", "line 3: not an event"),
        (lambda text: text + "[]\n", "line 3: not an event"),
        (lambda text: text.splitlines()[0] + "\n" + text.splitlines()[1][:40] + "\n", "line 2: not an event"),
        (lambda text: "\x00" * 40 + "\n" + text, "line 1: not an event"),
    ],
)
def test_a_damaged_line_is_named_and_nothing_is_appended(case, damage, message):
    case.decide(0)
    case.decide(1)
    path = case.folder / "ann.jsonl"
    path.write_text(damage(path.read_text()))
    before = path.read_bytes()
    with pytest.raises(InputError, match=f"ann.jsonl, {message}"):
        read_round(case.reviews, "01")
    with pytest.raises(InputError):
        case.decide(2)
    assert path.read_bytes() == before


def test_a_file_that_is_not_text_is_told(case):
    (case.folder / "ann.jsonl").write_bytes(b"\xff\xfe\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_round(case.reviews, "01")


def test_an_event_in_the_wrong_file_is_told(case):
    case.decide(0)
    (case.folder / "ann.jsonl").rename(case.folder / "bob.jsonl")
    with pytest.raises(InputError, match=r"bob.jsonl, line 1: is an event of round 01 by ann; expected round_01 by bob"):
        read_round(case.reviews, "01")
    with pytest.raises(UsageError, match="is of round 01 by ann"):
        append(case.reviews, "01", "carl", [case.event(0)])


def test_append_is_a_union(case):
    events = [case.event(0), case.event(1)]
    assert append(case.reviews, "01", "ann", events) == events
    assert append(case.reviews, "01", "ann", [*events, case.event(2), case.event(2)]) == [case.event(2)]
    assert len(read_round(case.reviews, "01")) == 3


def test_nothing_is_recorded_without_a_draft(case):
    (case.folder / "draft.json").unlink()
    with pytest.raises(RefusedError, match="the review of round 01 isn't open; run 'rts-pipeline review start 01' first"):
        case.decide(0)
    assert not (case.folder / "ann.jsonl").exists()


def test_a_dry_run_writes_nothing(case):
    assert record(case.reviews, "01", "ann", lambda known: [case.event(0)], dry_run=True) == [case.event(0)]
    assert read_round(case.reviews, "01") == []


APPENDER = """
import sys
from pathlib import Path
from rts_pipeline.review.events import append, make_event
reviews, reviewer, first, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
for number in range(first, first + count):
    append(reviews, "01", reviewer, [make_event(round="01", candidate_id=f"c{number}", base_sha256="b" * 64,
        reviewer=reviewer, at="2020-09-01T12:00:00Z", source="web", guideline_version="1", action="decide", decision="accept")])
    print(number, flush=True)
"""


def appender(case, first, count):
    command = [sys.executable, "-c", APPENDER, str(case.reviews), "ann", str(first), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_lose_no_event(case):
    running = [appender(case, 0, 60), appender(case, 1000, 60)]
    for process in running:
        process.communicate(timeout=60)
        assert process.returncode == 0
    found = {e.candidate_id for e in read_round(case.reviews, "01")}
    assert found == {f"c{n}" for n in [*range(60), *range(1000, 1060)]}


def test_kill_during_append_loses_nothing_that_was_acknowledged(case):
    acknowledged, draw = set(), random.Random(1)
    for attempt in range(4):
        process = appender(case, 1000 * attempt, 900)
        acknowledged.add(int(process.stdout.readline()))
        time.sleep(draw.uniform(0.01, 0.15))
        process.send_signal(signal.SIGKILL)
        acknowledged |= {int(line) for line in process.communicate()[0].split()}
        assert process.returncode == -signal.SIGKILL
        found = [int(e.candidate_id[1:]) for e in read_round(case.reviews, "01")]
        assert acknowledged <= set(found)
        assert len(found) == len(set(found)) <= len(acknowledged) + attempt + 1
    case.decide(0)
    assert not list(case.folder.glob(".tmp-*"))


def test_a_verdict_waits_for_the_sign_off_and_is_then_refused(case):
    """Who waits for the lock while the round is being closed must not write into a closed round."""
    from rts_pipeline.review.rounds import locked

    with locked(case.folder):
        process = appender(case, 0, 1)
        time.sleep(1.0)
        assert process.poll() is None
        (case.folder / "draft.json").unlink()
    process.communicate(timeout=30)
    assert process.returncode != 0
    assert not (case.folder / "ann.jsonl").exists()


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
