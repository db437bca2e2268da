"""Stage verify: the candidates of a finished round that was rebuilt are those that people judged."""

from __future__ import annotations

from pathlib import Path

from rts_pipeline.errors import RefusedError
from rts_pipeline.io.files import sha256_file, was_read
from rts_pipeline.io.json import write_json
from rts_pipeline.review.rounds import CANDIDATES, Signoff, read_signoffs, round_folder


def verify(reviews: Path, results: Path, round: str) -> Signoff:
    """Check that the candidates in the results are those that were judged, and return the sign-off.

    Raises:
        RefusedError: not signed off, no such candidates, or other ones.
    """
    signoff = next((s for s in read_signoffs(reviews) if s.round == round), None)
    if signoff is None:
        raise RefusedError(round_folder(reviews, round), f"round {round} isn't signed off", do="finish its review first")
    path = results / "rounds" / round / CANDIDATES
    if not path.exists():
        raise RefusedError(path, "no such file", do=f"rebuild round {round}")
    was_read(path)
    if sha256_file(path) != signoff.candidates_sha256:
        raise RefusedError(
            path,
            f"differs from the candidates that were judged in round {round}",
            expected=f"sha256 {signoff.candidates_sha256}",
            do="the judged ones are kept in the reviews folder; review the new ones as another round",
        )
    return signoff


def write_verified(reviews: Path, results: Path, round: str, out: Path) -> None:
    """Write what `verify` found: round, candidates_sha256, n_candidates.

    Raises:
        RefusedError: as `verify`.
    """
    signoff = verify(reviews, results, round)
    told = {"round": round, "candidates_sha256": signoff.candidates_sha256, "n_candidates": signoff.n_candidates}
    write_json(out, told)
