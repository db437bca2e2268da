"""Items found and measured, for the tests of the scenes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from rts_pipeline.config import Scenes, Usability
from rts_pipeline.options import ScenesOptions
from rts_pipeline.scenes.discover import Delivery, Item, discover
from rts_pipeline.scenes.measure import measure

CRS = "EPSG:32646"
PLACE = Affine(3, 0, 480_000, 0, -3, 3_860_001)
ITEM = "20190801_041000_1003"


def plain(shape=(60, 80), value=1000):
    return np.full((4, *shape), value, np.uint16)


def found(folder: Path, **options) -> Delivery:
    return discover([folder], Scenes(folders=[str(folder)], **options))


def measured(item: Item, out: Path, **options) -> tuple[dict, np.ndarray]:
    usable = out / "usable.tif"
    files = (item.reflectance, item.mask, item.mask_kind, item.metadata, item.xml)
    measure(item.id, *files, out / "item.json", usable, ScenesOptions(scenes=Usability(**options)))
    with rasterio.open(usable) as dataset:
        assert (dataset.dtypes[0], dataset.nodata, dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"]) == ("uint8", 0, "COG")
        return json.loads((out / "item.json").read_text()), dataset.read(1)


def reasons(delivery: Delivery) -> dict[str, str]:
    return {Path(row.path).name: f"{row.status}: {row.reason}" for row in delivery.files}
