"""The part "record" of bench/review.py: verdicts, status, agreement, exchange and sign-off of a round, without a page."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely

from rts_pipeline import io
from rts_pipeline.config import Review
from rts_pipeline.grid import Grid
from rts_pipeline.review.agreement import agreement
from rts_pipeline.review.events import Event, make_event
from rts_pipeline.review.exchange import export_events, import_events
from rts_pipeline.review.finish import finish
from rts_pipeline.review.readings import Draw, queue_of
from rts_pipeline.review.start import KEPT, start
from rts_pipeline.review.status import status
from rts_pipeline.review.store import open_round

CRS, AT = "EPSG:32646", "2020-09-01T12:00:00Z"
SINGLE = 300
"""Verdicts that are given one by one."""


def candidates(folder: Path, n: int) -> None:
    """Write a round of n octagons, 500 m apart, in cells of 144."""
    numbers = np.arange(n)
    outlines = shapely.buffer(
        shapely.points(400_000 + numbers % 300 * 500.0, 3_800_000 + numbers // 300 * 500.0), 60, quad_segs=2
    )
    digits = np.random.default_rng(0).random(n)
    frame = gpd.GeoDataFrame(
        {
            "candidate_id": [f"r01-{number + 1:06d}" for number in numbers],
            "area_m2": shapely.area(outlines),
            "known_ids": "",
            "prob_mean": 0.4 + 0.6 * digits,
            "prob_max": 0.5 + 0.5 * digits,
            "cell_id": [f"e{number % 300 // 12:04d}_n{number // 3600:04d}" for number in numbers],
            "base_sha256": [io.sha256_json(shapely.to_wkb(outline, hex=True)) for outline in outlines],
            "model_sha256": "a" * 64,
        },
        geometry=gpd.GeoSeries(outlines, crs=CRS),
    )
    for name in KEPT:
        io.write_json(folder / name, {"threshold": 0.4, "outlines": {"cut": 0}})
    io.write_parquet(folder / "candidates.parquet", frame)


def verdict(name: str, base: str, reviewer: str, role: str, draw: float) -> Event:
    """Return an accept, reject or unsure."""
    decision = "accept" if draw < 0.5 else "reject" if draw < 0.97 else "unsure"
    return make_event(
        round="01",
        candidate_id=name,
        base_sha256=base,
        reviewer=reviewer,
        role=role,
        at=AT,
        source="web",
        guideline_version="1",
        action="decide",
        decision=decision,
        possibility={"accept": 1.0, "reject": 0.0, "unsure": 0.5}[decision],
        seconds=3.2,
    )


def one_by_one(reviews: Path, events: list[Event]) -> list[float]:
    """Append events one by one and return what each took, in seconds."""
    took = []
    with open_round(reviews, "01", "ann") as store:
        for event in events:
            begun = time.perf_counter()
            store.append([event])
            took.append(time.perf_counter() - begun)
    return took


def measured(n: int) -> dict[str, Any]:
    """Measure the record of a round of n candidates that one person judges in full, and another a fifth of it."""
    found: dict[str, Any] = {"candidates": n}

    def timed(name: str, do: Callable[[], Any]) -> Any:
        begun, busy = time.perf_counter(), time.process_time()
        value = do()
        wall, cpu = time.perf_counter() - begun, time.process_time() - busy
        found[name] = {"wall_s": round(wall, 2), "cpu_s": round(cpu, 2)}
        print(f"{name:24}{wall:8.2f} s, of which {cpu:.2f} s of computing")
        return value

    with tempfile.TemporaryDirectory(dir=".") as folder:
        reviews, results, away = Path(folder, "reviews"), Path(folder, "results"), Path(folder, "away")
        candidates(results / "rounds/01", n)
        draw = Draw(share=0.2, margin=0.01)
        for where in (reviews, away):
            timed("start", lambda where=where: start(where, results, "01", at=AT, second=draw))
        frame = gpd.read_parquet(reviews / "round_01/candidates.parquet")
        bases = dict(zip(frame["candidate_id"], frame["base_sha256"], strict=True))
        draws = dict(zip(bases, np.random.default_rng(1).random(n), strict=True))
        mine = [verdict(name, base, "ann", "primary", draws[name]) for name, base in bases.items()]
        for name, part in (("first", mine[:SINGLE]), ("last", mine[-SINGLE:])):
            took = np.array(one_by_one(reviews, part)) * 1000
            found[f"append_{name}_ms"] = {
                "median": round(float(np.median(took)), 1),
                "p95": round(float(np.quantile(took, 0.95)), 1),
            }
            print(f"a verdict, {name} {SINGLE:6}      {found[f'append_{name}_ms']} ms")
            if name == "first":
                with open_round(reviews, "01", "ann") as store:
                    timed("append_all_at_once", lambda store=store: store.append(mine[:-SINGLE]))
        timed("open_and_read_own", lambda: _own(reviews))
        queue = timed("queue_of_second", lambda: queue_of(reviews, "01", "bob", role="second"))
        with open_round(away, "01", "bob", role="second") as store:
            store.append(verdict(name, bases[name], "bob", "second", draws[name]) for name in queue)
        found["second_readings"] = len(queue)
        timed("export_events", lambda: export_events(away, "01", "bob", Path(folder, "bob.jsonl")))
        timed("import_events", lambda: import_events(reviews, "01", Path(folder, "bob.jsonl")))
        timed("status", lambda: status(reviews, results))
        timed("agreement", lambda: agreement(reviews, "01"))
        found["database_MB"] = round((reviews / "round_01/events.sqlite").stat().st_size / 1e6, 1)
        timed("finish", lambda: finish(reviews, "01", policy=Review(), grid=Grid(CRS), at=AT))
        timed("status_signed_off", lambda: status(reviews, results))
    found["max_rss_MB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return found


def _own(reviews: Path) -> int:
    with open_round(reviews, "01", "ann") as store:
        return len(store.events())
