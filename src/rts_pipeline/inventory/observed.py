"""Which images, of what times, an outline was observed in: read from the mosaics' source maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import shapely
from exactextract import exact_extract
from exactextract.raster import RasterioRasterSource

from rts_pipeline.errors import InputError
from rts_pipeline.grid import Grid
from rts_pipeline.io import GDAL_OPTIONS
from rts_pipeline.progress import track
from rts_pipeline.source_map import cell_of, source_items

MIN_PX = 0.01
"""Smaller shares of a pixel are rounding at an outline that follows pixel edges."""
MIN_UNSEEN_PX = 0.5
"""An outline ends where nothing was observed if more than this beside it wasn't."""


def acquisitions(outlines: gpd.GeoSeries, sources: Sequence[Path], grid: Grid) -> pd.DataFrame:
    """Return acquired_start, acquired_end, scene_ids, observed_frac and truncated, a row an outline.

    Args:
        outlines: polygons in the grid's CRS, index 0..n-1.
        sources: source maps of the mosaics' cells, <cell>_source.tif: of those that the outlines or a pixel beside them touch.
        grid: the project's grid.

    Raises:
        InputError: a source map is missing, damaged, or lacks its table of items.
    """
    by_cell = {cell_of(path): path for path in sources}
    # each outline, then each with a pixel more on all sides
    n = len(outlines)
    grown = shapely.buffer(outlines.to_numpy(), grid.pixel_m, join_style="mitre")
    shapes = gpd.GeoSeries(np.concatenate([outlines.to_numpy(), grown]), crs=outlines.crs)
    pairs = pd.DataFrame(grid.cell_pairs(shapes.to_numpy()), columns=["outline", "cell"])
    groups = [(by_cell[str(cell)], rows["outline"]) for cell, rows in pairs.groupby("cell") if cell in by_cell]
    seen = [_pixels(path, shapes.loc[rows]) for path, rows in track(groups, len(groups), "source maps", "cells")]
    pixels = pd.concat([_no_pixels(), *seen], ignore_index=True)
    observed = pixels.groupby("outline")["pixels"].sum().reindex(range(2 * n), fill_value=0.0).to_numpy()
    unseen = shapes.area.to_numpy() / grid.pixel_m**2 - observed
    by_outline = pixels[pixels["outline"] < n].groupby("outline")
    result = pd.DataFrame(index=outlines.index)
    result["acquired_start"] = by_outline["acquired"].min()
    result["acquired_end"] = by_outline["acquired"].max()
    result["scene_ids"] = by_outline["item"].agg(lambda items: ",".join(sorted(set(items))))
    result["observed_frac"] = np.clip(observed[:n] * grid.pixel_m**2 / outlines.area.to_numpy(), 0, 1)
    result["truncated"] = (unseen[n:] - unseen[:n] > MIN_UNSEEN_PX).astype("int64")
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
