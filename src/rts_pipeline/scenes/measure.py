"""Stage `scenes`: measure an item and say which of its pixels can be used. Its pixels are never copied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import shapes
from rasterio.windows import Window
from shapely import box, union_all
from shapely.geometry import MultiPolygon, shape
from shapely.geometry.base import BaseGeometry

from rts_pipeline import io
from rts_pipeline.config import BANDS
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.options import ScenesOptions
from rts_pipeline.scenes import usable
from rts_pipeline.scenes.delivered import opened, read
from rts_pipeline.scenes.discover import ItemFiles, MaskKind
from rts_pipeline.scenes.stac import stac_item

WINDOW_PX = 1024
FOOTPRINT_PX = 512
"""Edge of the coarse raster that the footprint is drawn from."""

UDM2_BANDS = ("clear", "snow", "shadow", "light_haze", "heavy_haze", "cloud", "confidence", "udm1")
EIGHT_BANDS = {"blue": 2, "green": 4, "red": 6, "nir": 8}
"""Our bands in coastal_blue, blue, green_i, green, yellow, red, rededge, nir."""


def measure(
    item_id: str,
    reflectance: Path,
    mask: Path | None,
    mask_kind: str,
    metadata: Path | None,
    xml: Path | None,
    out_item: Path,
    out_usable: Path,
    options: ScenesOptions,
) -> None:
    """Write an item's usable pixels (COG, classes of `usable`) and its STAC Item with what was measured.

    `rts:valid_fraction` is the share of the raster's pixels that were observed and are plausible (usable or masked),
    `rts:usable_fraction` the share of those that are usable. Both outputs are written for rejected items too.

    Args:
        item_id: the item's id.
        reflectance: surface reflectance x 10,000, uint16 with 4 or 8 bands, nodata 0.
        mask: the udm2 or udm on the same grid.
        mask_kind: "udm2", "udm" or "none".
        metadata: the GeoJSON feature of the item.
        xml: the XML of the item.
        out_item: the STAC Item, beside `out_usable`.
        out_usable: uint8 on the item's own grid, nodata 0.
        options: rules of the mask, smallest usable share.

    Raises:
        InputError: a file is missing or damaged, or the mask is not on the reflectance's grid.
        UsageError: the kind of the mask is unknown, or doesn't fit with whether there is one.
    """
    kind = next((kind for kind in get_args(MaskKind) if kind == mask_kind), None)
    if kind is None or (kind == "none") != (mask is None):
        raise UsageError("--mask-kind", f"'{mask_kind}' with mask {mask}", expected="udm2 or udm with a mask, none without")
    _measure(
        item_id,
        ItemFiles(reflectance=reflectance, mask=mask, mask_kind=kind, metadata=metadata, xml=xml),
        out_item,
        out_usable,
        options,
    )


def _measure(item_id: str, files: ItemFiles, out_item: Path, out_usable: Path, options: ScenesOptions) -> None:
    with ExitStack() as stack:
        stack.enter_context(rasterio.Env(**io.GDAL_OPTIONS))
        dataset = stack.enter_context(opened(files.reflectance))
        mask = stack.enter_context(opened(files.mask)) if files.mask else None
        if mask is not None:
            _check_same_grid(files, dataset, mask)
        bands = band_indexes(files.reflectance, dataset)
        counts, coarse, factor = _write_usable(out_usable, files, dataset, mask, bands, options)
        measured = _summary(counts, options) | {"rts:bands": bands}
        item = stac_item(item_id, files, dataset, _outline(coarse, factor, dataset), measured, out_item.parent)
    io.write_json(out_item, item)


def band_indexes(path: Path, dataset: rasterio.DatasetReader) -> dict[str, int]:
    """Return the raster's band number of each of ours: by description, else by the number of bands."""
    described = {name: index for index, name in enumerate(dataset.descriptions, 1) if name in BANDS}
    if set(described) == set(BANDS):
        return {band: described[band] for band in BANDS}
    if dataset.count == 4:
        return {band: index for index, band in enumerate(BANDS, 1)}
    if dataset.count == 8:
        return dict(EIGHT_BANDS)
    raise InputError(path, f"has {dataset.count} bands", expected="4 or 8 bands of surface reflectance")


def _check_same_grid(files: ItemFiles, dataset: rasterio.DatasetReader, mask: rasterio.DatasetReader) -> None:
    same = mask.shape == dataset.shape and mask.transform.almost_equals(dataset.transform) and mask.crs == dataset.crs
    if not same:
        raise InputError(
            str(files.mask),
            f"is {mask.shape} px at {list(mask.transform)[:6]}",
            expected=f"the grid of {files.reflectance.name}, {dataset.shape} px at {list(dataset.transform)[:6]}",
            do="deliver both again, or list the item under scenes.exclude",
        )


def _write_usable(
    out: Path,
    files: ItemFiles,
    dataset: rasterio.DatasetReader,
    mask: rasterio.DatasetReader | None,
    bands: dict[str, int],
    options: ScenesOptions,
) -> tuple[NDArray[np.int64], NDArray[np.bool_], int]:
    """Write usable.tif; return the pixels of each class, and where valid ones are, shrunk by a factor."""
    factor = 2 ** max(0, int(np.ceil(np.log2(max(dataset.shape) / FOOTPRINT_PX))))
    coarse = np.zeros([-(-edge // factor) for edge in dataset.shape], bool)
    counts = np.zeros(4, np.int64)
    profile = {"height": dataset.height, "width": dataset.width, "crs": dataset.crs, "transform": dataset.transform}
    rules = options.scenes
    with io.new_cog(out, overview_resampling="nearest", count=1, dtype="uint8", nodata=usable.OUTSIDE, **profile) as target:
        for window in _windows(dataset.shape, max(WINDOW_PX, factor)):
            classes = usable.classify(
                read(files.reflectance, dataset, list(bands.values()), window),
                _read_mask(files, mask, window, confidence=rules.min_confidence > 0),
                rules,
            )
            counts += np.bincount(classes.ravel(), minlength=4)
            target.write(classes, 1, window=window)
            part = usable.coarsen((classes == usable.USABLE) | (classes == usable.MASKED), factor)
            top, left = window.row_off // factor, window.col_off // factor
            coarse[top : top + part.shape[0], left : left + part.shape[1]] = part
    return counts, coarse, factor


def _windows(shape: tuple[int, int], size: int) -> Iterator[Window]:
    for top in range(0, shape[0], size):
        for left in range(0, shape[1], size):
            yield Window(left, top, min(size, shape[1] - left), min(size, shape[0] - top))


def _read_mask(
    files: ItemFiles, mask: rasterio.DatasetReader | None, window: Window, *, confidence: bool
) -> dict[str, NDArray[np.uint8]]:
    """Read what `classify` needs, as plain values: the nodata tag of an old udm can be 1, which is one of its bits."""
    if files.mask is None or mask is None:
        return {}
    if files.mask_kind == "udm":
        return {"udm": read(files.mask, mask, [1], window)[0]}
    names = [name for name in UDM2_BANDS if confidence or name != "confidence"]
    values = read(files.mask, mask, [UDM2_BANDS.index(name) + 1 for name in names], window)
    return dict(zip(names, values, strict=True))


def _summary(counts: NDArray[np.int64], options: ScenesOptions) -> dict[str, Any]:
    valid = int(counts[usable.USABLE] + counts[usable.MASKED])
    usable_fraction = float(counts[usable.USABLE]) / valid if valid else 0.0
    least = options.scenes.min_usable_fraction
    reason = "no valid pixel" if valid == 0 else ""
    if not reason and usable_fraction < least:
        reason = f"{100 * usable_fraction:.2f} % of the valid pixels are usable, fewer than {100 * least:g} %"
    return {
        "rts:status": "rejected" if reason else "used",
        "rts:reason": reason,
        "rts:valid_fraction": round(valid / int(counts.sum()), 6),
        "rts:usable_fraction": round(usable_fraction, 6),
    }


def _outline(coarse: NDArray[np.bool_], factor: int, dataset: rasterio.DatasetReader) -> BaseGeometry:
    """Return an outline, in the dataset's CRS, that holds all valid pixels: at most two coarse pixels too wide."""
    transform = dataset.transform @ Affine.scale(factor)
    parts = [shape(geometry) for geometry, _ in shapes(coarse.astype(np.uint8), mask=coarse, transform=transform)]
    if not parts:
        return MultiPolygon()
    reach = abs(transform.a)
    wide = union_all(parts).simplify(reach).buffer(reach, join_style="mitre")
    return wide.intersection(box(*dataset.bounds))
