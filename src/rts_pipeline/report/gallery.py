"""The pictures cell by cell, as rows of small images for an HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image as Pillow

from rts_pipeline.grid import Grid
from rts_pipeline.imagery import COLOURS
from rts_pipeline.report.figures import uri
from rts_pipeline.report.palette import on_hatching
from rts_pipeline.report.quicklook import Look, Pictures

MOST_BYTES = 6_000_000
"""Of all the images as text of the page; larger ones are made smaller."""
LEAST_EDGE_PX = 16
MOST_DAYS = 6
"""Days named for a cell; the others are summed up."""

PHOTO = {"quality": 70, "method": 4}
FLAT = {"lossless": True, "quality": 60, "method": 4}

Strips = tuple[Pillow.Image, Pillow.Image]


def draw_gallery(pictures: Pictures, observed: pd.DataFrame, grid: Grid, target_year: int) -> dict[str, Any]:
    """Return the gallery for the page.

    Args:
        pictures: of all cells.
        observed: `observed.parquet`.
        grid: the project's grid.
        target_year: the year that the captions tell of.

    Returns:
        edge_px of a picture, and blocks: name, share (observed in the target year), and cells: name, photo and flat (data
        URIs of pictures side by side: true and false colour; day, observations in the target year, in all years), share,
        n_items, days (day, colour, share of the cell), more_days (share of those not named).
    """
    strips = [_strips(pictures, number) for number in range(len(pictures.looks))]
    edge, uris = _encoded(strips)
    told = {row["cell"]: row for row in observed[observed["year"] == target_year].to_dict("records")}
    colours = dict(zip(pictures.days.labels, pictures.days.colours, strict=True))
    blocks: dict[str, list[dict[str, Any]]] = {}
    for look, (photo, flat) in zip(pictures.looks, uris, strict=True):
        cell = {"name": look.cell.id, "photo": photo, "flat": flat, **_caption(look, told[look.cell.id], colours)}
        blocks.setdefault(grid.block_of(look.cell.id), []).append(cell)
    rows = [
        {"name": block, "share": float(np.mean([cell["share"] for cell in cells])), "cells": cells}
        for block, cells in sorted(blocks.items())
    ]
    return {"edge_px": edge, "blocks": rows}


def _strips(pictures: Pictures, number: int) -> Strips:
    """Return a cell's pictures side by side: those of its colour, and those of classes, which must stay sharp."""
    images = {name: on_hatching(cells[number]) for name, cells in pictures.images.items()}
    colour = [image for name, image in images.items() if name in COLOURS]
    classes = [image for name, image in images.items() if name not in COLOURS]
    return _side_by_side(colour), _side_by_side(classes)


def _side_by_side(images: Sequence[NDArray[np.uint8]]) -> Pillow.Image:
    """Put images side by side, each with a white line at its right."""
    line = max(1, images[0].shape[0] // 48)
    for image in images:
        image[:, -line:] = 255
    return Pillow.fromarray(np.hstack(images))


def _encoded(strips: Sequence[Strips]) -> tuple[int, list[tuple[str, str]]]:
    """Return the edge of a picture and the strips as data URIs, smaller than they were where they would be too much."""
    while True:
        edge = strips[0][0].height
        uris = [(_uri(photo, PHOTO), _uri(flat, FLAT)) for photo, flat in strips]
        size = sum(len(photo) + len(flat) for photo, flat in uris)
        if size <= MOST_BYTES or edge <= LEAST_EDGE_PX:
            return edge, uris
        smaller = max(LEAST_EDGE_PX, min(edge - 1, int(edge * (MOST_BYTES / size) ** 0.5)))
        strips = [
            (_resized(photo, smaller, Pillow.Resampling.BOX), _resized(flat, smaller, Pillow.Resampling.NEAREST))
            for photo, flat in strips
        ]


def _resized(strip: Pillow.Image, edge: int, how: Pillow.Resampling) -> Pillow.Image:
    return strip.resize((strip.width // strip.height * edge, edge), how)


def _uri(image: Pillow.Image, how: Mapping[str, Any]) -> str:
    buffer = BytesIO()
    image.save(buffer, "webp", **how)
    return uri(buffer.getvalue(), "webp")


def _caption(look: Look, told: Mapping[Any, Any], colours: Mapping[str, str]) -> dict[str, Any]:
    shares = list(look.day_shares.items())
    days = [(day, colours[day], share) for day, share in shares[:MOST_DAYS]]
    more = sum(share for _, share in shares[MOST_DAYS:])
    return {"share": told["observed_share"], "n_items": int(told["n_items"]), "days": days, "more_days": more}
