"""The versions of the stages: what makes Snakemake rebuild results when our own code changed.

Snakemake can't see the code behind a command, so every rule passes its stage's version as a parameter and the command
refuses another one. A test recomputes the digest of each stage's sources (comments and docstrings don't count): after a
change either bump `version` (results may differ) or only refresh the digest (`python -m rts_pipeline.stages`).
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rts_pipeline.errors import RefusedError

PACKAGE = Path(__file__).parent
NO_RESULT = {"__init__", "config", "errors", "options", "progress", "stages"}
"""Modules that change no result: what they say reaches the stages as options, or people as messages."""


@dataclass(frozen=True)
class Stage:
    """A stage's version, the module that does it, and the digest of that module and of all that it imports from us."""

    version: int
    module: str
    digest: str


STAGES = {
    "scenes": Stage(2, "scenes.measure", "09e94e9345ddd879"),
    "catalog": Stage(2, "scenes.catalog", "7c3a412b3fa2814a"),
    "overlaps": Stage(1, "scenes.overlaps", "398f704c28aa28c1"),
    "adjust": Stage(1, "scenes.adjust", "e2b621fda326c9ff"),
    "mosaic": Stage(2, "mosaic", "7d3b88d73cc98425"),
    "coverage": Stage(1, "coverage", "d5bc7cf01a69d7ad"),
    "observed": Stage(1, "coverage", "d5bc7cf01a69d7ad"),
    "ledger": Stage(1, "scenes.ledger", "bbe02b343101deca"),
    "labels": Stage(2, "labels", "c7eafcf528e433bd"),
    "chips": Stage(2, "chips", "e020481e961f8145"),
    "train": Stage(4, "learning.train", "dc310964e00b31f9"),
    "adopt": Stage(1, "adopt", "b74fca3da9f80b2f"),
    "validate": Stage(4, "validate.build", "fa05d324ded56771"),
    "crossvalidate": Stage(1, "crossvalidate", "d5f7d82436be8253"),
    "predict": Stage(2, "predict", "b9dcc1a79a0d450a"),
    "polygonize": Stage(4, "polygonize", "18b259dc24669ba0"),
    "candidates": Stage(10, "candidates", "11dcfc01a0d95133"),
    "audit": Stage(1, "audit", "17b60aaedf2f78e1"),
    "evidence": Stage(4, "evidence.build", "8353f29f8f2c9d76"),
    "verify": Stage(1, "review.verify", "dfe8329df5e62dd0"),
    "inventory": Stage(7, "inventory.build", "36cb00b4c4b72e4f"),
    "completeness": Stage(3, "completeness", "dc6a0e883b3f10df"),
    "attributes": Stage(6, "inventory.attributes", "e10c2f353c0835d7"),
    "export": Stage(6, "export.build", "3fc78260007541c0"),
    "report": Stage(14, "report.build", "909c7baf00251096"),
    "quantise": Stage(1, "quantise", "c5a8e63bbf383d6a"),
}


def code(stage: str) -> str:
    """Return the version text of a stage, such as "mosaic-1"."""
    return f"{stage}-{STAGES[stage].version}"


def check_code(stage: str, wanted: str | None) -> None:
    """Stop when a rule was planned with another version of the package than the one that runs.

    Raises:
        RefusedError: `wanted` is given and isn't the version of this package's stage.
    """
    if wanted is not None and wanted != code(stage):
        raise RefusedError(
            f"--code {wanted}",
            f"this rts-pipeline holds {code(stage)}",
            expected="the version that the workflow was planned with",
            do="run snakemake again with one version installed everywhere",
        )


def sources(stage: str) -> list[Path]:
    """Return the stage's module and all modules of the package that it imports, directly or not, sorted.

    A folder's files that aren't Python (templates) belong to the modules beside them.
    """
    found: set[Path] = set()
    waiting = [_file(STAGES[stage].module)]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        waiting += _imported(path)
        if path.parent != PACKAGE:
            found |= {other for other in path.parent.iterdir() if other.suffix in {".html", ".xml"}}
    return sorted(found)


def digest(stage: str) -> str:
    """Return the digest of a stage's sources, without comments and docstrings."""
    total = hashlib.sha256()
    for path in sources(stage):
        text = path.read_text(encoding="utf-8")
        total.update(meaning(text).encode() if path.suffix == ".py" else text.encode())
    return total.hexdigest()[:16]


def meaning(source: str) -> str:
    """Return what a Python source does: its syntax tree without comments and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
            node.body = node.body[1:]
    return ast.dump(tree)


def _file(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _imported(path: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(PACKAGE.name):
            continue
        base = (node.module or "").removeprefix(PACKAGE.name).removeprefix(".")
        for name in [base, *(f"{base}.{alias.name}".removeprefix(".") for alias in node.names)]:
            file = _file(name) if name else None
            if file is not None and file.exists() and name not in NO_RESULT:
                yield file


def _refresh() -> None:
    """Write the present digests into this file."""
    text = Path(__file__).read_text(encoding="utf-8")
    for stage in STAGES:
        pattern = rf'("{stage}": Stage\(\d+, "[\w.]+", )"[0-9a-f]*"\)'
        text = re.sub(pattern, rf'\1"{digest(stage)}")', text)
    Path(__file__).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    _refresh()
