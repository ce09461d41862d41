"""What stands before everything that `serve` answers: who may come in, how often, with how much in the hands.

Every page that a browser of this machine shows can send requests here. So the Host header has to be one of ours (DNS
rebinding), and a request has to come from our own pages or from no page at all (cross-site requests): another site may
lead here, and that is all. Whoever it refuses has used up nothing of what others may. A page of the dashboard costs the
server memory until its browser has gone, so that pages have a rate of their own. Refusals are answered before the
application sees anything of a request.

https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html
https://web.dev/articles/fetch-metadata
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import msgspec
from fastapi import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cryptostream import logs
from cryptostream.engine.clock import within
from cryptostream.model.ports import Clock
from cryptostream.web import login, waiting
from cryptostream.web.health import is_loopback
from cryptostream.web.hosts import is_of, is_ours
from cryptostream.web.rates import Rates
from cryptostream.web.rights import Rights
from cryptostream.web.sealed import Sealed

MAY_WRITE = "may_write"
"""In `scope["state"]`: whether who asks may write."""
_READS = ("GET", "HEAD", "OPTIONS")
_DESCRIBED = ("/docs", "/redoc", "/openapi.json")
_PAGES = "/dashboard"
_PARTS = tuple(f"{_PAGES}/{name}/" for name in ("assets", "_nicegui", "_nicegui_ws"))
"""What belongs to pages and is none."""
_FORM = b"application/x-www-form-urlencoded"
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")
_log = logs.get("web")

Headers = Mapping[bytes, bytes]


@dataclass(frozen=True)
class Limits:
    """How much of everything one client may."""

    head_bytes: int = 16 * 1024
    body_bytes: int = 64 * 1024
    body_s: float = 5.0
    depth: int = 32
    writes_per_minute: int = 20
    requests_per_s: float = 100.0
    burst: int = 400
    pages_per_s: float = 1.0
    pages_burst: int = 20
    messages_per_s: float = 50.0
    """What one websocket may send; beyond, it is read more slowly."""
    hold_s: float = 1.0
    """How long who asks too often waits for the answer that says so."""


_LIMITS = Limits()


class Guard:
    """An ASGI application before `app`: lets through what may be answered, and refuses the rest."""

    def __init__(self, app: ASGIApp, rights: Rights, clock: Clock, *, host: str, limits: Limits = _LIMITS) -> None:
        self.app = app
        self.answers: Counter[int] = Counter()
        """How many requests were answered, by status."""
        self._rights = rights
        self._clock = clock
        self._host = host
        self._limits = limits
        self._requests = Rates(clock, per_s=limits.requests_per_s, burst=limits.burst)
        self._pages = Rates(clock, per_s=limits.pages_per_s, burst=limits.pages_burst)
        self._writes = Rates(clock, per_s=limits.writes_per_minute / 60, burst=limits.writes_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            sealed = Sealed(send, whole=scope["method"] != "HEAD")
            await self._http(scope, receive, sealed)
            self.answers[sealed.status or 0] += 1
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    # Requests.

    async def _http(self, scope: Scope, receive: Receive, send: Sealed) -> None:
        headers = dict(scope["headers"])
        answer = await self._early(scope, headers) or self._refusal(scope, headers)
        if answer is None and scope["method"] not in _READS:
            answer = self._too_many_writes(scope) or _of_no_kind(scope, headers)
            if answer is None:
                body = await self._body(headers, receive)
                answer = body if isinstance(body, Response) else self._of_body(scope, body)
                receive = _given(body, receive) if isinstance(body, bytes) else receive
        if answer is None and _is_page(scope):
            answer = await self._too_many_pages(scope, headers)
        if answer is None and scope["path"] == login.PATH:
            answer = login.asked(scope["query_string"])
        if answer is not None:
            await answer(scope, receive, send)
        else:
            await self._pass(self._known(scope, headers), receive, send)

    async def _early(self, scope: Scope, headers: Headers) -> Response | None:
        """Refusals of those who are not even asked who they are."""
        if _head_bytes(scope) > self._limits.head_bytes:
            return refused(431, f"a head has at most {self._limits.head_bytes:,} bytes", connection="close")
        if not is_ours(_text(headers, b"host"), self._host):
            return refused(421, "not for this host; ask by its address")
        if not (_is_from_here(headers) or _is_led_here(scope, headers)):
            return refused(403, "not from another site")
        if wait_s := self._requests.wait_s(_client(scope)):
            await self._clock.sleep(self._limits.hold_s)
            return _later(wait_s, "too many requests")
        return None

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        path, writes = scope["path"], scope["method"] not in _READS
        if path in _DESCRIBED and not is_loopback(self._host):
            return refused(404, "not described where others can read it")
        if path == login.PATH or (path == "/health" and not writes):
            return None
        right = self._rights.of(headers)
        if right is None:
            return self._stranger(scope, headers)
        return self._unwritable() if writes and right != "write" else None

    def _stranger(self, scope: Scope, headers: Headers) -> Response:
        if scope["method"] == "GET" and b"text/html" in headers.get(b"accept", b""):
            return Response(status_code=303, headers={"location": f"{login.PATH}?next={quote(scope['path'])}"})
        told = "wants a token, as `Authorization: Bearer`"
        return refused(401, told, hint="serve.token or serve.read_token", **{"www-authenticate": "Bearer"})

    def _unwritable(self) -> Response:
        hint = "serve.token may" if self._rights.writable else "set serve.token, which may"
        return refused(403, "this token may only read", hint=hint)

    def _too_many_writes(self, scope: Scope) -> Response | None:
        wait_s = self._writes.wait_s(_client(scope))
        return _later(wait_s, f"more than {self._limits.writes_per_minute} writes a minute") if wait_s else None

    async def _too_many_pages(self, scope: Scope, headers: Headers) -> Response | None:
        if not (wait_s := self._pages.wait_s(_client(scope))):
            return None
        await self._clock.sleep(self._limits.hold_s)
        wants_page = b"text/html" in headers.get(b"accept", b"")
        return waiting.page(wait_s) if wants_page else _later(wait_s, "too many pages")

    async def _body(self, headers: Headers, receive: Receive) -> bytes | Response:
        """The whole body, so that nothing behind us waits for it or holds more of it."""
        if _is_empty(headers):
            return b""
        most = self._limits.body_bytes
        too_large = refused(413, f"a body has at most {most:,} bytes", connection="close")
        if (told := headers.get(b"content-length", b"0")).isdigit() and int(told[:18]) > most:
            return too_large
        try:
            body = await within(self._clock, self._limits.body_s, _gathered(receive, most))
        except TimeoutError:
            return refused(408, f"the body did not come within {self._limits.body_s:g} s", connection="close")
        return too_large if len(body) > most else body

    def _of_body(self, scope: Scope, body: bytes) -> Response | None:
        if scope["path"] == login.PATH:
            return login.answered(self._rights, body, secure=scope["scheme"] == "https")
        if _depth(body) > self._limits.depth:
            return refused(422, f"a body is nested at most {self._limits.depth} deep")
        return None

    def _known(self, scope: Scope, headers: Headers) -> Scope:
        """The scope for the application, which is told whether who asks may write.

        Pages are asked for as they are: a packed one could not get its nonce.
        """
        state = {**scope.get("state", {}), MAY_WRITE: self._rights.of(headers) == "write"}
        kept = scope["headers"]
        if b"text/html" in headers.get(b"accept", b""):
            kept = [(name, value) for name, value in kept if name != b"accept-encoding"]
        return {**scope, "headers": kept, "state": state}

    async def _pass(self, scope: Scope, receive: Receive, send: Sealed) -> None:
        try:
            await self.app(scope, receive, send)
        except Exception as error:
            if send.status != 500:  # the application has told of that one
                _log.error("web.failed", path=scope["path"], why=f"{type(error).__name__}: {error}")
            if send.status is None:
                await refused(500, "this is our fault; the log says more")(scope, receive, send)

    # Websockets.

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        answer = await self._early(scope, headers)
        if answer is None and self._rights.of(headers) is None:
            answer = self._stranger({**scope, "method": "websocket"}, headers)
        if answer is not None:
            await _turn_away(answer, scope, receive, send)
        else:
            await self.app(self._known(scope, headers), self._paced(receive), send)

    def _paced(self, receive: Receive) -> Receive:
        """Reads a socket no faster than it may send; meanwhile its own connection holds it back."""
        per_s = self._limits.messages_per_s
        rates = Rates(self._clock, per_s=per_s, burst=4 * per_s)

        async def paced() -> Message:
            while wait_s := rates.wait_s(""):
                await self._clock.sleep(wait_s)
            return await receive()

        return paced


def refused(status: int, error: str, *, hint: str = "", **headers: str) -> Response:
    """An answer that says why there is none."""
    body = msgspec.json.encode({"error": error, "hint": hint}) + b"\n"
    return Response(body, status, headers, "application/json")


def _later(wait_s: float, error: str) -> Response:
    return refused(429, error, **{"retry-after": str(math.ceil(wait_s)), "connection": "close"})


def _is_from_here(headers: Headers) -> bool:
    """Whether a request comes from our own page, or from no page: browsers tell, and programs have nothing to tell."""
    site = headers.get(b"sec-fetch-site")
    if site is not None and site not in (b"same-origin", b"none"):
        return False
    return b"origin" not in headers or is_of(_text(headers, b"origin"), _text(headers, b"host"))


def _is_led_here(scope: Scope, headers: Headers) -> bool:
    """Whether somebody follows a link of another site: a page of ours in a window, which that site cannot read."""
    wanted = (headers.get(b"sec-fetch-mode"), headers.get(b"sec-fetch-dest"))
    return scope.get("method") == "GET" and wanted == (b"navigate", b"document")


def _is_page(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.startswith(_PAGES) and not path.startswith(_PARTS)


def _head_bytes(scope: Scope) -> int:
    """How long a request's head is, but for a few bytes: one that came at once was not yet measured by anybody."""
    target = len(scope.get("raw_path") or scope["path"]) + len(scope.get("query_string", b""))
    return target + sum(len(name) + len(value) for name, value in scope["headers"])


def _of_no_kind(scope: Scope, headers: Headers) -> Response | None:
    """The refusal of a body that pages of other sites could send without asking: only forms and plain text are such."""
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    wanted = _FORM if scope["path"] == login.PATH else b"application/json"
    if kind == wanted or (not kind and _is_empty(headers)):
        return None
    return refused(415, f"a body is {wanted.decode()}", connection="close")


def _is_empty(headers: Headers) -> bool:
    return headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers


async def _gathered(receive: Receive, most: int) -> bytes:
    """A body, or a little more than `most` of it."""
    body = bytearray()
    while len(body) <= most:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return bytes(body)


def _given(body: bytes, receive: Receive) -> Receive:
    """Gives the body that was gathered, and then what comes next."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def give() -> Message:
        return left.pop() if left else await receive()

    return give


def _depth(body: bytes) -> int:
    """How deep the lists and mappings of a JSON text lie in each other.

    >>> _depth(b'{"a": [1, "[[["]}'), _depth(b"7")
    (2, 0)
    """
    deepest = depth = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


async def _turn_away(answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a websocket before it is one."""
    await receive()
    if "websocket.http.response" in scope.get("extensions", {}):
        await answer(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 1008})


def _client(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _text(headers: Headers, name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1")
