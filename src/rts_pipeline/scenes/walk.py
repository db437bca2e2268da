"""Every file below a folder with delivered orders, the members of its archives among them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rts_pipeline.errors import InputError
from rts_pipeline.scenes import delivered, names
from rts_pipeline.scenes.deliveries import Found
from rts_pipeline.scenes.files import files_below


def found_below(folder: Path) -> Iterator[Found]:
    """Yield every file below a folder once, also through links, and every entry of each zip, in no particular order.

    Raises:
        InputError: the folder is missing, or it or one below it can't be read.
    """
    for place, size, _ in files_below(folder):
        path = Path(place)
        if size < 0:
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
