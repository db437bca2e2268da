"""One grid for all rounds: cells' names in the sign-offs and the slumps' identifiers go by it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rts_pipeline.errors import RefusedError
from rts_pipeline.grid import Grid
from rts_pipeline.review.rounds import SIGNOFF, Signoff, round_folder


def check_grid(reviews: Path, signoffs: Iterable[Signoff], grid: Grid) -> None:
    """Check that the finished rounds were signed off on this grid.

    Sign-offs that don't say theirs, from before it was written down, pass.

    Args:
        reviews: the folder of all reviews.
        signoffs: of the finished rounds.
        grid: the project's, its CRS resolved.

    Raises:
        RefusedError: one was signed off on another.
    """
    for signoff in signoffs:
        for key in ("crs", "pixel_m", "cell_px"):
            theirs, ours = getattr(signoff, key), getattr(grid, key)
            if theirs is None or theirs == ours or (key == "crs" and _same_crs(theirs, grid)):
                continue
            auto = " (grid.crs: auto goes by the area's centre)" if key == "crs" else ""
            raise RefusedError(
                round_folder(reviews, signoff.round) / SIGNOFF,
                f"round {signoff.round} was signed off with grid.{key} {theirs}, and now it is {ours}{auto}",
                expected="one grid for all rounds",
                do=f"set grid.{key} to {theirs} in the configuration, or begin anew with another folder of reviews",
            )


def _same_crs(text: str, grid: Grid) -> bool:
    return Grid(text).rasterio_crs == grid.rasterio_crs
