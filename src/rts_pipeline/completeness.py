"""Stage `completeness`: how many slumps the inventory misses, by an audit, by two reviewers, and by the curve of rounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rts_pipeline.errors import InputError
from rts_pipeline.inventory.earlier import EARLIER
from rts_pipeline.inventory.shape import geodesic_area_perimeter
from rts_pipeline.io.json import parse_json, write_json
from rts_pipeline.io.tables import read_geoparquet, read_parquet
from rts_pipeline.lineage import SEED, with_lineage
from rts_pipeline.metrics import recapture
from rts_pipeline.metrics import removal as curve
from rts_pipeline.metrics.estimate import Estimate, recall
from rts_pipeline.metrics.objects import IOUS, SIZE_CLASS_NAMES, match_outlines, size_class
from rts_pipeline.metrics.stratified import stratified_total
from rts_pipeline.options import CompletenessOptions
from rts_pipeline.review.events import Event
from rts_pipeline.review.folding import fold, is_reading
from rts_pipeline.review.readings import bases_of
from rts_pipeline.review.rounds import POSITIVE, REVIEWED, read_signoffs, round_folder
from rts_pipeline.review.store import read_round
from rts_pipeline.review.windows import AUDIT, AUDITED

LOOKED_THROUGH = "reject"
"""Decision on a window that says: what is to be seen here is in the list. Slumps are added as outlines of their own."""
NOT_LOOKED_THROUGH = ("unsure", "unseen")
ASSUMPTIONS = (
    "The reviewer finds every slump in a window that he or she looked through: what is overlooked is missing in the estimate"
    " too.",
    "Windows that nobody looked through are like the others of their stratum.",
    "It speaks of the windows that were observed for at least half.",
    "What a look at a window finds is what there is to be missed: windows can be told from candidates (a frame of their own,"
    " since another question is asked of them), so that the reviewer may look harder there than elsewhere.",
)
"""What the audit takes for granted. Nothing is assumed of where slumps lie, or of the network."""
DETECTORS_ASSUMPTION = "What a network outlined and nobody judged (`unjudged`) is no slump."
"""Beside those of `recapture.ASSUMPTIONS`."""
Members = NDArray[np.bool_]


def build_completeness(
    inventory: Path, reviews: Path, detectors: Sequence[Path], out: Path, options: CompletenessOptions, rounds: Sequence[str]
) -> None:
    """Write what is known of the slumps that are missing.

    Args:
        inventory: `outlines.parquet` of the inventory.
        reviews: folder of the reviews. A round that was audited holds AUDIT (columns of the stage audit) and AUDITED:
            window_id and decision of each sampled window.
        detectors: two round folders with outlines.parquet and labels.parquet, or none.
        out: JSON with `audit`, `reviewers`, `detectors` and `curve`: estimates as {value, low, high, reason}, 95 %
            intervals, null where the data give none, and the reason; each with its `assumptions`.
        options: the stage's options.
        rounds: names of the signed-off rounds that the inventory holds.

    Raises:
        InputError: a file is missing or damaged, or a window was accepted as if it were an outline.
        RefusedError: the chain of sign-offs is broken.
    """
    slumps = read_geoparquet(inventory).to_crs(options.grid.crs)
    slumps = slumps[slumps["decision"] != EARLIER].reset_index(drop=True)  # nobody found or missed what is carried along
    folders = {name: round_folder(reviews, name) for name in rounds}
    audited = [name for name, folder in folders.items() if any((folder / file).exists() for file in (AUDIT, AUDITED))]
    if audited:
        folder = folders[audited[-1]]
        seen = states(slumps, int(audited[-1]))
        audit = estimate_audit(read_geoparquet(folder / AUDIT), read_verdicts(folder / AUDITED), seen)
        audit |= {"round": audited[-1]}
    else:
        audit = {"round": None, "reason": "no round was audited (audit.windows)"}
    reviewed = {name: with_lineage(read_geoparquet(folder / REVIEWED)) for name, folder in folders.items()}
    result = {
        "audit": audit | {"assumptions": ASSUMPTIONS},
        "reviewers": estimate_reviewers(reviews, reviewed) | {"assumptions": recapture.ASSUMPTIONS},
        "detectors": estimate_detectors(slumps, reviewed, detectors)
        | {"assumptions": (*recapture.ASSUMPTIONS, DETECTORS_ASSUMPTION)},
        "curve": estimate_curve(reviewed, sum(s.n_cut for s in read_signoffs(reviews) if s.round in folders))
        | {"assumptions": curve.ASSUMPTIONS},
    }
    write_json(out, result)


def read_verdicts(path: Path) -> pd.DataFrame:
    """Return window_id and `looked` (bool) of the windows of a sample.

    Raises:
        InputError: damaged, or a window was accepted: it isn't an outline.
    """
    rows = read_parquet(path)
    known = rows["decision"].isin([LOOKED_THROUGH, *NOT_LOOKED_THROUGH])
    if not known.all():
        row = rows[~known].iloc[0]
        expected = f"{LOOKED_THROUGH} (nothing more to add here), {' or '.join(NOT_LOOKED_THROUGH)}"
        raise InputError(path, f"window {row['window_id']} is decided as '{row['decision']}'", expected=expected)
    return pd.DataFrame({"window_id": rows["window_id"], "looked": rows["decision"] == LOOKED_THROUGH})


@dataclass(frozen=True)
class Slumps:
    """The slumps of an inventory, seen from an audited round: arrays of shape (n,).

    Attributes:
        x: of the representative point, in the grid's CRS.
        y: of the same.
        area_m2: on the ellipsoid.
        known: whether it was known, or was found by the round's network, before anyone looked through windows.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    area_m2: NDArray[np.float64]
    known: Members


def states(inventory: gpd.GeoDataFrame, round: int) -> Slumps:
    """Return the slumps, with what was known of each when round `round` was audited.

    A slump that a reviewer added in that round, or that a later one brought, was missed: it is in no list of the network.
    """
    points = inventory.geometry.representative_point()
    known = [
        any(source == SEED or int(source.split()[-1]) < round + (decision != "missed") for source, decision in _parts(row))
        for row in inventory[["source", "decision", "parts"]].itertuples(index=False)
    ]
    area_m2, _ = geodesic_area_perimeter(inventory.geometry)
    return Slumps(points.x.to_numpy(), points.y.to_numpy(), area_m2, np.array(known, bool))


def _parts(row: Any) -> Iterator[tuple[str, str]]:
    """Yield source ("seed", "round 02") and decision of the outlines that a row of the inventory was made of."""
    if isinstance(row.parts, str):
        for part in parse_json(Path("parts"), row.parts.encode()):
            yield part["source"], part["decision"]
    else:
        yield row.source, row.decision


def estimate_audit(frame: gpd.GeoDataFrame, verdicts: pd.DataFrame, slumps: Slumps) -> dict[str, Any]:
    """Estimate how many slumps a round's network and all rounds before it missed.

    Args:
        frame: windows of a round, as the stage audit writes them.
        verdicts: window_id and looked (bool) of the sampled ones.
        slumps: the inventory, seen from that round: those in the frame that weren't known are what was missed and is known now.

    Returns:
        windows (frame, sampled, looked through), `strata`, and for all slumps and by `size_classes`: `known`, `added`
        (missed, and found since), `missed` (estimate of all that were missed), `recall` (of what was known), `completeness`
        (of the inventory as it is).
    """
    codes, names = pd.factorize(frame["stratum"], sort=True)
    looked = frame["window_id"].isin(verdicts.loc[verdicts["looked"], "window_id"]).to_numpy() & frame["sampled"].to_numpy()
    window = window_of(frame, slumps.x, slumps.y)
    size = size_class(slumps.area_m2)

    def figures(members: Members) -> dict[str, Any]:
        inside = members & (window >= 0)
        known, added = int((inside & slumps.known).sum()), int((inside & ~slumps.known).sum())
        counts = np.bincount(window[inside & ~slumps.known], minlength=len(frame))
        total = stratified_total(np.bincount(codes), codes[looked], counts[looked], list(names)).at_least(added)
        left = total.plus(-added)
        rows = {"missed": total, "recall": recall(known, total), "completeness": recall(known + added, left)}
        return {"known": known, "added": added, **{name: estimate.plain for name, estimate in rows.items()}}

    strata = pd.DataFrame({"stratum": frame["stratum"], "sampled": frame["sampled"], "looked_through": looked, "windows": True})
    return {
        "windows": {"frame": len(frame), "sampled": int(frame["sampled"].sum()), "looked_through": int(looked.sum())},
        "strata": strata.groupby("stratum").sum().reset_index().to_dict("records"),
        **figures(np.full(len(size), True)),
        "size_classes": {name: figures(size == number) for number, name in enumerate(SIZE_CLASS_NAMES)},
    }


def window_of(frame: pd.DataFrame, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the position of the window that each point lies in, -1 for one in none; west and north edges belong to it."""
    if not len(frame):
        return np.full(len(x), -1)
    west, _, east, _ = frame.geometry.iloc[0].bounds
    edge = east - west
    size = int(frame["size_px"].iloc[0])
    windows = pd.MultiIndex.from_arrays([frame["column"] // size, frame["row"] // size])
    # the origin of the windows is that of the grid
    places = pd.MultiIndex.from_arrays([np.floor(x / edge).astype(np.int64), np.floor(-y / edge).astype(np.int64)])
    return np.asarray(windows.get_indexer(places))


def estimate_reviewers(reviews: Path, reviewed: dict[str, gpd.GeoDataFrame]) -> dict[str, Any]:
    """Estimate how many slumps there were among the candidates that two reviewers judged without seeing each other's verdicts.

    Only where no slump was known: over a known one the question is whether its outline changed, "reject" says that the known
    one stands, and the landform may be asked about in every round.

    Args:
        reviews: folder of the reviews.
        reviewed: the signed-off rows of each round.

    Returns:
        reviewers (the two names with the most candidates in common), candidates (number of those), first, second, both (slumps
        accepted by each), `total`; names are empty where no two reviewers judged the same.
    """
    readings: dict[tuple[str, str], list[tuple[bool, bool, bool, float]]] = {}
    for name, rows in reviewed.items():
        rows = rows[rows["known_ids"] == ""]
        slump = dict(zip(rows["candidate_id"], rows["decision"].isin(POSITIVE), strict=True))
        area = dict(zip(rows["candidate_id"], geodesic_area_perimeter(rows.geometry)[0], strict=True))
        for candidate, heads in fold(read_round(reviews, name), is_reading, bases_of(reviews, name)).heads.items():
            taken = {who: _accepts(events) for who, events in heads.items() if candidate in slump and _blind(events)}
            for pair in combinations(sorted(taken), 2):
                row = (taken[pair[0]], taken[pair[1]], slump[candidate], area[candidate])
                readings.setdefault(pair, []).append(row)
    if not readings:
        reason = "no candidate was judged by two reviewers"
        return {"reviewers": [], "candidates": 0, "total": Estimate(None, None, None, reason).plain}
    pair, found = max(readings.items(), key=lambda item: (len(item[1]), item[0]))
    first, second, slumps, areas = (np.array(column) for column in zip(*found, strict=True))
    return {"reviewers": list(pair), "candidates": len(found), **_recaptured(first & slumps, second & slumps, areas)}


def estimate_detectors(
    slumps: gpd.GeoDataFrame, reviewed: dict[str, gpd.GeoDataFrame], folders: Sequence[Path]
) -> dict[str, Any]:
    """Estimate how many slumps there are that two networks, trained on disjoint halves of the labels, can find.

    Args:
        slumps: the inventory: an outline of a network counts only where it shows a slump that reviewers accepted.
        reviewed: the signed-off rows of each round.
        folders: a round's folder of each network.

    Returns:
        detectors (the folders), slumps (of the inventory that neither was trained on: the others are no search), first, second,
        both (of those, found with an IoU above 0.3), unjudged (outlines of each on ground of no slump and of no outline that
        was judged), `total`.
    """
    if not folders:
        reason = "no two detectors were given (completeness.detectors)"
        return {"detectors": [], "slumps": 0, "total": Estimate(None, None, None, reason).plain}
    judged = [rows.geometry[rows["decision"] != "unseen"].to_crs(slumps.crs) for rows in reviewed.values()]
    ground = pd.concat([slumps.geometry, *judged], ignore_index=True)
    unseen, found, unjudged = np.full(len(slumps), True), [], []
    for folder in folders:
        labels = read_geoparquet(folder / "labels.parquet").to_crs(slumps.crs)
        unseen[slumps.sindex.query(labels.geometry[labels["kind"] == "positive"], predicate="intersects")[1]] = False
        outlines = read_geoparquet(folder / "outlines.parquet").to_crs(slumps.crs)
        found.append(np.isin(np.arange(len(slumps)), match_outlines(outlines.geometry, slumps.geometry, IOUS[0]).truth))
        unjudged.append(len(outlines) - len(np.unique(ground.sindex.query(outlines.geometry, predicate="intersects")[0])))
    areas, _ = geodesic_area_perimeter(slumps.geometry)
    return {
        "detectors": [str(folder) for folder in folders],
        "slumps": int(unseen.sum()),
        "unjudged": unjudged,
        **_recaptured(found[0] & unseen, found[1] & unseen, areas),
    }


def _recaptured(first: Members, second: Members, areas: NDArray[np.float64]) -> dict[str, Any]:
    """Return what two searches found, with the estimate of all, in size classes."""
    size = size_class(areas)
    table = [_captures(first & (size == k), second & (size == k)) for k in range(len(SIZE_CLASS_NAMES))]
    counts = dict(zip(("first", "second", "both"), np.sum(table, axis=0).tolist(), strict=True))
    return {**counts, "total": recapture.chapman(table).plain}


def _accepts(events: Sequence[Event]) -> bool:
    return events[-1].decision in POSITIVE


def _blind(events: Sequence[Event]) -> bool:
    """Tell whether these are a reviewer's one decision, taken without seeing another's."""
    apart = all(event.blind and event.action == "decide" for event in events)
    return apart and len({event.decision for event in events}) == 1


def _captures(first: Members, second: Members) -> tuple[int, int, int]:
    return int(first.sum()), int(second.sum()), int((first & second).sum())


def estimate_curve(reviewed: dict[str, gpd.GeoDataFrame], cut: int) -> dict[str, Any]:
    """Estimate how many slumps further rounds would bring.

    Args:
        reviewed: the signed-off rows of each round, the first round first.
        cut: outlines that the rounds left for later ones.

    Returns:
        rounds, new (slumps that the network of each found where none was known), expected (of the fitted curve, up to each
        round), `total` (its asymptote), p.
    """
    new = [int((rows["decision"].isin(("accept", "edit")) & (rows["known_ids"] == "")).sum()) for rows in reviewed.values()]
    fitted = curve.removal(new)
    unseen = any((rows["decision"] == "unseen").any() for rows in reviewed.values())
    if cut or unseen:
        reason = (
            "rounds left outlines for later ones (candidates.max_count, candidates.min_precision)"
            if cut
            else "rounds were signed off with candidates that nobody looked at (review.allow_unreviewed)"
        )
        fitted = curve.Removal(Estimate(None, float(sum(new)), None, reason), None)
    return {
        "rounds": list(reviewed),
        "new": new,
        "expected": fitted.expected(len(new)),
        "total": fitted.total.plain,
        "p": fitted.p,
    }
