"""Every file below a folder, with what tells whether it changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from rts_pipeline.errors import InputError


def files_below(folder: Path) -> Iterator[tuple[str, int, tuple[int, int]]]:
    """Yield path, bytes and times (ns) of every file below a folder; -1 for a link that leads nowhere.

    The times are those of the last change of its content and of anything about it, such as who may read it.

    Raises:
        InputError: the folder is missing, or it or one below it can't be read.
    """
    if not folder.is_dir():
        raise InputError(folder, "no such folder", expected="a folder with delivered items", do="correct scenes.folders")

    def refuse(error: OSError) -> None:
        raise InputError(error.filename, f"can't be read ({error.strerror})", do="give yourself the right to read it")

    seen: set[tuple[int, int]] = set()
    for place, below, files in os.walk(folder, followlinks=True, onerror=refuse):
        stat = Path(place).stat()
        if (stat.st_dev, stat.st_ino) in seen:  # a link that leads back
            below.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        for name in files:
            path = f"{place}/{name}"
            try:
                stat = os.stat(path)  # noqa: PTH116 - a Path each takes longer than all else here
            except OSError:
                yield path, -1, (-1, -1)
            else:
                yield path, stat.st_size, (stat.st_mtime_ns, stat.st_ctime_ns)
