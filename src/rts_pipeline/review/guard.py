"""Who may talk to the review server: this machine's browser with the token of the server's start, and nothing else.

Any program and any other user of the machine can reach a loopback port, and any site that the browser shows can send requests
there. So each request must bring the token's cookie (the address that the server prints sets it), name this machine as its
Host (a foreign name that resolves to 127.0.0.1 doesn't), and come from the page itself (Origin and Sec-Fetch-Site). Bodies
are cut off while they stream.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from hashlib import sha256
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

MAX_BODY = 2**20
"""Bytes of a request's body; an outline of 20,000 vertices has less."""
LOCAL = {"127.0.0.1", "localhost"}
ENTER = "/enter/"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), microphone=(), geolocation=()",
}
NO_STORE = b"no-store"
ENTERED = (
    b'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=/"><title>Review</title>'
    b'<link rel="icon" href="/assets/icon.svg">'
)
"""The page that sets the cookie: a redirect that another site began would not get it back (SameSite=Strict)."""


class Guard:
    """ASGI middleware: lets only the reviewer's own browser through, and adds the security headers to every response."""

    def __init__(self, app: App, token: str) -> None:
        """Guard `app` with a token."""
        self.app, self.token = app, token
        # cookies know no port: two servers on one machine must not take each other's
        self.cookie = f"rts-review-{sha256(token.encode()).hexdigest()[:12]}"

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer, or hand on, one connection."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        answer = _Answer(send)
        headers = _headers(scope)
        path = str(scope["path"])
        if problem := _foreign(headers, scope["method"], entering=path.startswith(ENTER)):
            await _body(receive)  # or the connection would be reset under the answer, which then is lost
            await answer.refuse(403, problem)
        elif path.startswith(ENTER):
            await self._enter(path, answer)
        elif not self._known(headers):
            await _body(receive)
            await answer.refuse(401, "open the address that 'rts-pipeline review serve' printed; a new start has a new one")
        elif int(headers.get("content-length", "0")) > MAX_BODY or (body := await _body(receive)) is None:
            await answer.refuse(413, f"body larger than {MAX_BODY} bytes")
        else:
            await self.app(scope, _replayed(body, receive), answer.send)

    async def _enter(self, path: str, answer: _Answer) -> None:
        if not secrets.compare_digest(path.removeprefix(ENTER).encode(), self.token.encode()):
            await answer.refuse(401, "not the address of this start of the server")
            return
        cookie = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"
        await answer.body(200, ENTERED, [(b"content-type", b"text/html; charset=utf-8"), (b"set-cookie", cookie.encode())])

    def _known(self, headers: dict[str, str]) -> bool:
        # not by http.cookies: it gives up the whole header at one cookie it can't parse, and those of all other programs of
        # this machine come too
        pairs = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
        given = next((value for name, _, value in pairs if name == self.cookie), "")
        return secrets.compare_digest(given.encode(), self.token.encode())


def _headers(scope: Message) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        # a header that comes twice could be read in two ways; joined it matches nothing
        headers[key] = f"{headers[key]}, {value.decode('latin-1')}" if key in headers else value.decode("latin-1")
    return headers


def _foreign(headers: dict[str, str], method: str, *, entering: bool) -> str:
    """Say why a request doesn't come from our page on this machine, or return an empty text."""
    host = headers.get("host", "")
    name, _, port = host.partition(":")
    if name not in LOCAL or (port and not port.isdigit()):
        return "Host is not this machine"
    if not headers.get("content-length", "0").isdigit():
        return "Content-Length is not a number"
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return "Origin is not this page"
    if method not in ("GET", "HEAD") and origin is None:
        return "Origin is missing"
    site = headers.get("sec-fetch-site", "none")
    if site not in ("same-origin", "none") and not (entering and headers.get("sec-fetch-mode") == "navigate"):
        return "another site sent this request"
    return ""


async def _body(receive: Receive) -> bytes | None:
    """Return a request's body; None as soon as it is too large."""
    body = b""
    while len(body) <= MAX_BODY:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body if len(body) <= MAX_BODY else None
    return None


def _replayed(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


class _Answer:
    """Sends a response with our headers."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def send(self, message: Message) -> None:
        """Pass a message of the application on."""
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message["headers"]}
            extra = [*HEADERS.items(), *([] if b"cache-control" in given else [(b"cache-control", NO_STORE)])]
            message = {**message, "headers": [*message["headers"], *extra]}
        await self._send(message)

    async def refuse(self, status: int, problem: str) -> None:
        """Send a refusal and end the connection: what of the body is still to come is not read."""
        await self.body(status, problem.encode(), [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")])

    async def body(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """Send a whole response."""
        length = (b"content-length", str(len(body)).encode())
        await self.send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
        await self.send({"type": "http.response.body", "body": body})
