"""Fixtures that all tests share."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real deliveries and outlines (RTS_REAL_DATA); tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("RTS_REAL_DATA", ROOT / "../shared/data"))
    if not folder.exists():
        pytest.skip("no real data: set RTS_REAL_DATA")
    return folder
