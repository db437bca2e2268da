"""Where real deliveries and outlines lie (RTS_REAL_DATA); tests that need them are skipped where they are absent."""

import os
from pathlib import Path

import pytest

REAL = Path(os.environ.get("RTS_REAL_DATA", Path(__file__).parents[1] / "../shared/data"))
real = pytest.mark.skipif(not REAL.is_dir(), reason="no real data: set RTS_REAL_DATA")
