"""Stage inventory: seeds and accepted outlines of all rounds, one row a slump."""

import json

import geopandas as gpd
import numpy as np
import pytest
import shapely
from shapely import MultiPolygon, Point, Polygon, box

from rts_pipeline.config import GridSection, Place, Time
from rts_pipeline.errors import InputError
from rts_pipeline.inventory.build import build_inventory
from rts_pipeline.inventory.dictionary import columns
from rts_pipeline.inventory.identity import arts_uid, possibility_class
from rts_pipeline.options import InventoryOptions
from rts_pipeline.seeds import seed_ids

CRS = "EPSG:32646"
EAST, NORTH = 500_000.0, 3_870_000.0
PLACE = Place(region="Beiluhe", creator_lab="AName, Lab")
OPTIONS = InventoryOptions(area=PLACE, time=Time(), grid=GridSection(crs=CRS))


def square(x, y, size=60.0):
    return box(EAST + x, NORTH + y, EAST + x + size, NORTH + y + size)


def reviewed(path, number, rows, crs=CRS):
    """Write rows (decision, geometry, changes) as a signed-off review."""
    values = [
        {
            "candidate_id": f"r{number:02d}-{index:04d}",
            "round": number,
            "decision": decision,
            "possibility": 0.75,
            "reject_reason": None,
            "reviewers": "ann",
            "n_reviews": 1,
            "agreement": None,
            "reviewed_at": f"2024-0{number}-0{index}T08:00:00Z",
            "note": None,
            "base_sha256": f"base{number}{index}",
            "model_sha256": f"model{number}",
            "prob_mean": 0.8,
            "prob_max": 0.9,
            "guideline_version": "1",
            **changes,
        }
        for index, (decision, _, changes) in enumerate(rows, 1)
    ]
    gpd.GeoDataFrame(values, geometry=[geometry for _, geometry, _ in rows], crs=crs).to_parquet(path)
    return path


def seeds(path, outlines, crs=CRS):
    gpd.GeoDataFrame(geometry=outlines, crs=CRS).to_crs(crs).to_file(path)
    return path


def seed(outline):
    return seed_ids(np.array([outline]))[0]


def build(tmp_path, seed_file, reviews, options=OPTIONS):
    build_inventory(seed_file, reviews, tmp_path / "inventory.parquet", options)
    return gpd.read_parquet(tmp_path / "inventory.parquet")


def test_uid_is_that_of_a_published_record():
    uid = arts_uid(
        71.89659,
        -120.66907,
        "Banks Island, Inuvik Region, Canada",
        "TLantz, University of Victoria",
        "2020-07-05,2020-08-20",
        3,
    )
    assert uid == "6aff1955-71f5-5fa5-97d1-d9e006e4ec5c"


def test_classes_of_possibility():
    given = np.array([0, 0.12, 0.125, 0.5, 0.8, 1, np.nan])
    assert list(possibility_class(given)) == ["No", "No", "Low", "Medium", "High", "Yes", None]


def test_only_what_was_accepted_enters_north_to_south(tmp_path):
    rows = [
        ("accept", square(0, 0), {"note": "x"}),
        ("reject", square(500, 0), {}),
        ("edit", square(0, 900), {}),
        ("unsure", square(900, 0), {}),
        ("unseen", square(1500, 0), {}),
        ("missed", square(0, 500), {"base_sha256": None, "model_sha256": None, "prob_mean": None, "prob_max": None}),
    ]
    slumps = build(tmp_path, seeds(tmp_path / "s.gpkg", [square(0, -900)]), [reviewed(tmp_path / "r.parquet", 1, rows)])
    assert list(slumps.columns) == [column.name for column in columns(measured=False)]
    assert list(slumps["decision"]) == ["edit", "missed", "accept", "seed"]
    assert list(slumps["rts_id"]) == [1, 2, 3, 4]
    assert list(slumps["iteration"]) == [1, 1, 1, 0]
    assert list(slumps["delineation_id"]) == ["r01-0003", "r01-0006", "r01-0001", seed(square(0, -900))]
    assert slumps["rts_uid"].is_unique
    assert slumps["model_sha256"].isna().tolist() == [False, True, False, True]
    assert list(slumps["source"]) == ["round 01"] * 3 + ["seed"]


def test_what_is_told_of_a_network_s_outline_is_told_of_no_union(tmp_path):
    told = {"prob_median": 0.8, "expected_area_m2": 3000.0, "area_m2_t45": 3500.0, "area_m2_t65": 3000.0, "area_m2_t80": 900.0}
    rows = [
        ("accept", square(0, 0), told),  # over a seed
        ("accept", square(500, 0), told),
        ("accept", square(900, 0), told),  # over the next
        ("accept", square(930, 0), told),
        ("missed", square(0, 500), dict.fromkeys([*told, "prob_mean", "prob_max"])),
    ]
    file = seeds(tmp_path / "s.gpkg", [square(30, 0)])
    slumps = build(tmp_path, file, [reviewed(tmp_path / "r.parquet", 1, rows)]).set_index("delineation_id")
    for name, value in told.items():
        assert slumps[name].dropna().to_dict() == {f"{seed(square(30, 0))}+r01-0001": value, "r01-0002": value}


def test_a_review_of_an_earlier_version_tells_less(tmp_path):
    slumps = build(tmp_path, None, [reviewed(tmp_path / "r.parquet", 1, [("accept", square(0, 0), {})])])
    assert slumps[["prob_median", "expected_area_m2", "area_m2_t45"]].isna().all(axis=None)
    assert slumps["prob_mean"][0] == 0.8


def test_uid_can_be_computed_again_from_the_columns(tmp_path):
    slump = build(tmp_path, seeds(tmp_path / "s.gpkg", [square(0, 0)]), []).iloc[0]
    again = arts_uid(slump.latitude, slump.longitude, slump.region, "AName, Lab", "2019-07-01,2019-08-30", 3.0)
    assert slump.rts_uid == again


def test_point_lies_inside_a_crescent(tmp_path):
    crescent = Point(EAST, NORTH).buffer(200).difference(Point(EAST + 60, NORTH).buffer(190))
    slump = build(tmp_path, seeds(tmp_path / "s.gpkg", [crescent]), []).iloc[0]
    point = gpd.GeoSeries([Point(slump.longitude, slump.latitude)], crs=4326).to_crs(CRS).iloc[0]
    assert crescent.contains(point)
    assert not crescent.contains(crescent.centroid)


def test_outlines_that_share_area_are_one_slump_that_remembers_its_parts(tmp_path):
    first = reviewed(tmp_path / "r1.parquet", 1, [("accept", square(50, 0), {"note": 'wet; "big"'})])
    second = [("edit", square(100, 0), {"reviewers": "bob,ann", "n_reviews": 2, "agreement": 0.5, "possibility": 0.5})]
    slumps = build(
        tmp_path,
        seeds(tmp_path / "s.gpkg", [square(0, 0)]),
        [first, reviewed(tmp_path / "r2.parquet", 2, second)],
    )
    assert len(slumps) == 1
    slump = slumps.iloc[0]
    assert slump.geometry.area == pytest.approx(160 * 60)
    assert slump.delineation_id == f"{seed(square(0, 0))}+r01-0001+r02-0001"
    assert (slump.source, slump.iteration, slump.decision) == ("seed", 0, "edit")
    assert (slump.possibility, slump.agreement, slump.n_reviews) == (1.0, 0.5, 3)
    assert slump.reviewers == "ann,bob"
    assert slump.reviewed_at == "2024-02-01T08:00:00Z"
    assert slump.note == 'wet; "big"'
    assert slump.model_sha256 == "model1,model2"
    parts = json.loads(slump.parts)
    assert [part["reviewers"] for part in parts] == [None, "ann", "bob,ann"]
    assert [part["delineation_id"] for part in parts] == slump.delineation_id.split("+")


@pytest.mark.parametrize(
    ("other", "n"),
    [
        (square(60, 0), 2),  # a common edge
        (square(60, 60), 2),  # a common corner
        (square(66, 0), 2),  # 6 m apart
        (square(57, 0), 1),  # a column of pixels in common
    ],
)
@pytest.mark.parametrize("seed_crs", [CRS, "EPSG:4326"])
def test_neighbours_that_share_no_area_stay_two(tmp_path, other, n, seed_crs):
    file = seeds(tmp_path / "s.gpkg", [square(0, 0)], crs=seed_crs)
    rows = reviewed(tmp_path / "r.parquet", 1, [("accept", other, {})])
    assert len(build(tmp_path, file, [rows])) == n


def test_outlines_are_2d_valid_and_polygons(tmp_path):
    solid = shapely.force_3d(square(0, 0), 4500.0)
    spike = Polygon([(EAST + x, NORTH + y) for x, y in [(300, 0), (360, 0), (360, 60), (360, 200), (360, 60), (300, 60)]])
    two = MultiPolygon([square(600, 0), square(700, 0)])
    rows = [("edit", spike, {}), ("accept", two, {})]
    slumps = build(tmp_path, seeds(tmp_path / "s.gpkg", [solid]), [reviewed(tmp_path / "r.parquet", 1, rows)])
    assert not spike.is_valid
    assert slumps.geometry.is_valid.all()
    assert not slumps.geometry.has_z.any()
    assert sorted(slumps.geom_type) == ["MultiPolygon", "Polygon", "Polygon"]
    assert sorted(slumps.area) == pytest.approx([3600, 3600, 7200])


def test_an_inventory_may_be_empty(tmp_path):
    slumps = build(tmp_path, None, [reviewed(tmp_path / "r.parquet", 1, [("reject", square(0, 0), {})])])
    assert len(slumps) == 0
    assert list(slumps.columns) == [column.name for column in columns(measured=False)]
    assert slumps.crs == CRS
    assert len(build(tmp_path, None, [])) == 0


def test_a_slump_on_a_cell_edge_has_a_cell(tmp_path):
    cell_m = OPTIONS.grid.cell_px * OPTIONS.grid.pixel_m
    edge = 82 * cell_m
    slump = build(tmp_path, seeds(tmp_path / "s.gpkg", [box(edge - 30, NORTH, edge + 30, NORTH + 60)]), []).iloc[0]
    assert slump.cell_id == "e0082_n0629"


def test_equal_input_gives_equal_bytes_in_any_order_of_the_rounds(tmp_path):
    file = seeds(tmp_path / "s.gpkg", [square(0, 0)])
    reviews = [reviewed(tmp_path / f"r{k}.parquet", k, [("accept", square(40 * k, 0), {})]) for k in (1, 2)]
    build_inventory(file, reviews, tmp_path / "a.parquet", OPTIONS)
    build_inventory(file, reviews[::-1], tmp_path / "b.parquet", OPTIONS)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_missing_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.gpkg: no such file"):
        build(tmp_path, tmp_path / "nowhere.gpkg", [])
    with pytest.raises(InputError, match=r"r9\.parquet: no such file"):
        build(tmp_path, None, [tmp_path / "r9.parquet"])
    assert not (tmp_path / "inventory.parquet").exists()
