"""What a strategy is: bars or trades in, opinions out."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from cryptostream.model.events import Bar, Signal, Trade

__all__ = ["OnBar", "OnTrade", "Strategy"]


class Strategy(Protocol):
    """One strategy of one pair. Beside this it has `on_bar`, `on_trade`, or both (`OnBar`, `OnTrade`).

    It is made with its parameters as keywords, each with a type and a default, and raises ValueError for those that
    make no sense. All it remembers is in its attributes (`model/memory.py`). It gives at most one signal for an event:
    side, strength, reason and values; its desk fills in the rest. It asks no clock and draws no lots.

    `loading.make` holds it to this. Those of this room take a bar that is marked `gap` as any other: its close is a
    price that was paid, and to leave the bar out would only make the gap longer.
    """

    @property
    def warm_up(self) -> int:
        """Bars, or trades where it wants these, that it takes in before it can give its first signal."""

    @property
    def values(self) -> Mapping[str, float | None]:
        """Its indicators as they stand, by name; None while they are not ready.

        They become fields of the signal's entry, so the names of its own fields (`price`, `ts`, ...) are taken.
        """


class OnBar(Protocol):
    """Wants closed bars."""

    def on_bar(self, bar: Bar) -> Iterable[Signal]: ...


class OnTrade(Protocol):
    """Wants every trade."""

    def on_trade(self, trade: Trade) -> Iterable[Signal]: ...
