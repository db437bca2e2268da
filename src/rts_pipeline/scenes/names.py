"""What a delivered file is, told from its name.

An id has three or four parts after the date ("20151119_025740_0c74", "20221221_084022_18_2414"), so a name is cut at what
follows the id (the product), never at a fixed position.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ID = r"(?P<id>\d{8}_\d{6}(?:_[0-9A-Za-z]+)+?)"
RASTER = re.compile(rf"^{ID}_(?P<level>[13][AB])_(?P<product>\w+?)(?P<clip>_clip)?\.(?i:tiff?)$")
XML = re.compile(rf"^{ID}_3B_AnalyticMS\w*_metadata(?P<clip>_clip)?\.xml$")
METADATA = re.compile(rf"^{ID}_metadata\.json$")
STAC = re.compile(rf"^{ID}\.json$")
PRODUCTS = (
    ("reflectance", re.compile(r"^AnalyticMS_SR(_8b)?(_harmonized)?$")),
    ("radiance", re.compile(r"^AnalyticMS(_8b)?$")),
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
    if match := RASTER.match(path.name):
        clip, product = match["clip"] is not None, match["product"]
        known = (role for role, pattern in PRODUCTS if match["level"] == "3B" and pattern.match(product))
        return Name(match["id"], next(known, "other product"), clip, "_8b" in product)
    if match := XML.match(path.name):
        return Name(match["id"], "xml", match["clip"] is not None)
    if match := METADATA.match(path.name):
        return Name(match["id"], "metadata")
    if path.name == "manifest.json":
        return Name("", "manifest")
    if path.suffix == ".json":
        match = STAC.match(path.name)
        return Name(match["id"] if match else "", "json")
    if path.suffix in (".zip", ".tar", ".gz"):
        return Name("", "archive")
    return Name("", "side file" if path.name.endswith((".aux.xml", ".ovr", ".msk")) else "unknown")
