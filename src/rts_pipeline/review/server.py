"""The review in a browser: one process on this machine, for one reviewer and one round.

Every answer to a write is sent after the events are on the disk. Requests pass the guard first (see `guard`).
"""

from __future__ import annotations

import gzip
import json
import secrets
import socket
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from pydantic import ValidationError

from rts_pipeline.config import Config
from rts_pipeline.errors import BusyError, InputError, PipelineError, RefusedError, UsageError
from rts_pipeline.imagery import COLOURS
from rts_pipeline.review.desk import Desk
from rts_pipeline.review.events import Role
from rts_pipeline.review.given import Drawn, Given, Retraction, Verdict
from rts_pipeline.review.guard import ENTER, Guard
from rts_pipeline.review.pictures import Pictures
from rts_pipeline.review.tiles import MAX_ZOOM, MIN_ZOOM, TILE_PX, Mosaic

PAGE = Path(__file__).parent / "page"
KEPT = "private, max-age=3600"
"""Chips and tiles stay in the browser while a review lasts; records never."""
FIRST_PORT, PORTS = 49_152, 16_000
STATUS = {BusyError: 503, UsageError: 422, InputError: 500, RefusedError: 409}
"""The page sends again what was answered with 500 or more; what was refused it shows, and doesn't send again."""


def make_app(desk: Desk, pictures: Pictures, mosaic: Mosaic, target_year: int) -> FastAPI:
    """Return the application, without its guard."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.add_exception_handler(PipelineError, _problem)
    app.add_exception_handler(ValidationError, _invalid)
    app.add_exception_handler(RequestValidationError, _invalid)
    _add_page(app)
    _add_candidates(app, desk, pictures, mosaic, target_year)
    _add_pictures(app, pictures, mosaic)

    @app.post("/api/verdict")
    def verdict(given: Verdict) -> dict[str, Any]:
        return _with_years(desk.decide(given), given.candidate_id, desk, pictures)

    @app.post("/api/missed")
    def missed(given: Given) -> dict[str, Any]:
        return desk.add_missed(given)

    @app.post("/api/check")
    def check(given: Drawn) -> dict[str, str]:
        try:
            desk.checked(given)
        except UsageError as error:
            return {"problem": str(error)}
        return {"problem": ""}

    @app.post("/api/retract")
    def retract(given: Retraction) -> dict[str, Any]:
        return desk.retract(given)

    return app


def _add_page(app: FastAPI) -> None:
    files = {path.name: path for path in (PAGE / "assets").glob("*")} if PAGE.exists() else {}

    @app.get("/")
    def index() -> Response:
        return FileResponse(PAGE / "index.html")

    @app.get("/assets/{name}")
    def asset(name: str) -> Response:
        return FileResponse(_found(files.get(name)))


def _add_candidates(app: FastAPI, desk: Desk, pictures: Pictures, mosaic: Mosaic, target_year: int) -> None:
    @app.get("/api/round")
    def round() -> dict[str, Any]:
        return {
            "round": desk.round,
            "reviewer": desk.reviewer,
            "role": desk.role,
            "guideline_version": desk.draft.guideline_version,
            # tells apart what a browser kept of another project
            "project": desk.draft.candidates_sha256[:16],
            "years": pictures.years(desk.round),
            "kinds": pictures.kinds(desk.round),
            "target_year": target_year,
            "pixel_m": mosaic.grid.pixel_m,
            "crs": mosaic.grid.crs,
            "tile_px": TILE_PX,
            "zooms": [MIN_ZOOM, MAX_ZOOM],
            "mosaic": bool(mosaic.cells),
        }

    @app.get("/api/candidates")
    def candidates(request: Request) -> Response:
        body = json.dumps(desk.columns(), separators=(",", ":")).encode()
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return Response(body, media_type="application/json")
        packed = gzip.compress(body, 1)
        return Response(packed, media_type="application/json", headers={"content-encoding": "gzip"})

    @app.get("/api/candidate/{name}")
    def candidate(name: str) -> dict[str, Any]:
        if name not in desk.position:
            raise HTTPException(404)
        shown = desk.candidate(name)
        return {
            **_with_years(shown, name, desk, pictures),
            "chips": pictures.chips(desk.round, name),
            "outlines": pictures.outlines(desk.round, name) if shown["numbers"] is not None else {},
            "ground": pictures.ground(desk.round, name),
        }

    @app.get("/api/around")
    def around(west: float, south: float, east: float, north: float) -> dict[str, Any]:
        return desk.around((west, south, east, north))

    @app.get("/api/gallery")
    def gallery() -> list[dict[str, Any]]:
        return pictures.examples(desk.round)


def _add_pictures(app: FastAPI, pictures: Pictures, mosaic: Mosaic) -> None:
    @app.get("/chip/{round}/{name}/{year}/{kind}")
    def chip(round: str, name: str, year: int, kind: str) -> Response:
        if not (round.isascii() and round.isdigit()):
            raise HTTPException(404)
        # some tens of kB: read at once, not streamed from a thread
        picture = _found(pictures.file(round, name, year, kind)).read_bytes()
        return Response(picture, 200, {"cache-control": KEPT}, "image/webp")

    @app.get("/tile/{colour}/{z}/{x}/{y}")
    def tile(colour: str, z: int, x: int, y: int) -> Response:
        if colour not in COLOURS or not MIN_ZOOM <= z <= MAX_ZOOM or max(abs(x), abs(y)) > 10_000_000:
            raise HTTPException(404)
        picture = mosaic.tile(colour, z, x, y)
        headers = {"cache-control": KEPT}
        return Response(status_code=204, headers=headers) if picture is None else Response(picture, 200, headers, "image/webp")


def _with_years(told: dict[str, Any], name: str, desk: Desk, pictures: Pictures) -> dict[str, Any]:
    """Add what was measured in each year where the other numbers may be told."""
    return {**told, "years": pictures.numbers(desk.round, name) if told["numbers"] is not None else None}


def _found(path: Path | None) -> Path:
    if path is None or not path.is_file():
        raise HTTPException(404)
    return path


def _problem(request: Request, error: Exception) -> Response:
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    return JSONResponse({"problem": str(error)}, status)


def _invalid(request: Request, error: Exception) -> Response:
    """Say what is wrong with a request, without giving back what it held."""
    assert isinstance(error, ValidationError | RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return JSONResponse({"problem": f"{place}: {first['msg']}" if place else first["msg"]}, 422)


def open_socket(port: int | None, name: str) -> socket.socket:
    """Return a listening loopback socket: who opens the address at once waits for the server, and isn't refused.

    Without a port the same project, round and reviewer get the same one again if it is free: a browser keeps what it could
    not send by address, so that after a crash it finds it again.

    Raises:
        UsageError: the given port is taken.
    """
    wanted = port if port is not None else FIRST_PORT + int(sha256(name.encode()).hexdigest(), 16) % PORTS
    for number in dict.fromkeys((wanted, wanted if port is not None else 0)):
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        # else the port of a killed server stays taken for a minute
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(("127.0.0.1", number))
            bound.listen()
        except OSError as error:
            bound.close()
            problem = error.strerror or "can't be used"
        else:
            return bound
    raise UsageError(f"--port {wanted}", problem, do="take another or leave it out")


def serve(settings: Config, round: str, reviewer: str, *, role: Role, port: int | None, tell: Callable[[str], None]) -> None:
    """Serve the review of an open round until interrupted.

    Args:
        settings: the project's configuration.
        round: name of the open round.
        reviewer: who judges.
        role: "primary", "second" or "adjudicator".
        port: loopback port; None: one that this review keeps, or else a free one.
        tell: called with what the reviewer has to know.

    Raises:
        RefusedError: the round isn't open.
        UsageError: a name or port that can't be used.
    """
    results, reviews = Path(settings.results), Path(settings.reviews)
    desk = Desk(reviews, results, round, reviewer, role)
    crs = desk.candidates.crs.to_string()
    grid = settings.grid.model_copy(update={"crs": crs}).grid()
    pictures = Pictures(results, reviews, crs)
    app = make_app(desk, pictures, Mosaic(results / "mosaic", grid), settings.time.target_year)
    token = secrets.token_urlsafe(32)
    bound = open_socket(port, f"{reviews.resolve()} {round} {reviewer}")
    number = bound.getsockname()[1]
    for line in _announcement(desk, pictures, f"http://127.0.0.1:{number}{ENTER}{token}", number):
        tell(line)
    options: dict[str, Any] = {"log_level": "warning", "access_log": False, "server_header": False, "ws": "none"}
    server = uvicorn.Server(uvicorn.Config(Guard(app, token), lifespan="off", timeout_graceful_shutdown=2, **options))
    # while the browser opens the page the list that it will ask for is made; those of other roles are made afresh each time
    if role == "primary":
        Thread(target=desk.columns, daemon=True).start()
    with bound:
        server.run(sockets=[bound])


def _announcement(desk: Desk, pictures: Pictures, address: str, port: int) -> list[str]:
    told = f"{len(desk.decided())} of {len(desk.position)} candidates decided"
    lines = [f"Round {desk.round}, reviewer {desk.reviewer}: {told}"]
    if not pictures.years(desk.round):
        lines.append(f"There are no chips in {pictures.results}/rounds/{desk.round}/evidence: only the map will show anything")
    return [
        *lines,
        f"Open   {address}",
        f"On another machine: ssh -N -L {port}:127.0.0.1:{port} THIS_HOST there, then the same address",
        "Ctrl-C ends; each verdict is on the disk when the page says saved",
    ]
