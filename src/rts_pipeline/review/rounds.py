"""Rounds on disk: the draft that keeps a review open and the chain of sign-offs that closes the finished ones.

A folder `reviews/round_<k>` holds `candidates.parquet` (the copy that the reviewers judge), `candidates.json` (what was
outlined, and what of it was left for later), `model/` (the network that proposed them), `validation/` (how well it did),
`evidence/` (the tables of what the years say of each candidate; no picture),
`second_readings.json` (what was drawn to be judged twice), `audit.parquet` (the windows of an audit), `draft.json` while the
review is open, `events.sqlite` (the record) and its exchange files `<reviewer>.jsonl`, and after the sign-off
`reviewed.parquet`, `audited.parquet` (what became of the windows) and `signoff.json`.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Self

from rts_pipeline.errors import BusyError, InputError, RefusedError, UsageError
from rts_pipeline.io.files import sha256_file
from rts_pipeline.io.json import read_json, write_json
from rts_pipeline.review.windows import AUDIT, AUDITED, read_windows, window_ids

FOLDER = re.compile(r"^round_(\d{2,})$")
CANDIDATES, DRAFT, REVIEWED, SIGNOFF = "candidates.parquet", "draft.json", "reviewed.parquet", "signoff.json"
SUMMARY, CHOICE = "candidates.json", "validation/validation.json"
CHANGE, YEARS = "evidence/change.parquet", "evidence/evidence.parquet"
SECOND, LOCK = "second_readings.json", ".lock"
POSITIVE = ("accept", "edit", "missed")
"""Decisions that say: a slump."""

_KINDS = {
    **{"str": str, "int": int, "float": (int, float)},
    **{"str | None": (str, type(None)), "int | None": (int, type(None)), "float | None": (int, float, type(None))},
}


@dataclass(frozen=True)
class _Record:
    """A small JSON file whose keys are the fields of the class; those with a default came later and may be missing."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file.

        Raises:
            InputError: missing, not JSON, or with other keys or types.
        """
        values = read_json(path)
        fields = cls.__dataclass_fields__
        needed = {name for name, field in fields.items() if field.default is MISSING}
        if not isinstance(values, dict) or not needed <= set(values) <= set(fields):
            raise InputError(path, "keys differ", expected=", ".join(fields), do="restore the file from a backup")
        for name, field in ((name, fields[name]) for name in values):
            kind: Any = _KINDS.get(str(field.type), list)
            if not isinstance(values[name], kind):
                raise InputError(
                    path, f"{name} is {values[name]!r}", expected=str(field.type), do="restore the file from a backup"
                )
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})

    def write(self, path: Path) -> None:
        """Write the file, atomically; what is None by default and says nothing is left out."""
        fields = self.__dataclass_fields__
        said = {name: value for name, value in asdict(self).items() if value is not None or fields[name].default is not None}
        write_json(path, said)


@dataclass(frozen=True)
class Draft(_Record):
    """An open review: exists exactly while the reviewers' hands are on the round.

    Attributes:
        round: name of the round ("01").
        candidates_sha256: sha256 of the candidates under review.
        n_candidates: number of those candidates.
        started_at: when (UTC).
        guideline_version: of the reviewers' guideline.
        audit_sha256: sha256 of the frame of windows; None: the round isn't audited.
    """

    round: str
    candidates_sha256: str
    n_candidates: int
    started_at: str
    guideline_version: str
    audit_sha256: str | None = None


@dataclass(frozen=True)
class Signoff(_Record):
    """A finished review.

    Attributes:
        round: name of the round ("01").
        after: sha256 of the sign-off file of the round before; None in the first round.
        rows_sha256: sha256 of `reviewed.parquet`.
        candidates_sha256: sha256 of the candidates that were judged.
        n_candidates: number of those candidates.
        n_new: slumps that this round brought (accepted, edited or added) where none was known.
        cells: sorted names of the grid cells that a reviewed outline touches.
        at: when it was signed off (UTC).
        reviewers: sorted names.
        n_changed: known slumps that got another outline.
        n_cut: outlines that were left for a later round.
        n_unseen: candidates that nobody judged (review.allow_unreviewed).
        audited_sha256: sha256 of `audited.parquet`; None: the round wasn't audited.
        crs, pixel_m, cell_px: of the grid that `cells` names the cells of; None: it wasn't written down yet.
    """

    round: str
    after: str | None
    rows_sha256: str
    candidates_sha256: str
    n_candidates: int
    n_new: int
    cells: tuple[str, ...]
    at: str
    reviewers: tuple[str, ...]
    n_changed: int = 0
    n_cut: int = 0
    n_unseen: int = 0
    audited_sha256: str | None = None
    crs: str | None = None
    pixel_m: float | None = None
    cell_px: int | None = None


@dataclass(frozen=True)
class SecondReadings(_Record):
    """What is judged by two people beside all that a first one is unsure of; drawn when the review starts.

    Attributes:
        share: of the candidates that was drawn at random.
        seed: of the draw.
        threshold: mean probability that divides outlines from what is none.
        margin: candidates whose mean probability is no farther from it are judged twice too.
        random: sorted ids of the random sample, the one that speaks for all candidates.
        near: sorted ids of those near the threshold.
    """

    share: float
    seed: int
    threshold: float
    margin: float
    random: tuple[str, ...]
    near: tuple[str, ...]


def outline_counts(summary: Path) -> dict[str, int]:
    """Return how many outlines of each status a round's `SUMMARY` tells: "candidate" and "changed" are asked, "cut" wait.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        told = read_json(summary)["outlines"]
        return {status: int(told[status]) for status in ("candidate", "changed", "cut")}
    except (KeyError, TypeError):
        problem = "doesn't tell how many outlines there are of each status"
        raise InputError(summary, problem, expected="what `candidates` wrote", do="remove it and make it anew") from None


def round_name(number: int) -> str:
    """Return the name of a round: 1 -> "01"."""
    return f"{number:02d}"


def round_folder(reviews: Path, round: str) -> Path:
    """Return the folder of a round's review.

    Raises:
        UsageError: not the name of a round.
    """
    if not (round.isascii() and round.isdigit()) or round != round_name(int(round)) or int(round) == 0:
        raise UsageError(round, "not the name of a round", expected="01, 02, ...")
    return reviews / f"round_{round}"


def round_names(reviews: Path, file: str) -> list[str]:
    """Return the sorted names of the rounds whose folder holds `file`."""
    found = (FOLDER.match(path.parent.name) for path in reviews.glob(f"round_*/{file}"))
    return sorted((match[1] for match in found if match), key=int)


def read_signoffs(reviews: Path) -> list[Signoff]:
    """Read the sign-offs of all finished rounds, in order, and verify their chain.

    Raises:
        RefusedError: a gap in the rounds, a round signed off after another predecessor, or rows changed after the sign-off.
        InputError: a damaged sign-off file.
    """
    signoffs: list[Signoff] = []
    after = None
    for number, name in enumerate(round_names(reviews, SIGNOFF), 1):
        folder = reviews / f"round_{name}"
        if name != round_name(number):
            raise RefusedError(
                folder / SIGNOFF,
                f"round {name} is signed off, round {round_name(number)} is not",
                do=f"restore {reviews / f'round_{round_name(number)}'} from a backup, or remove the later sign-offs",
            )
        signoff = Signoff.read(folder / SIGNOFF)
        _verify_link(folder, name, signoff, after)
        signoffs.append(signoff)
        after = sha256_file(folder / SIGNOFF)
    return signoffs


def _verify_link(folder: Path, name: str, signoff: Signoff, after: str | None) -> None:
    path = folder / SIGNOFF
    if signoff.round != name:
        raise RefusedError(path, f"signs off round {signoff.round}", expected=f"round {name}", do="restore the folder")
    if signoff.after != after:
        raise RefusedError(
            path,
            "was signed off after another version of the round before",
            expected=f"after {after}, not {signoff.after}",
            do="restore the earlier sign-off from a backup, or remove this one and finish the round again",
        )
    for rows, sha256 in ((folder / REVIEWED, signoff.rows_sha256), (folder / AUDITED, signoff.audited_sha256)):
        if sha256 is None:
            continue
        if not rows.exists():
            raise RefusedError(rows, f"the rows of signed-off round {name} are gone", do="restore the file from a backup")
        if sha256_file(rows) != sha256:
            raise RefusedError(
                rows,
                "changed after the sign-off",
                expected=f"sha256 {sha256}",
                do=f"restore it from a backup, or remove {path} and finish the round again",
            )


def open_draft(reviews: Path) -> str | None:
    """Return the round whose review is open (it has a draft and no sign-off), or None.

    Raises:
        RefusedError: more than one is open, or a round is open that isn't the next one.
    """
    signed = round_names(reviews, SIGNOFF)
    names = [name for name in round_names(reviews, DRAFT) if name not in signed]
    if not names:
        return None
    following = round_name(len(signed) + 1)
    if names != [following]:
        wrong = next(name for name in names if name != following)
        raise RefusedError(
            reviews / f"round_{wrong}" / DRAFT,
            f"the review of round {wrong} is open, but round {following} comes next",
            do="restore the missing sign-off from a backup, or move that folder away",
        )
    return following


def read_draft(reviews: Path, round: str) -> Draft:
    """Read the draft of an open round and check that the candidates under review are still those of its start.

    Raises:
        RefusedError: the round isn't open, or its copy of the candidates changed.
    """
    folder = round_folder(reviews, round)
    if (folder / SIGNOFF).exists():
        raise RefusedError(folder / SIGNOFF, f"round {round} is already signed off", do="review the next round")
    if not (folder / DRAFT).exists():
        raise RefusedError(
            folder, f"the review of round {round} isn't open", do=f"run 'rts-pipeline review start {round}' first"
        )
    draft = Draft.read(folder / DRAFT)
    for name, sha256 in ((CANDIDATES, draft.candidates_sha256), (AUDIT, draft.audit_sha256)):
        copy = folder / name
        if sha256 is not None and (not copy.exists() or _sha256(copy, _state(copy)) != sha256):
            raise RefusedError(
                copy,
                "is missing or changed since the review was started",
                expected=f"sha256 {sha256}",
                do=f"restore it from results/rounds/{round}/{name} or a backup",
            )
    return draft


@lru_cache(maxsize=8)
def _sha256(path: Path, state: tuple[int, ...]) -> str:
    """Return the sha256 of a file, read again when it has changed: each verdict asks, and the file may have 50 MB."""
    return sha256_file(path)


def _state(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@contextmanager
def locked(folder: Path, *, wait_s: float = 0) -> Iterator[None]:
    """Be the one process that writes in a round's review folder; it ends with the process.

    Every write below the folder happens inside, so temporary files found at the entry are those of killed processes.

    Args:
        folder: the round's review folder.
        wait_s: how long to wait for another process; servers of several reviewers hold it for one verdict each.

    Raises:
        BusyError: another process is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as file:
        end = time.monotonic() + wait_s
        while not _taken(file):
            if time.monotonic() > end:
                file.seek(0)
                who = file.read().strip() or "another process"
                raise BusyError(folder, f"is in use by {who}", do="end that first, then try again")
            time.sleep(0.01)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()} ({Path(sys.argv[0]).name} {' '.join(sys.argv[1:4])})")
        file.flush()
        for suffix in ("json", "jsonl", "parquet"):
            for leftover in folder.glob(f".tmp-*.{suffix}"):
                leftover.unlink()
        yield


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_candidates(reviews: Path, round: str) -> Any:
    """Return what is under review (GeoDataFrame, columns of `candidates.parquet`), sorted by candidate_id.

    These are the candidates and, where the round is audited, the sampled windows; see `windows.read_windows`.
    """
    from rts_pipeline.io.tables import read_geoparquet

    folder = round_folder(reviews, round)
    frame = read_geoparquet(folder / CANDIDATES)
    if window_ids(folder):
        import pandas as pd

        frame = pd.concat([frame, read_windows(folder, len(frame))])
    return frame.sort_values("candidate_id", ignore_index=True)


def count_rows(path: Path) -> int:
    """Return the number of candidates in a Parquet file.

    Raises:
        InputError: not a Parquet file.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import read_metadata

    try:
        return int(read_metadata(path).num_rows)
    except (ArrowException, OSError) as error:
        raise InputError(path, f"not a Parquet file ({error})", do="remove it and run snakemake again") from None
