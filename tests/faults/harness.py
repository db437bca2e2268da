"""One job of every stage, run as the workflow runs it, with something going wrong on the way."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rts_pipeline.leftovers import tidy
from rts_pipeline.records import BY_THE_WAY, FOLDER
from rts_pipeline.stages import STAGES
from workflow_case import Case, content

SEEDS = int(os.environ.get("RTS_FAULT_SEEDS", "1"))
"""How often each fault is tried at each stage, with another moment or place each time."""
NUMBERED = re.compile(r"\d{8}_\d{6}(_\d\d)?_[0-9a-f]{4}|[0-9a-f]{12,}|\d+")
"""What tells files of one sort apart: an item's id, a checksum, a number of a cell, block or round."""
DELIVERED = Path("corridor/orders")
ACCOUNTS = {"catalog", "ledger"}
"""Jobs that list everything delivered, also what is broken."""
GIVE_UP_S = 600

# A server that has imported all stages and forks for each command: what is killed is at work, not importing.
fork = multiprocessing.get_context("forkserver")
fork.set_forkserver_preload(
    ["openvino", "pyogrio", "pyarrow.parquet", "rts_pipeline.cli", "rts_pipeline.records"]
    + [f"rts_pipeline.{stage.module}" for stage in STAGES.values()]
)


def work(arguments, folder, log, prepare):
    """Be `rts-pipeline ARGUMENTS` in a folder, after `prepare()`."""
    from rts_pipeline.cli import main

    # what it starts is killed with it
    os.setsid()
    os.chdir(folder)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    if prepare is not None:
        prepare()
    sys.argv = ["rts-pipeline", *arguments]
    main()


def heed_permissions():
    """Give up root's right to read and write what its permissions forbid."""
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, data) == 0
    for number in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        data[0] &= ~(1 << number)
        data[1] &= ~(1 << number)
    assert libc.capset(header, data) == 0


@dataclass
class Result:
    """How a command ended: its exit code (-9: killed), what it said on stderr, how long it took."""

    code: int
    said: str
    seconds: float

    @property
    def clear(self):
        """Whether it stopped with one line of ours, or one complaint about the command line, and a user's exit code."""
        own = [line for line in self.said.splitlines() if line.startswith(("rts-pipeline: ", "Usage: "))]
        return self.code in {2, 3, 4} and len(own) == 1 and "Traceback" not in self.said

    @property
    def killed(self):
        """Whether it was at work until it was killed."""
        return self.code == -signal.SIGKILL

    def names(self, path: Path):
        """Whether what it said names a file; a complaint about the command line is broken into the lines of a box."""
        return str(path) in re.sub(r"[\s│]", "", self.said)


@dataclass
class Job:
    """A job of a stage in a project's folder, and what it makes when nothing goes wrong."""

    case: Case
    rule: str
    arguments: list[str]
    log: Path
    outputs: dict[Path, str] | None = None
    read: tuple[Path, ...] = ()
    seconds: float = 0.0

    def run(self, *, kill_after=None, prepare: Callable[[], None] | None = None):
        """Run it once."""
        process = fork.Process(target=work, args=(self.arguments, self.case.folder, self.log, prepare))
        start = time.monotonic()
        process.start()
        process.join(GIVE_UP_S if kill_after is None else kill_after)
        if process.is_alive():
            with suppress(ProcessLookupError):  # it has no group of its own yet, or has just ended
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.join()
        said = self.log.read_text(errors="replace") if self.log.exists() else ""
        return Result(process.exitcode, said, time.monotonic() - start)

    def learn(self):
        """Run it undisturbed, and remember its results, the time that it took and, by their access times, what it read."""
        before = self._records()
        present = [path for path in self.case.folder.rglob("*") if path.is_file() and path.parent.name != FOLDER]
        for path in present:
            os.utime(path, ns=(0, path.stat().st_mtime_ns))
        done = self.run()
        assert done.code == 0, done.said
        self.seconds = done.seconds
        self.read = tuple(path.relative_to(self.case.folder) for path in present if path.exists() and path.stat().st_atime_ns)
        written = [path for path, stamp in self._records().items() if before.get(path) != stamp]
        self.outputs = {path: content(self.case.folder / path) for record in written for path in self._recorded(record)}
        assert self.outputs

    def _records(self):
        return {path: path.stat().st_mtime_ns for path in self.case.results.rglob(".made/*.json")}

    def _recorded(self, record):
        names = json.loads(record.read_text())["outputs"]
        return [Path(os.path.normpath(record.parent.parent / name)).relative_to(self.case.folder) for name in names]

    def inputs(self):
        """Return what it reads and doesn't write, by sort: files whose names differ by an item, a number or a checksum."""
        sorts: dict[str, list[Path]] = {}
        read = (path for path in set(self.read) - set(self.outputs) if not BY_THE_WAY & {*path.parts})
        for path in sorted(read):
            sorts.setdefault(NUMBERED.sub("#", str(path)), []).append(path)
        return sorts

    def remove(self):
        """Remove the results, as Snakemake does before it runs a job."""
        for path in self.outputs:
            (self.case.folder / path).unlink(missing_ok=True)

    def half_made(self):
        """Return the results that are there and aren't what they should be."""
        present = [path for path in self.outputs if (self.case.folder / path).exists()]
        return [path for path in present if content(self.case.folder / path) != self.outputs[path]]

    def accounts_for(self, path: Path):
        """Tell whether what it made instead is right: a list of what was delivered says what is wrong with a broken file.

        One that is missing was not delivered.
        """
        other = [self.case.folder / result for result in self.half_made() if result.suffix == ".parquet"]
        gone = DELIVERED in path.parents and not (self.case.folder / path).exists()
        return self.rule in ACCOUNTS and (gone or any(path.name in pd.read_parquet(result).to_csv() for result in other))

    def restore(self):
        """Make what is missing after a test that failed, for the jobs that read it."""
        if any(not (self.case.folder / path).exists() for path in self.outputs):
            self.run()

    def ends_equal(self):
        """Run it undisturbed after a fault; tell whether all is as if there had been none, nothing left over."""
        done = self.run()
        assert done.code == 0, done.said
        tidy(self.case.results)
        left = list(self.case.results.rglob(".tmp-*"))
        found = {path: content(self.case.folder / path) for path in self.outputs if (self.case.folder / path).exists()}
        return found == self.outputs and not left


def jobs_of(case: Case, *targets: str) -> dict[str, list[str]]:
    """Return the command line of the first job of each rule that would make the targets from nothing."""
    text = case.snakemake(*targets, "--dry-run", "--forceall", "--printshellcmds").stdout
    found: dict[str, list[str]] = {}
    for line in re.findall(r"^Shell command: rts-pipeline (.+)$", text, re.MULTILINE):
        # many paths come in a file that the shell makes
        plain = re.sub(r"@<\(printf '%s\\n' (.*?)\)", r"\1", line)
        arguments = shlex.split(plain.split(" 2> ")[0].split(" 2>&1 ")[0])
        name = arguments[0] if arguments[0] not in {"scenes", "review"} else arguments[1]
        found.setdefault(name, arguments)
    return found


class Disk:
    """A memory disk of its own, whose free space can be taken away."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g", "tmpfs", folder], check=True)

    def leave(self, free: int) -> None:
        """Leave so many bytes free."""
        usage = shutil.disk_usage(self.folder)
        self._mount(f"size={usage.used + free}")

    def restore(self) -> None:
        """Have space and be writable again."""
        self._mount("rw,size=2g")

    def read_only(self) -> None:
        """Forbid writing."""
        self._mount("ro")

    def close(self) -> None:
        """Take it away."""
        subprocess.run(["umount", "--lazy", self.folder], check=True)

    def _mount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", self.folder], check=True)
