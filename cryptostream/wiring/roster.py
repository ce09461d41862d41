"""Strategies by their names and parameters, to be made anew for each pair: live, in a backtest, in another process."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptostream.config import Config, ConsumerConfig
from cryptostream.config.strategies import Wish, wish
from cryptostream.strategies import loading
from cryptostream.strategies.base import Strategy
from cryptostream.strategies.desk import Desk
from cryptostream.transforms.bars import Bars, BarSpec, parse_bars

BARS = "1m"
"""What trades become where nobody says."""


@dataclass(frozen=True)
class Roster:
    """Which strategies, with which parameters, on which bars; it can be pickled. `paths` are where files may lie."""

    wishes: tuple[Wish, ...]
    bars: BarSpec
    paths: tuple[Path, ...]

    def desk(self, pair: str) -> Desk:
        """The strategies of one pair, made anew. Raises UsageError, ConfigError."""
        return Desk(pair, {each.label: self._made(each) for each in self.wishes}, Bars(self.bars))

    @property
    def labels(self) -> list[str]:
        """What the strategies' signals are called."""
        return [each.label for each in self.wishes]

    def only(self, label: str) -> "Roster":
        """One of the strategies alone."""
        return replace(self, wishes=tuple(each for each in self.wishes if each.label == label))

    @property
    def params(self) -> dict[str, dict[str, Any]]:
        """What each of them is set to, defaults too."""
        return {each.label: loading.settled(self._kind(each), each.params) for each in self.wishes}

    @property
    def warm_ups(self) -> dict[str, int]:
        """How many bars, or trades, each of them takes in before it can speak."""
        return {each.label: self._made(each).warm_up for each in self.wishes}

    @property
    def wants_trades(self) -> bool:
        """Whether one of them wants every trade."""
        return self.desk("").wants_trades

    @property
    def fingerprint(self) -> str:
        """The same for the same strategies, parameters and bars, and only then."""
        told = [(each.label, self._fingerprint(each)) for each in self.wishes]
        return sha256(repr((told, self.bars.text)).encode()).hexdigest()[:16]

    def _made(self, each: Wish) -> Strategy:
        return loading.make(each.name, each.params, paths=self.paths)

    def _fingerprint(self, each: Wish) -> str:
        return loading.fingerprint(self._kind(each), each.params)

    def _kind(self, each: Wish) -> type[Strategy]:
        return loading.find(each.name, paths=self.paths)


def roster(config: Config, told: ConsumerConfig) -> Roster:
    """The strategies of a consumer."""
    return of(tuple(map(wish, told.strategies)), told.bars, config.plugins.paths)


def of(wishes: Sequence[Wish], bars: str | None, paths: Sequence[Path]) -> Roster:
    """The same of their parts. Raises UsageError."""
    return Roster(tuple(wishes), parse_bars(bars or BARS), tuple(paths))
