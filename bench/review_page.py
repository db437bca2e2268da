"""The part "page" of bench/review.py: how long opening, a verdict and a commit take (needs Debian's package chromium).

Makes a round of so many candidates x 5 years with chips of 288 px (above 5,000 candidates they share the same pictures),
serves it with the real command, opens it five times in a running Chromium as soon as the command tells the address ("both":
from the command to the first candidate painted), and works at it: 100 verdicts, one a second, 100 as fast as the page goes on,
then the list is scrolled. Times in ms, as the browser measures them: median, 95th percentile, largest. "Painted" is the frame
after all chips of the next candidate are drawn.
"""

from __future__ import annotations

import compileall
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import yaml
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from scipy import ndimage

import rts_pipeline
from rts_pipeline import io
from rts_pipeline.evidence.tables import CHANGE, GROUP_ROWS, YEAR
from rts_pipeline.review import start
from rts_pipeline.review.rounds import CHANGE as CHANGED

CRS = "EPSG:32646"
YEARS = [2016, 2017, 2018, 2019, 2020]
MOST_OWN, STARTS = 5_000, 5
PICTURES = 50
HALF_M = 216.0
"""Half of what a chip shows: 288 px, two for each of 3 m."""
SIZE = {"width": 1366, "height": 768}
AT = "2020-09-01T12:00:00Z"

DECIDE = """async (key) => {
    const shown = () => document.querySelector('[data-test=current]').textContent;
    const before = shown(), begin = performance.now();
    window.dispatchEvent(new KeyboardEvent('keydown', {key, code: 'Digit' + key}));
    const all = () => [...document.querySelectorAll('canvas[data-shows]')];
    while (shown() === before || !all().every(canvas => canvas.dataset.shows.startsWith(shown() + ' ')))
        await new Promise(requestAnimationFrame);
    await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
    return performance.now() - begin;
}"""
COMMITS = "() => performance.getEntriesByName(location.origin + '/api/verdict').map(entry => entry.duration)"
SCROLL = """async () => {
    const list = document.querySelector('nav'), frames = [];
    let last = performance.now();
    for (let step = 0; step < 60; step++) {
        list.scrollTop = list.scrollHeight * step / 60;
        await new Promise(requestAnimationFrame);
        frames.push(performance.now() - last);
        last = performance.now();
        if (!list.querySelector('.row')) throw new Error('an empty list');
    }
    return frames;
}"""


def make_project(folder: Path, n: int) -> Path:
    """Write a round of n candidates and return the configuration."""
    results, reviews = folder / "results", folder / "reviews"
    rng = np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    radius = 40 + 15 * rng.random((n, 1)) + 8 * np.sin(3 * angle + rng.random((n, 1)) * 6)
    centre = np.stack([500_000 + rng.random(n) * 200_000, 3_800_000 + rng.random(n) * 400_000], axis=1)
    ring = centre[:, None, :] + np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=2)
    outlines = shapely.polygons(np.round(ring, 2))
    names = [f"r01-{number:05d}" for number in range(1, n + 1)]
    facts = {
        "candidate_id": names,
        "round": "01",
        "rank": np.arange(1, n + 1),
        "status": "candidate",
        "known_ids": "",
        "area_m2": shapely.area(outlines),
        "prob_mean": rng.random(n),
        "prob_max": rng.random(n),
        "longitude": 93.0,
        "latitude": 35.0,
        "base_sha256": [f"{number:064x}" for number in range(n)],
        "model_sha256": "a" * 64,
    }
    source = results / "rounds" / "01"
    for name in start.KEPT:
        io.write_text(source / name, "{}")
    io.write_json(source / "candidates.json", {"outlines": {"cut": 0}})
    change = {
        "candidate_id": names,
        "rank": facts["rank"],
        "n_images": 5,
        "n_seen": 3,
        "growth_m2_yr": 700.0,
        "score": rng.random(n),
    }
    io.write_parquet(source / CHANGED, pd.DataFrame(change).reindex(columns=list(CHANGE)).astype(CHANGE))
    io.write_parquet(source / "candidates.parquet", gpd.GeoDataFrame(facts, geometry=outlines, crs=CRS))
    write_chips(source / "evidence", names, outlines, own=n <= MOST_OWN)
    start.start(reviews, results, "01", at=AT)
    config = folder / "config.yaml"
    values = {"results": str(results), "reviews": str(reviews), "area": {"aoi": "none.gpkg"}, "scenes": {"folders": ["none"]}}
    config.write_text(yaml.safe_dump(values | {"labels": {"seeds": "none.gpkg"}, "grid": {"crs": CRS}}))
    return config


def write_chips(folder: Path, names: list[str], outlines: Any, *, own: bool) -> None:
    rng = np.random.default_rng(1)
    for number in range(PICTURES):
        field = ndimage.gaussian_filter(rng.random((96, 96, 3)), (2, 2, 0)) * 900 - 330
        Image.fromarray(np.clip(field, 0, 255).astype(np.uint8)).resize((288, 288)).save(folder / f"{number}.webp", quality=80)
    columns: dict[str, list[Any]] = {"true_colour": [], "false_colour": []}
    for index, (name, year) in enumerate((name, year) for name in names for year in YEARS):
        for shift, column in enumerate(columns):
            picture = f"{(index + shift) % PICTURES}.webp"
            if own:
                os.link(folder / picture, folder / f"{name}_{year}_{column}.webp")
                picture = f"{name}_{year}_{column}.webp"
            columns[column].append(picture)
    rows = {"candidate_id": np.repeat(names, len(YEARS)), "year": YEARS * len(names), "acquired": "2019-07-01T04:00:00Z"}
    facts = {"item_id": "item", "usable_fraction": 1.0, "reason": "", "seen": True, "area_m2": 4321.0, "prob_mean": 0.7}
    x, y = (np.repeat(axis, len(YEARS)) for axis in shapely.get_coordinates(shapely.centroid(outlines)).T)
    ground = {"west": x - HALF_M, "south": y - HALF_M, "east": x + HALF_M, "north": y + HALF_M}
    table = pd.DataFrame({**rows, **ground, **columns, **facts}).reindex(columns=list(YEAR)).astype(YEAR)
    drawn = gpd.GeoSeries(np.repeat(outlines, len(YEARS)), crs=CRS)
    io.write_parquet(folder / "evidence.parquet", gpd.GeoDataFrame(table.assign(outline=drawn), geometry="outline"), GROUP_ROWS)


def told(times: list[float]) -> dict[str, float]:
    """Return what a row tells of times in ms."""
    return {"n": len(times), "median": float(np.median(times)), "p95": float(np.percentile(times, 95)), "max": max(times)}


def opened(page: Page, address: str) -> float:
    """Open the page and return the ms until the first candidate is painted."""
    begin = time.perf_counter()
    page.goto(address)
    page.wait_for_selector("canvas[data-shows]", state="attached")
    return 1000 * (time.perf_counter() - begin)


def worked(page: Page, verdicts: int) -> dict[str, Any]:
    """Decide twice as many as `verdicts` on the open page, scroll, and return the times."""
    page.wait_for_timeout(1500)
    page.evaluate("() => performance.setResourceTimingBufferSize(100000)")
    paces = {}
    for pace, pause in (("a verdict a second", 1000), ("at once", 0)):
        times = []
        for number in range(verdicts):
            times.append(page.evaluate(DECIDE, "124"[number % 3]))
            page.wait_for_timeout(pause)
        paces[f"verdict to next painted, {pace}"] = told(times)
    page.wait_for_function("() => document.querySelector('[data-test=saved]').textContent.includes('✓ saved')")
    commits = page.evaluate(COMMITS)
    assert len(commits) >= 2 * verdicts - 1, f"{len(commits)} verdicts sent"
    return {**paces, "commit": told(commits), "list scrolled, frame": told(page.evaluate(SCROLL))}


def measured(n: int, verdicts: int) -> dict[str, Any]:
    """Serve a round of n candidates, work at it, and return and print the times."""
    with tempfile.TemporaryDirectory() as name:
        rows = served(make_project(Path(name), n), verdicts)
    print(f"{n:,} candidates\n\n| ms | n | median | 95 % | largest |\n|---|---|---|---|---|")
    for what, row in rows.items():
        print(f"| {what} | {row['n']} | {row['median']:.0f} | {row['p95']:.0f} | {row['max']:.0f} |")
    return rows


def served(config: Path, verdicts: int) -> dict[str, Any]:
    """Serve a project and open it in a browser some times, then work at it."""
    # as pip leaves an installed package
    compileall.compile_dir(str(Path(rts_pipeline.__file__).parent), quiet=1)
    starts, opens, rows = [], [], {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(STARTS):
            page = browser.new_context(viewport=SIZE, reduced_motion="reduce").new_page()
            begin = time.perf_counter()
            with serving(config) as address:
                starts.append(1000 * (time.perf_counter() - begin))
                opens.append(opened(page, address))
                rows = worked(page, verdicts) if len(starts) == STARTS else {}
        browser.close()
    both = [start + opening for start, opening in zip(starts, opens, strict=True)]
    return {"server started": told(starts), "page opened": told(opens), "both": told(both), **rows}


@contextmanager
def serving(config: Path) -> Iterator[str]:
    """Run the real command until the block ends, and give its address."""
    command = [sys.executable, "-m", "rts_pipeline.cli", "review", "serve", "--reviewer", "ann", "--config", str(config)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        assert server.stdout is not None
        found = None
        while found is None:
            found = re.search(r"http://\S+/enter/\S+", server.stdout.readline())
        yield found[0]
    finally:
        server.kill()
        server.wait()
