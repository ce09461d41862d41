"""Binance's klines over REST become the records that the websocket would have given."""

import json
from typing import Any

import pytest

from cryptostream.errors import BadFrame
from cryptostream.model.events import KlineRecord, Micros
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.sim.faults import Faults
from cryptostream.sim.market import Market
from cryptostream.sim.rest import Rest
from cryptostream.testing import ManualClock
from cryptostream.venues.binance import Binance
from cryptostream.venues.binance.candles import klines, klines_request

SECONDS = Subscription("binance", Channel.KLINES, "BTCUSDT", Interval.S1)
OPEN = 1_733_561_823_000
# The closed second of web-socket-streams.md's frame in ../shared/venues/binance.md, as REST tells it.
ROW = (
    f'[{OPEN},"99512.02000000","99512.02000000","99512.01000000","99512.02000000","0.00701000",{OPEN + 999},'
    '"697.57925570",4,"0.00656000","652.79885120","0"]'
)
FRAME = (
    '{"stream":"btcusdt@kline_1s","data":{"e":"kline","E":1733561824006,"s":"BTCUSDT","k":{"t":1733561823000,'
    '"T":1733561823999,"s":"BTCUSDT","i":"1s","f":4222889129,"L":4222889132,"o":"99512.02000000",'
    '"c":"99512.02000000","h":"99512.02000000","l":"99512.01000000","v":"0.00701000","n":4,"x":true,'
    '"q":"697.57925570","V":"0.00656000","Q":"652.79885120","B":"0"}}}'
)


def at(ms_after_open: int) -> int:
    return (OPEN + ms_after_open) * 1_000_000


def row(**changed: Any) -> list[Any]:
    """The row, with some of its places changed: `row(p1="0")`."""
    cells: list[Any] = json.loads(ROW)
    for place, value in changed.items():
        cells[int(place[1:])] = value
    return cells


def read(*rows: list[Any], received_at: int = at(60_000)) -> list[KlineRecord]:
    return klines(SECONDS, json.dumps(rows).encode(), received_at, raw_json=False)


def test_klines_are_asked_for_by_their_open_time_at_a_weight_of_two() -> None:
    request = klines_request("https://api.binance.com", SECONDS, OPEN, limit=5000)
    assert request.url == "https://api.binance.com/api/v3/klines"
    assert request.params == {"symbol": "BTCUSDT", "interval": "1s", "startTime": str(OPEN), "limit": "1000"}
    assert request.weight == 2


def test_a_row_is_the_kline_that_the_websocket_tells() -> None:
    session = Binance(raw_json=False).session([SECONDS])
    (live,) = session.receive(FRAME.encode(), at(1_010))
    (fetched,) = read(row())
    assert isinstance(live, KlineRecord)
    different = {name for name in KlineRecord.__struct_fields__ if getattr(live, name) != getattr(fetched, name)}
    assert different == {"ts"}
    assert fetched.ts == Micros((OPEN + 999) * 1000)


def test_the_row_is_kept_as_it_was_sent() -> None:
    payload = f"[{ROW}, {ROW.replace(str(OPEN), str(OPEN + 1000)).replace(str(OPEN + 999), str(OPEN + 1999))}]"
    kept = [kline.raw_json for kline in klines(SECONDS, payload.encode(), at(0), raw_json=True)]
    assert kept[0] == ROW
    assert f"[{kept[0]}, {kept[1]}]" == payload


def test_microseconds_are_told_from_milliseconds_by_their_size() -> None:
    (kline,) = read(row(p0=OPEN * 1000, p6=OPEN * 1000 + 999_999))
    assert (kline.open_time, kline.close_time, kline.ts) == (OPEN, OPEN + 999, OPEN * 1000 + 999_999)


@pytest.mark.parametrize(("received_ms", "closed"), [(500, False), (1_000, False), (10_999, False), (11_000, True)])
def test_the_last_row_is_closed_ten_seconds_after_its_end(received_ms: int, closed: bool) -> None:
    (kline,) = read(row(), received_at=at(received_ms))
    assert kline.closed is closed


def test_the_kline_still_open_has_the_time_of_the_answer() -> None:
    (kline,) = read(row(), received_at=at(500))
    assert kline.ts == (OPEN + 500) * 1000


def test_a_row_that_another_one_follows_is_closed_whatever_our_clock_says() -> None:
    first, second = read(row(), row(p0=OPEN + 1000, p6=OPEN + 1999), received_at=at(0))
    assert (first.closed, second.closed) == (True, False)


def test_a_window_without_trades_is_a_kline() -> None:
    (kline,) = read(row(p5="0.00000000", p7="0.00000000", p8=0, p9="0.00000000", p10="0.00000000"))
    assert (kline.trades, kline.volume) == (0, "0.00000000")


def test_an_answer_without_rows_has_no_klines() -> None:
    assert read() == []


@pytest.mark.parametrize(
    "payload",
    [
        b"<html>",
        b'{"code":-1121,"msg":"Invalid symbol."}',
        json.dumps([row()[:11]]).encode(),
        json.dumps([row(p1="0.00000000")]).encode(),
        json.dumps([row(p2="1e5")]).encode(),
        json.dumps([row(p4=99512.02)]).encode(),
        json.dumps([row(p5="-1")]).encode(),
        json.dumps([row(p8=-4)]).encode(),
        json.dumps([row(p0=OPEN + 10**9, p6=OPEN + 10**9 + 999)]).encode(),
        json.dumps([row(), row()]).encode(),
        json.dumps([row(p0=OPEN + 1000, p6=OPEN + 1999), row()]).encode(),
        b'[[1733561823000,"1","1","1","1","\xff",1733561823999,"1",4,"1","1","0"]]',
        b"[" * 100_000,
    ],
    ids=[
        *("html", "an error", "a row too short", "a price of zero", "an exponent", "a float", "a negative volume"),
        *("a negative count", "the future", "twice", "backwards", "not UTF-8", "deep"),
    ],
)
def test_what_is_no_list_of_klines_is_refused(payload: bytes) -> None:
    with pytest.raises(BadFrame):
        klines(SECONDS, payload, at(60_000), raw_json=True)


async def test_the_local_exchanges_klines_are_read() -> None:
    opened_us = 1_790_000_000_000_000
    now_us = opened_us + 600_500_000
    market = Market(1, ["BTCUSDT"], rate=2.0, opened_us=opened_us)
    clock = ManualClock()
    rest = Rest(market, Faults(1, clock.monotonic), clock=clock, now_us=lambda: now_us)
    request = klines_request("", SECONDS, now_us // 1000 - 10_000)
    query = "&".join(f"{name}={value}" for name, value in request.params.items())
    answer = await rest.answer("klines", query)
    found = klines(SECONDS, answer.body, now_us * 1000, raw_json=True)
    assert [kline.closed for kline in found] == [True] * 9 + [False]
