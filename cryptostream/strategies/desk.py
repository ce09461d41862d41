"""One stream's strategies at work: its trades become bars, bars and trades become signals. Live, replayed, backtested.

There is no other place where a strategy is called, so there is nothing that could differ between the three.
"""

from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import Any, get_args

from cryptostream.errors import StrategyFailed
from cryptostream.model import memory
from cryptostream.model.events import Bar, Entry, Event, Gap, Kline, Opinion, Signal, Trade
from cryptostream.strategies.base import Strategy
from cryptostream.transforms.bars import Bars, of_kline


class Desk:
    """The strategies of one pair, by name, and what builds their bars.

    `bars` is None where the stream gives klines, which are bars already, or where nobody wants bars.
    """

    def __init__(self, pair: str, strategies: Mapping[str, Strategy], bars: Bars | None) -> None:
        self.pair = pair
        self.bar: Bar | None = None
        """The newest closed bar."""
        self.skipping: Mapping[str, str] = {}
        """Strategies that leave out one entry, each with its id: they failed at it."""
        self._strategies = strategies
        self.bars = bars
        self._on_bar = {name: each.on_bar for name, each in strategies.items() if hasattr(each, "on_bar")}
        self._on_trade = {name: each.on_trade for name, each in strategies.items() if hasattr(each, "on_trade")}

    @property
    def wants_trades(self) -> bool:
        """Whether a strategy wants every trade, and not bars alone."""
        return bool(self._on_trade)

    @property
    def values(self) -> dict[str, dict[str, float | None]]:
        """The indicators of each strategy as they stand; what is no number counts as not yet."""
        return {name: dict(_numbers(each.values)) for name, each in self._strategies.items()}

    def on(self, event: Event | Entry) -> list[Signal]:
        """Take in the next event of the stream; what the strategies make of it, at most one signal each.

        Raises StrategyFailed, which names the strategy and the entry.
        """
        if type(event) is Trade:
            bar = self.bars.update(event) if self.bars is not None else None
            made = self.on_bar(bar) if bar is not None else []
            return _last(made, self._asked(self._on_trade, event, event.price)) if self._on_trade else made
        if isinstance(event, Gap) and self.bars is not None:
            self.bars.update(event)
        if isinstance(event, Kline) and event.closed:
            return self.on_bar(of_kline(event))
        return []

    def until(self, events: Iterable[Trade | Gap]) -> tuple[Trade | Gap, list[Signal]] | None:
        """Take in events up to the first that closes a bar or leads to signals: that one, and its signals.

        The same as `on` of each of them, in less time where nobody wants trades. Raises StrategyFailed.
        """
        if self.bars is not None and not self._on_trade:
            update = self.bars.update
            for event in events:
                bar = update(event)
                if bar is not None:
                    return event, self.on_bar(bar)
            return None
        before = self.bar
        for event in events:
            signals = self.on(event)
            if signals or self.bar is not before:
                return event, signals
        return None

    def on_bar(self, bar: Bar) -> list[Signal]:
        """Take in a closed bar. Raises StrategyFailed."""
        self.bar = bar
        return self._asked(self._on_bar, bar, bar.close)

    def __getstate__(self) -> dict[str, Any]:
        """What all of it remembers. Raises StrategyFailed for a strategy that cannot be saved."""
        return {
            "bars": memory.remembered(self.bars),
            "strategies": {name: self._memory(name, each) for name, each in self._strategies.items()},
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["strategies"].keys() != self._strategies.keys() or (state["bars"] is None) != (self.bars is None):
            raise ValueError(f"the memory is not that of {', '.join(self._strategies)} on these bars")
        if self.bars is not None:
            memory.recall(self.bars, state["bars"])
        for name, each in self._strategies.items():
            memory.recall(each, state["strategies"][name])

    def _asked(self, calls: Mapping[str, Any], event: Bar | Trade, price: float) -> list[Signal]:
        made: list[Signal] = []
        for name, call in calls.items():
            if self.skipping and self.skipping.get(name) == event.entry_id:
                continue
            try:
                opinions: Iterable[Signal] | None = call(event)
                if opinions:
                    made += [self._signed(name, opinion, event, price) for opinion in _one(list(opinions))]
            except (Exception, SystemExit) as error:
                raise self.failed(name, event.entry_id, error) from error
        return made

    def _signed(self, name: str, opinion: Signal, event: Bar | Trade, price: float) -> Signal:
        _check(opinion)
        return Signal(
            opinion.side,
            float(opinion.strength),  # an entry has no place for what numpy's numbers call themselves
            opinion.reason,
            {key: float(value) for key, value in opinion.values.items()},
            strategy=name,
            pair=self.pair,
            price=price,
            ts=event.ts,
            entry_id=event.entry_id,
        )

    def _memory(self, name: str, strategy: Strategy) -> Any:
        try:
            return memory.remembered(strategy, name)
        except TypeError as error:
            raise self.failed(name, self.bar.entry_id if self.bar is not None else "", error) from error

    def failed(self, name: str, entry_id: str, error: BaseException) -> StrategyFailed:
        """What is raised where a strategy is to blame."""
        told = f"strategy {name} of {self.pair} failed at entry {entry_id}: {type(error).__name__}: {error}"
        failed = StrategyFailed(told, hint="--debug shows where")
        failed.strategy, failed.entry_id = name, entry_id
        return failed


def _numbers(values: Mapping[str, object]) -> Iterator[tuple[str, float | None]]:
    for name, value in values.items():
        yield name, float(value) if isinstance(value, int | float) and isfinite(value) else None


def _one(opinions: list[Signal]) -> list[Signal]:
    if len(opinions) > 1:
        raise ValueError(f"it gave {len(opinions)} signals for one event: a strategy has one opinion at a time")
    return opinions


def _check(opinion: object) -> None:
    if not isinstance(opinion, Signal):
        raise TypeError(f"it gave a {type(opinion).__name__}, and not a Signal")
    if opinion.side not in get_args(Opinion):
        raise ValueError(f"{opinion.side!r} is no side: one of {', '.join(get_args(Opinion))}")
    if not 0 <= opinion.strength <= 1:
        raise ValueError(f"the strength {opinion.strength!r} is not from 0 to 1")
    for name, value in opinion.values.items():
        if not isfinite(value):
            raise ValueError(f"{name} is {value!r}: what stands in a signal is a number")


def _last(of_bar: list[Signal], of_trade: list[Signal]) -> list[Signal]:
    """What was said of the bar, but for those who have spoken again of the trade after it."""
    if not of_bar or not of_trade:
        return of_bar or of_trade
    again = {signal.strategy for signal in of_trade}
    return [signal for signal in of_bar if signal.strategy not in again] + of_trade
