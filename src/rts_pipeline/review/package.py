"""A round's review as a folder for QGIS on a machine without the project: verdicts to fill in, and the ground in each year.

    review.gpkg     what `export_gpkg` writes, to be filled in and imported
    review.qgz      the QGIS project: forms, colours, a theme for each year, a temporal range for each year
    <year>.vrt      what the evidence shows of the candidates in that year, over <year>/<cell>.tif (COG)
    mosaic.vrt      the target year's mosaic where the candidates' ground lies, over mosaic/<cell>.tif (COG)

All paths are relative, so the folder can be moved. It holds neither a number of the network nor another person's verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyogrio

from rts_pipeline.config import BANDS, Config
from rts_pipeline.errors import RefusedError
from rts_pipeline.grid import Grid
from rts_pipeline.io.files import new_folder
from rts_pipeline.progress import track
from rts_pipeline.review.events import Role, check_reviewer
from rts_pipeline.review.exchange import export_gpkg
from rts_pipeline.review.formats import CANDIDATES_LAYER, KNOWN_LAYER, MISSED_LAYER
from rts_pipeline.review.package_rasters import YEAR_BANDS, grounds_of, link_mosaic, write_years
from rts_pipeline.review.pictures import Pictures
from rts_pipeline.review.qgis_layers import candidate_parts, known_parts, missed_parts, raster_parts, window_parts
from rts_pipeline.review.qgis_project import Layer, write_project
from rts_pipeline.review.readings import queue_of
from rts_pipeline.review.rounds import read_candidates, round_folder
from rts_pipeline.review.tiles import Mosaic
from rts_pipeline.review.windows import window_ids
from rts_pipeline.sampling import WINDOW

VERDICTS, PROJECT = "review.gpkg", "review.qgz"
COLOUR_NAMES = {"true": "", "false": " false colour"}
FIRST_VIEW_M = 250.0
"""Ground around the first candidate that the project opens with."""


@dataclass(frozen=True)
class Packed:
    """What a package holds: candidates, windows, years with pictures, cells of the mosaic, and its size in bytes."""

    candidates: int
    windows: int
    years: tuple[int, ...]
    cells: int
    size: int


def write_package(settings: Config, round: str, reviewer: str, out: Path, *, role: Role = "primary") -> Packed:
    """Write the package of a reviewer.

    Args:
        settings: of the project, its grid's CRS known.
        round: name of the open round.
        reviewer: who judges.
        out: new folder.
        role: "primary", "second" or "adjudicator".

    Raises:
        RefusedError: the round isn't open, there is nothing to judge, or `out` is there: it may hold verdicts.
        InputError: a damaged record, candidate, picture or mosaic.
    """
    reviews, results, grid = Path(settings.reviews), Path(settings.results), settings.grid.grid()
    check_reviewer(reviewer)
    if out.exists():
        raise RefusedError(out, "is there already, and may hold verdicts", do="choose another folder, or remove it")
    queue = queue_of(reviews, round, reviewer, role=role)
    candidates = read_candidates(reviews, round).to_crs(grid.crs).set_index("candidate_id")
    if not queue:
        raise RefusedError(f"round {round}", f"holds nothing for {reviewer} to judge as {role}")
    shown = candidates.loc[queue]
    n_windows = len(window_ids(round_folder(reviews, round)).intersection(queue))
    pictures = Pictures(results, reviews, grid.crs)
    grounds = grounds_of(pictures, round, queue, grid)
    cells = grid.cells_touching([*(ground.box.polygon for ground in grounds), *shown.geometry])
    with new_folder(out) as folder:
        export_gpkg(reviews, round, reviewer, folder / VERDICTS, role=role, source="qgis")
        work = write_years(folder, pictures, round, grounds, grid)
        years = {year for done in track(work, len(cells), "package", "cells") for year in done}
        linked = link_mosaic(results / "mosaic", folder, cells, grid)
        mosaic = _mosaic_layers(folder, grid) if linked else []
        layers = [
            *_verdict_layers(folder, windows=n_windows > 0),
            *_year_layers(sorted(years), settings.time.target_year),
            *mosaic,
        ]
        west, south, east, north = shown.bounds.to_numpy()[0]
        view = (west - FIRST_VIEW_M, south - FIRST_VIEW_M, east + FIRST_VIEW_M, north + FIRST_VIEW_M)
        title = f"Round {round}: {reviewer} ({role})"
        write_project(folder / PROJECT, title, grid.crs, layers, _themes(layers), view)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Packed(len(queue) - n_windows, n_windows, tuple(sorted(years)), len(linked), size)


def _verdict_layers(folder: Path, *, windows: bool) -> list[Layer]:
    """Return the layers of the GeoPackage: the added slumps above the candidates above what is known.

    Windows of an audit are rows of the same table, but a layer of their own, whose form offers what can be said of a window.
    """
    columns = {
        name: list(pyogrio.read_info(folder / VERDICTS, layer=name)["fields"]) for name in (CANDIDATES_LAYER, MISSED_LAYER)
    }
    table = f"./{VERDICTS}|layername="
    candidates, missed = table + CANDIDATES_LAYER, table + MISSED_LAYER
    outlines = f"{candidates}|subset=\"status\" <> '{WINDOW}'" if windows else candidates
    polygons, still = {"geometry": "Polygon"}, {"geometry": "Polygon", "readOnly": "1"}
    layers = [
        Layer(
            "review_missed", "missed slumps (add)", missed, "vector", missed_parts(columns[MISSED_LAYER]), attributes=polygons
        ),
        Layer(
            "review_candidates",
            "candidates",
            outlines,
            "vector",
            candidate_parts(columns[CANDIDATES_LAYER]),
            attributes=polygons,
        ),
        Layer("review_known", "known outlines", table + KNOWN_LAYER, "vector", known_parts(), attributes=still),
    ]
    if windows:
        source = f"{candidates}|subset=\"status\" = '{WINDOW}'"
        parts = window_parts(columns[CANDIDATES_LAYER])
        layers.insert(2, Layer("review_windows", "windows (look through)", source, "vector", parts, attributes=polygons))
    return layers


def _year_layers(years: list[int], target_year: int) -> list[Layer]:
    """Return two layers for each year; the target year's, or else the last, is visible first."""
    first = min(years, key=lambda year: (abs(year - target_year), -year), default=None)
    return [
        Layer(
            f"year_{year}_{colour}_colour",
            f"{year}{COLOUR_NAMES[colour]}",
            f"./{year}.vrt",
            "raster",
            raster_parts(YEAR_BANDS, colour),
            visible=colour == "true" and year == first,
            year=year,
        )
        for colour in COLOUR_NAMES
        for year in years
    ]


def _mosaic_layers(folder: Path, grid: Grid) -> list[Layer]:
    limits = Mosaic(folder / "mosaic", grid).limits
    return [
        Layer(
            f"mosaic_{colour}_colour",
            f"mosaic{COLOUR_NAMES[colour]}",
            "./mosaic.vrt",
            "raster",
            raster_parts(BANDS, colour, limits),
            visible=False,
        )
        for colour in COLOUR_NAMES
    ]


def _themes(layers: list[Layer]) -> dict[str, list[str]]:
    """Return a theme for each raster, under the outlines and alone: years on top of each other would hide what changed.

    Two more show all years at once: with the temporal controller they are the time-lapse.
    """
    over = [layer.id for layer in layers if layer.kind == "vector"]
    themes = {layer.name: [*over, layer.id] for layer in layers if layer.kind == "raster"}
    for colour, name in COLOUR_NAMES.items():
        every = [layer.id for layer in layers if layer.year is not None and layer.id.endswith(f"_{colour}_colour")]
        if every:
            themes[f"time-lapse{name}"] = [*over, *every]
    return themes
