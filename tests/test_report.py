"""Stage report: one HTML file, read without a network, that says plainly what is known and what isn't."""

import base64
import json
import re
from hashlib import sha256

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely import Point, Polygon

from report_case import (
    CELL_M,
    CRS,
    EAST,
    GRID,
    NO_AUDIT,
    NO_CURVE,
    NO_REVIEWERS,
    NORTH,
    NOTE,
    NOTHING,
    Project,
    estimate,
    hill,
    text,
)
from rts_pipeline.errors import InputError, RefusedError
from rts_pipeline.io import note_read, read_json, write_json
from rts_pipeline.metrics.objects import SIZE_CLASS_NAMES
from rts_pipeline.page import area_text, share_text
from rts_pipeline.report.coverage import coverage
from rts_pipeline.report.history import history, verdict
from rts_pipeline.report.map import CARRIED_ALONG
from rts_pipeline.report.tables import counts, found_by_round


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return Project(folder, dem=hill(folder / "dem.tif")).measure()


@pytest.fixture(scope="module")
def page(project):
    return project.report()


def test_report_needs_no_network(page):
    addresses = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", page[: page.index("<script>")])
    assert addresses
    assert all(address.startswith("data:image/") for address in addresses)


def test_only_the_map_s_own_script_may_run(page):
    assert page.count("<script") == 2, "the map's data, which don't run, and its script"
    script = page[page.index("<script>") + len("<script>") : page.rindex("</script>")]
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in page


def test_figures_are_images(page):
    images = re.findall(r'src="data:image/(png|webp|svg\+xml);base64,([^"]+)"', page)
    kinds = [kind for kind, _ in images if kind != "webp"]
    assert sorted(kinds) == ["png", *["svg+xml"] * 10]
    assert all(len(base64.b64decode(data)) > 3000 for kind, data in images if kind != "webp")
    assert len(images) - len(kinds) == 5 + 2 * 24, "five overviews, and two strips a cell"


def test_headline_agrees_with_the_inventory(project, page):
    slumps = gpd.read_parquet(project.results / "attributes.parquet")
    seen = text(page)
    assert f"{len(slumps)} retrogressive thaw slumps" in seen
    assert f"{area_text(slumps['area_m2'].sum())} total area" in seen
    assert "Converged: the last round (round 02) brought no new slump." in seen
    assert f"4 of {len(slumps)} slumps were known at the start" in seen


def test_what_was_not_observed_is_said(page):
    seen = text(page)
    assert "83.3 % of the area of interest (0.7 of 0.9 km²)" in seen
    assert "The other 16.7 % was not" in seen
    assert "2018 50 % 12 of 24 2018-07-15 2018-07-15" in seen
    assert "2019 (target year) 83.3 % 4 of 24 2019-07-15 2019-07-15" in seen
    assert "any of them 91.7 %" in seen


def test_every_cell_is_shown_also_those_that_no_image_saw(project, page):
    cells = page[page.index("<h3>Cell by cell") : page.index("<h2>Rounds")]
    assert cells.count("<details>") == len({GRID.grid().block_of(name) for name in project.cells})
    for name, seen in project.cells.items():
        caption = f"{name} 100 % observed by 1 image 07-15 100 %" if seen else f"{name} 0 % observed by 0 images true"
        assert caption in text(page)


def test_the_account_of_files_tells_what_they_were_used_for(page):
    assert "used mosaic of 2019 reflectance 1 3.0" in text(page)


def test_reviewers_words_are_escaped(page):
    assert NOTE in text(page)
    assert "Beiluhe &lt;north&gt;" in page
    assert "no role &lt;known&gt;" in page


def test_every_round_has_its_row_and_model(page):
    seen = text(page)
    assert "01 6 3 0 1 1 1 2 1 1 50 % ann 2024-01-01 09:00" in seen
    assert "02 4 0 0 0 0 0 2 2 0 0 % ann 2024-01-02 09:00" in seen
    assert "1" * 16 + " 0.42 0.61 288 m² 900 m² 19 train, 3 validation" in seen
    assert "2" * 16 + " 0.42 0.61 288 m² 900 m² 19 train, 3 validation" in seen
    assert all(f'title="{digit * 64}"' in page for digit in "12"), "the whole checksum is told where the mouse rests"


def test_what_was_left_out_before_anybody_was_asked_is_said(page):
    seen = text(page)
    assert "Outlines of round 02 that were left out before anybody was asked: 1,234 without a seed (5,679 m²)." in seen


def test_every_round_tells_how_well_its_network_did(page):
    seen = text(page)
    interval = "50 % to 90 %"
    assert f"01 validation 6 20 16 75 % {interval} 60 % {interval} 66.7 % {interval} 55 % {interval}" in seen
    assert "02 validation 6 20 16 75 % 60 % 66.7 % 55 % 02 test 6 20 16 75 % 60 % 66.7 % 55 %" in seen


def test_equal_input_gives_equal_bytes(tmp_path):
    project = Project(tmp_path, columns=1, n_seeds=2, new_by_round=(1,)).measure()
    first = project.report()
    assert "Not converged: the last reviewed round (round 01) still brought 1 new slump. Expect more." in text(first)
    assert "Terrain" not in text(first)
    assert "left out before anybody was asked" not in text(first)
    assert project.report() == first


def test_the_report_says_what_it_read_of_the_results(tmp_path):
    project = Project(tmp_path, columns=2, n_seeds=2, new_by_round=()).measure()
    read = note_read()
    project.report()
    tables = {project.results / path for path in ("coverage/observed.parquet", "scenes/ledger.parquet")}
    mosaics, coverage = (set(project.results.glob(f"{place}/*.tif")) for place in ("mosaic", "coverage"))
    assert len(mosaics) == 2 * 4 * 1
    assert read == tables | mosaics | coverage


def test_what_nobody_was_asked_about_or_looked_at_keeps_the_rounds_from_converging():
    rounds = pd.DataFrame({"round": ["01"], "n_new": [0], "n_cut": [0], "unseen": [0]})
    assert verdict(rounds) == (True, "Converged: the last round (round 01) brought no new slump.")
    converged, sentence = verdict(rounds.assign(n_cut=7))
    assert not converged
    assert sentence.endswith("but outlines were left for a later round, which nobody was asked about: 7.")
    assert verdict(rounds.assign(n_new=2, n_cut=7))[1].endswith("which nobody was asked about: 7.")
    converged, sentence = verdict(rounds.assign(unseen=4))
    assert not converged
    assert sentence.endswith("(round 01) brought no new slump, but candidates were signed off that nobody looked at: 4.")
    assert verdict(rounds.assign(n_new=2, n_cut=7, unseen=4))[1].endswith(
        "asked about: 7, and candidates were signed off that nobody looked at: 4."
    )


def test_the_thresholds_of_a_round_are_those_that_were_applied(tmp_path):
    """Not those that its validation chose, where the configuration set others."""
    project = Project(tmp_path, columns=1, n_seeds=0, new_by_round=(1, 0))
    summary = project.reviews / "round_02/candidates.json"
    applied = {"threshold": 0.25, "seed_threshold": 0.5, "min_area_m2": 900.0, "hole_m2": 0.0}
    write_json(summary, read_json(summary) | {"applied": applied})
    rows = history(project.reviews, ["01", "02"]).set_index("round")[list(applied)]
    assert rows.loc["02"].to_dict() == applied
    assert rows.loc["01", "threshold"] == 0.42, "from before it was kept: as chosen"
    assert "2" * 16 + " 0.25 0.50 900 m² 0 m² 19 train" in text(project.measure().report())


def test_a_project_without_slumps_rounds_and_images_has_a_report(tmp_path):
    project = Project(tmp_path, columns=1, n_seeds=0, new_by_round=())
    seen = text(project.measure().report())
    assert "0 retrogressive thaw slumps" in seen
    assert "Not converged: no round has been reviewed." in seen
    assert "No part of the area of interest was observed" in seen
    assert "The inventory holds no slump." in seen
    assert "nan" not in seen.lower().split()


def test_slumps_in_unseen_ground_and_outside_the_area_are_counted(tmp_path):
    project = Project(tmp_path, new_by_round=())
    project.seeds = [Point(EAST + 5.5 * CELL_M, NORTH + 100).buffer(20), Point(EAST - 3000, NORTH).buffer(20)]
    seen = text(project.measure().report())
    assert "2 of 2 slumps lie for more than half in ground that was not observed" in seen
    assert "1 of 2 slumps lies outside the area of interest" in seen


def test_what_is_carried_along_without_change_or_cut_off_is_counted(tmp_path):
    project = Project(tmp_path, columns=2, n_seeds=3, new_by_round=(2,)).measure()
    slumps = gpd.read_parquet(project.attributes)
    slumps.loc[0, ["decision", "source", "iteration", "observed_frac"]] = ["earlier", "earlier", 0, 1.0]
    slumps["truncated"] = slumps.index < 2
    slumps.loc[4, ["area_by_year_m2", "first_year"]] = ['{"2019":1.0}', 2018]
    slumps.astype({"first_year": "Int64"}).to_parquet(project.attributes)
    found = counts(slumps)
    assert [found[name] for name in ("n", "n_earlier", "truncated", "no_change", "no_first_year")] == [5, 1, 2, 4, 4]
    assert sum(found_by_round(slumps, pd.DataFrame({"round": ["01"]}))) == 4
    assert found["n_seeds"] == found_by_round(slumps, pd.DataFrame({"round": ["01"]}))[0]
    page = project.report()
    assert "1 of 5 slumps is carried along from the earlier inventory" in text(page)
    assert "0 was mostly not observed this time; that of 1 was" in text(page)
    assert "2 of 5 outlines reach to ground that was not observed" in text(page)
    assert "For 4 of 5 slumps no change was measured, and for 4 no first year is known" in text(page)
    assert CARRIED_ALONG in page[page.index('id="map-data"') :]


def test_a_changed_review_is_refused(tmp_path):
    project = Project(tmp_path, columns=1, new_by_round=(1,)).measure()
    with (project.reviews / "round_01" / "reviewed.parquet").open("ab") as file:
        file.write(b" ")
    with pytest.raises(RefusedError, match="changed after the sign-off"):
        project.report()


def test_a_cut_off_record_of_the_validation_is_named(tmp_path):
    project = Project(tmp_path, columns=1, new_by_round=(1,)).measure()
    path = project.reviews / "round_01/validation/validation.json"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match=r"validation\.json: not valid JSON"):
        project.report()


def test_a_round_validated_before_its_pixels_were_kept_has_the_table_but_no_curves(tmp_path):
    project = Project(tmp_path, columns=1, new_by_round=(1,)).measure()
    path = project.reviews / "round_01/validation/validation.json"
    said = json.loads(path.read_text())
    del said["validation_pixels"]
    path.write_text(json.dumps(said))
    page = project.report()
    assert "01 validation 6 20 16" in text(page)
    assert "Precision over recall" not in page
    assert "Share of slump pixels" not in page


@pytest.mark.parametrize("name", ["scenes/ledger.parquet", "coverage/observed.parquet", "coverage/b_e1302_n10078.tif"])
def test_a_missing_file_is_named(tmp_path, name):
    project = Project(tmp_path, columns=1, new_by_round=()).measure()
    (project.results / name).unlink()
    with pytest.raises(InputError, match=f"{name.replace('.', '[.]')}: no such file"):
        project.report()


def test_a_raster_that_lacks_a_cell_is_refused_and_not_read_as_unseen(tmp_path):
    project = Project(tmp_path, columns=1, rows=1, new_by_round=()).measure()
    project.cells = dict.fromkeys(["e2605_n20156"], False)
    project.coverage()
    with pytest.raises(InputError, match=r"b_e1302_n10078\.tif: doesn't hold cell e2604_n20156"):
        project.report()


def test_coverage_counts_the_area_only(tmp_path):
    Project(tmp_path, new_by_round=(), n_seeds=0)
    corners = [(EAST, NORTH), (EAST + 960, NORTH), (EAST, NORTH + 768)]
    triangle = gpd.GeoSeries([Polygon(corners)], crs=CRS)
    seen = coverage(tmp_path / "results" / "coverage", triangle, GRID.grid(), 2019)
    assert seen.share == seen.ever == 1
    assert seen.shares[2018] == pytest.approx(1 / 4, abs=0.01)
    assert seen.area_km2 == pytest.approx(960 * 768 / 2 / 1e6, rel=2e-3)
    assert 0.4 < np.mean([tile.mean() for _, tile in seen.tiles]) * len(seen.tiles) / 20 < 0.6


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0, "0 %"), (1, "100 %"), (0.5, "50 %"), (0.99999, "> 99.9 %"), (0.00001, "< 0.1 %"), (0.1234, "12.3 %"), (None, "–")],
)
def test_a_share_is_never_rounded_to_all_or_nothing(share, shown):
    assert share_text(share) == shown


def test_without_an_audit_the_report_says_that_nobody_knows(tmp_path):
    page = text(Project(tmp_path).measure().report())
    assert "No audit was made, so nobody knows how many slumps were missed : no round was <audited>" in page
    assert "too few" in page


def test_estimates_are_shown_with_their_intervals(tmp_path):
    project = Project(tmp_path).measure()
    part = {"known": 70, "added": 5, "missed": estimate(30, 12, 61.5), "completeness": estimate(0.75, 0.567, 0.915)}
    none = {**part, "completeness": NOTHING}
    windows = {"frame": 2400, "sampled": 200, "looked_through": 198}
    project.completeness = {
        "audit": {
            **NO_AUDIT,
            **part,
            "round": "02",
            "windows": windows,
            "size_classes": dict.fromkeys(SIZE_CLASS_NAMES, part) | {"5 ha and above": none},
        },
        "reviewers": {
            **NO_REVIEWERS,
            "reviewers": ["ann", "bob"],
            "first": 60,
            "second": 50,
            "both": 45,
            "total": estimate(67, 65, 71),
        },
        "detectors": {
            **NO_REVIEWERS,
            "detectors": ["a/rounds/01", "b/rounds/01"],
            "first": 17,
            "second": 63,
            "both": 14,
            "unjudged": [13, 2],
            "total": estimate(76, 68, 102),
        },
        "curve": {
            **NO_CURVE,
            "new": [45, 11, 18, 8],
            "p": 0.44,
            "total": {**estimate(90.6, 83.4, None), "reason": "hardly fall"},
        },
    }
    html = project.report()
    page = text(html)
    assert "looked through 198 of 2,400 observed windows" in page
    assert "30 (95 % interval 12 to 62) are estimated to have been missed, of which 5 have been found since" in page
    for row in ("75 % 56.7 % to 91.5 %", "97 % 91.5 % to 100 %", "90.5 % 0 % to 98.3 % hardly fall"):
        assert row in " ".join(page.split())
    detectors = "Two detectors slumps new to both 86.8 % 64.7 % to 97.1 % nobody judged 13 and 2 of their outlines"
    assert detectors in " ".join(page.split())
    section = page.split("How complete it is")[1].split("What each estimate takes for granted")[0]
    assert section.index("below 0.2 ha") < section.index("0.2 to 1 ha") < section.index("1 to 5 ha")
    assert "5 ha and above" not in section
    assert html.count('alt="Slumps found up to each round') == 1
