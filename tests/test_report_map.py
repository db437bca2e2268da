"""The report's map as a reader uses it: the file opened in a real browser, without a server and without a network."""

import shutil

import geopandas as gpd
import pytest
from playwright.sync_api import expect, sync_playwright
from shapely import Point

from report_case import EAST, NORTH, Project
from rts_pipeline.report import interactive


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("map"), columns=2, n_seeds=2, new_by_round=(3,)).measure()
    path = project.results / "attributes.parquet"
    grew = gpd.read_parquet(path).assign(first_year=2016, last_changed_year=2018, growth_m2_yr=1234.4)
    grew.loc[0, ["first_year", "growth_m2_yr"]] = None
    grew.astype({"first_year": "Int64", "last_changed_year": "Int64"}).to_parquet(path)
    project.report()
    return project


@pytest.fixture
def page(project):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        problems, asked = [], []
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((project.folder / "report.html").as_uri())
        page.locator("#map canvas").first.wait_for(state="attached")
        yield page
        browser.close()
    assert problems == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def colours(page):
    """Return the colours of the map's pixels, as many as there are."""
    script = """() => { const c = document.querySelector('#map canvas'); const d = c.getContext('2d');
        const p = d.getImageData(0, 0, c.width, c.height).data; const seen = new Set();
        for (let i = 0; i < p.length; i += 4) seen.add(p[i] << 16 | p[i+1] << 8 | p[i+2]); return [...seen]; }"""
    return {f"#{colour:06x}" for colour in page.evaluate(script)}


def test_a_slump_tells_what_is_known_of_it(page, project):
    slumps = gpd.read_parquet(project.results / "attributes.parquet")
    wanted = slumps.iloc[1]
    page.locator("#map-go").fill(str(wanted.rts_id))
    page.locator("#map-go").press("Enter")
    told = page.locator("#map-told")
    expect(told).to_contain_text(wanted.rts_uid)
    expect(told).to_contain_text(f"{wanted.latitude:.5f}, {wanted.longitude:.5f}")
    for name, value in (("first seen in", "2016"), ("last changed in", "2018"), ("growth", "1,234 m² a year")):
        expect(told).to_contain_text(f"{name}{value}")
    # the map has moved to it, so that a click into its middle finds it
    page.locator("#map-go").fill("999")
    page.locator("#map-go").press("Enter")
    expect(told).to_contain_text("There is no slump 999")
    page.locator("#map").click()
    expect(told).to_contain_text(wanted.rts_uid)


def test_slumps_are_coloured_by_what_the_reader_chooses(page, project):
    n = len(gpd.read_parquet(project.results / "attributes.parquet"))
    legend = page.locator("#map-legend")
    for by, entries in (("possibility", ["High", "Yes"]), ("round", ["known at the start", "round 01"]), ("size", ["ha"])):
        page.locator("#map-colour").select_option(label=by)
        for entry in entries:
            expect(legend).to_contain_text(entry)
        counts = [int(part.split(")")[0]) for part in legend.inner_text().split("(")[1:]]
        assert sum(counts) == n


def test_outlines_are_drawn_over_what_was_seen(page):
    page.wait_for_timeout(300)
    seen = colours(page)
    assert interactive.SEEN in seen
    assert "#c9ced1" in seen, "what was not observed is grey"
    assert seen & {colour.lower() for colour in interactive.SURE}, "points or outlines in the colours of possibility"


def test_many_outlines_are_drawn_more_coarsely_until_they_fit(monkeypatch):
    outline = gpd.GeoDataFrame(geometry=[Point(EAST, NORTH).buffer(500, quad_segs=100)], crs=32646)

    def size():
        found = interactive._collection(outline, 3.0)
        return len(found["features"][0]["geometry"]["coordinates"][0])

    fine = size()
    monkeypatch.setattr(interactive, "MOST_BYTES", 400)
    assert 4 <= size() < fine
