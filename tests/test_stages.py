import pytest

from rts_pipeline import stages
from rts_pipeline.errors import RefusedError


@pytest.mark.parametrize("stage", stages.STAGES)
def test_sources_did_not_change_unnoticed(stage):
    assert stages.digest(stage) == stages.STAGES[stage].digest, (
        f"the sources of '{stage}' changed: bump its version in stages.py if results may differ, then run: make digests"
    )


def test_sources_follow_imports():
    names = {path.name for path in stages.sources("polygonize")}
    assert {"polygonize.py", "components.py", "io.py", "grid.py"} <= names
    assert not names & {"config.py", "errors.py", "mosaic.py"}
    assert "report.html" in {path.name for path in stages.sources("report")}


def test_comments_and_docstrings_are_no_change():
    code = 'def f(a):\n    """Say."""\n    return a  # why\n'
    assert stages.meaning(code) == stages.meaning("def f(a):\n    return a\n")
    assert stages.meaning(code) != stages.meaning("def f(a):\n    return a + 1\n")


def test_another_version_is_refused():
    stages.check_code("mosaic", None)
    stages.check_code("mosaic", stages.code("mosaic"))
    with pytest.raises(RefusedError, match="mosaic-0"):
        stages.check_code("mosaic", "mosaic-0")
