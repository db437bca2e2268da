"""Stage `scenes`: measure an item and say which of its pixels can be used. Its pixels are never copied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
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

from rts_pipeline.config import BANDS, UDM2_CLASSES, Usability
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.io.json import canonical_json, write_json
from rts_pipeline.io.rasters import GDAL_OPTIONS, new_cog
from rts_pipeline.options import ScenesOptions
from rts_pipeline.scenes import metadata as item_metadata
from rts_pipeline.scenes import names, usable
from rts_pipeline.scenes.delivered import opened, read
from rts_pipeline.scenes.discover import ItemFiles, MaskKind
from rts_pipeline.scenes.reader import levelled
from rts_pipeline.scenes.stac import stac_item
from rts_pipeline.scenes.totals import Totals

WINDOW_PX = 1024
UDM2_BANDS = (*UDM2_CLASSES, "confidence", "udm1")
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
    `rts:usable_fraction` the share of those that are usable; what else is counted says `totals`. Both outputs are written for
    rejected items too, and name the usability policy with its version.

    Args:
        item_id: the item's id.
        reflectance: surface reflectance x 10,000, or by its name at-sensor radiance, which is made top-of-atmosphere
            reflectance; uint16 with 4 or 8 bands, nodata 0.
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
        stack.enter_context(rasterio.Env(**GDAL_OPTIONS))
        dataset = stack.enter_context(opened(files.reflectance))
        mask = stack.enter_context(opened(files.mask)) if files.mask else None
        if mask is not None:
            _check_same_grid(files, dataset, mask)
        bands = band_indexes(files.reflectance, dataset)
        reflectance, gain = _gain(files, bands)
        raster = _Raster(files, dataset, mask, bands, gain)
        totals, policy = Totals(dataset.shape), usable.policy_record(options.scenes)
        _write_usable(out_usable, raster, totals, options.scenes, policy)
        measured = {
            **_summary(totals, options),
            "rts:reflectance": reflectance,
            "rts:bands": bands,
            "rts:gain": gain,
            "rts:policy": policy,
        }
        item = stac_item(item_id, files, dataset, _outline(totals, dataset), measured, out_item.parent)
    write_json(out_item, item)


def band_indexes(path: Path, dataset: rasterio.DatasetReader) -> dict[str, int]:
    """Return the raster's band number of each of ours: by description, else by the number of bands."""
    described = {name: index for index, name in enumerate(dataset.descriptions, 1) if name in BANDS}
    if set(described) == set(BANDS):
        return {band: described[band] for band in BANDS}
    if dataset.count == 4:
        return {band: index for index, band in enumerate(BANDS, 1)}
    if dataset.count == 8:
        return dict(EIGHT_BANDS)
    raise InputError(path, f"has {dataset.count} bands", expected="4 or 8 bands")


def _gain(files: ItemFiles, bands: dict[str, int]) -> tuple[str, dict[str, float]]:
    """Return of what the reflectance is ("surface" or "top of atmosphere"), and by band what makes it x 10,000."""
    name = names.parse(files.reflectance)
    if name.role != "radiance":
        return "surface", dict.fromkeys(bands, 1.0)
    # The XML of the 8-band product numbers other bands than that of the 4-band product.
    if files.xml is None or names.parse(files.xml).eight_bands != name.eight_bands:
        raise InputError(
            files.reflectance,
            "at-sensor radiance without the XML that holds its reflectance coefficients",
            do="deliver it with its XML, or list the item under scenes.exclude",
        )
    coefficients = item_metadata.reflectance_coefficients(files.xml, bands)
    return "top of atmosphere", {band: 10_000 * coefficient for band, coefficient in coefficients.items()}


def _check_same_grid(files: ItemFiles, dataset: rasterio.DatasetReader, mask: rasterio.DatasetReader) -> None:
    same = mask.shape == dataset.shape and mask.transform.almost_equals(dataset.transform) and mask.crs == dataset.crs
    if not same:
        raise InputError(
            str(files.mask),
            f"is {mask.shape} px at {list(mask.transform)[:6]}",
            expected=f"the grid of {files.reflectance.name}, {dataset.shape} px at {list(dataset.transform)[:6]}",
            do="deliver both again, or list the item under scenes.exclude",
        )


@dataclass(frozen=True)
class _Raster:
    """An item's opened rasters."""

    files: ItemFiles
    reflectance: rasterio.DatasetReader
    mask: rasterio.DatasetReader | None
    bands: dict[str, int]
    gain: dict[str, float]

    def values(self, window: Window) -> NDArray[np.uint16]:
        """Read (4, h, w) reflectance x 10,000."""
        values = read(self.files.reflectance, self.reflectance, list(self.bands.values()), window)
        return levelled(values, tuple(self.gain.values()), (0.0,) * len(self.gain))

    def mask_bands(self, window: Window, policy: Usability) -> dict[str, NDArray[np.uint8]]:
        """Read what `classify` needs, as plain values: the nodata tag of an old udm can be 1, which is one of its bits."""
        if self.files.mask is None or self.mask is None:
            return {}
        if self.files.mask_kind == "udm":
            return {"udm": read(self.files.mask, self.mask, [1], window)[0]}
        names = [name for name in UDM2_BANDS if name != "confidence" or policy.min_confidence > 0]
        values = read(self.files.mask, self.mask, [UDM2_BANDS.index(name) + 1 for name in names], window)
        return dict(zip(names, values, strict=True))


def _write_usable(out: Path, raster: _Raster, totals: Totals, policy: Usability, record: Mapping[str, Any]) -> None:
    """Write usable.tif, which names the policy by its record, and count."""
    dataset = raster.reflectance
    pixel = (abs(dataset.transform.e), abs(dataset.transform.a))
    margin = usable.erosion_px(policy, pixel)
    profile = {"height": dataset.height, "width": dataset.width, "crs": dataset.crs, "transform": dataset.transform}
    with new_cog(out, overview_resampling="nearest", count=1, dtype="uint8", nodata=usable.OUTSIDE, **profile) as target:
        target.update_tags(POLICY=canonical_json(record))
        for window in _windows(dataset.shape, max(WINDOW_PX, totals.factor)):
            wide, inner = _grown(window, margin, dataset.shape)
            values = raster.values(wide)
            classes = usable.erode(usable.classify(values, raster.mask_bands(wide, policy), policy), policy, pixel)[inner]
            totals.add(window, classes, values[(slice(None), *inner)])
            target.write(classes, 1, window=window)


def _windows(shape: tuple[int, int], size: int) -> Iterator[Window]:
    for top in range(0, shape[0], size):
        for left in range(0, shape[1], size):
            yield Window(left, top, min(size, shape[1] - left), min(size, shape[0] - top))


def _grown(window: Window, margin: tuple[int, int], shape: tuple[int, int]) -> tuple[Window, tuple[slice, slice]]:
    """Return the window with a margin of rows and columns, within the raster, and where the window lies in it."""
    top, left = max(0, window.row_off - margin[0]), max(0, window.col_off - margin[1])
    bottom = min(shape[0], window.row_off + window.height + margin[0])
    right = min(shape[1], window.col_off + window.width + margin[1])
    rows = slice(window.row_off - top, window.row_off - top + window.height)
    columns = slice(window.col_off - left, window.col_off - left + window.width)
    return Window(left, top, right - left, bottom - top), (rows, columns)


def _summary(totals: Totals, options: ScenesOptions) -> dict[str, Any]:
    valid, usable_fraction = totals.valid, totals.usable_fraction
    least = options.scenes.min_usable_fraction
    reason = "no valid pixel" if valid == 0 else ""
    if not reason and usable_fraction < least:
        reason = f"{100 * usable_fraction:.2f} % of the valid pixels are usable, fewer than {100 * least:g} %"
    return {
        "rts:status": "rejected" if reason else "used",
        "rts:reason": reason,
        "rts:valid_fraction": round(valid / int(totals.classes.sum()), 6),
        "rts:usable_fraction": round(usable_fraction, 6),
        **totals.statistics(),
    }


def _outline(totals: Totals, dataset: rasterio.DatasetReader) -> BaseGeometry:
    """Return an outline, in the dataset's CRS, that holds all valid pixels: at most two coarse pixels too wide."""
    coarse, transform = totals.coarse, dataset.transform @ Affine.scale(totals.factor)
    parts = [shape(geometry) for geometry, _ in shapes(coarse.astype(np.uint8), mask=coarse, transform=transform)]
    if not parts:
        return MultiPolygon()
    reach = max(abs(transform.a), abs(transform.e))
    wide = union_all(parts).simplify(reach).buffer(reach, join_style="mitre")
    return wide.intersection(box(*dataset.bounds))
