"""Pages of the documentation that mkdocs gets from the code: the configuration, the commands, the columns of an inventory."""

from __future__ import annotations

import html
import re
import subprocess
import sys

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from rts_pipeline.config_file import reference
from rts_pipeline.inventory.dictionary import WKT, columns


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages (called by mkdocs)."""
    pages = {"configuration": configuration, "commands": commands, "dictionary": dictionary}
    for name, made in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content=made()))
    return files


def configuration() -> str:
    """Return the keys of the configuration, a table for each section."""
    head, line, *rows = reference().splitlines()
    parts = [
        "# Configuration",
        "`config/config.yaml` holds every key with its default. [How to configure a project](../configure.md).",
    ]
    section = ""
    for row in rows:
        key = row.split("`")[1]
        here = key.split(".")[0] if "." in key else "folders"
        if here != section:
            section = here
            parts.append(f"\n## {section}\n\n{head}\n{line}")
        parts.append(row)
    return "\n".join(parts[:2]) + "\n" + "\n".join(parts[2:]) + "\n"


def commands() -> str:
    """Return the help of all commands."""
    call = [sys.executable, "-m", "typer", "rts_pipeline.cli", "utils", "docs", "--name", "rts-pipeline"]
    told = html.unescape(subprocess.run(call, capture_output=True, text=True, check=True).stdout)
    # the lists of commands are cut to a line each, and the page has a table of contents
    told = re.sub(r"\*\*Commands\*\*:\n\n(?:\* .*\n(?:  .*\n)*)+", "", told)
    return told.replace("# `rts-pipeline`\n", "# Commands\n", 1)


def dictionary() -> str:
    """Return the columns of a published inventory."""
    parts = [
        "# Data dictionary",
        "",
        "The columns of a published inventory, as `data_dictionary.csv` beside it tells them too.",
        "",
    ]
    parts += ["| column | type | unit | what | from | empty |", "|---|---|---|---|---|---|"]
    for one in (*columns(measured=True), WKT):
        cells = (f"`{one.name}`", one.type, one.unit, one.description, one.source, one.missing)
        parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(parts) + "\n"
