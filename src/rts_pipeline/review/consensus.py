"""Consensus of several people who each drew slumps freely: which slumps, how possible, where their outline lies and how surely."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import shapely

from rts_pipeline.errors import UsageError
from rts_pipeline.inventory.identity import POSSIBILITY, possibility_class
from rts_pipeline.inventory.shape import geodesic_area_perimeter, only_polygons
from rts_pipeline.io import write_gpkg, write_json, write_text
from rts_pipeline.metrics.drawn import pairwise
from rts_pipeline.metrics.raters import coefficients
from rts_pipeline.review.consensus_figure import draw
from rts_pipeline.review.consensus_table import markdown
from rts_pipeline.review.drawings import Drawings, read_drawings
from rts_pipeline.review.majority import QUANTILES, Agreed, agree, covered_by, offsets_m, weighted_quantiles
from rts_pipeline.review.matching import linked_groups, match_people

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_AREA_M2 = 100.0
"""Smaller outlines are slips of the hand: ten metres by ten are three pixels of PlanetScope by three."""
SEEN = 0.5
"""Share of a slump that a person must have looked at, not to have drawn it being a statement."""
OFFSETS = ("offset_p2_5_m", "offset_p16_m", "offset_median_m", "offset_p84_m", "offset_p97_5_m")
NOTES = (
    "The units of `presence` are slumps that at least one person drew: places where nobody saw one aren't counted, so "
    "kappa and alpha are lower, and percent agreement and AC1 too, than over a sample of places.",
    "kappa and alpha fall where nearly all ratings are alike, whatever the people do; read them beside percent agreement and AC1.",
    "A consensus outline runs along the outlines that it is made of: with few people the offsets are too small.",
)


@dataclass(frozen=True)
class Consensus:
    """What came of it.

    Attributes:
        slumps: one row a slump, as in layer "consensus".
        drawn: one row a slump and person, as in layer "drawn".
        band: one row a slump that two or more drew, as in layer "band".
        statistics: what the JSON file holds.
    """

    slumps: gpd.GeoDataFrame
    drawn: gpd.GeoDataFrame
    band: gpd.GeoDataFrame
    statistics: dict[str, Any]


def consensus(
    files: Sequence[Path], out: Path, *, column: str | None = None, looked: Path | None = None, min_area_m2: float = MIN_AREA_M2
) -> Consensus:
    """Derive the slumps that several people drew, and how they agree; equal files give equal bytes in any order.

    Args:
        files: vector files of one person each, or of several with a `column` that names them.
        out: GeoPackage with the layers consensus, drawn and band, in the CRS that all files share, else in a local equal-area
            one. Beside it, with the same name: .json (statistics), .md (table), .png (picture).
        column: column that names each outline's author; default: the file's name does.
        looked: polygons of where people looked, with a column of who did or without: all. Default: all looked everywhere.
        min_area_m2: outlines below this, and parts of a consensus, are left out.

    Raises:
        InputError: a file can't be used, a person comes twice, or an author isn't named.
        UsageError: fewer than two people, nothing left, or `out` would replace what was given.
    """
    products = {suffix: out.with_suffix(suffix) for suffix in (".gpkg", ".json", ".md", ".png")}
    if out.suffix != ".gpkg":
        raise UsageError("--out", f"'{out}' is no GeoPackage", expected="a name that ends in .gpkg")
    given = {path.resolve() for path in (*files, *([looked] if looked else []))}
    for product in products.values():
        if product.resolve() in given:
            raise UsageError("--out", f"{product} is one of the files given", do="choose another name")
    drawings = read_drawings(files, column=column, looked=looked, min_area_m2=min_area_m2)
    found = derive(drawings, min_area_m2)
    layers = {"consensus": found.slumps, "drawn": found.drawn, "band": found.band}
    with _dateless():
        write_gpkg(products[".gpkg"], {name: _written(frame, drawings.written_crs) for name, frame in layers.items()})
    write_json(products[".json"], found.statistics)
    write_text(products[".md"], markdown(found.slumps, found.statistics))
    draw(products[".png"], found.slumps, found.drawn, found.band, drawings.reviewers)
    return found


def derive(drawings: Drawings, min_area_m2: float) -> Consensus:
    """Return the consensus of drawings, in their equal-area CRS."""
    agreed = agree(match_people(drawings.outlines, drawings.person), min_area_m2)
    group = linked_groups(drawings.outlines)
    slumps, drawn, band, ratings = _frames(drawings, agreed)
    members = [agreed.pieces.members[np.searchsorted(agreed.pieces.slump, place)][0] for place in slumps["place"]]
    presence = np.column_stack([(ratings == value).sum(axis=1) for value in (0, 1)])
    statistics = {
        "reviewers": [_reviewer(drawings, number, slumps, drawn, ratings) for number in range(len(drawings.reviewers))],
        "n_slumps": len(slumps),
        "n_groups": int(group.max()) + 1,
        "drawn_by": {str(n): int((slumps["n_drew"] == n).sum()) for n in range(1, len(drawings.reviewers) + 1)},
        "presence": coefficients(presence, group[members]),
        "ground": _ground(drawings, group),
        "outlines": pairwise(drawings.outlines, drawings.person, group, drawings.reviewers, drawings.looked),
        "left_out": drawings.left_out,
        "min_area_m2": min_area_m2,
        "computed_in": drawings.crs.to_string(),
        "notes": list(NOTES),
    }
    return Consensus(slumps.drop(columns="place"), drawn, band, statistics)


def _frames(
    drawings: Drawings, agreed: Agreed
) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame, gpd.GeoDataFrame, NDArray[np.float64]]:
    """Return the three layers, slumps from north to south, and who drew which: slumps x people, 1, 0 or NaN (didn't look)."""
    names = np.array(drawings.reviewers)
    drawn, offsets = _drawn(drawings, agreed)
    areas = drawn.groupby("place")["area_m2"]
    ratings = _ratings(drawings, agreed)
    n_drew, n_looked = (ratings == 1).sum(axis=1), (~np.isnan(ratings)).sum(axis=1)
    share = n_drew / n_looked
    level = possibility_class(share)
    outline, inner, outer = (gpd.GeoSeries(shapes, crs=drawings.crs) for shapes in (agreed.outline, agreed.inner, agreed.outer))
    slumps = gpd.GeoDataFrame(
        {
            "place": range(len(outline)),
            "n_drew": n_drew,
            "n_looked": n_looked,
            "share": share,
            "possibility": [POSSIBILITY[name] for name in level],
            "possibility_class": level,
            "reviewers": [", ".join(names[row == 1]) for row in ratings],
            "n_agree": agreed.n_agree,
            "area_m2": geodesic_area_perimeter(outline)[0],
            "area_min_m2": areas.min(),
            "area_median_m2": areas.median(),
            "area_max_m2": areas.max(),
            "area_cv": areas.std() / areas.mean(),
            "inner_m2": geodesic_area_perimeter(inner)[0],
            "outer_m2": geodesic_area_perimeter(outer)[0],
            **offsets,
        },
        geometry=outline,
    )
    latitude = outline.representative_point().to_crs("EPSG:4326").y
    order = np.lexsort((np.arange(len(slumps)), -latitude))
    number = order.argsort() + 1
    slumps = slumps.iloc[order].reset_index(drop=True)
    slumps.insert(0, "slump_id", slumps.index + 1)
    drawn.insert(0, "slump_id", number[drawn["place"]])
    drawn = drawn.drop(columns="place").sort_values(["slump_id", "reviewer"], ignore_index=True)
    several = slumps.loc[slumps["n_drew"] > 1, ["slump_id", "n_drew", "inner_m2", "outer_m2", *OFFSETS]]
    between = only_polygons(shapely.difference(agreed.outer, agreed.inner))[order][several.index]
    band = gpd.GeoDataFrame(several.reset_index(drop=True), geometry=between, crs=drawings.crs)
    return slumps, drawn, band[~band.geometry.is_empty].reset_index(drop=True), ratings[order]


def _drawn(drawings: Drawings, agreed: Agreed) -> tuple[gpd.GeoDataFrame, dict[str, NDArray[np.float64]]]:
    """Return what each person drew of each slump, and the offsets of each slump's outlines, all people weighing the same."""
    pieces = agreed.pieces
    series = gpd.GeoSeries(pieces.geometry, crs=drawings.crs)
    target = agreed.outline[pieces.slump]
    common = shapely.area(shapely.intersection(pieces.geometry, target))
    offset, length, owner = offsets_m(pieces.geometry, target)
    weight = length / np.bincount(owner, length)[owner]
    alone = np.bincount(pieces.slump)[pieces.slump] == 1
    slump = pieces.slump[owner]
    quantiles = np.array([weighted_quantiles(offset[slump == place], weight[slump == place], QUANTILES) for place in range(len(agreed.outline))])
    quantiles[np.bincount(pieces.slump) == 1] = np.nan
    half = np.array([weighted_quantiles(np.abs(offset[slump == place]), weight[slump == place], [0.5])[0] for place in range(len(agreed.outline))])
    middle = np.array([weighted_quantiles(offset[owner == number], weight[owner == number], [0.5])[0] for number in range(len(series))])
    frame = gpd.GeoDataFrame(
        {
            "place": pieces.slump,
            "reviewer": np.array(drawings.reviewers)[pieces.person],
            "features": [", ".join(str(drawings.feature[i]) for i in sorted(outlines)) for outlines in pieces.members],
            "n_outlines": [len(outlines) for outlines in pieces.members],
            "covers_others": pieces.shared,
            "area_m2": geodesic_area_perimeter(series)[0],
            "iou": common / (shapely.area(pieces.geometry) + shapely.area(target) - common),
            "offset_median_m": np.where(alone, np.nan, middle),
        },
        geometry=series,
    )
    half[np.bincount(pieces.slump) == 1] = np.nan
    return frame, {**dict(zip(OFFSETS, quantiles.T, strict=True)), "distance_median_m": half}


def _ratings(drawings: Drawings, agreed: Agreed) -> NDArray[np.float64]:
    ratings = np.zeros((len(agreed.outline), len(drawings.reviewers)))
    if drawings.looked is not None:
        seen = shapely.area(shapely.intersection(agreed.outline[:, None], drawings.looked[None]))
        ratings[seen < SEEN * shapely.area(agreed.outline)[:, None]] = np.nan
    # To have drawn a slump is to have looked, whatever the areas say.
    ratings[agreed.pieces.slump, agreed.pieces.person] = 1
    return ratings


def _ground(drawings: Drawings, group: NDArray[np.integer]) -> dict[str, Any] | None:
    """Return how people agree on square metres, slump or not, where all of them looked; None where nobody said where that is."""
    if drawings.looked is None:
        return None
    common = shapely.intersection_all(drawings.looked)
    n = len(drawings.reviewers)
    rows, weights, blocks = [], [], []
    for block in range(int(group.max()) + 1):
        own = [drawings.outlines[(group == block) & (drawings.person == who)] for who in range(n)]
        drawn = [shapely.intersection(shapely.union_all(shapes), common) for shapes in own if len(shapes)]
        area = np.array([*(shapely.area(region) for region in covered_by(drawn)), 0.0])
        for level, exactly in enumerate(area[:-1] - area[1:], start=1):
            rows.append([n - level, level])
            weights.append(exactly)
            blocks.append(block)
    empty = shapely.area(common) - sum(weights)
    fixed = np.array([n, 0.0]), float(empty)
    return {
        "looked_at_by_all_m2": float(shapely.area(common)),
        **coefficients(np.array(rows), np.array(blocks), np.array(weights), fixed),
    }


def _reviewer(
    drawings: Drawings, number: int, slumps: gpd.GeoDataFrame, drawn: gpd.GeoDataFrame, ratings: NDArray[np.float64]
) -> dict[str, Any]:
    """Return what one person drew, beside the others."""
    name, mine = drawings.reviewers[number], ratings[:, number]
    own = drawn[drawn["reviewer"] == name]
    by_others = (slumps["share"] * slumps["n_looked"] - (mine == 1)) / (slumps["n_looked"] - 1).clip(lower=1)
    expected = (by_others > 0.5) & ~np.isnan(mine)
    middle = own["offset_median_m"].median()
    return {
        "reviewer": name,
        "n_outlines": int((drawings.person == number).sum()),
        "n_slumps": len(own),
        "n_alone": int((slumps["n_drew"].to_numpy() == 1)[mine == 1].sum()),
        "n_of_most_others": int(expected.sum()),
        "n_found_of_most_others": int((expected & (mine == 1)).sum()),
        "area_m2": float(own["area_m2"].sum()),
        "offset_median_m": None if np.isnan(middle) else float(middle),
    }


def _written(frame: gpd.GeoDataFrame, crs: Any) -> gpd.GeoDataFrame:
    """Return the frame in the CRS of the file; a change of CRS may make a valid outline touch itself."""
    frame = frame.to_crs(crs)
    return frame.set_geometry(gpd.GeoSeries(only_polygons(frame.geometry.to_numpy()), crs=crs))


@contextmanager
def _dateless() -> Iterator[None]:
    """Keep the time of writing out of GeoPackages, so that equal tables give equal bytes."""
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "1970-01-01T00:00:00.000Z"})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
