"""What a mosaic's source map says of the items that its pixels came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rts_pipeline.errors import InputError

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

SUFFIX = "_source.tif"


def cell_of(path: Path) -> str:
    """Return the name of the cell of a source map."""
    return path.name.removesuffix(SUFFIX)


def source_items(path: Path, dataset: DatasetReader) -> Mapping[int, Mapping[str, Any]]:
    """Return the items of a source map by their index: id, acquired and pixels.

    Raises:
        InputError: the dataset's tag ITEMS is missing or damaged.
    """
    try:
        return {int(item["index"]): item for item in json.loads(dataset.tags()["ITEMS"])}
    except (KeyError, TypeError, ValueError):
        raise InputError(path, "its tag ITEMS is missing or damaged", do="remove it and run mosaic again") from None
