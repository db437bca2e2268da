"""Which images, of what times, an outline was observed in: read from the mosaics' source maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import pandas as pd
import rasterio
from exactextract import exact_extract
from exactextract.raster import RasterioRasterSource

from rts_pipeline.errors import InputError
from rts_pipeline.grid import Grid
from rts_pipeline.io.rasters import GDAL_OPTIONS
from rts_pipeline.progress import track
from rts_pipeline.source_map import cell_of, source_items

MIN_PX = 0.01
"""Smaller shares of a pixel are rounding at an outline that follows pixel edges."""
MIN_UNSEEN_PX = 0.1
"""An outline reaches to ground that wasn't observed when at least so much of a pixel around it wasn't."""


def acquisitions(outlines: gpd.GeoSeries, sources: Sequence[Path], grid: Grid) -> pd.DataFrame:
    """Return acquired_start, acquired_end, scene_ids, observed_frac and truncated, a row an outline.

    Truncated are outlines that reach to a pixel that wasn't observed: the slump may go on there.

    Args:
        outlines: polygons in the grid's CRS, index 0..n-1.
        sources: source maps of the mosaics' cells, <cell>_source.tif.
        grid: the project's grid.

    Raises:
        InputError: a source map is missing, damaged, or lacks its table of items.
    """
    by_cell = {cell_of(path): path for path in sources}
    wide = outlines.buffer(grid.pixel_m, join_style="mitre")
    pairs = pd.DataFrame(grid.cell_pairs(wide.to_numpy()), columns=["outline", "cell"])
    groups = [(by_cell[str(cell)], rows["outline"]) for cell, rows in pairs.groupby("cell") if cell in by_cell]
    seen, around_px = [], pd.Series(0.0, index=outlines.index)
    for path, rows in track(groups, len(groups), "source maps", "cells"):
        seen.append(_pixels(path, outlines.loc[rows]))
        around_px = around_px.add(_pixels(path, wide.loc[rows]).groupby("outline")["pixels"].sum(), fill_value=0.0)
    pixels = pd.concat([_no_pixels(), *seen], ignore_index=True)
    by_outline = pixels.groupby("outline")
    result = pd.DataFrame(index=outlines.index)
    result["acquired_start"] = by_outline["acquired"].min()
    result["acquired_end"] = by_outline["acquired"].max()
    result["scene_ids"] = by_outline["item"].agg(lambda items: ",".join(sorted(set(items))))
    observed_m2 = by_outline["pixels"].sum() * grid.pixel_m**2
    result["observed_frac"] = (observed_m2.reindex(outlines.index).fillna(0.0) / outlines.area).clip(0, 1)
    result["truncated"] = around_px * grid.pixel_m**2 < wide.area - MIN_UNSEEN_PX * grid.pixel_m**2
    return result


def _no_pixels() -> pd.DataFrame:
    return pd.DataFrame({"outline": [], "item": [], "acquired": [], "pixels": []}).astype(
        {"outline": "int64", "item": "str", "acquired": "str", "pixels": "float64"}
    )


def _pixels(path: Path, outlines: gpd.GeoSeries) -> pd.DataFrame:
    """Return how many pixels (with fractions) of each item lie in each outline within one cell."""
    try:
        with rasterio.Env(**GDAL_OPTIONS), rasterio.open(path) as dataset:
            items = source_items(path, dataset)
            features = gpd.GeoDataFrame({"outline": outlines.index}, geometry=outlines.to_numpy(), crs=outlines.crs)
            source = RasterioRasterSource(dataset)
            counts = exact_extract(source, features, ["unique", "frac", "count"], include_cols=["outline"], output="pandas")
    except rasterio.errors.RasterioError as error:
        raise InputError(path, f"can't be read ({error})", do="remove it and run again") from None
    exploded = counts.explode(["unique", "frac"]).dropna(subset=["unique"])
    exploded = exploded[exploded["unique"] > 0]
    exploded["pixels"] = exploded["frac"].astype(float) * exploded["count"]
    exploded = exploded[exploded["pixels"] > MIN_PX]
    unknown = set(exploded["unique"]) - set(items)
    if unknown:
        raise InputError(path, f"holds pixels of items {sorted(unknown)} that its tag ITEMS doesn't list")
    return pd.DataFrame(
        {
            "outline": exploded["outline"].astype("int64"),
            "item": [items[index]["id"] for index in exploded["unique"]],
            "acquired": [items[index]["acquired"] for index in exploded["unique"]],
            "pixels": exploded["pixels"],
        }
    )
