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
"""Modules and packages that change no result: what they say reaches the stages as options, or people as messages."""


@dataclass(frozen=True)
class Stage:
    """A stage's version, the module that does it, and the digest of that module and of all that it imports from us."""

    version: int
    module: str
    digest: str


STAGES = {
    "scenes": Stage(3, "scenes.measure", "dfd48008c751d29d"),
    "catalog": Stage(5, "scenes.catalog", "8d11d86926043896"),
    "overlaps": Stage(1, "scenes.overlaps", "b0905ac15da2e244"),
    "adjust": Stage(1, "scenes.adjust", "5df4340ab0faa3bf"),
    "mosaic": Stage(3, "mosaic", "eb5005b8afd79b32"),
    "coverage": Stage(1, "coverage", "b5f827de37c6def6"),
    "observed": Stage(1, "coverage", "b5f827de37c6def6"),
    "ledger": Stage(3, "scenes.ledger", "973abeef7273a77f"),
    "labels": Stage(3, "labels", "ffbc2a3b9a7d1723"),
    "chips": Stage(2, "chips", "5a5f3268368316f2"),
    "train": Stage(5, "learning.train", "65bc6fe8d16467fb"),
    "adopt": Stage(1, "adopt", "ec9067b31bae6832"),
    "validate": Stage(6, "validate.build", "3a1febc807761b03"),
    "crossvalidate": Stage(3, "crossvalidate", "91c016b342c5d19d"),
    "predict": Stage(2, "predict", "ab47e69336ce3f6a"),
    "polygonize": Stage(4, "polygonize", "714830a2d6eb2f43"),
    "candidates": Stage(12, "candidates", "959af6935bb6d702"),
    "audit": Stage(1, "audit", "6fe2cd3ef0b98af6"),
    "evidence": Stage(9, "evidence.build", "a5ef05829d4ba318"),
    "verify": Stage(1, "review.verify", "f178437664fb81c4"),
    "inventory": Stage(11, "inventory.build", "b1b89f3ff5996c88"),
    "completeness": Stage(5, "completeness", "cf73f316f09654e1"),
    "attributes": Stage(8, "inventory.attributes", "38706ab1599056a3"),
    "export": Stage(12, "export.build", "6dc1517f3f080af6"),
    "report": Stage(21, "report.build", "51e9befc9f9601bd"),
    "quantise": Stage(1, "quantise", "2197730cca752c1c"),
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
            if file is not None and file.exists() and name.partition(".")[0] not in NO_RESULT:
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
