"""One slump, one row, one uid: over rounds, over overlaps, and from one inventory to the next."""

import itertools
import json

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapely import Point

from inventory_case import CRS, EAST, NORTH, Project, release, square, uid_at
from rts_pipeline.config import Place, Time
from rts_pipeline.errors import InputError, RefusedError
from rts_pipeline.inventory.dictionary import HISTORY
from rts_pipeline.inventory.identity import distinct
from rts_pipeline.inventory.relations import COLUMNS, question_id
from rts_pipeline.seeds import seed_ids

FIRST, SECOND = seed_ids(np.array([square(0), square(200)]))
KNOWN = {"known_ids": FIRST}


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path, [square(0), square(200)])


def told(relations, *columns):
    return sorted(tuple(row) for row in relations[list(columns)].itertuples(index=False))


# --- over rounds ------------------------------------------------------------------------------------------------------


def test_a_slump_that_is_redrawn_keeps_its_uid(project):
    first, _ = project.build()
    project.round(("edit", square(-30, 0, 120), KNOWN))
    second, relations = project.build()
    assert set(first["rts_uid"]) == set(second["rts_uid"])
    assert uid_at(first, 30) == uid_at(second, -20)
    assert len(relations) == 0
    assert second["related_uids"].isna().all()


def test_slumps_that_get_one_outline_are_merged_and_told_apart_again(project):
    before, _ = project.build()
    a, b = uid_at(before, 30), uid_at(before, 230)
    project.round(("accept", square(0, 0, 260), {"known_ids": f"{FIRST},{SECOND}"}))
    merged, relations = project.build()
    kept, lost = merged["rts_uid"][0], ({a, b} - {merged["rts_uid"][0]}).pop()
    assert len(merged) == 1 and kept in {a, b}
    assert (merged["relation"][0], merged["related_uids"][0]) == ("merged", lost)
    assert told(relations, "rts_uid", "related_uid", "relation", "status", "decided_by") == [
        (kept, lost, "merged", "decided", "ann")
    ]
    project.round(("edit", square(0), {"known_ids": "r01-0001"}), ("edit", square(190, 0, 70), {"known_ids": "r01-0001"}))
    again, relations = project.build()
    assert (uid_at(again, 30), uid_at(again, 230)) == (a, b), "each has its first uid again"
    assert len(relations) == 0


def test_a_slump_with_two_outlines_was_split(project):
    before, _ = project.build()
    project.round(("accept", square(-20, 0, 50), KNOWN), ("accept", square(40, 0, 40), KNOWN))
    slumps, relations = project.build()
    assert len(slumps) == 3
    kept, other = uid_at(slumps, 0), uid_at(slumps, 60)
    assert kept == uid_at(before, 30), "the one that shares more goes on"
    assert other not in set(before["rts_uid"])
    assert told(relations, "rts_uid", "related_uid", "relation", "status") == [(other, kept, "split", "decided")]
    row = slumps.set_index("rts_uid").loc[other]
    assert (row["relation"], row["related_uids"], row["source"]) == ("split", kept, "round 01")


SPLIT = (("accept", square(0, 0, 24), KNOWN), ("accept", square(30, 0, 21), KNOWN))
"""The first seed was split: most of it goes on in the first outline."""


def split_project(tmp_path):
    """Return a project whose slump was split, and the uids of both."""
    project = Project(tmp_path, [square(0)])
    project.round(*SPLIT)
    slumps, _ = project.build()
    return project, uid_at(slumps, 10), uid_at(slumps, 40)


def test_what_becomes_of_one_part_of_a_split_slump_moves_no_other_uid(tmp_path):
    project, a, b = split_project(tmp_path)
    project.round(("edit", square(30, 0, 30), {"known_ids": "r01-0002"}))
    slumps, relations = project.build()
    assert (uid_at(slumps, 10), uid_at(slumps, 55)) == (a, b), "also where the other one shares more with the first outline now"
    assert told(relations, "rts_uid", "related_uid", "relation") == [(b, a, "split")]
    project.round(("edit", square(0, 0, 9), {"known_ids": "r01-0001"}), ("edit", square(12, 0, 12), {"known_ids": "r01-0001"}))
    slumps, relations = project.build()
    assert (uid_at(slumps, 15), uid_at(slumps, 55)) == (a, b)
    c = uid_at(slumps, 5)
    assert told(relations, "rts_uid", "related_uid", "relation") == sorted([(b, a, "split"), (c, a, "split")])


def test_a_slump_that_was_split_off_keeps_its_uid_where_a_new_one_reaches_into_it(tmp_path):
    project, a, b = split_project(tmp_path)
    project.round(("missed", square(36, 0, 60), {}))
    slumps, relations = project.build()
    assert (uid_at(slumps, 10), uid_at(slumps, 80)) == (a, b)
    assert len(relations) == 2 and set(relations["relation"]) == {"split", "merged"}


def test_a_slump_that_was_split_off_and_merged_again_is_told_and_gets_its_uid_back(tmp_path):
    project, a, b = split_project(tmp_path)
    project.round(("edit", square(0, 0, 51), {"known_ids": "r01-0001,r01-0002"}))
    slumps, _ = project.build()
    assert slumps[["rts_uid", "relation", "related_uids"]].iloc[0].tolist() == [a, "merged", b]
    project.round(*(("edit", outline, {"known_ids": "r02-0001"}) for _, outline, _ in SPLIT))
    slumps, _ = project.build()
    assert (uid_at(slumps, 10), uid_at(slumps, 40)) == (a, b)


def test_slumps_that_share_ground_are_one_and_said_to_be_merged(tmp_path):
    project = Project(tmp_path, [square(0), square(40), square(300)])
    slumps, relations = project.build()
    assert len(slumps) == 2
    merged = slumps.loc[slumps.area.idxmax()]
    assert merged["relation"] == "merged"
    assert told(relations, "rts_uid", "related_uid", "relation", "status") == [
        (merged["rts_uid"], merged["related_uids"], "merged", "proposed")
    ]


def test_the_same_slump_drawn_twice_is_no_merger(tmp_path):
    slumps, relations = Project(tmp_path, [square(0), square(10)]).build()
    assert relations["relation"].tolist() == ["repeat"]
    assert slumps["relation"].isna().all()


# --- neighbours -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [6.0, 3.0, 0.0, -0.5, -2.6])
def test_neighbours_stay_two(tmp_path, gap):
    """6 m apart, touching, or overlapping by less than a pixel."""
    one, other = square(0), square(60 + gap)
    slumps, relations = Project(tmp_path, [one, other]).build()
    assert len(slumps) == 2
    assert slumps.geometry.is_valid.all()
    assert slumps.union_all().symmetric_difference(one.union(other)).area < 1e-6
    assert slumps.geometry[0].intersection(slumps.geometry[1]).area < 1e-6
    assert relations["relation"].tolist() == (["overlap"] if gap < 0 else [])
    assert slumps["related_uids"].isna().all()


def test_holes_and_parts_stay(tmp_path):
    holed = square(0, 0, 100, 100).difference(square(30, 30, 40, 40))
    inside = square(36, 36, 28, 28)
    two = square(300).union(square(400))
    between = square(366, 0, 28)
    slumps, _ = Project(tmp_path, [holed, inside, two, between]).build()
    assert len(slumps) == 4, "a slump in the hole of another, and one between the parts of another, are their own"
    assert sorted(slumps.area.round(3)) == sorted(round(outline.area, 3) for outline in (holed, inside, two, between))
    assert slumps["rts_uid"].is_unique


def test_two_outlines_of_one_point_have_two_uids(tmp_path):
    """By the rule of ARTS they would have one: their points agree to five decimals of a degree."""
    ring = Point(EAST, NORTH).buffer(50, quad_segs=32)
    slumps = [shapely.affinity.translate(ring, 0, 0), shapely.affinity.translate(ring, 0.1, 0.1)]
    one, _ = Project(tmp_path / "a", slumps[:1]).build()
    both, relations = Project(tmp_path / "b", slumps).build()
    assert len(both) == 1 and relations["related_uid"][0] != both["rts_uid"][0]
    assert distinct(["a", "a", "b", "a"], ["b"])[0] == "a"
    assert len(set(distinct(["a", "a", "b", "a"], ["b"])) | {"b"}) == 5
    assert both["rts_uid"][0] == one["rts_uid"][0]


# --- what is asked ----------------------------------------------------------------------------------------------------

LITTLE = [square(0), square(54)]
"""They overlap by a tenth of each."""


def test_a_small_overlap_is_asked_and_the_lab_decides(tmp_path, capsys):
    project = Project(tmp_path, LITTLE)
    slumps, relations = project.build()
    assert (len(slumps), relations["status"].tolist()) == (1, ["asked"])
    assert "1 of 1 relations wait for a decision" in capsys.readouterr().err
    asked = relations.iloc[0]
    assert asked["choices"] == "merged|overlap"
    path = project.decisions(f"{asked['relation_id']},overlap,eve,two scarps")
    apart, relations = project.build(decisions=path)
    assert len(apart) == 2
    assert sorted(apart.area.round()) == [54 * 60, 3600]
    assert told(relations, "status", "relation", "decided_by", "note") == [("decided", "overlap", "eve", "two scarps")]
    assert capsys.readouterr().err == ""
    path = project.decisions(f"{asked['relation_id']},merged,eve,")
    together, relations = project.build(decisions=path)
    assert (len(together), relations["status"].tolist()) == (1, ["decided"])


@pytest.mark.parametrize("widths", [(300, 290, 280), (300, 280, 290), (290, 300, 280)])
def test_each_small_overlap_of_a_chain_is_asked(tmp_path, widths):
    """Each shares 10 m with the next; the largest is the first, the last or in the middle."""
    starts = [sum(widths[:number]) - 10 * number for number in range(3)]
    chain = [square(start, 0, width) for start, width in zip(starts, widths, strict=True)]
    project = Project(tmp_path, chain)
    slumps, relations = project.build()
    kept = slumps["rts_uid"][0]
    assert len(slumps) == 1
    assert set(relations["relation_id"]) == {question_id(*chain[:2]), question_id(*chain[1:])}
    assert set(relations["status"]) == {"asked"}, "nothing else is told"
    assert set(relations["rts_uid"]) == {kept}
    assert relations["related_uid"].is_unique and kept not in set(relations["related_uid"])
    assert (relations["shared_m2"] == 600).all()
    area = relations["delineation_id"].map(dict(zip(seed_ids(np.array(chain)), shapely.area(chain), strict=True)))
    assert (relations["share"] * area).round(6).eq(600).all(), "shares belong to the outlines that are named"
    for question in relations["relation_id"]:
        apart, relations_then = project.build(decisions=project.decisions(f"{question},overlap,eve,"))
        assert len(apart) == 2
        assert set(relations_then["status"]) == {"asked", "decided"}
    path = project.decisions(*(f"{question},overlap,eve," for question in relations["relation_id"]))
    assert len(project.build(decisions=path)[0]) == 3


@pytest.mark.parametrize("twice", LITTLE)
def test_an_outline_given_twice_is_asked_once_and_both_its_slumps_are_named(tmp_path, twice):
    """Both reach into another slump's outline by the same ground."""
    slumps, relations = Project(tmp_path, [*LITTLE, twice]).build()
    assert (relations["status"] == "asked").sum() == 1
    assert set(relations["rts_uid"]) == set(slumps["rts_uid"])
    assert relations["related_uid"].nunique() == 2, "none of the two that are gone goes unnamed"


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(10, 30)), min_size=2, max_size=6, unique=True))
def test_no_question_is_lost(tmp_path_factory, places):
    found = [square(6.0 * start, 0, 6.0 * width) for start, width in places]
    slumps, relations = Project(tmp_path_factory.mktemp("project"), found).build()
    asked = {
        question_id(one, other)
        for one, other in itertools.combinations(found, 2)
        if 0 < one.intersection(other).area < 0.2 * min(one.area, other.area)
    }
    assert set(relations.loc[relations["status"] == "asked", "relation_id"]) == asked
    assert relations["relation_id"].is_unique
    check(slumps, relations, found)


def test_relations_csv_can_be_filled_in_and_given_back(tmp_path):
    project = Project(tmp_path, LITTLE)
    project.build()
    filled = (tmp_path / "relations.csv").read_text().splitlines()
    head = [name.strip('"') for name in filled[0].split(",")]
    assert head == list(COLUMNS)
    cells = filled[1].split(",")
    cells[head.index("decision")], cells[head.index("decided_by")] = "overlap", "eve"
    path = project.decisions(",".join(cells), head=filled[0])
    assert len(project.build(decisions=path)[0]) == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("12,overlap,eve,", r"row 2: relation_id '12' is none"),
        ("{id},split,eve,", r"row 2: 'split' can't be decided of \w+; expected merged, overlap"),
        ("{id},overlap,,", r"row 2: decided_by of \w+ is empty"),
        ("{id},overlap", r"row 2: decided_by of \w+ is empty"),
        ("{id},overlap,eve,\n{id},merged,eve,", r"row 3: decides \w+ twice"),
    ],
)
def test_decisions_are_checked_row_by_row(tmp_path, row, message):
    project = Project(tmp_path, LITTLE)
    path = project.decisions(row.replace("{id}", question_id(*LITTLE)))
    with pytest.raises(InputError, match=message):
        project.build(decisions=path)


def test_undecided_rows_are_passed_over_and_files_are_checked(tmp_path):
    project = Project(tmp_path, LITTLE)
    assert len(project.build(decisions=project.decisions("anything,,,", "anything"))[0]) == 1
    with pytest.raises(InputError, match="has no column decided_by"):
        project.build(decisions=project.decisions("a,b", head="relation_id,decision"))
    with pytest.raises(InputError, match="no such file"):
        project.build(decisions=tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"decisions\.csv: can't be read .*expected a CSV file with relation_id"):
        project.build(decisions=project.decisions(head=""))
    with pytest.raises(InputError, match="can't be read"):
        project.build(decisions=tmp_path)


def test_a_stale_decision_is_refused(tmp_path):
    project = Project(tmp_path, LITTLE)
    path = project.decisions(f"{question_id(*LITTLE)},overlap,eve,")
    project.round(("edit", square(-40, 0, 90), KNOWN))
    with pytest.raises(RefusedError, match=r"decisions\.csv, row 2: decides relation \w+, which isn't there any more"):
        project.build(decisions=path)


def test_a_decision_that_leaves_no_ground_is_refused(tmp_path):
    outlines = [square(0, 0, 100, 100), square(20, 20, 30, 30)]
    project = Project(tmp_path, outlines)
    path = project.decisions(f"{question_id(*outlines)},overlap,eve,")
    with pytest.raises(RefusedError, match="one of the two slumps lies in the other"):
        project.build(decisions=path)


# --- an earlier inventory ---------------------------------------------------------------------------------------------


def later(tmp_path, outlines, earlier, *, year=2019, first_year=None, **options):
    """Build next year's inventory of accepted outlines, the earlier one given as (uid, outline)."""
    project = Project(tmp_path, options=options.pop("stage", Project.__init__.__defaults__[1]))
    project.round(*[("accept", outline, {"first_year_visible": first_year}) for outline in outlines])
    return project.build(release(tmp_path / "earlier.gpkg", earlier, year), **options)


@pytest.mark.parametrize(
    ("outline", "first_year", "relation", "status", "carried"),
    [
        (square(3), None, "repeat", "proposed", False),  # IoU above 0.5
        (square(0, 0, 180), None, "repeat", "proposed", False),  # it grew
        (square(0, 0, 180), 2021, "unknown", "asked", False),  # it grew, yet wasn't there
        (square(0, 0, 20), 2017, "repeat", "proposed", False),  # drawn smaller
        (square(0, 0, 20), 2021, "new", "proposed", False),  # a new slump on the old scar
        (square(0, 0, 20), None, "unknown", "asked", False),
        (square(45), 2018, "unknown", "asked", True),  # a quarter is shared
        (square(57), None, "overlap", "proposed", True),
    ],
)
def test_what_a_slump_is_to_an_earlier_one(tmp_path, outline, first_year, relation, status, carried):
    slumps, relations = later(tmp_path, [outline], [("old", square(0))], first_year=first_year)
    here = relations[relations["delineation_id"].notna()]
    assert told(here, "related_uid", "relation", "status") == [("old", relation, status)]
    slump = slumps[slumps["decision"] != "earlier"].iloc[0]
    assert (slump["rts_uid"] == "old") == (relation == "repeat")
    named = relation in {"new", "unknown"}
    assert slump[["relation", "related_uids"]].fillna("").tolist() == ([relation, "old"] if named else ["", ""])
    assert len(relations) == 1 + carried, "an earlier slump that no outline shows is told apart"
    assert (slumps["decision"] == "earlier").sum() == carried, "... and stays"
    assert shapely.area(slumps.union_all()) == pytest.approx(slumps.area.sum()), "... on its own ground"


def test_the_lab_says_whether_an_earlier_slump_is_one_of_which_little_is_seen(tmp_path):
    """A quarter of both is shared: the lab may say that they are one, or that they aren't, and then whether it is gone."""
    old, new = square(0), square(45)
    earlier = release(tmp_path / "earlier.gpkg", [("old", old)])
    project = Project(tmp_path)
    project.round(("accept", new, {}))
    pair, alone = question_id(new, old), question_id(old)
    _, relations = project.build(earlier)
    assert set(relations["relation_id"]) == {pair, alone} and set(relations["status"]) == {"asked"}
    slumps, relations = project.build(earlier, project.decisions(f"{pair},repeat,eve,"))
    assert (slumps["rts_uid"].tolist(), len(relations)) == (["old"], 1)
    slumps, _ = project.build(earlier, project.decisions(f"{pair},overlap,eve,", f"{alone},stabilized,eve,"))
    assert len(slumps) == 1 and slumps["rts_uid"][0] != "old"
    slumps, _ = project.build(earlier, project.decisions(f"{pair},overlap,eve,", f"{alone},unobserved,eve,"))
    assert len(slumps) == 2 and "old" in set(slumps["rts_uid"])


def test_words_of_an_earlier_inventory_that_are_no_relation_here_are_left(tmp_path):
    """The standard has no field for them: the export could write no row."""
    told = {"relation": ["split,overlap"], "related_uids": ["b,c"], "rts_uid": ["a"]}
    gpd.GeoDataFrame(told, geometry=[square(0)], crs=CRS).to_file(tmp_path / "earlier.gpkg")
    project = Project(tmp_path, [square(0)])
    slumps, _ = project.build(tmp_path / "earlier.gpkg")
    assert slumps[["rts_uid", "relation", "related_uids"]].iloc[0].tolist() == ["a", "split", "b"]
    gpd.read_file(tmp_path / "earlier.gpkg").drop(columns="relation").to_file(tmp_path / "half.gpkg")
    slumps, _ = project.build(tmp_path / "half.gpkg")
    assert slumps["rts_uid"].tolist() == ["a"] and slumps["related_uids"].isna().all()


def test_merged_and_split_since(tmp_path):
    earlier = [("a", square(0)), ("b", square(80, 0, 40)), ("c", square(500, 0, 170)), ("d", square(5000))]
    outlines = [square(0, 0, 120), square(500, 0, 90), square(610, 0, 60)]
    slumps, relations = later(tmp_path, outlines, earlier, area=square(-100, -100, 1000, 1000))
    assert (uid_at(slumps, 30), uid_at(slumps, 510)) == ("a", "c")
    split = uid_at(slumps, 650)
    assert split not in {"a", "b", "c", "d"}
    by_uid = slumps.set_index("rts_uid")
    assert by_uid.loc["a", ["relation", "related_uids"]].tolist() == ["merged", "b"]
    assert by_uid.loc[split, ["relation", "related_uids"]].tolist() == ["split", "c"]
    assert (relations["status"] == "proposed").all()
    assert "d" not in set(relations["related_uid"]), "nothing is said of what wasn't searched"


def test_what_nobody_sees_any_more(tmp_path):
    project = Project(tmp_path)
    project.round(
        ("reject", square(0, 0, 50), {"reject_reason": "stable scar"}), ("reject", square(200), {"reject_reason": "water"})
    )
    earlier = release(tmp_path / "earlier.parquet", [("a", square(0)), ("b", square(200))])
    slumps, relations = project.build(earlier)
    assert len(slumps) == 0
    assert told(relations, "related_uid", "relation", "status") == [("a", "stabilized", "proposed"), ("b", "unknown", "asked")]
    asked = relations[relations["status"] == "asked"].iloc[0]
    path = project.decisions(f"{asked['relation_id']},stabilized,eve,")
    _, relations = project.build(earlier, path)
    assert told(relations, "related_uid", "relation", "status") == [
        ("a", "stabilized", "proposed"),
        ("b", "stabilized", "decided"),
    ]


def test_the_lab_decides_what_a_slump_is(tmp_path):
    small = square(0, 0, 20)
    earlier = release(tmp_path / "earlier.gpkg", [("old", square(0))])
    project = Project(tmp_path)
    project.round(("accept", small, {}))
    name = question_id(small, square(0))
    slumps, _ = project.build(earlier, project.decisions(f"{name},repeat,eve,"))
    assert slumps["rts_uid"].tolist() == ["old"]
    slumps, relations = project.build(earlier, project.decisions(f"{name},stabilized,eve,"))
    assert slumps["rts_uid"][0] != "old"
    assert slumps[["relation", "related_uids"]].iloc[0].tolist() == ["stabilized", "old"]
    assert told(relations, "relation", "status", "decided_by") == [("stabilized", "decided", "eve")]


def test_one_earlier_slump_goes_on_in_one(tmp_path):
    outlines, old = [square(0, 0, 25), square(30, 0, 25)], square(0)
    project = Project(tmp_path)
    project.round(*[("accept", outline, {}) for outline in outlines])
    rows = [f"{question_id(outline, old)},repeat,eve," for outline in outlines]
    with pytest.raises(InputError, match="row 3: 'repeat' was decided of that slump already"):
        project.build(release(tmp_path / "earlier.gpkg", [("old", old)]), project.decisions(*rows))


def test_years_go_by(tmp_path):
    """2019: two slumps. 2020: they merge. 2021: as in 2020. A uid stays, and so does what became of the other."""
    options = Project.__init__.__defaults__[1]
    first = Project(tmp_path / "2019", [square(0), square(100)])
    first.build()
    path, uids = first.folder / "outlines.parquet", []
    for year in (2020, 2021):
        stage = options.model_copy(update={"time": Time(target_year=year)})
        project = Project(tmp_path / str(year), [square(0, 0, 160)], options=stage)
        slumps, _ = project.build(path)
        path = project.folder / "outlines.parquet"
        uids.append(slumps[["rts_uid", "relation", "related_uids"]].iloc[0].tolist())
    known = set(gpd.read_parquet(first.folder / "outlines.parquet")["rts_uid"])
    assert uids[0] == uids[1]
    assert {uids[0][0], uids[0][2]} == known and uids[0][1] == "merged"


def test_the_earlier_release_as_seeds_changes_no_uid(tmp_path, project):
    before, _ = project.build()
    release_file = tmp_path / "outlines.parquet"
    stage = project.options.model_copy(update={"time": Time(target_year=2022)})
    again = Project(tmp_path / "next", list(before.geometry), options=stage)
    after, relations = again.build(release_file)
    assert set(after["rts_uid"]) == set(before["rts_uid"])
    assert set(relations["relation"]) == {"repeat"}


def test_a_release_keeps_its_uids_under_another_region_lab_and_season(tmp_path):
    outlines = [square(0), square(200)]
    first = Project(tmp_path / "first", outlines)
    before, _ = first.build()
    area, time = Place(region="Beiluhe basin", creator_lab="BName, Lab"), Time(season=("06-15", "09-15"))
    stage = first.options.model_copy(update={"area": area, "time": time})
    alone, _ = Project(tmp_path / "alone", outlines, options=stage).build()
    assert not set(alone["rts_uid"]) & set(before["rts_uid"]), "the uid depends on them"
    after, _ = Project(tmp_path / "after", outlines, options=stage).build(first.folder / "outlines.parquet")
    assert after["rts_uid"].tolist() == before["rts_uid"].tolist()


@pytest.mark.parametrize("uids", [["a", "a"], ["a", None]])
def test_an_earlier_inventory_needs_uids(tmp_path, project, uids):
    path = release(tmp_path / "bad.gpkg", list(zip(uids, [square(0), square(200)], strict=True)))
    with pytest.raises(InputError, match=r"bad\.gpkg: rts_uid of feature 2"):
        project.build(path)
    gpd.read_file(path).drop(columns="rts_uid").to_file(tmp_path / "none.gpkg")
    with pytest.raises(InputError, match=r"none\.gpkg: has no column 'rts_uid'"):
        project.build(tmp_path / "none.gpkg")


# --- change -----------------------------------------------------------------------------------------------------------


def measured(name, **values):
    rates = ("growth_m2_yr", "growth_low_m2_yr", "growth_high_m2_yr", "retreat_m_yr", "retreat_error_m_yr")
    first = {"first_year_visible": 2017, "last_year_absent": None}
    return {"candidate_id": name, **first, **dict.fromkeys(rates, 1.0), "reason": "", **values}


def test_change_comes_from_the_evidence_and_reviewers_go_first(tmp_path):
    project = Project(tmp_path, [square(900)])
    project.round(
        ("accept", square(0), {}),
        ("accept", square(200), {"first_year_visible": 2016, "active": False}),
        ("accept", square(400), {}),
        ("missed", square(600), {"active": True}),
        change=[
            measured("r01-0001", growth_m2_yr=250.0, growth_low_m2_yr=10.0, retreat_m_yr=4.0, retreat_error_m_yr=1.5),
            measured("r01-0002", growth_low_m2_yr=5.0),
            measured("r01-0003", first_year_visible=None, growth_low_m2_yr=-5.0),
        ],
        years=[("r01-0001", 2018, True, 3600.0), ("r01-0001", 2017, True, 3300.04), ("r01-0001", 2016, False, 0.0)],
    )
    slumps, _ = project.build()
    by_id = slumps.set_index("delineation_id")
    first = by_id.loc["r01-0001"]
    assert (first["first_year"], first["first_year_source"]) == (2017, "measured")
    assert (first["active"], first["active_source"]) == (True, "measured")
    assert (first["growth_m2_yr"], first["retreat_m_yr"], first["retreat_error_m_yr"]) == (250.0, 4.0, 1.5)
    assert json.loads(first["area_by_year_m2"]) == {"2017": 3300.0, "2018": 3600.0}
    assert first["change_of"] == "r01-0001"
    said = by_id.loc["r01-0002"]
    assert (said["first_year"], said["first_year_source"]) == (2016, "reviewer")
    assert (said["active"], said["active_source"]) == (False, "reviewer")
    unsure = by_id.loc["r01-0003"]
    assert unsure[["first_year", "first_year_source", "active", "active_source", "area_by_year_m2"]].isna().all()
    said_of = next(column.missing for column in HISTORY if column.name == "area_by_year_m2")
    assert unsure["change_of"] == "r01-0003" and "no year shows it whole" in said_of
    added = by_id.loc["r01-0004"]
    assert (added["active"], added["active_source"]) == (True, "reviewer")
    assert np.isnan(added["growth_m2_yr"])
    assert (
        by_id.loc[
            seed_ids(np.array([square(900)]))[0], ["first_year", "active", "growth_m2_yr", "area_by_year_m2", "change_of"]
        ]
        .isna()
        .all()
    )


def whole(name, year, outline):
    return (name, year, True, outline.area, outline)


def test_the_last_year_of_new_ground_is_told(tmp_path):
    """New ground lies beyond a pixel (3 m) and what two images' places may differ by (1.96 times 1.4 m): 5.8 m."""
    grew, stayed, crept, came, cut = "r01-0001", "r01-0002", "r01-0003", "r01-0004", "r01-0005"
    years = (2016, 2017, 2018, 2019, 2020)
    project = Project(tmp_path)
    project.round(
        *[("accept", square(200 * number), {}) for number in range(5)],
        ("accept", square(1000), {}),
        change=[
            *(measured(name) for name in (grew, stayed, crept, cut)),
            measured(came, first_year_visible=2019, last_year_absent=2018),
        ],
        years=[
            *(whole(grew, year, square(0, 0, width)) for year, width in zip(years, (60, 60, 67, 72, 50), strict=True)),
            *(whole(stayed, year, square(200 + 5 * (year % 2))) for year in years),
            *(whole(crept, year, square(400, 0, width)) for year, width in zip(years, (60, 60, 64, 68, 72), strict=True)),
            (came, 2018, False, 0.0),
            *(whole(came, year, square(600)) for year in (2019, 2020)),
            whole(cut, 2017, square(800)),
            (cut, 2018, True, np.nan, square(800, 0, 120)),  # an image that shows it in part
            (cut, 2019, None, np.nan),
        ],
    )
    told = project.build()[0].set_index("delineation_id")["last_changed_year"]
    assert told.dropna().to_dict() == {grew: 2018, crept: 2019, came: 2019}


def test_what_was_measured_stays_with_its_seed_in_any_order_of_the_file(tmp_path):
    project = Project(tmp_path, [square(0), square(200)])
    change = [measured(FIRST, growth_m2_yr=900.0), measured(SECOND, growth_m2_yr=0.0), measured("seed-00001", growth_m2_yr=5.0)]
    project.round(("reject", square(900), {}), change=change)
    first, _ = project.build()
    gpd.GeoDataFrame(geometry=[square(400), square(200), square(0)], crs=first.crs).to_parquet(project.seeds)
    again, _ = project.build()
    for slumps in (first, again):
        growth = slumps.set_index("delineation_id")["growth_m2_yr"]
        assert (growth[FIRST], growth[SECOND]) == (900.0, 0.0)
    assert again["growth_m2_yr"].isna().sum() == 1, "nobody has what was measured of a seed that isn't there"


@pytest.mark.parametrize(
    ("widths", "absent", "told"),
    [
        ((40, 60, 60, 60, 60), False, None),  # the first image alone shows less
        ((60, 60, 80, 60, 60), False, None),  # one image alone shows more
        ((60, 60, 80, 60, 75), False, 2020),  # ... and hides nothing that comes later
        ((60, 60, 60, 60, 80), False, 2020),  # no image after it says otherwise
        ((60, 80), False, None),
        ((60, 80), True, 2017),  # before the first image there was nothing
    ],
)
def test_one_image_alone_dates_no_change(tmp_path, widths, absent, told):
    project = Project(tmp_path)
    before = {"first_year_visible": 2016, "last_year_absent": 2015 if absent else None}
    years = [whole("r01-0001", year, square(0, 0, width)) for year, width in enumerate(widths, 2016)]
    project.round(("accept", square(0), {}), change=[measured("r01-0001", **before)], years=years)
    slumps, _ = project.build()
    assert slumps["last_changed_year"].dropna().tolist() == ([] if told is None else [told])


def test_a_redrawn_slump_has_the_change_of_its_present_outline(tmp_path):
    project = Project(tmp_path)
    project.round(("accept", square(0), {"first_year_visible": 2015}), change=[measured("r01-0001", growth_m2_yr=1.0)])
    project.round(("accept", square(0, 0, 120), {"known_ids": "r01-0001"}), change=[measured("r02-0001", growth_m2_yr=9.0)])
    slump = project.build()[0].iloc[0]
    assert (slump["growth_m2_yr"], slump["change_of"]) == (9.0, "r02-0001")
    assert (slump["first_year"], slump["first_year_source"]) == (2015, "reviewer"), "said of the landform"


def test_reviews_from_before_have_no_statements(tmp_path):
    project = Project(tmp_path)
    project.round(("accept", square(0), {}))
    old = gpd.read_parquet(project.reviewed[0]).drop(columns=["first_year_visible", "active"])
    old.to_parquet(project.reviewed[0])
    assert project.build()[0][["first_year", "active"]].isna().all(axis=None)


# --- invariants -------------------------------------------------------------------------------------------------------

numbers = st.integers(0, 40)


@st.composite
def outlines(draw):
    """A polygon on a coarse lattice: a rectangle or a disc, perhaps with a hole, perhaps of two parts."""
    x, y, width, height = (
        15.0 * draw(numbers),
        15.0 * draw(numbers),
        12.0 * draw(st.integers(1, 9)),
        12.0 * draw(st.integers(1, 9)),
    )
    outline = square(x, y, width, height) if draw(st.booleans()) else Point(EAST + x, NORTH + y).buffer(width / 2, quad_segs=4)
    kind = draw(st.sampled_from(["plain", "hole", "parts"]))
    if kind == "hole":
        return outline.difference(shapely.affinity.scale(outline, 0.4, 0.4))
    return outline.union(shapely.affinity.translate(outline, width + 15.0, 0)) if kind == "parts" else outline


def check(slumps, relations, found):
    """Found slumps (none knows another) = rows + stated mergers; valid, apart, and the ground is that of the outlines."""
    named = [row.split(",") for row in slumps["related_uids"].dropna()]
    repeats = int(((relations["relation"] == "repeat") & (relations["rts_uid"] != "")).sum())
    assert len(found) == len(slumps) + sum(map(len, named)) + repeats
    assert slumps["rts_uid"].is_unique and slumps["rts_uid"].str.len().eq(36).all()
    assert slumps.geometry.is_valid.all() and not slumps.geometry.is_empty.any()
    assert set(slumps.geom_type) <= {"Polygon", "MultiPolygon"}
    assert slumps.union_all().symmetric_difference(shapely.union_all(found)).area < 1e-3
    assert abs(slumps.area.sum() - slumps.union_all().area) < 1e-3


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(outlines(), min_size=1, max_size=8), st.lists(outlines(), max_size=5), st.randoms())
def test_no_slump_is_lost_and_no_uid_moves(tmp_path_factory, seeds, added, random):
    project = Project(tmp_path_factory.mktemp("project"), seeds)
    first, relations = project.build()
    check(first, relations, seeds)
    shuffled = random.sample(seeds, len(seeds))
    again, _ = Project(tmp_path_factory.mktemp("shuffled"), shuffled).build()
    assert first["rts_uid"].tolist() == again["rts_uid"].tolist()
    assert first.geometry.geom_equals(again.geometry).all()
    if added:
        project.round(*[("accept", outline, {}) for outline in added])
    second, relations = project.build()
    check(second, relations, [*seeds, *added])
    gone = set(first["rts_uid"]) - set(second["rts_uid"])
    merged = {uid for row in second["related_uids"].dropna() for uid in row.split(",")}
    assert gone <= merged, "a uid that is gone is named by the row that its slump became part of"


def parts_of(slumps):
    """Return the uid of the slump of each outline, and whether another took its place."""
    found = {}
    for row in slumps.itertuples():
        parts = json.loads(row.parts) if isinstance(row.parts, str) else [{"delineation_id": row.delineation_id}]
        found |= {part["delineation_id"]: (row.rts_uid, part.get("replaced", False)) for part in parts}
    return found


def strips(first, last):
    return st.builds(
        lambda start, width: square(6.0 * start, 0, 6.0 * width), st.integers(first, last), st.integers(1, last - first)
    )


rounds = st.lists(st.lists(st.tuples(strips(0, 12), st.booleans()), min_size=1, max_size=3), min_size=2, max_size=3)


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(strips(0, 12), min_size=1, max_size=2), rounds)
def test_a_uid_stays_while_the_outlines_of_its_slump_stand(tmp_path_factory, seeds, verdicts):
    """Round by round, with outlines that take the place of whatever they share ground with, or of nothing."""
    project = Project(tmp_path_factory.mktemp("project"), seeds)
    known = dict(zip(seed_ids(np.array(seeds)), seeds, strict=True))
    before = parts_of(project.build()[0])
    for number, drawn in enumerate(verdicts, 1):
        present = [name for name, (_, replaced) in before.items() if not replaced]
        asked = [",".join(name for name in present if known[name].intersects(outline)) for outline, _ in drawn]
        project.round(
            *(
                ("edit", outline, {"known_ids": names if takes else ""})
                for (outline, takes), names in zip(drawn, asked, strict=True)
            )
        )
        known |= {f"r{number:02d}-{index:04d}": outline for index, (outline, _) in enumerate(drawn, 1)}
        slumps, relations = project.build()
        after = parts_of(slumps)
        merged = relations[relations["relation"].isin(["merged", "repeat"])]
        told_of = set(zip(merged["rts_uid"], merged["related_uid"], strict=True))
        for uid in {uid for uid, _ in before.values()}:
            assert uid in set(slumps["rts_uid"]) | set(merged["related_uid"]), "no uid is lost"
            stood = [name for name, (owner, replaced) in before.items() if owner == uid and not replaced]
            if not any(after[name][1] for name in stood):
                (now,) = {after[name][0] for name in stood}
                assert now == uid or (now, uid) in told_of
        before = after


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(outlines(), min_size=1, max_size=6), st.lists(outlines(), min_size=1, max_size=6))
def test_an_earlier_inventory_is_accounted_for(tmp_path_factory, old, new):
    earlier = Project(tmp_path_factory.mktemp("earlier"), old)
    before, _ = earlier.build()
    project = Project(tmp_path_factory.mktemp("later"))
    project.round(*[("accept", outline, {}) for outline in new])
    slumps, relations = project.build(earlier.folder / "outlines.parquet")
    assert slumps["rts_uid"].is_unique
    assert slumps.geometry.is_valid.all()
    assert set(before["rts_uid"]) <= set(relations["related_uid"]), "each earlier slump is related or told to be gone"
    carried = slumps[slumps["rts_uid"].isin(before["rts_uid"])]
    repeats = relations[(relations["relation"] == "repeat") & relations["related_uid"].isin(before["rts_uid"])]
    lost = relations[relations["delineation_id"].isna() & (relations["rts_uid"] != "")]
    assert (lost["rts_uid"] == lost["related_uid"]).all() and (lost["status"] == "asked").all()
    assert sorted(carried["rts_uid"]) == sorted([*repeats["rts_uid"], *lost["rts_uid"]])
    assert sorted(repeats["rts_uid"]) == sorted(repeats["related_uid"])
    untouched = ~before.intersects(shapely.union_all(new))
    assert set(before.loc[untouched, "rts_uid"]) <= set(lost["rts_uid"]), "what nobody found stays"
    same, _ = project.build(project.folder / "outlines.parquet")
    assert set(same["rts_uid"]) == set(slumps["rts_uid"]), "its own release as the earlier one changes nothing"
