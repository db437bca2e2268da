"""The options of each stage: the sections of the configuration that its result depends on, and nothing else.

A stage gets them as one string, the sorted JSON of its sections (`options_json`), and parses it back into the same types
(`parse_options`): Snakemake compares that string, so a stage is stale exactly when one of its sections changed.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import ValidationError

from rts_pipeline.config import (
    Adjust,
    Agreement,
    Area,
    Audit,
    Candidates,
    Chips,
    Choice,
    Config,
    Covariates,
    Evidence,
    Export,
    GridSection,
    Labelling,
    Learning,
    Measures,
    Mosaic,
    Network,
    Outlining,
    Place,
    Polygonize,
    Predict,
    Report,
    Scenes,
    Season,
    Section,
    Shaping,
    Time,
    Usability,
    Windows,
    Years,
    first_problem,
)
from rts_pipeline.errors import UsageError
from rts_pipeline.io.json import canonical_json


class ScenesOptions(Section):
    """Options of `scenes`."""

    scenes: Usability


class CatalogOptions(Section):
    """Options of `catalog`."""

    area: Area
    time: Season
    grid: GridSection
    scenes: Scenes
    adjust: Agreement
    evidence: Years


class OverlapsOptions(Section):
    """Options of `overlaps`."""

    grid: GridSection
    adjust: Agreement


class AdjustOptions(Section):
    """Options of `adjust`."""

    adjust: Adjust


class MosaicOptions(Section):
    """Options of `mosaic`."""

    time: Time
    grid: GridSection
    mosaic: Mosaic


class CoverageOptions(Section):
    """Options of `coverage`; the rule names the cells, so that a moved edge of the area renews the blocks there alone."""

    time: Season
    grid: GridSection
    evidence: Years

    @property
    def years(self) -> list[int]:
        """The years whose observations are counted: the target year and those that the reviewers see."""
        return sorted({self.time.target_year, *self.evidence.years})


class ObservedOptions(Section):
    """Options of `observed`: none, it unites what `coverage` made."""


class LedgerOptions(Section):
    """Options of `ledger`."""

    time: Season
    grid: GridSection
    scenes: Scenes
    evidence: Years


class LabelsOptions(Section):
    """Options of `labels`."""

    grid: GridSection


class ChipsOptions(Section):
    """Options of `chips`."""

    grid: GridSection
    chips: Windows


class FoldsOptions(ChipsOptions):
    """Options of `chips` for a fold of cross-validation."""

    chips: Chips


class AdoptOptions(Section):
    """Options of `adopt`."""

    train: Network


class TrainOptions(Section):
    """Options of `train`."""

    grid: GridSection
    labels: Labelling
    train: Learning


class ValidateOptions(Section):
    """Options of `validate`."""

    grid: GridSection
    chips: Windows
    predict: Predict
    polygonize: Shaping
    choice: Choice


class QuantiseOptions(Section):
    """Options of `quantise`."""

    grid: GridSection
    chips: Windows
    predict: Predict


class CrossvalidateOptions(Section):
    """Options of `crossvalidate`: none, it unites what `validate` made of each fold."""


class PredictOptions(Section):
    """Options of `predict`."""

    grid: GridSection
    predict: Predict


class PolygonizeOptions(Section):
    """Options of `polygonize`."""

    grid: GridSection
    polygonize: Outlining


class CandidatesOptions(Section):
    """Options of `candidates`."""

    grid: GridSection
    polygonize: Polygonize
    candidates: Candidates


class AuditOptions(Section):
    """Options of `audit`."""

    grid: GridSection
    audit: Audit


class EvidenceOptions(Section):
    """Options of `evidence`."""

    time: Time
    grid: GridSection
    predict: Predict
    polygonize: Polygonize
    evidence: Evidence


class InventoryOptions(Section):
    """Options of `inventory`."""

    area: Place
    time: Time
    grid: GridSection


class AttributesOptions(Section):
    """Options of `attributes`; those of `inventory` are told in `config_sha256` alone."""

    area: Place = Place()
    time: Time = Time()
    grid: GridSection
    attributes: Measures = Measures()


class VerifyOptions(Section):
    """Options of `verify`: none, it compares what lies there."""


class ExportOptions(Section):
    """Options of `export`: the columns that the configuration names; the rest is what `attributes` made."""

    area: Place
    time: Time
    grid: GridSection
    attributes: Covariates = Covariates()
    export: Export
    report: Report


class CompletenessOptions(Section):
    """Options of `completeness`."""

    grid: GridSection


class ReportOptions(Section):
    """Options of `report`."""

    area: Place
    time: Time
    grid: GridSection
    report: Report


S = TypeVar("S", bound=Section)


def options_json(config: Config, kind: type[Section]) -> str:
    """Return the sections that a stage reads, as sorted JSON."""
    sections: dict[str, Any] = {name: field.annotation for name, field in kind.model_fields.items()}
    return canonical_json(
        {
            name: getattr(config, name).model_dump(mode="json", include=set(section.model_fields))
            for name, section in sections.items()
        }
    )


def parse_options(kind: type[S], text: str) -> S:
    """Parse what `options_json` wrote.

    Raises:
        UsageError: not JSON, or not the sections of that stage.
    """
    try:
        return kind.model_validate(json.loads(text))
    except json.JSONDecodeError as error:
        raise UsageError(
            "--options", f"not JSON ({error})", expected="the JSON of the stage's configuration sections"
        ) from None
    except ValidationError as error:
        raise UsageError("--options", first_problem(error)) from None
