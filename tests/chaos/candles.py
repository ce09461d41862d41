"""Closed klines against the trades they are made of: every window, once, digit by digit."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from cryptostream.sim.exchange import LocalExchange
from cryptostream.sim.market import SimTrade

WINDOW_MS = 1_000
_E8 = 10**8


def check_candles(
    exchange: LocalExchange, pair: str, stored: Sequence[tuple[str, Mapping[str, str]]], *, until_ms: int
) -> tuple[int, list[str]]:
    """How many closed one-second klines a stream holds, and all that is wrong with them.

    Every window from the first stored one to the last that closed by `until_ms` has to be there once, in order.
    """
    closed = [(entry_id, entry) for entry_id, entry in stored if entry["closed"] in ("1", "true")]
    opened = [int(entry["open_time"]) for _, entry in closed]
    if not opened:
        return 0, ["no closed kline at all"]
    wanted = range(opened[0], until_ms - WINDOW_MS + 1, WINDOW_MS)
    wrong = [f"{at} is missing" for at in sorted(set(wanted) - set(opened))]
    wrong += [f"{at} is there {count} times" for at, count in Counter(opened).items() if count > 1]
    wrong += [f"{later} comes after {earlier}" for earlier, later in pairwise(opened) if later <= earlier]
    for entry_id, entry in closed:
        expected = _expected(exchange, pair, int(entry["open_time"]))
        found = {name: entry[name] for name in expected}
        if found != expected or entry_id != f"{entry['close_time']}-1":
            wrong.append(f"{entry_id} is {found} instead of {expected}")
    return len(closed), wrong


def _expected(exchange: LocalExchange, pair: str, open_ms: int) -> dict[str, str]:
    """What the fields of a closed kline have to be."""
    market, end_us = exchange.market, (open_ms + WINDOW_MS) * 1_000
    before = market.traded_by(pair, open_ms * 1_000 - 1)
    trades = list(market.trades(pair, before + 1, market.traded_by(pair, end_us - 1)))
    prices = [one.price_e8 for one in trades] or [next(market.trades(pair, before, before)).price_e8]
    bought = [one for one in trades if not one.buyer_is_maker]
    numbers = {
        "open": prices[0],
        "high": max(prices),
        "low": min(prices),
        "close": prices[-1],
        "volume": sum(one.qty_e8 for one in trades),
        "quote_volume": _quote_e8(trades),
        "taker_buy_volume": sum(one.qty_e8 for one in bought),
        "taker_buy_quote_volume": _quote_e8(bought),
    }
    told = {name: f"{number // _E8}.{number % _E8:08}" for name, number in numbers.items()}
    return {**told, "trades": str(len(trades)), "close_time": str(open_ms + WINDOW_MS - 1)}


def _quote_e8(trades: Sequence[SimTrade]) -> int:
    return sum(one.price_e8 * one.qty_e8 for one in trades) // _E8
