"""Pictures and numbers of earlier runs, kept by what they were made from: a new candidate costs only its own.

Snakemake removes a rule's outputs before the rule runs, so they are kept beside them. Nothing depends on what is kept here: it
can be removed at any time, an entry that is damaged counts as none, and processes that work at a time don't disturb each other.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from rts_pipeline.io.files import atomic
from rts_pipeline.io.json import sha256_json
from rts_pipeline.scenes.delivered import FAILURES

KEPT_DAYS = 60
"""An entry that no run used for so long is removed."""


class Cache:
    """Files by name, for each thing that they were made from; a zip each, whose checksums tell whether it is whole."""

    def __init__(self, folder: Path) -> None:
        """Take the folder, which need not exist."""
        self._folder = folder

    def get(self, made_from: Any) -> dict[str, bytes] | None:
        """Return what was put there, or None.

        Args:
            made_from: anything that JSON can say.
        """
        path = self._path(made_from)
        try:
            with ZipFile(path) as file:
                files = {name: file.read(name) for name in file.namelist()}
        except FAILURES:
            return None
        with suppress(OSError):  # another user's
            os.utime(path)
        return files

    def put(self, made_from: Any, files: Mapping[str, bytes]) -> None:
        """Keep files."""
        with atomic(self._path(made_from)) as temporary, ZipFile(temporary, "w") as file:
            for name, content in files.items():
                file.writestr(name, content)

    def prune(self) -> None:
        """Remove what wasn't used for `KEPT_DAYS`, and what killed processes left."""
        oldest = time.time() - KEPT_DAYS * 86_400
        for path in self._folder.glob("*/*"):
            with suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()

    def _path(self, made_from: Any) -> Path:
        key = sha256_json(made_from)
        return self._folder / key[:2] / f"{key[2:]}.zip"
