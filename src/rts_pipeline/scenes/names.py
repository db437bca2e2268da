"""What a delivered file is, told from its name.

An id has three or four parts after the date ("20151119_025740_0c74", "20221221_084022_18_2414"), so a name is cut at what
follows the id (the product), never at a fixed position. The id of a PSOrthoTile is its strip, tile, day and satellite
("5790392_4372514_2022-07-16_2459").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

SCENE = r"(?P<id>\d{8}_\d{6}(?:_[0-9A-Za-z]+)+?)"
TILE = r"(?P<id>\d+_\d+_\d{4}-\d{2}-\d{2}_[0-9A-Za-z]+)"
END = r"(?P<clip>_clip)?\.(?i:tiff?)\Z"
RASTERS = (
    re.compile(rf"^{SCENE}_(?P<level>[13][AB])_(?P<product>\w+?){END}"),
    re.compile(rf"^{TILE}_(?P<product>\w+?){END}"),
)
XMLS = (
    re.compile(rf"^{SCENE}_3B_(?P<product>AnalyticMS\w*)_metadata(?P<clip>_clip)?\.xml\Z"),
    re.compile(rf"^{TILE}_(?P<product>BGRN_Analytic)_metadata(?P<clip>_clip)?\.xml\Z"),
)
METADATA = tuple(re.compile(rf"^{id_}_metadata\.json\Z") for id_ in (SCENE, TILE))
STAC = tuple(re.compile(rf"^{id_}\.json\Z") for id_ in (SCENE, TILE))
PRODUCTS = (
    ("reflectance", re.compile(r"^(AnalyticMS_SR(_8b)?|BGRN_SR)(_harmonized)?$")),
    ("radiance", re.compile(r"^(AnalyticMS(_8b)?|BGRN_Analytic)$")),
    ("udm2", re.compile(r"^udm2$")),
    ("udm", re.compile(r"^(\w+_)?DN_udm$")),
)


@dataclass(frozen=True)
class Name:
    """What a file name says: the item's id ("" where none), the role, and which variant of it.

    Roles: reflectance, radiance, udm2, udm, metadata, xml, other product, manifest, json, archive, side file, unknown.
    """

    item_id: str
    role: str
    clip: bool = False
    eight_bands: bool = False


def parse(path: Path) -> Name:
    """Tell what a file is, from its name alone."""
    if match := _match(RASTERS, path.name):
        product = match["product"]
        basic = match.groupdict().get("level") in ("1A", "1B", "3A")
        known = (role for role, pattern in PRODUCTS if not basic and pattern.match(product))
        return Name(match["id"], next(known, "other product"), match["clip"] is not None, "_8b" in product)
    if match := _match(XMLS, path.name):
        return Name(match["id"], "xml", match["clip"] is not None, "_8b" in match["product"])
    if match := _match(METADATA, path.name):
        return Name(match["id"], "metadata")
    if path.name == "manifest.json":
        return Name("", "manifest")
    if path.suffix == ".json":
        match = _match(STAC, path.name)
        return Name(match["id"] if match else "", "json")
    if path.suffix.lower() in (".zip", ".tar", ".gz", ".tgz"):
        return Name("", "archive")
    return Name("", "side file" if path.name.endswith((".aux.xml", ".ovr", ".msk")) else "unknown")


def _match(patterns: tuple[re.Pattern[str], ...], name: str) -> re.Match[str] | None:
    return next((match for pattern in patterns if (match := pattern.match(name))), None)
