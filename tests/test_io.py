import errno
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely

from rts_pipeline import io
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.grid import Grid
from rts_pipeline.io.vectors import reprojected

SQUARE = shapely.box(0, 0, 10, 10)


def outlines(*geometries, crs="EPSG:32646"):
    return gpd.GeoDataFrame({"n": range(len(geometries))}, geometry=list(geometries), crs=crs)


def test_atomic_leaves_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "value.json"
    io.write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), io.atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert io.read_json(path) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["value.json"]


def test_a_folder_in_the_place_of_a_file_to_write_is_told_before_anything_is_done(tmp_path):
    with pytest.raises(UsageError, match="is a folder; expected the name of a file to write"), io.atomic(tmp_path):
        pytest.fail("the work that would be lost")
    assert not list(tmp_path.parent.glob(".tmp*"))


def test_kill_during_write_leaves_no_half_file(tmp_path):
    path = tmp_path / "value.txt"
    script = (
        "import sys, time; from pathlib import Path; from rts_pipeline import io\n"
        "with io.atomic(Path(sys.argv[1])) as t:\n"
        "    t.write_text('half'); print('writing', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"writing\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not path.exists()


@pytest.mark.parametrize("read", [io.sha256_file, io.read_json, io.read_parquet, io.read_geoparquet])
def test_a_file_that_is_missing_is_told(tmp_path, read):
    path = tmp_path / "chips.parquet"
    with pytest.raises(InputError, match=f"^{path}: no such file$"):
        read(path)


def test_equal_values_give_equal_text():
    assert io.canonical_json({"b": 1, "a": [1.5, "é"]}) == io.canonical_json({"a": [1.5, "é"], "b": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        io.canonical_json(float("nan"))


def test_equal_frames_give_equal_bytes(tmp_path):
    for name in "ab":
        io.write_parquet(tmp_path / f"{name}.parquet", outlines(SQUARE))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert io.read_geoparquet(tmp_path / "a.parquet").equals(outlines(SQUARE))


def test_geopackage_has_the_version_and_layers(tmp_path):
    io.write_gpkg(tmp_path / "x.gpkg", {"one": outlines(SQUARE), "two": outlines(SQUARE, SQUARE)})
    assert [len(gpd.read_file(tmp_path / "x.gpkg", layer=layer)) for layer in ("one", "two")] == [1, 2]
    # user_version 10300 = GeoPackage 1.3, big endian at byte 60 of the SQLite header
    assert int.from_bytes((tmp_path / "x.gpkg").read_bytes()[60:64], "big") == 10300


def test_cog_is_one_and_keeps_pixels(tmp_path):
    cell = Grid("EPSG:32646", 3.0, 1024, 2).cell("e0100_n0800")
    values = np.arange(1024 * 1024, dtype=np.uint32).reshape(1024, 1024).astype(np.uint16)
    with io.new_cog(tmp_path / "x.tif", count=1, dtype="uint16", nodata=0, **cell.profile) as dataset:
        dataset.write(values[None])
    with rasterio.open(tmp_path / "x.tif") as dataset:
        assert (dataset.read(1) == values).all()
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.overviews(1)
        assert dataset.transform == cell.transform
    assert [file.name for file in tmp_path.iterdir()] == ["x.tif"]


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (outlines(SQUARE, crs=None), "declares no CRS"),
        (outlines(SQUARE, shapely.Polygon()), "missing or empty geometry in feature 2"),
        (outlines(SQUARE, None), "missing or empty geometry in feature 2"),
        (outlines(shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])), "Self-intersection"),
        (outlines(shapely.Point(0, 0)), "not a polygon in feature 1"),
        (outlines(), "holds no feature"),
    ],
)
def test_bad_outlines_are_named(tmp_path, frame, told):
    path = tmp_path / "seeds.gpkg"
    frame.to_file(path)
    with pytest.raises(InputError) as error:
        io.read_outlines(path, "seed outlines")
    assert told in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_swapped_coordinates_are_told(tmp_path):
    """GeoJSON is longitude, latitude; the other order puts the corridor at 93 degrees north."""
    path = tmp_path / "seeds.geojson"
    here = shapely.box(93.0, 34.5, 93.01, 34.51)
    gpd.GeoDataFrame(geometry=[here, shapely.box(34.5, 93.0, 34.51, 93.01)], crs="EPSG:4326").to_file(path)
    with pytest.raises(
        InputError, match=r"seeds.geojson: feature 2 \(1 of 2\) has no place on Earth .* y 93 to 93.01"
    ) as error:
        io.read_outlines(path, "seed outlines", crs="EPSG:32646")
    assert "\n" not in str(error.value)
    unplaced = gpd.GeoDataFrame(geometry=[here, None, shapely.Polygon()], crs="EPSG:4326")
    assert len(reprojected(unplaced, "EPSG:32646", path)) == 3, "what has no geometry is for others to tell"


@pytest.mark.parametrize("kind", ["Polygon", "LineString"])
@pytest.mark.parametrize("points", [[[0, 0]], [[0, 0], [1, 1]], [[0, 0], [1, 1], [1, 0]]])
def test_broken_rings_and_lines_are_told(tmp_path, kind, points):
    path = tmp_path / "seeds.geojson"
    geometry = {"type": kind, "coordinates": [points] if kind == "Polygon" else points}
    path.write_text(json.dumps({"type": "Feature", "properties": {}, "geometry": geometry}))
    with pytest.raises(InputError) as error:
        io.read_outlines(path, "seed outlines")
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_missing_and_foreign_files_are_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        io.read_outlines(tmp_path / "none.gpkg", "seeds")
    (tmp_path / "x.gpkg").write_text("not a database")
    with pytest.raises(InputError, match="can't be read"):
        io.read_outlines(tmp_path / "x.gpkg", "seeds")
    (tmp_path / "x.kml").write_text("<kml xmlns='http://www.opengis.net/kml/2.2'><Document></Document></kml>")
    with pytest.raises(InputError, match="holds no layer; expected seeds"):
        io.read_outlines(tmp_path / "x.kml", "seeds")
    (tmp_path / "x.parquet").write_text("not parquet")
    with pytest.raises(InputError, match="not a GeoParquet"):
        io.read_geoparquet(tmp_path / "x.parquet")


def test_the_same_process_id_on_another_machine_is_no_clash(tmp_path):
    assert len({io.temporary_beside(tmp_path / "x") for _ in range(100)}) == 100


def told_without_space(path, prepare, write):
    """Run two lines, the second under a limit on the size of files, as of a quota, and return what the user is told."""
    script = (
        f"import resource, sys; from pathlib import Path\nfrom rts_pipeline.errors import environment_error\n{prepare}\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))\n"
        f"try:\n    {write}\nexcept OSError as error:\n    print(environment_error(error))"
    )
    return subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True).stdout


def test_a_geopackage_that_there_is_no_space_for_is_told(tmp_path):
    # SQLite fails as on a full disk
    path = tmp_path / "x.gpkg"
    told = told_without_space(
        path,
        "import geopandas as gpd; import shapely; from rts_pipeline import io; "
        "frame = gpd.GeoDataFrame(geometry=[shapely.Point(i, 0).buffer(9) for i in range(500)], crs='EPSG:32646')",
        "io.write_gpkg(Path(sys.argv[1]), {'outlines': frame})",
    )
    assert str(path) in told
    assert "can't be written in full" in told
    assert list(tmp_path.iterdir()) == []


def test_an_array_that_there_is_no_space_for_is_told(tmp_path):
    path = tmp_path / "x.npy"
    told = told_without_space(
        path,
        "import numpy as np; from rts_pipeline.io.arrays import write_array",
        "write_array(Path(sys.argv[1]), np.zeros((4, 300, 300), np.uint16))",
    )
    assert told.startswith(f"{path}: can't be written in full")


def test_a_geopackage_that_fails_for_another_reason_says_that(tmp_path):
    path = tmp_path / "x.gpkg"
    with pytest.raises(InputError, match="Error adding field 'AREA'") as error:
        io.write_gpkg(path, {"outlines": outlines(SQUARE).assign(area=1, AREA=2)})  # one name for SQLite
    assert str(error.value).startswith(f"{path}: can't be written (")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("group_rows", [None, 1, 4, 100])
@pytest.mark.parametrize("rows", [[0], [3, 4, 5], [9], [0, 8]])
def test_some_rows_of_a_table(tmp_path, group_rows, rows):
    path = tmp_path / "table.parquet"
    io.write_parquet(path, outlines(*[SQUARE] * 10), group_rows)
    found = io.read_rows(path, rows, ["n", "geometry"])
    assert found["n"].tolist() == rows
    assert all(shapely.from_wkb(wkb).equals(SQUARE) for wkb in found["geometry"])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"table\.parquet: not a Parquet file"):
        io.read_rows(path, rows, ["n"])


def test_a_raster_where_nothing_may_be_written_is_an_error_of_the_system(tmp_path, monkeypatch):
    def refuse(path):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "touch", refuse)
    with (
        pytest.raises(OSError, match="Read-only file system") as told,
        io.new_cog(tmp_path / "a.tif", count=1, dtype="uint8", height=8, width=8, crs="EPSG:32646"),
    ):
        pass
    assert told.value.errno == errno.EROFS
