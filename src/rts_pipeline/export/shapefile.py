"""The inventory as a Shapefile, with all that its DBF table can't hold beside it, in one zip archive that GIS programs open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import geopandas as gpd
import pandas as pd

from rts_pipeline.inventory.dictionary import Column
from rts_pipeline.io.files import atomic, scratch_folder
from rts_pipeline.io.tables import write_csv

NAME_CHARACTERS, TEXT_BYTES = 10, 254
"""What a DBF table holds of a name and of a text."""
CUT = "…"
"""Ends a text that was cut."""
FIELDS, LONG_TEXTS = "fields.csv", "long_texts.csv"
PARTS = (".shp", ".shx", ".dbf", ".prj", ".cpg")
TOLD = ("name", "type", "unit", "description")
"""What FIELDS says of a field, beside its name in the DBF table."""
SHORT = {
    "delineation_id": "delin_id",
    "possibility": "possib",
    "possibility_class": "possib_cls",
    "prob_median": "prob_med",
    "expected_area_m2": "exp_area",
    "area_m2_t45": "area_t45",
    "area_m2_t65": "area_t65",
    "area_m2_t80": "area_t80",
    "base_sha256": "base_sha",
    "model_sha256": "model_sha",
    "acquired_start": "acq_start",
    "acquired_end": "acq_end",
    "reviewed_at": "review_at",
    "observed_frac": "obs_frac",
    "perimeter_m": "perim_m",
    "circularity": "circular",
    "elevation_min_m": "elev_min_m",
    "elevation_mean_m": "elev_avg_m",
    "elevation_max_m": "elev_max_m",
    "aspect_concentration": "aspect_con",
    "solar_kwh_m2_yr": "solar_kwh",
    "terrain_missing": "terr_miss",
    "first_year_source": "first_src",
    "last_changed_year": "chang_year",
    "config_sha256": "config_sha",
    "active_source": "active_src",
    "growth_m2_yr": "growth",
    "growth_low_m2_yr": "growth_lo",
    "growth_high_m2_yr": "growth_hi",
    "retreat_m_yr": "retreat",
    "retreat_error_m_yr": "retreat_er",
    "area_by_year_m2": "area_years",
    "related_uids": "rel_uids",
    "dist_road_m": "road_m",
    "dist_railway_m": "railway_m",
    "rts_pipeline_version": "rtspl_vers",
}
"""Names of the columns whose own is too long; that of a covariate is cut, and ends with a number where another one has it."""


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Return a name of at most ten characters for each name, all different, also in upper case."""
    chosen: dict[str, str] = {}
    for name in sorted(names, key=lambda name: name not in SHORT and len(name) > NAME_CHARACTERS):
        short, number = SHORT.get(name, name)[:NAME_CHARACTERS], 1
        while short.upper() in {taken.upper() for taken in chosen.values()}:
            number += 1
            short = f"{name[: NAME_CHARACTERS - 1 - len(str(number))]}_{number}"
        chosen[name] = short
    return {name: chosen[name] for name in names}


def field_map(columns: Sequence[Column]) -> pd.DataFrame:
    """Return the fields as rows: field (in the DBF table), name (everywhere else), type, unit, description."""
    wanted = [column for column in columns if column.type != "geometry"]
    short = short_names([column.name for column in wanted])
    return pd.DataFrame(
        [{"field": short[column.name], **{key: getattr(column, key) for key in TOLD}} for column in wanted],
        columns=["field", *TOLD],
    )


def write_shapefile(path: Path, frame: gpd.GeoDataFrame, columns: Sequence[Column], day: str) -> None:
    """Write the Shapefile, FIELDS (what each field's name stands for) and LONG_TEXTS (the texts that were cut) into an archive.

    Args:
        path: the archive, *.shp.zip.
        frame: outlines in the project's CRS, which the Shapefile keeps; `rts_id` tells the rows apart.
        columns: those of the frame.
        day: day of the DBF table's last change, YYYY-MM-DD.
    """
    short = short_names([column.name for column in columns if column.type != "geometry"])
    texts = long_texts(frame)
    # GDAL before 3.7 reads a logical field as text, with "?" for null
    logical = frame.columns[frame.dtypes == "boolean"]
    cut = frame.astype(dict.fromkeys(logical, "Int64"))
    for name, rows in texts.groupby("name"):
        cut.loc[cut["rts_id"].isin(rows["rts_id"]), name] = cut.loc[cut["rts_id"].isin(rows["rts_id"]), name].map(cut_text)
    stem = path.name.removesuffix(".shp.zip")
    with scratch_folder(path) as folder:
        options = {"encoding": "UTF-8", "layer_options": {"DBF_DATE_LAST_UPDATE": day}}
        kind = {} if len(cut) else {"geometry_type": "Polygon"}
        cut.rename(columns=short).to_file(folder / f"{stem}.shp", driver="ESRI Shapefile", engine="pyogrio", **options, **kind)
        write_csv(folder / FIELDS, field_map(columns))
        write_csv(folder / LONG_TEXTS, texts)
        with atomic(path) as temporary:
            _pack(temporary, [*(folder / f"{stem}{suffix}" for suffix in PARTS), folder / FIELDS, folder / LONG_TEXTS])


def long_texts(frame: gpd.GeoDataFrame) -> pd.DataFrame:
    """Return the texts that a DBF table has to cut, whole: rts_id, name of the column, text."""
    found = [pd.DataFrame({"rts_id": [], "name": [], "text": []}).astype({"rts_id": "int64", "name": "str", "text": "str"})]
    for name in frame.columns[frame.dtypes == "str"]:
        texts = frame[name].dropna()
        texts = texts[texts.str.encode("utf-8").str.len() > TEXT_BYTES]
        found.append(pd.DataFrame({"rts_id": frame.loc[texts.index, "rts_id"], "name": name, "text": texts}))
    return pd.concat(found, ignore_index=True)


def cut_text(text: str) -> str:
    """Return a text of at most TEXT_BYTES bytes of UTF-8; a longer one ends with CUT."""
    room = TEXT_BYTES - len(CUT.encode())
    whole = len(text.encode()) <= TEXT_BYTES
    return text if whole else text.encode()[:room].decode(errors="ignore").rstrip() + CUT


def _pack(archive: Path, files: Sequence[Path]) -> None:
    """Zip files without the time of day, so that equal content gives equal bytes."""
    with ZipFile(archive, "w", ZIP_DEFLATED) as zipped:
        for file in files:
            zipped.writestr(ZipInfo(file.name), file.read_bytes(), compress_type=ZIP_DEFLATED)
