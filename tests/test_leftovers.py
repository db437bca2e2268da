"""Before a run: what is removed of what lies there, and what stops it."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from rts_pipeline import io
from rts_pipeline.errors import RefusedError
from rts_pipeline.leftovers import ABANDONED_S, tidy


def left_by_a_killed_process(path):
    """Write half a file as a process that is killed; return the name that it leaves."""
    script = (
        "import os, signal, sys; from pathlib import Path; from rts_pipeline import io\n"
        "with io.atomic(Path(sys.argv[1])) as t:\n"
        "    t.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    (left,) = path.parent.glob(".tmp-*")
    return left


def test_tidy_takes_what_killed_processes_left_and_nothing_else(tmp_path):
    left = left_by_a_killed_process(tmp_path / "rounds/01/value.txt")
    elsewhere = left.with_name(left.name.replace(".tmp-", ".tmp-othernode", 1))
    old = left.with_name(left.name.replace(".tmp-", ".tmp-oldnode", 1))
    for path in (elsewhere, old):
        path.write_text("half")
    long_ago = time.time() - ABANDONED_S - 60
    os.utime(old, (long_ago, long_ago))
    (tmp_path / "kept.txt").write_text("whole")
    with io.atomic(tmp_path / "running.txt") as mine, io.new_folder(tmp_path / "evidence") as folder:
        mine.write_text("in work")
        (folder / "chip.webp").write_text("in work")
        assert tidy(tmp_path) == 2
        assert mine.exists()
        assert folder.exists()
    assert not left.exists()
    assert not old.exists()
    assert elsewhere.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"kept.txt", "running.txt", "evidence", "rounds"}


KILLED_IN_A_SHAPEFILE = """
import os, signal, sys
from pathlib import Path
import geopandas as gpd
from rts_pipeline.export import shapefile
from rts_pipeline.inventory.dictionary import Column
shapefile._pack = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
shape = gpd.GeoSeries.from_wkt(["POLYGON ((0 0, 9 0, 9 9, 0 0))"])
slumps = gpd.GeoDataFrame({"rts_id": [1]}, geometry=shape, crs="EPSG:32646")
columns = [Column("rts_id", "int64", "", "", "")]
shapefile.write_shapefile(Path(sys.argv[1], "rts_inventory.shp.zip"), slumps, columns, "2024-01-01")
"""
KILLED_IN_A_FOLDER = """
import os, signal, sys
from pathlib import Path
from rts_pipeline import io
with io.scratch_folder(Path(sys.argv[1], "predicted")) as folder:
    (folder / "block.npy").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("script", [KILLED_IN_A_SHAPEFILE, KILLED_IN_A_FOLDER])
def test_folders_of_killed_processes_go_at_once(tmp_path, script):
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert any(path.is_dir() for path in tmp_path.iterdir())
    tidy(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_files_from_the_future_stop_a_run(tmp_path):
    path = tmp_path / "mosaic/e0312_n2511.tif"
    io.write_text(path, "pixels")
    tidy(tmp_path)
    os.utime(path, (time.time() + 3600,) * 2)
    with pytest.raises(RefusedError, match="later than now"):
        tidy(tmp_path)


def test_what_is_in_the_future_is_told_before_anything_is_removed(tmp_path):
    left = left_by_a_killed_process(tmp_path / "value.txt")
    io.write_text(tmp_path / "rounds/01/late.txt", "x")
    os.utime(tmp_path / "rounds/01/late.txt", (time.time() + 3600,) * 2)
    with pytest.raises(RefusedError, match=r"late\.txt: .* later than now"):
        tidy(tmp_path)
    assert left.exists()


def test_what_may_not_be_removed_is_left(tmp_path, monkeypatch):
    left = left_by_a_killed_process(tmp_path / "value.txt")

    def refuse(*_, **__):
        raise PermissionError

    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    assert tidy(tmp_path) == 0
    assert left.exists()


def test_a_folder_that_is_not_there_yet_is_tidy(tmp_path):
    assert tidy(tmp_path / "results") == 0


# --- as snakemake does it -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def case(made, tmp_path_factory):
    return made.copy(tmp_path_factory.mktemp("tidy") / "case")


def test_a_start_at_which_nothing_is_to_be_done_removes_what_was_left(case):
    left = left_by_a_killed_process(case.results / "rounds/01/value.txt")
    done = case.snakemake()
    assert "Nothing to be done" in done.stdout + done.stderr
    assert not left.exists()


@pytest.mark.parametrize("how", [(), ("--dry-run",), ("--summary",)])
def test_results_of_the_future_are_told_where_they_hide_what_is_stale(case, how):
    """A network of tomorrow is newer than a seed that was drawn today."""
    weights = case.results / "rounds/01/model/weights.pt"
    times = weights.stat()
    os.utime(weights, (time.time() + 86_400,) * 2)
    done = case.snakemake(*how, check=False)
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert done.returncode == 4
    assert (
        len(re.findall(r"^rts-pipeline: results/rounds/01/model/weights\.pt: is of .*later than now", done.stderr, re.M)) == 1
    )
