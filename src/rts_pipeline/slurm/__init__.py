"""What a run on a SLURM cluster needs beside Snakemake's plugin for it."""

from __future__ import annotations

import os
from pathlib import Path


def wait_for_controller() -> None:
    """Put the `sbatch` beside this file first on the PATH: it outlasts ten minutes without SLURM's controller."""
    own = str(Path(__file__).parent)
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join([own, *(folder for folder in path if folder != own)])
