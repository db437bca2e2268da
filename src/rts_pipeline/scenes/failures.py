"""Items that could not be measured: said in the place of the measurement, so that who needs one fails and says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rts_pipeline.errors import InputError
from rts_pipeline.io.json import read_json

FAILED = "failed.json"
"""In an item's folder instead of its item.json."""


def read_measured(path: Path) -> Any:
    """Read an item.json or adjusted.json.

    Raises:
        InputError: missing or damaged; why the item could not be measured, if that is known.
    """
    failure = path.with_name(FAILED)
    if failure.exists():
        raise InputError(path.parent.name, f"could not be measured: {read_json(failure)['error']}")
    return read_json(path)
