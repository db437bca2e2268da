"""Array files: what a process lays aside for itself."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write_array(path: Path, values: NDArray[Any]) -> None:
    """Write an array to a file (.npy), in place.

    Raises:
        OSError: there is no space for it; numpy's own error has no number that says so.
    """
    try:
        np.save(path, values)
    except OSError as error:
        raise OSError(error.errno or errno.ENOSPC, f"can't be written in full ({error})", str(path)) from None
