"""The REST door: what is retried, what is obeyed, what is bounded, and what never shows in a message."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Callable, Iterator

import httpx2
import pytest
import stamina

from cryptostream import __version__
from cryptostream.errors import ConfigError, VenueUnavailable
from cryptostream.feed.rest import Paused, Refused, Rest, Unanswered
from cryptostream.testing import ManualClock
from cryptostream.venues.base import Request

ASK = Request(url="https://venue.test/list", params={"a": "1"})
KEY = "CG-canary-0123456789"

Answer = httpx2.Response | Exception


class Script:
    """A venue that gives the next answer of a list, the last one for ever, and remembers who asked."""

    def __init__(self, *answers: Answer) -> None:
        self.asked: list[httpx2.Request] = []
        self._answers = list(answers)

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx2.Response(answer.status_code, headers=answer.headers, content=answer.content)


@pytest.fixture(autouse=True)
def retries_do_not_wait() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


def answer(status: int = 200, body: bytes = b"[]", **headers: str) -> httpx2.Response:
    return httpx2.Response(
        status, headers={name.replace("_", "-"): text for name, text in headers.items()}, content=body
    )


def door(script: Callable[..., object], clock: ManualClock, **options: object) -> Rest:
    return Rest(clock, transport=httpx2.MockTransport(script), **options)  # type: ignore[arg-type]


async def test_an_answer_comes_back_as_bytes_and_the_venue_sees_who_asks(clock: ManualClock) -> None:
    script = Script(answer(body=b'{"x":1}'))
    async with door(script, clock) as rest:
        assert await rest.get(ASK) == b'{"x":1}'
    asked = script.asked[0]
    assert str(asked.url) == "https://venue.test/list?a=1"
    assert asked.headers["user-agent"] == f"cryptostream/{__version__}"


async def test_a_query_in_the_address_survives_a_request_without_parameters(clock: ManualClock) -> None:
    script = Script(answer())
    async with door(script, clock) as rest:
        await rest.get(Request(url="https://venue.test/list?b=2"))
    assert script.asked[0].url.query == b"b=2"


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(answer(500), id="500"),
        pytest.param(answer(503), id="503 without Retry-After"),
        pytest.param(answer(408), id="408"),
        pytest.param(httpx2.ReadTimeout("slow"), id="time-out"),
        pytest.param(httpx2.ConnectError("refused"), id="connection refused"),
        pytest.param(httpx2.RemoteProtocolError("cut"), id="cut in the middle"),
        pytest.param(httpx2.DecodingError("no gzip"), id="damaged compression"),
    ],
)
async def test_what_may_heal_is_tried_again(trouble: Answer, clock: ManualClock) -> None:
    script = Script(trouble, trouble, answer(body=b"ok"))
    async with door(script, clock) as rest:
        assert await rest.get(ASK) == b"ok"
    assert len(script.asked) == 3


async def test_the_third_failure_is_told_with_the_host(clock: ManualClock) -> None:
    script = Script(answer(502))
    async with door(script, clock) as rest:
        with pytest.raises(Unanswered, match=r"^venue\.test answered HTTP 502$"):
            await rest.get(ASK)
    assert len(script.asked) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 301])
async def test_a_refusal_is_not_tried_again_and_keeps_what_was_said(status: int, clock: ManualClock) -> None:
    script = Script(answer(status, b'{"code":-1121,"msg":"Invalid symbol."}', location="https://elsewhere.test/"))
    async with door(script, clock) as rest:
        with pytest.raises(Refused) as caught:
            await rest.get(ASK)
    assert len(script.asked) == 1
    assert (caught.value.status, caught.value.exit_code) == (status, 5)
    assert b"-1121" in caught.value.body


async def test_403_says_what_to_do(clock: ManualClock) -> None:
    async with door(Script(answer(403)), clock) as rest:
        with pytest.raises(Refused) as caught:
            await rest.get(ASK)
    assert "rest_url" in caught.value.hint


@pytest.mark.parametrize("status", [429, 418, 503])
async def test_nobody_calls_before_retry_after_ends(status: int, clock: ManualClock) -> None:
    script = Script(answer(status, retry_after="30"), answer(body=b"ok"))
    async with door(script, clock) as rest:
        with pytest.raises(Paused) as first:
            await rest.get(ASK)
        clock.advance(29.9)
        with pytest.raises(Paused) as second:
            await rest.get(ASK)
        assert len(script.asked) == 1
        clock.advance(0.1)
        assert await rest.get(ASK) == b"ok"
    assert (first.value.delay_s, first.value.status) == (30.0, status)
    assert second.value.delay_s == pytest.approx(0.1)


async def test_a_silenced_host_leaves_the_others_alone(clock: ManualClock) -> None:
    def venues(request: httpx2.Request) -> httpx2.Response:
        return answer(429, retry_after="60") if request.url.host == "venue.test" else answer(body=b"ok")

    async with door(venues, clock) as rest:
        with pytest.raises(Paused):
            await rest.get(ASK)
        assert await rest.get(Request(url="https://other.test/")) == b"ok"


@pytest.mark.parametrize(
    ("retry_after", "delay_s"),
    [("7", 7.0), ("", 60.0), ("soon", 60.0), ("-5", 60.0), ("٣", 60.0), ("9" * 400, 3 * 86_400.0)],
)
async def test_any_retry_after_gives_a_sane_pause(retry_after: str, delay_s: float, clock: ManualClock) -> None:
    response = httpx2.Response(429, headers=[(b"retry-after", retry_after.encode())])
    async with door(Script(response), clock) as rest:
        with pytest.raises(Paused) as caught:
            await rest.get(ASK)
    assert caught.value.delay_s == delay_s


async def test_the_breaker_opens_after_five_failures_and_closes_on_the_first_success(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(*[answer(500)] * 5, answer(body=b"ok"))
    async with door(script, clock) as rest:
        with pytest.raises(Unanswered):
            await rest.get(ASK)
        with pytest.raises(Paused, match="answered HTTP 500; 5 failures in a row"):
            await rest.get(ASK)
        with pytest.raises(Paused):
            await rest.get(ASK)
        assert len(script.asked) == 5
        monkeypatch.setattr("purgatory.domain.model.time.time", lambda: 9e9)
        assert await rest.get(ASK) == b"ok"


async def test_refusals_do_not_open_the_breaker(clock: ManualClock) -> None:
    script = Script(*[answer(400)] * 8, answer(body=b"ok"))
    async with door(script, clock) as rest:
        for _ in range(8):
            with pytest.raises(Refused):
                await rest.get(ASK)
        assert await rest.get(ASK) == b"ok"


async def test_calls_wait_for_the_budget_and_no_longer(clock: ManualClock) -> None:
    script = Script(answer())
    heavy = Request(url="https://venue.test/heavy", weight=40)
    async with door(script, clock, weight_per_minute=100) as rest:
        await rest.get(heavy)
        clock.advance(10)
        await rest.get(heavy)
        assert clock.monotonic() == 10
        await rest.get(heavy)
        assert clock.monotonic() == 60


async def test_waiting_for_one_venue_does_not_hold_up_another(clock: ManualClock) -> None:
    script = Script(answer())
    async with door(script, clock, weight_per_minute=10) as rest:
        await rest.get(Request(url="https://venue.test/", weight=10))
        waiting = asyncio.create_task(rest.get(Request(url="https://venue.test/", weight=10)))
        await rest.get(Request(url="https://other.test/"))
        assert clock.monotonic() == 0
        await waiting
    assert clock.monotonic() == 60


async def test_a_small_call_is_not_kept_waiting_by_heavy_ones(clock: ManualClock) -> None:
    async def pace() -> None:
        while True:
            await clock.sleep(0.5)

    heavy, small = Request(url="https://venue.test/", weight=100), Request(url="https://venue.test/", weight=2)
    async with door(Script(answer()), clock, weight_per_minute=1000) as rest:
        pacing = asyncio.create_task(pace())
        waiting = [asyncio.create_task(rest.get(heavy)) for _ in range(12)]
        await clock.sleep(10)
        await rest.get(small)
        assert clock.monotonic() < 20
        await asyncio.gather(*waiting)
        assert clock.monotonic() >= 60
        pacing.cancel()


async def test_small_calls_do_not_exceed_the_budget_either(clock: ManualClock) -> None:
    small = Request(url="https://venue.test/", weight=5)
    async with door(Script(answer()), clock, weight_per_minute=1000) as rest:
        for _ in range(200):
            await rest.get(small)
        assert clock.monotonic() == 0
        await rest.get(small)
    assert clock.monotonic() == 60


async def test_a_failure_tells_how_long_was_tried_and_not_how_long_was_waited(clock: ManualClock) -> None:
    async def slow(_: httpx2.Request) -> httpx2.Response:
        await clock.sleep(7)
        return httpx2.Response(502)

    async with door(slow, clock, weight_per_minute=100) as rest:
        with pytest.raises(Unanswered) as failed:
            await rest.get(Request(url="https://venue.test/", weight=60))
    assert failed.value.tried_s == 3 * 7
    assert clock.monotonic() > 100


async def test_the_venues_own_count_is_believed_where_it_is_higher(clock: ManualClock) -> None:
    script = Script(answer(x_used="95"))
    async with door(script, clock, weight_per_minute=100, weight_header="X-Used") as rest:
        await rest.get(ASK)
        await rest.get(Request(url="https://venue.test/", weight=10))
    assert clock.monotonic() == 60


@pytest.mark.parametrize("count", ["", "many", "-3", "1" * 40, "٣"])
async def test_a_count_that_is_no_number_is_ignored(count: str, clock: ManualClock) -> None:
    response = httpx2.Response(200, headers=[(b"x-used", count.encode())])
    async with door(Script(response), clock, weight_per_minute=100, weight_header="X-Used") as rest:
        await rest.get(ASK)
        await rest.get(ASK)
    assert clock.monotonic() == 0


async def test_a_call_heavier_than_the_whole_budget_goes_alone(clock: ManualClock) -> None:
    async with door(Script(answer()), clock, weight_per_minute=10) as rest:
        await rest.get(Request(url="https://venue.test/", weight=500))
        assert clock.monotonic() == 0


async def test_a_huge_answer_is_not_read_to_its_end(clock: ManualClock) -> None:
    sent = 0

    async def flood() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1000
            yield b"x" * 1000

    def venue(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=flood())

    async with door(venue, clock, body_max=10_000) as rest:
        with pytest.raises(VenueUnavailable, match="more than 10,000 bytes"):
            await rest.get(ASK)
    assert sent <= 12_000


async def test_an_answer_that_drips_for_ever_is_cut(clock: ManualClock) -> None:
    async def drip() -> AsyncIterator[bytes]:
        yield b"["
        await asyncio.Event().wait()

    def venue(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=drip())

    async with door(venue, clock, answer_s=0.01) as rest:
        with pytest.raises(Unanswered, match="did not answer in time"):
            await rest.get(ASK)


async def test_a_certificate_that_is_refused_is_final(clock: ManualClock) -> None:
    error = httpx2.ConnectError("certificate verify failed: self-signed certificate")
    error.__cause__ = ssl.SSLCertVerificationError("self-signed certificate")
    script = Script(error)
    async with door(script, clock) as rest:
        with pytest.raises(VenueUnavailable, match=r"certificate of venue\.test") as caught:
            await rest.get(ASK)
    assert len(script.asked) == 1
    assert "no plain-text fallback" in caught.value.hint


@pytest.mark.parametrize(
    "address",
    [
        "http://venue.test/",
        "http://10.0.0.1/",
        "http://127.0.0.1.evil.test/",
        "ftp://venue.test/",
        "venue.test/list",
        "https://",
        "http://[::1",
        "",
    ],
)
async def test_an_address_that_must_not_be_called_is_a_config_error(address: str, clock: ManualClock) -> None:
    script = Script(answer())
    async with door(script, clock) as rest:
        with pytest.raises(ConfigError):
            await rest.get(Request(url=address))
    assert not script.asked


@pytest.mark.parametrize("address", ["http://127.0.0.1:8/", "http://localhost:8/", "http://[::1]:8/"])
async def test_plain_http_is_for_loopback(address: str, clock: ManualClock) -> None:
    async with door(Script(answer(body=b"ok")), clock) as rest:
        assert await rest.get(Request(url=address)) == b"ok"


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(answer(400, b"bad key " + KEY.encode()), id="echoed by the venue"),
        pytest.param(answer(429), id="429"),
        pytest.param(answer(500), id="500"),
        pytest.param(httpx2.ConnectError(f"https://u:{KEY}@venue.test/?api_key={KEY}"), id="in the library's words"),
    ],
)
async def test_no_secret_shows_in_an_error_or_a_log(
    trouble: Answer, clock: ManualClock, capfd: pytest.CaptureFixture[str]
) -> None:
    request = Request(url="https://venue.test/", params={"api_key": KEY}, headers={"x-key": KEY})
    async with door(Script(trouble), clock) as rest:
        with pytest.raises(VenueUnavailable) as caught:
            await rest.get(request)
    told = f"{caught.value} {caught.value.hint} {getattr(caught.value, 'body', b'')!r}"
    printed = capfd.readouterr()
    assert KEY not in told + printed.out + printed.err


@pytest.fixture
async def loopback() -> AsyncIterator[tuple[str, list[bytes]]]:
    """A real server that answers every request with the next raw answer of a list."""
    answers: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answers.pop(0))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", answers


def raw(body: bytes, *headers: str, length: int | None = None) -> bytes:
    head = ["HTTP/1.1 200 OK", f"content-length: {len(body) if length is None else length}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


async def test_over_a_socket_cut_and_damaged_answers_are_tried_again(
    loopback: tuple[str, list[bytes]], clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, answers = loopback
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    answers += [raw(b"[1", length=100), raw(b"no gzip", "content-encoding: gzip"), raw(b"[1,2]")]
    async with Rest(clock) as rest:
        assert await rest.get(Request(url=address)) == b"[1,2]"


async def test_over_a_socket_a_small_bomb_is_bounded(loopback: tuple[str, list[bytes]], clock: ManualClock) -> None:
    address, answers = loopback
    answers.append(raw(gzip.compress(bytes(10_000_000)), "content-encoding: gzip"))
    async with Rest(clock, body_max=1_000_000) as rest:
        with pytest.raises(VenueUnavailable, match="more than 1,000,000 bytes"):
            await rest.get(Request(url=address))


async def test_over_a_socket_nobody_there_is_told_in_one_line(clock: ManualClock) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    async with Rest(clock) as rest:
        with pytest.raises(Unanswered, match=rf"^no connection to 127\.0\.0\.1:{port}: "):
            await rest.get(Request(url=f"http://127.0.0.1:{port}/?api_key={KEY}"))
