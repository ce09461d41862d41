import itertools

import pytest

from cryptostream.errors import UsageError
from cryptostream.sim.decimals import decimal
from cryptostream.sim.listing import listing
from cryptostream.sim.market import Market

PAIRS = ["BTCUSDT", "XRPUSDT", "币安人生USDT", "TINYUSDT"]
OPENED_US = 1_790_000_000_000_000
HOUR_US = 3_600_000_000


@pytest.fixture(params=PAIRS)
def pair(request):
    return request.param


@pytest.fixture
def market():
    return Market(seed=1, pairs=PAIRS, rate=20.0, opened_us=OPENED_US)


def some(market, pair, count=3_000):
    first = market.first_id(pair)
    return list(market.trades(pair, first, first + count - 1))


def test_ids_are_contiguous_and_times_never_step_back(market, pair):
    trades = some(market, pair)
    first = market.first_id(pair)
    assert [trade.id for trade in trades] == list(range(first, first + 3_000))
    assert all(one.time_us <= two.time_us for one, two in itertools.pairwise(trades))
    assert trades[0].time_us >= OPENED_US


def test_any_trade_is_found_without_its_neighbours(market, pair):
    far = market.first_id(pair) + 10**9
    assert Market(seed=1, pairs=[pair], rate=20.0, opened_us=OPENED_US).trade(pair, far) == market.trade(pair, far)


def test_two_exchanges_that_opened_at_different_times_tell_the_same_story(pair):
    early, late = (Market(1, [pair], opened_us=at) for at in (OPENED_US, OPENED_US + HOUR_US))
    at_us = OPENED_US + 2 * HOUR_US
    assert early.last_id(pair, at_us) == late.last_id(pair, at_us)
    assert early.trade(pair, late.first_id(pair)) == late.trade(pair, late.first_id(pair))


def test_another_seed_is_another_market(pair):
    one, two = (Market(seed, [pair], opened_us=OPENED_US) for seed in (1, 2))
    assert one.trade(pair, one.first_id(pair)) != two.trade(pair, two.first_id(pair))


def test_pairs_never_share_their_ids(market):
    newest = {market.last_id(pair, OPENED_US + HOUR_US) for pair in PAIRS}
    assert len(newest) == len(PAIRS)


def test_last_id_is_the_newest_trade_at_a_time(market, pair):
    for trade in some(market, pair, 500):
        assert market.last_id(pair, trade.time_us) >= trade.id
        assert market.last_id(pair, trade.time_us - 1) < trade.id


def test_nothing_was_traded_before_the_opening(market, pair):
    assert market.last_id(pair, OPENED_US - HOUR_US) == market.first_id(pair) - 1
    assert list(market.trades(pair, market.first_id(pair) - 50, market.first_id(pair) - 1)) == []


def test_it_trades_at_its_rate(market, pair):
    traded = market.last_id(pair, OPENED_US + HOUR_US) - market.first_id(pair) + 1
    assert traded == pytest.approx(20 * 3_600, abs=24)


def test_two_trades_in_three_share_their_time_with_the_one_before(market, pair):
    trades = some(market, pair)
    shared = sum(one.time_us == two.time_us for one, two in itertools.pairwise(trades))
    assert shared / len(trades) == pytest.approx(2 / 3, abs=0.01)


def test_prices_keep_to_ticks_and_quantities_to_steps(market, pair):
    about = listing(pair)
    for trade in some(market, pair, 500):
        assert trade.price_e8 > 0 and trade.price_e8 % about.tick_e8 == 0
        assert trade.qty_e8 > 0 and trade.qty_e8 % about.step_e8 == 0
        assert trade.price_e8 * trade.qty_e8 % 10**8 == 0, "price * qty has to have an exact text"


def test_prices_move_and_stay_near_their_listing(market, pair):
    day = range(market.first_id(pair), market.first_id(pair) + 20 * 86_400, 997)
    prices = [market.trade(pair, trade_id).price_e8 for trade_id in day]
    assert len(set(prices)) > 100
    assert min(prices) / listing(pair).price_e8 > 0.9 and max(prices) / listing(pair).price_e8 < 1.1


def test_aggregates_cover_every_trade_once(market, pair):
    trades = {trade.id: trade for trade in some(market, pair)}
    first = market.first_aggregate_id(pair)
    expected = market.first_id(pair)
    for index, made in enumerate(market.aggregates(pair, first, first + 1_000)):
        parts = [trades[trade_id] for trade_id in range(made.first_id, made.last_id + 1)]
        assert (made.id, made.first_id) == (first + index, expected)
        assert {(p.price_e8, p.time_us, p.buyer_is_maker) for p in parts} == {
            (made.price_e8, made.time_us, made.buyer_is_maker)
        }
        assert made.qty_e8 == sum(part.qty_e8 for part in parts)
        expected = made.last_id + 1


def test_an_order_eats_its_way_through_prices_in_its_own_direction(market, pair):
    first = market.first_aggregate_id(pair)
    made = list(market.aggregates(pair, first, first + 1_000))
    steps = [
        (two.price_e8 - one.price_e8) * (-1 if two.buyer_is_maker else 1)
        for one, two in itertools.pairwise(made)
        if one.time_us == two.time_us
    ]
    assert len(steps) > 300
    assert set(steps) == {listing(pair).tick_e8}


def test_last_aggregate_id_agrees_with_the_newest_trade(market, pair):
    at_us = OPENED_US + HOUR_US
    newest = market.last_aggregate_id(pair, at_us)
    (made,) = market.aggregates(pair, newest, newest)
    assert made.last_id == market.last_id(pair, at_us)


@pytest.mark.parametrize("rate", [0, -1, 1e9, float("nan")])
def test_a_rate_that_cannot_be_kept_is_refused(rate):
    with pytest.raises(UsageError, match="rate must be"):
        Market(1, ["BTCUSDT"], rate=rate)


@pytest.mark.parametrize(
    ("pair", "base", "quote"),
    [
        ("BTCUSDT", "BTC", "USDT"),
        ("ETHBTC", "ETH", "BTC"),
        ("币安人生USDT", "币安人生", "USDT"),
        ("USDCUSDT", "USDC", "USDT"),
    ],
)
def test_a_listing_knows_its_two_coins(pair, base, quote):
    assert (listing(pair).base, listing(pair).quote) == (base, quote)


def test_decimal_text_of_small_and_negative_amounts():
    assert [decimal(value) for value in (0, 1, -150_000_000)] == ["0.00000000", "0.00000001", "-1.50000000"]
