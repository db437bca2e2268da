"""The windows of an audit on the review page: items like any other before they are opened, and never taken for outlines."""

import pytest
from playwright.sync_api import expect

from browser_case import Held, Reader, draw
from page_case import Project
from review_case import frame, middle
from rts_pipeline import io
from rts_pipeline.config import GUIDELINE

pytest_plugins = ("browser_case",)
EMPTY, FULL = "a02-0010", "a02-0024"
"""Windows: a slump is known in the first, a candidate lies in the second. Their ranks are 4 and 7."""
FIRST, AFTER_EMPTY, AFTER_FULL = "r02-0001", "r02-0004", "r02-0007"
BLUE, YELLOW, PURPLE = (86, 180, 233), (240, 228, 66), (204, 121, 167)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    windows = frame(sampled=[10, 24], round="02")
    windows.loc[10, "known"] = middle(10)
    return Project(tmp_path_factory.mktemp("windows"), windows=windows)


def pixels(reader, colour):
    """How many pixels of the large view have a colour."""
    return reader.page.evaluate(
        """(colour) => {
            const canvas = document.querySelector('.square canvas');
            const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            let count = 0;
            for (let at = 0; at < data.length; at += 4)
                if (colour.every((value, band) => Math.abs(data[at + band] - value) < 6)) count++;
            return count;
        }""",
        colour,
    )


def on_the_map(reader, colour):
    """Look at the map until it has a colour."""
    reader.press("p")
    reader.page.wait_for_function(
        """(colour) => [...document.querySelectorAll('.view .map canvas')].some(canvas => {
            if (!canvas.width) return false;
            const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            for (let at = 0; at < data.length; at += 4)
                if (colour.every((value, band) => Math.abs(data[at + band] - value) < 6)) return true;
            return false;
        })""",
        arg=list(colour),
    )
    reader.press("b")


def test_a_window_is_looked_through(reader, project):
    reader.shows(FIRST)
    reader.goes_to(EMPTY)
    reader.see("window", "A window, no outline")
    reader.see("facts", "window, 36,8")
    verdicts = reader.page.locator("button.verdict")
    assert [verdicts.nth(number).is_enabled() for number in range(4)] == [False, True, False, True]
    expect(verdicts.nth(1)).to_contain_text("nothing more to add")
    for key, told in (
        ("1", "A window is no outline"),
        ("3", "A window is no outline"),
        ("Shift+2", "needs no reason"),
        ("q", "only the verdict and a note"),
        ("u", "only the verdict and a note"),
    ):
        reader.press("Escape", key)
        reader.see("message", told)
    reader.press("2")
    reader.shows(AFTER_EMPTY)
    reader.see("progress", "1 of 10")
    reader.see("numbers", "come after the verdict")
    reader.saved()
    assert project.decisions() == {EMPTY: "reject"}
    reader.press("k")
    reader.shows(EMPTY)
    reader.see("standing", "nothing more to add")
    assert reader.page.locator("[data-test=numbers]").inner_text().strip() == ""
    reader.press("4")
    reader.shows(AFTER_EMPTY)
    reader.saved()
    assert project.decisions() == {EMPTY: "unsure"}
    (_, last) = project.events()
    assert (last.possibility, last.reject_reason, last.geometry) == (None, None, None)


def test_a_slump_is_added_in_a_window(reader, project):
    reader.shows(FIRST)
    reader.goes_to(FULL)
    reader.press("n", "w")
    draw(reader, [(0, 0), (10, 0), (0, -10)], start=(110, 60))
    reader.see("drawing", "1 part")
    reader.press("m")
    reader.page.keyboard.type("under snow in 2018")
    held = Held(reader.context, "missed")
    reader.press("Enter", "Enter")
    reader.see("message", "Added")
    reader.see("current", FULL)
    reader.see("saved", "saving 1")
    assert pixels(reader, PURPLE) > 50, "what was added is shown, whether the server has it or not"
    on_the_map(reader, PURPLE)
    held.let_go()
    reader.saved()
    assert pixels(reader, PURPLE) > 50
    on_the_map(reader, PURPLE)
    reader.press("2")
    reader.shows(AFTER_FULL)
    reader.saved()
    said = {event.candidate_id: event for event in project.events()}
    window = said.pop(FULL)
    (added,) = said.values()
    assert (window.decision, window.possibility, window.note) == ("reject", None, None)
    assert (added.action, added.possibility, added.note) == ("add_missed", 0.75, "under snow in 2018")


def test_a_window_is_a_frame_and_shows_what_is_in_a_list(reader):
    reader.shows(FIRST)
    reader.goes_to(EMPTY)
    frame_alone = pixels(reader, BLUE)
    assert frame_alone > 500, "the line of whatever is to be judged"
    assert pixels(reader, YELLOW) > 50
    reader.goes_to(FULL)
    assert pixels(reader, BLUE) > frame_alone + 50
    assert pixels(reader, YELLOW) == 0
    reader.press("o")
    assert pixels(reader, BLUE) == 0


def test_the_guideline_tells_what_to_do_with_a_window(reader):
    reader.shows(FIRST)
    reader.goes_to(EMPTY)
    reader.press("l")
    panel = reader.page.get_by_role("dialog")
    expect(panel).to_contain_text(f"Version: {GUIDELINE}")
    expect(panel.get_by_role("heading", name="Windows of an audit")).to_be_in_viewport()
    expect(panel.locator(".differs")).to_have_count(0)
    # it is read by the keys of the browser
    body = panel.locator(".body")
    reader.press("Home")
    reader.page.wait_for_function("e => e.scrollTop === 0", arg=body.element_handle())
    reader.press("l")
    expect(panel).to_have_count(0)


def test_a_review_that_began_with_an_older_guideline_says_so(browser, project):
    draft = project.reviews / "round_02" / "draft.json"
    io.write_json(draft, {**io.read_json(draft), "guideline_version": "1"})
    reader = Reader(browser, project.serve())
    reader.press("l")
    told = reader.page.get_by_role("dialog").locator(".differs")
    expect(told).to_contain_text(f"guideline version 1; the text below is version {GUIDELINE}")
    reader.press("Escape", "2")
    reader.shows("r02-0002")
    reader.saved()
    reader.context.close()
    assert [event.guideline_version for event in project.events()] == ["1"]
    assert reader.problems == []


def test_an_audit_by_keyboard_alone(reader, project):
    """A window with a note, and one in which a slump is added; then undo and redo."""
    reader.shows(FIRST)
    reader.press("j", "j", "j")
    reader.shows(EMPTY)
    reader.press("m")
    reader.page.keyboard.type("cloud in the north")
    reader.press("Enter", "4")
    reader.shows(AFTER_EMPTY)
    reader.press("g", "8", "Enter")
    reader.shows(FULL)
    reader.press("c", "s", "b", ".", "n", "d")
    draw(reader, [(0, 0), (10, 0), (0, -10)], start=(110, 60))
    reader.see("drawing", "1 part")
    reader.press("r", "Enter")
    reader.see("message", "Added")
    reader.press("2")
    reader.see("progress", "2 of 10")
    reader.press("z")
    reader.see("progress", "1 of 10")
    reader.press("Shift+Z")
    reader.see("progress", "2 of 10")
    reader.saved()
    decisions = project.decisions()
    assert (decisions.pop(EMPTY), decisions.pop(FULL), [*decisions.values()]) == ("unsure", "reject", ["missed"])
    said = {event.candidate_id: event for event in project.events()}
    assert said[EMPTY].note == "cloud in the north"
    assert [event.possibility for event in said.values() if event.action == "add_missed"] == [0.25]


def test_nothing_tells_a_window_before_it_is_opened(reader):
    assert "0 of 10 candidates decided" in reader.server.told
    reader.shows(FIRST)
    reader.see("progress", "0 of 10")
    rows = reader.page.locator("nav .row")
    # the third is a known slump that changed
    assert rows.all_inner_texts() == [f"· 1 {FIRST}", "· 2", "· 3\n▲", *(f"· {number}" for number in range(4, 11))]
    kinds = rows.evaluate_all("rows => rows.map(row => [row.className, row.title, row.children.length].join())")
    assert len({kinds[1], *kinds[3:]}) == 1
    assert not any(
        "window" in text or "audit" in text for text in reader.page.locator("header, nav, .legend").all_inner_texts()
    )
    for name in ("r02-0001", "r02-0002", "r02-0003", EMPTY):
        reader.shows(name)
        reader.press("2")
    # what was opened is called by its name
    assert rows.nth(3).inner_text().split() == ["✗", "4", EMPTY]
    for name in ("r02-0004", "r02-0005", "r02-0006", FULL, "r02-0007", "r02-0008"):
        reader.shows(name)
        reader.press("2")
    reader.see("message", "All 10 candidates are decided")
    reader.saved()
