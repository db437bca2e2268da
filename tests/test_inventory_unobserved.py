"""An earlier slump that nobody found this time is carried along until somebody says that it is gone."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely import box
from typer.testing import CliRunner

from inventory_case import EAST, NORTH, OPTIONS, Project, release, square
from rts_pipeline.cli import app
from rts_pipeline.completeness import build_completeness
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.inventory.relations import question_id
from rts_pipeline.options import CompletenessOptions

OLD = square(0)
TOLD = ["relation", "status", "rts_uid", "related_uid", "decided_by"]


def west(share):
    """The western part of OLD, with the ground around it."""
    return box(EAST - 600, NORTH - 600, EAST + 60 * share, NORTH + 600)


def earlier(tmp_path, outline=OLD, **columns):
    path = release(tmp_path / "earlier.parquet", [("old", outline)])
    gpd.read_parquet(path).assign(**columns).to_parquet(path)
    return path


def one(relations):
    assert len(relations) == 1
    return relations.iloc[0]


@pytest.mark.parametrize(("unseen", "tellable"), [(0.0, True), (0.4, True), (0.6, False), (1.2, False)])
def test_it_stays_and_the_lab_is_asked_where_most_of_its_ground_was_observed(tmp_path, unseen, tellable):
    slumps, relations = Project(tmp_path).build(earlier(tmp_path), unseen=[west(unseen)] if unseen else [])
    assert slumps[["rts_uid", "decision"]].to_numpy().tolist() == [["old", "earlier"]]
    expected = ["unknown", "asked"] if tellable else ["unobserved", "proposed"]
    assert one(relations)[TOLD].tolist() == [*expected, "old", "old", ""]
    seen = {0.0: "100%", 0.4: "58%", 0.6: "38%", 1.2: "0%"}[unseen]  # whole pixels
    assert f"{seen} of it was observed" in one(relations)["reason"]


def test_without_source_maps_nothing_was_observed(tmp_path):
    project = Project(tmp_path)
    project.source_maps = lambda *_: []
    slumps, _ = project.build(earlier(tmp_path))
    assert slumps["rts_uid"].tolist() == ["old"]


@pytest.mark.parametrize("missing", ["--aoi", "--source"])
def test_what_an_earlier_inventory_needs_is_named(tmp_path, missing, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Project(tmp_path, [OLD])
    given = {"--previous": earlier(tmp_path), "--aoi": "aoi.gpkg", "--source": "a_source.tif"}
    arguments = [str(part) for key, path in given.items() if key != missing for part in (key, path)]
    told = [
        "inventory",
        "build",
        "--seeds",
        "seeds.parquet",
        "--out",
        "out.parquet",
        "--options",
        OPTIONS.model_dump_json(),
        *arguments,
    ]
    done = CliRunner().invoke(app, told)
    assert isinstance(done.exception, UsageError)
    assert f"is given without {missing}" in str(done.exception)


def test_its_row_tells_what_the_earlier_one_told_and_that_nobody_saw_it(tmp_path):
    path = earlier(
        tmp_path,
        **{"possibility": "0.75", "n_reviews": 2.0, "reviewers": "ann,bob", "active": True, "first_year": 2017.0, "note": None},
        **{"delineation_id": "r01-0001", "change_of": "r01-0001", "decision": "accept", "source": "round 01", "iteration": 1},
        **{"growth_m2_yr": "much", "relation": "merged", "related_uids": "other", "region": "elsewhere"},
    )
    project = Project(tmp_path, [square(300)])
    slumps, _ = project.build(path, unseen=[west(2)])
    assert slumps["rts_id"].tolist() == [1, 2]
    row = slumps.set_index("rts_uid").loc["old"]
    assert row["geometry"].equals(OLD)
    kept = ("possibility", "possibility_class", "n_reviews", "reviewers", "active", "first_year", "relation", "related_uids")
    assert row[[*kept]].tolist() == [0.75, "High", 2, "ann,bob", True, 2017, "merged", "other"]
    assert row[["decision", "source", "iteration", "region"]].tolist() == ["earlier", "earlier", 0, "Beiluhe"]
    assert row["delineation_id"] == "earlier-old", "r01-0001 is another outline here"
    assert row[["change_of", "growth_m2_yr", "note", "parts"]].isna().all()


def test_numbers_of_its_row_that_mean_something_else_are_left(tmp_path):
    """A decimal year, a number of reviews without end, and a possibility in per cent."""
    path = earlier(tmp_path, first_year=2017.5, n_reviews=np.inf, possibility=75.0, growth_m2_yr=-2.5)
    slumps, _ = Project(tmp_path, [square(300)]).build(path, unseen=[west(2)])
    row = slumps.set_index("rts_uid").loc["old"]
    assert row[["first_year", "possibility", "possibility_class"]].isna().all()
    assert row[["n_reviews", "growth_m2_yr"]].tolist() == [0, -2.5]


@pytest.mark.parametrize(
    ("told", "kept"), [("2019-05-06T10:00:00Z", True), ("31.12.2018", False), (2018, False), (None, False)]
)
def test_a_time_of_its_row_that_is_no_time_is_left(tmp_path, told, kept):
    """The release bears the day of the latest verdict."""
    slumps, _ = Project(tmp_path, [square(300)]).build(earlier(tmp_path, reviewed_at=told), unseen=[west(2)])
    assert slumps["reviewed_at"].dropna().tolist() == ([told] if kept else [])


def test_the_lab_may_say_otherwise(tmp_path):
    path, unseen = earlier(tmp_path), [west(2)]
    for said, there in (("stabilized", False), ("unknown", False), ("unobserved", True)):
        decided = Project(tmp_path).decisions(f"{question_id(OLD)},{said},eve,")
        for observed in ([], unseen):
            slumps, relations = Project(tmp_path).build(path, decided, unseen=observed)
            assert (len(slumps), one(relations)["relation"], one(relations)["decided_by"]) == (int(there), said, "eve")


def test_reviewers_who_saw_a_scar_go_first(tmp_path):
    project = Project(tmp_path)
    project.round(("reject", OLD, {"reject_reason": "stable scar"}))
    slumps, relations = project.build(earlier(tmp_path), unseen=[west(2)])
    assert (len(slumps), one(relations)["relation"]) == (0, "stabilized")


@pytest.mark.parametrize(("reason", "stays"), [("water", False), (None, False), ("snow or cloud", True)])
def test_reviewers_who_saw_something_else_take_it_out(tmp_path, reason, stays):
    project = Project(tmp_path)
    project.round(("reject", square(0, 0, 50), {"reject_reason": reason}))
    slumps, relations = project.build(earlier(tmp_path))
    assert slumps["rts_uid"].tolist() == (["old"] if stays else [])
    assert one(relations)[["relation", "status"]].tolist() == ["unknown", "asked"]


def test_ground_that_was_rejected_twice_counts_once(tmp_path):
    """An outline that is much larger than one that was rejected is asked again, and may be rejected too."""
    project = Project(tmp_path)
    project.round(("reject", square(0, 0, 20), {"reject_reason": "water"}))
    project.round(("reject", square(0, 0, 25), {"reject_reason": "water"}))
    slumps, _ = project.build(earlier(tmp_path))
    assert slumps["rts_uid"].tolist() == ["old"], "less than half of it was rejected"


def test_it_takes_no_ground_of_another_slump(tmp_path):
    """A neighbour overlaps by accident; a slump that was found there and is said to be another takes all."""
    project = Project(tmp_path)
    project.round(("accept", square(57), {}))
    slumps, _ = project.build(earlier(tmp_path), unseen=[west(2)])
    area = slumps.set_index("rts_uid").area
    assert area["old"] == pytest.approx(57 * 60)
    assert slumps.geometry.union_all().area == pytest.approx(area.sum())

    found = Project(tmp_path / "whole")
    found.round(("accept", square(0, 0, 60), {}))
    whole = question_id(OLD, OLD)
    slumps, relations = found.build(earlier(tmp_path), found.decisions(f"{whole},overlap,eve,"), unseen=[west(2)])
    assert len(slumps) == 1 and slumps["decision"].tolist() == ["accept"]
    assert set(relations["relation"]) == {"overlap", "unknown"}
    rows = (f"{whole},overlap,eve,", f"{question_id(OLD)},unobserved,eve,")
    with pytest.raises(InputError, match=r"row 3: .* can't be carried along: other slumps take all of its ground"):
        found.build(earlier(tmp_path), found.decisions(*rows), unseen=[west(2)])


def test_it_is_carried_along_for_years(tmp_path):
    path = earlier(tmp_path, possibility=0.5)
    for year in (2020, 2021):
        project = Project(tmp_path / str(year))
        slumps, _ = project.build(path, unseen=[west(2)])
        path = project.folder / "outlines.parquet"
        assert slumps[["rts_uid", "delineation_id", "possibility"]].to_numpy().tolist() == [["old", "earlier-old", 0.5]]


def test_no_estimate_counts_it(tmp_path):
    project = Project(tmp_path, [square(300)])
    project.build(earlier(tmp_path), unseen=[west(2)])
    options = CompletenessOptions(grid=project.options.grid)
    folders = []
    for name in ("a", "b"):
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        none = gpd.GeoDataFrame({"kind": pd.Series([], dtype="str")}, geometry=[], crs="EPSG:32646")
        none.to_parquet(folders[-1] / "labels.parquet")
        none.to_parquet(folders[-1] / "outlines.parquet")
    (tmp_path / "reviews").mkdir()
    out = tmp_path / "completeness.json"
    build_completeness(tmp_path / "outlines.parquet", tmp_path / "reviews", folders, out, options, [])
    assert '"slumps": 1' in out.read_text()
