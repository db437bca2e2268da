"""The configuration: one typed model, from which the documented default file and the reference page are made."""

from __future__ import annotations

import os
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from rts_pipeline.errors import UsageError
from rts_pipeline.grid import Grid

BANDS = ("blue", "green", "red", "nir")
"""The four bands that every generation of PlanetScope has, in the order of our mosaics."""
GUIDELINE = "2"
"""Version of docs/guideline.md, which the review page shows."""

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


def _month_day(value: str) -> str:
    date.fromisoformat(f"2000-{value}")
    return value


MonthDay = Annotated[str, Field(pattern=r"^\d\d-\d\d$"), AfterValidator(_month_day)]


class Section(BaseModel):
    """A section of the configuration: unknown keys and silent conversions are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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


class Season(Section):
    """The season of a year whose images are used."""

    target_year: int = Field(2019, ge=2009, le=2100, description="The year that the inventory describes.")
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


class GridSection(Section):
    """The grid that all rasters share."""

    crs: str = Field("auto", description="Projected CRS in metres (EPSG code or WKT); auto: UTM zone of the area's centre.")
    pixel_m: Positive = Field(3.0, description="Pixel size in metres.")
    cell_px: int = Field(2048, ge=64, le=8192, multiple_of=64, description="Edge of a cell in pixels: the unit of mosaics.")
    block_cells: Count = Field(5, description="Edge of a block in cells: the unit of prediction jobs.")

    def grid(self) -> Grid:
        """Return the grid (with crs already resolved)."""
        return Grid(self.crs, self.pixel_m, self.cell_px, self.block_cells)


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


class Scenes(Usability):
    """Delivered PlanetScope items."""

    folders: list[str] = Field(min_length=1, description="Folders with delivered orders, searched at any depth.")
    exclude: dict[str, str] = Field({}, description="Items never to use: item id -> reason.")
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
        description="clearest: of the item with most usable pixels; nearest: to the target date; greenest: highest NDVI;"
        " medoid: the one most like all others. Equals: the nearest date, then the item's id.",
    )
    feather_m: float = Field(
        0.0, ge=0, le=150, description="Width over which items are blended at seams; this mixes dates, so it is off."
    )


class Labelling(Section):
    """How outlines become labels."""

    boundary_ignore_m: float = Field(0.0, ge=0, description="Ring on both sides of a label's boundary that is not scored.")


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
    seed: int = Field(0, description="Seed of weights, draws and augmentation.")


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
        " and above that of every outline that was judged there before.",
    )
    max_count: Count | None = Field(
        None, description="Most outlines that a round asks about, those worth most first; the others wait. null: all."
    )
    min_precision: Fraction | None = Field(
        None,
        description="Outlines whose expected precision (their mean probability, which is calibrated) is lower wait for a later"
        " round; null: none.",
    )


def _rising(values: list[float]) -> list[float]:
    if any(low >= high for low, high in pairwise(values)):
        raise ValueError(f"limits of classes must rise, found {values}")
    return values


Limits = Annotated[list[float], AfterValidator(_rising)]


class Audit(Section):
    """How many slumps were missed: a random sample of windows that the reviewers look through."""

    windows: int = Field(
        0,
        ge=0,
        description="Windows in the sample of a round: some 200 give a useful interval, at a quarter of a minute each. 0: no"
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

    years: list[int] = Field([2016, 2017, 2018, 2019, 2020], description="Years whose images the reviewers see.")


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

    allow_unreviewed: bool = Field(False, description="Whether a round may be signed off with unreviewed candidates.")
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


class Inventory(Section):
    """Which slumps are the same as before (docs/inventory.md)."""

    previous: str | None = Field(
        None,
        description="An earlier inventory (GeoPackage or GeoParquet), whose slumps keep their rts_uid, and their rows where"
        " their ground was not observed this time; null: there is none.",
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
        from rts_pipeline.inventory.dictionary import columns

        names = [column.name for column in columns(measured=True, covariates=self.covariates)]
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


class Rounds(Section):
    """How the loop of rounds begins and when it ends."""

    adopt: str | None = Field(
        None,
        description="Round folder (results/rounds/04) of another project, whose network and thresholds the first round takes"
        " instead of training; null: the first round learns from labels.seeds.",
    )
    extra: int = Field(0, ge=0, description="Rounds to open after one that brought no new slump.")


class Config(Section):
    """The whole configuration."""

    results: str = Field("results", description="Folder for everything that is computed; can be removed and rebuilt.")
    reviews: str = Field("reviews", description="Folder for what people decided; never removed by the software. Back it up.")
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


def load_config(path: Path) -> Config:
    """Read and validate a YAML configuration file.

    Raises:
        UsageError: missing file, not YAML, unknown key, wrong type or unit, undefined environment variable.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(path, "no such file", do="pass --config FILE or copy config/config.yaml") from None
    except yaml.YAMLError as error:
        raise UsageError(path, f"not valid YAML ({error})") from None
    return validate_config(values, path)


def validate_config(values: Any, source: str | Path) -> Config:
    """Validate configuration values; `$NAME` and `${NAME}` in strings are taken from the environment.

    Raises:
        UsageError: unknown key, wrong type or unit, undefined environment variable. The source and the key are named.
    """
    if not isinstance(values, dict):
        raise UsageError(source, f"holds {type(values).__name__}", expected="a mapping of sections")
    try:
        config = Config.model_validate(_expand(values, str(source)))
    except ValidationError as error:
        raise UsageError(source, first_problem(error), do="see config/README.md") from None
    return config


def _expand(value: Any, source: str) -> Any:
    if isinstance(value, dict):
        return {key: _expand(item, source) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, source) for item in value]
    if not isinstance(value, str) or "$" not in value:
        return value
    expanded = os.path.expandvars(value)
    if "$" in expanded:
        raise UsageError(source, f"'{value}' names an environment variable that is not set", do="export it or write the path")
    return expanded


def first_problem(error: ValidationError) -> str:
    """Say in one line what pydantic found first: the key, the value and what was expected."""
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if not key:
        return str(problem["ctx"]["error"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{key}'{_suggestion(problem['loc'])}"
    if problem["type"] == "missing":
        return f"key '{key}' is missing"
    return f"key '{key}' is {problem['input']!r}: {problem['msg']}"


def _suggestion(location: tuple[int | str, ...]) -> str:
    import difflib

    model: Any = Config
    for part in location[:-1]:
        if isinstance(part, int):  # in a list of sections
            (model,) = get_args(model)[:1] or (None,)
            continue
        field = getattr(model, "model_fields", {}).get(str(part))
        model = field.annotation if field else None
    known = list(getattr(model, "model_fields", {}))
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(known)}" if known else ""
