"""The values of rows that several outlines of a slump become; of all slumps at once, since pandas is slow on small tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import shapely

from rts_pipeline.inventory.dictionary import OF_THE_OUTLINE
from rts_pipeline.io.json import canonical_json
from rts_pipeline.lineage import JOINT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

TOLD = ("delineation_id", "source", "decision", "possibility", "reviewers", "reviewed_at", "replaced")
"""What the column `parts` tells of each outline."""


def merged(parts: pd.DataFrame, slump: NDArray[np.int64]) -> pd.DataFrame:
    """Return a row for each slump, without geometry, by its number.

    Args:
        parts: outlines, with the columns of `build.PART_COLUMNS` and `replaced`, whether another took its place.
        slump: number of each part's slump, shape (n parts,).
    """
    ordered = parts.assign(slump=slump).sort_values(
        ["slump", "iteration", "reviewed_at", "delineation_id"], na_position="first", ignore_index=True
    )
    first, last = (ordered.drop_duplicates("slump", keep=end).set_index("slump") for end in ("first", "last"))
    rows = ordered.groupby("slump")
    values = {
        "delineation_id": rows["delineation_id"].agg(JOINT.join),
        **{name: first[name] for name in ("source", "iteration")},
        "decision": last["decision"],
        "possibility": rows["possibility"].max(),
        "reviewers": _joined(
            ordered.assign(reviewers=ordered["reviewers"].str.split(",")).explode("reviewers"), "reviewers", ","
        ),
        "n_reviews": rows["n_reviews"].sum(),
        "agreement": rows["agreement"].min(),
        "reviewed_at": ordered.dropna(subset="reviewed_at").sort_values("reviewed_at").groupby("slump")["reviewed_at"].last(),
        "note": _joined(ordered, "note", "; "),
        **{name: _joined(ordered, name, ",") for name in ("base_sha256", "model_sha256")},
        **_of_the_model(ordered[~ordered["replaced"].astype(bool)]),
        "parts": _parts(ordered),
    }
    return pd.DataFrame(values, index=first.index)


def _of_the_model(present: pd.DataFrame) -> dict[str, pd.Series]:
    """Return what the model says of the present outlines: of one outline alone, or what can be said of several."""
    outlined = present[present["prob_mean"].notna()]
    area = pd.Series(shapely.area(outlined["geometry"].to_numpy()), index=outlined.index)
    weighed = (outlined["prob_mean"] * area).groupby(outlined["slump"]).sum() / area.groupby(outlined["slump"]).sum()
    alone = outlined[~outlined["slump"].duplicated(keep=False)].set_index("slump")
    highest = present.groupby("slump")["prob_max"].max()
    return {"prob_mean": weighed, "prob_max": highest, **{name: alone[name] for name in OF_THE_OUTLINE}}


def _joined(ordered: pd.DataFrame, name: str, separator: str) -> pd.Series:
    """Join the distinct texts of each slump that aren't empty, in order."""
    said = ordered[["slump", name]].dropna()
    said = said.assign(**{name: said[name].map(str.strip)}).drop_duplicates()
    told = ((slump, text) for slump, text in zip(said["slump"], said[name], strict=True) if text)
    return _by_slump(told).map(separator.join).astype("str")


def _parts(ordered: pd.DataFrame) -> pd.Series:
    """Return the JSON of each slump's parts."""
    kept = ordered[list(TOLD)]
    told = kept.astype(object).where(kept.notna(), None).to_dict("records")
    return _by_slump(zip(ordered["slump"], told, strict=True)).map(canonical_json).astype("str")


def _by_slump(pairs: Iterable[tuple[int, object]]) -> pd.Series:
    found: dict[int, list[object]] = {}
    for slump, value in pairs:
        found.setdefault(slump, []).append(value)
    return pd.Series(found, dtype=object)
