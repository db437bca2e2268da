"""The server as an attacker meets it: the real command on a real socket."""

import json
import shutil
import socket
from pathlib import Path

import pytest
from shapely import box

from page_case import OUTSIDE, geojson
from review_case import AT, place, square
from rts_pipeline import io
from rts_pipeline.review.given import Given, Verdict
from rts_pipeline.review.guard import MAX_BODY
from rts_pipeline.review.readings import Draw
from rts_pipeline.review.start import start
from server_case import desk, fresh, project, server, template  # noqa: F401

SECRET = "the other reader thinks so"


def test_the_page_and_its_files_come_with_a_strict_policy(server):
    status, headers, body = server.get("/")
    assert status == 200
    assert b"/assets/review.js" in body
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert server.get("/assets/review.js")[0] == server.get("/assets/index.css")[0] == 200
    assert "server" not in headers


def test_the_cookie_can_not_be_read_by_scripts_or_sent_by_other_sites(server):
    _, headers, _ = server.request("GET", f"/enter/{server.token}")
    assert "HttpOnly" in headers["set-cookie"]
    assert "SameSite=Strict" in headers["set-cookie"]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "[::1]", ""]
)
def test_a_forged_host_is_refused(server, host):
    assert server.request("GET", "/api/round", headers={"Cookie": server.cookie}, host=host or " ")[0] in (400, 403)


def test_a_tunnel_may_end_at_another_port_of_this_machine(server):
    assert server.request("GET", "/api/round", headers={"Cookie": server.cookie}, host="localhost:9999")[0] == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost", None])
def test_a_forged_or_missing_origin_is_refused(project, server, origin):
    before = project.events()
    headers = {"Cookie": server.cookie, "Content-Type": "application/json", **({"Origin": origin} if origin else {})}
    body = json.dumps({"candidate_id": "r02-0005", "decision": "accept"}).encode()
    assert server.request("POST", "/api/verdict", body, headers)[0] == 403
    assert project.events() == before


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_another_site_has_the_browser_ask_for_is_refused(server, site):
    assert server.get("/chip/02/r02-0001/2019/true", **{"Sec-Fetch-Site": site})[0] == 403
    assert server.request("GET", f"/enter/{server.token}", headers={"Sec-Fetch-Site": site})[0] == 403
    link = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
    assert server.request("GET", f"/enter/{server.token}", headers=link)[0] == 200


@pytest.mark.parametrize(
    "path", ["/", "/assets/review.js", "/api/round", "/api/candidates", "/chip/02/r02-0001/2019/true", "/docs"]
)
def test_without_the_token_nothing_is_told(server, path):
    name = server.cookie.split("=")[0]
    for cookie in ({}, {"Cookie": f"{name}="}, {"Cookie": f"{name}={'x' * 43}"}, {"Cookie": f"other={server.token}"}):
        status, headers, body = server.request("GET", path, headers=cookie)
        assert status == 401
        assert b"r02" not in body
        assert "set-cookie" not in headers
    assert server.request("GET", "/enter/")[0] == server.request("GET", f"/enter/{server.token[:-1]}")[0] == 401


@pytest.mark.parametrize(
    "other", ["name=Ada Lovelace", "flag", 'theme={"mode":"dark"}', "prefs=[1, 2]", "filters[region]=x", "u=café", "=", ""]
)
def test_cookies_of_other_programs_on_this_machine_do_not_matter(server, other):
    for cookie in (f"{other}; {server.cookie}", f"{server.cookie};{other}", f"{other}; {server.cookie}; {other}"):
        assert server.request("GET", "/api/round", headers={"Cookie": cookie})[0] == 200
    assert server.request("GET", "/api/round", headers={"Cookie": other})[0] == 401


@pytest.mark.parametrize(
    "path",
    [
        "/chip/02/..%2f..%2f..%2fsecret/2019/true",
        "/chip/02/../../../../secret.webp",
        "/chip/..%2f..%2f02/r02-0001/2019/true",
        "/chip/02/r02-0001/2019/..%2f..%2fsecret.webp",
        "/chip/02/r02-0001/2019/candidate_id",
        "/chip/02/r02-0001%00/2019/true",
        "/chip/-1/r02-0001/2019/true",
        "/chip/%D9%A0%D9%A2/r02-0001/2019/true",
        "/assets/..%2f..%2fserver.py",
        "/assets/../../server.py",
        "/assets//etc/passwd",
        "/tile/true/0/..%2f0/0",
        "/tile/../true/0/0/0",
        "/tile/true/99/0/0",
        "/api/candidate/..%2f..%2fdraft.json",
    ],
)
def test_no_path_leads_out_of_the_index(server, path):
    status, _, body = server.get(path)
    assert status in (400, 404, 422)
    assert b"secret" not in body
    assert b"import" not in body


def test_an_index_that_names_another_folder_gives_nothing(fresh):
    path = fresh.results / "rounds" / "02" / "evidence" / "evidence.parquet"
    table = io.read_geoparquet(path)
    table.loc[table["year"] == 2019, "true_colour"] = OUTSIDE
    io.write_parquet(path, table)
    assert fresh.serve().get("/chip/02/r02-0001/2019/true")[0] == 404


def test_a_body_that_is_too_large_is_refused_unread(server):
    # the announced length alone decides: no byte of the body is sent, and the answer comes all the same
    headers = {"Cookie": server.cookie, "Origin": server.base, "Content-Type": "application/json"}
    assert server.request("POST", "/api/verdict", None, {**headers, "Content-Length": str(100 * 2**20)})[0] == 413
    for bad in ("-1", "x", "1e9"):
        assert server.request("POST", "/api/verdict", None, {**headers, "Content-Length": bad})[0] in (400, 403)


def test_a_body_that_streams_on_and_on_is_cut_off(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as line:
        head = f"POST /api/verdict HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nOrigin: {server.base}\r\n"
        line.sendall(
            f"{head}Cookie: {server.cookie}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        chunk, sent = b" " * 65536, 0
        try:
            while sent < 100 * 2**20:
                line.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                sent += len(chunk)
        except OSError:
            pass
        assert sent < 10 * MAX_BODY, "the server read on"
    assert server.get("/api/round")[0] == 200


def test_deep_and_odd_json_is_refused(server):
    headers = {"Cookie": server.cookie, "Origin": server.base, "Content-Type": "application/json"}
    for body in (b"[" * 100_000, b'{"candidate_id": NaN}', b"\xff\xfe", b"{}", b"null", b'{"candidate_id": "r02-0001"}'):
        assert server.request("POST", "/api/verdict", body, headers)[0] in (400, 422)
    deep = '{"geometry":' + '{"type":"GeometryCollection","geometries":[' * 5000 + "]}" * 5000 + "}"
    assert server.request("POST", "/api/check", deep.encode(), headers)[0] in (200, 400, 422)
    assert server.get("/api/round")[0] == 200


def test_nothing_of_another_reviewer_is_in_any_response(fresh):
    bob = desk(fresh, "bob")
    drawn = place(box(5, 5, 95, 88))
    bob.decide(Verdict(candidate_id="r02-0001", decision="edit", geometry=geojson(drawn), note=SECRET, possibility=0.25))
    bob.decide(Verdict(candidate_id="r02-0002", decision="reject", reject_reason="stable scar", note=SECRET))
    bob.add_missed(Given(geometry=geojson(place(box(0, 700, 61, 766))), note=SECRET))
    server = fresh.serve("ann")
    west, south, east, north = square(1).buffer(3000).bounds
    paths = ["/", "/api/round", "/api/candidates", "/api/gallery"]
    paths += [f"/api/around?west={west}&south={south}&east={east}&north={north}"]
    paths += [f"/api/candidate/{name}" for name in fresh.names]
    bodies = [server.get(path)[2] for path in paths]
    status, told = server.post("/api/verdict", {"candidate_id": "r02-0001", "decision": "accept"})
    assert status == 200
    bodies.append(json.dumps(told).encode())
    status, told = server.post("/api/retract", {"candidate_id": "r02-0002", "event_id": bob.state("r02-0002")["event_id"]})
    assert status == 422
    text = b"\n".join([*bodies, json.dumps(told).encode()])
    for hidden in (SECRET, "bob", "stable scar", bob.state("r02-0001")["event_id"], "500061", "3900766", "r02-m"):
        assert hidden.encode() not in text, hidden
    assert fresh.decisions("bob")["r02-0002"] == "reject"


def test_a_second_reader_learns_what_is_to_be_read_again_and_nothing_else(template, tmp_path):
    """Asked for afresh while the others judge, the list tells that somebody is unsure; neither who nor why."""
    project = template.copied(tmp_path)
    shutil.rmtree(project.reviews / "round_02")
    start(project.reviews, project.results, "02", at=AT, second=Draw(share=0.01, threshold=0.5))
    ann = project.serve("ann", role="second")
    try:
        (drawn,) = ann.json("/api/candidates")["id"]
        other = next(name for name in project.names if name != drawn)
        bob = desk(project, "bob")
        bob.decide(Verdict(candidate_id=other, decision="unsure", note=SECRET, possibility=0.25))
        bob.decide(Verdict(candidate_id=drawn, decision="reject", reject_reason="stable scar", note=SECRET))
        bodies = [ann.get(path)[2] for path in ("/api/candidates", *(f"/api/candidate/{name}" for name in (drawn, other)))]
        assert set(json.loads(bodies[0])["id"]) == {drawn, other}
        for hidden in (SECRET, "bob", "unsure", "reject", "stable scar", "0.25", bob.state(other)["event_id"]):
            assert hidden.encode() not in b"".join(bodies), hidden
    finally:
        project.stop()


def test_a_note_comes_back_as_it_was_written(fresh):
    note = "<script>alert(1)</script>\u202e\"'&"
    server = fresh.serve()
    server.post("/api/verdict", {"candidate_id": "r02-0001", "decision": "accept", "note": note})
    status, headers, body = server.get("/api/candidate/r02-0001")
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert json.loads(body)["mine"]["note"] == note
    status, _ = server.post("/api/verdict", {"candidate_id": "r02-0001", "decision": "accept", "note": "x" * 5000})
    assert status == 422


def test_it_listens_on_the_loopback_alone(server):
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    listening = {local for _, local, _, state, *_ in lines if state == "0A" and local.endswith(f":{server.port:04X}")}
    assert listening == {f"0100007F:{server.port:04X}"}
