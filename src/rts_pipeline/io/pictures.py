"""Pictures that are kept or shown as they are."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from rts_pipeline.errors import InputError


def read_png(path: Path) -> bytes:
    """Return the bytes of a PNG, of which every pixel can be read.

    Raises:
        InputError: there is no such file, or it is damaged.
    """
    from PIL import Image

    try:
        data = path.read_bytes()
        with Image.open(BytesIO(data)) as image:
            image.load()
    except FileNotFoundError:
        raise InputError(path, "no such file", do="restore it from a backup") from None
    except (OSError, SyntaxError) as error:
        raise InputError(path, f"can't be read ({error})", expected="a PNG", do="restore it from a backup") from None
    return data
