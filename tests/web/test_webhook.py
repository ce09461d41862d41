"""Alerts over HTTPS: signed, to the address that was checked, taken, tried again or dropped by the answer."""

import asyncio
import hashlib
import hmac
import json
import logging
import ssl
from collections.abc import AsyncIterator, Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cryptostream.engine.clock import SystemClock
from cryptostream.engine.telling import NotNow, NotTaken
from cryptostream.errors import ConfigError
from cryptostream.testing import ManualClock
from cryptostream.web import webhook
from cryptostream.web.webhook import BODY_MAX, Webhook, packed
from tests.web.hooks import Hook, alert, answer, certificates, listening, server_tls

__all__ = ["certificates", "server_tls"]

CANARY = "CaNaRy9d1"
PUBLIC = "93.184.215.14"


class Resolver:
    """Gives these answers by turns, the last for ever."""

    def __init__(self, *answers: Sequence[str] | OSError) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, OSError):
            raise found
        return found


class Wires(httpx2.AsyncBaseTransport):
    """No network: keeps what would be sent, and where to."""

    def __init__(self, *failures: Exception) -> None:
        self.requests: list[httpx2.Request] = []
        self.failures = list(failures)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if self.failures:
            raise self.failures.pop(0)
        return httpx2.Response(204, stream=httpx2.ByteStream(b""))


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    async with Hook().serving() as served:
        yield served


async def post(hook: Hook, clock: ManualClock, **told: Any) -> None:
    url = f"http://127.0.0.1:{hook.port}/in?key={CANARY}"
    async with Webhook(url, allow_private=True, clock=clock, **told) as made:
        await made.tell(alert(held_back=2, price="45123.5"))


async def test_what_is_sent(hook: Hook, clock: ManualClock) -> None:
    await post(hook, clock)
    (call,) = hook.calls
    assert call.line == f"POST /in?key={CANARY} HTTP/1.1"
    assert call.headers["host"] == f"127.0.0.1:{hook.port}"
    assert call.headers["content-type"] == "application/json"
    assert call.headers["accept-encoding"] == "identity"
    assert call.headers["x-cryptostream-id"] == "signals:macd_rsi:BTCUSDT/1731605400000-1"
    assert "x-cryptostream-signature" not in call.headers
    assert json.loads(call.body) == {
        "rule": "strong",
        "id": "signals:macd_rsi:BTCUSDT/1731605400000-1",
        "stream": "signals:macd_rsi:BTCUSDT",
        "entry_id": "1731605400000-1",
        "ts": "2024-11-14T17:30:00.000000Z",
        "text": "strong: macd_rsi says buy BTCUSDT, number 1 (and 2 more)",
        "held_back": 2,
        "fields": {"strategy": "macd_rsi", "pair": "BTCUSDT", "side": "buy", "price": "45123.5"},
    }


async def test_a_body_is_signed_with_the_time(hook: Hook, clock: ManualClock) -> None:
    await post(hook, clock, secret=CANARY)
    (call,) = hook.calls
    made = hmac.new(CANARY.encode(), b"1731605400." + call.body, hashlib.sha256).hexdigest()
    assert call.headers["x-cryptostream-signature"] == f"t=1731605400,v1={made}"
    assert CANARY.encode() not in call.body


def test_whatever_a_stream_is_called_a_header_holds_it() -> None:
    strange = alert(reason="\ud800\r\n")
    made = Webhook("https://hook.test/x")
    headers = made._headers(type(strange)("r", "a b\r\nX: ü", "1-1", strange.ts, strange.fields, "w"), packed(strange))
    assert headers["x-cryptostream-id"] == "a%20b%0D%0AX:%20%C3%BC/1-1"


async def test_over_tls_the_host_is_checked_and_told_though_the_address_is_called(
    server_tls: ssl.SSLContext, certificates: Path, clock: ManualClock
) -> None:
    resolver = Resolver(["127.0.0.1"])
    async with Hook().serving(server_tls) as served:
        url = f"https://hook.test:{served.port}/in"
        ca_file = certificates / "ca.crt"
        async with Webhook(url, allow_private=True, ca_file=ca_file, clock=clock, resolve=resolver) as made:
            await made.tell(alert())
            await made.tell(alert(2))
    assert [call.headers["host"] for call in served.calls] == [f"hook.test:{served.port}"] * 2
    assert resolver.asked == [("hook.test", served.port)] * 2


@pytest.mark.parametrize(
    ("host", "own", "words"),
    [("hook.test", False, "certificate is refused"), ("other.test", True, "certificate is refused .*mismatch")],
    ids=["unknown CA", "another host"],
)
async def test_a_certificate_that_is_not_right_is_no_answer(
    host: str, own: bool, words: str, server_tls: ssl.SSLContext, certificates: Path, clock: ManualClock
) -> None:
    async with Hook().serving(server_tls) as served:
        made = Webhook(
            f"https://{host}:{served.port}/in",
            allow_private=True,
            ca_file=certificates / "ca.crt" if own else None,
            clock=clock,
            resolve=Resolver(["127.0.0.1"]),
        )
        async with made:
            with pytest.raises(NotNow, match=words):
                await made.tell(alert())
    assert served.calls == []


async def test_a_ca_file_that_is_none_is_told_at_the_start(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path / "empty"):
        (tmp_path / "empty").write_text("nothing")
        with pytest.raises(ConfigError, match="no certificates in"):
            async with Webhook("https://hook.test", ca_file=path):
                pytest.fail("it should not open")


async def test_a_private_address_is_never_called(clock: ManualClock) -> None:
    wires = Wires()
    made = Webhook("https://hook.test/x", clock=clock, resolve=Resolver(["10.0.0.1"]), transport=wires)
    async with made:
        with pytest.raises(NotNow, match=r"hook\.test is 10\.0\.0\.1, a private address") as caught:
            await made.tell(alert())
    assert "allow_private" in caught.value.hint
    assert wires.requests == []


async def test_a_name_that_is_another_address_the_second_time_is_called_at_the_first(clock: ManualClock) -> None:
    resolver, wires = Resolver([PUBLIC], ["127.0.0.1"]), Wires()
    async with Webhook("https://hook.test/x", clock=clock, resolve=resolver, transport=wires) as made:
        await made.tell(alert())
        with pytest.raises(NotNow, match=r"127\.0\.0\.1, a loopback"):
            await made.tell(alert())
    (sent,) = wires.requests
    assert (sent.url.host, sent.headers["host"], sent.extensions["sni_hostname"]) == (PUBLIC, "hook.test", "hook.test")


async def test_the_next_address_is_tried_where_one_cannot_be_connected_to(clock: ManualClock) -> None:
    found = ["2606:4700::1", PUBLIC, "1.1.1.1", "8.8.8.8"]
    wires = Wires(httpx2.ConnectError("no route"))
    async with Webhook("https://hook.test:8443/x", clock=clock, resolve=Resolver(found), transport=wires) as made:
        await made.tell(alert())
        assert [str(one.url) for one in wires.requests] == [
            "https://[2606:4700::1]:8443/x",
            f"https://{PUBLIC}:8443/x",
        ]
        wires.failures = [httpx2.ConnectError("no route")] * 3
        with pytest.raises(NotNow, match=r"no answer from hook\.test:8443: no route"):
            await made.tell(alert())
        assert len(wires.requests) == 5


async def test_after_a_connection_was_had_no_other_address_is_tried(clock: ManualClock) -> None:
    wires = Wires(httpx2.ReadError("broken"))
    async with Webhook("https://h.test", clock=clock, resolve=Resolver([PUBLIC, "1.1.1.1"]), transport=wires) as made:
        with pytest.raises(NotNow, match="broken"):
            await made.tell(alert())
    assert len(wires.requests) == 1


async def test_plain_http_goes_to_this_machine_only(clock: ManualClock) -> None:
    for allow_private, found in ((True, ["10.0.0.1"]), (False, ["127.0.0.1"]), (True, [PUBLIC])):
        wires = Wires()
        made = Webhook(
            "http://localhost/x", allow_private=allow_private, clock=clock, resolve=Resolver(found), transport=wires
        )
        async with made:
            with pytest.raises(NotNow, match="not calling it"):
                await made.tell(alert())
        assert wires.requests == []


async def test_a_name_that_nobody_knows_is_tried_again(clock: ManualClock) -> None:
    async with Webhook("https://h.test", clock=clock, resolve=Resolver(OSError("-2")), transport=Wires()) as made:
        with pytest.raises(NotNow, match=r"the name h\.test cannot be resolved"):
            await made.tell(alert())


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_a_2xx_has_taken_it(status: int, hook: Hook, clock: ManualClock) -> None:
    hook.answers = [answer(status)]
    await post(hook, clock)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_what_may_pass_is_tried_again(status: int, hook: Hook, clock: ManualClock) -> None:
    hook.answers = [answer(status)]
    with pytest.raises(NotNow, match=f"answered HTTP {status}") as caught:
        await post(hook, clock)
    assert caught.value.delay_s is None


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 403, 404, 410, 413, 422])
async def test_a_refusal_and_a_redirect_are_final(status: int, hook: Hook, clock: ManualClock) -> None:
    hook.answers = [answer(status, "location: http://127.0.0.1:1/", "retry-after: 5", body=CANARY.encode())]
    with pytest.raises(NotTaken, match=f"answered HTTP {status}") as caught:
        await post(hook, clock)
    assert len(hook.calls) == 1
    assert CANARY not in f"{caught.value} {caught.value.hint}"


RETRY_AFTER = {"7": 7.0, formatdate(1_731_605_400 + 90, usegmt=True): 90.0, "999999999999999": 86_400.0, "soon": None}


@pytest.mark.parametrize(("text", "delay_s"), RETRY_AFTER.items())
@pytest.mark.parametrize("status", [429, 503])
async def test_a_pause_that_is_asked_for_is_obeyed(
    status: int, text: str, delay_s: float | None, hook: Hook, clock: ManualClock
) -> None:
    hook.answers = [answer(status, f"retry-after: {text}")]
    with pytest.raises(NotNow) as caught:
        await post(hook, clock)
    assert caught.value.delay_s == delay_s


async def test_who_does_not_answer_in_time_is_given_up(
    hook: Hook, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.05)
    hook.answers = [b""]
    with pytest.raises(NotNow, match=r"did not answer within 0\.05 s"):
        await post(hook, clock)


async def test_who_drips_is_given_up_too(hook: Hook, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"H")
            await writer.drain()
            await SystemClock().sleep(0.005)

    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.1)
    async with listening(drip) as hook.port:
        with pytest.raises(NotNow):
            await post(hook, clock)


async def test_of_a_long_answer_only_the_beginning_is_read(clock: ManualClock) -> None:
    read = 0

    class Endless(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            nonlocal read
            while True:
                read += 1000
                yield b"x" * 1000

    class Long(Wires):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            return httpx2.Response(200, headers={"content-encoding": "gzip"}, stream=Endless())

    async with Webhook("https://hook.test", clock=clock, resolve=Resolver([PUBLIC]), transport=Long()) as made:
        await made.tell(alert())
    assert BODY_MAX <= read < BODY_MAX + 1000


async def test_proxies_of_the_environment_are_not_asked(
    hook: Hook, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    await post(hook, clock)
    assert len(hook.calls) == 1


async def test_no_error_and_no_line_of_any_log_holds_the_address_or_the_secret(
    hook: Hook, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    said = []
    for given in (answer(500), answer(404), b"nonsense\r\n\r\n"):
        hook.answers = [given]
        with pytest.raises((NotNow, NotTaken)) as caught:
            await post(hook, clock, secret=CANARY)
        said.append(f"{caught.value!r} {caught.value} {caught.value.hint}")
    said.append(repr(Webhook(f"https://hook.test/{CANARY}", secret=CANARY)))
    assert [text for text in (*said, caplog.text) if CANARY in text] == []
