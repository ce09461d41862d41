"""One pair through one desk: bars and trades to the strategies, their signals to the broker, and what came of it.

Trades come by columns. In *events* mode each of them is an event that goes through the live objects. In *bars* mode
the bars are built from the columns, the strategies see these alone, and the trade that fills an order is looked for in
the columns. Both do the same at the same entries, so they give the same signals, fills and equity, to the last bit.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Literal, Protocol, cast

from cryptostream.backtest.block import BarSeries, Block, Ints, TradeSeries
from cryptostream.backtest.broker import Account, Broker
from cryptostream.backtest.candles import Kept
from cryptostream.backtest.columns import BarColumns
from cryptostream.backtest.result import PairResult
from cryptostream.backtest.terms import Size, Terms
from cryptostream.errors import UsageError
from cryptostream.model.events import Bar, Gap, Micros, Signal, Trade
from cryptostream.transforms.bars import BarSpec

BENCHMARK = "buy and hold"
"""The account of the benchmark: buys because of the first bar, with all its cash, and holds."""

Mode = Literal["auto", "bars", "events"]
Progress = Callable[[int], None]
"""Told how many more trades (or klines) are done."""

_WINDOW = 256


class Desk(Protocol):
    """The strategies of one pair, by name, as `strategies/desk.py` has them. What they raise is not caught here."""

    @property
    def bar(self) -> Bar | None:
        """The newest closed bar."""

    @property
    def wants_trades(self) -> bool:
        """Whether a strategy wants every trade, and not bars alone."""

    @property
    def values(self) -> Mapping[str, Mapping[str, float | None]]:
        """The indicators of each strategy as they stand; every strategy is in it."""

    def on(self, event: Trade | Gap, /) -> list[Signal]: ...

    def until(self, events: Iterator[Trade | Gap], /) -> tuple[Trade | Gap, list[Signal]] | None:
        """Take in events up to the first that closes a bar or leads to signals: that one, and its signals."""

    def on_bar(self, bar: Bar, /) -> list[Signal]: ...


def run(
    series: TradeSeries | BarSeries,
    make_desk: Callable[[], Desk],
    spec: BarSpec,
    terms: Terms,
    *,
    mode: Mode = "auto",
    charts: bool = True,
    progress: Progress | None = None,
) -> PairResult:
    """Backtest the strategies of a desk on one pair, each with `terms.cash` of its own.

    `auto` takes every trade through the desk where a strategy wants them, and bars alone where none does. `spec` is
    how the desk cuts its bars; a series of klines has its own. Without `charts` neither candles nor indicators nor the
    benchmark are kept.

    Raises UsageError for terms that do not fit the series or the strategies, and what the series and the desk raise:
    DataQuality, StrategyFailed.
    """
    desk = make_desk()
    done = progress or _unheard
    if (klines := _klines(series)) is not None:
        return _over_klines(klines, desk, spec, terms, charts, done)
    trades = cast(TradeSeries, series)
    _check(trades, desk, terms, mode)
    events = mode == "events" or (mode == "auto" and desk.wants_trades)
    pair = _Events(desk, terms, spec, charts) if events else _Columns(desk, terms, spec, charts)
    for block in trades.blocks():
        pair.add(block)
        pair.count(block)
        done(len(block))
    return pair.result(trades)


def _klines(series: TradeSeries | BarSeries) -> BarSeries | None:
    return cast(BarSeries, series) if hasattr(series, "bars") else None


def _unheard(_: int) -> None:
    return None


def _over_klines(
    series: BarSeries, desk: Desk, spec: BarSpec, terms: Terms, charts: bool, done: Progress
) -> PairResult:
    if desk.wants_trades:
        raise UsageError(f"{series.stream} has no trades, and a strategy wants every trade")
    if terms.latency_ms:
        hint = "leave out --latency: orders are filled at the open of the next kline"
        raise UsageError(f"{series.stream} has no trades, so latency says nothing", hint=hint)
    pair = _Klines(desk, terms, spec, charts)
    for bar in series.bars():
        pair.add(bar)
        done(1)
    return pair.result(series)


def _check(series: TradeSeries, desk: Desk, terms: Terms, mode: Mode) -> None:
    if desk.wants_trades and mode == "bars":
        raise UsageError(f"bars mode leaves out the trades of {series.stream}, and a strategy wants every trade")
    if desk.wants_trades and terms.fill == "bar-open":
        hint = "fill with the next trade"
        raise UsageError("a strategy wants every trade: it does not wait for a bar to open", hint=hint)


class _Pair:
    """What all three ways have in common: the accounts, the chart, the end of the data."""

    def __init__(self, desk: Desk, terms: Terms, spec: BarSpec, charts: bool) -> None:
        self.desk = desk
        self.broker = Broker(desk.values, terms)
        self.last: tuple[Micros, float] | None = None
        self.trades = self.gaps = 0
        self._kept = Kept() if charts else None
        self._hold = charts
        self._at_open = terms.fill == "bar-open" and spec.kind == "time"
        self._ruined: list[Account] = []
        if charts:
            self.broker.accounts[BENCHMARK] = Account(replace(terms, size=Size(1.0, "share")))

    def closed(self, bar: Bar) -> None:
        """A bar closed, and the desk has seen it."""
        self._ruined = self.broker.mark(bar.ts, bar.close)
        if self._kept is not None:
            self._kept.add(bar, self.desk.values)

    def decides(self, signals: list[Signal]) -> bool:
        """Whether the bar that just closed leads to orders, or to signals at least."""
        return bool(signals or self._ruined or self._hold)

    def decided(self, bar: Bar, signals: list[Signal], opens_at: float) -> None:
        """Take in what follows from a bar. `opens_at` is the price of the trade that closed it."""
        for account in self._ruined:
            account.give_up(bar.entry_id, bar.ts)
        if self._hold:
            self._hold = False
            signals = [*signals, _holding(bar)]
        self.broker.take(signals)
        if self._at_open:
            # The trade past a time bar's boundary is the first of the next bar: its price is the open.
            self.broker.trade(bar.entry_id, bar.ts, opens_at)

    def count(self, block: Block) -> None:
        self.trades += len(block)
        self.gaps += len(block.gaps)
        self.last = Micros(int(block.ts[-1])), float(block.price[-1])

    def result(self, series: TradeSeries | BarSeries) -> PairResult:
        """All of it, at the end of the data."""
        ts, price = self.last or (Micros(0), 0.0)
        if self.last is not None:
            self.broker.mark(ts, price)
        books = {
            name: account.book(name, series.exchange, series.pair, price)
            for name, account in self.broker.accounts.items()
        }
        kept = self._kept or Kept()
        return PairResult(
            exchange=series.exchange,
            pair=series.pair,
            stream=series.stream,
            trades=self.trades,
            gaps=self.gaps,
            candles=kept.candles(),
            benchmark=books.pop(BENCHMARK, None),
            books=books,
            values=kept.values(),
        )


def _holding(bar: Bar) -> Signal:
    return Signal("buy", strategy=BENCHMARK, pair=bar.pair, price=bar.close, ts=bar.ts, entry_id=bar.entry_id)


class _Events(_Pair):
    """Every trade and gap through the desk."""

    def add(self, block: Block) -> None:
        events, bar = block.events(), self.desk.bar
        while (found := self._next(events)) is not None:
            event, signals = found
            if self.desk.bar is not bar:
                bar = self.desk.bar
                self._closing(event, bar, signals)
            else:
                self._between(event, signals)

    def _next(self, events: Iterator[Trade | Gap]) -> tuple[Trade | Gap, list[Signal]] | None:
        """The next event that may lead to anything, and its signals: while an order waits, that is each of them."""
        if not self.broker.waiting:
            return self.desk.until(events)
        for event in events:
            return event, self.desk.on(event)
        return None

    def _closing(self, event: Trade | Gap, bar: Bar | None, signals: list[Signal]) -> None:
        if bar is None or type(event) is not Trade:
            raise AssertionError("only a trade closes a bar")
        self.closed(bar)
        if self.broker.waiting:
            self.broker.trade(event.entry_id, event.ts, event.price)
        if self.decides(signals):
            self.decided(bar, signals, event.price)

    def _between(self, event: Trade | Gap, signals: list[Signal]) -> None:
        if type(event) is Trade:
            self.broker.trade(event.entry_id, event.ts, event.price)
        self.broker.take(signals)


class _Columns(_Pair):
    """Bars from the columns of a block; the trades that fill orders are found in them."""

    def __init__(self, desk: Desk, terms: Terms, spec: BarSpec, charts: bool) -> None:
        super().__init__(desk, terms, spec, charts)
        self._columns = BarColumns(spec)

    def add(self, block: Block) -> None:
        self._look(block, 0)
        closed = self._columns.add(block)
        for bar, row in zip(closed.bars(), closed.row.tolist(), strict=True):
            self._bar(block, bar, row)
        self._fill(block, len(block))
        for account in self.broker.waiting:
            if account.order is not None:
                account.order.row = None

    def _bar(self, block: Block, bar: Bar, row: int) -> None:
        if self.broker.waiting:
            self._fill(block, row)
        signals = self.desk.on_bar(bar)
        self.closed(bar)
        if self.broker.waiting:
            self._fill(block, row + 1)
        if self.decides(signals):
            self.decided(bar, signals, float(block.price[row]))
            self._look(block, row + 1)

    def _look(self, block: Block, start: int) -> None:
        """Find the row that fills each order that is new; it may be behind the end."""
        for account in self.broker.waiting:
            if account.order is not None and account.order.row is None:
                account.order.row = _first(block.ts, start, account.order.due)

    def _fill(self, block: Block, stop: int) -> None:
        """Fill the orders whose rows are before this one."""
        for account in self.broker.waiting:
            row = account.order.row if account.order is not None else None
            if row is not None and row < stop:
                account.fill(block.entry_id(row), Micros(int(block.ts[row])), float(block.price[row]))
        self.broker.look()


class _Klines(_Pair):
    """Klines, which are bars already: orders are filled at the open of the next."""

    def __init__(self, desk: Desk, terms: Terms, spec: BarSpec, charts: bool) -> None:
        super().__init__(desk, terms, spec, charts)
        self._at_open = False

    def add(self, bar: Bar) -> None:
        if self.broker.waiting:
            self._opened(bar)
        signals = self.desk.on_bar(bar)
        self.closed(bar)
        if self.decides(signals):
            self.decided(bar, signals, bar.close)
        self.gaps += bar.gap
        self.last = bar.ts, bar.close

    def _opened(self, bar: Bar) -> None:
        for account in self.broker.waiting:
            if account.order is not None:
                account.fill(bar.entry_id, Micros(max(account.order.due, bar.open_time * 1_000)), bar.open)
        self.broker.look()


def _first(ts: Ints, start: int, due: int) -> int:
    """The first row from this one on that is not before a time, or the number of rows. Times need not ascend."""
    width = _WINDOW
    while start < len(ts):
        there = ts[start : start + width] >= due
        found = int(there.argmax())
        if there[found]:
            return start + found
        start, width = start + width, width * 4
    return len(ts)
