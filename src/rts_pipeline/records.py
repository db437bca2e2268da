"""What made each result: a small file beside it, and the check of a results folder against them.

The record of a stage's job lies in `.made/` beside its first result: the stage and its version, its options, versions of the
package and of the libraries that compute, and the sha256 of what it read and wrote. It holds no time, so equal jobs have equal
records. A job that measures many items records each by itself, beside the item's folder: one that is measured again by another
job then has the record of that one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path

from rts_pipeline import __version__, stages
from rts_pipeline.errors import InputError
from rts_pipeline.io.files import note_read, note_written, sha256_file
from rts_pipeline.io.json import parse_json, read_json, write_json
from rts_pipeline.progress import track

FOLDER = ".made"
LIBRARIES = ["numpy", "rasterio", "shapely", "pyproj", "scipy", "torch", "openvino"]
INSIDE = ["model.json", "round_*/signoff.json"]
"""What a stage reads of a folder that its command line names, where neither another argument nor the stage itself names it."""
LONGEST_PATH = 4096
NO_INPUT = {"--config", "--cache", "--results", "--scenes", "--options"}

PLACES = ["scenes", "overlaps", "mosaic", "coverage", "rounds", "inventory", "export", "report"]
"""Folders of results; beside them lie logs, benchmarks and what is kept for the next run."""
BY_THE_WAY = {"tensorboard"}
"""Written there for people; no result."""


class Job:
    """A run of a stage's command."""

    def __init__(self, stage: str, options: str, arguments: Sequence[str]) -> None:
        """Begin.

        Args:
            stage: its name.
            options: its options as JSON.
            arguments: its command line; files and folders that it names and doesn't write are what it reads, with what
                the stage says by `was_read`.
        """
        self._stage, self._options, self._arguments = stage, options, arguments
        self._written, self._read = note_written(), note_read()
        self._recorded: set[Path] = set()

    def record(self) -> None:
        """Write down what made the results, after the last of them, but for those that have a record of their own."""
        cache = [Path(value) for name, value in pairwise(self._arguments) if name == "--cache"]
        written = (path for path in self._written - self._recorded if not any(map(path.is_relative_to, cache)))
        # that of all items before those in the folder of one, which may be another one the next time
        outputs = sorted(filter(_is_result, written), key=lambda path: (len(path.parts), path))
        if outputs:
            own = set(outputs)
            read = {str(path): _sha256(path) for path in self._inputs() if path not in own}
            self._write(record_of(outputs[0]), read, outputs)

    def record_item(self, folder: Path, inputs: Iterable[Path]) -> None:
        """Write down what made the results in the folder of an item, after the last of them.

        Args:
            folder: the item's.
            inputs: delivered files, on disk or in an archive; those that can't be read are left out.
        """
        read = {}
        for path in inputs:
            with suppress(OSError):
                read[str(path)] = _sha256(path)
        outputs = sorted(path for path in self._written if path.parent == folder and _is_result(path))
        self._recorded.update(outputs)
        self._write(record_of(folder), read, outputs)

    def _write(self, record: Path, read: Mapping[str, str | None], outputs: Sequence[Path]) -> None:
        made = {
            "stage": self._stage,
            "code": stages.code(self._stage),
            "options": parse_json(Path("--options"), self._options.encode()),
            "versions": _versions(),
            "inputs": {path: sha256 for path, sha256 in read.items() if sha256 is not None},
            "outputs": {os.path.relpath(path, record.parent.parent): sha256_file(path) for path in outputs},
        }
        write_json(record, made)

    def _inputs(self) -> Iterator[Path]:
        yield from self._read
        for before, argument in pairwise(["", *self._arguments]):
            if argument.startswith("--") and "=" in argument:
                before, argument = argument.split("=", 1)
            path = Path(argument)
            if before in NO_INPUT or len(argument) > LONGEST_PATH:
                continue
            if path.is_dir():
                yield from (file for pattern in INSIDE for file in sorted(path.glob(pattern)))
            elif path.is_file():
                yield path


def record_of(first: Path) -> Path:
    """Return where the record of a job lies of which this is the first result."""
    return first.parent / FOLDER / f"{first.name}.json"


def retire(results: Iterable[Path]) -> None:
    """Remove results that others have replaced, with their records."""
    for path in results:
        path.unlink(missing_ok=True)
        record_of(path).unlink(missing_ok=True)


def _sha256(path: Path) -> str | None:
    """Return the checksum of what a job read: that in its own record where it is a result that is as it was made.

    A round reads each mosaic many times, and they are most of the bytes of a project.
    """
    record = record_of(path)
    with suppress(OSError, InputError, KeyError, TypeError):
        if path.stat().st_mtime_ns <= record.stat().st_mtime_ns:
            return str(read_json(record)["outputs"][path.name])
    return _sha256_now(path)


def _sha256_now(path: Path) -> str | None:
    """Return the checksum of a file or of a member of a zip archive; None where there is none, or a damaged one."""
    if path.is_file():
        return sha256_file(path)
    if ".zip" not in str(path).lower():
        return None
    # late: GDAL takes long to load, and most results are made from no archive
    from rts_pipeline.scenes import delivered

    try:
        return delivered.sha256(path)
    except InputError:
        return None


def _is_result(path: Path) -> bool:
    hidden = path.name.startswith(".") or path.parent.name.startswith(".")
    return path.is_file() and not hidden


def _versions() -> dict[str, str]:
    found = {"rts-pipeline": __version__}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class Finding:
    """A result that isn't what its record says.

    Attributes:
        path: the file.
        problem: what is wrong.
        damaged: whether the file itself is, rather than older than what it depends on.
    """

    path: Path
    problem: str
    damaged: bool


def find_records(results: Path) -> list[Path]:
    """Return the records below a results folder, sorted.

    Raises:
        InputError: there is none.
    """
    found = sorted(Path(parent, name) for parent, _, names in os.walk(results) for name in names if _is_record(parent, name))
    if not found:
        raise InputError(
            results,
            "holds no record of what made it",
            expected="results of the workflow",
            do="check the path, or run snakemake",
        )
    return found


def _is_record(parent: str, name: str) -> bool:
    return Path(parent).name == FOLDER and name.endswith(".json") and not name.startswith(".")


def verify(results: Path, records: list[Path]) -> Iterator[Finding]:
    """Compare results, and what they were made from, with their records; each file is read once."""
    recorded: set[Path] = set()
    known: dict[Path, str | None] = {}

    def sha256(path: Path) -> str | None:
        # the same file is an output of one job and an input of others, by another relative path
        key = path.resolve()
        if key not in known:
            known[key] = _sha256_now(path)
        return known[key]

    for record in track(records, len(records), "verify", "jobs"):
        try:
            made = read_json(record)
            stage, code, inputs, outputs = (made[key] for key in ("stage", "code", "inputs", "outputs"))
        except (InputError, KeyError, TypeError) as error:
            yield Finding(record, f"the record is damaged ({error})", damaged=True)
            continue
        paths = {Path(os.path.normpath(record.parent.parent / name)): wanted for name, wanted in outputs.items()}
        recorded.update(paths)
        for path, wanted in paths.items():
            found = sha256(path)
            if found != wanted:
                problem = "is missing" if found is None else f"was changed after {stage} made it"
                yield Finding(path, problem, damaged=True)
        now = stages.code(stage) if stage in stages.STAGES else "no such stage"
        if code != now:
            yield Finding(
                next(iter(paths)), f"was made by another version ({code}; this rts-pipeline holds {now})", damaged=False
            )
        for name, wanted in inputs.items():
            found = sha256(Path(name))
            if found != wanted:
                problem = f"was made from {name}, which is gone" if found is None else f"was made from another {name}"
                yield Finding(next(iter(paths)), problem, damaged=False)
    for path in _unrecorded(results, recorded):
        yield Finding(path, "has no record of what made it", damaged=False)


def _unrecorded(results: Path, recorded: set[Path]) -> Iterator[Path]:
    for place in PLACES:
        for parent, folders, names in os.walk(results / place):
            folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in BY_THE_WAY)
            paths = (Path(os.path.normpath(Path(parent, name))) for name in sorted(names))
            yield from (path for path in paths if path not in recorded and path.name not in BY_THE_WAY and path.name[0] != ".")
