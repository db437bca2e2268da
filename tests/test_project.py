"""What the Snakefile learns when it is parsed: the state of the rounds, and a configuration that is frozen for a run."""

import json
import os

import pytest

import review_case
from rts_pipeline import workflow
from rts_pipeline.config import Review, validate_config
from rts_pipeline.grid import Grid
from rts_pipeline.review import rounds
from rts_pipeline.review.events import make_event
from rts_pipeline.review.finish import finish
from rts_pipeline.review.start import start
from rts_pipeline.review.store import append
from rts_pipeline.scenes.memory import state_of_layer
from rts_pipeline.workflow.frozen import FROZEN, freeze

VALUES = {
    "area": {"aoi": "aoi.gpkg"},
    "scenes": {"folders": ["orders"]},
    "labels": {"seeds": "seeds.gpkg"},
    "grid": {"crs": review_case.CRS},
}
NO_NEW, NEW = ("reject",) * 4, ("accept", "reject", "reject", "reject")


def config(folder, **sections):
    return validate_config(
        {**VALUES, "results": str(folder / "results"), "reviews": str(folder / "reviews"), **sections}, "test"
    )


def sign_off(folder, *decided):
    """Review rounds one after the other with these decisions."""
    for number, decisions in enumerate(decided, 1):
        sign_off_next(folder, rounds.round_name(number), decisions)


def sign_off_next(folder, k, decisions, cut=0, policy=None):
    results, reviews = folder / "results", folder / "reviews"
    review_case.write_candidates(results, k, cut=cut)
    start(reviews, results, k, at=review_case.AT)
    append(reviews, k, "ann", [judged(k, candidate, decision) for candidate, decision in enumerate(decisions)])
    finish(reviews, k, policy=policy or Review(), grid=Grid(review_case.CRS, 3.0, 128, 2), at=review_case.AT)


def judged(k, candidate, decision):
    return make_event(
        round=k,
        candidate_id=f"r{k}-{candidate + 1:04d}",
        base_sha256=review_case.sha(review_case.square(candidate)),
        reviewer="ann",
        at=review_case.AT,
        source="import",
        guideline_version="1",
        action="decide",
        decision=decision,
    )


def test_before_any_review_round_one_is_open(tmp_path):
    state = workflow.read_rounds(config(tmp_path))
    assert (state.open, state.finished, state.draft) == ("01", [], None)


def test_a_round_with_new_slumps_opens_the_next(tmp_path):
    sign_off(tmp_path, NEW)
    assert workflow.read_rounds(config(tmp_path)).open == "02"


def test_a_round_without_new_slumps_ends_the_loop(tmp_path):
    sign_off(tmp_path, NEW, NO_NEW)
    state = workflow.read_rounds(config(tmp_path))
    assert (state.open, state.finished) == (None, ["01", "02"])
    project = workflow.Project(config(tmp_path), state, "config/config.yaml")
    assert project.wants_inventory()
    assert project.state_line().startswith("Converged: round 02")


def test_extra_rounds_are_opened(tmp_path):
    sign_off(tmp_path, NO_NEW)
    assert workflow.read_rounds(config(tmp_path)).open is None
    assert workflow.read_rounds(config(tmp_path, rounds={"extra": 1})).open == "02"


def test_nothing_converges_while_outlines_wait(tmp_path):
    sign_off(tmp_path, NEW)
    sign_off_next(tmp_path, "02", NO_NEW, cut=3)
    settings = config(tmp_path)
    state = workflow.read_rounds(settings)
    assert (state.open, state.signed[-1].n_cut) == ("03", 3)
    review_case.write_candidates(tmp_path / "results", "03", cut=2)
    line = workflow.Project(settings, state, "config/config.yaml").state_line()
    assert line.startswith("Round 03: 4 candidates ready for review, 2 more wait for a later round (candidates.max_count")
    sign_off_next(tmp_path, "03", NO_NEW)
    assert workflow.read_rounds(settings).open is None


def test_nothing_converges_while_nobody_looked_at_candidates(tmp_path):
    sign_off_next(tmp_path, "01", NO_NEW[:1], policy=Review(allow_unreviewed=True))
    settings = config(tmp_path)
    state = workflow.read_rounds(settings)
    assert (state.open, state.signed[-1].n_unseen) == ("02", 3)
    project = workflow.Project(settings, state, "config/config.yaml")
    unseen = "nobody looked at 3 candidates of round 01"
    assert project.state_line() == f"Round 02: to be computed (1 rounds signed off; {unseen})."
    review_case.write_candidates(tmp_path / "results", "02")
    assert project.state_line().startswith(f"Round 02: 4 candidates ready for review; {unseen}; next: ")
    sign_off_next(tmp_path, "02", NO_NEW)
    assert workflow.read_rounds(settings).open is None


def test_a_sign_off_from_before_unseen_candidates_were_counted_is_read(tmp_path):
    sign_off(tmp_path, NO_NEW)
    path = tmp_path / "reviews/round_01/signoff.json"
    values = json.loads(path.read_text())
    assert values.pop("n_unseen") == 0
    path.write_text(json.dumps(values))
    assert workflow.read_rounds(config(tmp_path)).open is None


def test_known_slumps_with_another_outline_end_the_loop(tmp_path):
    results, reviews = tmp_path / "results", tmp_path / "reviews"
    review_case.write_candidates(results, known={0: review_case.square(0, 50)})
    start(reviews, results, "01", at=review_case.AT)
    append(reviews, "01", "ann", [judged("01", candidate, decision) for candidate, decision in enumerate(NEW)])
    finish(reviews, "01", policy=Review(), grid=Grid(review_case.CRS, 3.0, 128, 2), at=review_case.AT)
    assert workflow.read_rounds(config(tmp_path)).open is None


def test_an_open_draft_is_left_out_of_the_targets(tmp_path):
    review_case.write_candidates(tmp_path / "results")
    start(tmp_path / "reviews", tmp_path / "results", "01", at=review_case.AT)
    settings = config(tmp_path)
    project = workflow.Project(settings, workflow.read_rounds(settings), "x.yaml")
    assert project.wanted_rounds() == []
    assert project.state_line() == "Round 01: review in progress; next: rts-pipeline review finish 01 --config x.yaml"


def test_jobs_take_the_frozen_state(tmp_path, monkeypatch):
    """An edit or a sign-off during a run changes nothing for the jobs that parse the Snakefile again."""
    sign_off(tmp_path, NEW)
    settings = config(tmp_path)
    state = workflow.read_rounds(settings)
    frozen = freeze(settings, state)
    monkeypatch.setenv(FROZEN, frozen)
    sign_off_next(tmp_path, "02", NO_NEW)
    assert workflow.read_rounds(settings).open is None
    edited = {**VALUES, "train": {"nonsense": 1}}
    project = workflow.load_project(edited, "edited.yaml", main_process=False)
    assert project.config == settings
    assert project.rounds == state
    assert len(frozen) < 10_000


def test_the_main_process_reads_the_file_even_with_a_frozen_state_around(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(FROZEN, "{}")
    with pytest.raises(SystemExit) as ended:
        workflow.load_project({**VALUES, "train": {"nonsense": 1}}, "edited.yaml", main_process=True)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("rts-pipeline: edited.yaml: unknown key 'train.nonsense'")
    assert os.environ[FROZEN] == "{}"


@pytest.mark.parametrize("name", ["seeds", "seeds [v2]", "seeds[!a]", "s*e?ds", "seeds.v2"])
def test_every_file_of_a_layer_counts_whatever_its_name(tmp_path, name):
    """Else an edit of the seeds or of the area would go unnoticed when a run is planned."""
    layer = tmp_path / f"{name}.shp"
    for path in (layer, tmp_path / f"{name}.dbf", tmp_path / "other.shp"):
        path.write_text("a")
    before = state_of_layer(layer)
    assert sorted(file for file, *_ in before) == [f"{name}.dbf", f"{name}.shp"]
    layer.write_text("edited")
    assert state_of_layer(layer) != before
