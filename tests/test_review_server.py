"""The server as a browser meets it: the real command on a real socket."""

import json
import random
import re
import shutil
import signal
from http.client import HTTPException
from io import BytesIO
from itertools import count
from pathlib import Path
from socket import create_connection
from threading import Timer
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from shapely import box

from page_case import MEASURED, N, geojson
from review_case import AT, CRS, GRID, place, square, write_candidates
from rts_pipeline import io
from rts_pipeline.errors import RefusedError, UsageError
from rts_pipeline.review.desk import Desk
from rts_pipeline.review.events import OUTLINE_SCOPES, REJECT_REASONS, make_event
from rts_pipeline.review.given import Given, Retraction, Verdict
from rts_pipeline.review.pictures import Pictures
from rts_pipeline.review.readings import Draw
from rts_pipeline.review.server import open_socket
from rts_pipeline.review.start import start
from rts_pipeline.review.store import append
from rts_pipeline.review.tiles import Mosaic
from server_case import desk, fresh, project, server, template  # noqa: F401

# What a reviewer gets


def test_the_candidates_come_by_column_in_the_order_of_their_rank(project, server):
    columns = server.json("/api/candidates")
    assert columns["id"] == project.names
    assert sorted(columns["near"]) == list(range(1, N + 1))
    assert columns["changed"] == [0, 0, 1, 0, 0, 0, 0, 0]
    assert {len(columns[name]) for name in ("id", "x", "y", "area", "changed", "near", "decision")} == {N}


def test_a_candidate_shows_its_outline_where_its_chips_show_the_ground(project, server):
    found = server.json("/api/candidate/r02-0003")
    assert shapely.from_geojson(json.dumps(found["outline"])).equals(square(2))
    west, south, east, north = found["ground"]
    assert box(west, south, east, north).contains(square(2))
    width = Image.open(BytesIO(server.get("/chip/02/r02-0003/2019/true")[2])).width
    assert width == 2 * (east - west) / 3
    assert found["known"] is not None


def test_a_year_without_an_image_says_why(server):
    year = server.json("/api/candidate/r02-0002")["chips"][0]
    assert year["kinds"] == ["hillshade"]
    assert year["reason"] == "no image in the season of 2018"
    assert server.get("/chip/02/r02-0002/2018/true")[0] == 404


def test_the_ground_of_chips_is_what_their_table_says(fresh):
    path = fresh.results / "rounds/02/evidence/evidence.parquet"
    table = io.read_geoparquet(path)
    io.write_parquet(path, table.assign(west=table["west"] - 300.0))
    west, south, east, north = Pictures(fresh.results, fresh.reviews, CRS).ground("02", "r02-0001")
    assert (east - west) - (north - south) == 300.0
    io.write_parquet(path, table.drop(columns="west"))
    pictures = Pictures(fresh.results, fresh.reviews, CRS)
    assert pictures.ground("02", "r02-0001") is None, "of an earlier version"
    assert pictures.ground("02", "r02-9999") is None


def test_years_come_in_order_whatever_the_order_of_the_table(fresh):
    path = fresh.results / "rounds/02/evidence/evidence.parquet"
    table = io.read_geoparquet(path)

    def told():
        pictures = Pictures(fresh.results, fresh.reviews, CRS)
        of_each = [(pictures.chips("02", n), pictures.numbers("02", n), pictures.outlines("02", n)) for n in fresh.names]
        return pictures.years("02"), pictures.kinds("02"), of_each

    in_order = told()
    assert [chip["year"] for chip in in_order[2][0][0]] == [2018, 2019, 2020]
    io.write_parquet(path, table.sample(frac=1, random_state=1), 5)
    assert told() == in_order


def test_the_map_shows_neighbours_and_earlier_decisions(server):
    west, south, east, north = square(1).buffer(500).bounds
    around = server.json(f"/api/around?west={west}&south={south}&east={east}&north={north}")
    assert {"r02-0001", "r02-0002", "r02-0003"} <= {other["id"] for other in around["candidates"]}
    assert {(o["id"], o["kind"]) for o in around["earlier"]} >= {("r01-0001", "positive"), ("r01-0002", "negative")}


@pytest.mark.parametrize("zoom", [-3, -1, 0, 2, 6])
def test_tiles_lie_on_the_grid_and_are_transparent_where_nothing_was_seen(server, zoom):
    edge = 256 * 3 * 2.0**zoom
    x, y = square(0).centroid.coords[0]
    status, headers, body = server.get(f"/tile/true/{zoom}/{int(x // edge)}/{-int(-(-y // edge))}")
    assert (status, headers["content-type"]) == (200, "image/webp")
    image = Image.open(BytesIO(body))
    assert image.size == (256, 256)
    if zoom == 0:
        assert set(image.getchannel("A").getextrema()) == {0, 255}
    assert server.get(f"/tile/true/{zoom}/0/0")[0] == 204


def test_enlarged_tiles_meet_without_a_seam(project):
    mosaic = Mosaic(project.results / "mosaic", GRID)
    x, y = (int(value // (256 * 3 / 4)) for value in square(1).centroid.coords[0])
    pixels = [np.asarray(Image.open(BytesIO(mosaic.tile("true", -2, x + step, -y - 1)))).astype(float) for step in (0, 1)]
    across, inside = (pixels[1][:, 0] - pixels[0][:, -1])[:, :3], (pixels[0][:, -4] - pixels[0][:, -5])[:, :3]
    assert np.abs(across).mean() < 1.5 * np.abs(inside).mean() + 5


def test_the_gallery_holds_what_earlier_rounds_decided(server):
    examples = server.json("/api/gallery")
    assert {(e["id"], e["decision"], e["reject_reason"]) for e in examples} >= {
        ("r01-0001", "accept", ""),
        ("r01-0002", "reject", "water"),
    }
    assert server.get("/chip/01/r01-0001/2019/true")[0] == 200


def test_offline_a_copy_of_what_the_documents_name_is_enough(fresh):
    """Without the mosaic there is no map, without the evidence nothing but the map; a verdict is taken all the same."""
    named = ("rounds/02/evidence/", "rounds/02/labels.parquet", "mosaic/")
    for path in [path for path in fresh.results.rglob("*") if path.is_file()]:
        if not path.relative_to(fresh.results).as_posix().startswith(named):
            path.unlink()
    shutil.rmtree(fresh.results / "rounds/01")
    server = fresh.serve()
    around = "/api/around?west={}&south={}&east={}&north={}".format(*square(1).buffer(500).bounds)
    assert server.json("/api/round")["mosaic"]
    assert server.get("/chip/02/r02-0001/2019/true")[0] == 200
    assert {other["kind"] for other in server.json(around)["earlier"]} == {"positive", "negative"}
    server.kill()
    shutil.rmtree(fresh.results / "rounds")
    shutil.rmtree(fresh.results / "mosaic")
    bare = fresh.serve()
    told = bare.json("/api/round")
    assert (told["mosaic"], told["years"], told["kinds"]) == (False, [], [])
    assert bare.json("/api/candidate/r02-0001")["chips"] == []
    assert len(bare.json(around)["candidates"]) > 0
    assert bare.post("/api/verdict", {"candidate_id": "r02-0001", "decision": "accept"})[0] == 200
    assert fresh.decisions() == {"r02-0001": "accept"}


# What a reviewer does


def test_a_verdict_is_on_the_disk_when_it_is_acknowledged(fresh):
    server = fresh.serve()
    status, told = server.post("/api/verdict", {"candidate_id": "r02-0001", "decision": "accept", "possibility": 0.75})
    assert status == 200
    server.kill()
    (event,) = fresh.events()
    assert event.event_id == told["mine"]["event_id"]
    assert (event.decision, event.possibility, event.source, event.reviewer) == ("accept", 0.75, "web", "ann")
    again = fresh.serve()
    assert again.json("/api/candidates")["decision"][0] == "accept"
    assert again.port == server.port, "a browser finds again what it could not send"
    assert again.request("GET", "/", headers={"Cookie": server.cookie})[0] == 401


def test_the_networks_numbers_come_after_the_verdict(fresh):
    server = fresh.serve()
    before = server.get("/api/candidate/r02-0001")[2] + server.get("/api/candidates")[2]
    for hidden in (b"prob", b"growth", b"first_year", b"4321", b"765", b"score", b"retreat", b"ndvi", b"bright", b"0.47"):
        assert hidden not in before
    told = json.loads(server.get("/api/candidate/r02-0001")[2])
    assert (told["numbers"], told["outlines"]) == (None, {})
    _, told = server.post("/api/verdict", {"candidate_id": "r02-0001", "decision": "unsure"})
    assert told["numbers"]["prob_mean"] == 0.7
    assert told["numbers"]["growth_m2_yr"] == 765
    assert (told["numbers"]["monotone_growth"], told["numbers"]["two_years"]) == (1, 0)
    assert told["numbers"]["growth_low_m2_yr"] is None
    assert [(year["seen"], year["area_m2"]) for year in told["years"]] == [(False, 0), (True, 4321), (True, 4321)]
    assert [(year["ndvi"], year["ndvi_ring"], year["brightness"], year["brightness_ring"]) for year in told["years"]] == [
        MEASURED
    ] * 3
    outlines = server.json("/api/candidate/r02-0001")["outlines"]
    assert sorted(outlines) == ["2019", "2020"]
    assert shapely.from_geojson(json.dumps(outlines["2019"])).equals(square(0).buffer(-20))
    _, told = server.post("/api/retract", {"candidate_id": "r02-0001", "event_id": told["mine"]["event_id"]})
    assert server.json("/api/candidate/r02-0001")["outlines"] == {}
    assert told == {"candidate_id": "r02-0001", "mine": None, "numbers": None}


def test_the_order_is_that_of_all_years_where_there_is_one(fresh):
    path = fresh.results / "rounds" / "02" / "evidence" / "change.parquet"
    table = pd.read_parquet(path)
    io.write_parquet(path, table.assign(rank=table["rank"].to_numpy()[::-1]))
    assert desk(fresh).columns()["id"] == fresh.names[::-1]
    path.unlink()
    assert desk(fresh).columns()["id"] == fresh.names


def test_an_outline_is_checked_before_it_is_recorded(project, server):
    bow = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}
    for path, value in (
        ("/api/verdict", {"candidate_id": "r02-0008", "decision": "edit", "geometry": bow}),
        ("/api/missed", {"geometry": bow}),
        ("/api/check", {"outline": bow}),
        ("/api/verdict", {"candidate_id": "r02-0008", "decision": "edit"}),
        ("/api/verdict", {"candidate_id": "r02-0008", "decision": "accept", "geometry": geojson(square(6))}),
        ("/api/verdict", {"candidate_id": "r02-0008", "decision": "accept", "reject_reason": "water"}),
        ("/api/verdict", {"candidate_id": "r02-0008", "decision": "accept", "reviewer": "bob"}),
        ("/api/verdict", {"candidate_id": "r02-0008", "decision": "maybe"}),
        ("/api/verdict", {"candidate_id": "r02-0008", "decision": "accept", "possibility": 2}),
        ("/api/verdict", {"candidate_id": "r02-0099", "decision": "accept"}),
        ("/api/missed", {"geometry": geojson(square(20)), "candidate_id": "r02-0001"}),
        ("/api/retract", {"candidate_id": "r02-0008", "event_id": "0" * 64}),
    ):
        status, told = server.post(path, value)
        assert status == 422, (path, value, told)
    assert "r02-0008" not in project.decisions()
    for outline, problem in (
        (bow, "edges must not cross"),
        (geojson(square(7)), "the candidate's own"),
        (geojson(square(6)), ""),
    ):
        status, told = server.post("/api/check", {"geometry": outline, "candidate_id": "r02-0008"})
        assert (status, problem in told["problem"]) == (200, True)


def test_an_edit_with_holes_and_parts_is_recorded_as_it_was_drawn(fresh):
    drawn = shapely.union(square(0).difference(place(box(30, 30, 60, 60))), place(box(120, 0, 150, 30)))
    server = fresh.serve()
    status, told = server.post("/api/verdict", {"candidate_id": "r02-0001", "decision": "edit", "geometry": geojson(drawn)})
    assert status == 200
    (event,) = fresh.events()
    assert shapely.from_geojson(json.dumps(event.geometry)).equals(drawn)
    assert told["mine"]["geometry"] == event.geometry


def test_after_the_sign_off_a_verdict_is_refused_and_says_why(fresh):
    server = fresh.serve()
    (fresh.reviews / "round_02" / "draft.json").unlink()
    status, told = server.post("/api/verdict", {"candidate_id": "r02-0001", "decision": "accept"})
    assert status == 409
    assert "isn't open" in told["problem"]


def test_a_server_of_an_earlier_start_takes_no_verdict_on_outlines_that_are_none_any_more(fresh):
    mine, server = desk(fresh), fresh.serve()
    (fresh.reviews / "round_02" / "draft.json").unlink()
    start(fresh.reviews, fresh.results, "02", at=AT)
    mine.decide(Verdict(candidate_id="r02-0001", decision="accept"))
    (fresh.reviews / "round_02" / "draft.json").unlink()
    write_candidates(fresh.results, "02", [square(0).buffer(9)])
    start(fresh.reviews, fresh.results, "02", at=AT)
    status, told = server.post("/api/verdict", {"candidate_id": "r02-0002", "decision": "accept"})
    assert (status, "was started again on other candidates; end this server" in told["problem"]) == (409, True)
    assert len(fresh.events()) == 1


def test_a_slump_that_was_added_can_be_redrawn_and_taken_back(fresh):
    mine = desk(fresh)
    told = mine.add_missed(Given(geometry=geojson(place(box(0, 900, 60, 960))), possibility=0.5))
    name = told["candidate_id"]
    assert name.startswith("r02-m")
    again = mine.add_missed(Given(geometry=geojson(place(box(0, 900, 90, 960))), candidate_id=name))
    assert again["candidate_id"] == name
    assert fresh.decisions() == {name: "missed"}
    mine.retract(Retraction(candidate_id=name, event_id=again["mine"]["event_id"]))
    mine.retract(Retraction(candidate_id=name, event_id=told["mine"]["event_id"]))
    assert fresh.decisions() == {}
    mine.add_missed(Given(geometry=geojson(place(box(0, 900, 60, 960))), possibility=0.5))
    assert fresh.decisions() == {name: "missed"}, "said again within the second in which it was taken back"


ACTS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["accept", "reject", "unsure", "undo"])), max_size=12)


@given(acts=ACTS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_undo_restores_what_stood_before_and_a_reload_shows_the_same(project, acts):
    reviewer = f"reader {uuid4().hex[:8]}"
    mine, stacks = desk(project, reviewer), {name: [] for name in project.names[:3]}
    for number, act in acts:
        name = project.names[number]
        if act != "undo":
            told = mine.decide(Verdict(candidate_id=name, decision=act))["mine"]
            if not stacks[name] or stacks[name][-1]["event_id"] != told["event_id"]:
                stacks[name].append(told)
        elif stacks[name]:
            mine.retract(Retraction(candidate_id=name, event_id=stacks[name].pop()["event_id"]))
        assert mine.state(name) == (stacks[name][-1] if stacks[name] else None)
    again = desk(project, reviewer)
    assert [again.state(name) for name in stacks] == [stack[-1] if stack else None for stack in stacks.values()]


def test_undo_brings_a_fork_back_as_it_was(fresh):
    mine = desk(fresh)
    mine.decide(Verdict(candidate_id="r02-0001", decision="accept"))
    (accept,) = fresh.events()
    append(fresh.reviews, "02", "ann", [make_event(**{**accept.plain, "decision": "reject"})])
    mine = desk(fresh)
    before = mine.state("r02-0001")
    assert before["forked"]
    told = mine.decide(Verdict(candidate_id="r02-0001", decision="unsure"))["mine"]
    assert (told["decision"], told["forked"]) == ("unsure", False)
    mine.retract(Retraction(candidate_id="r02-0001", event_id=told["event_id"]))
    assert mine.state("r02-0001") == before


def test_the_same_verdict_sent_twice_is_one_event(fresh):
    mine = desk(fresh)
    for _ in range(2):
        mine.decide(Verdict(candidate_id="r02-0001", decision="accept", note="ok"))
    assert len(fresh.events()) == 1


@pytest.mark.parametrize(("name", "words"), [("REASONS", REJECT_REASONS), ("SCOPES", OUTLINE_SCOPES)])
def test_the_page_offers_the_words_that_the_record_knows(name, words):
    keys = (Path(__file__).parents[1] / "web/src/keys.ts").read_text()
    (listed,) = re.findall(rf"const {name} = \[(.*?)\]", keys, re.DOTALL)
    assert tuple(re.findall(r'"(.*?)"', listed)) == words


# Several people


def test_who_judged_as_another_before_has_added_only_what_was_added(fresh):
    """A person may be one round's primary and adjudicator; a verdict of the one role is no added slump of the other."""
    desk(fresh).decide(Verdict(candidate_id="r02-0001", decision="accept"))
    name = desk(fresh).add_missed(Given(geometry=geojson(place(box(0, 900, 60, 960)))))["candidate_id"]
    judge = desk(fresh, role="adjudicator")
    assert [one["candidate_id"] for one in judge.columns()["missed"]] == [name]


def test_an_adjudicator_sees_what_two_readers_differ_on_and_nothing_else(fresh):
    ann, bob = desk(fresh, "ann"), desk(fresh, "bob")
    for reader, decision in ((ann, "accept"), (bob, "reject")):
        reader.decide(Verdict(candidate_id="r02-0002", decision=decision, note=f"says {reader.reviewer}"))
        reader.decide(Verdict(candidate_id="r02-0003", decision="accept"))
    judge = desk(fresh, "cem", "adjudicator")
    assert judge.columns()["id"] == ["r02-0002"]
    readings = judge.candidate("r02-0002")["readings"]
    assert {(r["reviewer"], r["decision"], r["note"]) for r in readings} == {
        ("ann", "accept", "says ann"),
        ("bob", "reject", "says bob"),
    }
    judge.decide(Verdict(candidate_id="r02-0002", decision="reject"))
    assert [event.blind for event in fresh.events("cem")] == [False]
    assert desk(fresh, "cem", "adjudicator").columns()["decision"] == ["reject"]


def test_an_adjudicators_server_shows_what_was_said_since_its_start(fresh):
    """Four servers of one round; none has to be started again for what the others' reviewers say."""
    ann, bob, cem = fresh.serve("ann"), fresh.serve("bob"), fresh.serve("cem", role="adjudicator")
    dan = fresh.serve("dan", role="second")

    def say(server, number, decision, **more):
        told = server.post("/api/verdict", {"candidate_id": fresh.names[number], "decision": decision, **more})
        assert told[0] == 200, told

    def read(number):
        readings = cem.json(f"/api/candidate/{fresh.names[number]}")["readings"]
        return {reading["reviewer"]: (reading["decision"], reading["note"]) for reading in readings}

    assert cem.json("/api/candidates")["id"] == dan.json("/api/candidates")["id"] == []
    for number in (4, 1):
        say(ann, number, "accept", note="a headwall")
        say(bob, number, "reject")
    say(ann, 0, "accept")
    assert cem.json("/api/candidates")["id"] == [fresh.names[1], fresh.names[4]]
    assert read(1) == {"ann": ("accept", "a headwall"), "bob": ("reject", None)}
    say(bob, 1, "accept", note="I see it now")
    assert read(1) == {"ann": ("accept", "a headwall"), "bob": ("accept", "I see it now")}
    say(cem, 1, "accept")  # no dispute any more, but still on the open page
    say(cem, 4, "reject")
    say(bob, 0, "unsure")
    assert cem.json("/api/candidates")["id"] == [fresh.names[number] for number in (0, 1, 4)]
    assert cem.json("/api/candidates")["decision"] == [None, "accept", "reject"]
    assert cem.json(f"/api/candidate/{fresh.names[0]}")["id"] == fresh.names[0]
    assert cem.get(f"/api/candidate/{fresh.names[2]}")[0] == 404
    assert ann.json(f"/api/candidate/{fresh.names[1]}")["readings"] == []
    # nobody drew a sample for second readings when this round was started
    assert dan.json("/api/candidates")["id"] == []


@pytest.mark.parametrize("role", ["second", "adjudicator"])
def test_a_verdict_that_waited_over_a_new_start_is_taken_though_it_is_asked_no_more(fresh, role):
    """The browser sends it when a server of the same role is there again."""
    (fresh.reviews / "round_02" / "draft.json").unlink()
    start(fresh.reviews, fresh.results, "02", at=AT, second=Draw(share=0.01, threshold=0.5))
    bob, cem, name = desk(fresh, "bob"), desk(fresh, "cem"), fresh.names[4]
    bob.decide(Verdict(candidate_id=name, decision="unsure"))
    cem.decide(Verdict(candidate_id=name, decision="accept"))
    assert name in desk(fresh, role=role).position
    bob.decide(Verdict(candidate_id=name, decision="accept"))
    again = desk(fresh, role=role)
    assert name not in again.position
    drawn = geojson(square(4).buffer(9, join_style="mitre"))
    again.decide(Verdict(candidate_id=name, decision="edit", geometry=drawn))
    assert fresh.decisions() == {name: "edit"}


def test_a_killed_server_loses_no_verdict_that_it_acknowledged(fresh):
    """Killed at any moment of a verdict, started again: what was acknowledged stands, what was cut off may be said again."""
    acknowledged, draw = {}, random.Random(3)
    for attempt in range(3):
        server = fresh.serve()
        killer = Timer(draw.uniform(0.0, 0.05), server.process.send_signal, [signal.SIGKILL])
        with pytest.raises((OSError, HTTPException)):
            for number in count():
                if number == 2 + attempt:
                    killer.start()
                name, decision = fresh.names[number % N], ("accept", "reject", "unsure")[(number + attempt) % 3]
                status, told = server.post("/api/verdict", {"candidate_id": name, "decision": decision})
                assert status == 200
                acknowledged[name] = told["mine"]["event_id"]
        killer.join()
        server.kill()
        recorded = {event.event_id for event in fresh.events()}
        assert len(acknowledged) > 1 and set(acknowledged.values()) <= recorded
    server = fresh.serve()
    assert server.post("/api/verdict", {"candidate_id": fresh.names[0], "decision": "accept", "note": "after"})[0] == 200
    assert server.json("/api/candidates")["decision"][0] == "accept"


def test_a_verdict_after_the_numbers_were_told_is_not_blind(fresh):
    mine = desk(fresh)
    for decision in ("accept", "reject"):
        mine.decide(Verdict(candidate_id="r02-0001", decision=decision))
    assert [event.blind for event in fresh.events()] == [True, False]


# Mistakes at the start


def test_two_reviewers_get_two_addresses_and_a_taken_port_is_named(project, server):
    bob = project.serve("bob")
    assert bob.port != server.port
    with pytest.raises(UsageError, match="--port"):
        open_socket(server.port, "x")
    assert bob.request("GET", "/api/round", headers={"Cookie": server.cookie})[0] == 401


def test_who_opens_an_address_before_the_server_is_ready_is_not_refused():
    with open_socket(None, "x") as bound, create_connection(bound.getsockname(), timeout=5):
        pass


def test_a_round_that_is_not_open_is_told_in_one_line(project):
    with pytest.raises(RefusedError, match="already signed off"):
        Desk(project.reviews, project.results, "01", "ann")
    with pytest.raises(UsageError, match="not usable as a name"):
        Desk(project.reviews, project.results, "02", "../ann")
