"""The windows of an audit under review: looked through like candidates are judged, and never taken for outlines."""

import json

import geopandas as gpd
import pandas as pd
import pyogrio
import pytest
from shapely import box

from review_case import AT, CRS, EDGE_M, GRID, STRICT, Case, frame, middle, square
from rts_pipeline.candidates import outline_sha256
from rts_pipeline.completeness import build_completeness
from rts_pipeline.config import GridSection, Place, Review, Time
from rts_pipeline.errors import InputError, RefusedError, UsageError
from rts_pipeline.inventory.build import build_inventory
from rts_pipeline.io import write_parquet
from rts_pipeline.options import CompletenessOptions, InventoryOptions
from rts_pipeline.review.desk import Desk
from rts_pipeline.review.events import exchange_text
from rts_pipeline.review.exchange import export_gpkg, import_events, import_verdicts
from rts_pipeline.review.finish import finish
from rts_pipeline.review.given import Verdict
from rts_pipeline.review.outlines import from_geojson, to_geojson
from rts_pipeline.review.readings import Draw, queue_of, second_readings
from rts_pipeline.review.rounds import DRAFT, SIGNOFF, read_candidates, read_draft, read_signoffs
from rts_pipeline.review.simulated import simulate_review
from rts_pipeline.review.start import start
from rts_pipeline.review.status import status
from rts_pipeline.review.store import append, merge
from rts_pipeline.review.verify import verify

SAMPLED = [0, 3, 11, 20]
WINDOWS = [f"a01-{number:04d}" for number in SAMPLED]
CANDIDATES = [f"r01-{number:04d}" for number in range(1, 5)]
SECTION = GridSection(crs=CRS, cell_px=128, block_cells=2)


def sample():
    """32 windows, of which four were sampled; in the third one a slump is known."""
    windows = frame(sampled=SAMPLED)
    windows.loc[11, "known"] = windows.geometry[11].centroid.buffer(20)
    return windows


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path, windows=sample())


def event(case, window, decision="reject", **fields):
    rows = read_candidates(case.reviews, "01").set_index("candidate_id")
    values = {"candidate_id": window, "base_sha256": rows.loc[window, "base_sha256"], **fields}
    return case.event(0, decision, **values)


def say(case, *decisions, reviewer="ann"):
    events = [event(case, name, decision, reviewer=reviewer) for name, decision in zip(WINDOWS, decisions, strict=False)]
    append(case.reviews, "01", reviewer, events)


def close(case, policy=STRICT):
    return finish(case.reviews, "01", policy=policy, grid=GRID, at=AT)


def audited(case):
    return pd.read_parquet(case.folder / "audited.parquet").set_index("window_id")


def test_the_place_of_a_window_among_the_candidates_cannot_be_foretold(tmp_path):
    """Each stands anywhere among them with the same chance: not at the ends, and not each so many."""
    case = Case(tmp_path, windows=frame(), outlines=[square(number) for number in range(8)])
    rows = read_candidates(case.reviews, "01")
    ranks = rows.loc[rows["status"] == "window", "rank"]
    assert len(ranks) == 32
    assert ranks.value_counts().reindex(range(1, 9), fill_value=0).between(1, 10).all()
    assert ranks.diff().value_counts().max() < 12


def test_windows_are_under_review_beside_the_candidates(case):
    rows = read_candidates(case.reviews, "01").set_index("candidate_id")
    assert list(rows.index) == [*WINDOWS, *CANDIDATES]
    windows = rows.loc[WINDOWS]
    assert set(windows["status"]) == {"window"}
    assert set(windows["known_ids"]) == {""}
    assert list(windows["base_sha256"]) == outline_sha256(frame().geometry[SAMPLED].to_numpy())
    assert list(windows["known"].notna()) == [False, False, True, False]
    assert windows["area_m2"].between(0.99 * EDGE_M**2, 1.01 * EDGE_M**2).all()
    assert read_draft(case.reviews, "01").n_candidates == 4
    assert queue_of(case.reviews, "01", "ann") == [*WINDOWS, *CANDIDATES]
    (row,) = status(case.reviews)
    assert (row.n_candidates, row.n_windows, row.undecided) == (4, 4, 8)


def test_on_a_reviewers_desk(case):
    desk = Desk(case.reviews, case.results, "01", "ann")
    columns = desk.columns()
    assert {name for name, window in zip(columns["id"], columns["window"], strict=True) if window} == set(WINDOWS)
    window = desk.candidate(WINDOWS[2])
    assert from_geojson(window["known"]).equals(sample().loc[11, "known"].normalize())
    assert window["inside"] == []
    # no number of the network on a window, nor any window among the outlines around
    assert desk.decide(Verdict(candidate_id=WINDOWS[2], decision="reject"))["numbers"] is None
    assert desk.decide(Verdict(candidate_id=CANDIDATES[0], decision="reject"))["numbers"]["prob_mean"] == 0.7
    around = desk.around(tuple(read_candidates(case.reviews, "01").total_bounds))
    assert sorted(row["id"] for row in around["candidates"]) == CANDIDATES
    with pytest.raises(UsageError, match="'accept' on a window"):
        desk.decide(Verdict(candidate_id=WINDOWS[0], decision="accept"))


def test_a_window_shows_the_candidates_in_it(tmp_path):
    case = Case(tmp_path, outlines=[middle(3), square(1)], windows=sample())
    (inside,) = Desk(case.reviews, case.results, "01", "ann").candidate(WINDOWS[1])["inside"]
    assert from_geojson(inside).equals(middle(3))


def test_without_an_audit_no_file_differs(tmp_path):
    case = Case(tmp_path)
    assert "audit" not in (case.folder / DRAFT).read_text()
    case.decide_all()
    close(case)
    assert "audit" not in (case.folder / SIGNOFF).read_text()
    assert not list(case.folder.glob("audit*"))


def test_only_candidates_are_drawn_for_a_second_reading(tmp_path):
    case = Case(tmp_path, windows=sample(), second=Draw(1.0))
    assert list(second_readings(case.reviews, "01").random) == CANDIDATES


def test_the_sample_is_frozen(case):
    assert start(case.reviews, case.results, "01", at="2021-01-01T00:00:00Z", audit=True).started_at == AT
    write_parquet(case.results / "rounds/01/audit.parquet", frame(sampled=[1, 2]))
    with pytest.raises(RefusedError, match="differs from the windows that the open review of round 01 was started on"):
        start(case.reviews, case.results, "01", at=AT, audit=True)
    write_parquet(case.folder / "audit.parquet", frame(sampled=[1, 2]))
    with pytest.raises(RefusedError, match=r"audit\.parquet: is missing or changed since the review was started"):
        read_draft(case.reviews, "01")


def test_an_audit_that_was_switched_on_or_off_is_noticed(case, tmp_path):
    with pytest.raises(RefusedError, match="differs from the windows"):
        start(case.reviews, case.results, "01", at=AT)
    (case.folder / DRAFT).unlink()
    start(case.reviews, case.results, "01", at=AT)
    assert queue_of(case.reviews, "01", "ann") == CANDIDATES
    assert not (case.folder / "audit.parquet").exists()
    (case.results / "rounds/01/audit.parquet").unlink()
    (case.folder / DRAFT).unlink()
    with pytest.raises(RefusedError, match="no such file beside the round's candidates"):
        start(case.reviews, case.results, "01", at=AT, audit=True)


@pytest.mark.parametrize("decision", ["accept", "edit"])
def test_the_record_takes_no_window_for_an_outline(case, decision):
    said = event(case, WINDOWS[1], decision, geometry=to_geojson(middle(3)) if decision == "edit" else None)
    with pytest.raises(UsageError, match=f"{WINDOWS[1]}.*'{decision}' on a window, which is no outline; expected reject"):
        append(case.reviews, "01", "ann", [event(case, WINDOWS[0]), said])
    with pytest.raises(UsageError, match="on a window"):
        merge(case.reviews, "01", [said])
    file = case.reviews / "ann.jsonl"
    file.write_text(exchange_text([said]))
    for dry_run in (True, False):
        with pytest.raises(InputError, match=f"line 1 .{WINDOWS[1]}.: '{decision}' on a window"):
            import_events(case.reviews, "01", file, dry_run=dry_run)
    file.rename(case.folder / "ann.jsonl")
    with pytest.raises(InputError, match="on a window"):
        close(case)
    (case.folder / "ann.jsonl").unlink()
    assert status(case.reviews)[0].undecided == 8


def test_a_slump_added_under_the_name_of_a_window_is_refused(case):
    values = {"action": "add_missed", "decision": None, "base_sha256": None, "geometry": to_geojson(middle(3))}
    with pytest.raises(UsageError, match="'add_missed' on a window"):
        append(case.reviews, "01", "ann", [event(case, WINDOWS[1], **values)])


@pytest.mark.parametrize("decision", ["accept", "edit"])
def test_no_file_of_verdicts_takes_a_window_for_an_outline(case, tmp_path, decision):
    file = tmp_path / "ann.gpkg"
    export_gpkg(case.reviews, "01", "ann", file)
    assert list(pyogrio.read_dataframe(file, layer="known")["candidate_id"]) == [WINDOWS[2]]
    rows = pyogrio.read_dataframe(file, layer="candidates")
    assert list(rows["status"]) == ["window"] * 4 + ["candidate"] * 4
    rows.loc[1, "decision"] = decision
    rows.to_file(file, layer="candidates", driver="GPKG", engine="pyogrio")
    with pytest.raises(InputError, match=rf"row 2 .{WINDOWS[1]}.: decision '{decision}' on a window, which is no outline"):
        import_verdicts(case.reviews, "01", "ann", file, at=AT)
    rows.loc[1, "decision"] = "reject"
    rows.loc[2, "decision"] = "unsure"
    rows.to_file(file, layer="candidates", driver="GPKG", engine="pyogrio")
    assert import_verdicts(case.reviews, "01", "ann", file, at=AT).decided == 2


def test_the_signoff_tells_windows_apart_from_outlines(case):
    case.decide_all()
    say(case, "reject", "reject", "unsure")
    with pytest.raises(RefusedError, match=f"1 of 8 candidates not reviewed: {WINDOWS[3]}"):
        close(case)
    say(case, "reject", reviewer="bob")
    signoff = close(case, Review(allow_unreviewed=True))
    rows = gpd.read_parquet(case.folder / "reviewed.parquet")
    assert list(rows["candidate_id"]) == CANDIDATES
    assert (signoff.n_candidates, signoff.reviewers) == (4, ("ann", "bob"))
    told = audited(case)
    assert list(told["decision"]) == ["reject", "reject", "unsure", "unseen"]
    assert list(told["reviewers"]) == ["ann,bob", "ann", "ann", ""]
    assert list(told["reviewed_at"].dropna()) == [AT] * 3
    assert verify(case.reviews, case.results, "01") == signoff
    (row,) = status(case.reviews)
    assert (row.n_candidates, row.n_windows, row.n_missed) == (4, 4, 0)


def test_what_became_of_the_windows_is_as_final_as_the_rows(case):
    case.decide_all()
    say(case, *["reject"] * 4)
    close(case)
    write_parquet(case.folder / "audited.parquet", audited(case).assign(decision="unseen").reset_index())
    with pytest.raises(RefusedError, match=r"audited\.parquet: changed after the sign-off"):
        read_signoffs(case.reviews)


def test_from_the_sample_to_the_estimate(case, tmp_path):
    """A scripted reviewer looks through the windows: one slump there is in no list, one is known, one lies in no window."""
    truth = tmp_path / "truth.gpkg"
    outlines = [square(0), square(1), middle(3), middle(11), middle(12)]
    gpd.GeoDataFrame(geometry=outlines, crs=CRS).to_file(truth, driver="GPKG", engine="pyogrio")
    for _ in range(2):  # the second time changes nothing
        counts = simulate_review(case.reviews, "01", truth, target_year=2019, at=AT)
        assert counts == {"accept": 2, "reject": 2 + len(WINDOWS), "edit": 0, "unsure": 0, "missed": 1}
    signoff = close(case)
    rows = gpd.read_parquet(case.folder / "reviewed.parquet")
    assert not rows["candidate_id"].isin(WINDOWS).any()
    assert rows["decision"].value_counts().to_dict() == {"accept": 2, "reject": 2, "missed": 1}
    assert signoff.n_new == 3

    inventory, out = case.results / "outlines.parquet", case.results / "completeness.json"
    options = InventoryOptions(area=Place(), time=Time(), grid=SECTION)
    build_inventory(None, [case.folder / "reviewed.parquet"], inventory, options)
    build_completeness(inventory, case.reviews, [], out, CompletenessOptions(grid=SECTION), ["01"])
    audit = json.loads(out.read_text())["audit"]
    assert audit["round"] == "01"
    assert audit["windows"] == {"frame": 32, "sampled": 4, "looked_through": 4}
    assert (audit["known"], audit["added"]) == (2, 1)
    assert audit["missed"]["value"] == pytest.approx(32 / 4)
    assert audit["missed"]["low"] <= 2 <= audit["missed"]["high"]
    assert audit["recall"]["value"] == pytest.approx(2 / 10)


def test_a_reviewer_who_overlooks_everything_adds_nothing(case, tmp_path):
    truth = tmp_path / "truth.gpkg"
    gpd.GeoDataFrame(geometry=[middle(3), box(0, 0, 1, 1)], crs=CRS).to_file(truth, driver="GPKG", engine="pyogrio")
    assert simulate_review(case.reviews, "01", truth, miss_rate=1.0, target_year=2019, at=AT)["missed"] == 0
