"""Outlines on the review page, drawn by mouse and by keyboard: nothing that was drawn goes without being told."""

import json

import numpy as np
import pytest
import shapely
from playwright.sync_api import expect

from browser_case import Held, add, cross, draw, go
from review_case import place, square
from rts_pipeline.review.folding import fold

pytest_plugins = ("browser_case",)
CORNERS = [(0.1, 0.1), (0.25, 0.1), (0.25, 0.25)]
"""Of a triangle away from all candidates, in shares of the map."""


def at(reader, corner):
    box = reader.page.locator("[data-test=map]").bounding_box()
    return box["x"] + corner[0] * box["width"], box["y"] + corner[1] * box["height"]


def click(reader, corners):
    """Put vertices with the mouse."""
    for count, corner in enumerate(corners, 1):
        reader.page.mouse.click(*at(reader, corner))
        reader.see("drawing", f"{count} new vert")


def closed(reader, corners=CORNERS):
    """Draw an area with the mouse alone: a double click closes it."""
    click(reader, corners[:-1])
    reader.page.mouse.dblclick(*at(reader, corners[-1]))
    expect(reader.page.locator("[data-test=drawing]")).not_to_contain_text("new vert")


def drag(reader, start, end):
    reader.page.mouse.move(*at(reader, start))
    reader.page.mouse.down()
    reader.page.mouse.move(*at(reader, end), steps=5)
    reader.page.mouse.up()


def steps(reader, word):
    """Whether there is a step to be undone ("undo") or redone ("redo")."""
    return reader.page.locator(".stage .tabs").get_by_role("button", name=word)


def outline(event):
    return shapely.from_geojson(json.dumps(event.geometry))


def drop(reader):
    reader.press("Escape")
    expect(reader.page.locator("[data-test=drawing]")).to_have_count(0)


def open_added(reader, name):
    reader.press("g")
    reader.page.keyboard.type(name)
    reader.press("Enter")
    reader.draws("1 part")


def test_an_outline_is_reshaped_by_keyboard_with_undo(reader, project):
    reader.shows("r02-0001")
    reader.press("3")
    reader.draws("1 part, 0 holes")
    # a vertex moves by pixels of the grid; the second move is undone
    reader.press("Tab", "ArrowUp", "ArrowUp", "Shift+ArrowLeft", "z")
    # a hole: four vertices around the middle
    reader.press("x")
    draw(reader, [(0, 0), (10, 0), (0, -10), (-10, 0)], start=(40, 60))
    reader.see("drawing", "1 part, 1 hole")
    # a part of its own
    reader.press("d")
    draw(reader, [(0, 0), (10, 0), (0, -10), (-10, 0)], start=(130, 60))
    reader.see("drawing", "2 parts, 1 hole")
    reader.press("z")
    reader.see("drawing", "1 part, 1 hole")
    reader.press("Shift+Z")
    reader.see("drawing", "2 parts, 1 hole")
    reader.press("Enter")
    reader.shows("r02-0002")
    reader.see("saved", "✓ saved")
    (event,) = project.events()
    drawn = shapely.from_geojson(json.dumps(event.geometry))
    assert event.decision == "edit"
    assert drawn.is_valid
    assert (drawn.geom_type, len(drawn.geoms)) == ("MultiPolygon", 2)
    assert sorted(len(part.interiors) for part in drawn.geoms) == [0, 1]
    hole = next(part for part in drawn.geoms if part.interiors)
    assert shapely.Polygon(hole.interiors[0]).area == pytest.approx(900)
    moved = shapely.union_all([shapely.Polygon(part.exterior) for part in drawn.geoms]).symmetric_difference(square(0))
    assert moved.area == pytest.approx(900 + 100 * 6 / 2)


def test_vertices_are_inserted_and_removed_by_keyboard(reader, project):
    reader.shows("r02-0001")
    reader.press("3")
    reader.draws("1 part")
    first = cross(reader)
    reader.press("Tab")
    assert cross(reader) != first
    reader.press("Shift+Tab")
    assert cross(reader) == first
    # one in the middle of an edge, which is moved
    reader.press("i")
    middle = cross(reader)
    assert np.hypot(*np.subtract(middle, first)) == pytest.approx(50)
    reader.press("Shift+ArrowUp", "Shift+ArrowRight", "Enter")
    reader.shows("r02-0002")
    reader.press("3")
    reader.draws("1 part")
    reader.press("Tab", "Delete", "3")
    reader.shows("r02-0003")
    reader.saved()
    five, three = (outline(event) for event in project.events())
    assert (len(five.exterior.coords), len(three.exterior.coords)) == (6, 4)
    assert np.add(middle, 15).tolist() in np.array(five.exterior.coords).tolist()
    assert three.area == pytest.approx(square(1).area / 2)


def test_all_that_is_said_of_an_added_slump_is_said_by_keyboard(reader, project):
    reader.shows("r02-0001")
    reader.press("n")
    reader.draws("0 parts")
    draw(reader, [(0, 0), (10, 0), (0, -10), (-10, 0)], start=(200, 200))
    reader.see("drawing", "1 part")
    reader.press("Shift+E", "u", "y", "a")
    reader.see("drawing", "1 part")
    reader.press("Enter")
    reader.see("message", "Added")
    reader.saved()
    (event,) = project.events()
    assert (event.action, event.possibility, event.outline_scope, event.active) == ("add_missed", 0.5, "active part", True)
    assert event.first_year_visible is not None


def test_a_missed_slump_is_drawn_with_the_mouse_over_a_reload(reader, project):
    reader.shows("r02-0001")
    reader.press("n")
    reader.draws("0 parts")
    click(reader, CORNERS)
    reader.page.reload()
    reader.see("drawing", "3 new vertices")
    reader.see("message", "unsaved drawing is back")
    reader.press("Enter")
    reader.see("drawing", "1 part")
    reader.press("w", "Enter")
    reader.see("message", "Added")
    reader.see("saved", "✓ saved")
    (event,) = project.events()
    assert (event.action, event.possibility) == ("add_missed", 0.75)
    assert shapely.from_geojson(json.dumps(event.geometry)).area > 100
    reader.press("z")
    reader.see("message", "Taken back: the added slump")
    reader.see("saved", "✓ saved")
    expect(reader.page.locator("[data-test=saved]")).not_to_contain_text("saving")
    assert project.decisions() == {}
    # again, then reshaped and removed by keyboard
    reader.press("Shift+Z")
    reader.see("saved", "✓ saved")
    reader.press("g")
    reader.page.keyboard.type(event.candidate_id)
    reader.press("Enter")
    reader.draws("1 part")
    reader.press("Tab", "ArrowUp", "Enter")
    reader.see("message", "Added")
    reader.see("saved", "✓ saved")
    assert project.decisions() == {event.candidate_id: "missed"}
    reader.press("g")
    reader.page.keyboard.type(event.candidate_id)
    reader.press("Enter")
    reader.draws("1 part")
    reader.press("2")
    reader.see("message", f"Removed: {event.candidate_id}")
    reader.see("saved", "✓ saved")
    assert project.decisions() == {}


def test_an_outline_whose_edges_cross_stays_and_says_so(reader, project):
    reader.shows("r02-0001")
    reader.press("3")
    reader.see("drawing", "1 part")
    corner = place(shapely.Point(0, 0)).coords[0]
    while cross(reader) != corner:
        reader.press("Tab")
    # over the opposite edge
    go(reader, 45, 15)
    reader.press("Enter")
    reader.see("message", "edges must not cross")
    reader.see("drawing", "1 part")
    reader.press("Escape")
    reader.see("standing", "open")
    assert project.events() == []


def test_an_area_that_a_double_click_closed_is_a_step_like_any_other(reader, project):
    reader.shows("r02-0001")
    reader.press("n")
    reader.draws("0 parts")
    closed(reader)
    reader.see("drawing", "1 part")
    reader.press("z")
    reader.see("drawing", "0 parts")
    reader.press("Shift+Z")
    reader.see("drawing", "1 part")
    # a second area, and one that is dropped
    click(reader, [(0.6, 0.1), (0.7, 0.1)])
    reader.press("Escape")
    closed(reader, [(0.8, 0.1), (0.9, 0.1), (0.9, 0.2), (0.8, 0.2)])
    reader.see("drawing", "2 parts")
    reader.press("Enter")
    reader.see("message", "Added")
    reader.saved()
    (event,) = project.events()
    assert sorted(len(part.exterior.coords) for part in outline(event).geoms) == [4, 5]


def test_nothing_is_left_to_be_dropped_after_a_double_click(reader, project):
    reader.shows("r02-0001")
    reader.press("n")
    reader.draws("0 parts")
    closed(reader)
    drop(reader)
    assert project.events() == []


def test_a_vertex_is_dragged_with_the_mouse(reader, project):
    reader.shows("r02-0001")
    reader.press("n")
    reader.draws("0 parts")
    closed(reader)
    reader.press("e")
    reader.see("drawing", "drag a vertex")
    drag(reader, CORNERS[2], (0.25, 0.4))
    drag(reader, CORNERS[0], (0.1, 0.3))
    reader.press("z")
    expect(steps(reader, "redo")).to_be_enabled()
    reader.press("Enter")
    reader.see("message", "Added")
    reader.saved()
    (event,) = project.events()
    # half of 0.15 x 0.30 of the map
    box = reader.page.locator(".view").bounding_box()
    assert outline(event).is_valid and len(outline(event).exterior.coords) == 4
    west, south, east, north = outline(event).bounds
    assert (north - south) / (east - west) == pytest.approx(0.3 * box["height"] / (0.15 * box["width"]), rel=0.1)
    assert outline(event).area == pytest.approx((north - south) * (east - west) / 2, rel=0.02)


def test_a_click_elsewhere_drops_no_drawing(reader, project):
    reader.shows("r02-0001")
    row = reader.page.locator("nav .row").nth(4)
    # one that is as it was may go
    reader.press("3")
    reader.draws("1 part")
    row.click()
    reader.shows("r02-0005")
    expect(reader.page.locator("[data-test=drawing]")).to_have_count(0)
    # an area that is being drawn
    reader.press("n")
    reader.draws("0 parts")
    click(reader, CORNERS[:1])
    row.click()
    reader.see("message", "drop (Esc) the drawing first")
    reader.see("drawing", "1 new vert")
    reader.press("Escape")
    drop(reader)
    # a vertex that was moved, also after a reload
    reader.press("3")
    reader.draws("1 part")
    reader.press("Tab", "ArrowUp")
    reader.page.reload()
    reader.see("message", "unsaved drawing is back")
    reader.draws("1 part")
    reader.page.locator("nav .row").first.click()
    reader.see("message", "drop (Esc) the drawing first")
    reader.page.get_by_role("button", name="go to").click()
    reader.page.get_by_label("number in the list, or id").fill("7")
    reader.press("Enter")
    reader.see("message", "drop (Esc) the drawing first")
    reader.see("current", "r02-0005")
    reader.press("Enter")
    reader.shows("r02-0006")
    reader.saved()
    assert project.decisions() == {"r02-0005": "edit"}


def test_what_is_said_of_a_slump_that_is_being_added_is_not_dropped_by_a_click(reader):
    reader.shows("r02-0001")
    reader.press("n")
    reader.draws("0 parts")
    reader.press("w")
    reader.page.locator("nav .row").nth(4).click()
    reader.see("message", "drop (Esc) the drawing first")
    drop(reader)


def test_an_area_that_is_not_closed_is_not_left_out_of_what_is_saved(reader, project):
    reader.shows("r02-0001")
    reader.press("3")
    reader.draws("1 part")
    reader.press("d")
    click(reader, CORNERS)
    reader.page.get_by_role("button", name="save").click()
    reader.see("message", "Close the area (Enter) or drop it (Esc) first")
    # nor does it go with its tool
    reader.press("x", "d", "e")
    reader.see("drawing", "3 new vertices")
    reader.press("Enter", "Enter")
    reader.shows("r02-0002")
    reader.saved()
    (event,) = project.events()
    assert len(outline(event).geoms) == 2


def test_what_changes_while_the_server_is_asked_about_the_outline_is_not_dropped(reader, project):
    reader.shows("r02-0001")
    held = Held(reader.context, "check")
    reader.press("3")
    reader.draws("1 part")
    reader.press("Tab", "ArrowUp", "Enter", "ArrowUp", "w")
    held.let_go()
    reader.see("message", "changed meanwhile: save it again")
    reader.press("Enter")
    reader.shows("r02-0002")
    reader.saved()
    (event,) = project.events()
    assert event.possibility == 0.75
    assert outline(event).symmetric_difference(square(0)).area == pytest.approx(100 * 6 / 2)


def test_what_is_said_of_an_added_slump_outlives_a_candidate_that_is_painted_meanwhile(reader, project):
    reader.shows("r02-0001")
    add(reader)
    name = project.events()[0].candidate_id
    open_added(reader, name)
    reader.press("w", "Enter")
    reader.see("message", "Added")
    reader.saved()
    held = Held(reader.context, "candidate/r02-0007")
    reader.press("g", "7", "Enter")
    reader.see("current", "r02-0007")
    open_added(reader, name)
    held.let_go()
    reader.shows("r02-0007")
    reader.press("Tab", "ArrowUp", "Enter")
    reader.see("message", "Added")
    reader.press("1")
    reader.shows("r02-0008")
    reader.saved()
    redrawn, verdict = project.events()[-2:]
    assert (redrawn.candidate_id, redrawn.possibility) == (name, 0.75)
    assert (verdict.candidate_id, verdict.decision, verdict.possibility) == ("r02-0007", "accept", None)


def test_a_removed_slump_comes_back_with_undo(reader, project):
    reader.shows("r02-0001")
    add(reader)
    (first,) = project.events()
    name = first.candidate_id
    # another version of it, with more said
    open_added(reader, name)
    reader.press("Tab", "ArrowUp", "w", "Enter")
    reader.see("message", "Added")
    reader.saved()
    last = project.events()[-1]
    assert (last.candidate_id, last.possibility) == (name, 0.75)
    open_added(reader, name)
    reader.press("2")
    reader.see("message", f"Removed: {name}")
    reader.saved()
    assert project.decisions() == {}

    def stands(what):
        reader.saved()
        (head,) = fold(project.events()).heads[name]["ann"]
        return (head.geometry, head.possibility) == (what.geometry, what.possibility)

    reader.press("z")
    reader.see("message", f"Taken back: the removal of {name}")
    assert stands(last)
    reader.press("z")
    reader.see("message", f"Taken back: {name}")
    assert stands(first)
    reader.press("z")
    reader.see("message", "Taken back: the added slump")
    reader.saved()
    assert project.decisions() == {}
    # all of it again, over a reload
    reader.press("Shift+Z")
    reader.see("message", "Again: the added slump")
    assert stands(first)
    reader.press("Shift+Z")
    reader.see("message", f"Again: {name}")
    assert stands(last)
    reader.press("Shift+Z")
    reader.see("message", f"Again: the removal of {name}")
    reader.saved()
    assert project.decisions() == {}
    reader.page.reload()
    reader.shows("r02-0001")
    reader.press("z")
    reader.see("message", f"Taken back: the removal of {name}")
    assert stands(last)
    open_added(reader, name)
    drop(reader)


def test_an_outline_that_was_refused_late_can_be_drawn_on(reader, project):
    reader.shows("r02-0001")
    held = Held(reader.context, "verdict")
    reader.press("1")
    reader.shows("r02-0002")
    # while the first waits, the second isn't asked about
    reader.press("3")
    reader.draws("1 part")
    corner = place(shapely.Point(300, 0)).coords[0]
    while cross(reader) != corner:
        reader.press("Tab")
    go(reader, 45, 15)
    reader.press("Enter")
    reader.shows("r02-0003")
    held.let_go()
    reader.see("refused", "edges must not cross")
    reader.saved()
    reader.page.reload()
    reader.shows("r02-0003")
    reader.page.get_by_role("button", name="show it").click()
    reader.draws("1 part")
    reader.see("current", "r02-0002")
    reader.see("message", "outline that was not recorded")
    while cross(reader) != (corner[0] + 135, corner[1] + 45):
        reader.press("Tab")
    reader.press("ArrowLeft")
    go(reader, -44, -16)
    reader.press("Enter")
    reader.shows("r02-0003")
    reader.saved()
    expect(reader.page.locator("[data-test=refused]")).to_have_count(0)
    assert project.decisions() == {"r02-0001": "accept", "r02-0002": "edit"}
    reader.problems = [problem for problem in reader.problems if "422" not in problem]


UNITED = [(85.12, 50), (72.64, 64.55), (63.86, 80.34), (45.74, 79.63), (24.43, 79.5), (22.02, 58.22)]
UNITED += [(12.29, 38.93), (24.5, 20.57), (46.26, 23.96), (64.75, 17.71), (77.41, 32.39)]
BESIDE = [(6.4, 0.5), (5, -7), (-5.4, 10), (-3.6, 3), (-1, 5), (8, -2), (-3.7, 0), (3, 0), (4, 4), (-2, 0), (5.6, 10)]
"""Of each corner, ten-billionths of a metre: where edges lie so near to each other the library that unites outlines throws."""


def test_an_area_that_the_library_can_not_unite_loses_nothing(reader, project):
    x, y = place(shapely.Point(0, 0)).coords[0]
    ring = [[x + dx, y + dy] for dx, dy in UNITED]
    near = [[east + 1e-10 * a, north + 1e-10 * b] for (east, north), (a, b) in zip(ring, BESIDE, strict=True)]
    stands = {"type": "Polygon", "coordinates": [[*near, near[0]]]}
    reader.shows("r02-0001")
    # an outline as another program may have written it, and the same area in whole centimetres over it
    reader.page.evaluate(
        """async (draft) => {
            const {project} = await (await fetch('/api/round')).json();
            localStorage.setItem(`rts:${project}:02:ann:primary:draft`, JSON.stringify(draft));
        }""",
        {"target": "+", "geometry": stands, "sketch": ring, "tool": "add"},
    )
    reader.page.reload()
    reader.draws("1 part, 0 holes, 11 new vertices")
    reader.press("Enter")
    reader.see("message", "This area can't be joined with the outline")
    reader.draws("1 part, 0 holes, 11 new vertices")
    # it can still be mended, or dropped
    reader.press("Backspace")
    reader.draws("1 part, 0 holes, 10 new vertices")
    reader.press("Escape")
    expect(reader.page.locator("[data-test=drawing]")).not_to_contain_text("new vert")
    reader.press("Enter")
    reader.see("message", "Added")
    reader.saved()
    (event,) = project.events()
    assert outline(event).area == pytest.approx(shapely.Polygon(ring).area, rel=1e-3)
