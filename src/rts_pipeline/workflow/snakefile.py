"""What the Snakefile calls; a user's mistake ends its process with one line and the exit code of the mistake."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from rts_pipeline.config import validate_config
from rts_pipeline.errors import PipelineError, environment_error
from rts_pipeline.leftovers import check_writable, tidy
from rts_pipeline.review.same_grid import check_grid
from rts_pipeline.slurm import wait_for_controller
from rts_pipeline.workflow.frozen import FROZEN, freeze, thaw, variable_of
from rts_pipeline.workflow.project import Project, resolve_grid
from rts_pipeline.workflow.rounds import read_rounds


def load_project(values: Mapping[str, Any], source: str, *, main_process: bool) -> Project:
    """Make the project at the parse of the Snakefile.

    The main process validates the configuration and freezes it, with the state of the rounds, in the environment; jobs
    that parse the Snakefile again take that. A user's mistake ends the process with one line and its exit code.
    """
    try:
        own = variable_of(values)
        if not main_process and (frozen := os.environ.get(own, os.environ.get(FROZEN))):
            return thaw(frozen, source)
        config = validate_config(dict(values), source)
        config = resolve_grid(config, Path(config.results, "scenes", ".crs.json"))
        rounds = read_rounds(config)
        check_grid(Path(config.reviews), rounds.signed, config.grid.grid())
        os.environ[own] = os.environ[FROZEN] = freeze(config, rounds)
        wait_for_controller()
        project = Project(config, rounds, source)
        # every mistake that can be known now is told now, before any job runs
        project.labelled_cells()
        project.check_files()
        _ = project.listing, project.checksums
        # here and not when jobs begin: where nothing seems to be stale, and in a module, Snakemake calls no onstart
        tidy(Path(config.results))
        return project
    except PipelineError as error:
        stop(error)
    except OSError as error:
        stop(_told(error))


def tell_state(project: Project) -> None:
    """Say on stderr where the project stands; end the process with one line where its results are broken."""
    try:
        print(f"rts-pipeline: {project.state_line()}", file=sys.stderr)
    except PipelineError as error:
        stop(error)


def begin(results: Path) -> None:
    """Prepare for jobs that write into a results folder; end the process with one line where that can't be done."""
    try:
        check_writable(results)
    except OSError as error:
        stop(_told(error))


def stop(error: PipelineError) -> NoReturn:
    """Tell the error in one line on stderr and end with its exit code."""
    print(f"rts-pipeline: {error}", file=sys.stderr, flush=True)
    sys.exit(error.exit_code)


def _told(error: OSError) -> PipelineError:
    told = environment_error(error)
    if told is None:
        raise error
    return told
