"""The manifest of a release: size, checksum and number of rows of each file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from rts_pipeline.export.files import MANIFEST
from rts_pipeline.io.files import sha256_file
from rts_pipeline.io.tables import write_csv

COLUMNS = ("file", "bytes", "sha256", "rows")


def listing(folder: Path, rows: Mapping[str, int]) -> pd.DataFrame:
    """Return a row a file below a folder, but for the manifest: file (path in it), bytes, sha256, rows (null: no table)."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    names = [path.relative_to(folder).as_posix() for path in files]
    table = [(name, path.stat().st_size, sha256_file(path), rows.get(name)) for name, path in zip(names, files, strict=True)]
    return pd.DataFrame(table, columns=list(COLUMNS)).astype({"rows": "Int64"})


def write_manifest(folder: Path, rows: Mapping[str, int]) -> None:
    """Write the manifest of all files that are in the folder now."""
    write_csv(folder / MANIFEST, listing(folder, rows))
