"""Stage completeness: what an audit, two reviewers and the curve of rounds say of the slumps that are missing."""

import importlib.util
import json
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely import Point, box

from review_case import AT, CRS, GRID, STRICT, Case, frame, place, square
from rts_pipeline.completeness import build_completeness, estimate_audit, estimate_curve, states, window_of
from rts_pipeline.config import GridSection, Place, Time
from rts_pipeline.errors import InputError
from rts_pipeline.inventory.build import build_inventory
from rts_pipeline.options import CompletenessOptions, InventoryOptions
from rts_pipeline.review.events import make_event
from rts_pipeline.review.finish import finish
from rts_pipeline.review.outlines import to_geojson
from rts_pipeline.review.store import append, read_round

SECTION = GridSection(crs=CRS, cell_px=128, block_cells=2)


def looked(windows, decision="reject"):
    sampled = windows.loc[windows["sampled"], "window_id"]
    return pd.DataFrame({"window_id": sampled, "decision": decision})


def verdicts(windows, looked=True):
    return pd.DataFrame({"window_id": windows.loc[windows["sampled"], "window_id"], "looked": looked})


def inventory(rows):
    """An inventory of squares of 1 ha at the centres of windows: (window, source, decision, parts)."""
    windows = frame().geometry.centroid
    values = [{"source": source, "decision": decision, "parts": parts} for _, source, decision, parts in rows]
    outlines = [windows.iloc[window].buffer(50, cap_style="square") for window, *_ in rows]
    return gpd.GeoDataFrame(values, geometry=outlines, crs=CRS)


def test_a_slump_is_known_if_the_network_or_an_earlier_round_knew_it():
    later = json.dumps([{"source": "round 02", "decision": "missed"}, {"source": "round 03", "decision": "accept"}])
    both = json.dumps([{"source": "round 02", "decision": "missed"}, {"source": "seed", "decision": "seed"}])
    rows = [
        (0, "seed", "seed", None),
        (1, "round 01", "missed", None),
        (2, "round 02", "accept", None),
        (3, "round 02", "missed", None),
        (4, "round 03", "edit", None),
        (5, "round 02", "accept", later),
        (6, "seed", "seed", both),
    ]
    assert states(inventory(rows), 2).known.tolist() == [True, True, True, False, False, False, True]


def test_points_find_their_window():
    windows = frame()
    points = windows.geometry.centroid
    assert window_of(windows, points.x.to_numpy(), points.y.to_numpy()).tolist() == list(range(len(windows)))
    west, south, east, north = windows.total_bounds
    outside = np.array([west - 1, east + 1, west + 1, west + 1]), np.array([south + 1, south + 1, south - 1, north + 1])
    assert window_of(windows, *outside).tolist() == [-1] * 4
    assert window_of(windows, np.array([west]), np.array([north - 1])).tolist() == [0]


def test_what_was_added_in_the_sample_stands_for_more():
    windows = frame(sampled=range(8))
    rows = [(window, "seed", "seed", None) for window in range(6)] + [(7, "round 01", "missed", None)]
    audit = estimate_audit(windows, verdicts(windows), states(inventory(rows), 1))
    assert (audit["known"], audit["added"]) == (6, 1)
    assert audit["missed"]["value"] == pytest.approx(4)
    assert audit["recall"]["value"] == pytest.approx(0.6)
    assert audit["completeness"]["value"] == pytest.approx(0.7)
    assert audit["missed"]["low"] == 1
    assert audit["windows"] == {"frame": 32, "sampled": 8, "looked_through": 8}
    sizes = audit["size_classes"]
    assert sizes["1 to 5 ha"]["known"] + sizes["0.2 to 1 ha"]["known"] == 6
    assert sizes["5 ha and above"]["recall"]["value"] is None


def test_what_was_found_elsewhere_bounds_the_estimate():
    windows = frame(sampled=range(8))
    rows = [(window, "round 02", "accept", None) for window in range(20, 26)]
    audit = estimate_audit(windows, verdicts(windows), states(inventory(rows), 1))
    assert audit["missed"]["value"] == audit["missed"]["low"] == 6
    assert audit["missed"]["high"] > 6
    assert audit["completeness"]["value"] == 1


def test_windows_that_nobody_looked_through_are_no_evidence():
    windows = frame(sampled=range(8))
    rows = [(0, "seed", "seed", None)]
    audit = estimate_audit(windows, verdicts(windows, looked=[True] * 4 + [False] * 4), states(inventory(rows), 1))
    assert audit["windows"]["looked_through"] == 4
    none = estimate_audit(windows, verdicts(windows, looked=False), states(inventory(rows), 1))
    assert none["missed"]["value"] is None
    assert none["recall"]["value"] is None
    assert "no window was looked at" in none["missed"]["reason"]


def reviewed(*decisions, known=""):
    values = {"decision": list(decisions), "known_ids": known}
    return gpd.GeoDataFrame(values, geometry=[Point(0, 0).buffer(1)] * len(decisions), crs=CRS)


def test_the_curve_is_of_what_the_networks_found():
    rounds = {
        "01": reviewed(*["accept"] * 30, "missed", "reject"),
        "02": reviewed(*["edit"] * 10, "missed"),
        "03": reviewed(*["accept"] * 3),
        "04": reviewed("accept", known="seed-00001"),
    }
    result = estimate_curve(rounds, 0)
    assert result["new"] == [30, 10, 3, 0]
    assert result["total"]["value"] == pytest.approx(43, abs=1)
    assert len(result["expected"]) == 4
    cut = estimate_curve(rounds, 2)
    assert cut["total"]["value"] is None
    assert "max_count" in cut["total"]["reason"]
    first = next(iter(rounds))
    unseen = estimate_curve(rounds | {first: rounds[first].assign(decision="unseen")}, 0)
    assert unseen["total"]["value"] is None and "review.allow_unreviewed" in unseen["total"]["reason"]


class Project(Case):
    """A signed-off round that two reviewers judged, and that was audited."""

    def __init__(self, folder, second=True, known=None):
        super().__init__(folder, outlines=[square(i) for i in range(8)], known=known)
        self.decide_all(["accept"] * 6 + ["reject"] * 2, reviewer="ann")
        if second:
            self.decide_all(["accept"] * 7 + ["reject"], reviewer="bob")
            self.decide(6, "accept", reviewer="zoe", role="adjudicator")
        missed = make_event(
            **{"round": "01", "candidate_id": "missed-1", "reviewer": "ann", "at": AT, "source": "simulated"},
            **{"guideline_version": "1", "action": "add_missed", "geometry": to_geojson(place(box(0, 0, 60, 60), 200, 400))},
        )
        append(self.reviews, "01", "ann", [missed])

    def finish(self):
        finish(self.reviews, "01", policy=STRICT, grid=GRID, at=AT)
        options = InventoryOptions(area=Place(), time=Time(), grid=SECTION)
        self.inventory = self.results / "outlines.parquet"
        build_inventory(None, [self.folder / "reviewed.parquet"], self.inventory, options)
        return self

    def audit(self, decision="reject"):
        windows = frame(columns=14, rows=6)
        windows.to_parquet(self.folder / "audit.parquet")
        looked(windows, decision).to_parquet(self.folder / "audited.parquet")
        return self

    def build(self, detectors=()):
        out = self.results / "completeness.json"
        build_completeness(self.inventory, self.reviews, detectors, out, CompletenessOptions(grid=SECTION), ["01"])
        return json.loads(out.read_text())


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path).finish()


def test_without_an_audit_nothing_is_claimed(project):
    result = project.build()
    assert result["audit"]["round"] is None
    assert "no round was audited" in result["audit"]["reason"]
    assert result["curve"]["total"]["value"] is None
    assert all(result[name]["assumptions"] for name in ("audit", "reviewers", "detectors", "curve"))
    assert "no two detectors" in result["detectors"]["total"]["reason"]


def test_an_audit_of_all_windows_knows_all(project):
    audit = project.audit().build()["audit"]
    assert audit["round"] == "01"
    assert (audit["known"], audit["added"]) == (7, 1)
    assert audit["missed"] == {"value": 1, "low": 1, "high": 1, "reason": ""}
    assert audit["recall"]["value"] == 7 / 8


def test_two_reviewers_are_two_searches(project):
    reviewers = project.build()["reviewers"]
    assert reviewers["reviewers"] == ["ann", "bob"]
    assert [reviewers[name] for name in ("candidates", "first", "second", "both")] == [8, 6, 7, 6]
    assert reviewers["total"]["value"] == pytest.approx(7)


def test_a_reader_who_adjudicates_searched_all_the_same(tmp_path):
    case = Project(tmp_path)
    (reading,) = [e for e in read_round(case.reviews, "01", "r01-0007") if e.reviewer == "ann"]
    case.decide(6, "accept", "ann", role="adjudicator", parent_event_id=reading.event_id, blind=False)
    reviewers = case.finish().build()["reviewers"]
    assert [reviewers[name] for name in ("candidates", "first", "second", "both")] == [8, 6, 7, 6]


def test_a_known_slump_is_no_find_of_a_reviewer(tmp_path):
    """Two of the accepted eight lie over known slumps: there "reject" would say that the known outline stands."""
    reviewers = Project(tmp_path, known={0: square(0, 80), 7: square(7, 80)}).finish().build()["reviewers"]
    assert [reviewers[name] for name in ("candidates", "first", "second", "both")] == [6, 5, 6, 5]


def test_two_detectors_search_what_neither_was_trained_on(project, tmp_path):
    folders = []
    for name, known, found in (("a", 0, (0, 1, 2, 3, 4)), ("b", 1, (0, 1, 2, 3, 5, 30))):
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        labels = gpd.GeoDataFrame({"kind": ["positive", "negative"]}, geometry=[square(known), square(2)], crs=CRS)
        labels.to_parquet(folders[-1] / "labels.parquet")
        gpd.GeoDataFrame(geometry=[square(i, 90) for i in found], crs=CRS).to_parquet(folders[-1] / "outlines.parquet")
    detectors = project.build(folders)["detectors"]
    # 30 is no slump; 0 and 1 were known to one of them
    assert [detectors[name] for name in ("slumps", "first", "second", "both")] == [6, 3, 3, 2]
    assert detectors["total"]["value"] == pytest.approx(4 * 4 / 3 - 1)
    assert detectors["unjudged"] == [0, 1]


@pytest.mark.parametrize("decision", ["accept", "edit"])
def test_an_accepted_window_is_no_slump(project, decision):
    project.audit(decision)
    with pytest.raises(InputError, match=f"window a01-0000 is decided as '{decision}'"):
        project.build()


def test_one_reviewer_is_no_capture(tmp_path):
    reviewers = Project(tmp_path, second=False).finish().build()["reviewers"]
    assert reviewers["total"]["value"] is None
    assert reviewers["reviewers"] == []


def test_intervals_hold_the_truth_on_a_few_corridors():
    path = Path(__file__).parents[1] / "bench/completeness.py"
    spec = importlib.util.spec_from_file_location("bench_completeness", path)
    bench = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = bench
    spec.loader.exec_module(bench)
    rows = bench.summaries(bench.simulate(25, bench.World()))
    assert len(rows) == 13
    for name, row in rows.items():
        assert row["coverage"] >= 0.8, name
        assert row["unbounded"] == 0, name
    assert abs(rows["audit, missed, all"]["bias"]) < 0.25
    assert abs(rows["recapture, detectors"]["bias"]) < 0.05
