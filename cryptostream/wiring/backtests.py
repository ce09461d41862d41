"""Backtests as tasks that any process can do: one pair, some strategies, a stretch of time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

from cryptostream.backtest.block import BarSeries, Block, TradeSeries
from cryptostream.backtest.result import PairResult
from cryptostream.backtest.run import Mode, Progress, run
from cryptostream.backtest.terms import Terms
from cryptostream.model.events import Bar, Gap, Signal, Trade
from cryptostream.strategies.desk import Desk
from cryptostream.wiring.roster import Roster

_EVER_MS = 1 << 62


@dataclass(frozen=True)
class Task:
    """A backtest of one pair. Times are microseconds, the ends not included; before `quiet_until` nobody is heard."""

    series: TradeSeries | BarSeries
    roster: Roster
    terms: Terms
    mode: Mode = "auto"
    charts: bool = True
    start: int | None = None
    end: int | None = None
    quiet_until: int | None = None


def work(task: Task, progress: Progress | None = None) -> PairResult:
    """Do it. Raises what `backtest.run` raises."""
    return run(
        cut(task.series, task.start, task.end),
        lambda: _desk(task),
        task.roster.bars,
        task.terms,
        mode=task.mode,
        charts=task.charts,
        progress=progress,
    )


def _desk(task: Task) -> "Desk | Quiet":
    desk = task.roster.desk(task.series.pair)
    return Quiet(desk, task.quiet_until) if task.quiet_until is not None else desk


class Quiet:
    """A desk that takes everything in, and says nothing before a time."""

    def __init__(self, desk: Desk, until_us: int) -> None:
        self._desk = desk
        self._until_us = until_us

    @property
    def bar(self) -> Bar | None:
        return self._desk.bar

    @property
    def wants_trades(self) -> bool:
        return self._desk.wants_trades

    @property
    def values(self) -> dict[str, dict[str, float | None]]:
        return self._desk.values

    def on(self, event: Trade | Gap) -> list[Signal]:
        return self._heard(self._desk.on(event))

    def until(self, events: Iterable[Trade | Gap]) -> tuple[Trade | Gap, list[Signal]] | None:
        found = self._desk.until(events)
        return None if found is None else (found[0], self._heard(found[1]))

    def on_bar(self, bar: Bar) -> list[Signal]:
        return self._heard(self._desk.on_bar(bar))

    def _heard(self, signals: list[Signal]) -> list[Signal]:
        return [signal for signal in signals if signal.ts >= self._until_us]


def cut(
    series: TradeSeries | BarSeries, start_us: int | None, end_us: int | None
) -> "TradeSeries | BarSeries | Stretch | Klines":
    """What of a series lies between two times, in microseconds; the end is not part of it."""
    if start_us is None and end_us is None:
        return series
    first = 0 if start_us is None else -(-start_us // 1000)
    last = _EVER_MS if end_us is None else (end_us - 1) // 1000
    if hasattr(series, "blocks"):
        return Stretch(cast(TradeSeries, series), first, last)
    return Klines(series, first, last)


class Stretch:
    """The trades of a series from one millisecond to another, both included."""

    def __init__(self, series: TradeSeries, first_ms: int, last_ms: int) -> None:
        self.exchange, self.pair, self.stream, self.size = series.exchange, series.pair, series.stream, series.size
        self._series, self._first_ms, self._last_ms = series, first_ms, last_ms

    def blocks(self) -> Iterator[Block]:
        """Its trades in order."""
        for block in self._series.blocks():
            if block.ms[0] > self._last_ms:
                return
            if (part := block.between(self._first_ms, self._last_ms)) is not None:
                yield part


class Klines:
    """The klines of a series that close from one millisecond to another, both included."""

    def __init__(self, series: BarSeries, first_ms: int, last_ms: int) -> None:
        self.exchange, self.pair, self.stream, self.size = series.exchange, series.pair, series.stream, series.size
        self.interval = series.interval
        self._series, self._first_ms, self._last_ms = series, first_ms, last_ms

    def bars(self) -> Iterator[Bar]:
        """Its klines in order."""
        for bar in self._series.bars():
            if bar.close_time > self._last_ms:
                return
            if bar.close_time >= self._first_ms:
                yield bar
