"""How the layers of an offline package look in QGIS, and their forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from rts_pipeline.imagery import COLOURS, Limits
from rts_pipeline.review.events import DECISIONS, OUTLINE_SCOPES, REJECT_REASONS
from rts_pipeline.review.formats import ACTIVE
from rts_pipeline.review.qgis_project import element, options

NULL = "{2839923C-8B7D-419E-B84B-CA2FE9B80EC7}"
"""Stands for NULL in QGIS's lists of values."""
STYLES = {
    "": ("#FFFFFF", "solid", "not judged"),
    "accept": ("#56B4E9", "solid", "accept"),
    "reject": ("#E69F00", "dash", "reject"),
    "edit": ("#CC79A7", "dash dot dot", "edit"),
    "unsure": ("#F0E442", "dot", "unsure"),
}
"""Colour (as on the review page, by Okabe & Ito 2008), line and legend of each decision; verdicts differ in the line too."""
WINDOW_STYLES = {
    "": ("#FFFFFF", "dash dot", "not looked through"),
    "reject": ("#E69F00", "dash dot", "nothing more to add"),
    "unsure": ("#F0E442", "dash dot", "unsure"),
}
"""The same of the windows of an audit, which are no outlines."""
ADDED, KNOWN = ("#009E73", "solid"), ("#CCCCCC", "dot")
POSSIBILITIES = {"yes (1)": "1", "high (0.75)": "0.75", "medium (0.5)": "0.5", "low (0.25)": "0.25", "no (0)": "0"}
MEANINGS = {
    "accept": "accept: a slump, with the candidate's outline",
    "reject": "reject: no slump",
    "edit": "edit: a slump, I redrew its outline",
    "unsure": "unsure",
}
CONSTRAINTS = {
    "decision": (
        '"decision" is not null or coalesce("possibility", "outline_scope", "active", nullif("note", \'\')) is null',
        "decide (at least unsure), or clear the rest",
    ),
    "reject_reason": ('"reject_reason" is null or "decision" = \'reject\'', "only with the decision 'reject'"),
}
"""What the import would refuse, told while the form is filled in."""
UNIQUE, EXPRESSION = 2, 4
"""Kinds of constraints (QgsFieldConstraints::Constraint)."""


def _choices(values: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    return "ValueMap", {"map": [{"": NULL}, *({shown: value} for shown, value in values.items())]}


WIDGETS: dict[str, tuple[str, dict[str, Any]]] = {
    "decision": _choices({MEANINGS[decision]: decision for decision in DECISIONS}),
    "possibility": _choices(POSSIBILITIES),
    "reject_reason": _choices({reason: reason for reason in REJECT_REASONS}),
    "outline_scope": _choices({scope: scope for scope in OUTLINE_SCOPES}),
    "active": _choices({said: said for said in ACTIVE}),
    "note": ("TextEdit", {"IsMultiline": True, "UseHtml": False}),
}
WINDOW_WIDGETS: dict[str, tuple[str, dict[str, Any]]] = {
    "decision": _choices({"reject: nothing more to add here": "reject", "unsure": "unsure"}),
    "note": WIDGETS["note"],
}
"""All that can be said of a window."""
SHOWN = {"candidate_id": "candidate", "status": "status", "known_ids": "known slumps there", "area_m2": "area (m2)"}
"""Columns of a candidate that its form shows, not to be changed; the others are hidden."""
ALIASES = {"reject_reason": "why rejected", "outline_scope": "outline holds", **SHOWN}


def candidate_parts(columns: Sequence[str]) -> list[Element]:
    """Return the style by decision and the form of the candidates, whose table has these columns."""
    return _judged(columns, STYLES, WIDGETS)


def window_parts(columns: Sequence[str]) -> list[Element]:
    """Return the style by decision and the form of the windows of an audit: neither accept nor edit is offered."""
    return _judged(columns, WINDOW_STYLES, WINDOW_WIDGETS)


def _judged(columns: Sequence[str], styles: Mapping[str, tuple[str, str, str]], widgets: Mapping[str, Any]) -> list[Element]:
    categories, symbols = element("categories"), element("symbols")
    for number, (decision, (colour, line, legend)) in enumerate(styles.items()):
        categories.append(element("category", value=decision, symbol=number, label=legend, render="true", type="string"))
        symbols.append(_outline(str(number), colour, line))
    attribute = "coalesce(\"decision\", '')"
    renderer = element("renderer-v2", categories, symbols, type="categorizedSymbol", attr=attribute, forceraster=0)
    return [renderer, *_form(columns, widgets), element("previewExpression", text='"candidate_id"')]


def missed_parts(columns: Sequence[str]) -> list[Element]:
    """Return the style and the form of the slumps that the reviewer adds."""
    return [_single(*ADDED), *_form(columns, WIDGETS, named=True)]


def known_parts() -> list[Element]:
    """Return the style of the known outlines."""
    return [_single(*KNOWN)]


def raster_parts(bands: Sequence[str], colour: str, limits: Limits | None = None) -> list[Element]:
    """Return how a raster's bands are shown.

    Args:
        bands: their names, in order; "alpha" is transparency.
        colour: a name in COLOURS.
        limits: shown as black and white; None: bytes, as they are.
    """
    alpha = bands.index("alpha") + 1 if "alpha" in bands else -1
    renderer = element("rasterrenderer", type="multibandcolor", opacity=1, alphaBand=alpha)
    for name, band in zip(("red", "green", "blue"), COLOURS[colour], strict=True):
        renderer.set(f"{name}Band", str(bands.index(band) + 1))
        if limits is not None:
            low, high = (
                element(f"{end}Value", text=repr(value)) for end, value in zip(("min", "max"), limits[band], strict=True)
            )
            algorithm = element("algorithm", text="StretchToMinimumMaximum")
            renderer.append(element(f"{name}ContrastEnhancement", low, high, algorithm))
    resampler = element("rasterresampler", maxOversampling=2, zoomedInResampler="cubic", zoomedOutResampler="bilinear")
    return [element("pipe", renderer, resampler)]


def _single(colour: str, line: str) -> Element:
    return element("renderer-v2", element("symbols", _outline("0", colour, line)), type="singleSymbol", forceraster=0)


def _outline(name: str, colour: str, line: str) -> Element:
    """Return an outline on a black one, so that it is seen on any ground; what lies inside stays free to be judged."""
    lines = [("#000000", "solid", "1.0"), (colour, line, "0.6")]
    layers = [
        element(
            "layer",
            options({"line_color": _rgba(shown), "line_style": style, "line_width": width, "line_width_unit": "MM"}),
            class_="SimpleLine",
            enabled=1,
            locked=0,
        )
        for shown, style, width in lines
    ]
    return element("symbol", *layers, type="fill", name=name, alpha=1, clip_to_extent=1)


def _rgba(colour: str) -> str:
    return ",".join(str(value) for value in (*bytes.fromhex(colour[1:]), 255))


def _form(columns: Sequence[str], widgets: Mapping[str, tuple[str, dict[str, Any]]], *, named: bool = False) -> list[Element]:
    """Return the form of a layer.

    Args:
        columns: of its table.
        widgets: of the columns that may be filled in.
        named: whether a new row gets an id of its own, by which the import knows it again. Where an id has to be unique,
            QGIS gives one to what is split off or pasted as well.
    """
    fields, aliases, editable = element("fieldConfiguration"), element("aliases"), element("editable")
    constraints, expressions, defaults = element("constraints"), element("constraintExpressions"), element("defaults")
    for number, name in enumerate(["fid", *columns]):
        kind, config = widgets.get(name, ("TextEdit" if name in SHOWN else "Hidden", {}))
        widget = element("editWidget", element("config", options(config)), type=kind)
        fields.append(element("field", widget, name=name, configurationFlags="None"))
        aliases.append(element("alias", field=name, index=number, name=ALIASES.get(name, "")))
        editable.append(element("field", name=name, editable=int(name in widgets)))
        rule, told = CONSTRAINTS.get(name, ("", "")) if "decision" in columns else ("", "")
        unique = named and name == "candidate_id"
        kinds = UNIQUE * unique + EXPRESSION * bool(rule)
        strength: dict[str, Any] = {"unique_strength": int(unique), "exp_strength": int(bool(rule)), "notnull_strength": 0}
        constraints.append(element("constraint", field=name, constraints=kinds, **strength))
        defaults.append(element("default", field=name, expression="uuid()" if unique else "", applyOnUpdate=0))
        expressions.append(element("constraint", field=name, exp=rule, desc=told))
    table = element("attributetableconfig", element("columns", *_columns(columns, widgets)), actionWidgetStyle="dropDown")
    return [fields, aliases, defaults, constraints, expressions, editable, table]


def _columns(columns: Sequence[str], widgets: Mapping[str, Any]) -> list[Element]:
    """Return which columns the attribute table shows."""
    return [
        element("column", name=name, type="field", width=-1, hidden=int(name not in widgets and name not in SHOWN))
        for name in ["fid", *columns]
    ]
