"""A round of candidates and a truth, small enough to be read."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from shapely import box
from shapely.affinity import translate

from rts_pipeline import io
from rts_pipeline.config import Review
from rts_pipeline.evidence.tables import CHANGE, YEAR
from rts_pipeline.grid import Grid
from rts_pipeline.review import rounds
from rts_pipeline.review.events import make_event
from rts_pipeline.review.start import KEPT, start
from rts_pipeline.review.store import append

CRS = "EPSG:32646"
GRID = Grid(CRS, 3.0, 128, 2)
ORIGIN = (500_000.0, 3_900_000.0)
AT = "2020-09-01T12:00:00Z"
MODEL = "a" * 64
STRICT = Review()
EDGE_PX = 64
EDGE_M = 3.0 * EDGE_PX


def place(outline, east_m=0.0, north_m=0.0):
    return translate(outline, ORIGIN[0] + east_m, ORIGIN[1] + north_m)


def square(number, size=100.0):
    """Candidate `number` of the default round: squares in a row, 300 m apart."""
    return place(box(0, 0, size, size), 300.0 * number)


def sha(outline):
    return io.sha256_json(shapely.to_wkb(outline, hex=True))


def frame(columns=8, rows=4, sampled=None, stratum="a", round="01"):
    """A frame of windows whose south-western corner lies near the case's origin."""
    left, top = 500_000 // int(EDGE_M), -(3_900_000 // int(EDGE_M)) - rows
    column, row = (values.ravel() for values in np.meshgrid(np.arange(columns) + left, np.arange(rows) + top))
    squares = [box(c * EDGE_M, -(r + 1) * EDGE_M, (c + 1) * EDGE_M, -r * EDGE_M) for c, r in zip(column, row, strict=True)]
    n = columns * rows
    drawn = np.isin(np.arange(n), list(range(n)) if sampled is None else sampled)
    names = [f"a{round}-{number:04d}" if hit else "" for number, hit in enumerate(drawn)]
    values = {"window_id": names, "column": column * EDGE_PX, "row": row * EDGE_PX, "size_px": EDGE_PX, "sampled": drawn}
    known = gpd.GeoSeries([None] * n, crs=CRS)
    return gpd.GeoDataFrame({**values, "stratum": stratum, "known": known}, geometry=squares, crs=CRS)


def middle(number, size_m=40.0):
    """A slump in the middle of a window."""
    return frame().geometry[number].centroid.buffer(size_m / 2, cap_style="square")


def write_candidates(results: Path, round="01", outlines=None, known=None, cut=0, scores=None):
    """Write the candidates of a round; `known` is what is known of those that changed, by their number; `cut` more wait."""
    outlines = [square(i) for i in range(4)] if outlines is None else outlines
    n = len(outlines)
    frame = gpd.GeoDataFrame(
        {
            "candidate_id": [f"r{round}-{i + 1:04d}" for i in range(n)],
            "round": [round] * n,
            "rank": list(range(1, n + 1)),
            "area_m2": [o.area for o in outlines],
            "status": ["changed" if i in (known or {}) else "candidate" for i in range(n)],
            "known_ids": ["seed-00001" if i in (known or {}) else "" for i in range(n)],
            "known": gpd.GeoSeries([(known or {}).get(i) for i in range(n)], crs=CRS),
            "prob_mean": scores or [0.7] * n,
            "prob_median": [0.72] * n,
            "prob_max": [0.9] * n,
            "cell_id": [f"e0000_n{i // 2:04d}" for i in range(n)],
            "longitude": [93.0] * n,
            "latitude": [35.0] * n,
            "base_sha256": [sha(o) for o in outlines],
            "model_sha256": [MODEL] * n,
        },
        geometry=gpd.GeoSeries(outlines, crs=CRS),
    )
    path = results / "rounds" / round / "candidates.parquet"
    for name in KEPT[:-1]:
        io.write_text(path.parent / name, f"{name} of round {round}")
    for name, columns in ((rounds.CHANGE, CHANGE), (rounds.YEARS, YEAR)):
        io.write_parquet(path.parent / name, pd.DataFrame(columns=list(columns)).astype(columns))
    io.write_json(path.parent / rounds.CHOICE, {"threshold": 0.4})
    io.write_json(path.with_name(rounds.SUMMARY), {"outlines": {"candidate": n, "changed": 0, "cut": cut}})
    io.write_parquet(path, frame)
    return path


class Case:
    """A folder of results and one of reviews, with a round that is open."""

    def __init__(self, folder: Path, outlines=None, known=None, scores=None, second=None, windows=None):
        self.results, self.reviews = folder / "results", folder / "reviews"
        write_candidates(self.results, outlines=outlines, known=known, scores=scores)
        if windows is not None:
            io.write_parquet(self.results / "rounds/01/audit.parquet", windows)
        start(self.reviews, self.results, "01", at=AT, second=second, audit=windows is not None)
        self.folder = self.reviews / "round_01"

    def event(self, number, decision="accept", reviewer="ann", **fields):
        outline = square(number)
        values = {
            "round": "01",
            "candidate_id": f"r01-{number + 1:04d}",
            "base_sha256": sha(outline),
            "reviewer": reviewer,
            "at": AT,
            "source": "web",
            "guideline_version": "1",
            "action": "decide",
            "decision": decision,
        }
        return make_event(**{**values, **fields})

    def decide(self, number, decision="accept", reviewer="ann", **fields):
        event = self.event(number, decision, reviewer, **fields)
        append(self.reviews, "01", reviewer, [event], role=event.role)
        return event

    def decide_all(self, decisions=("accept", "reject", "unsure", "accept"), reviewer="ann"):
        events = [self.event(i, decision, reviewer) for i, decision in enumerate(decisions)]
        return append(self.reviews, "01", reviewer, events)
