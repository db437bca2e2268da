"""Stage export: the ARTS data standard, and the check of files that say they follow it."""

import json
import subprocess
import sys
import warnings

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely import Polygon, box

from export_case import AREA, GRID, LONG, NOTE, OUTLINES, publish, release
from inventory_case import Project, square, uid_of
from inventory_case import release as release_of
from real_data import REAL, real
from rts_pipeline.config import Place
from rts_pipeline.errors import InputError
from rts_pipeline.export.arts import COLUMNS, RELATIONS, REQUIRED, relations
from rts_pipeline.export.validate import check, check_arts
from rts_pipeline.inventory.attributes import build_attributes
from rts_pipeline.inventory.identity import arts_uid
from rts_pipeline.inventory.relations import question_id
from rts_pipeline.io import read_geoparquet
from rts_pipeline.options import AttributesOptions

PUBLISHED = REAL / "rts_outlines" / "arts_v5.0.0.geojson"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return release(tmp_path_factory.mktemp("release"), formats=["parquet", "arts"], released="2024-05-06")


@pytest.fixture
def features(exported):
    return gpd.read_file(exported / "rts_arts.geojson", DATE_AS_STRING="YES")


def problems(features, *, defect=True):
    found = check_arts(features)
    return {(finding.field, finding.problem): len(finding.features) for finding in found if finding.defect == defect}


def test_the_uid_of_a_published_record_is_reproduced():
    place = 71.89659414, -120.66907384
    makers = "Banks Island, Inuvik Region, Canada", "TLantz, University of Victoria"
    assert arts_uid(*place, *makers, "2020-07-05,2020-08-20", 3) == "6aff1955-71f5-5fa5-97d1-d9e006e4ec5c"


def test_fields_and_types_are_those_of_the_standard(exported, features):
    assert [*features.columns] == [column.name for column in COLUMNS]
    assert features.crs == "EPSG:3413"
    told = json.loads((exported / "rts_arts.geojson").read_text())["features"]
    kinds = {name: {type(feature["properties"][name]) for feature in told} for name in told[0]["properties"]}
    numbers = {"CentroidLat", "CentroidLon", "BaseMapResolution", "Area"}
    assert all(kinds[name] == {float} for name in numbers)
    assert all(kinds[name] == {str} for name in {*REQUIRED, *RELATIONS, "ContributionDate", "UID"} - numbers)
    assert kinds["BaseMapID"] <= {str, type(None)}


def test_values_are_those_of_the_inventory(exported, features):
    master = read_geoparquet(exported / "rts_inventory.parquet")
    assert features["UID"].tolist() == master["rts_uid"].tolist()
    assert features["Area"].tolist() == master["area_m2"].tolist()
    assert features["Notes"].tolist() == ["NA", LONG.strip(), NOTE]
    assert features[["CentroidLat", "CentroidLon"]].to_numpy().tolist() == master[["latitude", "longitude"]].to_numpy().tolist()
    assert set(features["BaseMapDate"]) == {"2019-07-01,2019-08-30"}
    assert set(features["CreatorLab"]) == {AREA.creator_lab}
    assert set(features["ContributionDate"]) == {"2024-05-06"}
    assert (features[list(RELATIONS)] == "").all(axis=None)
    back = features.geometry.to_crs(GRID.crs)
    assert [a.hausdorff_distance(b) < 0.01 for a, b in zip(back, master.geometry, strict=True)] == [True] * 3


def test_a_release_is_valid(exported, features, capsys):
    assert check_arts(features) == []
    check(exported / "rts_arts.geojson", "arts")
    assert "valid ARTS, 3 features" in capsys.readouterr().out


def test_what_the_configuration_lacks_is_told(tmp_path, capsys):
    folder = release(tmp_path, OUTLINES[:1], area=Place(), formats=["arts"])
    assert "rts_arts.geojson: not valid ARTS while area.region and area.creator_lab are empty" in capsys.readouterr().err
    assert problems(gpd.read_file(folder / "rts_arts.geojson"))[("RegionName", "empty")] == 1


def changed(features, name, value, rows=(1,)):
    frame = features.copy()
    frame[name] = frame[name].astype(object) if isinstance(value, str) else frame[name]
    frame.loc[list(rows), name] = value
    return frame


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("RegionName", " ", "empty"),
        ("CreatorLab", "somebody", "not a maker"),
        ("CreatorLab", "ZXia, CUHK, LHuang; CUHK", "not a maker"),
        ("BaseMapDate", "2019-07-01", "one date, on which readers of the standard fail"),
        ("BaseMapDate", "2019-07-01,2019-02-30", "no dates"),
        ("BaseMapDate", "2019-08-30,2019-07-01", "not a first and a last date"),
        ("BaseMapDate", "", "empty"),
        ("BaseMapResolution", 0.0, "out of range"),
        ("BaseMapResolution", np.nan, "empty, or no number"),
        ("CentroidLat", 91.0, "out of range"),
        ("CentroidLat", 34.975631, "more than 5 decimals"),
        ("TrainClass", "positive", "unknown class"),
        ("LabelType", None, "empty"),
        ("ContributionDate", "6.5.2024", "no date"),
        ("UID", "6aff1955", "not a UUID of version 5"),
        ("UID", "6aff1955-71f5-1fa5-97d1-d9e006e4ec5c", "not a UUID of version 5"),
        ("MergedRTS", None, "null"),
        ("MergedRTS", "6aff1955-71f5-5fa5-97d1-d9e006e4ec5c, 6aff1955-71f5-5fa5-97d1-d9e006e4ec5c", "not UIDs"),
        ("Area", 1000.0, "off by more than 1 %"),
    ],
)
def test_each_kind_of_defect_is_named(features, name, value, problem):
    assert problems(changed(features, name, value))[(name, problem)] == 1


def test_columns_and_texts_instead_of_numbers_are_named(features):
    bare = features.drop(columns=["SplitRTS", "UID"]).astype({"Area": str, "BaseMapResolution": str}).assign(colour="red")
    found = problems(bare)
    assert {key for key in found if key[1] == "column is missing"} == {
        (name, "column is missing") for name in ("SplitRTS", "UID")
    }
    assert found[("Area", "text")] == found[("BaseMapResolution", "text")] == 3
    assert problems(features.assign(RegionName=5, LabelType=1.5)) == {("RegionName", "number"): 3, ("LabelType", "number"): 3}
    assert problems(bare, defect=False) == {("colour", "column that the standard doesn't know"): 3}


def test_geometry_is_checked(features):
    bow = Polygon([(0, 0), (90, 90), (90, 0), (0, 90)])
    shapes = gpd.GeoSeries([bow, None, features.geometry[2].centroid], crs=features.crs)
    found = problems(features.set_geometry(shapes))
    assert [found[("geometry", problem)] for problem in ("invalid", "missing or empty", "no outline")] == [1, 1, 1]
    assert found[("CentroidLat, CentroidLon", "more than 100 m from the outline")] == 1
    assert problems(features.to_crs(4326)) == {("geometry", "CRS is WGS 84"): 3}


def test_outlines_without_a_place_are_named(features):
    """Latitude and longitude of one are swapped; nothing can be said of where outlines without a CRS are."""
    swapped = gpd.GeoSeries([*features.geometry.to_crs(4326)[:2], box(34.9, 93.0, 34.91, 93.01)], crs=4326)
    found = problems(features.set_geometry(swapped))
    assert found == {("geometry", "CRS is WGS 84"): 3, ("geometry", "no place in EPSG:3413"): 1}
    with warnings.catch_warnings(action="error"):
        assert problems(features.set_crs(None, allow_override=True)) == {("geometry", "CRS is none"): 3}


def test_relations_are_told_in_the_words_of_the_standard():
    words = ["merged,new,merged", None, "unknown", "stabilized"]
    told = {"rts_uid": ["x", "b", "z", "w"], "relation": words, "related_uids": ["a,b,c", None, "d", "e"]}
    slumps = pd.DataFrame(told, dtype="str")
    assert {name: uids for name, uids in relations(slumps).items() if any(uids)} == {
        "MergedRTS": ["a,c", "", "", ""],
        "NewRTS": ["", "x", "", ""],
        "StabilizedRTS": ["b", "", "", "e"],
        "UnknownRelationship": ["", "", "d", ""],
    }
    assert list(relations(slumps)) == list(RELATIONS)


def test_every_relation_to_an_earlier_inventory_is_published_and_valid(tmp_path, capsys):
    before = {
        **{"a": square(0), "b": square(80, 0, 40), "split": square(500, 0, 170), "old scar": square(1000)},
        **{"decided": square(1500), "unsure": square(2000), "scar": square(2500), "gone": square(3000)},
    }
    first = Project(tmp_path / "first", list(before.values())).build()[0]
    names = {name: uid_of(first, outline) for name, outline in before.items()}
    after = {
        **{"merged": square(0, 0, 120), "kept": square(500, 0, 90), "part": square(610, 0, 60), "new": square(1000, 0, 20)},
        **{"on decided": square(1500, 0, 20), "near": square(2045), "still scar": square(2500, 0, 60, 35)},
        "on scar": square(2500, 40, 60, 20),
    }
    project = Project(tmp_path / "second")
    since = {"new": 2021, "near": 2018, "on scar": 2021}
    project.round(
        *[("accept", outline, {"first_year_visible": since.get(name)}) for name, outline in after.items()],
        ("reject", square(3000), {"reject_reason": "stable scar"}),
    )
    earlier = release_of(tmp_path / "earlier.gpkg", [(names[name], outline) for name, outline in before.items()])
    decided = project.decisions(f"{question_id(after['on decided'], before['decided'])},stabilized,eve,")
    slumps, told = project.build(earlier, decided)
    assert told.loc[told["related_uid"] == names["gone"], "relation"].tolist() == ["stabilized"], "and it isn't published"
    uids = {name: uid_of(slumps, outline) for name, outline in after.items()}
    assert [uids[name] for name in ("merged", "kept", "still scar")] == [names[name] for name in ("a", "split", "scar")]

    attributes = project.folder / "attributes.parquet"
    build_attributes(project.folder / "outlines.parquet", [], None, None, None, attributes, AttributesOptions(grid=GRID))
    file = publish(project.folder, attributes, area=project.options.area, formats=["arts"]) / "rts_arts.geojson"
    features = gpd.read_file(file, DATE_AS_STRING="YES").set_index("UID")[list(RELATIONS)]
    found = {(name, field): features.loc[uids[name], field] for name in after for field in RELATIONS}
    assert {key: value for key, value in found.items() if value} == {
        ("merged", "MergedRTS"): names["b"],
        ("part", "SplitRTS"): names["split"],
        ("new", "StabilizedRTS"): names["old scar"],
        ("on decided", "StabilizedRTS"): names["decided"],
        ("near", "UnknownRelationship"): names["unsure"],
        ("on scar", "StabilizedRTS"): names["scar"],
        ("still scar", "NewRTS"): uids["on scar"],
    }
    check(file, "arts")
    assert f"valid ARTS, {len(after)} features" in capsys.readouterr().out


def test_an_overlap_needs_a_relation(features):
    west, south, east, north = features.geometry[1].bounds
    moved = features.copy()
    moved.loc[2, "geometry"] = box(west, south, east, north)
    assert problems(moved)[("geometry", "overlaps another slump")] == 2
    told = changed(moved, "UnknownRelationship", features["UID"][1], rows=[2])
    assert ("geometry", "overlaps another slump") not in problems(told)


def test_a_repeated_observation_carries_the_first_uid(features):
    repeat = features.iloc[[1]].assign(BaseMapDate="2021-07-01,2021-08-30")
    both = gpd.GeoDataFrame(pd.concat([features, repeat], ignore_index=True), crs=features.crs)
    assert problems(both) == {}
    assert problems(both, defect=False) == {("UID", "repeated observation of a slump"): 2}
    twice = gpd.GeoDataFrame(pd.concat([features, features.iloc[[1]]], ignore_index=True), crs=features.crs)
    assert problems(twice) == {("UID", "the same twice for one date"): 2}
    stranger = changed(features, "UID", arts_uid(1, 2, "a", "b", "c", 3))
    assert problems(stranger, defect=False) == {("UID", "doesn't follow from the row"): 1}


def test_what_is_no_file_of_outlines_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.geojson: no such file"):
        check(tmp_path / "none.geojson", "arts")
    (tmp_path / "text.geojson").write_text("no json")
    with pytest.raises(InputError, match=r"text\.geojson: can't be read"):
        check(tmp_path / "text.geojson", "arts")
    ring = '{"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0]]]}}'
    (tmp_path / "open.geojson").write_text(ring)
    with pytest.raises(InputError, match=r"open\.geojson: can't be read .*do not form a closed linestring"):
        check(tmp_path / "open.geojson", "arts")
    (tmp_path / "table.csv").write_text("UID\n1\n")
    with pytest.raises(InputError, match=r"table\.csv: has no geometry"):
        check(tmp_path / "table.csv", "arts")


@real
def test_the_defects_of_the_published_data_set_are_named():
    """The numbers were counted by hand, with json, geopandas and pyproj."""
    features = gpd.read_file(PUBLISHED, DATE_AS_STRING="YES")
    assert problems(features) == {
        ("SplitRTS", "column is missing"): 2276,
        ("CentroidLat", "text"): 2276,
        ("CentroidLat", "more than 5 decimals"): 2270,
        ("CentroidLon", "text"): 2276,
        ("CentroidLon", "more than 5 decimals"): 2275,
        ("BaseMapResolution", "text"): 2276,
        ("Area", "text"): 365,
        ("Area", "off by more than 1 %"): 10,
        **{(name, "null"): 2276 for name in RELATIONS if name != "SplitRTS"},
        ("geometry", "invalid"): 3,
        # 438 and 2148, 488 and 2274, 622 and 623, counted from 1
        ("geometry", "overlaps another slump"): 6,
    }
    # 43 slumps were observed twice; the UIDs of the other 2,190 rows and of the first of each pair are reproduced
    assert problems(features, defect=False) == {("UID", "repeated observation of a slump"): 86}


@real
def test_the_command_lists_them_and_ends_with_3():
    command = [sys.executable, "-m", "rts_pipeline.cli", "export", "validate", "--schema", "arts", PUBLISHED]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 3
    assert "defect: geometry: invalid in 3 of 2276 features (428, 2032, 2048); expected valid outlines" in done.stdout
    assert done.stderr.strip().endswith("not valid ARTS: 14 kinds of defects; they are listed above")
