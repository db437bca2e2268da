"""All sections together, and what must agree between them."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from rts_pipeline.config.area import Area, GridSection, Time
from rts_pipeline.config.base import Section
from rts_pipeline.config.candidates import Candidates, Polygonize, Prediction
from rts_pipeline.config.inventory import Attributes, Completeness, Inventory
from rts_pipeline.config.learning import Chips, Choice, Labels, Train
from rts_pipeline.config.release import Export, Report
from rts_pipeline.config.review import Audit, Evidence, Review, Rounds
from rts_pipeline.config.scenes import Adjust, Mosaic, Scenes


def _plain(folder: str) -> str:
    """Return the folder of what rules make or share: its path stands unquoted in their commands, and in patterns of files."""
    if not folder:
        raise ValueError("a path is expected; '.' is the folder in which snakemake runs")
    if found := re.search(r"[^\w@%+=:,./-]", folder):
        raise ValueError(f"a space, or a sign that a shell reads, can't be in the path, found '{found[0]}'")
    return folder


Folder = Annotated[str, AfterValidator(_plain)]


class Config(Section):
    """The whole configuration."""

    results: Folder = Field(
        "results", description="Folder for everything that is computed; can be removed and rebuilt. No space in its path."
    )
    reviews: Folder = Field(
        "reviews",
        description="Folder for what people decided; never removed by the software. Back it up. No space in its path.",
    )
    area: Area
    time: Time = Time()
    grid: GridSection = GridSection()
    scenes: Scenes
    adjust: Adjust = Adjust()
    mosaic: Mosaic = Mosaic()
    labels: Labels
    chips: Chips = Chips()
    train: Train = Train()
    choice: Choice = Choice()
    predict: Prediction = Prediction()
    polygonize: Polygonize = Polygonize()
    candidates: Candidates = Candidates()
    audit: Audit = Audit()
    evidence: Evidence = Evidence()
    review: Review = Review()
    inventory: Inventory = Inventory()
    attributes: Attributes = Attributes()
    completeness: Completeness = Completeness()
    export: Export = Export()
    report: Report = Report()
    rounds: Rounds = Rounds()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        neck_m, pixel_m = self.polygonize.neck_m, self.grid.pixel_m
        if 0 < neck_m < 2 * pixel_m:
            raise ValueError(f"polygonize.neck_m is {neck_m:g}: must be 0 or at least two pixels, {2 * pixel_m:g}")
        if self.labels.seeds is None and self.rounds.adopt is None:
            raise ValueError("labels.seeds and rounds.adopt are null: the first round needs known slumps, or a network")
        if self.rounds.adopt is not None and self.predict.precision == "int8":
            raise ValueError("predict.precision is 'int8', and a network of rounds.adopt is not quantised: set it to 'auto'")
        return self
