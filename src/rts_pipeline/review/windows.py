"""The windows of an audit under review: ground to be looked through, beside the candidates, which are outlines.

The verdict on a window is "reject" (nothing more to add here) or "unsure" (it can't be told); slumps that are seen there and
are in no list are added as outlines of their own, like any slump that was missed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.io.tables import read_columns

if TYPE_CHECKING:
    import geopandas as gpd

    from rts_pipeline.review.events import Event

AUDIT, AUDITED = "audit.parquet", "audited.parquet"
"""In a round's review: the frame of windows as it was when the review began, and what became of the sampled ones."""
OUTLINED = ("accept", "edit")
"""Decisions that only an outline can get."""
EXPECTED = "reject (nothing more to add here) or unsure"
DO = "draw the slumps in it as missed ones, then decide the window"


def window_ids(folder: Path) -> frozenset[str]:
    """Return the ids of the sampled windows in a round's review folder; none where the round isn't audited.

    Raises:
        InputError: a damaged file.
    """
    path = folder / AUDIT
    if not path.exists():
        return frozenset()
    return frozenset(read_columns(path, "window_id", expected="the windows of an audit")[0]) - {""}


def read_windows(folder: Path, n_candidates: int) -> gpd.GeoDataFrame:
    """Return the sampled windows with the columns of a candidate that they have; status is "window", `known_ids` is "".

    The rank is drawn among those of the candidates, by the window's hash: nobody can tell from the list which items are
    windows, and leave them for later or look at them with other eyes.

    Args:
        folder: the round's review folder; it must hold `AUDIT`.
        n_candidates: number of the round's candidates.

    Raises:
        InputError: a damaged file.
    """
    from rts_pipeline.inventory.shape import geodesic_area_perimeter
    from rts_pipeline.lineage import outline_sha256
    from rts_pipeline.sampling import read_sampled

    windows = read_sampled(folder / AUDIT)
    hashes = outline_sha256(windows.geometry.to_numpy())
    centres = windows.geometry.representative_point().to_crs("EPSG:4326")
    return windows.assign(
        round=folder.name.removeprefix("round_"),
        rank=[1 + int(sha256[:8], 16) % max(n_candidates, 1) for sha256 in hashes],
        known_ids="",
        area_m2=geodesic_area_perimeter(windows.geometry)[0],
        longitude=centres.x,
        latitude=centres.y,
        base_sha256=hashes,
    )


def check_decisions(events: Iterable[Event], windows: frozenset[str], file: Path | None = None) -> None:
    """Refuse events that take a window for an outline.

    Args:
        events: of a round; those of a file in its order.
        windows: ids of the round's windows.
        file: where they come from, if from a file.

    Raises:
        InputError: such an event in a file.
        UsageError: such an event.
    """
    for number, event in enumerate(events, 1):
        if event.candidate_id in windows and (event.decision in OUTLINED or event.geometry):
            place = f"event {event.event_id[:8]}" if file is None else f"{file}, line {number}"
            said = f"'{event.decision or event.action}' on a window, which is no outline"
            kind = UsageError if file is None else InputError
            raise kind(f"{place} ({event.candidate_id})", said, expected=EXPECTED, do=DO)
