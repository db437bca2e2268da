"""Labels, windows and the network: how it learns, and where."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from rts_pipeline.config.base import Count, Fraction, Positive, Section


class Labelling(Section):
    """How outlines become labels."""

    boundary_ignore_m: float = Field(
        0.0, ge=0, description="Ring on both sides of a slump's boundary that training ignores; judging doesn't."
    )


class Labels(Labelling):
    """What the network learns from."""

    seeds: str | None = Field(
        description="Vector file with the outlines of the slumps known at the start, in any CRS; null: none is known, and"
        " rounds.adopt names a network."
    )


class Windows(Section):
    """Windows for training, validation and test."""

    size_px: int = Field(256, ge=64, multiple_of=32, description="Edge of a window in pixels.")
    stride_px: int = Field(128, ge=32, description="Step between training windows in pixels.")
    buffer_m: float = Field(300.0, ge=0, description="Windows are taken within this distance around labels.")
    background_per_label: float = Field(1.0, ge=0, description="Background windows for each window around a label.")
    background_reach_m: float = Field(3000.0, ge=0, description="Background is drawn within this distance of a label.")
    block_m: Positive = Field(6144.0, description="Edge of a spatial block: all windows of a block share one split.")
    validation_fraction: Fraction = Field(0.25, description="Share of the spatial blocks kept for validation.")
    test_fraction: Fraction = Field(0.0, description="Share of the spatial blocks that nothing is fitted to or chosen on.")
    guard_px: int | None = Field(
        None,
        ge=0,
        description="Pixels between training windows and validation or test blocks, and between validation windows and test"
        " blocks; null: a window and one more.",
    )
    seed: int = Field(0, description="Seed of the split and of the background draw.")


class Chips(Windows):
    """Windows for training, validation and test, and the folds of cross-validation, which the rounds don't depend on."""

    folds: int = Field(5, ge=3, description="Parts of the blocks in cross-validation (snakemake crossvalidation).")


TORCHGEO = "_Weights."
"""What a name of torchgeo's weights holds; else they are a file."""


class Network(Section):
    """The network, and whether a round's starts from the last one's."""

    bands: list[Literal["blue", "green", "red", "nir"]] = Field(
        ["blue", "green", "red", "nir"], min_length=1, description="Bands used."
    )
    ndvi: bool = Field(False, description="Whether the NDVI is a further input (needs red and nir).")
    architecture: str = Field("deeplabv3+", description="Architecture (name in segmentation-models-pytorch).")
    encoder: str = Field("resnet50", description="Encoder (name in segmentation-models-pytorch or timm).")
    members: Count = Field(1, description="Networks, trained from seeds that follow each other, whose mean is the model.")
    warm_start: bool = Field(True, description="From the second round on start from the last round's network.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.ndvi and not {"red", "nir"} <= set(self.bands):
            raise ValueError(f"ndvi needs red and nir, and bands are {self.bands}")
        return self


class Learning(Network):
    """The network and how it learns."""

    weights: str | None = Field(
        None,
        description="Encoder weights to start from: a file, or one of torchgeo's names (ResNet50_Weights.SENTINEL2_ALL_MOCO)"
        " that is in torch's cache; null: random.",
    )
    epochs: Count = Field(40, description="Epochs of the first round.")
    warm_epochs: Count = Field(20, description="Epochs of a round that starts from the last round's network.")
    steps_per_epoch: Count = Field(250, description="Optimiser steps in an epoch.")
    patience: Count | None = Field(None, description="End after so many epochs without a better validation F1; null: never.")
    max_minutes: Positive | None = Field(None, description="End a network's training after this time; null: never.")
    batch_size: Count = Field(8, description="Windows in a step.")
    learning_rate: Positive = Field(1e-3, description="Highest learning rate (AdamW, one cycle).")
    weight_decay: float = Field(1e-2, ge=0, description="Weight decay of AdamW.")
    precision: Literal["auto", "32", "bf16"] = Field("auto", description="Arithmetic; auto: bf16 where the device has it.")
    compile: bool = Field(False, description="Compile the network (torch.compile).")
    seed: int = Field(0, ge=0, description="Seed of weights, draws and augmentation.")

    @model_validator(mode="after")
    def _seeds_in_range(self) -> Self:
        if self.seed + self.members > 2**32:
            raise ValueError(f"seed {self.seed} must be at most {2**32 - self.members}: members count on from it, below 2^32")
        return self


class Placement(Section):
    """Where training runs: no part of a result's options, so that another machine makes nothing stale."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to train.")
    devices: Count = Field(1, description="GPUs (or, on a CPU, processes) that share each step's windows.")
    workers: int = Field(2, ge=0, description="Processes that read windows, for each device.")

    @property
    def gpus(self) -> int:
        """Number of GPUs to ask a cluster for."""
        return 0 if self.device == "cpu" else self.devices


class Train(Placement, Learning):
    """The network, how it learns, and where."""


class Choice(Section):
    """Choosing thresholds, minimum area and hole size on the objects of the validation blocks."""

    recall: Fraction | None = Field(
        None,
        description="Share of the slumps that must be found; the fewest false outlines that allow it are taken."
        " null: the best F1. More recall costs the reviewers more time.",
    )
