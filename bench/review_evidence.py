"""The part "evidence" of bench/review.py: what a candidate of a round of the demo costs, and how right its numbers are.

Cost: CPU and wall seconds and bytes of a candidate in all years, with nothing kept, with one candidate missing in what is kept,
and with everything kept; of the round's candidates, and of the same outlines at other places until there are enough.
Truth: candidates with an IoU above 0.5 to one true slump of the simulator in the target year; growth and retreat of the true
outlines in the same images by the same formulas.
"""

from __future__ import annotations

import resource
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
from shapely.affinity import translate

from rts_pipeline.config import Config, Inference, load_config
from rts_pipeline.evidence.build import build_evidence
from rts_pipeline.evidence.change import decimal_years, growth, headwalls, retreat
from rts_pipeline.options import EvidenceOptions, options_json, parse_options
from rts_pipeline.workflow import resolve_grid

MIN_IOU = 0.5


def run(config: Config, here: Path, candidates: Path, folder: Path) -> dict[str, float]:
    """Run the stage into `folder`, with the cache beside it; return what it cost."""
    options = parse_options(EvidenceOptions, options_json(config, EvidenceOptions))
    dem = config.attributes.dem
    files = candidates, Path(config.results) / "scenes/catalog.parquet", here / "model", here / "validation/validation.json"
    cpu, wall = time.process_time(), time.perf_counter()
    build_evidence(*files, Path(dem) if dem else None, folder / "cache", folder / "out", options, Inference(device="cpu"))
    return {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}


def spread(frame: gpd.GeoDataFrame, area: gpd.GeoDataFrame, n: int) -> gpd.GeoDataFrame:
    """Return the candidates and, of the same outlines, so many more at random places of the area that there are n."""
    rng, (west, south, east, north) = np.random.default_rng(1), area.total_bounds
    more = frame.iloc[rng.integers(0, len(frame), max(n - len(frame), 0))].reset_index(drop=True)
    at, middle = np.column_stack([rng.uniform(west, east, len(more)), rng.uniform(south, north, len(more))]), more.centroid
    moves = at - np.column_stack([middle.x, middle.y])
    moved = [translate(outline, *move) for outline, move in zip(more.geometry, moves, strict=True)]
    names = pd.Series([f"s01-{number:04d}" for number in range(1, len(more) + 1)], dtype="str")
    others = more.assign(candidate_id=names, status="candidate", known=gpd.GeoSeries([None] * len(more), crs=frame.crs))
    return gpd.GeoDataFrame(pd.concat([frame, others.set_geometry(moved, crs=frame.crs)], ignore_index=True))


def costs(config: Config, here: Path, folder: Path, n: int) -> dict[str, Any]:
    """Return the cost of a first run of n candidates, of one with one more candidate, and of one that repeats the last."""
    every, most = folder / "every.parquet", folder / "most.parquet"
    area = gpd.read_file(config.area.aoi)
    frame = spread(gpd.read_parquet(here / "candidates.parquet"), area, n)
    frame.to_parquet(every)
    frame.iloc[:-1].to_parquet(most)
    told: dict[str, Any] = {"candidates": len(frame), "first": run(config, here, most, folder)}
    told |= {"one more": run(config, here, every, folder), "again": run(config, here, every, folder)}
    sizes = {name: sum(path.stat().st_size for path in (folder / name).rglob("*.*")) for name in ("out", "cache")}
    return told | {
        "kb": sizes["out"] / len(frame) / 1e3,
        "cache_kb": sizes["cache"] / len(frame) / 1e3,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def compared(config: Config, here: Path, out: Path) -> pd.DataFrame:
    """Return what was measured of the candidates that are a true slump, beside the same of the true outlines."""
    results, target = Path(config.results), config.time.target_year
    found = gpd.read_parquet(here / "candidates.parquet").set_index("candidate_id")
    rows, told = gpd.read_parquet(out / "evidence.parquet"), pd.read_parquet(out / "change.parquet").set_index("candidate_id")
    truth = gpd.read_file(results / "corridor/truth.gpkg").to_crs(found.crs)
    then = truth[truth["year"] == target]
    lines = []
    for name, outline in found.geometry.items():
        shared = then.intersection(outline).area / then.union(outline).area
        if shared.max() < MIN_IOU:
            continue
        slump = truth[truth["truth_id"] == then.loc[shared.idxmax(), "truth_id"]].set_index("year")
        seen = rows[(rows["candidate_id"] == name) & rows["area_m2"].gt(0)].set_index("year")
        years = [year for year in seen.index if year in slump.index]
        line = told.loc[name].to_dict() | {"first_true": int(slump.index.min()), "years": len(years)}
        if len(years) > 1:
            at, uphill = decimal_years(list(seen.loc[years, "acquired"])), np.radians(line["uphill_deg"])
            walls = headwalls(list(slump.geometry[years]), slump.geometry[target], uphill, config.grid.pixel_m)
            line["growth_true"] = growth(at, slump.loc[years, "area_m2"].to_numpy(float))[0]
            line["retreat_true"] = retreat(at, walls, seen.loc[years, "misregistration_m"].to_numpy(float))[0]
        lines.append(line)
    nothing = found.index[[not truth.intersects(outline).any() for outline in found.geometry]]
    lasting = told["monotone_growth"].eq(True) & told["two_years"].eq(True)
    frame = pd.DataFrame(lines)
    frame.attrs = {"false": len(nothing), "false_pass": float(lasting[nothing].mean())}
    return frame


def accuracy(frame: pd.DataFrame) -> dict[str, Any]:
    """Return how right the numbers are."""
    begun = frame["first_year_visible"] == frame["first_true"]
    grown, moved = frame[frame["growth_low_m2_yr"].notna()], frame[frame["retreat_m_yr"].notna()]
    growth_off, retreat_off = grown["growth_m2_yr"] - grown["growth_true"], moved["retreat_m_yr"] - moved["retreat_true"]
    inside = grown["growth_true"].between(grown["growth_low_m2_yr"], grown["growth_high_m2_yr"])
    return {
        "slumps": len(frame),
        "first_year_right": int(begun.sum()),
        "growth_median_true": float(grown["growth_true"].median()),
        "growth_off": {"median": float(growth_off.median()), "absolute": float(growth_off.abs().median())},
        "growth_in_interval": float(inside.mean()),
        "retreat_median_true": float(moved["retreat_true"].median()),
        "retreat_off": {"median": float(retreat_off.median()), "absolute": float(retreat_off.abs().median())},
        "retreat_in_interval": float((retreat_off.abs() <= moved["retreat_error_m_yr"]).mean()),
        "pass": float((frame["monotone_growth"].eq(True) & frame["two_years"].eq(True)).mean()),
        **frame.attrs,
    }


def measured(path: Path, round: str, n: int) -> dict[str, Any]:
    """Measure the evidence of a round of the demo that was run with this configuration, and what n candidates cost."""
    config = resolve_grid(load_config(path))
    here = Path(config.results) / "rounds" / round
    folder = Path(tempfile.mkdtemp(prefix="rts-evidence-"))
    try:
        told = {"cost": costs(config, here, folder, n), "accuracy": accuracy(compared(config, here, folder / "out"))}
    finally:
        shutil.rmtree(folder)
    for part in told.values():
        for name, value in part.items():
            print(f"{name:22} {value}")
    return told
