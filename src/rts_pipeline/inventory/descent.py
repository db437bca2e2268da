"""In which outline a slump goes on once others took its outline's place, round by round.

What a round settled stays: a slump moves on only when the very outline that it goes on in is replaced, whatever becomes of the
other outlines on its ground.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import shapely

from rts_pipeline.lineage import common_ground

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Geometries = NDArray[np.object_]
    Positions = NDArray[np.intp]


@dataclass(frozen=True)
class Descent:
    """What became of n parts.

    Attributes:
        gone: whether another part took its place, shape (n,).
        origin: whether a slump began with it: it took no other's place, or it was split off, shape (n,).
        split_from: position of the part whose place a split-off one took, -1 for others, shape (n,).
        holder: position of the present part in which it goes on: itself, or the one that took its place, maybe over others,
            shape (n,). Each present part holds an origin.
        owner: position of the first origin that ever went on in it, shape (n,).
    """

    gone: NDArray[np.bool_]
    origin: NDArray[np.bool_]
    split_from: Positions
    holder: Positions
    owner: Positions


def descend(outlines: Geometries, iteration: NDArray[np.int64], new: Positions, old: Positions) -> Descent:
    """Follow each part over those that took its place.

    Where several took it in one round, a part goes on in the one that shares most with its own outline, then with the one that
    is replaced. One in which no slump goes on was split off: a slump begins with it.

    Args:
        outlines: n polygons in one CRS in metres, those of earlier rounds first.
        iteration: their rounds, shape (n,).
        new: positions of parts that took another's place, as `lineage.replacements` gives them.
        old: positions of those others.
    """
    later = iteration[new] > iteration[old]  # a round knows what earlier ones brought, and nothing else
    new, old = new[later], old[later]
    count = len(outlines)
    gone, origin = np.zeros(count, dtype=bool), np.ones(count, dtype=bool)
    gone[old], origin[new] = True, False
    holder, owner, split_from = np.arange(count), np.arange(count), np.full(count, -1)
    owner[new] = count
    for number in np.unique(iteration[new]):
        now = iteration[new] == number
        pairs = pd.DataFrame({"old": old[now], "new": new[now]})
        moves = _moves(pd.DataFrame({"part": np.arange(count), "old": holder}).merge(pairs, on="old"), outlines)
        part, into = moves["part"].to_numpy(), moves["new"].to_numpy()
        holder[part] = into
        np.minimum.at(owner, into[origin[part]], part[origin[part]])
        split = pairs[owner[pairs["new"]] == count]
        split = _by_share(split.assign(part=split["new"]), outlines).drop_duplicates("new")
        begun = split["new"].to_numpy()
        origin[begun], owner[begun], split_from[begun] = True, begun, split["old"]
    return Descent(gone, origin, split_from, holder, owner)


def _moves(found: pd.DataFrame, outlines: Geometries) -> pd.DataFrame:
    """Return the one of the rows (part, old, new) of each part in which it goes on."""
    several = found["part"].duplicated(keep=False)
    return pd.concat([found[~several], _by_share(found[several], outlines).drop_duplicates("part")])


def _by_share(rows: pd.DataFrame, outlines: Geometries) -> pd.DataFrame:
    """Order rows (part, old, new) of each part by what `new` shares with it, then by what it shares with `old`."""
    at = {name: outlines[rows[name]] for name in ("part", "old", "new")}
    own, last = (-shapely.area(common_ground(at[name], at["new"])) for name in ("part", "old"))
    return rows.assign(own=own, last=last).sort_values(["part", "own", "last", "new", "old"])
