"""Looking and moving about on the review page: swipe and blink, keys of any layout, panels, and what is told of the list."""

import re
import shutil

import numpy as np
import pytest
from playwright.sync_api import expect

from browser_case import Held, Reader, add, cross, draw

pytest_plugins = ("browser_case",)
FIRST, NO_2018 = "r02-0001", "r02-0002"
LEFT, RIGHT = 0.345, 0.655
"""Shares of the picture's width where the slump of 2020 is seen and that of 2019 isn't yet, nor any outline."""


def typed(reader, key, code, shift=False):
    """Press a key as a layout gives it."""
    reader.page.evaluate(
        "([key, code, shiftKey]) => window.dispatchEvent(new KeyboardEvent('keydown', {key, code, shiftKey}))",
        [key, code, shift],
    )


def slump(reader, across):
    """Whether the large view has the colour of the slump there, halfway down, and not that of the ground; None: neither."""
    red, green, blue, _ = reader.page.evaluate(
        """across => {
            const canvas = document.querySelector('.square canvas'), {width, height} = canvas;
            return [...canvas.getContext('2d').getImageData(across * width, height / 2, 1, 1).data];
        }""",
        across,
    )
    return red > green if red > blue else None


def test_swiping_is_against_a_year_that_has_a_picture(reader):
    reader.shows(FIRST)
    reader.press("j", "o", "s", ".")
    reader.shows(NO_2018)
    reader.see("year", "2020")
    expect(reader.page.locator(".square canvas")).to_have_attribute("data-shows", f"{NO_2018} 2020")
    reader.see("against", "2019")
    assert [slump(reader, LEFT), slump(reader, RIGHT)] == [False, True]
    reader.press(*["ArrowLeft"] * 10)
    reader.edge_at(0)
    assert [slump(reader, LEFT), slump(reader, RIGHT)] == [True, True]
    reader.press(*["ArrowRight"] * 14)
    reader.edge_at(70)
    assert [slump(reader, LEFT), slump(reader, RIGHT)] == [False, False]
    # the year that it would be against is in view itself
    reader.press(",")
    reader.see("year", "2019")
    reader.see("against", "2020")
    assert [slump(reader, LEFT), slump(reader, RIGHT)] == [True, True]
    reader.press(*["ArrowLeft"] * 14)
    reader.edge_at(0)
    assert [slump(reader, LEFT), slump(reader, RIGHT)] == [False, False]


def test_the_first_year_is_not_said_while_the_years_blink(reader, project):
    reader.shows(FIRST)
    reader.press("Space")
    expect(reader.page.locator(".tabs")).to_contain_text("stop")
    reader.press("y")
    reader.see("message", "Y again says first visible")
    stopped = re.search(r"topped at (\d{4})", reader.page.locator("[data-test=message]").inner_text())[1]
    reader.see("year", stopped)
    expect(reader.page.locator("footer .more")).to_contain_text("first: not said")
    reader.press("y")
    expect(reader.page.locator("footer .more")).to_contain_text(f"first: {stopped}")
    reader.see("year", stopped)
    reader.press("1")
    reader.shows(NO_2018)
    reader.saved()
    assert [event.first_year_visible for event in project.events()] == [int(stopped)]


def test_without_pictures_no_first_year_is_said(browser, project):
    shutil.rmtree(project.results / "rounds" / "02" / "evidence")
    reader = Reader(browser, project.serve())
    reader.shows(FIRST)
    reader.press("y")
    reader.see("message", "no year in view")
    reader.press("1")
    reader.shows(NO_2018)
    reader.saved()
    assert [(event.decision, event.first_year_visible) for event in project.events()] == [("accept", None)]
    reader.context.close()
    assert reader.problems == []


def test_keys_of_layouts_without_latin_letters(reader, project):
    reader.shows(FIRST)
    typed(reader, "ы", "KeyS")
    reader.see("against", "2018")
    typed(reader, "Process", "KeyB")
    reader.see("year", "2019")
    typed(reader, "б", "Comma")
    reader.see("year", "2018")
    typed(reader, "ю", "Period")
    reader.see("year", "2019")
    typed(reader, "о", "KeyJ")
    reader.shows(NO_2018)
    typed(reader, "Process", "KeyK")
    reader.shows(FIRST)
    panel = reader.page.get_by_role("dialog")
    typed(reader, "д", "KeyL")
    expect(panel).to_contain_text("What to accept")
    typed(reader, "Д", "KeyL")
    expect(panel).to_have_count(0)
    typed(reader, "й", "KeyQ")
    expect(reader.page.get_by_role("button", name="Q Yes")).to_have_attribute("aria-pressed", "true")
    typed(reader, "т", "KeyN")
    reader.draws("0 parts")
    draw(reader, [(0, 0), (10, 0), (0, -10)], start=(40, 160))
    reader.see("drawing", "1 part")
    typed(reader, "я", "KeyZ")
    reader.see("drawing", "0 parts")
    typed(reader, "Я", "KeyZ", shift=True)
    reader.see("drawing", "1 part")
    typed(reader, "у", "KeyE")
    reader.see("drawing", "drag a vertex")
    reader.press("Escape", "1")
    reader.shows(NO_2018)
    reader.saved()
    assert project.decisions() == {FIRST: "accept"}


def test_a_layout_that_has_a_sign_where_others_have_a_letter(reader):
    reader.shows(FIRST)
    # Dvorak
    typed(reader, ",", "KeyW")
    reader.see("year", "2018")
    typed(reader, ".", "KeyE")
    reader.see("year", "2019")
    typed(reader, "q", "KeyX")
    expect(reader.page.locator(".levels .on")).to_have_text(re.compile("Yes"))
    typed(reader, "j", "KeyC")
    reader.shows(NO_2018)
    reader.see("kind", "true")


def test_the_map_is_in_false_colour_after_a_reload(reader):
    reader.shows(FIRST)
    reader.press("c")
    reader.see("kind", "false")
    asked = []
    reader.page.on("request", lambda request: asked.append(request.url) if "/tile/" in request.url else None)
    reader.page.reload()
    reader.shows(FIRST)
    reader.see("kind", "false")
    with reader.page.expect_request("**/tile/false/**"):
        reader.press("p")
    assert not [url for url in asked if "/tile/true/" in url]
    with reader.page.expect_request("**/tile/true/**"):
        reader.press("c")


def test_the_list_of_what_was_added_says_how_many(reader):
    reader.shows(FIRST)
    filters = reader.page.get_by_label("filter")
    filters.select_option("added")
    reader.see("message", "0 shown: added")
    for start in ((40, 160), (120, 160)):
        add(reader, start)
    filters.select_option("all")
    filters.select_option("added")
    reader.see("message", "2 shown: added")
    expect(reader.page.locator("nav .row")).to_have_count(2)


BAR = "[data-test=map] .ol-scale-line-inner"


def zoomed(reader, key):
    """Press a key that zooms the large map, and return how many metres a pixel is then, by the scale bar, whose length is whole
    pixels."""
    bar, width = reader.page.locator(BAR), "e => [e.textContent, e.style.width].join(' ')"
    before = bar.evaluate(width)
    reader.press(key)
    reader.page.wait_for_function(
        "([bar, before]) => [...document.querySelectorAll(bar)].some(e => [e.textContent, e.style.width].join(' ') !== before)",
        arg=[BAR, before],
    )
    number, unit, pixels = bar.evaluate(width).split()
    return float(number) * {"m": 1, "km": 1000}[unit] / float(pixels.removesuffix("px"))


def test_the_map_is_zoomed_and_moved_by_keyboard(reader):
    reader.shows(FIRST)
    reader.press("p")
    expect(reader.page.locator(BAR)).to_have_text(re.compile("m$"))
    start = zoomed(reader, "-")
    for key, factor in (("-", 2), ("+", 1), ("-", 2), ("=", 1)):
        assert zoomed(reader, key) == pytest.approx(factor * start, rel=0.1)
    # a drawing begins in the middle of the map, which lies around the candidate when that is left
    middles = []
    for keys in ((), ("ArrowRight", "ArrowUp"), ("ArrowLeft", "ArrowDown")):
        reader.press("p")
        expect(reader.page.locator(BAR)).to_have_text(re.compile("m$"))
        reader.press(*keys, "n")
        reader.draws("0 parts")
        middles.append(cross(reader))
        reader.press("Escape")
        expect(reader.page.locator("[data-test=drawing]")).to_have_count(0)
    start, there, back = np.array(middles)
    east, north = there - start
    assert east == pytest.approx(north) and north > 3
    assert (start - back).tolist() == pytest.approx([east, north])


@pytest.mark.parametrize(("key", "title"), [("?", "Keys"), ("l", "What to accept"), ("x", "Examples"), ("g", "Go to")])
def test_the_focus_stays_in_a_panel(reader, key, title):
    reader.shows(FIRST)
    reader.press(key)
    expect(reader.page.get_by_role("dialog")).to_contain_text(title)
    outside = "() => !document.activeElement.closest('[role=dialog]') && document.activeElement !== document.body"
    found = []
    for _ in range(6):
        reader.press("Tab")
        found.append(reader.page.evaluate(outside))
    assert found == [False] * 6
    reader.press("Escape")
    expect(reader.page.get_by_role("dialog")).to_have_count(0)
    reader.press("j")
    reader.shows(NO_2018)


def test_where_a_candidate_lies_is_told_also_beside_the_numbers(reader):
    reader.shows(FIRST)
    place = reader.page.locator(".facts .place")
    expect(place).to_contain_text("35.0000° 93.0000°")
    reader.press("1")
    reader.shows(NO_2018)
    reader.saved()
    reader.press("k")
    reader.shows(FIRST)
    reader.see("numbers", "network: mean 0.70")
    expect(place).to_have_attribute("title", re.compile("35.0000° 93.0000°"))


def test_an_example_shows_its_outline(reader):
    """In the colour of an outline, where else nothing is blue; of one of the years of four examples there is no image."""
    reader.shows(FIRST)
    reader.press("x")
    panel = reader.page.get_by_role("dialog")
    canvases = panel.locator("canvas")
    expect(canvases).to_have_count(11)
    expect(panel.locator("canvas[data-shows]")).to_have_count(11)
    white = """canvas => {
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        let [blue, hatched] = [0, data[0] < 60];
        for (let at = 0; at < data.length; at += 4) blue += data[at] < 120 && data[at + 2] > 200;
        return [blue > 30, hatched];
    }"""
    assert [canvas.evaluate(white) for canvas in canvases.all()] == [[True, False]] * 11
    reader.press("Escape", "c")
    reader.see("kind", "false")
    reader.press("x")
    expect(panel.locator("canvas[data-shows]")).to_have_count(11)
    red = "canvas => { const [r, g] = canvas.getContext('2d').getImageData(4, 4, 1, 1).data; return r > 1.5 * g; }"
    assert [canvas.evaluate(red) for canvas in canvases.all()] == [True] * 11


def test_a_verdict_is_recorded_though_the_storage_of_the_browser_is_full(reader, project):
    reader.shows(FIRST)
    reader.page.evaluate(
        """() => {
            let text = 'x'.repeat(1 << 22);
            for (let n = 0; text.length; n++) {
                try { localStorage.setItem(`other:${n}`, text); } catch { text = text.slice(0, text.length >> 1); }
            }
        }"""
    )
    held = Held(reader.context, "verdict")
    reader.press("1")
    reader.shows(NO_2018)
    reader.press("2")
    reader.shows("r02-0003")
    reader.see("saved", "2 not saved")
    reader.see("saved", "storage is full")
    reader.press("k")
    reader.shows(NO_2018)
    reader.see("standing", "rejected")
    reader.press("j")
    reader.shows("r02-0003")
    held.let_go()
    reader.saved()
    assert project.decisions() == {FIRST: "accept", NO_2018: "reject"}
    assert len(project.events()) == 2
    # and it is undone
    reader.press("z")
    reader.shows(NO_2018)
    reader.saved()
    assert project.decisions() == {FIRST: "accept"}
