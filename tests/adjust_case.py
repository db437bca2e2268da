"""Items with known displacement and radiometry over one textured ground, and the two stages run on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.warp import Resampling, calculate_default_transform, reproject
from scipy import ndimage

from items import clear_udm2, write_item
from rts_pipeline.config import Adjust, GridSection
from rts_pipeline.grid import GeoBox
from rts_pipeline.options import AdjustOptions, OverlapsOptions
from rts_pipeline.scenes.adjust import adjust_items
from rts_pipeline.scenes.overlaps import measure_overlaps
from rts_pipeline.scenes.sample import STEP_PX
from rts_pipeline.simulate.noise import fractal
from scenes_case import found, measured

CRS = "EPSG:32646"
PIXEL = 3.0
PLACE = GeoBox("place", CRS, PIXEL, 312 * STEP_PX, -2513 * STEP_PX, 2 * STEP_PX, STEP_PX)
"""Two windows: their upper left corners are the place's, and 512 px further east."""
MARGIN = 24


def moments_of(x: np.ndarray, y: np.ndarray) -> list[float]:
    return [float(total) for total in (x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum())]


@cache
def ground() -> np.ndarray:
    """(4, h, w) reflectance x 10,000 of PLACE and a margin, with texture of all sizes and bands that are much alike."""
    rng = np.random.default_rng(5)
    shape = (PLACE.height + 2 * MARGIN, PLACE.width + 2 * MARGIN)
    fields = [fractal(rng, shape, pixel=3, longest=900, shortest=8, slope=2.2) for _ in range(5)]
    bands = [level + 180 * fields[0] + 60 * own for level, own in zip((900, 1200, 1500, 2300), fields[1:], strict=True)]
    return np.stack(bands)


def seen(
    shift: tuple[float, float] = (0, 0), gain: Sequence[float] = (1, 1, 1, 1), offset: Sequence[float] = (0, 0, 0, 0), seed=0
) -> np.ndarray:
    """PLACE as a satellite shows it: content displaced by `shift` (east, north, metres), gain, offset, a little noise."""
    rows, columns = -shift[1] / PIXEL, shift[0] / PIXEL
    inner = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
    noise = np.random.default_rng(seed).normal(1, 0.005, (4, *PLACE.shape))
    bands = [
        ndimage.shift(band, (rows, columns), order=3)[inner] * g + o for band, g, o in zip(ground(), gain, offset, strict=True)
    ]
    return np.clip(np.stack(bands) * noise, 20, 16_000).round().astype(np.uint16)


def name(number: int) -> str:
    return f"20190801_04{number:02d}00_10{number:02d}"


def item(
    folder: Path,
    number: int,
    reflectance: np.ndarray,
    *,
    columns: slice = slice(None),
    masked: np.ndarray | None = None,
    crs: str = CRS,
    transform: Affine = PLACE.transform,
) -> Path:
    """Deliver and measure an item that holds something in some columns; return its item.json."""
    kept = np.zeros(reflectance.shape[1:], bool)
    kept[:, columns] = True
    pixels = np.where(kept, reflectance, 0)
    udm2 = clear_udm2(kept.shape, pixels.any(axis=0))
    if masked is not None:
        udm2[0, masked], udm2[5, masked] = 0, 1
    order = folder / "orders" / name(number)
    write_item(order, name(number), pixels, crs=crs, transform=transform, udm2=udm2)
    out = folder / "scenes" / name(number)
    measured(found(order).items[0], out)
    return out / "item.json"


def in_other_zone(reflectance: np.ndarray, crs: str) -> tuple[np.ndarray, Affine]:
    """The same ground on a raster of another CRS, by cubic convolution."""
    source = {"src_crs": CRS, "src_transform": PLACE.transform, "src_nodata": 0}
    transform, width, height = calculate_default_transform(
        CRS, crs, PLACE.width, PLACE.height, *PLACE.bounds, resolution=None if crs == "EPSG:4326" else PIXEL
    )
    out = np.zeros((4, height, width), np.uint16)
    target = {"dst_crs": crs, "dst_transform": transform, "dst_nodata": 0}
    reproject(reflectance, out, **source, **target, resampling=Resampling.cubic)
    return out, transform


def write_raster(path: Path, values: np.ndarray, crs: str | None, transform: Affine) -> Path:
    count, height, width = values.shape
    profile = {"count": count, "height": height, "width": width, "dtype": values.dtype, "nodata": 0}
    with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=transform, **profile) as dataset:
        dataset.write(values)
    return path


def adjust_options(**adjust: Any) -> AdjustOptions:
    return AdjustOptions(adjust=Adjust(**{"shifts": "correct", "radiometry": "overlaps", **adjust}))


def overlaps_options(**adjust: Any) -> OverlapsOptions:
    return OverlapsOptions(grid=GridSection(crs=CRS), adjust=adjust_options(**adjust).adjust)


def measure(folder: Path, items: Sequence[Path], block: GeoBox = PLACE, **adjust: Any) -> Path:
    out = folder / "overlaps" / f"{block.id}.parquet"
    measure_overlaps(block, items, out, overlaps_options(**adjust))
    return out


def adjusted(folder: Path, items: Sequence[Path], block: GeoBox = PLACE, **adjust: Any) -> list[dict[str, Any]]:
    """Run both stages; return the properties of each item."""
    adjust_items([measure(folder, items, block, **adjust)], items, folder / "record.json", adjust_options(**adjust))
    return [told(path) for path in items]


def told(path: Path) -> dict[str, Any]:
    return json.loads(path.with_name("adjusted.json").read_text())["properties"]
