"""The start of a review: a round's candidates are frozen, and what two people judge is drawn."""

from __future__ import annotations

from pathlib import Path

from rts_pipeline.config import GUIDELINE
from rts_pipeline.errors import RefusedError
from rts_pipeline.io.files import copy_file, sha256_file
from rts_pipeline.review.readings import Draw
from rts_pipeline.review.rounds import (
    CANDIDATES,
    CHANGE,
    CHOICE,
    DRAFT,
    SECOND,
    SUMMARY,
    YEARS,
    Draft,
    count_rows,
    locked,
    open_draft,
    read_draft,
    read_signoffs,
    round_folder,
    round_name,
)
from rts_pipeline.review.windows import AUDIT

KEPT = ("model/weights.pt", "model/model.json", CHOICE, SUMMARY, CHANGE, YEARS, CANDIDATES)
"""What a review copies from the round's results: the network, how well it did, what it outlined, what the years
say of that, and what it proposed."""


def start(
    reviews: Path,
    results: Path,
    round: str,
    *,
    at: str,
    guideline_version: str = GUIDELINE,
    second: Draw | None = None,
    audit: bool = False,
) -> Draft:
    """Open the review of a round on a copy of its candidates; starting it again on the same candidates changes nothing.

    The network that proposed them is kept too: the next round starts from it, whatever becomes of the results.

    Args:
        reviews: the folder of all reviews.
        results: the folder of computed results.
        round: name of the round ("01").
        at: time of the start (ISO 8601, UTC).
        guideline_version: version of the reviewers' guideline.
        second: how to draw what a second person judges too; None: nothing.
        audit: whether the windows that were sampled beside the candidates are looked through too.

    Raises:
        RefusedError: signed off already, another round comes first, no candidates yet, or open on other candidates.
    """
    folder = round_folder(reviews, round)
    following = round_name(len(read_signoffs(reviews)) + 1)
    if int(round) != int(following):
        problem = "is already signed off" if int(round) < int(following) else f"can't be reviewed before round {following}"
        raise RefusedError(folder, f"round {round} {problem}", do=f"review round {following}")
    source = results / "rounds" / round / CANDIDATES
    if not source.exists():
        raise RefusedError(source, f"round {round} has no candidates yet", do="run 'snakemake --cores N' first")
    open_draft(reviews)
    with locked(folder):
        if (folder / DRAFT).exists():
            return _continue(reviews, round, source, audit=audit)
        for name in (AUDIT, SECOND):  # of an earlier start
            (folder / name).unlink(missing_ok=True)
        for name in (*KEPT, *([AUDIT] if audit else [])):
            _keep(source.parent / name, folder / name)
        if second is not None:
            second.of(folder).write(folder / SECOND)
        draft = Draft(
            round=round,
            candidates_sha256=sha256_file(folder / CANDIDATES),
            n_candidates=count_rows(folder / CANDIDATES),
            started_at=at,
            guideline_version=guideline_version,
            audit_sha256=sha256_file(folder / AUDIT) if audit else None,
        )
        draft.write(folder / DRAFT)
    return draft


def _keep(source: Path, path: Path) -> None:
    if not source.exists():
        raise RefusedError(source, "no such file beside the round's candidates", do="run 'snakemake --cores N' first")
    copy_file(source, path)


def _continue(reviews: Path, round: str, source: Path, *, audit: bool) -> Draft:
    draft = read_draft(reviews, round)
    windows = source.with_name(AUDIT)
    sha256 = sha256_file(windows) if audit and windows.exists() else None
    for path, same, what in (
        (source, sha256_file(source) == draft.candidates_sha256, "candidates"),
        (windows, sha256 == draft.audit_sha256, "windows"),
    ):
        if not same:
            raise RefusedError(
                path,
                f"differs from the {what} that the open review of round {round} was started on",
                do=f"finish that review, or remove {round_folder(reviews, round) / DRAFT} and start again",
            )
    return draft
