"""The record of a round: a SQLite database that takes events and never gives one up.

`reviews/round_<k>/events.sqlite` is the one source of truth. One process at a time writes it; any number read it, also
meanwhile. A reviewer's exchange file `<reviewer>.jsonl` is a copy of his or her events, for a backup, a repository or
another machine. One that lies beside the database counts too: what the database lacks of it is taken up when the round is
opened, once for each content of the file. So the record is a set union, and a folder that holds only exchange files (a
clone, say) is whole.

    with open_round(reviews, "01", "ada", role="primary") as store:
        new = store.append([make_event(...)])  # on the disk when it returns
        mine = store.events()
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Lock

from pydantic import ValidationError

from rts_pipeline.errors import InputError, RefusedError, UsageError
from rts_pipeline.io.files import sha256_file, write_text
from rts_pipeline.review.events import Event, Role, check_reviewer, exchange_text, read_events
from rts_pipeline.review.folding import standing_of
from rts_pipeline.review.rounds import Draft, locked, read_draft, round_folder
from rts_pipeline.review.windows import check_decisions, window_ids

STORE = "events.sqlite"
VERSION = 1
WAIT_S = 60.0
"""How long a commit waits for a reader, or a reader for a commit: both take milliseconds."""
SCHEMA = f"""
BEGIN;
CREATE TABLE events (
    number INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL UNIQUE,
    candidate_id TEXT NOT NULL,
    reviewer TEXT NOT NULL,
    line TEXT NOT NULL
);
CREATE INDEX events_of ON events (candidate_id, reviewer);
CREATE TABLE taken (sha256 TEXT PRIMARY KEY);
CREATE TRIGGER no_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'an event is never changed'); END;
CREATE TRIGGER no_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'an event is never removed'); END;
CREATE TRIGGER no_replace BEFORE INSERT ON events
    WHEN EXISTS (SELECT 1 FROM events WHERE event_id = NEW.event_id OR number = NEW.number)
    BEGIN SELECT RAISE(IGNORE); END;
PRAGMA user_version = {VERSION};
COMMIT;
"""


class Store:
    """One reviewer's hold on an open round, made by `open_round`; may be used from several threads.

    Attributes:
        round: name of the round.
        reviewer: who judges; the only one whose events it takes and gives, so that reviewers stay blind to each other.
        role: in which role.
        draft: what is under review, which nobody can change while this is open.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, draft: Draft, reviewer: str, role: Role) -> None:
        """Take the connection of the one writer to the database at `path`."""
        self.round, self.reviewer, self.role, self.draft = draft.round, reviewer, role, draft
        self._connection, self._path = connection, path
        self._windows = window_ids(path.parent)
        self._lock = Lock()

    def append(self, events: Iterable[Event]) -> list[Event]:
        """Append events of this reviewer, all or none, and return those that were new: a set union.

        They are on the disk when it returns; what it costs doesn't depend on how many there are already.

        Raises:
            UsageError: an event of another round or reviewer, in another role, or that takes a window for an outline.
            InputError: it can't be written, for want of room say; nothing was.
        """
        events = list(events)
        for event in events:
            if (event.round, event.reviewer, event.role) != (self.round, self.reviewer, self.role):
                raise UsageError(
                    f"event {event.event_id[:8]}",
                    f"is of round {event.round} by {event.reviewer} ({event.role})",
                    expected=f"round {self.round} by {self.reviewer} ({self.role})",
                )
        check_decisions(events, self._windows)
        with self._lock, _told(self._path):
            return _insert(self._connection, events)

    def events(self) -> list[Event]:
        """Return this reviewer's events, in the order in which they were taken up."""
        with self._lock, _told(self._path):
            rows = _rows(self._connection, "WHERE reviewer = ?", self.reviewer)
        return _events(self._path, rows)

    def events_of(self, candidate_id: str) -> list[Event]:
        """Return this reviewer's events on a candidate, in the order in which they were taken up."""
        with self._lock, _told(self._path):
            rows = _rows(self._connection, "WHERE candidate_id = ? AND reviewer = ?", candidate_id, self.reviewer)
        return _events(self._path, rows)

    def standing(self, candidate_id: str) -> list[Event]:
        """Return this reviewer's standing decisions on a candidate: none, one, or in a fork several; see `folding.revise`."""
        return standing_of(self.events_of(candidate_id))


@contextmanager
def open_round(reviews: Path, round: str, reviewer: str, *, role: Role = "primary", wait_s: float = 0) -> Iterator[Store]:
    """Open a round for one reviewer, as its only writer until the block ends; what lies beside it is taken up first.

    Args:
        reviews: the folder of all reviews.
        round: name of the open round.
        reviewer: who judges, from the command line.
        role: in which role.
        wait_s: how long to wait for another process that has opened it.

    Raises:
        RefusedError: the round isn't open for review, or another process has opened it.
        UsageError: a reviewer's name that can't be one.
        InputError: a damaged database or exchange file.
    """
    check_reviewer(reviewer)
    with _writing(reviews, round, wait_s) as (connection, draft):
        yield Store(connection, round_folder(reviews, round) / STORE, draft, reviewer, role)


def append(reviews: Path, round: str, reviewer: str, events: Iterable[Event], *, role: Role = "primary") -> list[Event]:
    """Open the round, append a reviewer's events, and return those that were new; raises as `open_round` and `append`."""
    with open_round(reviews, round, reviewer, role=role) as store:
        return store.append(events)


def read_round(reviews: Path, round: str, candidate_id: str | None = None) -> list[Event]:
    """Read the events of all reviewers of a round, open or signed off; a round that nobody judged has none.

    Changes no file, and sees whole transactions of a writer that is at work.

    Args:
        reviews: the folder of all reviews.
        round: name of a round.
        candidate_id: only those on this candidate, without reading the others; None: all.

    Raises:
        InputError: a damaged database or exchange file.
    """
    events = _read(round_folder(reviews, round), candidate_id)
    return events if candidate_id is None else [event for event in events if event.candidate_id == candidate_id]


def _read(folder: Path, candidate_id: str | None) -> list[Event]:
    if not (folder / STORE).exists():
        return _union([], folder, set())
    chosen = ("WHERE candidate_id = ?", candidate_id) if candidate_id is not None else ()
    with _connected(folder / STORE) as connection:
        connection.execute("PRAGMA query_only = ON")
        # One transaction: else a writer could take up a file in between, and its events would be missing.
        connection.execute("BEGIN")
        known = _version(connection) > 0
        rows = _rows(connection, *chosen) if known else []
        taken = {sha256 for (sha256,) in connection.execute("SELECT sha256 FROM taken")} if known else set()
        connection.execute("COMMIT")
    return _union(_events(folder / STORE, rows), folder, taken)


def merge(reviews: Path, round: str, events: list[Event]) -> list[Event]:
    """Take up events of any reviewers of the round, from another machine, and return those that were new: a set union.

    Raises:
        RefusedError: the round isn't open for review, or another process has opened it.
        UsageError: an event that takes a window for an outline.
        InputError: a damaged database or exchange file.
    """
    check_decisions(events, window_ids(round_folder(reviews, round)))
    with _writing(reviews, round) as (connection, _):
        return _insert(connection, events)


def write_exchange(folder: Path, events: list[Event]) -> None:
    """Write everybody's exchange file into the round's folder; for who holds its lock.

    Args:
        folder: the round's review folder.
        events: all that `read_round` gives.
    """
    for reviewer in sorted({event.reviewer for event in events}):
        own = [event for event in events if event.reviewer == reviewer]
        text = exchange_text(own)
        if (folder / STORE).exists():
            with _connected(folder / STORE) as connection:
                # A killed writer may have left it empty: then the files alone are the record.
                if _version(connection):
                    # With the events: some may come from a file that nobody took up since it was laid there.
                    _insert(connection, own, taken=hashlib.sha256(text.encode()).hexdigest())
        write_text(folder / f"{reviewer}.jsonl", text)


def _union(events: list[Event], folder: Path, taken: set[str]) -> list[Event]:
    found = {event.event_id: event for event in events}
    for path in _exchange_files(folder):
        if sha256_file(path) not in taken:
            found |= {event.event_id: event for event in _beside(path) if event.event_id not in found}
    return list(found.values())


def _exchange_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.jsonl") if not path.name.startswith("."))


def _beside(path: Path) -> list[Event]:
    """Read an exchange file in a round's folder, where its name says whose it is."""
    events = read_events(path)
    check_decisions(events, window_ids(path.parent), path)
    for number, event in enumerate(events, 1):
        if f"round_{event.round}" != path.parent.name or event.reviewer != path.stem:
            raise InputError(
                f"{path}, line {number}",
                f"is an event of round {event.round} by {event.reviewer}",
                expected=f"{path.parent.name} by {path.stem}",
                do="move it to the right file",
            )
    return events


@contextmanager
def _writing(reviews: Path, round: str, wait_s: float = 0) -> Iterator[tuple[sqlite3.Connection, Draft]]:
    read_draft(reviews, round)
    folder = round_folder(reviews, round)
    with locked(folder, wait_s=wait_s):
        # Asked again: the round may have been signed off meanwhile. Nobody can do that while this process has the lock.
        draft = read_draft(reviews, round)
        with _connected(folder / STORE, create=True) as connection:
            if not _version(connection):
                connection.executescript(SCHEMA)
            _take_up(connection, folder)
            yield connection, draft


def _take_up(connection: sqlite3.Connection, folder: Path) -> None:
    for path in _exchange_files(folder):
        digest = sha256_file(path)
        if connection.execute("SELECT 1 FROM taken WHERE sha256 = ?", (digest,)).fetchone() is None:
            _insert(connection, _beside(path), taken=digest)


@contextmanager
def _connected(path: Path, *, create: bool = False) -> Iterator[sqlite3.Connection]:
    """Connect to the database; also a reader may write, to undo what a killed writer left half-done."""
    uri = f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
    with (
        _told(path),
        # Without implicit transactions; Store guards the use by several threads.
        closing(sqlite3.connect(uri, WAIT_S, isolation_level=None, check_same_thread=False, uri=True)) as connection,
    ):
        # Never WAL: its shared memory doesn't work on network file systems.
        connection.execute("PRAGMA journal_mode = DELETE")
        # FULL, and the folder is synced too when the journal goes: else a power cut could bring it back, and undo a commit.
        connection.execute("PRAGMA synchronous = EXTRA")
        yield connection


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tell SQLite's errors as ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        room = "see that the disk has room and that the folder may be written, then try again"
        raise InputError(path, f"can't be used ({error})", do=room) from None
    except sqlite3.DatabaseError as error:
        raise InputError(path, f"can't be used ({error})", do="restore it from a backup, or from the exchange files") from None


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        path = connection.execute("PRAGMA database_list").fetchone()[2]
        raise RefusedError(path, f"has layout {version}", expected=str(VERSION), do="use the newer rts-pipeline that made it")
    return version


def _insert(connection: sqlite3.Connection, events: list[Event], *, taken: str | None = None) -> list[Event]:
    """Insert events in one transaction and return those that were new."""
    new = []
    connection.execute("BEGIN IMMEDIATE")
    try:
        for event in events:
            values = (event.event_id, event.candidate_id, event.reviewer, event.line)
            row = connection.execute("INSERT INTO events (event_id, candidate_id, reviewer, line) VALUES (?, ?, ?, ?)", values)
            if row.rowcount:
                new.append(event)
        if taken is not None:
            connection.execute("INSERT OR IGNORE INTO taken VALUES (?)", (taken,))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return new


def _rows(connection: sqlite3.Connection, where: str = "", *values: str) -> list[tuple[int, str]]:
    """Fetch rows at once: while they are read, nobody can commit."""
    return connection.execute(f"SELECT number, line FROM events {where} ORDER BY number", values).fetchall()


def _events(path: Path, rows: list[tuple[int, str]]) -> list[Event]:
    events = []
    for number, line in rows:
        try:
            events.append(Event.model_validate_json(line))
        except ValidationError as error:
            problem = f"is damaged ({error.errors()[0]['msg']})"
            raise InputError(f"{path}, event {number}", problem, do="restore the file from a backup") from None
    return events
