"""What planning costs at the full size of the corridor: 54,000 km2, 2,000 items in the target year and 8,000 in four others.

python bench/corridor.py FOLDER            (some minutes; writes results/bench/corridor.json)

The orders hold what is read when the Snakefile is parsed: rasters with a header and no pixels, metadata, manifests.
Snakemake is the real one with the repository's workflow. To have everything done for the no-op, a stand-in for
`rts-pipeline` makes empty outputs: no stage computes anything here, so the figures are those of planning alone.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
import shapely.ops
import yaml
from affine import Affine
from pyproj import Transformer

from rts_pipeline.io import sha256_file
from rts_pipeline.review.rounds import Signoff

ROOT = Path(__file__).parents[1]
LINE = [(91.1, 30.1), (92.05, 31.5), (91.7, 32.3), (92.4, 34.2), (94.9, 36.4)]
"""Lhasa, Nagqu, Amdo, Tuotuohe, Golmud."""
AREA_KM2 = 54_000
CRS = "ESRI:102025"  # Asia North Albers: equal-area
ITEM_PX = (8000, 2667)  # 24 x 8 km
YEARS = (2016, 2017, 2018, 2019, 2020)
TARGET = 2019
PER_YEAR = 2000
SEEDS = 800

STAND_IN = """#!/usr/bin/env bash
# makes every output that a rule names, empty
set -eu
[ "$1 $2" = "scenes measure" ] && names=$(cat "${3#@}")
while [ $# -gt 0 ]; do
  case "$1" in
    --out | --out-*)
      case "${2##*/}" in
        model) mkdir -p "$2"; touch "$2"/{weights.pt,network.onnx,model.json,metrics.csv,curves.png} ;;
        validation) mkdir -p "$2"; touch "$2"/{validation.json,blocks.parquet}
          touch "$2"/{reliability,precision_recall,windows}.png ;;
        evidence) mkdir -p "$2" ;;
        candidates.parquet) mkdir -p "${2%/*}"; cp "$RTS_BENCH_ROWS" "$2" ;;
        candidates.json) echo '{"outlines": {"candidate": 0, "changed": 0, "cut": 0}}' > "$2" ;;
        *_*.json) mkdir -p "${2%/*}"; echo '{"items": {}, "failed": {}}' > "$2"
          echo "$names" > "${2%.json}.items.txt"
          scenes=${2%/batches/*}
          for name in $names; do echo "$scenes/${name%%:*}"; done | xargs mkdir -p "$scenes/.made"
          for name in $names; do
            : > "$scenes/${name%%:*}/item.json"; : > "$scenes/${name%%:*}/usable.tif"; : > "$scenes/.made/${name%%:*}.json"
          done ;;
        *) mkdir -p "${2%/*}"; touch "$2" ;;
      esac
      case "$2" in */outlines/*.parquet) touch "${2%.parquet}.json" ;; esac ;;
  esac
  shift
done
"""


@dataclass
class Cost:
    """What a process and its children cost."""

    code: int
    cpu_s: float
    peak_mb: float
    text: str


def cost(command: list[str], folder: Path) -> Cost:
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "RTS_BENCH_ROWS": str(folder / "rows.parquet"),
    }
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        return Cost(process.returncode, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, out.read())


def snakemake(folder: Path, *arguments: str) -> Cost:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--configfile", "config.yaml"]
    done = cost([*command, "--cores", "2", *arguments], folder)
    if done.code != 0:
        raise RuntimeError(f"snakemake {arguments} ended with {done.code}:\n{done.text[-4000:]}")
    return done


def planned(text: str) -> dict[str, int]:
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", text, re.MULTILINE)}


def area(share: float) -> shapely.Polygon:
    """Return the corridor, or the southern part of it with that share of its length, in the grid's CRS."""
    to_grid = Transformer.from_crs("EPSG:4326", CRS, always_xy=True)
    line = shapely.segmentize(shapely.LineString(to_grid.itransform(LINE)), 20_000)
    line = shapely.ops.substring(line, 0, share, normalized=True)
    wanted_m2 = AREA_KM2 * 1e6 * share
    low, high = 1_000.0, 100_000.0
    while high - low > 1:
        middle = (low + high) / 2
        low, high = (middle, high) if line.buffer(middle, cap_style="flat").area < wanted_m2 else (low, middle)
    return line.buffer(low, cap_style="flat")


class Rasters:
    """Headers without pixels: one template for each kind and zone, of which the origin is exchanged."""

    ORIGIN = (123456.0, 3654321.0)

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._templates: dict[tuple[str, int], bytes] = {}

    def of(self, kind: str, zone: int, west: float, north: float) -> bytes:
        if (kind, zone) not in self._templates:
            self._templates[kind, zone] = self._template(kind, zone)
        template = self._templates[kind, zone]
        old, new = (np.array(origin, "<f8").tobytes() for origin in (self.ORIGIN, (west, north)))
        assert template.count(old) == 1
        return template.replace(old, new)

    def _template(self, kind: str, zone: int) -> bytes:
        path = self._folder / "template.tif"
        count, dtype = (4, "uint16") if kind == "AnalyticMS_SR" else (8, "uint8")
        place = {"crs": f"EPSG:{32600 + zone}", "transform": Affine(3, 0, self.ORIGIN[0], 0, -3, self.ORIGIN[1])}
        shape = {"width": ITEM_PX[0], "height": ITEM_PX[1], "count": count, "dtype": dtype}
        tiles = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "sparse_ok": True}
        with rasterio.open(path, "w", driver="GTiff", interleave="pixel", **shape, **place, **tiles):
            pass
        return path.read_bytes()


@dataclass(frozen=True)
class Placed:
    """A made item: its id, its day, the UTM zone and there the upper left corner, and the centre (longitude, latitude)."""

    id: str
    day: date
    zone: int
    corner: tuple[float, float]
    centre: tuple[float, float]


def place_items(place: shapely.Polygon, per_year: int) -> Iterator[Placed]:
    """Place items of each year at random in the area, on days of the season at random."""
    rng = np.random.default_rng(0)
    to_wgs84 = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    zones = {z: Transformer.from_crs("EPSG:4326", f"EPSG:{32600 + z}", always_xy=True) for z in (45, 46)}
    west, south, east, north = place.bounds
    shapely.prepare(place)
    for year in YEARS:
        for n in range(per_year):
            x, y = rng.uniform(west, east), rng.uniform(south, north)
            while not shapely.contains_xy(place, x, y):
                x, y = rng.uniform(west, east), rng.uniform(south, north)
            longitude, latitude = to_wgs84.transform(x, y)
            zone = math.floor(longitude / 6) + 31
            easting, northing = zones[zone].transform(longitude, latitude)
            corner = 3.0 * round(easting / 3 - ITEM_PX[0] / 2), 3.0 * round(northing / 3 + ITEM_PX[1] / 2)
            day = date(year, 7, 1) + timedelta(days=int(rng.integers(62)))
            yield Placed(f"{day:%Y%m%d}_{40000 + n:06d}_{n % 200 + 0x1000:04x}", day, zone, corner, (longitude, latitude))


def write_orders(folder: Path, items: Iterable[Placed]) -> None:
    """Write an order for each year, from items that come year after year."""
    rasters = Rasters(folder)
    for year, of_year in groupby(items, key=lambda item: item.day.year):
        order = folder / f"orders/{year}"
        listed = [row for item in of_year for row in write_item(order, rasters, item)]
        (order / "manifest.json").write_text(json.dumps({"name": "", "files": listed}))


def write_item(order: Path, rasters: Rasters, item: Placed) -> list[dict[str, object]]:
    folder = order / "PSScene" / item.id
    folder.mkdir(parents=True)
    x, y = item.centre
    west, south, east, north = x - 0.13, y - 0.036, x + 0.13, y + 0.036
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    feature = {
        "type": "Feature",
        "id": item.id,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "acquired": f"{item.day.isoformat()}T04:10:00.000000Z",
            "updated": f"{item.day.year}-12-01T00:00:00Z",
        },
    }
    files = {
        f"{item.id}_3B_AnalyticMS_SR.tif": rasters.of("AnalyticMS_SR", item.zone, *item.corner),
        f"{item.id}_3B_udm2.tif": rasters.of("udm2", item.zone, *item.corner),
        f"{item.id}_3B_AnalyticMS_metadata.xml": b'<?xml version="1.0" encoding="UTF-8"?><ps:Scene xmlns:ps="http://ps"/>',
        f"{item.id}_metadata.json": json.dumps(feature).encode(),
    }
    listed = []
    for name, data in files.items():
        (folder / name).write_bytes(data)
        digest = f"{int(item.id[9:15]):032x}{len(data):032x}"
        listed.append({"path": f"PSScene/{item.id}/{name}", "size": len(data), "digests": {"sha256": digest}})
    return listed


def make(folder: Path, share: float) -> None:
    """Lay the project out, with its orders."""
    write_orders(folder, place_items(lay_out(folder, share), math.ceil(PER_YEAR * share)))


def lay_out(folder: Path, share: float) -> shapely.Polygon:
    """Lay the project out but for its orders; returns the area, in the grid's CRS."""
    folder.mkdir(parents=True)
    place = area(share)
    gpd.GeoDataFrame(geometry=[place], crs=CRS).to_file(folder / "aoi.gpkg")
    rng = np.random.default_rng(1)
    west, south, east, north = place.bounds
    points = shapely.points(rng.uniform(west, east, 20 * SEEDS), rng.uniform(south, north, 20 * SEEDS))
    inside = points[shapely.contains(place, points)][: math.ceil(SEEDS * share)]
    gpd.GeoDataFrame(geometry=shapely.buffer(inside, 40), crs=CRS).to_file(folder / "seeds.gpkg")
    configuration = {
        "results": "results",
        "reviews": "reviews",
        "area": {"aoi": "aoi.gpkg", "region": "Corridor", "creator_lab": "bench"},
        "grid": {"crs": CRS},
        "time": {"target_year": TARGET},
        "scenes": {"folders": ["orders"]},
        "labels": {"seeds": "seeds.gpkg"},
        "evidence": {"years": list(YEARS)},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration))
    stand_in = folder / "bin/rts-pipeline"
    stand_in.parent.mkdir()
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    gpd.GeoDataFrame({"candidate_id": ["c1"]}, geometry=[place.centroid.buffer(40)], crs=CRS).to_parquet(
        folder / "rows.parquet"
    )
    return place


def sign_off(folder: Path) -> None:
    """Sign off round 01 as if one of its candidates were a new slump."""
    review = folder / "reviews/round_01"
    review.mkdir(parents=True)
    shutil.copytree(folder / "results/rounds/01/model", review / "model")
    rows = folder / "rows.parquet"
    shutil.copy(rows, review / "reviewed.parquet")
    signoff = Signoff(
        round="01",
        after=None,
        rows_sha256=sha256_file(rows),
        candidates_sha256=sha256_file(rows),
        n_candidates=1,
        n_new=1,
        cells=(),
        at="2026-01-01T00:00:00Z",
        reviewers=("bench",),
    )
    signoff.write(review / "signoff.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where to lay the project out; orders that are there are taken")
    parser.add_argument("--share", type=float, default=1.0, help="part of the corridor's length")
    parser.add_argument("--plan-only", action="store_true", help="only the first plan")
    args = parser.parse_args()
    folder = args.folder.absolute()
    if not folder.exists():
        make(folder, args.share)
    for made in ("results", "reviews", ".snakemake"):
        shutil.rmtree(folder / made, ignore_errors=True)
    plan = ("--dry-run", "--quiet", "rules")
    first = snakemake(folder, *plan)
    jobs = planned(first.text)
    figures = {"jobs": jobs.pop("total"), "by_rule": jobs, "first_plan_cpu_s": first.cpu_s}
    again = snakemake(folder, *plan)
    figures |= {"plan_cpu_s": again.cpu_s, "plan_peak_rss_mb": again.peak_mb}
    print(json.dumps(figures))
    if not args.plan_only:
        snakemake(folder, "--quiet", "rules")
        noop = snakemake(folder, *plan)
        assert not planned(noop.text), planned(noop.text)
        sign_off(folder)
        after = snakemake(folder, *plan)
        round_02 = planned(after.text)
        assert not {"scenes", "mosaic", "coverage"} & set(round_02), round_02
        shutil.rmtree(folder / "reviews")
        figures |= {"noop_cpu_s": noop.cpu_s, "peak_rss_mb": noop.peak_mb}
        figures |= {"after_review_cpu_s": after.cpu_s, "after_review_jobs": round_02["total"]}
    out = ROOT / "results/bench/corridor.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({name: round(v, 2) if isinstance(v, float) else v for name, v in figures.items()}, indent=1))
    print(out.read_text())


if __name__ == "__main__":
    main()
