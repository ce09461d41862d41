"""The one way in: trades and klines from sockets and REST pages alike, in order and once, into the inbox."""

from collections.abc import Sequence

import msgspec

from cryptostream import logs
from cryptostream.feed.inbox import Inbox
from cryptostream.model.events import GapRecord, KlineRecord, Ledger, LedgerRecord, Micros, Record, TradeRecord
from cryptostream.model.instrument import Channel, Subscription, Wanted
from cryptostream.model.ports import Clock
from cryptostream.venues.candles import Candles
from cryptostream.venues.continuity import Continuity

_EXPECTED = frozenset({"connected", "gap_filled", "resumed", "drained", "pairs_changed"})
_log = logs.get("feed")


class Door:
    """Puts records into the inbox through the order of their lines, and keeps the ledger of what befell them.

    What the inbox has no room for is counted in `dropped` and wanted again: its lines are rewound, so that everything
    after it waits until it was fetched. Without `candles`, klines pass as they come.
    """

    def __init__(
        self, continuity: Continuity, candles: Candles | None, inbox: Inbox, clock: Clock, exchange: str, ingester: str
    ) -> None:
        self.dropped = 0
        self._continuity = continuity
        self._candles = candles
        self._inbox = inbox
        self._clock = clock
        self._ledger = Ledger(exchange)
        self._ingester = ingester

    def receive(self, records: Sequence[Record], arrived_ns: int | None = None) -> None:
        """Take what came from a socket or a page; `arrived_ns` is now unless it is known."""
        ready = self._continuity.receive(records)
        if ready is not records and self._candles is not None:  # else all of them are trades
            ready = self._candles.receive(ready)
        if ready and not self._inbox.put(ready, arrived_ns or self._clock.now_ns()):
            self._lose(ready)

    def release(self, records: Sequence[Record]) -> None:
        """Let records go on as they are: gaps that stay, and what waited behind them."""
        if records and not self._inbox.put(records, self._clock.now_ns()):
            self._lose(records)

    def rewind(self, wanted: Subscription, last_id: int) -> None:
        """What a line let through after an id (of klines: after a time in milliseconds) is lost, and wanted again."""
        if wanted.channel is not Channel.KLINES:
            self._continuity.rewind(wanted, last_id)
        elif self._candles is not None:
            self._candles.rewind(wanted, last_id)

    def tell(
        self,
        event: str,
        *,
        subscription: Subscription | None = None,
        cause: str = "",
        url: str = "",
        gap_from: int | None = None,
        gap_to: int | None = None,
        count: int | None = None,
        seconds: float | None = None,
        expected: bool = False,
    ) -> None:
        """Write a line into the ledger and the log; `expected` says that it is no trouble."""
        line = LedgerRecord(
            self._ledger,
            event,
            Micros(self._clock.now_ns() // 1000),
            pair=subscription.pair if subscription else "",
            channel=channel(subscription) if subscription else "",
            cause=cause,
            url=url,
            gap_from=gap_from,
            gap_to=gap_to,
            count=count,
            seconds=seconds,
            ingester=self._ingester,
        )
        log = _log.info if expected or event in _EXPECTED else _log.warning
        log(f"feed.{event}", exchange=self._ledger.exchange, **_facts(line))
        self.release((line,))

    def _lose(self, records: Sequence[Record]) -> None:
        """Nothing of it went on: each line goes back to before the first record that is lost."""
        self.dropped += len(records)
        first: dict[Subscription, int] = {}
        for record in records:
            if isinstance(record, TradeRecord):
                first.setdefault(record.subscription, record.trade_id)
            elif isinstance(record, GapRecord):
                first.setdefault(record.subscription, record.gap_from)
            elif isinstance(record, KlineRecord):
                first.setdefault(record.subscription, record.open_time)
        for wanted, lost in first.items():
            self.rewind(wanted, lost - 1)


def _facts(line: LedgerRecord) -> dict[str, object]:
    """What there is to say about a line beside its event."""
    unsaid = ("subscription", "event", "ts", "ingester")
    told = {name: value for name, value in msgspec.structs.asdict(line).items() if name not in unsaid}
    return {name: value for name, value in told.items() if value not in ("", None)}


def channel(wanted: Subscription) -> str:
    """A subscription's channel as people write it: `trades`, `klines:1m`."""
    return str(Wanted(wanted.channel, wanted.interval))
