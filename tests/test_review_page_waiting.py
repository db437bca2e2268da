"""What the reviewer said last counts, also while the server hasn't heard of it, or hears of it late."""

from io import BytesIO

import pytest
from PIL import Image
from playwright.sync_api import expect

from browser_case import Held, Reader, draw
from review_case import AT
from rts_pipeline.review.given import Verdict
from rts_pipeline.review.readings import Draw, second_readings
from rts_pipeline.review.rounds import locked
from rts_pipeline.review.start import start
from server_case import desk

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


def back(reader, candidate=FIRST):
    reader.press("k")
    reader.shows(candidate)


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


def test_what_was_said_in_one_role_is_not_sent_in_another(reader, project, browser):
    """The server of the other role has the same address: a reading that waits must not settle what it is part of."""
    decide(reader, "1")
    desk(project, "bob").decide(Verdict(candidate_id=FIRST, decision="reject"))
    back(reader)
    reader.server.kill()
    reader.press("2")
    reader.see("saved", "not saved")
    back(reader)
    reader.press("m")
    reader.page.keyboard.type("flat")
    reader.page.close()
    reader.problems.clear()

    judge = Reader(browser, project.serve(role="adjudicator"), reader.context)
    assert judge.server.base == reader.server.base
    judge.shows(FIRST)
    judge.see("progress", "0 of 1")
    judge.press("1")
    judge.see("progress", "1 of 1")
    judge.saved()
    said = [(event.role, event.decision, event.note) for event in project.events()]
    assert said == [("primary", "accept", None), ("adjudicator", "accept", None)]
    judge.page.close()
    judge.server.kill()

    again = Reader(browser, project.serve(), reader.context)
    again.saved()
    last = project.events()[-1]
    assert (last.role, last.decision) == ("primary", "reject")
    assert judge.problems == again.problems == []


def test_what_waited_for_a_candidate_that_is_asked_no_more_is_recorded_and_is_no_added_slump(project, browser):
    (project.reviews / "round_02" / "draft.json").unlink()
    start(project.reviews, project.results, "02", at=AT, second=Draw(share=0.01, threshold=0.5))
    (drawn,) = second_readings(project.reviews, "02").random
    name = next(name for name in project.names if name != drawn)
    desk(project, "bob").decide(Verdict(candidate_id=name, decision="unsure"))
    reader = Reader(browser, project.serve(role="second"))
    reader.goes_to(name)
    reader.server.kill()
    reader.press("1")
    reader.see("saved", "not saved")
    reader.page.close()
    desk(project, "bob").decide(Verdict(candidate_id=name, decision="accept"))
    again = Reader(browser, project.serve(role="second"), reader.context)
    again.saved()
    assert project.decisions() == {name: "accept"}
    again.see("progress", "0 of 1")
    again.page.get_by_label("filter").select_option("added")
    again.see("message", "0 shown: added")
    reader.context.close()
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


def test_what_another_tab_said_of_the_candidate_in_view_is_not_taken_back(reader, project, browser):
    reader.shows(FIRST)
    other = Reader(browser, reader.server, reader.context)
    other.shows(FIRST)
    reader.press("q", "1")
    reader.shows(SECOND)
    reader.saved()
    other.see("standing", "accepted")
    other.press("a")
    other.saved()
    last = standing(project)
    assert (last.decision, last.possibility, last.active) == ("accept", 1.0, True)
    assert other.problems == []


KEEPS_BEFORE_THE_NEXT_REMOVAL = """([key, text]) => {
    const remove = Storage.prototype.removeItem;
    Storage.prototype.removeItem = function (name) {
        Storage.prototype.removeItem = remove;
        localStorage.setItem(key, text);
        remove.call(this, name);
    };
}"""


def test_what_a_tab_says_while_another_one_takes_out_what_was_recorded_is_not_lost(reader, project):
    """Tabs may run in processes of their own: what one keeps can come between what the other reads and what it writes."""
    held = Held(reader.context, "verdict")
    for key, following in (("1", SECOND), ("2", "r02-0003")):
        reader.press(key)
        reader.shows(following)
    reader.see("saved", "saving 2")
    waiting = reader.page.evaluate("Object.entries(localStorage).filter(([key]) => key.includes(':queue:waiting:')).sort()")
    assert [SECOND in text for _, text in waiting] == [False, True]
    reader.page.evaluate("([key]) => localStorage.removeItem(key)", waiting[1])
    reader.page.evaluate(KEEPS_BEFORE_THE_NEXT_REMOVAL, waiting[1])
    held.let_go()
    reader.saved()
    assert project.decisions() == {FIRST: "accept", SECOND: "reject"}


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


def in_red(reader, candidate):
    """Let the pictures of a candidate be red, so that they are known wherever they are shown."""
    stream = BytesIO()
    Image.new("RGB", (128, 128), (250, 0, 0)).save(stream, "webp")
    answer = {"body": stream.getvalue(), "content_type": "image/webp"}
    reader.context.route(f"**/chip/02/{candidate}/**", lambda route: route.fulfill(**answer))


@pytest.mark.parametrize("failed", [None, {"status": 500}, {"status": 404}, {"body": "no picture"}], ids=str)
def test_pictures_that_did_not_come_are_no_years_without_one(reader, project, failed):
    reader.shows(FIRST)
    in_red(reader, "r02-0007")
    pictures = "**/chip/02/r02-0007/**"
    reader.page.route(pictures, lambda route: route.fulfill(**failed) if failed else route.abort())
    reader.press("g", "7", "Enter")
    reader.see("message", "r02-0007 isn't painted yet")
    for key in ("1", "Shift+2"):
        reader.press(key)
        reader.see("message", "r02-0007 isn't painted yet: press again")
    assert project.decisions() == {}
    reader.page.unroute(pictures)
    # they are asked for again unasked
    reader.shows("r02-0007")
    assert visible(reader) == [["r02-0007"], True, 0]
    expect(reader.page.locator("[data-test=message]")).to_have_text("")
    reader.problems.clear()
    reader.press("1")
    reader.shows("r02-0008")
    reader.saved()
    assert project.decisions() == {"r02-0007": "accept"}


def test_the_page_opens_though_a_picture_of_its_candidate_is_gone(reader, project):
    reader.shows(FIRST)
    held = Held(reader.context, "verdict")
    reader.press("1")
    reader.shows(SECOND)
    pictures = f"**/chip/02/{SECOND}/**"
    reader.page.route(pictures, lambda route: route.fulfill(status=404))
    reader.page.reload()
    reader.see("message", f"{SECOND} isn't painted yet")
    held.let_go()
    reader.saved()
    assert project.decisions() == {FIRST: "accept"}
    reader.press("j")
    reader.shows("r02-0003")
    reader.page.unroute(pictures)
    back(reader, SECOND)
    reader.problems.clear()


def test_the_colour_changes_when_its_pictures_are_there(reader):
    reader.shows(FIRST)
    pictures = f"**/chip/02/{FIRST}/*/false"
    reader.page.route(pictures, lambda route: route.abort())
    reader.press("c")
    reader.see("message", "The pictures (false) aren't here: the server doesn't answer")
    reader.see("kind", "true")
    reader.page.unroute(pictures)
    reader.problems.clear()
    reader.press("c")
    reader.see("kind", "false")


def visible(reader):
    """Of which candidates pictures can be seen, whether any of them is red, and how many numbers of a year are told."""
    return reader.page.evaluate(
        """() => {
            const shown = e => e.checkVisibility({visibilityProperty: true});
            const there = what => [...document.querySelectorAll(what)].filter(shown);
            const red = e => {
                const [r, g] = e.getContext('2d').getImageData(8, 8, 1, 1).data;
                return r > 200 && g < 50;
            };
            const seen = there('canvas[data-shows]');
            return [[...new Set(seen.map(e => e.dataset.shows.split(' ')[0]))], seen.some(red), there('.measured').length];
        }"""
    )


def decided(reader, number):
    reader.press("g")
    reader.page.keyboard.type(str(number))
    reader.press("Enter")
    reader.shows(f"r02-000{number}")
    reader.press("1")
    reader.shows(f"r02-000{number + 1}")
    reader.saved()


def test_a_late_answer_shows_nothing_under_the_next_candidate(reader):
    in_red(reader, "r02-0006")
    decided(reader, 5)
    # far enough away for the page to keep nothing of it
    reader.press("g", "1", "Enter")
    reader.shows(FIRST)
    held = Held(reader.context, "candidate/r02-0006")
    reader.press("g", "6", "Enter")
    reader.see("current", "r02-0006")
    reader.press("k")
    reader.shows("r02-0005")
    assert visible(reader) == [["r02-0005"], False, 3]
    with reader.page.expect_response("**/chip/02/r02-0006/2019/true"):
        held.let_go()
    reader.page.wait_for_timeout(300)
    reader.see("current", "r02-0005")
    assert visible(reader) == [["r02-0005"], False, 3]
    reader.see("numbers", "network: mean 0.70")
    reader.press("j")
    reader.shows("r02-0006")
    assert visible(reader) == [["r02-0006"], True, 0]


def test_until_an_answer_comes_nothing_of_the_candidate_before_is_shown(reader):
    in_red(reader, FIRST)
    decided(reader, 5)
    decided(reader, 1)
    back(reader)
    assert visible(reader) == [[FIRST], True, 3]
    held = Held(reader.context, "candidate/r02-0005")
    reader.press("g", "5", "Enter")
    reader.see("current", "r02-0005")
    reader.see("standing", "accepted")
    reader.page.wait_for_function("() => getComputedStyle(document.querySelector('.square')).visibility === 'hidden'")
    assert visible(reader) == [[], False, 0]
    expect(reader.page.locator("[data-test=numbers]")).to_have_count(0)
    held.let_go()
    reader.shows("r02-0005")
    assert visible(reader) == [["r02-0005"], False, 3]


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


def rows(reader):
    """The list of what was added."""
    return reader.page.locator("nav .row")


def added_and_held(reader):
    """Add a slump, whose request is held."""
    reader.shows(FIRST)
    held = Held(reader.context, "missed")
    reader.press("n")
    reader.draws("0 parts")
    draw(reader, [(0, 0), (10, 0), (0, -10)], start=(40, 160))
    reader.see("drawing", "1 part")
    reader.press("Enter")
    return held


def test_an_added_slump_is_in_the_list_before_the_server_has_it(reader, project):
    held = added_and_held(reader)
    reader.see("message", "Added")
    reader.page.get_by_label("filter").select_option("added")
    expect(rows(reader)).to_have_text(["+ not saved yet"])
    rows(reader).click()
    reader.see("message", "can be opened as soon as it is saved")
    # it is nothing that this page alone knows of
    reader.page.reload()
    expect(rows(reader)).to_have_text(["+ not saved yet"])
    held.let_go()
    reader.saved()
    (event,) = project.events()
    expect(rows(reader)).to_have_text([f"+ {event.candidate_id}"])
    rows(reader).click()
    reader.draws("1 part")


def test_an_added_slump_that_is_undone_before_the_server_has_it_is_gone_at_once(reader, project):
    held = added_and_held(reader)
    reader.page.get_by_label("filter").select_option("added")
    expect(rows(reader)).to_have_count(1)
    reader.press("z")
    reader.see("message", "Taken back: the added slump")
    expect(rows(reader)).to_have_count(0)
    held.let_go()
    reader.saved()
    expect(rows(reader)).to_have_count(0)
    assert project.decisions() == {}


def test_a_verdict_waits_while_another_program_has_the_record(reader, project):
    reader.shows(FIRST)
    with locked(project.reviews / "round_02"):
        with reader.page.expect_response("**/api/verdict", timeout=60_000) as answer:
            reader.press("1")
            reader.shows(SECOND)
        assert answer.value.status == 503
        reader.see("saved", "1 not saved")
        reader.see("saved", "is in use by process")
        assert project.events() == []
    reader.saved()
    assert project.decisions() == {FIRST: "accept"}
    expect(reader.page.locator("[data-test=refused]")).to_have_count(0)
    reader.problems = [problem for problem in reader.problems if "503" not in problem]
