"""Commands about a whole project: configuration, state, simulated data, rehearsal and scores."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from rts_pipeline.commands.common import DEFAULT_CONFIG, ConfigFile, placed
from rts_pipeline.config import load_config

Cores = Annotated[int, typer.Option(min=1, help="Cores for snakemake.")]
Truth = Annotated[Path, typer.Option(help="Outlines that are right (truth_id, seed, year, geometry).")]

CORES = os.cpu_count() or 1


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (status, verify, config, simulate, rehearse, demo, score):
        app.command()(command)


def status(
    config: ConfigFile = DEFAULT_CONFIG,
    snakefile: Annotated[Path, typer.Option(help="The workflow, for what the next run would do.")] = Path("Snakefile"),
) -> None:
    """Tell where the project stands, whom it waits for, and what the next run would do and why.

    Example: rts-pipeline status
    """
    from rts_pipeline.review.status import status
    from rts_pipeline.standing import due
    from rts_pipeline.workflow import Project, read_rounds

    settings = load_config(config)
    typer.echo(Project(settings, read_rounds(settings), str(config)).state_line())
    for row in status(Path(settings.reviews), Path(settings.results)):
        typer.echo(f"  {row.round}  {row.line()}")
    if not snakefile.exists():
        typer.echo(f"What the next run would do: unknown, there is no {snakefile} here.")
        return
    plan = due(snakefile, config)
    jobs = ", ".join(f"{rule} {number}" for rule, number in plan.jobs.items())
    typer.echo(f"The next run of snakemake: {sum(plan.jobs.values())} jobs" + (f": {jobs}" if jobs else ", nothing to do"))
    for reason in plan.reasons:
        typer.echo(f"  {reason}")


def verify(results: Annotated[Path, typer.Argument(help="The results folder.")]) -> None:
    """Check results against the records of what made them; name each file that was changed, is missing, or is out of date.

    Exit code 3: a file was changed or is missing; 4: all are whole, but some were made by another version or from other files.

    Example: rts-pipeline verify results
    """
    from rts_pipeline.records import find_records
    from rts_pipeline.records import verify as compare

    records, damaged, outdated = find_records(results), 0, 0
    for finding in compare(results, records):
        damaged, outdated = damaged + finding.damaged, outdated + (not finding.damaged)
        typer.echo(f"{finding.path}: {finding.problem}")
    said = f"{damaged} results changed or missing, {outdated} from other versions or files, or without a record"
    typer.echo(f"{len(records)} jobs: {said}")
    if damaged or outdated:
        raise typer.Exit(3 if damaged else 4)


def config(reference: Annotated[bool, typer.Option("--reference", help="Print a table of all keys.")] = False) -> None:
    """Print the documented default configuration, or the reference of all keys.

    Example: rts-pipeline config > config/my_region.yaml
    """
    from rts_pipeline import config_file

    typer.echo(config_file.reference() if reference else config_file.documented_default(), nl=False)


def simulate(
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed: the same seed gives the same bytes.")] = 0,
    width_km: Annotated[float, typer.Option(help="Extent from west to east.")] = 12.0,
    height_km: Annotated[float, typer.Option(help="Extent from north to south.")] = 12.0,
    slumps: Annotated[int, typer.Option(min=1, help="Number of slumps in 2019.")] = 120,
) -> None:
    """Make a corridor with known truth: PlanetScope items of 2016-2020, DEM, roads, seeds.

    Example: rts-pipeline simulate results/demo/corridor --seed 1
    """
    from rts_pipeline.simulate.corridor import simulate
    from rts_pipeline.simulate.options import CorridorOptions

    simulate(out, placed("simulate", CorridorOptions, seed=seed, width_km=width_km, height_km=height_km, n_slumps=slumps))


def rehearse(
    truth: Truth,
    config: ConfigFile = DEFAULT_CONFIG,
    cores: Cores = CORES,
    max_rounds: Annotated[int, typer.Option(min=1, help="End after so many rounds even without convergence.")] = 10,
) -> None:
    """Run round after round with the scripted reviewer until a round brings no new slump, then score the inventory.

    Example: rts-pipeline rehearse --config config/real_case.yaml --truth $RTS_CASE/truth.gpkg --max-rounds 2
    """
    from rts_pipeline.simulate.rehearsal import rehearse

    rehearse(config, truth, cores=cores, max_rounds=max_rounds)


def demo(
    small: Annotated[bool, typer.Option("--small", help="A smaller corridor: shorter, with coarser results.")] = False,
    cores: Cores = CORES,
) -> None:
    """Simulate a corridor and map it from the delivered images to the reviewed inventory; every command is printed.

    Starts anew: removes results/demo (or results/demo_small) first, but not where a person gave verdicts.

    Example: rts-pipeline demo
    """
    from rts_pipeline.simulate.rehearsal import demo

    demo(small=small, cores=cores)


def score(
    truth: Truth,
    out: Annotated[Path, typer.Option(help="scores.json to write.")],
    config: ConfigFile = DEFAULT_CONFIG,
    seconds: Annotated[float | None, typer.Option(help="Duration of the whole run, to be recorded.")] = None,
) -> None:
    """Score the inventory and each round's model against known truth, outside the seeds.

    Example: rts-pipeline score --truth results/demo/corridor/truth.gpkg --out scores.json
    """
    from rich.console import Console

    from rts_pipeline.io.json import write_json
    from rts_pipeline.score import score, table
    from rts_pipeline.workflow import resolve_grid

    settings = resolve_grid(load_config(config))
    scores = score(
        Path(settings.results),
        Path(settings.reviews),
        truth,
        target_year=settings.time.target_year,
        grid=settings.grid.grid(),
        seconds=seconds,
    )
    write_json(out, scores)
    Console().print(table(scores))
