"""The market as the exchange shows it: a `hole` fault takes ids away from everything that is told of them."""

from collections.abc import Iterator

from cryptostream.sim.faults import Faults
from cryptostream.sim.market import SimAggregate, SimTrade, Trades


class Shown:
    """The trades of another market, without those that are lost in a hole."""

    def __init__(self, market: Trades, faults: Faults) -> None:
        self._market, self._faults = market, faults
        self.listings = market.listings

    def first_id(self, pair: str) -> int:
        return self._market.first_id(pair)

    def last_id(self, pair: str, at_us: int) -> int:
        return self._market.last_id(pair, at_us)

    def traded_by(self, pair: str, time_us: int) -> int:
        return self._market.traded_by(pair, time_us)

    def trades(self, pair: str, first: int, last: int) -> Iterator[SimTrade]:
        trades = self._market.trades(pair, first, last)
        if self._faults.holding("hole", pair=pair) is None:
            return trades
        return (trade for trade in trades if not self._faults.lost(pair, trade.id))

    def first_aggregate_id(self, pair: str) -> int:
        return self._market.first_aggregate_id(pair)

    def last_aggregate_id(self, pair: str, at_us: int) -> int:
        return self._market.last_aggregate_id(pair, at_us)

    def aggregates(self, pair: str, first: int, last: int) -> Iterator[SimAggregate]:
        return self._market.aggregates(pair, first, last)
