"""Stage report: one HTML file, read without a network, that says plainly what is known and what isn't."""

import base64
import json
import re
from html.parser import HTMLParser

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
from PIL import Image
from shapely import Point, Polygon, box

from rts_pipeline.config import BANDS, GridSection, Place, Report, Time
from rts_pipeline.coverage import NODATA
from rts_pipeline.errors import InputError, RefusedError
from rts_pipeline.inventory.attributes import build_attributes
from rts_pipeline.inventory.build import build_inventory
from rts_pipeline.io import new_cog, sha256_file, write_json, write_parquet
from rts_pipeline.metrics.objects import SIZE_CLASS_NAMES
from rts_pipeline.options import AttributesOptions, InventoryOptions, ReportOptions
from rts_pipeline.page import area_text, share_text
from rts_pipeline.report.build import build_report
from rts_pipeline.report.coverage import coverage
from rts_pipeline.report.history import verdict

CRS = "EPSG:32646"
GRID = GridSection(crs=CRS, cell_px=64, block_cells=2)
CELL_M = 192.0
EAST, NORTH = 2604 * CELL_M, 20156 * CELL_M
PLACE = Place(region="Beiluhe <north>")
NOTE = "<script>alert('x')</script> & \"quoted\""


NOTHING = {"value": None, "low": None, "high": None, "reason": "too few"}
NO_AUDIT = {"round": None, "reason": "no round was <audited>", "assumptions": ["The reviewer finds all."]}
NO_REVIEWERS = {"reviewers": [], "candidates": 0, "total": NOTHING, "assumptions": []}
NO_CURVE = {"rounds": ["01"], "new": [3], "expected": [], "total": NOTHING, "p": None, "assumptions": []}

UNKNOWN = {"audit": NO_AUDIT, "reviewers": NO_REVIEWERS, "detectors": NO_REVIEWERS, "curve": NO_CURVE}


def estimate(value, low, high):
    return {"value": value, "low": low, "high": high, "reason": ""}


class Project:
    """A small finished project: an area of columns x rows cells of which the eastmost column was not observed."""

    def __init__(self, folder, columns=6, rows=4, n_seeds=4, new_by_round=(3, 0), dem=None, grid=GRID):
        self.folder, self.grid, self.dem = folder, grid, dem
        self.cell_m = grid.cell_px * grid.pixel_m
        self.rng = np.random.default_rng(7)
        self.results, self.reviews = folder / "results", folder / "reviews"
        self.width, self.height = columns * self.cell_m, rows * self.cell_m
        self.aoi, self.attributes = folder / "aoi.gpkg", self.results / "attributes.parquet"
        gpd.GeoDataFrame(geometry=[box(EAST, NORTH, EAST + self.width, NORTH + self.height)], crs=CRS).to_file(self.aoi)
        self.cells = {
            grid.grid().cell_at(EAST + (x + 0.5) * self.cell_m, NORTH + (y + 0.5) * self.cell_m): x < columns - 1
            for x in range(columns)
            for y in range(rows)
        }
        for name, seen in self.cells.items():
            if seen:
                self.mosaic(grid.grid().cell(name))
        self.coverage()
        self.delivered()
        self.seeds = self.outlines(n_seeds)
        self.rounds = [self.round(k, n_new) for k, n_new in enumerate(new_by_round, 1)]

    def outlines(self, n):
        x = EAST + self.rng.uniform(0.05, 0.8, n) * self.width
        y = NORTH + self.rng.uniform(0.05, 0.95, n) * self.height
        return [Point(*place).buffer(r) for *place, r in zip(x, y, self.rng.lognormal(2.5, 0.4, n), strict=True)]

    def mosaic(self, cell):
        """Write the mosaic and the source map of a cell."""
        path, seen = self.results / "mosaic" / f"{cell.id}.tif", self.observed(cell)
        items = [{"index": 1, "id": "20190715_040000_1001", "acquired": "2019-07-15T04:00:00Z", "pixels": int(seen.sum())}]
        profile = {"dtype": "uint16", "nodata": 0, **cell.profile}
        with new_cog(path, count=len(BANDS), **profile) as dataset:
            dataset.write((seen * self.rng.integers(400, 900, (len(BANDS), *cell.shape))).astype("uint16"))
        source = path.with_name(f"{cell.id}_source.tif")
        with new_cog(source, overview_resampling="nearest", count=1, **profile) as dataset:
            dataset.write(seen.astype("uint16"), 1)
            dataset.update_tags(ITEMS=json.dumps(items))

    def coverage(self):
        """Write rasters and table of the stage coverage: 2019 as the mosaics have it; 2018 saw the northern half twice."""
        grid, folder = self.grid.grid(), self.results / "coverage"
        rows = []
        for block in sorted({grid.block_of(name) for name in self.cells}):
            box_ = grid.block(block)
            counts = np.full((2, *box_.shape), NODATA, np.uint8)
            for name in (name for name in self.cells if grid.block_of(name) == block):
                cell = grid.cell(name)
                counts[0][box_.slices_of(cell)] = 2 * (cell.bounds[3] > NORTH + self.height / 2)
                counts[1][box_.slices_of(cell)] = self.observed(cell) if self.cells[name] else 0
                for year, part in zip((2018, 2019), counts, strict=True):
                    rows.append(self.observed_row(name, year, part[box_.slices_of(cell)]))
            with new_cog(folder / f"{block}.tif", count=2, dtype="uint8", nodata=NODATA, **box_.profile) as dataset:
                dataset.descriptions = ("2018", "2019")
                dataset.write(counts)
        write_parquet(folder / "observed.parquet", pd.DataFrame(rows).sort_values(["cell", "year"]))

    def observed_row(self, name, year, counts):
        seen, time = int((counts > 0).sum()), f"{year}-07-15T04:00:00Z"
        row = {"cell": name, "year": year, "pixels": counts.size, "observed_pixels": seen, "observed_share": seen / counts.size}
        return row | {"n_items": int(seen > 0), **dict.fromkeys(("first_acquired", "last_acquired"), time if seen else None)}

    def observed(self, cell):
        return np.ones(cell.shape)

    def delivered(self):
        """Write the tables of items and files."""
        items = {
            "item_id": ["a", "b", "c"],
            "acquired": ["2019-07-15T04:00:00Z", "2019-08-01T04:00:00Z", None],
            "status": ["used", "rejected", "ignored"],
            "reason": ["", "no usable data mask", "outside the area"],
        }
        folder = self.results / "scenes"
        folder.mkdir(parents=True)
        gpd.GeoDataFrame(items, geometry=[box(92, 34, 93, 35)] * 3, crs=4326).to_parquet(folder / "catalog.parquet")
        files = {"path": ["a_SR.tif", "<x>.txt"], "bytes": [3_000_000, 10], "status": ["used", "rejected"]}
        files |= {"role": ["reflectance", "unknown"], "reason": ["", "no role <known>"], "used_for": ["mosaic of 2019", ""]}
        write_parquet(folder / "ledger.parquet", pd.DataFrame(files))

    def round(self, number, n_new):
        """Sign a round off: n_new accepted, redrawn and added in turn, four others."""
        name = f"{number:02d}"
        folder = self.reviews / f"round_{name}"
        folder.mkdir(parents=True)
        decisions = ["reject", "unsure", "reject", "unseen", *(("accept", "edit", "missed")[i % 3] for i in range(n_new))]
        row = {
            **{"round": number, "possibility": 0.75, "reject_reason": None, "reviewers": "ann", "n_reviews": 1},
            **{"agreement": None, "note": NOTE, "reviewed_at": f"2024-01-{number:02d}T08:00:00Z", "base_sha256": "b"},
            **{"model_sha256": f"{number}" * 64, "prob_mean": 0.8, "prob_max": 0.9, "guideline_version": "1"},
        }
        rows = [{"candidate_id": f"r{name}-{n:04d}", "decision": decision, **row} for n, decision in enumerate(decisions, 1)]
        gpd.GeoDataFrame(rows, geometry=self.outlines(len(rows)), crs=CRS).to_parquet(folder / "reviewed.parquet")
        before = self.reviews / f"round_{number - 1:02d}" / "signoff.json"
        signoff = {
            **{"round": name, "after": sha256_file(before) if before.exists() else None},
            **{"n_candidates": sum(decision != "missed" for decision in decisions), "n_new": n_new, "cells": []},
            **{"rows_sha256": sha256_file(folder / "reviewed.parquet"), "candidates_sha256": "c" * 64},
            **{"at": f"2024-01-{number:02d}T09:00:00Z", "reviewers": ["ann"]},
        }
        write_json(folder / "signoff.json", signoff)
        model = {"sha256": {"weights.pt": f"{number}" * 64}}
        windows = {"train": {"background": 7, "positive": 12}, "validation": {"positive": 3}}
        write_json(folder / "model" / "model.json", {**model, "n_chips": windows})
        chosen = {"threshold": 0.42, "seed_threshold": 0.61, "min_area_m2": 288.0, "hole_m2": 900.0}
        write_json(
            folder / "validation" / "validation.json",
            {**chosen, "validation": judged(number), "test": None if number == 1 else judged(number)},
        )
        for figure in ("reliability", "precision_recall"):
            Image.fromarray(self.rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(
                folder / "validation" / f"{figure}.png"
            )
        return name

    completeness = None

    def measure(self):
        """Make the inventory with its attributes."""
        inventory, seeds = self.results / "outlines.parquet", self.folder / "seeds.parquet"
        gpd.GeoDataFrame(geometry=self.seeds, crs=CRS).to_parquet(seeds)
        reviewed = [self.reviews / f"round_{name}" / "reviewed.parquet" for name in self.rounds]
        options = InventoryOptions(area=PLACE, time=Time(), grid=self.grid)
        build_inventory(seeds if self.seeds else None, reviewed, inventory, options)
        sources, options = sorted((self.results / "mosaic").glob("*_source.tif")), AttributesOptions(grid=self.grid)
        build_attributes(inventory, sources, self.dem, None, None, self.attributes, options)
        return self

    def report(self):
        """Make the report and return its text."""
        options = ReportOptions(area=PLACE, time=Time(), grid=self.grid, report=Report())
        catalog, out = self.results / "scenes" / "catalog.parquet", self.folder / "report.html"
        completeness = self.results / "completeness.json"
        write_json(
            completeness,
            self.completeness or {"audit": NO_AUDIT, "reviewers": NO_REVIEWERS, "detectors": NO_REVIEWERS, "curve": NO_CURVE},
        )
        build_report(self.attributes, completeness, self.results, self.reviews, catalog, self.aoi, out, options, self.rounds)
        return out.read_text(encoding="utf-8")


def judged(number):
    """Figures of a round's validation blocks; in the second round too few for intervals."""
    sure = {"low": 0.5, "high": 0.9} if number == 1 else {"low": None, "high": None}
    scores = {name: {"value": value, **sure} for name, value in (("precision", 0.75), ("recall", 0.6), ("f1", 0.667))}
    counts = {"n_blocks": 6, "n_truth": 20, "n_predicted": 16}
    return {**counts, "objects": {"0.5": scores}, "pixels": {"iou": {"value": 0.55, **sure}}}


def hill(path, columns=6, rows=4, cell_m=CELL_M):
    """A DEM of the project's area that falls to the north."""
    height, width = int(rows * cell_m / 30) + 20, int(columns * cell_m / 30) + 20
    rows_, columns_ = np.mgrid[:height, :width]
    elevation = 4500 + 3.0 * rows_ + 40 * np.sin(columns_ / 9)
    transform = rasterio.Affine(30, 0, EAST - 300, 0, -30, NORTH + rows * cell_m + 300)
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "height": height, "width": width}
    with rasterio.open(path, "w", crs=CRS, transform=transform, **profile) as dataset:
        dataset.write(elevation.astype("float32"), 1)
    return path


def text(page):
    """Return what a reader sees."""

    class Reader(HTMLParser):
        seen = ""
        hidden = False

        def handle_starttag(self, tag, attrs):
            self.hidden = tag in ("style", "script")

        def handle_endtag(self, tag):
            self.hidden = False

        def handle_data(self, data):
            self.seen += "" if self.hidden else data + " "

    reader = Reader()
    reader.feed(page)
    return " ".join(reader.seen.split())


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return Project(folder, dem=hill(folder / "dem.tif")).measure()


@pytest.fixture(scope="module")
def page(project):
    return project.report()


def test_report_needs_no_network_and_no_script(page):
    addresses = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", page)
    assert addresses
    assert all(address.startswith("data:image/") for address in addresses)
    assert "<script" not in page


def test_figures_are_images(page):
    images = re.findall(r'src="data:image/(png|webp|svg\+xml);base64,([^"]+)"', page)
    kinds = [kind for kind, _ in images if kind != "webp"]
    assert sorted(kinds) == [*["png"] * 3, *["svg+xml"] * 6]
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
    assert "02 4 0 0 0 0 0 2 1 1 0 % ann 2024-01-02 09:00" in seen
    assert "1" * 64 + " 0.42 0.61 288 m² 900 m² 19 train, 3 validation" in seen
    assert "2" * 64 + " 0.42 0.61 288 m² 900 m² 19 train, 3 validation" in seen


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
    assert project.report() == first


def test_what_nobody_was_asked_about_keeps_the_rounds_from_converging():
    rounds = pd.DataFrame({"round": ["01"], "n_new": [0], "n_cut": [0]})
    assert verdict(rounds) == (True, "Converged: the last round (round 01) brought no new slump.")
    converged, sentence = verdict(rounds.assign(n_cut=7))
    assert not converged
    assert sentence.endswith("but outlines were left for a later round, which nobody was asked about: 7.")
    assert verdict(rounds.assign(n_new=2, n_cut=7))[1].endswith("which nobody was asked about: 7.")


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


def test_a_changed_review_is_refused(tmp_path):
    project = Project(tmp_path, columns=1, new_by_round=(1,)).measure()
    with (project.reviews / "round_01" / "reviewed.parquet").open("ab") as file:
        file.write(b" ")
    with pytest.raises(RefusedError, match="changed after the sign-off"):
        project.report()


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
        "detectors": NO_REVIEWERS,
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
    section = page.split("How complete it is")[1].split("What each estimate takes for granted")[0]
    assert section.index("below 0.2 ha") < section.index("0.2 to 1 ha") < section.index("1 to 5 ha")
    assert "5 ha and above" not in section
    assert html.count('alt="Slumps found up to each round') == 1
