"""What a simulated corridor is made from."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from rts_pipeline.config import Count, Section
from rts_pipeline.grid import GeoBox

CRS = "EPSG:32646"
PIXEL_M = 3.0
WEST_PX, NORTH_PX = 160_000, -1_286_667
"""Grid indices of the corridor's upper left pixel: x 480,000 m, y 3,860,001 m (Beiluhe, 34.9 N 92.8 E)."""
MARGIN_PX = 20
"""Ground simulated around the corridor, so that shifted items still have ground below their last pixel."""
TERRAIN_PX = 10
"""Pixels in an edge of a terrain cell (30 m)."""


class CorridorOptions(Section):
    """Size, time and seed of a corridor; equal options give equal bytes."""

    seed: int = Field(0, ge=0, description="Seed of everything.")
    width_km: float = Field(12.0, ge=2.4, le=60, description="Extent from west to east.")
    height_km: float = Field(12.0, ge=2.4, le=60, description="Extent from north to south.")
    years: list[int] = Field([2016, 2017, 2018, 2019, 2020], min_length=1, description="Years with items and truth.")
    target_year: int = Field(2019, description="The year of the seeds; it has the most items.")
    n_slumps: Count = Field(120, description="Slumps that exist in the target year; a few more begin later.")
    workers: Count = Field(2, description="Processes that make items.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.target_year not in self.years:
            raise ValueError(f"target_year {self.target_year} must be one of years {self.years}")
        return self

    @property
    def area(self) -> GeoBox:
        """The corridor: the area of interest, in whole terrain cells."""
        width, height = (round(km * 1000 / PIXEL_M / TERRAIN_PX) * TERRAIN_PX for km in (self.width_km, self.height_km))
        return GeoBox("corridor", CRS, PIXEL_M, WEST_PX, NORTH_PX, width, height)

    @property
    def ground(self) -> GeoBox:
        """The corridor with the margin of ground around it."""
        area = self.area
        return GeoBox(
            "ground",
            CRS,
            PIXEL_M,
            area.column - MARGIN_PX,
            area.row - MARGIN_PX,
            area.width + 2 * MARGIN_PX,
            area.height + 2 * MARGIN_PX,
        )
