"""The data dictionary: the one table of the inventory's columns, which the stages are held to and which is published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

    from rts_pipeline.config import Covariate

Type = Literal["text", "integer", "number", "boolean", "geometry"]
DTYPES = {"text": "str", "integer": "int64", "number": "float64", "boolean": "boolean"}

MIN_COVERED = 0.9
"""Share of an outline that a DEM or a covariate must cover before it gets attributes of it."""
TPI_RADIUS_M = 300.0
"""Of the circle of the topographic position index: the smaller of the two in Weiss 2001 (Topographic Position and Landforms
Analysis, ESRI user conference)."""
MIN_CONCENTRATION = 1e-6
"""Mean resultant length up to which slopes have no common aspect: it is rounding."""
HORIZON_M = 20_000.0
"""How far ground is looked for that hides the sun."""
AREA_THRESHOLDS = {"area_m2_t45": 0.45, "area_m2_t65": 0.65, "area_m2_t80": 0.80}
"""Probabilities above which the area of a network's outline is told: how sure its edge is."""
OF_THE_OUTLINE = ("prob_median", "expected_area_m2", *AREA_THRESHOLDS)
"""What is told of one outline of a model, and of no union of several."""


@dataclass(frozen=True)
class Column:
    """A column of the inventory: what it holds, where that comes from, and when it is empty."""

    name: str
    type: Type
    unit: str
    description: str
    source: str
    missing: str = "never"


_NO_SCENE = "no pixel inside the outline was observed"
_NO_DEM = f"no DEM is configured, or it covers less than {MIN_COVERED:.0%} of the outline"
_FLAT = f"{_NO_DEM}, or all of it is flat"
_NO_ASPECT = f"{_FLAT}, or its slopes face all ways alike (aspect_concentration at most {MIN_CONCENTRATION:g})"
_SEED = "the slump is known from the seeds alone"
_NO_MODEL = "no outline of a model took part (seeds, slumps added by a reviewer)"
_NO_SINGLE = f"{_NO_MODEL}, or several were united, or the review is of a version that kept no such value"
_UNSAID = "the slump is of an earlier inventory that has none"
_FROM = "seeds, review, earlier inventory"
_CREATED = "point, region, creator_lab, season, pixel size"

INVENTORY: tuple[Column, ...] = (
    Column("rts_uid", "text", "", "Identifier of the landform (UUID 5, rule of the ARTS data standard)", _CREATED),
    Column("delineation_id", "text", "", "Identifier of the row: the outlines it was made of, joined by '+'", "seeds, review"),
    Column("rts_id", "integer", "", "Number within this inventory, 1 to n from north to south", "point"),
    Column("longitude", "number", "degree", "Longitude of a point inside the outline (WGS84, 5 decimals)", "outline"),
    Column("latitude", "number", "degree", "Latitude of a point inside the outline (WGS84, 5 decimals)", "outline"),
    Column("region", "text", "", "Name of the region", "configuration", "none is configured"),
    Column("cell_id", "text", "", "Cell of the project's grid that the point lies in", "outline"),
    Column("source", "text", "", "Where the slump was found first: 'seed', the round, as 'round 01', or 'earlier'", _FROM),
    Column("iteration", "integer", "", "Round in which the slump was found first; 0 for a seed and an earlier slump", _FROM),
    Column(
        "decision",
        "text",
        "",
        "Latest decision: seed, accept, edit (redrawn), missed (added by a reviewer) or earlier (carried along from an earlier"
        " inventory: most of its ground was not observed this time, or no outline shows it and nobody said that it is gone)",
        _FROM,
    ),
    Column(
        "possibility",
        "number",
        "1",
        "How sure it is a slump, 0 to 1: the highest that was given of any of the outlines that the row was made of, also of"
        " those whose place another took; where no reviewer gave one it is that of the decision, 1; a seed counts as 1",
        "review",
        _UNSAID,
    ),
    Column("possibility_class", "text", "", "Nearest of Yes 1, High 0.75, Medium 0.5, Low 0.25, No 0", "possibility", _UNSAID),
    Column("reviewers", "text", "", "Who decided, joined by ','", "review", _SEED),
    Column("n_reviews", "integer", "", "Number of verdicts; 0 for a seed", "review"),
    Column("agreement", "number", "1", "Lowest agreement between reviewers", "review", f"{_SEED}, or one reviewer decided"),
    Column("reviewed_at", "text", "UTC", "Time of the latest verdict, ISO 8601", "review", _SEED),
    Column("note", "text", "", "The reviewers' notes, joined by '; '", "review", "no note was written"),
    Column("base_sha256", "text", "", "Checksums of the outlines that the reviewers saw, joined by ','", "review", _NO_MODEL),
    Column("model_sha256", "text", "", "Checksums of the weights that drew them, joined by ','", "review", _NO_MODEL),
    Column("prob_mean", "number", "1", "Mean probability of the model, weighted by area over its outlines", "model", _NO_MODEL),
    Column("prob_max", "number", "1", "Highest probability of the model", "model", _NO_MODEL),
    Column(
        "prob_median",
        "number",
        "1",
        "Median probability of the model over the pixels of the model's outline, also where a reviewer redrew it",
        "model",
        _NO_SINGLE,
    ),
    Column(
        "expected_area_m2",
        "number",
        "m2",
        "Sum of probability x area of a pixel over the pixels of the model's outline",
        "model",
        _NO_SINGLE,
    ),
    *(
        Column(
            name,
            "number",
            "m2",
            f"Area of the pixels of the model's outline with a probability of {threshold:.2f} or more",
            "model",
            f"{_NO_SINGLE}, or it was outlined at a higher threshold",
        )
        for name, threshold in AREA_THRESHOLDS.items()
    ),
    Column(
        "parts",
        "text",
        "JSON",
        "The outlines that were united: id, source, decision, possibility, reviewers and time of each, and whether a later one"
        " took its place",
        "seeds, review",
        "the row is one outline",
    ),
)

_UNTOLD = "it wasn't measured (added by a reviewer in the last round)"
_FEW = f"{_UNTOLD}, or too few years show it whole"
_NO_OTHER = "it is related to no other slump"
_CHANGE = "review, evidence"
HISTORY: tuple[Column, ...] = (
    Column(
        "first_year",
        "integer",
        "year",
        "First year in which it is visible",
        _CHANGE,
        f"{_UNTOLD}, no year shows it, or not said",
    ),
    Column("first_year_source", "text", "", "Who says so: 'reviewer', else 'measured'", _CHANGE, "first_year is empty"),
    Column(
        "last_changed_year",
        "integer",
        "year",
        "Last year in which it took ground farther from what it had taken before than a pixel and 1.96 standard errors of the"
        " images' places, which two images before don't show as taken and the next one does, or appeared where an earlier year"
        " shows nothing",
        "evidence",
        f"{_UNTOLD}, or no year shows such a change (also one of the first two images)",
    ),
    Column(
        "active",
        "boolean",
        "",
        "Whether it is active: as a reviewer said, else true where growth_low_m2_yr is above 0 (false is never measured)",
        _CHANGE,
        "nobody said, and growth isn't sure",
    ),
    Column("active_source", "text", "", "Who says so: 'reviewer', else 'measured'", _CHANGE, "active is empty"),
    Column(
        "growth_m2_yr", "number", "m2/yr", "Growth of the area: median of the slopes of all pairs of years", "evidence", _FEW
    ),
    Column(
        "growth_low_m2_yr", "number", "m2/yr", "Lower end of its interval (at least 92 %)", "evidence", f"{_FEW}: below four"
    ),
    Column("growth_high_m2_yr", "number", "m2/yr", "Upper end of its interval", "evidence", f"{_FEW}: below four"),
    Column(
        "retreat_m_yr",
        "number",
        "m/yr",
        "Retreat of the headwall upslope",
        "evidence",
        f"{_FEW}, or no DEM tells what is upslope",
    ),
    Column(
        "retreat_error_m_yr",
        "number",
        "m/yr",
        "Half of its 95 % interval, from the images' places alone",
        "evidence",
        "as retreat_m_yr",
    ),
    Column(
        "area_by_year_m2",
        "text",
        "JSON",
        "Area (m2) in each year that shows it whole, by the network",
        "evidence",
        f"{_UNTOLD}, or no year shows it whole",
    ),
    Column("change_of", "text", "", "Outline that was measured: the largest of the row's", "evidence", _UNTOLD),
    Column(
        "relation",
        "text",
        "",
        "How it is related to other slumps, in the words of ARTS: merged, split, new, stabilized, unknown; joined by ','",
        "relations",
        _NO_OTHER,
    ),
    Column("related_uids", "text", "", "rts_uid of the other slump of each relation, joined by ','", "relations", _NO_OTHER),
)

MEASURED: tuple[Column, ...] = (
    Column("acquired_start", "text", "UTC", "Earliest acquisition of the pixels inside, ISO 8601", "mosaic", _NO_SCENE),
    Column("acquired_end", "text", "UTC", "Latest acquisition of the pixels inside, ISO 8601", "mosaic", _NO_SCENE),
    Column("scene_ids", "text", "", "PlanetScope items of the pixels inside, joined by ','", "mosaic", _NO_SCENE),
    Column("observed_frac", "number", "1", "Share of the outline's area that was observed", "mosaic"),
    Column("truncated", "boolean", "", "Whether it reaches to ground that wasn't observed, and may go on there", "mosaic"),
    Column("area_m2", "number", "m2", "Area on the WGS84 ellipsoid, holes left out", "outline"),
    Column("perimeter_m", "number", "m", "Length of all boundaries on the WGS84 ellipsoid", "outline"),
    Column("circularity", "number", "1", "4 pi area / perimeter^2: 1 for a circle, towards 0 for a long outline", "outline"),
    Column("length_m", "number", "m", "Longer side of the smallest rectangle around the outline", "outline"),
    Column("width_m", "number", "m", "Shorter side of the smallest rectangle around the outline", "outline"),
    Column("elevation_min_m", "number", "m", "Lowest elevation inside", "DEM", _NO_DEM),
    Column("elevation_mean_m", "number", "m", "Mean elevation, pixels weighted by their share inside", "DEM", _NO_DEM),
    Column("elevation_max_m", "number", "m", "Highest elevation inside", "DEM", _NO_DEM),
    Column("relief_m", "number", "m", "Highest less lowest elevation inside", "DEM", _NO_DEM),
    Column("slope_deg", "number", "degree", "Mean slope (Horn), pixels weighted by their share inside", "DEM", _NO_DEM),
    Column("aspect_deg", "number", "degree", "Circular mean of the downslope direction from true north", "DEM", _NO_ASPECT),
    Column("aspect_concentration", "number", "1", "Mean resultant length: 1 if all pixels face one way", "DEM", _FLAT),
    Column(
        "tpi",
        "number",
        "m",
        "Topographic position index (Weiss 2001), mean inside: elevation less the mean elevation within"
        f" {TPI_RADIUS_M:.0f} m; above 0 on ridges, below 0 in valleys",
        "DEM",
        f"{_NO_DEM}, or of the circle around it",
    ),
    Column(
        "solar_kwh_m2_yr",
        "number",
        "kWh m-2 yr-1",
        "Potential solar radiation on the ground of a year without clouds: direct (Kumar et al. 1997) and from the sky (Liu &"
        f" Jordan 1960), with what the ground within {HORIZON_M / 1000:.0f} km hides of sun and sky (Dozier & Frew 1990)",
        "DEM",
        _NO_DEM,
    ),
    Column("dem_date", "text", "", "Date of the DEM", "configuration", "none is configured, or the slump has no terrain"),
    Column(
        "terrain_missing",
        "text",
        "",
        "Why the terrain is empty: 'not covered' by the DEM, or its 'fill values' that it doesn't declare",
        "DEM",
        "there is terrain, or no DEM is configured",
    ),
    Column("dist_road_m", "number", "m", "Geodesic distance from the nearest road", "roads", "none is configured"),
    Column("dist_railway_m", "number", "m", "Geodesic distance from the nearest railway", "railway", "none is configured"),
    Column(
        "config_sha256",
        "text",
        "",
        "Checksum of the configuration's sections that the row depends on (area, time, grid, attributes, as sorted JSON)",
        "configuration",
    ),
    Column("rts_pipeline_version", "text", "", "Version of rts-pipeline that measured this", "software"),
)

GEOMETRY = Column("geometry", "geometry", "m", "Outline, Polygon or MultiPolygon in the project's CRS", "seeds, model, review")
WKT = Column("geometry_wkt", "geometry", "degree", "CSV file only: outline as well-known text, WGS84", "geometry")
TAKEN = ("fid", "geom", WKT.name)
"""Columns that files have of their own: GeoPackages and CSV."""


def columns(*, measured: bool, covariates: Sequence[Covariate] = ()) -> tuple[Column, ...]:
    """Return the columns of inventory (not `measured`) or of attributes and all that is published.

    Args:
        measured: whether attributes are measured already.
        covariates: what the configuration names.
    """
    named = [column for covariate in covariates for column in covariate_columns(covariate)]
    return (*INVENTORY, *HISTORY, *((*MEASURED, *named) if measured else ()), GEOMETRY)


def covariate_columns(covariate: Covariate) -> list[Column]:
    """Return the columns that a covariate becomes: one, or one for each of its classes."""
    name, file = covariate.name, Path(covariate.file).name
    what = covariate.description or name
    uncovered = f"it covers less than {MIN_COVERED:.0%} of the outline"
    if covariate.kind == "nearest":
        return [Column(f"dist_{name}_m", "number", "m", f"Geodesic distance from the nearest: {what}", file)]
    if covariate.kind == "mean":
        return [Column(name, "number", covariate.unit, f"Mean inside, weighted by area: {what}", file, uncovered)]
    return [
        Column(f"{name}_{label}", "number", "1", f"Share of the outline that is {label} ({value}): {what}", file, uncovered)
        for value, label in covariate.classes.items()
    ]


def conform(frame: gpd.GeoDataFrame, *, measured: bool, covariates: Sequence[Covariate] = ()) -> gpd.GeoDataFrame:
    """Return the frame with exactly the dictionary's columns, in its order and types.

    Raises:
        ValueError: the frame lacks a column or has one without an entry (a defect of the stage).
    """
    return typed(frame, columns(measured=measured, covariates=covariates))


def typed(frame: gpd.GeoDataFrame, wanted: Sequence[Column]) -> gpd.GeoDataFrame:
    """Return the frame with exactly the wanted columns, in their order and types.

    Raises:
        ValueError: the frame lacks a column or has one that isn't wanted (a defect of the stage).
    """
    names = [column.name for column in wanted]
    if set(frame.columns) != set(names):
        raise ValueError(f"columns differ from the data dictionary: {sorted(set(frame.columns) ^ set(names))}")
    dtypes = {column.name: _dtype(column) for column in wanted if column.type != "geometry"}
    return frame[names].astype(dtypes)


def _dtype(column: Column) -> str:
    return "Int64" if column.type == "integer" and column.missing != "never" else DTYPES[column.type]


def table(covariates: Sequence[Covariate] = ()) -> pd.DataFrame:
    """Return the published dictionary, a row a column."""
    import pandas as pd

    return pd.DataFrame([vars(column) for column in (*columns(measured=True, covariates=covariates), WKT)])


def markdown() -> str:
    """Return the dictionary as the table in docs/attributes.md."""
    rows = ["| column | unit | what | source | empty where |", "|---|---|---|---|---|"]
    for column in (*columns(measured=True), WKT):
        cells = (f"`{column.name}`", column.unit or "", column.description, column.source, column.missing)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
