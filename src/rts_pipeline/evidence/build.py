"""Stage evidence: pictures and numbers of every candidate in every year. The package says what is written."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from rts_pipeline import machine, stages
from rts_pipeline.config import Inference
from rts_pipeline.evidence.cache import Cache
from rts_pipeline.evidence.candidate import Candidate
from rts_pipeline.evidence.change import summary
from rts_pipeline.evidence.chips import KNOWN, NEW, Chip, choose, draw, ground
from rts_pipeline.evidence.images import Images
from rts_pipeline.evidence.measure import Outlining, Zones, measure
from rts_pipeline.evidence.network import Look, Network
from rts_pipeline.evidence.places import register
from rts_pipeline.evidence.tables import GROUP_ROWS, change_table, evidence_table
from rts_pipeline.evidence.terrain import Elevation, opened, pictures, uphill
from rts_pipeline.grid import GeoBox, Grid
from rts_pipeline.io.files import new_folder
from rts_pipeline.io.rasters import GDAL_OPTIONS
from rts_pipeline.io.tables import read_geoparquet, write_parquet
from rts_pipeline.labels import read_unmeasured
from rts_pipeline.options import EvidenceOptions
from rts_pipeline.polygonize import chosen_values
from rts_pipeline.progress import track
from rts_pipeline.sampling import WINDOW, read_sampled
from rts_pipeline.scenes.reader import Readers

if TYPE_CHECKING:
    import geopandas as gpd
    from shapely.geometry.base import BaseGeometry

BATCH = 16
"""Most candidates (neighbours) worked on together, so that each raster is opened once for all of them."""


@dataclass(frozen=True)
class Source:
    """What all candidates are made from."""

    images: Images
    elevation: Elevation
    network: Network
    rule: Outlining
    options: EvidenceOptions


def build_evidence(
    candidates: Path,
    catalog: Path,
    model: Path,
    choice: Path,
    dem: Path | None,
    cache: Path,
    out: Path,
    options: EvidenceOptions,
    where: Inference,
    labels: Path | None = None,
    audit: Path | None = None,
) -> None:
    """Write the folder `out`: pictures, `evidence.parquet` and `change.parquet`.

    Args:
        candidates: `candidates.parquet` of a round.
        catalog: `catalog.parquet` of the stage scenes.
        model: folder of the round's model.
        choice: `validation.json` of the round, for the thresholds and sizes that the options leave open.
        dem: elevation in metres, any raster with a CRS; None: none is configured.
        cache: folder where pictures and numbers are kept for the next run.
        out: folder, replaced as a whole when all of it is written.
        options: the stage's options.
        where: where the network is computed.
        labels: `labels.parquet` of the round, whose slumps that no round has measured are shown and measured too; None: none.
        audit: `audit.parquet` of the round, whose sampled windows get pictures too; None: the round isn't audited.

    Raises:
        InputError: a table, an item, one of its rasters, the model or the DEM can't be read.
        UsageError: a GPU that isn't there.
    """
    import rasterio

    grid, measured = options.grid.grid(), read_geoparquet(candidates)
    if labels is not None:
        measured = pd.concat([measured, read_unmeasured(labels)], ignore_index=True)
    frame = measured if audit is None else pd.concat([measured, read_sampled(audit)], ignore_index=True)
    shaping = {"simplify_px": options.polygonize.simplify_px, "neck_m": options.polygonize.neck_m}
    rule = Outlining(**chosen_values(choice, options.polygonize), **shaping)
    with rasterio.Env(**GDAL_OPTIONS), opened(dem) as elevation, new_folder(out) as folder:
        images = Images.read(catalog, grid, options)
        source = Source(images, elevation, Network(model, options.predict, where), rule, options)
        everything = _candidates(frame, source, grid)
        order = frame.geometry.hilbert_distance().to_numpy().argsort(kind="stable") if len(frame) else []
        kept = Cache(cache)
        work = _work(folder, [everything[i] for i in order], source, kept)
        list(track(work, len(frame), "evidence", "candidates", size=len))
        kept.prune()
        rows = [candidate.rows() for candidate in everything]
        parts = list(zip(rows, everything, strict=True))[: len(measured)]
        told = [summary(years, candidate.outline, candidate.uphill, grid.pixel_m) for years, candidate in parts]
        table = evidence_table([row for years in rows for row in years], grid.crs)
        write_parquet(folder / "evidence.parquet", table, GROUP_ROWS)
        write_parquet(folder / "change.parquet", change_table(told, measured))


def _candidates(frame: gpd.GeoDataFrame, source: Source, grid: Grid) -> list[Candidate]:
    """Return the candidates and windows with the chips to make: one a year."""
    what, images = source.options.evidence, source.images
    boxes = [ground(tuple(bounds), grid, what.margin_m, what.min_size_px) for bounds in frame.bounds.to_numpy()]
    drawn = [
        {NEW: new, KNOWN: known} if status == "changed" else _of_window(new, known) if status == WINDOW else {}
        for status, new, known in zip(frame["status"], frame.geometry, frame["known"], strict=True)
    ]
    chips: list[list[Chip]] = [[] for _ in boxes]
    for year in sorted(what.years):
        seen = images.showing(year, boxes)
        for years, name, box, may_show, over in zip(chips, frame["candidate_id"], boxes, seen, drawn, strict=True):
            years.append(Chip(name, year, box, may_show, over))
    margin_m = max(what.margin_m, what.ring_m)
    measured = [_measured(tuple(bounds), grid, margin_m) for bounds in frame.bounds.to_numpy()]
    windows = frame["status"] == WINDOW
    parts = zip(frame["candidate_id"], frame.geometry, chips, boxes, measured, windows, strict=True)
    return [Candidate(*part) for part in parts]


def _of_window(square: BaseGeometry, known: BaseGeometry | None) -> dict[str, BaseGeometry]:
    """Return what is drawn over a window: its square, and the slumps that are known in it."""
    return {NEW: square} if known is None else {NEW: square, KNOWN: known}


def _measured(bounds: tuple[float, float, float, float], grid: Grid, margin_m: float) -> GeoBox:
    """Return the pixels of the grid that hold `bounds` (metres) with a margin."""
    west, south, east, north = bounds
    left, top = int((west - margin_m) // grid.pixel_m), int((-north - margin_m) // grid.pixel_m)
    right, bottom = int(-((-east - margin_m) // grid.pixel_m)), int(-((south - margin_m) // grid.pixel_m))
    return GeoBox("measured", grid.crs, grid.pixel_m, left, top, right - left, bottom - top)


def _work(folder: Path, candidates: list[Candidate], source: Source, cache: Cache) -> Iterator[list[Candidate]]:
    """Make everything of the candidates and write their pictures, batch by batch, a thread a core; yields each batch."""
    import rasterio

    def work(batch: list[Candidate]) -> list[Candidate]:
        with rasterio.Env(**GDAL_OPTIONS):  # each thread has its own
            _picture(batch, source, cache)
            _measure([candidate for candidate in batch if not candidate.window], source, cache)
        for candidate in batch:
            candidate.write(folder)
        return batch

    threads = machine.threads()
    pool = ThreadPoolExecutor(threads)
    size = min(BATCH, max(1, ceil(len(candidates) / threads)))  # a round that asks about few keeps all cores busy
    try:
        yield from pool.map(work, [candidates[start : start + size] for start in range(0, len(candidates), size)])
    finally:
        pool.shutdown(cancel_futures=True)


def _picture(batch: list[Candidate], source: Source, cache: Cache) -> None:
    """Draw the pictures of the candidates that the cache doesn't hold."""
    options = source.options
    made_from = {candidate.id: _pictures_from(candidate, source) for candidate in batch}
    new = []
    for candidate in batch:
        kept = cache.get(made_from[candidate.id])
        if kept is None:
            new.append(candidate)
        else:
            candidate.restore_pictures(kept)
    choose([chip for candidate in new for chip in candidate.chips], options.time)
    with Readers() as readers:
        for candidate in new:
            register(candidate.chips, options.time.target_year, readers)
    draw([candidate.chips for candidate in new], options.time.target_year, options.evidence.scale)
    for candidate in new:
        gradient = source.elevation.gradient(candidate.ground)
        if isinstance(gradient, str):
            candidate.terrain_reason = gradient
        else:
            candidate.terrain = pictures(gradient, options.evidence.scale)
        cache.put(made_from[candidate.id], candidate.kept_pictures())


def _pictures_from(candidate: Candidate, source: Source) -> dict[str, Any]:
    """Return all that the pictures depend on; the outline decides only on the ground."""
    options, chips = source.options, candidate.chips
    evidence = options.evidence.model_dump(mode="json", include={"scale"})
    return {
        "pictures": stages.code("evidence"),
        "options": {"evidence": evidence, "time": options.time.model_dump(mode="json")},
        "ground": _place(candidate.ground),
        "years": [[chip.year, [source.images.stamps[item.id] for item in chip.items]] for chip in chips],
        "outlined": {colour: shape.wkb_hex for chip in chips[:1] for colour, shape in chip.outlines.items()},
        "dem": source.elevation.stamp,
    }


def _place(box: GeoBox) -> list[Any]:
    return [box.crs, box.pixel_m, box.column, box.row, box.width, box.height]


def _measure(batch: list[Candidate], source: Source, cache: Cache) -> None:
    """Measure the candidates whose numbers the cache doesn't hold, all years of all of them together."""
    made_from = {candidate.id: _numbers_from(candidate, source) for candidate in batch}
    looks: dict[tuple[str, int], Look] = {}
    new: list[tuple[Candidate, Zones]] = []
    for candidate in batch:
        kept = cache.get(made_from[candidate.id])
        if kept is not None:
            candidate.restore_numbers(kept)
            continue
        zones = _zones(candidate, source)
        new.append((candidate, zones))
        looks |= {(candidate.id, c.year): Look.at(c.item, zones.box) for c in candidate.chips if c.item}
    with Readers() as readers:
        source.network.look(list(looks.values()), readers)
    for candidate, zones in new:
        shown = [chip.year for chip in candidate.chips if chip.item]
        candidate.numbers = {year: measure(looks[candidate.id, year], zones, source.rule) for year in shown}
        cache.put(made_from[candidate.id], candidate.kept_numbers())


def _zones(candidate: Candidate, source: Source) -> Zones:
    """Find the direction uphill, and with it the zones to measure."""
    gradient = source.elevation.gradient(candidate.box)
    zones = Zones.of(candidate.outline, candidate.box)
    candidate.uphill = gradient if isinstance(gradient, str) else uphill(gradient, zones.inside)
    if isinstance(candidate.uphill, str):
        return zones
    return zones.with_ring(candidate.uphill, source.options.evidence.ring_m)


def _numbers_from(candidate: Candidate, source: Source) -> dict[str, Any]:
    """Return all that the numbers depend on."""
    options = source.options
    return {
        "numbers": stages.code("evidence"),
        "options": {"ring_m": options.evidence.ring_m, "predict": options.predict.model_dump(mode="json")},
        "outline": candidate.outline.wkb_hex,
        "box": _place(candidate.box),
        "years": [[c.year, source.images.stamps[c.item.id], list(c.item.shift_m)] for c in candidate.chips if c.item],
        "rule": vars(source.rule),
        "network": source.network.sha256,
        "dem": source.elevation.stamp,
    }
