"""Progress of long work: a bar with rate and time left on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
LINE_EVERY_S = 10.0


def track(work: Iterable[T], total: int, label: str, unit: str = "") -> Iterator[T]:
    """Yield from `work` and show how far it is: on a terminal as a bar, else as a line every ten seconds on stderr."""
    if sys.stderr.isatty():
        yield from _bar(work, total, label, unit)
    else:
        yield from _lines(work, total, label, unit)


def _bar(work: Iterable[T], total: int, label: str, unit: str) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
    speed = TextColumn("{task.fields[rate]}")
    with Progress(*columns, speed, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=total, rate="")
        start = time.monotonic()
        for done, item in enumerate(work, 1):
            yield item
            progress.update(task, completed=done, rate=f"{done / (time.monotonic() - start):.1f}/s")


def _lines(work: Iterable[T], total: int, label: str, unit: str) -> Iterator[T]:
    start = said = time.monotonic()
    for done, item in enumerate(work, 1):
        yield item
        now = time.monotonic()
        if now - said >= LINE_EVERY_S or (done == total and now - start >= 1):
            said, rate = now, done / (now - start)
            left = (total - done) / rate
            print(f"{label}: {done}/{total} {unit}, {rate:.1f}/s, {left:.0f} s left", file=sys.stderr, flush=True)
