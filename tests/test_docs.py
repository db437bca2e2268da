"""The documentation: it builds, no link is broken, and what is made from the code is in it."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from rts_pipeline.cli import app
from rts_pipeline.inventory.dictionary import columns

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CALL = re.compile(r"^ *(rts-pipeline (?:[^\n\\]|\\\n)+)", re.MULTILINE)
"""A command on a line of its own, as people copy it."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    call = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)]
    done = subprocess.run(call, cwd=ROOT, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return out


def test_no_link_is_broken_and_no_page_is_left_out_of_the_contents(site):
    assert len(list(site.rglob("*.html"))) > 15


def test_the_site_asks_nothing_of_other_hosts(site):
    asked = re.compile(
        r"<(?:script|img|iframe|source)[^>]*\ssrc=\"?(?:https?:)?//|<link[^>]*rel=\"?(?:stylesheet|preconnect|icon)[^>]*href=\"?https?://"
    )
    assert [page.name for page in site.rglob("*.html") if asked.search(page.read_text())] == []


def test_reference_pages_hold_what_the_code_says(site):
    dictionary = (site / "reference/dictionary.html").read_text()
    assert all(f"<code>{column.name}</code>" in dictionary for column in columns(measured=True))
    commands = (site / "reference/commands.html").read_text()
    assert "rts-pipeline review finish" in commands
    assert "<code>train.warm_start</code>" in (site / "reference/configuration.html").read_text()


def test_files_that_the_readme_names_exist():
    named = re.findall(r"`((?:docs|config|workflow|scripts|src)/[\w./-]+)`", (ROOT / "README.md").read_text())
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_commands_that_people_copy_are_commands():
    calls = [(page.name, call) for page in PAGES for call in CALL.findall(page.read_text())]
    assert len(calls) > 20
    wrong = {}
    for page, call in calls:
        command, words = typer.main.get_command(app), shlex.split(call, comments=True)[1:]
        words = words[: next((at for at, word in enumerate(words) if word in {"|", ">", "&&"}), len(words))]
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        try:
            command.make_context(call, words)
        except Exception as error:
            wrong[f"{page}: {call}"] = str(error)
    assert wrong == {}
