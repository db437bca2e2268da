"""Commands of a review: people decide, and sign off a round."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from rts_pipeline.commands.common import DEFAULT_CONFIG, Code, ConfigFile, Options, Out, Round, stage_options
from rts_pipeline.config import load_config
from rts_pipeline.errors import RefusedError, UsageError
from rts_pipeline.options import VerifyOptions
from rts_pipeline.review.events import Role

SHOWN = 10
"""Candidates of one kind that `status` names."""

review = typer.Typer(help="Judge a round's candidates and sign it off.", no_args_is_help=True)

Reviewer = Annotated[str, typer.Option(help="Who judges; recorded with every verdict.")]
InRole = Annotated[Role, typer.Option("--role", help="In which role; recorded with every verdict.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(review, name="review")


def now() -> str:
    """Return the time in UTC, as ISO 8601 to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _opened(reviews: str, round: str | None) -> str:
    """Return the round that is named, or else the one that is open."""
    from rts_pipeline.review.rounds import open_draft

    name = round or open_draft(Path(reviews))
    if name is None:
        raise RefusedError(reviews, "no review is open", do="run 'rts-pipeline review start ROUND' first")
    return name


def _import_command(round: str, file: Path | str, reviewer: str | None = None, role: Role = "primary") -> str:
    """Return the command as a shell takes it: names and paths may have spaces."""
    who = [] if reviewer is None else ["--reviewer", reviewer]
    said = [] if role == "primary" else ["--role", role]
    return shlex.join(["rts-pipeline", "review", "import", round, str(file), *who, *said])


@review.command()
def start(round: Round, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Open the review of a round: from now on its candidates are frozen.

    Example: rts-pipeline review start 01
    """
    from rts_pipeline.review import start
    from rts_pipeline.review.readings import Draw
    from rts_pipeline.review.rounds import round_folder
    from rts_pipeline.review.windows import window_ids

    settings = load_config(config)
    policy = settings.review
    draw = Draw(policy.second_share, policy.second_seed, policy.second_margin, settings.polygonize.threshold)
    draft = start.start(
        Path(settings.reviews),
        Path(settings.results),
        round,
        at=now(),
        guideline_version=policy.guideline_version,
        second=draw if draw.share else None,
        audit=settings.audit.windows > 0,
    )
    windows = len(window_ids(round_folder(Path(settings.reviews), round)))
    what = f"{draft.n_candidates} candidates to judge" + (f" and {windows} windows to look through" if windows else "")
    typer.echo(f"Round {round}: {what}; chips in {settings.results}/rounds/{round}/evidence")


@review.command()
def export(round: Round, reviewer: Reviewer, out: Out, role: InRole = "primary", config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Write what a reviewer has to judge as a GeoPackage for QGIS, or as .jsonl the own events for another machine.

    A GeoPackage that is there is never written over: it may hold verdicts.

    Example: rts-pipeline review export 01 --reviewer ada --out ada.gpkg
    """
    from rts_pipeline.review.exchange import export_events, export_gpkg

    reviews = Path(load_config(config).reviews)
    if out.suffix == ".jsonl":
        count = export_events(reviews, round, reviewer, out)
        typer.echo(f"{out}: {count} events by {reviewer}; elsewhere: {_import_command(round, out.name)}")
    elif out.suffix == ".gpkg":
        export_gpkg(reviews, round, reviewer, out, role=role)
        then = _import_command(round, out, reviewer, role)
        typer.echo(f"{out}: fill decision (accept, reject, edit, unsure), then {then}")
    else:
        raise UsageError(out, "not a kind of file that is written", expected=".gpkg or .jsonl")


@review.command()
def package(
    reviewer: Reviewer,
    out: Annotated[Path, typer.Option(help="New folder to write.")],
    round: Annotated[str | None, typer.Option(help="Round: 01, 02, ...; default: the open one.")] = None,
    role: InRole = "primary",
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Write a folder for QGIS on a machine without the project: what a reviewer has to judge, and the ground in each year.

    Example: rts-pipeline review package --round 01 --reviewer ada --out ada_round_01
    """
    from rts_pipeline.review.package import VERDICTS, write_package
    from rts_pipeline.workflow import resolve_grid

    settings = resolve_grid(load_config(config))
    name = _opened(settings.reviews, round)
    packed = write_package(settings, name, reviewer, out, role=role)
    years = f"years {', '.join(map(str, packed.years))}" if packed.years else "no pictures: the evidence isn't there"
    judged = f"{packed.candidates} candidates" + (f", {packed.windows} windows" if packed.windows else "")
    typer.echo(
        f"{out}: {judged}, {years}, {packed.cells} cells of the mosaic, {packed.size / 1e6:.1f} MB; "
        f"then {_import_command(name, out / VERDICTS, reviewer, role)}"
    )


@review.command("import")
def import_(
    round: Round,
    file: Annotated[Path, typer.Argument(help="Verdicts as .gpkg, .geojson, .shp or .csv, or events as .jsonl.")],
    reviewer: Annotated[str | None, typer.Option(help="Who judged; a .jsonl says it itself.")] = None,
    role: InRole = "primary",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the file.")] = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Take a reviewer's verdicts from a file: all rows or none; what is recorded already is left out.

    Example: rts-pipeline review import 01 ada.gpkg --reviewer ada --dry-run
    """
    from rts_pipeline.review.exchange import import_events, import_verdicts

    reviews, ending = Path(load_config(config).reviews), " (dry run: nothing written)" if dry_run else ""
    if file.suffix == ".jsonl":
        new, known = import_events(reviews, round, file, reviewer=reviewer, dry_run=dry_run)
        typer.echo(f"{file}: {new} new events, {known} known before{ending}")
        return
    if reviewer is None:
        raise UsageError("--reviewer", "missing", expected="who judged")
    result = import_verdicts(reviews, round, reviewer, file, at=now(), role=role, dry_run=dry_run)
    gone = f"{result.taken_back} added slumps taken back, " if result.taken_back else ""
    typer.echo(
        f"{file}: {result.decided} new verdicts, {result.missed} added slumps, {gone}{result.unchanged} known before, "
        f"{result.undecided} undecided{ending}"
    )


@review.command()
def serve(
    reviewer: Reviewer,
    round: Annotated[str | None, typer.Option(help="Round: 01, 02, ...; default: the open one.")] = None,
    role: Annotated[Role, typer.Option(help="In which role; recorded with every verdict.")] = "primary",
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port on this machine; default: a free one.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Judge the candidates in a browser on this machine, or through an SSH tunnel.

    Example: rts-pipeline review serve --round 01 --reviewer ada
    """
    from rts_pipeline.review import server

    settings = load_config(config)
    server.serve(settings, _opened(settings.reviews, round), reviewer, role=role, port=port, tell=typer.echo)


@review.command()
def simulate(
    round: Round,
    truth: Annotated[Path, typer.Option(help="Outlines that are right.")],
    reviewer: Reviewer = "simulated",
    role: InRole = "primary",
    seed: Annotated[int, typer.Option(help="Seed of the errors.")] = 0,
    miss_rate: Annotated[float, typer.Option(min=0, max=1, help="Share of slumps wrongly rejected.")] = 0.02,
    false_accept_rate: Annotated[float, typer.Option(min=0, max=1, help="Share of others wrongly accepted.")] = 0.02,
    redraw_rate: Annotated[float, typer.Option(min=0, max=1, help="Share of poor outlines that are redrawn.")] = 0.0,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Let a scripted reviewer judge, who knows the truth and errs at the given rates.

    Example: rts-pipeline review simulate 01 --truth results/demo/corridor/truth.gpkg
    """
    from rts_pipeline.review.simulated import simulate_review

    settings = load_config(config)
    counts = simulate_review(
        Path(settings.reviews),
        round,
        truth,
        reviewer=reviewer,
        role=role,
        seed=seed,
        miss_rate=miss_rate,
        false_accept_rate=false_accept_rate,
        redraw_rate=redraw_rate,
        target_year=settings.time.target_year,
        at=now(),
    )
    typer.echo(f"Round {round}: " + ", ".join(f"{count} {decision}" for decision, count in counts.items()))


@review.command()
def status(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Show for each round who judged how many, what is open, and what is signed off.

    Example: rts-pipeline review status
    """
    from rich.console import Console
    from rich.table import Table

    from rts_pipeline.review.status import status

    settings = load_config(config)
    table = Table("round", "state", "candidates", "not judged", "forks", "disagree", "2nd due", "added", "new", padding=(0, 0))
    people = Table("round", "reviewer", "role", "judged", "left")
    rows = status(Path(settings.reviews), Path(settings.results))
    for row in rows:
        conflicts = (len(row.forks), len(row.disagreements), len(row.once))
        new = "" if row.n_new is None else row.n_new
        judged = f"{row.n_candidates} + {row.n_windows} windows" if row.n_windows else row.n_candidates
        columns = (row.round, row.state, judged, row.undecided, *conflicts, row.n_missed, new)
        table.add_row(*(str(value) for value in columns))
        for (reviewer, role), count in row.decided.items():
            people.add_row(row.round, reviewer, role, str(count), str(row.left.get((reviewer, role), "")))
    console = Console()
    if not rows:
        console.print("No round has candidates to judge yet: 'rts-pipeline status' tells what comes next", soft_wrap=True)
        return
    console.print(table)
    if people.row_count:
        console.print(people)
    for row in rows:
        if row.state == "open":
            for what, names in (
                ("forks (two decisions of one person)", [f"{candidate} ({reviewer})" for candidate, reviewer in row.forks]),
                ("disagreements", row.disagreements),
                ("read once, to be read twice", row.once),
            ):
                if names:
                    shown = ", ".join(names[:SHOWN]) + (f", ... ({len(names)})" if len(names) > SHOWN else "")
                    console.print(f"Round {row.round}, {what}: {shown}", soft_wrap=True, highlight=False)
        if row.state == "ready" or row.done:
            step, state = ("start", "is ready") if row.state == "ready" else ("finish", "has nothing left to judge")
            console.print(f"Round {row.round} {state}: rts-pipeline review {step} {row.round}", soft_wrap=True, highlight=False)


@review.command()
def agreement(
    round: Round,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Show how far the reviewers of a round agree on what two of them judged, with 95 % intervals.

    Example: rts-pipeline review agreement 01 --json
    """
    import json

    from rts_pipeline.review.agreement import agreement, lines

    found = agreement(Path(load_config(config).reviews), round)
    typer.echo(json.dumps(found, indent=2) if as_json else "\n".join(lines(found)))


@review.command()
def finish(round: Round, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Sign a round off; refuses while candidates are undecided or reviewers disagree.

    Example: rts-pipeline review finish 01
    """
    from rts_pipeline.review.finish import finish
    from rts_pipeline.workflow import resolve_grid

    settings = resolve_grid(load_config(config))
    signoff = finish(Path(settings.reviews), round, policy=settings.review, grid=settings.grid.grid(), at=now())
    found = f"{signoff.n_new} new slumps, {signoff.n_changed} known ones with another outline"
    waiting = f"; {signoff.n_cut} outlines wait for a later round" if signoff.n_cut else ""
    unseen = f"; nobody looked at {signoff.n_unseen} candidates: no end before they are judged" if signoff.n_unseen else ""
    typer.echo(f"Round {round} signed off: {signoff.n_candidates} candidates, {found}{waiting}{unseen}")


@review.command()
def verify(
    round: Round,
    reviews: Annotated[Path, typer.Option(help="The reviews folder.")],
    results: Annotated[Path, typer.Option(help="The results folder.")],
    out: Out,
    config: ConfigFile = DEFAULT_CONFIG,
    options: Options = None,
    code: Code = None,
) -> None:
    """Compare a round's rebuilt candidates with those that were reviewed.

    Example: rts-pipeline review verify 01 --reviews reviews --results results --out verified.json
    """
    stage_options("verify", VerifyOptions, options, config, code)
    from rts_pipeline.review.verify import write_verified

    write_verified(reviews, results, round, out)


@review.command()
def consensus(
    files: Annotated[list[Path], typer.Argument(help="Outlines, a vector file for each reviewer (its name) or --column.")],
    out: Annotated[Path, typer.Option(help="GeoPackage to write; statistics, table and picture lie beside it.")],
    column: Annotated[str | None, typer.Option(help="Column that names who drew each outline.")] = None,
    looked: Annotated[
        Path | None,
        typer.Option(help="Areas that were looked at: by whom, in the column of --column or 'reviewer', else by all."),
    ] = None,
    min_area: Annotated[float, typer.Option(min=0, help="Smallest outline, m2; smaller ones are left out and named.")] = 100.0,
) -> None:
    """Derive slumps, possibility and certain outlines from what several people drew freely, and how far they agree.

    Example: rts-pipeline review consensus ada.gpkg ben.shp eve.geojson --looked aoi.gpkg --out consensus.gpkg
    """
    from rich.console import Console

    from rts_pipeline.review.consensus import table
    from rts_pipeline.review.consensus.build import consensus as derived

    found = derived(files, out, column=column, looked=looked, min_area_m2=min_area)
    for view in table.tables(found.layers.consensus, found.statistics):
        Console().print(view)
    for row in found.statistics["left_out"]:
        typer.echo("Left out: {reviewer}, feature {feature} ({area_m2:g} m2)".format(**row))
    typer.echo(f"{table.summary(found.statistics)}; {out}, and .json, .md and .png beside it")
