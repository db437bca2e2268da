"""The review page on a small screen: nothing is cut, nothing overlaps, and colours are never all that tells things apart."""

from dataclasses import replace

import pandas as pd
import pytest
from playwright.sync_api import expect

from browser_case import SIZE, Reader, draw
from page_case import Project
from review_case import frame, middle
from rts_pipeline import io
from rts_pipeline.review.rounds import DRAFT, read_draft

pytest_plugins = ("browser_case",)
SMALL = {"width": 1366, "height": 640}
"""What a window has left of a screen of 1366 x 768."""
LEAST_PICTURE_PX = 110
"""A slump of a picture's middle third is then still some forty pixels wide."""
FIRST, CHANGED, WINDOW = "r02-0001", "r02-0003", "a02-0010"
"""The window comes after the slump that changed."""
AMISS = """() => {
    const box = e => e.getBoundingClientRect();
    const all = what => [...document.querySelectorAll(what)].filter(e => e.checkVisibility() && !e.closest('nav'));
    const name = e => `${e.tagName} ${e.className} ${e.textContent.trim().slice(0, 40)}`;
    const inside = (a, b) => a.left >= b.left - 1 && a.right <= b.right + 1 && a.top >= b.top - 1 && a.bottom <= b.bottom + 1;
    const found = [], screen = {left: 0, top: 0, right: innerWidth, bottom: innerHeight};
    const root = document.scrollingElement;
    if (root.scrollHeight > innerHeight || root.scrollWidth > innerWidth) found.push('the page scrolls');
    const apart = 'button, select, textarea, .facts > *, .others > *, header > *, .reasons, .caption > *';
    for (const e of all(`${apart}, kbd, canvas, .map, .numbers > *, .hint, .legend`)) {
        const b = box(e);
        if (!b.width || !b.height || e.matches('.message')) continue;
        if (!inside(b, screen)) found.push(`outside: ${name(e)}`);
        const words = e.clientWidth && !e.matches('canvas, .map');
        if (words && e.scrollWidth > e.clientWidth + 1) found.push(`too narrow: ${name(e)}`);
        for (let up = e.parentElement; up; up = up.parentElement)
            if (getComputedStyle(up).overflow !== 'visible' && !inside(b, box(up))) found.push(`cut: ${name(e)}`);
    }
    all(apart).forEach((e, at, every) => every.slice(at + 1).forEach(other => {
        if (e.contains(other) || other.contains(e)) return;
        const [a, b] = [box(e), box(other)];
        const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (wide > 1 && high > 1) found.push(`overlap: ${name(e)} | ${name(other)}`);
    }));
    return found;
}"""


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return full(tmp_path_factory.mktemp("layout"), [2016, 2017, 2018, 2019, 2020])


def full(folder, years):
    """A project with an audit, and numbers as long as they get."""
    windows = frame(sampled=[10, 24], round="02")
    windows.loc[10, "known"] = middle(10)
    project = Project(folder, windows=windows, years=years)
    evidence = project.results / "rounds/02/evidence"
    change = pd.read_parquet(evidence / "change.parquet")
    long = {"growth_m2_yr": 12345.0, "growth_low_m2_yr": 10234.0, "growth_high_m2_yr": 15432.0, "retreat_m_yr": 26.5}
    io.write_parquet(evidence / "change.parquet", change.assign(**long))
    draft = read_draft(project.reviews, "02")
    judged = project.reviews / "round_02/candidates.parquet"
    candidates = io.read_geoparquet(judged)
    known_m = candidates["status"].map({"changed": 0.0, "candidate": 12345.0})
    io.write_parquet(judged, candidates.assign(expected_area_m2=123456.0, known_m=known_m))
    replace(draft, candidates_sha256=io.sha256_file(judged)).write(judged.with_name(DRAFT))
    table = io.read_geoparquet(evidence / "evidence.parquet")
    io.write_parquet(evidence / "evidence.parquet", table.assign(area_m2=123456.0, seen=True))
    return project


def sees_its_numbers(reader):
    """Judge the slump that changed, and see it again: what was measured comes after the verdict."""
    reader.shows(FIRST)
    reader.goes_to(CHANGED)
    reader.press("y", "1")
    reader.shows(WINDOW)
    reader.saved()
    reader.goes_to(CHANGED)


@pytest.mark.parametrize("size", [SIZE, SMALL], ids=["screen", "window"])
def test_ten_years_are_all_in_view(browser, tmp_path, size):
    project = full(tmp_path, list(range(2015, 2025)))
    reader = Reader(browser, project.serve())
    reader.page.set_viewport_size(size)
    try:
        sees_its_numbers(reader)
        reader.see("numbers", "26.5")
        reader.page.wait_for_timeout(150)
        years = reader.page.locator(".year")
        expect(years).to_have_count(10)
        edges = reader.page.evaluate("() => [...document.querySelectorAll('.year canvas')].map(e => e.clientWidth)")
        assert min(edges) == max(edges) >= LEAST_PICTURE_PX
        for measure in ("area", "probability", "NDVI", "brightness"):
            assert (measure, reader.page.evaluate(AMISS)) == (measure, [])
            reader.press("i")
        years.last.click()
        reader.see("year", "2024")
        reader.press("p")
        reader.page.wait_for_timeout(150)
        assert reader.page.evaluate(AMISS) == []
    finally:
        reader.context.close()
        project.stop()


@pytest.mark.parametrize("size", [SIZE, SMALL], ids=["screen", "window"])
def test_nothing_is_cut_or_overlaps(reader, size):
    reader.page.set_viewport_size(size)
    states = {}

    def look(state):
        reader.page.wait_for_timeout(150)
        states[state] = reader.page.evaluate(AMISS)

    reader.shows(FIRST)
    reader.goes_to(WINDOW)
    look("a window")
    reader.press("p")
    look("a window on the map")
    reader.press("n")
    look("a slump is added in a window")
    reader.press("Escape")
    reader.goes_to(CHANGED)
    look("a known slump that changed")
    # all that can be said, in its longest words
    reader.press("q", "u", "u", "y", "a", "Shift+2")
    reader.shows(WINDOW)
    reader.saved()
    look("after a verdict")
    reader.goes_to(CHANGED)
    reader.see("numbers", "26.5")
    reader.see("numbers", "expected 123,456 m²")
    look("with the numbers")
    for measure in ("probability", "NDVI", "brightness"):
        reader.press("i")
        look(measure)
    reader.goes_to("r02-0005")
    reader.press("1")
    reader.shows("r02-0006")
    reader.saved()
    reader.goes_to("r02-0005")
    reader.see("numbers", "from known 12.3 km")
    look("with the numbers of one that is far from what is known")
    reader.goes_to(CHANGED)
    for key, state in (("s", "swipe"), ("p", "map"), ("3", "an outline is redrawn"), ("x", "an area is cut out")):
        reader.press(key)
        look(state)
    assert {state: amiss for state, amiss in states.items() if amiss} == {}


def test_what_was_measured_in_a_year_is_beside_it(reader):
    sees_its_numbers(reader)
    captions = reader.page.locator(".caption")
    assert [text.split() for text in captions.all_inner_texts()] == [
        [year, "07-14,", "97", "%", "123,456", "m²"] for year in ("2016", "2017", "2018", "2019", "2020")
    ]
    assert reader.page.locator(".year", has=reader.page.locator(".first")).inner_text().startswith("Y first")


def test_each_kind_of_line_has_a_pattern_of_its_own(reader):
    """Somebody who sees no colours tells them apart."""
    reader.shows(FIRST)
    reader.press("p")
    shown = reader.page.evaluate(
        """() => [...document.querySelectorAll('.legend span')].map(
            e => [e.textContent, e.querySelector('line:last-child').getAttribute('stroke-dasharray')])"""
    )
    assert len(shown) == 7
    assert len({pattern for _, pattern in shown}) == len(shown), shown


def test_verdicts_are_told_apart_by_marks(reader):
    reader.shows(FIRST)
    for number, key in enumerate(("1", "2", "4"), 1):
        reader.goes_to(f"r02-000{number}")
        reader.press(key)
    reader.goes_to("r02-0005")
    reader.press("3")
    reader.draws("1 part")
    reader.press("Tab", "ArrowUp", "Enter")
    reader.shows("r02-0006")
    reader.press("n")
    draw(reader, [(0, 0), (10, 0), (0, -10)], start=(40, 160))
    reader.press("Enter")
    reader.saved()
    rows = reader.page.locator("nav .row .mark").all_inner_texts()
    assert [rows[number] for number in (0, 1, 2, 5)] == ["✓", "✗", "?", "✎"]
    assert len(set(reader.page.locator("button.verdict .mark").all_inner_texts())) == 4
