import pytest

from rts_pipeline import stages
from rts_pipeline.errors import RefusedError


def sources(stage):
    return {path.relative_to(stages.PACKAGE).as_posix() for path in stages.sources(stage)}


@pytest.mark.parametrize("stage", stages.STAGES)
def test_sources_did_not_change_unnoticed(stage):
    assert stages.digest(stage) == stages.STAGES[stage].digest, (
        f"the sources of '{stage}' changed: bump its version in stages.py if results may differ, then run: make digests"
    )


def test_sources_follow_imports():
    read = sources("polygonize")
    assert {"polygonize.py", "components.py", "io/rasters.py", "grid.py"} <= read
    assert not read & {"errors.py", "mosaic.py"}
    assert not [path for path in read if path.startswith("config/")]
    assert "report/report.html" in sources("report")


def test_a_stage_depends_on_no_way_of_writing_that_it_does_not_use():
    """As a module that imports from `rts_pipeline.io` itself would, which imports them all."""
    assert {"io/files.py", "io/tables.py"} <= sources("chips")
    assert not sources("chips") & {"io/rasters.py", "io/vectors.py"}
    assert not [stage for stage in stages.STAGES if "io/__init__.py" in sources(stage)]


def test_comments_and_docstrings_are_no_change():
    code = 'def f(a):\n    """Say."""\n    return a  # why\n'
    assert stages.meaning(code) == stages.meaning("def f(a):\n    return a\n")
    assert stages.meaning(code) != stages.meaning("def f(a):\n    return a + 1\n")


def test_another_version_is_refused():
    stages.check_code("mosaic", None)
    stages.check_code("mosaic", stages.code("mosaic"))
    with pytest.raises(RefusedError, match="mosaic-0"):
        stages.check_code("mosaic", "mosaic-0")
