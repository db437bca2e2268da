"""Options that all stages share."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import ValidationError

from rts_pipeline.config import Section, first_problem, load_config
from rts_pipeline.errors import UsageError
from rts_pipeline.options import options_json, parse_options
from rts_pipeline.records import Job
from rts_pipeline.stages import check_code

S = TypeVar("S", bound=Section)
job: ContextVar[Job | None] = ContextVar("job", default=None)
"""The stage that this process runs, once its options are known."""

DEFAULT_CONFIG = Path("config/config.yaml")

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The project's configuration file.", envvar="RTS_CONFIG")]
Options = Annotated[
    str | None,
    typer.Option(help="The stage's configuration sections as JSON (given by the workflow); default: those of --config."),
]
Code = Annotated[str | None, typer.Option(help="Stage version that the workflow was planned with.")]
Block = Annotated[str, typer.Argument(help="Name of the block, such as b_e0015_n0125.")]
Out = Annotated[Path, typer.Option(help="File or folder to write.")]
Seeds = Annotated[Path | None, typer.Option("--seeds", help="Outlines of the slumps known at the start, if any are.")]
Reviewed = Annotated[list[Path] | None, typer.Argument(help="reviewed.parquet of the finished rounds.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, or cuda:1 for a certain GPU.")]
Batch = Annotated[int, typer.Option(help="Windows at a time on a GPU; halved when its memory is short.")]
Round = Annotated[str, typer.Argument(help="Round: 01, 02, ...", metavar="ROUND")]


def stage_options(stage: str, kind: type[S], options: str | None, config: Path, code: str | None) -> S:
    """Return a stage's options, from `--options` or else from the configuration file, after checking `--code`.

    When the command succeeds, `write_record` says beside its results what made them.
    """
    from rts_pipeline.workflow import resolve_grid

    check_code(stage, code)
    text = options if options is not None else options_json(resolve_grid(load_config(config)), kind)
    parsed = parse_options(kind, text)
    job.set(Job(stage, text, sys.argv[1:]))
    return parsed


def write_record(*_: object, **__: object) -> None:
    """Write down what made the results, after the command of a stage."""
    if (done := job.get()) is not None:
        done.record()


def record_item(folder: Path, inputs: Iterable[Path]) -> None:
    """Write down what made the results in an item's folder: see `Job.record_item`."""
    if (done := job.get()) is not None:
        done.record_item(folder, inputs)


def placed(section: str, kind: type[S], **values: str | float) -> S:
    """Return what is given as options of the command, such as where a stage runs, as the `section` that it belongs to.

    Raises:
        UsageError: an unknown device, or a number that is too small.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UsageError(section, first_problem(error)) from None
