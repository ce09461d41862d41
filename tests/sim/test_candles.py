from datetime import UTC, datetime

import pytest

from cryptostream.model.instrument import Interval
from cryptostream.sim.candles import CandleMaker, ends_us, opens_us
from cryptostream.sim.market import Market

OPENED_US = 1_790_000_000_000_000
HOUR_US = 3_600_000_000


def us(text):
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("interval", "at", "opens", "ends"),
    [
        ("1s", "2026-11-21T01:42:55", "2026-11-21T01:42:55", "2026-11-21T01:42:56"),
        ("15m", "2026-11-21T01:42:55", "2026-11-21T01:30:00", "2026-11-21T01:45:00"),
        ("12h", "2026-11-21T13:00:00", "2026-11-21T12:00:00", "2026-11-22T00:00:00"),
        ("3d", "1970-01-05T10:00:00", "1970-01-04T00:00:00", "1970-01-07T00:00:00"),
        ("1w", "2026-11-21T01:42:55", "2026-11-16T00:00:00", "2026-11-23T00:00:00"),
        ("1w", "2026-11-16T00:00:00", "2026-11-16T00:00:00", "2026-11-23T00:00:00"),
        ("1M", "2026-02-28T23:59:59", "2026-02-01T00:00:00", "2026-03-01T00:00:00"),
        ("1M", "2026-12-31T23:59:59", "2026-12-01T00:00:00", "2027-01-01T00:00:00"),
    ],
)
def test_a_candle_opens_and_ends_where_its_interval_says(interval, at, opens, ends):
    assert opens_us(Interval(interval), us(at)) == us(opens)
    assert ends_us(Interval(interval), us(opens)) == us(ends)


def test_a_shifted_day_opens_at_midnight_further_east():
    assert opens_us(Interval.D1, us("2026-11-21T17:00:00"), 8 * HOUR_US) == us("2026-11-21T16:00:00")


def maker(interval, at_us, rate=5.0):
    market = Market(1, ["BTCUSDT"], rate=rate, opened_us=OPENED_US)
    return market, CandleMaker(market, "BTCUSDT", Interval(interval), at_us)


def test_a_candle_is_the_sum_of_its_trades():
    market, making = maker("1m", OPENED_US + HOUR_US)
    candle = making.candle
    assert making.advance(candle.end_us + HOUR_US, 10**6)
    first = market.last_id("BTCUSDT", candle.open_us - 1) + 1
    trades = list(market.trades("BTCUSDT", first, market.last_id("BTCUSDT", candle.end_us - 1)))
    assert (candle.first_id, candle.last_id, candle.count) == (trades[0].id, trades[-1].id, len(trades))
    assert candle.open_e8 == trades[0].price_e8 and candle.close_e8 == trades[-1].price_e8
    assert candle.high_e8 == max(t.price_e8 for t in trades) and candle.low_e8 == min(t.price_e8 for t in trades)
    assert candle.qty_e8 == sum(t.qty_e8 for t in trades)
    assert candle.buy_quote_e16 == sum(t.qty_e8 * t.price_e8 for t in trades if not t.buyer_is_maker)


def test_work_in_small_steps_makes_the_same_candle():
    _, whole = maker("5m", OPENED_US + HOUR_US)
    _, small = maker("5m", OPENED_US + HOUR_US)
    assert whole.advance(OPENED_US + 2 * HOUR_US, 10**6)
    steps = 0
    while not small.advance(OPENED_US + 2 * HOUR_US, 100):
        steps += 1
    assert steps > 5
    assert small.candle.volumes == whole.candle.volumes and small.candle.prices == whole.candle.prices


def test_a_window_without_trades_repeats_the_close_before_it():
    market, making = maker("1s", OPENED_US + HOUR_US, rate=0.01)
    making.advance(OPENED_US + HOUR_US, 10**6)
    candle = making.next()
    before = market.trade("BTCUSDT", market.last_id("BTCUSDT", candle.open_us - 1))
    assert candle.prices == (before.price,) * 4
    assert (candle.count, candle.first_id, candle.last_id, candle.volumes[0]) == (0, -1, -1, "0.00000000")


def test_the_next_candle_begins_where_the_last_one_ended():
    _, making = maker("1m", OPENED_US + HOUR_US)
    making.advance(making.candle.end_us, 10**6)
    done = making.next()
    making.advance(making.candle.end_us, 10**6)
    assert making.candle.open_us == done.end_us
    assert making.candle.first_id == done.last_id + 1
