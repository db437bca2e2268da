"""Stage report: one HTML file that needs no network."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import pyproj
import rasterio

from rts_pipeline import __version__
from rts_pipeline.inventory.identity import POSSIBILITY
from rts_pipeline.io.files import new_folder, was_read, write_text
from rts_pipeline.io.json import read_json
from rts_pipeline.io.tables import read_geoparquet, read_parquet
from rts_pipeline.io.vectors import read_outlines
from rts_pipeline.options import ReportOptions
from rts_pipeline.page import template
from rts_pipeline.report import figures, landscape, tables, years
from rts_pipeline.report.agreement import agreements
from rts_pipeline.report.agreement import draw as draw_agreement
from rts_pipeline.report.completeness import draw as draw_completeness
from rts_pipeline.report.completeness import shares
from rts_pipeline.report.coverage import Coverage, by_year, coverage
from rts_pipeline.report.gallery import draw_gallery
from rts_pipeline.report.history import history, verdict
from rts_pipeline.report.interactive import map_data, script
from rts_pipeline.report.map import draw_map
from rts_pipeline.report.overview import draw_overviews
from rts_pipeline.report.quicklook import draw_pictures, read_looks
from rts_pipeline.review.agreement import TITLES
from rts_pipeline.review.pictures import Pictures
from rts_pipeline.review.rounds import CHOICE, round_folder
from rts_pipeline.validate.figures import draw as draw_validation

TERRAIN = {"elevation_mean_m": "Mean elevation (m)", "slope_deg": "Mean slope (degrees)"}


def build_report(
    attributes: Path,
    completeness: Path,
    results: Path,
    reviews: Path,
    catalog: Path,
    aoi: Path,
    dem: Path | None,
    out: Path,
    options: ReportOptions,
    rounds: Sequence[str],
) -> None:
    """Write the report, and its figures as files beside it (figures/), none of which shows the images' pixels.

    Args:
        attributes: what stage attributes wrote.
        completeness: what stage completeness wrote.
        results: folder of the results: mosaics and source maps in mosaic/, rasters and observed.parquet in coverage/.
        reviews: folder of the reviews.
        catalog: table of the items, with ledger.parquet in the same folder.
        aoi: vector file of the area of interest.
        dem: elevation raster in metres; None: the terrain of slumps isn't compared with that of the landscape.
        out: the HTML file.
        options: place, season, grid and title.
        rounds: names of the signed-off rounds that the inventory holds ("01", ...).

    Raises:
        InputError: a file is missing or damaged.
        RefusedError: the chain of sign-offs is broken.
    """
    grid = options.grid.grid()
    slumps = read_geoparquet(attributes)
    area = read_outlines(aoi, "area of interest (area.aoi)", crs=grid.crs).geometry
    year = options.time.target_year
    seen = coverage(results / "coverage", area, grid, year)
    observed = _read(results / "coverage" / "observed.parquet")
    imaged = {*observed.loc[(observed["year"] == year) & (observed["observed_pixels"] > 0), "cell"]}
    pictures = draw_pictures(read_looks(results, observed["cell"].unique().tolist(), imaged, grid), year)
    past = history(reviews, rounds)
    converged, sentence = verdict(past)
    estimates = read_json(completeness)
    seen_by_year = years.Years(Pictures(results, reviews, grid.crs), rounds)
    pictured, captions = _figures(slumps, area, seen, past, grid.crs)
    agreed = agreements(reviews, past["round"].tolist())
    pictured |= draw_agreement(agreed) | draw_completeness(estimates) | _judged(past, reviews) | _terrain(slumps, area, dem)
    if grown := years.growth(seen_by_year.areas(slumps)):
        pictured["growth_by_year"], captions["n_grown"] = grown
    code, checksum = script()
    page = template("rts_pipeline.report", "report.html").render(
        options=options,
        converged=converged,
        verdict=sentence,
        facts=_facts(slumps, area),
        seen=seen,
        years=by_year(seen, observed),
        overviews=draw_overviews(pictures, area, grid.crs),
        gallery=draw_gallery(pictures, observed, grid, year),
        classes={"days": pictures.days, "counts": pictures.counts},
        figures=pictured,
        captions=captions,
        map_data=map_data(slumps, area, seen, options.grid.pixel_m),
        script=code,
        script_sha256=checksum,
        strips={
            "The largest slumps": seen_by_year.strips(years.largest(slumps)),
            "The least certain slumps": seen_by_year.strips(years.least_certain(slumps)),
        },
        agreements=agreed,
        agreement_titles=TITLES,
        completeness=estimates,
        found_shares=shares(estimates),
        rounds=tables.records(past),
        versions=_versions(),
        crs=grid.rasterio_crs.to_string(),
        **_tables(slumps, catalog),
    )
    with new_folder(out.with_name("figures")) as folder:
        for name, drawn in pictured.items():
            for ending, data in figures.files(drawn).items():
                (folder / f"{name}.{ending}").write_bytes(data)
    write_text(out, page)


def _read(path: Path) -> pd.DataFrame:
    """Read a table of the results that no argument names."""
    was_read(path)
    return read_parquet(path)


def _tables(slumps: gpd.GeoDataFrame, catalog: Path) -> dict[str, Any]:
    items, more_items = tables.item_account(read_geoparquet(catalog))
    files, more_files = tables.file_account(_read(catalog.with_name("ledger.parquet")))
    return {
        "items": items,
        "more_items": more_items,
        "files": files,
        "more_files": more_files,
        "possibilities": tables.possibilities(slumps, list(POSSIBILITY)[::-1]),
    }


def _facts(slumps: gpd.GeoDataFrame, area: gpd.GeoSeries) -> dict[str, Any]:
    inside = slumps.geometry.intersects(area.union_all())
    return {
        **tables.counts(slumps),
        "outside": int((~inside).sum()),
        "config_sha256": ", ".join(sorted(set(slumps["config_sha256"]))),
    }


def _figures(
    slumps: gpd.GeoDataFrame, area: gpd.GeoSeries, seen: Coverage, past: pd.DataFrame, crs: str
) -> tuple[dict[str, figures.Drawn], dict[str, Any]]:
    """Return the figures of slumps and rounds by name, and numbers for their captions."""
    drawn, captions = {"map": draw_map(slumps, area, seen, crs)}, {}
    if len(past):
        drawn["growth"] = figures.growth_by_round(past["round"].tolist(), tables.found_by_round(slumps, past))
        drawn["decisions"] = figures.decisions_by_round(past)
        drawn["time_line"] = figures.time_line(past)
    if len(slumps):
        drawn["sizes"] = figures.sizes(slumps["area_m2"])
        drawn["clusters"], captions["kernel_m"] = landscape.clusters(slumps, area, crs)
    return drawn, captions


def _terrain(slumps: gpd.GeoDataFrame, area: gpd.GeoSeries, dem: Path | None) -> dict[str, figures.Drawn]:
    """Return the figures of the slumps' terrain beside that of the landscape."""
    if not slumps["elevation_mean_m"].notna().any() or dem is None:
        return {}
    squares = landscape.landscape(area, dem, float(slumps["area_m2"].median()) ** 0.5)
    drawn = {name: landscape.histogram(slumps[name], squares[name], label) for name, label in TERRAIN.items()}
    if slumps["aspect_deg"].notna().any():
        drawn["aspect"] = landscape.aspects(slumps["aspect_deg"], squares["aspect_deg"])
    return drawn


def _judged(past: pd.DataFrame, reviews: Path) -> dict[str, figures.Drawn]:
    """Return the figures of the last round's validation."""
    if not len(past):
        return {}
    said = read_json(round_folder(reviews, past["round"].iloc[-1]) / CHOICE)
    return {name: figures.data_uri(figure) for name, figure in draw_validation(said).items()}


def _versions() -> list[tuple[str, str]]:
    libraries = [(name, version(name)) for name in ("geopandas", "shapely", "numpy", "matplotlib")]
    return [
        ("rts-pipeline", __version__),
        ("Python", ".".join(map(str, sys.version_info[:3]))),
        ("GDAL", rasterio.__gdal_version__),
        ("PROJ", pyproj.proj_version_str),
        *libraries,
    ]
