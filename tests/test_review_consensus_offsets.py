"""How far the offsets from a consensus outline fall short of the true ones, which nobody knows but a simulation."""

import geopandas as gpd
import numpy as np
import pytest
from shapely import Point, Polygon

from rts_pipeline.metrics.boundary import offsets_m
from rts_pipeline.review.consensus import build
from rts_pipeline.review.consensus.drawings import read_drawings

CRS = "EPSG:32608"
RADIUS, SPREAD, N_SLUMPS, WAVES = 120.0, 4.0, 25, 8
"""Slumps are discs of this radius (m); everybody's outline lies this far off (m, standard deviation), in waves along it."""
CENTRES = [Point(471_000 + 1000.0 * (n % 5), 7_549_000 + 1000.0 * (n // 5)) for n in range(N_SLUMPS)]


def drawn(rng, centre):
    """An outline whose distance from the disc's is normal at each point, mean 0, and changes smoothly along it."""
    angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    phase = np.outer(np.arange(1, WAVES + 1), angle)
    waves = rng.normal(size=WAVES) @ np.cos(phase) + rng.normal(size=WAVES) @ np.sin(phase)
    radius = RADIUS + SPREAD * waves / np.sqrt(WAVES)
    return Polygon(np.column_stack([centre.x + radius * np.cos(angle), centre.y + radius * np.sin(angle)]))


@pytest.mark.parametrize(
    ("n_people", "width", "distance", "lean"),
    [(2, 0.71, 0.0, 0.71), (3, 0.73, 0.47, 0.0), (4, 0.79, 0.68, 0.4), (6, 0.88, 0.8, 0.25)],
)
def test_offsets_against_those_from_the_truth(tmp_path, n_people, width, distance, lean):
    """The figures are those of normal deviates about the order statistic that the majority takes; docs/consensus.md has them.

    `width`: of the middle 68 %, measured / true; `distance`: median without sign, measured / true; `lean`: middle of the two
    ends of the middle 68 %, in true standard deviations.
    """
    rng = np.random.default_rng(n_people)
    people = [[drawn(rng, centre) for centre in CENTRES] for _ in range(n_people)]
    files = []
    for number, shapes in enumerate(people):
        files.append(tmp_path / f"person_{number}.gpkg")
        gpd.GeoDataFrame({"id": range(N_SLUMPS)}, geometry=shapes, crs=CRS).to_file(files[-1])
    slumps = build.derive(read_drawings(files, column=None, looked=None, min_area_m2=100.0), 100.0).layers.consensus
    assert slumps["n_drew"].tolist() == [n_people] * N_SLUMPS
    discs = np.array([centre.buffer(RADIUS, 64) for centre in CENTRES], dtype=object)
    flat = np.array([shape for shapes in people for shape in shapes], dtype=object)
    offset, _, _ = offsets_m(flat, np.tile(discs, n_people), 1.0)
    low, high = np.quantile(offset, [0.16, 0.84])
    assert (low + high) / 2 == pytest.approx(0, abs=0.15 * SPREAD)
    ends = slumps["offset_p16_m"].mean(), slumps["offset_p84_m"].mean()
    found = (ends[1] - ends[0]) / (high - low), slumps["distance_median_m"].mean() / np.median(np.abs(offset))
    assert (*found, sum(ends) / (high - low)) == pytest.approx((width, distance, lean), abs=0.06)
