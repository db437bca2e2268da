"""Snakemake's own report of a run: what ran, when, with which parameters."""

import base64
import json
import re

import geopandas as gpd

from workflow_case import shared_case


def test_report_of_the_run_is_made(tmp_path_factory, worker_id, tmp_path):
    case = shared_case(tmp_path_factory, worker_id).copy(tmp_path / "case")
    case.snakemake("--report", "run.html")
    page = (case.folder / "run.html").read_text()
    assert len(page) > 100_000
    assert all(f'"{rule}"' in page for rule in ("scenes", "mosaic", "train", "polygonize", "evidence"))


def test_the_report_and_every_figure_of_a_project_with_an_earlier_inventory_are_in_it(tmp_path_factory, worker_id, tmp_path):
    """One of the earlier slumps reaches far out of the area, where no image is: it is carried along."""
    case = shared_case(tmp_path_factory, worker_id).copy(tmp_path / "case")
    seeds = gpd.read_file(case.folder / "corridor/seeds.gpkg").to_crs("EPSG:32646")
    area = gpd.read_file(case.folder / "corridor/aoi.gpkg").to_crs("EPSG:32646")
    west, south, _, north = area.total_bounds
    middle = (south + north) / 2
    outline = gpd.GeoSeries.from_wkt(
        [f"POLYGON(({west - 9000} {middle}, {west + 90} {middle}, {west + 90} {middle + 9}, {west - 9000} {middle}))"]
    )
    earlier = gpd.GeoDataFrame({"rts_uid": ["far"]}, geometry=outline.to_list(), crs=seeds.crs)
    earlier.to_file(case.folder / "earlier.gpkg")
    case.configure(inventory={"previous": "earlier.gpkg"})
    case.snakemake("preliminary")
    assert case.plan("preliminary") == {}
    slumps = gpd.read_parquet(case.results / "inventory/attributes.parquet").set_index("rts_uid")
    assert slumps.loc["far", "decision"] == "earlier"
    assert slumps.loc["far", "observed_frac"] < 0.5
    assert len(slumps) == len(seeds) + 1

    case.snakemake("preliminary", "--report", "run.html")
    page = (case.folder / "run.html").read_text()
    categories = json.loads(re.search(r"var categories = (\{.*\});", page).group(1))
    shown = {category: [file for files in groups.values() for file in files] for category, groups in categories.items()}
    made = sorted((case.results / "report/figures").glob("*.png"))
    assert {"map", "sizes", "clusters"} <= {path.stem for path in made}
    figures = [path.relative_to(case.folder).as_posix() for path in made]
    assert shown == {"Report": ["results/report/report.html"], "Figures": figures}
    # not only named: it holds their bytes
    held = json.loads(re.search(r"var results = (\{.*\});", page).group(1))
    for file in ("results/report/report.html", *figures):
        assert base64.b64decode(held[file]["data_uri"].split("base64,")[1]) == (case.folder / file).read_bytes(), file
