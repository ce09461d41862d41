import asyncio
import json
import struct
from contextlib import asynccontextmanager, suppress

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from cryptostream.engine.clock import SystemClock
from cryptostream.errors import Unreachable, UsageError
from cryptostream.sim.exchange import LocalExchange
from cryptostream.testing import ManualClock

PAIRS = ["BTCUSDT", "ETHUSDT"]


@asynccontextmanager
async def open_exchange(**options):
    async with LocalExchange(**{"pairs": PAIRS, "rate": 2_000.0, **options}) as exchange:
        yield exchange


@pytest.fixture
async def exchange():
    async with open_exchange() as made:
        yield made


def socket(exchange, path="/stream?streams=btcusdt@trade", **options):
    return connect(exchange.ws_url + path, proxy=None, max_size=None, max_queue=None, close_timeout=0.2, **options)


async def take(wire, count):
    return [json.loads(await wire.recv()) for _ in range(count)]


async def data_until(wire, wanted):
    """Frames up to and with the first one that is wanted."""
    seen = []
    while not (seen and wanted(seen[-1])):
        seen.append(json.loads(await wire.recv()))
    return seen


async def closed(wire):
    """How a connection ends: code and reason, once all that was sent before has been read."""
    with pytest.raises(ConnectionClosed) as ended:
        while True:
            await wire.recv()
    told = ended.value.rcvd
    return (told.code, told.reason) if told else (1006, "")


async def get(exchange, path):
    async with httpx2.AsyncClient(base_url=exchange.rest_url, trust_env=False) as client:
        return await client.get(path)


# What is told.


async def test_combined_frames_are_what_the_market_traded(exchange):
    async with socket(exchange) as wire:
        frames = await take(wire, 200)
    assert {frame["stream"] for frame in frames} == {"btcusdt@trade"}
    events = [frame["data"] for frame in frames]
    for event in events:
        trade = exchange.market.trade("BTCUSDT", event["t"])
        assert event == {
            "e": "trade", "E": (trade.time_us + 1_000) // 1_000, "s": "BTCUSDT", "t": trade.id, "p": trade.price,
            "q": trade.qty, "T": trade.time_us // 1_000, "m": trade.buyer_is_maker, "M": True,
        }  # fmt: skip
    ids = [event["t"] for event in events]
    assert ids == list(range(ids[0], ids[0] + 200))
    assert ids[-1] in exchange.sent("BTCUSDT")


async def test_raw_frames_have_no_envelope_and_times_can_be_microseconds(exchange):
    async with socket(exchange, "/ws/btcusdt%40trade?timeUnit=MICROSECOND") as wire:
        (event,) = await take(wire, 1)
    assert event["e"] == "trade" and event["T"] == exchange.market.trade("BTCUSDT", event["t"]).time_us


async def test_subscribing_later_and_leaving_again(exchange):
    async with socket(exchange, "/ws") as wire:
        await wire.send('{"method":"SUBSCRIBE","params":["ethusdt@aggTrade","nope@trade"],"id":1}')
        assert (await data_until(wire, lambda frame: frame.get("id") == 1))[-1] == {"result": None, "id": 1}
        assert (await take(wire, 1))[0]["e"] == "aggTrade"
        await wire.send('{"method":"UNSUBSCRIBE","params":["ethusdt@aggTrade"],"id":2}')
        await data_until(wire, lambda frame: frame.get("id") == 2)
        await wire.send('{"method":"LIST_SUBSCRIPTIONS","id":3}')
        assert await take(wire, 1) == [{"result": ["nope@trade"], "id": 3}]


async def test_events_of_several_streams_come_in_order_of_time(exchange):
    async with socket(exchange, "/stream?streams=btcusdt@trade/ethusdt@trade") as wire:
        times = [frame["data"]["T"] for frame in await take(wire, 300)]
    assert times == sorted(times)


async def test_a_second_of_klines_closes_with_every_trade_in_it(exchange):
    async with socket(exchange, "/ws/btcusdt@kline_1s") as wire:
        done = (await data_until(wire, lambda event: event["k"]["x"]))[-1]["k"]
        (after,) = [event["k"] for event in await data_until(wire, lambda event: event["k"]["x"]) if event["k"]["x"]]
    trades = list(exchange.trades("BTCUSDT", done["f"], done["L"]))
    assert done["n"] == len(trades) == done["L"] - done["f"] + 1
    assert {trade.time_us // 1_000_000 for trade in trades} == {done["t"] // 1_000}
    assert (after["t"], after["f"]) == (done["T"] + 1, done["L"] + 1)


async def test_the_market_trades_on_while_nobody_listens_and_rest_has_it_all(exchange):
    async with socket(exchange) as wire:
        before = (await take(wire, 1))[0]["data"]["t"]
    async with socket(exchange) as wire:
        after = (await take(wire, 1))[0]["data"]["t"]
    assert after > before + 1
    rows = (await get(exchange, f"/api/v3/historicalTrades?symbol=BTCUSDT&fromId={before + 1}&limit=1000")).json()
    assert [row["id"] for row in rows][: after - before] == list(range(before + 1, after + 1))[:1000]


async def test_a_halted_market_has_told_its_last_trade(exchange):
    async with socket(exchange) as wire:
        await take(wire, 1)
        exchange.halt()
        last = exchange.sent("BTCUSDT")[-1]
        frames = await data_until(wire, lambda frame: frame["data"]["t"] == last)
    assert frames[-1]["data"]["t"] == exchange.sent("BTCUSDT")[-1]


async def test_a_pair_with_a_name_of_any_script_trades():
    async with open_exchange(pairs=["币安人生USDT"]) as exchange, socket(exchange, "/ws") as wire:
        await wire.send('{"method":"SUBSCRIBE","params":["币安人生usdt@trade"],"id":1}')
        events = await data_until(wire, lambda event: "s" in event)
    assert events[-1]["s"] == "币安人生USDT"


# Its limits.


async def test_more_than_five_messages_a_second_end_the_connection(exchange):
    async with socket(exchange, "/ws") as wire:
        for number in range(6):
            await wire.send(f'{{"method":"LIST_SUBSCRIPTIONS","id":{number}}}')
        assert await closed(wire) == (1008, "Too many requests")


async def test_pings_of_the_client_count_as_messages(exchange):
    async with socket(exchange, "/ws") as wire:
        for _ in range(6):
            await wire.ping()
        assert await closed(wire) == (1008, "Too many requests")


async def test_a_long_control_message_ends_the_connection(exchange):
    async with socket(exchange, "/ws") as wire:
        await wire.send(json.dumps({"method": "SUBSCRIBE", "params": ["x" * 4_100], "id": 1}))
        assert (await closed(wire))[0] == 3001


async def test_the_stream_after_the_last_allowed_one_ends_the_connection(exchange):
    async with socket(exchange, "/ws") as wire:
        for part in range(4):
            names = [f"{part}{number}@trade" for number in range(257)]
            await wire.send(json.dumps({"method": "SUBSCRIBE", "params": names, "id": part}, separators=(",", ":")))
        assert (await closed(wire))[0] == 1008


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/stream?streams=" + "x" * 8_000, 414),
        ("/ws?timeUnit=YEAR", 400),
        ("/ws/" + "/".join(map(str, range(1_025))), 400),
    ],
)
async def test_an_address_that_is_too_long_or_unknown_is_refused(exchange, path, status):
    with pytest.raises(InvalidStatus) as refused:
        await socket(exchange, path)
    assert refused.value.response.status_code == status


async def test_too_many_connects_are_refused():
    async with open_exchange(connects=2) as exchange:
        async with socket(exchange), socket(exchange):
            with pytest.raises(InvalidStatus) as refused:
                await socket(exchange)
        assert refused.value.response.status_code == 429
        assert (exchange.connects, len(exchange.attempts)) == (2, 3)


async def test_pings_come_and_their_pong_keeps_the_connection():
    slow = open_exchange(ping_s=0.21, pong_s=0.6, rate=5.0)
    async with slow as exchange, raw_client(exchange, "/ws") as (reader, writer):
        for _ in range(4):
            head, length = await reader.readexactly(2)
            payload = await reader.readexactly(length)
            assert head == 0x89 and payload.isdigit()
            writer.write(pong(payload))
        assert exchange.connections == 1


async def test_without_a_pong_the_connection_is_closed():
    strict = open_exchange(ping_s=0.02, pong_s=0.1, rate=5.0)
    async with strict as exchange, raw_client(exchange, "/ws") as (reader, writer):
        writer.write(pong(b"an unsolicited pong does not help"))
        await reader.readuntil(struct.pack("!BBH", 0x88, 14, 1008) + b"Pong timeout")


async def test_a_connection_lives_for_a_day_of_the_exchanges_time():
    day_s = 24 * 3_600
    async with open_exchange(life_s=day_s, speed=day_s * 20.0, rate=0.1) as exchange, socket(exchange, "/ws") as wire:
        assert (await closed(wire))[0] == 1001


def pong(payload):
    """A masked pong; a mask of zeros leaves the payload as it is."""
    return bytes((0x8A, 0x80 | len(payload))) + b"\0\0\0\0" + payload


@asynccontextmanager
async def raw_client(exchange, path):
    """A websocket without a library: it answers nothing by itself."""
    reader, writer = await asyncio.open_connection("127.0.0.1", exchange.port)
    key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13"
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{key}\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionResetError):
            await writer.wait_closed()


# What goes wrong on request.


async def test_drop_ends_the_connection_without_a_close_frame(exchange):
    async with socket(exchange) as wire:
        await take(wire, 1)
        exchange.faults.inject("drop")
        assert exchange.connections == 0
        assert await closed(wire) == (1006, "")


async def test_drop_is_a_reset(exchange):
    async with raw_client(exchange, "/ws") as (reader, _):
        exchange.faults.inject("drop")
        with pytest.raises(ConnectionResetError):
            await reader.read(-1)


async def test_drop_can_be_limited_to_some_connections(exchange):
    async with socket(exchange, "/ws"), socket(exchange, "/ws"), socket(exchange, "/ws"):
        exchange.faults.inject("drop,only=2")
        assert exchange.connections == 1


async def test_close_sends_its_code_and_reason(exchange):
    async with socket(exchange) as wire:
        exchange.faults.inject("close", code=1012, reason="restart")
        assert await closed(wire) == (1012, "restart")


async def test_halfopen_is_silent_and_answers_no_ping(exchange):
    async with socket(exchange, ping_interval=None) as wire:
        await take(wire, 1)
        exchange.faults.inject("halfopen")
        answer = await wire.ping()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                while True:
                    await wire.recv()
        assert not answer.done() and exchange.connections == 0
        async with socket(exchange) as fresh:
            await take(fresh, 1)


async def test_halfopen_with_a_length_ends_in_a_reset_and_takes_new_connections_along(exchange):
    exchange.faults.inject("halfopen,for=200ms")
    async with socket(exchange) as wire:
        assert exchange.connections == 0
        assert await closed(wire) == (1006, "")
    async with socket(exchange) as wire:
        await take(wire, 1)


@pytest.mark.parametrize(
    ("path", "key", "name"), [("/ws", "e", "serverShutdown"), ("/stream", "stream", "!serverShutdown")]
)
async def test_shutdown_is_announced_before_the_close(exchange, path, key, name):
    async with socket(exchange, path) as wire:
        exchange.faults.inject("shutdown,lead=50ms")
        (event,) = await take(wire, 1)
        assert event[key] == name
        assert (await closed(wire))[0] == 1001


async def test_refuse_means_that_nobody_listens_until_it_is_over(exchange):
    port = exchange.port
    async with socket(exchange) as wire:
        exchange.faults.inject("refuse")
        await take(wire, 200)
        with pytest.raises(OSError, match="Connect call failed"):
            await socket(exchange)
        exchange.faults.clear()
        await take(wire, 200)
        async with socket(exchange) as again:
            await take(again, 1)
    assert exchange.port == port


@pytest.mark.parametrize("status", [403, 418, 429, 503])
async def test_handshakes_can_be_refused_with_a_status(exchange, status):
    exchange.faults.inject("handshake", status=status, retry_after=7, count=1)
    with pytest.raises(InvalidStatus) as refused:
        await socket(exchange)
    assert refused.value.response.status_code == status
    assert refused.value.response.headers["Retry-After"] == "7"
    async with socket(exchange) as wire:
        await take(wire, 1)


async def test_accept_close_lets_in_and_resets(exchange):
    exchange.faults.inject("accept_close", count=1)
    with pytest.raises((ConnectionClosed, InvalidMessage, EOFError, OSError)):
        async with socket(exchange) as wire:
            await wire.recv()
    assert exchange.connects == 1


async def trade_ids(exchange, count=400):
    async with socket(exchange) as wire:
        return [frame["data"]["t"] for frame in await take(wire, count)]


async def test_duplicates_come_twice_in_a_row(exchange):
    exchange.faults.inject("duplicate:10%")
    ids = await trade_ids(exchange)
    twice = [trade_id for trade_id in set(ids) if ids.count(trade_id) == 2]
    assert 10 < len(twice) < 90
    assert sorted(set(ids)) == list(range(min(ids), max(ids) + 1))


async def test_swapped_neighbours_are_all_there(exchange):
    exchange.faults.inject("swap:10%")
    ids = await trade_ids(exchange)
    assert ids != sorted(ids)
    assert all(abs(trade_id - ids[0] - place) <= 4 for place, trade_id in enumerate(ids))


async def test_late_events_arrive_out_of_order(exchange):
    exchange.faults.inject("late:5%,by=50ms")
    ids = await trade_ids(exchange, 800)
    assert ids != sorted(ids) and len(set(ids)) == 800


async def test_skipped_events_are_in_rest(exchange):
    exchange.faults.inject("skip:5%")
    ids = await trade_ids(exchange)
    missing = sorted(set(range(ids[0], ids[-1])) - set(ids))
    assert missing
    rows = (await get(exchange, f"/api/v3/historicalTrades?symbol=BTCUSDT&fromId={missing[0]}&limit=1")).json()
    assert rows[0]["id"] == missing[0]


async def test_holes_are_neither_on_the_stream_nor_in_rest(exchange):
    exchange.faults.inject("hole:5%")
    ids = await trade_ids(exchange)
    missing = sorted(set(range(ids[0], ids[-1])) - set(ids))
    assert missing
    rows = (await get(exchange, f"/api/v3/historicalTrades?symbol=BTCUSDT&fromId={ids[0]}&limit=400")).json()
    told = {row["id"] for row in rows}
    assert told.isdisjoint(missing)
    assert [trade.id for trade in exchange.trades("BTCUSDT", ids[0], ids[-1])] == ids


@pytest.mark.parametrize(
    ("fault", "spoiled"),
    [
        ("extra", lambda frame: "zz" in frame["data"]),
        ("missing,field=p", lambda frame: "p" not in frame["data"]),
        ("mistype,field=q", lambda frame: isinstance(frame["data"]["q"], list)),
        ("unknown", lambda frame: frame["data"]["e"] == "tradeV9"),
    ],
)
async def test_one_event_can_be_of_another_schema(exchange, fault, spoiled):
    async with socket(exchange) as wire:
        exchange.faults.inject(fault)
        seen = await data_until(wire, spoiled)
        (after,) = await take(wire, 1)
    assert not spoiled(after) and not any(spoiled(frame) for frame in seen[:-1])


async def test_garbage_comes_beside_good_frames(exchange):
    exchange.faults.inject("garbage:50%")
    bad = good = 0
    async with socket(exchange) as wire:
        for _ in range(200):
            try:
                json.loads(await wire.recv(decode=False))
            except (ValueError, RecursionError):
                bad += 1
            else:
                good += 1
    assert bad > 20 and good > 100


async def test_a_giant_frame_is_as_large_as_asked(exchange):
    exchange.faults.inject("giant", bytes=2_000_000)
    async with socket(exchange) as wire:
        assert len(await wire.recv()) == 2_000_000


async def test_a_silent_stream_is_acknowledged(exchange):
    exchange.faults.inject("silent,pair=BTCUSDT")
    async with socket(exchange, "/stream?streams=btcusdt@trade/ethusdt@trade") as wire:
        assert {frame["stream"] for frame in await take(wire, 100)} == {"ethusdt@trade"}


async def test_rest_can_fail_in_many_ways(exchange):
    exchange.faults.inject("rest,answer=429,retry_after=3,count=1")
    refused = await get(exchange, "/api/v3/time")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "3")
    exchange.faults.inject("rest,answer=junk,count=1")
    assert (await get(exchange, "/api/v3/time")).text.startswith("<html>")
    exchange.faults.inject("rest,answer=huge,bytes=100000,count=1")
    assert len((await get(exchange, "/api/v3/time")).json()) > 10_000
    exchange.faults.inject("rest,answer=cut,count=1")
    with pytest.raises(httpx2.TransportError):
        await get(exchange, "/api/v3/time")
    assert (await get(exchange, "/api/v3/time")).status_code == 200
    assert [asked.status for asked in exchange.requests] == [429, 200, 200, 0, 200]


async def test_coingecko_fails_apart_from_the_exchange(exchange):
    exchange.faults.inject("coingecko,answer=503")
    assert (await get(exchange, "/coingecko/api/v3/ping")).status_code == 503
    assert (await get(exchange, "/api/v3/ping")).status_code == 200


async def test_slow_rest_waits_and_control_does_not():
    clock = ManualClock()
    async with open_exchange(clock=clock, rate=1.0) as exchange:
        exchange.faults.inject("slow,by=30s,count=1")
        asked_at = clock.monotonic()
        assert (await get(exchange, "/sim/stats")).status_code == 200
        assert (await get(exchange, "/api/v3/ping")).status_code == 200
        assert clock.monotonic() - asked_at >= 30


async def test_a_slow_answer_does_not_hold_up_the_end():
    async with asyncio.timeout(10), httpx2.AsyncClient(trust_env=False) as client:
        async with open_exchange() as exchange:
            exchange.faults.inject("slow,by=1h")
            asked = asyncio.create_task(client.get(exchange.rest_url + "/api/v3/ping", timeout=None))
            while not exchange.faults.active[0].fired:
                await SystemClock().sleep(0)
        assert (await asked).status_code == 200


async def test_faults_can_be_steered_over_http(exchange):
    (fault,) = (await get(exchange, "/sim/faults?inject=duplicate:10%25,pair=BTCUSDT")).json()
    assert (fault["fault"], fault["chance"], fault["pair"]) == ("duplicate", 0.1, "BTCUSDT")
    wrong = await get(exchange, "/sim/faults?inject=dorp")
    assert (wrong.status_code, wrong.json()["hint"]) == (400, 'did you mean "drop"?')
    assert (await get(exchange, f"/sim/faults?clear={fault['id']}")).json() == []
    assert "halfopen" in (await get(exchange, "/sim/kinds")).json()


# A tape, and its life.


def tape_line(number):
    words = (
        f'{{"e":"trade","E":1723161254{number:03d},"s":"BTCUSDT","t":{number},"p":"1.00000000","q":"1.00000000",'
        f'"T":1723161254{number:03d},"m":true,"M":true}}'
    )
    return f'{1_723_161_254_000_000_000 + number * 1_000_000} {{"stream":"btcusdt@trade","data":{words}}}\n'


async def test_a_tape_plays_to_whoever_subscribes_and_rest_knows_its_trades(tmp_path):
    (tmp_path / "tape.raw").write_text("".join(map(tape_line, range(500))))
    async with LocalExchange(tape=tmp_path / "tape.raw", speed=10.0) as exchange:
        assert exchange.pairs == ("BTCUSDT",)
        async with socket(exchange) as wire:
            assert [frame["data"]["t"] for frame in await take(wire, 500)] == list(range(500))
        rows = (await get(exchange, "/api/v3/historicalTrades?symbol=BTCUSDT&fromId=10&limit=1000")).json()
        assert [row["id"] for row in rows] == list(range(10, 500))


async def test_a_taken_port_is_told_plainly(exchange):
    with pytest.raises(Unreachable, match=f"cannot listen on 127.0.0.1:{exchange.port}"):
        async with LocalExchange(port=exchange.port):
            pass


async def test_a_speed_that_makes_no_sense_is_refused():
    with pytest.raises(UsageError, match="speed"):
        LocalExchange(speed=0)


async def test_it_leaves_no_task_behind():
    before = asyncio.all_tasks()
    async with open_exchange() as exchange, socket(exchange) as wire:
        await take(wire, 1)
        exchange.faults.inject("halfopen")
    assert asyncio.all_tasks() == before
