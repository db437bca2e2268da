"""The data card: what the inventory is, how it was made, how good it is and what it can't say, written from the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rts_pipeline import __version__
from rts_pipeline.export.citation import METHOD_DOI, sentence
from rts_pipeline.export.darts import covered_km2
from rts_pipeline.export.tables import Source
from rts_pipeline.inventory.identity import POSSIBILITY
from rts_pipeline.io.files import write_text
from rts_pipeline.io.json import read_json
from rts_pipeline.metrics.objects import SIZE_CLASS_NAMES, size_class
from rts_pipeline.page import template
from rts_pipeline.report import figures
from rts_pipeline.report.completeness import draw, shares
from rts_pipeline.report.history import history, verdict
from rts_pipeline.report.tables import counts, found_by_round, possibilities, records


def write_card(
    path: Path, source: Source, completeness: Path, reviews: Path, rounds: Sequence[str], rows: Mapping[str, int]
) -> None:
    """Write the card as one HTML file that needs no network.

    Args:
        path: the file.
        source: what the release is made from.
        completeness: `completeness.json`.
        reviews: folder of the reviews.
        rounds: names of the signed-off rounds that the inventory holds.
        rows: number of rows of each file of the release that holds a table.

    Raises:
        InputError: a file is missing or damaged.
        RefusedError: the chain of sign-offs is broken.
    """
    past, estimates = history(reviews, rounds), read_json(completeness)
    converged, state = verdict(past)
    card = template("rts_pipeline.export", "card.html").render(
        source=source,
        options=source.options,
        citation=sentence(source),
        method_doi=METHOD_DOI,
        version=__version__,
        converged=converged,
        state=state,
        facts=facts(source),
        sizes=size_classes(source.slumps["area_m2"]),
        possibilities=possibilities(source.slumps, list(POSSIBILITY)[::-1]),
        rounds=records(past),
        found_shares=shares(estimates),
        figures=_figures(source, past, estimates),
        files=rows,
        crs=source.options.grid.grid().rasterio_crs.to_string(),
    )
    write_text(path, card)


def facts(source: Source) -> dict[str, Any]:
    """Return the counts that the card tells, each computed from the published rows."""
    slumps = source.slumps
    images = slumps["scene_ids"].dropna().str.split(",").explode()
    area = slumps["area_m2"]
    return {
        **counts(slumps),
        "n_parts": int(slumps["parts"].notna().sum()),
        "smallest_m2": float(area.min()) if len(slumps) else None,
        "largest_m2": float(area.max()) if len(slumps) else None,
        "n_images": int(images.nunique()),
        "observed_km2": covered_km2(source),
        "no_model": int(slumps["prob_mean"].isna().sum()),
        "no_possibility": int(slumps["possibility"].isna().sum()),
        "one_review": int((slumps["n_reviews"] == 1).sum()),
    }


def size_classes(area_m2: pd.Series) -> list[tuple[str, int, float]]:
    """Return name, number of slumps and their area (m2) of each size class, smallest first."""
    classes = size_class(area_m2.to_numpy())
    number = np.bincount(classes, minlength=len(SIZE_CLASS_NAMES)).tolist()
    total = np.bincount(classes, area_m2.to_numpy(), minlength=len(SIZE_CLASS_NAMES)).tolist()
    return list(zip(SIZE_CLASS_NAMES, number, total, strict=True))


def _figures(source: Source, past: pd.DataFrame, estimates: dict[str, Any]) -> dict[str, figures.Drawn]:
    drawn = {name: figure for name, figure in draw(estimates).items() if name == "completeness"}
    if len(source.slumps):
        drawn["sizes"] = figures.sizes(source.slumps["area_m2"])
    if len(past):
        drawn["growth"] = figures.growth_by_round(past["round"].tolist(), found_by_round(source.slumps, past))
    return drawn
