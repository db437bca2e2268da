"""Delivered images: which are used, how they are made to agree, and what a mosaic takes of them."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from rts_pipeline.config.base import Fraction, Positive, Section

BANDS = ("blue", "green", "red", "nir")
"""The four bands that every generation of PlanetScope has, in the order of our mosaics."""

UDM2_CLASSES = ("clear", "snow", "shadow", "light_haze", "heavy_haze", "cloud")
"""Classes of a udm2, in the order of its bands; Planet gives each pixel of a swath exactly one."""

Udm2Class = Literal["clear", "snow", "shadow", "light_haze", "heavy_haze", "cloud"]
Bit = Annotated[int, Field(ge=0, le=7)]


class Usability(Section):
    """Which items and pixels are usable: the usability policy, recorded with every output."""

    usable_classes: list[Udm2Class] = Field(
        ["clear", "light_haze"],
        min_length=1,
        description="udm2 classes that are usable; a pixel of any other class, or of none, is masked.",
    )
    min_confidence: int = Field(0, ge=0, le=100, description="Pixels below this udm2 confidence (per cent) are masked.")
    udm2_bits: list[Bit] = Field(
        [], description="Bits of the udm2's band 8 that mask a pixel too; they are set on a fifth of PSB.SD's clear pixels."
    )
    udm_bits: list[Bit] = Field([1], description="Bits of the old udm that mask a pixel where it came without udm2; 1: cloud.")
    min_reflectance: Fraction = Field(
        0.0002, description="A pixel with less than this reflectance in any band is implausible; 0.0001 fills swath edges."
    )
    edge_erosion_m: float = Field(
        0.0, ge=0, le=300, description="Pixels nearer than this to the swath's edge are implausible too."
    )
    without_mask: Literal["reject", "use"] = Field(
        "reject", description="What to do with an item that came without udm2 and without udm."
    )
    without_surface_reflectance: Literal["reject", "use"] = Field(
        "use",
        description="What to do with an item that came as at-sensor radiance only; use: as top-of-atmosphere reflectance.",
    )
    min_usable_fraction: Fraction = Field(0.01, description="Items with a smaller share of usable pixels are rejected.")


DIGITS = re.compile(r"(\d{8})(\d{6})(\d{2})?(\d{4})")
"""The parts of an item's id of digits only: day, time, in newer ids hundredths of a second, satellite."""


def _ids(value: Any) -> Any:
    """Put back the underscores of ids that YAML took for numbers, in which it allows them: Snakemake reads the file too."""
    return {_id(key): reason for key, reason in value.items()} if isinstance(value, dict) else value


def _id(key: Any) -> Any:
    if not isinstance(key, int):
        return key
    if parts := DIGITS.fullmatch(str(key)):
        return "_".join(filter(None, parts.groups()))
    raise ValueError(f"{key} is a number to YAML: write the item's id in quotes")


MAX_EXCLUDED = 100_000
"""Characters of all items and reasons as JSON: jobs get them in a command and in a variable, and Linux takes 128 kB of each
(MAX_ARG_STRLEN)."""


def _short(value: dict[str, str]) -> dict[str, str]:
    if (length := len(json.dumps(value))) > MAX_EXCLUDED:
        raise ValueError(
            f"{len(value)} items with {length:,} characters can't be handed to jobs, which take {MAX_EXCLUDED:,};"
            " shorten the reasons, or move items out of the orders' folders"
        )
    return value


class Scenes(Usability):
    """Delivered PlanetScope items."""

    folders: list[str] = Field(min_length=1, description="Folders with delivered orders, searched at any depth.")
    exclude: Annotated[dict[str, str], BeforeValidator(_ids), AfterValidator(_short)] = Field(
        {}, description="Items never to use: item id -> reason."
    )
    verify_checksums: bool = Field(
        False, description="Compare the sha256 of every used file with the order's manifest, not only its size."
    )


class Agreement(Section):
    """In what items are compared."""

    shifts: Literal["none", "measure", "correct"] = Field(
        "none", description="Displacement of items against each other: not looked at, recorded, or also corrected."
    )
    radiometry: Literal["none", "overlaps"] = Field(
        "none", description="overlaps: a gain and an offset for each item and band make overlapping items agree."
    )
    reference: str | None = Field(
        None, description="Raster (4 bands as ours, any CRS) whose place is right; null: where most items agree."
    )

    @property
    def active(self) -> bool:
        """Whether items are compared at all."""
        return self.shifts != "none" or self.radiometry != "none"


class Correction(Section):
    """What a measured displacement leads to."""

    correct_above_m: float = Field(1.0, ge=0, description="Smaller shifts are left, which spares a resampling.")
    max_shift_m: Positive = Field(30.0, description="Items displaced by more are rejected.")
    min_confidence: Fraction = Field(0.5, description="Shifts of less confidence are recorded only.")


class Adjust(Correction, Agreement):
    """Items made to agree, those of the target year all together: then one that comes, goes or breaks concerns all mosaics."""


class Mosaic(Section):
    """Which pixel a mosaic takes where several are usable."""

    choice: Literal["clearest", "nearest", "greenest", "medoid"] = Field(
        "clearest",
        description="clearest: of the item whose usable share is largest, to 0.01; nearest: to the target date;"
        " greenest: highest NDVI; medoid: the one most like all others. Equals: the nearest date, then the item's id.",
    )
    feather_m: float = Field(
        0.0, ge=0, le=150, description="Width over which items are blended at seams; this mixes dates, so it is off."
    )
