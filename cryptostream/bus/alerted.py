"""Which alerts were told, and alerts as entries of a stream.

    alerted:<group>:<stream>:<entry id>   there for a day after the target of this group took the alert

Whoever is given an entry again, after a restart or from a member that is gone, looks there before telling it.
"""

from typing import Any

from cryptostream.bus.ask import asking
from cryptostream.bus.connect import Bus
from cryptostream.engine.telling import Ledger, Target
from cryptostream.errors import BusRefused
from cryptostream.model.codec import iso
from cryptostream.transforms.alerts import Alert

TTL_S = 86_400
MAXLEN = 10_000
"""About how many alerts a stream keeps."""


def alerted_key(group: str, alert: Alert) -> str:
    """What says that an alert was told.

    >>> from cryptostream.model.events import Micros
    >>> alerted_key("alert-strong-mail", Alert("strong", "signals:macd_rsi:BTCUSDT", "1-2", Micros(0), {}, ""))
    'alerted:alert-strong-mail:signals:macd_rsi:BTCUSDT:1-2'
    """
    return f"alerted:{group}:{alert.stream}:{alert.entry_id}"


class Alerted(Ledger):
    """What the target of one group has taken. Raises BusUnavailable, BusRefused."""

    def __init__(self, bus: Bus, group: str) -> None:
        self._bus = bus
        self._group = group

    async def has(self, alert: Alert) -> bool:
        """Whether it was told within the last day."""
        key = alerted_key(self._group, alert)
        with asking(self._bus, key):
            return bool(await self._bus.command.exists(key))

    async def note(self, alert: Alert) -> None:
        """It has been told."""
        key = alerted_key(self._group, alert)
        with asking(self._bus, key):
            await self._bus.command.set(key, "1", ex=TTL_S)


class AlertStream(Target):
    """Writes alerts to a stream of about MAXLEN entries; `fields` says which fields one has.

    The entry and the note that it was told are one transaction, so that an alert stands there once; in a cluster, where
    the two may be on different servers, a process that is killed between them leaves it twice.
    """

    def __init__(self, bus: Bus, group: str, stream: str) -> None:
        self._bus = bus
        self._group = group
        self._stream = stream

    async def tell(self, alert: Alert) -> None:
        """Append it. Raises BusUnavailable, BusRefused."""
        told: dict[Any, Any] = {**fields(alert)}
        with asking(self._bus, self._stream):
            kind = await self._bus.command.type(self._stream)
        if kind not in ("stream", "none"):  # a transaction would fail in its first half alone
            raise BusRefused(f"{self._stream} is not a stream", hint="delete it, or name another one for the alerts")
        pipeline = self._bus.command.pipeline(transaction=not self._bus.is_cluster)
        pipeline.xadd(self._stream, told, maxlen=MAXLEN, approximate=True)
        pipeline.set(alerted_key(self._group, alert), "1", ex=TTL_S)
        with asking(self._bus, self._stream):
            await pipeline.execute()


def fields(alert: Alert) -> dict[str, str]:
    """The fields of the entry that an alert becomes: its own, and those of the entry that caused it behind `entry.`.

    >>> from cryptostream.model.events import Micros
    >>> fields(Alert("strong", "signals:x:BTCUSDT", "1-2", Micros(0), {"side": "buy"}, "strong: buy"))["entry.side"]
    'buy'
    """
    return {
        "rule": alert.rule,
        "stream": alert.stream,
        "entry_id": alert.entry_id,
        "text": alert.text,
        "held_back": str(alert.held_back),
        "ts": iso(alert.ts),
        **{f"entry.{name}": value for name, value in alert.fields.items()},
    }
