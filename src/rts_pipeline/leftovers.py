"""Before a run: what killed processes left is removed, and a clock that was set back is noticed."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rts_pipeline.errors import RefusedError
from rts_pipeline.io.files import TEMPORARY, machine, temporary_beside

ABANDONED_S = 3 * 86_400
"""A temporary file of another machine that nobody wrote to for so long was left by a killed process."""


CLOCKS_DIFFER_S = 60
"""The clocks of a file server and of this machine may differ by so much."""


@dataclass
class _Found:
    """What lies below a folder.

    Attributes:
        temporaries: temporary files and folders; what lies in these counts for nothing else.
        newest: the newest of the other files, and its time (s); "" and 0 without any.
    """

    temporaries: list[Path]
    newest: tuple[float, str]


def tidy(folder: Path) -> int:
    """Remove the temporary files and folders that killed processes left below a folder; return how many.

    Those of processes that run stay. Of processes on other machines nothing is known but when they last wrote. What may not be
    removed stays too: this is done at each start of snakemake, also by people who only look.

    Raises:
        RefusedError: a file is from the future: Snakemake would take what is made now for older than it.
    """
    found = _look_through(folder)
    moment, path = found.newest
    if moment > time.time() + CLOCKS_DIFFER_S:
        when = datetime.fromtimestamp(moment).astimezone().isoformat(timespec="seconds")
        raise RefusedError(
            path,
            f"is of {when}, later than now, so what is stale can't be told",
            do="set the clock right or, if it was wrong then, remove the results of that time: they are made anew",
        )
    return sum(_remove(path) for path in found.temporaries if _abandoned(path))


def _look_through(folder: Path) -> _Found:
    """Look at everything below a folder once, with nothing made of each file: a corridor's results are 100,000."""
    found, waiting = _Found([], (0.0, "")), [str(folder)]
    while waiting:
        # gone meanwhile, or not for us
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.name.startswith(".tmp-"):
                    found.temporaries.append(Path(entry.path))
                elif entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    with suppress(OSError):
                        found.newest = max(found.newest, (entry.stat(follow_symlinks=False).st_mtime, entry.path))
    return found


def _remove(path: Path) -> bool:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
    return not path.exists()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _abandoned(path: Path) -> bool:
    owner = TEMPORARY.match(path.name)
    if owner is not None and owner["machine"] == machine() and not _alive(int(owner["pid"])):
        return True
    times = []
    for part in [path, *path.rglob("*")]:
        with suppress(FileNotFoundError):  # its process is at work
            times.append(part.lstat().st_mtime)
    return bool(times) and time.time() - max(times) > ABANDONED_S


def check_writable(folder: Path) -> None:
    """Write something into a folder and remove it, so that a run doesn't fail job by job.

    Raises:
        OSError: that is impossible.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trial = temporary_beside(folder / "trial")
    trial.write_text("")
    trial.unlink()
