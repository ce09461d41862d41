"""What HTTP answers, to whom, and how it starts and ends; on the application itself and on a real socket."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx2
import pytest
import structlog

from cryptostream.engine.stats import FeedStats, PairFacts, PublisherStats, counters
from cryptostream.errors import ConfigError
from cryptostream.web import app, server
from cryptostream.web.health import Watched, check_exposure, reasons
from tests.conftest import free_port

TOKEN = "a-token-that-nobody-guesses"
WELL = FeedStats(active_connections=2)
PAIR = PairFacts(exchange="binance", channel="trades", pair="币安人生USDT", last_id=7, ts=1_731_605_400_123_000)


def watched(*why: str) -> Watched:
    feed, published = FeedStats(active_connections=1, total_messages=9), PublisherStats(published=5)
    return Watched(
        feed=lambda: feed,
        published=lambda: published,
        pairs=lambda: [PAIR],
        stats=lambda: counters(feed, published, ["BTCUSDT"]),
        reasons=lambda: why,
    )


Ask = Callable[..., Any]


async def ask(path: str, *why: str, of: Watched | None = None, **wanted: Any) -> httpx2.Response:
    """The application's answer to one request; `host` and `token` are its own, the rest is the request's."""
    application = app.make(of or watched(*why), host=wanted.pop("host", "127.0.0.1"), token=wanted.pop("token", None))
    transport = httpx2.ASGITransport(app=application, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8099") as client:
        return await client.request(wanted.pop("method", "GET"), path, **wanted)


# --- why it is unwell


@pytest.mark.parametrize(
    ("feed", "published", "why"),
    [
        (WELL, PublisherStats(), []),
        (FeedStats(active_connections=3), PublisherStats(), []),
        (FeedStats(), PublisherStats(), ["no connection to the exchange is live"]),
        (FeedStats(active_connections=1), PublisherStats(), ["1 of 2 connections to the exchange is live"]),
        (WELL, PublisherStats(trouble="out of memory"), ["the bus takes nothing: out of memory"]),
        (
            WELL,
            PublisherStats(trouble="away", overflowed=1200, spool_bytes=9),
            ["the bus takes nothing: away", "the spool is full: 1,200 records had no room"],
        ),
        (WELL, PublisherStats(overflowed=1200), []),
    ],
    ids=["well", "rotating", "no socket", "too few", "bus", "overflow", "overflow that is over"],
)
def test_reasons_are_what_is_wrong_now(feed: FeedStats, published: PublisherStats, why: list[str]) -> None:
    assert reasons(feed, published, connections_wanted=2, started=True) == why


def test_what_has_not_started_is_not_well_yet() -> None:
    assert reasons(WELL, PublisherStats(), connections_wanted=2, started=False) == [
        "starting: nothing has been heard yet"
    ]


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ("no answer from redis://10.0.0.3:6379: timed out", "no answer from the server: timed out"),
        ("redis+sentinel://a.lan:26379,b.lan:26379/m has no primary", "the server has no primary"),
        ("unix:///run/redis.sock is out of memory", "the server is out of memory"),
        ("no answer from rediss://[fd00::1]:6379/0: timed out", "no answer from the server: timed out"),
        ("trades:BTCUSDT on redis://***@h is not a stream", "trades:BTCUSDT on the server is not a stream"),
    ],
)
def test_reasons_name_no_address(trouble: str, told: str) -> None:
    (why,) = reasons(WELL, PublisherStats(trouble=trouble), connections_wanted=2, started=True)
    assert why == f"the bus takes nothing: {told}"


# --- who may ask from where


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.5", "ingest.lan"])
def test_an_exposed_address_wants_a_token(host: str) -> None:
    with pytest.raises(ConfigError, match="anybody") as caught:
        check_exposure(host, None)
    assert caught.value.exit_code == 78
    assert "health_token" in caught.value.hint
    check_exposure(host, TOKEN)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.1.2.3"])
def test_this_machines_own_addresses_want_none(host: str) -> None:
    check_exposure(host, None)


@pytest.mark.parametrize("told", ["127.0.0.1:8099", "LOCALHOST", "[::1]:8099", "127.0.0.1"])
async def test_this_machines_names_are_answered(told: str) -> None:
    assert (await ask("/health", headers={"host": told})).status_code == 200


@pytest.mark.parametrize("told", ["evil.example", "evil.example:8099", "127.0.0.1.evil.example", "10.0.0.9", ""])
@pytest.mark.parametrize("path", ["/health", "/pairs"])
async def test_another_hosts_name_is_refused(path: str, told: str) -> None:
    answer = await ask(path, headers={"host": told})
    assert (answer.status_code, list(answer.json())) == (421, ["error"])


async def test_the_host_that_was_configured_is_answered_and_others_are_not() -> None:
    asked = {
        told: (await ask("/health", host="Ingest.lan", headers={"host": told})).status_code
        for told in ("ingest.lan:8099", "INGEST.LAN", "localhost", "other.lan")
    }
    assert asked == {"ingest.lan:8099": 200, "INGEST.LAN": 200, "localhost": 200, "other.lan": 421}


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_on_all_addresses_every_name_may_be_ours(host: str) -> None:
    assert (await ask("/health", host=host, token=TOKEN, headers={"host": "ingest:8099"})).status_code == 200


@pytest.mark.parametrize("path", ["/stats", "/pairs", "/metrics", "/nothing", "/health/", "/HEALTH"])
@pytest.mark.parametrize(
    "given",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}", "Bearer \xff"],
)
async def test_all_but_health_wants_the_token(path: str, given: str | None) -> None:
    headers = {} if given is None else {"authorization": given.encode("latin-1")}
    answer = await ask(path, token=TOKEN, headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert TOKEN not in answer.text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
async def test_the_token_opens_and_health_needs_none(scheme: str) -> None:
    with_token = await ask("/stats", token=TOKEN, headers={"authorization": f"{scheme} {TOKEN}"})
    assert [with_token.status_code, (await ask("/health", token=TOKEN)).status_code] == [200, 200]


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_only_get_is_answered(method: str) -> None:
    for path in ("/health", "/nothing"):
        answer = await ask(path, method=method, content=b"x" * 100_000)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


async def test_no_other_origin_may_read_an_answer() -> None:
    answer = await ask("/stats", headers={"origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert (answer.headers["cache-control"], answer.headers["x-content-type-options"]) == ("no-store", "nosniff")


# --- what is answered


async def test_health_is_200_and_one_word() -> None:
    answer = await ask("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_health_is_503_with_the_reasons() -> None:
    answer = await ask("/health", "no connection to the exchange is live", "the spool is full")
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "degraded",
        "reasons": ["no connection to the exchange is live", "the spool is full"],
    }


async def test_stats_have_the_shape_that_the_command_prints() -> None:
    found = (await ask("/stats")).json()
    assert (found["publisher"]["publish_count"], found["ingest"]["total_messages"]) == (5, 9)
    assert (found["pairs_count"], found["pairs_sample"]) == (1, ["BTCUSDT"])


async def test_pairs_are_all_that_is_known_of_each() -> None:
    (found,) = (await ask("/pairs")).json()
    assert (found["pair"], found["state"], found["last_id"], found["gap_from"]) == ("币安人生USDT", "live", 7, None)


async def test_an_unknown_path_is_told_what_there_is() -> None:
    for path in ("/", "/docs", "/redoc", "/openapi.json", "/health/", "/stats?x=1/../"):
        answer = await ask(path)
        known = path.startswith("/stats")
        assert answer.status_code == (200 if known else 404)
        assert known or "/metrics" in answer.json()["error"]


async def test_our_own_fault_is_told_in_the_log_and_not_to_who_asks() -> None:
    def broken() -> dict[str, Any]:
        raise RuntimeError("canary")

    with structlog.testing.capture_logs() as told:
        answer = await ask("/stats", of=replace(watched(), stats=broken))
    assert (answer.status_code, "canary" in answer.text) == (500, False)
    assert told == [
        {"room": "web", "event": "web.failed", "log_level": "error", "path": "/stats", "why": told[0]["why"]}
    ]
    assert "canary" in told[0]["why"]


# --- on a real socket


@contextlib.asynccontextmanager
async def serving(*, host: str = "127.0.0.1", port: int = 0, token: str | None = None) -> AsyncIterator[str]:
    """An endpoint that answers inside, and is cancelled at the end as the runtime does it; gives its address."""
    endpoint = server.Endpoint(app.make(watched(), host=host, token=token), server.listening(host, port))
    serving = asyncio.ensure_future(endpoint())
    try:
        yield endpoint.url
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


async def got(url: str) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False, timeout=5) as client:
        return await client.get(url)


def connected(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=5)


def _waiting(connection: socket.socket) -> socket.socket:
    """The same for a loop to wait on."""
    connection.setblocking(False)
    return connection


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_port_0_takes_a_free_one_and_says_which(host: str) -> None:
    with structlog.testing.capture_logs() as told:
        async with serving(host=host) as url:
            answer = await got(f"{url}/health")
    assert answer.json() == {"status": "ok"}
    assert [line["url"] for line in told if line["event"] == "web.listening"] == [url]


async def test_an_answer_says_nothing_of_who_serves_and_ends_its_connection() -> None:
    async with serving() as url:
        answer = await got(f"{url}/metrics")
    assert "server" not in answer.headers
    assert answer.headers["connection"] == "close"


async def test_signals_stay_with_the_runtime() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with serving() as url:
        await got(f"{url}/health")
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_the_end_waits_for_nobody() -> None:
    """Neither for who is idle, nor for who has asked by half, nor for who does not read a large answer."""
    large = replace(watched(), stats=lambda: {"canary": "x" * 20_000_000})
    endpoint = server.Endpoint(app.make(large, host="127.0.0.1"), server.listening("127.0.0.1", 0))
    serving = asyncio.ensure_future(endpoint())
    await got(f"{endpoint.url}/health")
    with connected(endpoint.url), connected(endpoint.url) as halfway, connected(endpoint.url) as deaf:
        halfway.sendall(b"GET /health HT")
        deaf.sendall(b"GET /stats HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await asyncio.get_running_loop().sock_recv(_waiting(deaf), 1)
        started_s = asyncio.get_running_loop().time()
        serving.cancel()
        assert await asyncio.wait([serving], timeout=1.0) == ({serving}, set())
    assert asyncio.get_running_loop().time() - started_s < 1.0
    with pytest.raises(httpx2.ConnectError):
        await got(f"{endpoint.url}/health")


async def test_the_port_is_free_again_at_once() -> None:
    port = free_port()
    for _ in range(2):
        async with serving(port=port) as url:
            assert (await got(f"{url}/health")).status_code == 200


async def test_who_sends_slowly_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "DEADLINE_S", 0.2)
    async with serving() as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        with pytest.raises(ConnectionError):
            for byte in b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 10_000:
                writer.write(bytes([byte]))
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    assert await asyncio.wait_for(reader.read(1), 0.02) == b""
                    raise ConnectionResetError
        writer.close()
        assert (await got(f"{url}/health")).status_code == 200


async def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTIONS", 2)
    async with serving() as url:
        await got(f"{url}/health")
        with connected(url), connected(url), connected(url) as third, contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(_waiting(third), 1), 5) == b""
        assert (await got(f"{url}/health")).status_code == 200


async def test_what_is_not_http_or_too_large_is_refused_and_the_next_one_is_answered() -> None:
    async with serving() as url:
        for junk in (b"\x16\x03\x01\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 300_000):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writer.write(junk)
            with contextlib.suppress(ConnectionError):
                assert b" 400 " in await asyncio.wait_for(reader.read(), 5)
            writer.close()
        assert (await got(f"{url}/health")).status_code == 200


def test_a_default_port_that_is_taken_is_a_warning() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, structlog.testing.capture_logs() as told:
        port = taken.getsockname()[1]
        assert app.endpoint(watched(), "127.0.0.1", port, asked=False) is None
    (line,) = told
    assert (line["log_level"], line["event"]) == ("warning", "web.not_served")
    assert f"port {port} of 127.0.0.1 is taken" in line["why"]


def test_a_port_that_was_asked_for_and_is_taken_is_exit_78() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="is taken") as caught:
        app.endpoint(watched(), "127.0.0.1", taken.getsockname()[1], asked=True)
    assert (caught.value.exit_code, "--health-port 0" in caught.value.hint) == (78, True)


def test_a_port_is_taken_as_soon_as_an_endpoint_is_made() -> None:
    port = free_port()
    first = app.endpoint(watched(), "127.0.0.1", port, asked=True)
    assert first is not None
    assert app.endpoint(watched(), "127.0.0.1", port, asked=False) is None
    first.close()


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7", "a..b"])
def test_an_address_that_is_not_ours_is_exit_78_however_it_was_asked(host: str) -> None:
    with pytest.raises(ConfigError, match="cannot be served") as caught:
        app.endpoint(watched(), host, 8099, asked=False, token=TOKEN)
    assert caught.value.hint == "see ingest.health_host"
