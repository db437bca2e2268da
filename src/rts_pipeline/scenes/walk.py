"""Every file below a folder with delivered orders, the members of its archives among them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from rts_pipeline.errors import InputError
from rts_pipeline.scenes import delivered, names
from rts_pipeline.scenes.deliveries import Found


def found_below(folder: Path) -> Iterator[Found]:
    """Yield every file below a folder once, also through links, and every entry of each zip, in no particular order.

    Raises:
        InputError: the folder is missing, or it or one below it can't be read.
    """
    for path in _files_below(folder):
        try:
            size = path.stat().st_size
        except OSError:
            yield Found(path, 0, names.Name("", "broken link"), "a link that leads nowhere")
            continue
        if not delivered.is_archive(path):
            yield Found(path, size, names.parse(path))
            continue
        try:
            members = delivered.members(path)
        except InputError as error:
            yield Found(path, size, names.parse(path), f"damaged: {str(error).removeprefix(f'{path}: ')}")
            continue
        yield Found(path, size, names.parse(path))
        for member in members:
            name = names.Name("", "archive entry") if member.problem else names.parse(member.path)
            yield Found(member.path, member.bytes, name, member.problem)


def _files_below(folder: Path) -> Iterator[Path]:
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
        yield from (Path(place) / name for name in files)
