"""The GeoPackage of verdicts: out, filled in, and back; and every way to fill it in wrongly."""

import geopandas as gpd
import pandas as pd
import pyogrio
import pytest
import shapely
from shapely import MultiPolygon, Point, Polygon, box

from review_case import AT, CRS, GRID, STRICT, Case, place, square
from rts_pipeline import io
from rts_pipeline.errors import InputError, RefusedError
from rts_pipeline.review.exchange import ImportResult, export_gpkg, import_verdicts
from rts_pipeline.review.finish import finish
from rts_pipeline.review.folding import fold
from rts_pipeline.review.outlines import from_geojson, to_geojson
from rts_pipeline.review.readings import Draw, queue_of, second_readings
from rts_pipeline.review.store import read_round

LAYERS = [["candidates", "MultiPolygon"], ["missed", "MultiPolygon"], ["known", "MultiPolygon"]]


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


@pytest.fixture
def file(case, tmp_path):
    path = tmp_path / "ann.gpkg"
    export_gpkg(case.reviews, "01", "ann", path)
    return path


def fill(file, change=None, missed=None):
    """Fill in the exported file as a GIS program does."""
    layers = {name: gpd.read_file(file, layer=name) for name in ("candidates", "missed")}
    frame = layers["candidates"]
    frame["decision"] = ["accept", "reject", None, ""]
    frame["reject_reason"] = [None, "water", None, ""]
    frame["possibility"] = [0.75, None, None, None]
    frame["note"] = [" clear headwall ", None, None, ""]
    if change is not None:
        frame = change(frame)
    if missed is not None:
        layers["missed"] = missed
    io.write_gpkg(file, {"candidates": frame, "missed": layers["missed"]})
    return file


def back(case, file, **options):
    return import_verdicts(case.reviews, "01", "ann", file, at=AT, **options)


def test_export(case, file):
    assert pyogrio.list_layers(file).tolist() == LAYERS
    frame = gpd.read_file(file, layer="candidates")
    assert list(frame["candidate_id"]) == [f"r01-000{i}" for i in range(1, 5)]
    assert frame[["decision", "possibility", "reject_reason", "note"]].isna().all(axis=None)
    assert frame["base_sha256"].str.len().eq(64).all()
    assert "prob_mean" not in frame and "rank" not in frame
    assert frame.crs == CRS
    assert frame.geometry.iloc[1].equals(square(1))
    assert len(gpd.read_file(file, layer="missed")) == 0


def test_an_empty_file_says_nothing(case, file):
    assert back(case, file) == ImportResult(decided=0, missed=0, unchanged=0, undecided=4)
    assert read_round(case.reviews, "01") == []


def test_import_twice(case, file):
    fill(file)
    assert back(case, file, dry_run=True) == ImportResult(decided=2, missed=0, unchanged=0, undecided=2)
    assert read_round(case.reviews, "01") == []
    assert back(case, file) == ImportResult(decided=2, missed=0, unchanged=0, undecided=2)
    accept, reject = read_round(case.reviews, "01")
    assert (accept.decision, accept.possibility, accept.note, accept.source) == ("accept", 0.75, "clear headwall", "import")
    assert (reject.decision, reject.reject_reason, reject.possibility, reject.note) == ("reject", "water", None, None)
    assert import_verdicts(case.reviews, "01", "ann", file, at="2021-01-01T00:00:00Z").unchanged == 2
    assert len(read_round(case.reviews, "01")) == 2


def test_an_export_shows_what_was_decided_and_imports_to_nothing(case, tmp_path):
    outline = place(box(10, 10, 120, 90), 300)
    case.decide_all()
    case.decide(0, "accept", "bob")
    case.decide(1, "edit", parent_event_id=read_round(case.reviews, "01")[1].event_id, geometry=to_geojson(outline))
    export_gpkg(case.reviews, "01", "ann", tmp_path / "again.gpkg")
    frame = gpd.read_file(tmp_path / "again.gpkg", layer="candidates")
    assert list(frame["decision"]) == ["accept", "edit", "unsure", "accept"]
    assert frame.geometry.iloc[1].equals(outline)
    assert back(case, tmp_path / "again.gpkg") == ImportResult(decided=0, missed=0, unchanged=4, undecided=0)


def test_a_reader_who_adjudicates_by_file_begins_with_nothing_settled(case, tmp_path):
    (reading, *_) = case.decide_all()
    case.decide(0, "reject", "bob")
    file = tmp_path / "ann.gpkg"

    def read(role):
        export_gpkg(case.reviews, "01", "ann", file, role=role)
        return gpd.read_file(file, layer="candidates")

    assert read("adjudicator")[["candidate_id", "decision"]].to_numpy().tolist() == [["r01-0001", None]]
    assert back(case, file, role="adjudicator") == ImportResult(decided=0, missed=0, unchanged=0, undecided=1)
    assert fold(read_round(case.reviews, "01")).disagreements == ["r01-0001"], "a file that nobody filled in settles nothing"
    case.decide(0, "reject", "ann", role="adjudicator", parent_event_id=reading.event_id)
    file.unlink()
    assert list(read("primary")["decision"]) == ["accept", "reject", "unsure", "accept"]
    assert back(case, file) == ImportResult(decided=0, missed=0, unchanged=4, undecided=0)
    assert fold(read_round(case.reviews, "01")).disagreements == []


def test_a_file_is_blind_but_where_the_page_told_the_numbers_before(case, tmp_path):
    case.decide(0, "accept")
    case.decide(1, "accept", source="import")
    case.decide(2, "accept", base_sha256="0" * 64)  # of another outline
    export_gpkg(case.reviews, "01", "ann", tmp_path / "ann.gpkg")
    fill(tmp_path / "ann.gpkg", lambda frame: frame.assign(decision="unsure", reject_reason=None))
    assert back(case, tmp_path / "ann.gpkg").decided == 4
    assert [event.blind for event in read_round(case.reviews, "01")[3:]] == [False, True, True, True]


def test_a_changed_row_becomes_a_later_decision(case, file):
    back(case, fill(file))
    result = back(case, fill(file, lambda f: f.assign(decision=["unsure", "reject", "", ""])))
    assert result == ImportResult(decided=1, missed=0, unchanged=1, undecided=2)
    folded = fold(read_round(case.reviews, "01"))
    assert (folded.verdicts["r01-0001"].decision, folded.forks) == ("unsure", [])


def test_an_edited_outline(case, file):
    outline = place(MultiPolygon([box(0, 0, 50, 80), box(60, 0, 90, 80)]))

    def edit(frame):
        frame["decision"] = ["edit", "", "", ""]
        frame["reject_reason"] = ""
        frame.loc[0, "geometry"] = shapely.force_3d(outline, 4500.0)
        return frame

    assert back(case, fill(file, edit)).decided == 1
    (event,) = read_round(case.reviews, "01")
    assert event.decision == "edit"
    assert from_geojson(event.geometry).equals(outline) and not from_geojson(event.geometry).has_z
    # Then he finds that it is no slump after all, without restoring the outline.
    rejected = fill(file, lambda f: f.assign(decision=["reject", "", "", ""], reject_reason="", possibility=None, note=""))
    assert back(case, rejected).decided == 1
    assert fold(read_round(case.reviews, "01")).verdicts["r01-0001"].decision == "reject"


@pytest.mark.parametrize("decision", ["accept", "reject", "unsure"])
def test_accept_means_the_candidate_s_outline_not_the_one_that_was_redrawn(case, tmp_path, decision):
    """The exported file shows the own outline: who accepts there takes it for accepted."""
    case.decide(0, "edit", geometry=to_geojson(square(0, 40)))
    file = tmp_path / "ann.gpkg"
    export_gpkg(case.reviews, "01", "ann", file)
    fill(file, lambda f: f.assign(decision=[decision, "", "", ""], reject_reason="", possibility=None, note=""))
    if decision == "accept":
        with pytest.raises(
            InputError, match=r"row 1 .r01-0001.: decision 'accept' but the outline was redrawn; expected 'edit'; or restore th"
        ):
            back(case, file)
        assert len(read_round(case.reviews, "01")) == 1
        fill(file, lambda f: at_row(0, decision="accept", geometry=square(0))(f.assign(reject_reason="", note="")))
    back(case, file)
    verdict = fold(read_round(case.reviews, "01")).verdicts["r01-0001"]
    assert (verdict.decision, verdict.geometry) == (decision, None)


def test_a_file_in_another_crs_or_with_moved_vertices_is_the_same(case, file):
    back(case, fill(file))
    fill(file, lambda f: f.set_geometry(shapely.transform(f.geometry, lambda xy: xy + 0.002)).to_crs(4326))
    assert back(case, file).unchanged == 2


def test_missed_slumps(case, file):
    outline = place(box(0, 500, 80, 620))

    def missed(geometry, **values):
        columns = {"possibility": 0.5, "note": None} | values
        return gpd.GeoDataFrame({k: [v] for k, v in columns.items()}, geometry=[geometry], crs=CRS)

    assert back(case, fill(file, missed=missed(outline))).missed == 1
    assert back(case, fill(file, missed=missed(outline))) == ImportResult(decided=0, missed=0, unchanged=3, undecided=2)
    (event,) = [e for e in read_round(case.reviews, "01") if e.action == "add_missed"]
    assert event.candidate_id.startswith("r01-m") and event.possibility == 0.5
    grown = place(box(0, 500, 90, 620))
    assert back(case, fill(file, missed=missed(grown, note="larger"))).missed == 1
    folded = fold(read_round(case.reviews, "01"))
    (name,) = [n for n, v in folded.verdicts.items() if v.decision == "missed"]
    assert name == event.candidate_id
    assert from_geojson(folded.verdicts[name].geometry).equals(grown)
    for wrong, message in ((missed(outline, possibility=7.0), "possibility '7.0' is"), (missed(Point(1, 1)), "not a polygon")):
        with pytest.raises(InputError, match=rf"layer 'missed', row 1: .*{message}"):
            back(case, fill(file, missed=wrong))


def at_row(row, **values):
    def change(frame):
        frame = frame.copy()
        for name, value in values.items():
            frame[name] = frame[name].astype(object)
            frame.loc[row, name] = value
        return frame.set_geometry(gpd.GeoSeries(frame.geometry, crs=CRS))

    return change


BOWTIE = Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
WRONG = {
    "decision": (
        at_row(0, decision="yes"),
        r"row 1 \(r01-0001\): decision 'yes' is unknown; expected accept, reject, edit, unsu",
    ),
    "case": (at_row(1, decision="Reject"), "decision 'Reject' is unknown"),
    "reason": (
        at_row(1, reject_reason="ugly"),
        r"row 2 \(r01-0002\): reject_reason 'ugly' is unknown; expected bare ground, gul",
    ),
    "reason of accept": (at_row(0, reject_reason="water"), "reject_reason 'water' without decision 'reject'"),
    "possibility": (at_row(0, possibility=1.5), "possibility '1.5' is not possible; expected a number from 0 to 1, or empty"),
    "negative": (at_row(0, possibility=-0.1), "possibility '-0.1' is not possible"),
    "text": (lambda f: f.assign(possibility=["high", "", "", ""]), "possibility 'high' is not possible"),
    "infinite": (at_row(0, possibility=float("inf")), "possibility 'inf' is not possible"),
    "undecided possibility": (at_row(2, possibility=0.5), r"row 3 \(r01-0003\): possibility '0.5' without a decision"),
    "undecided note": (at_row(3, note="ask Bob"), "note 'ask Bob' without a decision"),
    "unknown id": (at_row(1, candidate_id="r02-0001"), r"candidate_id 'r02-0001' is unknown in this round"),
    "no id": (at_row(1, candidate_id=None), "candidate_id '' is unknown in this round"),
    "doubled": (at_row(1, candidate_id="r01-0001"), "row 2 .r01-0001.: candidate_id 'r01-0001' is there twice"),
    "copied row": (lambda f: pd.concat([f, f.iloc[[0]]]), "row 5 .r01-0001.: candidate_id 'r01-0001' is there twice"),
    "missing row": (lambda f: f.drop(2), r"1 of 4 candidates are missing: r01-0003"),
    "no row": (lambda f: f.iloc[:0], "4 of 4 candidates are missing: r01-0001, r01-0002"),
    "base": (at_row(1, base_sha256="0" * 64), "is of another version of the outline; export the round again"),
    "no base": (at_row(1, base_sha256=None), "base_sha256 '' is of another version"),
    "redrawn": (at_row(0, geometry=square(0, 90)), "decision 'accept' but the outline was redrawn"),
    "redrawn undecided": (at_row(2, geometry=square(2, 90)), r"row 3 \(r01-0003\): decision '' .*redrawn; expected 'edit'"),
    "not redrawn": (at_row(0, decision="edit"), "decision 'edit' .*the candidate's own"),
    "invalid": (at_row(0, decision="edit", geometry=BOWTIE), r"row 1 \(r01-0001\): geometry is invalid \(Self-intersection"),
    "removed": (at_row(3, geometry=None), r"row 4 \(r01-0004\): geometry is missing or empty"),
    "point": (at_row(0, geometry=Point(1, 1)), "geometry is a Point, not a polygon"),
    "column": (lambda f: f.drop(columns="decision"), "layer 'candidates' has no column decision"),
}


@pytest.mark.parametrize("how", WRONG)
def test_a_wrong_row_refuses_the_whole_file(case, file, how):
    change, message = WRONG[how]
    fill(file, change)
    with pytest.raises(InputError, match=message) as caught:
        back(case, file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)
    assert read_round(case.reviews, "01") == []


def test_a_file_that_is_no_geopackage(case, tmp_path):
    for name, content in (("none.gpkg", None), ("text.gpkg", b"hello"), ("empty.gpkg", b"")):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: can't be read"):
            back(case, path)


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_a_file_without_layers_or_crs(case, file):
    frame = gpd.read_file(file, layer="candidates")
    io.write_gpkg(file, {"candidates": frame})
    with pytest.raises(InputError, match=r"has no layer 'missed' \(has candidates\)"):
        back(case, file)
    io.write_gpkg(file, {"candidates": frame.set_crs(None, allow_override=True), "missed": frame})
    with pytest.raises(InputError, match="declares no CRS"):
        back(case, file)


def test_a_cut_file_is_told(case, file):
    fill(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(InputError, match=r"ann\.gpkg"):
        back(case, file)
    assert read_round(case.reviews, "01") == []


def test_a_closed_round_takes_and_gives_no_file(case, file):
    case.decide_all()
    finish(case.reviews, "01", policy=STRICT, grid=GRID, at=AT)
    with pytest.raises(RefusedError, match="round 01 is already signed off"):
        back(case, file)
    with pytest.raises(RefusedError, match="round 01 is already signed off"):
        export_gpkg(case.reviews, "01", "ann", file)


def test_a_round_without_candidates(tmp_path):
    case = Case(tmp_path, outlines=[])
    export_gpkg(case.reviews, "01", "ann", tmp_path / "none.gpkg")
    assert pyogrio.list_layers(tmp_path / "none.gpkg").tolist() == LAYERS
    assert back(case, tmp_path / "none.gpkg") == ImportResult(0, 0, 0, 0)


def test_a_file_that_may_be_filled_in_is_not_written_over(case, file):
    fill(file)
    before = file.read_bytes()
    with pytest.raises(
        RefusedError, match=r"ann.gpkg: is there already, and may hold verdicts; import it, then .*another file"
    ):
        export_gpkg(case.reviews, "01", "ann", file)
    assert file.read_bytes() == before


def test_what_is_known_is_shown_where_it_changed(tmp_path):
    case = Case(tmp_path, known={1: square(1, 50)})
    export_gpkg(case.reviews, "01", "ann", tmp_path / "ann.gpkg")
    candidates, known = (gpd.read_file(tmp_path / "ann.gpkg", layer=layer) for layer in ("candidates", "known"))
    assert candidates["status"].tolist() == ["candidate", "changed", "candidate", "candidate"]
    assert known["candidate_id"].tolist() == ["r01-0002"]
    assert known.geometry[0].equals(square(1, 50))


def test_a_second_reviewer_gets_the_own_list_alone(tmp_path):
    case = Case(tmp_path, second=Draw(share=0.5))
    case.decide_all()
    wanted = queue_of(case.reviews, "01", "bob", role="second")
    assert wanted == sorted({*second_readings(case.reviews, "01").random, "r01-0003"})
    file = tmp_path / "bob.gpkg"
    export_gpkg(case.reviews, "01", "bob", file, role="second")
    frame = gpd.read_file(file, layer="candidates")
    assert list(frame["candidate_id"]) == wanted
    assert frame["decision"].isna().all()
    frame["decision"] = ["unsure", *[None] * (len(wanted) - 1)]
    io.write_gpkg(file, {"candidates": frame, "missed": gpd.read_file(file, layer="missed")})
    result = import_verdicts(case.reviews, "01", "bob", file, at=AT, role="second")
    assert result == ImportResult(decided=1, missed=0, unchanged=0, undecided=len(wanted) - 1)
