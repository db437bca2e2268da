"""The sign-off: what it holds, when it is refused, and that a kill leaves the draft or the sign-off."""

import random
import signal
import subprocess
import sys

import geopandas as gpd
import numpy as np
import pytest
from shapely import box

from review_case import AT, CRS, GRID, MODEL, STRICT, Case, place, sha, square, write_candidates
from rts_pipeline.config import Review
from rts_pipeline.errors import InputError, RefusedError
from rts_pipeline.grid import Grid
from rts_pipeline.io import sha256_file
from rts_pipeline.review.agreement import agreement
from rts_pipeline.review.desk import Desk
from rts_pipeline.review.events import make_event
from rts_pipeline.review.exchange import export_gpkg
from rts_pipeline.review.finish import COLUMNS, finish
from rts_pipeline.review.given import Verdict as Said
from rts_pipeline.review.outlines import to_geojson
from rts_pipeline.review.readings import queue_of
from rts_pipeline.review.rounds import open_draft, read_signoffs
from rts_pipeline.review.start import start
from rts_pipeline.review.status import status
from rts_pipeline.review.store import append, read_round


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


def close(case, policy=STRICT, at=AT):
    return finish(case.reviews, "01", policy=policy, grid=GRID, at=at)


def rows(case):
    return gpd.read_parquet(case.folder / "reviewed.parquet")


def missed(case, outline, reviewer="ann", at=AT, **fields):
    event = make_event(
        round="01",
        candidate_id=f"r01-m{sha(outline)[:8]}",
        reviewer=reviewer,
        at=at,
        source="web",
        guideline_version="1",
        action="add_missed",
        geometry=to_geojson(outline),
        **fields,
    )
    append(case.reviews, "01", reviewer, [event])


def test_reviewed_rows(case):
    redrawn = place(box(0, 0, 400, 80), 300)
    case.decide(0, "accept", possibility=0.75, note="fresh headwall", at="2020-09-02T00:00:00Z")
    case.decide(0, "accept", "bob", possibility=1.0)
    case.decide(1, "edit", geometry=to_geojson(redrawn))
    case.decide(2, "reject", reject_reason="water")
    case.decide(3, "unsure")
    missed(case, place(box(0, 900, 50, 950)))
    signoff = close(case)
    frame = rows(case)
    assert list(frame.columns) == [*COLUMNS, "geometry"]
    assert frame.crs == CRS
    assert list(frame["decision"]) == ["accept", "edit", "reject", "unsure", "missed"]
    assert list(frame["possibility"]) == [0.875, 1.0, 0.0, 0.5, 1.0]
    assert list(frame["reviewers"]) == ["ann,bob", "ann", "ann", "ann", "ann"]
    assert list(frame["n_reviews"]) == [2, 1, 1, 1, 1]
    np.testing.assert_array_equal(frame["agreement"], [1.0, np.nan, np.nan, np.nan, np.nan])
    assert list(frame["reject_reason"]) == ["", "", "water", "", ""]
    assert frame["reviewed_at"].iloc[0] == "2020-09-02T00:00:00Z"
    assert frame["note"].iloc[0] == "fresh headwall"
    assert list(frame["base_sha256"][:4]) == [sha(square(i)) for i in range(4)]
    assert frame["base_sha256"].isna().iloc[4] and frame["prob_mean"].isna().iloc[4]
    np.testing.assert_array_equal(frame["prob_median"], [0.72] * 4 + [np.nan])
    assert set(frame["model_sha256"][:4]) == {MODEL}
    assert frame.geometry.iloc[1].equals(redrawn) and frame.geometry.iloc[0].equals(square(0))
    assert (signoff.n_new, signoff.n_candidates, signoff.reviewers, signoff.at) == (3, 4, ("ann", "bob"), AT)
    assert signoff.rows_sha256 == sha256_file(case.folder / "reviewed.parquet")
    assert signoff.candidates_sha256 == sha256_file(case.results / "rounds/01/candidates.parquet")
    assert signoff.cells == tuple(GRID.cells_touching(frame.geometry)) and len(signoff.cells) > 2
    assert not (case.folder / "draft.json").exists()
    assert open_draft(case.reviews) is None


def test_the_last_statement_of_those_who_agree_is_kept(case):
    case.decide(0, first_year_visible=2017, active=True, outline_scope="active part")
    case.decide(0, reviewer="bob", first_year_visible=2016, outline_scope="whole scar", at="2020-09-03T00:00:00Z")
    case.decide(1, "reject", active=False, outline_scope="active part")
    case.decide(2)
    case.decide(3)
    close(case)
    frame = rows(case)
    assert frame["first_year_visible"].isna().tolist() == [False, True, True, True]
    assert frame["first_year_visible"][0] == 2016
    assert frame["active"].astype(object).where(frame["active"].notna(), None).tolist() == [True, False, None, None]
    assert frame["outline_scope"].fillna("not said").tolist() == ["whole scar", "active part", "not said", "not said"]


def test_the_rows_do_not_depend_on_the_order_of_the_verdicts(tmp_path):
    digests = set()
    for name, order in (("a", [0, 1, 2, 3]), ("b", [3, 1, 0, 2])):
        case = Case(tmp_path / name)
        for number in order:
            case.decide(number, ("accept", "reject", "unsure", "accept")[number])
        close(case, at=f"2021-01-0{len(digests) + 1}T00:00:00Z")
        digests.add(sha256_file(case.folder / "reviewed.parquet"))
    assert len(digests) == 1


def test_unreviewed_candidates_are_listed(tmp_path):
    case = Case(tmp_path, outlines=[square(i) for i in range(14)])
    case.decide(1)
    with pytest.raises(
        RefusedError, match=r"13 of 14 candidates not reviewed: r01-0001, r01-0003, .*r01-0011, \.\.\.;"
    ) as caught:
        close(case)
    assert caught.value.exit_code == 4
    assert str(caught.value).count("r01-") == 10
    assert not (case.folder / "reviewed.parquet").exists() and open_draft(case.reviews) == "01"
    signoff = close(case, Review(allow_unreviewed=True))
    assert (signoff.n_new, signoff.n_unseen) == (1, 13)
    unseen = rows(case).iloc[0]
    assert (unseen["decision"], unseen["reviewers"], unseen["n_reviews"], unseen["possibility"]) == ("unseen", "", 0, 0.5)


def test_disagreements_and_forks_are_listed(case):
    first = case.decide_all()
    case.decide(1, "accept", "bob")
    with pytest.raises(RefusedError, match="1 of 4 candidates on which the reviewers disagree: r01-0002; an adjudicator"):
        close(case)
    case.decide(1, "accept", "eve", role="adjudicator")
    case.decide(2, "reject", parent_event_id=first[2].event_id)
    case.decide(2, "accept", parent_event_id=first[2].event_id)
    with pytest.raises(
        RefusedError, match=r"two different decisions of one reviewer: r01-0003 \(ann\); that reviewer or an adj"
    ):
        close(case, Review(allow_unreviewed=True))


def test_events_about_something_else_are_told(case):
    case.decide_all()
    stray = case.event(0, candidate_id="r01-0099")
    append(case.reviews, "01", "ann", [stray])
    with pytest.raises(InputError, match="r01-0099, decided by ann, is no candidate of this round"):
        close(case)


def test_a_verdict_on_another_outline_is_told(case):
    case.decide_all()
    last = read_round(case.reviews, "01")[-1]
    case.decide(3, base_sha256="c" * 64, parent_event_id=last.event_id)
    refusal = r"1 of 4 candidates judged on another outline than they have now: r01-0004 \(ann\); judge them again"
    for policy in (STRICT, Review(allow_unreviewed=True)):
        with pytest.raises(RefusedError, match=refusal):
            close(case, policy)


def start_again(case, outlines):
    """Do what a start tells to do where the candidates differ from those of the open review."""
    write_candidates(case.results, outlines=outlines)
    (case.folder / "draft.json").unlink()
    start(case.reviews, case.results, "01", at="2020-09-02T00:00:00Z")


def test_after_a_new_start_what_has_another_outline_is_open_everywhere(case, tmp_path):
    """The names are the same again, the ground is not what anybody saw."""
    case.decide_all(("reject", "reject", "unsure", "accept"))
    case.decide_all(("accept", "reject", "reject", "reject"), "bob")
    missed(case, place(box(0, 900, 50, 950)))
    start_again(case, [square(0), *(square(number) for number in (7, 8, 9))])
    (row,) = status(case.reviews)
    assert (row.undecided, row.disagreements, row.n_missed) == (3, ("r01-0001",), 1)
    assert row.decided == {("ann", "primary"): 1, ("bob", "primary"): 1}
    assert row.left == {("ann", "primary"): 3, ("bob", "primary"): 3}
    assert agreement(case.reviews, "01")["pairs"] == {"ann, bob": 1}
    assert queue_of(case.reviews, "01", "eve", role="adjudicator") == ["r01-0001"]
    with pytest.raises(RefusedError, match=r"3 of 4 candidates judged .*: r01-0002 \(ann, bob\), r01-0003 .*, r01-0004 "):
        close(case)

    file = tmp_path / "ann.gpkg"
    export_gpkg(case.reviews, "01", "ann", file)
    assert gpd.read_file(file, layer="candidates")["decision"].fillna("").tolist() == ["reject", "", "", ""]
    desk = Desk(case.reviews, case.results, "01", "ann")
    assert desk.columns()["decision"] == ["reject", None, None, None]
    assert (desk.candidate("r01-0002")["mine"], desk.candidate("r01-0002")["numbers"]) == (None, None)
    judge = Desk(case.reviews, case.results, "01", "eve", "adjudicator")
    judge.decide(Said(candidate_id="r01-0001", decision="accept"))
    for number in (2, 3, 4):
        told = desk.decide(Said(candidate_id=f"r01-000{number}", decision="reject"))
        assert told["mine"]["decision"] == "reject"
        assert read_round(case.reviews, "01", told["candidate_id"])[-1].blind, "of this outline nothing was told before"
    assert status(case.reviews)[0].done
    close(case)
    assert rows(case)["reviewers"].tolist() == ["ann,bob,eve", "ann", "ann", "ann", "ann"]
    assert agreement(case.reviews, "01")["pairs"] == {"ann, bob": 1}


def test_after_a_new_start_nobody_waits_for_what_is_no_candidate_any_more(case):
    case.decide_all()
    start_again(case, [square(0), square(1)])
    assert status(case.reviews)[0].done
    close(case)
    assert rows(case)["decision"].tolist() == ["accept", "reject"]


def test_the_same_missed_slump_of_two_reviewers_is_one(case):
    case.decide_all()
    missed(case, place(box(0, 900, 100, 1000)), note="first")
    missed(case, place(box(0, 900, 100, 990)), "bob", at="2020-09-02T00:00:00Z")
    missed(case, place(box(500, 900, 600, 990)), "bob")
    assert close(case).n_new == 4
    added = rows(case).query("decision == 'missed'").sort_values("reviewers")
    assert list(added["reviewers"]) == ["ann,bob", "bob"]
    assert added["note"].iloc[0] == "first"
    assert added.geometry.iloc[0].equals(place(box(0, 900, 100, 990)))


def test_known_slumps_that_changed_are_no_new_ones(tmp_path):
    case = Case(tmp_path, known={0: square(0, 50), 1: square(1, 50)})
    case.decide_all(("accept", "reject", "accept", "unsure"))
    signoff = close(case)
    assert (signoff.n_new, signoff.n_changed) == (1, 1)
    assert rows(case)["known_ids"].tolist() == ["seed-00001", "seed-00001", "", ""]
    assert rows(case)["judged_m2"].tolist() == [10_000.0] * 4


def test_a_round_without_candidates(tmp_path):
    case = Case(tmp_path, outlines=[])
    signoff = close(case)
    assert (signoff.n_new, signoff.n_candidates, signoff.cells, signoff.reviewers) == (0, 0, (), ())
    frame = rows(case)
    assert len(frame) == 0 and list(frame.columns) == [*COLUMNS, "geometry"]
    assert frame.crs == CRS
    assert [s.n_new for s in read_signoffs(case.reviews)] == [0]


def test_a_grid_in_another_crs_is_refused(case):
    case.decide_all()
    with pytest.raises(InputError, match="expected the grid's CRS EPSG:32645"):
        finish(case.reviews, "01", policy=STRICT, grid=Grid("EPSG:32645"), at=AT)


def test_finishing_twice(case):
    case.decide_all()
    close(case)
    before = (case.folder / "signoff.json").read_bytes()
    with pytest.raises(RefusedError, match="round 01 is already signed off"):
        close(case)
    with pytest.raises(RefusedError, match="round 01 is already signed off"):
        case.decide(0)
    assert (case.folder / "signoff.json").read_bytes() == before


def test_a_finish_that_was_killed_after_the_signoff_is_completed(case):
    case.decide_all()
    draft = (case.folder / "draft.json").read_bytes()
    signoff = close(case)
    (case.folder / "draft.json").write_bytes(draft)
    assert open_draft(case.reviews) is None
    assert close(case, at="2021-01-01T00:00:00Z") == signoff
    assert not (case.folder / "draft.json").exists()


FINISHER = """
# Finishes one round a line of stdin ("folder step delay") in a child that dies before its step-th rename, sync or removal,
# or after `delay` seconds; one process for all of them, since the imports take longest.
import os, signal, sys, time
from pathlib import Path
from rts_pipeline.config import Review
from rts_pipeline.grid import Grid
from rts_pipeline.review.finish import finish

def bomb(do):
    def wrapped(*args, **options):
        global left
        left -= 1
        if left == -1:
            os.kill(os.getpid(), signal.SIGKILL)
        return do(*args, **options)
    return wrapped

for line in sys.stdin:
    folder, left, delay = line.split()
    left = int(left)
    child = os.fork()
    if child == 0:
        Path.replace, Path.unlink, os.fsync = bomb(Path.replace), bomb(Path.unlink), bomb(os.fsync)
        finish(Path(folder), "01", policy=Review(), grid=Grid("EPSG:32646", 3.0, 128, 2), at="2020-09-01T12:00:00Z")
        os._exit(0)
    if float(delay):
        time.sleep(float(delay))
        os.kill(child, signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def killed_finishes(cases, steps, delays):
    """Run a finish for each case and return the exit codes (-9: killed)."""
    lines = "".join(f"{c.reviews} {step} {delay}\n" for c, step, delay in zip(cases, steps, delays, strict=True))
    done = subprocess.run(
        [sys.executable, "-c", FINISHER], input=lines, capture_output=True, text=True, timeout=300, check=True
    )
    return [int(code) for code in done.stdout.split()]


def decided_cases(folder, count):
    cases = [Case(folder / str(number)) for number in range(count)]
    for case in cases:
        case.decide_all()
    return cases


def check_after_kill(case):
    """Return whether the round is signed off; what is there must be whole."""
    signed = read_signoffs(case.reviews)
    assert signed or open_draft(case.reviews) == "01"
    assert len(read_round(case.reviews, "01")) == 4
    return bool(signed)


def repair(case):
    """Finish what a kill left, and check that nothing else is left."""
    if (case.folder / "draft.json").exists():
        close(case)
    assert check_after_kill(case)
    assert not (case.folder / "draft.json").exists()
    assert not list(case.folder.glob(".tmp-*"))


def test_kill_during_finish(tmp_path):
    cases, draw = decided_cases(tmp_path, 8), random.Random(2)
    codes = killed_finishes(cases, [10_000] * 8, [draw.uniform(0.001, 0.05) for _ in cases])
    assert -signal.SIGKILL in codes
    for case in cases:
        check_after_kill(case)
        repair(case)


def test_kill_before_each_step_of_the_finish(tmp_path):
    """Each rename, sync and removal in turn is the first thing that doesn't happen."""
    cases = decided_cases(tmp_path, 11)
    codes = killed_finishes(cases, range(11), [0] * 11)
    assert codes == [-signal.SIGKILL] * 10 + [0]
    signed = [check_after_kill(case) for case in cases]
    assert signed == sorted(signed) and not signed[0] and signed[-2]
    for case in cases:
        repair(case)
