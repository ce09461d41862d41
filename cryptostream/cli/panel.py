"""The demo's live panel: the newest trades as the bus holds them, so that what is shown has gone the whole way."""

from collections import deque

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cryptostream.bus import history
from cryptostream.bus.ask import asking, heed_cancellation
from cryptostream.bus.connect import Bus
from cryptostream.cli import render
from cryptostream.cli.status import line
from cryptostream.model import codec
from cryptostream.model.events import Trade
from cryptostream.model.ports import Clock
from cryptostream.wiring import Ingest

_EVERY_S = 0.5
_BARS = "▁▂▃▄▅▆▇█"
_KEPT = 40


class Panel:
    """Repaints prices, rates and lag twice a second; off a terminal it prints one line of facts every few seconds."""

    def __init__(self, clock: Clock, bus: Bus, stage: Ingest) -> None:
        self._clock = clock
        self._bus = bus
        self._stage = stage
        self._history: dict[str, deque[float]] = {}
        self._messages = 0
        self._added: dict[str, int] = {}

    async def __call__(self) -> None:
        """Repaint until cancelled."""
        console = render.err()
        if not console.is_terminal:
            await self._lines()
        with Live(console=console, auto_refresh=False) as live:
            while True:
                await self._clock.sleep(_EVERY_S)
                live.update(await self._painted(), refresh=True)
                heed_cancellation()

    async def _lines(self) -> None:
        while True:
            await self._clock.sleep(5.0)
            render.note(str(self._status(5.0)))

    async def _painted(self) -> RenderableType:
        table = Table(box=None, header_style="dim", pad_edge=False)
        for name in ("pair", "price", "last 20 s", "side", "qty", "trades/s", "age"):
            table.add_column(name, justify="right" if name in ("price", "qty", "trades/s", "age") else "left")
        for pair, key in self._stage.trade_streams.items():
            table.add_row(*await self._row(pair, key))
        return Group(table, Text(), self._status(_EVERY_S))

    async def _row(self, pair: str, key: str) -> list[Text]:
        found = await history.last(self._bus, key, 1)
        if not found:
            return [Text(pair), Text("waiting for its first trade", style="dim")]
        [entry] = found
        trade = codec.event(key, entry.entry_id, entry.fields)
        if not isinstance(trade, Trade):
            return [Text(pair), Text("a gap", style="yellow")]
        seen = self._history.setdefault(pair, deque(maxlen=_KEPT))
        seen.append(trade.price)
        buys = trade.side == "buy"
        age_ms = max(0.0, self._clock.now_ns() / 1e6 - trade.ts / 1e3)
        return [
            Text(pair, style="bold"),
            Text(f"{trade.price:,.8g}", style="green" if buys else "red"),
            Text(spark(list(seen))),
            Text("▲ buy" if buys else "▼ sell", style="green" if buys else "red"),
            Text(f"{trade.qty:g}"),
            Text(f"{await self._rate(key):,.0f}"),
            Text(f"{age_ms:,.0f} ms"),
        ]

    async def _rate(self, key: str) -> float:
        """Entries a second since the last repaint, from what Redis counted."""
        with asking(self._bus, key):
            added = int((await self._bus.command.xinfo_stream(key)).get("entries-added", 0))
        before, self._added[key] = self._added.get(key, added), added
        return (added - before) / _EVERY_S

    def _status(self, elapsed_s: float) -> Text:
        feed, published, pairs = self._stage.read()
        rate = (feed.total_messages - self._messages) / elapsed_s
        self._messages = feed.total_messages
        return line(rate, pairs, feed, published)


def spark(values: list[float]) -> str:
    """A line of bars, lowest to highest.

    >>> spark([1.0, 2.0, 3.0]), spark([5.0, 5.0])
    ('▁▅█', '▁▁')
    """
    low, high = min(values), max(values)
    top = len(_BARS) - 1
    return "".join(_BARS[round((value - low) / (high - low) * top) if high > low else 0] for value in values)
