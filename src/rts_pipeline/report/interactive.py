"""What the report's own map shows, which the reader can move about in: outlines over what was seen."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from importlib import resources
from io import BytesIO
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image as Pillow

from rts_pipeline.inventory.earlier import EARLIER
from rts_pipeline.inventory.identity import POSSIBILITY
from rts_pipeline.metrics.objects import SIZE_CLASS_NAMES, size_class
from rts_pipeline.page import area_text, number_text
from rts_pipeline.report.coverage import Coverage
from rts_pipeline.report.figures import uri
from rts_pipeline.report.map import CARRIED_ALONG, CARRIED_COLOUR, SEED, SEEN, round_colour

MOST_BYTES = 6_000_000
"""Of the outlines as text; of larger inventories they are drawn more coarsely."""
SURE = ("#0072B2", "#56B4E9", "#F0E442", "#E69F00", "#D55E00")
"""Okabe and Ito's colours, from Yes to No."""
SIZES = ("#fde725", "#5ec962", "#21918c", "#440154")
"""Steps of viridis, light where small."""
NOT_GIVEN, NO_COLOUR = "not given", "#8c8c8c"


def script() -> tuple[str, str]:
    """Return the map's script, which is built from web/report/, and its hash as a content security policy names it."""
    text = resources.files("rts_pipeline.report").joinpath("map.js").read_text(encoding="utf-8")
    return text, "sha256-" + base64.b64encode(sha256(text.encode()).digest()).decode()


def map_data(slumps: gpd.GeoDataFrame, area: gpd.GeoSeries, seen: Coverage, pixel_m: float) -> dict[str, Any]:
    """Return what the map's script reads: coordinates in metres of the grid's CRS, all else as text.

    Args:
        slumps: the inventory with its attributes, in the grid's CRS.
        area: the area of interest, in the grid's CRS.
        seen: what was observed.
        pixel_m: pixel of the grid: outlines are simplified by no more than half of it, unless there are too many.
    """
    bounds = np.array([area.total_bounds] + ([slumps.total_bounds] if len(slumps) else []))
    table = _table(slumps)
    told = [(name, label) for name, label in TOLD.items() if name in table]
    return {
        "crs": f"rts:{slumps.crs.to_string()}"[:60],
        "extent": [*bounds[:, :2].min(axis=0), *bounds[:, 2:].max(axis=0)],
        "area": _collection(gpd.GeoDataFrame(geometry=area.to_numpy(), crs=area.crs), pixel_m),
        "slumps": _collection(table, pixel_m),
        "observed": _observed(seen),
        "classes": _classes(table, slumps["iteration"].max() if len(slumps) else 0),
        "told": told,
    }


TOLD = {
    "rts_id": "slump",
    "rts_uid": "uid",
    "area": "area",
    "possibility": "possibility",
    "found": "found",
    "first_year": "first seen in",
    "last_changed_year": "last changed in",
    "growth": "growth",
    "elevation": "elevation",
    "slope": "slope",
    "place": "latitude, longitude",
    "reviewers": "reviewers",
    "note": "note",
}
"""What is told of a slump that is clicked, in this order."""


def _table(slumps: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return what is told of each slump, as text, with its outline."""
    text: dict[str, Any] = {name: slumps[name] for name in ("rts_id", "rts_uid", "reviewers", "note")}
    text["area"] = slumps["area_m2"].map(area_text)
    text["possibility"] = slumps["possibility_class"].fillna(NOT_GIVEN)
    text["found"] = slumps["iteration"].map(_found).mask(slumps["decision"] == EARLIER, CARRIED_ALONG)
    text["size"] = [SIZE_CLASS_NAMES[at] for at in size_class(slumps["area_m2"].to_numpy())]
    text["elevation"] = _measured(slumps["elevation_mean_m"], 0, " m")
    text["slope"] = _measured(slumps["slope_deg"], 1, "°")
    text["place"] = [f"{y:.5f}, {x:.5f}" for y, x in zip(slumps["latitude"], slumps["longitude"], strict=True)]
    text["growth"] = _measured(slumps["growth_m2_yr"], 0, " m² a year")
    for name in ("first_year", "last_changed_year"):
        text[name] = [None if value is None else int(value) for value in _none(slumps[name])]
    return gpd.GeoDataFrame(text, geometry=slumps.geometry.to_numpy(), crs=slumps.crs)


def _none(values: Any) -> list[Any]:
    return list(values.astype(object).where(values.notna(), None))


def _measured(values: Any, decimals: int, unit: str) -> list[str | None]:
    return [None if value is None else number_text(value, decimals) + unit for value in _none(values)]


def _found(iteration: int) -> str:
    return "known at the start" if iteration == 0 else f"round {iteration:02d}"


def _classes(table: gpd.GeoDataFrame, last: int) -> list[dict[str, Any]]:
    """Return by what slumps can be coloured."""
    sure = [*zip(list(POSSIBILITY)[::-1], SURE, strict=True), (NOT_GIVEN, NO_COLOUR)]
    rounds = [(_found(0), SEED), *((_found(number), round_colour(number, last)) for number in range(1, last + 1))]
    rounds += [(CARRIED_ALONG, CARRIED_COLOUR)] if (table["found"] == CARRIED_ALONG).any() else []
    sizes = list(zip(SIZE_CLASS_NAMES, SIZES, strict=True))
    columns = (("possibility", "possibility", sure), ("found", "round", rounds), ("size", "size", sizes))
    return [{"column": column, "label": label, "colours": colours} for column, label, colours in columns]


def _collection(frame: gpd.GeoDataFrame, pixel_m: float) -> dict[str, Any]:
    """Return a GeoJSON collection, to the decimetre, as coarse as it must be to stay below MOST_BYTES."""
    tolerance = pixel_m / 2
    while True:
        coarse = shapely.transform(shapely.simplify(frame.geometry.to_numpy(), tolerance), lambda xy: np.round(xy, 1))
        text = frame.set_geometry(coarse, crs=frame.crs).to_json(na="null", drop_id=True)
        if len(text) <= MOST_BYTES or tolerance > 100 * pixel_m:
            found: dict[str, Any] = json.loads(text)
            found.pop("crs", None)
            return found
        tolerance *= 2


def _observed(seen: Coverage) -> dict[str, Any]:
    """Return the observed part of the area as an image: light where it was, transparent where not."""
    bounds = np.array([tile for tile, _ in seen.tiles])
    west, south = bounds[:, :2].min(axis=0)
    east, north = bounds[:, 2:].max(axis=0)
    rows, columns = seen.tiles[0][1].shape
    size = np.array([bounds[0, 2] - bounds[0, 0], bounds[0, 3] - bounds[0, 1]])
    canvas: NDArray[np.bool_] = np.zeros(
        (round((north - south) / size[1]) * rows, round((east - west) / size[0]) * columns), dtype=bool
    )
    for (left, _, _, top), observed in seen.tiles:
        row, column = round((north - top) / size[1]) * rows, round((left - west) / size[0]) * columns
        canvas[row : row + rows, column : column + columns] = observed
    image = np.zeros((*canvas.shape, 4), np.uint8)
    image[canvas] = [*(round(255 * part) for part in to_rgb(SEEN)), 255]
    buffer = BytesIO()
    Pillow.fromarray(image).quantize(2).save(buffer, "png", optimize=True)
    return {"extent": [west, south, east, north], "uri": uri(buffer.getvalue(), "png")}
