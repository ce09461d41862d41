"""Errors of the house as answers: whose fault it is decides the status, and every body is a `Failure`."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from cryptostream import logs
from cryptostream.errors import (
    BusRefused,
    CheckFailed,
    ConfigError,
    CryptostreamError,
    Fenced,
    NoAnswer,
    NotFound,
    StateRefused,
    Unreachable,
    UsageError,
)
from cryptostream.web.health import without_addresses
from cryptostream.web.shown import Failure

RETRY_AFTER_S = 5
_STATUS: Sequence[tuple[type[CryptostreamError], int]] = (
    (NotFound, 404),
    (UsageError, 422),
    (CheckFailed, 409),
    (Fenced, 409),
    (StateRefused, 409),
    (NoAnswer, 504),
    (Unreachable, 503),
    (BusRefused, 503),
    (ConfigError, 422),
)
"""The first that fits; anything else is our fault."""
_SHOWN = 5
_log = logs.get("web")


def install(app: FastAPI) -> None:
    """Let an application answer with failures."""
    app.add_exception_handler(CryptostreamError, _told)
    app.add_exception_handler(RequestValidationError, _unfit)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _failed)


def failure(status: int, error: str, hint: str = "", **headers: str) -> Response:
    """The answer that says why there is none."""
    body = Failure(error=error, hint=hint).model_dump_json().encode() + b"\n"
    if status == 503:
        headers = {"retry-after": str(RETRY_AFTER_S), **headers}
    return Response(body, status, headers, "application/json")


def status_of(error: CryptostreamError) -> int:
    """The status that an error ends with."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


async def _told(request: Request, error: Any) -> Response:
    status = status_of(error)
    if status == 500:
        _log.error("web.failed", path=request.url.path, why=f"{type(error).__name__}: {error}")
    shown = without_addresses(str(error)) if status in (500, 503) else str(error)
    return failure(status, _plain(shown), _plain(error.hint))


async def _unfit(_request: Request, error: Any) -> Response:
    """What was asked does not fit; what it was is not sent back."""
    found = error.errors()
    said = [f"{'.'.join(map(str, one['loc']))[:100]}: {one['msg']}" for one in found[:_SHOWN]]
    more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return failure(422, _plain("; ".join([*said, *more])), "docs/api.md says what may be asked")


async def _refused(request: Request, error: Any) -> Response:
    """What the routing or the reading of a body refuses."""
    said, hint = str(error.detail), ""
    if error.status_code == 404:
        said, hint = f"no such path: {request.url.path[:100]!a}", "GET / lists what there is"
    return failure(error.status_code, _plain(said), hint, **(error.headers or {}))


async def _failed(request: Request, error: Exception) -> Response:
    _log.error("web.failed", path=request.url.path, why=f"{type(error).__name__}: {error}")
    return failure(500, "this is our fault; the log says more")


def _plain(text: str) -> str:
    """Text that any terminal may show: what somebody sent may stand in it."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
