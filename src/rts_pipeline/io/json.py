"""JSON: files that people can read, and the canonical text by which values are compared."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from rts_pipeline.errors import InputError
from rts_pipeline.io.files import write_text


def canonical_json(value: Any) -> str:
    """Serialise with sorted keys and no spaces, so that equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_json(value: Any) -> str:
    """Return the sha256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        InputError: the file is missing or isn't JSON.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(path, "no such file") from None
    return parse_json(path, data)


def parse_json(path: Path, data: bytes) -> Any:
    """Parse the bytes of the JSON file at `path`.

    Raises:
        InputError: not JSON.
    """
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(path, f"not valid JSON ({error})", do="restore or rebuild the file") from None
