"""The REST side of the exchange: what backfill and discovery need, with the real shapes, errors and weights."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from cryptostream.model.instrument import Interval
from cryptostream.model.ports import Clock
from cryptostream.sim.asking import WEIGHT_PER_MINUTE, Answer, Asked, Budget, RestError
from cryptostream.sim.candles import Candle, CandleMaker, ends_us, opens_us
from cryptostream.sim.decimals import decimal
from cryptostream.sim.faults import Faults
from cryptostream.sim.frames import MICROSECOND_US, MILLISECOND_US
from cryptostream.sim.listing import Listing
from cryptostream.sim.market import Trades
from cryptostream.sim.protocol import zone_us
from cryptostream.sim.rows import MINI, aggregate_row, kline_row, symbol_row, ticker_row, trade_row

TICKER_WINDOW_US = 15 * 60 * 1_000_000
TICKER_TRADES = 240
"""The "24 hours" of the tickers: a quarter of an hour, and no more trades than these. `openTime` says so.

Adding up a day of trades would take minutes, and whoever looks for silent streams asks often and for many pairs.
"""
_BREATH = 2_000
"""Trades that are added up before others get their turn."""

Route = Callable[[Asked], Awaitable[Any]]


class Rest:
    """Answers `/api/v3/...` about the trades of a market up to now."""

    def __init__(
        self,
        market: Trades,
        faults: Faults,
        *,
        clock: Clock,
        now_us: Callable[[], int],
        weight_per_minute: int = WEIGHT_PER_MINUTE,
    ) -> None:
        self._market, self._faults, self._clock, self._now_us = market, faults, clock, now_us
        self.budget = Budget(clock, weight_per_minute)
        self._routes: dict[str, tuple[int | Callable[[Asked], int], Route]] = {
            "ping": (1, self._ping),
            "time": (1, self._time),
            "exchangeInfo": (20, self._exchange_info),
            "trades": (25, self._trades),
            "historicalTrades": (25, self._historical_trades),
            "aggTrades": (4, self._aggregates),
            "klines": (2, self._klines),
            "ticker/24hr": (_ticker_weight, self._tickers),
            "ticker/price": (_price_weight, self._prices),
        }

    async def answer(self, path: str, query: str, time_unit: str = "") -> Answer:
        """Answer one request below `/api/v3/`."""
        route = self._routes.get(path)
        if route is None:
            return Answer(404, b"<html><body><h2>404 Not found</h2></body></html>", {"Content-Type": "text/html"})
        weight, respond = route
        try:
            asked = Asked(query, MICROSECOND_US if time_unit.upper() == "MICROSECOND" else MILLISECOND_US)
            self.budget.spend(weight if isinstance(weight, int) else weight(asked))
            answer = Answer.json(await respond(asked))
        except RestError as error:
            answer = error.answer
        answer.headers |= {"X-MBX-USED-WEIGHT": str(self.budget.used), "X-MBX-USED-WEIGHT-1M": str(self.budget.used)}
        return answer

    async def _ping(self, _: Asked) -> dict[str, Any]:
        return {}

    async def _time(self, asked: Asked) -> dict[str, int]:
        return {"serverTime": self._now_us() // asked.unit_us}

    async def _exchange_info(self, asked: Asked) -> dict[str, Any]:
        rows = [self._symbol(self._market.listings[pair]) for pair in self._pairs(asked)]
        wanted = asked.text("symbolStatus")
        return {
            "timezone": "UTC",
            "serverTime": self._now_us() // asked.unit_us,
            "rateLimits": [
                {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": self.budget.limit},
                {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300_000},
            ],
            "exchangeFilters": [],
            "symbols": [row for row in rows if wanted in (None, row["status"])],
        }

    def _symbol(self, listing: Listing) -> dict[str, Any]:
        status = "BREAK" if self._faults.holding("break", pair=listing.pair) else listing.status
        return symbol_row(listing, status)

    async def _trades(self, asked: Asked) -> list[dict[str, Any]]:
        pair = self._pair(asked)
        last = self._market.last_id(pair, self._now_us())
        return self._rows(pair, last - asked.limit() + 1, last, asked)

    async def _historical_trades(self, asked: Asked) -> list[dict[str, Any]]:
        pair = self._pair(asked)
        last = self._market.last_id(pair, self._now_us() - self._lag_us(pair))
        from_id, limit = asked.number("fromId"), asked.limit()
        first = last - limit + 1 if from_id is None else max(from_id, self._market.first_id(pair))
        return self._rows(pair, first, min(last, first + limit - 1), asked)

    def _rows(self, pair: str, first: int, last: int, asked: Asked) -> list[dict[str, Any]]:
        return [trade_row(trade, asked.unit_us) for trade in self._market.trades(pair, first, last)]

    async def _aggregates(self, asked: Asked) -> list[dict[str, Any]]:
        pair, limit = self._pair(asked), asked.limit()
        start_us, end_us, from_id = asked.time_us("startTime"), asked.time_us("endTime"), asked.number("fromId")
        if from_id is not None and (start_us is not None or end_us is not None):
            raise RestError(-1128, "Combination of optional parameters invalid.")
        last = self._market.last_aggregate_id(pair, self._now_us() - self._lag_us(pair))
        if end_us is not None:
            last = min(last, self._market.last_aggregate_id(pair, end_us))
        if start_us is not None:
            from_id = self._market.last_aggregate_id(pair, start_us - 1) + 1
        first = last - limit + 1 if from_id is None else max(from_id, self._market.first_aggregate_id(pair))
        made = self._market.aggregates(pair, first, min(last, first + limit - 1))
        return [aggregate_row(one, asked.unit_us) for one in made]

    async def _klines(self, asked: Asked) -> list[list[Any]]:
        pair, limit = self._pair(asked), asked.limit()
        interval, shift_us = _interval(asked), _zone(asked)
        now_us = self._now_us() - self._lag_us(pair)
        end_us = min(now_us, _or(asked.time_us("endTime"), now_us))
        opened = next(self._market.trades(pair, self._market.first_id(pair), self._market.first_id(pair)), None)
        if opened is None:
            return []
        earliest_us = opens_us(interval, opened.time_us, shift_us)
        start_us = asked.time_us("startTime")
        if start_us is None:
            first_us = _back(interval, end_us, limit, shift_us, earliest_us)
        else:
            first_us = max(earliest_us, _first_open(interval, start_us, shift_us))
        maker = CandleMaker(self._market, pair, interval, first_us, shift_us)
        return [kline_row(candle, asked.unit_us) async for candle in self._candles(maker, now_us, end_us, limit)]

    async def _candles(self, maker: CandleMaker, now_us: int, end_us: int, limit: int) -> AsyncIterator[Candle]:
        """At most `limit` candles that opened by `end_us`; the last one may still be open."""
        for _ in range(limit):
            if maker.candle.open_us > end_us:
                return
            while not maker.advance(now_us, _BREATH):
                await self._clock.sleep(0)
            yield maker.next()

    async def _tickers(self, asked: Asked) -> list[dict[str, Any]] | dict[str, Any]:
        now_us = self._now_us()
        rows = [await self._ticker(pair, now_us, asked.unit_us) for pair in self._pairs(asked)]
        if asked.text("type") == "MINI":
            rows = [{name: row[name] for name in MINI} for row in rows]
        return rows[0] if asked.text("symbol") is not None else rows

    async def _ticker(self, pair: str, now_us: int, unit_us: int) -> dict[str, Any]:
        last = self._market.last_id(pair, now_us)
        first = max(self._market.first_id(pair), self._market.last_id(pair, now_us - TICKER_WINDOW_US) + 1)
        trades = list(self._market.trades(pair, max(first, last - TICKER_TRADES + 1), last))
        cut = trades and last - first >= TICKER_TRADES
        candle = Candle(trades[0].time_us if cut else now_us - TICKER_WINDOW_US, now_us, 0)
        for trade in trades:
            candle.add(trade)
        await self._clock.sleep(0)
        return ticker_row(self._market.listings[pair], candle, trades[-1] if trades else None, unit_us)

    async def _prices(self, asked: Asked) -> list[dict[str, str]] | dict[str, str]:
        rows = [{"symbol": pair, "price": decimal(self.price_e8(pair))} for pair in self._pairs(asked)]
        return rows[0] if asked.text("symbol") is not None else rows

    def price_e8(self, pair: str) -> int:
        """What was paid last; the listing's price where nothing was traded yet."""
        last = self._market.last_id(pair, self._now_us())
        newest = next(self._market.trades(pair, last, last), None)
        return newest.price_e8 if newest else self._market.listings[pair].price_e8

    def _pair(self, asked: Asked) -> str:
        return self._known(asked.needed("symbol"))

    def _pairs(self, asked: Asked) -> Sequence[str]:
        symbols = asked.symbols()
        return list(self._market.listings) if symbols is None else [self._known(symbol) for symbol in symbols]

    def _known(self, symbol: str) -> str:
        if symbol not in self._market.listings:
            raise RestError(-1121, "Invalid symbol.")
        return symbol

    def _lag_us(self, pair: str) -> int:
        lag = self._faults.state("lag", pair=pair)
        return round(lag.duration_s("by") * 1_000_000) if lag else 0


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _ticker_weight(asked: Asked) -> int:
    symbols = asked.symbols()
    if symbols is None or len(symbols) > 100:
        return 80
    return 2 if len(symbols) <= 20 else 40


def _price_weight(asked: Asked) -> int:
    return 2 if asked.text("symbol") is not None else 4


def _interval(asked: Asked) -> Interval:
    text = asked.needed("interval")
    if text not in set(Interval):
        raise RestError(-1120, "Invalid interval.")
    return Interval(text)


def _zone(asked: Asked) -> int:
    try:
        return zone_us(asked.text("timeZone") or "0")
    except ValueError as error:
        raise RestError(-1130, "Data sent for parameter 'timeZone' is not valid.") from error


def _first_open(interval: Interval, start_us: int, shift_us: int) -> int:
    open_us = opens_us(interval, start_us, shift_us)
    return open_us if open_us >= start_us else ends_us(interval, open_us, shift_us)


def _back(interval: Interval, end_us: int, limit: int, shift_us: int, earliest_us: int) -> int:
    """When the oldest of the newest `limit` candles opened."""
    open_us = opens_us(interval, end_us, shift_us)
    for _ in range(limit - 1):
        if open_us <= earliest_us:
            return earliest_us
        open_us = opens_us(interval, open_us - 1, shift_us)
    return max(open_us, earliest_us)
