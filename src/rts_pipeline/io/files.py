"""Files and folders: each is written to a temporary name beside its place, synced, and renamed."""

from __future__ import annotations

import glob
import hashlib
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rts_pipeline.errors import InputError, UsageError

_written: set[Path] = set()


def note_written() -> set[Path]:
    """Return a set, empty now, that every file joins which this process puts in its place from now on."""
    global _written
    _written = set()
    return _written


_read: set[Path] = set()


def note_read() -> set[Path]:
    """Return a set, empty now, that every file joins which a stage says from now on that it has read (`was_read`)."""
    global _read
    _read = set()
    return _read


def was_read(*paths: Path) -> None:
    """Say that results are made from files of which the command line names the folder only."""
    _read.update(paths)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` (same suffix); on success sync it and rename it to `path`, else remove it.

    Raises:
        UsageError: `path` is a folder.
    """
    if path.is_dir():
        raise UsageError(path, "is a folder", expected="the name of a file to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
        _written.add(path)
    finally:
        # what GDAL and SQLite lay beside it, too
        for leftover in path.parent.glob(f"{glob.escape(temporary.name)}*"):
            leftover.unlink()


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path`; on success sync its files and put it in the place of `path`, else remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = temporary_beside(path), temporary_beside(path)
    temporary.mkdir()
    try:
        yield temporary
        files = [file for file in temporary.rglob("*") if file.is_file()]
        for place in (*files, *{file.parent for file in files}, temporary):
            _sync(place)
        if path.exists():
            path.rename(old)
        temporary.rename(path)
        _sync(path.parent)
        _written.update(path / file.relative_to(temporary) for file in files)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside `path` for the time of a work; its name says which process it belongs to."""
    temporary = temporary_beside(path)
    temporary.mkdir(parents=True)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


TEMPORARY = re.compile(r"\.tmp-(?P<machine>.+?-\d+)-(?P<pid>\d+)-[0-9a-f]{8}-")
"""What `temporary_beside` names begin with."""


def temporary_beside(path: Path) -> Path:
    """Return a name that nobody else uses, also on other machines, and that says which process it belongs to."""
    return path.with_name(f".tmp-{machine()}-{os.getpid()}-{secrets.token_hex(4)}-{path.name}")


def machine() -> str:
    """Return where a process id means something: the host and, since containers may share its name, the space of ids."""
    with suppress(OSError):
        return f"{platform.node()}-{re.sub(r'[^0-9]', '', str(Path('/proc/self/ns/pid').readlink()))}"
    return f"{platform.node()}-0"


def copy_file(source: Path, path: Path) -> None:
    """Copy a file atomically.

    Raises:
        InputError: there is no such file.
    """
    with atomic(path) as temporary:
        try:
            shutil.copyfile(source, temporary)
        except FileNotFoundError:
            raise InputError(source, "no such file") from None


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file's bytes.

    Raises:
        InputError: no such file.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise InputError(path, "no such file") from None
