"""`scenes check`: what a delivery holds, told before any run."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine
from PIL import Image
from typer.testing import CliRunner

from items import write_item, write_manifest
from rts_pipeline.cli import app
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.scenes.check import Days, check, draw
from rts_pipeline.scenes.expected import CLASSES, Frame, Observation, _together, expected, observation
from scenes_case import CRS, ITEM, PLACE, found, plain


def run(*arguments):
    return CliRunner().invoke(app, ["scenes", "check", *map(str, arguments)])


@pytest.fixture
def orders(tmp_path):
    """Three usable items of two years, one without mask."""
    for item_id, mask in (("20180801", True), ("20190601", True), ("20190801", True), ("20190802", False)):
        acquired = f"{item_id[:4]}-{item_id[4:6]}-{item_id[6:]}T04:10:00Z"
        place = tmp_path / "orders" / item_id / "files"
        write_item(place, f"{item_id}_041000_1003", plain(), crs=CRS, transform=PLACE, mask=mask, acquired=acquired)
        write_manifest(place.parent)
    return tmp_path / "orders"


def test_the_summary_counts_items_and_files(orders):
    done = run(orders, "--season", "07-01", "08-30")
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[:4] == [
        "year  usable  in season  rejected   first day    last day",
        "2018       1          1         0  2018-08-01  2018-08-01",
        "2019       2          1         1  2019-06-01  2019-08-02",
        " all       3          2         1  2018-08-01  2019-08-02",
    ]
    assert "instruments  3 PS2" in lines
    assert "products     3 surface reflectance with udm2" in lines
    total = sum(path.stat().st_size for path in orders.rglob("*") if path.is_file())
    counts = "13 used, 2 rejected, 0 ignored, 0 superseded; 15 on disk"
    assert f"files        {counts}, {total / 1000:.1f} kB" in lines
    assert lines[-2:] == ["Rejected items:", "  20190802_041000_1003: no udm2 and no udm delivered"]
    assert "in season" not in run(orders).output


def test_every_file_is_listed_where_wanted(orders):
    rows = {str(path) for path in orders.rglob("*") if path.is_file()}
    assert not any(row in run(orders).output for row in rows)
    listed = run(orders, "--files").output
    assert all(row in listed for row in rows)


BREAKERS = {
    "header": (lambda order: next(order.rglob("*_SR.tif")).write_bytes(b"II*\0"), "half-downloaded"),
    "missing": (lambda order: next(order.rglob("*_udm2.tif")).unlink(), "lists 1 file that is not there"),
    "metadata": (lambda order: (order / "x_metadata.json").write_text("{"), "damaged: not valid JSON"),
    "manifest": (lambda order: (order / "manifest.json").write_text("[]"), "damaged: not the manifest of an order"),
    "archive": (lambda order: (order / "x.zip").write_bytes(b"PK"), "damaged: can't be read"),
    "link": (lambda order: (order / "x").symlink_to("nowhere"), "a link that leads nowhere"),
}


@pytest.mark.parametrize("breaker", BREAKERS)
def test_what_is_broken_gives_the_exit_code_of_bad_data(orders, breaker):
    damage, reason = BREAKERS[breaker]
    damage(orders / "20180801")
    done = run(orders)
    assert done.exit_code == 3
    broken = done.output.split("Broken files:\n")[1].splitlines()
    assert len(broken) == 1
    assert reason in broken[0]


def test_an_unreadable_header_is_broken_without_a_manifest(orders):
    for manifest in orders.rglob("manifest.json"):
        manifest.unlink()
    next(orders.rglob("*_SR.tif")).write_bytes(b"II*\0")
    done = run(orders)
    assert done.exit_code == 3
    assert "_SR.tif: damaged: can't be read" in done.output


def test_checksums_are_compared_where_wanted(orders):
    path = next(orders.rglob("20180801*_metadata.json"))
    path.write_text(path.read_text().replace("2.0", "3.0"))
    assert run(orders).exit_code == 0
    done = run(orders, "--checksums")
    assert done.exit_code == 3
    assert f"{path.name} has another sha256 than the order's manifest lists" in done.output


def test_a_season_that_is_none_is_told(orders):
    with pytest.raises(UsageError, match="--season"):
        Days(("07-01", "13-01"))
    with pytest.raises(UsageError, match="must begin before it ends"):
        Days(("08-01", "07-01"))


def test_a_folder_with_nothing_but_a_broken_archive_says_so(tmp_path):
    (tmp_path / "order.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"holds no PlanetScope item \(1 files; order\.zip: damaged: can't be read"):
        check([tmp_path], checksums=False)


# --- the picture -------------------------------------------------------------------------------------------------------


def test_the_picture_is_written_and_shows_where_nothing_was_seen(orders, tmp_path):
    picture = tmp_path / "new" / "coverage.png"
    assert run(orders, "--picture", picture, "--season", "07-01", "08-30").exit_code == 0
    image = np.asarray(Image.open(picture).convert("RGB")).reshape(-1, 3)
    colours = {tuple(colour) for colour in np.unique(image, axis=0).tolist()}
    assert {(0xD5, 0xD9, 0xDC), (0xB5, 0xDF, 0xB0)} <= colours  # not seen, and one observation
    assert list(picture.parent.iterdir()) == [picture]
    with pytest.raises(InputError, match="would be empty: no usable item"):
        draw(found(orders), Days(("01-01", "01-02")), picture)


def observed(west, clear, width=1.0):
    return Observation(2019, shapely.box(west, 30, west + width, 31), clear)


def test_clear_shares_add_up_where_items_overlap():
    observations = [observed(90, 1.0), observed(90.5, 0.6), observed(90.5, 0.7), observed(92, 0.1)]
    frame = Frame.around([o.place for o in observations])
    number, seen = expected(observations, frame)

    def at(x, y=30.5):
        column, row = ~frame.transform @ (x, y)
        return number[int(row), int(column)], bool(seen[int(row), int(column)])

    assert at(90.25) == (1.0, True)
    assert at(90.75) == (pytest.approx(2.3), True)
    assert at(91.25) == (pytest.approx(1.3), True)
    assert at(92.5) == (pytest.approx(0.1), True)
    assert at(91.75) == (0, False)
    assert at(90.25, 31.05) == (0, False)
    assert [lowest for lowest, _ in CLASSES] == sorted({lowest for lowest, _ in CLASSES})


def test_scenes_of_deliveries_far_apart_stay_visible():
    observations = [observed(90, 1.0, 0.2), observed(-90, 1.0, 0.2)]
    frame = Frame.around([o.place for o in observations])
    assert expected(observations, frame)[1].sum() >= 2


def test_both_sides_of_the_antimeridian_are_one_map():
    observations = _together([observed(179.2, 1.0, 0.5), observed(-179.9, 1.0, 0.5)])
    frame = Frame.around([o.place for o in observations])
    assert frame.east - frame.west < 2


@pytest.mark.parametrize(
    ("told", "clear"),
    [
        ({"clear_percent": 40}, 0.4),
        ({"clear_percent": None, "cloud_cover": 0.25}, 0.75),
        ({"clear_percent": "many", "cloud_cover": None}, 1.0),
        ({"clear_percent": None, "cloud_cover": 7}, 0.0),
    ],
)
def test_what_is_expected_of_an_item_comes_from_its_metadata(tmp_path, told, clear):
    write_item(tmp_path, ITEM, plain(), crs=CRS, transform=PLACE, **told)
    assert observation(found(tmp_path).items[0]).clear == pytest.approx(clear)


def test_an_item_is_expected_where_its_footprint_and_its_raster_overlap(tmp_path):
    write_item(tmp_path, ITEM, plain((200, 200)), crs=CRS, transform=PLACE)
    whole = observation(found(tmp_path).items[0]).place
    clip = np.s_[:, :50, :50]
    write_item(tmp_path, ITEM, plain((200, 200))[clip], crs=CRS, transform=PLACE, with_metadata=False)
    assert observation(found(tmp_path).items[0]).place.area == pytest.approx(whole.area / 16, rel=0.01)
    write_item(tmp_path, ITEM, plain((50, 50)), crs=CRS, transform=PLACE @ Affine.translation(9000, 0), with_metadata=False)
    elsewhere = observation(found(tmp_path).items[0]).place
    assert not elsewhere.intersects(whole)
