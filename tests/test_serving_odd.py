"""What a broken writer leaves on the bus ends no look: it is left out, and everything else is shown."""

import json
import time
from collections.abc import AsyncIterator
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from cryptostream.bus import admin, glance
from cryptostream.bus.connect import connect
from cryptostream.engine.clock import SystemClock
from cryptostream.errors import BusUnavailable, UsageError
from cryptostream.testing import ManualClock
from cryptostream.wiring.serving import named
from tests.client.conftest import T0_MS
from tests.test_serving import MINUTE_MS, Served, configured, kline, signal

LAST = 2**64 - 1
BROKEN = {
    "no JSON": "{",
    "no object": "[1]",
    "texts for numbers": '{"ingest": {"total_messages": "many"}}',
    "numbers for texts": '{"host": 7}',
    "no number": '{"lag_ms": NaN}',
    "a float that is none": '{"lag_ms": 1e999}',
    "a float whose rate is none": '{"publisher": {"publish_count": 1e308}, "at": 5}',
    "more than a float holds": json.dumps({"ingest": {"total_messages": 10**400}}),
    "deep": '{"latency": ' + "[" * 5_000 + "]" * 5_000 + "}",
    "deep in what nobody knows": '{"x": ' + "[" * 5_000 + "]" * 5_000 + "}",
    "large": json.dumps({"trouble": "x" * 20_000}),
}
TRADE = {
    "exchange": "binance",
    "pair": "BTCUSDT",
    "price": "7.0",
    "qty": "1.0",
    "ts": "2024-11-14T17:30:00.000000",
    "side": "buy",
    "trade_id": "9",
}
ODD_TRADES = {
    "no fields": {"a": "b"},
    "no number": TRADE | {"price": "nan"},
    "no end": TRADE | {"price": "inf"},
    "beyond floats": TRADE | {"price": "1e999", "qty": "1e999"},
    "a quantity that is none": TRADE | {"qty": "much"},
    "negative": TRADE | {"price": "-7", "qty": "-1"},
    "no time": TRADE | {"ts": "soon"},
    "a time beyond years": TRADE | {"ts": "9999-12-31T23:59:59-05:00"},
    "a time before years": TRADE | {"ts": "0001-01-01T00:00:00+05:00"},
    "the last month that there is": TRADE | {"ts": "9999-12-31T23:59:59"},
    "no side": TRADE | {"side": "<b>"},
    "a long id": TRADE | {"trade_id": "9" * 5000},
}


@pytest.fixture
async def served(bus_url: str, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Served]:
    async with connect(bus_url, data_dir=tmp_path, clock=SystemClock()) as bus:
        yield Served(configured(bus_url, tmp_path), bus, clock)


async def everything(served: Served) -> None:
    """Every probe answers, and what it answers can be written as JSON that anybody reads."""
    probes = served.probes
    for found in (probes.quotes(), probes.streams(), probes.groups(), probes.consumers(), probes.strategies()):
        for one in found:
            _check_json(one)
    for one in (probes.health(), probes.pipeline(), probes.realtime(), probes.about()):
        _check_json(one)
    msgspec.json.encode(probes.stats())
    assert probes.metrics("")[0]
    for found in (await probes.letters(), await probes.signals(None)):
        for one in found:
            _check_json(one)


def _check_json(body: Any) -> None:
    type(body).model_validate_json(body.model_dump_json())


@pytest.mark.parametrize("sequence", ["9223372036854775807-1", f"{LAST}-{LAST}"])
async def test_id_that_is_no_date_ends_no_look(served: Served, sequence: str) -> None:
    await served.ingests()
    for stream in ("other", "trades:BTCUSDT", "klines:BTCUSDT:1m", "signals:macd_rsi:BTCUSDT", "dlq:g"):
        await served.market.add(stream, sequence, dict(TRADE))
    await served.look(2)
    assert [(one.stream, one.last) for one in served.probes.streams() if one.stream == "other"] == [("other", None)]
    await everything(served)
    for interval in ("1m", "1M", "tick:1"):
        assert await served.probes.bars("BTCUSDT", interval) is not None
    assert await served.probes.trades("BTCUSDT")


@pytest.mark.parametrize("fields", ODD_TRADES.values(), ids=ODD_TRADES.keys())
async def test_trade_that_is_none_is_left_out(served: Served, fields: dict[str, str]) -> None:
    await served.ingests(followed=["binance:BTCUSDT"])
    await served.market.trades("BTCUSDT", 1, 2)
    await served.market.add("trades:BTCUSDT", f"{T0_MS + 3000}-3", fields)
    await served.look(2)
    await everything(served)
    told = [(one.trade_id, one.price, one.qty) for one in await served.probes.trades("BTCUSDT")]
    assert told[:2] == [(1, "1.00000000", "1.00000000"), (2, "2.00000000", "1.00000000")]
    assert all(isfinite(float(text)) for _, *numbers in told for text in numbers if text is not None)
    assert served.quote().qty in ("1.00000000", "1.0", "-1", None)
    for interval in ("1M", "1m"):
        (bar,) = await served.probes.bars("BTCUSDT", interval)
        assert (bar.open, bar.high >= 2.0) == (1.0, True)
        _check_json(bar)
    await served.market.trades("BTCUSDT", 61)
    assert [one.close for one in await served.probes.bars("BTCUSDT", "1m")][-1] == 61.0


@pytest.mark.parametrize("odd", [{"close": "nan"}, {"open_time": str(10**18)}, {"open_time": "-5"}, {"ts": "soon"}])
async def test_kline_that_is_none_is_left_out(served: Served, odd: dict[str, str]) -> None:
    await kline(served.bus, 0, 50)
    [(_, fields)] = await served.market.entries("klines:BTCUSDT:1m")
    closes = T0_MS + 2 * MINUTE_MS - 1
    await served.market.add("klines:BTCUSDT:1m", f"{closes}-1", fields | {"open_time": str(closes - 59_999)} | odd)
    await served.look()
    assert await served.probes.bars("BTCUSDT", "1m") == []
    await kline(served.bus, 2, 52)
    await served.look()
    assert [bar.close for bar in await served.probes.bars("BTCUSDT", "1m")] == [50.0, 52.0]


@pytest.mark.parametrize("odd", [{"price": "nan"}, {"strength": "inf"}, {"ts": "soon"}, {"side": "<b>"}])
async def test_signal_that_is_none_is_left_out(served: Served, odd: dict[str, str]) -> None:
    await signal(served.bus, "5-1")
    await signal(served.bus, "6-1", **odd)
    await served.bus.command.xadd("signals:macd_rsi:BTCUSDT", {"a": "b"}, id="7-1")
    await served.look()
    assert [one.id for one in await served.probes.signals(None)] == ["5-1"]


async def test_indicators_and_letters_that_are_odd_are_harmless(served: Served) -> None:
    await served.market.trades("BTCUSDT", 1)
    fields: dict[Any, Any] = {"ts": "soon", "price": "nan", "interval": "1m", **{f"s.{n}": "1" for n in range(9)}}
    await served.bus.command.hset("indicators:BTCUSDT", mapping=fields)
    await served.bus.command.xadd("dlq:g", {"ts": "soon", "deliveries": "9" * 5000, "error": "no"})
    await served.look()
    assert await served.probes.indicators("BTCUSDT") == []
    [letter] = await served.probes.letters()
    assert (letter.error, letter.ts) == ("no", None)


async def test_counters_that_cannot_be_read_are_told_of_once(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "_LARGEST", 16_000)
    admin._unread.cache_clear()
    await served.ingests()
    keys = {f"stats:ingest:{number}:1": text for number, text in enumerate(BROKEN.values())}
    keys["stats:consume:b:1"] = BROKEN["deep in what nobody knows"]
    for key, text in keys.items():
        await served.bus.command.hset(key, "json", text)
    with capture_logs() as told:
        await served.look(3)
    assert [one.process for one in served.probes.pipeline().ingesters] == ["a:1"]
    assert sorted(line["counters"] for line in told if line["event"] == "bus.counters_unreadable") == sorted(keys)
    await everything(served)


async def test_counters_that_lie_are_harmless(served: Served) -> None:
    huge = 2**63 - 1
    facts: dict[str, Any] = {
        "ingest": {"active_connections": huge, "total_messages": -huge},
        "publisher": {"spool_bytes": huge, "publish_count": 1e18, "troubled": 1},
        "latency": [-5],
        "lag_ms": 1e18,
        "followed": ["binance:BTCUSDT", "nonsense", "a:b:c", "binance:<b>"],
        "unwell": [
            {"exchange": "binance", "channel": "trades", "pair": "BTCUSDT", "state": "<b>", "gap_from": 10**300}
        ],
        "trouble": "x" * 100_000,
    }
    await served.ingests(latency=[0, 100, *[0] * 14])
    for at in (1, 2):
        await served.ingests(host="b", at=at, **facts)
        await served.look()
    assert [(quote.pair, quote.state) for quote in served.probes.quotes()] == [("BTCUSDT", "silent")]
    assert served.probes.pipeline().latency.p50_ms == 0.75
    assert max(map(len, served.wrong)) < 1_000
    await everything(served)


async def test_parameters_that_are_nested_too_deep_are_not_shown(served: Served) -> None:
    deep: list[Any] = []
    for _ in range(400):
        deep = [deep]
    row = {"name": "g", "state": "running", "strategies": {"m": "macd_rsi"}, "parameters": {"m": {"a": deep, "b": [1]}}}
    await served.bus.command.hset("stats:consume:b:1", "json", json.dumps({"host": "b", "consumers": [row]}))
    await served.look()
    assert served.probes.strategies()[0].parameters == {"b": [1]}
    await everything(served)


@pytest.mark.parametrize("name", ["trades:", "trades::", "trades:<b>", "trades:a:b c", "klines:<b>:1m", "signals:x:"])
async def test_stream_of_a_name_that_nobody_could_ask_for_is_no_pair(served: Served, name: str) -> None:
    await served.market.add(name, "5-1", TRADE)
    await served.look()
    assert ([one.stream for one in served.probes.streams()], served.probes.quotes()) == ([name], [])
    await everything(served)


def test_entry_of_many_fields_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glance, "MOST_FIELDS", 2)
    raw = [b"5-1", [b"price", b"7.0", b"qty", b"1", b"side", b"buy"]]
    assert glance.entry("s", raw).fields == {"price": "7.0", "qty": "1"}
    assert (glance.field(raw, b"qty"), glance.field(raw, b"side")) == ("1", None)


async def test_prices_that_lie_far_apart_make_no_change(served: Served) -> None:
    await served.market.add("trades:BTCUSDT", f"{T0_MS}-1", TRADE | {"price": "1e-300"})
    await served.look()
    await served.market.add("trades:BTCUSDT", f"{T0_MS + 1}-1", TRADE | {"price": "1e300"})
    await served.look()
    assert (served.quote().price, served.quote().change) == ("1e300", None)


async def test_stream_that_took_the_name_of_another_is_quoted(served: Served) -> None:
    await served.market.trades("BTCUSDT", 9)
    await served.look()
    await served.bus.command.delete("trades:BTCUSDT")
    await served.market.trades("BTCUSDT", 5)
    await served.board.refresh()
    assert served.quote().price == "5.00000000"


async def test_more_streams_than_one_can_follow_are_refused_before_anything_is_read(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served.market.trades("BTCUSDT", 1)
    await served.market.trades("ETHUSDT", 1)
    await served.look()
    monkeypatch.setattr(named, "MOST_STREAMS", 1)
    with pytest.raises(UsageError, match="2 streams match"):
        served.probes.events(["trades:*"])
    served.probes.events(["trades:BTC*", "signals:?", "trades:BTCUSDT"])
    named.pattern("a" * 200)
    with pytest.raises(UsageError, match="not a stream"):
        served.probes.events(["a" * 201])


async def test_globs_of_many_wildcards_are_matched_fast() -> None:
    began = time.process_time()
    named.check_few(["*a*a*a*b"] * 50, ["a" * 200] * 200)
    assert time.process_time() - began < 1


async def test_after_an_outage_everything_is_looked_up_anew_and_nobody_is_taken_for_gone(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served.ingests()
    await served.market.trades("BTCUSDT", 1)
    await served.look()
    streams = served.board._glance.streams

    async def away(_: Any) -> Any:
        raise BusUnavailable("no answer")

    monkeypatch.setattr(served.board._glance, "streams", away)
    await served.board.attempt()
    assert not served.probes.health().redis_connected
    served.clock.advance(60)  # nobody could count
    await served.board.attempt()
    monkeypatch.setattr(served.board._glance, "streams", streams)
    await served.bus.command.delete("trades:BTCUSDT")
    await served.market.trades("ETHUSDT", 1)
    await served.board.attempt()
    assert (served.probes.health().status, [one.pair for one in served.probes.quotes()]) == ("ok", ["ETHUSDT"])
