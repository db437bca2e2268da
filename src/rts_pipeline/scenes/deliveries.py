"""Which of an item's files belong together, and which of several deliveries is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby, takewhile
from pathlib import Path

from rts_pipeline.scenes import delivered
from rts_pipeline.scenes.headers import Headers
from rts_pipeline.scenes.names import Name

ITEM_ROLES = ("reflectance", "radiance", "udm2", "udm", "metadata", "xml", "other product")
USED_ROLES = {
    "reflectance": ("reflectance", "radiance"),
    "udm2": ("udm2",),
    "udm": ("udm",),
    "metadata": ("metadata",),
    "xml": ("xml",),
}
"""What an item is measured from, and the roles of files that serve as it, the better first."""


@dataclass(frozen=True)
class Found:
    """A file on disk or in an archive; `problem` says why it can't be taken for what its name says ("" if it can)."""

    path: Path
    bytes: int
    name: Name
    problem: str = ""

    @property
    def makes_item(self) -> bool:
        """Whether it is part of an item's delivery (a STAC description of an item is not)."""
        return self.name.role in ITEM_ROLES


@dataclass(frozen=True)
class Choice:
    """The delivery of an item that is used: role -> file, and the files of it that have no part in it.

    In the role "reflectance" is at-sensor radiance where no surface reflectance was delivered.
    """

    used: dict[str, Found]
    unused: list[Found]

    @property
    def files(self) -> list[Found]:
        """All files of the delivery."""
        return [*self.used.values(), *self.unused]


def choose(files: list[Found], headers: Headers, problem: Callable[[Found], str]) -> tuple[Choice, list[tuple[Found, str]]]:
    """Split an item's files into the delivery to use and, with the reason, the files of the other deliveries.

    A delivery with reflectance wins over one without, then one with radiance, then one with a mask, then the newest by
    `updated`, then one that is unpacked, then the first by path.

    Args:
        files: of one item.
        headers: what the metadata say.
        problem: says of a file why it doesn't count as delivered, or "".
    """
    groups = _deliveries(files)
    updated = [_updated(group, headers) for group in groups]

    def rank(number: int) -> tuple[bool, bool, bool, str, bool]:
        # Where one of several deliveries broke off, another is used.
        roles = {file.name.role for file in groups[number] if len(groups) == 1 or not problem(file)}
        unpacked = all(delivered.on_disk(file.path) == file.path for file in groups[number])
        return "reflectance" in roles, "radiance" in roles, bool(roles & {"udm2", "udm"}), updated[number], unpacked

    best = max(range(len(groups)), key=rank)  # the first of equals
    choice = _pick(groups[best])
    place = next(iter(choice.files)).path.parent
    others = []
    for number, group in enumerate(groups):
        newer = f"newer delivery of the same item is used, updated {updated[best]}: {place}"
        reason = newer if updated[number] < updated[best] else "second delivery of the same item"
        others += [(file, reason) for file in group if number != best]
    return choice, others


def _updated(delivery: list[Found], headers: Headers) -> str:
    told = [headers.of(file.path, "metadata") for file in delivery if file.name.role == "metadata"]
    return max((facts.get("updated") or "" for facts in told), default="")


def _deliveries(files: list[Found]) -> list[list[Found]]:
    """Group by folder, and join folders that complete each other (one holds the metadata, another the rasters)."""
    groups: list[list[Found]] = []
    by_folder = sorted(files, key=lambda file: (str(file.path.parent), str(file.path)))
    for folder, members in groupby(by_folder, key=lambda file: file.path.parent):
        here = list(members)
        fitting = [group for group in groups if _complete_each_other(group, here)]
        if fitting:
            max(fitting, key=lambda group: _common_length(group[0].path.parent, folder)).extend(here)
        else:
            groups.append(here)
    return groups


def _complete_each_other(one: list[Found], other: list[Found]) -> bool:
    clips = [{file.name.clip for file in group if file.name.role in ("reflectance", "udm2", "udm")} for group in (one, other)]
    if {file.name.role for file in one} & {file.name.role for file in other}:
        return False
    return not all(clips) or clips[0] == clips[1]


def _common_length(one: Path, other: Path) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one.parts, other.parts, strict=False)))


def _pick(delivery: list[Found]) -> Choice:
    """Take one file a role: four bands before eight, and everything else cut out, and with the bands, as the reflectance."""
    first: dict[str, Found] = {}
    for role, serving in USED_ROLES.items():
        main = first["reflectance"].name if "reflectance" in first else Name("", "")
        ranked = sorted(
            (file for file in delivery if file.name.role in serving),
            key=lambda file: (
                serving.index(file.name.role),
                file.name.eight_bands != main.eight_bands,
                file.name.clip != main.clip,
                str(file.path),
            ),
        )
        if ranked and not (role == "udm" and "udm2" in first):
            first[role] = ranked[0]
    return Choice(first, [file for file in delivery if file not in first.values()])


def why_unused(file: Found, choice: Choice) -> str:
    """Say why a file of a used delivery has no part in it."""
    role = file.name.role
    taken = {used.name.role: used for used in choice.used.values()}
    if role in taken:
        return f"another {role} of the item is used: {taken[role].path.name}"
    if role == "udm":
        return "the udm2 is used instead"
    return f"not needed beside the {'surface reflectance' if 'reflectance' in taken else 'radiance'}"
