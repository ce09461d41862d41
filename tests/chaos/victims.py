"""Programs that are killed: `python -m tests.chaos.victims recorder|signaller URL FOLDER`.

Each says `ready` on stdout once it has read something, and drains at SIGTERM.
"""

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

from cryptostream import logs
from cryptostream.bus.connect import connect
from cryptostream.bus.group.source import Group, GroupSettings
from cryptostream.client import Consumer
from cryptostream.engine.clock import SystemClock
from cryptostream.engine.pipeline import Pipeline
from cryptostream.engine.runtime import Runtime
from cryptostream.model.events import Event, Output
from cryptostream.model.ports import Sink
from cryptostream.tape.record import Parquet

GROUPS = {"recorder": "recorder", "signaller": "signaller"}
STREAMS = "trades:*"
MAX_HELD = 2_000
"""So that a part that is too large is closed at once, among those that are closed because it is time."""
_CLOCK = SystemClock()


class Momentum:
    """A signal for about every seventh trade, which tells how many there were before it and what they were."""

    def __init__(self) -> None:
        self.count = 0
        self.seen = 0

    def __call__(self, trade: Event) -> Sequence[Output]:
        """Remember a trade, and say so now and then."""
        self.count += 1
        self.seen = crc32(trade.entry_id.encode(), self.seen)
        if not signals(self.seen):
            return ()
        told = {"pair": trade.pair, "count": str(self.count), "seen": str(self.seen)}
        return [Output(f"signals:momentum:{trade.pair}", told)]


def signals(seen: int) -> bool:
    """Whether this state is worth a signal."""
    return seen % 7 == 0


class Ready(Sink):
    """Says once that something has come."""

    async def write(self, events: Sequence[Any]) -> None:
        """Look whether anything has."""
        if events:
            ready()


def ready() -> None:
    """Say so, the first time."""
    if not _said:
        _said.append(True)
        print("ready", flush=True)


_said: list[bool] = []


async def recorder(url: str, folder: Path) -> int:
    """What comes goes to Parquet, in files that are closed every moment."""
    sink = Parquet(str(folder / "parquet"), rotate="100ms", rows=1_500, compact="1s")
    async with connect(url, data_dir=folder / "data", connect_timeout_s=10.0, clock=_CLOCK) as bus:
        group = Group(
            bus,
            [STREAMS],
            group=GROUPS["recorder"],
            consumer="one",
            clock=_CLOCK,
            settings=GroupSettings(max_deliveries=1_000_000),  # whoever kills it is no poison
        )
        pipeline = Pipeline("recorder", group, [sink, Ready()], max_held=MAX_HELD)
        return await Runtime([pipeline], clock=_CLOCK).run()


async def signaller(url: str, folder: Path) -> int:
    """What comes is remembered, and makes signals."""
    consumer = Consumer(
        url,
        group=GROUPS["signaller"],
        name="one",
        data_dir=folder / "data",
        max_deliveries=1_000_000,
        claim_idle_s=0,
    )

    @consumer.on(STREAMS)
    def begun(_trade: Event) -> None:
        ready()

    consumer.keyed(STREAMS)(Momentum)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, consumer.stop)
    await consumer.run()
    return 0


def main() -> int:
    """Be the program of that name."""
    name, url, folder = sys.argv[1:]
    logs.configure(verbosity=0, log_format="json")
    return asyncio.run({"recorder": recorder, "signaller": signaller}[name](url, Path(folder)))


if __name__ == "__main__":
    raise SystemExit(main())
