"""Inventories of a few squares: seeds and rounds of verdicts on disk, and what the stage makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
from rasterio.features import geometry_mask
from shapely import box

from rts_pipeline.config import GridSection, Place, Time
from rts_pipeline.inventory.build import Earlier, build_inventory
from rts_pipeline.io import write_parquet
from rts_pipeline.options import InventoryOptions
from rts_pipeline.review.rounds import CHANGE, YEARS

CRS = "EPSG:32646"
EAST, NORTH = 500_000.0, 3_870_000.0
OPTIONS = InventoryOptions(
    area=Place(region="Beiluhe", creator_lab="AName, Lab"), time=Time(), grid=GridSection(crs=CRS, cell_px=256)
)


def square(x, y=0.0, width=60.0, height=60.0):
    return box(EAST + x, NORTH + y, EAST + x + width, NORTH + y + height)


def uid_at(slumps, x, y=30.0):
    """The uid of the slump that covers a point."""
    return uid_of(slumps, square(x, y, 0.1, 0.1))


def uid_of(slumps, outline):
    """The uid of the slump that covers an outline's middle."""
    covering = slumps[slumps.covers(outline.centroid)]
    assert len(covering) == 1
    return covering["rts_uid"].iloc[0]


class Project:
    """Seeds, rounds of verdicts, an earlier inventory and decisions in a folder."""

    def __init__(self, folder: Path, seeds=(), options=OPTIONS):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.options, self.reviewed = folder, options, []
        self.seeds = None
        if len(seeds):
            self.seeds = folder / "seeds.parquet"
            gpd.GeoDataFrame(geometry=list(seeds), crs=CRS).to_parquet(self.seeds)

    def round(self, *verdicts, change=(), years=()):
        """Sign off a round of (decision, outline, changed values); `change` and `years` are rows of its evidence.

        A year is (candidate, year, seen, area) and, where that matters, its outline; images lie within a metre.
        """
        number = len(self.reviewed) + 1
        rows = [
            {
                **{"candidate_id": f"r{number:02d}-{index:04d}", "round": f"{number:02d}", "decision": decision},
                **{"possibility": 1.0, "reject_reason": None, "reviewers": "ann", "n_reviews": 1, "agreement": None},
                **{"reviewed_at": f"2024-{number:02d}-01T00:00:00Z", "note": None, "base_sha256": "b", "model_sha256": "m"},
                **{"prob_mean": 0.7, "prob_max": 0.9, "guideline_version": "1", "known_ids": "", "judged_m2": outline.area},
                **{"first_year_visible": None, "active": None},
                **changes,
            }
            for index, (decision, outline, changes) in enumerate(verdicts, 1)
        ]
        folder = self.folder / f"round_{number:02d}"
        folder.mkdir()
        frame = gpd.GeoDataFrame(rows, geometry=[outline for _, outline, _ in verdicts], crs=CRS)
        frame = frame.astype({"first_year_visible": "Int64", "active": "boolean"})
        write_parquet(folder / "reviewed.parquet", frame)
        if change:
            write_parquet(folder / CHANGE, pd.DataFrame(change))
            rows = [(*year, *[None] * (5 - len(year)), 1.0) for year in years]
            names = ["candidate_id", "year", "seen", "area_m2", "outline", "misregistration_m"]
            write_parquet(folder / YEARS, gpd.GeoDataFrame(pd.DataFrame(rows, columns=names), geometry="outline", crs=CRS))
        self.reviewed.append(folder / "reviewed.parquet")

    def build(self, previous=None, decisions=None, area=None, unseen=()):
        """Return the inventory and its relations; all ground of earlier slumps was observed but for what is `unseen`."""
        earlier = None
        if previous is not None:
            aoi = self.folder / "aoi.parquet"
            wide = square(-50_000, -50_000, 100_000, 100_000)
            gpd.GeoDataFrame(geometry=[area or wide], crs=CRS).to_parquet(aoi)
            before = gpd.read_file(previous) if previous.suffix == ".gpkg" else gpd.read_parquet(previous)
            earlier = Earlier(previous, aoi, self.source_maps(before, unseen))
        out = self.folder / "outlines.parquet"
        build_inventory(self.seeds, self.reviewed, out, self.options, earlier, decisions)
        return gpd.read_parquet(out), pd.read_parquet(self.folder / "relations.parquet")

    def source_maps(self, slumps, unseen):
        """Write the source maps of the cells of slumps, in which one image shows everything but `unseen`."""
        grid, paths = self.options.grid.grid(), []
        for name in grid.cells_touching(slumps.geometry.to_numpy()):
            cell = grid.cell(name)
            paths.append(self.folder / f"{name}_source.tif")
            index = geometry_mask(unseen, cell.shape, cell.transform) if len(unseen) else np.ones(cell.shape)
            profile = {"driver": "GTiff", "count": 1, "dtype": "uint16", "nodata": 0, "compress": "deflate", **cell.profile}
            with rasterio.open(paths[-1], "w", **profile) as dataset:
                dataset.write(index.astype("uint16"), 1)
                dataset.update_tags(ITEMS=json.dumps([{"index": 1, "id": "a", "acquired": "2020-08-01T04:00:00Z"}]))
        return paths

    def decisions(self, *rows, head="relation_id,decision,decided_by,note"):
        path = self.folder / "decisions.csv"
        path.write_text("\n".join([head, *rows]) + "\n")
        return path


def release(path: Path, rows, year=2019):
    """Write an earlier inventory of (uid, outline) as its release holds it."""
    frame = gpd.GeoDataFrame(
        {
            "rts_uid": [uid for uid, _ in rows],
            "delineation_id": [f"old-{uid}" for uid, _ in rows],
            "acquired_end": f"{year}-08-20T04:00:00Z" if year else None,
            "relation": None,
            "related_uids": None,
        },
        geometry=[outline for _, outline in rows],
        crs=CRS,
    ).astype({"acquired_end": "str", "relation": "str", "related_uids": "str"})
    if path.suffix == ".gpkg":
        frame.to_file(path)
    else:
        frame.to_parquet(path)
    return path
