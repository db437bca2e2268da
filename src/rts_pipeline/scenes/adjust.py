"""Stage `adjust`: where each item really lies, and the gain and offset that make all agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rts_pipeline.config import BANDS, Adjust
from rts_pipeline.errors import InputError
from rts_pipeline.io.files import sha256_file, was_read
from rts_pipeline.io.json import write_json
from rts_pipeline.io.tables import read_geoparquet
from rts_pipeline.options import AdjustOptions
from rts_pipeline.progress import track
from rts_pipeline.scenes.failures import read_measured
from rts_pipeline.scenes.network import Samples, solve_radiometry, solve_shifts
from rts_pipeline.scenes.overlaps import COLUMNS
from rts_pipeline.scenes.radiometry import MOMENTS
from rts_pipeline.scenes.reference import MOSAIC, REFERENCE
from rts_pipeline.scenes.registration import LEAST_CORRELATION

AGREES_M = 1.5
"""A measurement agrees with the solution within this: half a pixel of PlanetScope."""

ENOUGH = 3
"""Measurements; with fewer an item's confidence is that share of what it would be."""


@dataclass(frozen=True)
class Place:
    """Where an item's content lies: metres too far to the east and north, confidence 0-1, number of measurements."""

    east: float
    north: float
    confidence: float
    measurements: int


NOT_MEASURED = Place(0.0, 0.0, 0.0, 0)

Radiometry = dict[str, tuple[float, float]]
"""Gain and offset by band."""


def adjust_items(overlaps: Sequence[Path], items: Sequence[Path], out: Path, options: AdjustOptions) -> None:
    """Solve for all items together and write, beside each item.json, adjusted.json: the same STAC item with what was found.

    Added or changed properties:
        rts:shift_m: [east, north], displacement of the item's content in the grid's CRS in metres; null if not measured.
        rts:shift_confidence: 0-1, share of its measurements that agree with the solution; less with fewer than three.
        rts:shift_measurements: windows and partners that it was compared in and with.
        rts:shift_corrected: whether readers are to undo it.
        rts:gain, rts:offset: by band; adjusted reflectance x 10,000 = DN * gain + offset. The gain includes the one that
            item.json has.
        rts:status, rts:reason: "rejected" where a displacement that is sure is too large.

    Args:
        overlaps: what `overlaps` wrote, of all blocks, in any order.
        items: item.json files of `scenes`, in any order.
        out: the record: item id -> sha256 of its adjusted.json.
        options: what is corrected, and from when on.

    Raises:
        InputError: a file is missing, damaged, or not of those stages.
    """
    table = _read(overlaps)
    what = options.adjust
    places = _places(table) if what.shifts != "none" else {}
    radiometry = _radiometry(table) if what.radiometry == "overlaps" else {}
    paths = sorted(set(items))
    was_read(*paths)
    record = {}
    for path in track(paths, len(paths), "adjust", "items"):
        adjusted = path.with_name("adjusted.json")
        write_json(adjusted, _adjusted(path, places, radiometry, what))
        record[path.parent.name] = sha256_file(adjusted)
    write_json(out, record)


def _read(paths: Sequence[Path]) -> pd.DataFrame:
    tables = []
    for path in sorted(set(paths)):
        table = read_geoparquet(path)
        if missing := [column for column in COLUMNS if column not in table]:
            raise InputError(
                path, f"lacks the column {missing[0]}", expected="what overlaps wrote", do="remove it and run again"
            )
        tables.append(pd.DataFrame(table[list(COLUMNS)]))
    if not tables:
        return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in COLUMNS.items()})
    # the order of sums decides their last digits
    return pd.concat(tables).sort_values(["window_row", "window_column", "a", "b"], ignore_index=True)


def _nodes(table: pd.DataFrame) -> tuple[list[str], Any, Any]:
    """Return the ids in the table, sorted, and the positions among them of each row's a and b."""
    names = sorted({*table["a"], *table["b"]})
    number = pd.Index(names)
    return names, number.get_indexer(table["a"]).astype(np.int64), number.get_indexer(table["b"]).astype(np.int64)


def _places(table: pd.DataFrame) -> dict[str, Place]:
    used = table[table["correlation"] >= LEAST_CORRELATION]
    names, first, second = _nodes(used)
    measured = used[["shift_east_m", "shift_north_m"]].to_numpy(float)
    fixed = next((names.index(name) for name in (REFERENCE, MOSAIC) if name in names), None)
    found = solve_shifts(len(names), first, second, measured, used["correlation"].to_numpy(float), fixed)
    agrees = np.linalg.norm(measured - (found[first] - found[second]), axis=1) <= AGREES_M
    count, agreeing = (
        np.bincount(first, weight, minlength=len(names)) + np.bincount(second, weight, minlength=len(names))
        for weight in (np.ones(len(agrees)), agrees.astype(float))
    )
    confidence = agreeing / np.maximum(count, ENOUGH)
    return {
        name: Place(float(found[n, 0]), float(found[n, 1]), float(confidence[n]), int(count[n])) for n, name in enumerate(names)
    }


def _radiometry(table: pd.DataFrame) -> dict[str, Radiometry]:
    used = table[table["samples"] > 0]
    names, first, second = _nodes(used)
    solved: dict[str, Radiometry] = {name: {} for name in names}
    for band in BANDS:
        sums = (used[f"{band}_{name}"].to_numpy(float) for name in MOMENTS)
        gain, offset = solve_radiometry(len(names), Samples(first, second, used["samples"].to_numpy(float), *sums))
        if MOSAIC in names:  # all are linked through it, and it stays as it is
            at = names.index(MOSAIC)
            gain, offset = gain / gain[at], (offset - offset[at]) / gain[at]
        for name, *pair in zip(names, gain.tolist(), offset.tolist(), strict=True):
            solved[name][band] = (pair[0], pair[1])
    return solved


def _adjusted(path: Path, places: dict[str, Place], radiometry: dict[str, Radiometry], what: Adjust) -> dict[str, Any]:
    item: dict[str, Any] = read_measured(path)
    try:
        name, told = item["id"], item["properties"]
        status, given = told["rts:status"], told.get("rts:gain", {})
    except (KeyError, TypeError) as error:
        raise InputError(path, f"lacks {error}", expected="an item.json of the stage scenes", do="run it again") from None
    found = radiometry.get(name, dict.fromkeys(BANDS, (1.0, 0.0)))
    told["rts:gain"] = {band: round(found[band][0] * given.get(band, 1.0), 6) for band in BANDS}
    told["rts:offset"] = {band: round(found[band][1], 3) for band in BANDS}
    told |= _displacement(places.get(name, NOT_MEASURED), status, what)
    return item


def _displacement(place: Place, status: str, what: Adjust) -> dict[str, Any]:
    distance = float(np.hypot(place.east, place.north))
    sure = place.measurements > 0 and place.confidence >= what.min_confidence
    said: dict[str, Any] = {
        "rts:shift_m": [round(place.east, 3), round(place.north, 3)] if place.measurements else None,
        "rts:shift_confidence": round(place.confidence, 3),
        "rts:shift_measurements": place.measurements,
        "rts:shift_corrected": what.shifts == "correct" and sure and distance > what.correct_above_m,
    }
    if status == "used" and sure and distance > what.max_shift_m:
        said["rts:status"] = "rejected"
        said["rts:reason"] = f"displaced by {distance:.0f} m against the items it overlaps (limit {what.max_shift_m:g} m)"
    return said
