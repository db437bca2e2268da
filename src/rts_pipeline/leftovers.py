"""Before a run: what killed processes left is removed, and a clock that was set back is noticed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from rts_pipeline import io
from rts_pipeline.errors import RefusedError

ABANDONED_S = 3 * 86_400
"""A temporary file of another machine that nobody wrote to for so long was left by a killed process."""


def sweep(folder: Path) -> int:
    """Remove the temporary files and folders that killed processes left below a folder; return how many.

    Those of processes that run stay. Of processes on other machines nothing is known but when they last wrote.
    """
    number = 0
    for parent, folders, files in os.walk(folder):
        for name in [name for name in (*folders, *files) if name.startswith(".tmp-")]:
            path = Path(parent, name)
            if not _abandoned(path):
                continue
            number += 1
            if name in folders:
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        folders[:] = [name for name in folders if not name.startswith(".tmp-")]
    return number


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _abandoned(path: Path) -> bool:
    owner = io.TEMPORARY.match(path.name)
    if owner is not None and owner["machine"] == io.machine() and not _alive(int(owner["pid"])):
        return True
    newest, found = _newest([path, *path.rglob("*")])
    return found is not None and time.time() - newest > ABANDONED_S


def check_writable(folder: Path) -> None:
    """Write something into a folder and remove it, so that a run doesn't fail job by job.

    Raises:
        OSError: that is impossible.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trial = io.temporary_beside(folder / "trial")
    trial.write_text("")
    trial.unlink()


CLOCKS_DIFFER_S = 60
"""The clocks of a file server and of this machine may differ by so much."""


def check_clock(folder: Path) -> None:
    """Stop when a file below a folder is from the future: Snakemake would take what is made now for older than it.

    Raises:
        RefusedError: there is such a file.
    """
    moment, path = _newest(Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    if moment > time.time() + CLOCKS_DIFFER_S:
        when = datetime.fromtimestamp(moment).astimezone().isoformat(timespec="seconds")
        raise RefusedError(
            path or folder,
            f"is of {when}, later than now, so what is stale can't be told",
            do="set the clock right or, if it was wrong then, remove the results of that time: they are made anew",
        )


def _newest(paths: Iterable[Path]) -> tuple[float, Path | None]:
    newest: tuple[float, Path | None] = (0.0, None)
    for path in paths:
        with suppress(FileNotFoundError):  # its process is at work
            newest = max(newest, (path.lstat().st_mtime, path), key=lambda found: found[0])
    return newest
