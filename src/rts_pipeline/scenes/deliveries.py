"""Which of an item's files belong together, and which of several deliveries is used."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, takewhile
from pathlib import Path

from rts_pipeline.scenes.headers import Headers
from rts_pipeline.scenes.names import Name

ITEM_ROLES = ("reflectance", "radiance", "udm2", "udm", "metadata", "xml", "other product")
USED_ROLES = ("reflectance", "udm2", "udm", "metadata", "xml")


@dataclass(frozen=True)
class Found:
    """A file on disk."""

    path: Path
    bytes: int
    name: Name

    @property
    def makes_item(self) -> bool:
        """Whether it is part of an item's delivery (a STAC description of an item is not)."""
        return self.name.role in ITEM_ROLES


@dataclass(frozen=True)
class Choice:
    """The delivery of an item that is used: role -> file, and the files of it that have no part in it."""

    used: dict[str, Found]
    unused: list[Found]

    @property
    def files(self) -> list[Found]:
        """All files of the delivery."""
        return [*self.used.values(), *self.unused]


def choose(files: list[Found], headers: Headers) -> tuple[Choice, list[Found]]:
    """Split an item's files (by path) into the delivery to use and the files of the other deliveries.

    A delivery with reflectance wins over one without, then one with a mask, then the newest by `updated`, then the first by
    path.
    """

    def rank(delivery: list[Found]) -> tuple[bool, bool, str]:
        roles = {file.name.role for file in delivery}
        told = [headers.of(file.path, "metadata") for file in delivery if file.name.role == "metadata"]
        return "reflectance" in roles, bool(roles & {"udm2", "udm"}), max((t.get("updated") or "" for t in told), default="")

    groups = _deliveries(files)
    best = max(groups, key=rank)  # the first of equals
    return _pick(best), [file for group in groups if group is not best for file in group]


def _deliveries(files: list[Found]) -> list[list[Found]]:
    """Group by folder, and join folders that complete each other (one holds the metadata, another the rasters)."""
    groups: list[list[Found]] = []
    for folder, members in groupby(files, key=lambda file: file.path.parent):
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
    """Take one file a role: four bands before eight, and everything else cut out as the reflectance is."""
    first: dict[str, Found] = {}
    for role in USED_ROLES:
        clip = first["reflectance"].name.clip if "reflectance" in first else False
        ranked = sorted(
            (file for file in delivery if file.name.role == role),
            key=lambda file: (file.name.eight_bands, file.name.clip != clip, str(file.path)),
        )
        if ranked and not (role == "udm" and "udm2" in first):
            first[role] = ranked[0]
    return Choice(first, [file for file in delivery if file not in first.values()])


def why_unused(file: Found, choice: Choice) -> str:
    """Say why a file of a used delivery has no part in it."""
    role = file.name.role
    if role in choice.used:
        return f"another {role} of the item is used: {choice.used[role].path.name}"
    if role == "udm":
        return "the udm2 is used instead"
    return "not needed beside the surface reflectance"
