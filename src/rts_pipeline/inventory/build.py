"""Stage inventory: the seeds and everything accepted in all signed-off rounds, one row a slump."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from rts_pipeline.grid import Grid
from rts_pipeline.inventory.change import STATED, change_of, read_change
from rts_pipeline.inventory.decisions import Decisions
from rts_pipeline.inventory.dictionary import OF_THE_OUTLINE, conform
from rts_pipeline.inventory.earlier import known_before, match_earlier, read_earlier
from rts_pipeline.inventory.identity import arts_uid, distinct, possibility_class
from rts_pipeline.inventory.observed import acquisitions
from rts_pipeline.inventory.relations import ASKED, pairs_of, stated, table
from rts_pipeline.inventory.shape import only_polygons
from rts_pipeline.inventory.unite import United, unite_overlapping
from rts_pipeline.io.tables import read_geoparquet, write_csv, write_parquet
from rts_pipeline.io.vectors import read_outlines
from rts_pipeline.lineage import SEED, with_lineage
from rts_pipeline.options import InventoryOptions
from rts_pipeline.review.events import NOT_SEEN
from rts_pipeline.review.rounds import POSITIVE
from rts_pipeline.seeds import read_seeds

if TYPE_CHECKING:
    from numpy.typing import NDArray

PART_COLUMNS = (
    *("delineation_id", "source", "iteration", "decision", "possibility", "reviewers", "n_reviews", "agreement"),
    *("reviewed_at", "note", "base_sha256", "model_sha256", "prob_mean", "prob_max", *OF_THE_OUTLINE),
    *("known_ids", *STATED, "geometry"),
)
RELATIONS, RELATIONS_CSV = "relations.parquet", "relations.csv"
"""Files beside the inventory: how its slumps are related, the same for people to look through."""


@dataclass(frozen=True)
class Earlier:
    """An earlier inventory, and the area of interest outside of which nothing is said of its slumps."""

    inventory: Path
    area: Path
    sources: Sequence[Path]
    """Source maps of the mosaics, <cell>_source.tif: where they show no image, a slump can't be said to be gone."""


def build_inventory(
    seeds: Path | None,
    reviewed: Sequence[Path],
    out: Path,
    options: InventoryOptions,
    earlier: Earlier | None = None,
    decisions: Path | None = None,
) -> None:
    """Write the inventory (GeoParquet in the grid's CRS, columns INVENTORY and HISTORY of `dictionary`), north to south.

    Outlines that share area are the same slump and become one row, whose `parts` keep who decided what and when;
    outlines that only touch stay apart. An outline that was accepted where a known slump changed takes the place of the known
    one, which stays among the `parts`. The uid of a slump is that of its first outline, and stays, whatever later rounds make
    of it; a slump of an earlier inventory keeps the one that it has there, and its row too while nobody says that it is gone.
    How slumps are related is written beside the inventory, as `relations.parquet` and `relations.csv`.

    Args:
        seeds: vector file of the slumps known at the start, in any CRS; None: there are none.
        reviewed: the reviewed.parquet of all signed-off rounds; the tables of their evidence lie beside them.
        out: the file to write.
        options: place, season and grid.
        earlier: an earlier inventory; None: there is none.
        decisions: CSV file of what the lab decided of relations that were asked; None: nothing.

    Raises:
        InputError: a file is missing, damaged, or holds invalid outlines or decisions that can't be.
        RefusedError: a decision on outlines that aren't there any more.
    """
    grid, decided = options.grid.grid(), Decisions(decisions)
    frames = [_seeds(seeds, grid)] if seeds is not None else []
    rows = [with_lineage(read_geoparquet(path).to_crs(grid.crs)) for path in reviewed]
    parts = _concatenate(frames + [_accepted(frame) for frame in rows], grid)
    parts = parts.assign(own_uid=pd.Series(distinct(_uids(parts, options, grid), ()), dtype="str"))
    united = unite_overlapping(parts.drop(columns=list(STATED)), grid.pixel_m, decided)
    slumps = united.slumps.join(change_of(parts, united.slump, united.gone, read_change(reviewed, grid.pixel_m)))
    slumps, related, places, before = _named(slumps, united, earlier, rows, decided, grid)
    decided.refuse_stale()
    told = table(related, np.array(places, dtype=object), grid.crs)
    slumps = slumps.join(stated(slumps["rts_uid"], told, before))
    write_parquet(out, conform(_placed(slumps, options, grid), measured=False))
    write_parquet(out.with_name(RELATIONS), told)
    write_csv(out.with_name(RELATIONS_CSV), told)
    if waiting := int((told["status"] == ASKED).sum()):
        print(f"{waiting} of {len(told)} relations wait for a decision: {out.with_name(RELATIONS_CSV)}", file=sys.stderr)


def _seeds(path: Path, grid: Grid) -> gpd.GeoDataFrame:
    seeds = read_seeds(path, grid.crs)
    values: dict[str, Any] = {
        "delineation_id": seeds["seed_id"].to_numpy(),
        "source": SEED,
        "iteration": 0,
        "decision": "seed",
        "possibility": 1.0,
        "n_reviews": 0,
    }
    return gpd.GeoDataFrame(values, geometry=seeds.geometry.to_numpy(), crs=grid.crs).reindex(columns=PART_COLUMNS)


def _accepted(reviewed: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    rows = reviewed[reviewed["decision"].isin(POSITIVE)].reset_index(drop=True)
    number = rows["round"].astype(int)
    rows = rows.assign(iteration=number, source=[f"round {value:02d}" for value in number])
    # Reviews from before there were such columns lack some.
    return rows.rename(columns={"candidate_id": "delineation_id"}).reindex(columns=PART_COLUMNS)


def _rejected(reviewed: Sequence[gpd.GeoDataFrame], grid: Grid) -> gpd.GeoDataFrame:
    """Return the outlines that reviewers rejected because of what they saw there."""
    none = gpd.GeoDataFrame({"reject_reason": pd.Series([], dtype="str")}, geometry=[], crs=grid.crs)
    rows = [frame[(frame["decision"] == "reject") & ~frame["reject_reason"].isin(NOT_SEEN)] for frame in reviewed]
    return gpd.GeoDataFrame(pd.concat([none, *(frame[["reject_reason", "geometry"]] for frame in rows)], ignore_index=True))


def _concatenate(frames: Sequence[gpd.GeoDataFrame], grid: Grid) -> gpd.GeoDataFrame:
    """Stack the parts of all sources with one set of types, those of earlier rounds first, then larger ones.

    Every geometry is 2D, valid and polygonal. The order depends on the outlines alone, not on that of the files.
    """
    types = dict.fromkeys(set(PART_COLUMNS) - {"geometry"}, "str")
    types |= dict.fromkeys(("iteration", "n_reviews"), "int64") | {"first_year_visible": "Int64", "active": "boolean"}
    types |= dict.fromkeys(("possibility", "agreement", "prob_mean", "prob_max", *OF_THE_OUTLINE), "float64")
    empty = gpd.GeoDataFrame({name: [] for name in PART_COLUMNS}, geometry="geometry", crs=grid.crs)
    typed = [frame.astype(types) for frame in (frames or [empty])]
    parts = gpd.GeoDataFrame(pd.concat(typed, ignore_index=True), geometry="geometry", crs=grid.crs)
    parts = parts.set_geometry(only_polygons(parts.geometry.to_numpy()), crs=grid.crs)
    order = parts[["iteration"]].assign(size=-parts.area.round(2), shape="")
    alike = order.duplicated(keep=False)
    order.loc[alike, "shape"] = shapely.to_wkb(shapely.normalize(parts.geometry.to_numpy()[alike]), hex=True)
    return parts.loc[order.sort_values(["iteration", "size", "shape"], kind="stable").index].reset_index(drop=True)


def _uids(outlines: gpd.GeoDataFrame, options: InventoryOptions, grid: Grid) -> list[str]:
    """Return the ARTS UID of each outline, that of a point inside it."""
    area, (latitude, longitude) = options.area, _points(outlines)
    dates = ",".join(f"{options.time.target_year}-{day}" for day in options.time.season)
    places = zip(latitude, longitude, strict=True)
    return [arts_uid(*place, area.region, area.creator_lab, dates, grid.pixel_m) for place in places]


def _points(outlines: gpd.GeoDataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return latitude and longitude of a point inside each outline."""
    places = outlines.geometry.representative_point().to_crs("EPSG:4326")
    return places.y.round(5).to_numpy(float), places.x.round(5).to_numpy(float)


def _named(
    slumps: gpd.GeoDataFrame,
    united: United,
    earlier: Earlier | None,
    reviewed: Sequence[gpd.GeoDataFrame],
    decisions: Decisions,
    grid: Grid,
) -> tuple[gpd.GeoDataFrame, list[dict[str, Any]], list[Any], list[set[tuple[str, str]]]]:
    """Give the slumps of an earlier inventory their uids, and add those that are carried along.

    Returns the slumps, all relations, the ground of each, and what the earlier rows name already.
    """
    if earlier is None:
        return slumps, united.relations, united.places, []
    known = read_earlier(earlier.inventory, grid.crs)
    area = read_outlines(earlier.area, "area of interest (area.aoi)", crs=grid.crs).union_all()

    def observed(outlines: gpd.GeoSeries) -> NDArray[np.float64]:
        return acquisitions(outlines, earlier.sources, grid)["observed_frac"].to_numpy(float)

    matched = match_earlier(slumps, known, _rejected(reviewed, grid), area, grid.pixel_m, decisions, observed)
    theirs, keeps = known["rts_uid"].to_numpy(), matched.carried >= 0
    own = slumps["rts_uid"].to_numpy()
    final = own.copy()
    final[keeps] = theirs[matched.carried[keeps]]
    final[~keeps] = distinct(own[~keeps], theirs)
    new_name = dict(zip(own, final, strict=True))
    # What the earlier inventory holds is related by its own uid; the uid that it would have had here was never published.
    told_there = known_before(united.places, known)
    here = [
        ({**row, **{key: new_name.get(row[key], row[key]) for key in ("rts_uid", "related_uid")}}, place)
        for row, place, there in zip(united.relations, united.places, told_there, strict=True)
        if row["relation"] == "overlap" or row["status"] == ASKED or row.get("decision") or not there
    ]
    there = [
        {**row, "rts_uid": final[slump]} if slump >= 0 else row
        for row, slump in zip(matched.relations, matched.slump, strict=True)
    ]
    named = pairs_of(known)
    before = [named[position] if position >= 0 else set() for position in [*matched.carried, *matched.along_at]]
    return (
        gpd.GeoDataFrame(pd.concat([slumps.assign(rts_uid=final), matched.along], ignore_index=True)),
        [row for row, _ in here] + there,
        [place for _, place in here] + matched.places,
        before,
    )


def _placed(slumps: gpd.GeoDataFrame, options: InventoryOptions, grid: Grid) -> gpd.GeoDataFrame:
    """Add the point, the cell, the class and the number; order from north to south."""
    points = slumps.geometry.representative_point()
    latitude, longitude = _points(slumps)
    slumps = slumps.assign(
        longitude=longitude,
        latitude=latitude,
        cell_id=pd.Series([grid.cell_at(x, y) for x, y in zip(points.x, points.y, strict=True)], dtype="str"),
        region=options.area.region or None,
        possibility_class=possibility_class(slumps["possibility"].to_numpy()),
    )
    slumps = slumps.sort_values(["latitude", "longitude", "rts_uid"], ascending=[False, True, True], ignore_index=True)
    return slumps.assign(rts_id=np.arange(1, len(slumps) + 1))
