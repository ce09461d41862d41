"""A signal when the price rose three times in a row: `python examples/momentum.py [URL]`, killed at any time.

Its signals are in `signals:momentum:<PAIR>`, each once: `cryptostream tail 'signals:momentum:*'`.
"""

import asyncio
import signal
import sys
from collections.abc import Iterator

from cryptostream import Consumer, Entry, Gap, Kline, Output, Trade


class Momentum:
    """One for each stream; its attributes are saved with its signals."""

    def __init__(self) -> None:
        self.last: float | None = None
        self.rising = 0

    def __call__(self, event: Trade | Kline | Gap | Entry) -> Iterator[Output]:
        if not isinstance(event, Trade):
            self.last, self.rising = None, 0
            return
        self.rising = self.rising + 1 if self.last is not None and event.price > self.last else 0
        self.last = event.price
        if self.rising == 3:
            fields = {"strategy": "momentum", "pair": event.pair, "side": "buy", "price": str(event.price)}
            yield Output(f"signals:momentum:{event.pair}", fields)


async def main(url: str) -> None:
    consumer = Consumer(url, group="momentum")
    consumer.keyed("trades:*")(Momentum)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, consumer.stop)
    await consumer.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:] or ["embedded://"]))
