"""What the Snakefile learns when it is parsed: the state of the rounds, and a configuration that is frozen for a run."""

import json
import os

import geopandas as gpd
import pytest
from rasterio.crs import CRS
from shapely import MultiPolygon, box

import review_case
from rts_pipeline import workflow
from rts_pipeline.config import Review, validate_config
from rts_pipeline.errors import InputError, RefusedError
from rts_pipeline.grid import Grid
from rts_pipeline.io.json import read_json, write_json
from rts_pipeline.review import rounds
from rts_pipeline.review.events import make_event
from rts_pipeline.review.finish import finish
from rts_pipeline.review.same_grid import check_grid
from rts_pipeline.review.start import start
from rts_pipeline.review.store import append
from rts_pipeline.scenes.memory import state_of_layer
from rts_pipeline.workflow.frozen import FROZEN, freeze
from rts_pipeline.workflow.named_files import NamedFiles

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


def lay_area(folder, east):
    """A project's values whose area begins in UTM zone 45 and ends at the longitude `east`."""
    path = folder / "aoi.gpkg"
    gpd.GeoDataFrame(geometry=[box(86.0, 34.0, east, 35.0)], crs="EPSG:4326").to_file(path)
    places = {"results": str(folder / "results"), "reviews": str(folder / "reviews")}
    return {**VALUES, **places, "area": {"aoi": str(path)}, "grid": {"crs": "auto", "cell_px": 128}}


def load(values, capsys):
    """What the Snakefile's main process says: all of it is refused, later by the missing orders."""
    with pytest.raises(SystemExit) as ended:
        workflow.load_project(values, "config.yaml", main_process=True)
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("sides", "zone"),
    [
        ([(179, 180), (-180, -178.8)], "EPSG:32601"),
        ([(178.8, 180), (-180, -179)], "EPSG:32660"),
        ([(179, 181.2)], "EPSG:32601"),
        ([(92, 94)], "EPSG:32646"),
        ([(-94, -92)], "EPSG:32615"),
    ],
)
def test_the_grid_of_an_area_is_the_zone_of_its_middle_also_across_the_antimeridian(tmp_path, sides, zone):
    area = MultiPolygon([box(west, 66, east, 66.3) for west, east in sides])
    gpd.GeoSeries([area], crs="EPSG:4326").to_file(tmp_path / "aoi.gpkg")
    given = config(tmp_path, area={"aoi": str(tmp_path / "aoi.gpkg")}, grid={"crs": "auto"})
    assert workflow.resolve_grid(given).grid.crs == zone


def test_an_area_whose_coordinates_are_swapped_is_told(tmp_path):
    gpd.GeoSeries([box(34.5, 93, 35, 93.5)], crs="EPSG:4326").to_file(tmp_path / "aoi.gpkg")
    given = config(tmp_path, area={"aoi": str(tmp_path / "aoi.gpkg")}, grid={"crs": "auto"})
    with pytest.raises(InputError, match=r"aoi\.gpkg: Unable to determine UTM CRS; expected x is east \(longitude\)"):
        workflow.resolve_grid(given)


def test_a_grid_that_an_extended_area_would_move_is_refused_once_a_round_is_signed_off(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv(FROZEN, "{}")
    within, beyond = (lay_area(tmp_path, east) for east in (95.0, 107.0))
    sign_off(tmp_path, NEW)
    code, told = load(beyond, capsys)
    assert (code, told.count("\n")) == (4, 1)
    assert "signoff.json: round 01 was signed off with grid.crs EPSG:32646, and now it is EPSG:32647" in told
    assert "set grid.crs to EPSG:32646 in the configuration" in told
    # as it says, or the same CRS in other words; an area within the zone needs nothing
    for crs in (review_case.CRS, CRS.from_epsg(32646).to_wkt()):
        assert "signed off" not in load({**beyond, "grid": {"crs": crs, "cell_px": 128}}, capsys)[1]
    lay_area(tmp_path, 100.0)
    assert "signed off" not in load(within, capsys)[1]


@pytest.mark.parametrize(
    ("crs", "said"),
    [
        ("EPSG:4326", "it is no projection in metres"),
        ("EPSG:2263", "it is no projection in metres"),
        ("EPSG:99999999", "PROJ knows no way from it to other CRS"),
        ("utm 46", "PROJ knows no way from it to other CRS"),
        ("32646", "PROJ knows no way from it to other CRS"),
        ("", "PROJ knows no way from it to other CRS"),
    ],
)
def test_a_grid_whose_pixels_have_no_metres_is_refused(tmp_path, capsys, crs, said):
    code, told = load(lay_area(tmp_path, 95.0) | {"grid": {"crs": crs}}, capsys)
    assert (code, told.count("\n")) == (2, 1)
    assert f"rts-pipeline: grid.crs: '{crs}': {said}; expected a projected CRS in metres" in told


def test_a_crs_that_was_found_fit_is_asked_of_proj_once(tmp_path, capsys, monkeypatch):
    """PROJ would make the memory of each start of a large project go past 300 MB."""
    values = lay_area(tmp_path, 95.0) | {"grid": {"crs": "ESRI:102025"}}
    asked = []
    monkeypatch.setattr("rts_pipeline.workflow.project.crs_defect", lambda crs: asked.append(crs) or "")
    for _ in range(2):
        assert "grid.crs" not in load(values, capsys)[1]
    assert asked == ["ESRI:102025"]
    load(values | {"grid": {"crs": "EPSG:32646"}}, capsys)
    assert asked == ["ESRI:102025", "EPSG:32646"]


@pytest.mark.parametrize(("key", "value", "said"), [("pixel_m", 3.5, "pixel_m 3.0"), ("cell_px", 256, "cell_px 128")])
def test_pixels_and_cells_of_another_size_are_refused_too(tmp_path, capsys, monkeypatch, key, value, said):
    monkeypatch.setenv(FROZEN, "{}")
    values = lay_area(tmp_path, 95.0) | {"grid": {"crs": review_case.CRS, "cell_px": 128, key: value}}
    sign_off(tmp_path, NEW)
    code, told = load(values, capsys)
    assert code == 4 and f"round 01 was signed off with grid.{said}, and now it is {value}" in told


def test_a_round_is_not_signed_off_on_another_grid_than_the_one_before(tmp_path):
    sign_off(tmp_path, NEW)
    results, reviews = tmp_path / "results", tmp_path / "reviews"
    review_case.write_candidates(results, "02")
    start(reviews, results, "02", at=review_case.AT)
    with pytest.raises(RefusedError, match=r"round 01 was signed off with grid\.cell_px 128, and now it is 256"):
        finish(reviews, "02", policy=Review(allow_unreviewed=True), grid=Grid(review_case.CRS, 3.0, 256), at=review_case.AT)


def test_a_signoff_from_before_the_grid_was_written_down_is_not_compared(tmp_path):
    sign_off(tmp_path, NEW)
    path = tmp_path / "reviews/round_01" / rounds.SIGNOFF
    old = {name: value for name, value in read_json(path).items() if name not in ("crs", "pixel_m", "cell_px")}
    write_json(path, old)
    check_grid(path.parents[1], rounds.read_signoffs(path.parents[1]), Grid("EPSG:32647", 5.0, 512))


def lay_layer(path, code="a", crs="EPSG:32646"):
    gpd.GeoDataFrame({"code": [code]}, geometry=[box(0, 0, 10, 10)], crs=crs).to_file(path)


@pytest.fixture(params=["geology.shp", "geology.gdb"])
def layer(request, tmp_path):
    """A layer of several files, in a folder of its own that may stand for it; the digest of its covariate; what it holds."""
    path = tmp_path / request.param
    if path.suffix == ".gdb":
        path.mkdir()
    main = path / "geology.shp" if path.is_dir() else path
    covariates = [{"name": "geology", "file": str(path), "kind": "nearest"}]

    def digest():
        return NamedFiles(config(tmp_path, attributes={"covariates": covariates})).checksums["covariates.geology"]

    lay_layer(main)
    return digest, main


def test_each_file_of_a_layer_counts(layer):
    """Another value or CRS lies beside the file of geometries, which stays as it is."""
    digest, main = layer
    before, outlines = digest(), main.read_bytes()
    lay_layer(main, "b")
    other = digest()
    lay_layer(main, "b", "EPSG:32645")
    assert main.read_bytes() == outlines
    assert len({"", before, other, digest()}) == 4
    # back to what it was, whenever that was written
    lay_layer(main)
    os.utime(main.with_suffix(".dbf"), (1, 1))
    assert digest() == before
    main.with_suffix(".cpg").unlink()
    assert digest() != before


def test_what_only_lies_beside_a_layer_does_not_count(layer):
    digest, main = layer
    before = digest()
    others = ["geology.qml", "other.dbf"] if main.parent.suffix == "" else ["host.1.sr.lock"]
    for name in others:
        main.with_name(name).write_text("x")
    assert digest() == before


def test_a_single_file_is_its_own_digest(tmp_path):
    lay_area(tmp_path, 95.0)
    (tmp_path / "aoi.gpkg-wal").write_text("x")
    found = NamedFiles(config(tmp_path, area={"aoi": str(tmp_path / "aoi.gpkg")})).checksums
    assert found == {"aoi": rounds.sha256_file(tmp_path / "aoi.gpkg"), "seeds": ""}


def test_planning_sees_a_file_of_a_folder_change(tmp_path):
    folder = tmp_path / "seeds.gdb"
    folder.mkdir()
    lay_layer(folder / "seeds.shp")
    before, times = state_of_layer(folder), folder.stat()
    with (folder / "seeds.dbf").open("ab") as file:
        file.write(b"x")
    assert folder.stat().st_mtime_ns == times.st_mtime_ns
    assert state_of_layer(folder) != before


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


def test_an_empty_path_is_told_before_any_job_and_not_by_the_one_that_reads_it(tmp_path):
    for section, key in (("attributes", "roads"), ("inventory", "previous"), ("inventory", "decisions")):
        with pytest.raises(InputError, match=r"^'': no such file; expected .*write null"):
            NamedFiles(config(tmp_path, **{section: {key: ""}})).check_files()


def test_weights_to_start_from_count_by_content_and_are_missed_before_any_job(tmp_path):
    weights = tmp_path / "weights.pt"
    for name in ("aoi.gpkg", "seeds.gpkg"):
        (tmp_path / name).write_text("")
    named = {"area": {"aoi": str(tmp_path / "aoi.gpkg")}, "labels": {"seeds": str(tmp_path / "seeds.gpkg")}}

    def files(weights):
        return NamedFiles(config(tmp_path, **named, train={"weights": str(weights)}))

    with pytest.raises(InputError, match=r"weights\.pt: no such file; expected weights to start from"):
        files(weights).check_files()
    weights.write_text("one")
    before = files(weights).checksums["weights"]
    weights.write_text("two, of another training")
    assert files(weights).checksums["weights"] != before
    files("ResNet50_Weights.SENTINEL2_ALL_MOCO").check_files()
    assert "weights" not in files("ResNet50_Weights.SENTINEL2_ALL_MOCO").checksums
