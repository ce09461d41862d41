"""Binance's trades over REST: what is asked, what it costs, and that a row passes no easier than a frame."""

import json

import pytest

from cryptostream.errors import BadFrame
from cryptostream.model.events import TradeRecord
from cryptostream.model.instrument import Channel, Interval, Subscription
from cryptostream.venues.base import Rule
from cryptostream.venues.binance import Binance

BTC = Subscription("binance", Channel.TRADES, "BTCUSDT")
CHINESE = Subscription("binance", Channel.TRADES, "币安人生USDT")
AGG = Subscription("binance", Channel.AGG_TRADES, "BTCUSDT")
NOW = 1_795_000_000_000_000_000
ROW = (
    b'{"id":28457,"price":"4.00000100","qty":"12.00000000","quoteQty":"48.000012","time":1499865549590,'
    b'"isBuyerMaker":true,"isBestMatch":true}'
)
AGG_ROW = b'{"a":26129,"p":"0.01633102","q":"4.70443515","f":27781,"l":27781,"T":1498793709153,"m":false,"M":true}'


@pytest.fixture
def binance() -> Binance:
    return Binance()


def page(*rows: bytes) -> bytes:
    return b"[" + b",".join(rows) + b"]"


def changed(row: bytes, **fields: object) -> bytes:
    return page(json.dumps(json.loads(row) | fields).encode())


def test_ids_of_trades_and_aggregates_are_contiguous_and_klines_have_none(binance: Binance) -> None:
    assert [binance.rule(channel) for channel in (Channel.TRADES, Channel.AGG_TRADES, Channel.KLINES)] == [
        Rule.CONTIGUOUS,
        Rule.CONTIGUOUS,
        Rule.NONE,
    ]


def test_trades_are_asked_from_an_id_on(binance: Binance) -> None:
    request = binance.trades_request(BTC, 17, 300)
    assert request is not None
    assert request.url == "https://api.binance.com/api/v3/historicalTrades"
    assert request.params == {"symbol": "BTCUSDT", "fromId": "17", "limit": "300"}
    assert request.weight == 25


def test_aggregates_are_asked_by_their_own_ids(binance: Binance) -> None:
    request = binance.trades_request(AGG, 17)
    assert request is not None
    assert request.url == "https://api.binance.com/api/v3/aggTrades"
    assert request.params == {"symbol": "BTCUSDT", "fromId": "17", "limit": "1000"}
    assert request.weight == 4


def test_no_more_is_asked_than_the_venue_gives(binance: Binance) -> None:
    request = binance.trades_request(BTC, 17, 5000)
    assert request is not None
    assert request.params["limit"] == "1000"


def test_the_mirror_of_public_data_has_aggregates_by_id_and_no_trades() -> None:
    mirror = Binance(rest_url="https://data-api.binance.vision")
    assert mirror.trades_request(BTC, 1) is None
    assert mirror.trades_request(AGG, 1) is not None


def test_a_row_becomes_the_trade_that_the_websocket_would_have_told(binance: Binance) -> None:
    assert binance.trades(BTC, page(ROW), NOW) == [
        TradeRecord(BTC, "4.00000100", "12.00000000", 1499865549590000, "sell", 28457, ROW.decode(), True)
    ]


def test_an_aggregate_likewise(binance: Binance) -> None:
    assert binance.trades(AGG, page(AGG_ROW), NOW) == [
        TradeRecord(AGG, "0.01633102", "4.70443515", 1498793709153000, "buy", 26129, AGG_ROW.decode(), True)
    ]


def test_rows_are_kept_as_sent_only_where_that_is_wanted() -> None:
    spare = Binance(raw_json=False)
    assert [one.raw_json for one in spare.trades(BTC, page(ROW), NOW)] == [""]


def test_microseconds_are_told_by_their_size(binance: Binance) -> None:
    [record] = binance.trades(BTC, changed(ROW, time=1499865549590123), NOW)
    assert record.ts == 1499865549590123


def test_no_rows_are_no_trades(binance: Binance) -> None:
    assert binance.trades(BTC, b"[]", NOW) == []


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"price": "0"}, id="a price of zero"),
        pytest.param({"price": "-1"}, id="a negative price"),
        pytest.param({"price": "NaN"}, id="no number"),
        pytest.param({"price": 4.0}, id="a float"),
        pytest.param({"qty": "1e5"}, id="an exponent"),
        pytest.param({"qty": "1" * 41}, id="too many digits"),
        pytest.param({"id": -1}, id="a negative id"),
        pytest.param({"id": 2**63}, id="an id beyond 64 bits"),
        pytest.param({"id": "28457"}, id="an id as text"),
        pytest.param({"time": 0}, id="no time"),
        pytest.param({"time": NOW // 1_000_000 + 2 * 86_400_000}, id="from the day after tomorrow"),
        pytest.param({"isBuyerMaker": "true"}, id="a side as text"),
    ],
)
def test_a_row_is_checked_like_a_frame(fields: dict[str, object], binance: Binance) -> None:
    with pytest.raises(BadFrame):
        binance.trades(BTC, changed(ROW, **fields), NOW)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<html>502</html>", id="HTML"),
        pytest.param(b'{"code":-1121,"msg":"Invalid symbol."}', id="an error with status 200"),
        pytest.param(page(ROW)[:-5], id="cut short"),
        pytest.param(page(ROW.replace(b"4.00000100", b"4.\xff")), id="not UTF-8"),
        pytest.param(page(b"null"), id="a null row"),
        pytest.param(page(AGG_ROW), id="rows of another kind"),
        pytest.param(page(ROW, ROW), id="the same trade twice"),
        pytest.param(page(ROW, ROW.replace(b"28457", b"28456")), id="descending ids"),
        pytest.param(b"[" * 100_000, id="too deep"),
    ],
)
def test_what_is_no_page_of_trades_is_a_bad_frame(payload: bytes, binance: Binance) -> None:
    with pytest.raises(BadFrame):
        binance.trades(BTC, payload, NOW)


def test_newest_trades_are_asked_for_many_pairs_at_one_price(binance: Binance) -> None:
    request = binance.newest_request([BTC, CHINESE])
    assert request.url == "https://api.binance.com/api/v3/ticker/24hr"
    assert request.params == {"symbols": '["BTCUSDT","币安人生USDT"]', "type": "MINI"}


@pytest.mark.parametrize(("pairs", "weight"), [(1, 2), (20, 2), (21, 40), (100, 40)])
def test_the_ticker_costs_by_the_number_of_pairs(pairs: int, weight: int, binance: Binance) -> None:
    wanted = [Subscription("binance", Channel.TRADES, f"P{number}USDT") for number in range(pairs)]
    assert binance.newest_request(wanted).weight == weight


def test_as_many_pairs_are_asked_for_at_once_as_weigh_little(binance: Binance) -> None:
    assert binance.newest_at_once(Channel.TRADES) == 20


def test_the_newest_aggregate_is_asked_alone(binance: Binance) -> None:
    assert binance.newest_at_once(Channel.AGG_TRADES) == 1
    request = binance.newest_request([AGG])
    assert (request.url, request.weight) == ("https://api.binance.com/api/v3/aggTrades", 4)
    assert request.params == {"symbol": "BTCUSDT", "limit": "1"}
    assert binance.newest([AGG], page(AGG_ROW)) == {AGG: 26129}
    assert binance.newest([AGG], b"[]") == {}


def test_klines_have_no_newest_trade(binance: Binance) -> None:
    assert binance.newest_at_once(Channel.KLINES) == 0


def test_newest_ids_come_from_the_tickers_of_the_pairs_asked_for(binance: Binance) -> None:
    payload = json.dumps(
        [
            {"symbol": "BTCUSDT", "firstId": 1, "lastId": 28460, "count": 76},
            {"symbol": "币安人生USDT", "firstId": -1, "lastId": -1, "count": 0},
            {"symbol": "ETHUSDT", "firstId": 1, "lastId": 5, "count": 5},
        ]
    ).encode()
    assert binance.newest([BTC, CHINESE], payload) == {BTC: 28460}


@pytest.mark.parametrize("payload", [b"", b"{}", b'[{"symbol":"BTCUSDT"}]', b'[{"symbol":"BTCUSDT","lastId":"1"}]'])
def test_what_is_no_ticker_is_a_bad_frame(payload: bytes, binance: Binance) -> None:
    with pytest.raises(BadFrame):
        binance.newest([BTC], payload)


def test_klines_are_asked_and_read_too() -> None:
    binance = Binance(raw_json=False)
    candles = Subscription("binance", Channel.KLINES, "BTCUSDT", Interval.M1)
    assert binance.klines_request(candles, 60_000).params["startTime"] == "60000"
    row = [60_000, "1", "1", "1", "1", "2", 119_999, "2", 3, "1", "1", "0"]
    [kline] = binance.klines(candles, json.dumps([row]).encode(), NOW)
    assert (kline.open_time, kline.closed, kline.raw_json) == (60_000, True, "")
