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
    "labels": Stage(2, "labels", "3f0bade920f78966"),
    "chips": Stage(2, "chips", "e020481e961f8145"),
    "train": Stage(4, "learning.train", "8ce00d6db179ea43"),
    "validate": Stage(4, "validate.build", "8547aec20a9804ae"),
    "crossvalidate": Stage(1, "crossvalidate", "287694969a5a909b"),
    "predict": Stage(2, "predict", "8da4ea9f78c65f1b"),
    "polygonize": Stage(4, "polygonize", "18b259dc24669ba0"),
    "candidates": Stage(10, "candidates", "41495e469e53794f"),
    "audit": Stage(1, "audit", "a35a6db3f593d040"),
    "evidence": Stage(4, "evidence.build", "aa671de1bf0cadae"),
    "verify": Stage(1, "review.verify", "44bc849ce4cfed43"),
    "inventory": Stage(6, "inventory.build", "b80b2a8ffc5a18c3"),
    "completeness": Stage(2, "completeness", "3680ad5605a572e3"),
    "attributes": Stage(6, "inventory.attributes", "b61b06a0a6c731f6"),
    "export": Stage(5, "export.build", "e25f40b17ebf68e5"),
    "report": Stage(13, "report.build", "7e6fab68444959c0"),
    "quantise": Stage(1, "quantise", "0464b449fc97fb2e"),
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
