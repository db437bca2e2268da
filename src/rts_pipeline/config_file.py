"""The documented default configuration and the reference page, made from the configuration's model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from rts_pipeline.config import Config, Section

EXAMPLES: dict[str, Any] = {
    "area.aoi": "data/aoi.gpkg",
    "scenes.folders": ["data/orders"],
    "labels.seeds": "data/seeds.gpkg",
}
"""Values of the keys that have no default."""

HEADER = """\
# The configuration of rts-pipeline. Every key is here with its default, but for paths: edit those under area.aoi,
# scenes.folders and labels.seeds first, and attributes.dem, .roads, .railway if there are such files.
# Paths are relative to the folder in which snakemake runs; $NAME is taken from the environment.
# Unknown keys and wrong units are refused. A changed value makes stale just the stages that read it.
# Another file: snakemake --configfile FILE (keys that it leaves out have the defaults shown here).
"""


def documented_default() -> str:
    """Return config/config.yaml."""
    return HEADER + "\n".join(_yaml(Config, prefix="", indent="")) + "\n"


def reference() -> str:
    """Return the Markdown reference of all keys."""
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for key, field in _leaves(Config, ""):
        value = _value(key, field)
        shown = "(required)" if key in EXAMPLES else f"`{_inline(value)}`"
        lines.append(f"| `{key}` | {shown} | {field.description} |")
    return "\n".join(lines) + "\n"


def _sections(model: type[Section]) -> Iterator[tuple[str, FieldInfo, type[Section] | None]]:
    # what a section adds to its base comes first: the folders before the rules of usability
    for name in sorted(model.model_fields, key=lambda name: name not in model.__annotations__):
        field = model.model_fields[name]
        kind = field.annotation
        yield name, field, kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _leaves(model: type[Section], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field, section in _sections(model):
        if section:
            yield from _leaves(section, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def _yaml(model: type[Section], prefix: str, indent: str) -> Iterator[str]:
    for name, field, section in _sections(model):
        if section:
            yield ""
            yield f"{indent}# {(section.__doc__ or '').strip()}"
            yield f"{indent}{name}:"
            yield from _yaml(section, f"{prefix}{name}.", indent + "  ")
        else:
            yield f"{indent}# {field.description}"
            yield f"{indent}{name}: {_inline(_value(prefix + name, field))}"


def _value(key: str, field: FieldInfo) -> Any:
    if key in EXAMPLES:
        return EXAMPLES[key]
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        raise KeyError(f"{key} has neither a default nor an example")
    return list(value) if isinstance(value, tuple) else value


def _inline(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()
