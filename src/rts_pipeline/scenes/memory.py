"""Answers that are remembered for as long as nothing changes that they go by: each start of snakemake asks for them again."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from rts_pipeline.io.files import write_text
from rts_pipeline.io.sidecars import files_of

Answer = dict[str, Any]


def remembered(path: Path, state: str, make: Callable[[], Answer]) -> Answer:
    """Return what `make` returned (of JSON's types) when the state was the same, or else now.

    Args:
        path: where it is kept; a damaged file is none.
        state: digest of all that the answer goes by.
        make: finds the answer.
    """
    with suppress(OSError, ValueError, TypeError, KeyError):
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["state"] == state:
            answer: Answer = stored["answer"]
            return answer
    answer = make()
    # ASCII, since the name of a folder need not be text that UTF-8 can hold
    write_text(path, json.dumps({"state": state, "answer": answer}, separators=(",", ":")))
    return answer


def state_of(*values: object, lines: Iterable[str] = ()) -> str:
    """Return the digest of values, by their repr, and lines."""
    digest = hashlib.sha256(repr(values).encode("utf-8", "backslashreplace"))
    for line in lines:
        digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()


def state_of_layer(path: Path) -> list[tuple[str, int, int]]:
    """Return name, bytes and time of a vector file and of those that belong to it by their name (of a Shapefile, say).

    Of a folder (a FileGDB) those of the files in it.
    """
    inside = files_of(path) if path.is_dir() else []
    files = sorted(path.parent.glob(f"{glob.escape(path.stem)}.*"))
    return [(file.name, (stat := file.stat()).st_size, stat.st_mtime_ns) for file in [*files, *inside]]
