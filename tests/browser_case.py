"""A reviewer in front of a real browser with the real server; the fixtures are for the tests of the page."""

import re
import shutil
from pathlib import Path

import pytest
import shapely
from playwright.sync_api import expect, sync_playwright

from page_case import Project
from review_case import place

CHROMIUM = "/usr/bin/chromium"
SIZE = {"width": 1366, "height": 768}
WAIT_MS = 60_000
"""At most: a busy machine takes seconds to open a page."""


@pytest.fixture(scope="session")
def browser():
    assert Path(CHROMIUM).exists() or shutil.which("chromium"), "these tests need Debian's package chromium (scripts/setup.sh)"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium") or CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("template"))


@pytest.fixture
def project(template, tmp_path):
    project = template.copied(tmp_path)
    yield project
    project.stop()


class Reader:
    """A reviewer in front of a browser."""

    def __init__(self, browser, server, context=None):
        self.problems, self.server = [], server
        self.context = context or browser.new_context(viewport=SIZE, reduced_motion="reduce")
        self.context.set_default_timeout(WAIT_MS)
        self.page = self.context.new_page()
        self.page.on("console", lambda m: self.problems.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda r: self.problems.append(r.url) if not r.url.startswith(server.base) else None)
        self.open()

    def open(self):
        self.page.goto(self.server.address)
        self.ready()

    def ready(self):
        self.page.wait_for_selector("canvas[data-shows]", state="attached")

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def see(self, what, text):
        expect(self.page.locator(f"[data-test={what}]")).to_contain_text(text, timeout=WAIT_MS)

    def saved(self):
        """Wait until nothing waits to be recorded."""
        expect(self.page.locator("[data-test=saved]")).to_have_text(re.compile("✓ saved"), timeout=WAIT_MS)

    def draws(self, text):
        """Wait until the pen is on the map, which has its place on the page a frame later than the outline is told."""
        self.see("drawing", text)
        cross(self)

    def edge_at(self, percent):
        """Wait until the edge of the swipe is there."""
        edge = self.page.locator(".square .edge")
        expect(edge).to_have_attribute("style", re.compile(rf"left: {percent}(\.0*)?\d*%"), timeout=WAIT_MS)

    def shows(self, candidate):
        """Wait until the candidate's chips are painted."""
        self.see("current", candidate)
        self.page.locator(f"canvas[data-shows^='{candidate} ']").first.wait_for(state="attached")

    def goes_to(self, candidate):
        """Go to a candidate or window by its name."""
        self.press("g")
        self.page.keyboard.type(candidate)
        self.press("Enter")
        self.shows(candidate)


class Held:
    """Requests of a browser that don't reach the server before they are let go."""

    def __init__(self, context, path):
        self.routes, self.holding = [], True
        context.route(f"**/api/{path}", self._hold)

    def _hold(self, route):
        self.routes.append(route) if self.holding else route.continue_()

    def let_go(self):
        self.holding = False
        for route in self.routes:
            route.continue_()


@pytest.fixture
def reader(browser, project):
    reader = Reader(browser, project.serve())
    yield reader
    reader.context.close()
    assert reader.problems == []


def draw(reader, steps, start):
    """Put the cross somewhere, metres from the square's lower left corner, and draw from there by pixels."""
    x, y = place(shapely.Point(*start)).coords[0]
    now = cross(reader)
    go(reader, round((x - now[0]) / 3), round((y - now[1]) / 3))
    ring(reader, steps)
    reader.press("Enter")


def ring(reader, steps):
    """Put the vertices of an area, each some pixels from the one before, the first from where the cross is."""
    for dx, dy in steps:
        go(reader, dx, dy)
        reader.press("Space")


def add(reader, start=(40, 160)):
    """Add a slump by keyboard, and wait until it is recorded."""
    reader.press("n")
    reader.draws("0 parts")
    draw(reader, [(0, 0), (10, 0), (0, -10)], start=start)
    reader.see("drawing", "1 part")
    reader.press("Enter")
    reader.see("message", "Added")
    reader.saved()


def cross(reader):
    drawn = reader.page.locator("[data-test=map][data-cross]")
    return tuple(float(part) for part in drawn.get_attribute("data-cross").split(" "))


def go(reader, dx, dy):
    for count, keys in ((dx, ("ArrowRight", "ArrowLeft")), (dy, ("ArrowUp", "ArrowDown"))):
        key = keys[0] if count > 0 else keys[1]
        reader.press(*[f"Shift+{key}"] * (abs(count) // 5), *[key] * (abs(count) % 5))
