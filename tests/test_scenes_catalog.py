"""The table of items."""

from __future__ import annotations

import geopandas as gpd
from affine import Affine
from pyproj import Transformer
from shapely import box

from items import clear_udm2, write_item
from rts_pipeline.config import Adjust, Area, Evidence, GridSection, Scenes, Time
from rts_pipeline.options import CatalogOptions
from rts_pipeline.scenes.catalog import catalog, write_items
from scenes_case import CRS, ITEM, PLACE, found, measured, plain


def test_the_table_accounts_for_every_item(tmp_path):
    ids = [f"2019080{n}_041000_1003" for n in range(1, 6)]
    cloudy = clear_udm2((60, 80)) * 0
    for item_id in ids:
        udm2 = cloudy if item_id == ids[1] else None
        write_item(tmp_path / "in", item_id, plain(), crs=CRS, transform=PLACE, udm2=udm2, mask=item_id != ids[2])
    delivery = found(tmp_path / "in")
    for item in delivery.items[:2]:
        measured(item, tmp_path / "out" / item.id)
    jsons = {item_id: tmp_path / "out" / item_id / "item.json" for item_id in (*ids[:2], ids[4])}
    write_items(delivery, jsons, {ids[3]: "outside the season"}, tmp_path / "catalog.parquet")
    items = gpd.read_parquet(tmp_path / "catalog.parquet").set_index("item_id")
    assert items.index.tolist() == ids
    assert items.crs == "EPSG:4326"
    assert items.status.tolist() == ["used", "rejected", "rejected", "ignored", "ignored"]
    assert items.reason.tolist()[0] == ""
    assert "fewer than 1 %" in items.reason.iloc[1]
    assert items.reason.tolist()[2:] == [
        "no udm2 and no udm delivered",
        "outside the season",
        "arrived while the workflow ran: run it again",
    ]
    assert items.item_json.isna().tolist() == [False, False, True, True, True]
    assert items.geometry.is_valid.all()


def test_an_item_across_the_antimeridian_does_not_span_the_globe(tmp_path):
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:32660", always_xy=True).transform(180, 66)
    place = Affine(3, 0, round(x) - 120, 0, -3, round(y))
    write_item(tmp_path / "in", ITEM, plain(), crs="EPSG:32660", transform=place, with_metadata=False)
    write_items(found(tmp_path / "in"), {}, {ITEM: "outside the season"}, tmp_path / "catalog.parquet")
    placed = gpd.read_parquet(tmp_path / "catalog.parquet").geometry[0]
    assert placed.geom_type == "MultiPolygon"
    assert placed.area < 1e-4, "square degrees; of those around the globe there are a thousand times as many"


def test_the_catalog_says_which_items_the_area_and_the_season_need(tmp_path):
    places = {"20190801_041000_1003": PLACE, "20190802_041000_1003": PLACE @ Affine.translation(9000, 0)}
    places |= {"20190501_041000_1003": PLACE, "20180801_041000_1003": PLACE}
    for item_id, place in places.items():
        acquired = f"{item_id[:4]}-{item_id[4:6]}-{item_id[6:8]}T04:10:00Z"
        write_item(tmp_path / "in", item_id, plain(), crs=CRS, transform=place, acquired=acquired)
    area = gpd.GeoSeries([box(480_000, 3_859_900, 480_100, 3_860_000)], crs=CRS).to_crs(4326)
    area.to_file(tmp_path / "aoi.gpkg")
    options = CatalogOptions(
        area=Area(aoi=str(tmp_path / "aoi.gpkg")),
        time=Time(),
        grid=GridSection(crs=CRS, cell_px=256),
        scenes=Scenes(folders=[str(tmp_path / "in")]),
        adjust=Adjust(),
        evidence=Evidence(years=[2019]),
    )
    needed = found(tmp_path / "in").items
    stale = [item for item in needed if item.id in ("20190801_041000_1003", "20180801_041000_1003")]
    for item in stale:  # one of them was measured for another configuration
        measured(item, tmp_path / "out" / item.id)
    catalog(tmp_path / "out", tmp_path / "catalog.parquet", options)
    rows = gpd.read_parquet(tmp_path / "catalog.parquet").set_index("item_id")
    assert rows.status.to_dict() == dict.fromkeys(places, "ignored") | {"20190801_041000_1003": "used"}
    assert rows.reason["20190802_041000_1003"] == "outside the area of interest"
    assert "outside the season" in rows.reason["20190501_041000_1003"]
    assert "outside the season" in rows.reason["20180801_041000_1003"]
