"""A project whose round 02 is open for review in a browser: chips, a mosaic, an earlier round, and two reviewers."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import yaml
from PIL import Image, ImageDraw
from shapely import box

import review_case
from review_case import AT, CRS, GRID, place, square
from rts_pipeline import io
from rts_pipeline.config import Evidence
from rts_pipeline.evidence.chips import ground
from rts_pipeline.evidence.tables import CHANGE, GROUND, evidence_table
from rts_pipeline.review.finish import finish
from rts_pipeline.review.folding import decision_of, fold
from rts_pipeline.review.start import start
from rts_pipeline.review.store import append, read_round

YEARS = [2018, 2019, 2020]
OPTIONS = Evidence(years=YEARS, margin_m=90, min_size_px=64, scale=2)
OUTSIDE = "../../../secret.webp"
N = 8
MEASURED = (-0.05, 0.47, 0.21, 0.09)
"""NDVI inside and upslope, brightness inside and upslope."""
COLOURS = {"true": ((96, 108, 72), (170, 140, 110)), "false": ((170, 60, 60), (110, 140, 150))}


def write_chips(results: Path, round: str, outlines, names, years=YEARS):
    folder = results / "rounds" / round / "evidence"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, outline in zip(names, outlines, strict=True):
        place = ground(outline.bounds, GRID, OPTIONS.margin_m, OPTIONS.min_size_px)
        edge = place.width * OPTIONS.scale
        for year in years:
            seen = year != 2018 or name != names[1]
            files = {}
            for colour, ground_colour, slump in (
                ("true", (96, 108, 72), (170, 140, 110)),
                ("false", (170, 60, 60), (110, 140, 150)),
            ):
                picture = Image.new("RGB", (edge, edge), ground_colour)
                half = edge * (0.08 + 0.05 * years.index(year))
                ImageDraw.Draw(picture).ellipse(
                    (edge / 2 - half, edge / 2 - half, edge / 2 + half, edge / 2 + half), fill=slump
                )
                files[f"{colour}_colour"] = f"{name}_{year}_{colour}.webp"
                if seen:
                    picture.save(folder / files[f"{colour}_colour"], quality=80)
            terrain = f"{name}_hillshade.webp" if name == names[1] else None
            if terrain:
                Image.new("RGB", (edge, edge), (128, 128, 128)).save(folder / terrain)
            rows.append(
                {
                    "hillshade": terrain,
                    "candidate_id": name,
                    "year": year,
                    **dict(zip(GROUND, place.bounds, strict=True)),
                    "item_id": f"item_{year}" if seen else None,
                    "acquired": f"{year}-07-14T04:00:00Z" if seen else None,
                    **{column: file if seen else None for column, file in files.items()},
                    "usable_fraction": 0.97 if seen else float("nan"),
                    "reason": "" if seen else f"no image in the season of {year}",
                    "seen": year > 2018 if seen else None,
                    "area_m2": 4321.0 * (year > 2018) if seen else None,
                    "prob_mean": 0.66 if seen else None,
                    **dict(
                        zip(
                            ("ndvi", "ndvi_ring", "brightness", "brightness_ring"),
                            MEASURED if seen else [None] * 4,
                            strict=True,
                        )
                    ),
                    "numbers_reason": "" if seen else "no image",
                    # the network's, smaller than the candidate
                    "outline": outline.buffer(-20) if seen and year > 2018 and name.startswith("r") else None,
                }
            )
    io.write_parquet(folder / "evidence.parquet", evidence_table(rows, CRS), 4)
    # nothing is measured in a window of an audit
    names = [name for name in names if name.startswith("r")]
    facts = {"candidate_id": names, "n_images": 3, "n_seen": 2, "first_year_visible": 2019, "growth_m2_yr": 765.0, "score": 0.5}
    facts |= {"monotone_growth": True, "two_years": False}
    change = pd.DataFrame({**facts, "rank": range(1, len(names) + 1), "retreat_m_yr": 6.5, "retreat_error_m_yr": 2.1})
    io.write_parquet(folder / "change.parquet", change.reindex(columns=list(CHANGE)))


def write_mosaic(results: Path, outlines):
    for name in GRID.cells_touching(outlines):
        cell = GRID.cell(name)
        values = np.random.default_rng(0).integers(300, 1500, (4, *cell.shape)).astype(np.uint16)
        values[:, :20, :20] = 0
        with io.new_cog(results / "mosaic" / f"{name}.tif", count=4, dtype="uint16", nodata=0, **cell.profile) as target:
            target.write(values)


class Project:
    """The project, and servers of it; `windows`: the frame of an audit of round 02, `years`: of its chips."""

    def __init__(self, folder: Path, n=N, windows=None, years=YEARS):
        self._lie(folder)
        self.outlines = [square(number) for number in range(n)]
        self.names = [f"r02-{number + 1:04d}" for number in range(n)]
        earlier = [place(box(0, 0, 90, 90), 300.0 * i, -400) for i in range(4)]
        review_case.write_candidates(self.results, "01", earlier)
        start(self.reviews, self.results, "01", at=AT)
        case = object.__new__(review_case.Case)
        for number, (outline, decision) in enumerate(zip(earlier, ("accept", "reject", "accept", "reject"), strict=True)):
            values = {"base_sha256": review_case.sha(outline), "candidate_id": f"r01-{number + 1:04d}"}
            reason = "water" if decision == "reject" else None
            append(self.reviews, "01", "ann", [case.event(number, decision, reject_reason=reason, **values)])
        finish(self.reviews, "01", policy=review_case.STRICT, grid=GRID, at=AT)
        known = {2: place(box(20, 20, 80, 80), 600.0)}
        review_case.write_candidates(self.results, "02", self.outlines, known=known)
        looked = {}
        if windows is not None:
            io.write_parquet(self.results / "rounds" / "02" / "audit.parquet", windows)
            looked = windows[windows["sampled"]].set_index("window_id").geometry.to_dict()
        start(self.reviews, self.results, "02", at=AT, audit=windows is not None)
        write_chips(self.results, "01", earlier, [f"r01-{number + 1:04d}" for number in range(4)])
        write_chips(self.results, "02", [*self.outlines, *looked.values()], [*self.names, *looked], years)
        write_mosaic(self.results, [*self.outlines, *earlier, *looked.values()])
        labels = gpd.GeoDataFrame(
            {"label_id": [f"r01-{i + 1:04d}" for i in range(4)], "kind": ["positive", "negative"] * 2, "source": "round 01"},
            geometry=gpd.GeoSeries(earlier, crs=CRS),
        )
        io.write_parquet(self.results / "rounds" / "02" / "labels.parquet", labels)
        (folder / "secret.webp").write_bytes(b"secret")

    def _lie(self, folder):
        self.folder, self.results, self.reviews = folder, folder / "results", folder / "reviews"
        self.servers = []
        self.config = folder / "config.yaml"
        values = {
            "results": str(self.results),
            "reviews": str(self.reviews),
            "area": {"aoi": "none.gpkg"},
            "scenes": {"folders": ["none"]},
            "labels": {"seeds": "none.gpkg"},
            "grid": {"crs": CRS, "cell_px": GRID.cell_px, "block_cells": GRID.block_cells},
            "evidence": OPTIONS.model_dump(mode="json"),
        }
        self.config.write_text(yaml.safe_dump(values))

    def copied(self, folder):
        """Return a project like this one in another folder."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        copy = object.__new__(Project)
        copy.outlines, copy.names = self.outlines, self.names
        copy._lie(folder)
        return copy

    def serve(self, reviewer="ann", **options):
        server = Server(self, reviewer, **options)
        self.servers.append(server)
        return server

    def events(self, reviewer="ann"):
        return [event for event in read_round(self.reviews, "02") if event.reviewer == reviewer]

    def decisions(self, reviewer="ann"):
        heads = fold(self.events(reviewer)).heads
        return {name: decision_of(by[reviewer][-1]) for name, by in sorted(heads.items())}

    def stop(self):
        for server in self.servers:
            server.kill()


class Server:
    """The real command, in its own process."""

    def __init__(self, project, reviewer, **options):
        extra = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        command = [sys.executable, "-m", "rts_pipeline.cli", "review", "serve", "--round", "02", "--reviewer", reviewer, *extra]
        env = {**os.environ, "RTS_CONFIG": str(project.config), "PYTHONUNBUFFERED": "1"}
        self.log = (project.folder / f"{reviewer}.log").open("w+")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True, env=env)
        self.told = ""
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/enter/(\S+)", self.told)):
            line = self.process.stdout.readline()
            if not line:
                self.log.seek(0)
                raise RuntimeError(f"the server ended: {self.told}{self.log.read()}")
            self.told += line
        self.address, self.port, self.token = found[0], int(found[1]), found[2]
        self.base = f"http://127.0.0.1:{self.port}"
        self._wait()
        self.cookie = self.request("GET", f"/enter/{self.token}")[1]["set-cookie"].split(";")[0]

    def _wait(self):
        for _ in range(200):
            try:
                return self.request("GET", "/")
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("the server doesn't answer")

    def request(self, method, path, body=None, headers=None, host=None):
        """Send exactly what is said; returns status, headers, body."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", host or f"127.0.0.1:{self.port}")
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body is not None and "Content-Length" not in (headers or {}):
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, data

    def get(self, path, **headers):
        return self.request("GET", path, headers={"Cookie": self.cookie, **headers})

    def json(self, path):
        status, _, body = self.get(path)
        assert status == 200, body
        return json.loads(body)

    def post(self, path, value, **headers):
        sent = {"Cookie": self.cookie, "Origin": self.base, "Content-Type": "application/json", **headers}
        status, _, body = self.request("POST", path, json.dumps(value).encode(), sent)
        return status, json.loads(body) if body[:1] in b"{[" else body.decode()

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()
        self.log.close()


def geojson(outline):
    return json.loads(shapely.to_geojson(outline))
