"""Reading a configuration, and telling a mistake in it in one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from rts_pipeline.config.whole import Config
from rts_pipeline.errors import UsageError

SHOWN = 200
"""Characters of a value that a message shows."""


def load_config(path: Path) -> Config:
    """Read and validate a YAML configuration file.

    Raises:
        UsageError: missing file, not YAML, unknown key, wrong type or unit, undefined environment variable.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(path, "no such file", do="pass --config FILE or copy config/config.yaml") from None
    except (yaml.YAMLError, ValueError) as error:  # a day that no month has is a ValueError
        raise UsageError(path, f"not valid YAML ({error})") from None
    return validate_config(values, path)


def validate_config(values: Any, source: str | Path) -> Config:
    """Validate configuration values; `$NAME` and `${NAME}` in strings are taken from the environment.

    Raises:
        UsageError: unknown key, wrong type or unit, undefined environment variable. The source and the key are named.
    """
    if not isinstance(values, dict):
        raise UsageError(source, f"holds {type(values).__name__}", expected="a mapping of sections")
    try:
        config = Config.model_validate(_expand(values, str(source)))
    except ValidationError as error:
        raise UsageError(source, first_problem(error), do="see config/README.md") from None
    return config


def _expand(value: Any, source: str) -> Any:
    if isinstance(value, dict):
        return {key: _expand(item, source) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, source) for item in value]
    if not isinstance(value, str) or "$" not in value:
        return value
    expanded = os.path.expandvars(value)
    if "$" in expanded:
        raise UsageError(source, f"'{value}' names an environment variable that is not set", do="export it or write the path")
    return expanded


def first_problem(error: ValidationError) -> str:
    """Say in one line what pydantic found first: the key, the value and what was expected."""
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if not key:
        return str(problem["ctx"]["error"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{key}'{_suggestion(problem['loc'])}"
    if problem["type"] == "missing":
        return f"key '{key}' is missing"
    value = repr(problem["input"])
    return f"key '{key}' is {value[:SHOWN]}{'...' if len(value) > SHOWN else ''}: {problem['msg']}"


def _suggestion(location: tuple[int | str, ...]) -> str:
    import difflib

    model: Any = Config
    for part in location[:-1]:
        if isinstance(part, int):  # in a list of sections
            (model,) = get_args(model)[:1] or (None,)
            continue
        field = getattr(model, "model_fields", {}).get(str(part))
        model = field.annotation if field else None
    known = list(getattr(model, "model_fields", {}))
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(known)}" if known else ""
