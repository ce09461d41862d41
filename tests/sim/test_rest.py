import itertools
import json

import pytest

from cryptostream.sim.coingecko import CoinGecko
from cryptostream.sim.faults import Faults
from cryptostream.sim.market import Market
from cryptostream.sim.rest import TICKER_TRADES, TICKER_WINDOW_US, Rest
from cryptostream.testing import ManualClock

OPENED_US = 1_790_000_000_000_000
NOW_US = OPENED_US + 2 * 3_600_000_000
PAIR = "BTCUSDT"


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def market():
    return Market(1, [PAIR, "ETHUSDT", "币安人生USDT", "DAIUSDT", "BTCUPUSDT"], rate=2.0, opened_us=OPENED_US)


@pytest.fixture
def faults(clock):
    return Faults(1, clock.monotonic)


@pytest.fixture
def rest(market, faults, clock):
    return Rest(market, faults, clock=clock, now_us=lambda: NOW_US, weight_per_minute=500)


async def ask(rest, path, query="", **headers):
    answer = await rest.answer(path, query, **headers)
    return answer.status, json.loads(answer.body)


async def test_historical_trades_come_from_an_id_on_in_order(rest, market):
    first = market.first_id(PAIR) + 100
    _, rows = await ask(rest, "historicalTrades", f"symbol={PAIR}&fromId={first}&limit=1000")
    expected = list(market.trades(PAIR, first, first + 999))
    assert [row["id"] for row in rows] == [trade.id for trade in expected]
    assert rows[0] == {
        "id": first,
        "price": expected[0].price,
        "qty": expected[0].qty,
        "quoteQty": expected[0].quote_qty,
        "time": expected[0].time_us // 1_000,
        "isBuyerMaker": expected[0].buyer_is_maker,
        "isBestMatch": True,
    }


async def test_trades_end_with_the_newest(rest, market):
    _, rows = await ask(rest, "trades", f"symbol={PAIR}&limit=5")
    assert [row["id"] for row in rows] == [market.last_id(PAIR, NOW_US) - back for back in (4, 3, 2, 1, 0)]


async def test_the_page_past_the_newest_trade_is_empty(rest, market):
    assert await ask(rest, "historicalTrades", f"symbol={PAIR}&fromId={market.last_id(PAIR, NOW_US) + 1}") == (200, [])


async def test_a_lagging_database_does_not_know_the_newest_trades(rest, market, faults):
    faults.inject("lag,by=60s")
    _, rows = await ask(rest, "historicalTrades", f"symbol={PAIR}&limit=1")
    assert rows[0]["id"] == market.last_id(PAIR, NOW_US - 60_000_000)


async def test_microseconds_are_answered_to_those_who_ask(rest):
    _, (row,) = await ask(rest, "trades", f"symbol={PAIR}&limit=1", time_unit="MICROSECOND")
    assert row["time"] > 10**15


async def test_aggregates_can_be_asked_by_time(rest, market):
    start_us, end_us = OPENED_US + 600_000_000, OPENED_US + 660_000_000
    query = f"symbol={PAIR}&startTime={start_us // 1000}&endTime={end_us // 1000}&limit=1000"
    _, rows = await ask(rest, "aggTrades", query)
    assert all(start_us // 1000 <= row["T"] <= end_us // 1000 for row in rows)
    first, last = market.last_id(PAIR, start_us - 1) + 1, market.last_id(PAIR, end_us)
    assert (rows[0]["f"], rows[-1]["l"]) == (first, last)


async def test_klines_without_times_end_with_the_open_candle(rest):
    _, rows = await ask(rest, "klines", f"symbol={PAIR}&interval=1m&limit=3")
    opens = [row[0] for row in rows]
    assert opens[-1] == NOW_US // 60_000_000 * 60_000
    assert [later - earlier for earlier, later in itertools.pairwise(opens)] == [60_000, 60_000]
    assert len(rows[0]) == 12 and rows[0][6] == rows[0][0] + 59_999


async def test_klines_between_two_times_are_the_candles_that_open_there(rest):
    start_ms = (OPENED_US // 60_000_000 + 10) * 60_000
    _, rows = await ask(
        rest, "klines", f"symbol={PAIR}&interval=1m&startTime={start_ms - 1}&endTime={start_ms + 120_000}"
    )
    assert [row[0] - start_ms for row in rows] == [0, 60_000, 120_000]


async def test_klines_of_a_lagging_database_end_with_the_candle_it_is_still_adding_up(clock, market, faults):
    now_us = NOW_US // 60_000_000 * 60_000_000 + 2_000_000  # two seconds into a minute
    rest = Rest(market, faults, clock=clock, now_us=lambda: now_us)
    query = f"symbol={PAIR}&interval=1m&limit=2"
    _, (whole, _) = await ask(rest, "klines", query)
    faults.inject("lag,by=30s")
    _, rows = await ask(rest, "klines", query)
    assert [row[0] for row in rows] == [whole[0] - 60_000, whole[0]]
    known = market.last_id(PAIR, now_us - 30_000_000) - market.last_id(PAIR, whole[0] * 1000 - 1)
    assert 0 < rows[-1][8] == known < whole[8]


async def test_klines_count_every_trade_once(rest, market):
    _, rows = await ask(rest, "klines", f"symbol={PAIR}&interval=5m&startTime=0&limit=1000")
    assert sum(row[8] for row in rows) == market.last_id(PAIR, NOW_US) - market.first_id(PAIR) + 1


async def test_the_ticker_of_a_quiet_pair_adds_up_its_window(faults, clock):
    quiet = Market(1, [PAIR], rate=0.1, opened_us=OPENED_US)
    _, row = await ask(Rest(quiet, faults, clock=clock, now_us=lambda: NOW_US), "ticker/24hr", f"symbol={PAIR}")
    assert row["lastId"] == quiet.last_id(PAIR, NOW_US)
    assert row["closeTime"] - row["openTime"] == TICKER_WINDOW_US // 1_000
    assert 0 < row["count"] == row["lastId"] - row["firstId"] + 1 < TICKER_TRADES


async def test_the_ticker_of_a_busy_pair_adds_up_its_newest_trades_and_says_since_when(rest, market):
    _, row = await ask(rest, "ticker/24hr", f"symbol={PAIR}")
    last = market.last_id(PAIR, NOW_US)
    assert (row["firstId"], row["lastId"], row["count"]) == (last - TICKER_TRADES + 1, last, TICKER_TRADES)
    assert row["openTime"] == market.trade(PAIR, row["firstId"]).time_us // 1_000


async def test_the_newest_ids_of_many_pairs_are_told_at_once(rest, market):
    _, rows = await ask(rest, "ticker/24hr", 'symbols=["BTCUSDT","ETHUSDT"]&type=MINI')
    assert {row["symbol"]: row["lastId"] for row in rows} == {
        pair: market.last_id(pair, NOW_US) for pair in (PAIR, "ETHUSDT")
    }


async def test_exchange_info_tells_what_can_be_traded(rest, faults):
    faults.inject("break,pair=ETHUSDT")
    _, info = await ask(rest, "exchangeInfo")
    told = {row["symbol"]: (row["status"], row["isSpotTradingAllowed"], row["baseAsset"]) for row in info["symbols"]}
    assert told == {
        PAIR: ("TRADING", True, "BTC"),
        "ETHUSDT": ("BREAK", True, "ETH"),
        "币安人生USDT": ("TRADING", True, "币安人生"),
        "DAIUSDT": ("BREAK", True, "DAI"),
        "BTCUPUSDT": ("TRADING", False, "BTCUP"),
    }


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        ("exchangeInfo", 'symbols=["BTCUSDT","NOPE"]', 400, -1121),
        ("exchangeInfo", "symbols=BTCUSDT", 400, -1100),
        ("exchangeInfo", 'symbol=BTCUSDT&symbols=["BTCUSDT"]', 400, -1128),
        ("trades", "symbol=btcusdt", 400, -1121),
        ("trades", "", 400, -1102),
        ("trades", "symbol=BTCUSDT&symbol=ETHUSDT", 400, -1101),
        ("historicalTrades", "symbol=BTCUSDT&fromId=abc", 400, -1100),
        ("klines", "symbol=BTCUSDT&interval=2m", 400, -1120),
        ("klines", "symbol=BTCUSDT&interval=1m&timeZone=99", 400, -1130),
        ("aggTrades", "symbol=BTCUSDT&fromId=1&startTime=1", 400, -1128),
    ],
)
async def test_errors_are_worded_by_the_exchange(rest, path, query, status, code):
    got, error = await ask(rest, path, query)
    assert (got, error["code"]) == (status, code)


@pytest.mark.parametrize(
    ("path", "query", "weight"),
    [
        ("ping", "", 1),
        ("exchangeInfo", "", 20),
        ("historicalTrades", f"symbol={PAIR}", 25),
        ("aggTrades", f"symbol={PAIR}", 4),
        ("klines", f"symbol={PAIR}&interval=1h", 2),
        ("ticker/24hr", "", 80),
        ("ticker/24hr", f"symbol={PAIR}", 2),
    ],
)
async def test_every_answer_tells_the_weight_used(rest, path, query, weight):
    answer = await rest.answer(path, query)
    assert answer.headers["X-MBX-USED-WEIGHT-1M"] == str(weight)


async def test_beyond_the_budget_comes_429_then_the_ban_then_a_new_minute(rest, clock):
    statuses = [(await rest.answer("historicalTrades", f"symbol={PAIR}")).status for _ in range(40)]
    assert statuses[:20] == [200] * 20 and statuses[20:30] == [429] * 10 and set(statuses[30:]) == {418}
    banned = await rest.answer("ping", "")
    assert (banned.status, banned.headers["Retry-After"]) == (418, "120")
    clock.advance(120)
    assert (await rest.answer("ping", "")).status == 200


async def test_retry_after_is_the_rest_of_the_minute(rest, clock):
    clock.advance(15.0)
    rest.budget.used = 500
    rest.budget._minute = clock.now_ns() // 60_000_000_000
    assert (await rest.answer("ping", "")).headers["Retry-After"] == "45"


@pytest.fixture
def coingecko(market, rest):
    return CoinGecko(market.listings, price_e8=rest.price_e8, now_us=lambda: NOW_US)


def coins(coingecko, query):
    return json.loads(coingecko.answer("coins/markets", query).body)


def test_coins_carry_the_price_that_the_exchange_pays(coingecko, rest):
    (bitcoin,) = coins(coingecko, "vs_currency=usd&per_page=1")
    assert (bitcoin["id"], bitcoin["symbol"], bitcoin["current_price"]) == ("bitcoin", "btc", rest.price_e8(PAIR) / 1e8)


def test_coins_come_in_pages_and_past_the_last_one_comes_nothing(coingecko):
    everything = coins(coingecko, "vs_currency=usd&per_page=250")
    paged = [coin for page in (1, 2, 3, 4) for coin in coins(coingecko, f"vs_currency=usd&per_page=3&page={page}")]
    assert paged == everything
    assert coins(coingecko, "vs_currency=usd&per_page=250&page=2") == []


def test_among_the_coins_are_those_to_leave_out(coingecko):
    symbols = {coin["symbol"] for coin in coins(coingecko, "vs_currency=usd")}
    assert {"usdt", "usdc", "wbtc", "leo", "pi", "币安人生"} <= symbols


def test_a_coin_list_needs_its_currency(coingecko):
    assert coingecko.answer("coins/markets", "").status == 422
    assert coingecko.answer("nope", "").status == 404
