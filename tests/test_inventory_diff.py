"""What differs between two inventories: the command as a lab uses it, and that nothing goes untold."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import box
from typer.testing import CliRunner

from inventory_case import CRS, square
from rts_pipeline.cli import app
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.inventory.diff import CHANGES, diff

TOLERANCE = 1e-6


def write(path, rows):
    """Write an inventory of uid -> (outline, attributes), in any order."""
    values = [
        {"rts_uid": uid, "rts_id": n, "note": None, "slope_deg": 5.0, **more} for n, (uid, (_, more)) in enumerate(rows.items())
    ]
    frame = gpd.GeoDataFrame(values, geometry=[outline for outline, _ in rows.values()], crs=CRS)
    frame = frame.astype({"note": "str"})
    if path.suffix == ".gpkg":
        frame.to_file(path)
    else:
        frame.to_parquet(path)
    return path


@pytest.fixture
def releases(tmp_path):
    """Two releases in which everything that can happen happened."""
    before = {
        "same": (square(0), {}),
        "redrawn": (square(200), {"slope_deg": 4.0}),
        "noted": (square(400), {}),
        "gone": (square(600), {}),
        "eaten": (square(860, 0, 40), {}),
        "eater": (square(800), {}),
        "old": (square(1000), {}),
        "whole": (square(1200, 0, 200), {}),
    }
    after = {
        "fresh": (square(-500), {}),
        "same": (square(0), {}),
        "redrawn": (square(200, 0, 90), {"slope_deg": 4.5}),
        "noted": (square(400), {"note": "wet", "slope_deg": np.nan}),
        "eater": (square(800, 0, 100), {}),
        "other name": (square(1001), {}),
        "whole": (square(1200, 0, 120), {}),
        "half": (square(1325, 0, 75), {}),
    }
    return write(tmp_path / "a.gpkg", before), write(tmp_path / "b.parquet", after)


def test_each_kind_of_difference_is_told(releases):
    rows = diff(*releases, TOLERANCE)
    told = (
        rows[["change", "rts_uid", "other_uid", "fields"]]
        .astype(object)
        .where(rows[["change", "rts_uid", "other_uid", "fields"]].notna(), None)
    )
    assert sorted(map(tuple, told.to_numpy()), key=str) == sorted(
        [
            ("added", "fresh", None, ""),
            ("removed", "gone", None, ""),
            ("merged", "eaten", "eater", ""),
            ("split", "half", "whole", ""),
            ("renamed", "other name", "old", ""),
            ("reshaped", "redrawn", None, "slope_deg"),
            ("reshaped", "eater", None, ""),
            ("reshaped", "whole", None, ""),
            ("re-attributed", "noted", None, "note,slope_deg"),
        ],
        key=str,
    )
    redrawn = rows.set_index("rts_uid").loc["redrawn"]
    assert redrawn["iou"] == pytest.approx(60 / 90)
    assert redrawn["area_after_m2"] / redrawn["area_before_m2"] == pytest.approx(1.5)
    assert np.isnan(rows.set_index("rts_uid").loc["fresh", "area_before_m2"])
    assert list(dict.fromkeys(rows["change"])) == list(CHANGES)


def test_an_inventory_differs_nowhere_from_itself(releases, tmp_path):
    assert len(diff(releases[0], releases[0], TOLERANCE)) == 0
    other = tmp_path / "shuffled.parquet"
    frame = gpd.read_file(releases[0]).iloc[::-1].reset_index(drop=True).to_crs("EPSG:32647")
    frame.assign(rts_id=range(len(frame)), geometry=frame.normalize()).to_parquet(other)
    assert len(diff(releases[0], other, TOLERANCE)) == 0, "in another order, CRS, numbering and start of the rings"


def test_the_tolerance_is_the_user_s(releases):
    loose = diff(*releases, 0.4)
    assert "redrawn" not in set(loose.loc[loose["change"] == "reshaped", "rts_uid"])
    assert "redrawn" in set(loose.loc[loose["change"] == "re-attributed", "rts_uid"])


def test_what_the_rows_say_of_mergers_goes_before_their_ground(tmp_path):
    before = write(tmp_path / "a.parquet", {"a": (square(0), {}), "b": (square(100), {}), "c": (square(300), {})})
    after = {
        "a": (square(0), {"relation": "merged", "related_uids": "b"}),
        "d": (square(500), {"relation": "split", "related_uids": "c"}),
        "c": (square(300), {"relation": None, "related_uids": None}),
    }
    rows = diff(before, write(tmp_path / "b.parquet", after), TOLERANCE)
    assert rows[["change", "rts_uid", "other_uid"]].to_numpy().tolist() == [["merged", "b", "a"], ["split", "d", "c"]]


def test_the_command_shows_tables_and_writes_rows(releases, tmp_path):
    paths = [str(path) for path in releases]
    runner = CliRunner()
    for name in ("rows.csv", "rows.gpkg"):
        done = runner.invoke(app, ["inventory", "diff", *paths, "--out", str(tmp_path / name)])
        assert done.exit_code == 0, done.output
        assert "slope_deg" in done.output
        for line in (
            "renamed other name; was old; IoU",
            "re-attributed noted; IoU 1.000;",
            "merged eaten; into eater;",
            "m2; note, slope_deg",
        ):
            assert line in done.output
    table, layer = pd.read_csv(tmp_path / "rows.csv"), gpd.read_file(tmp_path / "rows.gpkg")
    assert len(table) == len(layer) == 9
    assert layer.geometry.notna().all()
    same = runner.invoke(app, ["inventory", "diff", paths[0], paths[0], "--out", str(tmp_path / "none.gpkg")])
    assert same.exit_code == 0 and len(gpd.read_file(tmp_path / "none.gpkg")) == 0


def test_mistakes_are_told(releases, tmp_path):
    done = CliRunner().invoke(app, ["inventory", "diff", *map(str, releases), "--out", str(tmp_path / "rows.txt")])
    assert isinstance(done.exception, UsageError) and "expected .csv or .gpkg" in str(done.exception)
    with pytest.raises(InputError, match="no such file"):
        diff(releases[0], tmp_path / "none.gpkg", TOLERANCE)
    gpd.GeoDataFrame({"id": [1]}, geometry=[square(0)], crs=CRS).to_file(tmp_path / "other.gpkg")
    with pytest.raises(InputError, match="has no column 'rts_uid'"):
        diff(tmp_path / "other.gpkg", releases[0], TOLERANCE)
    swapped = gpd.GeoDataFrame({"rts_uid": ["a"]}, geometry=[box(35, 93, 35.01, 93.01)], crs=4326)
    swapped.to_file(tmp_path / "swapped.gpkg")
    with pytest.raises(InputError, match=r"swapped\.gpkg: Unable to determine UTM CRS; expected x is east"):
        diff(tmp_path / "swapped.gpkg", releases[0], TOLERANCE)
    half = write(tmp_path / "half.gpkg", {"a": (square(0), {"related_uids": "b"})})
    assert diff(half, half, TOLERANCE).empty, "which relations, the file doesn't tell"


slumps = st.dictionaries(st.sampled_from("abcdefgh"), st.tuples(st.integers(0, 7), st.integers(1, 3)), min_size=1)


@settings(deadline=None, max_examples=25)
@given(slumps, slumps)
def test_every_slump_that_came_or_went_is_told_once(tmp_path_factory, first, second):
    folder = tmp_path_factory.mktemp("releases")
    # one below the other, so that the slumps of a release are apart
    paths = [
        write(
            folder / f"{name}.parquet",
            {uid: (square(20 * x, 100 * "abcdefgh".index(uid), 40 * n), {}) for uid, (x, n) in rows.items()},
        )
        for name, rows in (("a", first), ("b", second))
    ]
    rows = diff(*paths, TOLERANCE)
    assert rows["rts_uid"].is_unique
    came, went = rows[rows["change"].isin(["added", "split"])], rows[rows["change"].isin(["removed", "merged"])]
    assert set(came["rts_uid"]) == set(second) - set(first)
    assert set(went["rts_uid"]) == set(first) - set(second)
    reshaped = {uid for uid in set(first) & set(second) if first[uid] != second[uid]}
    assert set(rows.loc[rows["change"] == "reshaped", "rts_uid"]) == reshaped
    assert set(rows["change"]) <= {"added", "removed", "reshaped", "merged", "split"}
