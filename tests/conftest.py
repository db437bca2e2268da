"""What holds for all tests."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from workflow_case import shared_case

pytest.register_assert_rewrite("browser_case")


def pytest_testnodedown(node: Any, error: object) -> None:
    """Say how a worker of pytest-xdist ended that didn't end by itself: a negative code is the signal that killed it."""
    if error:
        print(f"{node.gateway.id} ended with {node.gateway._io.popen.wait(timeout=10)}", file=sys.stderr)


@pytest.fixture(scope="session")
def made(tmp_path_factory, worker_id):
    return shared_case(tmp_path_factory, worker_id)
