"""The whole loop with a scripted reviewer, through the same commands that people type."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time
from pathlib import Path

from rts_pipeline.config import load_config
from rts_pipeline.errors import PipelineError, RefusedError
from rts_pipeline.machine import with_programs
from rts_pipeline.review.rounds import round_names
from rts_pipeline.review.store import read_round
from rts_pipeline.workflow import Rounds, read_rounds


def demo(*, small: bool, cores: int) -> None:
    """Simulate a corridor below results/ and rehearse on it.

    Raises:
        RefusedError: the folder holds verdicts of people.
        InputError: a record in it is damaged, so that nobody knows whose it is.
        CommandFailedError: a command failed.
    """
    name = "demo_small" if small else "demo"
    folder = Path("results") / name
    start = time.monotonic()
    if folder.exists():
        _check_nobodys(folder)
        shutil.rmtree(folder)
    corridor = str(folder / "corridor")
    size = ["--width-km", "6", "--height-km", "6", "--slumps", "40"] if small else []
    _run(["rts-pipeline", "simulate", corridor, "--seed", "1", *size])
    rehearse(Path(f"config/{name}.yaml"), folder / "corridor" / "truth.gpkg", cores=cores, max_rounds=6, start=start)


def _check_nobodys(folder: Path) -> None:
    """Refuse to remove verdicts that a person gave."""
    reviews = folder / "reviews"
    rounds = set(round_names(reviews, "*"))  # also one whose review was to be started again
    events = [event for round in rounds for event in read_round(reviews, round)]
    people = sorted({event.reviewer for event in events if event.source != "simulated"})
    if people:
        raise RefusedError(
            reviews, f"holds verdicts of {', '.join(people)}", do=f"move or remove {folder}: the demo starts anew there"
        )


def rehearse(config: Path, truth: Path, *, cores: int, max_rounds: int, start: float | None = None) -> None:
    """Run rounds until one brings no new slump (or `max_rounds` are signed off), then score.

    Args:
        config: the project's configuration.
        truth: outlines that are right, for the scripted reviewer and the scores.
        cores: cores for snakemake.
        max_rounds: rounds after which to end.
        start: monotonic time at which the clock of the whole run started.
    """
    start = time.monotonic() if start is None else start
    settings = load_config(config)
    snakemake = ["snakemake", "--cores", str(cores), "--configfile", str(config), "--quiet", "rules"]
    while not _ended(rounds := read_rounds(settings), max_rounds):
        k, at = str(rounds.open), ["--config", str(config)]
        if rounds.draft is None:
            _run(snakemake)
            _run(["rts-pipeline", "review", "start", k, *at])
        _run(["rts-pipeline", "review", "simulate", k, "--truth", str(truth), *at])
        _run(["rts-pipeline", "review", "finish", k, *at])
    if rounds.open is None:
        _run(snakemake)
    else:
        print(f"Not converged after {len(rounds.signed)} rounds: what follows is the inventory so far")
        _run(["snakemake", "preliminary", *snakemake[1:]])
    scores = str(Path(settings.results, "scores.json"))
    seconds = f"{time.monotonic() - start:.1f}"
    _run(["rts-pipeline", "score", "--truth", str(truth), "--config", str(config), "--seconds", seconds, "--out", scores])
    print(f"Inventory: {settings.results}/inventory   report: {settings.results}/report/report.html   scores: {scores}")


def _ended(rounds: Rounds, max_rounds: int) -> bool:
    return rounds.open is None or len(rounds.signed) >= max_rounds


def _run(command: list[str]) -> None:
    """Print and run a command.

    Raises:
        CommandFailedError: it failed; its own message has been shown.
    """
    print(f"\n$ {shlex.join(command)}", flush=True)
    # the programs of this environment, whether or not it is activated
    code = subprocess.run(command, env=with_programs(), check=False).returncode
    if code != 0:
        raise CommandFailedError(shlex.join(command), code)


class CommandFailedError(PipelineError):
    """A command of the rehearsal failed; ends with the same exit code."""

    def __init__(self, command: str, code: int) -> None:
        """Take the command and its exit code."""
        super().__init__(command, f"ended with exit code {code}", do="see its message above")
        self.exit_code = code
