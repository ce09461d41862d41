"""What wiring hands to the web: questions that it may ask (probes) and wishes that it may have (commands).

So the API and the dashboard know neither Redis nor files nor processes. What is not `async` answers from memory, within
microseconds and from any thread; what is may ask the bus, and raises BusUnavailable, BusRefused, NotFound, UsageError.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from cryptostream.model.events import Entry
from cryptostream.web import shown


class Probes(Protocol):
    """What is shown."""

    def about(self) -> shown.About: ...

    def health(self) -> shown.Health: ...

    def stats(self) -> Mapping[str, Any]:
        """All counters, in the shape of `stats -o json`."""

    def quotes(self) -> Sequence[shown.Quote]:
        """Every pair that has a stream of trades, or is followed, sorted by name."""

    def streams(self) -> Sequence[shown.Stream]: ...

    def groups(self) -> Sequence[shown.Group]: ...

    def pipeline(self) -> shown.Pipeline: ...

    def consumers(self) -> Sequence[shown.Consumer]: ...

    def strategies(self) -> Sequence[shown.Strategy]: ...

    def realtime(self) -> shown.Realtime: ...

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """The metrics, and their content type."""

    async def indicators(self, symbol: str) -> Sequence[shown.Indicators]: ...

    async def signals(
        self, symbol: str | None, *, strategy: str | None = None, since_ms: int | None = None, limit: int = 100
    ) -> Sequence[shown.Signal]:
        """The newest signals, oldest first; of all pairs without a symbol."""

    async def trades(
        self, pair: str, *, since_ms: int | None = None, until_ms: int | None = None, limit: int = 100
    ) -> Sequence[shown.Trade]:
        """The first `limit` from `since_ms` on, else the newest; oldest first. A pair may be `kraken:BTCUSD`."""

    async def bars(
        self,
        pair: str,
        interval: str,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        limit: int = 500,
    ) -> Sequence[shown.Bar]:
        """The newest `limit`, oldest first, the open one last; klines where the bus has them, else built from trades.

        Asked again and again for one pair and interval, it reads only what is new.
        """

    def events(self, streams: Sequence[str]) -> AsyncIterator[Sequence[Entry]]:
        """What comes to these streams (names or globs), in batches, for ever; what is there already does not.

        Raises UsageError at once, before anybody reads, for what is no stream, and where too many match.
        """

    async def letters(self, limit: int = 100) -> Sequence[shown.Letter]:
        """The newest dead letters of all queues."""

    async def reports(self) -> Sequence[shown.Report]:
        """Newest first."""

    async def curves(self, name: str) -> shown.Curves: ...

    async def page(self, name: str) -> Path:
        """The file of a report's page."""

    async def recordings(self) -> Sequence[str]:
        """Files and folders that a backtest may read, as its `sources` take them."""

    def jobs(self) -> Sequence[shown.Job]:
        """Backtests that were asked for here, newest first."""


class Commands(Protocol):
    """What may be wished for. Each waits for the answers of the processes that are to obey.

    Raises Unreachable where none of them runs, NoAnswer where none had anything to say in time.
    """

    async def watchlist(self, wanted: shown.Watchlist) -> shown.Answered:
        """Follow these pairs, too, or no more."""

    async def start(self, wanted: shown.Start) -> shown.Answered:
        """A strategy: a new one, or one that was stopped, which goes on where it was."""

    async def stop(self, name: str) -> shown.Answered:
        """A strategy, by the name of its signals or of its consumer."""

    async def parameters(self, name: str, parameters: Mapping[str, Any]) -> shown.Answered: ...

    async def pause(self, consumer: str) -> shown.Answered: ...

    async def resume(self, consumer: str) -> shown.Answered: ...

    async def retry(self, queue: str, ids: Sequence[str]) -> shown.Retried:
        """Put dead letters back into their streams; how many that were, and why the others stay."""

    async def backtest(self, wanted: shown.Backtest) -> shown.Job: ...
