"""The forms in which items are delivered: radiance, orthotiles, several deliveries of which some are better."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from items import write_item, write_xml
from rts_pipeline.config import Usability
from rts_pipeline.errors import InputError
from rts_pipeline.options import ScenesOptions
from rts_pipeline.scenes.measure import measure
from rts_pipeline.scenes.metadata import acquired_of, reflectance_coefficients
from rts_pipeline.scenes.names import parse
from rts_pipeline.scenes.reader import MeasuredItem
from scenes_case import CRS, ITEM, PLACE, found, measured, plain, reasons

COEFFICIENTS = {1: 2.1e-05, 2: 2.2e-05, 3: 2.5e-05, 4: 3.7e-05}
TILE = "5790392_4372514_2022-07-16_2459"


def radiance(folder, value=4000, product="AnalyticMS", coefficients=COEFFICIENTS, bands=4, **options):
    values = np.full((bands, 60, 80), value, np.uint16)
    here = write_item(folder, ITEM, values, crs=CRS, transform=PLACE, product=product, **options)
    if coefficients:
        write_xml(here, ITEM, coefficients, product)
    return here


# --- names -------------------------------------------------------------------------------------------------------------

SATELLITE = st.text("0123456789abcdef", min_size=4, max_size=4)
SCENE_IDS = st.builds(
    lambda day, time, middle, satellite: "_".join([day, time, *middle, satellite]),
    st.dates().map(lambda day: f"{day:%Y%m%d}".zfill(8)),
    st.times().map(lambda time: f"{time:%H%M%S}"),
    st.lists(st.text("0123456789", min_size=1, max_size=3), max_size=1),
    SATELLITE,
)
TILE_IDS = st.builds(
    "{}_{}_{}_{}".format, st.integers(1, 10**8), st.integers(1, 10**8), st.dates().map(lambda day: day.isoformat()), SATELLITE
)
SCENE_NAMES = {
    "3B_AnalyticMS_SR": ("reflectance", False),
    "3B_AnalyticMS_SR_8b": ("reflectance", True),
    "3B_AnalyticMS_SR_harmonized": ("reflectance", False),
    "3B_AnalyticMS": ("radiance", False),
    "3B_AnalyticMS_8b": ("radiance", True),
    "3B_udm2": ("udm2", False),
    "3B_AnalyticMS_DN_udm": ("udm", False),
    "3B_Visual": ("other product", False),
    "1B_AnalyticMS": ("other product", False),
}
TILE_NAMES = {
    "BGRN_SR": ("reflectance", False),
    "BGRN_Analytic": ("radiance", False),
    "BGRN_DN_udm": ("udm", False),
    "udm2": ("udm2", False),
    "RGB_Visual": ("other product", False),
}


@given(
    st.one_of(
        st.tuples(SCENE_IDS, st.sampled_from(sorted(SCENE_NAMES.items()))),
        st.tuples(TILE_IDS, st.sampled_from(sorted(TILE_NAMES.items()))),
    ),
    st.booleans(),
    st.sampled_from(["tif", "TIF", "tiff"]),
)
def test_a_rasters_name_gives_back_what_it_was_made_of(made, clip, end):
    item_id, (product, (role, eight)) = made
    name = parse(Path(f"a/b.zip/{item_id}_{product}{'_clip' * clip}.{end}"))
    assert (name.item_id, name.role, name.clip, name.eight_bands) == (item_id, role, clip, eight)


@given(
    st.one_of(
        st.tuples(SCENE_IDS, st.sampled_from(["3B_AnalyticMS", "3B_AnalyticMS_8b"])),
        st.tuples(TILE_IDS, st.just("BGRN_Analytic")),
    ),
    st.booleans(),
)
def test_an_xmls_name_gives_back_what_it_was_made_of(made, clip):
    item_id, product = made
    name = parse(Path(f"{item_id}_{product}_metadata{'_clip' * clip}.xml"))
    assert (name.item_id, name.role, name.clip, name.eight_bands) == (item_id, "xml", clip, "_8b" in product)
    assert parse(Path(f"{item_id}_metadata.json")).item_id == item_id
    assert parse(Path(f"{item_id}.json")).role == "json"


@given(st.text(st.characters(exclude_characters="/\0"), min_size=1).filter(lambda text: text not in (".", "..")))
def test_any_name_has_a_role(text):
    name = parse(Path(text))
    assert name.role
    assert name.item_id in text


def test_of_an_orthotile_only_the_day_is_known_unless_it_is_told():
    assert acquired_of(TILE) == "2022-07-16T00:00:00.000000Z"
    assert acquired_of(TILE, "2022-07-16T04:05:06.7Z") == "2022-07-16T04:05:06.700000Z"
    assert acquired_of("1_2_2022-13-16_2459") is None


# --- radiance ----------------------------------------------------------------------------------------------------------


def test_radiance_is_measured_as_top_of_atmosphere_reflectance(tmp_path):
    here = radiance(tmp_path / "in")
    delivery = found(tmp_path / "in")
    item = delivery.items[0]
    assert item.reflectance == here / f"{ITEM}_3B_AnalyticMS.tif"
    assert {row.status for row in delivery.files} == {"used"}
    told, classes = measured(item, tmp_path / "out")
    assert (classes == 1).all()
    assert told["properties"]["rts:reflectance"] == "top of atmosphere"
    gain = told["properties"]["rts:gain"]
    assert gain == pytest.approx({"blue": 0.21, "green": 0.22, "red": 0.25, "nir": 0.37})
    assert told["properties"]["rts:percentiles"]["nir"]["50"] == 1480
    read = MeasuredItem.load(tmp_path / "out" / "item.json")
    assert (read.surface, read.gain) == (False, tuple(gain[band] for band in ("blue", "green", "red", "nir")))


def test_rules_are_applied_to_reflectance_not_to_radiance(tmp_path):
    radiance(tmp_path / "in", value=7)  # reflectance 0.00015 in blue
    told, classes = measured(found(tmp_path / "in").items[0], tmp_path / "out")
    assert (classes == 3).all()
    assert told["properties"]["rts:reason"] == "no valid pixel"


def test_of_eight_bands_of_radiance_ours_have_their_own_coefficients(tmp_path):
    coefficients = {band: band * 1e-05 for band in range(1, 9)}
    radiance(tmp_path / "in", product="AnalyticMS_8b", coefficients=coefficients, bands=8)
    told, _ = measured(found(tmp_path / "in").items[0], tmp_path / "out")
    assert told["properties"]["rts:gain"] == pytest.approx({"blue": 0.2, "green": 0.4, "red": 0.6, "nir": 0.8})


def test_surface_reflectance_has_no_gain(tmp_path):
    write_item(tmp_path / "in", ITEM, plain(), crs=CRS, transform=PLACE)
    told, _ = measured(found(tmp_path / "in").items[0], tmp_path / "out")
    assert told["properties"]["rts:gain"] == dict.fromkeys(["blue", "green", "red", "nir"], 1.0)
    assert told["properties"]["rts:reflectance"] == "surface"


@pytest.mark.parametrize(
    ("coefficients", "reason"),
    [
        ({}, "at-sensor radiance without the XML that holds its reflectance coefficients"),
        ({1: 2e-05, 2: "none", 3: 0, 4: "nan"}, "gives no reflectanceCoefficient for band 2, 3, 4"),
        ({"1.5": 2e-05, 2: 2e-05, 3: 2e-05, 4: 2e-05}, "gives no reflectanceCoefficient for band 1"),
    ],
)
def test_radiance_without_coefficients_is_rejected(tmp_path, coefficients, reason):
    radiance(tmp_path, coefficients=coefficients)
    assert found(tmp_path).rejected[0].reason.endswith(reason)


def test_the_coefficients_of_eight_bands_are_not_those_of_four(tmp_path):
    here = radiance(tmp_path, coefficients={})
    xml = write_xml(here, ITEM, dict.fromkeys(range(1, 9), 2e-05), "AnalyticMS_8b")
    assert found(tmp_path).rejected[0].reason.startswith("at-sensor radiance without the XML")
    raster, out = here / f"{ITEM}_3B_AnalyticMS.tif", (tmp_path / "item.json", tmp_path / "usable.tif")
    for other in (xml, None):
        with pytest.raises(InputError, match="without the XML"):
            measure(ITEM, raster, None, "none", None, other, *out, ScenesOptions(scenes=Usability()))
    write_xml(here, ITEM, COEFFICIENTS)
    assert found(tmp_path).items[0].xml == here / f"{ITEM}_3B_AnalyticMS_metadata.xml"


def test_a_coefficient_that_lacks_is_named(tmp_path):
    xml = write_xml(tmp_path, ITEM, {1: 2e-05})
    with pytest.raises(InputError, match=r"metadata\.xml: gives no reflectanceCoefficient for green, nir"):
        reflectance_coefficients(xml, {"blue": 1, "green": 2, "nir": 4})


def test_radiance_is_rejected_where_the_configuration_says_so(tmp_path):
    radiance(tmp_path)
    rejected = found(tmp_path, without_surface_reflectance="reject").rejected
    assert rejected[0].reason == "at-sensor radiance, not surface reflectance"


def test_surface_reflectance_wins_over_radiance(tmp_path):
    radiance(tmp_path / "a")
    write_item(tmp_path / "a", ITEM, plain(), crs=CRS, transform=PLACE)
    radiance(tmp_path / "b", updated="2030-01-01T00:00:00Z")
    delivery = found(tmp_path)
    assert delivery.items[0].reflectance == tmp_path / "a" / ITEM / f"{ITEM}_3B_AnalyticMS_SR.tif"
    told = {row.path: (row.status, row.reason) for row in delivery.files}
    assert told[f"{tmp_path}/a/{ITEM}/{ITEM}_3B_AnalyticMS.tif"] == ("ignored", "not needed beside the surface reflectance")
    assert told[f"{tmp_path}/b/{ITEM}/{ITEM}_3B_AnalyticMS.tif"] == ("superseded", "second delivery of the same item")


def test_beside_radiance_other_products_are_not_needed(tmp_path):
    here = radiance(tmp_path)
    (here / f"{ITEM}_3B_Visual.tif").write_bytes(b"")
    (here / f"{ITEM}_3B_AnalyticMS_8b.tif").write_bytes((here / f"{ITEM}_3B_AnalyticMS.tif").read_bytes())
    told = reasons(found(tmp_path))
    assert told[f"{ITEM}_3B_Visual.tif"] == "ignored: not needed beside the radiance"
    assert told[f"{ITEM}_3B_AnalyticMS_8b.tif"].startswith("ignored: another radiance of the item is used")


# --- orthotiles --------------------------------------------------------------------------------------------------------


def orthotile(folder: Path, product: str, mask: str | None) -> Path:
    """Rename a scene's files to those of a PSOrthoTile."""
    write_item(folder, ITEM, plain(), crs=CRS, transform=PLACE, udm=np.zeros((60, 80), np.uint8))
    here = (folder / ITEM).rename(folder / TILE)
    (here / f"{ITEM}_3B_AnalyticMS_SR.tif").rename(here / f"{TILE}_{product}.tif")
    udm = here / f"{ITEM}_3B_AnalyticMS_DN_udm.tif"
    udm.rename(here / f"{TILE}_{mask}.tif") if mask else udm.unlink()
    metadata = here / f"{ITEM}_metadata.json"
    feature = json.loads(metadata.read_text()) | {"id": TILE}
    metadata.unlink()
    (here / f"{TILE}_metadata.json").write_text(json.dumps(feature))
    return here


def test_an_orthotile_is_an_item(tmp_path):
    here = orthotile(tmp_path / "in", "BGRN_SR", "BGRN_DN_udm")
    (here / "Thumbs.db").write_bytes(b"")
    delivery = found(tmp_path / "in")
    item = delivery.items[0]
    assert (item.id, item.mask_kind, item.acquired) == (TILE, "udm", "2019-08-01T04:10:00.123456Z")
    assert reasons(delivery)["Thumbs.db"] == "ignored: not part of a PlanetScope item"
    told, classes = measured(item, tmp_path / "out")
    assert (classes == 1).all()
    assert (told["id"], told["properties"]["rts:reflectance"]) == (TILE, "surface")


def test_an_orthotiles_radiance_is_measured(tmp_path):
    here = orthotile(tmp_path / "in", "BGRN_Analytic_clip", "BGRN_DN_udm_clip")
    (here / f"{TILE}_metadata.json").unlink()
    write_xml(here, TILE, COEFFICIENTS, "BGRN_Analytic")
    item = found(tmp_path / "in").items[0]
    assert item.acquired == "2022-07-16T00:00:00.000000Z"
    told, _ = measured(item, tmp_path / "out")
    assert told["properties"]["rts:gain"]["nir"] == pytest.approx(0.37)
    assert told["properties"]["datetime"] == "2022-07-16T00:00:00.000000Z"


def test_an_item_needs_no_mask_in_the_same_folder(tmp_path):
    here = orthotile(tmp_path, "BGRN_SR", None)
    assert found(tmp_path).rejected[0].reason == "no udm2 and no udm delivered"
    write_item(tmp_path / "x", ITEM, plain(), crs=CRS, transform=PLACE)
    (tmp_path / "x" / ITEM / f"{ITEM}_3B_udm2.tif").rename(here.parent / f"{TILE}_udm2.tif")
    items = {item.id: item.mask_kind for item in found(tmp_path).items}
    assert items == {TILE: "udm2"}
