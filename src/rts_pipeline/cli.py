"""The program `rts-pipeline`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import typer

from rts_pipeline import __version__
from rts_pipeline.commands import candidates, inventory, learning, project, review, scenes
from rts_pipeline.commands.common import write_record
from rts_pipeline.errors import PipelineError, environment_error

app = typer.Typer(
    name="rts-pipeline",
    help="From PlanetScope items to a complete, reviewed inventory of retrogressive thaw slumps.\n\n"
    "The workflow (snakemake --cores N) calls the stages; people call review, status and score.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    result_callback=write_record,
)
for group in (project, scenes, learning, candidates, review, inventory):
    group.register(app)


@app.callback(invoke_without_command=True)
def _program(version: bool = typer.Option(False, "--version", help="Print the version and end.", is_eager=True)) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def with_files(arguments: Sequence[str]) -> list[str]:
    """Put the lines of the file in the place of an argument `@file`, since a command line is too short for many paths.

    Empty lines don't count. What begins with @ and names no file stays as it is.
    """
    expanded: list[str] = []
    for argument in arguments:
        path = Path(argument[1:])
        if argument.startswith("@") and path.exists() and not path.is_dir():
            expanded += [line for line in path.read_text(encoding="utf-8", errors="surrogateescape").split("\n") if line]
        else:
            expanded.append(argument)
    return expanded


def main() -> None:
    """Run the program; a user's mistake is told in one line and gives its own exit code."""
    # in its place, since the record of what made a result names the files of the command line
    sys.argv[1:] = with_files(sys.argv[1:])
    # rasterio says so by chance of arrays that threads lay onto each other, with their place given and a right result
    warnings.filterwarnings("ignore", "Dataset has no geotransform", module=r"rasterio\.(warp|features)")
    try:
        app()
    except PipelineError as error:
        print(f"rts-pipeline: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        told = environment_error(error)
        if told is None:
            raise
        print(f"rts-pipeline: {told}", file=sys.stderr)
        sys.exit(told.exit_code)


if __name__ == "__main__":
    main()
