"""`review consensus`: what people hand in, what is written, and every way in which files can be wrong."""

import itertools
import json
import shutil

import geopandas as gpd
import numpy as np
import pytest
from PIL import Image
from shapely import Point, Polygon, box
from typer.testing import CliRunner

from consensus_case import CRS, EAST, NORTH, drawn_by, rectangle, write
from rts_pipeline.cli import app
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.review.consensus import build
from rts_pipeline.review.consensus.build import consensus
from rts_pipeline.review.consensus.drawings import read_drawings


@pytest.fixture(scope="module")
def people():
    """Ten slumps; each person misses some, shifts all, and splits or lumps one."""
    rng = np.random.default_rng(3)
    everybody = {}
    for number, name in enumerate(("ada", "Ben", "eve", "ole")):
        shapes = []
        for place in range(10):
            if place > 4 and (place + number) % 4 == 0:
                continue
            x, y = 400 * (place % 4) + rng.uniform(-8, 8), 400 * (place // 4) + rng.uniform(-8, 8)
            shapes.append(Point(EAST + x, NORTH + y).buffer(rng.uniform(40, 60), quad_segs=6))
        shapes += [rectangle(10, 1300, 100 + number, 1350), rectangle(105 + number, 1300, 200, 1350)]
        if number == 2:
            shapes[-2:] = [rectangle(8, 1300, 203, 1350)]
        everybody[name] = shapes
    return everybody


PRODUCTS = ("consensus.gpkg", "consensus.json", "consensus.md", "consensus.png")


def test_neither_the_order_of_files_nor_one_file_or_several_changes_a_byte(people, tmp_path):
    files = write(tmp_path, people)
    consensus(files, tmp_path / "one" / "consensus.gpkg", min_area_m2=100)
    expected = [(tmp_path / "one" / name).read_bytes() for name in PRODUCTS]
    for number, order in enumerate(itertools.islice(itertools.permutations(files), 5, 24, 9)):
        consensus(order, tmp_path / f"order{number}" / "consensus.gpkg", min_area_m2=100)
        assert [(tmp_path / f"order{number}" / name).read_bytes() for name in PRODUCTS] == expected
    frames = [gpd.read_file(path).assign(who=path.stem) for path in files]
    together = gpd.pd.concat(frames)
    together.to_file(tmp_path / "together.gpkg")
    consensus([tmp_path / "together.gpkg"], tmp_path / "column" / "consensus.gpkg", column="who", min_area_m2=100)
    for name in ("consensus.md", "consensus.png"):
        assert (tmp_path / "column" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_the_files_crs_does_not_matter(people, tmp_path):
    def figures(name, **crs):
        folder = tmp_path / name
        folder.mkdir()
        files = [write(folder, {who: shapes}, ".fgb", crs.get(who, CRS))[0] for who, shapes in people.items()]
        drawings = read_drawings(files, column=None, looked=None, min_area_m2=100)
        slumps = build.derive(drawings, 100).layers.consensus
        return slumps.drop(columns=["geometry", "reviewers", "possibility_class"]).to_numpy(float), drawings.written_crs

    own, crs = figures("own")
    assert crs == CRS
    for name in ("EPSG:4326", "EPSG:3857"):
        other, crs = figures(name.replace(":", ""), **dict.fromkeys(people, name))
        assert crs == name
        assert np.allclose(other, own, rtol=2e-3, atol=0.02, equal_nan=True)
    mixed, crs = figures("mixed", ada="EPSG:4326", eve="EPSG:3857")
    assert crs.coordinate_operation.method_name == "Lambert Azimuthal Equal Area"
    assert np.allclose(mixed, own, rtol=2e-3, atol=0.02, equal_nan=True)


def test_outlines_on_both_sides_of_the_180th_meridian(tmp_path):
    def shapes(shift):
        return gpd.GeoSeries([box(179.99 + shift, 68, 179.995, 68.002), box(-179.98, 68, -179.975, 68.002 - shift)], crs=4326)

    for name, shift in (("a", 0), ("b", 1e-4)):
        shapes(shift).to_file(tmp_path / f"{name}.gpkg")
    found = consensus([tmp_path / "a.gpkg", tmp_path / "b.gpkg"], tmp_path / "x.gpkg", min_area_m2=100)
    assert drawn_by(found) == [2, 2]
    assert "lon_0=-179.9" in found.statistics["computed_in"] or "lon_0=180" in found.statistics["computed_in"]


def test_products(people, tmp_path):
    out = tmp_path / "out"
    found = consensus(write(tmp_path, people), out / "consensus.gpkg", min_area_m2=100)
    layers = {name: gpd.read_file(out / "consensus.gpkg", layer=name) for name in ("consensus", "drawn", "band")}
    slumps, drawn, band = layers.values()
    assert all(layer.is_valid.all() and layer.crs == CRS for layer in layers.values())
    assert slumps["slump_id"].tolist() == list(range(1, 13))
    assert slumps.to_crs(4326).representative_point().y.is_monotonic_decreasing
    assert drawn.groupby("slump_id").size().tolist() == slumps["n_drew"].tolist()
    assert band["slump_id"].tolist() == slumps.loc[slumps["n_drew"] > 1, "slump_id"].tolist()
    statistics = json.loads((out / "consensus.json").read_text())
    assert statistics == found.statistics
    assert sum(statistics["drawn_by"].values()) == statistics["n_slumps"] == 12
    assert len(statistics["outlines"]["pairs"]) == 6
    for figure in (*statistics["presence"].values(), *statistics["outlines"]["mean"].values()):
        assert figure["low"] <= figure["value"] <= figure["high"]
    text = (out / "consensus.md").read_text()
    assert text.startswith("12 slumps, drawn by 4 people: ")
    assert sum(line.startswith("| ") for line in text.splitlines()) == 12 + 4 + 4 + 3 + 3
    with Image.open(out / "consensus.png") as picture:
        assert 1200 < picture.width < 1500
        assert len(picture.getcolors(1 << 24)) > 50


def run(*arguments):
    return CliRunner().invoke(app, ["review", "consensus", *map(str, arguments)])


def test_the_command(people, tmp_path):
    files = write(tmp_path, people, ".geojson", "EPSG:4326")
    done = run(*files, "--out", tmp_path / "out.gpkg")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1].startswith("12 slumps, drawn by 4 people: ")
    assert {path.name for path in tmp_path.glob("out.*")} == {"out.gpkg", "out.json", "out.md", "out.png"}


def named(**who):
    return gpd.GeoDataFrame(who, geometry=[rectangle(200 * i, 0, 200 * i + 100, 100) for i in range(3)], crs=CRS)


BOW = Polygon([(EAST, NORTH), (EAST + 100, NORTH + 100), (EAST + 100, NORTH), (EAST, NORTH + 100)])
GOOD = [rectangle(0, 0, 100, 100)]
BAD = {
    "no_crs": (lambda: gpd.GeoDataFrame(geometry=GOOD), "bad.shp: declares no CRS"),
    "empty": (lambda: gpd.GeoDataFrame(geometry=gpd.GeoSeries([], crs=CRS)), "bad.shp: holds no feature"),
    "points": (lambda: gpd.GeoDataFrame(geometry=[Point(EAST, NORTH)], crs=CRS), "bad.shp: not a polygon in feature 1"),
    "lines": (lambda: gpd.GeoDataFrame(geometry=[GOOD[0].boundary], crs=CRS), "bad.shp: not a polygon in feature 1"),
    "bow": (lambda: gpd.GeoDataFrame(geometry=[*GOOD, BOW], crs=CRS), "bad.shp: invalid geometry in feature 2"),
    "nowhere": (lambda: gpd.GeoDataFrame(geometry=GOOD, crs=4326), "bad.shp: has outlines with no place on Earth in WGS 84"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_named(case, tmp_path):
    make, message = BAD[case]
    (good,) = write(tmp_path, {"ada": GOOD})
    make().to_file(tmp_path / "bad.shp")
    with pytest.raises(InputError) as error:
        consensus([good, tmp_path / "bad.shp"], tmp_path / "x.gpkg", min_area_m2=100)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "x.gpkg").exists()


def test_a_person_who_comes_twice(tmp_path):
    (ada,) = write(tmp_path, {"ada": GOOD})
    (other,) = write(tmp_path, {"ada": GOOD}, ".fgb")
    (spelt,) = write(tmp_path, {"Ada": GOOD}, ".shp")
    copy = shutil.copy(ada, tmp_path / "ben.gpkg")
    with pytest.raises(InputError, match=r"reviewer 'ada' has outlines in .*ada.gpkg already"):
        consensus([ada, other], tmp_path / "x.gpkg", min_area_m2=100)
    with pytest.raises(InputError, match=r"reviewer 'ada' has outlines in .*ada.gpkg already"):
        consensus([ada, ada], tmp_path / "x.gpkg", min_area_m2=100)
    with pytest.raises(InputError, match=r"reviewer 'Ada' has outlines in .*ada.gpkg already"):
        consensus([ada, spelt], tmp_path / "x.gpkg", min_area_m2=100)
    with pytest.raises(InputError, match="ben: has exactly the outlines of ada; leave one of the two out"):
        consensus([ada, tmp_path / copy], tmp_path / "x.gpkg", min_area_m2=100)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (named(who=["ada", "ben", None]), "x.gpkg: feature 3 has no who"),
        (named(who=["ada", "ben", "  "]), "x.gpkg: feature 3 has no who"),
        (named(who=["ada", "ben", "Ben "]), "x.gpkg: reviewers 'Ben' and 'ben' differ in case alone"),
        (named(by=["ada", "ben", "eve"]), "x.gpkg: has no column 'who' (has by)"),
        (named(who=["ada", "ada", "ada"]), "x.gpkg: only one reviewer (ada)"),
    ],
)
def test_bad_columns(frame, message, tmp_path):
    frame.to_file(tmp_path / "x.gpkg")
    with pytest.raises((InputError, UsageError)) as error:
        consensus([tmp_path / "x.gpkg"], tmp_path / "out.gpkg", column="who", min_area_m2=100)
    assert message in str(error.value)


def test_where_somebody_looked_must_be_said_of_all(tmp_path):
    files = write(tmp_path, {"ada": GOOD, "ben": [rectangle(5, 0, 90, 80)]})
    looked = gpd.GeoDataFrame({"reviewer": ["ada"]}, geometry=[rectangle(-100, -100, 500, 500)], crs=CRS)
    looked.to_file(tmp_path / "looked.gpkg")
    with pytest.raises(InputError, match=r"looked.gpkg: doesn't say where ben looked"):
        consensus(files, tmp_path / "x.gpkg", looked=tmp_path / "looked.gpkg", min_area_m2=100)


def test_what_was_given_is_never_replaced(tmp_path):
    files = write(tmp_path, {"ada": GOOD, "ben": [rectangle(5, 0, 90, 80)]})
    before = files[0].read_bytes()
    assert run(*files, "--out", files[0]).exit_code != 0
    with pytest.raises(UsageError, match=r"ada.gpkg is one of the files given"):
        consensus(files, files[0], min_area_m2=100)
    with pytest.raises(UsageError, match="is no GeoPackage"):
        consensus(files, tmp_path / "x.shp", min_area_m2=100)
    assert files[0].read_bytes() == before
