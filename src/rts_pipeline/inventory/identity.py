"""Names of slumps: the UID of the ARTS data standard and the classes of possibility."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING
from uuid import NAMESPACE_DNS, uuid5

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

POSSIBILITY = {"No": 0.0, "Low": 0.25, "Medium": 0.5, "High": 0.75, "Yes": 1.0}
"""Levels of possibility that reviewers choose from (Xia et al. 2022)."""


def arts_uid(
    latitude: float,
    longitude: float,
    region: str,
    creator_lab: str,
    base_map_date: str,
    resolution: float,
    *,
    base_map_source: str = "PlanetScope",
    train_class: str = "Positive",
    label_type: str = "Polygon",
) -> str:
    """Return the UID of a slump by the rule of ARTS (Yang et al. 2025, Scientific Data 12:18).

    Args:
        latitude: WGS84 degrees; 5 decimals count.
        longitude: WGS84 degrees; 5 decimals count.
        region: ARTS RegionName.
        creator_lab: ARTS CreatorLab.
        base_map_date: "YYYY-MM-DD,YYYY-MM-DD".
        resolution: pixel size in metres; written without decimals where it is whole.
        base_map_source: ARTS BaseMapSource.
        train_class: ARTS TrainClass.
        label_type: ARTS LabelType.
    """
    pixel = str(int(resolution)) if float(resolution).is_integer() else str(resolution)
    place = f"{round(float(latitude), 5)}{round(float(longitude), 5)}{region}{creator_lab}"
    return str(uuid5(NAMESPACE_DNS, f"{place}{base_map_date}{base_map_source}{pixel}{train_class}{label_type}"))


def distinct(uids: Iterable[str], taken: Iterable[str]) -> list[str]:
    """Return uids of which each is there once: one that is taken already gives way to the uuid5 of itself.

    By the rule of ARTS two outlines whose points agree to 5 decimals of a degree (a metre) have one UID.

    Args:
        uids: those that keep theirs first.
        taken: those that none may have.
    """
    used, result = set(taken), []
    for name in uids:
        uid = name
        while uid in used:
            uid = str(uuid5(NAMESPACE_DNS, uid))
        used.add(uid)
        result.append(uid)
    return result


def possibility_class(possibility: NDArray[np.float64]) -> NDArray[np.object_]:
    """Return the name of the nearest level for each possibility (0-1), None for nan; halfway counts as the higher one."""
    import numpy as np

    levels = np.array(list(POSSIBILITY.values()))
    middles = (levels[1:] + levels[:-1]) / 2
    names = np.array(list(POSSIBILITY), dtype=object)[np.digitize(possibility, middles)]
    names[np.isnan(possibility)] = None
    return names
