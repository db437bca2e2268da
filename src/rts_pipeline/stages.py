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
    "scenes": Stage(2, "scenes.measure", "11a8c4bc9b92bcd4"),
    "catalog": Stage(3, "scenes.catalog", "528ce81421797a38"),
    "overlaps": Stage(1, "scenes.overlaps", "f214a695e7846322"),
    "adjust": Stage(1, "scenes.adjust", "b4d5356f48e745b0"),
    "mosaic": Stage(2, "mosaic", "aa73135485f2da3b"),
    "coverage": Stage(1, "coverage", "02065981420308d8"),
    "observed": Stage(1, "coverage", "02065981420308d8"),
    "ledger": Stage(2, "scenes.ledger", "fb85b7b951cc96c5"),
    "labels": Stage(2, "labels", "c5df51397b9b176e"),
    "chips": Stage(2, "chips", "5fe0d50788b7c272"),
    "train": Stage(4, "learning.train", "dc303ca1fa39f99e"),
    "adopt": Stage(1, "adopt", "08ba98e216ffefd3"),
    "validate": Stage(5, "validate.build", "a2b20969f0531a7a"),
    "crossvalidate": Stage(2, "crossvalidate", "48428d76d0cdcdb0"),
    "predict": Stage(2, "predict", "3c133a3897af09d1"),
    "polygonize": Stage(4, "polygonize", "9cf39e119dc431b7"),
    "candidates": Stage(10, "candidates", "7a1dff1819c25d02"),
    "audit": Stage(1, "audit", "ac1374eaa87fa571"),
    "evidence": Stage(5, "evidence.build", "07db058fe0df27ec"),
    "verify": Stage(1, "review.verify", "4b9aff46e3a7c1df"),
    "inventory": Stage(8, "inventory.build", "d1424827fe2194eb"),
    "completeness": Stage(3, "completeness", "5d0e053329eefb6a"),
    "attributes": Stage(6, "inventory.attributes", "666ea3c272154f48"),
    "export": Stage(8, "export.build", "4e885c35b7bfb5af"),
    "report": Stage(17, "report.build", "9002d700537bd365"),
    "quantise": Stage(1, "quantise", "f6056227df5645ad"),
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
