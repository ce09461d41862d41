"""Alerts to somebody's HTTPS address: one POST each, signed, within seconds, to nowhere it must not go."""

import asyncio
import hashlib
import hmac
import json
import ssl
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import httpx2

from cryptostream import __version__, logs
from cryptostream.engine.clock import SystemClock
from cryptostream.engine.telling import NotNow, NotTaken, Target
from cryptostream.model.codec import iso
from cryptostream.model.ports import Clock
from cryptostream.transforms.alerts import Alert
from cryptostream.web.egress import Forbidden, Resolve, addresses, is_loopback
from cryptostream.web.trust import trusted

TIMEOUT_S = 5.0
_CONNECT_S = 2.0
_MOST_ADDRESSES = 3
BODY_MAX = 64 * 1024
_LONGEST_DELAY_S = 86_400.0
_AGAIN = (408, 425, 429)
_CLOCK = SystemClock()


class Webhook(Target):
    """POSTs alerts as JSON to one address, whose path and query are never told: they may be its secret.

    A call, from resolving the name to the last byte of the answer, takes TIMEOUT_S at most; of an answer BODY_MAX bytes
    are read. 2xx has taken it; 408, 425, 429, 5xx and no answer are NotNow, with the answer's Retry-After; any other
    answer, a redirect too, is NotTaken. Proxies of the environment are not used. `ca_file` is trusted instead of the
    system's CAs; plain http goes to loopback alone, with `allow_private`.
    """

    def __init__(
        self,
        url: str,
        *,
        secret: str = "",
        allow_private: bool = False,
        ca_file: Path | None = None,
        clock: Clock = _CLOCK,
        resolve: Resolve | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = httpx2.URL(url)
        self._host = self._url.raw_host.decode("ascii")
        self._port = self._url.port or (443 if self._url.scheme == "https" else 80)
        self._shown = self._url.netloc.decode("ascii")
        self._secret = secret.encode()
        self._allow_private = allow_private
        self._ca_file = ca_file
        self._clock = clock
        self._resolve = resolve
        self._given = transport

    def __repr__(self) -> str:
        return f"Webhook({self._shown!r})"

    async def __aenter__(self) -> Self:
        # The transport alone: a client would follow the environment's proxies, and write the address into the log.
        self._transport = self._given or httpx2.AsyncHTTPTransport(
            verify=trusted(self._ca_file), limits=httpx2.Limits(max_keepalive_connections=0)
        )
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    async def tell(self, alert: Alert) -> None:
        """One POST. Raises NotNow, NotTaken."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await self._post(alert)
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise NotNow(f"{self._shown} did not answer within {TIMEOUT_S:g} s") from error
        except Forbidden as error:
            raise NotNow(f"not calling it: {error}", hint="allow_private: true permits it") from error
        except httpx2.HTTPError as error:
            raise NotNow(f"no answer from {self._shown}: {_reason(error)}") from error
        except OSError as error:
            raise NotNow(f"the name {self._host} cannot be resolved") from error
        self._judge(answer)

    async def _post(self, alert: Alert) -> httpx2.Response:
        """The answer of the first address that one can connect to."""
        found = await addresses(self._host, self._port, allow_private=self._allow_private, resolve=self._resolve)
        if self._url.scheme != "https" and not (self._allow_private and all(map(is_loopback, found))):
            raise Forbidden(f"{self._host} is not this machine, and http:// is for that alone")
        *others, last = found[:_MOST_ADDRESSES]
        body = packed(alert)
        for address in others:
            try:
                return await self._post_to(address, alert, body)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue
        return await self._post_to(last, alert, body)

    async def _post_to(self, address: str, alert: Alert, body: bytes) -> httpx2.Response:
        request = httpx2.Request(
            "POST",
            self._url.copy_with(host=address),
            headers=self._headers(alert, body),
            content=body,
            extensions={
                "sni_hostname": self._host,
                "timeout": {"connect": _CONNECT_S, "read": TIMEOUT_S, "write": TIMEOUT_S, "pool": TIMEOUT_S},
            },
        )
        response = await self._transport.handle_async_request(request)
        try:
            await _read(response)
        finally:
            await response.aclose()
        return response

    def _headers(self, alert: Alert, body: bytes) -> dict[str, str]:
        headers = {
            "host": self._shown,
            "user-agent": f"cryptostream/{__version__}",
            "content-type": "application/json",
            "accept-encoding": "identity",
            "x-cryptostream-id": quote(alert.id, safe=":/{}"),
        }
        if self._secret:
            headers["x-cryptostream-signature"] = signature(self._secret, self._clock.now_ns() // 10**9, body)
        return headers

    def _judge(self, answer: httpx2.Response) -> None:
        status = answer.status_code
        if answer.is_success:
            return
        told = f"{self._shown} answered HTTP {status}"
        if status in _AGAIN or status >= 500:
            raise NotNow(told, delay_s=self._retry_after_s(answer) if status in (429, 503) else None)
        raise NotTaken(told, hint="redirects are not followed" if 300 <= status < 400 else "")

    def _retry_after_s(self, answer: httpx2.Response) -> float | None:
        """Seconds that the answer asks for, as a number or as a time; None where it asks for nothing."""
        text = answer.headers.get("retry-after", "")
        if text.isascii() and text.isdigit():
            return min(float(text[:12]), _LONGEST_DELAY_S)
        try:
            until_s = parsedate_to_datetime(text).timestamp()
        except (ValueError, OverflowError):
            return None
        return min(max(0.0, until_s - self._clock.now_ns() / 1e9), _LONGEST_DELAY_S)


def packed(alert: Alert) -> bytes:
    """An alert as the body of a call, ASCII alone."""
    told = {
        "rule": alert.rule,
        "id": alert.id,
        "stream": alert.stream,
        "entry_id": alert.entry_id,
        "ts": f"{iso(alert.ts)}Z",
        "text": alert.text,
        "held_back": alert.held_back,
        "fields": alert.fields,
    }
    return json.dumps(told, separators=(",", ":")).encode()


def signature(secret: bytes, at_s: int, body: bytes) -> str:
    """What shows a receiver that a body is ours, and from when: HMAC-SHA256 (RFC 2104) of `<at_s>.<body>`.

    >>> signature(b"secret", 1731605400, b"{}")
    't=1731605400,v1=c960b3aa0425d0f06cd0e73ab3423c7351fbc03364acdacb25ab57f8458ee7a4'
    """
    made = hmac.new(secret, f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={made}"


async def _read(response: httpx2.Response) -> None:
    """Read an answer and forget it, up to BODY_MAX."""
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size >= BODY_MAX:
            return


def _reason(error: httpx2.HTTPError) -> str:
    refused = next((one for one in _causes(error) if isinstance(one, ssl.SSLCertVerificationError)), None)
    if refused is not None:
        return f"its certificate is refused ({refused.verify_message or refused.reason})"
    return logs.mask(str(error) or type(error).__name__)[:120]


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
