"""REST calls to venues: bounded in time and size, within the venue's weight, silent while a venue wants silence.

Four things stand between a caller and a host, each kept per host: a *pause* the host asked for (429, 418), a circuit
*breaker* that opens after five failures in a row, the *budget* of weight a minute, and a few retries with jitter of
what may heal by itself (5xx, time-outs, broken connections). Who waits, waits alone: calls that need no waiting pass.
Small calls stand in a line of their own and have the last hundredth of the budget to themselves, so that whoever looks
after streams is not kept waiting by whoever fetches 100,000 trades.
"""

import asyncio
import ssl
from collections.abc import Iterator
from ipaddress import ip_address
from types import TracebackType
from typing import Self

import httpx2
import stamina
from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState

from cryptostream import __version__, logs
from cryptostream.errors import ConfigError, VenueUnavailable
from cryptostream.feed.weight import WeightBudget
from cryptostream.model.ports import Clock
from cryptostream.venues.base import Request

_log = logs.get("feed")
_PAUSE_S = 60.0
"""Pause after a refusal that names no time."""
_SHORTEST_WAIT_S = 0.001
_LONGEST_PAUSE_S = 3 * 86_400.0
"""Three days: the longest ban a venue announces."""
_BREAKER_FAILURES = 5
_BREAKER_OPEN_S = 30.0
_SMALL_WEIGHT = 5
_REASON_BYTES = 4096


class Refused(VenueUnavailable):
    """The host answers and says no: `status` is HTTP's, `body` the first 4 KiB of what it said."""

    def __init__(self, message: str, *, status: int, body: bytes = b"", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.body = body


class Paused(VenueUnavailable):
    """No call may be made to the host for another `delay_s` seconds."""

    def __init__(self, message: str, *, delay_s: float, status: int = 0) -> None:
        super().__init__(message, hint=f"try again in {delay_s:.0f} s")
        self.delay_s = delay_s
        self.status = status


class Unanswered(VenueUnavailable):
    """No usable answer this time: another try may help, and was made. `tried_s`: how long all tries took."""

    tried_s = 0.0


class _Host:
    """What is kept about one host: its lines of waiting calls, its budget, the silence it asked for."""

    def __init__(self, name: str, weight_per_minute: int, clock: Clock) -> None:
        self.name = name
        self.trouble = ""
        """The last failure, for whoever is kept away because of it."""
        self._budget = WeightBudget(weight_per_minute)
        self._clock = clock
        self._lines = {small: asyncio.Lock() for small in (True, False)}
        self._kept_for_small = weight_per_minute // 100
        self._silent_until = clock.monotonic()
        self._silenced_by = 0

    async def turn(self, weight: int) -> None:
        """Wait in line until the budget allows the call. Raises Paused."""
        small = weight <= _SMALL_WEIGHT
        kept = 0 if small else self._kept_for_small
        async with self._lines[small]:
            self._check_silence()
            while delay_s := self._budget.wait_s(weight + kept, self._clock.monotonic()):
                _log.info("rest.waiting", host=self.name, delay_s=round(delay_s, 1), weight=weight)
                await self._clock.sleep(max(delay_s, _SHORTEST_WAIT_S))
                self._check_silence()
            self._budget.spend(weight, self._clock.monotonic())

    def told(self, used_weight: str) -> None:
        """Learn the venue's own count of our weight from its header."""
        if used_weight.isascii() and used_weight.isdigit() and len(used_weight) < 10:
            self._budget.told(int(used_weight), self._clock.monotonic())

    def silence(self, status: int, delay_s: float) -> Paused:
        """Keep everybody away for a while."""
        self._silent_until = max(self._silent_until, self._clock.monotonic() + delay_s)
        self._silenced_by = status
        _log.warning("rest.paused", host=self.name, status=status, delay_s=delay_s)
        return self._paused(delay_s)

    def _check_silence(self) -> None:
        delay_s = self._silent_until - self._clock.monotonic()
        if delay_s > 0:
            raise self._paused(delay_s)

    def _paused(self, delay_s: float) -> Paused:
        status = self._silenced_by
        return Paused(f"{self.name} asked for silence (HTTP {status})", delay_s=delay_s, status=status)


class Rest:
    """The HTTP client of the process: one for all venues, so that they share budgets, pauses and connections.

    `weight_header` is the answer's header in which the venue counts our weight, `answer_s` bounds one try from first
    byte sent to last byte read, `body_max` one body after decompression. TLS is checked against the system's CAs;
    plain http goes to loopback only and never through a proxy; redirects are not followed.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        weight_per_minute: int = 6000,
        weight_header: str = "",
        connect_s: float = 5.0,
        read_s: float = 10.0,
        answer_s: float = 30.0,
        attempts: int = 3,
        body_max: int = 32 * 1024 * 1024,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.clock = clock
        self._weight_per_minute = weight_per_minute
        self._weight_header = weight_header
        self._answer_s = answer_s
        self._attempts = attempts
        self._body_max = body_max
        self._hosts: dict[str, _Host] = {}
        self._breakers = AsyncCircuitBreakerFactory(
            default_threshold=_BREAKER_FAILURES,
            default_ttl=_BREAKER_OPEN_S,
            exclude=[(VenueUnavailable, lambda error: not isinstance(error, Unanswered))],
        )
        self._client = httpx2.AsyncClient(
            headers={"user-agent": f"cryptostream/{__version__}"},
            timeout=httpx2.Timeout(read_s, connect=connect_s, pool=None),
            limits=httpx2.Limits(max_connections=20),
            mounts={"http://": None},
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def get(self, request: Request) -> bytes:
        """The body of a 200 answer.

        Waits for the budget. Raises Paused while the host wants silence or its breaker is open, Refused for any other
        answer, Unanswered when no try succeeded (all three are VenueUnavailable), ConfigError for an address that must
        not be called. No message holds a query or a header.
        """
        host = self._host(_checked_host(request.url))
        # Not the decorator: it would log the request, and with it the key in its headers.
        tried_s = 0.0
        async for attempt in stamina.retry_context(
            on=Unanswered, attempts=self._attempts, wait_initial=0.2, wait_max=5.0, wait_jitter=0.5
        ):
            with attempt:
                try:
                    return await self._try(request, host)
                except Unanswered as error:
                    error.tried_s = tried_s = tried_s + error.tried_s
                    raise
        raise AssertionError("unreachable")

    def _host(self, name: str) -> _Host:
        if name not in self._hosts:
            self._hosts[name] = _Host(name, self._weight_per_minute, self.clock)
        return self._hosts[name]

    async def _try(self, request: Request, host: _Host) -> bytes:
        await host.turn(request.weight)
        began_s = self.clock.monotonic()
        try:
            async with await self._breakers.get_breaker(host.name):
                return await self._answer(request, host)
        except Unanswered as error:
            host.trouble, error.tried_s = str(error), self.clock.monotonic() - began_s
            raise
        except OpenedState as error:
            message = f"{host.trouble}; {_BREAKER_FAILURES} failures in a row, not calling it now"
            raise Paused(message, delay_s=_BREAKER_OPEN_S) from error

    async def _answer(self, request: Request, host: _Host) -> bytes:
        """One call, its answer read to the end; whatever the library raises becomes ours here."""
        try:
            async with (
                asyncio.timeout(self._answer_s),
                self._client.stream(
                    "GET", request.url, params=request.params or None, headers=request.headers
                ) as response,
            ):
                host.told(response.headers.get(self._weight_header, ""))
                if not response.is_success:
                    raise _refusal(request, response, host, await _start(response))
                return await self._whole(response, host)
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise Unanswered(f"{host.name} did not answer in time") from error
        except httpx2.HTTPError as error:
            raise _broken(error, host.name) from error

    async def _whole(self, response: httpx2.Response, host: _Host) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > self._body_max:
                raise VenueUnavailable(f"{host.name} sent more than {self._body_max:,} bytes; not reading on")
        return bytes(body)


def _refusal(request: Request, response: httpx2.Response, host: _Host, body: bytes) -> VenueUnavailable:
    status = response.status_code
    if status in (418, 429) or (status == 503 and "retry-after" in response.headers):
        return host.silence(status, _retry_after_s(response))
    if status == 408 or status >= 500:
        return Unanswered(f"{host.name} answered HTTP {status}")
    for secret in filter(None, request.headers.values()):
        body = body.replace(secret.encode(), b"***")
    return Refused(f"{host.name} refused the call (HTTP {status})", status=status, body=body, hint=_advice(status))


def _checked_host(address: str) -> str:
    """The host and port of an address that may be called."""
    try:
        url = httpx2.URL(address)
    except httpx2.InvalidURL as error:
        raise ConfigError(f"not an address: {logs.mask(address)[:80]!r}") from error
    name = url.netloc.decode("ascii", "replace")
    if url.scheme == "https" and url.host:
        return name
    if url.scheme == "http" and _is_loopback(url.host):
        return name
    raise ConfigError(f"{url.scheme or 'no scheme'} to {name or 'nowhere'} is refused", hint="use https://")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


async def _start(response: httpx2.Response) -> bytes:
    """The first bytes of a body, enough to see what an error says."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) >= _REASON_BYTES:
            break
    return bytes(body[:_REASON_BYTES])


def _retry_after_s(response: httpx2.Response) -> float:
    text = response.headers.get("retry-after", "")
    if not (text.isascii() and text.isdigit()):
        return _PAUSE_S
    return min(float(text), _LONGEST_PAUSE_S)


def _advice(status: int) -> str:
    if status == 403:
        return (
            "a firewall or the rules for your region refuse this address; set another rest_url or go by another network"
        )
    if 300 <= status < 400:
        return "redirects are not followed; set the address it has moved to"
    return ""


def _broken(error: httpx2.HTTPError, name: str) -> VenueUnavailable:
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
        return VenueUnavailable(
            f"the certificate of {name} is refused: {_reason(error)}",
            hint="check this machine's clock and CA certificates; there is no plain-text fallback",
        )
    if isinstance(error, httpx2.ConnectError):
        return Unanswered(f"no connection to {name}: {_reason(error)}")
    return Unanswered(f"the connection to {name} broke: {_reason(error)}")


def _reason(error: BaseException) -> str:
    return logs.mask(str(error) or type(error).__name__)[:120]


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
