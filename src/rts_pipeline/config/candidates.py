"""From the network to the candidates: prediction, outlines, and which of these the reviewers are asked about."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from rts_pipeline.config.base import Count, Fraction, Section


class Predict(Section):
    """Applying the network to every pixel."""

    window_px: int = Field(512, ge=128, multiple_of=32, description="Edge of a prediction window in pixels.")
    overlap_px: int = Field(128, ge=0, description="Overlap of neighbouring windows, blended, in pixels.")
    precision: Literal["auto", "f32", "bf16", "int8"] = Field(
        "auto",
        description="Arithmetic; auto: bf16 on a GPU, and on a CPU that has it. int8: on a CPU alone, faster and less exact;"
        " validation says what that costs.",
    )
    flips: bool = Field(False, description="Take the mean over each window and its three flips: four times the work.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.overlap_px > self.window_px // 2:
            raise ValueError(f"overlap_px {self.overlap_px} must be at most half of window_px {self.window_px}")
        return self


class Inference(Section):
    """Where prediction and validation run: no part of a result's options, so that another machine makes nothing stale."""

    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="auto: a GPU where the machine has one; cpu; cuda: a GPU, on a cluster one asked for; cuda:1: that GPU.",
    )
    batch_size: Count = Field(16, description="Windows at a time on a GPU; halved when its memory is short.")


class Prediction(Inference, Predict):
    """Applying the network to every pixel, and where."""


class Outlining(Section):
    """What becomes an outline."""

    threshold: Fraction | None = Field(None, description="Probability threshold; null: the one chosen on validation objects.")
    seed_threshold: Fraction | None = Field(
        None,
        description="An outline is kept if one of its pixels has at least this probability; null: the one chosen on validation"
        " objects. At the threshold or below it all are.",
    )
    min_area_m2: float | None = Field(None, ge=0, description="Smallest outline; null: the one chosen on validation objects.")
    hole_m2: float | None = Field(
        None, ge=0, description="Holes smaller than this are filled; null: the size chosen on validation objects."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.threshold is not None and self.seed_threshold is not None and self.seed_threshold < self.threshold:
            raise ValueError(f"seed_threshold {self.seed_threshold} must be at least threshold {self.threshold}")
        return self


class Shaping(Section):
    """What shape outlines have."""

    simplify_px: float = Field(
        0.5, ge=0, le=0.5, description="Outlines leave the staircase of pixel edges by at most this, in pixels; 0: not at all."
    )
    neck_m: float = Field(
        0.0,
        ge=0,
        description="Outlines are cut at necks of at most this width, between places that are each more than twice as wide; at"
        " least two pixels. 0: never.",
    )


class Polygonize(Shaping, Outlining):
    """From probabilities to outlines."""


class Candidates(Section):
    """Which outlines the reviewers are asked about."""

    growth: float = Field(
        0.5,
        ge=0,
        description="An outline over known slumps is asked about again when its area is by more than this share above theirs,"
        " and above that of every outline that was judged there before; one on rejected ground when the rest of it exceeds this"
        " share of that ground.",
    )
    max_count: Count | None = Field(
        None, description="Most outlines that a round asks about, those worth most first; the others wait. null: all."
    )
    min_precision: Fraction | None = Field(
        None,
        description="Outlines whose expected precision (their mean probability, which is calibrated) is lower wait for a later"
        " round; null: none.",
    )
