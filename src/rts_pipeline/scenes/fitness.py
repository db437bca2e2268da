"""Why an item can't be used, as far as headers, metadata and manifests tell."""

from __future__ import annotations

from functools import lru_cache

from rts_pipeline.config import Scenes
from rts_pipeline.grid import crs_defect
from rts_pipeline.scenes.deliveries import Choice
from rts_pipeline.scenes.headers import Facts
from rts_pipeline.scenes.manifests import Manifests

SHOWN = 40
"""Characters of a CRS that are told: one without a code is a long text."""


def why_not(item_id: str, choice: Choice, told: dict[str, Facts], options: Scenes, manifests: Manifests) -> str:
    """Return why an item can't be used, or "".

    Args:
        item_id: the item.
        choice: the delivery of it that would be used.
        told: role -> facts of the file in that role of `choice.used`.
        options: which items are excluded, and what to do without mask or without surface reflectance.
        manifests: what was ordered.
    """
    if item_id in options.exclude:
        return f"excluded by the configuration: {options.exclude[item_id]}"
    if "reflectance" not in told:
        return "no surface reflectance delivered" + _but_listed(manifests.lost(item_id, "reflectance", "radiance"))
    for file in choice.used.values():
        if problem := manifests.problem(file):
            return problem
    for role in ("reflectance", "udm2", "udm"):
        if error := told.get(role, {}).get("error"):
            return f"damaged: {choice.used[role].path.name}: {error}"
    header = told["reflectance"]
    if problem := _unfit(header):
        return f"{choice.used['reflectance'].path.name} {problem}"
    return _radiance_problem(choice, told, options) or _mask_problem(
        choice, told, options, _but_listed(manifests.lost(item_id, "udm2", "udm"))
    )


def _but_listed(name: str) -> str:
    return f"; the order's manifest lists {name}, which is not there" if name else ""


def _unfit(header: Facts) -> str:
    """Return what is wrong with a reflectance raster, or ""."""
    if header["count"] not in (4, 8) or header["dtype"] != "uint16":
        return f"has {_bands(header)} of {header['dtype']}, not 4 or 8 of uint16"
    if header["crs"] is None:
        return "declares no CRS"
    if problem := _unfit_crs(header["crs"]):
        return problem
    a, b, _, d, e, _ = header["transform"]
    return "" if a > 0 > e and b == d == 0 else "is not north-up"


@lru_cache
def _unfit_crs(crs: str) -> str:
    """Return what is wrong with a CRS, or "": it must lead to others, and areas and the swath's edge are counted in metres."""
    told = crs if len(crs) <= SHOWN else f"{crs[:SHOWN]}..."
    problems = {
        "": "",
        "unknown": f"lies in {told}, from which PROJ knows no way to other CRS: assign the right one, or order it again",
        "unit": f"lies in {told}, not in a projection in metres: order or warp it in a UTM zone",
    }
    return problems[crs_defect(crs)]


def _radiance_problem(choice: Choice, told: dict[str, Facts], options: Scenes) -> str:
    radiance, xml = choice.used["reflectance"], choice.used.get("xml")
    if radiance.name.role != "radiance":
        return ""
    if options.without_surface_reflectance == "reject":
        return "at-sensor radiance, not surface reflectance"
    # The XML of the other product numbers other bands.
    if xml is None or xml.name.eight_bands != radiance.name.eight_bands:
        return "at-sensor radiance without the XML that holds its reflectance coefficients"
    if problem := told["xml"].get("error"):
        return f"damaged: {xml.path.name}: {problem}"
    known = told["xml"]["coefficients"]
    lacking = [str(band) for band in range(1, told["reflectance"]["count"] + 1) if str(band) not in known]
    return f"{xml.path.name} gives no reflectanceCoefficient for band {', '.join(lacking)}" if lacking else ""


def _mask_problem(choice: Choice, told: dict[str, Facts], options: Scenes, listed: str) -> str:
    header = told["reflectance"]
    mask = next((role for role in ("udm2", "udm") if role in told), None)
    if mask is None:
        return f"no udm2 and no udm delivered{listed}" if options.without_mask == "reject" else ""
    name = choice.used[mask].path.name
    if any(told[mask][key] != header[key] for key in ("shape", "transform", "crs")):
        return f"{name} is not on the grid of {choice.used['reflectance'].path.name}"
    if told[mask]["count"] != (8 if mask == "udm2" else 1):
        return f"{name} has {_bands(told[mask])}, not {8 if mask == 'udm2' else 1}"
    return ""


def _bands(header: Facts) -> str:
    return "1 band" if header["count"] == 1 else f"{header['count']} bands"
