"""Where a project stands, in one screen: its rounds, whom it waits for, and what the next run would do and why."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rts_pipeline.errors import RefusedError
from rts_pipeline.machine import with_programs

JOBS = re.compile(r"^(\w+) +(\d+)$", re.MULTILINE)
REASONS = re.compile(r"^Reasons:\n.*?\n((?:    .*\n?)+)", re.MULTILINE)


@dataclass(frozen=True)
class Due:
    """What the next run would do.

    Attributes:
        jobs: rule -> number of jobs, in the order of Snakemake; without the target itself.
        reasons: what Snakemake says of why, and of which rules, line by line.
    """

    jobs: dict[str, int]
    reasons: list[str]


def due(snakefile: Path, config: Path) -> Due:
    """Ask a dry run of snakemake.

    Raises:
        RefusedError: the dry run fails, as the run would.
    """
    command = ["snakemake", "--dry-run", "--snakefile", str(snakefile), "--configfile", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, env=with_programs(), check=False)
    text = done.stdout + done.stderr
    if done.returncode != 0:
        told = next((line for line in text.splitlines() if line.startswith("rts-pipeline: ")), text.strip().rpartition("\n")[2])
        raise RefusedError("snakemake --dry-run", told.removeprefix("rts-pipeline: "))
    table = text.partition("Job stats:")[2].partition("\n\n")[0]
    jobs = {rule: int(number) for rule, number in JOBS.findall(table) if rule not in ("all", "total")}
    reasons = REASONS.search(text)
    return Due(jobs, [line.strip() for line in reasons[1].splitlines()] if reasons else [])
