"""The real snakemake on a small project: what runs after which change, and what a user is told."""

import json
import os
import shutil
import signal
import subprocess
import time

import geopandas as gpd
import pandas as pd
import pytest

from rts_pipeline.export.files import release_files
from rts_pipeline.grid import Grid
from workflow_case import ROOT, add_item, deliver_over_one_cell, results, touch_later


@pytest.fixture
def case(made, tmp_path):
    return made.copy(tmp_path / "case")


ROUND = {"labels": 1, "chips": 1, "train": 1, "validate": 1, "predict": 4, "polygonize": 4, "candidates": 1, "evidence": 1}


def test_int8_and_necks_train_nothing(case):
    case.configure(polygonize={"neck_m": 9})
    again = {"validate": 1, "polygonize": 4, "candidates": 1, "evidence": 1}
    assert case.plan() == again
    case.configure(predict={"precision": "int8", "device": "cpu"})
    assert case.plan() == {**again, "quantise": 1, "predict": 4}
    case.snakemake()
    model = case.results / "rounds/01/model"
    made, facts = (json.loads((model / f"{name}.json").read_text()) for name in ("int8", "model"))
    assert made["network_sha256"] == facts["sha256"]["network.onnx"]
    assert "int8" in json.loads((case.results / "rounds/01/validation/validation.json").read_text())
    assert case.plan() == {}


def test_an_audit_is_a_sample_more_with_its_pictures(case):
    case.configure(audit={"windows": 12, "window_px": 128})
    assert case.plan() == {"audit": 1, "evidence": 1}
    case.snakemake()
    frame = gpd.read_parquet(case.results / "rounds/01/audit.parquet")
    summary = json.loads((case.results / "rounds/01/audit.json").read_text())
    assert summary["sampled"] == frame["sampled"].sum() >= 12
    assert frame["slope_deg"].notna().mean() > 0.5
    assert case.plan() == {}
    shown = set(gpd.read_parquet(case.results / "rounds/01/evidence/evidence.parquet")["candidate_id"])
    candidates = gpd.read_parquet(case.results / "rounds/01/candidates.parquet")["candidate_id"]
    windows = set(frame.loc[frame["sampled"], "window_id"])
    seeds = pd.read_parquet(case.results / "rounds/01/labels.parquet")["label_id"]
    assert shown == {*candidates, *seeds, *windows}
    at = ("--config", case.config)
    assert f"and {len(windows)} windows to look through" in case.cli("review", "start", "01", *at).stdout
    case.cli("review", "simulate", "01", "--truth", "corridor/truth.gpkg", *at)
    case.cli("review", "finish", "01", *at)
    reviewed = gpd.read_parquet(case.reviews / "round_01/reviewed.parquet")
    assert not windows & set(reviewed["candidate_id"])
    case.snakemake("preliminary")
    audit = json.loads((case.results / "inventory/completeness.json").read_text())["audit"]
    assert audit["windows"]["looked_through"] == len(windows)
    assert audit["added"] == (reviewed["decision"] == "missed").sum()
    slumps = gpd.read_parquet(case.results / "inventory/outlines.parquet")
    known = slumps[slumps["iteration"] == 0]
    assert len(known) and known["change_of"].notna().all(), "seeds are measured in the years too"


def test_a_file_of_no_item_renews_the_ledger_alone(case):
    (case.folder / "corridor/orders/notes.txt").write_text("clouds in the north")
    assert case.plan() == {"ledger": 1}
    case.snakemake()
    on_disk = [path for path in (case.folder / "corridor/orders").rglob("*") if not path.is_dir()]
    ledger = pd.read_parquet(case.results / "scenes/ledger.parquet")
    assert sorted(ledger.path) == sorted(str(path.relative_to(case.folder)) for path in on_disk)
    assert f">{len(on_disk):,}</td></tr></tfoot>" in (case.results / "scenes/ledger.html").read_text()
    assert case.plan() == {}


def test_evidence_is_made_anew_only_where_it_changes(case):
    def kept():
        return {path.name: path.stat().st_ino for path in (case.results / "evidence_cache").glob("*/*.zip")}

    here = case.results / "rounds/01"
    number = sum(len(pd.read_parquet(here / f"{table}.parquet")) for table in ("candidates", "labels"))
    before = kept()
    assert len(before) == 2 * number > 0, "pictures and numbers of each candidate and each seed"
    case.configure(evidence={"ring_m": 45.0})
    case.snakemake()
    after = kept()
    assert before.items() <= after.items(), "nothing was written again"
    assert len(after) == 3 * number, "the numbers are new"
    shutil.rmtree(case.results / "evidence_cache")
    assert case.plan() == {}


def test_a_covariate_concerns_the_attributes_and_what_follows(case):
    case.snakemake("preliminary", "--until", "attributes")
    assert case.plan("preliminary", "--until", "attributes") == {}
    lakes = case.folder / "lakes.gpkg"
    gpd.read_file(case.folder / "corridor/seeds.gpkg").centroid.to_frame("geometry").to_file(lakes)
    case.configure(attributes={"covariates": [{"name": "lake", "file": "lakes.gpkg", "kind": "nearest"}]})
    assert case.plan("preliminary", "--until", "attributes") == {"attributes": 1}
    assert case.plan() == {}
    case.snakemake("preliminary", "--until", "attributes")
    slumps = gpd.read_parquet(case.results / "inventory/attributes.parquet")
    assert (slumps["dist_lake_m"] >= 0).all()
    assert case.plan("preliminary", "--until", "attributes") == {}
    gpd.read_file(lakes).head(1).to_file(lakes)
    assert case.plan("preliminary", "--until", "attributes") == {"attributes": 1}
    lakes.unlink()
    told = case.snakemake("preliminary", "--dry-run", check=False)
    assert "lakes.gpkg: no such file; expected the file of attributes.covariates.lake" in told.stderr
    case.configure(attributes={"covariates": []}, completeness={"detectors": ["a/rounds/01", "b/rounds/01"]})
    told = case.snakemake("preliminary", "--dry-run", check=False)
    assert "a/rounds/01/outlines.parquet: no such file; expected in the folder of a round of another project" in told.stderr


def halves(case):
    """Name all slumps of the target year as seeds, and two detectors: the first finds two that neither was taught, the second
    these and another one."""
    slumps = gpd.read_file(case.folder / "corridor/truth.gpkg").query("year == 2019")[["geometry"]].reset_index(drop=True)
    slumps.to_file(case.folder / "known.gpkg")
    for name, taught, found in (("a", [0], [0, 1, 2, 3]), ("b", [1], [0, 2, 3, 4])):
        folder = case.folder / name / "rounds/01"
        folder.mkdir(parents=True)
        slumps.iloc[taught].assign(kind="positive").to_parquet(folder / "labels.parquet")
        slumps.iloc[found].to_parquet(folder / "outlines.parquet")
    case.configure(labels={"seeds": "known.gpkg"}, completeness={"detectors": ["a/rounds/01", "b/rounds/01"]})
    return slumps


def test_two_detectors_of_other_projects_tell_how_complete_the_inventory_is(case):
    slumps, wanted = halves(case), "results/inventory/completeness.json"
    assert case.plan(wanted) == {"inventory": 1, "completeness": 1}
    case.snakemake(wanted)
    told = json.loads((case.results / "inventory/completeness.json").read_text())["detectors"]
    assert told["detectors"] == ["a/rounds/01", "b/rounds/01"]
    assert [told[name] for name in ("slumps", "first", "second", "both")] == [len(slumps) - 2, 2, 3, 2]
    assert told["unjudged"] == [0, 0]
    assert told["total"]["value"] == pytest.approx(3 * 4 / 3 - 1)
    assert case.plan(wanted) == {}
    # what another project finds later is told later
    slumps.iloc[[2, 3, 4]].to_parquet(case.folder / "a/rounds/01/outlines.parquet")
    assert case.plan(wanted) == {"completeness": 1}
    case.snakemake(wanted)
    told = json.loads((case.results / "inventory/completeness.json").read_text())["detectors"]
    assert [told[name] for name in ("first", "second", "both")] == [3, 3, 3]
    case.configure(completeness={"detectors": ["a/rounds/01", "c/rounds/01"]})
    missing = case.snakemake(wanted, "--dry-run", check=False)
    assert missing.returncode
    assert "c/rounds/01/outlines.parquet" in missing.stdout + missing.stderr
    case.configure(completeness={"detectors": []})
    assert case.plan(wanted) == {"completeness": 1}


def test_a_project_of_half_of_the_seeds_measures_no_image_again(case):
    """As docs/completeness.md makes the two detectors."""
    for place in ("scenes", "mosaic", "coverage"):
        shutil.copytree(case.results / place, case.folder / "results_a" / place)
    gpd.read_file(case.folder / "corridor/seeds.gpkg").iloc[::2].to_file(case.folder / "seeds_a.gpkg")
    case.configure(labels={"seeds": "seeds_a.gpkg"})
    case.config.write_text(case.config.read_text().replace("results: results", "results: results_a"))
    assert case.plan("results_a/rounds/01/outlines.parquet") == {
        name: count for name, count in ROUND.items() if name != "evidence"
    }


def test_a_wider_area_is_covered_also_where_no_item_lies(case):
    area = gpd.read_file(case.folder / "corridor/aoi.gpkg").to_crs("EPSG:32646")
    wider = area.set_geometry(area.buffer(3000, join_style="mitre"))
    wider.to_file(case.folder / "corridor/aoi.gpkg")
    plan = case.plan()
    assert plan["coverage"] > 4
    assert "mosaic" not in plan
    case.snakemake("--until", "observed")
    rows = pd.read_parquet(case.results / "coverage/observed.parquet")
    grid = Grid("EPSG:32646", cell_px=512, block_cells=2)
    cells = grid.cells_touching(wider.geometry.to_numpy())
    assert list(zip(rows.cell, rows.year, strict=True)) == [(cell, year) for cell in sorted(cells) for year in (2018, 2019)]
    unseen = rows[rows.n_items == 0]
    assert len(unseen) > 0
    assert (unseen.observed_pixels == 0).all()
    assert not (case.results / f"mosaic/{unseen.cell.iloc[0]}.tif").exists()


def test_a_scene_that_breaks_holds_up_its_own_cells_only(case):
    cell, raster = deliver_over_one_cell(case)
    whole = raster.read_bytes()
    raster.write_bytes(whole[: len(whole) // 2])
    case.configure(mosaic={"choice": "nearest"})
    before = {path: path.stat().st_mtime_ns for path in (case.results / "mosaic").glob("*_source.tif")}
    failed = case.snakemake("--until", "mosaic", check=False)
    assert failed.returncode == 1
    assert raster.name in failed.stdout + failed.stderr
    assert "Traceback" not in failed.stdout + failed.stderr
    redone = {path.name for path, stamp in before.items() if path.exists() and path.stat().st_mtime_ns != stamp}
    assert redone == {path.name for path in before} - {f"{cell}_source.tif"}
    raster.write_bytes(whole)
    plan = case.plan("--until", "mosaic")
    assert plan == {"scenes": 1, "mosaic": 1}, "just what failed is repaired"
    case.snakemake("--until", "mosaic")
    assert case.plan("--until", "mosaic") == {}


# --- cross-validation ---------------------------------------------------------------------------------------------------


def folds(number):
    return {"chips_fold": number, "train_fold": number, "validate_fold": number, "crossvalidate": 1}


def test_crossvalidation_is_on_no_way_to_the_inventory(case):
    assert case.plan("crossvalidation") == folds(5)
    assert case.plan() == {}
    case.configure(train={"learning_rate": 5e-4})
    assert case.plan("crossvalidation") == folds(5), "the round's own network has no part in it"


def test_the_number_of_folds_concerns_the_folds_alone(case):
    case.snakemake("results/rounds/01/folds/3/chips.parquet")
    assert set(pd.read_parquet(case.results / "rounds/01/folds/3/chips.parquet").split) == {"train", "validation", "test"}
    assert case.plan("crossvalidation") == {**folds(5), "chips_fold": 4}
    case.configure(chips={"folds": 6})
    assert case.plan() == {}
    assert case.plan("crossvalidation") == folds(6)


def test_a_fold_starts_from_no_network_that_has_seen_its_test_blocks(case):
    done = case.snakemake("results/rounds/02/folds/0/model/model.json", "--dry-run", "--printshellcmds")
    assert "--out results/rounds/02/folds/0/model" in done.stdout
    assert "--previous" not in done.stdout
    round_itself = case.snakemake("results/rounds/02/model/model.json", "--dry-run", check=False)
    assert "reviews/round_01/model/weights.pt" in round_itself.stdout + round_itself.stderr


# --- items made to agree -----------------------------------------------------------------------------------------------

SCENES_ONLY = ("--until", "ledger", "observed")


@pytest.fixture(scope="module")
def agreed(made, tmp_path_factory):
    case = made.copy(tmp_path_factory.mktemp("agreed") / "case")
    case.configure(adjust={"shifts": "correct", "radiometry": "overlaps"})
    plan = case.plan(*SCENES_ONLY)
    case.snakemake(*SCENES_ONLY)
    return case, plan


def test_agreement_compares_and_adjusts_every_item(agreed):
    case, plan = agreed
    both = {"overlaps": 4, "overlaps_years": 4, "adjust": 1, "adjust_years": 1}
    assert plan == {**both, "catalog": 1, "mosaic": 9, "coverage": 4, "observed": 1, "ledger": 1}
    assert case.plan(*SCENES_ONLY) == {}
    catalog = gpd.read_parquet(case.results / "scenes/catalog.parquet")
    used = catalog[catalog.status == "used"]
    assert set(used.item_json.str.rsplit("/").str[-1]) == {"adjusted.json"}
    told = [json.loads((case.folder / path).read_text())["properties"] for path in used.item_json]
    assert {item["datetime"][:4] for item in told} == {"2018", "2019"}
    assert all(item["rts:shift_measurements"] > 0 for item in told)
    assert any(item["rts:gain"]["nir"] != 1 for item in told)


def test_with_agreement_the_other_years_still_leave_the_mosaics(agreed, tmp_path):
    case = agreed[0].copy(tmp_path / "case")
    item = sorted(path.name for path in (case.folder / "corridor/orders/2018/PSScene").iterdir())[0]
    add_item(case, item, f"{item[:-4]}ffff", 2018)
    plan = case.plan(*SCENES_ONLY)
    assert plan["scenes"] == plan["adjust_years"] == 1
    assert not {"overlaps", "adjust", "mosaic"} & set(plan)


def test_with_agreement_another_limit_measures_nothing_again(agreed, tmp_path):
    case = agreed[0].copy(tmp_path / "case")
    case.configure(adjust={"max_shift_m": 20})
    plan = case.plan(*SCENES_ONLY)
    assert plan["adjust"] == 1
    assert plan["mosaic"] == 9
    assert "overlaps" not in plan


def test_with_agreement_evidence_follows_what_was_found_of_the_items(agreed, tmp_path):
    """Also where a run was killed after the catalog, which says nothing of it, had come out as it was."""
    case = agreed[0].copy(tmp_path / "case")
    case.snakemake("--touch")
    # which doesn't write down what the inputs held: Snakemake compares with that
    case.snakemake("--forcerun", "evidence")
    assert case.plan() == {}
    found = case.results / "scenes/adjusted_years.json"
    values = json.loads(found.read_text())
    found.write_text(json.dumps(dict.fromkeys(values, "0" * 64)))
    for made in ("scenes/catalog.parquet", "scenes/ledger.*", "coverage/*", "benchmarks/*.tsv", "benchmarks/coverage/*"):
        for path in case.results.glob(made):
            path.touch()
    assert case.plan() == {"evidence": 1}


def test_without_agreement_nothing_of_it_is_left_in_use(agreed, tmp_path):
    case = agreed[0].copy(tmp_path / "case")
    case.configure(adjust={"shifts": "none", "radiometry": "none"})
    case.snakemake(*SCENES_ONLY)
    catalog = gpd.read_parquet(case.results / "scenes/catalog.parquet")
    assert set(catalog.item_json.dropna().str.rsplit("/").str[-1]) == {"item.json"}


def review_with_one_missed(case):
    """Judge round 01 and add a slump that it has missed: there is something new, whatever the network found."""
    at = ("--config", case.config)
    case.cli("review", "start", "01", *at)
    case.cli("review", "simulate", "01", "--truth", "corridor/truth.gpkg", *at)
    missed = gpd.read_file(case.folder / "corridor/truth.gpkg").query("year == 2019 and not seed").head(1)
    case.cli("review", "export", "01", "--reviewer", "simulated", "--out", "verdicts.gpkg", *at)
    layer = missed[["geometry"]].assign(possibility=1.0, note="seen on the map")
    layer.to_file(case.folder / "verdicts.gpkg", layer="missed", mode="w")
    case.cli("review", "import", "01", "verdicts.gpkg", "--reviewer", "simulated", *at)
    case.cli("review", "finish", "01", *at)


def new_of(case, k):
    return json.loads((case.reviews / f"round_{k}/signoff.json").read_text())["n_new"]


def touch_the_review(case, k):
    for name in ("signoff.json", "reviewed.parquet"):
        touch_later(case.reviews / f"round_{k}" / name)


def test_a_round_with_something_new_opens_the_next_and_touches_no_scene(case):
    review_with_one_missed(case)
    assert new_of(case, "01") >= 1
    assert case.plan() == ROUND
    touch_the_review(case, "01")
    assert case.plan() == ROUND


def test_a_round_with_nothing_new_ends_the_loop(case):
    """Whatever the network found: there is no slump where it looked."""
    truth = gpd.read_file(case.folder / "corridor/truth.gpkg")
    truth.set_geometry(truth.translate(xoff=1e5)).to_file(case.folder / "corridor/truth.gpkg")
    case.review("01", "--false-accept-rate", 0)
    assert new_of(case, "01") == 0
    inventory = {"inventory": 1, "completeness": 1, "attributes": 1, "export": 1, "report": 1}
    assert case.plan() == inventory
    touch_the_review(case, "01")
    assert case.plan() == inventory


def test_an_open_review_freezes_its_round(case):
    at = ("--config", case.config)
    case.cli("review", "start", "01", *at)
    case.configure(train={"learning_rate": 5e-4})
    done = case.snakemake("--dry-run", "--quiet", "rules")
    assert "Round 01: review in progress" in done.stderr
    assert case.plan() == {}


def test_a_second_round_and_the_inventory_so_far(case):
    """A slump that the reviewer adds opens a second round that starts from the first one's network."""
    review_with_one_missed(case)
    assert case.plan() == ROUND
    case.snakemake()
    model = json.loads((case.results / "rounds/02/model/model.json").read_text())
    first = json.loads((case.results / "rounds/01/model/model.json").read_text())
    assert model["parent_sha256"] == first["sha256"]["weights.pt"]
    case.snakemake("preliminary")
    inventory = gpd.read_file(case.results / "export/rts_inventory.gpkg")
    seeds = gpd.read_file(case.folder / "corridor/seeds.gpkg")
    assert len(inventory) > len(seeds)
    assert inventory.geometry.is_valid.all()
    assert (case.results / "report/report.html").stat().st_size > 10_000
    read = json.loads((case.results / "report/.made/report.html.json").read_text())["inputs"]
    rasters = [path for place in ("mosaic", "coverage") for path in (case.results / place).glob("*.tif")]
    tables = [case.results / "coverage/observed.parquet", case.results / "scenes/ledger.parquet"]
    assert read.keys() >= {str(path.relative_to(case.folder)) for path in (*rasters, *tables)}
    published = case.results / "export"
    case.cli("export", "validate", "--schema", "arts", published / "rts_arts.geojson")
    assert "round 01" in (published / "data_card.html").read_text()
    case.configure(export={"licence": "CC-BY-4.0", "formats": ["gpkg", "stac"]})
    assert case.plan("preliminary") == {"export": 1}
    case.snakemake("preliminary")
    paths = (path.relative_to(published) for path in published.rglob("*") if path.is_file())
    files = {path.as_posix() for path in paths if path.parts[0] != ".made"}
    assert files == set(release_files(["gpkg", "stac"]))
    assert case.plan("preliminary") == {}
    index = case.results / "rounds/01/evidence/evidence.parquet"
    times = index.stat()
    os.utime(index, ns=(times.st_atime_ns, times.st_mtime_ns - 10**9))
    assert case.plan("preliminary") == {"report": 1}, "its strips of years are those of the evidence"
    os.utime(index, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert case.plan("all_rounds") == {"verify": 1}
    case.snakemake("all_rounds")
    signoff = json.loads((case.reviews / "round_01/signoff.json").read_text())
    verified = json.loads((case.results / "rounds/01/verified.json").read_text())
    assert verified["candidates_sha256"] == signoff["candidates_sha256"]
    assert case.plan("all_rounds") == {}
    shutil.rmtree(case.results / "rounds/01")
    assert case.plan() == {}, "a finished round is a leaf: its files aren't needed any more"
    case.configure(chips={"stride_px": 32})
    assert case.plan()["train"] == 1, "only the open round is trained again"


def test_history_is_verified_against_what_was_reviewed(case, tmp_path):
    """A finished round can be rebuilt; candidates other than those that people judged are told, not taken."""
    verified = "results/rounds/01/verified.json"
    case.review("01")
    case.snakemake(verified)
    signoff = json.loads((case.reviews / "round_01/signoff.json").read_text())
    assert json.loads((case.folder / verified).read_text())["candidates_sha256"] == signoff["candidates_sha256"]
    assert case.plan(verified) == {}
    assert case.cli("verify", "results").returncode == 0
    newer = case.copy(tmp_path / "newer")
    newer.exchange("src/rts_pipeline/stages.py", '"verify": Stage(1', '"verify": Stage(999')
    assert newer.plan(verified) == {"verify": 1}, "another check checks anew"
    case.configure(polygonize={"min_area_m2": 5000})
    assert case.plan(verified) == {"polygonize": 4, "candidates": 1, "verify": 1}
    failed = case.snakemake(verified, check=False)
    assert failed.returncode == 1
    assert "rounds/01/candidates.parquet" in failed.stdout + failed.stderr
    assert signoff["candidates_sha256"] in failed.stdout + failed.stderr
    assert "Traceback" not in failed.stdout + failed.stderr
    assert not (case.folder / verified).exists()


def test_killed_half_way_the_next_run_does_the_rest(case):
    """And no more: all is then as an undisturbed run makes it."""
    case.configure(polygonize={"min_area_m2": 1200})
    undisturbed = case.copy(case.folder.with_name("undisturbed"))
    command = ["snakemake", "--snakefile", ROOT / "Snakefile", "--configfile", case.config, "--cores", "1"]
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=case.folder,
        env=case.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    redone = case.results / "benchmarks/rounds/01/polygonize"
    before = {path: path.stat().st_mtime_ns for path in redone.iterdir()}
    deadline = time.monotonic() + 120
    while {path: path.stat().st_mtime_ns for path in redone.iterdir()} == before and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    case.snakemake("--unlock")
    left = case.plan()
    assert 1 <= left["polygonize"] <= 4
    case.snakemake()
    assert case.plan() == {}
    undisturbed.snakemake()
    assert results(case) == results(undisturbed)
