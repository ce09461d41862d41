"""The judge of klines finds what is missing, doubled and wrong."""

import pytest

from cryptostream.model.ports import Clock
from cryptostream.sim.exchange import LocalExchange
from tests.chaos.candles import WINDOW_MS, _expected, check_candles

PAIR = "BTCUSDT"
Stored = list[tuple[str, dict[str, str]]]


@pytest.fixture
def exchange(clock: Clock) -> LocalExchange:
    return LocalExchange(pairs=[PAIR], rate=20.0, clock=clock)


def klines(exchange: LocalExchange, count: int) -> tuple[Stored, int]:
    """So many right entries, and when the last one closed."""
    start_ms = exchange.time.now_us() // 1_000_000 * 1_000 - 60_000
    opened = [start_ms + n * WINDOW_MS for n in range(count)]
    entries = [{"open_time": str(at), "closed": "true", **_expected(exchange, PAIR, at)} for at in opened]
    return [(f"{entry['close_time']}-1", entry) for entry in entries], opened[-1] + WINDOW_MS


def test_what_the_exchange_itself_says_is_right(exchange: LocalExchange) -> None:
    stored, until_ms = klines(exchange, 5)
    assert check_candles(exchange, PAIR, stored, until_ms=until_ms) == (5, [])
    update = ("1-0", {**stored[0][1], "closed": "false", "close": "0"})
    assert check_candles(exchange, PAIR, [update, *stored], until_ms=until_ms) == (5, [])


def test_each_flaw_is_found(exchange: LocalExchange) -> None:
    stored, until_ms = klines(exchange, 5)
    assert check_candles(exchange, PAIR, [], until_ms=until_ms)[1] == ["no closed kline at all"]
    assert check_candles(exchange, PAIR, stored, until_ms=until_ms + WINDOW_MS)[1] == [f"{until_ms} is missing"]
    assert len(check_candles(exchange, PAIR, [stored[0], *stored[2:]], until_ms=until_ms)[1]) == 1
    assert len(check_candles(exchange, PAIR, [*stored, stored[0]], until_ms=until_ms)[1]) == 2
    wrong = [stored[0], (stored[1][0], {**stored[1][1], "volume": "0.00000001"}), *stored[2:]]
    assert len(check_candles(exchange, PAIR, wrong, until_ms=until_ms)[1]) == 1
