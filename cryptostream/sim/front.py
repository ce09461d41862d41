"""What comes over plain HTTP: which answer a path gets, what faults make of it, and a record of who asked when."""

from collections import deque
from collections.abc import Callable
from http.client import responses
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from cryptostream.errors import UsageError
from cryptostream.model.ports import Clock
from cryptostream.sim.asking import Answer
from cryptostream.sim.coingecko import CoinGecko
from cryptostream.sim.faults import KINDS, Fault, Faults
from cryptostream.sim.rest import Rest

API, COINGECKO, CONTROL = "/api/v3/", "/coingecko/api/v3/", "/sim/"
_KEPT = 10_000
_STEP_S = 0.1
_HTML = b"<html><head><title>502 Bad Gateway</title></head><body><center>cloud</center></body></html>"


class Asking(msgspec.Struct, frozen=True):
    """One HTTP request that was answered; `status` 0 means that the connection was cut instead."""

    at_s: float
    path: str
    status: int


class Front:
    """Answers every plain request. The control paths are never disturbed by faults and cost no weight.

    * `GET /sim/faults` lists what is on; `?inject=drop@5s` adds, as often as given; `?clear=all` or `?clear=3` ends.
    * `GET /sim/kinds` lists what there is; `GET /sim/stats` counts.

    All are GET, also those that change something: the websocket library that reads the requests reads no bodies.
    """

    def __init__(
        self, rest: Rest, coingecko: CoinGecko, faults: Faults, *, clock: Clock, stats: Callable[[], dict[str, Any]]
    ) -> None:
        self._rest, self._coingecko, self._faults, self._clock, self._stats = rest, coingecko, faults, clock, stats
        self.closing = False
        """The exchange is about to end: nobody waits any more."""
        self.log: deque[Asking] = deque(maxlen=_KEPT)

    async def answer(self, request: Request) -> Response | None:
        """The response to a request; None when a fault wants the connection cut."""
        parts = urlsplit(request.path)
        path = unquote(parts.path)
        if request.method != "GET":
            return response(Answer.json({"code": -1000, "msg": "only GET here"}, 405))
        if path.startswith(CONTROL):
            return response(self._control(path.removeprefix(CONTROL), parts.query))
        answer = await self._faulty(path) or await self._plain(path, parts.query, request)
        cut = answer.status == 0
        self.log.append(Asking(self._clock.monotonic(), path, answer.status))
        return None if cut else response(answer)

    async def _plain(self, path: str, query: str, request: Request) -> Answer:
        if path.startswith(API):
            return await self._rest.answer(path.removeprefix(API), query, request.headers.get("X-MBX-TIME-UNIT", ""))
        if path.startswith(COINGECKO):
            return self._coingecko.answer(path.removeprefix(COINGECKO), query)
        return Answer(404, b"<html><body><h2>404 Not found</h2></body></html>", {"Content-Type": "text/html"})

    async def _faulty(self, path: str) -> Answer | None:
        slow = self._faults.state("slow", path=path)
        if slow:
            await self._wait(slow.duration_s("by"))
        kind = "coingecko" if path.startswith(COINGECKO) else "rest"
        fault = self._faults.state(kind, path=path)
        return spoiled(fault) if fault else None

    async def _wait(self, delay_s: float) -> None:
        """Sleep in short steps, so that a slow answer does not hold up the end of the exchange."""
        ends_s = self._clock.monotonic() + delay_s
        while not self.closing and (left_s := ends_s - self._clock.monotonic()) > 0:
            await self._clock.sleep(min(left_s, _STEP_S))

    def _control(self, what: str, query: str) -> Answer:
        if what == "kinds":
            return Answer.json(
                {name: {"sort": kind.sort, "what": kind.what, **kind.options} for name, kind in KINDS.items()}
            )
        if what == "stats":
            return Answer.json(self._stats())
        if what != "faults":
            return Answer.json({"error": f"no such control path: {what}"}, 404)
        try:
            for name, value in parse_qsl(query.replace("+", "%2B"), keep_blank_values=True):
                self._change(name, value)
        except UsageError as error:
            return Answer.json({"error": str(error), "hint": error.hint}, 400)
        return Answer.json([fault.told() for fault in self._faults.active])

    def _change(self, name: str, value: str) -> None:
        if name == "inject":
            self._faults.inject(value)
        elif name == "clear" and (value == "all" or value.isdecimal()):
            self._faults.clear(None if value == "all" else int(value))
        else:
            raise UsageError(f"cannot read {name}={value}", hint="inject=drop@5s, clear=all, clear=3")


def spoiled(fault: Fault) -> Answer:
    """What a faulty server answers; status 0 stands for a cut connection."""
    how = fault.option("answer")
    if how == "cut":
        return Answer(0, b"")
    if how == "junk":
        return Answer(200, _HTML, {"Content-Type": "text/html"})
    if how == "huge":
        return Answer(200, b"[" + b"0," * (fault.number("bytes") // 2) + b"0]")
    return refusal(int(how), fault.option("retry_after"))


def refusal(status: int, retry_after: str = "") -> Answer:
    """A refusal with the exchange's words, and Retry-After where it is given."""
    told = (
        {"code": -1003, "msg": "Too many requests."} if status in (418, 429) else {"code": -1000, "msg": "unavailable"}
    )
    answer = Answer.json(told, status)
    if retry_after:
        answer.headers = {"Retry-After": retry_after}
    return answer


def response(answer: Answer) -> Response:
    """An answer as the websocket library wants it. Every response closes its connection."""
    headers = Headers([("Connection", "close"), ("Content-Length", str(len(answer.body)))])
    for name, value in ({"Content-Type": "application/json;charset=UTF-8"} | answer.headers).items():
        headers[name] = value
    return Response(answer.status, responses.get(answer.status, "Unknown"), headers, answer.body)
