"""Consensus of several people who each drew slumps freely: which slumps, how possible, and where their outlines surely lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pyogrio
import shapely

from rts_pipeline.errors import UsageError
from rts_pipeline.inventory.shape import only_polygons
from rts_pipeline.io.files import write_text
from rts_pipeline.io.json import write_json
from rts_pipeline.io.vectors import write_gpkg
from rts_pipeline.lineage import united
from rts_pipeline.metrics.drawn import pairwise
from rts_pipeline.metrics.raters import coefficients
from rts_pipeline.review.consensus.drawings import GRID_M, Drawings, read_drawings
from rts_pipeline.review.consensus.figure import draw
from rts_pipeline.review.consensus.layers import Layers, make_layers
from rts_pipeline.review.consensus.majority import agree, covered_by
from rts_pipeline.review.consensus.matching import linked_groups, match_people
from rts_pipeline.review.consensus.table import markdown

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOTES = (
    "The units of `presence` are slumps that at least one person drew: places where nobody saw one aren't counted, so "
    "kappa and alpha are lower, and percent agreement and AC1 too, than over a sample of places.",
    "kappa and alpha fall where nearly all ratings are alike, whatever people do: read them beside percent agreement and AC1.",
    "A consensus outline runs along the outlines that it is made of: with few people the offsets are too small.",
)


@dataclass(frozen=True)
class Consensus:
    """What came of it.

    Attributes:
        layers: what the GeoPackage holds.
        statistics: what the JSON file holds.
    """

    layers: Layers
    statistics: dict[str, Any]


def consensus(
    files: Sequence[Path], out: Path, *, column: str | None = None, looked: Path | None = None, min_area_m2: float
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
    layers = {"consensus": found.layers.consensus, "drawn": found.layers.drawn, "band": found.layers.band}
    with _dateless():
        write_gpkg(products[".gpkg"], {name: _written(frame, drawings.written_crs) for name, frame in layers.items()})
    write_json(products[".json"], found.statistics)
    write_text(products[".md"], markdown(found.layers.consensus, found.statistics))
    draw(products[".png"], found.layers, drawings.reviewers)
    return found


def derive(drawings: Drawings, min_area_m2: float) -> Consensus:
    """Return the consensus of drawings, in their equal-area CRS."""
    layers = make_layers(drawings, agree(match_people(drawings.outlines, drawings.person), min_area_m2))
    group = linked_groups(drawings.outlines)
    n_drew = layers.consensus["n_drew"]
    presence = np.column_stack([(layers.ratings == value).sum(axis=1) for value in (0, 1)])
    statistics = {
        "reviewers": [_reviewer(drawings, number, layers) for number in range(len(drawings.reviewers))],
        "n_slumps": len(n_drew),
        "n_groups": int(group.max()) + 1,
        "drawn_by": {str(n): int((n_drew == n).sum()) for n in range(1, len(drawings.reviewers) + 1)},
        "presence": coefficients(presence, group[layers.first_outline]),
        "ground": _ground(drawings, group),
        "outlines": pairwise(drawings.outlines, drawings.person, group, drawings.reviewers, drawings.looked),
        "left_out": drawings.left_out,
        "min_area_m2": min_area_m2,
        "computed_in": drawings.crs.to_string(),
        "notes": list(NOTES),
    }
    return Consensus(layers, statistics)


def _ground(drawings: Drawings, group: NDArray[np.integer]) -> dict[str, Any] | None:
    """Return how people agree on square metres, slump or not, where all of them looked; None if nobody said where that is."""
    if drawings.looked is None:
        return None
    common, n, n_groups = shapely.intersection_all(drawings.looked), len(drawings.reviewers), int(group.max()) + 1
    own = united(drawings.outlines, group * n + drawings.person, n_groups * n)
    inside = only_polygons(shapely.intersection(own, common, grid_size=GRID_M)).reshape(n_groups, n)
    table, area_m2 = [], []
    for shapes in inside:
        levels = covered_by(shapes[~shapely.is_empty(shapes)])
        at_least = np.zeros(n + 1)
        at_least[: len(levels)] = shapely.area(np.array(levels, dtype=object))
        table += [[n - level, level] for level in range(1, n + 1)]
        area_m2.append(at_least[:-1] - at_least[1:])
    total = float(shapely.area(common))
    empty = np.array([n, 0.0]), total - float(np.sum(area_m2))
    figures = coefficients(np.array(table), np.repeat(np.arange(n_groups), n), np.concatenate(area_m2), empty)
    return {"looked_at_by_all_m2": total, **figures}


def _reviewer(drawings: Drawings, number: int, layers: Layers) -> dict[str, Any]:
    """Return what one person drew, beside the others."""
    name, mine, others = drawings.reviewers[number], layers.ratings[:, number], np.delete(layers.ratings, number, axis=1)
    own = layers.drawn[layers.drawn["reviewer"] == name]
    drew = mine == 1
    expected = ((others == 1).sum(axis=1) > (others == 0).sum(axis=1)) & ~np.isnan(mine)
    offset = own["offset_median_m"].median()
    return {
        "reviewer": name,
        "n_outlines": int((drawings.person == number).sum()),
        "n_slumps": len(own),
        "n_alone": int((drew & ~(others == 1).any(axis=1)).sum()),
        "n_of_most_others": int(expected.sum()),
        "n_found_of_most_others": int((expected & drew).sum()),
        "area_m2": float(own["area_m2"].sum()),
        "offset_median_m": None if np.isnan(offset) else float(offset),
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
