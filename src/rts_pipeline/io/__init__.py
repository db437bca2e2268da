"""Reading and writing: every product is written to a temporary name beside its place, synced, and renamed.

The package itself imports from the modules, so that a stage's digest (`stages.py`) holds those that the stage uses. These are
the names for everyone else.
"""

from rts_pipeline.io.files import (
    atomic,
    copy_file,
    new_folder,
    note_read,
    scratch_folder,
    sha256_file,
    temporary_beside,
    was_read,
    write_text,
)
from rts_pipeline.io.json import canonical_json, parse_json, read_json, sha256_json, write_json
from rts_pipeline.io.rasters import GDAL_OPTIONS, new_cog
from rts_pipeline.io.tables import read_arrow, read_columns, read_geoparquet, read_parquet, read_rows, write_csv, write_parquet
from rts_pipeline.io.vectors import read_outlines, read_vector, write_gpkg

__all__ = [
    "GDAL_OPTIONS",
    "atomic",
    "canonical_json",
    "copy_file",
    "new_cog",
    "new_folder",
    "note_read",
    "parse_json",
    "read_arrow",
    "read_columns",
    "read_geoparquet",
    "read_json",
    "read_outlines",
    "read_parquet",
    "read_rows",
    "read_vector",
    "scratch_folder",
    "sha256_file",
    "sha256_json",
    "temporary_beside",
    "was_read",
    "write_csv",
    "write_gpkg",
    "write_json",
    "write_parquet",
    "write_text",
]
