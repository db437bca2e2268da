"""HTML pages that need no network: their templates, and how numbers are written in them."""

from __future__ import annotations

from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined


def template(package: str, name: str) -> Any:
    """Return a template that lies in a package; what it inserts is escaped, and a name that isn't given is an error."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(area=area_text, share=share_text, number=number_text)
    return environment.from_string(resources.files(package).joinpath(name).read_text(encoding="utf-8"))


def area_text(square_metres: float | None) -> str:
    """Return an area in km2 from 1 km2 on, else in hectares."""
    if square_metres is None:
        return "–"
    return f"{square_metres / 1e6:,.2f} km²" if square_metres >= 1e6 else f"{square_metres / 1e4:,.2f} ha"


def share_text(share: float | None) -> str:
    """Return a share in per cent; what isn't quite all or quite nothing is never rounded to it."""
    if share is None:
        return "–"
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{share:.1%}".replace("%", " %").replace(".0 %", " %")


def number_text(value: float | None, decimals: int = 0) -> str:
    """Return a number with thousands separated, or a dash."""
    return "–" if value is None else f"{value:,.{decimals}f}"
