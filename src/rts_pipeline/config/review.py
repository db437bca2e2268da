"""The rounds of review: what the reviewers see and decide, the audit, and when the rounds end."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field

from rts_pipeline.config.base import Positive, Section, Year

GUIDELINE = "2"
"""Version of docs/guideline.md, which the review page shows."""


def _rising(values: list[float]) -> list[float]:
    if any(low >= high for low, high in pairwise(values)):
        raise ValueError(f"limits of classes must rise, found {values}")
    return values


Limits = Annotated[list[float], AfterValidator(_rising)]


def _each_once(years: list[int]) -> list[int]:
    if twice := sorted({year for year in years if years.count(year) > 1}):
        raise ValueError(f"each year once, found {twice} more often")
    return years


class Audit(Section):
    """How many slumps were missed: a random sample of windows that the reviewers look through."""

    windows: int = Field(
        0,
        ge=0,
        description="Windows in the sample of a round: some 200 give a useful interval, at some 15 s each (assumed). 0: no"
        " audit. Switch it on in the round that is expected to be the last.",
    )
    window_px: int = Field(256, ge=16, description="Edge of a window in pixels; a cell must hold a whole number of them.")
    probability: Limits = Field(
        [0.1, 0.4], description="Limits between the classes of a window's highest probability: the sample's strata."
    )
    slope_deg: Limits = Field([4.0], description="Limits between the classes of its mean slope (needs attributes.dem).")
    known_m: Limits = Field([2000.0], description="Limits between the classes of its distance to the nearest known slump.")
    seed: int = Field(0, description="Seed of the sample: another one draws other windows.")


class Years(Section):
    """Which years the reviewers see."""

    years: Annotated[list[Year], AfterValidator(_each_once)] = Field(
        [2016, 2017, 2018, 2019, 2020], min_length=1, description="Years whose images the reviewers see."
    )


class Evidence(Years):
    """Image chips for the reviewers, and what is measured beside them."""

    margin_m: float = Field(150.0, ge=0, description="Ground shown around a candidate.")
    min_size_px: int = Field(96, ge=32, description="Smallest edge of a chip, in pixels of the grid.")
    scale: int = Field(3, ge=1, le=8, description="Screen pixels for one pixel of the grid.")
    ring_m: Positive = Field(
        60.0, le=1000, description="Width of the ring around a candidate whose upslope half it is compared with."
    )


class Review(Section):
    """The policy of a review."""

    allow_unreviewed: bool = Field(
        False,
        description="Whether a round may be signed off with unreviewed candidates; while it leaves any, the rounds don't"
        " converge.",
    )
    second_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the candidates, drawn at random, that a second person judges too, beside all that the first is"
        " unsure of and those near the threshold; 0.15 to 0.2 where there are two. 0: nobody judges twice.",
    )
    second_seed: int = Field(0, description="Seed of that draw.")
    second_margin: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Candidates whose mean probability is within this of the threshold are judged twice too.",
    )
    allow_single: bool = Field(False, description="Whether a round may be signed off while second judgements are missing.")
    allow_disputed: bool = Field(
        False,
        description="Whether a round may be signed off while reviewers disagree or one contradicts himself; those"
        " candidates become unsure.",
    )
    guideline_version: str = Field(
        GUIDELINE,
        description="Version of the reviewers' guideline, recorded with each verdict; an open review keeps that of its start.",
    )


class Rounds(Section):
    """How the loop of rounds begins and when it ends."""

    adopt: str | None = Field(
        None,
        description="Round folder (results/rounds/04) of another project, whose network and thresholds the first round takes"
        " instead of training; null: the first round learns from labels.seeds.",
    )
    extra: int = Field(0, ge=0, description="Rounds to open after one that brought no new slump.")
