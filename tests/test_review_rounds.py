"""Drafts, the chain of sign-offs, and the state of the rounds."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from review_case import AT, GRID, STRICT, Case, square, write_candidates
from rts_pipeline.config import GUIDELINE
from rts_pipeline.errors import InputError, PipelineError, RefusedError, UsageError
from rts_pipeline.review import rounds
from rts_pipeline.review.desk import Desk
from rts_pipeline.review.finish import finish
from rts_pipeline.review.given import Verdict
from rts_pipeline.review.start import start
from rts_pipeline.review.status import status
from rts_pipeline.review.store import read_round
from rts_pipeline.review.verify import verify


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


@pytest.fixture
def two_rounds(tmp_path):
    """Rounds 01 (two new slumps) and 02 (none), both signed off."""
    case = Case(tmp_path)
    case.decide_all()
    finish(case.reviews, "01", policy=STRICT, grid=GRID, at=AT)
    write_candidates(case.results, "02", outlines=[])
    start(case.reviews, case.results, "02", at=AT)
    finish(case.reviews, "02", policy=STRICT, grid=GRID, at=AT)
    return case


def test_a_new_folder_has_no_rounds(tmp_path):
    assert rounds.read_signoffs(tmp_path / "reviews") == []
    assert rounds.open_draft(tmp_path / "reviews") is None
    assert status(tmp_path / "reviews") == []


def test_an_open_review_keeps_the_guideline_of_its_start(tmp_path):
    reviews, results = tmp_path / "reviews", tmp_path / "results"
    write_candidates(results)
    for version in ("1", GUIDELINE):
        assert start(reviews, results, "01", at=AT, guideline_version=version).guideline_version == "1"
    Desk(reviews, results, "01", "ann").decide(Verdict(candidate_id="r01-0001", decision="accept"))
    assert [event.guideline_version for event in read_round(reviews, "01")] == ["1"]


def test_the_guideline_is_of_the_version_that_is_recorded():
    text = (Path(__file__).parents[1] / "docs/guideline.md").read_text()
    assert f"\nVersion: {GUIDELINE}\n" in text
    assert f"\n| {GUIDELINE} |" in text.partition("\n## Versions\n")[2], "what is new in it"


def test_start_keeps_a_copy_and_says_what_is_judged(case):
    draft = rounds.read_draft(case.reviews, "01")
    assert (draft.round, draft.n_candidates, draft.started_at, draft.guideline_version) == ("01", 4, AT, GUIDELINE)
    assert rounds.open_draft(case.reviews) == "01"
    source = case.results / "rounds/01/candidates.parquet"
    assert (case.folder / "candidates.parquet").read_bytes() == source.read_bytes()
    write_candidates(case.results, outlines=[square(9)])
    assert rounds.read_draft(case.reviews, "01") == draft


def test_start_keeps_what_the_years_say(case):
    """The inventory reads it after the round's results are gone."""
    for name in (rounds.CHANGE, rounds.YEARS):
        assert (case.folder / name).read_bytes() == (case.results / "rounds/01" / name).read_bytes()


def test_start_without_the_evidence(tmp_path):
    write_candidates(tmp_path / "results").parent.joinpath(rounds.CHANGE).unlink()
    with pytest.raises(RefusedError, match=r"change\.parquet: no such file beside the round's candidates"):
        start(tmp_path / "reviews", tmp_path / "results", "01", at=AT)
    assert rounds.open_draft(tmp_path / "reviews") is None


def test_start_again(case):
    draft = (case.folder / "draft.json").read_bytes()
    start(case.reviews, case.results, "01", at="2021-01-01T00:00:00Z")
    assert (case.folder / "draft.json").read_bytes() == draft
    write_candidates(case.results, outlines=[square(9)])
    with pytest.raises(RefusedError, match="differs from the candidates that the open review"):
        start(case.reviews, case.results, "01", at=AT)
    assert (case.folder / "draft.json").read_bytes() == draft


def test_a_start_that_was_killed_before_the_draft_can_be_repeated(case):
    (case.folder / "draft.json").unlink()
    (case.folder / ".tmp-77-draft.json").write_text("{")
    write_candidates(case.results, outlines=[square(9)])
    assert start(case.reviews, case.results, "01", at=AT).n_candidates == 1
    assert not list(case.folder.glob(".tmp-*"))


@pytest.mark.parametrize("name", ["1", "001", "00", "ab", "", "../01", "٠١"])
def test_names_of_rounds(tmp_path, name):
    with pytest.raises(UsageError, match="not the name of a round"):
        start(tmp_path / "reviews", tmp_path, name, at=AT)


def test_start_without_candidates(tmp_path):
    with pytest.raises(RefusedError, match=r"candidates\.parquet: round 01 has no candidates yet; run 'snakemake"):
        start(tmp_path / "reviews", tmp_path / "results", "01", at=AT)
    assert not (tmp_path / "reviews").exists()


def test_start_on_damaged_candidates(tmp_path):
    path = write_candidates(tmp_path / "results")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="not a Parquet file"):
        start(tmp_path / "reviews", tmp_path / "results", "01", at=AT)
    assert rounds.open_draft(tmp_path / "reviews") is None


def test_start_in_the_wrong_order(two_rounds):
    write_candidates(two_rounds.results, "04")
    with pytest.raises(RefusedError, match="round 04 can't be reviewed before round 03; review round 03"):
        start(two_rounds.reviews, two_rounds.results, "04", at=AT)
    with pytest.raises(RefusedError, match="round 01 is already signed off"):
        start(two_rounds.reviews, two_rounds.results, "01", at=AT)


def test_the_chain_is_read(two_rounds):
    first, second = rounds.read_signoffs(two_rounds.reviews)
    assert (first.round, first.after, first.n_candidates, first.n_new) == ("01", None, 4, 2)
    assert first.reviewers == ("ann",)
    assert (second.round, second.n_candidates, second.n_new, second.cells) == ("02", 0, 0, ())
    assert second.after == rounds.sha256_file(two_rounds.folder / "signoff.json")
    assert rounds.open_draft(two_rounds.reviews) is None
    assert set(json.loads((two_rounds.folder / "signoff.json").read_text())) == {
        *("round", "after", "rows_sha256", "candidates_sha256", "n_candidates", "n_new", "cells", "at", "reviewers"),
        *("n_changed", "n_cut", "n_unseen", "crs", "pixel_m", "cell_px"),
    }


def _edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


BROKEN = {
    "gap": (lambda r: shutil.rmtree(r / "round_01"), "round 02 is signed off, round 01 is not"),
    "first touched": (lambda r: _edit(r / "round_01/signoff.json", n_new=7), "signed off after another version of the round"),
    "rows": (lambda r: (r / "round_01/reviewed.parquet").open("ab").write(b"x"), "changed after the sign-off"),
    "last rows": (lambda r: (r / "round_02/reviewed.parquet").open("ab").write(b"x"), "changed after the sign-off"),
    "no rows": (lambda r: (r / "round_02/reviewed.parquet").unlink(), "the rows of signed-off round 02 are gone"),
    "moved": (lambda r: (r / "round_02").rename(r / "round_03"), "round 03 is signed off, round 02 is not"),
    "copied": (
        lambda r: shutil.copy(r / "round_01/signoff.json", r / "round_02/signoff.json"),
        "signs off round 01; expected round 02",
    ),
    "first after": (lambda r: _edit(r / "round_01/signoff.json", after="0" * 64), "signed off after another version"),
    "not json": (lambda r: (r / "round_02/signoff.json").write_text("{"), "not valid JSON"),
    "key": (lambda r: _edit(r / "round_02/signoff.json", extra=1), "keys differ; expected round, after"),
    "type": (lambda r: _edit(r / "round_02/signoff.json", n_new="no"), "n_new is 'no'; expected int"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_chain_is_told(two_rounds, how):
    breaks, message = BROKEN[how]
    breaks(two_rounds.reviews)
    with pytest.raises(PipelineError, match=message) as caught:
        rounds.read_signoffs(two_rounds.reviews)
    assert caught.value.exit_code in (3, 4)
    assert "\n" not in str(caught.value)


def test_folders_that_are_no_rounds_are_left_alone(two_rounds):
    shutil.copytree(two_rounds.folder, two_rounds.reviews / "round_01 (copy)")
    shutil.copytree(two_rounds.folder, two_rounds.reviews / "round_01.bak")
    assert len(rounds.read_signoffs(two_rounds.reviews)) == 2


def test_a_draft_out_of_order_is_told(case):
    shutil.copytree(case.folder, case.reviews / "round_03")
    with pytest.raises(RefusedError, match="the review of round 03 is open, but round 01 comes next"):
        rounds.open_draft(case.reviews)


def test_candidates_that_change_under_the_review_are_told(case):
    (case.folder / "candidates.parquet").write_bytes(b"")
    with pytest.raises(RefusedError, match="is missing or changed since the review was started"):
        case.decide(0)


def test_status(tmp_path):
    write_candidates(tmp_path / "results")
    assert [(r.round, r.state, r.undecided) for r in status(tmp_path / "reviews", tmp_path / "results")] == [("01", "ready", 4)]
    case = Case(tmp_path)
    case.decide(0, "accept", "ann")
    case.decide(0, "reject", "bob")
    case.decide(1, "accept", "bob")
    case.decide(1, "unsure", "cem", role="second")
    (row,) = status(case.reviews, case.results)
    assert (row.state, row.n_candidates, row.undecided) == ("open", 4, 2)
    assert row.decided == {("ann", "primary"): 1, ("bob", "primary"): 2, ("cem", "second"): 1}
    assert (row.disagreements, row.forks, row.n_new) == (("r01-0001", "r01-0002"), (), None)


def test_status_of_finished_rounds(two_rounds):
    first, second = status(two_rounds.reviews, two_rounds.results)
    assert (first.state, first.n_new, first.decided, first.undecided) == ("signed off", 2, {("ann", "primary"): 4}, 0)
    assert (second.state, second.n_new, second.n_candidates) == ("signed off", 0, 0)


def test_verify(two_rounds):
    verify(two_rounds.reviews, two_rounds.results, "01")
    write_candidates(two_rounds.results, outlines=[square(9)])
    with pytest.raises(RefusedError, match="differs from the candidates that were judged in round 01"):
        verify(two_rounds.reviews, two_rounds.results, "01")
    with pytest.raises(RefusedError, match="round 03 isn't signed off"):
        verify(two_rounds.reviews, two_rounds.results, "03")


def test_reading_the_chain_loads_no_heavy_library(two_rounds):
    program = f"""
import sys
from pathlib import Path
from rts_pipeline.review.rounds import open_draft, read_signoffs
assert len(read_signoffs(Path({str(two_rounds.reviews)!r}))) == 2
assert open_draft(Path({str(two_rounds.reviews)!r})) is None
print(sorted({{"geopandas", "shapely", "numpy", "pandas", "pyarrow", "pydantic", "torch"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
