"""The offline package: what lies in it, what doesn't, and its way back; and, marked slow, QGIS itself."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import zipfile
from pathlib import Path
from xml.etree import ElementTree as ET

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import rasterio
from PIL import Image
from rasterio.windows import from_bounds
from shapely import box
from shapely.affinity import translate
from typer.testing import CliRunner

from page_case import COLOURS, OPTIONS, Project
from review_case import AT, CRS, GRID, frame, place
from rts_pipeline import io
from rts_pipeline.cli import app
from rts_pipeline.config import load_config
from rts_pipeline.errors import InputError, RefusedError
from rts_pipeline.evidence.chips import ground
from rts_pipeline.evidence.tables import GROUND
from rts_pipeline.review.events import make_event, missed_id
from rts_pipeline.review.exchange import ImportResult, import_verdicts
from rts_pipeline.review.folding import fold
from rts_pipeline.review.outlines import from_geojson, to_geojson
from rts_pipeline.review.package import PROJECT, VERDICTS, write_package
from rts_pipeline.review.qgis_layers import ADDED, KNOWN, STYLES, WINDOW_STYLES
from rts_pipeline.review.qgis_project import MIN_ID, Layer
from rts_pipeline.review.start import start
from rts_pipeline.review.store import append

SECRET = "the other reader thinks so"
PYTHON = "/usr/bin/python3"
"""Debian's own, which has PyQGIS after `apt install python3-qgis`."""
YEARS = ("2018", "2019", "2020")
PENS = {"solid": 1, "dash": 2, "dot": 3, "dash dot": 4, "dash dot dot": 5}
"""Qt's numbers of its kinds of lines."""


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("package"), n=3)
    who = {"round": "02", "candidate_id": project.names[0], "reviewer": "zoe", "at": AT, "source": "web"}
    base = candidates(project)["base_sha256"].iloc[0]
    said = {"action": "decide", "decision": "reject", "note": SECRET, "base_sha256": base, "guideline_version": "1"}
    append(project.reviews, "02", "zoe", [make_event(**who, **said)])
    return project


@pytest.fixture(scope="module")
def written(template, tmp_path_factory):
    """The package, moved to where the project isn't."""
    folder = tmp_path_factory.mktemp("made")
    packed = write_package(load_config(template.config), "02", "ann", folder / "out")
    moved = tmp_path_factory.mktemp("elsewhere") / "ann"
    shutil.move(folder / "out", moved)
    return packed, moved


@pytest.fixture
def project(template, tmp_path):
    return template.copied(tmp_path / "project")


@pytest.fixture
def package(written, tmp_path):
    return shutil.copytree(written[1], tmp_path / "package")


def candidates(project):
    return io.read_geoparquet(project.reviews / "round_02" / "candidates.parquet")


def document(package):
    with zipfile.ZipFile(package / PROJECT) as archive:
        assert archive.namelist() == ["review.qgs"]
        return archive.read("review.qgs").decode()


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """A project whose round is audited, and its package."""
    project = Project(tmp_path_factory.mktemp("audited"), n=3, windows=frame(sampled=[10, 24], round="02"))
    out = tmp_path_factory.mktemp("made") / "out"
    return project, write_package(load_config(project.config), "02", "ann", out), out


def test_files(written):
    packed, package = written
    names = {str(file.relative_to(package)) for file in package.rglob("*") if file.is_file()}
    cells = {name for name in names if name.startswith("mosaic/")}
    assert {VERDICTS, PROJECT, "mosaic.vrt", "2018.vrt", "2019.vrt", "2020.vrt"} < names
    assert (packed.candidates, packed.years, packed.cells) == (3, (2018, 2019, 2020), len(cells))
    assert packed.size == sum((package / name).stat().st_size for name in names)
    assert {Path(name).suffix for name in names} == {".gpkg", ".qgz", ".vrt", ".tif"}
    for name in names:
        if name.endswith(".tif"):
            with rasterio.open(package / name) as dataset:
                assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_only_cells_with_candidates(template, written):
    _, package = written
    boxes = [ground(outline.bounds, GRID, OPTIONS.margin_m, OPTIONS.min_size_px).polygon for outline in template.outlines]
    inside = {f"{cell}.tif" for cell in GRID.cells_touching(boxes)}
    there = {file.name for file in (package / "mosaic").iterdir()}
    assert there == inside & {file.name for file in (template.results / "mosaic").glob("*.tif")}
    assert there < {file.name for file in (template.results / "mosaic").glob("*.tif")}


def test_gpkg_is_what_the_export_writes(written):
    file = written[1] / VERDICTS
    assert [name for name, _ in pyogrio.list_layers(file)] == ["candidates", "missed", "known"]
    with sqlite3.connect(file) as database:
        # GeoPackage 1.3, which QGIS 3.22 reads
        assert database.execute("pragma user_version").fetchone() == (10300,)
    database.close()


def test_years_lie_where_the_candidates_do(template, written):
    """The slump of a picture, a disc in its middle that grows from year to year, has its place and size on the ground."""
    (_, slump), (_, slump_false) = COLOURS["true"], COLOURS["false"]
    for number, year in enumerate(YEARS):
        with rasterio.open(written[1] / f"{year}.vrt") as dataset:
            assert dataset.crs == CRS and dataset.descriptions == ("blue", "green", "red", "nir", "alpha")
            for outline, name in zip(template.outlines, template.names, strict=True):
                box = ground(outline.bounds, GRID, OPTIONS.margin_m, OPTIONS.min_size_px)
                blue, green, red, nir, alpha = dataset.read(window=from_bounds(*box.bounds, dataset.transform))
                if year == "2018" and name == template.names[1]:
                    assert not alpha.any()
                    continue
                assert red.shape == box.shape and (alpha == 255).all()
                middle = [int(band[box.height // 2, box.width // 2]) for band in (red, green, blue, nir)]
                assert np.allclose(middle, [*slump, slump_false[0]], atol=6)
                rows, columns = np.nonzero(red > 133)
                assert np.allclose([rows.mean(), columns.mean()], (box.width - 1) / 2, atol=0.6)
                assert len(rows) == pytest.approx(np.pi * (box.width * (0.08 + 0.05 * number)) ** 2, rel=0.15)


def test_ground_of_two_belongs_to_the_nearer_in_all_years(project, tmp_path):
    """Where a year lacks one candidate's picture, its ground stays empty: the neighbour's has another stretch."""
    near = candidates(project)
    near.loc[1, "geometry"] = translate(near.geometry.iloc[0], 120)
    io.write_parquet(project.results / "rounds" / "02" / "candidates.parquet", near)
    index = project.results / "rounds" / "02" / "evidence" / "evidence.parquet"
    evidence, place = io.read_geoparquet(index), near.geometry.iloc[1].bounds
    moved = ground(place, GRID, OPTIONS.margin_m, OPTIONS.min_size_px).bounds
    evidence.loc[evidence["candidate_id"] == near["candidate_id"][1], list(GROUND)] = moved
    io.write_parquet(index, evidence)
    shutil.rmtree(project.reviews / "round_02")
    start(project.reviews, project.results, "02", at=AT)
    write_package(load_config(project.config), "02", "ann", tmp_path / "out")
    left, right = near.geometry.iloc[0].centroid, near.geometry.iloc[1].centroid
    points = [(left.x + 54, left.y), (right.x - 54, right.y)]
    for year, wanted in (("2018", [255, 0]), ("2019", [255, 255])):
        with rasterio.open(tmp_path / "out" / f"{year}.vrt") as dataset:
            assert [int(values[4]) for values in dataset.sample(points)] == wanted


def test_project_is_relative_and_complete(written):
    text = document(written[1])
    root = ET.fromstring(text)
    sources = {layer.findtext("datasource") for layer in root.iter("maplayer")}
    assert sources == {f"./{n}.vrt" for n in (*YEARS, "mosaic")} | {
        f"./{VERDICTS}|layername={n}" for n in ("candidates", "missed", "known")
    }
    assert all((written[1] / source.split("|")[0]).exists() for source in sources)
    ids = [layer.findtext("id") for layer in root.iter("maplayer")]
    assert len(set(ids)) == len(ids) and min(map(len, ids)) >= MIN_ID
    themes = {theme.get("name"): [layer.get("id") for layer in theme] for theme in root.iter("visibility-preset")}
    assert {*YEARS, *(f"{year} false colour" for year in YEARS), "mosaic", "time-lapse"} < set(themes)
    assert all(set(shown) <= set(ids) for shown in themes.values())
    assert len({style[:2] for style in STYLES.values()}) == len(STYLES)


def test_paths_of_this_machine_are_nowhere(template, written):
    _, package = written
    for file in package.rglob("*"):
        if file.is_file():
            data = document(package).encode() if file.name == PROJECT else file.read_bytes()
            assert str(template.folder).encode() not in data and b"/tmp/" not in data, file


def test_blind(template, written):
    """Neither a number of the network nor another's verdict is in any table or in the project."""
    _, package = written
    for layer, _ in pyogrio.list_layers(package / VERDICTS):
        columns = set(pyogrio.read_info(package / VERDICTS, layer=layer)["fields"])
        assert not columns & {"prob_mean", "prob_max", "rank", "score", "known_m", "model_sha256", "seen", "first_year_visible"}
    everything = document(package).encode() + (package / VERDICTS).read_bytes()
    assert b"zoe" not in everything and SECRET.encode() not in everything and b"prob" not in everything


def test_round_trip(project, package):
    file = package / VERDICTS
    frame = gpd.read_file(file, layer="candidates")
    # as QGIS does it: rows are changed in place
    frame["decision"] = ["accept", "reject", None]
    frame["reject_reason"] = [None, "gully or river bank", None]
    frame["outline_scope"] = ["whole scar", None, None]
    frame["active"] = ["no", None, None]
    missed = gpd.read_file(file, layer="missed")
    io.write_gpkg(file, {"candidates": frame, "missed": missed})
    run = ["review", "import", "02", str(file), "--reviewer", "ann", "--config", str(project.config)]
    dry = CliRunner().invoke(app, [*run, "--dry-run"])
    assert dry.exit_code == 0 and "2 new verdicts" in dry.output and project.decisions() == {}
    done = CliRunner().invoke(app, run)
    assert done.exit_code == 0, done.output
    assert project.decisions() == {project.names[0]: "accept", project.names[1]: "reject"}
    first, second = sorted(project.events(), key=lambda event: event.candidate_id)
    assert (first.outline_scope, first.active, second.reject_reason) == ("whole scar", False, "gully or river bank")
    again = CliRunner().invoke(app, run)
    assert "0 new verdicts" in again.output and len(project.events()) == 2


def test_next_package_holds_own_verdicts(project, tmp_path):
    """What the page recorded and a file can't say isn't lost on the way, and says nothing new when it comes back."""
    row, years = candidates(project).iloc[0], {"evidence_years": (2018, 2019), "first_year_visible": 2018}
    who = {"round": "02", "candidate_id": row["candidate_id"], "reviewer": "ann", "at": AT, "source": "web"}
    said = {"action": "decide", "decision": "accept", "base_sha256": row["base_sha256"], "guideline_version": "1", **years}
    event = make_event(**who, **said, outline_scope="whole scar", active=False)
    append(project.reviews, "02", "ann", [event])
    file = tmp_path / "next" / VERDICTS
    write_package(load_config(project.config), "02", "ann", file.parent)
    frame = gpd.read_file(file, layer="candidates")
    assert frame.loc[0, ["decision", "outline_scope", "active"]].tolist() == ["accept", "whole scar", "no"]
    later = {"at": "2021-01-01T00:00:00Z"}
    unchanged = import_verdicts(project.reviews, "02", "ann", file, **later)
    assert unchanged == ImportResult(decided=0, missed=0, unchanged=1, undecided=2)
    frame.loc[0, ["note", "outline_scope"]] = ["the tongue too", "active part and debris tongue"]
    io.write_gpkg(file, {"candidates": frame.drop(columns="active"), "missed": gpd.read_file(file, layer="missed")})
    assert import_verdicts(project.reviews, "02", "ann", file, **later).decided == 1
    new = project.events()[-1]
    assert (new.note, new.outline_scope, new.active) == ("the tongue too", "active part and debris tongue", False)
    assert (new.evidence_years, new.first_year_visible) == ((2018, 2019), 2018)


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("active", "maybe", "active 'maybe' is unknown; expected yes, no or empty"),
        ("outline_scope", "all", "outline_scope 'all' is unknown; expected active part"),
    ],
)
def test_wrong_value(project, package, column, value, told):
    frame = gpd.read_file(package / VERDICTS, layer="candidates").astype({column: object})
    frame["decision"] = "accept"
    frame.loc[1, column] = value
    io.write_gpkg(package / VERDICTS, {n: frame if n == "candidates" else frame.iloc[:0] for n in ("candidates", "missed")})
    with pytest.raises(InputError, match=re.escape(told)) as caught:
        import_verdicts(project.reviews, "02", "ann", package / VERDICTS, at=AT)
    assert "row 2" in str(caught.value) and project.events() == []


def test_never_over_what_is_there(project, package):
    before = {file: file.read_bytes() for file in package.rglob("*") if file.is_file()}
    with pytest.raises(RefusedError, match="may hold verdicts"):
        write_package(load_config(project.config), "02", "ann", package)
    assert before == {file: file.read_bytes() for file in package.rglob("*") if file.is_file()}


def test_nothing_to_judge(project, tmp_path):
    with pytest.raises(RefusedError, match="nothing for ann to judge as adjudicator"):
        write_package(load_config(project.config), "02", "ann", tmp_path / "out", role="adjudicator")
    assert not (tmp_path / "out").exists()


def test_pictures_of_other_settings_lie_where_they_were_taken(project, written, tmp_path):
    config = load_config(project.config)
    other = config.model_copy(update={"evidence": config.evidence.model_copy(update={"margin_m": 150, "scale": 1})})
    write_package(other, "02", "ann", tmp_path / "out")
    for year in YEARS:
        assert (tmp_path / "out" / f"{year}.vrt").read_bytes() == (written[1] / f"{year}.vrt").read_bytes()


def test_a_picture_that_is_not_of_its_ground_is_named(project, tmp_path):
    picture = next((project.results / "rounds/02/evidence").glob("*_true.webp"))
    Image.new("RGB", (101, 101)).save(picture)
    with pytest.raises(InputError, match=rf"{picture.name}: is 101 x 101 pixels; expected a multiple of"):
        write_package(load_config(project.config), "02", "ann", tmp_path / "out")
    assert not any(tmp_path.glob("*out*"))


def test_evidence_that_names_no_ground_is_named(project, tmp_path):
    index = project.results / "rounds/02/evidence/evidence.parquet"
    io.write_parquet(index, io.read_geoparquet(index).drop(columns=list(GROUND)))
    with pytest.raises(InputError, match=r"evidence\.parquet: doesn't say what ground its pictures show"):
        write_package(load_config(project.config), "02", "ann", tmp_path / "out")
    assert not any(tmp_path.glob("*out*"))


def test_without_evidence_and_mosaic(project, tmp_path):
    shutil.rmtree(project.results / "rounds" / "02" / "evidence")
    shutil.rmtree(project.results / "mosaic")
    out = tmp_path / "for ann"
    run = ["review", "package", "--reviewer", "ann b", "--out", str(out), "--config", str(project.config)]
    told = CliRunner().invoke(app, run)
    assert told.exit_code == 0, told.output
    assert "3 candidates, no pictures: the evidence isn't there, 0 cells of the mosaic" in told.output
    assert f"rts-pipeline review import 02 '{out / VERDICTS}' --reviewer 'ann b'" in told.output
    assert len(list(ET.fromstring(document(out)).iter("maplayer"))) == 3


def choices(root, layer):
    """The decisions that the form of a layer offers."""
    (found,) = [one for one in root.iter("maplayer") if one.findtext("layername") == layer]
    field = found.find("fieldConfiguration/field[@name='decision']")
    return [option.get("value") for option in field.iterfind(".//Option[@type='QString']") if option.get("name")]


def test_windows_are_a_layer_of_their_own(audited):
    """Over the same table, so that what comes back is one list; its form offers neither accept nor edit."""
    _, packed, out = audited
    assert (packed.candidates, packed.windows) == (3, 2)
    root = ET.fromstring(document(out))
    sources = {layer.findtext("layername"): layer.findtext("datasource") for layer in root.iter("maplayer")}
    table = f"./{VERDICTS}|layername=candidates|subset="
    assert sources["candidates"] == f"{table}\"status\" <> 'window'"
    assert sources["windows (look through)"] == f"{table}\"status\" = 'window'"
    assert choices(root, "windows (look through)") == ["reject", "unsure"]
    assert choices(root, "candidates") == ["accept", "reject", "edit", "unsure"]
    for theme in root.iter("visibility-preset"):
        assert "review_windows" in [layer.get("id") for layer in theme]


def test_windows_round_trip(audited, tmp_path):
    project, _, out = audited
    file = shutil.copy(out / VERDICTS, tmp_path)
    frame = gpd.read_file(file, layer="candidates")
    frame["decision"] = np.where(frame["status"] == "window", "reject", None)
    io.write_gpkg(Path(file), {"candidates": frame, "missed": gpd.read_file(file, layer="missed")})
    result = import_verdicts(project.copied(tmp_path / "copy").reviews, "02", "ann", Path(file), at=AT)
    assert result == ImportResult(decided=2, missed=0, unchanged=0, undecided=3)


def test_short_ids_are_refused():
    with pytest.raises(ValueError, match="fewer than 11"):
        Layer("mosaic", "mosaic", "./mosaic.vrt", "raster")


@pytest.fixture(scope="module")
def qgis():
    found = Path(PYTHON).exists() and not subprocess.run([PYTHON, "-c", "import qgis.core"], capture_output=True).returncode
    if not found:
        pytest.skip("no PyQGIS: apt install python3-qgis")


def session(package, pictures, *what):
    """Let a reviewer work in QGIS, and return what it told."""
    pictures.mkdir(exist_ok=True)
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "GDAL", "PROJ"))}
    env |= {"QT_QPA_PLATFORM": "offscreen", "HOME": str(pictures.parent), "PATH": "/usr/bin:/bin"}
    script = Path(__file__).with_name("pyqgis_session.py")
    ran = subprocess.run([PYTHON, script, package, pictures, *what], env=env, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.slow
def test_windows_in_qgis(qgis, audited, tmp_path):
    project, _, out = audited
    package = shutil.copytree(out, tmp_path / "package")
    told = session(package, tmp_path / "pictures")
    assert told["windows"] == ["a02-0010", "a02-0024"]
    assert [value for _, value in told["form of windows"]["decision"][1][1:]] == ["reject", "unsure"]
    assert {name for name, (*_, free) in told["form of windows"].items() if free is True} == {"decision", "note"}
    wanted = {decision: [colour, PENS[line]] for decision, (colour, line, _) in WINDOW_STYLES.items()}
    assert told["styles"]["windows (look through)"] == wanted
    assert {name: told["layers"][name]["valid"] for name in told["order"][:4]} == dict.fromkeys(told["order"][:4], True)
    reviews = project.copied(tmp_path / "copy").reviews
    result = import_verdicts(reviews, "02", "ann", package / VERDICTS, at=AT)
    assert result == ImportResult(decided=4, missed=1, unchanged=0, undecided=1, taken_back=0)


@pytest.mark.slow
def test_in_qgis(qgis, project, package, tmp_path):
    pictures = tmp_path / "pictures"
    told = session(package, pictures)
    assert (told["crs"], told["relative"], told["step"]) == (CRS, True, [1.0, "years"])
    assert told["order"][:3] == ["missed slumps (add)", "candidates", "known outlines"]
    assert told["time"] == ["2018-01-01T00:00:00Z", "2020-12-31T23:59:59Z"]
    for name, layer in told["layers"].items():
        assert layer["valid"] and layer["crs"] == CRS and layer["source"].startswith(str(package)), name
        year = name[:4]
        wanted = [f"{year}-01-01T00:00:00Z", f"{year}-12-31T23:59:59Z"] if year in YEARS else None
        assert layer["time"] == wanted, name
    assert [told["layers"][name]["read_only"] for name in told["order"][:3]] == [False, False, True]
    over = {"missed slumps (add)", "candidates", "known outlines"}
    for year in YEARS:
        assert set(told["themes"][year]) == {*over, year}
        assert set(told["themes"][f"{year} false colour"]) == {*over, f"{year} false colour"}
    assert set(told["themes"]["time-lapse"]) == {*over, *YEARS}
    form, categories = told["form"], told["categories"]
    assert [value for _, value in form["decision"][1][1:]] == ["accept", "reject", "edit", "unsure"]
    assert {name for name, (*_, free) in form.items() if free is True} == {
        "decision", "possibility", "reject_reason", "note", "outline_scope", "active"
    }  # fmt: skip
    assert form["base_sha256"][0] == form["fid"][0] == "Hidden"
    assert categories == {decision: legend for decision, (*_, legend) in STYLES.items()}
    assert told["styles"] == {
        "candidates": {decision: [colour, PENS[line]] for decision, (colour, line, _) in STYLES.items()},
        "missed slumps (add)": {"": [ADDED[0], PENS[ADDED[1]]]},
        "known outlines": {"": [KNOWN[0], PENS[KNOWN[1]]]},
    }
    _check_pictures(pictures)
    result = import_verdicts(project.reviews, "02", "ann", package / VERDICTS, at=AT)
    assert result == ImportResult(decided=3, missed=1, unchanged=0, undecided=0)
    names = project.names
    added = next(name for name in project.decisions() if name not in names)
    assert project.decisions() == {names[0]: "accept", names[1]: "reject", names[2]: "edit", added: "missed"}
    first = next(event for event in project.events() if event.candidate_id == names[0])
    assert (first.possibility, first.note, first.outline_scope, first.active) == (0.75, "headwall", "whole scar", True)
    again = import_verdicts(project.reviews, "02", "ann", package / VERDICTS, at="2021-01-01T00:00:00Z")
    assert again == ImportResult(decided=0, missed=0, unchanged=4, undecided=0)


@pytest.mark.slow
def test_what_is_drawn_in_qgis_is_known_again_however_it_is_redrawn(qgis, project, package, tmp_path):
    """Without a new package in between: drawn and handed in; moved away, split and copied, and handed in again."""
    file, reviews = package / VERDICTS, project.reviews
    session(package, tmp_path / "pictures")
    assert import_verdicts(reviews, "02", "ann", file, at=AT).missed == 1
    (first,) = added(project)
    told = session(package, tmp_path / "pictures", "redraw")
    names, areas = zip(*told["rows"], strict=True)
    assert len(set(names)) == len(names) == 3, "what is split off and what is pasted get ids of their own"
    assert told["name"] in names
    result = import_verdicts(reviews, "02", "ann", file, at="2021-01-01T00:00:00Z")
    assert (result.missed, result.unchanged, result.taken_back) == (3, 3, 0)
    found = added(project)
    assert first in found and len(found) == 3
    assert found[first].area == pytest.approx(areas[names.index(told["name"])])
    again = import_verdicts(reviews, "02", "ann", file, at="2021-01-02T00:00:00Z")
    assert again == ImportResult(decided=0, missed=0, unchanged=6, undecided=0)


def added(project):
    """The slumps that ann added, as they stand."""
    heads = fold(project.events()).heads
    standing = {name: by["ann"][-1] for name, by in heads.items()}
    return {name: from_geojson(event.geometry) for name, event in standing.items() if event.action == "add_missed"}


@pytest.mark.slow
def test_added_slumps_in_qgis(qgis, project, tmp_path):
    """Two that were added on the page: one is moved in QGIS, the other removed, and a third one drawn."""
    names = []
    for east in (0.0, 300.0):
        geometry = to_geojson(place(box(0, 0, 90, 90), east, 400))
        names.append(missed_id("02", "ann", geometry))
        who = {"round": "02", "candidate_id": names[-1], "reviewer": "ann", "at": AT, "source": "web"}
        event = make_event(**who, action="add_missed", geometry=geometry, guideline_version="1", active=True)
        append(project.reviews, "02", "ann", [event])
    package = tmp_path / "package"
    write_package(load_config(project.config), "02", "ann", package)
    session(package, tmp_path / "pictures")
    kept, removed = sorted(names)
    result = import_verdicts(project.reviews, "02", "ann", package / VERDICTS, at=AT)
    assert result == ImportResult(decided=3, missed=2, unchanged=0, undecided=0, taken_back=1)
    added = {name for name, decision in project.decisions().items() if decision == "missed"}
    assert kept in added and removed not in added and len(added) == 2
    moved = [event for event in project.events() if event.candidate_id == kept][-1]
    assert (moved.source, moved.active) == ("qgis", True)
    again = import_verdicts(project.reviews, "02", "ann", package / VERDICTS, at="2021-01-01T00:00:00Z")
    assert again == ImportResult(decided=0, missed=0, unchanged=5, undecided=0)


def _check_pictures(folder):
    """Each year's theme shows that year: more slump from year to year; and so does the temporal controller."""
    from PIL import Image

    def slump(name):
        values = np.asarray(Image.open(folder / f"{name}.png").convert("RGB")).astype(int)
        return int((np.abs(values - COLOURS["true"][1]).max(axis=-1) < 12).sum())

    shown = pd.Series({year: slump(year) for year in YEARS})
    assert shown.is_monotonic_increasing and shown.iloc[0] > 100 and shown.is_unique
    assert abs(slump("time 2018") - shown["2018"]) < 20 and abs(slump("time 2020") - shown["2020"]) < 20
