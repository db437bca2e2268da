"""Stage export: the layout of DARTS."""

import geopandas as gpd
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from pyproj import Geod

from export_case import GRID, NORTH, OUTLINES, SCENES, WEST, options, release
from rts_pipeline.export.darts import darts_tables, image
from rts_pipeline.export.tables import Source
from rts_pipeline.io import read_geoparquet

OBSERVED = pd.DataFrame(columns=["cell", "year", "observed_pixels", "observed_share", "first_acquired", "last_acquired"])
TABLES = ("darts_level1", "darts_level2", "darts_coverage")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return release(tmp_path_factory.mktemp("release"), full=True, formats=["parquet", "darts"])


@pytest.mark.parametrize("name", TABLES)
def test_geopackage_and_parquet_hold_the_same_in_wgs84(exported, name):
    package, parquet = (
        gpd.read_file(exported / f"{name}.gpkg", datetime_as_string=True),
        read_geoparquet(exported / f"{name}.parquet"),
    )
    plain = pd.DataFrame(parquet.drop(columns="geometry"))
    assert_frame_equal(pd.DataFrame(package.drop(columns="geometry")).astype(plain.dtypes), plain)
    assert package.geometry.geom_equals(parquet.geometry).all()
    assert package.crs == parquet.crs == "EPSG:4326"


def test_level_1_is_a_row_a_slump_and_image(exported):
    rows = read_geoparquet(exported / "darts_level1.parquet")
    master = read_geoparquet(exported / "rts_inventory.parquet")
    assert list(rows.columns) == ["id", "image_id", "take_id", "tile_id", "date", "year", "satellite", "geometry"]
    assert rows["image_id"].tolist() == SCENES.split(",")
    assert set(rows["id"]) == {master["rts_uid"][0]}
    assert rows["date"].tolist() == ["2019-08-01", "2022-12-21", "2019-08-16"]
    assert rows["satellite"].tolist() == ["1004", "2414", "2459"]
    assert rows["take_id"].fillna("").tolist() == ["", "", "5790392"]
    assert rows["tile_id"].fillna("").tolist() == ["", "", "4372514"]
    assert set(rows["year"]) == {2019}


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ("20151119_025740_0c74", (None, None, "2015-11-19", "0c74")),
        ("20221221_084022_18_2414", (None, None, "2022-12-21", "2414")),
        ("5790392_4372514_2022-07-16_2459", ("5790392", "4372514", "2022-07-16", "2459")),
        ("made_up", (None, None, None, None)),
    ],
)
def test_what_the_id_of_an_image_tells(item, told):
    assert tuple(image(item).values()) == told


def test_level_2_keeps_every_slump(exported):
    rows, master = (read_geoparquet(exported / f"{name}.parquet") for name in ("darts_level2", "rts_inventory"))
    assert list(rows.columns) == ["id", "year", "area_m2", "pval_mean", "pval_median", "pval_max", "geometry"]
    assert rows["id"].tolist() == master["rts_uid"].tolist()
    assert rows["area_m2"].tolist() == master["area_m2"].tolist()
    for name in ("mean", "median", "max"):
        assert rows[f"pval_{name}"].notna().any()
        pd.testing.assert_series_equal(rows[f"pval_{name}"], master[f"prob_{name}"], check_names=False)
    back = rows.geometry.to_crs(GRID.crs)
    assert all(a.hausdorff_distance(b) < 0.02 for a, b in zip(back, master.geometry, strict=True))


def test_a_covariate_may_have_the_name_of_a_column_of_this_layout(exported):
    slumps = read_geoparquet(exported / "rts_inventory.parquet")
    named = slumps.assign(id=0.5, year=0.5, pval_mean=0.5)
    for plain, found in zip(*(darts_tables(Source(rows, OBSERVED, options())) for rows in (slumps, named)), strict=True):
        assert_frame_equal(plain.frame, found.frame)


def test_the_coverage_is_what_was_observed_of_each_cell_in_the_year(exported):
    rows = read_geoparquet(exported / "darts_coverage.parquet")
    assert len(rows) == 1
    row = rows.iloc[0]
    cell = GRID.grid().cell(GRID.grid().cell_at(WEST, NORTH))
    assert (row.id, row.year, row.coverage_period) == (cell.id, 2019, "2019-07-02/2019-08-20")
    whole = abs(Geod(ellps="WGS84").geometry_area_perimeter(row.geometry)[0]) / 1e6
    assert row.area_km2 == pytest.approx(whole / 4, rel=1e-3)


def test_an_empty_inventory_keeps_the_columns(tmp_path):
    folder = release(tmp_path, OUTLINES[:0], formats=["darts"])
    for name in TABLES[:2]:
        assert len(read_geoparquet(folder / f"{name}.parquet")) == 0
        assert len(gpd.read_file(folder / f"{name}.gpkg")) == 0
    assert len(read_geoparquet(folder / "darts_coverage.parquet")) == 1
