"""Where and when: the area, the season of the year that is mapped, and the grid of all rasters."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from rts_pipeline.config.base import Count, Positive, Section, Year
from rts_pipeline.grid import Grid


class Place(Section):
    """Whose inventory of what region it is."""

    region: str = Field("", description="Name of the region, written into the inventory.")
    creator_lab: str = Field(
        "",
        description="Makers, as 'Initials+Surname, Organisation', joined by '; '; part of each slump's UID.",
    )


class Area(Place):
    """Where."""

    aoi: str = Field(description="Vector file with the polygon(s) of the area of interest, in any CRS.")


def _month_day(value: str) -> str:
    date.fromisoformat(f"2000-{value}")
    return value


MonthDay = Annotated[str, Field(pattern=r"^\d\d-\d\d$"), AfterValidator(_month_day)]


class Season(Section):
    """The season of a year whose images are used."""

    target_year: Year = Field(2019, description="The year that the inventory describes.")
    season: tuple[MonthDay, MonthDay] = Field(("07-01", "08-30"), description="First and last day (MM-DD) of usable images.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.season[0] > self.season[1]:
            raise ValueError(f"season {list(self.season)} must begin before it ends")
        return self

    def in_season(self, acquired: str, year: int) -> bool:
        """Tell whether an acquisition time (ISO 8601, UTC) lies in the season of `year`."""
        return acquired[:4] == str(year) and self.season[0] <= acquired[5:10] <= self.season[1]


class Time(Season):
    """When."""

    target_date: MonthDay = Field("08-01", description="Day (MM-DD) that images of equal quality should be nearest to.")

    def target_day(self, year: int) -> date:
        """Return the target date in a year; 29 February of one that has none is 1 March."""
        month, day = (int(part) for part in self.target_date.split("-"))
        return date(year, month, 1) + timedelta(days=day - 1)


class GridSection(Section):
    """The grid that all rasters share."""

    crs: str = Field("auto", description="Projected CRS in metres (EPSG code or WKT); auto: UTM zone of the area's centre.")
    pixel_m: Positive = Field(3.0, description="Pixel size in metres.")
    cell_px: int = Field(2048, ge=64, le=8192, multiple_of=64, description="Edge of a cell in pixels: the unit of mosaics.")
    block_cells: Count = Field(5, description="Edge of a block in cells: the unit of prediction jobs.")

    def grid(self) -> Grid:
        """Return the grid (with crs already resolved)."""
        return Grid(self.crs, self.pixel_m, self.cell_px, self.block_cells)
