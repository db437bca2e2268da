"""Progress of long work: a bar with rate and time left on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
LINE_EVERY_S = 10.0


def track(work: Iterable[T], total: float, label: str, unit: str, size: Callable[[T], float] = lambda _: 1) -> Iterator[T]:
    """Yield from `work` and show how far it is: on a terminal as a bar, else as a line every ten seconds on stderr.

    Args:
        work: what is done.
        total: how much there is, in `unit`.
        label: what is shown.
        unit: of the total and of the rate.
        size: how much an item is, in `unit`.
    """
    if sys.stderr.isatty():
        yield from _bar(work, total, label, unit, size)
    else:
        yield from _lines(work, total, label, unit, size)


def _bar(work: Iterable[T], total: float, label: str, unit: str, size: Callable[[T], float]) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[unit]}"),
    )
    speed = TextColumn("{task.fields[rate]}")
    with Progress(*columns, speed, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=total, unit=unit, rate="")
        start, done = time.monotonic(), 0.0
        for item in work:
            yield item
            done += size(item)
            progress.update(task, completed=done, rate=f"{done / (time.monotonic() - start):.1f} {unit}/s")


def _lines(work: Iterable[T], total: float, label: str, unit: str, size: Callable[[T], float]) -> Iterator[T]:
    start = said = time.monotonic()
    done = 0.0
    for item in work:
        yield item
        done += size(item)
        now = time.monotonic()
        if now - said >= LINE_EVERY_S or (done >= total and now - start >= 1):
            said, rate = now, done / (now - start)
            left = max(total - done, 0) / rate
            amount = f"{done:.0f}/{total:.0f} {unit}"
            print(f"{label}: {amount}, {rate:.1f} {unit}/s, {left:.0f} s left", file=sys.stderr, flush=True)
