"""Covariates that the configuration names: means and shares of classes inside outlines, and distances."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import shapely
from exactextract import exact_extract
from exactextract.raster import RasterioRasterSource
from numpy.typing import NDArray

from rts_pipeline.antimeridian import cut
from rts_pipeline.config import Covariate
from rts_pipeline.errors import InputError
from rts_pipeline.inventory.dictionary import MIN_COVERED, covariate_columns
from rts_pipeline.inventory.setting import distance_to_features
from rts_pipeline.io.rasters import GDAL_OPTIONS
from rts_pipeline.io.vectors import read_vector
from rts_pipeline.lineage import united

ROUNDING = 1e-6
"""What the parts of an outline may add up to beyond all of it, by rounding alone."""


def measure(outlines: gpd.GeoSeries, covariate: Covariate) -> pd.DataFrame:
    """Return the columns of a covariate, a row an outline; nan where it covers less than MIN_COVERED of the outline.

    A file is read where the outlines lie, in its own CRS: of a raster each pixel is weighted by its share inside, polygons are
    intersected with the outlines.

    Args:
        outlines: polygons in a projected CRS in metres.
        covariate: what to measure.

    Raises:
        InputError: the file is missing or can't be used as it is.
    """
    names = [column.name for column in covariate_columns(covariate)]
    key, path = f"attributes.covariates.{covariate.name}", Path(covariate.file)
    if len(outlines) == 0:
        return pd.DataFrame(np.nan, index=outlines.index, columns=names)
    if covariate.kind == "nearest":
        return pd.DataFrame({names[0]: distance_to_features(outlines, path, key)}, index=outlines.index)
    parts = _of_raster(outlines, path, key) if covariate.field is None else _of_polygons(outlines, path, key, covariate.field)
    if pd.api.types.is_numeric_dtype(parts["value"]):
        parts = parts[np.isfinite(parts["value"])]  # no ratio is told where its divisor is 0
    covered = parts.groupby("outline")["share"].sum().reindex(range(len(outlines)), fill_value=0.0).to_numpy()
    missing = covered < MIN_COVERED
    values = _mean(parts, covered, path) if covariate.kind == "mean" else _shares(parts, covariate.classes, len(outlines), key)
    values[missing] = np.nan
    if missing.any():
        print(f"{key}: {path} does not cover {missing.sum()} of {len(outlines)} slumps; they get none", file=sys.stderr)
    if twice := int((covered > 1 + ROUNDING).sum()):
        told = f"in {twice} of {len(outlines)} slumps, and such ground counts for each of them"
        print(f"{key}: polygons of {path} that hold different values overlap {told}", file=sys.stderr)
    return pd.DataFrame(values, index=outlines.index, columns=names)


def _mean(parts: pd.DataFrame, covered: NDArray[np.float64], path: Path) -> NDArray[np.float64]:
    if not pd.api.types.is_numeric_dtype(parts["value"]):
        held = f"holds '{parts['value'].iloc[0]}'" if len(parts) else "holds no numbers"
        raise InputError(path, held, expected="numbers", do="use kind shares for classes")
    total = (parts["value"] * parts["share"]).groupby(parts["outline"]).sum().reindex(range(len(covered))).to_numpy(float)
    return np.divide(total, covered, out=np.full(len(covered), np.nan), where=covered > 0)[:, None]


def _shares(parts: pd.DataFrame, classes: Mapping[str, str], count: int, key: str) -> NDArray[np.float64]:
    text = parts["value"].map(_class)
    table = parts["share"].groupby([parts["outline"], text]).sum().unstack().fillna(0.0)
    unknown = sorted(set(table.columns) - set(classes))
    if unknown:
        print(f"{key}: the values {', '.join(unknown)} are in no class; add them to classes", file=sys.stderr)
    return table.reindex(index=range(count), columns=list(classes), fill_value=0.0).to_numpy(float, copy=True)


def _class(value: str | float) -> str:
    """Return a value as `classes` names it: whole numbers in full, others to six digits (rasters may hold float32)."""
    if isinstance(value, str):
        return value
    return str(int(value)) if float(value).is_integer() else f"{value:g}"


def _placed(outlines: gpd.GeoSeries, crs: Any) -> NDArray[np.object_]:
    """Return the outlines in a file's CRS; in degrees those that cross the antimeridian are cut there."""
    placed = outlines.to_crs(crs)
    return cut(placed.to_numpy()) if placed.crs.is_geographic else placed.to_numpy()


def _of_raster(outlines: gpd.GeoSeries, path: Path, key: str) -> pd.DataFrame:
    """Return which values each outline holds: outline (0..n-1), value, share of the outline's area."""
    if not path.exists():
        raise InputError(path, "no such file", expected=f"a raster ({key})", do="correct the path")
    try:
        with rasterio.Env(**GDAL_OPTIONS), rasterio.open(path) as dataset:
            step = dataset.transform
            if dataset.crs is None or step.b or step.d or not step.a > 0 > step.e:
                todo = "assign it (gdal_edit.py -a_srs), or turn the raster (gdalwarp)"
                raise InputError(path, "declares no CRS, or isn't north up", expected="a raster with a CRS, north up", do=todo)
            shapes = _placed(outlines, dataset.crs)
            features = gpd.GeoDataFrame({"outline": np.arange(len(shapes))}, geometry=shapes, crs=dataset.crs)
            found = exact_extract(
                RasterioRasterSource(dataset), features, ["unique", "frac", "count"], include_cols=["outline"], output="pandas"
            )
            pixels = shapely.area(shapes) / abs(dataset.transform.determinant)
    except rasterio.errors.RasterioError as error:
        raise InputError(path, f"can't be read ({error})", expected=f"a raster ({key})") from None
    parts = found.explode(["unique", "frac"]).dropna(subset=["unique"])
    outline = parts["outline"].to_numpy(dtype=int)
    share = parts["frac"].to_numpy(float) * parts["count"].to_numpy(float) / pixels[outline]
    return pd.DataFrame({"outline": outline, "value": parts["unique"].to_numpy(float), "share": share})


def _of_polygons(outlines: gpd.GeoSeries, path: Path, key: str, field: str) -> pd.DataFrame:
    """Return which values each outline holds: outline (0..n-1), value, share of the outline's area."""
    frame = read_vector(path, key)
    if field not in frame.columns:
        raise InputError(path, f"has no field '{field}'", expected=f"one of {', '.join(map(str, frame.columns[:-1]))}")
    frame = frame[frame[field].notna() & frame.geometry.notna()]
    if pd.api.types.is_datetime64_any_dtype(frame[field]):
        raise InputError(path, f"field '{field}' holds dates", expected="numbers or texts")
    shapes, polygons = _placed(outlines, frame.crs), shapely.make_valid(frame.geometry.to_numpy())
    outline, polygon = shapely.STRtree(polygons).query(shapes, predicate="intersects")
    pairs = pd.DataFrame({"outline": outline, "value": frame[field].to_numpy()[polygon]})
    held = pairs.drop_duplicates()
    owner = pairs.groupby(list(pairs), sort=False).ngroup().to_numpy()
    ground = united(shapely.intersection(shapes[outline], polygons[polygon]), owner, len(held))  # polygons may overlap
    return held.assign(share=shapely.area(ground) / shapely.area(shapes[held["outline"]]))
