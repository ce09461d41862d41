"""A publisher whose bus goes away, on a real server: nothing waits for it, nothing is lost, and all is told."""

import asyncio
import errno
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
from redis.asyncio import Redis

from cryptostream.bus.connect import connect
from cryptostream.bus.publish import Publisher
from cryptostream.bus.spool import Fsync, Spool, Unreadable
from cryptostream.bus.writer import OutOfMemory, Writer
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import BusRefused
from cryptostream.model.events import GapRecord, KlineRecord, LedgerRecord, Micros, Record, TradeRecord
from cryptostream.model.instrument import Channel, Interval, Subscription
from tests.conftest import RedisServer

BTC = Subscription("binance", Channel.TRADES, "BTCUSDT")
MINUTES = Subscription("binance", Channel.KLINES, "BTCUSDT", Interval.M1)
STREAM = "trades:BTCUSDT"
T0 = 1_731_605_400_000
Servers = Callable[..., RedisServer]


def trades(*ids: int, raw: str = "") -> list[Record]:
    return [TradeRecord(BTC, "45123.5", "0.1", Micros((T0 + n) * 1000), "buy", n, raw) for n in ids]


def closed_kline(open_ms: int) -> KlineRecord:
    close = open_ms + 59_999
    return KlineRecord(MINUTES, open_ms, close, *("1",) * 6, 3, "4", "6", True, Micros((close + 1) * 1000))


@asynccontextmanager
async def publishing(
    server: RedisServer,
    folder: Path,
    *,
    maxlen: int = 10_000,
    max_bytes: int = 1 << 20,
    rewound: list | None = None,
    fsync: Fsync = "interval",
) -> AsyncIterator[Publisher]:
    async with connect(server.unix_url, data_dir=folder, clock=SystemClock()) as bus:
        rewind = None if rewound is None else lambda wanted, last_id: rewound.append((wanted, last_id))
        spool = Spool(folder, bus.url, max_bytes=max_bytes, fsync=fsync)
        async with Publisher(
            bus, clock=SystemClock(), maxlen=maxlen, random=Random(1), spool=spool, rewind=rewind, ingester="me"
        ) as sink:
            yield sink


async def until(said: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not said():
            await SystemClock().sleep(0.01)


async def entries(server: RedisServer, stream: str = STREAM) -> list[dict[str, str]]:
    async with Redis.from_url(server.unix_url, decode_responses=True, protocol=2) as client:
        return [fields for _, fields in await client.xrange(stream)]


async def ids(server: RedisServer) -> list[str]:
    return [entry.get("trade_id") or f"{entry['gap_from']}-{entry['gap_to']}" for entry in await entries(server)]


async def ledger(server: RedisServer) -> list[str]:
    return [entry["event"] for entry in await entries(server, "events:binance")]


def numbers(first: int, last: int) -> list[str]:
    return list(map(str, range(first, last + 1)))


async def test_while_the_server_is_away_writes_do_not_wait_and_all_arrives_in_order_afterwards(
    redis_server: Servers, data_dir: Path
) -> None:
    server = redis_server("--appendonly", "yes", "--appendfsync", "always")
    async with publishing(server, data_dir) as sink:
        await sink.write(trades(1, 2))
        server.kill()
        async with asyncio.timeout(1):
            await sink.write(trades(3, 4))
            await sink.write(trades(5))
        away = (sink.stats.spooled, sink.stats.spool_bytes > 0, sink.stats.trouble)
        server.start()
        await until(lambda: not sink.stats.trouble and not sink.stats.spool_bytes)
        await sink.write(trades(6))
    assert await ids(server) == numbers(1, 6)
    assert away == (4, True, f"no answer from {server.unix_url}: the connection was lost")
    assert not data_dir.exists() or not list(data_dir.iterdir())
    assert sink.stats.exchange_to_bus.total >= 3, "what was spooled is timed too"


async def test_a_lost_connection_that_uvloop_calls_a_runtime_error_is_an_outage(
    redis_server: Servers, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def send(*_: object) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    server = redis_server()
    async with publishing(server, data_dir) as sink:
        await sink.write(trades(1))
        monkeypatch.setattr(sink._writer._wire, "send", send)
        await sink.write(trades(2))
        await until(lambda: not sink.stats.trouble and not sink.stats.spool_bytes)
    assert await ids(server) == ["1", "2"]


async def test_the_ledger_tells_of_an_outage_its_cause_and_its_end(redis_server: Servers, data_dir: Path) -> None:
    server = redis_server("--appendonly", "yes", "--appendfsync", "always")
    async with publishing(server, data_dir) as sink:
        await sink.write(trades(1))
        server.kill()
        await sink.write(trades(2, 3))
        server.start()
        await until(lambda: not sink.stats.trouble and not sink.stats.spool_bytes)
    spooling, drained = await entries(server, "events:binance")
    assert (spooling["event"], drained["event"], drained["count"]) == ("spooling", "drained", "3")
    assert "no answer" in spooling["cause"]
    assert 0 < float(drained["seconds"]) < 10
    assert drained["ingester"] == "me"


async def test_a_server_that_comes_back_empty_gets_a_gap_for_what_it_lost(
    redis_server: Servers, data_dir: Path
) -> None:
    server = redis_server("--appendonly", "no")
    async with publishing(server, data_dir, rewound=[]) as sink:
        await sink.write(trades(5, 6, 7))
        server.kill()
        await sink.write(trades(8, 9))
        server.start()
        await until(lambda: not sink.stats.trouble and not sink.stats.spool_bytes)
        await sink.write(trades(10))
    gap, *others = await entries(server)
    assert (gap["kind"], gap["gap_from"], gap["gap_to"], gap["cause"]) == ("gap", "5", "7", "bus_reset")
    assert [entry["trade_id"] for entry in others] == ["8", "9", "10"]
    assert sorted(await ledger(server)) == ["bus_reset", "drained", "spooling"]


async def test_what_an_earlier_writer_had_written_is_lost_with_the_rest(redis_server: Servers, data_dir: Path) -> None:
    server = redis_server("--appendonly", "no")
    async with publishing(server, data_dir, rewound=[]) as sink:
        await sink.write(trades(5, 6))
    async with publishing(server, data_dir, rewound=[]) as sink:
        await sink.write(trades(7))
        server.kill()
        await sink.write(trades(8))
        server.start()
        await until(lambda: not sink.stats.trouble and not sink.stats.spool_bytes)
    gap, *_ = await entries(server)
    assert (gap["gap_from"], gap["gap_to"], sink.stats.gaps) == ("5", "7", 1)


async def test_what_a_server_forgot_of_its_last_second_is_fetched_again_before_anything_newer(
    redis_server: Servers, data_dir: Path
) -> None:
    rewound: list[tuple[Subscription, int]] = []
    server = redis_server()
    async with publishing(server, data_dir, rewound=rewound) as sink:
        await sink.write(trades(1, 2, 3, 4))
        server.call("DEL", STREAM)
        server.call("XADD", STREAM, f"{T0 + 2}-2", "trade_id", "2")
        server.call("CLIENT", "KILL", "TYPE", "normal")
        await sink.write(trades(5))
        await until(lambda: bool(rewound) and not sink.stats.spool_bytes)
        await sink.write(trades(6, 3, 4, 5, 6))
    assert rewound == [(BTC, 2)]
    assert await ids(server) == numbers(2, 6)
    [reset] = [entry for entry in await entries(server, "events:binance") if entry["event"] == "bus_reset"]
    assert (reset["gap_from"], reset["gap_to"], reset["count"]) == ("3", "4", "2")


async def test_at_sigterm_while_the_server_is_away_the_spool_is_left_for_the_next_start(
    redis_server: Servers, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = redis_server("--appendonly", "yes", "--appendfsync", "always")
    async with asyncio.timeout(3):
        async with publishing(server, data_dir) as sink:
            await sink.write(trades(1))
            server.kill()
            await sink.write(trades(2, 3))
    said = " ".join(capsys.readouterr().err.split())
    server.start()
    async with publishing(server, data_dir) as sink:
        at_start = await ids(server)
        await sink.write(trades(4))
    assert "spool.kept" in said
    assert "records=3" in said  # with the line that tells of the outage
    assert at_start == numbers(1, 3)
    assert await ids(server) == numbers(1, 4)
    assert not data_dir.exists() or not list(data_dir.iterdir())


async def test_a_full_server_has_our_streams_cut_to_length_and_gets_the_rest_once_there_is_room(
    redis_server: Servers, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = redis_server("--maxmemory", "4mb", "--maxmemory-policy", "noeviction")
    async with publishing(server, data_dir, maxlen=100) as sink:
        await sink.write(trades(*range(1, 181)))
        _fill(server)
        too_long = int(server.call("XLEN", STREAM)[1:]) - 100
        await sink.write(trades(*range(181, 200), raw="x" * 200))
        reason = sink.stats.trouble
        server.call("DEL", "filling")
        async with asyncio.timeout(5):
            await until(lambda: not sink.stats.trouble and not sink.stats.spool_bytes)
    assert "out of memory" in reason
    assert too_long > 0
    assert f"bus.trimmed entries={too_long} " in " ".join(capsys.readouterr().err.split())
    assert (await ids(server))[-20:] == numbers(180, 199)
    assert sink.stats.refused == 0


def _fill(server: RedisServer) -> None:
    place = 0
    while not server.call("SETRANGE", "filling", str(place), "x" * 1000).startswith(b"-OOM"):
        place += 20_000


async def test_a_server_turned_replica_is_waited_for_until_it_is_a_primary_again(
    redis_server: Servers, data_dir: Path
) -> None:
    server = redis_server()
    async with publishing(server, data_dir) as sink:
        await sink.write(trades(1))
        server.call("REPLICAOF", "127.0.0.1", "1")
        await sink.write(trades(2))
        reason = sink.stats.trouble
        server.call("REPLICAOF", "NO", "ONE")
        await until(lambda: not sink.stats.trouble and not sink.stats.spool_bytes)
    assert "read-only replica" in reason
    assert await ids(server) == ["1", "2"]


@pytest.mark.parametrize(
    ("break_it", "mend_it", "reason"),
    [
        ("CONFIG SET requirepass x", "CONFIG SET requirepass ''", "asks for a password"),
        ("ACL SETUSER default -xadd", "ACL SETUSER default +xadd", "does not allow this"),
    ],
    ids=["password", "right"],
)
async def test_a_refusal_after_something_was_taken_does_not_end_the_work(
    redis_server: Servers, data_dir: Path, break_it: str, mend_it: str, reason: str
) -> None:
    server = redis_server()
    async with Redis(unix_socket_path=str(server.socket_path), protocol=2) as operator:
        async with publishing(server, data_dir) as sink:
            await sink.write(trades(1))
            await operator.execute_command(*break_it.split())
            await operator.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await sink.write(trades(2))
            await until(lambda: reason in sink.stats.trouble)
            await operator.execute_command(*mend_it.replace("''", "").split(" "))
            await until(lambda: not sink.stats.trouble and not sink.stats.spool_bytes)
        assert await ids(server) == ["1", "2"]


async def test_a_refusal_before_anything_was_taken_ends_the_work(redis_server: Servers, data_dir: Path) -> None:
    server = redis_server()
    server.call("SET", STREAM, "mine")
    with pytest.raises(BusRefused, match=STREAM):
        async with publishing(server, data_dir) as sink:
            await sink.write(trades(1))
    assert not data_dir.exists()


async def test_a_full_spool_has_what_it_dropped_fetched_again_once_there_is_room(
    redis_server: Servers, data_dir: Path
) -> None:
    rewound: list[tuple[Subscription, int]] = []
    server = redis_server("--appendonly", "yes", "--appendfsync", "always")
    async with publishing(server, data_dir, max_bytes=4000, rewound=rewound) as sink:
        await sink.write(trades(1))
        server.kill()
        for trade_id in range(2, 100):
            await sink.write(trades(trade_id))
        full = sink.full
        server.start()
        fed = 0
        while fed < len(rewound):  # what comes before the outage is quite over may find no room again
            fed, (_, last_id) = len(rewound), rewound[-1]
            await until(lambda: not sink.stats.trouble and not sink.stats.spool_bytes)
            await sink.write(trades(100, *range(last_id + 1, 102)))
        room = not sink.full
    assert (full, room) == (True, True)
    assert 2 < last_id < 60
    assert await ids(server) == numbers(1, 101)
    assert sink.stats.overflowed == 99 - last_id + 1
    assert await ledger(server) == ["spooling", "overflow", "drained"]


async def test_what_a_full_spool_dropped_and_cannot_come_again_becomes_a_gap(
    redis_server: Servers, data_dir: Path
) -> None:
    server = redis_server("--appendonly", "yes", "--appendfsync", "always")
    async with publishing(server, data_dir, max_bytes=2000) as sink:
        await sink.write(trades(1))
        server.kill()
        for trade_id in range(2, 50):
            await sink.write(trades(trade_id))
        server.start()
        await until(lambda: not sink.stats.trouble and not sink.stats.spool_bytes)
        await sink.write(trades(50))
    found = await ids(server)
    kept = len(found) - 2
    assert found == [*numbers(1, kept), f"{kept + 1}-49", "50"]


async def test_a_closed_kline_that_found_no_room_comes_before_those_after_it(
    redis_server: Servers, data_dir: Path
) -> None:
    rewound: list[tuple[Subscription, int]] = []
    windows = [closed_kline(n * 60_000) for n in range(40)]
    server = redis_server("--appendonly", "yes", "--appendfsync", "always")
    async with publishing(server, data_dir, max_bytes=4000, rewound=rewound) as sink:
        await sink.write(windows[:1])
        server.kill()
        for window in windows[1:30]:
            await sink.write([window])
        server.start()
        await until(lambda: not sink.stats.trouble and not sink.stats.spool_bytes)
        [(wanted, last_ms)] = rewound
        await sink.write([windows[31]])
        await sink.write([window for window in windows if window.open_time > last_ms])
    opened = [int(entry["open_time"]) for entry in await entries(server, "klines:BTCUSDT:1m")]
    assert wanted == MINUTES
    assert opened == [window.open_time for window in windows]


async def test_a_first_trade_that_does_not_join_on_to_the_stream_waits_for_those_between(
    redis_server: Servers, data_dir: Path
) -> None:
    rewound: list[tuple[Subscription, int]] = []
    server = redis_server()
    async with publishing(server, data_dir) as sink:
        await sink.write(trades(1))
    async with publishing(server, data_dir, rewound=rewound) as sink:
        await sink.write(trades(4, 5))
        before = await ids(server)
        await sink.write(trades(2, 3, 4, 5))
    assert (rewound, before) == ([(BTC, 1)], ["1"])
    assert await ids(server) == numbers(1, 5)


async def test_a_line_that_ends_in_a_gap_is_complete_up_to_its_end(redis_server: Servers, data_dir: Path) -> None:
    rewound: list[tuple[Subscription, int]] = []
    server = redis_server()
    async with publishing(server, data_dir) as sink:
        await sink.write([*trades(1), GapRecord(BTC, 2, 8, "deadline", Micros(T0 * 1000))])
    async with publishing(server, data_dir, rewound=rewound) as sink:
        await sink.write(trades(9))
    assert (rewound, await ids(server)) == ([], ["1", "2-8", "9"])


async def test_a_damaged_spool_leaves_no_silent_hole(redis_server: Servers, data_dir: Path) -> None:
    server = redis_server()
    async with connect(server.unix_url, data_dir=data_dir, clock=SystemClock()) as bus:
        spool = Spool(data_dir, bus.url, segment_bytes=100)
        for trade_id in (1, 2, 3):
            spool.append(trades(trade_id))
        spool.close()
    second = sorted(data_dir.rglob("*.log"))[1]
    second.write_bytes(second.read_bytes()[:-1])
    rewound: list[tuple[Subscription, int]] = []
    async with publishing(server, data_dir, rewound=rewound) as sink:
        assert await ids(server) == ["1"]  # trade 3 is fetched again, like 2: the feed goes on behind 1
        assert rewound == []  # it has not begun yet, and will ask the stream where
        assert not sink._unjoined
        await sink.write(trades(2, 3))
    assert await ids(server) == numbers(1, 3)


async def test_an_outage_at_the_very_start_keeps_what_was_adopted(redis_server: Servers, data_dir: Path) -> None:
    server = redis_server("--appendonly", "yes", "--appendfsync", "always")
    async with publishing(server, data_dir) as sink:
        await sink.write(trades(1))
        server.kill()
        await sink.write(trades(2))
    server.start()
    server.call("REPLICAOF", "127.0.0.1", "1")
    async with publishing(server, data_dir, rewound=[]) as sink:
        await sink.write(trades(3))
        assert "replica" in sink.stats.trouble
        server.call("REPLICAOF", "NO", "ONE")
        await until(lambda: not sink.stats.trouble and not sink.stats.spool_bytes)
    assert await ids(server) == numbers(1, 3)


async def leave_in_spool(server: RedisServer, folder: Path, *trade_ids: int) -> None:
    """What a dead writer left: a file for each trade."""
    async with connect(server.unix_url, data_dir=folder, clock=SystemClock()) as bus:
        spool = Spool(folder, bus.url, segment_bytes=100)
        for trade_id in trade_ids:
            spool.append(trades(trade_id))
        spool.close()


async def open_until_cancelled(server: RedisServer, folder: Path, reached: asyncio.Event) -> None:
    """Have the opening of a publisher cancelled once it got so far."""
    opening = asyncio.create_task(publishing(server, folder, rewound=[]).__aenter__())
    await reached.wait()
    opening.cancel()
    async with asyncio.timeout(1):
        with pytest.raises(asyncio.CancelledError):
            await opening


async def test_a_start_that_is_cancelled_while_the_bus_hangs_leaves_all_it_adopted_for_the_next(
    redis_server: Servers, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, hung = redis_server(), asyncio.Event()
    await leave_in_spool(server, data_dir, 1, 2, 3)
    write = Writer.write

    async def hang(writer: Writer, records: Sequence[Record]) -> None:
        os.kill(server.pid, signal.SIGSTOP)
        asyncio.get_running_loop().call_later(0.05, hung.set)
        await write(writer, records)

    with monkeypatch.context() as patched:
        patched.setattr(Writer, "write", hang)
        try:
            await open_until_cancelled(server, data_dir, hung)
        finally:
            os.kill(server.pid, signal.SIGCONT)
    assert len(list(data_dir.rglob("*.log"))) == 3
    async with publishing(server, data_dir, rewound=[]):
        assert await ids(server) == numbers(1, 3)


@pytest.mark.parametrize("last", [1, 3], ids=["in the last batch", "before others"])
async def test_a_cancellation_that_the_bus_swallows_ends_the_start_all_the_same(
    redis_server: Servers, data_dir: Path, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    server, writing = redis_server(), asyncio.Event()
    await leave_in_spool(server, data_dir, *range(1, last + 1))
    write = Writer.write

    async def swallow(writer: Writer, records: Sequence[Record]) -> None:
        writing.set()
        try:
            await SystemClock().sleep(10)
        except asyncio.CancelledError:
            await write(writer, records)

    with monkeypatch.context() as patched:
        patched.setattr(Writer, "write", swallow)
        await open_until_cancelled(server, data_dir, writing)
    assert await ids(server) == ["1"]
    async with publishing(server, data_dir, rewound=[]):
        assert await ids(server) == numbers(1, last)


async def test_a_spool_that_cannot_be_read_at_the_start_is_emptied_once_it_can(
    redis_server: Servers, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, tried = redis_server(), 0
    await leave_in_spool(server, data_dir, 1, 2, 3)
    read = Spool.read

    def refused(spool: Spool, at_least: int = 1) -> list[Record] | None:
        nonlocal tried
        tried += 1
        if 1 < tried < 5:
            raise Unreadable("Too many open files")
        return read(spool, at_least)

    monkeypatch.setattr(Spool, "read", refused)
    async with publishing(server, data_dir, rewound=[]) as sink:
        assert sink.stats.trouble == ""  # the bus is there
        await sink.write(trades(4))
        await until(lambda: sink._outage is None)
    assert await ids(server) == numbers(1, 4)
    assert tried < 15


async def test_an_ingester_outlives_a_machine_without_descriptors(
    redis_server: Servers, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    rewound: list[tuple[Subscription, int]] = []
    server = redis_server("--appendonly", "yes", "--appendfsync", "always")
    async with publishing(server, data_dir, rewound=rewound, fsync="always") as sink:
        await sink.write(trades(1))
        server.kill()
        with monkeypatch.context() as patched:
            patched.setattr(os, "dup", none_left)
            await sink.write(trades(2))
            patched.setattr(os, "open", none_left)
            await sink.write(trades(3))
        server.start()
        await until(lambda: not sink.stats.trouble and not sink.stats.spool_bytes)
        await sink.write(trades(4))
    assert await ids(server) == numbers(1, 4)


async def test_with_fsync_always_a_batch_is_on_disk_before_write_returns(
    redis_server: Servers, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced: list[int] = []
    server = redis_server()
    async with publishing(server, data_dir, fsync="always") as sink:
        await sink.write(trades(1))
        server.kill()
        monkeypatch.setattr(os, "fsync", forced.append)
        counts = []
        for trade_id in (2, 3):
            await sink.write(trades(trade_id))
            counts.append(len(forced))
    assert counts == [1, 2]


async def test_a_server_without_memory_is_given_few_records_at_once(
    redis_server: Servers, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    server, write = redis_server(), Writer.write

    async def full_at_first(writer: Writer, records: Sequence[Record]) -> None:
        sizes.append(len(records))
        if len(sizes) == 1:
            raise OutOfMemory("out of memory", hint="")
        await write(writer, records)

    monkeypatch.setattr(Writer, "write", full_at_first)
    async with publishing(server, data_dir) as sink:
        await sink.write(trades(*range(1, 101)))
        await until(lambda: not sink.stats.trouble and not sink.stats.spool_bytes and sink._outage is None)
        await sink.write(trades(*range(101, 201)))
    assert (sizes[0], sizes[-1]) == (100, 100)
    assert max(sizes[1:-1]) == 16
    assert await ids(server) == numbers(1, 200)


async def test_the_end_of_an_outage_is_told_even_if_the_bus_goes_away_while_it_is(
    redis_server: Servers, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    server, write = redis_server("--appendonly", "yes", "--appendfsync", "always"), Writer.write

    async def lost_once(writer: Writer, records: Sequence[Record]) -> None:
        events = [record.event for record in records if isinstance(record, LedgerRecord)]
        told.extend(events)
        if events == ["drained"] and told.count("drained") == 1:
            raise ConnectionError("lost")
        await write(writer, records)

    monkeypatch.setattr(Writer, "write", lost_once)
    async with publishing(server, data_dir) as sink:
        await sink.write(trades(1))
        server.kill()
        await sink.write(trades(2))
        server.start()
        await until(lambda: sink._outage is None)
    assert await ledger(server) == ["spooling", "drained"]
