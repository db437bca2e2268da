"""Deliveries that broke on their way: every file still has a true row, and no item vanishes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from items import write_item, write_manifest, write_xml
from rts_pipeline.config import Scenes
from rts_pipeline.errors import InputError
from rts_pipeline.scenes import metadata
from rts_pipeline.scenes.check import Days, summary
from rts_pipeline.scenes.discover import Delivery, discover
from rts_pipeline.scenes.expected import observation
from scenes_case import CRS, ITEM, PLACE, found, measured, plain

OTHER = "20190802_041000_18_1003"
HOSTILE = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def order(tmp_path_factory):
    """An order of an item with surface reflectance and one with radiance, and its manifest."""
    folder = tmp_path_factory.mktemp("order")
    noise = np.random.default_rng(0).integers(300, 4000, (4, 60, 80)).astype(np.uint16)
    write_item(folder / "files", ITEM, noise, crs=CRS, transform=PLACE)
    here = write_item(folder / "files", OTHER, plain(), crs=CRS, transform=PLACE, product="AnalyticMS")
    told = {"acquisitionDateTime": "2019-08-02T04:10:00+00:00", "spaceCraftViewAngle": "2.4e-01", "serialIdentifier": "1003"}
    write_xml(here, OTHER, dict.fromkeys(range(1, 5), 2e-05), **told)
    return folder


def copied(order: Path, place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(order, place / "in")
    return place / "in"


def accounted(delivery: Delivery, folder: Path, out: Path) -> None:
    """Assert that all files have rows, both items are there, and what is said to be usable is, or says in a line why not."""
    assert [row.path for row in delivery.files] == sorted(str(path) for path in folder.rglob("*") if path.is_file())
    assert all(row.reason or row.status == "used" for row in delivery.files)
    assert sorted(item.id for item in [*delivery.items, *delivery.rejected]) == [ITEM, OTHER]
    assert all(item.reason for item in delivery.rejected)
    lines = list(summary(delivery, Days(("07-01", "08-30")), every_file=True))
    assert not any("\n" in line.strip() for line in lines)
    assert "\n".join(lines).encode("utf-8")
    for item in delivery.items:
        assert 0 <= observation(item).clear <= 1
        try:
            measured(item, out)
        except InputError as error:
            assert "\n" not in str(error)
            assert ITEM in str(error) or OTHER in str(error)


# --- metadata ----------------------------------------------------------------------------------------------------------

ANYTHING = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
        st.sampled_from([10**400, "2019-08-01T04:10:00Z", "0001-01-01T00:00:00+23:59", "\ud800", -0.0, 1e308]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=10), inner, max_size=4)),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        *("acquired", "updated", "clear_percent", "cloud_cover", "cloud_percent", "satellite_id", "instrument", "gsd"),
        *("item_type", "view_angle", "sun_azimuth", "quality_category", "strip_id", "ground_control", "id"),
    ]
)
GEOMETRIES = st.one_of(
    ANYTHING,
    st.fixed_dictionaries(
        {"type": st.sampled_from(["Polygon", "MultiPolygon", "Point", "GeometryCollection", "Circle"]), "coordinates": ANYTHING}
    ),
)


@HOSTILE
@given(
    gone=st.sets(KEYS),
    changed=st.dictionaries(KEYS, ANYTHING, max_size=6),
    above=st.dictionaries(st.sampled_from(["type", "properties", "extra", "bbox"]), ANYTHING, max_size=2),
    geometry=st.none() | GEOMETRIES,
)
def test_an_item_survives_its_metadata(tmp_path, order, gone, changed, above, geometry):
    folder = copied(order, tmp_path)
    path = folder / "files" / ITEM / f"{ITEM}_metadata.json"
    feature = json.loads(path.read_text())
    feature["properties"] = {key: value for key, value in feature["properties"].items() if key not in gone} | changed
    feature |= above | ({} if geometry is None else {"geometry": geometry})
    path.write_text(json.dumps(feature))
    cache = tmp_path / "headers.json"
    delivery = discover([folder], Scenes(folders=["x"]), cache)
    accounted(delivery, folder, tmp_path / "out")
    assert discover([folder], Scenes(folders=["x"]), cache) == delivery
    try:
        metadata.footprint(path)
    except InputError as error:
        assert path.name in str(error)


KNOWN = ("acquired", "updated", "clear_percent", "cloud_cover", "cloud_percent", "satellite_id", "instrument", "gsd")


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        *[(value, True) for value in (None, True, {}, [], [1], {"a": 1}, "", "x", -1, 10**400, 1e308)],
        *[("0001-01-01T00:00:00+23:59", True), ("9999-12-31T23:59:59-23:59", True)],
        *[(float("nan"), False), (float("inf"), False), ("\ud800", False), ([{"a": float("nan")}], False)],
    ],
)
def test_one_odd_value_in_all_keys_is_survived(tmp_path, order, value, valid):
    folder = copied(order, tmp_path)
    path = folder / "files" / ITEM / f"{ITEM}_metadata.json"
    feature = json.loads(path.read_text())
    feature["properties"] = dict.fromkeys(KNOWN, value)
    path.write_text(json.dumps(feature))
    delivery = discover([folder], Scenes(folders=["x"]), tmp_path / "headers.json")
    accounted(delivery, folder, tmp_path / "out")
    assert (tmp_path / "headers.json").exists()
    row = next(row for row in delivery.files if row.path == str(path))
    assert (row.status, row.broken) == (("used", False) if valid else ("rejected", True))
    told, _ = measured(delivery.items[0], tmp_path / "out")
    assert told["properties"]["datetime"] == "2019-08-01T04:10:00.000000Z"
    assert isinstance(told["properties"].get("platform", ""), str)
    assert "gsd" not in told["properties"] or told["properties"]["gsd"] == value


@pytest.mark.parametrize("entry", [{"size": float("inf")}, {"size": None}, {"path": None}, {"digests": 3}])
def test_a_manifest_that_is_none_is_told(tmp_path, order, entry):
    folder = copied(order, tmp_path)
    listed = [{"path": "x", "size": 1, "digests": {}} | entry]
    listed = [{key: value for key, value in listed[0].items() if value is not None}]
    (folder / "manifest.json").write_text(json.dumps({"files": listed}))
    row = next(row for row in found(folder).files if row.role == "manifest")
    assert (row.status, row.reason) == ("ignored", "damaged: not the manifest of an order")


def test_what_a_manifest_lists_need_not_be_text(tmp_path, order):
    folder = copied(order, tmp_path)
    listed = [{"path": path, "size": 1} for path in ("files/\ud800.tif", "a\nb", f"{ITEM}_3B_udm2.tif\n")]
    (folder / "manifest.json").write_text(json.dumps({"files": listed}))
    for _ in range(2):
        delivery = discover([folder], Scenes(folders=["x"]), tmp_path / "headers.json")
        accounted(delivery, folder, tmp_path / "out")
        told = [row.reason for row in delivery.files if row.broken]
        assert told == [f"lists 3 files that are not there: {ITEM}_3B_udm2.tif, \\ud800.tif, a b"]


TEXTS = st.one_of(
    st.sampled_from(["", "nan", "inf", "-1", "0", "1e-5", "1", "2.5", "１", "2019-08-02T04:10:00Z", "1e999", "0x10", "&#0;"]),
    st.text(st.characters(codec="utf-8", exclude_characters="<&>"), max_size=12),
)
ELEMENTS = st.sampled_from(
    ["bandNumber", "reflectanceCoefficient", "acquisitionDateTime", "serialIdentifier", "spaceCraftViewAngle", "Instrument"]
)


@HOSTILE
@given(
    coefficients=st.dictionaries(st.one_of(st.integers(-1, 9).map(str), TEXTS), TEXTS, max_size=9),
    told=st.dictionaries(ELEMENTS, TEXTS, max_size=6),
    encoding=st.sampled_from(["UTF-8", "latin1", "utf-16", "klingon", ""]),
)
def test_an_item_survives_its_xml(tmp_path, order, coefficients, told, encoding):
    folder = copied(order, tmp_path)
    path = write_xml(folder / "files" / OTHER, OTHER, coefficients, **told)
    path.write_text(path.read_text().replace("UTF-8", encoding))
    accounted(found(folder), folder, tmp_path / "out")


@HOSTILE
@given(
    manifest=st.one_of(
        ANYTHING,
        st.fixed_dictionaries({"files": ANYTHING}),
        st.fixed_dictionaries(
            {
                "files": st.lists(
                    st.fixed_dictionaries(
                        {"path": st.one_of(ANYTHING, st.sampled_from(["../x", "/etc/passwd", "a\0b", "", ".", "x" * 300]))},
                        optional={"size": ANYTHING, "digests": ANYTHING},
                    ),
                    max_size=4,
                )
            }
        ),
    )
)
def test_items_survive_any_manifest(tmp_path, order, manifest):
    folder = copied(order, tmp_path)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    cache = tmp_path / "headers.json"
    delivery = discover([folder], Scenes(folders=["x"], verify_checksums=True), cache)
    accounted(delivery, folder, tmp_path / "out")
    assert len(delivery.items) == 2


# --- files that end too early ------------------------------------------------------------------------------------------

FILES = (
    *(f"{ITEM}/{ITEM}_{end}" for end in ("3B_AnalyticMS_SR.tif", "3B_udm2.tif", "metadata.json")),
    *(f"{OTHER}/{OTHER}_3B_{end}" for end in ("AnalyticMS.tif", "udm2.tif", "AnalyticMS_metadata.xml")),
)


@HOSTILE
@given(which=st.sampled_from([*FILES, "../manifest.json"]), where=st.floats(0, 1), manifest=st.booleans())
def test_a_file_that_ends_too_early_is_told_or_works(tmp_path, order, which, where, manifest):
    folder = copied(order, tmp_path)
    write_manifest(folder)
    path = (folder / "files" / which).resolve()
    whole = path.read_bytes()
    path.write_bytes(whole[: int(where * (len(whole) - 1))])
    if not manifest and path.name != "manifest.json":
        (folder / "manifest.json").unlink()
    delivery = found(folder)
    accounted(delivery, folder, tmp_path / "out")
    row = next(row for row in delivery.files if row.path == str(path))
    if path.name == "manifest.json":
        assert (row.status, row.broken) == ("ignored", True)
        assert len(delivery.items) == 2
    elif manifest:
        assert (row.status, row.broken) == ("rejected", True)
        assert row.reason.startswith(f"half-downloaded: {path.name} has {path.stat().st_size} of the {len(whole)} bytes")
