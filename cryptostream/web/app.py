"""What is answered over HTTP: `/health`, `/stats`, `/metrics`, and of an ingest `/pairs`; all of them are reads.

Only `/health` may be asked without the token, and it names no address. Every other page of the web that a browser of
this machine shows could ask, too, once its own name is made to point here (DNS rebinding): so the Host header has to
be one of ours. Nothing reads a body, and no page of another origin may read an answer.
"""

from collections.abc import Awaitable, Callable
from secrets import compare_digest
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from cryptostream import logs
from cryptostream.web import metrics
from cryptostream.web.health import Watched, WatchedConsumers
from cryptostream.web.hosts import is_ours
from cryptostream.web.server import Endpoint, unless_taken

_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_log = logs.get("web")


def make(watched: Watched | WatchedConsumers, *, host: str, token: str | None = None) -> ASGIApp:
    """The application that answers on that host, as an ASGI callable."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.add_exception_handler(404, _not_found)
    app.add_exception_handler(Exception, _failed)
    _routes(app, watched)
    return _Guard(app, host=host, token=token)


def endpoint(
    watched: Watched | WatchedConsumers, host: str, port: int, *, asked: bool = True, token: str | None = None
) -> Endpoint | None:
    """Where it answers; None and a warning where nobody had `asked` for a port that is taken. Raises ConfigError."""
    taken = unless_taken(host, port, asked=asked)
    return Endpoint(make(watched, host=host, token=token), taken) if taken else None


def _routes(app: FastAPI, watched: Watched | WatchedConsumers) -> None:
    @app.get("/health")
    async def health() -> Response:
        found = watched.reasons()
        return _json({"status": "degraded", "reasons": found}, 503) if found else _json({"status": "ok"})

    @app.get("/stats")
    async def stats() -> Response:
        return _json(watched.stats())

    @app.get("/metrics")
    async def scrape(request: Request) -> Response:
        body, kind = metrics.exposed(watched, request.headers.get("accept", ""))
        return Response(body, headers={**_HEADERS, "content-type": kind})

    if isinstance(watched, Watched):
        app.get("/pairs")(_pairs(watched))


def _pairs(watched: Watched) -> Callable[[], Awaitable[Response]]:
    async def pairs() -> Response:
        return _json(watched.pairs())

    return pairs


def _json(value: Any, status: int = 200, **headers: str) -> Response:
    return Response(msgspec.json.encode(value) + b"\n", status, {**_HEADERS, **headers}, "application/json")


async def _not_found(request: Request, _error: Exception) -> Response:
    there = sorted(route.path for route in request.app.routes if isinstance(route, APIRoute))
    return _json({"error": f"no such path; there are {', '.join(there)}"}, 404)


async def _failed(request: Request, error: Exception) -> Response:
    _log.error("web.failed", path=request.url.path, why=f"{type(error).__name__}: {error}")
    return _json({"error": "this is our fault; the log says more"}, 500)


class _Guard:
    """Lets through what may be answered, and refuses the rest before anything looks at it."""

    def __init__(self, app: ASGIApp, *, host: str, token: str | None) -> None:
        self._app = app
        self._host = host
        self._token = token.encode() if token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name: value for name, value in scope["headers"] if name in (b"host", b"authorization")}
        await (self._refusal(scope, headers) or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> Response | None:
        if not is_ours(headers.get(b"host", b"").decode("latin-1"), self._host):
            return _json({"error": "not for this host; ask by its address"}, 421)
        if scope["method"] != "GET":
            return _json({"error": "only GET here"}, 405, allow="GET")
        if scope["path"] != "/health" and not self._may_read(headers.get(b"authorization", b"")):
            return _json({"error": "wants the token of ingest.health_token"}, 401, **{"www-authenticate": "Bearer"})
        return None

    def _may_read(self, told: bytes) -> bool:
        if self._token is None:
            return True
        scheme, _, given = told.partition(b" ")
        return compare_digest(given.strip(), self._token) and scheme.lower() == b"bearer"
