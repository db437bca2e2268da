"""Stage evidence: pictures and numbers of every candidate in every year. The package says what is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from rts_pipeline import stages
from rts_pipeline.config import Inference
from rts_pipeline.evidence.cache import Cache
from rts_pipeline.evidence.change import summary
from rts_pipeline.evidence.chips import KNOWN, NEW, Chip, choose, draw, ground
from rts_pipeline.evidence.images import Images
from rts_pipeline.evidence.measure import Outlining, Zones, measure
from rts_pipeline.evidence.network import Look, Network
from rts_pipeline.evidence.tables import CHIP, YEAR, change_table, evidence_table
from rts_pipeline.evidence.terrain import Elevation, opened, pictures, uphill
from rts_pipeline.grid import GeoBox, Grid
from rts_pipeline.io import GDAL_OPTIONS, canonical_json, new_folder, read_geoparquet, write_parquet
from rts_pipeline.options import EvidenceOptions
from rts_pipeline.polygonize import chosen_values
from rts_pipeline.progress import track
from rts_pipeline.scenes.reader import Readers

if TYPE_CHECKING:
    import geopandas as gpd
    from shapely.geometry.base import BaseGeometry

BATCH = 16
"""Candidates (neighbours) worked on together, so that each raster is opened once for all of them."""


@dataclass
class Candidate:
    """A candidate, what it is to be made of, and what was made.

    Attributes:
        id: its name.
        outline: in the grid's CRS.
        chips: one a year, ascending.
        ground: the pixels that the pictures show.
        box: the pixels on which it is measured.
        terrain: pictures of the terrain by kind.
        terrain_reason: why there are none.
        uphill: direction in radians clockwise from grid north, or why it isn't known.
        numbers: of the years with an image, see `measure`.
    """

    id: str
    outline: BaseGeometry
    chips: list[Chip]
    ground: GeoBox
    box: GeoBox
    terrain: dict[str, bytes] = field(default_factory=dict)
    terrain_reason: str = ""
    uphill: float | str = ""
    numbers: dict[int, dict[str, Any]] = field(default_factory=dict)


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

    Raises:
        InputError: a table, an item, one of its rasters, the model or the DEM can't be read.
        UsageError: a GPU that isn't there.
    """
    import rasterio

    grid, frame = options.grid.grid(), read_geoparquet(candidates)
    rule = Outlining(**chosen_values(choice, options.polygonize), simplify_px=options.polygonize.simplify_px)
    with rasterio.Env(**GDAL_OPTIONS), opened(dem) as elevation, new_folder(out) as folder:
        images = Images.read(catalog, grid, options)
        source = Source(images, elevation, Network(model, options.predict, where), rule, options)
        everything = _candidates(frame, source, grid)
        order = frame.geometry.hilbert_distance().to_numpy().argsort(kind="stable") if len(frame) else []
        kept = Cache(cache)
        list(track(_work(folder, [everything[i] for i in order], source, kept), len(frame), "evidence", "candidates"))
        kept.prune()
        rows = [_rows(candidate, images) for candidate in everything]
        told = [summary(years, c.outline, c.uphill, grid.pixel_m) for years, c in zip(rows, everything, strict=True)]
        write_parquet(folder / "evidence.parquet", evidence_table([row for years in rows for row in years], grid.crs))
        write_parquet(folder / "change.parquet", change_table(told, frame))


def _candidates(frame: gpd.GeoDataFrame, source: Source, grid: Grid) -> list[Candidate]:
    """Return the candidates with the chips to make: one a year."""
    what, images = source.options.evidence, source.images
    boxes = [ground(tuple(bounds), grid, what.margin_m, what.min_size_px) for bounds in frame.bounds.to_numpy()]
    drawn = [
        {NEW: new, KNOWN: known} if status == "changed" else {}
        for status, new, known in zip(frame["status"], frame.geometry, frame["known"], strict=True)
    ]
    chips: list[list[Chip]] = [[] for _ in boxes]
    for year in sorted(what.years):
        seen = images.showing(year, boxes)
        for years, name, box, may_show, over in zip(chips, frame["candidate_id"], boxes, seen, drawn, strict=True):
            years.append(Chip(name, year, box, may_show, over))
    margin_m = max(what.margin_m, what.ring_m)
    measured = [_measured(tuple(bounds), grid, margin_m) for bounds in frame.bounds.to_numpy()]
    return [Candidate(*parts) for parts in zip(frame["candidate_id"], frame.geometry, chips, boxes, measured, strict=True)]


def _measured(bounds: tuple[float, float, float, float], grid: Grid, margin_m: float) -> GeoBox:
    """Return the pixels of the grid that hold `bounds` (metres) with a margin."""
    west, south, east, north = bounds
    left, top = int((west - margin_m) // grid.pixel_m), int((-north - margin_m) // grid.pixel_m)
    right, bottom = int(-((-east - margin_m) // grid.pixel_m)), int(-((south - margin_m) // grid.pixel_m))
    return GeoBox("measured", grid.crs, grid.pixel_m, left, top, right - left, bottom - top)


def _work(folder: Path, candidates: list[Candidate], source: Source, cache: Cache) -> Iterator[None]:
    """Make everything of the candidates and write their pictures, batch by batch; yields once a candidate."""
    for start in range(0, len(candidates), BATCH):
        batch = candidates[start : start + BATCH]
        _picture(batch, source, cache)
        _measure(batch, source, cache)
        for candidate in batch:
            _write(folder, candidate)
            yield


def _picture(batch: list[Candidate], source: Source, cache: Cache) -> None:
    """Draw the pictures of the candidates that the cache doesn't hold."""
    options = source.options
    made_from = {candidate.id: _pictures_from(candidate, source) for candidate in batch}
    new = [candidate for candidate in batch if not _restored(candidate, cache.get(made_from[candidate.id]))]
    choose([chip for candidate in new for chip in candidate.chips], options.time)
    draw([candidate.chips for candidate in new], options.time.target_year, options.evidence.scale)
    for candidate in new:
        gradient = source.elevation.gradient(candidate.ground)
        if isinstance(gradient, str):
            candidate.terrain_reason = gradient
        else:
            candidate.terrain = pictures(gradient, options.evidence.scale)
        cache.put(made_from[candidate.id], _kept(candidate))


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


def _kept(candidate: Candidate) -> dict[str, bytes]:
    """Return what of the pictures goes into the cache."""
    told = {
        "terrain_reason": candidate.terrain_reason,
        "years": [[c.item.id if c.item else None, None if np.isnan(c.fraction) else c.fraction] for c in candidate.chips],
    }
    shown = {f"{chip.year}_{kind}": picture for chip in candidate.chips for kind, picture in chip.pictures.items()}
    return {"told.json": canonical_json(told).encode(), **shown, **candidate.terrain}


def _restored(candidate: Candidate, files: dict[str, bytes] | None) -> bool:
    """Give a candidate what the cache held of its pictures; return whether it did."""
    if files is None:
        return False
    told = json.loads(files.pop("told.json"))
    candidate.terrain_reason = told["terrain_reason"]
    for chip, (shown, fraction) in zip(candidate.chips, told["years"], strict=True):
        chip.item = next((item for item in chip.items if item.id == shown), None)
        chip.fraction = np.nan if fraction is None else fraction
        prefix = f"{chip.year}_"
        chip.pictures = {name.removeprefix(prefix): files[name] for name in list(files) if name.startswith(prefix)}
    candidate.terrain = {name: picture for name, picture in files.items() if not name[0].isdigit()}
    return True


def _measure(batch: list[Candidate], source: Source, cache: Cache) -> None:
    """Measure the candidates whose numbers the cache doesn't hold, all years of all of them together."""
    made_from = {candidate.id: _numbers_from(candidate, source) for candidate in batch}
    looks: dict[tuple[str, int], Look] = {}
    new: list[tuple[Candidate, Zones]] = []
    for candidate in batch:
        kept = cache.get(made_from[candidate.id])
        if kept is not None:
            _numbers_back(candidate, kept)
            continue
        zones = _zones(candidate, source)
        new.append((candidate, zones))
        looks |= {(candidate.id, c.year): Look.at(c.item, zones.box) for c in candidate.chips if c.item}
    with Readers() as readers:
        source.network.look(list(looks.values()), readers)
    for candidate, zones in new:
        shown = [chip.year for chip in candidate.chips if chip.item]
        candidate.numbers = {year: measure(looks[candidate.id, year], zones, source.rule) for year in shown}
        cache.put(made_from[candidate.id], _numbers_kept(candidate))


def _zones(candidate: Candidate, source: Source) -> Zones:
    """Find the direction uphill, and with it the zones to measure."""
    gradient = source.elevation.gradient(candidate.box)
    zones = Zones.of(candidate.outline, candidate.box, None, source.options.evidence.ring_m)
    candidate.uphill = gradient if isinstance(gradient, str) else uphill(gradient, zones.inside)
    if isinstance(candidate.uphill, str):
        return zones
    return Zones.of(candidate.outline, candidate.box, candidate.uphill, source.options.evidence.ring_m)


def _numbers_from(candidate: Candidate, source: Source) -> dict[str, Any]:
    """Return all that the numbers depend on."""
    options = source.options
    return {
        "numbers": stages.code("evidence"),
        "options": {"ring_m": options.evidence.ring_m, "predict": options.predict.model_dump(mode="json")},
        "outline": candidate.outline.wkb_hex,
        "box": _place(candidate.box),
        "years": [[chip.year, source.images.stamps[chip.item.id]] for chip in candidate.chips if chip.item],
        "rule": vars(source.rule),
        "network": source.network.sha256,
        "dem": source.elevation.stamp,
    }


def _numbers_kept(candidate: Candidate) -> dict[str, bytes]:
    years = {str(year): {name: _plain(value) for name, value in numbers.items()} for year, numbers in candidate.numbers.items()}
    return {"numbers.json": canonical_json({"uphill": candidate.uphill, "years": years}).encode()}


def _plain(value: Any) -> Any:
    if isinstance(value, shapely.Geometry):
        return str(shapely.to_wkb(value, hex=True))
    return None if isinstance(value, float) and np.isnan(value) else value


def _numbers_back(candidate: Candidate, files: dict[str, bytes]) -> None:
    told = json.loads(files["numbers.json"])
    candidate.uphill = told["uphill"]
    for year, numbers in told["years"].items():
        outline = numbers["outline"]
        back = {name: np.nan if value is None and YEAR[name] == "float64" else value for name, value in numbers.items()
                if name != "outline"}  # fmt: skip
        candidate.numbers[int(year)] = {**back, "outline": shapely.from_wkb(outline) if outline else None}


def _write(folder: Path, candidate: Candidate) -> None:
    """Write the pictures; from here on a picture is its name."""
    shown = {_name(chip, kind): picture for chip in candidate.chips for kind, picture in chip.pictures.items()}
    shown |= {f"{candidate.id}_{kind}.webp": picture for kind, picture in candidate.terrain.items()}
    for name, picture in shown.items():
        (folder / name).write_bytes(picture)
    for chip in candidate.chips:
        chip.pictures = dict.fromkeys(chip.pictures, b"")
    candidate.terrain = dict.fromkeys(candidate.terrain, b"")


def _name(chip: Chip, kind: str) -> str:
    return f"{chip.candidate_id}_{chip.year}_{kind.removesuffix('_colour')}.webp"


def _rows(candidate: Candidate, images: Images) -> list[dict[str, Any]]:
    """Return the candidate's rows of `evidence.parquet`, without `headwall_m`."""
    rows = []
    for chip in candidate.chips:
        row: dict[str, Any] = {
            "candidate_id": candidate.id,
            "year": chip.year,
            "item_id": chip.item.id if chip.item else None,
            "acquired": chip.item.acquired if chip.item else None,
            **{kind: _name(chip, kind) if kind in chip.pictures else None for kind in CHIP},
            "usable_fraction": chip.fraction,
            "reason": chip.reason,
            **{k: f"{candidate.id}_{k}.webp" if k in candidate.terrain else None for k in ("hillshade", "slope")},
            "terrain_reason": candidate.terrain_reason,
            "misregistration_m": images.errors_m[chip.item.id] if chip.item else np.nan,
            "seen": None,
            "outline": None,
            "numbers_reason": chip.reason,
        }
        rows.append(row | candidate.numbers.get(chip.year, {}))
    return rows
