"""The inventory: which slumps are the same as before, what is measured for each, and how many were missed."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from rts_pipeline.config.base import Section


class Inventory(Section):
    """Which slumps are the same as before (docs/inventory.md)."""

    previous: str | None = Field(
        None,
        description="An earlier inventory (GeoPackage or GeoParquet), whose slumps keep their rts_uid, and their rows until"
        " somebody says that they are gone; null: there is none.",
    )
    decisions: str | None = Field(
        None,
        description="CSV file in which the lab decides relations that inventory/relations.csv asks; null: none is decided.",
    )


def _texts(value: Any) -> Any:
    return {str(key): name for key, name in value.items()} if isinstance(value, dict) else value


ColumnName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class Covariate(Section):
    """A raster or vector file from which something is measured for each slump."""

    name: ColumnName = Field(description="Name of the column, or what those of classes begin with.")
    file: str = Field(description="Raster or vector file, in any CRS.")
    kind: Literal["mean", "shares", "nearest"] = Field(description="mean and shares inside the outline, or distance in metres.")
    field: str | None = Field(None, description="Field of a vector file that holds the values (mean, shares).")
    classes: Annotated[dict[str, ColumnName], BeforeValidator(_texts)] = Field({}, description="shares: value -> name.")
    unit: str = Field("1", description="mean: unit of the values.")
    description: str = Field("", description="What the values are, for the data dictionary.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.kind == "shares") != bool(self.classes):
            raise ValueError(f"covariate '{self.name}': kind shares, and no other, needs classes, as {{1: meadow, 2: steppe}}")
        return self


class Covariates(Section):
    """What is measured beside terrain and roads."""

    covariates: list[Covariate] = Field(
        [],
        description="More rasters or vectors to measure for each slump, as {name: ndvi, file: data/ndvi.tif, kind: mean};"
        " docs/attributes.md explains the keys.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        from rts_pipeline.inventory.dictionary import TAKEN, columns

        names = [*TAKEN, *(column.name for column in columns(measured=True, covariates=self.covariates))]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"covariates would make the column '{twice[0]}' twice; give it another name")
        return self


class Measures(Covariates):
    """What the values of the attributes depend on beside the files."""

    dem_date: str | None = Field(None, description="Date of the DEM, copied into the inventory, as 2011-01/2015-01.")


class Attributes(Measures):
    """What is measured for each slump of the inventory."""

    dem: str | None = Field(None, description="Elevation raster in metres, in any CRS; null: no terrain attributes.")
    roads: str | None = Field(None, description="Vector file of roads; null: no distance.")
    railway: str | None = Field(None, description="Vector file of railways; null: no distance.")

    @property
    def files(self) -> dict[str, str]:
        """The files that are named, by their keys."""
        named = {"dem": self.dem, "roads": self.roads, "railway": self.railway}
        named |= {f"covariates.{covariate.name}": covariate.file for covariate in self.covariates}
        return {key: path for key, path in named.items() if path is not None}


class Completeness(Section):
    """How many slumps were missed."""

    detectors: list[str] = Field(
        [],
        description="Round folders (results/rounds/01) of two other projects in the same grid, whose networks learnt from"
        " disjoint halves of the labels: two searches of the same ground. []: none.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.detectors and len(set(self.detectors)) != 2:
            raise ValueError(f"detectors must be two different folders or none, found {self.detectors}")
        return self

    @property
    def files(self) -> list[str]:
        """What the two networks outlined, and what they had learnt from."""
        return [f"{folder}/{table}.parquet" for folder in self.detectors for table in ("outlines", "labels")]
