"""What holds for all tests."""

from __future__ import annotations

import fcntl
import sys
from typing import Any

import pytest

from workflow_case import Case, make_case

pytest.register_assert_rewrite("browser_case")


def pytest_testnodedown(node: Any, error: object) -> None:
    """Say how a worker of pytest-xdist ended that didn't end by itself: a negative code is the signal that killed it."""
    if error:
        print(f"{node.gateway.id} ended with {node.gateway._io.popen.wait(timeout=10)}", file=sys.stderr)


@pytest.fixture(scope="session")
def made(tmp_path_factory, worker_id):
    """The project with the candidates of round 01 waiting; made once for all test processes."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    with (shared / "case.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = shared / "case.done"
        if not done.exists():
            make_case(shared / "case")
            done.touch()
    return Case(shared / "case")
