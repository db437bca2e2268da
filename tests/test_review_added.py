"""Slumps that a reviewer added, through a file and back: redrawn, removed, split, copied; and who may say what of them."""

import json
from uuid import uuid4

import geopandas as gpd
import pyogrio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import box

from review_case import AT, CRS, Case, place
from rts_pipeline import io
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.review.events import make_event, missed_id
from rts_pipeline.review.exchange import ImportResult, export_gpkg, import_verdicts
from rts_pipeline.review.folding import fold
from rts_pipeline.review.formats import DRAWN
from rts_pipeline.review.outlines import from_geojson, multi, to_geojson
from rts_pipeline.review.store import append, read_round

UUID = "6f9619ff-8b86-d011-b42d-00cf4fc964aa"
LATER = ["2021-01-01T00:00:00Z", "2021-01-02T00:00:00Z", "2021-01-03T00:00:00Z", "2021-01-04T00:00:00Z"]


def outline(number, size=80.0, north=500.0):
    return place(box(0, 0, size, 100), 300.0 * number, north)


@pytest.fixture
def case(tmp_path):
    """Ann added two slumps in the browser, bob one."""
    case = Case(tmp_path)
    case.file = tmp_path / "ann.gpkg"
    case.names = [add(case, outline(number), possibility=0.75, active=True, note=f"slump {number}") for number in (0, 1)]
    add(case, outline(2), "bob")
    export(case)
    return case


def add(case, drawn, reviewer="ann", at=AT, **fields):
    geometry = to_geojson(drawn)
    who = {"round": "01", "candidate_id": missed_id("01", reviewer, geometry), "reviewer": reviewer, "at": at, "source": "web"}
    event = make_event(**who, action="add_missed", guideline_version="1", geometry=geometry, **fields)
    append(case.reviews, "01", reviewer, [event], role=event.role)
    return event.candidate_id


def export(case, **options):
    case.file.unlink(missing_ok=True)
    export_gpkg(case.reviews, "01", "ann", case.file, **options)


def missed(case):
    return gpd.read_file(case.file, layer="missed")


def about(case):
    return pyogrio.read_info(case.file, layer="missed")["layer_metadata"]


def fill(case, change):
    """Change the added slumps as a GIS program does, which keeps the metadata of the file."""
    layers = {name: gpd.read_file(case.file, layer=name) for name in ("candidates", "missed", "known")}
    layers["missed"] = change(layers["missed"])
    io.write_gpkg(case.file, layers, {"missed": about(case)})


def back(case, at=LATER[0], **options):
    return import_verdicts(case.reviews, "01", "ann", case.file, at=at, **options)


def result(missed=0, unchanged=0, taken_back=0):
    return ImportResult(decided=0, missed=missed, unchanged=unchanged, undecided=4, taken_back=taken_back)


def draw(case, name, drawn):
    """Add a row in place, as QGIS does it."""
    row = gpd.GeoDataFrame({"candidate_id": [name], "possibility": [0.5], "note": None}, geometry=[multi(drawn)], crs=CRS)
    pyogrio.write_dataframe(row, case.file, layer="missed", driver="GPKG", append=True)


def standing(case):
    verdicts = fold(e for e in read_round(case.reviews, "01") if e.reviewer == "ann").verdicts
    return {name: verdict for name, verdict in verdicts.items() if verdict.decision == "missed"}


def test_an_export_holds_ones_own_and_imports_to_nothing(case):
    frame = missed(case).set_index("candidate_id")
    assert set(frame.index) == set(case.names)
    assert frame.loc[case.names[1], ["possibility", "note"]].tolist() == [0.75, "slump 1"]
    assert frame.geometry[case.names[1]].equals(outline(1))
    assert pyogrio.list_layers(case.file).tolist()[1] == ["missed", "MultiPolygon"]
    assert back(case) == result(unchanged=2)


def test_a_redrawn_one_keeps_its_id_and_what_no_file_says(case):
    moved = outline(0, north=580)  # hardly overlaps the old place
    fill(case, lambda f: f.set_geometry(f.geometry.where(f["candidate_id"] != case.names[0], moved)))
    assert back(case) == result(missed=1, unchanged=1)
    assert back(case, at=LATER[1]) == result(unchanged=2)
    assert set(standing(case)) == set(case.names)
    assert from_geojson(standing(case)[case.names[0]].geometry).equals(moved)
    assert [e.active for e in read_round(case.reviews, "01") if e.candidate_id == case.names[0]] == [True, True]


def test_a_removed_one_is_taken_back_once(case):
    fill(case, lambda f: f[f["candidate_id"] != case.names[0]])
    assert back(case, dry_run=True) == result(unchanged=1, taken_back=1)
    assert set(standing(case)) == set(case.names)
    assert back(case) == result(unchanged=1, taken_back=1)
    assert set(standing(case)) == {case.names[1]}
    assert back(case, at=LATER[1]) == result(unchanged=1)
    # added anew on the page: the file, handed in again, doesn't remove it a second time
    add(case, outline(0), at=LATER[2])
    assert back(case, at=LATER[3]) == result(unchanged=1)
    assert set(standing(case)) == set(case.names)
    export(case)
    assert set(missed(case)["candidate_id"]) == set(case.names)


def test_all_versions_of_a_removed_one_are_taken_back(case):
    fill(case, lambda f: f.set_geometry(f.geometry.scale(1.1, 1.1)))
    assert back(case) == result(missed=2)
    fill(case, lambda f: f[f["candidate_id"] != case.names[0]])
    assert back(case, at=LATER[1]) == result(unchanged=1, taken_back=1)
    assert set(standing(case)) == {case.names[1]}


def test_what_was_added_after_the_export_stays(case):
    third = add(case, outline(3))
    assert back(case) == result(unchanged=2)
    assert set(standing(case)) == {*case.names, third}


def test_one_that_was_taken_back_and_is_in_the_file_stands_again(case):
    """As with a candidate: what the file says counts when it is handed in, also within the same second."""
    whole = case.file.read_bytes()
    fill(case, lambda f: f.iloc[:0])
    assert back(case) == result(taken_back=2)
    case.file.write_bytes(whole)
    assert back(case) == result(missed=2)
    assert set(standing(case)) == set(case.names)


def test_a_split_one_and_a_copy(case):
    """GIS programs give all parts the attributes of the whole, its id too: the largest part remains that slump."""
    west, east = place(box(0, 0, 30, 100), 0, 500), place(box(30, 0, 80, 100), 0, 500)

    def split(frame):
        part = frame[frame["candidate_id"] == case.names[0]]
        rest = frame[frame["candidate_id"] != case.names[0]]
        return gpd.pd.concat([part.set_geometry([west], crs=CRS), part.set_geometry([east], crs=CRS), rest])

    fill(case, split)
    assert back(case) == result(missed=2, unchanged=1)
    assert back(case, at=LATER[1]) == result(unchanged=3)
    found = standing(case)
    (new,) = set(found) - set(case.names)
    assert from_geojson(found[case.names[0]].geometry).equals(east)
    assert from_geojson(found[new].geometry).equals(west)


def test_two_halves_without_an_id_are_one_version_and_a_new_one(case):
    west, east = place(box(0, 0, 40, 100), 0, 500), place(box(40, 0, 80, 100), 0, 500)
    rest = missed(case)["candidate_id"] == case.names[1]
    halves = gpd.GeoDataFrame({"possibility": [None, None], "note": None}, geometry=[west, east], crs=CRS)
    fill(case, lambda f: gpd.pd.concat([halves, f[rest]]))
    assert back(case) == result(missed=2, unchanged=1)
    assert back(case, at=LATER[1]) == result(unchanged=3)
    assert not fold(read_round(case.reviews, "01")).forks


def test_what_is_drawn_in_the_package_is_known_again_however_it_is_redrawn(case):
    """As QGIS does it: a new row gets a UUID, which stays with it; no new package is made in between."""
    draw(case, "{6F9619FF-8B86-D011-B42D-00CF4FC964FF}", outline(4))
    assert back(case) == result(missed=1, unchanged=2)
    (new,) = set(standing(case)) - set(case.names)
    assert back(case, at=LATER[1]) == result(unchanged=3)
    away = outline(6, 50)  # overlaps nothing that it was
    fill(case, lambda f: f.set_geometry(f.geometry.where(~f["candidate_id"].str.startswith("{"), away)))
    assert back(case, at=LATER[2]) == result(missed=1, unchanged=2)
    assert back(case, at=LATER[3]) == result(unchanged=3)
    assert set(standing(case)) == {*case.names, new}
    assert from_geojson(standing(case)[new].geometry).equals(away)
    # the next package and the one before it speak of the same slump
    before = case.file.read_bytes()
    export(case)
    assert set(missed(case)["candidate_id"]) == {*case.names, new}
    assert back(case, at=LATER[3]) == result(unchanged=3)
    case.file.write_bytes(before)
    fill(case, lambda f: f.assign(candidate_id=f["candidate_id"].str.strip("{}").str.lower(), note="the same"))
    assert back(case, at=LATER[3]) == result(missed=3)
    assert set(standing(case)) == {*case.names, new}


def test_what_is_drawn_over_an_added_slump_is_another_one(case):
    """The sign-off unites what overlaps; here a row with an id of its own stays what it is."""
    draw(case, f"{{{UUID}}}", outline(0, 90))
    assert back(case) == result(missed=1, unchanged=2)
    assert len(standing(case)) == 3
    assert back(case, at=LATER[1]) == result(unchanged=3)


def test_rows_with_one_uuid_are_two_slumps_and_the_same_ones_again(case):
    for number in (4, 5):
        draw(case, UUID, outline(number))
    assert back(case) == result(missed=2, unchanged=2)
    assert back(case, at=LATER[1]) == result(unchanged=4)
    assert len(standing(case)) == 4


def test_two_people_may_hand_in_copies_of_one_package(case):
    """A UUID is the reviewer's own: what two people drew is never one person's slump."""
    case.file.unlink()
    export(case, role="second")
    draw(case, UUID, outline(4))
    assert back(case, role="second").missed == 1
    assert import_verdicts(case.reviews, "01", "bob", case.file, at=AT, role="second").missed == 1
    drawn = [e for e in read_round(case.reviews, "01") if from_geojson(e.geometry).equals(outline(4))]
    assert sorted(e.reviewer for e in drawn) == ["ann", "bob"] and len({e.candidate_id for e in drawn}) == 2


@pytest.mark.parametrize(("made", "given"), [("primary", "second"), ("second", "primary"), ("second", "adjudicator")])
def test_a_file_is_imported_in_the_role_that_it_was_made_for(case, made, given):
    export(case, role=made)
    before = read_round(case.reviews, "01")
    with pytest.raises(
        UsageError, match=f"--role {given}: but .*ann.gpkg was made for role {made}; import it with --role {made}"
    ):
        back(case, role=given)
    assert read_round(case.reviews, "01") == before
    assert back(case, role=made).missed == 0


def test_one_of_another_role_or_in_a_fork_is_left_alone(case):
    export(case, role="second")
    assert len(missed(case)) == 0
    assert back(case, role="second") == ImportResult(decided=0, missed=0, unchanged=0, undecided=0)
    export(case)
    fork = next(e for e in read_round(case.reviews, "01") if e.candidate_id == case.names[0])
    other = make_event(**{**fork.plain, "geometry": to_geojson(outline(0, 50))})
    append(case.reviews, "01", "ann", [other])
    export(case)
    assert list(missed(case)["candidate_id"]) == [case.names[1]]
    assert back(case) == result(unchanged=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: f.assign(candidate_id="r01-m0000000"),
            r"row 1 \(r01-m0000000\): candidate_id 'r01-m0000000' is no slump that",
        ),
        (lambda f: f.assign(candidate_id="r01-0001"), "candidate_id 'r01-0001' is no slump that this reviewer added; export"),
        (lambda f: f.set_geometry([outline(0)] * 2, crs=CRS), r"row 2 .*: geometry is that of row 1; keep one of them"),
    ],
)
def test_a_wrong_row_refuses_the_file(case, change, message):
    before = read_round(case.reviews, "01")
    fill(case, change)
    with pytest.raises(InputError, match=rf"ann.gpkg, layer 'missed', {message}" if message[0] == "r" else message):
        back(case)
    assert read_round(case.reviews, "01") == before


def test_anothers_package_is_refused(case):
    before = read_round(case.reviews, "01")
    with pytest.raises(InputError, match="is no slump that this reviewer added"):
        import_verdicts(case.reviews, "01", "bob", case.file, at=AT)
    fill(case, lambda f: f.iloc[:0])
    assert import_verdicts(case.reviews, "01", "bob", case.file, at=AT).taken_back == 0
    assert read_round(case.reviews, "01") == before


def test_a_file_that_lost_its_metadata_removes_nothing(case):
    layers = {name: gpd.read_file(case.file, layer=name) for name in ("candidates", "missed")}
    io.write_gpkg(case.file, layers | {"missed": layers["missed"].iloc[:0]})
    assert back(case) == result()
    io.write_gpkg(case.file, layers | {"missed": layers["missed"].drop(columns="candidate_id")})
    assert back(case) == result(unchanged=2), "a file from before there was an id"
    io.write_gpkg(case.file, layers, {"missed": {"added": "[1"}})
    with pytest.raises(InputError, match="its metadata 'added' is damaged; export the round again"):
        back(case)


@pytest.mark.parametrize("source", ["qgis", "import"])
def test_the_record_says_where_it_came_from(case, source):
    export(case, source=source)
    case.file = case.file.rename(case.file.with_name("renamed.gpkg"))

    def decide(frame):
        return frame.assign(note="again")

    fill(case, decide)
    back(case)
    assert [e.source for e in read_round(case.reviews, "01") if e.note == "again"] == [source] * 2


ACTS = st.lists(
    st.tuples(st.sampled_from(["page", "add", "draw", "redraw", "remove", "export"]), st.integers(0, 3)), max_size=4
)


@settings(max_examples=8, deadline=None)
@given(acts=ACTS)
def test_whatever_is_done_the_file_counts_and_comes_twice_to_nothing(tmp_path_factory, acts):
    """What stands after an import is what the file shows and what was added elsewhere since it was made."""
    case = Case(tmp_path_factory.mktemp("case"))
    case.file = case.folder.parent / "ann.gpkg"
    export(case)
    elsewhere = set()
    for step, (act, number) in enumerate(acts):
        at = f"2020-10-01T00:00:{step:02d}Z"
        if act == "page":
            elsewhere.add(add(case, outline(number, north=900 + 200 * step), at=at))
        elif act == "export":
            export(case)
            elsewhere.clear()
        else:
            fill(case, lambda f, act=act, number=number, step=step: changed(f, act, number, step))
        back(case, at=at)
        assert back(case, at=LATER[0]).unchanged == len(missed(case))
        shown = sorted(missed(case).geometry.map(wkb))
        found = {name: from_geojson(verdict.geometry) for name, verdict in standing(case).items()}
        assert sorted(wkb(drawn) for name, drawn in found.items() if name not in elsewhere) == shown
        assert elsewhere <= set(found)


def wkb(drawn):
    return multi(drawn).normalize().wkb_hex


def changed(frame, act, number, step):
    if act == "add":
        return _more(frame, None, number, step)
    if act == "draw":
        return _more(frame, str(uuid4()), number, step)
    # what was drawn in the file itself: removed there after it was handed in, it stays
    named = frame.index[frame["candidate_id"].notna()]
    if act == "remove":
        named = named[~frame.loc[named, "candidate_id"].str.fullmatch(DRAWN.pattern)]
    if not len(named):
        return frame
    row = named[number % len(named)]
    if act == "remove":
        return frame.drop(index=row)
    return frame.set_geometry(frame.geometry.where(frame.index != row, outline(number, 70, 9000 + 200 * step)))


def _more(frame, name, number, step):
    row = {"candidate_id": [name], "possibility": [None], "note": None}
    new = gpd.GeoDataFrame(row, geometry=[outline(number, north=5000 + 200 * step)], crs=CRS)
    return gpd.pd.concat([frame, new], ignore_index=True)


def test_the_metadata_tell_nothing_of_others_and_reading_leaves_nothing_behind(case):
    found = about(case)
    assert set(json.loads(found["added"])) == set(case.names) and found["source"] == "import"
    back(case)
    assert [path.name for path in case.file.parent.glob("ann*")] == ["ann.gpkg"]
