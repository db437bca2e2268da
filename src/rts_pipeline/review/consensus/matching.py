"""Which outlines of several people show the same slump, also where one drew as one what others drew as several.

No outline is more right than another, so people vote, and what they vote on is what can be said of two drawings without ids: an
outline *covers* another where at least half of that one lies in it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import shapely

from rts_pipeline.graph import components
from rts_pipeline.inventory.shape import only_polygons
from rts_pipeline.lineage import MIN_SHARED_M2, united
from rts_pipeline.review.outlines import overlaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Geometries = NDArray[np.object_]
    Positions = NDArray[np.intp]

COVERED = 0.5
"""Share of an outline's area from which on another one covers it."""


@dataclass(frozen=True)
class Pieces:
    """What each person drew of each slump.

    Attributes:
        slump: number of the slump, 0.., shape (n,).
        person: who drew it, shape (n,); a person has one piece of a slump at most.
        geometry: polygons, shape (n,).
        shared: whether an outline in it covers other slumps as well, shape (n,).
        members: positions of the outlines it was made of.
    """

    slump: Positions
    person: Positions
    geometry: Geometries
    shared: NDArray[np.bool_]
    members: list[tuple[int, ...]]


@dataclass(frozen=True)
class _Objects:
    """Outlines, or several of one person that count as one, and how they overlap: all pairs in both directions."""

    geometry: Geometries
    person: Positions
    members: list[tuple[int, ...]]
    first: Positions
    second: Positions
    iou: NDArray[np.float64]
    shared_m2: NDArray[np.float64]

    @property
    def covers(self) -> NDArray[np.bool_]:
        """Return for each pair whether the first covers the second."""
        return self.shared_m2 >= COVERED * shapely.area(self.geometry)[self.second]


def linked_groups(outlines: Geometries) -> NDArray[np.int64]:
    """Return the group of each outline, 0..: those that overlap, directly or over others, whoever drew them."""
    first, second, _, shared_m2 = overlaps(outlines, outlines)
    real = shared_m2 > MIN_SHARED_M2
    return components(len(outlines), first[real], second[real])


def match_people(outlines: Geometries, person: Positions) -> Pieces:
    """Match the outlines of several people without ids.

    1. Outlines of one person that cover one another are one.
    2. Two outlines of one person are one where more people drew them as one (an outline that covers both) than apart (the
       person, and everybody else with two different outlines that cover, or are covered by, one of them each).
    3. Outlines are taken in the order in which the others' resemble them (sum over people of the best IoU), those that cover
       two outlines of one person last. One that neither covers nor is covered by one taken before is a slump of its own.
    4. An outline belongs to every slump it covers, and to the one that covers it and that it shares most with. Where it belongs
       to several, each gets what isn't another's.

    Args:
        outlines: valid polygons in an equal-area CRS in metres, shape (n,), in an order that decides ties.
        person: who drew each, shape (n,).
    """
    place = np.arange(len(outlines), dtype=np.int64)
    objects = _objects(outlines, person, place)
    twice = (objects.person[objects.first] == objects.person[objects.second]) & objects.covers
    # Overlaps are dear: they are sought again only if outlines were united.
    if (twice & (objects.first != objects.second)).any():
        place = components(len(outlines), objects.first[twice], objects.second[twice])
        objects = _objects(outlines, person, place)
    one = _drawn_as_one(objects)
    if len(one[0]):
        merged = components(len(objects.person), *one)
        for number, members in enumerate(objects.members):
            place[list(members)] = merged[number]
        objects = _objects(outlines, person, place)
    return _pieces(objects, _references(objects))


def _objects(outlines: Geometries, person: Positions, place: NDArray[np.integer]) -> _Objects:
    """Unite the outlines of one place, and find what overlaps."""
    _, start, owner = np.unique(place, return_index=True, return_inverse=True)
    # Numbered by their first outline: ties are decided by the order of the outlines.
    rank = np.argsort(np.argsort(start))
    owner = rank[owner]
    groups = np.split(np.argsort(owner, kind="stable"), np.cumsum(np.bincount(owner))[:-1])
    members = [tuple(group.tolist()) for group in groups]
    geometry = only_polygons(united(outlines, owner, len(start)))
    first, second, iou, shared_m2 = overlaps(geometry, geometry)
    real = shared_m2 > MIN_SHARED_M2
    return _Objects(geometry, person[np.sort(start)], members, first[real], second[real], iou[real], shared_m2[real])


def _drawn_as_one(objects: _Objects) -> tuple[Positions, Positions]:
    """Return the pairs of outlines of one person that more people drew as one than apart."""
    person, related = objects.person, _related(objects)
    by_pair: dict[tuple[int, int], set[int]] = defaultdict(set)
    for cover, pairs in _lumped(objects).items():
        for pair in pairs:
            by_pair[pair].add(int(person[cover]))
    won = [pair for pair, one in by_pair.items() if len(one) > len(_apart(pair, related, person) - one)]
    left, right = np.array(sorted(won), dtype=np.intp).reshape(-1, 2).T
    return left, right


def _lumped(objects: _Objects) -> dict[int, list[tuple[int, int]]]:
    """Return for each outline the pairs of outlines of one other person that it covers."""
    covered: dict[tuple[int, int], list[int]] = defaultdict(list)
    for first, second in zip(objects.first[objects.covers].tolist(), objects.second[objects.covers].tolist(), strict=True):
        if objects.person[first] != objects.person[second]:
            covered[first, int(objects.person[second])].append(second)
    pairs: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for (cover, _), others in covered.items():
        if len(others) > 1:
            pairs[cover] += combinations(sorted(others), 2)
    return pairs


def _related(objects: _Objects) -> dict[int, set[int]]:
    """Return for each outline those that cover it or that it covers, itself too."""
    related: dict[int, set[int]] = defaultdict(set)
    for first, second in zip(objects.first[objects.covers].tolist(), objects.second[objects.covers].tolist(), strict=True):
        related[first].add(second)
        related[second].add(first)
    return related


def _apart(pair: tuple[int, int], related: dict[int, set[int]], person: Positions) -> set[int]:
    """Return who has two different outlines there, one for each of the pair; its author is among them."""
    mine: list[dict[int, set[int]]] = [defaultdict(set), defaultdict(set)]
    for side, outline in enumerate(pair):
        for other in related[outline]:
            mine[side][int(person[other])].add(other)
    return {who for who in mine[0].keys() & mine[1].keys() if len(mine[0][who] | mine[1][who]) > 1}


def _references(objects: _Objects) -> Positions:
    """Return the outlines that stand for a slump each, ascending."""
    others = objects.person[objects.first] != objects.person[objects.second]
    best = np.zeros((len(objects.person), int(objects.person.max()) + 1))
    np.maximum.at(best, (objects.first[others], objects.person[objects.second[others]]), objects.iou[others])
    lumps = np.isin(np.arange(len(objects.person)), list(_lumped(objects)))
    # Rounded, so that ties are ties.
    order = np.lexsort((-shapely.area(objects.geometry), -best.sum(axis=1).round(9), lumps))
    related = _related(objects)
    taken: set[int] = set()
    for outline in order.tolist():
        if not related[outline] & taken:
            taken.add(outline)
    return np.array(sorted(taken), dtype=np.intp)


def _pieces(objects: _Objects, references: Positions) -> Pieces:
    """Give each slump what each person drew of it."""
    number = np.full(len(objects.person), -1, dtype=np.intp)
    number[references] = np.arange(len(references))
    to_slump = number[objects.second] >= 0
    outline, slump, shared_m2 = objects.first[to_slump], number[objects.second[to_slump]], objects.shared_m2[to_slump]
    area = shapely.area(objects.geometry)
    covers = shared_m2 >= COVERED * area[references][slump]
    inside = np.flatnonzero(shared_m2 >= COVERED * area[outline])
    inside = inside[np.lexsort((slump[inside], -shared_m2[inside], outline[inside]))]
    closest = inside[np.unique(outline[inside], return_index=True)[1]]
    belongs = covers | np.isin(np.arange(len(outline)), closest)
    outline, slump = outline[belongs], slump[belongs]
    several = np.bincount(outline)[outline] > 1
    geometry = objects.geometry[outline].copy()
    for pair in np.flatnonzero(several):
        others = references[slump[(outline == outline[pair]) & (slump != slump[pair])]]
        geometry[pair] = _without(geometry[pair], objects.geometry[others], objects.geometry[references[slump[pair]]])
    left = ~shapely.is_empty(geometry)
    return gather(
        slump[left], objects.person[outline[left]], geometry[left], several[left], [objects.members[i] for i in outline[left]]
    )


def _without(outline: shapely.Geometry, others: Geometries, slump: shapely.Geometry) -> shapely.Geometry:
    """Return the parts of an outline that aren't the others' ground and touch the slump."""
    rest = only_polygons(np.array([shapely.difference(outline, shapely.union_all(others))]))[0]
    parts = shapely.get_parts(rest)
    return shapely.union_all(parts[shapely.intersects(parts, slump)])


def gather(
    slump: Positions, person: Positions, geometry: Geometries, shared: NDArray[np.bool_], members: list[tuple[int, ...]]
) -> Pieces:
    """Unite what a person drew of a slump, and number the slumps anew."""
    _, slump = np.unique(slump, return_inverse=True)
    people = int(person.max(initial=0)) + 1
    keys, owner = np.unique(slump * people + person, return_inverse=True)
    made_of: list[set[int]] = [set() for _ in keys]
    for key, outlines in zip(owner.tolist(), members, strict=True):
        made_of[key].update(outlines)
    return Pieces(
        keys // people,
        keys % people,
        only_polygons(united(geometry, owner, len(keys))),
        np.bincount(owner, shared) > 0,
        [tuple(sorted(outlines)) for outlines in made_of],
    )
