"""A small finished project, and its report."""

import json
from html.parser import HTMLParser

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
from shapely import Point, box

from rts_pipeline.config import BANDS, GridSection, Place, Report, Time
from rts_pipeline.coverage import NODATA
from rts_pipeline.inventory.attributes import build_attributes
from rts_pipeline.inventory.build import build_inventory
from rts_pipeline.io import new_cog, sha256_file, write_json, write_parquet
from rts_pipeline.options import AttributesOptions, InventoryOptions, ReportOptions
from rts_pipeline.report.build import build_report
from rts_pipeline.review.events import make_event
from rts_pipeline.review.store import write_exchange

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
        last = "unseen" if n_new else "unsure"  # what nobody looked at keeps the rounds from converging
        decisions = ["reject", "unsure", "reject", last, *(("accept", "edit", "missed")[i % 3] for i in range(n_new))]
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
        levels = np.arange(251)
        pixels = {"other": (251 - levels).tolist(), "slump": (levels // 2).tolist()}
        curve = [{"threshold": 0.42, "precision": 0.75, "recall": 0.6}, {"threshold": 0.9, "precision": None, "recall": 0.0}]
        write_json(
            folder / "validation" / "validation.json",
            {
                **{**chosen, "validation": judged(number), "test": None if number == 1 else judged(number)},
                **{"thresholds": curve, "validation_pixels": pixels},
            },
        )
        # the first round is from before they were counted
        left_out = {"no_seed": {"outlines": 1234, "m2": 5678.9}, "outside_aoi": {"outlines": 0, "m2": 0.0}}
        write_json(folder / "candidates.json", {"outlines": {"cut": 0}} | ({"left_out": left_out} if number > 1 else {}))
        return name

    def judged_twice(self, name, said):
        """Give a round the record of two reviewers; `said`: of each candidate what ann and what bob said."""
        folder, cells = self.reviews / f"round_{name}", list(self.cells)
        ids = [f"r{name}-{n:04d}" for n in range(1, len(said) + 1)]
        placed = {"candidate_id": ids, "cell_id": [cells[n % len(cells)] for n in range(len(ids))], "base_sha256": "b" * 64}
        write_parquet(folder / "candidates.parquet", pd.DataFrame(placed))
        told = {"round": name, "base_sha256": "b" * 64, "at": "2024-01-01T08:00:00Z", "source": "web", "action": "decide"}
        told |= {"guideline_version": "1"}
        outline = {"geometry": box(0, 0, 9, 9).__geo_interface__}
        events = [
            make_event(candidate_id=one, reviewer=who, decision=decision, **told, **(outline if decision == "edit" else {}))
            for one, pair in zip(ids, said, strict=True)
            for who, decision in zip(("ann", "bob"), pair, strict=True)
        ]
        write_exchange(folder, events)

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
        build_report(
            self.attributes, completeness, self.results, self.reviews, catalog, self.aoi, self.dem, out, options, self.rounds
        )
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
