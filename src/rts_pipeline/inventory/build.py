"""Stage inventory: the seeds and everything accepted in all signed-off rounds, one row a slump."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from rts_pipeline.grid import Grid
from rts_pipeline.inventory.dictionary import OF_THE_OUTLINE, conform
from rts_pipeline.inventory.identity import arts_uid, possibility_class
from rts_pipeline.inventory.shape import only_polygons
from rts_pipeline.inventory.unite import unite_overlapping
from rts_pipeline.io import canonical_json, read_geoparquet, read_outlines, write_parquet
from rts_pipeline.lineage import with_lineage
from rts_pipeline.options import InventoryOptions
from rts_pipeline.review.rounds import POSITIVE

PART_COLUMNS = (
    *("delineation_id", "source", "iteration", "decision", "possibility", "reviewers", "n_reviews", "agreement"),
    *("reviewed_at", "note", "base_sha256", "model_sha256", "prob_mean", "prob_max", *OF_THE_OUTLINE),
    *("known_ids", "geometry"),
)


def build_inventory(seeds: Path | None, reviewed: Sequence[Path], out: Path, options: InventoryOptions) -> None:
    """Write the inventory (GeoParquet in the grid's CRS, columns of `dictionary.INVENTORY`, ordered north to south).

    Outlines that share area are the same slump and become one row, whose `parts` keep who decided what and when;
    outlines that only touch stay apart. An outline that was accepted where a known slump changed takes the place of the known
    one, which stays among the `parts`.

    Args:
        seeds: vector file of the slumps known at the start, in any CRS; None: there are none.
        reviewed: the reviewed.parquet of all signed-off rounds.
        out: the file to write.
        options: place, season and grid.

    Raises:
        InputError: a file is missing, damaged, or holds invalid outlines.
    """
    grid = options.grid.grid()
    frames = [_seeds(seeds, grid)] if seeds is not None else []
    frames += [_accepted(path, grid) for path in reviewed]
    parts = _concatenate(frames, grid)
    slumps = unite_overlapping(parts, _merge)
    write_parquet(out, conform(_identify(slumps, options, grid), measured=False))


def _seeds(path: Path, grid: Grid) -> gpd.GeoDataFrame:
    outlines = read_outlines(path, "seed outlines", crs=grid.crs).geometry
    n = len(outlines)
    values: dict[str, Any] = {
        "delineation_id": [f"seed-{number:05d}" for number in range(1, n + 1)],
        "source": "seed",
        "iteration": 0,
        "decision": "seed",
        "possibility": 1.0,
        "n_reviews": 0,
    }
    return gpd.GeoDataFrame(values, geometry=outlines.to_numpy(), crs=grid.crs).reindex(columns=PART_COLUMNS)


def _accepted(path: Path, grid: Grid) -> gpd.GeoDataFrame:
    rows = with_lineage(read_geoparquet(path).to_crs(grid.crs))
    rows = rows[rows["decision"].isin(POSITIVE)].reset_index(drop=True)
    number = rows["round"].astype(int)
    rows = rows.assign(iteration=number, source=[f"round {value:02d}" for value in number])
    # reviews from before there were such columns
    rows = rows.assign(**{name: np.nan for name in OF_THE_OUTLINE if name not in rows})
    return rows.rename(columns={"candidate_id": "delineation_id"})[list(PART_COLUMNS)]


def _concatenate(frames: Sequence[gpd.GeoDataFrame], grid: Grid) -> gpd.GeoDataFrame:
    """Stack the parts of all sources with one set of types; every geometry 2D, valid and polygonal."""
    counts, numbers = ("iteration", "n_reviews"), ("possibility", "agreement", "prob_mean", "prob_max", *OF_THE_OUTLINE)
    types = dict.fromkeys(set(PART_COLUMNS) - {"geometry"}, "str")
    types |= dict.fromkeys(counts, "int64") | dict.fromkeys(numbers, "float64")
    empty = gpd.GeoDataFrame({name: [] for name in PART_COLUMNS}, geometry="geometry", crs=grid.crs)
    typed = [frame.astype(types) for frame in (frames or [empty])]
    parts = gpd.GeoDataFrame(pd.concat(typed, ignore_index=True), geometry="geometry", crs=grid.crs)
    return parts.set_geometry(only_polygons(parts.geometry.to_numpy()), crs=grid.crs)


def _merge(group: pd.DataFrame) -> dict[str, Any]:
    """Return the values of the row that several outlines of one slump become."""
    ordered = group.sort_values(["iteration", "reviewed_at", "delineation_id"], na_position="first")
    first, last = ordered.iloc[0], ordered.iloc[-1]
    present = ordered[~ordered["replaced"]]
    with_model = present[present["prob_mean"].notna()]
    weights = shapely.area(with_model["geometry"].to_numpy())
    kept = ["delineation_id", "source", "decision", "possibility", "reviewers", "reviewed_at", "replaced"]
    parts = ordered[kept].astype(object).where(ordered[kept].notna(), None).to_dict("records")
    return {
        "delineation_id": "+".join(ordered["delineation_id"]),
        "source": first["source"],
        "iteration": first["iteration"],
        "decision": last["decision"],
        "possibility": ordered["possibility"].max(),
        "reviewers": _joined(ordered["reviewers"].str.split(",").explode(), ","),
        "n_reviews": ordered["n_reviews"].sum(),
        "agreement": ordered["agreement"].min(),
        "reviewed_at": ordered["reviewed_at"].dropna().max() if ordered["reviewed_at"].notna().any() else None,
        "note": _joined(ordered["note"], "; "),
        "base_sha256": _joined(ordered["base_sha256"], ","),
        "model_sha256": _joined(ordered["model_sha256"], ","),
        "prob_mean": np.average(with_model["prob_mean"], weights=weights) if len(with_model) else np.nan,
        "prob_max": present["prob_max"].max(),
        **{name: with_model[name].iloc[0] if len(with_model) == 1 else np.nan for name in OF_THE_OUTLINE},
        "parts": canonical_json(parts),
    }


def _joined(values: pd.Series, separator: str) -> str | None:
    """Join the distinct texts that aren't empty, in order."""
    texts = dict.fromkeys(text.strip() for text in values.dropna() if text.strip())
    return separator.join(texts) or None


def _identify(slumps: gpd.GeoDataFrame, options: InventoryOptions, grid: Grid) -> gpd.GeoDataFrame:
    """Add the point, the cell, the class and the names; order from north to south."""
    points = slumps.geometry.representative_point()
    places = points.to_crs("EPSG:4326")
    slumps = slumps.assign(
        longitude=places.x.round(5).astype(float),
        latitude=places.y.round(5).astype(float),
        cell_id=pd.Series([grid.cell_at(x, y) for x, y in zip(points.x, points.y, strict=True)], dtype="str"),
        region=options.area.region or None,
        possibility_class=possibility_class(slumps["possibility"].to_numpy()),
    )
    slumps = slumps.sort_values(["latitude", "longitude"], ascending=[False, True], ignore_index=True)
    year = options.time.target_year
    dates = ",".join(f"{year}-{day}" for day in options.time.season)
    uids = [
        arts_uid(row.latitude, row.longitude, options.area.region, options.area.creator_lab, dates, grid.pixel_m)
        for row in slumps.itertuples()
    ]
    return slumps.assign(rts_uid=pd.Series(uids, dtype="str"), rts_id=np.arange(1, len(slumps) + 1))
