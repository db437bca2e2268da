"""A candidate (or known slump, or window) on its way through the stage: what it is made of, what was made, how that is kept."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from rts_pipeline.evidence.chips import Chip
from rts_pipeline.evidence.tables import CHIP, GROUND, TERRAIN, YEAR
from rts_pipeline.grid import GeoBox
from rts_pipeline.io.json import canonical_json

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    Files = dict[str, bytes]

WINDOW_REASON = "a window of the audit: nothing is measured"
PICTURES, NUMBERS = "pictures.json", "numbers.json"


@dataclass
class Candidate:
    """A candidate.

    Attributes:
        id: its name.
        outline: in the grid's CRS.
        chips: one a year, ascending.
        ground: the pixels that the pictures show.
        box: the pixels on which it is measured.
        window: whether it is a window of an audit: ground to be looked through, of which nothing is measured.
        terrain: pictures of the terrain by kind.
        terrain_reason: why there are none.
        uphill: direction in radians clockwise from grid north, or why it isn't known.
        numbers: what `measure` returned, of each year with an image.
    """

    id: str
    outline: BaseGeometry
    chips: list[Chip]
    ground: GeoBox
    box: GeoBox
    window: bool = False
    terrain: Files = field(default_factory=dict)
    terrain_reason: str = ""
    uphill: float | str = ""
    numbers: dict[int, dict[str, Any]] = field(default_factory=dict)

    def kept_pictures(self) -> Files:
        """Return what of the pictures goes into the cache."""
        years = [[_plain(c.fraction), *([c.item.id, *c.item.shift_m, c.place_error_m] if c.item else [])] for c in self.chips]
        told = canonical_json({"terrain_reason": self.terrain_reason, "years": years}).encode()
        shown = {f"{chip.year}_{kind}": picture for chip in self.chips for kind, picture in chip.pictures.items()}
        return {PICTURES: told, **shown, **self.terrain}

    def restore_pictures(self, files: Files) -> None:
        """Take back what `kept_pictures` returned."""
        told = json.loads(files[PICTURES])
        self.terrain_reason = told["terrain_reason"]
        self.terrain = {kind: files[kind] for kind in TERRAIN if kind in files}
        for chip, (fraction, *shown) in zip(self.chips, told["years"], strict=True):
            chip.fraction = np.nan if fraction is None else fraction
            if shown:
                name, east, north, chip.place_error_m = shown
                chip.item = replace(next(item for item in chip.items if item.id == name), shift_m=(east, north))
            names = {kind: f"{chip.year}_{kind}" for kind in CHIP}
            chip.pictures = {kind: files[name] for kind, name in names.items() if name in files}

    def kept_numbers(self) -> Files:
        """Return what of the numbers goes into the cache."""
        years = {str(year): {name: _plain(value) for name, value in told.items()} for year, told in self.numbers.items()}
        return {NUMBERS: canonical_json({"uphill": self.uphill, "years": years}).encode()}

    def restore_numbers(self, files: Files) -> None:
        """Take back what `kept_numbers` returned."""
        told = json.loads(files[NUMBERS])
        self.uphill = told["uphill"]
        self.numbers = {
            int(year): {name: _typed(name, value) for name, value in numbers.items()} for year, numbers in told["years"].items()
        }

    def write(self, folder: Path) -> None:
        """Write the pictures, and let go of them: from here on it is known only which there are."""
        for chip in self.chips:
            for kind, picture in chip.pictures.items():
                (folder / self._name(kind, chip.year)).write_bytes(picture)
            chip.pictures = dict.fromkeys(chip.pictures, b"")
        for kind, picture in self.terrain.items():
            (folder / self._name(kind)).write_bytes(picture)
        self.terrain = dict.fromkeys(self.terrain, b"")

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of `evidence.parquet`, without `headwall_m`."""
        terrain = {kind: self._name(kind) if kind in self.terrain else None for kind in TERRAIN}
        return [self._row(chip) | terrain | self.numbers.get(chip.year, {}) for chip in self.chips]

    def _row(self, chip: Chip) -> dict[str, Any]:
        item = chip.item
        east, north = item.shift_m if item else (np.nan, np.nan)
        return {
            "candidate_id": self.id,
            "year": chip.year,
            **dict(zip(GROUND, self.ground.bounds, strict=True)),
            "item_id": item.id if item else None,
            "acquired": item.acquired if item else None,
            **{kind: self._name(kind, chip.year) if kind in chip.pictures else None for kind in CHIP},
            "usable_fraction": chip.fraction,
            "reason": chip.reason,
            "terrain_reason": self.terrain_reason,
            "seen": None,
            "shift_east_m": east,
            "shift_north_m": north,
            "misregistration_m": chip.place_error_m,
            "numbers_reason": WINDOW_REASON if self.window else chip.reason,
            "outline": None,
        }

    def _name(self, kind: str, year: int | None = None) -> str:
        return "_".join([self.id, *([] if year is None else [str(year)]), kind.removesuffix("_colour")]) + ".webp"


def _plain(value: Any) -> Any:
    """Return a value as JSON can say it."""
    if isinstance(value, shapely.Geometry):
        return str(shapely.to_wkb(value, hex=True))
    return None if isinstance(value, float) and np.isnan(value) else value


def _typed(name: str, value: Any) -> Any:
    """Return the value of a column that `_plain` made plain."""
    if name == "outline":
        return None if value is None else shapely.from_wkb(value)
    return np.nan if value is None and YEAR[name] == "float64" else value
