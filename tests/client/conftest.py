"""A market in a few trades, and a consumer of it, on both engines."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from cryptostream import Consumer
from cryptostream.bus.connect import Bus, connect
from cryptostream.engine.clock import SystemClock
from cryptostream.model import codec
from cryptostream.model.events import GapRecord, Micros, TradeRecord
from cryptostream.model.instrument import Channel, Subscription

T0_MS = 1_731_605_400_000


class Market:
    """Writes trades; the number of a trade is its id, its second of that day and its price."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus

    async def trades(self, pair: str, *numbers: int) -> None:
        for number in numbers:
            ts = Micros((T0_MS + number * 1000) * 1000)
            record = TradeRecord(_subscription(pair), f"{number}.00000000", "1.00000000", ts, "buy", number)
            await self.add(f"trades:{pair}", f"{T0_MS + number * 1000}-{number}", codec.fields(record))

    async def gap(self, pair: str, first: int, last: int) -> None:
        ts = Micros((T0_MS + first * 1000) * 1000)
        record = GapRecord(_subscription(pair), first, last, "drop", ts)
        await self.add(f"trades:{pair}", f"{T0_MS + first * 1000}-{first}", codec.fields(record))

    async def add(self, stream: str, entry_id: str, fields: dict[Any, Any]) -> None:
        await self.bus.command.xadd(stream, fields, id=entry_id)

    async def pending(self, group: str = "g", pair: str = "BTCUSDT") -> int:
        found: Any = await self.bus.command.xpending(f"trades:{pair}", group)
        return int(found["pending"])

    async def entries(self, stream: str) -> list[tuple[str, dict[str, str]]]:
        return list(await self.bus.command.xrange(stream))


def _subscription(pair: str) -> Subscription:
    return Subscription("binance", Channel.TRADES, pair)


@pytest.fixture
async def market(bus_url: str, tmp_path: Path) -> AsyncIterator[Market]:
    async with connect(bus_url, data_dir=tmp_path, clock=SystemClock()) as bus:
        yield Market(bus)


@pytest.fixture
def consumer(bus_url: str, tmp_path: Path) -> Callable[..., Consumer]:
    """A consumer of the group "g"; of all trades, unless told."""

    def make(streams: str | list[str] = "trades:*", **options: Any) -> Consumer:
        return Consumer(bus_url, **{"group": "g", "streams": streams, "data_dir": tmp_path, **options})

    return make
