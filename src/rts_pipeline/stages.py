"""The versions of the stages: what makes Snakemake rebuild results when our own code changed.

Snakemake can't see the code behind a command, so every rule passes its stage's version as a parameter and the command
refuses another one. A test recomputes the digest of each stage's sources (comments and docstrings don't count): after a
change either bump `version` (results may differ) or only refresh the digest (`python -m rts_pipeline.stages`).
"""

from __future__ import annotations

import ast
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from rts_pipeline.errors import RefusedError

PACKAGE = Path(__file__).parent
COMMON = ("io.py", "grid.py")


@dataclass(frozen=True)
class Stage:
    """A stage's version, the sources it depends on (globs below the package) and their digest."""

    version: int
    sources: tuple[str, ...]
    digest: str


STAGES = {
    "scenes": Stage(1, ("scenes/*.py",), ""),
    "catalog": Stage(1, ("scenes/*.py",), ""),
    "mosaic": Stage(1, ("mosaic.py",), ""),
    "labels": Stage(1, ("labels.py",), ""),
    "chips": Stage(1, ("chips.py",), ""),
    "train": Stage(1, ("learning/*.py", "metrics.py"), ""),
    "predict": Stage(1, ("predict.py",), ""),
    "polygonize": Stage(1, ("polygonize.py",), ""),
    "candidates": Stage(1, ("candidates.py",), ""),
    "evidence": Stage(1, ("evidence.py",), ""),
    "inventory": Stage(1, ("inventory/*.py",), ""),
    "attributes": Stage(1, ("inventory/*.py",), ""),
    "export": Stage(1, ("inventory/*.py",), ""),
    "report": Stage(1, ("report/*.py", "report/*.html"), ""),
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


def digest(stage: str) -> str:
    """Return the digest of a stage's sources, without comments and docstrings."""
    total = hashlib.sha256()
    patterns = (*COMMON, *STAGES[stage].sources)
    for path in sorted({path for pattern in patterns for path in PACKAGE.glob(pattern)}):
        text = path.read_text(encoding="utf-8")
        total.update(_meaning(text).encode() if path.suffix == ".py" else text.encode())
    return total.hexdigest()[:16]


def _meaning(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
            node.body = node.body[1:]
    return ast.dump(tree)


def _refresh() -> None:
    """Write the present digests into this file."""
    text = Path(__file__).read_text(encoding="utf-8")
    for stage in STAGES:
        pattern = rf'("{stage}": Stage\(\d+, \(.*\), )"[0-9a-f]*"\)'
        text = re.sub(pattern, rf'\1"{digest(stage)}")', text)
    Path(__file__).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    _refresh()
