"""The live feed against the local exchange, over both transports: what is traded arrives, whatever befalls sockets."""

import asyncio
import os
import resource
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cryptostream.engine.clock import SystemClock
from cryptostream.errors import VenueUnavailable
from cryptostream.feed.rest import Rest
from cryptostream.feed.source import Ask, Feed, FeedSettings
from cryptostream.feed.transport import transport
from cryptostream.model.events import DeadLetter, GapRecord, KlineRecord, LedgerRecord, Record, TradeRecord
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.sim.exchange import LocalExchange
from cryptostream.venues.base import Limits
from cryptostream.venues.binance import Binance

PAIRS = ("BTCUSDT", "ETHUSDT")
TRADES = [Subscription("binance", Channel.TRADES, pair) for pair in PAIRS]


@pytest.fixture(params=["websockets", "picows"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "picows":
        pytest.importorskip("picows")
    return str(request.param)


class Hasty(SystemClock):
    """The machine's time, twenty times as fast."""

    def monotonic(self) -> float:
        return super().monotonic() * 20

    async def sleep(self, delay_s: float) -> None:
        await super().sleep(delay_s / 20)


def feed(
    exchange: LocalExchange,
    kind: str,
    wanted: Sequence[Subscription] = TRADES,
    *,
    limits: Limits | None = None,
    ask: Ask | None = None,
    **settings: Any,
) -> Feed:
    venue = Binance(ws_url=exchange.ws_url, rest_url=exchange.rest_url)
    venue.limits = limits or venue.limits
    return Feed(
        venue,
        wanted,
        connect=transport(kind),
        clock=Hasty(),
        random=Random(1),
        ask=ask,
        settings=FeedSettings(**settings),
    )


@asynccontextmanager
async def reading(source: Feed) -> AsyncIterator[list[Record]]:
    """The records that have arrived so far, in a list that grows."""
    found: list[Record] = []

    async def read() -> None:
        async for batch in source.batches():
            found.extend(batch.events)

    async with source:
        task = asyncio.ensure_future(read())
        try:
            yield found
        finally:
            source.stop()
            await task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await Hasty().sleep(0.2)


def ids(records: Sequence[Record], pair: str = "BTCUSDT") -> list[int]:
    return [r.trade_id for r in records if isinstance(r, TradeRecord) and r.subscription.pair == pair]


def assert_whole(records: Sequence[Record], pairs: Sequence[str] = PAIRS) -> None:
    """Every trade of the pairs from the first to the last, once and in order, and no gap."""
    for pair in pairs:
        seen = ids(records, pair)
        assert seen == list(range(seen[0], seen[0] + len(seen)))
    assert not [record for record in records if isinstance(record, GapRecord)]


async def test_trades_of_every_pair_arrive_without_a_hole(kind: str) -> None:
    async with LocalExchange(pairs=PAIRS, rate=500.0) as exchange, reading(feed(exchange, kind)) as found:
        await until(lambda: all(len(ids(found, pair)) > 100 for pair in PAIRS))
        assert_whole(found)
        for pair in PAIRS:
            first = next(r for r in found if isinstance(r, TradeRecord) and r.subscription.pair == pair)
            traded = exchange.market.trade(pair, first.trade_id)
            assert (first.price, first.qty, first.ts // 1000) == (traded.price, traded.qty, traded.time_us // 1000)


async def test_klines_of_several_intervals_arrive(kind: str) -> None:
    wanted = [Subscription("binance", Channel.KLINES, "BTCUSDT", each) for each in (Interval.S1, Interval.M1)]
    async with LocalExchange(pairs=PAIRS, rate=50.0) as exchange, reading(feed(exchange, kind, wanted)) as found:
        await until(lambda: {r.subscription.interval for r in found if isinstance(r, KlineRecord)} == {"1s", "1m"})
        await until(lambda: any(isinstance(r, KlineRecord) and r.closed for r in found))


async def test_microseconds_are_asked_for_and_kept(kind: str) -> None:
    async with LocalExchange(pairs=PAIRS, rate=500.0) as exchange:
        venue = Binance(ws_url=exchange.ws_url, time_unit="microsecond")
        source = Feed(venue, TRADES, connect=transport(kind), clock=Hasty())
        async with reading(source) as found:
            await until(lambda: len(ids(found)) > 20)
        for record in found:
            if isinstance(record, TradeRecord):
                assert record.ts == exchange.market.trade(record.subscription.pair, record.trade_id).time_us
        assert any(record.ts % 1000 for record in found)


@pytest.mark.row(1)
async def test_every_connection_resubscribes_after_its_socket_was_cut(kind: str) -> None:
    async with (
        LocalExchange(pairs=PAIRS, rate=500.0) as exchange,
        Rest(Hasty()) as rest,
        reading(source := feed(exchange, kind, ask=rest.get, pairs_per_connection=1)) as found,
    ):
        await until(lambda: all(ids(found, pair) for pair in PAIRS))
        exchange.faults.inject("drop")
        await until(lambda: source.stats.reconnects == 2)
        before = len(found)
        await until(lambda: all(len(ids(found[before:], pair)) > 50 for pair in PAIRS))
        assert source.stats.connection_errors == 2
        assert_whole(found)


@pytest.mark.row(1)
@pytest.mark.parametrize("cut", ["drop", "close,code=1012", "close,code=1008"])
async def test_nothing_that_was_traded_while_a_socket_was_cut_is_missing(kind: str, cut: str) -> None:
    async with (
        LocalExchange(pairs=PAIRS, rate=300.0) as exchange,
        Rest(Hasty()) as rest,
        reading(source := feed(exchange, kind, ask=rest.get)) as found,
    ):
        await until(lambda: all(ids(found, pair) for pair in PAIRS))
        for times in (1, 2, 3):
            exchange.faults.inject(cut)
            await until(lambda times=times: source.stats.reconnects == times)
            await until(lambda: source.stats.active_connections == 1)
            await Hasty().sleep(4)
        exchange.halt()
        await until(lambda: all(ids(found, pair)[-1] == exchange.sent(pair)[-1] for pair in PAIRS))
        assert_whole(found)
        assert source.stats.filled > 0


async def test_a_planned_rotation_shows_nowhere_in_the_trades(kind: str) -> None:
    async with (
        LocalExchange(pairs=PAIRS, rate=300.0) as exchange,
        reading(source := feed(exchange, kind, rotate_after_s=10)) as found,
    ):
        await until(lambda: source.stats.rotations >= 3)
        assert source.stats.active_connections in (1, 2)
        assert source.stats.duplicates > 0
        assert source.stats.reconnects == 0
        assert_whole(found)
        lines = [record for record in found if isinstance(record, LedgerRecord)]
        assert [line.event for line in lines[:4]] == ["connected", "connected", "disconnected", "connected"]


async def test_pairs_that_change_leave_the_others_whole(kind: str) -> None:
    solana = Subscription("binance", Channel.TRADES, "SOLUSDT")
    async with (
        LocalExchange(pairs=(*PAIRS, "SOLUSDT"), rate=300.0) as exchange,
        reading(source := feed(exchange, kind)) as found,
    ):
        await until(lambda: all(ids(found, pair) for pair in PAIRS))
        await source.change([TRADES[0], solana])
        await until(lambda: len(ids(found, "SOLUSDT")) > 100 and source.stats.active_connections == 1)
        at = len(found)
        await until(lambda: len(ids(found[at:])) > 100)
        assert ids(found[at:], "ETHUSDT") == []
        assert_whole(found, ["BTCUSDT", "SOLUSDT"])


async def test_an_announced_shutdown_moves_the_feed_to_a_new_socket(kind: str) -> None:
    async with LocalExchange(pairs=PAIRS, rate=500.0) as exchange, reading(source := feed(exchange, kind)) as found:
        await until(lambda: bool(found))
        exchange.faults.inject("shutdown")
        await until(lambda: source.stats.rotations == 1)
        before = len(found)
        await until(lambda: len(ids(found[before:])) > 20)
        assert (source.stats.active_connections, source.stats.connection_errors) == (1, 0)
        assert_whole(found)


@pytest.mark.row(2)
async def test_a_half_open_socket_is_noticed_and_replaced(kind: str) -> None:
    async with (
        LocalExchange(pairs=PAIRS, rate=500.0) as exchange,
        Rest(Hasty()) as rest,
        reading(source := feed(exchange, kind, ask=rest.get)) as found,
    ):
        await until(lambda: bool(found))
        exchange.faults.inject("halfopen")
        cut_at = Hasty().monotonic()
        await until(lambda: source.stats.reconnects_by == {"silent": 1})
        assert Hasty().monotonic() - cut_at <= 20 + 2
        await until(lambda: exchange.connects == 2)
        before = len(found)
        await until(lambda: len(found) > before + 20)
        assert source.stats.connection_errors == 1


@pytest.mark.row(6)
async def test_garbage_is_set_aside_and_every_good_frame_is_kept(kind: str) -> None:
    async with LocalExchange(pairs=PAIRS, rate=500.0) as exchange, reading(source := feed(exchange, kind)) as found:
        await until(lambda: bool(found))
        exchange.faults.inject("garbage")
        await until(lambda: any(isinstance(r, DeadLetter) for r in found))
        await until(lambda: len(ids(found)) > 200)
        assert_whole(found)
        letters = [r for r in found if isinstance(r, DeadLetter)]
        assert len(letters) == source.stats.error_messages
        assert all(letter.reason and letter.source == f"{exchange.ws_url}/stream" for letter in letters)


@pytest.mark.row(35)
async def test_a_pair_that_does_not_exist_disturbs_no_other(kind: str) -> None:
    nothing = Subscription("binance", Channel.TRADES, "NOSUCHUSDT")
    async with (
        LocalExchange(pairs=PAIRS, rate=500.0) as exchange,
        reading(source := feed(exchange, kind, [*TRADES, nothing])) as found,
    ):
        await until(lambda: all(len(ids(found, pair)) > 50 for pair in PAIRS))
        assert {one.pair: one.state for one in source.pairs()}["NOSUCHUSDT"] == "silent"
        assert source.stats.connection_errors == 0


@pytest.mark.row(4)
async def test_a_venue_that_forbids_us_ends_the_start_at_once(kind: str) -> None:
    async with LocalExchange(pairs=PAIRS) as exchange:
        exchange.faults.inject("handshake,status=403")
        with pytest.raises(BaseExceptionGroup) as caught:
            async with reading(feed(exchange, kind)):
                await Hasty().sleep(200)
        assert caught.group_contains(VenueUnavailable, match="403")


async def test_nobody_listening_ends_the_start_after_the_time_out(kind: str) -> None:
    async with LocalExchange(pairs=PAIRS) as exchange:
        gone = exchange
    with pytest.raises(BaseExceptionGroup) as caught:
        async with reading(feed(gone, kind, connect_timeout_s=0.2)):
            await Hasty().sleep(200)
    assert caught.group_contains(VenueUnavailable, match="no connection to ws://127.0.0.1")


@pytest.mark.row(5)
async def test_a_reader_that_is_too_slow_costs_no_trade_and_no_socket(kind: str) -> None:
    async with LocalExchange(pairs=PAIRS[:1], rate=2000.0) as exchange, Rest(Hasty()) as rest:
        source = feed(exchange, kind, TRADES[:1], ask=rest.get, inbox_max=50)
        async with source:
            await until(lambda: source.stats.held > 100)
            assert source.stats.dropped > 0
            found: list[Record] = []
            batches = source.batches()
            while len(ids(found)) < 1000:
                found += (await anext(batches)).events
            await batches.aclose()
        assert_whole(found, PAIRS[:1])
        assert source.stats.reconnects == 0


@pytest.mark.row(4)
async def test_a_venue_that_asks_for_patience_is_not_tried_again_before(kind: str) -> None:
    async with LocalExchange(pairs=PAIRS, rate=500.0) as exchange:
        exchange.faults.inject("handshake,status=429,retry_after=20,count=1")
        async with reading(source := feed(exchange, kind, connect_timeout_s=100)) as found:
            await until(lambda: bool(found))
        refused, accepted = exchange.attempts
        assert accepted - refused >= 20 / 20 * 0.9
        assert source.stats.connection_errors == 1


@pytest.mark.row(8)
async def test_giant_frames_cost_their_own_pair_alone(kind: str) -> None:
    async with (
        LocalExchange(pairs=PAIRS, rate=100.0) as exchange,
        Rest(Hasty()) as rest,
        reading(source := feed(exchange, kind, ask=rest.get, max_frame=100_000)) as found,
    ):
        await until(lambda: all(ids(found, pair) for pair in PAIRS))
        exchange.faults.inject("giant:50%,pair=ETHUSDT,bytes=200000")
        await until(lambda: source.subscriptions == (TRADES[0],))
        assert source.stats.reconnects_by == {"too large": 6}
        before = len(found)
        await until(lambda: len(ids(found[before:])) > 20)
        assert [(one.pair, one.state) for one in source.pairs()][-1] == ("ETHUSDT", "left out")
        assert_whole(found, PAIRS[:1])


@contextmanager
def without_file_handles() -> Iterator[None]:
    """As many files are open as may be; those that are stay so."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.row(37)
async def test_without_file_handles_what_is_connected_stays_connected(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with (
        LocalExchange(pairs=PAIRS, rate=300.0) as exchange,
        reading(source := feed(exchange, kind, rotate_after_s=5)) as found,
    ):
        await until(lambda: bool(found))
        with without_file_handles():
            await until(lambda: source.stats.connection_errors >= 2)
            before = len(found)
            await until(lambda: len(ids(found[before:])) > 20)
            assert source.stats.active_connections == 1
        await until(lambda: source.stats.rotations >= 1)
        assert_whole(found)
    assert "ulimit -n" in "".join(capsys.readouterr())


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A certificate for 127.0.0.1 that nobody vouches for."""
    openssl = shutil.which("openssl") or pytest.skip("no openssl on PATH to make a certificate with")
    made: Path = tmp_path_factory.mktemp("tls")
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=venue"
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", made / "key", "-out", made / "crt"]
    subprocess.run([openssl, *words.split(), *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made / "crt", made / "key")
    return context


@pytest.mark.row(33)
async def test_a_certificate_that_nobody_vouches_for_ends_the_start_at_once(
    kind: str, self_signed: ssl.SSLContext
) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=self_signed) as server:
        port = server.sockets[0].getsockname()[1]
        source = Feed(Binance(ws_url=f"wss://127.0.0.1:{port}"), TRADES, connect=transport(kind), clock=Hasty())
        with pytest.raises(BaseExceptionGroup) as caught:
            async with reading(source):
                await Hasty().sleep(200)
    assert caught.group_contains(VenueUnavailable, match="the certificate of wss://127.0.0.1:.* is not valid")


@pytest.mark.row(33)
async def test_a_name_that_cannot_be_resolved_is_looked_up_again(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve, asked = socket.getaddrinfo, []

    def resolver(host: str, *rest: Any, **more: Any) -> Any:
        asked.append(host)
        if len(asked) < 3:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve("127.0.0.1", *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    async with LocalExchange(pairs=PAIRS, rate=500.0) as exchange:
        venue = Binance(ws_url=f"ws://venue.test:{exchange.port}")
        source = Feed(venue, TRADES, connect=transport(kind), clock=Hasty(), random=Random(1))
        async with reading(source) as found:
            await until(lambda: len(ids(found)) > 20)
        assert asked == ["venue.test"] * 3
        assert source.stats.reconnects_by == {"unreachable": 2}
