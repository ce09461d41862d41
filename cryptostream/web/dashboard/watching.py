"""What one browser watches of the market, and what it is to be told next: differences, as plain data."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from cryptostream import logs, registry
from cryptostream.errors import BusRefused, BusUnavailable, CryptostreamError
from cryptostream.web import shown
from cryptostream.web.dashboard.candles import MOST, Candles
from cryptostream.web.dashboard.differences import Newest, Rows
from cryptostream.web.dashboard.telling import Message
from cryptostream.web.probes import Probes

INTERVALS = ("1s", "5s", "15s", "1m", "5m", "15m", "1h", "4h", "1d")
ENOUGH = 30
"""Candles that an interval must show to be taken by itself."""

_BY_ITSELF = ("1m", "15s", "5s", "1s")
_TAPE, _SIGNALS, _SPARK_TURNS, _GROW_TURNS = 50, 100, 10, 60
_TRADES = "trades:"
_log = logs.get("web")


class Watching:
    """One pair's candles and tape, all quotes, signals and strategies."""

    def __init__(self, probes: Probes, *, may_write: bool = True) -> None:
        self._probes = probes
        self._may_write = may_write
        self.pair = ""
        self._asked = "auto"
        self.interval = ""
        self._grows = True
        self.forget()

    def forget(self) -> None:
        """The browser has nothing: the next message tells it everything."""
        self._turn, self._anew = 0, ""
        self._quotes, self._strategies, self._state = Rows(), Rows(), Rows()
        self._signals = Newest()
        self._sparks: dict[str, Sequence[int]] = {}
        self._said = ""
        self._forget_pair()

    def choose(self, pair: str, interval: str = "") -> None:
        """Watch this pair; the interval stays as it is unless one is given, and `auto` finds one."""
        self._asked = interval or self._asked
        self.pair, self.interval = pair, "" if self._asked == "auto" else self._asked
        self._anew, self._grows = "pair", True
        self._forget_pair()

    def hold(self) -> None:
        """Somebody looks at a part of the chart: the interval that `auto` found stays until another pair is chosen."""
        self._grows = False

    def _forget_pair(self) -> None:
        self._candles, self._tape, self._marks = Candles(), Newest(), Newest()

    async def message(self) -> Message:
        """What has changed since the last message; empty where nothing has.

        `anew` says that the browser is to forget what it has of the `pair` before.
        """
        quotes = {pair_of(quote): quote for quote in self._probes.quotes()}
        if not self.pair and quotes:
            self.choose(liveliest(quotes))
        self._turn += 1
        strategies = {f"{each.consumer}/{each.name}": _strategy(each) for each in self._probes.strategies()}
        told: dict[str, Any] = {
            "quotes": self._quotes.changed({pair: self._quote(pair, quote) for pair, quote in quotes.items()}),
            "strategies": self._strategies.changed(strategies),
        }
        said = await self._try_pair(told)
        told["state"] = self._state.changed({"now": self._now(said)})
        told["anew"], self._anew = self._anew, ""
        return {part: change for part, change in told.items() if change}

    async def _try_pair(self, told: dict[str, Any]) -> str:
        """Why there is nothing to see of the pair, or no more; empty where there is."""
        if not self.pair:
            return ""
        whys = [await self._try(told, self._bars), await self._try(told, self._trades)]
        if self._turn % 2:
            whys.append(await self._try(told, self._opinions))
        said = next(filter(None, whys), "")
        if said and said != self._said:
            _log.warning("web.pair_unshown", pair=self.pair, why=said)
        self._said = said
        return said

    async def _try(self, told: dict[str, Any], part: Callable[[], Awaitable[Mapping[str, Any]]]) -> str:
        """Add a part of what is told; why it cannot be told, which keeps no other part from being so."""
        try:
            told |= await part()
        except (BusUnavailable, BusRefused) as error:
            return f"the bus: {error}"
        except CryptostreamError as error:
            return str(error)
        except (ValueError, ArithmeticError) as error:  # whoever can write to a stream can write any number
            self._candles = Candles()
            return f"{self.pair} has entries that cannot be shown: {error}"
        return ""

    def _now(self, said: str) -> Mapping[str, Any]:
        return {
            "pair": self.pair,
            "asked": self._asked,
            "interval": self.interval,
            "said": said,
            "ingesters": any(each.startswith("ingest") for each in self._probes.about().running),
            "redis": self._probes.health().redis_connected,
            "may_write": self._may_write,
        }

    def _quote(self, pair: str, quote: shown.Quote) -> Mapping[str, Any]:
        if self._turn % _SPARK_TURNS == 1 or not self._sparks.get(pair):
            self._sparks[pair] = sparks(quote.spark)
        return {
            "pair": quote.pair,
            "exchange": quote.exchange,
            "state": quote.state,
            "note": quote.note,
            "price": quote.price,
            "side": quote.side,
            "change": None if quote.change is None else round(quote.change, 5),
            "since": quote.change_since,
            "rate": None if quote.rate_per_s is None else round(quote.rate_per_s, 1),
            "spark": self._sparks[pair],
        }

    async def _bars(self) -> Mapping[str, Any]:
        return {"candles": self._candles.changed(await self._found_bars())}

    async def _found_bars(self) -> Sequence[shown.Bar]:
        if self.interval and not self._is_to_grow():
            return await self._probes.bars(self.pair, self.interval, limit=MOST)
        for interval in _BY_ITSELF:
            bars = await self._probes.bars(self.pair, interval, limit=MOST)
            if len(bars) >= ENOUGH:
                break
        self.interval = interval
        return bars

    def _is_to_grow(self) -> bool:
        """Whether a longer interval may show enough by now."""
        is_shortened = self._asked == "auto" and self.interval != _BY_ITSELF[0]
        return is_shortened and self._grows and self._turn % _GROW_TURNS == 0

    async def _trades(self) -> Mapping[str, Any]:
        trades = await self._probes.trades(self.pair, limit=_TAPE)
        rows = [_trade(trades[at]) for at in self._tape.fresh([each.id for each in trades])]
        return {"tape": {"rows": rows} if rows else None}

    async def _opinions(self) -> Mapping[str, Any]:
        of_all = await self._probes.signals(None, limit=_SIGNALS)
        of_pair = await self._probes.signals(self.pair, limit=_SIGNALS)
        logged = [_signal(of_all[at]) for at in self._signals.fresh([_key(each) for each in of_all])]
        marked = [_signal(of_pair[at]) for at in self._marks.fresh([_key(each) for each in of_pair])]
        return {"signals": {"rows": logged} if logged else None, "marks": {"rows": marked} if marked else None}


def pair_of(quote: shown.Quote) -> str:
    """A pair as probes are asked for it: with its exchange where its stream's name has it."""
    return quote.stream.removeprefix(_TRADES) if quote.stream.startswith(_TRADES) else quote.pair


def liveliest(quotes: Mapping[str, shown.Quote]) -> str:
    """The pair to begin with: where most is traded, and of those about as lively the dearest."""

    def place(pair: str) -> tuple[int, float, str]:
        quote = quotes[pair]
        return -int(quote.rate_per_s or 0.0).bit_length(), -float(quote.price or 0.0), pair

    return min(quotes, key=place)


def sparks(prices: Sequence[float]) -> list[int]:
    """Prices as heights from 0 to 99.

    >>> sparks([10.0, 12.0, 11.0]), sparks([5.0, 5.0])
    ([0, 99, 50], [50, 50])
    """
    low, high = min(prices, default=0.0), max(prices, default=0.0)
    if high <= low:
        return [50] * len(prices)
    return [round(99 * (price - low) / (high - low)) for price in prices]


def symbols(text: str) -> list[str]:
    """Symbols as people type them: with commas or spaces between, in any case.

    >>> symbols("btcusdt, ethusdt  ETHUSDT")
    ['BTCUSDT', 'ETHUSDT']
    """
    return list(dict.fromkeys(symbol.upper() for symbol in re.split(r"[\s,;]+", text) if symbol))


def _strategy(strategy: shown.Strategy) -> Mapping[str, Any]:
    """Of one that is `installed` another can be started; files and modules are for who writes configurations."""
    return {**strategy.model_dump(mode="json"), "installed": strategy.kind in registry.names("strategies")}


def _key(signal: shown.Signal) -> tuple[str, str, str, str]:
    return signal.exchange, signal.pair, signal.strategy, signal.id


def _signal(signal: shown.Signal) -> Mapping[str, Any]:
    told = signal.model_dump(mode="json", exclude={"values"})
    return {**told, "key": "/".join(_key(signal)), "values": _values(signal.values)}


def _values(values: Mapping[str, float]) -> Mapping[str, str]:
    return {name: f"{value:.6g}" for name, value in values.items()}


def _trade(trade: shown.Trade) -> Mapping[str, Any]:
    if trade.kind == "gap":
        return {"id": trade.id, "ts": trade.ts, "gap": [trade.gap_from, trade.gap_to], "cause": trade.cause}
    return {"id": trade.id, "ts": trade.ts, "price": trade.price, "qty": trade.qty, "side": trade.side}
