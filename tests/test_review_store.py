"""The record: one writer, appending under kill -9, what lies beside it, and merging."""

import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from review_case import AT, GRID, STRICT, Case
from rts_pipeline.errors import InputError, RefusedError, UsageError
from rts_pipeline.review.events import exchange_text, read_events
from rts_pipeline.review.finish import finish
from rts_pipeline.review.folding import fold, revise
from rts_pipeline.review.store import STORE, append, merge, open_round, read_round


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.replace('"accept"', '"reject"', 1), "line 1: not an event .*event_id isn't the sha256"),
        (lambda text: text[:-20], "line 2: is cut off"),
        (lambda text: text + "\n", "line 3: not an event"),
        (lambda text: text + "[]\n", "line 3: not an event"),
        (lambda text: text.splitlines()[0] + "\n" + text.splitlines()[1][:40] + "\n", "line 2: not an event"),
        (lambda text: "\x00" * 40 + "\n" + text, "line 1: not an event"),
    ],
)
def test_a_damaged_exchange_file_is_named_and_nothing_is_taken_up(case, damage, message):
    case.decide(0)
    path = case.folder / "bob.jsonl"
    path.write_text(damage(exchange_text([case.event(0, reviewer="bob"), case.event(1, reviewer="bob")])))
    before = path.read_bytes()
    for use in (lambda: read_round(case.reviews, "01"), lambda: case.decide(2)):
        with pytest.raises(InputError, match=f"bob.jsonl, {message}"):
            use()
    assert path.read_bytes() == before
    path.unlink()
    assert read_round(case.reviews, "01") == [case.event(0)]


def test_an_exchange_file_that_is_not_text_is_told(case):
    (case.folder / "ann.jsonl").write_bytes(b"\xff\xfe\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_round(case.reviews, "01")


def test_an_event_in_the_wrong_file_is_told(case):
    (case.folder / "bob.jsonl").write_text(exchange_text([case.event(0)]))
    with pytest.raises(InputError, match=r"bob.jsonl, line 1: is an event of round 01 by ann; expected round_01 by bob"):
        read_round(case.reviews, "01")


@pytest.mark.parametrize("fields", [{"reviewer": "bob"}, {"round": "02"}, {"role": "second"}])
def test_a_reviewer_s_hold_takes_nobody_else_s_event(case, fields):
    with open_round(case.reviews, "01", "ann") as store, pytest.raises(UsageError, match="expected round 01 by ann"):
        store.append([case.event(0), case.event(1, **fields)])
    assert read_round(case.reviews, "01") == []


def test_append_is_a_union(case):
    events = [case.event(0), case.event(1)]
    assert append(case.reviews, "01", "ann", events) == events
    assert append(case.reviews, "01", "ann", [*events, case.event(2), case.event(2)]) == [case.event(2)]
    assert len(read_round(case.reviews, "01")) == 3


def test_a_reviewer_sees_the_own_events_alone(case):
    case.decide(0, "reject", "bob")
    with open_round(case.reviews, "01", "ann", role="second") as store:
        assert (store.events(), store.standing("r01-0001")) == ([], [])
        first = case.event(0, role="second")
        assert store.append([first]) == [first]
        second = case.event(0, "unsure", role="second")
        store.append(revise(second, store.standing("r01-0001")))
        (head,) = store.standing("r01-0001")
        assert (head.decision, head.parent_event_id) == ("unsure", first.event_id)
        assert store.events() == [first, head]


def test_nothing_is_recorded_without_a_draft(case):
    (case.folder / "draft.json").unlink()
    with pytest.raises(RefusedError, match="the review of round 01 isn't open; run 'rts-pipeline review start 01' first"):
        case.decide(0)
    assert not (case.folder / STORE).exists()


def test_the_database_itself_refuses_to_change_or_remove_an_event(case):
    case.decide_all()
    before = read_round(case.reviews, "01")
    connection = sqlite3.connect(case.folder / STORE, isolation_level=None)
    for statement, message in (
        ("UPDATE events SET line = ''", "never changed"),
        ("DELETE FROM events WHERE number = 1", "never removed"),
    ):
        with pytest.raises(sqlite3.IntegrityError, match=message):
            connection.execute(statement)
    values = (before[0].event_id, "x", "ann", "{}")
    connection.execute("INSERT OR REPLACE INTO events (event_id, candidate_id, reviewer, line) VALUES (?, ?, ?, ?)", values)
    connection.execute("INSERT OR REPLACE INTO events VALUES (1, ?, ?, ?, ?)", ("f" * 64, *values[1:]))
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()
    assert read_round(case.reviews, "01") == before


def test_reading_changes_no_file(case):
    case.decide_all()
    (case.folder / "bob.jsonl").write_text(exchange_text([case.event(0, reviewer="bob")]))
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in case.folder.iterdir() if path.is_file()}
    assert len(read_round(case.reviews, "01")) == 5
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in case.folder.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    "damage", [lambda data: b"hello" * 300, lambda data: data[:5000], lambda data: data[:4096] + b"\xff" * 8192]
)
def test_a_damaged_database_is_told(case, damage):
    case.decide_all()
    path = case.folder / STORE
    path.write_bytes(damage(path.read_bytes()))
    for use in (lambda: read_round(case.reviews, "01"), lambda: case.decide(0, "reject", "bob")):
        with pytest.raises(InputError, match=r"events.sqlite: .*restore it from a backup"):
            use()


def test_an_event_changed_in_the_database_is_told(case):
    case.decide_all()
    connection = sqlite3.connect(case.folder / STORE, isolation_level=None)
    connection.executescript(
        "DROP TRIGGER no_update; UPDATE events SET line = replace(line, 'accept', 'reject') WHERE number = 1"
    )
    connection.close()
    with pytest.raises(InputError, match=r"events.sqlite, event 1: .*event_id isn't the sha256"):
        read_round(case.reviews, "01")


def test_a_database_of_a_later_version_is_refused(case):
    case.decide(0)
    connection = sqlite3.connect(case.folder / STORE)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(RefusedError, match=r"events.sqlite: has layout 2; expected 1"):
        read_round(case.reviews, "01")


# --- one writer ----------------------------------------------------------------------------------------------------------

APPENDER = """
# Appends one event after the other in one hold on the round, and acknowledges each.
import sys
from pathlib import Path
from rts_pipeline.review.events import make_event
from rts_pipeline.review.store import open_round
reviews, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
with open_round(reviews, "01", "ann") as store:
    for number in range(first, first + count):
        store.append([make_event(round="01", candidate_id=f"c{number}", base_sha256="b" * 64, reviewer="ann",
            at="2020-09-01T12:00:00Z", source="web", guideline_version="1", action="decide", decision="accept")])
        print(number, flush=True)
    print("done", flush=True)
    sys.stdin.read()
"""


def appender(case, first, count):
    command = [sys.executable, "-c", APPENDER, str(case.reviews), str(first), str(count)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_second_writer_gets_one_line(case):
    process = appender(case, 0, 1)
    assert process.stdout.readline() == "0\n"
    assert process.stdout.readline() == "done\n"
    for use in (lambda: case.decide(0), lambda: merge(case.reviews, "01", []), lambda: close(case)):
        with pytest.raises(
            RefusedError, match=rf"round_01: is in use by process {process.pid} on .*; end that first"
        ) as caught:
            use()
        assert "\n" not in str(caught.value)
    assert [e.candidate_id for e in read_round(case.reviews, "01")] == ["c0"]
    process.communicate(timeout=30)
    case.decide(0)
    assert len(read_round(case.reviews, "01")) == 2


def close(case):
    return finish(case.reviews, "01", policy=STRICT, grid=GRID, at=AT)


def test_threads_of_the_one_writer_lose_no_event(case):
    def judge(numbers):
        for number in numbers:
            store.append([case.event(0, candidate_id=f"c{number}")])
            store.standing(f"c{number}")

    with open_round(case.reviews, "01", "ann") as store:
        threads = [threading.Thread(target=judge, args=(range(first, first + 10),)) for first in (0, 10, 20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store.events()) == 30
    assert {e.candidate_id for e in read_round(case.reviews, "01")} == {f"c{n}" for n in range(30)}


def test_readers_and_the_writer_do_not_disturb_each_other(case):
    """While one process goes on writing, each read gives at least what was acknowledged before it began."""
    process = appender(case, 0, 60)
    counts = [len(read_round(case.reviews, "01")) for _ in iter(process.stdout.readline, "done\n")]
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert len(counts) == 60 and counts == sorted(counts)
    assert all(count > number for number, count in enumerate(counts)) and counts[-1] == 60


def test_an_append_that_fails_leaves_nothing_and_can_be_repeated(case):
    events = [case.event(0, candidate_id=f"c{number}") for number in range(400)]
    with open_round(case.reviews, "01", "ann") as store:
        limit = "PRAGMA max_page_count = {}"
        store._connection.execute(limit.format(20))
        with pytest.raises(InputError, match=r"events.sqlite: can't be used .*full.; see that the disk has room"):
            store.append(events)
        assert store.events() == []
        assert store.append(events[:5]) == events[:5]
        store._connection.execute(limit.format(100_000))
        assert store.append(events) == events[5:]


def test_kill_during_append_loses_nothing_that_was_acknowledged(case):
    acknowledged, draw = set(), random.Random(1)
    for attempt in range(5):
        process = appender(case, 1000 * attempt, 900)
        acknowledged.add(int(process.stdout.readline()))
        time.sleep(draw.uniform(0.01, 0.3))
        process.send_signal(signal.SIGKILL)
        acknowledged |= {int(line) for line in process.communicate()[0].split()}
        assert process.returncode == -signal.SIGKILL
        found = [int(e.candidate_id[1:]) for e in read_round(case.reviews, "01")]
        assert acknowledged <= set(found)
        assert len(found) == len(set(found)) <= len(acknowledged) + attempt + 1
    case.decide(0)
    assert not (case.folder / f"{STORE}-journal").exists()


def test_a_write_that_was_cut_off_is_undone_by_the_next_reader(case):
    """The journal of a killed writer, with half of its pages already in the database."""
    case.decide(0)
    program = f"""
import os, signal, sqlite3
connection = sqlite3.connect({str(case.folder / STORE)!r}, isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN")
for number in range(2000):
    connection.execute("INSERT INTO events VALUES (?, ?, 'c', 'ann', '{{}}')", (100 + number, f"{{number:064}}"))
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program], check=False)
    assert (case.folder / f"{STORE}-journal").stat().st_size > 0
    assert read_round(case.reviews, "01") == [case.event(0)]
    case.decide(1)
    assert len(read_round(case.reviews, "01")) == 2


# --- exchange ------------------------------------------------------------------------------------------------------------


def test_exchange_files_alone_are_a_whole_record(case, tmp_path):
    """A clone of a repository that keeps the exchange files and not the database."""
    case.decide_all()
    case.decide(0, "reject", "bob", role="second")
    events = read_round(case.reviews, "01")
    for name in ("ann", "bob"):
        (case.folder / f"{name}.jsonl").write_text(exchange_text(e for e in events if e.reviewer == name))
    (case.folder / STORE).unlink()
    assert fold(read_round(case.reviews, "01")) == fold(events)
    case.decide(1, "reject", "bob", role="second")
    assert len(read_round(case.reviews, "01")) == 6
    for name in ("ann", "bob"):
        (case.folder / f"{name}.jsonl").unlink()
    assert len(read_round(case.reviews, "01")) == 6


def test_what_a_changed_exchange_file_brings_is_taken_up(case):
    case.decide(0)
    path = case.folder / "bob.jsonl"
    for count in (1, 2):
        path.write_text(exchange_text(case.event(i, reviewer="bob") for i in range(count)))
        assert len(read_round(case.reviews, "01")) == 1 + count
        with open_round(case.reviews, "01", "ann"):
            pass
        with sqlite3.connect(case.folder / STORE) as connection:
            assert connection.execute("SELECT count(*) FROM events").fetchone() == (1 + count,)


def test_the_finish_writes_everybodys_exchange_file(case):
    case.decide_all()
    case.decide(1, "reject", "bob")
    events = read_round(case.reviews, "01")
    close(case)
    assert read_events(case.folder / "bob.jsonl") == [case.event(1, "reject", "bob")]
    assert len(read_events(case.folder / "ann.jsonl")) == 4
    assert read_round(case.reviews, "01") == events
    with sqlite3.connect(case.folder / STORE) as connection:
        assert connection.execute("SELECT count(*) FROM taken").fetchone() == (2,)
    (case.folder / STORE).unlink()
    assert fold(read_round(case.reviews, "01")) == fold(events)


def test_a_file_that_nobody_took_up_before_the_finish_stays_in_the_record(case):
    """It is the text that the finish writes, to the byte."""
    case.decide_all()
    (case.folder / "bob.jsonl").write_text(exchange_text(case.event(number, reviewer="bob") for number in (0, 3)))
    events = read_round(case.reviews, "01")
    assert close(case).reviewers == ("ann", "bob")
    assert len(events) == 6 and read_round(case.reviews, "01") == events
    assert read_round(case.reviews, "01", "r01-0001") == [case.event(0), case.event(0, reviewer="bob")]


def test_files_alone_are_signed_off_where_the_database_is_a_killed_writer_s_empty_one(case):
    (case.folder / "ann.jsonl").write_text(exchange_text(case.event(number) for number in range(4)))
    (case.folder / STORE).touch()
    assert close(case).n_new == 4
    assert len(read_round(case.reviews, "01")) == 4


@pytest.fixture(scope="module")
def union(tmp_path_factory):
    """A round that is judged on two machines, and its events: undone, redone, forked and disputed decisions."""
    case = Case(tmp_path_factory.mktemp("union"))
    first = case.event(0)
    second = case.event(0, "reject", parent_event_id=first.event_id)
    undo = case.event(0, None, action="retract", base_sha256=None, parent_event_id=second.event_id)
    fork = case.event(0, "unsure", parent_event_id=first.event_id)
    others = [case.event(i, "reject", "bob", role="second") for i in range(3)]
    return case, [first, second, undo, fork, *others, case.event(1), case.event(2)]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_merging_ignores_order_and_repetition(union, data):
    case, events = union
    (case.folder / STORE).unlink(missing_ok=True)
    drawn = st.lists(st.sampled_from(events), max_size=6)
    parts = [*data.draw(st.lists(drawn, max_size=3)), data.draw(st.permutations(events))]
    for part in data.draw(st.permutations(parts)):
        merge(case.reviews, "01", part)
    merged = read_round(case.reviews, "01")
    assert len(merged) == len(events)
    assert {e.event_id for e in merged} == {e.event_id for e in events}
    assert fold(merged) == fold(events)
