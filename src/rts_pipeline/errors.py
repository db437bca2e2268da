"""The errors a user can meet: one line that names the file, the value, what was expected and what to do.

Exit codes: 2 usage or configuration, 3 bad input data, 4 refused, 1 a defect of ours (any other exception).
"""

from __future__ import annotations

import errno
from pathlib import Path

ENVIRONMENT_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS}
"""What the machine refuses us: space, or the permission to read or write."""
PATH_ERRORS = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST}
"""A folder is where a file is expected, or a file where a folder is."""


class PipelineError(Exception):
    """Base of all errors that are told in one line instead of a traceback."""

    exit_code = 1

    def __init__(self, where: str | Path, problem: str, *, expected: str = "", do: str = "") -> None:
        """Say `where` (file, option or key) the `problem` is, what was `expected`, and what to `do`."""
        parts = [f"{where}: {problem}"]
        if expected:
            parts.append(f"expected {expected}")
        if do:
            parts.append(do)
        super().__init__("; ".join(" ".join(part.split()) for part in parts))

    def __reduce__(self) -> tuple[object, ...]:
        """Travel between processes as kind and message: what it was made from is no longer known."""
        return _said, (type(self), *self.args), self.__dict__


class UsageError(PipelineError):
    """A wrong command line or configuration."""

    exit_code = 2


class InputError(PipelineError):
    """Input data that can't be used as it is."""

    exit_code = 3


class RefusedError(PipelineError):
    """A request that would lose or contradict something: unfinished review, other version, rows changed after sign-off."""

    exit_code = 4


class BusyError(RefusedError):
    """Refused since another process is at work there: the same request may succeed later."""


def environment_error(error: OSError) -> PipelineError | None:
    """Return what to tell of a full disk, a missing permission, or a path of another kind; None for any other error."""
    if error.errno in PATH_ERRORS:
        return UsageError(error.filename2 or error.filename or "output", str(error.strerror), do="give another path")
    if error.errno not in ENVIRONMENT_ERRORS:
        return None
    return InputError(error.filename or "output", str(error.strerror), do="free space or mend permissions")


def error_of(traceback: str) -> PipelineError | None:
    """Return the error that ends a traceback: what is left of it when it happened in another process; None: no such error."""
    last = traceback.strip().splitlines()[-1]
    for kind in (UsageError, InputError, RefusedError):
        name = f"{kind.__module__}.{kind.__qualname__}: "
        if last.startswith(name):
            return _said(kind, last.removeprefix(name))
    return None


def _said(kind: type[PipelineError], message: str) -> PipelineError:
    """Return the error of a kind that said this."""
    error = kind.__new__(kind)
    error.args = (message,)
    return error
