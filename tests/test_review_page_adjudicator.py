"""The review page of an adjudicator: what each reader said is text on the page, and all of it is read by keyboard alone."""

import re

import pytest
from playwright.sync_api import expect

from browser_case import SIZE, Reader
from rts_pipeline.review.folding import fold
from rts_pipeline.review.given import Verdict
from rts_pipeline.review.store import read_round
from server_case import desk
from test_review_page_layout import AMISS, SMALL

pytest_plugins = ("browser_case",)
DIFFERED = "r02-0002"
LINE = "the headwall is sharp in 2020, its floor is bare, and the tongue reaches the river"
LONG = "\n".join(f"{number}: {LINE}" for number in range(40))
SCRIPT = "<script>window.hurt = 1</script><img src=/x onerror='window.hurt = 2'><b>bold</b> ]]> &amp; \u202eright to left"
FULL = {"possibility": 0.25, "outline_scope": "active part and debris tongue", "first_year_visible": 2019, "active": False}
QUIET = "() => [window.hurt ?? null, document.querySelectorAll('.readings :is(script, img, q *)').length]"
VISIBLE = """note => {
    const box = note.getBoundingClientRect(), clip = note.closest('.body').getBoundingClientRect();
    return box.bottom <= clip.bottom + 1 && clip.bottom <= innerHeight;
}"""


def say(project, reviewer, decision, candidate=DIFFERED, **said):
    """Give a reader's verdict."""
    desk(project, reviewer).decide(Verdict(candidate_id=candidate, decision=decision, **said))


@pytest.fixture
def judge(browser, project):
    """Open the page of an adjudicator on what each test has let readers say."""
    opened = []

    def open_page(name="cem"):
        opened.append(Reader(browser, project.serve(name, role="adjudicator")))
        return opened[-1]

    yield open_page
    for reader in opened:
        reader.context.close()
        assert reader.problems == []


def test_an_adjudicator_settles_by_keyboard_what_two_readers_differ_on(judge, project):
    """What each said, the notes with it, stands beside the candidate, and nothing else is in the list."""
    say(project, "ann", "accept", note="a headwall", possibility=0.75)
    say(project, "bob", "reject", note="a river bank", reject_reason="gully or river bank")
    for name in ("ann", "bob"):
        say(project, name, "accept", "r02-0003")
    reader = judge()
    reader.shows(DIFFERED)
    reader.see("progress", "0 of 1")
    expect(reader.page.locator("nav .row")).to_have_count(1)
    said = reader.page.locator("[data-test=reading]")
    words = [
        re.compile(r"ann\s+✓ accepted\s+possibility high\s+a headwall"),
        re.compile(r"bob\s+✗ rejected\s+gully or river bank\s+a river bank"),
    ]
    expect(said).to_have_text(words)
    for note in said.locator("q").all():
        expect(note).to_be_visible()
    reader.press("2")
    reader.see("progress", "1 of 1")
    reader.saved()
    (settled,) = project.events("cem")
    assert (settled.candidate_id, settled.decision, settled.role, settled.blind) == (DIFFERED, "reject", "adjudicator", False)
    assert fold(read_round(project.reviews, "02")).disagreements == []


def test_a_reader_settles_by_saying_again_what_he_or_she_had_read(judge, project):
    """Two people are enough: the own reading stands among the readings, and isn't taken for the adjudicator's verdict."""
    say(project, "ann", "accept", note="a headwall")
    say(project, "bob", "reject", reject_reason="gully or river bank")
    reader = judge("ann")
    reader.shows(DIFFERED)
    reader.see("progress", "0 of 1")
    words = [re.compile(r"ann\s+✓ accepted\s+a headwall"), re.compile(r"bob\s+✗ rejected\s+gully or river bank")]
    expect(reader.page.locator("[data-test=reading]")).to_have_text(words)
    reader.press("1")
    reader.see("progress", "1 of 1")
    reader.saved()
    assert [event.role for event in project.events("ann")] == ["primary", "adjudicator"]
    folded = fold(read_round(project.reviews, "02"))
    assert (folded.disagreements, folded.verdicts[DIFFERED].decision) == ([], "accept")
    expect(reader.page.locator("[data-test=reading]")).to_have_text(words)


def test_all_that_readers_said_is_read_by_keyboard(judge, project):
    """However long the notes are and however many read: a key opens them, the browser's keys scroll."""
    say(project, "ann", "accept", note=LONG)
    for name in ("bob", "dan", "eve"):
        say(project, name, "reject", reject_reason="stable scar", note=f"{name}: {LONG}", **FULL)
    reader = judge()
    reader.shows(DIFFERED)
    reader.press("d")
    dialog = reader.page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"What each reader said of {DIFFERED}")
    notes = dialog.locator("q")
    assert notes.all_inner_texts() == [LONG, *(f"{name}: {LONG}" for name in ("bob", "dan", "eve"))]
    last = dialog.locator("p").last
    beside = "stable scar · possibility low · holds active part and debris tongue · first 2019 · not active"
    expect(last).to_have_text(re.compile(rf"eve\s+✗ rejected\s+{beside}"))
    assert not notes.last.evaluate(VISIBLE)
    reader.press("1", "End")
    reader.page.wait_for_function(f"() => ({VISIBLE})([...document.querySelectorAll('.panel q')].at(-1))")
    reader.press("Escape")
    expect(dialog).to_have_count(0)
    reader.press("d", "d")
    expect(dialog).to_have_count(0)
    assert project.events("cem") == []
    reader.press("1")
    reader.saved()
    assert project.decisions("cem") == {DIFFERED: "accept"}


def test_script_in_a_note_stays_text(judge, project):
    say(project, "ann", "accept", note=SCRIPT)
    say(project, "bob", "reject", note="none")
    reader = judge()
    reader.shows(DIFFERED)
    expect(reader.page.locator("[data-test=reading] q").first).to_have_text(SCRIPT)
    reader.press("d")
    expect(reader.page.get_by_role("dialog").locator("q").first).to_have_text(SCRIPT)
    reader.page.wait_for_timeout(300)
    assert reader.page.evaluate(QUIET) == [None, 0]


@pytest.mark.parametrize("size", [SIZE, SMALL], ids=["screen", "window"])
def test_what_readers_said_takes_no_room_from_the_rest(judge, project, size):
    """Nothing is cut or overlaps on a small screen, and a verdict is told by its mark, not by its colour alone."""
    for name, decision in (("ann", "accept"), ("bob", "unsure"), ("dan", "reject")):
        reason = "gully or river bank" if decision == "reject" else None
        say(project, f"{name}-of-a-long-name", decision, note=LONG, reject_reason=reason, **FULL)
    reader = judge()
    reader.page.set_viewport_size(size)
    reader.shows(DIFFERED)
    reader.page.wait_for_timeout(150)
    assert reader.page.evaluate(AMISS) == []
    marks = reader.page.locator("[data-test=reading] .mark").all_inner_texts()
    assert marks == ["✓", "?", "✗"]
    reader.press("p")
    reader.page.wait_for_timeout(150)
    assert reader.page.evaluate(AMISS) == []


def test_who_is_no_adjudicator_has_no_such_panel(browser, project):
    say(project, "bob", "reject", note="a river bank")
    reader = Reader(browser, project.serve("ann"))
    try:
        reader.shows("r02-0001")
        reader.press("j")
        reader.shows(DIFFERED)
        reader.press("d")
        expect(reader.page.get_by_role("dialog")).to_have_count(0)
        assert "river bank" not in reader.page.locator("footer .told").inner_text()
    finally:
        reader.context.close()
