"""Trades written by hand, strategies that say what they are told to say, and desks for them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cryptostream.backtest.block import Block
from cryptostream.model.events import Bar, Gap, Micros, Opinion, Signal, Trade
from cryptostream.strategies.desk import Desk
from cryptostream.transforms.bars import Bars, BarSpec, parse_bars

S = 1_000_000
"""A second, in microseconds."""


def trade(number: int, ts_us: int, price: float, qty: float = 1.0, side: str = "buy") -> Trade:
    assert side in ("buy", "sell")
    return Trade(
        f"{ts_us // 1_000}-{number}",
        "binance",
        "BTCUSDT",
        price,
        qty,
        Micros(ts_us),
        "buy" if side == "buy" else "sell",
        number,
    )


def prices(*each: float, every_us: int = S) -> list[Trade]:
    """Trades one after the other, the first at second 0, numbered from 1."""
    return [trade(number, (number - 1) * every_us, price) for number, price in enumerate(each, 1)]


@dataclass
class Trades:
    """A series of trades (and gaps), cut into blocks of some size."""

    events: Sequence[Trade | Gap]
    block: int = 500
    exchange: str = "binance"
    pair: str = "BTCUSDT"
    stream: str = "trades:BTCUSDT"
    size: int = 0

    def blocks(self) -> Iterator[Block]:
        if self.events:
            whole = Block.of(self.events)
            for start in range(0, len(whole), self.block):
                yield whole.part(start, min(start + self.block, len(whole)))


@dataclass
class Klines:
    """A series of klines; each bar is (open, close), a minute long, told 50 ms after its end."""

    each: Sequence[tuple[float, float]]
    exchange: str = "binance"
    pair: str = "BTCUSDT"
    stream: str = "klines:BTCUSDT:1m"
    interval: str = "1m"
    size: int = 0

    def bars(self) -> Iterator[Bar]:
        for number, (opened, closed) in enumerate(self.each):
            begin, end = number * 60_000, number * 60_000 + 59_999
            high, low = max(opened, closed), min(opened, closed)
            ts = Micros((end + 50) * 1_000)
            told = (f"{end}-1", "binance", "BTCUSDT", "1m", begin, end, opened, high, low, closed)
            yield Bar(*told, volume=1.0, quote_volume=1.0, trades=1, taker_buy_volume=0.0, gap=False, ts=ts)


@dataclass
class Says:
    """Says something of some bars, by their number from 0."""

    of_bars: Mapping[int, Opinion] = field(default_factory=dict)
    seen: int = 0
    warm_up: int = 1

    @property
    def values(self) -> dict[str, float | None]:
        return {"seen": float(self.seen) if self.seen > 1 else None}

    def on_bar(self, bar: Bar) -> list[Signal]:
        side = self.of_bars.get(self.seen)
        self.seen += 1
        return [] if side is None else [Signal(side, reason=f"{side} {self.seen - 1}")]


@dataclass
class Shouts:
    """Says something of some trades, by their number."""

    of_trades: Mapping[int, Opinion] = field(default_factory=dict)
    warm_up: int = 1

    @property
    def values(self) -> dict[str, float | None]:
        return {}

    def on_trade(self, trade: Trade) -> list[Signal]:
        side = self.of_trades.get(trade.trade_id)
        return [] if side is None else [Signal(side, reason=f"{side} {trade.trade_id}")]


def desk_of(bars: BarSpec | str, **strategies: Callable[[], Says | Shouts]) -> Callable[[], Desk]:
    """Makes desks of strategies that are made anew each time."""
    spec = parse_bars(bars) if isinstance(bars, str) else bars
    return lambda: Desk("BTCUSDT", {name: make() for name, make in strategies.items()}, Bars(spec))
