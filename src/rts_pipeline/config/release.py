"""What is published: the files of the release and the report."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field

from rts_pipeline.config.base import Section


def _day(value: str) -> str:
    date.fromisoformat(value)
    return value


Day = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$"), AfterValidator(_day)]
Format = Literal["gpkg", "parquet", "csv", "points", "geojson", "shapefile", "kml", "arts", "darts", "stac"]


class Export(Section):
    """The published release: its formats, and what a citation of it says."""

    formats: list[Format] = Field(
        list(get_args(Format)),
        min_length=1,
        description="Files to write; docs/export.md says which is for whom. gpkg and parquet are the masters.",
    )
    licence: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9.+-]+$",
        description="Licence of the inventory, by its SPDX name (CC-BY-4.0); null: none is stated.",
    )
    version: str | None = Field(None, description="Version of the inventory, for its citation ('1.0'); null: none.")
    doi: str | None = Field(None, pattern=r"^10\.\d{4,}/\S+$", description="DOI of the inventory (10.x/y); null: none yet.")
    released: Day | None = Field(None, description="Day of release (YYYY-MM-DD); null: the day of the latest verdict.")


class Report(Section):
    """The HTML report."""

    title: str = Field("Inventory of retrogressive thaw slumps", description="Title of the report.")
