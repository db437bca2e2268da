"""What folders with delivered orders hold, told before any run: from names, headers, metadata and manifests, no pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from rts_pipeline.config import Scenes, Season, first_problem
from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.scenes import delivered, metadata, names
from rts_pipeline.scenes.discover import Delivery, FileRow, Item, Status, discover

UNITS = ("bytes", "kB", "MB", "GB", "TB")
PRODUCTS = {"reflectance": "surface reflectance", "radiance": "at-sensor radiance"}
MASKS = {"udm2": "with udm2", "udm": "with udm", "none": "without mask"}


@dataclass(frozen=True)
class Days:
    """First and last day (MM-DD) of the images that count; None: all of the year."""

    days: tuple[str, str] | None

    def __post_init__(self) -> None:
        """Refuse days that are none."""
        if self.days is not None:
            try:
                Season(season=self.days)
            except ValidationError as error:
                raise UsageError("--season", first_problem(error), expected="two days as MM-DD") from None

    def holds(self, acquired: str) -> bool:
        """Tell whether an image of that time counts."""
        return self.days is None or Season(season=self.days).in_season(acquired, int(acquired[:4]))


def check(folders: Sequence[Path], *, checksums: bool) -> Delivery:
    """Find what the folders hold, with the default configuration.

    Args:
        folders: with delivered orders.
        checksums: compare the sha256 of every used file with the order's manifest.

    Raises:
        InputError: as `discover`.
    """
    return discover(folders, Scenes(folders=[str(folder) for folder in folders], verify_checksums=checksums))


def summary(delivery: Delivery, season: Days, *, every_file: bool) -> Iterator[str]:
    """Yield the lines to print: tables of items and files, then every rejected item and every broken file.

    Args:
        delivery: what was found.
        season: what counts as in season.
        every_file: list every file with its status.
    """
    yield from _by_year(delivery, season)
    yield ""
    yield f"instruments  {_listed(_instruments(delivery.items))}"
    yield f"products     {_listed(_product(item) for item in delivery.items)}"
    yield f"files        {_files(delivery.files)}"
    if every_file:
        yield "\nFiles:"
        for row in sorted(delivery.files, key=lambda row: (row.status, row.path)):
            yield f"  {row.status:<10}  {row.role:<13}  {row.path}{': ' if row.reason else ''}{row.reason}"
    if delivery.rejected:
        yield "\nRejected items:"
        yield from (f"  {item.id}: {item.reason}" for item in delivery.rejected)
    if any(row.broken for row in delivery.files):
        yield "\nBroken files:"
        yield from (f"  {row.path}: {row.reason}" for row in delivery.files if row.broken)


def _by_year(delivery: Delivery, season: Days) -> Iterator[str]:
    usable = [item.acquired for item in delivery.items]
    rejected = [item.acquired or "unknown" for item in delivery.rejected]
    heads = ["year", "usable", *(["in season"] if season.days else []), "rejected", "first day", "last day"]
    rows = [heads]
    for year in [*sorted({time[:4] for time in usable + rejected if time != "unknown"}), "unknown", "all"]:
        here, not_here = ([time for time in times if year in (time[:4], time, "all")] for times in (usable, rejected))
        if here or not_here or year == "all":
            counts = [len(here), *([sum(map(season.holds, here))] if season.days else []), len(not_here)]
            days = sorted(time[:10] for time in here + not_here if time != "unknown") or [""]
            rows.append([year, *map(str, counts), days[0], days[-1]])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _instruments(items: Iterable[Item]) -> Iterator[str]:
    for item in items:
        told = metadata.read_feature(item.metadata)["properties"] if item.metadata else {}
        instrument = told.get("instrument") or (metadata.read_xml(item.xml).get("instrument") if item.xml else None)
        yield instrument if isinstance(instrument, str) else "unknown"


def _product(item: Item) -> str:
    name = names.parse(item.reflectance)
    eight = " of 8 bands" if name.eight_bands else ""
    return f"{PRODUCTS[name.role]}{eight} {MASKS[item.mask_kind]}"


def _files(rows: Sequence[FileRow]) -> str:
    number = Counter(row.status for row in rows)
    on_disk = [row for row in rows if delivered.on_disk(Path(row.path)) == Path(row.path)]
    packed = len(rows) - len(on_disk)
    inside = f" and {packed} in zip archives" if packed else ""
    statuses = ", ".join(f"{number[status]} {status}" for status in get_args(Status))
    return f"{statuses}; {len(on_disk)} on disk{inside}, {_size(sum(row.bytes for row in on_disk))}"


def _listed(kinds: Iterable[str]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in sorted(Counter(kinds).items())) or "none"


def _size(total: float) -> str:
    unit = 0
    while total >= 1000 and unit < len(UNITS) - 1:
        total, unit = total / 1000, unit + 1
    return f"{total:.{1 if unit else 0}f} {UNITS[unit]}"


def draw(delivery: Delivery, season: Days, picture: Path) -> None:
    """Write a PNG of what can be expected of the usable items: see `expected.draw_expected`.

    Raises:
        InputError: there is no usable item in season.
    """
    from rts_pipeline.scenes.expected import draw_expected

    if not any(season.holds(item.acquired) for item in delivery.items):
        raise InputError(picture, "would be empty: no usable item", expected="usable items in season")
    draw_expected(delivery, season, picture)
