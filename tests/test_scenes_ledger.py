"""The ledger: one row for every delivered file, what it was used for and how much, and the page that shows it."""

from __future__ import annotations

import json
import re

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from affine import Affine
from shapely import box

from items import clear_udm2, write_item
from rts_pipeline.config import Adjust, Area, GridSection, Mosaic, Scenes, Season, Time, Years
from rts_pipeline.errors import InputError
from rts_pipeline.mosaic import build_mosaic
from rts_pipeline.options import CatalogOptions, LedgerOptions, MosaicOptions
from rts_pipeline.scenes.catalog import catalog
from rts_pipeline.scenes.ledger import ASIDE, BEHIND, TYPES, build_ledger, page
from scenes_case import CRS, found, measured, plain

SECTION = GridSection(crs=CRS, cell_px=64, block_cells=2)
GRID = SECTION.grid()
CELLS = ["e2500_n20104", "e2501_n20104"]
WEST, SOUTH, EAST, NORTH = GRID.cell(CELLS[0]).bounds
CLEAR, BEHIND_IT, BESIDE, CLOUDY, OF_2018, OF_WINTER = (
    *("20190801_041000_1001", "20190802_041000_1002", "20190803_041000_1003", "20190804_041000_1004"),
    *("20180801_041000_1005", "20190101_041000_1006"),
)
HOSTILE = "</script><script>alert(1)</script>.txt"


class Delivered:
    """Six items in two cells: a clear one over a cell and a half, and others; with the ledger of them."""

    def __init__(self, folder):
        self.folder, self.orders, self.results = folder, folder / "orders", folder / "results" / "scenes"
        at = Affine(3, 0, WEST, 0, -3, NORTH)
        half = clear_udm2((64, 96))
        half[0, :32], half[5, :32] = 0, 1
        cloudy = clear_udm2((64, 96)) * 0
        self.item(CLEAR, at, (64, 96))
        self.item(BEHIND_IT, at, (64, 96), udm2=half)
        self.item(BESIDE, at @ Affine.translation(200, 0), (64, 96))
        self.item(CLOUDY, at, (64, 96), udm2=cloudy)
        self.item(OF_2018, at, (64, 96))
        self.item(OF_WINTER, at, (64, 96))
        (self.orders / "notes" / HOSTILE.replace("/", "_")).parent.mkdir()
        (self.orders / "notes" / HOSTILE.replace("/", "_")).write_text("x")
        (self.orders / "archive.zip").write_bytes(b"not really")
        (self.orders / "broken").symlink_to(folder / "nowhere")

    def item(self, item_id, transform, shape, **more):
        acquired = f"{item_id[:4]}-{item_id[4:6]}-{item_id[6:8]}T04:10:00Z"
        write_item(self.orders, item_id, plain(shape), crs=CRS, transform=transform, acquired=acquired, **more)

    def ledger(self):
        """Run scenes, catalog, mosaic and ledger; return the ledger by path."""
        for item in found(self.orders).items:
            if item.id != OF_WINTER:
                measured(item, self.results / item.id)
        aoi = self.folder / "aoi.gpkg"
        # over both cells, and not as far as BESIDE
        gpd.GeoSeries([box(WEST + 1, SOUTH + 1, EAST + 100, NORTH - 1)], crs=CRS).to_file(aoi)
        scenes, years = Scenes(folders=[str(self.orders)]), Years(years=[2018, 2019])
        options = CatalogOptions(
            area=Area(aoi=str(aoi)), time=Season(), grid=SECTION, scenes=scenes, adjust=Adjust(), evidence=years
        )
        catalog(self.results, self.results / "catalog.parquet", options)
        sources = [self.mosaic(cell) for cell in CELLS]
        self.out, self.html = self.results / "ledger.parquet", self.results / "ledger.html"
        self.options = LedgerOptions(time=Season(), grid=SECTION, scenes=scenes, evidence=years)
        build_ledger(self.results / "catalog.parquet", sources, self.out, self.html, self.options)
        rows = pd.read_parquet(self.out)
        assert rows.columns.tolist() == list(TYPES)
        return rows

    def mosaic(self, cell):
        source = self.folder / "results" / "mosaic" / f"{cell}_source.tif"
        items = [self.results / item_id / "item.json" for item_id in (CLEAR, BEHIND_IT, CLOUDY)]
        options = MosaicOptions(time=Time(), grid=SECTION, mosaic=Mosaic())
        build_mosaic(GRID.cell(cell), items, source.with_name(f"{cell}.tif"), source, options)
        return source


@pytest.fixture(scope="module")
def delivered(tmp_path_factory):
    return Delivered(tmp_path_factory.mktemp("ledger"))


@pytest.fixture(scope="module")
def rows(delivered):
    return delivered.ledger()


def of_item(rows, item_id):
    table = rows[(rows.item_id == item_id) & (rows.role == "reflectance")]
    assert len(table) == 1
    return table.iloc[0]


def test_every_file_on_disk_has_exactly_one_row(delivered, rows):
    on_disk = sorted(path for path in delivered.orders.rglob("*") if not path.is_dir())
    assert len(on_disk) == 21
    assert rows.path.tolist() == sorted(map(str, on_disk))
    assert rows.bytes.sum() == sum(path.stat().st_size for path in on_disk if path.exists())


def test_the_page_counts_each_file_once(delivered, rows):
    text = delivered.html.read_text()
    table = re.search(r'<table id="counts">(.*?)</table>', text, re.DOTALL)[1]
    lines = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", line) for line in re.findall(r"<tr>.*?</tr>", table)]
    header, *roles, totals = lines
    shown = {(role[0], status): int(count) for role in roles for status, count in zip(header[1:-1], role[1:-1], strict=True)}
    assert {key: count for key, count in shown.items() if count} == rows.groupby(["role", "status"]).size().to_dict()
    on_disk = sum(not path.is_dir() for path in delivered.orders.rglob("*"))
    assert sum(shown.values()) == sum(int(role[-1]) for role in roles) == int(totals[-1]) == on_disk
    assert f"{on_disk} files found" in text


def test_what_an_item_gave_to_the_mosaics(rows):
    clear = of_item(rows, CLEAR)
    assert (clear.status, clear.reason, clear.used_for) == ("used", "", "mosaic of 2019")
    assert (clear.cells, clear.pixels, clear.share) == (",".join(CELLS), 64 * 96, 1.0)
    mask = rows[(rows.item_id == CLEAR) & (rows.role == "udm2")].iloc[0]
    assert (mask.cells, mask.pixels, mask.share) == (clear.cells, clear.pixels, clear.share)


def test_an_item_without_a_pixel_says_why(rows):
    behind, beside = of_item(rows, BEHIND_IT), of_item(rows, BESIDE)
    assert (behind.status, behind.reason, behind.used_for) == ("used", BEHIND, "evidence of 2019")
    assert (behind.cells, behind.pixels) == ("", 0)
    assert np.isnan(behind.share)
    assert (beside.status, beside.used_for) == ("ignored", "")
    assert "outside the area" in beside.reason


def test_the_other_years_and_the_rejected(rows):
    other, cloudy, winter = (of_item(rows, item_id) for item_id in (OF_2018, CLOUDY, OF_WINTER))
    assert (other.status, other.reason, other.used_for, other.pixels) == ("used", "", "evidence of 2018", 0)
    assert (cloudy.status, cloudy.used_for) == ("rejected", "")
    assert "usable" in cloudy.reason
    assert winter.status == "ignored"
    assert "outside the season" in winter.reason
    assert set(rows[rows.item_id == ""].used_for) == {""}


def test_metadata_that_cannot_be_read_are_told_whether_or_not_the_item_is_used(tmp_path):
    delivered = Delivered(tmp_path)
    for item_id in (CLEAR, OF_WINTER):
        path = delivered.orders / item_id / f"{item_id}_metadata.json"
        path.write_text(path.read_text()[:100])
    rows = delivered.ledger()
    items = gpd.read_parquet(delivered.results / "catalog.parquet").set_index("item_id")
    for item_id, status in ((CLEAR, "used"), (OF_WINTER, "ignored")):
        told = rows[(rows.item_id == item_id) & (rows.role == "metadata")].iloc[0]
        assert (told.status, told.broken) == ("rejected", True)
        assert told.reason.startswith("damaged: ")
        assert items.status[item_id] == of_item(rows, item_id).status == status
        assert f"{item_id}_metadata.json: {told.reason}" in items.reason[item_id]
    assert items.reason[OF_WINTER].startswith("acquired outside the season of 2018, 2019; ")
    assert items.reason[BEHIND_IT] == ""


def test_half_of_an_item_in_the_area_is_a_share_of_half(tmp_path):
    case = Delivered(tmp_path)
    case.ledger()
    source = case.mosaic(CELLS[0])
    build_ledger(case.results / "catalog.parquet", [source], case.out, case.html, case.options)
    clear = of_item(pd.read_parquet(case.out), CLEAR)
    assert (clear.cells, clear.pixels) == (CELLS[0], 64 * 64)
    assert clear.share == pytest.approx(2 / 3, abs=1e-5)
    build_ledger(case.results / "catalog.parquet", [], case.out, case.html, case.options)
    assert of_item(pd.read_parquet(case.out), CLEAR).reason == ASIDE
    with pytest.raises(InputError, match=r"catalog\.parquet: no such file"):
        build_ledger(tmp_path / "catalog.parquet", [source], case.out, case.html, case.options)


def test_a_file_that_came_while_the_workflow_ran_says_so(tmp_path):
    case = Delivered(tmp_path)
    case.ledger()
    late = "20190805_041000_1009"
    case.item(late, Affine(3, 0, WEST, 0, -3, NORTH), (64, 96))
    build_ledger(case.results / "catalog.parquet", [], case.out, case.html, case.options)
    row = of_item(pd.read_parquet(case.out), late)
    assert (row.status, row.reason) == ("ignored", "arrived while the workflow ran: run it again")


def data_of(text):
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)[1])


def test_the_page_is_escaped_and_needs_no_network(delivered, rows):
    text = delivered.html.read_text()
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert text.count("</script>") == 2
    assert not re.search(r"""(?:src|href)\s*=|url\(|https?://""", text)
    assert "default-src 'none'" in text
    groups = data_of(text)["groups"]
    assert sum(len(group[-1]) for group in groups) == len(rows)
    assert len(groups) == 6 + 3


def many(n_items):
    roles = ("reflectance", "udm2", "metadata", "xml")
    frame = pd.DataFrame({"number": np.repeat(np.arange(n_items), 4), "role": roles * n_items})
    frame["item_id"] = [f"2019{7 + n % 2:02d}01_{n:06d}_10{n % 90:02d}" for n in frame.number]
    folder = "/data/planet/orders/order_" + (frame.number // 200).astype(str) + "/PSScene/"
    frame["path"] = folder + frame.item_id + "_3B_AnalyticMS_SR_" + frame.role + ".tif"
    cells = ",".join(f"e{n:04d}_n20104" for n in range(12))
    more = {"bytes": 250_000_000, "status": "used", "reason": "", "broken": False, "used_for": "mosaic of 2019"}
    return frame.assign(cells=cells, pixels=123_456, share=0.1234, **more)[list(TYPES)].astype(TYPES)


def test_forty_thousand_files_make_a_page_of_a_few_megabytes():
    text = page(many(10_000))
    assert len(text) < 8e6
    assert text.count("<tr") < 50, "the rows are made by the script, a few hundred at a time"
    assert "40,000 files found" in text


def test_members_of_archives_are_told_apart_and_all_kinds_of_status_are_counted():
    ledger = many(2)
    ledger.loc[len(ledger)] = ["/data/order.zip", 9, "", "archive", "used", "", False, "", "", 0, None]
    ledger.loc[1:2, "path"] = ["/data/order.zip/PSScene/a.tif", "/data/nowhere.zip/b.tif"]
    ledger.loc[3, "status"] = "superseded"
    text = page(ledger)
    assert "9 files found below the delivered folders (8 on disk and 1 inside archives)" in text
    assert "superseded" in text
