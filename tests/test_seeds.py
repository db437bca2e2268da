"""The slumps known at the start have names that follow their outlines."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from rts_pipeline.seeds import read_seeds, seed_ids

CRS = "EPSG:32646"
SQUARE = shapely.box(500_000, 3_900_000, 500_060, 3_900_060)
RING = SQUARE.difference(shapely.box(500_020, 3_900_020, 500_030, 3_900_030))
IDS = ["seed-b63e0290f8a6", "seed-5243fa0c2963"]


def test_an_id_is_the_same_everywhere_and_for_ever():
    assert seed_ids(np.array([SQUARE, RING])) == IDS
    assert seed_ids(np.array([], dtype=object)) == []


@pytest.mark.parametrize(
    "same",
    [
        shapely.reverse(RING),
        shapely.MultiPolygon([RING]),
        shapely.force_3d(RING, 4500.0),
        shapely.Polygon([*RING.exterior.coords[2:], *RING.exterior.coords[1:3]], [RING.interiors[0].coords]),
        shapely.affinity.translate(RING, 0.001, -0.001),
    ],
)
def test_how_an_outline_is_written_changes_no_id(same):
    assert seed_ids(np.array([same])) == IDS[1:]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from([0, 0.001])), max_size=6), st.randoms())
def test_ids_follow_the_outlines_in_any_order(places, random):
    """Also those that are given twice, or again within a centimetre."""
    outlines = [shapely.affinity.translate(SQUARE, 100 * x + shift, 100 * y) for x, y, shift in places]
    order = random.sample(range(len(outlines)), len(outlines))
    one, other = ([outlines[index] for index in indexes] for indexes in (range(len(outlines)), order))
    first, again = (
        {(name, o.wkb) for name, o in zip(seed_ids(np.array(given_, dtype=object)), given_, strict=True)}
        for given_ in (one, other)
    )
    assert first == again
    assert len({name for name, _ in first}) == len(first) == len(outlines)


@pytest.mark.parametrize("crs", [CRS, "EPSG:4326"])
@pytest.mark.parametrize("name", ["again.gpkg", "again.parquet", "again.shp", "again.geojson"])
def test_another_format_changes_no_id_and_the_project_s_crs_neither(tmp_path, crs, name):
    frame = gpd.GeoDataFrame(
        geometry=[SQUARE, RING, shapely.box(500_100.125, 3_900_000, 500_150.377, 3_900_040)], crs=CRS
    ).to_crs(crs)
    if name.endswith("geojson") and crs == CRS:
        frame = frame.to_crs("EPSG:4326")
    frame.to_file(tmp_path / "seeds.gpkg")
    if name.endswith("parquet"):
        frame[::-1].to_parquet(tmp_path / name)
    else:
        frame[::-1].to_file(tmp_path / name)
    seeds = read_seeds(tmp_path / "seeds.gpkg", CRS)
    assert seeds.crs == CRS
    for path, project in (("seeds.gpkg", "EPSG:6933"), (name, CRS)):
        assert read_seeds(tmp_path / path, project)["seed_id"].equals(seeds["seed_id"])
