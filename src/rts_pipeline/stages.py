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
    "scenes": Stage(3, "scenes.measure", "a0cdd76fdb31c868"),
    "catalog": Stage(4, "scenes.catalog", "67bb8fb639c6e2f7"),
    "overlaps": Stage(1, "scenes.overlaps", "2cdc00bbded84d48"),
    "adjust": Stage(1, "scenes.adjust", "caeb7f696674bb91"),
    "mosaic": Stage(2, "mosaic", "fb343c0bd8bfad9c"),
    "coverage": Stage(1, "coverage", "bd12ccfe0d2156ca"),
    "observed": Stage(1, "coverage", "bd12ccfe0d2156ca"),
    "ledger": Stage(3, "scenes.ledger", "ee0fb8793ca5c64b"),
    "labels": Stage(3, "labels", "8e944f4d00ecf023"),
    "chips": Stage(2, "chips", "1b6b1ba2050ac203"),
    "train": Stage(5, "learning.train", "fd9d2733628f3908"),
    "adopt": Stage(1, "adopt", "a874a99ef52433af"),
    "validate": Stage(6, "validate.build", "cb7e6cb2cb95633e"),
    "crossvalidate": Stage(3, "crossvalidate", "4fd86f53ef9f9e83"),
    "predict": Stage(2, "predict", "78137249cf4fc42b"),
    "polygonize": Stage(4, "polygonize", "d3bfe396ba2e5214"),
    "candidates": Stage(11, "candidates", "9dec51b7aa94753e"),
    "audit": Stage(1, "audit", "0808f4e2322f5ec6"),
    "evidence": Stage(7, "evidence.build", "f3cf15a93fba8a28"),
    "verify": Stage(1, "review.verify", "173c6e5de1e14fc2"),
    "inventory": Stage(10, "inventory.build", "2bb3d3753ad2b5be"),
    "completeness": Stage(4, "completeness", "e7cd809f7291dd26"),
    "attributes": Stage(7, "inventory.attributes", "0f3ba5e5740140ae"),
    "export": Stage(11, "export.build", "eaa8a00d30769012"),
    "report": Stage(20, "report.build", "47e02763f0bf976f"),
    "quantise": Stage(1, "quantise", "fbc6d6a87ef47d5a"),
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
