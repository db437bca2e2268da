"""Verdicts as GeoJSON, Shapefile and CSV, and events as exchange files: in, again, and every way to be wrong."""

import geopandas as gpd
import pytest
import shapely

from review_case import AT, CRS, Case, place, sha, square, write_candidates
from rts_pipeline.errors import InputError, RefusedError, UsageError
from rts_pipeline.review.events import exchange_text
from rts_pipeline.review.exchange import ImportResult, export_events, export_gpkg, import_events, import_verdicts
from rts_pipeline.review.folding import fold
from rts_pipeline.review.outlines import from_geojson
from rts_pipeline.review.readings import bases_of
from rts_pipeline.review.start import start
from rts_pipeline.review.store import merge, read_round

ADDED = place(shapely.box(0, 500, 80, 620))
HEAD = "candidate_id,base_sha256,decision,possibility,reject_reason,note"


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


def table(**columns):
    """Verdicts on the first three of four candidates and an added slump, as a GIS program holds them."""
    outlines = [square(0), square(1), square(2, 90), ADDED]
    values = {
        "candidate_id": ["r01-0001", "r01-0002", "r01-0003", None],
        "base_sha256": [*(sha(square(number)) for number in range(3)), None],
        "decision": ["accept", "reject", "edit", "missed"],
        "possibility": [0.75, None, None, 0.5],
        "reject_reason": [None, "water", None, None],
        "note": [" été ", None, None, None],
    }
    return gpd.GeoDataFrame({**values, **columns}, geometry=outlines, crs=CRS)


def written(folder, suffix, frame, crs=CRS):
    path = folder / f"ann{suffix}"
    frame.to_crs(crs).to_file(path, engine="pyogrio")
    return path


def back(case, file, **options):
    return import_verdicts(case.reviews, "01", "ann", file, at=AT, **options)


@pytest.mark.parametrize(("suffix", "crs"), [(".geojson", 4326), (".json", 4326), (".shp", CRS), (".shp", 4326)])
@pytest.mark.filterwarnings("ignore:.*Normalized/laundered field name", "ignore:Column names longer than 10 characters")
def test_a_table_with_outlines(case, tmp_path, suffix, crs):
    file = written(tmp_path, suffix, table(), crs)
    expected = ImportResult(decided=3, missed=1, unchanged=0, undecided=1)
    assert back(case, file, dry_run=True) == expected
    assert read_round(case.reviews, "01") == []
    assert back(case, file) == expected
    assert back(case, file) == ImportResult(decided=0, missed=0, unchanged=4, undecided=1)
    verdicts = fold(read_round(case.reviews, "01")).verdicts
    (added,) = (name for name in verdicts if name.startswith("r01-m"))
    assert [verdicts[f"r01-000{n}"].decision for n in (1, 2, 3)] == ["accept", "reject", "edit"]
    first, second = verdicts["r01-0001"], verdicts["r01-0002"]
    assert (first.possibility, first.note, second.reject_reason, second.possibility) == (0.75, "été", "water", None)
    assert from_geojson(verdicts["r01-0003"].geometry).symmetric_difference(square(2, 90)).area < 1
    assert from_geojson(verdicts[added].geometry).symmetric_difference(ADDED).area < 1
    assert verdicts[added].possibility == 0.5


def test_what_is_said_of_an_added_slump_counts_and_a_file_without_it_leaves_it(case, tmp_path):
    said = {"active": [None, None, None, "no"], "outline_scope": [None, None, None, "whole scar"]}
    for columns, decided in ((said, 1), ({}, 0), ({**said, "active": [None] * 4}, 1)):
        assert back(case, written(tmp_path, ".geojson", table(**columns), 4326)).missed == decided
    added = [event for event in read_round(case.reviews, "01") if event.action == "add_missed"]
    assert [(event.active, event.outline_scope) for event in added] == [(False, "whole scar"), (None, "whole scar")]


def changed(row, **values):
    frame = table()
    for name, value in values.items():
        frame[name] = frame[name].astype(object)
        frame.loc[row, name] = value
    return frame


WRONG = {
    "decision": (changed(1, decision="no"), r"row 2 \(r01-0002\): decision 'no' is unknown; expected accept, reject, edit, u"),
    "two": (
        table(decision=["no", "yes", "maybe", "missed"]),
        r"row 1 .*'no' is unknown; expected accept.*empty; also row 2 \(r01-0002\): decision 'yes' is unknown; also row 3 ",
    ),
    "possibility": (changed(0, possibility=75), r"row 1 \(r01-0001\): possibility '75.*' is not possible; expected a number"),
    "added": (changed(3, possibility=-1), r"row 4: possibility '-1.*' is not possible"),
    "said": (table(active=[None, None, None, "perhaps"]), r"row 4: active 'perhaps' is unknown; expected yes, no or empty"),
    "id": (changed(3, candidate_id="r01-0004"), r"row 4 .*candidate_id 'r01-0004' of an added slump; expected none"),
    "reason": (changed(3, reject_reason="water"), r"row 4: reject_reason 'water' without decision 'reject'"),
    "no id": (changed(0, candidate_id=None), r"row 1: candidate_id '' is unknown in this round"),
    "base": (changed(2, base_sha256="0" * 64), r"row 3 .*base_sha256 '0+' is of another version of the outline"),
    "redrawn": (changed(2, decision="accept"), r"row 3 .*decision 'accept' but the outline was redrawn; expected 'edit'"),
    "column": (table().drop(columns="base_sha256"), r"layer has no column base_sha256; export the round again"),
    "point": (changed(3, geometry=shapely.Point(1, 1)), r"row 4: geometry is a Point, not a polygon"),
    "empty": (changed(3, geometry=None), r"row 4: geometry is missing or empty"),
}


def test_every_wrong_row_is_told_with_its_own_problem(tmp_path):
    case = Case(tmp_path, outlines=[square(n) for n in range(16)])
    rows = [f"{row(n, 'accept,2,,')}" for n in range(13)]
    rows += [row(13, "reject,,ugly,"), row(14, "maybe,7,,"), row(15, "accept,,,")]
    with pytest.raises(InputError) as caught:
        back(case, csv_file(tmp_path, *rows))
    assert "row 1 (r01-0001): possibility '2' is not possible; expected a number from 0 to 1, or empty;" in str(caught.value)
    assert str(caught.value).count("also row") == 10 and str(caught.value).endswith("and 4 more rows")
    with pytest.raises(
        InputError, match=r"row 1 .r01-0014.: reject_reason 'ugly' .* also row 2 .r01-0015.: decision 'maybe' is"
    ):
        back(case, csv_file(tmp_path, *rows[13:]))


@pytest.mark.parametrize("how", WRONG)
def test_a_wrong_row_refuses_the_whole_table(case, tmp_path, how):
    frame, message = WRONG[how]
    file = written(tmp_path, ".geojson", gpd.GeoDataFrame(frame, geometry="geometry", crs=CRS), 4326)
    with pytest.raises(InputError, match=message) as caught:
        back(case, file)
    assert str(caught.value).startswith(str(file)) and "\n" not in str(caught.value)
    assert read_round(case.reviews, "01") == []


def test_files_that_are_no_tables(case, tmp_path):
    for name, content in (
        ("a.geojson", "{"),
        ("a.shp", "x" * 200),
        ("b.geojson", '{"type": "FeatureCollection", "features": []}'),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=name):
            back(case, tmp_path / name)
    with pytest.raises(InputError, match=r"none.csv: can't be read"):
        back(case, tmp_path / "none.csv")
    for name in ("a.kml", "a"):
        with pytest.raises(UsageError, match=r"not a kind of file that holds verdicts; expected .gpkg, .geojson, .shp, .csv"):
            back(case, tmp_path / name)


@pytest.mark.filterwarnings("ignore:.*Normalized/laundered field name", "ignore:Column names longer than 10 characters")
def test_a_shapefile_without_projection(case, tmp_path):
    file = written(tmp_path, ".shp", table().rename(columns={"candidate_id": "candidate_"}))
    file.with_suffix(".prj").unlink()
    with pytest.raises(InputError, match="declares no CRS; expected that of the candidates"):
        back(case, file)


def csv_file(tmp_path, *rows, head=HEAD, encoding="utf-8"):
    file = tmp_path / "ann.csv"
    file.write_bytes(("\n".join([head, *rows]) + "\n").encode(encoding))
    return file


def row(number, rest):
    return f"r01-{number + 1:04d},{sha(square(number))},{rest}"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_csv(case, tmp_path, separator, encoding):
    rows = [row(0, 'accept,0.75,," two\nlines "'), "", row(1, "reject,,water,é"), row(3, ",,,")]
    lines = [line.replace(",", separator) for line in (HEAD, *rows)]
    file = csv_file(tmp_path, *lines[1:], head=lines[0], encoding=encoding)
    assert back(case, file, dry_run=True) == ImportResult(decided=2, missed=0, unchanged=0, undecided=2)
    assert back(case, file, role="second").decided == 2
    nothing_drawn = ImportResult(decided=0, missed=0, unchanged=2, undecided=0)
    assert back(case, file, role="second") == nothing_drawn
    accept, reject = read_round(case.reviews, "01")
    assert (accept.possibility, accept.note, accept.role) == (0.75, "two\nlines", "second")
    assert (reject.reject_reason, reject.note) == ("water", "é")


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"], ids=ascii)
def test_what_breaks_no_line_of_a_csv(case, tmp_path, end):
    assert back(case, csv_file(tmp_path, row(0, f"accept,,,headwall{end}tongue"), row(1, "reject,,,"))).decided == 2
    assert read_round(case.reviews, "01")[0].note == f"headwall{end}tongue"


@pytest.mark.parametrize("end", ["\r\n", "\r"], ids=ascii)
def test_a_csv_of_another_system(case, tmp_path, end):
    file = csv_file(tmp_path, row(0, 'accept,,,"two\nlines"'), row(1, "reject,,water,"))
    file.write_bytes(file.read_bytes().replace(b"\n", end.encode()))
    assert back(case, file).decided == 2
    assert [event.note for event in read_round(case.reviews, "01")] == [f"two{end}lines", None]


def test_a_csv_leaves_a_redrawn_outline_as_it_is(case, tmp_path):
    back(case, written(tmp_path, ".geojson", table(), 4326))
    assert back(case, csv_file(tmp_path, row(2, "edit,,,"))).unchanged == 1
    assert back(case, csv_file(tmp_path, row(2, "accept,,,"))).decided == 1
    assert fold(read_round(case.reviews, "01")).verdicts["r01-0003"].decision == "accept"


def test_a_csv_may_have_further_columns_and_outlines_as_text_are_none(case, tmp_path):
    rows = [row(0, 'accept,,,,"POLYGON ((0 0, 1 0, 1 1, 0 0))",a'), row(1, "reject,,,,,b")]
    assert back(case, csv_file(tmp_path, *rows, head=f"{HEAD},geometry,who")).decided == 2
    with pytest.raises(InputError, match=r"the outline is the candidate's own; redraw it \(a CSV can't hold one"):
        back(case, csv_file(tmp_path, row(2, "edit,,,,POLYGON ((0 0))"), head=f"{HEAD},geometry"))


WRONG_CSV = {
    "edit": (
        [row(0, "edit,,,")],
        r"row 1 \(r01-0001\): decision 'edit' but the outline is the candidate's own; redraw it \(a CSV",
    ),
    "missed": (
        [f"{row(0, 'accept,,,')}", ",,missed,1,,"],
        r"row 2: decision 'missed' needs an outline; draw it in a GeoPackage",
    ),
    "comma": ([row(0, 'accept,"0,75",,')], r"row 1 .*possibility '0,75' is not possible; expected a number"),
    "nan": ([row(0, "accept,nan,,")], r"row 1 .*possibility 'nan' is not possible"),
    "short": ([row(0, "accept,,,"), row(1, "accept")], r"row 2: has 3 values; expected 6, as the first line names"),
    "long": ([row(0, "accept,,,,")], r"row 1: has 7 values; expected 6"),
    "quote": ([row(0, 'accept,,,"open')], r"row 1: not CSV \(unexpected end of data\)"),
    "after blank": (["", row(0, "accept,,,"), "", row(1, "yes,,,")], r"row 4 \(r01-0002\): decision 'yes' is unknown"),
}


@pytest.mark.parametrize("how", WRONG_CSV)
def test_a_wrong_row_refuses_the_whole_csv(case, tmp_path, how):
    rows, message = WRONG_CSV[how]
    with pytest.raises(InputError, match=rf"ann.csv, {message}"):
        back(case, csv_file(tmp_path, *rows))
    assert read_round(case.reviews, "01") == []


def test_a_csv_that_is_none(case, tmp_path):
    for options, message in (
        ({"head": HEAD.replace("base_sha256,", "")}, "the first line has no column base_sha256"),
        ({"head": f"{HEAD},note"}, "has two columns note; keep one of each"),
        ({"head": "", "encoding": "utf-8"}, "the first line has no column candidate_id, base_sha256"),
    ):
        with pytest.raises(InputError, match=message):
            back(case, csv_file(tmp_path, **options))
    with pytest.raises(InputError, match=r"ann.csv, the first line: not CSV \(field larger than"):
        back(case, csv_file(tmp_path, head="x" * 200_000))
    file = csv_file(tmp_path, row(0, "accept,,,é"), encoding="latin-1")
    with pytest.raises(InputError, match=r"not UTF-8 .*Excel: 'CSV UTF-8'"):
        back(case, file)
    assert back(case, csv_file(tmp_path)).undecided == 4


# --- events from another machine -----------------------------------------------------------------------------------------


@pytest.fixture
def laptops(tmp_path):
    """The same round on two machines."""
    return Case(tmp_path / "one"), Case(tmp_path / "two")


def test_two_laptops(laptops, tmp_path):
    one, two = laptops
    one.decide_all()
    two.decide(0, "reject", "bob", role="second")
    file = tmp_path / "bob.jsonl"
    assert export_events(two.reviews, "01", "bob", file) == 1
    assert import_events(one.reviews, "01", file, dry_run=True) == (1, 0)
    assert len(read_round(one.reviews, "01")) == 4
    assert import_events(one.reviews, "01", file, reviewer="bob") == (1, 0)
    assert import_events(one.reviews, "01", file) == (0, 1)
    export_events(one.reviews, "01", "ann", tmp_path / "ann.jsonl")
    import_events(two.reviews, "01", tmp_path / "ann.jsonl")
    assert fold(read_round(one.reviews, "01")) == fold(read_round(two.reviews, "01"))


def test_one_reviewer_on_two_laptops_is_a_fork_where_they_differ(laptops, tmp_path):
    one, two = laptops
    for case, decision in ((one, "accept"), (two, "reject")):
        case.decide(0, decision)
        case.decide(1, "accept")
    export_events(two.reviews, "01", "ann", tmp_path / "ann.jsonl")
    import_events(one.reviews, "01", tmp_path / "ann.jsonl")
    folded = fold(read_round(one.reviews, "01"))
    assert folded.forks == [("r01-0001", "ann")]
    assert folded.verdicts["r01-0002"].n_reviews == 1
    export_gpkg(one.reviews, "01", "ann", tmp_path / "ann.gpkg")
    frame = gpd.read_file(tmp_path / "ann.gpkg", layer="candidates")
    frame.loc[0, "decision"] = "unsure"
    written(tmp_path, ".geojson", frame, 4326)
    back(one, tmp_path / "ann.geojson")
    folded = fold(read_round(one.reviews, "01"))
    assert (folded.forks, folded.verdicts["r01-0001"].decision) == ([], "unsure")


def test_events_that_the_record_lacks_are_not_written_over(laptops, tmp_path):
    one, two = laptops
    file = tmp_path / "bob.jsonl"
    for number, decision in enumerate(("accept", "reject")):
        two.decide(number, decision, "bob")
        assert export_events(two.reviews, "01", "bob", file) == number + 1
    before = file.read_bytes()
    for reviewer in ("bob", "ann"):
        with pytest.raises(RefusedError, match=rf"bob.jsonl: holds 2 events that aren't among {reviewer}'s of round 01; imp"):
            export_events(one.reviews, "01", reviewer, file)
    assert file.read_bytes() == before
    import_events(one.reviews, "01", file)
    assert export_events(one.reviews, "01", "bob", file) == 2
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"round": "02"}, r"line 2 \(r01-0002\): round '02'; expected '01'"),
        ({"reviewer": "bob"}, r"line 2 .*reviewer 'bob'; expected 'ann'"),
        ({"candidate_id": "r01-0099"}, r"line 2 \(r01-0099\): base_sha256 '\w+'; expected a candidate of this round"),
        ({"base_sha256": "0" * 64}, rf"line 2 .*base_sha256 '0+'; expected '{sha(square(1))}'"),
    ],
)
def test_an_event_that_does_not_belong_refuses_the_whole_file(case, tmp_path, fields, message):
    file = tmp_path / "ann.jsonl"
    file.write_text(exchange_text([case.event(0), case.event(1, **{"at": "2020-09-02T00:00:00Z", **fields})]))
    with pytest.raises(InputError, match=message):
        import_events(case.reviews, "01", file, reviewer="ann")
    assert read_round(case.reviews, "01") == []


def test_what_was_said_before_the_review_was_started_again_travels_too(laptops, tmp_path):
    one, two = laptops
    one.decide_all()
    for case in laptops:
        write_candidates(case.results, outlines=[square(0).buffer(9), square(1)])
        (case.folder / "draft.json").unlink()
        start(case.reviews, case.results, "01", at="2020-09-02T00:00:00Z")
    one.decide(1, "accept", at="2020-09-03T00:00:00Z", parent_event_id=read_round(one.reviews, "01")[1].event_id)
    export_events(one.reviews, "01", "ann", tmp_path / "ann.jsonl")
    assert import_events(two.reviews, "01", tmp_path / "ann.jsonl") == (5, 0)
    bases = bases_of(two.reviews, "01")
    assert {name: v.decision for name, v in fold(read_round(two.reviews, "01"), bases=bases).verdicts.items()} == {
        "r01-0002": "accept"
    }


def test_a_folder_is_no_exchange_file(case, tmp_path):
    (tmp_path / "ann.jsonl").mkdir()
    with pytest.raises(InputError, match=r"ann.jsonl: is a folder; expected a reviewer's events"):
        import_events(case.reviews, "01", tmp_path / "ann.jsonl")


def test_a_closed_round_takes_no_events(case, tmp_path):
    file = tmp_path / "ann.jsonl"
    file.write_text(exchange_text([case.event(0)]))
    (case.folder / "draft.json").unlink()
    with pytest.raises(RefusedError, match="isn't open"):
        import_events(case.reviews, "01", file)
    with pytest.raises(RefusedError, match="isn't open"):
        merge(case.reviews, "01", [case.event(0)])
