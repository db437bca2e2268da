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
    "scenes": Stage(3, "scenes.measure", "e240484dff58f5d9"),
    "catalog": Stage(5, "scenes.catalog", "0f7ad7c457c52018"),
    "overlaps": Stage(1, "scenes.overlaps", "6d84e514dc772351"),
    "adjust": Stage(1, "scenes.adjust", "eaee862e6b58a93c"),
    "mosaic": Stage(3, "mosaic", "321dd001a95e24e5"),
    "coverage": Stage(1, "coverage", "e3ed0b4a4b5af789"),
    "observed": Stage(1, "coverage", "e3ed0b4a4b5af789"),
    "ledger": Stage(3, "scenes.ledger", "c98c8aade3e88cba"),
    "labels": Stage(3, "labels", "e092ed8991230d62"),
    "chips": Stage(2, "chips", "5e8aa44475cc8ad1"),
    "train": Stage(5, "learning.train", "24336f0f1c4a8811"),
    "adopt": Stage(1, "adopt", "ec9067b31bae6832"),
    "validate": Stage(6, "validate.build", "1875193f85570b7d"),
    "crossvalidate": Stage(3, "crossvalidate", "91c016b342c5d19d"),
    "predict": Stage(2, "predict", "992d214cd5e208eb"),
    "polygonize": Stage(4, "polygonize", "e02f0d9d3bf59e66"),
    "candidates": Stage(12, "candidates", "e809727052578555"),
    "audit": Stage(1, "audit", "457fbbba6f5bf45f"),
    "evidence": Stage(8, "evidence.build", "9bc1b1d07730f0e3"),
    "verify": Stage(1, "review.verify", "549027edbd64d3e7"),
    "inventory": Stage(11, "inventory.build", "7a163ac38a6713a5"),
    "completeness": Stage(5, "completeness", "ef7fa85d15783335"),
    "attributes": Stage(8, "inventory.attributes", "5b55fa30aec49141"),
    "export": Stage(12, "export.build", "2aee107fcb698926"),
    "report": Stage(21, "report.build", "665a8b4464379a95"),
    "quantise": Stage(1, "quantise", "af676bb3ba6f1660"),
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
