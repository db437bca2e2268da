"""Slumps through the years: strips of chips, and how the area that the networks saw grew."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
from PIL import Image as Pillow
from PIL import ImageDraw
from shapely import get_parts, get_rings
from shapely.geometry.base import BaseGeometry

from rts_pipeline.drawing import MAIN, drawing
from rts_pipeline.errors import InputError
from rts_pipeline.io.files import was_read
from rts_pipeline.lineage import JOINT
from rts_pipeline.report.figures import Drawn, data_uri, uri
from rts_pipeline.report.palette import FEW
from rts_pipeline.report.tables import records
from rts_pipeline.review.pictures import Pictures

N_SHOWN = 10
EDGE_PX = 168
WEBP = {"quality": 72, "method": 4}


def least_certain(slumps: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return the slumps of least possibility, then agreement, then probability; what isn't known counts as sure."""
    keys = {name: slumps[name].fillna(np.inf) for name in ("possibility", "agreement", "prob_mean")}
    order = pd.DataFrame({**keys, "rts_id": slumps["rts_id"]}).sort_values([*keys, "rts_id"]).index
    return slumps.loc[order].head(N_SHOWN)


def largest(slumps: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return the slumps of largest area."""
    return slumps.sort_values(["area_m2", "rts_id"], ascending=[False, True]).head(N_SHOWN)


class Years:
    """What was seen of the inventory's slumps in every year, as their reviewers saw it last."""

    def __init__(self, pictures: Pictures, rounds: Sequence[str]) -> None:
        """Take the chips of all rounds, and the rounds' names in time."""
        self.pictures, self.rounds = pictures, rounds
        was_read(*(pictures.index_file(round) for round in rounds))

    def strips(self, slumps: gpd.GeoDataFrame) -> list[dict[str, Any]]:
        """Return a slump each: the columns of the inventory, and `years`: year, picture (data URI or None), acquired, reason.

        A slump has no years that was added in the last round or comes from an earlier inventory, nor has one whose round's
        evidence was removed.
        """
        return [{**row, "years": self._strip(row["delineation_id"], row["geometry"])} for row in records(slumps)]

    def areas(self, slumps: gpd.GeoDataFrame) -> pd.DataFrame:
        """Return the area (m2) that the network outlined, a row a slump of which it is known, a column a year."""
        rows = {}
        for rts_id, delineation in zip(slumps["rts_id"], slumps["delineation_id"], strict=True):
            if place := self._place(delineation):
                numbers = self.pictures.numbers(*place)
                rows[rts_id] = {row["year"]: row.get("area_m2") for row in numbers}
        return pd.DataFrame.from_dict(rows, orient="index", dtype=float).sort_index(axis=1)

    def _place(self, delineation: str) -> tuple[str, str] | None:
        """Return round and id of the newest outline of a slump that has chips."""
        places = [(round, name) for name in reversed(delineation.split(JOINT)) for round in self.rounds]
        return next((place for place in places if self.pictures.chips(*place)), None)

    def _strip(self, delineation: str, outline: BaseGeometry) -> list[dict[str, Any]]:
        place = self._place(delineation)
        if place is None:
            return []
        ground = self.pictures.ground(*place)
        return [
            {
                "year": chip["year"],
                "acquired": (chip["acquired"] or "")[:10],
                "reason": chip["reason"],
                "picture": _picture(self.pictures.file(*place, chip["year"], "true"), ground, outline),
            }
            for chip in self.pictures.chips(*place)
        ]


def _picture(path: Path | None, ground: Sequence[float] | None, outline: BaseGeometry) -> str | None:
    """Return a chip with the outline over it, where the ground that it shows is known; None where there never was one."""
    if path is None:
        return None
    was_read(path)
    try:
        with Pillow.open(path) as image:
            small = image.convert("RGB").resize((EDGE_PX, EDGE_PX), Pillow.Resampling.LANCZOS)
    except OSError as error:
        raise InputError(path, f"can't be read ({error})", do="remove the folder of this evidence, or make it anew") from None
    if ground is not None:
        _draw(small, ground, outline)
    buffer = BytesIO()
    small.save(buffer, "webp", **WEBP)
    return uri(buffer.getvalue(), "webp")


def _draw(image: Pillow.Image, ground: Sequence[float], outline: BaseGeometry) -> None:
    west, south, east, north = ground
    canvas = ImageDraw.Draw(image)
    for ring in get_rings(get_parts(outline)):
        x, y = ring.coords.xy
        across, down = (np.array(x) - west) / (east - west), (north - np.array(y)) / (north - south)
        points = list(zip(across * image.width, down * image.height, strict=True))
        for colour, width in (("#000000", 3), (FEW[6], 1)):
            canvas.line(points, fill=colour, width=width)


def growth(areas: pd.DataFrame) -> tuple[Drawn, int] | None:
    """Draw the total area of the slumps in each year; return it and how many slumps it is of.

    Only slumps that could be measured in every year are summed, so that years of fewer images don't look smaller.

    Args:
        areas: as `Years.areas` returns them.
    """
    whole = areas.dropna()
    if whole.empty or whole.shape[1] < 2:
        return None
    hectares = whole.sum() / 1e4
    with drawing() as (figure, axes):
        names = [str(year) for year in hectares.index]
        axes.bar(names, hectares, 0.6, color=MAIN)
        for name, value in zip(names, hectares, strict=True):
            axes.annotate(f"{value:,.1f}", (name, value), xytext=(0, 3), textcoords="offset points", ha="center")
        axes.set_ylabel("Area (ha)")
        axes.set_xlabel("Year")
        axes.set_ylim(0, max(float(hectares.max()) * 1.12, 0.1))
        axes.grid(axis="y", color="#e2e7ea", lw=0.7)
        return data_uri(figure), len(whole)
