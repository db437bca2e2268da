"""The review page as a person uses it: a real browser, the real server, the keyboard."""

from playwright.sync_api import expect

from browser_case import Reader

pytest_plugins = ("browser_case",)


def test_a_whole_round_by_keyboard(reader, project):
    verdicts = ("1", "2", "4", "Shift+4", "1", "q 1", "Shift+8", "t 2")
    for number, keys in enumerate(verdicts):
        reader.shows(project.names[number])
        reader.press(*keys.split())
    reader.see("message", "All 8 candidates are decided")
    reader.see("progress", "8 of 8")
    reader.see("saved", "✓ saved")
    wanted = ("accept", "reject", "unsure", "reject", "accept", "accept", "reject", "reject")
    assert project.decisions() == dict(zip(project.names, wanted, strict=True))
    said = {event.candidate_id: event for event in project.events()}
    assert said["r02-0004"].reject_reason == "water"
    assert said["r02-0007"].reject_reason == "other"
    assert (said["r02-0006"].possibility, said["r02-0008"].possibility) == (1.0, 0.0)
    assert said["r02-0002"].evidence_years == (2019, 2020)
    assert said["r02-0001"].seconds > 0


def test_a_key_that_is_held_down_is_one_verdict(reader, project):
    reader.shows("r02-0001")
    reader.page.keyboard.down("1")
    reader.shows("r02-0002")
    for _ in range(3):
        reader.page.keyboard.down("1")
    reader.page.keyboard.up("1")
    reader.see("current", "r02-0002")
    reader.press("2")
    reader.shows("r02-0003")
    reader.saved()
    assert project.decisions() == {"r02-0001": "accept", "r02-0002": "reject"}


def test_numbers_are_hidden_until_the_verdict(reader):
    reader.shows("r02-0001")
    reader.see("numbers", "come after the verdict")
    content = reader.page.content()
    assert "0.70" not in content
    assert "4,321" not in content
    for _ in range(4):
        expect(reader.page.locator(".measured")).to_have_count(0)
        reader.press("i")
    reader.press("1")
    reader.see("last", "network 0.70")
    reader.press("k")
    reader.shows("r02-0001")
    reader.see("numbers", "network: mean 0.70")
    reader.see("numbers", "monotone growth 765 m²/yr")
    reader.see("numbers", "seen in 2 of 3 years, no two running")
    for told in (["none", "4,321 m²", "4,321 m²"], ["p .66"] * 3, ["NDVI -.05|.47"] * 3, ["br. .21|.09"] * 3):
        expect(reader.page.locator(".measured")).to_have_text(told)
        reader.press("i")


def test_what_the_network_outlines_in_each_year_comes_after_the_verdict(reader):
    """White dots, where else nothing is white."""
    white = """() => [...document.querySelectorAll('.grid canvas')].map(canvas => {
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        let count = 0;
        for (let at = 0; at < data.length; at += 4) count += data[at] > 150 && data[at + 1] > 150 && data[at + 2] > 150;
        return count > 30;
    })"""
    reader.shows("r02-0001")
    assert reader.page.evaluate(white) == [False, False, False]
    reader.press("1")
    reader.shows("r02-0002")
    reader.saved()
    reader.press("k")
    reader.shows("r02-0001")
    reader.see("numbers", "network: mean 0.70")
    assert reader.page.evaluate(white) == [False, True, True]
    reader.press("o")
    assert reader.page.evaluate(white) == [False, False, False]
    reader.press("o", "z")
    reader.see("standing", "open")
    assert reader.page.evaluate(white) == [False, False, False]


def test_undo_and_redo_of_verdicts(reader, project):
    reader.shows("r02-0001")
    reader.press("1")
    reader.shows("r02-0002")
    reader.press("2")
    reader.shows("r02-0003")
    reader.press("z")
    reader.shows("r02-0002")
    reader.see("standing", "open")
    reader.press("z")
    reader.shows("r02-0001")
    reader.see("progress", "0 of 8")
    reader.press("Shift+Z")
    reader.shows("r02-0002")
    reader.see("saved", "✓ saved")
    assert project.decisions() == {"r02-0001": "accept"}
    # a reload doesn't forget what can be undone
    reader.page.reload()
    reader.shows("r02-0002")
    reader.press("z")
    reader.shows("r02-0001")
    reader.see("saved", "✓ saved")
    assert project.decisions() == {}


def test_a_verdict_that_was_redone_is_added_to(reader, project):
    reader.shows("r02-0001")
    # nothing is open in this list, so that the page stays
    reader.page.get_by_label("filter").select_option("reject")
    reader.press("q", "1")
    reader.see("standing", "accepted")
    reader.press("z")
    reader.see("standing", "open")
    reader.press("Shift+Z")
    reader.see("standing", "accepted")
    reader.press("a")
    reader.saved()
    last = project.events()[-1]
    assert (last.decision, last.possibility, last.active) == ("accept", 1.0, True)


def test_another_verdict_replaces_the_first_and_a_note_is_saved_with_it(reader, project):
    reader.shows("r02-0001")
    reader.press("1")
    reader.shows("r02-0002")
    reader.press("k")
    reader.shows("r02-0001")  # a verdict counts only for what is painted
    reader.press("2")
    reader.shows("r02-0002")
    reader.press("k")
    reader.shows("r02-0001")  # nor can a note be written before
    reader.see("standing", "rejected")
    reader.press("m")
    reader.page.keyboard.type("1 <b>2</b> <script>window.hurt = 1</script>")
    reader.press("Enter", "u", "a")
    reader.see("saved", "✓ saved")
    expect(reader.page.locator("footer .more")).to_contain_text("active: yes")
    reader.page.wait_for_function("() => !document.querySelector('[data-test=saved]').textContent.includes('saving')")
    assert project.decisions() == {"r02-0001": "reject"}
    last = project.events()[-1]
    assert (last.note, last.outline_scope, last.active) == (
        "1 <b>2</b> <script>window.hurt = 1</script>",
        "active part",
        True,
    )
    reader.page.reload()
    reader.shows("r02-0001")
    expect(reader.page.get_by_label("note")).to_have_value(last.note)
    assert reader.page.evaluate("() => window.hurt") is None


def test_nothing_acknowledged_is_lost_when_the_server_is_killed(reader, project, browser):
    reader.shows("r02-0001")
    reader.press("1")
    reader.shows("r02-0002")
    reader.see("saved", "✓ saved")
    acknowledged = project.decisions()
    assert acknowledged == {"r02-0001": "accept"}
    # killed while a verdict is on its way
    reader.page.keyboard.press("2")
    reader.server.kill()
    reader.shows("r02-0003")
    reader.press("4")
    reader.shows("r02-0004")
    reader.see("saved", "not saved")
    problems, reader.problems = reader.problems, []
    assert all("ERR_CONNECTION" in problem or "Failed to load" in problem for problem in problems)
    # the page still holds what it couldn't send, also over a crash of the browser
    reader.page.close()
    again = Reader(browser, project.serve(), reader.context)
    again.see("progress", "3 of 8")
    again.see("saved", "✓ saved")
    assert project.decisions() == {"r02-0001": "accept", "r02-0002": "reject", "r02-0003": "unsure"}
    assert len(project.events()) == 3, "sent twice, recorded once"


def test_a_verdict_that_can_not_be_recorded_is_shown_until_it_is_dismissed(reader, project):
    reader.shows("r02-0001")
    draft = project.reviews / "round_02" / "draft.json"
    kept = draft.read_bytes()
    draft.unlink()
    reader.press("1")
    reader.see("refused", "accept on r02-0001")
    reader.see("refused", "isn't open")
    reader.see("progress", "0 of 8")
    draft.write_bytes(kept)
    reader.page.reload()
    reader.see("refused", "accept on r02-0001")
    for _ in range(20):
        reader.press("Tab")
        if reader.page.evaluate("() => document.activeElement.textContent") == "dismiss":
            reader.press("Enter")
            break
    expect(reader.page.locator("[data-test=refused]")).to_have_count(0)
    reader.problems = [problem for problem in reader.problems if "409" not in problem]


def test_two_reviewers_in_two_browsers_see_nothing_of_each_other(browser, project):
    ann, bob = (Reader(browser, project.serve(name)) for name in ("ann", "bob"))
    for number in range(4):
        for reader, key in ((ann, "1"), (bob, "2")):
            reader.shows(project.names[number])
            reader.press(key)
    for reader in (ann, bob):
        reader.see("progress", "4 of 8")
        reader.see("saved", "✓ saved")
    assert set(project.decisions("ann").values()) == {"accept"}
    assert set(project.decisions("bob").values()) == {"reject"}
    ann.page.reload()
    ann.shows("r02-0005")
    assert "✗" not in ann.page.locator("nav").inner_text()
    for reader in (ann, bob):
        reader.context.close()
        assert reader.problems == []


def test_comparing_going_filtering_and_ordering_by_keyboard(reader, project):
    page = reader.page
    reader.shows("r02-0001")
    reader.see("year", "2019")
    reader.press(".")
    reader.see("year", "2020")
    reader.press(",", ",")
    reader.see("year", "2018")
    # a year that was not seen is no frame of the blinking
    reader.press("j")
    reader.shows("r02-0002")
    reader.press(",", ",")
    reader.see("year", "2019")
    expect(page.locator(".years .none")).to_have_text("no image in the season of 2018")
    reader.press("c")
    reader.see("kind", "false")
    red, green, *_ = page.evaluate(
        "() => [...document.querySelector('.square canvas').getContext('2d').getImageData(8, 8, 1, 1).data]"
    )
    assert red > 1.5 * green, "plants are red in false colour"
    reader.press("s")
    expect(page.locator(".square .edge")).to_be_visible()
    reader.press("h")
    reader.see("kind", "shade")
    reader.press("h")
    reader.see("kind", "true")
    # faster than the pictures come
    reader.press("c", "c")
    page.wait_for_timeout(500)
    reader.see("kind", "true")
    reader.press("c", "c", "c")
    reader.see("kind", "false")
    reader.press("c")
    reader.see("kind", "true")
    reader.press("g")
    page.keyboard.type("7")
    reader.press("Enter")
    reader.shows("r02-0007")
    reader.press("1")
    reader.shows("r02-0008")
    reader.press("f")
    expect(page.locator("nav .row")).to_have_count(7)
    reader.press("v")
    expect(page.get_by_label("order")).to_have_value("nearest")
    assert page.locator("nav .row").first.inner_text().endswith("r02-0008")
    reader.press("v")
    expect(page.get_by_label("order")).to_have_value("random")
    shuffled = page.locator("nav .row").all_inner_texts()
    assert sorted(shuffled) != shuffled
    page.reload()
    reader.shows("r02-0008")
    assert page.locator("nav .row").all_inner_texts() == shuffled, "the same in each session"
    reader.press("v")
    expect(page.get_by_label("order")).to_have_value("rank")
    assert page.locator("nav .row").all_inner_texts() == sorted(shuffled)
    for key, title in (("?", "Keys"), ("l", "What to accept"), ("x", "Examples of earlier rounds")):
        reader.press(key)
        expect(page.get_by_role("dialog")).to_contain_text(title)
        reader.press("1")
        reader.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
    assert project.decisions() == {"r02-0007": "accept"}, "keys are off while a panel is open"


def test_blinking_never_shows_a_blank_frame(reader):
    reader.shows("r02-0001")
    seen = reader.page.evaluate(
        """async () => {
            window.dispatchEvent(new KeyboardEvent('keydown', {key: ' ', code: 'Space'}));
            const seen = new Set(), canvas = document.querySelector('.square canvas');
            const start = performance.now(), years = () => new Set([...seen].map(told => told.split(' ')[0])).size;
            while (performance.now() < start + (years() < 3 ? 30000 : 2500)) {
                await new Promise(requestAnimationFrame);
                const [r, g, b, a] = canvas.getContext('2d').getImageData(8, 8, 1, 1).data;
                seen.add(`${canvas.dataset.shows.split(' ')[1]} ${a === 255 && g > r && r > b}`);
            }
            return [...seen].sort();
        }"""
    )
    assert seen == ["2018 true", "2019 true", "2020 true"]


def test_the_policy_keeps_foreign_scripts_and_requests_out(reader):
    tried = reader.page.evaluate(
        """async () => {
            const blocked = [];
            document.addEventListener('securitypolicyviolation', e => blocked.push(e.effectiveDirective));
            const script = document.createElement('script');
            script.textContent = 'window.hurt = 1';
            document.body.append(script);
            await fetch('http://127.0.0.1:9/').catch(() => 0);
            new Image().src = 'http://127.0.0.1:9/x.png';
            await new Promise(done => setTimeout(done, 300));
            return [window.hurt ?? null, blocked.map(name => name.split('-')[0]).sort()];
        }"""
    )
    assert tried == [None, ["connect", "img", "script"]]
    reader.problems.clear()


def test_a_filter_that_this_version_does_not_have_hides_nothing(reader):
    reader.shows("r02-0001")
    reader.press("f")
    reader.page.evaluate(
        """() => {
            const [key] = Object.keys(localStorage).filter(name => name.endsWith(':at'));
            localStorage.setItem(key, JSON.stringify({...JSON.parse(localStorage.getItem(key)), filter: 'windows'}));
        }"""
    )
    reader.page.reload()
    reader.shows("r02-0001")
    expect(reader.page.get_by_label("filter")).to_have_value("all")
    expect(reader.page.locator("nav .row")).to_have_count(8)


def test_the_numbers_of_a_large_list_have_room(reader):
    """60,000 candidates: the mark of a known slump that changed stands beside the longest of them."""
    reader.shows("r02-0001")
    reader.goes_to("r02-0003")
    room = reader.page.evaluate(
        """() => {
            const row = [...document.querySelectorAll('nav .row')].find(one => one.querySelector('.grown'));
            const id = row.querySelector('.id');
            id.textContent = 'r02-59999';
            id.previousSibling.before('5999');
            return row.querySelector('.grown').getBoundingClientRect().left - id.getBoundingClientRect().right;
        }"""
    )
    assert room > 0
