"""What the reviewer said last counts, also while the server hasn't heard of it, or hears of it late."""

import pytest
from playwright.sync_api import expect

from browser_case import Held, Reader, draw

pytest_plugins = ("browser_case",)
FIRST, SECOND = "r02-0001", "r02-0002"


def decide(reader, *keys):
    """Decide the first candidate, once for each key, and wait until that is recorded; the second one is shown then."""
    for key in keys:
        reader.shows(FIRST)
        reader.press(key)
        reader.shows(SECOND)
        reader.saved()
        back(reader)
    reader.press("j")
    reader.shows(SECOND)


def back(reader):
    reader.press("k")
    reader.shows(FIRST)


def note(reader, text):
    reader.press("m")
    reader.page.keyboard.type(text)
    reader.press("Enter")


def standing(project, candidate=FIRST):
    """What stands of a candidate in the record."""
    return next((e for e in reversed(project.events()) if e.candidate_id == candidate and e.action == "decide"), None)


@pytest.fixture
def waiting(reader):
    """The first candidate was accepted, which is recorded, and then rejected, which is not."""
    decide(reader, "1")
    back(reader)
    held = Held(reader.context, "verdict")
    reader.press("2")
    reader.shows(SECOND)
    return held


def test_a_note_goes_with_the_verdict_that_waits(reader, project, waiting):
    back(reader)
    reader.see("standing", "rejected")
    note(reader, "flat")
    waiting.let_go()
    reader.saved()
    assert project.decisions() == {FIRST: "reject"}
    assert standing(project).note == "flat"


def test_the_first_verdict_can_be_given_again_while_another_waits(reader, project, waiting):
    back(reader)
    reader.press("1")
    reader.shows(SECOND)
    waiting.let_go()
    reader.saved()
    assert project.decisions() == {FIRST: "accept"}
    assert len(project.events()) == 3


def test_the_verdict_that_waits_is_not_said_twice(reader, project, waiting):
    back(reader)
    reader.press("2")
    reader.shows(SECOND)
    waiting.let_go()
    reader.saved()
    assert project.decisions() == {FIRST: "reject"}
    assert len(project.events()) == 2


def test_what_is_added_after_an_undo_that_waits_goes_with_what_stands_again(reader, project):
    decide(reader, "1", "2")
    held = Held(reader.context, "retract")
    reader.press("z")
    reader.shows(FIRST)
    reader.see("standing", "accepted")
    reader.press("a")
    held.let_go()
    reader.saved()
    assert project.decisions() == {FIRST: "accept"}
    assert project.events()[-1].active is True


def test_nothing_is_added_to_a_verdict_that_is_being_taken_back(reader, project):
    decide(reader, "1")
    held = Held(reader.context, "retract")
    reader.press("z")
    reader.shows(FIRST)
    reader.see("standing", "open")
    reader.press("a")
    held.let_go()
    reader.saved()
    assert project.decisions() == {}
    # what was said goes with the next verdict
    reader.press("4")
    reader.shows(SECOND)
    reader.saved()
    assert project.decisions() == {FIRST: "unsure"}
    assert standing(project).active is True


def test_undo_of_a_verdict_that_waits(reader, project, waiting):
    reader.press("z")
    reader.shows(FIRST)
    reader.see("standing", "accepted")
    note(reader, "as before")
    waiting.let_go()
    reader.saved()
    assert project.decisions() == {FIRST: "accept"}
    assert standing(project).note == "as before"


def test_over_a_crash_of_server_and_browser(reader, project, browser):
    decide(reader, "1")
    back(reader)
    reader.server.kill()
    reader.press("2")
    reader.shows(SECOND)
    reader.see("saved", "not saved")
    reader.problems.clear()
    reader.page.close()
    held = Held(reader.context, "verdict")
    again = Reader(browser, project.serve(), reader.context)
    again.shows(SECOND)
    back(again)
    again.see("standing", "rejected")
    note(again, "flat")
    held.let_go()
    again.saved()
    assert project.decisions() == {FIRST: "reject"}
    assert standing(project).note == "flat"
    assert again.problems == []


def test_another_tab_sends_what_this_one_could_not(reader, project, browser):
    decide(reader, "1")
    back(reader)
    reader.page.route("**/api/verdict", lambda route: route.abort())
    reader.press("2")
    reader.shows(SECOND)
    reader.see("saved", "not saved")
    other = Reader(browser, reader.server, reader.context)
    other.saved()
    assert project.decisions() == {FIRST: "reject"}
    reader.page.unroute("**/api/verdict")
    reader.problems.clear()
    back(reader)
    note(reader, "flat")
    reader.saved()
    assert project.decisions() == {FIRST: "reject"}
    assert standing(project).note == "flat"
    assert other.problems == []


def test_keys_before_a_candidate_is_painted_say_so(reader, project):
    reader.shows(FIRST)
    held = Held(reader.context, "candidate/r02-0007")
    reader.press("g", "7", "Enter")
    reader.see("current", "r02-0007")
    for key in ("1", "Shift+2", "3", "n", "q", "a"):
        reader.press("Escape", key)
        reader.see("message", "r02-0007 isn't painted yet: press again")
    held.let_go()
    reader.shows("r02-0007")
    expect(reader.page.locator("[data-test=message]")).to_have_text("")
    assert project.decisions() == {}
    reader.press("2")
    reader.shows("r02-0008")
    reader.saved()
    assert project.decisions() == {"r02-0007": "reject"}


def test_an_added_slump_takes_nothing_from_the_verdict_in_view_and_leaves_it_as_it_is(reader, project):
    reader.shows(FIRST)
    note(reader, "a fresh headwall")
    reader.press("q", "1")
    reader.shows(SECOND)
    reader.saved()
    back(reader)
    reader.press("n", "w")
    draw(reader, [(0, 0), (10, 0), (0, -10)], start=(40, 160))
    reader.see("drawing", "1 part")
    reader.press("Enter")
    reader.see("message", "Added")
    reader.press("a")
    reader.saved()
    (added,) = [event for event in project.events() if event.action == "add_missed"]
    assert (added.possibility, added.note) == (0.75, None)
    last = standing(project)
    assert (last.decision, last.possibility, last.note, last.active) == ("accept", 1.0, "a fresh headwall", True)
    assert len(project.events()) == 3
