"""Tables of ours: Parquet, GeoParquet and CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rts_pipeline.errors import InputError
from rts_pipeline.io.files import atomic

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd
    import pyarrow as pa


def write_parquet(path: Path, frame: pd.DataFrame, group_rows: int | None = None) -> None:
    """Write a (Geo)DataFrame as (Geo)Parquet, atomically; equal frames give equal bytes.

    Args:
        path: file to write.
        frame: its rows.
        group_rows: rows that can be read without the others (see `read_rows`); None: all that the library keeps together.
    """
    with atomic(path) as temporary:
        frame.reset_index(drop=True).to_parquet(temporary, index=False, compression="zstd", row_group_size=group_rows)


def read_rows(path: Path, rows: Sequence[int], only: Sequence[str]) -> pd.DataFrame:
    """Read some rows of a Parquet file of ours, and of the others only what lies in the same groups.

    Args:
        path: the file.
        rows: their numbers, from 0.
        only: columns to read; geometries come as WKB.

    Raises:
        InputError: the file is missing or damaged.
    """
    import numpy as np
    from pyarrow.parquet import ParquetFile

    def read(path: Path) -> pd.DataFrame:
        with ParquetFile(path) as file:
            ends = np.cumsum([file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)])
            groups = np.unique(np.searchsorted(ends, rows, side="right"))
            held = np.concatenate([np.arange(([0, *ends])[group], ends[group]) for group in groups])
            table = file.read_row_groups(groups.tolist(), columns=list(only))
            return table.take(np.flatnonzero(np.isin(held, rows))).to_pandas()

    return _read_table(path, read, "Parquet")


def read_parquet(path: Path, only: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a Parquet file of ours, without its geometry.

    Args:
        path: the file.
        only: columns to read, of which the file may lack some; None: all.

    Raises:
        InputError: the file is missing or damaged.
    """
    import pandas as pd
    from pyarrow.parquet import read_schema

    def read(path: Path) -> pd.DataFrame:
        names = None if only is None else set(read_schema(path).names)
        return pd.read_parquet(path, columns=None if names is None else [name for name in only or () if name in names])

    return _read_table(path, read, "Parquet")


def read_arrow(path: Path, only: Sequence[str]) -> pa.Table:
    """Read those of these columns that a Parquet file of ours has, as Arrow's table: fast, for what needs no pandas.

    Raises:
        InputError: the file is missing or damaged.
    """
    from pyarrow.parquet import ParquetFile

    def read(path: Path) -> pa.Table:
        with ParquetFile(path) as file:
            return file.read([name for name in only if name in file.schema_arrow.names])

    return _read_table(path, read, "Parquet")


def read_columns(path: Path, *names: str, expected: str) -> list[list[Any]]:
    """Read columns of a Parquet file as lists, without pandas, which takes longer to import than to read them.

    Raises:
        InputError: missing, damaged or without such a column; `expected` is what it says the file should be.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import read_table

    try:
        table = read_table(path, columns=list(names))
        return [table[name].to_pylist() for name in names]
    except (ArrowException, OSError, KeyError) as error:
        raise InputError(path, f"can't be read ({error})", expected=expected) from None


def read_geoparquet(path: Path) -> gpd.GeoDataFrame:
    """Read a GeoParquet file of ours.

    Raises:
        InputError: the file is missing or damaged.
    """
    import geopandas as gpd

    return _read_table(path, gpd.read_parquet, "GeoParquet")


def _read_table(path: Path, read: Callable[[Path], Any], kind: str) -> Any:
    from pyarrow import ArrowInvalid

    try:
        return read(path)
    except FileNotFoundError:
        raise InputError(path, "no such file") from None
    except (ArrowInvalid, ValueError, OSError) as error:
        raise InputError(path, f"not a {kind} file ({error})", do="remove it and run again") from None


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a CSV file (UTF-8, texts quoted, lines end with a line feed), atomically."""
    with atomic(path) as temporary:
        frame.to_csv(temporary, index=False, quoting=csv.QUOTE_NONNUMERIC, encoding="utf-8", lineterminator="\n")
