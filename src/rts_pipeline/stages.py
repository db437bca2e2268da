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
    "scenes": Stage(2, "scenes.measure", "45bc6aa3ed13aedd"),
    "catalog": Stage(3, "scenes.catalog", "35252677efc8fcc0"),
    "overlaps": Stage(1, "scenes.overlaps", "6583ba9173fd80c2"),
    "adjust": Stage(1, "scenes.adjust", "0eeaab201266da1e"),
    "mosaic": Stage(2, "mosaic", "fd5d19513d4ca41d"),
    "coverage": Stage(1, "coverage", "f0f47ec9b648cb2e"),
    "observed": Stage(1, "coverage", "f0f47ec9b648cb2e"),
    "ledger": Stage(2, "scenes.ledger", "fcb9806c74c1a36e"),
    "labels": Stage(2, "labels", "0dbed814aede3db3"),
    "chips": Stage(2, "chips", "f5bc1d132fd47b66"),
    "train": Stage(4, "learning.train", "79ff260ff73a80a4"),
    "adopt": Stage(1, "adopt", "4c8637f4cb3dabaf"),
    "validate": Stage(5, "validate.build", "61b67dbdb411bca6"),
    "crossvalidate": Stage(2, "crossvalidate", "a9a74d2d4713add1"),
    "predict": Stage(2, "predict", "49b755db8813dc43"),
    "polygonize": Stage(4, "polygonize", "a72d86280c1e1049"),
    "candidates": Stage(10, "candidates", "d12acb25de69e5df"),
    "audit": Stage(1, "audit", "22696467f5734771"),
    "evidence": Stage(5, "evidence.build", "afed26b03ad6d573"),
    "verify": Stage(1, "review.verify", "0f6a01670f56ebec"),
    "inventory": Stage(8, "inventory.build", "7462bfb4d89a76ee"),
    "completeness": Stage(3, "completeness", "47762ac29fb43ef9"),
    "attributes": Stage(6, "inventory.attributes", "8b8bc724de3f3116"),
    "export": Stage(7, "export.build", "b1b324decc2f962d"),
    "report": Stage(16, "report.build", "3355cd5b86f32814"),
    "quantise": Stage(1, "quantise", "2fb170bae29443ec"),
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
